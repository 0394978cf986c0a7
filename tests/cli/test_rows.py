"""Rows of CSV and JSONL files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acetasks.cli.exit_codes import CommandError
from acetasks.cli.rows import read_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file and returns its path."""

    def write(name: str, content: str) -> str:
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        return str(tmp_path / name)

    return write


def test_csv_cells_are_read_like_arguments(write) -> None:
    """Empty cells are left out, columns may nest, and `provider` and `key` are no part of the payload."""
    path = write("p.csv", 'key,provider,prompt,n,size.w\n7,veo,"a, b",4,\n,,c,,5\n')
    first, second = read_rows(path, provider="luma")
    assert (first.number, first.provider, first.key) == (1, "veo", "7")
    assert first.payload == {"prompt": "a, b", "n": 4}
    assert (second.number, second.provider) == (2, "luma")
    assert second.payload == {"prompt": "c", "size": {"w": 5}}
    assert second.key.startswith("run-")


def test_jsonl_has_an_object_a_line(write) -> None:
    """Blank lines are ignored, and values have their types."""
    path = write("p.jsonl", '{"provider": "luma", "prompt": "2001"}\n\n{"provider": "veo", "a": [1]}\n')
    assert [(row.provider, row.payload) for row in read_rows(path, provider=None)] == [
        ("luma", {"prompt": "2001"}),
        ("veo", {"a": [1]}),
    ]


def test_keys_stay_the_same_when_rows_are_added(write) -> None:
    """A key is made of the row's content; equal rows have keys of their own; the salt makes others."""
    before = read_rows(write("a.csv", "prompt\nx\ny\nx\n"), provider="luma")
    after = read_rows(write("b.csv", "prompt\nnew\nx\nx\ny\n"), provider="luma")
    assert len({row.key for row in before}) == 3
    assert {row.key for row in before} < {row.key for row in after}
    other = read_rows(write("a.csv", "prompt\nx\ny\nx\n"), provider="luma", salt="/luma/extend")
    assert not {row.key for row in before} & {row.key for row in other}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", "x", r"expected a file \*.csv or \*.jsonl"),
        ("p.csv", "prompt\n", "no rows in"),
        ("p.csv", "prompt\na,b\n", "row 1 has more cells than the header"),
        ("p.csv", 'prompt\n"a\n', "is not CSV"),
        ("p.csv", "prompt\na\n", "row 1 has no provider: add a column 'provider', or --provider"),
        ("p.csv", "provider,key,a\nluma,k,1\nluma,k,2\n", "2 rows of .* have the key 'k'"),
        ("p.jsonl", "[1]\n", "row 1 is not a JSON object"),
        ("p.jsonl", '{"provider": 3}\n', "provider and key must be texts"),
    ],
)
def test_malformed_files_are_refused_before_anything_is_sent(write, name: str, content: str, message: str) -> None:
    """The error names the file and the row."""
    with pytest.raises(CommandError, match=message):
        read_rows(write(name, content), provider=None)
