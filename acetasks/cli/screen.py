"""Output streams of a command: results on stdout; progress, warnings and errors on stderr.

All text output goes through `Screen`: a warning during a live display is printed above it, and no live display is
drawn into a pipe.
"""

from __future__ import annotations

import collections
import contextlib
import io
import logging
import os
import sys
from typing import IO, TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from acetasks._records import escape_controls
from acetasks.cli.shell_words import translate

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Columns of a table printed to a pipe: wide enough to avoid truncation.
_PIPE_WIDTH = 120
#: Messages that are held back while a board covers the terminal.
_MAX_HELD = 20


class _Console(Console):
    """Console that raises on a closed pipe; rich would exit with 1, the code of a failed task."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Output streams of one command.

    Attributes:
        out: Console for results.
        err: Console for everything else.
        is_live: Whether stderr is a terminal that supports a live display, and this process may draw on it.
        shares_terminal: Whether stdout is a terminal too.
        is_quiet: Whether only results, warnings and errors are printed.
    """

    def __init__(self) -> None:
        """Use the current `sys.stdout` and `sys.stderr`."""
        self.out = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
        self.err = _Console(stderr=True, highlight=False, markup=False)
        # rich alone would draw into a pipe if FORCE_COLOR is set.
        self.is_live = sys.stderr.isatty() and not self.err.is_dumb_terminal and _is_foreground(sys.stderr)
        self.is_quiet = False
        self.shares_terminal = self.is_live and sys.stdout.isatty()
        self._held: collections.deque[Text] | None = None
        self._log_handler = _ScreenLogHandler(self)
        self._logger = logging.getLogger("acetasks")

    @property
    def result_width(self) -> int | None:
        """Columns of the terminal that results are printed on; None for a pipe or a file."""
        return self.out.width if sys.stdout.isatty() else None

    def print_result(self, line: Text) -> None:
        """Print one line of results, not wrapped, so that URLs stay complete."""
        # During a live display only the console that draws it can print above it.
        console = self.err if self.shares_terminal else self.out
        console.print(line, soft_wrap=True)

    def print_json(self, line: bytes) -> None:
        """Print one line of JSON, in UTF-8 whatever the locale is; for a terminal with more escapes than JSON needs."""
        if sys.stdout.isatty():
            line = escape_controls(line.decode()).encode()
        if self.shares_terminal:
            self.err.print(line.decode(), soft_wrap=True)
            return
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def print_line(self, text: str) -> None:
        """Print a line of text as a result, such as a path."""
        self.print_result(Text(escape_controls(text)))

    def info(self, text: str) -> None:
        """Print a message on stderr, unless the command is to be quiet."""
        if not self.is_quiet:
            self.notice(text)

    def notice(self, text: str) -> None:
        """Print a message on stderr that the user needs in any case."""
        self._talk(Text(escape_controls(text)))

    def warning(self, text: str) -> None:
        """Print a warning on stderr."""
        self._talk(Text.assemble(("warning: ", "bold magenta"), escape_controls(text)))

    def error(self, text: str) -> None:
        """Print on stderr the error that ends the command."""
        self._talk(Text.assemble(("error: ", "bold red"), escape_controls(text)))

    def _talk(self, text: Text) -> None:
        if self._held is not None:
            if text not in self._held:
                self._held.append(text)
            return
        # A full disk or closed pipe behind stderr does not spoil the results.
        with contextlib.suppress(OSError):
            self.err.print(text, soft_wrap=True)

    @contextlib.contextmanager
    def hold_messages(self) -> Iterator[None]:
        """Hold the last messages back until the context exits, such as while a board covers the terminal."""
        held = self._held = collections.deque(maxlen=_MAX_HELD)
        try:
            yield
        finally:
            self._held = None
            for text in held:
                self._talk(text)

    @property
    def held_messages(self) -> int:
        """Number of messages that are held back."""
        return len(self._held or ())

    def log_more(self, verbosity: int) -> None:
        """Print more of what the client logs: 1 for messages, 2 and more for details of requests."""
        level = logging.INFO if verbosity == 1 else logging.DEBUG
        self._log_handler.setLevel(level)
        self._logger.setLevel(level)

    def mute_log(self, text: str) -> None:
        """Do not print log messages that contain a text, as what they say is printed otherwise."""
        self._log_handler.addFilter(lambda record: text not in record.getMessage())

    @contextlib.contextmanager
    def show_log(self) -> Iterator[None]:
        """Print the client's warnings until the context exits."""
        level = self._logger.level
        self._logger.addHandler(self._log_handler)
        try:
            yield
        finally:
            self._logger.removeHandler(self._log_handler)
            self._logger.setLevel(level)


class _ScreenLogHandler(logging.Handler):
    """Log handler that prints the library's warnings on the screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A traceback is printed on the same line.
            text = translate(" ".join(self.format(record).split()))
            if record.levelno >= logging.WARNING:
                self._screen.warning(text)
            else:
                self._screen.notice(f"log: {text}")
        except Exception:  # noqa: BLE001  # the contract of handlers: logging must not break its caller
            self.handleError(record)


@contextlib.contextmanager
def open_screen() -> Iterator[Screen]:
    """Return the screen of one command; it prints the library's warnings until the context exits.

    Yields:
        The screen.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A message from a service may contain characters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    screen = Screen()
    with screen.show_log():
        yield screen


def _is_foreground(stream: IO[str]) -> bool:
    """Return whether this process may use the terminal of a stream: not if a shell runs it in the background.

    True for anything that is not the terminal that the shell controls.
    """
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # of a stream without a descriptor, or on Windows
        return True
