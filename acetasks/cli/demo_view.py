"""Rendering of the demo: title, live progress table, progress lines for pipes, and summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from acetasks.cli.formatting import format_clock, format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from acetasks.cli.demo_stats import DemoStats, ProviderStats

_BAR_WIDTH = 28
_COUNT_WIDTH = 7
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


def render_progress(stats: DemoStats, elapsed: float) -> RenderableType:
    """Return the live progress table.

    Args:
        stats: The statistics so far.
        elapsed: Seconds since the start.

    Returns:
        One table line for each provider and the total, and a line of request counts.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("provider")
    table.add_column("", width=_BAR_WIDTH)
    for name in ("succeeded", "failed", "remaining"):
        table.add_column(name, justify="right", min_width=_COUNT_WIDTH)
    total = stats.total
    for provider in stats.providers.values():
        table.add_row(*_progress_row(provider))
    table.add_row("", "", "", "", "")
    table.add_row(*_progress_row(total), style="bold")
    return Group(table, Text(f"\n{format_clock(elapsed)}  {_format_requests(total, elapsed)}"))


def format_progress(stats: DemoStats, elapsed: float) -> str:
    """Return the progress as one line, for output without a live display."""
    total = stats.total
    ended = f"{total.ended:,} of {total.tasks:,} tasks ended ({total.failed} failed)"
    return f"{format_clock(elapsed)} {ended}; {_format_requests(total, elapsed)}"


def render_summary(stats: DemoStats, elapsed: float, speed: float) -> RenderableType:
    """Return the final table and conclusions.

    Args:
        stats: The statistics of tasks that have all ended.
        elapsed: Duration of the demo in seconds.
        speed: Seconds of the real service per second of the demo.
    """
    table = Table(box=box.SIMPLE_HEAD, show_footer=True, padding=(0, 1, 0, 0), header_style="bold", footer_style="bold")
    total = stats.total
    table.add_column("provider", total.name)
    for header, footer in zip(_SUMMARY_COLUMNS, _summary_cells(total), strict=True):
        table.add_column(header, footer, justify="right")
    for provider in stats.providers.values():
        table.add_row(provider.name, *_summary_cells(provider))
    return Group(table, _conclusion(total, elapsed, speed))


def _summary_cells(stats: ProviderStats) -> tuple[str, ...]:
    return (
        f"{stats.succeeded:,}",
        f"{stats.failed:,}",
        f"{stats.requests:,}",
        f"{stats.polled_ids:,}",
        format_duration(stats.latency_percentile(50)),
        format_duration(stats.latency_percentile(95)),
    )


def _progress_row(stats: ProviderStats) -> tuple[RenderableType, ...]:
    bar = ProgressBar(
        stats.tasks,
        stats.ended,
        width=_BAR_WIDTH,
        style="bright_black",
        complete_style="blue",
        finished_style="green",
    )
    return (
        stats.name,
        bar,
        Text(f"{stats.succeeded:,}", "green"),
        Text(f"{stats.failed:,}", "red" if stats.failed else "dim"),
        Text(f"{stats.remaining:,}", "" if stats.remaining else "dim"),
    )


def _format_requests(total: ProviderStats, elapsed: float) -> str:
    rate = total.requests / elapsed if elapsed > 0 else 0.0
    return f"{total.requests:,} requests, {rate:,.0f} per second, for {total.polled_ids:,} polled ids"


def _conclusion(total: ProviderStats, elapsed: float, speed: float) -> Text:
    """Return the comparison with unbatched polling, the rates at real speed, and the check of the states."""
    median = format_duration(total.latency_percentile(50) * speed)
    p95 = format_duration(total.latency_percentile(95) * speed)
    text = Text.assemble(
        (f"{total.requests:,} requests instead of {total.polled_ids:,}", "bold"),
        " (one for each task and poll).\n",
        (f"At real speed: {total.requests / elapsed / speed:.1f} requests per second", "bold"),
        f", median latency {median} (p95 {p95}).\n",
    )
    if total.mismatches:
        text.append(f"{len(total.mismatches):,} of {total.tasks:,} task states differ from the service", "bold red")
    else:
        text.append(f"All {total.tasks:,} task states match the service", "bold green")
    return text.append(f", after {format_duration(elapsed)}.")
