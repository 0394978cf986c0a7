"""Arguments that name tasks: ids after their provider, `PROVIDER:ID`, `@FILE`, and `-` for stdin."""

from __future__ import annotations

import codecs
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from acetasks.cli.exit_codes import CommandError
from acetasks.providers import specs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: One task: its provider's slug and its id.
Key = tuple[str, str]

#: The argument that stands for stdin, and the first character of one that names a file.
STDIN, FILE_MARK = "-", "@"
#: A comment: at the start of a line or after whitespace, so that ids may contain the character.
_COMMENT = re.compile(r"(?:^|\s)#.*")
#: Byte order marks, which editors and PowerShell put before a text, with the encodings that they mean.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FORMS = "expected PROVIDER:ID, or a provider and then its ids, such as 'luma ID ID'"


class _TaskObject(msgspec.Struct):
    """Provider and id of a line of JSON, as `--json` prints it."""

    provider: str
    id: str


def parse_targets(arguments: Sequence[str]) -> list[Key]:
    """Return the distinct tasks that the arguments of a command name, in their order.

    Each argument is an id of the provider that comes first, `PROVIDER:ID`, `@FILE` or `-`. Files and stdin have one
    task a line: an id, `PROVIDER:ID`, `PROVIDER ID`, or an object of `--json`; `#` begins a comment.

    Args:
        arguments: `luma ID ID`, `luma:ID veo:ID`, `luma @ids.txt -` and the like.

    Raises:
        CommandError: The arguments name no task or a malformed one, or a file cannot be read.
    """
    known = {spec.slug for spec in specs()}
    provider: str | None = None
    items = list(arguments)
    if items and not _is_source(items[0]) and _split(items[0]) is None:
        provider = items.pop(0)
        if not items:
            raise CommandError(f"no task ids after {provider!r}: {_FORMS}")
    targets = [target for item in items for target in _read_argument(item, provider, known)]
    if not targets:
        raise CommandError(f"no task ids: {_FORMS}")
    return list(dict.fromkeys(targets))


def read_text(name: str, *, content: str) -> str:
    """Return the text of a file, or of stdin for `-`; a byte order mark is removed.

    Args:
        name: The path, or `-`.
        content: What is expected, for the error: such as "task ids".

    Raises:
        CommandError: It cannot be read, or is not text.
    """
    place = "stdin" if name == STDIN else name
    try:
        raw = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        encoding = next((encoding for mark, encoding in _MARKS if raw.startswith(mark)), "utf-8")
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read {content} from {place}, expected text in UTF-8: {error}") from error
    except OSError as error:
        raise CommandError(f"cannot read {content} from {place}: {error.strerror or error}") from error


def format_target(target: Key) -> str:
    """Return a task as one argument of a command."""
    return ":".join(target)


def _is_source(argument: str) -> bool:
    return argument == STDIN or (argument.startswith(FILE_MARK) and len(argument) > 1)


def _split(text: str) -> Key | None:
    """Return the provider and id of `PROVIDER:ID`, or None without a colon."""
    provider, colon, task_id = text.partition(":")
    return (provider, task_id) if colon else None


def _read_argument(argument: str, provider: str | None, known: Iterable[str]) -> Iterator[Key]:
    if not _is_source(argument):
        yield _read_item(argument, provider, known)
        return
    name = argument if argument == STDIN else argument.removeprefix(FILE_MARK)
    text = read_text(name, content="task ids")
    lines = [_COMMENT.sub("", line).strip() for line in text.splitlines()]
    items = [line for line in lines if line]
    if not items:
        place = "on stdin" if argument == STDIN else f"in {name}"
        raise CommandError(f"no task ids {place}, expected one a line")
    for item in items:
        yield _read_line(item, provider, known)


def _read_line(line: str, provider: str | None, known: Iterable[str]) -> Key:
    """Return the task of one line of a file."""
    if line.startswith("{"):
        try:
            found = msgspec.json.decode(line, type=_TaskObject)
        except msgspec.DecodeError as error:
            raise CommandError(f"expected an object with provider and id, got {line[:80]!r} ({error})") from error
        return found.provider, found.id
    words = line.split()
    if len(words) == 2 and words[0] in known:  # noqa: PLR2004  # a provider and an id
        return words[0], words[1]
    return _read_item(line, provider, known)


def _read_item(item: str, provider: str | None, known: Iterable[str]) -> Key:
    """Return the task of an id or `PROVIDER:ID`. After a provider, only a known slug before the colon counts as one."""
    pair = _split(item)
    if pair is not None and (provider is None or pair[0] in known):
        return pair
    if provider is None:
        raise CommandError(f"no provider for the task {item!r}: {_FORMS}")
    if item in known:
        raise CommandError(
            f"{item!r} is a provider, not a task id: for tasks of several providers write"
            f" {provider}:ID {item}:ID (and {provider}:{item} for a task with that id)"
        )
    return provider, item
