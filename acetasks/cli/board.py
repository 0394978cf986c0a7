"""How the demo looks: the live board, the plain lines in its place, and the summary. It draws, and counts nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acetasks.cli.words import clock, seconds_in_words

if TYPE_CHECKING:
    from rich.console import RenderableType

    from acetasks.cli.tally import Figures, Tally

_BAR_WIDTH = 28


def draw_title(tasks: int, systems: int, speed: float) -> Text:
    """Say what is shown."""
    return Text.assemble(
        (f"{tasks:,} tasks of {systems} systems, awaited by one client", "bold"),
        f"\nA simulated service in another process holds them; a second here is {seconds_in_words(speed)} there.\n",
    )


def draw_board(tally: Tally, elapsed: float) -> RenderableType:
    """Draw the board as it is now.

    Args:
        tally: The figures.
        elapsed: Seconds since the start.

    Returns:
        A row for each system, and one for all.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("system")
    table.add_column("", width=_BAR_WIDTH)
    for name in ("done", "failed", "waiting"):
        table.add_column(name, justify="right", min_width=7)
    total = tally.total
    for figures in tally.systems.values():
        table.add_row(*_row(figures))
    table.add_row("", "", "", "", "")
    table.add_row(*_row(total), style="bold")
    return Group(table, Text(f"\n{clock(elapsed)}  {_requests(total, elapsed)}"))


def plain_line(tally: Tally, elapsed: float) -> str:
    """Say in one line how far it is, where no board can be drawn."""
    total = tally.total
    ended = f"{total.ended:,} of {total.tasks:,} tasks ended ({total.failed} failed)"
    return f"{clock(elapsed)} {ended}; {_requests(total, elapsed)}"


def draw_summary(tally: Tally, elapsed: float, speed: float) -> RenderableType:
    """Draw what came of it.

    Args:
        tally: The figures, of tasks that have all ended.
        elapsed: Seconds that it took.
        speed: How many seconds of the real service one of them was.

    Returns:
        A table, and what it comes to in words.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0), header_style="bold", footer_style="bold")
    total = tally.total
    table.add_column("system", total.name)
    for header, footer in zip(_HEADERS, _cells(total), strict=True):
        table.add_column(header, footer, justify="right")
    for figures in tally.systems.values():
        table.add_row(figures.name, *_cells(figures))
    return Group(table, _conclusion(total, elapsed, speed))


_HEADERS = ("finished", "failed", "requests", "instead of", "late: median", "p95")


def _cells(figures: Figures) -> tuple[str, ...]:
    return (
        f"{figures.finished:,}",
        f"{figures.failed:,}",
        f"{figures.requests:,}",
        f"{figures.ids:,}",
        seconds_in_words(figures.late(0.5)),
        seconds_in_words(figures.late(0.95)),
    )


def _row(figures: Figures) -> tuple[RenderableType, ...]:
    bar = ProgressBar(
        figures.tasks,
        figures.ended,
        width=_BAR_WIDTH,
        style="bright_black",
        complete_style="blue",
        finished_style="green",
    )
    return (
        figures.name,
        bar,
        Text(f"{figures.finished:,}", "green"),
        Text(f"{figures.failed:,}", "red" if figures.failed else "dim"),
        Text(f"{figures.waiting:,}", "" if figures.waiting else "dim"),
    )


def _requests(total: Figures, elapsed: float) -> str:
    rate = total.requests / elapsed if elapsed > 0 else 0.0
    return f"{total.requests:,} requests, {rate:,.0f} a second, for {total.ids:,} ids asked"


def _conclusion(total: Figures, elapsed: float, speed: float) -> Text:
    """Say what the figures come to, and what they would be at the real service's speed."""
    words = Text.assemble(
        (f"{total.requests:,} requests instead of {total.ids:,}", "bold"),
        " (one for each task and look).\n",
        (f"At real speed: {total.requests / elapsed / speed:.1f} requests a second", "bold"),
        f", results {seconds_in_words(total.late(0.5) * speed)} late"
        f" (p95 {seconds_in_words(total.late(0.95) * speed)}).\n",
    )
    if total.wrong:
        words.append(f"{len(total.wrong):,} of {total.tasks:,} states differ from what the service gave", "bold red")
    else:
        words.append(f"all {total.tasks:,} states as the service gave them", "bold green")
    return words.append(f", in {seconds_in_words(elapsed)}.")
