"""What the full benchmark has to show, as ratios and bounds; none of them depends on how fast the machine is."""

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
    """One thing that has to hold of acetasks.

    Attributes:
        says: It, in words.
        tasks: At how many tasks.
        read: Reads the figure from its run and the other competitor's, or its own again where there is no other.
        measure: In which measure.
        other: The competitor that it is compared with; empty for none.
        unit: Of the figure.
        least: What the figure has to be at least.
        most: What it may be at most.
    """

    says: str
    tasks: int
    read: Callable[[Run, Run], float]
    measure: Measure = Measure.COST
    other: str = ""
    unit: str = "times"
    least: float | None = None
    most: float | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What became of a promise.

    Attributes:
        promise: It, in words.
        shown: The figure that was measured.
        holds: Whether it holds.
    """

    promise: str
    shown: str
    holds: bool


def _less_cpu(ours: Run, theirs: Run) -> float:
    return theirs.figures.cpu / ours.figures.cpu


def _fewer_requests(ours: Run, theirs: Run) -> float:
    return theirs.counts.requests / ours.counts.requests


def _share_of_lateness(ours: Run, theirs: Run) -> float:
    return ours.figures.lateness.p50 / theirs.figures.lateness.p50


def _share_of_cpu_per_look(ours: Run, theirs: Run) -> float:
    return ours.cpu_per_look / theirs.cpu_per_look


def _left(ours: Run, _: Run) -> float:
    return ours.tasks - ours.figures.finished


def _late_intervals(ours: Run, _: Run) -> float:
    return ours.figures.lateness.p99 / ours.interval


def _stall(ours: Run, _: Run) -> float:
    return 1e3 * ours.figures.stalls.wall


def _busy_stall(ours: Run, _: Run) -> float:
    return 1e3 * ours.figures.stalls.cpu


def _memory(ours: Run, _: Run) -> float:
    return ours.allocated / _KIB


PROMISES = (
    Promise(
        says="1,000 tasks: 25 times less CPU than the official SDK",
        tasks=1000,
        other="official",
        read=_less_cpu,
        least=25,
    ),
    Promise(
        says="1,000 tasks: a tenth of the official SDK's median lateness",
        tasks=1000,
        other="official",
        read=_share_of_lateness,
        most=0.1,
    ),
    Promise(
        says="1,000 tasks: no stall of 25 ms, by the clock",
        tasks=1000,
        measure=Measure.STALL,
        read=_stall,
        most=25,
        unit="ms",
    ),
    Promise(
        says="1,000 tasks: no stall of 25 ms, in processor time",
        tasks=1000,
        measure=Measure.STALL,
        read=_busy_stall,
        most=25,
        unit="ms",
    ),
    Promise(
        says="300 tasks: 15 times fewer requests than the official SDK",
        tasks=300,
        other="official",
        read=_fewer_requests,
        least=15,
    ),
    Promise(
        says="300 tasks: 8 times less CPU than the official SDK", tasks=300, other="official", read=_less_cpu, least=8
    ),
    Promise(
        says="5,000 tasks: 4 times less CPU than a loop for each", tasks=5000, other="by_hand", read=_less_cpu, least=4
    ),
    Promise(
        says="5,000 tasks: 40 times fewer requests than a loop for each",
        tasks=5000,
        other="by_hand",
        read=_fewer_requests,
        least=40,
    ),
    Promise(
        says="5,000 tasks: no worse median lateness than a loop for each",
        tasks=5000,
        other="by_hand",
        read=_share_of_lateness,
        most=1,
    ),
    Promise(
        says="10,000 tasks of half a minute: 1.5 times the floor's CPU for each id asked, at most",
        tasks=10_000,
        other="floor",
        read=_share_of_cpu_per_look,
        most=1.5,
    ),
    Promise(
        says="10,000 tasks of 154 s, as documented: 1.5 times the floor's CPU for each id asked, at most",
        tasks=10_000,
        measure=Measure.LONG,
        other="floor",
        read=_share_of_cpu_per_look,
        most=1.5,
    ),
    Promise(
        says="10,000 tasks, while they last: 1.5 times the floor's CPU for each id asked, at most",
        tasks=10_000,
        measure=Measure.GROWTH,
        other="floor",
        read=_share_of_cpu_per_look,
        most=1.5,
    ),
    Promise(says="100,000 tasks, every 10 s: all finish", tasks=_MANY, read=_left, most=0, unit="left"),
    Promise(
        says="100,000 tasks, every 10 s: p99 of the lateness within 1.3 intervals",
        tasks=_MANY,
        read=_late_intervals,
        most=1.3,
        unit="intervals",
    ),
    Promise(
        says="100,000 tasks, every 10 s: no stall of 30 ms, by the clock",
        tasks=_MANY,
        measure=Measure.STALL,
        read=_stall,
        most=30,
        unit="ms",
    ),
    Promise(
        says="100,000 tasks, every 10 s: no stall of 30 ms, in processor time",
        tasks=_MANY,
        measure=Measure.STALL,
        read=_busy_stall,
        most=30,
        unit="ms",
    ),
    Promise(
        says="100,000 tasks, every 10 s: 1 KiB for each at most, beyond its id",
        tasks=_MANY,
        measure=Measure.MEMORY,
        read=_memory,
        most=1,
        unit="KiB",
    ),
)


def judge(results: Sequence[Result]) -> Iterator[Verdict]:
    """Hold the promises against results; those of which nothing was measured are passed over."""
    for promise in PROMISES:
        runs = {run.competitor: run for run in runs_of(results, promise.measure) if run.tasks == promise.tasks}
        ours = runs.get("ours")
        theirs = runs.get(promise.other or "ours")
        if ours is None or theirs is None:
            continue
        value = promise.read(ours, theirs)
        is_enough = promise.least is None or value >= promise.least
        is_little = promise.most is None or value <= promise.most
        yield Verdict(promise.says, f"{value:.3g} {promise.unit}", is_enough and is_little)


def judge_study(study: Study) -> Iterator[Verdict]:
    """Hold what is promised of the schedules against a study, where each is the worst; see `judge`."""
    rows = rows_of(study)
    # 1. Where there is something to learn.   2. Anywhere.   3. Where there is too little for all.
    if learnable := [row for row in rows if row.is_learnable]:
        says = (
            f"learned schedule, where it can learn: {LEARNED} of a fixed interval's lateness at as many looks, at most"
        )
        yield _judge_rows(says, learnable, LEARNED)
    if rows:
        yield _judge_rows(f"learned schedule, anywhere: {NOT_WORSE} of it, at most", rows, NOT_WORSE)
    for share in SHARES:
        orders = [order for order in study.orders if order.share == share]
        if orders:
            ratio = sum(order.ours.lateness for order in orders) / sum(order.oldest.lateness for order in orders)
            says = f"1/{1 / share:.0f} of the requests: {ORDERED} of the lateness of oldest first, at most"
            yield Verdict(says, f"{ratio:.3g} times", ratio <= ORDERED)


def _judge_rows(says: str, rows: Sequence[Row], most: float) -> Verdict:
    worst = max(rows, key=lambda row: row.ratio)
    shown = f"{worst.ratio:.3g} times ({worst.law}, {worst.arrivals.value})"
    return Verdict(says, shown, worst.ratio <= most)
