"""Display of the board on a terminal: draws it a few times a second, and only if something has changed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rich.live import Live

from acetasks.cli.board.keys import Command, read_commands
from acetasks.cli.board.terminal import TerminalControl
from acetasks.cli.board.view import BoardView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from rich.console import RenderableType

    from acetasks.cli.board.model import BoardModel
    from acetasks.cli.board.rendering import BoardRenderer
    from acetasks.cli.screen import Screen

#: Seconds between two drawings.
_REFRESH_INTERVAL = 0.2
#: Seconds between two lines of progress where no board can be drawn.
LINE_INTERVAL = 30.0


class Display:
    """One board on a terminal.

    Attributes:
        left: Set when the user has left the board with `q`.
    """

    def __init__(self, screen: Screen, model: BoardModel, renderer: BoardRenderer, *, full_screen: bool) -> None:
        self._console, self._screen, self._model, self._renderer = screen.err, screen, model, renderer
        self._view = BoardView(model)
        self._full_screen = full_screen
        self._drawn: object = None
        self._live = Live(
            get_renderable=self._render,
            console=screen.err,
            auto_refresh=False,
            screen=full_screen,
            transient=True,
            redirect_stdout=False,
        )
        self.left = asyncio.Event()
        self._wake = asyncio.Event()

    async def run_until_left(self, work: Coroutine[object, object, None]) -> bool:
        """Await a coroutine, and cancel it if the user leaves the board first.

        Returns:
            Whether the coroutine has ended by itself.
        """
        working, leaving = asyncio.create_task(work), asyncio.create_task(self.left.wait())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                return False
            await working
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)
        return True

    @contextlib.asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show the board until the context exits."""
        on_keys = self._handle_keys if self._full_screen else None
        control = TerminalControl(self._console.file, enter=self._start_drawing, leave=self._live.stop, on_keys=on_keys)
        with self._screen.hold_messages() if self._full_screen else contextlib.nullcontext(), control:
            async with _alongside(self._draw_changes()):
                yield

    def _render(self) -> RenderableType:
        if self._full_screen:
            return self._renderer.render_board(self._model, self._view, self._console.size, self._screen.held_messages)
        return self._renderer.render_bars(self._model, self._console.width)

    def _start_drawing(self) -> None:
        self._live.start(refresh=True)
        self._drawn = None

    async def _draw_changes(self) -> None:
        while True:
            # Ages are shown in seconds.
            state = self._model.version, self._view.version, self._console.size, int(self._model.elapsed)
            if state != self._drawn:
                self._live.refresh()
                self._drawn = state
            await self._pause()

    async def _pause(self) -> None:
        """Wait for the next drawing; a key is answered at once."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_INTERVAL):
                await self._wake.wait()

    def _handle_keys(self, data: bytes) -> None:
        for command in read_commands(data):
            if command is Command.QUIT:
                self.left.set()
            else:
                self._view.apply(command)
        self._wake.set()


async def show_board(
    screen: Screen, model: BoardModel, renderer: BoardRenderer, work: Coroutine[object, object, None]
) -> bool:
    """Show the whole board on a terminal while a coroutine runs; leaving the board cancels it.

    Returns:
        Whether the coroutine has ended by itself.
    """
    display = Display(screen, model, renderer, full_screen=True)
    async with display.shown():
        return await display.run_until_left(work)


@contextlib.asynccontextmanager
async def show_bars(
    screen: Screen, model: BoardModel, renderer: BoardRenderer, *, line_interval: float = LINE_INTERVAL
) -> AsyncIterator[None]:
    """Show the board without its tasks on stderr until the context exits; without a terminal, a line at intervals.

    Args:
        screen: Where to show it; results can be printed meanwhile, and stand above.
        model: The board.
        renderer: Draws it.
        line_interval: Seconds between two lines.
    """

    async def print_lines() -> None:
        while True:
            await asyncio.sleep(line_interval)
            screen.info(renderer.format_line(model))

    async with (
        Display(screen, model, renderer, full_screen=False).shown() if screen.is_live else _alongside(print_lines())
    ):
        yield


@contextlib.asynccontextmanager
async def _alongside(endless: Coroutine[object, object, None]) -> AsyncIterator[None]:
    """Run a coroutine until the context exits; if it fails, such as on a terminal that is gone, so does the context."""
    failed = False

    def end_context(task: asyncio.Task[None]) -> None:
        nonlocal failed
        if not task.cancelled() and task.exception() is not None:
            failed = True
            if owner is not None:
                owner.cancel()

    owner, running = asyncio.current_task(), asyncio.create_task(endless)
    running.add_done_callback(end_context)
    try:
        yield
    except asyncio.CancelledError:
        if failed and owner is not None and owner.uncancel() == 0:
            await running
        raise
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
