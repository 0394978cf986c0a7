"""The keys of the board."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.cli.board.keys import Command, read_commands


@pytest.mark.parametrize(
    ("data", "commands"),
    [
        (b"q", [Command.QUIT]),
        (b"jk", [Command.DOWN, Command.UP]),
        (b"\x1b[A\x1bOB\x1b[B", [Command.UP, Command.DOWN, Command.DOWN]),
        (b"\x1b[5~\x1b[6~ b", [Command.PAGE_UP, Command.PAGE_DOWN, Command.PAGE_DOWN, Command.PAGE_UP]),
        (b"gG\x1b[H\x1b[4~", [Command.FIRST, Command.LAST, Command.FIRST, Command.LAST]),
        (b"f\x0c", [Command.FILTER, Command.REDRAW]),
        (b"xyz\x00\xff", []),
        (b"\x1b", []),
        (b"\x1b[1;5A", []),
        (b"\x1b[200~", []),
        (b"", []),
    ],
)
def test_keys_have_these_commands(data: bytes, commands: list[Command]) -> None:
    """Others are ignored; a sequence is not read as its letters."""
    assert list(read_commands(data)) == commands


@given(data=st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    """Whatever a terminal sends."""
    assert len(list(read_commands(data))) <= len(data)
