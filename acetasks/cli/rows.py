"""Rows of a file for `acetasks run`: one payload each, with its provider and key."""

from __future__ import annotations

import collections
import csv
import hashlib
import io
from pathlib import PurePath
from typing import TYPE_CHECKING

import msgspec

from acetasks.cli.exit_codes import CommandError
from acetasks.cli.payloads import read_value, set_nested
from acetasks.cli.targets import STDIN, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Columns and fields that are no part of the payload.
_PROVIDER, _KEY = "provider", "key"
_CSV, _JSONL = (".csv",), (".jsonl", ".ndjson")
#: Characters of a hash in a key that was not given: enough that no two rows share one by chance.
_HASH_LENGTH = 20


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One submission of a file.

    Attributes:
        number: Its position in the file, from 1, without the header.
        provider: The provider's slug.
        payload: The payload.
        key: Its key in the journal.
    """

    number: int
    provider: str
    payload: dict[str, object]
    key: str


def read_rows(name: str, *, provider: str | None, salt: str = "") -> list[Row]:
    """Return the rows of a CSV or JSONL file.

    A row without a key gets one that is made of its content, so that the same row has the same key when the file is
    run again, also after other rows were added. Equal rows are numbered.

    Args:
        name: Path of the file, or `-` for JSONL on stdin.
        provider: Provider of the rows that do not name one, or None.
        salt: What else makes a submission another one, such as its path.

    Raises:
        CommandError: The file cannot be read, or a row is malformed.
    """
    suffix = ".jsonl" if name == STDIN else PurePath(name).suffix.lower()
    if suffix not in _CSV + _JSONL:
        raise CommandError(f"expected a file *.csv or *.jsonl, got {name!r}")
    text = read_text(name, content="rows")
    rows: list[Row] = []
    seen: collections.Counter[str] = collections.Counter()
    for number, fields in enumerate((_read_csv if suffix in _CSV else _read_jsonl)(text, name), start=1):
        row = _build_row(f"{name} row {number}", number, fields, provider)
        if not row.key:
            content = msgspec.json.encode([row.provider, row.payload, salt], order="sorted")
            digest = hashlib.sha256(content).hexdigest()[:_HASH_LENGTH]
            seen[digest] += 1
            row = msgspec.structs.replace(row, key=f"run-{digest}-{seen[digest]}")
        rows.append(row)
    if not rows:
        raise CommandError(f"no rows in {'stdin' if name == STDIN else name}")
    _check_keys(name, rows)
    return rows


def _read_csv(text: str, name: str) -> Iterator[dict[str, object]]:
    """Yield the cells of each row that are not empty; each is read like the value of `key=value`."""
    try:
        for number, cells in enumerate(csv.DictReader(io.StringIO(text, newline=""), strict=True), start=1):
            if None in cells:
                raise CommandError(f"{name} row {number} has more cells than the header")
            fields: dict[str, object] = {}
            for column, cell in cells.items():
                if cell:
                    is_plain = column in {_PROVIDER, _KEY}
                    set_nested(fields, column.strip(), cell if is_plain else read_value(cell))
            yield fields
    except csv.Error as error:
        raise CommandError(f"{name} is not CSV: {error}") from error


def _read_jsonl(text: str, name: str) -> Iterator[dict[str, object]]:
    for number, line in enumerate(filter(str.strip, text.splitlines()), start=1):
        try:
            yield msgspec.json.decode(line, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise CommandError(f"{name} row {number} is not a JSON object: {error}") from error


def _build_row(place: str, number: int, fields: dict[str, object], default: str | None) -> Row:
    provider, key = fields.pop(_PROVIDER, default), fields.pop(_KEY, "")
    if provider is None:
        raise CommandError(f"{place} has no provider: add a column 'provider', or --provider for all rows")
    if not isinstance(provider, str) or not isinstance(key, str):
        raise CommandError(f"{place}: provider and key must be texts, got {provider!r} and {key!r}")
    return Row(number=number, provider=provider, payload=fields, key=key)


def _check_keys(name: str, rows: list[Row]) -> None:
    (key, count), *_ = collections.Counter(row.key for row in rows).most_common(1)
    if count > 1:
        raise CommandError(f"{count} rows of {name} have the key {key!r}: a key is submitted once")
