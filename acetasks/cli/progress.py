"""Progress of a wait on stderr: the bars of a board on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from acetasks.cli.board.display import LINE_INTERVAL, show_bars
from acetasks.cli.board.rendering import BoardRenderer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acetasks.cli.screen import Screen
    from acetasks.cli.tracking import TaskTracker


@contextlib.asynccontextmanager
async def show_progress(
    screen: Screen, tracker: TaskTracker, *, line_interval: float = LINE_INTERVAL
) -> AsyncIterator[None]:
    """Show the progress until the context exits; nothing if the command is to be quiet."""
    tracker.board.start(clock=asyncio.get_running_loop().time)
    if screen.is_quiet:
        yield
        return
    async with show_bars(screen, tracker.board, BoardRenderer(screen.err), line_interval=line_interval):
        yield
