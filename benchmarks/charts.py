"""Which charts there are: one for each figure, over the number of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from client import Measure
from laws import LEARNED, NOT_WORSE
from learn import rows_of
from play import Arrivals
from runs import TITLES, Run, runs_of
from svg import Chart, DotChart, Dots, Series

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arena import Result
    from learn import Study

_MIB = 2**20
_AWAITED = "tasks awaited at once"


class _Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one chart shows.

    Attributes:
        name: Of its file.
        title: What it shows.
        unit: Of the vertical axis.
        read: Reads the figure from a run.
        measure: From which runs.
    """

    name: str
    title: str
    unit: str
    read: Callable[[Run], float]
    measure: Measure = Measure.COST


_FIGURES = (
    _Figure(
        name="cpu", title="Processor time to await all tasks", unit="CPU seconds", read=lambda run: run.figures.cpu
    ),
    _Figure(
        name="requests",
        title="Requests to await all tasks",
        unit="requests",
        read=lambda run: run.counts.requests,
    ),
    _Figure(
        name="lateness",
        title="From the end of a task to its waiter: the median",
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
        title="Memory at the peak, beyond what it takes to begin",
        unit="MiB",
        read=lambda run: run.figures.peak_memory / _MIB,
    ),
    _Figure(
        name="allocated",
        title="Memory for each waiting task, beyond its id",
        unit="bytes",
        read=lambda run: run.allocated,
        measure=Measure.MEMORY,
    ),
    _Figure(
        name="growth_cpu",
        title="Processor time while nothing ends",
        unit="CPU seconds a second",
        read=lambda run: run.cpu_share,
        measure=Measure.GROWTH,
    ),
    _Figure(
        name="growth_requests",
        title="Requests while nothing ends",
        unit="requests a second",
        read=lambda run: run.request_rate,
        measure=Measure.GROWTH,
    ),
)


def build_charts(results: Sequence[Result]) -> Iterator[tuple[str, Chart]]:
    """Build a chart of each figure of which there is any, with its name."""
    for figure in _FIGURES:
        runs = runs_of(results, figure.measure)
        series = list(_build_series(runs, figure))
        if not series:
            continue
        is_growth = figure.measure is Measure.GROWTH
        notes = [
            *(["dotted: in proportion to the tasks"] if is_growth else []),
            *(["hollow: not all tasks in time, so a lower bound"] if any(run.is_stopped for run in runs) else []),
        ]
        chart = Chart(
            title=figure.title,
            note="; ".join([_tell_intervals(runs), *notes]),
            x=_AWAITED,
            y=figure.unit,
            series=series,
            has_guide=is_growth,
        )
        yield figure.name, chart


def build_dot_charts(study: Study) -> Iterator[tuple[str, DotChart]]:
    """Build the chart of the schedules, if any were played, with its name."""
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
            title="Lateness of the learned schedule, as a part of a fixed interval's",
            note=f"at as many looks; dotted: at most {LEARNED} is promised above the line, {NOT_WORSE} anywhere",
            x="mean lateness, that of the fixed interval being 1",
            rows=list(dict.fromkeys(row.law for row in rows)),
            series=series,
            bounds=[LEARNED, NOT_WORSE],
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


def _tell_intervals(runs: Sequence[Run]) -> str:
    """Tell how often tasks are asked for."""
    largest = {run.interval: run.tasks for run in runs}  # in the order of their sizes
    intervals = [f"{interval:g} s" for interval in largest]
    if len(intervals) == 1:
        return f"each task asked every {intervals[0]}"
    first, *_ = largest.values()
    return f"each task asked every {intervals[0]}, of more than {first:,} every {intervals[-1]}"
