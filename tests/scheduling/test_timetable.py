"""Timetables: as many polls as at a fixed interval, near the ages at which tasks end."""

from __future__ import annotations

import functools
import heapq
import itertools
import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acetasks._scheduling.durations import Durations
from acetasks._scheduling.hazard import BINS, EDGES, WIDTHS, HazardEstimator, bin_of
from acetasks._scheduling.timetable import (
    CLOSEST,
    ENOUGH,
    FARTHEST,
    PollTimetable,
    ProportionalTimetable,
    proportional_step,
)

if TYPE_CHECKING:
    from collections.abc import Callable

MIDDLES = [*((start + end) / 2 for start, end in itertools.pairwise(EDGES[:-1])), EDGES[-2]]
#: Tasks, each with its last age and whether it has ended then.
HISTORIES = st.lists(st.tuples(st.floats(0.01, 5000.0), st.booleans()), max_size=60)
INTERVALS, TYPICAL = st.floats(0.1, 120.0), st.floats(1.0, 1000.0)
#: Rounding errors are smaller than this fraction.
SLACK = 1e-9
#: First polls over which a cost is averaged.
_PHASES = 10


def build_estimator(history: list[tuple[float, bool]]) -> HazardEstimator:
    """Return the estimator of tasks that were observed from their beginning."""
    estimator = HazardEstimator()
    for age, has_ended in history:
        estimator.observe_exposure(0.0, age)
        if has_ended:
            estimator.observe_end(age)
    return estimator


@functools.cache
def lognormal(median: float = 150.0, sigma: float = 0.3) -> HazardEstimator:
    """Return the estimator of many tasks with lognormal durations."""
    rng = random.Random(1)
    return build_estimator([(rng.lognormvariate(math.log(median), sigma), True) for _ in range(300)])


def expected_cost(table: PollTimetable, hazards: list[float]) -> tuple[float, float]:
    """Return the expected number of polls of a task, on average over the age at its first, and its mean duration."""
    left, mean, survival = 1.0, 0.0, []
    for hazard, width in zip(hazards, WIDTHS, strict=True):
        survival.append(left)
        ended = -left * math.expm1(-hazard * width)
        mean += ended / hazard if hazard > 1e-12 else left * width
        left -= ended
    polls = 0.0
    for part in range(_PHASES):
        age, chance = table.steps[0] * (part + 0.5) / _PHASES, 1.0
        while chance > 1e-6 and age < EDGES[-2]:
            number = bin_of(age)
            chance = survival[number] * math.exp(-hazards[number] * (age - EDGES[number]))
            polls += chance
            age += table.steps[number]
    return polls / _PHASES, mean


class TestProportional:
    """`proportional_step` and `ProportionalTimetable`: the interval grows with the age."""

    @pytest.mark.parametrize(
        ("age", "step"), [(0, 2.5), (75, 2.5), (90, 3.0), (150, 5.0), (300, 10.0), (600, 20.0), (6000, 20.0)]
    )
    def test_the_step_grows_in_proportion(self, age: float, step: float) -> None:
        """It is the interval at the typical duration, at least half and at most four times as long."""
        assert proportional_step(age, 5.0, 150.0) == pytest.approx(step)

    def test_there_is_a_step_for_each_bin(self) -> None:
        """The timetable has the step of each bin's middle, learns nothing, and expects few ends at great ages."""
        table = ProportionalTimetable(5.0, 150.0)

        assert table.steps == [proportional_step(age, 5.0, 150.0) for age in MIDDLES]
        assert min(table.steps) == table.closest
        assert table.is_learned
        assert not table.refresh()
        assert table.expected_hazard(0) == table.expected_hazard(bin_of(100.0)) == 1 / 150
        assert table.expected_hazard(bin_of(3000.0)) == pytest.approx(1 / 3000, rel=0.05)
        assert repr(table) == "<ProportionalTimetable every 5 s at the age of 150 s>"


class TestNothingLearned:
    """A timetable without enough ends."""

    @given(history=HISTORIES, interval=INTERVALS, typical=TYPICAL)
    def test_it_is_the_fixed_interval(self, history: list[tuple[float, bool]], interval: float, typical: float) -> None:
        """However many tasks were unfinished: before enough have ended, every step is the interval."""
        ends = itertools.accumulate(has_ended for _, has_ended in history)
        few = [task for task, so_far in zip(history, ends, strict=True) if so_far < ENOUGH]
        table = PollTimetable(build_estimator(few), interval, typical)

        assert table.steps == [interval] * BINS
        assert not table.is_learned

    def test_it_keeps_the_documented_minimum(self) -> None:
        """The interval is at least what the provider asks for."""
        assert set(PollTimetable(HazardEstimator(), 5.0, 60.0, least=10.0).steps) == {10.0}

    def test_it_expects_the_typical_hazard(self) -> None:
        """At every age."""
        table = PollTimetable(HazardEstimator(), 5.0, 60.0)

        assert {table.expected_hazard(number) for number in range(BINS)} == {1 / 60}
        assert repr(table) == "<PollTimetable every 5 s>"

    def test_it_uses_the_hazard_of_the_provider(self) -> None:
        """Until the profile has enough ends of its own."""
        parent, estimator = lognormal(), HazardEstimator()
        table, of_parent = PollTimetable(estimator, 5.0, 150.0, parent=parent), PollTimetable(parent, 5.0, 150.0)

        assert table.steps == of_parent.steps
        assert table.is_learned
        for _ in range(ENOUGH):
            assert table.steps == of_parent.steps
            estimator.observe_exposure(0.0, 30.0)
            estimator.observe_end(30.0)
            table.refresh()
        assert table.steps == PollTimetable(estimator, 5.0, 150.0).steps != of_parent.steps

    def test_it_ignores_a_provider_without_enough_ends(self) -> None:
        """Two estimators of few ends are no more than one."""
        parent = build_estimator([(60.0, True)] * 7)

        assert set(PollTimetable(HazardEstimator(), 5.0, 150.0, parent=parent).steps) == {5.0}


class TestPlan:
    """A timetable with enough ends."""

    @given(history=HISTORIES, interval=INTERVALS, typical=TYPICAL, least=st.floats(0.0, 300.0))
    def test_steps_are_within_bounds(
        self, history: list[tuple[float, bool]], interval: float, typical: float, least: float
    ) -> None:
        """From a fifth of the interval, or the provider's minimum, to four intervals."""
        table = PollTimetable(build_estimator(history), interval, typical, least=least)
        closest, farthest = max(CLOSEST * interval, least), max(FARTHEST * interval, least)

        assert len(table.steps) == BINS
        assert all(closest <= step <= farthest for step in table.steps)

    @given(history=HISTORIES, interval=INTERVALS)
    def test_the_order_is_kept(self, history: list[tuple[float, bool]], interval: float) -> None:
        """Of two tasks, the next poll of the older one is not at a lesser age."""
        table = PollTimetable(build_estimator(history), interval, 60.0)
        dues = [age + step for age, step in zip(MIDDLES, table.steps, strict=True)]

        assert all(earlier <= later + SLACK * later for earlier, later in itertools.pairwise(dues))

    @settings(max_examples=40)
    @given(history=HISTORIES, interval=st.floats(2.0, 60.0), typical=TYPICAL)
    def test_it_costs_as_many_polls_as_the_interval(
        self, history: list[tuple[float, bool]], interval: float, typical: float
    ) -> None:
        """Whatever was observed, a task is expected to cost its duration in intervals, within half a poll."""
        estimator = build_estimator(history)
        table = PollTimetable(estimator, interval, typical)
        polls, mean = expected_cost(table, estimator.hazards(typical))

        assert polls == pytest.approx(mean / interval, rel=0.02, abs=0.5)

    @pytest.mark.parametrize(("sigma", "error"), [(0.02, 0.04), (0.3, 0.02), (1.0, 0.02)])
    @pytest.mark.parametrize("interval", [0.5, 5.0, 20.0])
    def test_the_budget_is_spent(self, sigma: float, error: float, interval: float) -> None:
        """Within two per cent; four where all tasks end at about the same age, within one or two bins."""
        estimator = lognormal(sigma=sigma)
        polls, mean = expected_cost(PollTimetable(estimator, interval, 150.0), estimator.hazards(150.0))

        assert polls == pytest.approx(mean / interval, rel=error)
        assert mean == pytest.approx(150.0 * math.exp(sigma**2 / 2), rel=0.1)

    def test_density_is_proportional_to_the_root_of_the_hazard(self) -> None:
        """Where the bounds do not apply; the expected hazard of these bins is the estimated one."""
        table, hazards = PollTimetable(lognormal(), 0.5, 150.0), lognormal().hazards(150.0)
        free = [
            number
            for number in range(bin_of(60.0), bin_of(300.0))
            if 1.01 * CLOSEST * 0.5 < table.steps[number] < 0.99 * FARTHEST * 0.5
        ]
        products = [table.steps[number] * math.sqrt(hazards[number]) for number in free]

        assert len(free) > 8
        assert products == pytest.approx([products[0]] * len(products))
        assert [table.expected_hazard(number) for number in free] == pytest.approx([hazards[number] for number in free])

    def test_polls_are_dense_where_tasks_end(self) -> None:
        """Tasks that take 150 s are polled seldom at first, and often towards their ends."""
        table = PollTimetable(lognormal(sigma=0.1), 5.0, 150.0)

        assert table.steps[bin_of(20.0)] == pytest.approx(20.0)
        assert table.steps[bin_of(150.0)] < 2.0
        assert repr(table).startswith("<PollTimetable every 5 s on average, every 1")

    def test_saved_durations_give_the_same_plan(self) -> None:
        """A client that loads what another has learned polls at the same ages."""
        durations = Durations()
        estimator = durations.hazard("luma")
        for age in range(100, 140):
            estimator.observe_exposure(0.0, age)
            estimator.observe_end(age)
        loaded = Durations.from_json(durations.to_json()).hazard("luma")

        assert PollTimetable(loaded, 5.0, 150.0).steps == PollTimetable(estimator, 5.0, 150.0).steps

    def test_closest_is_the_lower_bound(self) -> None:
        """A fraction of the interval, or the provider's minimum; whatever was learned."""
        for estimator in (HazardEstimator(), lognormal()):
            assert PollTimetable(estimator, 5.0, 150.0).closest == CLOSEST * 5.0
            assert PollTimetable(estimator, 5.0, 150.0, least=3.0).closest == 3.0

    def test_a_minimum_longer_than_the_interval_is_the_interval(self) -> None:
        """The budget cannot be spent then."""
        assert set(PollTimetable(lognormal(), 5.0, 150.0, least=30.0).steps) == {30.0}


class TestRefresh:
    """`PollTimetable.refresh`: a new plan for a new version of the estimator."""

    def test_the_plan_stays_without_news(self) -> None:
        """It is the same list."""
        estimator = build_estimator([(60.0, True)] * 100)
        table = PollTimetable(estimator, 5.0, 60.0)
        steps = table.steps

        assert not table.refresh()
        estimator.observe_end(70.0)
        assert not table.refresh()
        assert table.steps is steps

    def test_news_change_the_plan(self) -> None:
        """After a tenth more ends."""
        estimator = build_estimator([(60.0, True)] * 100)
        table = PollTimetable(estimator, 5.0, 60.0)
        before = table.steps[bin_of(200.0)]
        for _ in range(20):
            estimator.observe_exposure(0.0, 200.0)
            estimator.observe_end(200.0)

        assert table.refresh()
        assert table.steps[bin_of(80.0)] > 6.0
        assert table.steps[bin_of(200.0)] < before

    def test_polls_become_rarer_when_a_service_hangs(self) -> None:
        """Tasks that go on where others ended are polled less and less often, though nothing ends.

        At the greatest age reached they are polled at the fixed interval: nothing is known of what follows.
        """
        estimator = build_estimator([(60.0 + number % 7, True) for number in range(100)])
        table = PollTimetable(estimator, 5.0, 60.0)
        before = [table.steps[bin_of(age)] for age in (120.0, 190.0)]
        for age in range(200):
            estimator.observe_exposure(age, age + 1.0, 100)
            table.refresh()

        assert max(before) < 3.0
        assert table.steps[bin_of(120.0)] > 15.0
        assert table.steps[bin_of(199.0)] == pytest.approx(5.0)
        for age in range(200, 300):
            estimator.observe_exposure(age, age + 1.0, 100)
            table.refresh()
        assert table.steps[bin_of(199.0)] > 15.0


class TestReached:
    """The interval is not stretched beyond the ages that tasks have reached."""

    @given(history=HISTORIES, interval=INTERVALS, typical=TYPICAL)
    def test_polls_beyond_the_last_age_are_within_an_interval(
        self, history: list[tuple[float, bool]], interval: float, typical: float
    ) -> None:
        """From the last bin that any task has reached on, a poll follows within an interval."""
        estimator = build_estimator(history)
        table = PollTimetable(estimator, interval, typical)

        for age, step in zip(MIDDLES, table.steps, strict=True):
            assert age + step <= (max(age, EDGES[estimator.reached]) + interval) * (1 + SLACK)

    @pytest.mark.parametrize("typical", [30.0, 150.0, 3000.0])
    def test_the_first_ends_of_a_burst_delay_no_poll(self, typical: float) -> None:
        """The other tasks that were submitted together may all be about to end as well."""
        estimator = HazardEstimator()
        table = PollTimetable(estimator, 5.0, typical)
        for age in range(60):
            estimator.observe_exposure(age, age + 1.0, 2000)
            table.refresh()
        estimator.observe_end(59.5, 2 * ENOUGH)
        table.refresh()
        end = EDGES[bin_of(60.0)]

        assert table.is_learned
        assert estimator.reached == bin_of(60.0)
        assert all(step <= 5.0 * (1 + SLACK) for step in table.steps[estimator.reached :])
        for number in range(bin_of(50.0), bin_of(70.0) + 1):
            assert MIDDLES[number] + table.steps[number] <= max(MIDDLES[number], end) + 5.0 * (1 + SLACK)

    def test_polls_are_rare_where_tasks_came_through(self) -> None:
        """Hardly any end there: the interval is stretched to its upper bound."""
        estimator = HazardEstimator()
        table = PollTimetable(estimator, 5.0, 3000.0)
        estimator.observe_exposure(0.0, 60.0, 2000)
        estimator.observe_end(59.5, 2 * ENOUGH)
        table.refresh()
        before = table.steps[bin_of(100.0)]
        for _ in range(100):
            estimator.observe_exposure(60.0, 400.0, 10)
            estimator.observe_end(400.0)
        table.refresh()

        assert before <= 5.0 * (1 + SLACK)
        assert table.steps[bin_of(100.0)] == pytest.approx(FARTHEST * 5.0)
        assert table.steps[bin_of(200.0)] == pytest.approx(FARTHEST * 5.0)

    def test_ends_without_exposure_reach_nothing(self) -> None:
        """Where no task was seen unfinished, no step is longer than the interval."""
        estimator = HazardEstimator()
        estimator.observe_end(100.0, 50)

        assert max(PollTimetable(estimator, 5.0, 150.0).steps) <= 5.0 * (1 + SLACK)


def simulate(
    sample: Callable[[random.Random], float],
    interval: float,
    *,
    table: PollTimetable | None,
    burst: int,
    tasks: int = 600,
) -> tuple[float, float]:
    """Poll tasks by a timetable that learns from it, or at a fixed interval; at ticks, and with jitter.

    Returns:
        The mean seconds from an end to its poll, and the mean polls of a task.
    """
    durations, jitter = random.Random(1), random.Random(2)
    tick = interval / 10
    polls: list[tuple[float, int, float, float, float]] = []
    for number in range(tasks):
        start = number // burst * burst * 10.0 + jitter.random()
        polls.append((start, number, start, sample(durations), 0.0))
    heapq.heapify(polls)
    delay, count = 0.0, 0
    while polls:
        now, number, start, duration, last_age = heapq.heappop(polls)
        age = now - start
        count += 1
        has_ended = age >= duration
        if table is not None:
            # The time of the end is not known.
            observed = (last_age + age) / 2 if has_ended else age
            table.estimator.observe_exposure(last_age, observed)
            if has_ended:
                table.estimator.observe_end(observed)
            table.refresh()
        if has_ended:
            delay += age - duration
            continue
        step = interval if table is None else table.steps[bin_of(age)]
        due = math.ceil((now + step * (1 + 0.2 * jitter.random())) / tick) * tick
        heapq.heappush(polls, (due, number, start, duration, age))
    return delay / tasks, count / tasks


@pytest.mark.parametrize("burst", [1, 200])
@pytest.mark.parametrize(
    ("sample", "bound"),
    [
        (lambda rng: rng.lognormvariate(math.log(150), 0.2), 0.6),
        (lambda rng: rng.gauss(60, 6) if rng.random() < 0.5 else rng.gauss(240, 20), 0.6),
        (lambda rng: rng.uniform(120, 122), 0.6),
        (lambda rng: rng.expovariate(1 / 150), 1.1),
        (lambda rng: 30 * rng.paretovariate(1.5), 1.1),
        (lambda rng: rng.lognormvariate(math.log(21), 0.2), 1.1),
    ],
    ids=["narrow", "two-modes", "all-at-once", "exponential", "heavy-tail", "seven-times-shorter"],
)
def test_ends_are_seen_sooner_for_as_many_polls(
    sample: Callable[[random.Random], float], bound: float, burst: int
) -> None:
    """Where there is something to learn, ends are seen much sooner than at a fixed interval; elsewhere hardly later.

    The delay at a fixed interval shrinks as polls become more: the product of both measures a schedule.
    """
    delay, polls = simulate(sample, 5.0, table=PollTimetable(HazardEstimator(), 5.0, 150.0), burst=burst)
    fixed_delay, fixed_polls = simulate(sample, 5.0, table=None, burst=burst)

    assert delay * polls <= bound * fixed_delay * fixed_polls
    assert polls <= 1.1 * fixed_polls
