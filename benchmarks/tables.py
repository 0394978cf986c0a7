"""The results as Markdown tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from client import Measure
from learn import ORDERED, rows_of
from promises import judge, judge_study
from runs import TITLES, Run, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena import Result
    from learn import Order, Row, Study

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
_SCHEDULES = (
    *("how long tasks take", "how they come", "looks a task", "late by s, at a fixed interval", "learned", "ratio"),
    *("ratio, handed on", "ratio, proportional", "promised"),
)
_ORDERS = (
    "requests, of what the intervals take",
    "looks a task",
    "late by s, oldest first",
    "by what it is worth",
    "ratio",
    "promised",
)


def render_tables(results: Sequence[Result], study: Study) -> str:
    """Write every table of which there is anything, and what is to be known of them."""
    verdicts = [*judge(results), *judge_study(study)]
    tables = (
        _tabulate(_COSTS, [_tell_costs(run) for run in runs_of(results, Measure.COST)], texts=(1,)),
        _list_faults(results),
        _tabulate(
            ("tasks of 154 s or so", *_COSTS[1:]),
            [_tell_costs(run) for run in runs_of(results, Measure.LONG)],
            texts=(1,),
        ),
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
        _tabulate(_SCHEDULES, [_tell_schedules(row) for row in rows_of(study)], texts=(0, 1)),
        _tabulate(_ORDERS, _tell_orders(study.orders)),
        _tabulate(
            ("what has to hold", "measured", "holds"),
            [(verdict.promise, verdict.shown, "yes" if verdict.holds else "**no**") for verdict in verdicts],
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
        f"{1e6 * run.cpu_per_look:,.3g}" if counts.ids else "",
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


def _tell_schedules(row: Row) -> tuple[str, ...]:
    handed_on, proportional = ("" if ratio is None else f"{ratio:.2f}" for ratio in (row.handed_on, row.proportional))
    return (
        row.law,
        row.arrivals.value,
        f"{row.looks:.1f}",
        f"{row.fixed:.2f}",
        f"{row.learned:.2f}",
        f"{row.ratio:.2f}",
        handed_on,
        proportional,
        f"≤ {row.promise:g}",
    )


def _tell_orders(orders: Sequence[Order]) -> list[tuple[str, ...]]:
    """Tell what order does, over all seeds."""
    rows: list[tuple[str, ...]] = []
    for share in dict.fromkeys(order.share for order in orders):
        same = [order for order in orders if order.share == share]
        looks, ours, oldest = (
            statistics.fmean(values)
            for values in zip(
                *((order.ours.looks, order.ours.lateness, order.oldest.lateness) for order in same), strict=True
            )
        )
        rows.append(
            (
                f"1/{1 / share:.0f}",
                f"{looks:.1f}",
                f"{oldest:.1f}",
                f"{ours:.1f}",
                f"{ours / oldest:.2f}",
                f"≤ {ORDERED}",
            )
        )
    return rows


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
