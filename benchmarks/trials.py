"""Plans the trials of each measurement: competitors, sizes and durations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from arena import Trial
from client import Measure
from plan import NEVER, Load

if TYPE_CHECKING:
    from collections.abc import Iterator

#: From this number of tasks on, and for growth, the poll interval is 10 s instead of 3 s.
_LARGE = 100_000
_INTERVAL, _LONG_INTERVAL = 3.0, 10.0
#: Seconds after which the records of tasks that never end no longer change.
_STARTED_BY = 5.0
#: The default competitors.
USUAL = ("ours", "official", "by_hand", "floor")


class Span(msgspec.Struct, frozen=True):
    """End of the first and the last task, and time limit of the run, in seconds."""

    first: float
    last: float
    limit: float


# Tasks of one kind have similar durations. The long ones are like the documented samples, 154 and 155 s.
_QUICK, _FULL, _LONG, _LARGEST = (
    Span(3.0, 10.0, 30.0),
    Span(20.0, 40.0, 60.0),
    Span(140.0, 170.0, 185.0),
    Span(40.0, 80.0, 100.0),
)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the command line; None selects the default.

    Attributes:
        is_full: Whether all sizes are measured, with longer runs.
        tasks: Numbers of tasks.
        only: The competitors.
        interval: Seconds between two polls of a task.
        limit: Seconds after which a competitor is stopped.
        seed: Seed of the tasks.
    """

    is_full: bool = False
    tasks: list[int] | None = None
    only: list[str] | None = None
    interval: float | None = None
    limit: float | None = None
    seed: int = 0


class _Section(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of one measurement.

    Attributes:
        quick: Numbers of tasks in the short benchmark.
        full: Numbers of tasks in the full benchmark.
        competitors: The competitors.
        more: Additional competitors in the full benchmark.
        few: Competitors for large sizes; None for the same as otherwise.
        besides: Additional competitors in the full benchmark, by number of tasks.
    """

    quick: tuple[int, ...]
    full: tuple[int, ...]
    competitors: tuple[str, ...] = ("ours",)
    more: tuple[str, ...] = ()
    few: tuple[str, ...] | None = None
    besides: dict[int, tuple[str, ...]] = {}


_SECTIONS = {
    Measure.COST: _Section(
        quick=(300, 1000),
        full=(100, 300, 1000, 5000, 10_000, _LARGE),
        competitors=USUAL,
        few=USUAL,
        besides={10_000: ("reader",)},
    ),
    Measure.LONG: _Section(quick=(10_000,), full=(10_000,), competitors=("ours", "floor"), more=("reader",)),
    Measure.STALL: _Section(quick=(1000,), full=(1000, _LARGE), competitors=USUAL, few=("ours",)),
    Measure.MEMORY: _Section(
        quick=(1000,), full=(1000, 10_000, _LARGE), more=("official", "by_hand", "floor"), few=("ours",)
    ),
    Measure.GROWTH: _Section(
        quick=(100, 1000, 10_000),
        full=(100, 1000, 10_000, 30_000, _LARGE),
        competitors=("ours", "floor"),
    ),
}
#: Measurements of the short benchmark.
BRIEF = (Measure.COST, Measure.MEMORY)


def plan_trials(measure: Measure, choice: Choice) -> Iterator[Trial]:
    """Yield the trials of one measurement."""
    section = _SECTIONS[measure]
    for tasks in choice.tasks or (section.full if choice.is_full else section.quick):
        usual = section.competitors + (section.more + section.besides.get(tasks, ()) if choice.is_full else ())
        if tasks >= _LARGE and section.few is not None:
            usual = section.few
        for competitor in choice.only or usual:
            yield _plan_trial(measure, tasks, competitor, choice)


def _plan_trial(measure: Measure, tasks: int, competitor: str, choice: Choice) -> Trial:
    is_slow = tasks >= _LARGE or measure is Measure.GROWTH
    interval = choice.interval or (_LONG_INTERVAL if is_slow else _INTERVAL)
    since = 0.0
    # 1. Tasks that end.   2. Tasks that never end: measured for some intervals after the first poll of all.
    if measure is Measure.LONG:
        span = _LONG
    elif measure in {Measure.COST, Measure.STALL}:
        span = _LARGEST if tasks >= _LARGE else _FULL if choice.is_full else _QUICK
    elif measure is Measure.MEMORY:
        span = Span(NEVER, NEVER, 3.5 * interval)
    else:
        since = max(1.5 * interval, _STARTED_BY + interval)
        span = Span(NEVER, NEVER, since + (3.0 if choice.is_full else 2.0) * interval)
    return Trial(
        competitor=competitor,
        measure=measure,
        load=Load(tasks=tasks, first=span.first, last=span.last, seed=choice.seed),
        interval=interval,
        limit=choice.limit or span.limit,
        since=since,
    )
