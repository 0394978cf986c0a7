"""Output streams of a command: results on stdout; progress, warnings and errors on stderr.

All text output goes through `Screen`: a warning during a live display is printed above it, and no live display is
drawn into a pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import sys
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from acetasks._records import escape_controls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

#: Columns of a table printed to a pipe: wide enough to avoid truncation.
_PIPE_WIDTH = 120
_FRAMES_PER_SECOND = 8


class _Console(Console):
    """Console that raises on a closed pipe; rich would exit with 1, the code of a failed task."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """Output streams of one command.

    Attributes:
        out: Console for results.
        err: Console for everything else.
        is_live: Whether stderr is a terminal that supports a live display.
    """

    def __init__(self) -> None:
        """Use the current `sys.stdout` and `sys.stderr`."""
        self.out = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
        self.err = _Console(stderr=True, highlight=False, markup=False)
        # rich alone would draw into a pipe if FORCE_COLOR is set.
        self.is_live = sys.stderr.isatty() and not self.err.is_dumb_terminal
        self._shares_terminal = self.is_live and sys.stdout.isatty()

    def print_result(self, line: Text) -> None:
        """Print one line of results, not wrapped, so that URLs stay complete."""
        # During a live display only the console that draws it can print above it.
        console = self.err if self._shares_terminal else self.out
        console.print(line, soft_wrap=True)

    def print_json(self, line: bytes) -> None:
        """Print one line of JSON, in UTF-8 whatever the locale is; for a terminal with more escapes than JSON needs."""
        if sys.stdout.isatty():
            line = escape_controls(line.decode()).encode()
        if self._shares_terminal:
            self.err.print(line.decode(), soft_wrap=True)
            return
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def info(self, text: str) -> None:
        """Print a message on stderr."""
        self.err.print(escape_controls(text), soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print a warning on stderr."""
        self.err.print(Text.assemble(("warning: ", "bold magenta"), escape_controls(text)), soft_wrap=True)

    def error(self, text: str) -> None:
        """Print on stderr the error that ends the command."""
        self.err.print(Text.assemble(("error: ", "bold red"), escape_controls(text)), soft_wrap=True)

    @contextlib.asynccontextmanager
    async def live_display(self, render: Callable[[], RenderableType]) -> AsyncIterator[None]:
        """Redraw a display on stderr until the context exits, then erase it.

        Redraws run in the event loop, not in a thread: `render` never sees half-changed data.

        Args:
            render: Returns the current content.
        """
        with Live(
            get_renderable=render, console=self.err, auto_refresh=False, transient=True, redirect_stdout=False
        ) as live:
            refreshing = asyncio.create_task(_refresh(live))
            try:
                yield
            finally:
                refreshing.cancel()
                await asyncio.wait([refreshing])


async def _refresh(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(1 / _FRAMES_PER_SECOND)


class _ScreenLogHandler(logging.Handler):
    """Log handler that prints the library's warnings on the screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # A traceback is printed on the same line.
            self._screen.warning(" ".join(self.format(record).split()))
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
    logger = logging.getLogger("acetasks")
    handler = _ScreenLogHandler(screen)
    logger.addHandler(handler)
    try:
        yield screen
    finally:
        logger.removeHandler(handler)
