"""Bounds that the full benchmark checks. They do not depend on the speed of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from client import Measure
from laws import LEARNED, NOT_WORSE
from learn import ORDERED, SHARES, Row, Study, rows_of
from runs import Run, runs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from arena import Result

_KIB = 1024.0
_MANY = 100_000


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """A bound on one figure of acetasks.

    Attributes:
        text: The bound in words.
        tasks: Number of tasks.
        read: Returns the figure, given the run of acetasks and the one it is compared with, or the same run twice.
        measure: The measurement.
        other: The competitor to compare with; empty for none.
        unit: Unit of the figure.
        least: Lower bound of the figure.
        most: Upper bound of the figure.
    """

    text: str
    tasks: int
    read: Callable[[Run, Run], float]
    measure: Measure = Measure.COST
    other: str = ""
    unit: str = "times"
    least: float | None = None
    most: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """Outcome of a checked bound.

    Attributes:
        text: The bound in words.
        measured: The measured figure.
        is_met: Whether it is within the bound.
    """

    text: str
    measured: str
    is_met: bool


def _cpu_ratio(ours: Run, theirs: Run) -> float:
    return theirs.figures.cpu / ours.figures.cpu


def _requests_ratio(ours: Run, theirs: Run) -> float:
    return theirs.counts.requests / ours.counts.requests


def _lateness_ratio(ours: Run, theirs: Run) -> float:
    return ours.figures.lateness.p50 / theirs.figures.lateness.p50


def _cpu_per_poll_ratio(ours: Run, theirs: Run) -> float:
    return ours.cpu_per_poll / theirs.cpu_per_poll


def _unfinished(ours: Run, _: Run) -> float:
    return ours.tasks - ours.figures.finished


def _late_intervals(ours: Run, _: Run) -> float:
    return ours.figures.lateness.p99 / ours.interval


def _stall(ours: Run, _: Run) -> float:
    return 1e3 * ours.figures.stalls.wall


def _cpu_stall(ours: Run, _: Run) -> float:
    return 1e3 * ours.figures.stalls.cpu


def _memory(ours: Run, _: Run) -> float:
    return ours.allocated / _KIB


PROMISES = (
    Promise(
        text="1,000 tasks: 25 times less CPU than the official SDK",
        tasks=1000,
        other="official",
        read=_cpu_ratio,
        least=25,
    ),
    Promise(
        text="1,000 tasks: at most a tenth of the official SDK's median delay",
        tasks=1000,
        other="official",
        read=_lateness_ratio,
        most=0.1,
    ),
    Promise(
        text="1,000 tasks: no stall over 25 ms of wall time",
        tasks=1000,
        measure=Measure.STALL,
        read=_stall,
        most=25,
        unit="ms",
    ),
    Promise(
        text="1,000 tasks: no stall over 25 ms of CPU time",
        tasks=1000,
        measure=Measure.STALL,
        read=_cpu_stall,
        most=25,
        unit="ms",
    ),
    Promise(
        text="300 tasks: 15 times fewer requests than the official SDK",
        tasks=300,
        other="official",
        read=_requests_ratio,
        least=15,
    ),
    Promise(
        text="300 tasks: 8 times less CPU than the official SDK", tasks=300, other="official", read=_cpu_ratio, least=8
    ),
    Promise(
        text="5,000 tasks: 4 times less CPU than a loop per task", tasks=5000, other="by_hand", read=_cpu_ratio, least=4
    ),
    Promise(
        text="5,000 tasks: 40 times fewer requests than a loop per task",
        tasks=5000,
        other="by_hand",
        read=_requests_ratio,
        least=40,
    ),
    Promise(
        text="5,000 tasks: median delay no longer than with a loop per task",
        tasks=5000,
        other="by_hand",
        read=_lateness_ratio,
        most=1,
    ),
    Promise(
        text="10,000 tasks of 20 to 40 s: at most 3.3 times the floor's CPU for each polled id",
        tasks=10_000,
        other="floor",
        read=_cpu_per_poll_ratio,
        most=3.3,
    ),
    Promise(text="100,000 tasks, every 10 s: all finish", tasks=_MANY, read=_unfinished, most=0, unit="left"),
    Promise(
        text="100,000 tasks, every 10 s: p99 of the delay at most 1.3 intervals",
        tasks=_MANY,
        read=_late_intervals,
        most=1.3,
        unit="intervals",
    ),
    Promise(
        text="100,000 tasks, every 10 s: no stall over 30 ms of wall time",
        tasks=_MANY,
        measure=Measure.STALL,
        read=_stall,
        most=30,
        unit="ms",
    ),
    Promise(
        text="100,000 tasks, every 10 s: no stall over 30 ms of CPU time",
        tasks=_MANY,
        measure=Measure.STALL,
        read=_cpu_stall,
        most=30,
        unit="ms",
    ),
    Promise(
        text="100,000 tasks, every 10 s: at most 1 KiB for each task, without its id",
        tasks=_MANY,
        measure=Measure.MEMORY,
        read=_memory,
        most=1,
        unit="KiB",
    ),
)


def check_promises(results: Sequence[Result]) -> Iterator[Outcome]:
    """Check the bounds against results; bounds without results are skipped."""
    for promise in PROMISES:
        runs = {run.competitor: run for run in runs_of(results, promise.measure) if run.tasks == promise.tasks}
        ours = runs.get("ours")
        theirs = runs.get(promise.other or "ours")
        if ours is None or theirs is None:
            continue
        value = promise.read(ours, theirs)
        is_enough = promise.least is None or value >= promise.least
        is_little = promise.most is None or value <= promise.most
        yield Outcome(promise.text, f"{value:.3g} {promise.unit}", is_enough and is_little)


def check_study(study: Study) -> Iterator[Outcome]:
    """Check the bounds of the schedules against the worst results of a study."""
    rows = rows_of(study)
    # 1. Learnable distributions.   2. All distributions.   3. Polling budget under a rate limit.
    if learnable := [row for row in rows if row.is_learnable]:
        text = f"learned schedule, learnable: at most {LEARNED} of the delay of a fixed interval with as many polls"
        yield _check_rows(text, learnable, LEARNED)
    if rows:
        yield _check_rows(
            f"learned schedule, all: at most {NOT_WORSE} of the delay of a fixed interval", rows, NOT_WORSE
        )
    for share in SHARES:
        budgets = [budget for budget in study.budgets if budget.share == share]
        if budgets:
            ratio = sum(budget.ours.lateness for budget in budgets) / sum(budget.oldest.lateness for budget in budgets)
            text = f"1/{1 / share:.0f} of the requests: at most {ORDERED} of the delay of oldest first"
            yield Outcome(text, f"{ratio:.3g} times", ratio <= ORDERED)


def _check_rows(text: str, rows: Sequence[Row], most: float) -> Outcome:
    worst = max(rows, key=lambda row: row.ratio)
    measured = f"{worst.ratio:.3g} times ({worst.law}, {worst.arrivals.value})"
    return Outcome(text, measured, worst.ratio <= most)
