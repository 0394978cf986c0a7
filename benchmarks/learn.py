"""Compares the polling schedules by delay at the same number of polls, and by polling order under a rate limit.

More polls give shorter delays, so each schedule is compared with the fixed interval that has the same number of polls
for each task. This interval is found by repeated simulation with the same tasks, arrivals and jitter.
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
from play import Arrivals, Planned, Simulation, add_provider, plan_tasks, simulate

from acetasks import PollPolicy
from acetasks._scheduling import Durations
from acetasks._scheduling.tasks import PollPriority

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SEEDS, _QUICK_SEEDS = (0, 1), (0,)
#: Distributions of the short benchmark: a learnable one, one that is not, and one that changes.
_QUICK_LAWS = ("lognormal, narrow", "exponential", "jump down")
#: Relative tolerances of the number of polls, for bounded and for other figures; the remaining difference is
#: compensated in proportion. After this number of simulations the nearest one is used.
_EQUAL, _ABOUT_EQUAL, _MOST_TRIALS = 0.01, 0.1, 6
#: Budgets as shares of the requests that the intervals need, and upper bound of the delay relative to oldest first.
SHARES, _QUICK_SHARES, ORDERED = (1 / 3, 1 / 10), (1 / 3,), 0.9
#: Short and long tasks under a budget: medians, and seconds between arrivals, for about equal numbers of awaited tasks.
_SHORT, _LONG, _SHORT_APART, _LONG_APART, _SPREAD = 150.0, 1500.0, 1.0, 10.0, 0.3
_BUDGET_SECONDS, _BUDGET_INTERVAL = 4000.0, 5.0


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule and the fixed interval with the same number of polls.

    Attributes:
        simulation: Result of the schedule.
        fixed: Result of the fixed interval.
        interval: The fixed interval.
    """

    simulation: Simulation
    fixed: Simulation
    interval: float

    @property
    def fixed_lateness(self) -> float:
        """Mean delay of the fixed interval, corrected for the remaining difference in the number of polls."""
        return self.fixed.lateness * self.fixed.polls / self.simulation.polls


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The schedules under one law.

    Attributes:
        law: Its name.
        arrivals: Arrival pattern.
        seed: Seed of the tasks and of the client.
        bound: Upper bound of the delay of the learned schedule relative to the fixed interval.
        learned: The learned schedule without previous knowledge.
        with_durations: The learned schedule with the durations of the previous run; second seed only.
        proportional: The proportional schedule; first seed only.
    """

    law: str
    arrivals: Arrivals
    seed: int
    bound: float
    learned: Match
    with_durations: Match | None = None
    proportional: Match | None = None


class BudgetComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of polling orders under a rate limit.

    Attributes:
        share: The budget as a share of the requests that the intervals need.
        seed: Seed of the tasks and of the client.
        ours: Result of polling by priority.
        oldest: Result of polling the longest-waiting tasks first.
    """

    share: float
    seed: int
    ours: Simulation
    oldest: Simulation


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """All results of the schedule simulations."""

    comparisons: list[Comparison] = []
    budgets: list[BudgetComparison] = []


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Results of one distribution and one arrival pattern over all seeds.

    Attributes:
        law: Name of the distribution.
        arrivals: Arrival pattern.
        bound: As in `Comparison`.
        polls: Polls per task with the learned schedule.
        fixed: Mean delay of the fixed interval with as many polls.
        learned: Mean delay of the learned schedule.
        ratio: `learned` divided by `fixed`.
        with_durations: Ratio of the learned schedule with earlier durations; None if not simulated.
        proportional: Ratio of the proportional schedule; None if not simulated.
    """

    law: str
    arrivals: Arrivals
    bound: float
    polls: float
    fixed: float
    learned: float
    ratio: float
    with_durations: float | None
    proportional: float | None

    @property
    def is_learnable(self) -> bool:
        """Whether the distribution is learnable, so that the stricter bound applies."""
        return self.bound <= LEARNED


class _Fixed:
    """Finds the fixed interval with as many polls as another schedule."""

    def __init__(self, law: Law, tasks: Sequence[Planned], seed: int, arrivals: Arrivals) -> None:
        self._law, self._tasks, self._seed, self._arrivals = law, tasks, seed, arrivals
        self._trials: dict[float, Simulation] = {}

    def match(self, other: Simulation, tolerance: float, first: float = 1.0) -> Match:
        """Return the comparison with the fixed interval that has as many polls as another schedule.

        Args:
            other: Result of the other schedule.
            tolerance: Relative tolerance of the number of polls.
            first: First interval to try, relative to that of the distribution.
        """
        if not self._trials:
            self._run(first * self._law.interval)
        for _ in range(_MOST_TRIALS):
            if abs(self._nearest(other.polls)[1].polls - other.polls) <= tolerance * other.polls:
                break
            self._run(self._next_interval(other.polls))
        interval, nearest = self._nearest(other.polls)
        return Match(simulation=other, fixed=nearest, interval=interval)

    def _nearest(self, polls: float) -> tuple[float, Simulation]:
        return min(self._trials.items(), key=lambda trial: abs(trial[1].polls - polls))

    def _next_interval(self, polls: float) -> float:
        """Return the interval to try next: the number of polls after the first one is proportional to its inverse.

        It is interpolated between a too short and a too long interval, or extrapolated from the nearest.
        """
        longer = [interval for interval, trial in self._trials.items() if trial.polls < polls]
        shorter = [interval for interval, trial in self._trials.items() if trial.polls >= polls]
        if not longer or not shorter:
            interval = max(shorter, default=0.0) or min(longer)
            return interval * (self._trials[interval].polls - 1.0) / max(polls - 1.0, 0.1)
        low, high = max(shorter), min(longer)
        more, less = self._trials[low].polls, self._trials[high].polls
        part = min(max((more - polls) / max(more - less, 1e-9), 0.1), 0.9)
        return 1.0 / ((1.0 - part) / low + part / high)

    def _run(self, interval: float) -> None:
        self._trials[interval] = _simulate(
            self._law, self._tasks, self._seed, self._arrivals, "fixed", interval=interval
        )


def study(*, is_full: bool) -> Study:
    """Simulate the distributions and the budgets, with progress on stderr.

    Args:
        is_full: Whether all distributions are simulated, with several seeds.
    """
    seeds = _SEEDS if is_full else _QUICK_SEEDS
    laws = LAWS if is_full else [law for law in LAWS if law.name in _QUICK_LAWS]
    comparisons: list[Comparison] = []
    budgets: list[BudgetComparison] = []
    for law in laws:
        for arrivals in Arrivals:
            with _progress(f"{law.name}, {arrivals.value}"):
                comparisons.extend(_compare(law, arrivals, seeds))
    for share in SHARES if is_full else _QUICK_SHARES:
        with _progress(f"budget of {share:.2g} of the requests that the intervals need"):
            budgets.extend(_compare_orders(share, seed) for seed in seeds)
    return Study(comparisons=comparisons, budgets=budgets)


def rows_of(results: Study) -> list[Row]:
    """Combine the seeds of each distribution."""
    groups: dict[tuple[str, Arrivals], list[Comparison]] = {}
    for comparison in results.comparisons:
        groups.setdefault((comparison.law, comparison.arrivals), []).append(comparison)
    rows = []
    for (law, arrivals), comparisons in groups.items():
        fixed = statistics.fmean(comparison.learned.fixed_lateness for comparison in comparisons)
        learned = statistics.fmean(comparison.learned.simulation.lateness for comparison in comparisons)
        rows.append(
            Row(
                law=law,
                arrivals=arrivals,
                bound=comparisons[0].bound,
                polls=statistics.fmean(comparison.learned.simulation.polls for comparison in comparisons),
                fixed=fixed,
                learned=learned,
                ratio=learned / fixed,
                with_durations=_ratio([comparison.with_durations for comparison in comparisons]),
                proportional=_ratio([comparison.proportional for comparison in comparisons]),
            )
        )
    return rows


def _ratio(matches: Sequence[Match | None]) -> float | None:
    """Return the delay of a schedule relative to the fixed interval, over all simulations."""
    simulated = [match for match in matches if match is not None]
    if not simulated:
        return None
    return sum(match.simulation.lateness for match in simulated) / sum(match.fixed_lateness for match in simulated)


def _compare(law: Law, arrivals: Arrivals, seeds: Sequence[int]) -> Iterator[Comparison]:
    first, known = 1.0, None
    for seed in seeds:
        tasks = plan_tasks(law, arrivals, seed)
        fixed, durations = _Fixed(law, tasks, seed, arrivals), Durations()
        learned = fixed.match(_simulate(law, tasks, seed, arrivals, "learned", durations=durations), _EQUAL, first)
        # The interval for the next seed is about the same.
        first = learned.interval / law.interval
        with_durations = proportional = None
        # Figures without a bound are simulated once: with the first seed, or with the durations learned from it.
        if len(seeds) > 1 and seed == seeds[0]:
            proportional = fixed.match(_simulate(law, tasks, seed, arrivals, "proportional"), _ABOUT_EQUAL)
        elif len(seeds) > 1 and seed == seeds[1]:
            with_durations = fixed.match(
                _simulate(law, tasks, seed, arrivals, "learned", durations=known), _ABOUT_EQUAL
            )
        known = Durations.from_json(durations.to_json())
        yield Comparison(
            law=law.name,
            arrivals=arrivals,
            seed=seed,
            # The strict bound is for single polls. If all tasks fit into one batch, their total hazard is constant and
            # a fixed interval is optimal.
            bound=law.bound if arrivals is Arrivals.ALONE else NOT_WORSE,
            learned=learned,
            with_durations=with_durations,
            proportional=proportional,
        )


def _simulate(
    law: Law,
    tasks: Sequence[Planned],
    seed: int,
    arrivals: Arrivals,
    schedule: Literal["fixed", "proportional", "learned"],
    *,
    interval: float = 0.0,
    durations: Durations | None = None,
) -> Simulation:
    batch_size = 1 if arrivals is Arrivals.ALONE else 50
    policy = PollPolicy(interval=interval or law.interval, schedule=schedule, batch_size=batch_size)
    return simulate(tasks, add_provider("simulated", law.typical), policy, seed=seed, durations=durations)


def _compare_orders(share: float, seed: int) -> BudgetComparison:
    """Simulate tasks of two kinds with a share of the needed requests, in both polling orders."""
    rng = random.Random(f"budget {seed}")
    tasks: list[Planned] = []
    awaited = 0.0
    for model, median, apart in (("short", _SHORT, _SHORT_APART), ("long", _LONG, _LONG_APART)):
        durations = lognormal(median, _SPREAD)
        awaited += lognormal_mean(median, _SPREAD) / apart
        for number in range(int(_BUDGET_SECONDS / apart)):
            begin = number * apart
            end = begin + durations(rng, number, begin)
            tasks.append(Planned(id=f"{model}-{number:05}", begin=begin, end=end, model=model))
    tasks.sort(key=lambda task: task.begin)
    usual = PollPolicy(interval=_BUDGET_INTERVAL, schedule="learned")
    requests = awaited / (_BUDGET_INTERVAL * (1.0 + usual.jitter / 2.0)) / usual.batch_size
    policy = msgspec.structs.replace(usual, max_rate=share * requests)
    slug = add_provider("simulated", _SHORT)
    ours = simulate(tasks, slug, policy, seed=seed)
    with _oldest_first():
        oldest = simulate(tasks, slug, policy, seed=seed)
    return BudgetComparison(share=share, seed=seed, ours=ours, oldest=oldest)


@contextlib.contextmanager
def _oldest_first() -> Iterator[None]:
    """Give all tasks the same hazard, so that the longest-waiting tasks are polled first."""

    def score(priority: PollPriority, now: float) -> float:
        return (now - priority.last_polled_at) ** 2 / 2.0

    urgency = property(lambda _: 0)
    with mock.patch.object(PollPriority, "score", score), mock.patch.object(PollPriority, "urgency", urgency):
        yield


@contextlib.contextmanager
def _progress(title: str) -> Iterator[None]:
    """Print the title and the CPU time of a simulation on stderr."""
    print(f"learn: {title} ...", end=" ", flush=True, file=sys.stderr)
    before = time.process_time()
    yield
    print(f"{time.process_time() - before:.1f} s CPU", file=sys.stderr)
