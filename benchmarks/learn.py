"""The schedules, held against each other: how late looks are for as many of them, and what order does for a budget.

Whoever looks more often is sooner, so each schedule is compared with the fixed interval that asks for as many ids for
each task: found by trial, with the same tasks, arrivals and jitter.
"""

from __future__ import annotations

import contextlib
import random
import statistics
import sys
import time
from typing import TYPE_CHECKING, Literal
from unittest import mock

import msgspec
from laws import LAWS, LEARNED, NOT_WORSE, Law, lognormal, lognormal_mean
from play import Arrivals, Planned, Play, add_provider, plan_tasks, play

from acetasks import PollPolicy
from acetasks.durations import Durations
from acetasks.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SEEDS, _QUICK_SEEDS = (0, 1), (0,)
#: Where time is short: one law that can be learned, one that cannot, one that changes.
_QUICK_LAWS = ("lognormal, narrow", "exponential", "jump down")
#: Looks are as many if they differ by less than this part, for what is promised and for what is only shown; what
#: difference is left is made up for in proportion. After so many trials the nearest is taken.
_EQUAL, _ABOUT_EQUAL, _MOST_TRIALS = 0.01, 0.1, 6
#: Of the budget: parts of what the intervals would take, and how much less late than oldest first is promised.
SHARES, _QUICK_SHARES, ORDERED = (1 / 3, 1 / 10), (1 / 3,), 0.9
#: Its short and long tasks: medians, and seconds from one to the next, so that about as many of each are waited for.
_SHORT, _LONG, _SHORT_APART, _LONG_APART, _SPREAD = 150.0, 1500.0, 1.0, 10.0, 0.3
_BUDGET_SECONDS, _BUDGET_INTERVAL = 4000.0, 5.0


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule, and the fixed interval at as many looks.

    Attributes:
        play: What the schedule has shown.
        fixed: What the fixed interval has.
        interval: That interval.
    """

    play: Play
    fixed: Play
    interval: float

    @property
    def fixed_lateness(self) -> float:
        """The mean lateness of the fixed interval, where what is left of the difference in looks is made up for."""
        return self.fixed.lateness * self.fixed.looks / self.play.looks


class Bout(msgspec.Struct, frozen=True, kw_only=True):
    """The schedules under one law.

    Attributes:
        law: Its name.
        arrivals: How its tasks came.
        seed: Of the tasks, and of the client.
        promise: What part of the fixed interval's lateness that of the learned schedule may be at most.
        learned: The learned schedule, from nothing known.
        handed_on: The same, told what the run before, with other tasks, has learned; with the second seed only.
        proportional: The schedule in proportion to the age; with the first seed only.
    """

    law: str
    arrivals: Arrivals
    seed: int
    promise: float
    learned: Match
    handed_on: Match | None = None
    proportional: Match | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asked first, where there is too little for all.

    Attributes:
        share: The budget, as a part of what the intervals would take.
        seed: Of the tasks, and of the client.
        ours: What is shown where those come first that it is worth most to ask for.
        oldest: What is shown where those come first that were asked the longest ago.
    """

    share: float
    seed: int
    ours: Play
    oldest: Play


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was learned of the schedules."""

    bouts: list[Bout] = []
    orders: list[Order] = []


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One law and one way to arrive, over all seeds.

    Attributes:
        law: The law's name.
        arrivals: How tasks came.
        promise: As in `Bout`.
        looks: Looks at a task under the learned schedule.
        fixed: The mean lateness of the fixed interval at as many.
        learned: That of the learned schedule.
        ratio: The one by the other.
        handed_on: The ratio of the schedule that was handed what another has learned; None if not played.
        proportional: That of the schedule in proportion to the age; None if not played.
    """

    law: str
    arrivals: Arrivals
    promise: float
    looks: float
    fixed: float
    learned: float
    ratio: float
    handed_on: float | None
    proportional: float | None

    @property
    def is_learnable(self) -> bool:
        """Whether there is something to learn, so that the learned schedule has to be much sooner."""
        return self.promise <= LEARNED


class _Fixed:
    """The fixed interval, tried until it costs as many looks as another schedule."""

    def __init__(self, law: Law, tasks: Sequence[Planned], seed: int, arrivals: Arrivals) -> None:
        self._law, self._tasks, self._seed, self._arrivals = law, tasks, seed, arrivals
        self._trials: dict[float, Play] = {}

    def match(self, other: Play, tolerance: float, first: float = 1.0) -> Match:
        """Find the interval at which it looks as often as another schedule.

        Args:
            other: What the other has shown.
            tolerance: By what part looks may differ.
            first: The interval to try first, as a part of the law's.
        """
        if not self._trials:
            self._try(first * self._law.interval)
        for _ in range(_MOST_TRIALS):
            if abs(self._nearest(other.looks)[1].looks - other.looks) <= tolerance * other.looks:
                break
            self._try(self._aim(other.looks))
        interval, nearest = self._nearest(other.looks)
        return Match(play=other, fixed=nearest, interval=interval)

    def _nearest(self, looks: float) -> tuple[float, Play]:
        return min(self._trials.items(), key=lambda trial: abs(trial[1].looks - looks))

    def _aim(self, looks: float) -> float:
        """Choose the interval to try next: looks but the first, which has no interval before it, go with its inverse.

        Between two that are known to be too short and too long, it is by their looks; else by those of the nearest.
        """
        longer = [interval for interval, trial in self._trials.items() if trial.looks < looks]
        shorter = [interval for interval, trial in self._trials.items() if trial.looks >= looks]
        if not longer or not shorter:
            interval = max(shorter, default=0.0) or min(longer)
            return interval * (self._trials[interval].looks - 1.0) / max(looks - 1.0, 0.1)
        low, high = max(shorter), min(longer)
        more, less = self._trials[low].looks, self._trials[high].looks
        part = min(max((more - looks) / max(more - less, 1e-9), 0.1), 0.9)
        return 1.0 / ((1.0 - part) / low + part / high)

    def _try(self, interval: float) -> None:
        self._trials[interval] = _play(self._law, self._tasks, self._seed, self._arrivals, "fixed", interval=interval)


def study(*, is_full: bool) -> Study:
    """Play every law, or a few, and the budget; tell of each on stderr.

    Args:
        is_full: Whether all laws are played, and with several seeds.
    """
    seeds = _SEEDS if is_full else _QUICK_SEEDS
    laws = LAWS if is_full else [law for law in LAWS if law.name in _QUICK_LAWS]
    bouts: list[Bout] = []
    orders: list[Order] = []
    for law in laws:
        for arrivals in Arrivals:
            with _told(f"{law.name}, {arrivals.value}"):
                bouts.extend(_hold_bouts(law, arrivals, seeds))
    for share in SHARES if is_full else _QUICK_SHARES:
        with _told(f"a budget of {share:.2g} of what the intervals take"):
            orders.extend(_order(share, seed) for seed in seeds)
    return Study(bouts=bouts, orders=orders)


def rows_of(results: Study) -> list[Row]:
    """Bring the seeds of each law together, in the order of the laws."""
    groups: dict[tuple[str, Arrivals], list[Bout]] = {}
    for bout in results.bouts:
        groups.setdefault((bout.law, bout.arrivals), []).append(bout)
    rows = []
    for (law, arrivals), bouts in groups.items():
        fixed = statistics.fmean(bout.learned.fixed_lateness for bout in bouts)
        learned = statistics.fmean(bout.learned.play.lateness for bout in bouts)
        rows.append(
            Row(
                law=law,
                arrivals=arrivals,
                promise=bouts[0].promise,
                looks=statistics.fmean(bout.learned.play.looks for bout in bouts),
                fixed=fixed,
                learned=learned,
                ratio=learned / fixed,
                handed_on=_ratio([bout.handed_on for bout in bouts]),
                proportional=_ratio([bout.proportional for bout in bouts]),
            )
        )
    return rows


def _ratio(matches: Sequence[Match | None]) -> float | None:
    """Tell the lateness of a schedule as a part of the fixed interval's, over all that were played."""
    played = [match for match in matches if match is not None]
    if not played:
        return None
    return sum(match.play.lateness for match in played) / sum(match.fixed_lateness for match in played)


def _hold_bouts(law: Law, arrivals: Arrivals, seeds: Sequence[int]) -> Iterator[Bout]:
    first, known = 1.0, None
    for seed in seeds:
        tasks = plan_tasks(law, arrivals, seed)
        fixed, durations = _Fixed(law, tasks, seed, arrivals), Durations()
        learned = fixed.match(_play(law, tasks, seed, arrivals, "learned", durations=durations), _EQUAL, first)
        # The next seed's interval is about the same.
        first = learned.interval / law.interval
        handed_on = proportional = None
        # What is only shown is shown once: the first seed's tasks, or what was learned of them.
        if len(seeds) > 1 and seed == seeds[0]:
            proportional = fixed.match(_play(law, tasks, seed, arrivals, "proportional"), _ABOUT_EQUAL)
        elif len(seeds) > 1 and seed == seeds[1]:
            handed_on = fixed.match(_play(law, tasks, seed, arrivals, "learned", durations=known), _ABOUT_EQUAL)
        known = Durations.from_json(durations.to_json())
        yield Bout(
            law=law.name,
            arrivals=arrivals,
            seed=seed,
            # What is promised is of looks at a task. In batches they are not the schedule's alone: where all fit into
            # one, their hazards together are always the same, and even times are the best.
            promise=law.promise if arrivals is Arrivals.ALONE else NOT_WORSE,
            learned=learned,
            handed_on=handed_on,
            proportional=proportional,
        )


def _play(
    law: Law,
    tasks: Sequence[Planned],
    seed: int,
    arrivals: Arrivals,
    schedule: Literal["fixed", "proportional", "learned"],
    *,
    interval: float = 0.0,
    durations: Durations | None = None,
) -> Play:
    batch_size = 1 if arrivals is Arrivals.ALONE else 50
    policy = PollPolicy(interval=interval or law.interval, schedule=schedule, batch_size=batch_size)
    return play(tasks, add_provider("played", law.typical), policy, seed=seed, durations=durations)


def _order(share: float, seed: int) -> Order:
    """Await tasks of two kinds with a part of the requests that their intervals would take, in both orders."""
    draw = random.Random(f"budget {seed}")
    tasks: list[Planned] = []
    awaited = 0.0
    for model, median, apart in (("short", _SHORT, _SHORT_APART), ("long", _LONG, _LONG_APART)):
        durations = lognormal(median, _SPREAD)
        awaited += lognormal_mean(median, _SPREAD) / apart
        for number in range(int(_BUDGET_SECONDS / apart)):
            begin = number * apart
            end = begin + durations(draw, number, begin)
            tasks.append(Planned(id=f"{model}-{number:05}", begin=begin, end=end, model=model))
    tasks.sort(key=lambda task: task.begin)
    usual = PollPolicy(interval=_BUDGET_INTERVAL, schedule="learned")
    requests = awaited / (_BUDGET_INTERVAL * (1.0 + usual.jitter / 2.0)) / usual.batch_size
    policy = msgspec.structs.replace(usual, max_rate=share * requests)
    slug = add_provider("played", _SHORT)
    ours = play(tasks, slug, policy, seed=seed)
    with _oldest_first():
        oldest = play(tasks, slug, policy, seed=seed)
    return Order(share=share, seed=seed, ours=ours, oldest=oldest)


@contextlib.contextmanager
def _oldest_first() -> Iterator[None]:
    """Have all tasks ask with the same hazard, so that those come first that were asked the longest ago."""

    def at(worth: Worth, now: float) -> float:
        return (now - worth.seen_at) ** 2 / 2.0

    with mock.patch.object(Worth, "at", at), mock.patch.object(Worth, "urgency", property(lambda _: 0)):
        yield


@contextlib.contextmanager
def _told(title: str) -> Iterator[None]:
    """Tell on stderr what is played, and the processor time that it took."""
    print(f"learn: {title} ...", end=" ", flush=True, file=sys.stderr)
    before = time.process_time()
    yield
    print(f"{time.process_time() - before:.1f} s CPU", file=sys.stderr)
