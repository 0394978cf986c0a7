"""Progress of a wait on stderr: a bar on a terminal, and a line now and then elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acetasks import TaskState
from acetasks._records import escape_controls
from acetasks.cli.formatting import format_clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acetasks.cli.screen import Screen
    from acetasks.cli.tracking import TaskTracker

_BAR_WIDTH = 24
#: Columns of a terminal below which there is no bar.
_NARROW = 60
#: Seconds between two lines where there is no terminal.
LINE_INTERVAL = 30.0


@contextlib.asynccontextmanager
async def show_progress(
    screen: Screen, tracker: TaskTracker, *, line_interval: float = LINE_INTERVAL
) -> AsyncIterator[None]:
    """Show the progress until the context exits; nothing if the command is to be quiet."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    if screen.is_quiet:
        yield
    elif screen.is_live:
        async with screen.live_display(lambda: _render(tracker, loop.time() - start, screen.err.width)):
            yield
    else:
        async with _print_lines(screen, lambda: _describe(tracker, loop.time() - start), line_interval):
            yield


@contextlib.asynccontextmanager
async def _print_lines(screen: Screen, describe: Callable[[], str], interval: float) -> AsyncIterator[None]:
    async def print_lines() -> None:
        while True:
            await asyncio.sleep(interval)
            screen.info(describe())

    printing = asyncio.create_task(print_lines())
    try:
        yield
    finally:
        printing.cancel()
        await asyncio.wait([printing])


def _describe(tracker: TaskTracker, elapsed: float) -> str:
    troubles = tracker.describe_troubles()
    return f"{format_clock(elapsed)}  {_count(tracker)}{f'; {troubles}' if troubles else ''}"


def _count(tracker: TaskTracker) -> str:
    counts = [(tracker.count(state), state.value) for state in (TaskState.PENDING, TaskState.RUNNING)]
    states = "".join(f", {number:,} {name}" for number, name in counts if number)
    return f"{len(tracker.ended):,} of {len(tracker.tasks):,} ended{states}"


def _render(tracker: TaskTracker, elapsed: float, width: int) -> Table:
    """Return a bar with the counts, and a line for what does not respond."""
    bar = ProgressBar(
        len(tracker.tasks) or 1,
        len(tracker.ended),
        width=_BAR_WIDTH,
        style="bright_black",
        complete_style="green",
        finished_style="green",
    )
    progress = Table.grid(padding=(0, 2, 0, 0))
    cells = [bar] if width >= _NARROW else []
    progress.add_row(*cells, format_clock(elapsed), _count(tracker))
    table = Table.grid()
    table.add_row(progress)
    if troubles := tracker.describe_troubles():
        table.add_row(Text(escape_controls(troubles), "red", no_wrap=True, overflow="ellipsis"))
    return table
