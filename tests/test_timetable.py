"""The timetable: as many looks as a fixed interval makes, where tasks end."""

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

from acetasks.durations import Durations
from acetasks.law import BINS, EDGES, WIDTHS, Law, bin_of
from acetasks.timetable import CLOSEST, ENOUGH, FARTHEST, ProportionalTimetable, Timetable, proportional_step

if TYPE_CHECKING:
    from collections.abc import Callable

MIDDLES = [(start + end) / 2 for start, end in itertools.pairwise(EDGES[:-1])]
AGES = st.floats(0.0, 1e6)
#: Tasks, each with its last age and whether it has ended there.
HISTORIES = st.lists(st.tuples(st.floats(0.01, 5000.0), st.booleans()), max_size=60)
INTERVALS, TYPICAL = st.floats(0.1, 120.0), st.floats(1.0, 1000.0)
#: Sums of floats are off by less than this part.
SLACK = 1e-9


def build_law(history: list[tuple[float, bool]]) -> Law:
    """Build the law of tasks that were watched from their beginning."""
    law = Law()
    for age, has_ended in history:
        law.note_alive(0.0, age)
        if has_ended:
            law.note_end(age)
    return law


@functools.cache
def lognormal_law(median: float = 150.0, sigma: float = 0.3) -> Law:
    """Build the law of many tasks that take about as long."""
    draw = random.Random(1)
    return build_law([(draw.lognormvariate(math.log(median), sigma), True) for _ in range(300)])


def foresee(table: Timetable) -> tuple[float, float]:
    """Tell how many looks a task is expected to cost by a timetable, and its mean duration."""
    left, mean, chances = 1.0, 0.0, []
    for number, width in enumerate(WIDTHS):
        hazard = table.hazard(number)
        chances.append(left)
        ended = -left * math.expm1(-hazard * width)
        mean += ended / hazard if hazard > 1e-12 else left * width
        left -= ended
    # Between two looks the chance that it is still there falls about evenly with the part of a look that is due.
    looks, age, chance = 0.0, 0.0, 1.0
    while chance > 1e-6 and age < EDGES[-2]:
        age, before = table.next_age(age), chance
        number = bin_of(age)
        chance = chances[number] * math.exp(-table.hazard(number) * (age - EDGES[number]))
        looks += (before + chance) / 2
    return looks, mean


class TestProportionalStep:
    """`proportional_step` and `ProportionalTimetable`: the interval grows with the age."""

    @pytest.mark.parametrize(
        ("age", "step"), [(0, 2.5), (75, 2.5), (90, 3.0), (150, 5.0), (300, 10.0), (600, 20.0), (6000, 20.0)]
    )
    def test_grows_in_proportion(self, age: float, step: float) -> None:
        """It is the interval at the typical duration, at least half of it, and at most four of it."""
        assert proportional_step(age, 5.0, 150.0) == pytest.approx(step)

    def test_is_planned_for_each_bin(self) -> None:
        """The timetable has the step of each bin's middle, learns nothing, and expects little of what is old."""
        table = ProportionalTimetable(5.0, 150.0)

        assert len(table.steps) == BINS
        assert table.steps[:-1] == [proportional_step(age, 5.0, 150.0) for age in MIDDLES]
        assert table.prospect(0) == table.prospect(bin_of(100.0)) == 1 / 150
        assert table.prospect(bin_of(3000.0)) == pytest.approx(1 / 3000, rel=0.05)
        assert repr(table) == "<ProportionalTimetable every 5 s at the age of 150 s>"


class TestNothingLearned:
    """A timetable of a law of which too little is known."""

    @given(history=HISTORIES, age=AGES, interval=INTERVALS, typical=TYPICAL)
    def test_is_the_fixed_interval(
        self, history: list[tuple[float, bool]], age: float, interval: float, typical: float
    ) -> None:
        """However many were seen alive: before enough have ended, every look is after the interval."""
        ends = itertools.accumulate(has_ended for _, has_ended in history)
        law = build_law([task for task, so_far in zip(history, ends, strict=True) if so_far < ENOUGH])
        table = Timetable(law, interval, typical)

        assert table.next_age(age) == age + interval
        assert set(table.steps) == {interval}
        assert not table.is_learned

    def test_keeps_the_documented_minimum(self) -> None:
        """The interval is no less than what the provider asks for."""
        assert Timetable(Law(), 5.0, 60.0, least=10.0).next_age(7.0) == 17.0

    def test_foresees_ends_all_the_same(self) -> None:
        """What a look is worth is told by what is typical."""
        table = Timetable(Law(), 5.0, 60.0)

        assert table.hazard(bin_of(60.0)) > 5 * table.hazard(bin_of(10.0))
        assert repr(table) == "<Timetable every 5 s>"

    def test_uses_what_is_known_of_the_provider(self) -> None:
        """The provider's law is planned by until there is enough of the kind's own."""
        parent, law = lognormal_law(), Law()
        table, of_parent = Timetable(law, 5.0, 150.0, parent=parent), Timetable(parent, 5.0, 150.0)

        assert table.steps == of_parent.steps
        assert table.is_learned
        for _ in range(ENOUGH):
            assert table.steps == of_parent.steps
            law.note_alive(0.0, 30.0)
            law.note_end(30.0)
            table.refresh()
        assert table.steps == Timetable(law, 5.0, 150.0).steps != of_parent.steps

    def test_does_not_use_a_provider_of_which_as_little_is_known(self) -> None:
        """Two laws of little are no more than one."""
        assert set(Timetable(Law(), 5.0, 150.0, parent=build_law([(60.0, True)] * 7)).steps) == {5.0}


class TestPlan:
    """A timetable of a law of which enough is known."""

    @given(history=HISTORIES, age=AGES, interval=INTERVALS, typical=TYPICAL, least=st.floats(0.0, 300.0))
    def test_keeps_its_bounds(
        self, history: list[tuple[float, bool]], age: float, interval: float, typical: float, least: float
    ) -> None:
        """No look is closer than a fifth of the interval or than the provider asks for, nor farther than four."""
        table = Timetable(build_law(history), interval, typical, least=least)
        closest, farthest = max(CLOSEST * interval, least), max(FARTHEST * interval, least)

        assert all(closest <= step <= farthest for step in table.steps)
        assert closest * (1 - SLACK) <= table.next_age(age) - age + math.ulp(age)
        assert table.next_age(age) - age - math.ulp(age) <= farthest * (1 + SLACK)

    @given(history=HISTORIES, ages=st.lists(AGES, min_size=2, max_size=10), interval=INTERVALS)
    def test_keeps_the_order(self, history: list[tuple[float, bool]], ages: list[float], interval: float) -> None:
        """Of two tasks, the older one's next look is not at a lesser age."""
        table = Timetable(build_law(history), interval, 60.0)
        dues = [table.next_age(age) for age in sorted(ages)]

        assert all(earlier <= later + SLACK * later for earlier, later in itertools.pairwise(dues))

    @settings(max_examples=40)
    @given(history=HISTORIES, interval=st.floats(2.0, 60.0), typical=TYPICAL)
    def test_costs_as_many_looks_as_the_interval(
        self, history: list[tuple[float, bool]], interval: float, typical: float
    ) -> None:
        """Whatever was seen, a task is expected to cost its duration in intervals, give or take half a look."""
        looks, mean = foresee(Timetable(build_law(history), interval, typical))

        assert looks == pytest.approx(mean / interval, rel=0.02, abs=0.5)

    @pytest.mark.parametrize("sigma", [0.02, 0.3, 1.0])
    @pytest.mark.parametrize("interval", [0.5, 5.0, 20.0])
    def test_costs_as_many_looks_as_are_given(self, sigma: float, interval: float) -> None:
        """Of tasks that end about together as of others, to within two in a hundred."""
        law = lognormal_law(sigma=sigma)
        looks, mean = foresee(Timetable(law, interval, 150.0))

        assert looks == pytest.approx(mean / interval, rel=0.02)
        assert mean == pytest.approx(150.0 * math.exp(sigma**2 / 2), rel=0.1)

    def test_looks_by_the_root_of_the_hazard(self) -> None:
        """Where the bounds leave it free, the density of looks is in proportion to the square root of the hazard."""
        table = Timetable(lognormal_law(), 0.5, 150.0)
        free = [
            number
            for number in range(bin_of(60.0), bin_of(300.0))
            if 1.01 * CLOSEST * 0.5 < table.steps[number] < 0.99 * FARTHEST * 0.5
        ]
        products = [table.steps[number] * math.sqrt(table.hazard(number)) for number in free]

        assert len(free) > 8
        assert products == pytest.approx([products[0]] * len(products))

    def test_looks_where_tasks_end(self) -> None:
        """Tasks that take 150 s are looked at seldom when they are young, and often when they are due."""
        table = Timetable(lognormal_law(sigma=0.1), 5.0, 150.0)

        assert table.next_age(20.0) == pytest.approx(40.0)
        assert table.steps[bin_of(150.0)] < 2.0
        assert repr(table).startswith("<Timetable every 5 s on average, every 1")

    def test_plans_the_same_for_a_bin_as_for_its_middle(self) -> None:
        """The step of a bin is that of a look at its middle."""
        table = Timetable(lognormal_law(), 5.0, 150.0)

        assert table.steps[:-1] == pytest.approx([table.next_age(age) - age for age in MIDDLES])
        assert len(table.steps) == BINS

    def test_plans_the_same_from_what_was_saved(self) -> None:
        """A client that is handed what another has learned looks when that one would."""
        durations = Durations()
        law = durations.law("luma")
        for age in range(100, 140):
            law.note_alive(0.0, age)
            law.note_end(age)
        again = Durations.from_json(durations.to_json()).law("luma")

        assert Timetable(again, 5.0, 150.0).steps == Timetable(law, 5.0, 150.0).steps

    def test_tells_how_close_looks_may_be(self) -> None:
        """A part of the interval, or what the provider asks for; whatever is known."""
        for law in (Law(), lognormal_law()):
            assert Timetable(law, 5.0, 150.0).closest == CLOSEST * 5.0
            assert Timetable(law, 5.0, 150.0, least=3.0).closest == 3.0

    def test_looks_as_often_as_it_may_where_that_is_too_seldom(self) -> None:
        """Where the provider's minimum is longer than the interval, it is the interval."""
        assert set(Timetable(lognormal_law(), 5.0, 150.0, least=30.0).steps) == {30.0}


class TestRefresh:
    """`Timetable.refresh`: a plan is made again when there is news, and then only."""

    def test_does_nothing_without_news(self) -> None:
        """The plan stays the same list."""
        law = build_law([(60.0, True)] * 100)
        table = Timetable(law, 5.0, 60.0)
        steps = table.steps

        assert not table.refresh()
        law.note_end(70.0)
        assert not table.refresh()
        assert table.steps is steps

    def test_plans_again_with_news(self) -> None:
        """After a tenth more ends the plan is another."""
        law = build_law([(60.0, True)] * 100)
        table = Timetable(law, 5.0, 60.0)
        before = table.steps[bin_of(200.0)]
        for _ in range(20):
            law.note_alive(0.0, 200.0)
            law.note_end(200.0)

        assert table.refresh()
        assert table.steps[bin_of(80.0)] > 6.0
        assert table.steps[bin_of(200.0)] < before

    def test_calms_down_when_a_service_hangs(self) -> None:
        """Tasks that live on where others ended are asked less and less often, though nothing ends.

        Those who are farthest are asked as under the fixed interval: nothing is known of what is ahead of them.
        """
        law = build_law([(60.0 + number % 7, True) for number in range(100)])
        table = Timetable(law, 5.0, 60.0)
        before = [table.steps[bin_of(age)] for age in (120.0, 190.0)]
        for age in range(200):
            law.note_alive(age, age + 1.0, 100)
            table.refresh()

        assert max(before) < 3.0
        assert table.steps[bin_of(120.0)] > 15.0
        assert table.steps[bin_of(199.0)] == pytest.approx(5.0)
        for age in range(200, 300):
            law.note_alive(age, age + 1.0, 100)
            table.refresh()
        assert table.steps[bin_of(199.0)] > 15.0


class TestReached:
    """Nothing stretches the interval where no task has come through."""

    @given(history=HISTORIES, age=AGES, interval=INTERVALS, typical=TYPICAL)
    def test_what_is_ahead_of_all_is_not_put_off(
        self, history: list[tuple[float, bool]], age: float, interval: float, typical: float
    ) -> None:
        """From the last age that any task has reached on, a look follows within an interval."""
        law = build_law(history)
        due = Timetable(law, interval, typical).next_age(age)

        assert due <= (max(age, EDGES[law.reached]) + interval) * (1 + SLACK)

    @pytest.mark.parametrize("typical", [30.0, 150.0, 3000.0])
    def test_the_first_ends_of_many_put_nobody_off(self, typical: float) -> None:
        """Of a lot that was submitted together the others may all be about to end as well."""
        law = Law()
        table = Timetable(law, 5.0, typical)
        for age in range(60):
            law.note_alive(age, age + 1.0, 2000)
            table.refresh()
        law.note_end(59.5, 2 * ENOUGH)
        table.refresh()
        end = EDGES[bin_of(60.0)]

        assert table.is_learned
        assert law.reached == bin_of(60.0)
        assert all(step <= 5.0 * (1 + SLACK) for step in table.steps[law.reached :])
        for tenths in range(500, 700):
            assert table.next_age(tenths / 10) <= max(tenths / 10, end) + 5.0 * (1 + SLACK)

    def test_where_tasks_came_through_looks_are_seldom(self) -> None:
        """It is known then that hardly any end there: the interval is stretched as far as it may be."""
        law = Law()
        table = Timetable(law, 5.0, 3000.0)
        law.note_alive(0.0, 60.0, 2000)
        law.note_end(59.5, 2 * ENOUGH)
        table.refresh()
        before = table.steps[bin_of(100.0)]
        for _ in range(100):
            law.note_alive(60.0, 400.0, 10)
            law.note_end(400.0)
        table.refresh()

        assert before <= 5.0 * (1 + SLACK)
        assert table.steps[bin_of(100.0)] == pytest.approx(FARTHEST * 5.0)
        assert table.steps[bin_of(200.0)] == pytest.approx(FARTHEST * 5.0)

    def test_ends_alone_come_through_nothing(self) -> None:
        """Where nobody was seen at work, whatever has ended, no look is farther than the interval."""
        law = Law()
        law.note_end(100.0, 50)

        assert max(Timetable(law, 5.0, 150.0).steps) <= 5.0 * (1 + SLACK)


def play(
    draw: Callable[[random.Random], float], interval: float, *, table: Timetable | None, burst: int, tasks: int = 600
) -> tuple[float, float]:
    """Look at tasks by a timetable that learns from it, or at a fixed interval; at ticks, and with jitter.

    Returns:
        How late their ends were seen on average, in seconds, and how many looks each took.
    """
    durations, jitter = random.Random(1), random.Random(2)
    tick = interval / 10
    looks: list[tuple[float, int, float, float, float]] = []
    for number in range(tasks):
        start = number // burst * burst * 10.0 + jitter.random()
        looks.append((start, number, start, draw(durations), 0.0))
    heapq.heapify(looks)
    late, count = 0.0, 0
    while looks:
        now, number, start, duration, young = heapq.heappop(looks)
        age = now - start
        count += 1
        has_ended = age >= duration
        if table is not None:
            # The service does not tell when it ended.
            seen = (young + age) / 2 if has_ended else age
            table.law.note_alive(young, seen)
            if has_ended:
                table.law.note_end(seen)
            table.refresh()
        if has_ended:
            late += age - duration
            continue
        step = interval if table is None else table.steps[bin_of(age)]
        due = math.ceil((now + step * (1 + 0.2 * jitter.random())) / tick) * tick
        heapq.heappush(looks, (due, number, start, duration, age))
    return late / tasks, count / tasks


@pytest.mark.parametrize("burst", [1, 200])
@pytest.mark.parametrize(
    ("draw", "promise"),
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
def test_sees_ends_sooner_for_as_many_looks(draw: Callable[[random.Random], float], promise: float, burst: int) -> None:
    """Where there is something to learn, ends are seen much sooner than at a fixed interval; anywhere, hardly later.

    A fixed interval's lateness shrinks as its looks grow: their product is what a schedule is measured by.
    """
    late, looks = play(draw, 5.0, table=Timetable(Law(), 5.0, 150.0), burst=burst)
    fixed_late, fixed_looks = play(draw, 5.0, table=None, burst=burst)

    assert late * looks <= promise * fixed_late * fixed_looks
    assert looks <= 1.1 * fixed_looks
