"""The results as Markdown tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from client import Measure
from promises import judge
from runs import TITLES, Run, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena import Result

_MIB = 2**20
_COSTS = (
    *("tasks", "awaited by", "CPU s", "requests", "connections", "looks a task", "CPU µs a look"),
    *("late by s (p50)", "(p95)", "(p99)", "longest stall ms", "stall p99 ms", "memory MiB", "finished"),
)
_GROWTH = (
    "tasks, of which none ends",
    "awaited by",
    "CPU s a second",
    "requests a second",
    "ids a request",
    "CPU µs a look",
)


def render_tables(results: Sequence[Result]) -> str:
    """Write every table of which there is anything, and what is to be known of them."""
    tables = (
        _tabulate(_COSTS, [_tell_costs(run) for run in runs_of(results, Measure.COST)], texts=(1,)),
        _list_faults(results),
        _tabulate(
            ("tasks", "awaited by", "longest stall ms, felt by a heartbeat of 5 ms", "p99"),
            [(f"{run.tasks:,}", run.title, *_tell_stalls(run)) for run in runs_of(results, Measure.STALL)],
            texts=(1,),
        ),
        _tabulate(
            ("tasks", "awaited by", "bytes for each waiting task, beyond its id"),
            [(f"{run.tasks:,}", run.title, f"{run.allocated:,.0f}") for run in runs_of(results, Measure.MEMORY)],
            texts=(1,),
        ),
        _tabulate(_GROWTH, [_tell_growth(run) for run in runs_of(results, Measure.GROWTH)], texts=(1,)),
        _tabulate(
            ("what has to hold", "measured", "holds"),
            [(verdict.promise, verdict.shown, "yes" if verdict.holds else "**no**") for verdict in judge(results)],
            texts=(0,),
        ),
    )
    return "\n\n".join(filter(None, tables))


def _tell_costs(run: Run) -> tuple[str, ...]:
    figures, counts = run.figures, run.counts
    sign = "≥ " if run.is_stopped else ""
    late = figures.lateness
    return (
        f"{run.tasks:,}",
        run.title,
        f"{sign}{figures.cpu:.2f}",
        f"{sign}{counts.requests:,}",
        f"{counts.connections:,}",
        f"{sign}{counts.ids / run.tasks:.1f}",
        f"{1e6 * run.cpu_per_look:,.3g}",
        *(f"{sign}{value:.2f}" for value in (late.p50, late.p95, late.p99)),
        *_tell_stalls(run),
        f"{figures.peak_memory / _MIB:.1f}",
        f"{figures.finished:,} in {figures.seconds:.0f} s" if run.is_stopped else "all",
    )


def _tell_stalls(run: Run) -> tuple[str, str]:
    """Tell the stalls in milliseconds, by the clock and, in brackets, in processor time."""
    stalls = run.figures.stalls
    return (
        f"{1e3 * stalls.wall:.1f} ({1e3 * stalls.cpu:.1f})",
        f"{1e3 * stalls.wall_p99:.1f} ({1e3 * stalls.cpu_p99:.1f})",
    )


def _tell_growth(run: Run) -> tuple[str, ...]:
    return (
        f"{run.tasks:,}",
        run.title,
        f"{run.cpu_share:.4f}",
        f"{run.request_rate:.1f}",
        f"{run.counts.ids / max(1, run.counts.requests):.1f}",
        f"{1e6 * run.cpu_per_look:,.3g}",
    )


def _list_faults(results: Sequence[Result]) -> str:
    """List the runs that have no figures."""
    lines = (
        f"- {result.trial.load.tasks:,} tasks, {TITLES[result.trial.competitor]} ({result.trial.measure.value}):"
        f" {result.fault}, after {result.counts.requests:,} requests"
        for result in results
        if result.fault
    )
    return "\n".join(lines)


def _tabulate(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[int] = ()) -> str:
    if not rows:
        return ""
    rule = ["---" if column in texts else "---:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))
