"""Payloads from arguments and files."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from acetasks.cli.exit_codes import CommandError
from acetasks.cli.payloads import build_payload, read_headers

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("argument", "payload"),
    [
        ("prompt=a cat", {"prompt": "a cat"}),
        ("prompt=", {"prompt": ""}),
        ("prompt=a=b, @home", {"prompt": "a=b, @home"}),
        ("n=4", {"n": 4}),
        ("scale=1.5", {"scale": 1.5}),
        ("loop=true", {"loop": True}),
        ("seed=null", {"seed": None}),
        ('urls=["a","b"]', {"urls": ["a", "b"]}),
        ("year=02001", {"year": "02001"}),
        ('quoted="2001"', {"quoted": '"2001"'}),
        ('year:="2001"', {"year": "2001"}),
        ("size.width=4", {"size": {"width": 4}}),
        ("a:b=1", {"a:b": 1}),
    ],
)
def test_arguments_are_read_as_json_or_text(argument: str, payload: dict[str, object]) -> None:
    """Numbers, booleans, null, lists and objects are JSON; anything else is text; `:=` is JSON in any case."""
    assert build_payload([argument]) == payload


def test_values_come_from_files(tmp_path: Path) -> None:
    """`=@` reads a text as it is, `:=@` reads JSON."""
    text, data = tmp_path / "song.txt", tmp_path / "data.json"
    text.write_text("12\n")
    data.write_text('{"a": 1}')
    assert build_payload([f"lyric=@{text}", f"data:=@{data}"]) == {"lyric": "12\n", "data": {"a": 1}}


def test_arguments_add_to_a_json_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They replace what the file has under the same key, also within its objects; `-` is stdin."""
    (tmp_path / "p.json").write_text('{"prompt": "a dog", "size": {"width": 1, "height": 2}}')
    expected = {"prompt": "a cat", "size": {"width": 9, "height": 2}}
    assert build_payload(["prompt=a cat", "size.width=9"], str(tmp_path / "p.json")) == expected
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"n": 1}')))
    assert build_payload([], "-") == {"n": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prompt"], "expected key=value, key:=json or key=@file, got 'prompt'"),
        (["=x"], "got '=x'"),
        (["a..b=1"], "empty key in 'a..b'"),
        (["n:=four"], "the value of 'n' is not JSON"),
        (["a=1", "a.b=2"], "cannot set 'a.b': 'a' is 1, not an object"),
        (["a=@missing.txt"], "cannot read the value of 'a' from missing.txt"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], message: str) -> None:
    """The error has the argument and the reason."""
    with pytest.raises(CommandError, match=message):
        build_payload(arguments)


@pytest.mark.parametrize(("content", "message"), [("[1]", "must be a JSON object, got list"), ("{", "is not JSON")])
def test_a_json_file_has_an_object(content: str, message: str, tmp_path: Path) -> None:
    """Anything else is an error of usage."""
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(CommandError, match=message):
        build_payload([], str(tmp_path / "p.json"))


def test_headers_have_a_name_and_a_value() -> None:
    """The value may contain an equals sign."""
    assert read_headers(["model=s2-pro", "x=a=b"]) == {"model": "s2-pro", "x": "a=b"}
    with pytest.raises(CommandError, match="expected --header NAME=VALUE, got 'model'"):
        read_headers(["model"])
