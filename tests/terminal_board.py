"""A command in a real terminal, and what a person would see on it."""

from __future__ import annotations

import copy
import os
import re
import sys
import termios
import time
from typing import TYPE_CHECKING

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds for any one thing to happen on a busy machine.
PATIENCE = 90.0
#: The private mode of the alternate screen, as pyte numbers it.
_ALTERNATE = 1049 << 5
#: Child processes of a background shell ignore SIGINT, so the handler is restored.
_MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from acetasks.cli import main; main()"
#: Variables of the developer's terminal that would change sizes and colours.
_DROPPED = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")


class TerminalScreen(pyte.Screen):
    """Screen of a terminal with an alternate screen, which pyte has not."""

    def set_mode(self, *modes: int, **options: bool) -> None:
        """Clear the screen for the alternate one, and keep what was on it."""
        super().set_mode(*modes, **options)
        if 1049 in modes and options.get("private"):
            self.saved = copy.deepcopy(self.buffer), copy.copy(self.cursor)
            self.erase_in_display(2)

    def reset_mode(self, *modes: int, **options: bool) -> None:
        """Bring back what was on the screen."""
        if 1049 in modes and options.get("private"):
            self.buffer, saved = self.saved
            self.cursor.x, self.cursor.y = saved.x, saved.y
            self.dirty.update(range(self.lines))
        super().reset_mode(*modes, **options)

    @property
    def is_alternate(self) -> bool:
        """Whether the alternate screen is on."""
        return _ALTERNATE in self.mode


class Session:
    """A process in a terminal of its own.

    Args:
        args: Arguments of `acetasks`.
        environment: Variables besides those of the tests.
        columns: Width of the terminal.
        lines: Height of the terminal.
        command: A command to run instead of `acetasks`.
    """

    def __init__(
        self,
        args: Sequence[str],
        environment: Mapping[str, str],
        *,
        columns: int = 80,
        lines: int = 24,
        command: Sequence[str] = (sys.executable, "-c", _MAIN),
    ) -> None:
        variables = {name: value for name, value in os.environ.items() if name not in _DROPPED}
        self.screen = TerminalScreen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.process = pexpect.spawn(
            command[0],
            [*command[1:], *args],
            env={**variables, "TERM": "xterm-256color", **environment},
            dimensions=(lines, columns),
            timeout=PATIENCE,
        )
        self.process.delaybeforesend = None
        # The first thing that the process does is to start Python.
        self._modes_before = self.modes

    @property
    def modes(self) -> list[object]:
        """Modes of the terminal: flags, speeds and control characters."""
        return termios.tcgetattr(self.process.child_fd)

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the screen has a text, and return the match."""
        deadline = time.monotonic() + PATIENCE
        while not (match := re.search(pattern, self.text, re.MULTILINE)):
            if not self._read() or time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} is not on the screen:\n{self.text}")
        return match

    def finish(self) -> int:
        """Read until the process has exited, and return its exit code."""
        while self._read():
            pass
        self.process.close()
        assert self.process.exitstatus is not None, f"killed by signal {self.process.signalstatus}"
        return self.process.exitstatus

    def check_restored(self) -> None:
        """Check that the terminal is as it was; before `finish`, whose end has no terminal any more."""
        while self._read():
            pass
        assert not self.screen.is_alternate
        assert not self.screen.cursor.hidden
        assert self.modes == self._modes_before

    def _read(self) -> bool:
        """Read some output; return whether there may be more."""
        try:
            data = self.process.read_nonblocking(65536, timeout=PATIENCE)
        except pexpect.EOF:
            return False
        self.output += data
        self._stream.feed(data)
        return True
