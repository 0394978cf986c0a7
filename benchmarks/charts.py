"""Definitions of the charts: one for each figure, over the number of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from client import Measure
from learn import rows_of
from play import Arrivals
from runs import TITLES, Run, runs_of
from svg import Chart, DotChart, Dots, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arena import Result
    from learn import Study

_MIB = 2**20
_X_LABEL = "number of awaited tasks"


class _Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Definition of one chart.

    Attributes:
        name: File name without extension.
        title: Title of the chart.
        unit: Label of the vertical axis.
        read: Returns the figure of a run.
        measure: The measurement that the runs are taken from.
    """

    name: str
    title: str
    unit: str
    read: Callable[[Run], float]
    measure: Measure = Measure.COST


_FIGURES = (
    _Figure(name="cpu", title="CPU time to await all tasks", unit="CPU seconds", read=lambda run: run.figures.cpu),
    _Figure(
        name="requests",
        title="Requests to await all tasks",
        unit="requests",
        read=lambda run: run.counts.requests,
    ),
    _Figure(
        name="lateness",
        title="Median delay from the end of a task to its waiter",
        unit="seconds",
        read=lambda run: run.figures.lateness.p50,
    ),
    _Figure(
        name="stall",
        title="Longest stall of the event loop",
        unit="milliseconds",
        read=lambda run: 1e3 * run.figures.stalls.wall,
    ),
    _Figure(
        name="memory",
        title="Peak memory beyond the memory at the start",
        unit="MiB",
        read=lambda run: run.figures.peak_memory / _MIB,
    ),
    _Figure(
        name="allocated",
        title="Memory for each awaited task, without its id",
        unit="bytes",
        read=lambda run: run.allocated,
        measure=Measure.MEMORY,
    ),
    _Figure(
        name="growth_cpu",
        title="CPU time while no task ends",
        unit="CPU seconds per second",
        read=lambda run: run.cpu_share,
        measure=Measure.GROWTH,
    ),
    _Figure(
        name="growth_requests",
        title="Requests while no task ends",
        unit="requests per second",
        read=lambda run: run.request_rate,
        measure=Measure.GROWTH,
    ),
)


def build_charts(results: Sequence[Result]) -> Iterator[tuple[str, Chart]]:
    """Yield the name and the chart of each figure that was measured."""
    for figure in _FIGURES:
        runs = runs_of(results, figure.measure)
        series = list(_build_series(runs, figure))
        if not series:
            continue
        is_growth = figure.measure is Measure.GROWTH
        notes = [
            *(["dotted: proportional to the number of tasks"] if is_growth else []),
            *(
                ["hollow: lower bound, since not all tasks ended in time"]
                if any(run.is_stopped for run in runs)
                else []
            ),
        ]
        chart = Chart(
            title=figure.title,
            note="; ".join([_describe_intervals(runs), *notes]),
            x=_X_LABEL,
            y=figure.unit,
            series=series,
            has_guide=is_growth,
        )
        yield figure.name, chart


def build_dot_charts(study: Study) -> Iterator[tuple[str, DotChart]]:
    """Yield the name and the chart of the schedules, if they were simulated."""
    rows = rows_of(study)
    if not rows:
        return
    series = [
        Dots(name=name.value, colour=colour, values={row.law: row.ratio for row in rows if row.arrivals is name})
        for colour, name in enumerate(Arrivals)
    ]
    yield (
        "schedules",
        DotChart(
            title="Delay of the learned schedule relative to a fixed interval",
            note="with the same number of polls; above the line: distributions with learnable durations",
            x="mean delay, with a fixed interval = 1",
            rows=list(dict.fromkeys(row.law for row in rows)),
            series=series,
            bounds=[1.0],
            rule_after=len({row.law for row in rows if row.is_learnable}),
        ),
    )


def _build_series(runs: Sequence[Run], figure: _Figure) -> Iterator[Series]:
    for colour, (competitor, title) in enumerate(TITLES.items()):
        own = [run for run in runs if run.competitor == competitor and figure.read(run) > 0]
        if own:
            yield Series(
                name=title,
                colour=colour,
                points=[(run.tasks, figure.read(run)) for run in own],
                open_points={run.tasks for run in own if run.is_stopped},
            )


def _describe_intervals(runs: Sequence[Run]) -> str:
    """Return the poll intervals as text."""
    largest = {run.interval: run.tasks for run in runs}  # ordered by size
    intervals = [f"{interval:g} s" for interval in largest]
    if len(intervals) == 1:
        return f"poll interval {intervals[0]}"
    first, *_ = largest.values()
    return f"poll interval {intervals[0]}, above {first:,} tasks {intervals[-1]}"
