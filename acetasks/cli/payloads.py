"""Payloads as users write them: `key=value` arguments, JSON files and header arguments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from acetasks.cli.exit_codes import CommandError
from acetasks.cli.targets import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable

#: `key=value`, `key:=json`, `key=@file`; the key is the shortest text before a separator.
_ARGUMENT = re.compile(r"(?P<key>[^=]+?)(?P<separator>:=@|=@|:=|=)(?P<value>.*)", re.DOTALL)


def build_payload(arguments: Iterable[str], json_file: str | None = None) -> dict[str, object]:
    """Return the payload of a submission.

    Args:
        arguments: `key=value` (see `read_value`), `key:=json`, `key=@file` (a text) and `key:=@file` (JSON). A key such
            as `a.b` sets the key `b` of an object `a`.
        json_file: Path of a JSON file with an object that the arguments add to, or `-` for stdin; None for none.

    Raises:
        CommandError: An argument or the file cannot be read.
    """
    payload: dict[str, object] = {} if json_file is None else _read_object(json_file)
    for argument in arguments:
        key, value = _read_argument(argument)
        set_nested(payload, key, value)
    return payload


def read_value(text: str) -> object:
    """Return a number, boolean, null, list or object that is written as JSON; any other text as it is."""
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return text if isinstance(value, str) else value


def set_nested(payload: dict[str, object], key: str, value: object) -> None:
    """Set a key such as `a.b` of nested objects.

    Raises:
        CommandError: A part of the key is empty, or is set to something that is no object.
    """
    *parents, last = key.split(".")
    if not all((*parents, last)):
        raise CommandError(f"expected key=value, got an empty key in {key!r}")
    target = payload
    for parent in parents:
        inner = target.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise CommandError(f"cannot set {key!r}: {parent!r} is {inner!r}, not an object")
        target = inner
    target[last] = value


def read_headers(arguments: Iterable[str]) -> dict[str, str]:
    """Return the headers of `name=value` arguments.

    Raises:
        CommandError: An argument has another form.
    """
    headers: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise CommandError(f"expected --header NAME=VALUE, got {argument!r}")
        headers[name] = value
    return headers


def _read_argument(argument: str) -> tuple[str, object]:
    match = _ARGUMENT.fullmatch(argument)
    if match is None:
        raise CommandError(f"expected key=value, key:=json or key=@file, got {argument!r}")
    key, separator, value = match["key"], match["separator"], match["value"]
    if separator.endswith("@"):
        value = read_text(value, content=f"the value of {key!r}")
    if separator.startswith(":"):
        return key, _decode(value, f"the value of {key!r}")
    return key, value if separator.endswith("@") else read_value(value)


def _read_object(name: str) -> dict[str, object]:
    place = "stdin" if name == "-" else name
    value = _decode(read_text(name, content="the payload"), f"the payload in {place}")
    if not isinstance(value, dict):
        raise CommandError(f"the payload in {place} must be a JSON object, got {type(value).__name__}")
    return value


def _decode(text: str, content: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise CommandError(f"{content} is not JSON: {error}") from error
    return value
