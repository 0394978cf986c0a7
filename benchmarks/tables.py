"""The results as Markdown tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from client import Measure
from learn import ORDERED, rows_of
from promises import check_promises, check_study
from runs import TITLES, Run, runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena import Result
    from learn import BudgetComparison, Row, Study

_MIB = 2**20
_COSTS = (
    *("tasks", "client", "CPU s", "requests", "connections", "polls per task", "CPU µs per poll"),
    *("delay s (p50)", "(p95)", "(p99)", "longest stall ms", "stall p99 ms", "memory MiB", "finished"),
)
_GROWTH = (
    "tasks, none ends",
    "client",
    "CPU s per second",
    "requests per second",
    "ids per request",
    "CPU µs per poll",
)
_SCHEDULES = (
    *("task durations", "arrivals", "polls per task", "delay s, fixed interval", "delay s, learned", "ratio"),
    *("ratio, with durations", "ratio, proportional", "bound"),
)
_BUDGETS = (
    "share of the requests that the intervals need",
    "polls per task",
    "delay s, oldest first",
    "delay s, by priority",
    "ratio",
    "bound",
)


def render_tables(results: Sequence[Result], study: Study) -> str:
    """Return all tables with results."""
    outcomes = [*check_promises(results), *check_study(study)]
    tables = (
        _format_table(_COSTS, [_format_costs(run) for run in runs_of(results, Measure.COST)], texts=(1,)),
        _format_faults(results),
        _format_table(
            ("tasks of 140 to 170 s", *_COSTS[1:]),
            [_format_costs(run) for run in runs_of(results, Measure.LONG)],
            texts=(1,),
        ),
        _format_table(
            ("tasks", "client", "longest stall ms, measured with a 5 ms heartbeat", "p99"),
            [(f"{run.tasks:,}", run.title, *_format_stalls(run)) for run in runs_of(results, Measure.STALL)],
            texts=(1,),
        ),
        _format_table(
            ("tasks", "client", "bytes for each awaited task, without its id"),
            [(f"{run.tasks:,}", run.title, f"{run.allocated:,.0f}") for run in runs_of(results, Measure.MEMORY)],
            texts=(1,),
        ),
        _format_table(_GROWTH, [_format_growth(run) for run in runs_of(results, Measure.GROWTH)], texts=(1,)),
        _format_table(_SCHEDULES, [_format_schedules(row) for row in rows_of(study)], texts=(0, 1)),
        _format_table(_BUDGETS, _format_budgets(study.budgets)),
        _format_table(
            ("bound", "measured", "met"),
            [(outcome.text, outcome.measured, "yes" if outcome.is_met else "**no**") for outcome in outcomes],
            texts=(0,),
        ),
    )
    return "\n\n".join(filter(None, tables))


def _format_costs(run: Run) -> tuple[str, ...]:
    figures, counts = run.figures, run.counts
    sign = "≥ " if run.is_stopped else ""
    delay = figures.lateness
    return (
        f"{run.tasks:,}",
        run.title,
        f"{sign}{figures.cpu:.2f}",
        f"{sign}{counts.requests:,}",
        f"{counts.connections:,}",
        f"{sign}{counts.ids / run.tasks:.1f}",
        f"{1e6 * run.cpu_per_poll:,.3g}" if counts.ids else "",
        *(f"{sign}{value:.2f}" for value in (delay.p50, delay.p95, delay.p99)),
        *_format_stalls(run),
        f"{figures.peak_memory / _MIB:.1f}",
        f"{figures.finished:,} in {figures.seconds:.0f} s" if run.is_stopped else "all",
    )


def _format_stalls(run: Run) -> tuple[str, str]:
    """Return the stalls in milliseconds of wall time, with CPU time in parentheses."""
    stalls = run.figures.stalls
    return (
        f"{1e3 * stalls.wall:.1f} ({1e3 * stalls.cpu:.1f})",
        f"{1e3 * stalls.wall_p99:.1f} ({1e3 * stalls.cpu_p99:.1f})",
    )


def _format_growth(run: Run) -> tuple[str, ...]:
    return (
        f"{run.tasks:,}",
        run.title,
        f"{run.cpu_share:.4f}",
        f"{run.request_rate:.1f}",
        f"{run.counts.ids / max(1, run.counts.requests):.1f}",
        f"{1e6 * run.cpu_per_poll:,.3g}",
    )


def _format_schedules(row: Row) -> tuple[str, ...]:
    with_durations, proportional = (
        "" if ratio is None else f"{ratio:.2f}" for ratio in (row.with_durations, row.proportional)
    )
    return (
        row.law,
        row.arrivals.value,
        f"{row.polls:.1f}",
        f"{row.fixed:.2f}",
        f"{row.learned:.2f}",
        f"{row.ratio:.2f}",
        with_durations,
        proportional,
        f"≤ {row.bound:g}",
    )


def _format_budgets(budgets: Sequence[BudgetComparison]) -> list[tuple[str, ...]]:
    """Return a row for each budget, averaged over all seeds."""
    rows: list[tuple[str, ...]] = []
    for share in dict.fromkeys(budget.share for budget in budgets):
        same = [budget for budget in budgets if budget.share == share]
        polls, ours, oldest = (
            statistics.fmean(values)
            for values in zip(
                *((budget.ours.polls, budget.ours.lateness, budget.oldest.lateness) for budget in same), strict=True
            )
        )
        rows.append(
            (
                f"1/{1 / share:.0f}",
                f"{polls:.1f}",
                f"{oldest:.1f}",
                f"{ours:.1f}",
                f"{ours / oldest:.2f}",
                f"≤ {ORDERED}",
            )
        )
    return rows


def _format_faults(results: Sequence[Result]) -> str:
    """Return a list of the runs without figures."""
    lines = (
        f"- {result.trial.load.tasks:,} tasks, {TITLES[result.trial.competitor]} ({result.trial.measure.value}):"
        f" {result.fault}, after {result.counts.requests:,} requests"
        for result in results
        if result.fault
    )
    return "\n".join(lines)


def _format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, texts: Sequence[int] = ()) -> str:
    if not rows:
        return ""
    rule = ["---" if column in texts else "---:" for column in range(len(headers))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headers, rule, *rows))
