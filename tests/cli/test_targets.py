"""Arguments that name tasks: every form, every source, and what is said of wrong ones."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import pytest

from acetasks.cli.exit_codes import CommandError
from acetasks.cli.targets import format_target, parse_targets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch):
    """Replaces stdin."""

    def replace(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    return replace


@pytest.mark.parametrize(
    ("arguments", "targets"),
    [
        (["luma", "a", "b"], ["luma:a", "luma:b"]),
        (["luma", "a", "a"], ["luma:a"]),
        (["luma:a", "veo:b", "luma:a"], ["luma:a", "veo:b"]),
        (["luma", "a", "veo:b"], ["luma:a", "veo:b"]),
        (["luma", "luma:a"], ["luma:a"]),
        (["luma:veo"], ["luma:veo"]),
        (["brand-new:a"], ["brand-new:a"]),
        # An id of useapi.net has colons of its own; what comes before the first is no provider.
        (["useapi-pixverse", "user:12-pixverse:x"], ["useapi-pixverse:user:12-pixverse:x"]),
        (["useapi-pixverse:user:12"], ["useapi-pixverse:user:12"]),
        (["luma", "@"], ["luma:@"]),
    ],
)
def test_arguments_name_tasks(arguments: list[str], targets: list[str]) -> None:
    """Ids belong to the provider before them, or to the one before their colon; each task is named once."""
    assert [format_target(target) for target in parse_targets(arguments)] == targets


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["luma", "A", "veo", "B"], r"'veo' is a provider, not a task id: .* write luma:ID veo:ID"),
        (["luma"], "no task ids after 'luma'"),
        ([], "no task ids: expected PROVIDER:ID"),
        (["@missing-file.txt"], "cannot read task ids from missing-file.txt: No such file"),
        (["luma:a", "b"], "no provider for the task 'b'"),
    ],
)
def test_wrong_arguments_have_a_hint(arguments: list[str], message: str) -> None:
    """The error names the argument, and the form to write."""
    with pytest.raises(CommandError, match=message):
        parse_targets(arguments)


@pytest.mark.parametrize(
    "content",
    [
        b"a\nveo:b\n",
        b"\xef\xbb\xbfa\r\n\r\n  veo:b  \r\n",
        "a\nveo:b\n".encode("utf-16"),
        b"# ids of today\na # the first\nveo b\n",
        b'{"provider":"luma","id":"a","state":"pending"}\n{"provider":"veo","id":"b"}\n',
    ],
    ids=["plain", "byte order mark and CRLF", "UTF-16", "comments and columns", "lines of --json"],
)
def test_files_and_stdin_have_one_task_a_line(content: bytes, tmp_path: Path, type_in) -> None:
    """`@FILE` and `-` may stand among other ids."""
    (tmp_path / "ids.txt").write_bytes(content)
    expected = [("luma", "first"), ("luma", "a"), ("veo", "b"), ("luma", "last")]
    assert parse_targets(["luma", "first", f"@{tmp_path / 'ids.txt'}", "last"]) == expected
    type_in(content)
    assert parse_targets(["luma", "first", "-", "last"]) == expected


def test_an_id_may_contain_a_hash(tmp_path: Path) -> None:
    """A comment begins a line, or after a blank."""
    (tmp_path / "ids").write_text("a#1\n")
    assert parse_targets(["luma", f"@{tmp_path / 'ids'}"]) == [("luma", "a#1")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"# nothing\n\n", "no task ids on stdin, expected one a line"),
        (b"\xff\xfe\n", "expected text in UTF-8"),
        (b"\xff\n", "expected text in UTF-8"),
        (json.dumps({"id": "a"}).encode(), "expected an object with provider and id"),
    ],
)
def test_unusable_stdin_is_reported(content: bytes, message: str, type_in) -> None:
    """Stdin without a task, or that is not text, is an error of usage."""
    type_in(content)
    with pytest.raises(CommandError, match=message):
        parse_targets(["luma", "-"])
