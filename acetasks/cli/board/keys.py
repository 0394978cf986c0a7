"""Keys of the board: from the bytes of a terminal to what the board does."""

from __future__ import annotations

import enum
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Command(enum.Enum):
    """What a key does."""

    QUIT = enum.auto()
    UP = enum.auto()
    DOWN = enum.auto()
    PAGE_UP = enum.auto()
    PAGE_DOWN = enum.auto()
    FIRST = enum.auto()
    LAST = enum.auto()
    FILTER = enum.auto()
    REDRAW = enum.auto()


#: Keys as terminals send them: plain, and in the normal and application modes of ECMA-48 terminals.
_COMMANDS = {
    **dict.fromkeys((b"q", b"Q"), Command.QUIT),
    **dict.fromkeys((b"k", b"\x1b[A", b"\x1bOA"), Command.UP),
    **dict.fromkeys((b"j", b"\x1b[B", b"\x1bOB", b"\r", b"\n"), Command.DOWN),
    **dict.fromkeys((b"b", b"\x1b[5~"), Command.PAGE_UP),
    **dict.fromkeys((b" ", b"\x1b[6~"), Command.PAGE_DOWN),
    **dict.fromkeys((b"g", b"\x1b[H", b"\x1bOH", b"\x1b[1~"), Command.FIRST),
    **dict.fromkeys((b"G", b"\x1b[F", b"\x1bOF", b"\x1b[4~"), Command.LAST),
    **dict.fromkeys((b"f", b"F"), Command.FILTER),
    b"\x0c": Command.REDRAW,
}
#: One key: an escape sequence with its final byte, or a single byte.
_KEY = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|.", re.DOTALL)


def read_commands(data: bytes) -> Iterator[Command]:
    """Yield the commands of the keys in bytes from a terminal; other keys are ignored.

    A key is assumed to arrive in one piece, as terminals send it. A part of one would be read as other keys, which at
    worst scroll.
    """
    for key in _KEY.findall(data):
        command = _COMMANDS.get(key)
        if command is not None:
            yield command
