"""Texts of the demo around its board: title and summary."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from acetasks.cli.demo_stats import find_percentile
from acetasks.cli.formatting import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from acetasks.cli.board.model import BoardModel, Counts
    from acetasks.cli.demo_stats import DemoStats

#: Explains the failed tasks: the simulated service makes some fail, and acetasks does not.
FAILED_NOTE = "as scripted"
_SUMMARY_COLUMNS = ("succeeded", "failed", "requests", "unbatched", "latency p50", "p95")


def render_title(tasks: int, providers: int, speed: float) -> Text:
    """Return the heading of the demo.

    Args:
        tasks: Number of tasks.
        providers: Number of providers.
        speed: Seconds of the real service per second of the demo.
    """
    return Text.assemble(
        (f"{tasks:,} tasks of {providers} providers, awaited by one client", "bold"),
        f"\nThe service is simulated in another process, at {speed:g} times the real speed.\n",
    )


def render_summary(model: BoardModel, stats: DemoStats, elapsed: float, speed: float, *, width: int) -> RenderableType:
    """Return the final table and conclusions.

    Args:
        model: The board, after the end of all tasks.
        stats: The comparison with the simulated tasks.
        elapsed: Duration of the demo in seconds.
        speed: Seconds of the real service per second of the demo.
        width: Columns of the terminal; the table has as many columns as fit.
    """
    total, providers = model.count()
    rows: list[tuple[str, ...]] = [("provider", *_SUMMARY_COLUMNS)]
    for name, counts in providers.items():
        health = model.providers[name]
        rows.append((name, *_summary_cells(counts, health.requests, health.polled_ids, stats.latencies[name])))
    rows.append(("total", *_summary_cells(total, model.requests, model.polled_ids, stats.all_latencies)))
    return Group(_build_table(rows, width), _conclusion(model, stats, elapsed, speed))


def _build_table(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    """Return a table of a head, rows and a foot, with as many columns as a width has room for."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0), header_style="bold", footer_style="bold")
    columns = list(zip(*rows, strict=True))
    # Each column has two blanks beside it, and the table one at its start.
    ends = itertools.accumulate((max(map(len, column)) + 2 for column in columns), initial=1)
    number = max(sum(end <= width for end in ends) - 1, 1)
    for head, *_, foot in columns[:number]:
        table.add_column(head, foot, justify="right" if table.columns else "left")
    for row in rows[1:-1]:
        table.add_row(*row[:number])
    return table


def _summary_cells(counts: Counts, requests: int, polled_ids: int, latencies: list[float]) -> tuple[str, ...]:
    return (
        f"{counts.succeeded:,}",
        f"{counts.failures:,}",
        f"{requests:,}",
        f"{polled_ids:,}",
        format_duration(find_percentile(latencies, 50)),
        format_duration(find_percentile(latencies, 95)),
    )


def _conclusion(model: BoardModel, stats: DemoStats, elapsed: float, speed: float) -> Text:
    """Return the comparison with unbatched polling, the rates at real speed, and the check of the states."""
    total, _ = model.count()
    latencies = stats.all_latencies
    median = format_duration(find_percentile(latencies, 50) * speed)
    p95 = format_duration(find_percentile(latencies, 95) * speed)
    text = Text.assemble(
        (f"{model.requests:,} requests instead of {model.polled_ids:,}", "bold"),
        " (one for each task and poll).\n",
        (f"At real speed: {model.requests / elapsed / speed:.1f} requests per second", "bold"),
        f". The median latency is {median} (p95 {p95}),\n"
        "from the end of a task to its delivery: the next poll of the task finds it.\n",
    )
    if stats.mismatches:
        text.append(f"{len(stats.mismatches):,} of {total.tasks:,} task states differ from the service", "bold red")
    else:
        text.append(f"All {total.tasks:,} task states match the service", "bold green")
        if total.failed:
            text.append(f" ({total.failed:,} failed {FAILED_NOTE})")
    return text.append(f", after {format_duration(elapsed)}.")
