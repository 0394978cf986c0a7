"""The two streams of a command: results on stdout; progress, warnings and errors on stderr.

Everything for people goes through here, so that a warning in the midst of a live display stands above it and does not
garble it, and so that nothing is drawn into a pipe.
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

from acetasks.cli.words import clean
from acetasks.errors import AceTasksError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

#: Columns of a table that is no terminal's: wide enough to cut nothing off.
_PIPE_WIDTH = 120
#: A live display is drawn this often a second.
_FRAMES = 8


class _Console(Console):
    """A console that tells of a closed pipe, where rich's own would exit with 1: that code means something here."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Screen:
    """The streams of one command.

    Attributes:
        out: For results.
        err: For everything else.
        is_live: Whether stderr is a terminal on which a display can be redrawn.
    """

    def __init__(self) -> None:
        """Take the streams as they are now."""
        self.out = _Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False)
        self.err = _Console(stderr=True, highlight=False, markup=False)
        # rich itself would draw into a pipe if FORCE_COLOR is set.
        self.is_live = sys.stderr.isatty() and not self.err.is_dumb_terminal
        self._shares_terminal = self.is_live and sys.stdout.isatty()

    def write(self, line: Text) -> None:
        """Write one line of results; it is not wrapped, so that URLs stay whole."""
        # Within a live display only the console that draws it knows where a line may go.
        console = self.err if self._shares_terminal else self.out
        console.print(line, soft_wrap=True)

    def write_json(self, line: bytes) -> None:
        """Write one line of results for a program, in UTF-8 whatever the locale is."""
        if self._shares_terminal:
            self.err.print(line.decode(), soft_wrap=True)
            return
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    def note(self, text: str) -> None:
        """Say something on stderr."""
        self.err.print(clean(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """Warn on stderr."""
        self.err.print(Text.assemble(("warning: ", "bold magenta"), clean(text)), soft_wrap=True)

    def fail(self, text: str) -> None:
        """Say on stderr what ended the command."""
        self.err.print(Text.assemble(("error: ", "bold red"), clean(text)), soft_wrap=True)

    @contextlib.asynccontextmanager
    async def showing(self, draw: Callable[[], RenderableType]) -> AsyncIterator[None]:
        """Show a live display on stderr, and take it away at the end.

        It is drawn in the event loop, by no thread of its own: what it shows is never half changed.

        Args:
            draw: Gives what it is to show now.
        """
        with Live(
            get_renderable=draw, console=self.err, auto_refresh=False, transient=True, redirect_stdout=False
        ) as live:
            drawing = asyncio.create_task(_redraw(live))
            try:
                yield
            finally:
                drawing.cancel()
                await asyncio.wait([drawing])


async def _redraw(live: Live) -> None:
    while True:
        live.refresh()
        await asyncio.sleep(1 / _FRAMES)


class _Handler(logging.Handler):
    """Passes the library's warnings on to the screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        details = record.args if isinstance(record.args, tuple) else ()
        if any(isinstance(detail, AceTasksError) and not detail.transient for detail in details):
            # The command tells of it as of its end, or in the line of the task that it concerns.
            return
        try:
            self._screen.warn(self.format(record))
        except Exception:  # noqa: BLE001  # as every handler: a log must not disturb what it tells of
            self.handleError(record)


@contextlib.contextmanager
def opened_screen() -> Iterator[Screen]:
    """Open the screen for one command; meanwhile the library's warnings are shown on it.

    Yields:
        The screen.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A service's message may have characters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    screen = Screen()
    logger = logging.getLogger("acetasks")
    handler = _Handler(screen)
    logger.addHandler(handler)
    try:
        yield screen
    finally:
        logger.removeHandler(handler)
