"""The hazard estimator: ends and exposure by age, forgetting and smoothing."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._scheduling.hazard import BINS, EDGES, MEMORY, WIDTHS, HazardEstimator, bin_of

AGES = st.floats(0.0, 1e6)
#: Any float, and ages from clocks that disagree.
JUNK = st.floats() | st.floats(-100.0, 1e5)
#: Tasks: the ages at the first and the last poll, and whether the task had ended by then.
HISTORIES = st.lists(st.tuples(st.floats(0.0, 2000.0), st.floats(0.0, 2000.0), st.booleans()), max_size=60)


def observe(estimator: HazardEstimator, history: list[tuple[float, float, bool]]) -> HazardEstimator:
    """Observe tasks."""
    for start, end, has_ended in history:
        estimator.observe_exposure(start, end)
        if has_ended:
            estimator.observe_end(end)
    return estimator


def fraction_left(hazards: list[float], age: float) -> float:
    """Return the fraction of tasks that is unfinished at an age."""
    bins = zip(hazards, EDGES, WIDTHS, strict=False)
    return math.exp(-sum(hazard * min(max(age - start, 0.0), width) for hazard, start, width in bins))


class TestBins:
    """The bins of age."""

    def test_they_cover_all_ages(self) -> None:
        """The first bin is a second, each other 8 % of its age, and the last begins before a day is over."""
        assert EDGES[:2] == (0.0, 1.0)
        assert EDGES[-1] == math.inf
        assert 80_000 < EDGES[-2] < 86_400
        assert all(end / start == pytest.approx(1.08) for start, end in itertools.pairwise(EDGES[1:-1]))
        assert len(EDGES) == len(WIDTHS) + 1 == BINS + 1

    @given(age=AGES)
    def test_each_age_is_in_one_bin(self, age: float) -> None:
        """It begins at or before the age, and ends after it."""
        assert EDGES[bin_of(age)] <= age < EDGES[bin_of(age) + 1]

    def test_an_edge_is_in_the_bin_that_it_begins(self) -> None:
        """No age is beyond the last bin."""
        assert [bin_of(edge) for edge in EDGES[:-1]] == list(range(BINS))
        assert bin_of(math.inf) == BINS - 1


class TestExposure:
    """`HazardEstimator.observe_exposure`: seconds in which tasks did not end."""

    @given(start=AGES, end=AGES, count=st.integers(1, 1000))
    def test_a_span_is_spread_over_its_bins(self, start: float, end: float, count: int) -> None:
        """Each bin gets the part of the span within it, for each task."""
        estimator = HazardEstimator()
        estimator.observe_exposure(start, end, count)

        for number, seconds in estimator.counts().alive:
            within = min(end, EDGES[number + 1]) - max(start, EDGES[number])
            assert seconds == pytest.approx(count * within, abs=1e-6)
        total = sum(seconds for _, seconds in estimator.counts().alive)
        assert total == pytest.approx(count * max(end - start, 0.0), abs=1e-6)

    def test_a_span_has_these_parts(self) -> None:
        """From half a second to 1.1 s: half of the first bin, all of the second, and the rest."""
        estimator = HazardEstimator()
        estimator.observe_exposure(0.5, 1.1, 2)

        assert estimator.counts().alive == ((0, 1.0), (1, pytest.approx(0.16)), (2, pytest.approx(0.04)))
        assert estimator.evidence == 0

    @pytest.mark.parametrize(
        ("start", "end"), [(5, 5), (6, 5), (math.nan, 5), (5, math.nan), (math.inf, math.inf), (-5, -3), (5, -math.inf)]
    )
    def test_empty_spans_are_ignored(self, start: float, end: float) -> None:
        """As are spans that end before they begin, from clocks that disagree, and NaN."""
        estimator = HazardEstimator()
        estimator.observe_exposure(start, end)

        assert estimator.counts().alive == ()

    def test_impossible_ages_are_bounded(self) -> None:
        """No task runs before it begins, and none for longer than a month."""
        early, late = HazardEstimator(), HazardEstimator()
        early.observe_exposure(-10.0, 0.5)
        late.observe_exposure(EDGES[-2], math.inf)

        assert early.counts().alive == ((0, 0.5),)
        assert late.counts().alive == ((BINS - 1, 30 * 86_400 - EDGES[-2]),)


class TestReached:
    """`HazardEstimator.reached`: the last bin that a task was observed to reach."""

    def test_it_is_the_first_bin_without_exposure(self) -> None:
        """Ends alone are no exposure."""
        estimator = HazardEstimator()
        estimator.observe_end(500.0)

        assert estimator.reached == 0

    @given(history=HISTORIES)
    def test_it_is_the_last_bin_with_exposure(self, history: list[tuple[float, float, bool]]) -> None:
        """Whatever is observed later; and it is restored from saved counts."""
        estimator = observe(HazardEstimator(), history)
        alive = [number for number, _ in estimator.counts().alive]

        assert estimator.reached == max(alive, default=0)
        assert HazardEstimator(estimator.counts()).reached == estimator.reached

    def test_it_never_decreases(self) -> None:
        """A span up to an edge does not reach the next bin."""
        estimator, reached = HazardEstimator(), []
        for start, end in ((0.0, 0.5), (0.0, EDGES[40]), (EDGES[40], EDGES[40] + 0.1), (0.0, 5.0), (70.0, 60.0)):
            estimator.observe_exposure(start, end)
            reached.append(estimator.reached)

        assert reached == [0, 39, 40, 40, 40]


class TestEnds:
    """`HazardEstimator.observe_end`: ends, of which the latest have the largest weight."""

    @pytest.mark.parametrize(("age", "number"), [(0.5, 0), (-3.0, 0), (1.05, 1), (1e9, BINS - 1)])
    def test_an_end_is_counted_in_its_bin(self, age: float, number: int) -> None:
        """A negative age counts as 0."""
        estimator = HazardEstimator()
        estimator.observe_end(age)

        assert estimator.counts().ends == ((number, 1.0),)
        assert estimator.evidence == 1

    @pytest.mark.parametrize("age", [math.nan, math.inf])
    def test_ages_that_are_not_finite_are_ignored(self, age: float) -> None:
        """Infinity and NaN are no ends."""
        estimator = HazardEstimator()
        estimator.observe_end(age)

        assert estimator.evidence == estimator.version == 0
        assert estimator.counts().ends == ()

    @given(ages=st.lists(st.tuples(AGES, st.integers(1, 20)), max_size=20))
    def test_several_ends_at_once_count_as_one_by_one(self, ages: list[tuple[float, int]]) -> None:
        """It does not matter whether ends at the same age are observed together."""
        together, singly = HazardEstimator(), HazardEstimator()
        for age, count in ages:
            together.observe_end(age, count)
            for _ in range(count):
                singly.observe_end(age)

        assert together.counts() == singly.counts()
        assert together.version == singly.version

    def test_old_ends_lose_weight(self) -> None:
        """After `MEMORY` more ends, an end and its exposure have about a third of their weight."""
        estimator = HazardEstimator()
        estimator.observe_exposure(0.0, 1.0)
        estimator.observe_end(0.5)
        estimator.observe_end(100.0, MEMORY)

        assert dict(estimator.counts().ends)[0] == pytest.approx(math.exp(-1), rel=0.01)
        assert dict(estimator.counts().alive)[0] == pytest.approx(math.exp(-1), rel=0.02)
        assert estimator.evidence == MEMORY + 1

    def test_weights_are_rescaled(self) -> None:
        """After any number of ends the weights are bounded, and the hazard is the same as without rescaling."""
        estimator = HazardEstimator()
        for _ in range(6000):
            estimator.observe_exposure(0.0, 50.0)
            estimator.observe_end(50.0)

        assert estimator.counts().ends == ((bin_of(50.0), pytest.approx(MEMORY)),)
        assert estimator.hazards(150.0)[bin_of(20.0)] < 0.001
        assert sum(seconds for _, seconds in estimator.counts().alive) == pytest.approx(MEMORY * 50.0, rel=0.01)

    def test_ends_at_once_are_bounded(self) -> None:
        """An impossible count does not take forever."""
        estimator = HazardEstimator()
        estimator.observe_end(5.0, 10**18)

        assert estimator.evidence == 10 * MEMORY


class TestVersion:
    """`HazardEstimator.version`: when to plan again."""

    def test_it_changes_with_a_tenth_more_ends(self) -> None:
        """With each of the first ends, later with a tenth of those known at the last change, at most 20."""
        estimator, changes = HazardEstimator(), []
        for end in range(1, 401):
            before = estimator.version
            estimator.observe_end(60.0)
            if estimator.version != before:
                changes.append(end)

        assert changes[:16] == [*range(1, 12), 13, 15, 17, 19, 21]
        assert {later - earlier for earlier, later in itertools.pairwise(changes) if earlier >= 200} == {20}

    def test_it_changes_when_expected_ends_are_missing(self) -> None:
        """Tasks that go on where others ended are news, though nothing ended."""
        estimator = observe(HazardEstimator(), [(0.0, 60.0, True)] * 50)
        estimator.hazards(60.0)
        before = estimator.version
        estimator.observe_exposure(0.0, 30.0, 1000)

        assert estimator.version == before
        estimator.observe_exposure(58.0, 62.0, 1000)
        assert estimator.version == before + 1

    @pytest.mark.parametrize("is_saved", [True, False])
    def test_the_threshold_is_set_at_the_last_change(self, is_saved: bool) -> None:  # noqa: FBT001  # a column
        """A tenth of the ends known when the version changed, or when the counts were loaded."""
        estimator = HazardEstimator()
        estimator.observe_end(60.0, 100)
        version = estimator.version
        while estimator.version == version:
            estimator.observe_end(60.0)
        if is_saved:
            estimator.observe_end(60.0)
            estimator = HazardEstimator(estimator.counts())
        before, least = estimator.version, math.ceil(estimator.evidence / 10)
        estimator.observe_end(60.0, least - 1)

        assert estimator.version == before
        estimator.observe_end(60.0)
        assert estimator.version == before + 1

    @given(history=HISTORIES)
    def test_it_stays_without_ends(self, history: list[tuple[float, float, bool]]) -> None:
        """Before the first plan, exposure alone is no news."""
        estimator = HazardEstimator()
        for start, end, _ in history:
            estimator.observe_exposure(start, end)

        assert estimator.version == 0


class TestHazards:
    """`HazardEstimator.hazards`: ends per second of the tasks that reach a bin."""

    @pytest.mark.parametrize("typical", [3.0, 60.0, 900.0])
    def test_the_prior_is_lognormal(self, typical: float) -> None:
        """Half of the tasks end by the typical duration, and two thirds between half and twice of it."""
        hazards = HazardEstimator().hazards(typical)

        assert fraction_left(hazards, typical) == pytest.approx(0.5, abs=0.04)
        assert fraction_left(hazards, typical / 2) - fraction_left(hazards, typical * 2) == pytest.approx(
            0.68, abs=0.05
        )

    @pytest.mark.parametrize("typical", [10.0, 100.0, 1000.0])
    def test_exponential_durations_have_a_constant_hazard(self, typical: float) -> None:
        """Even if the typical duration is wrong by a factor of ten."""
        rng, estimator = random.Random(1), HazardEstimator()
        observe(estimator, [(0.0, rng.expovariate(1 / 100), True) for _ in range(1000)])
        hazards = estimator.hazards(typical)[bin_of(20.0) : bin_of(200.0)]

        assert sum(hazards) / len(hazards) == pytest.approx(1 / 100, rel=0.15)

    def test_unfinished_tasks_count(self) -> None:
        """Where ten of a hundred tasks have ended, one in ten is expected to end by then, and not all."""
        estimator = observe(HazardEstimator(), [(0.0, 60.0, True)] * 10 + [(0.0, 63.0, False)] * 90)

        assert fraction_left(estimator.hazards(60.0), 63.0) == pytest.approx(0.9, abs=0.05)

    @given(spans=st.lists(st.tuples(JUNK, JUNK, st.booleans()), max_size=30), typical=st.floats(0.1, 1e5))
    def test_hazards_are_bounded_whatever_was_observed(
        self, spans: list[tuple[float, float, bool]], typical: float
    ) -> None:
        """Junk makes no hazard that cannot be used."""
        estimator = observe(HazardEstimator(), spans)

        assert len(estimator.hazards(typical)) == BINS
        assert all(0.0 <= hazard <= 1000.0 for hazard in estimator.hazards(typical))


class TestMedianLeft:
    """`HazardEstimator.median_left`: within how long half of the unfinished tasks end."""

    @given(history=HISTORIES, age=st.floats(0.0, 5000.0), typical=st.floats(1.0, 1000.0))
    def test_it_halves_the_fraction_left(
        self, history: list[tuple[float, float, bool]], age: float, typical: float
    ) -> None:
        """Whatever was observed."""
        estimator = observe(HazardEstimator(), history)
        hazards, left = estimator.hazards(typical), estimator.median_left(age, typical)
        if left == math.inf:
            assert fraction_left(hazards, EDGES[-2]) >= 0.499 * fraction_left(hazards, age)
        else:
            assert left > 0.0
            assert fraction_left(hazards, age + left) == pytest.approx(fraction_left(hazards, age) / 2, rel=1e-6)

    def test_it_is_constant_if_the_hazard_is(self) -> None:
        """Exponential durations of 100 seconds have a median of 69 at any age."""
        rng, estimator = random.Random(1), HazardEstimator()
        observe(estimator, [(0.0, rng.expovariate(1 / 100), True) for _ in range(1000)])

        assert [estimator.median_left(age, 100.0) for age in (0.0, 50.0, 100.0)] == pytest.approx([69.3] * 3, rel=0.25)

    def test_it_follows_a_new_version(self) -> None:
        """The cumulative hazard is computed again when enough was learned, and for another typical duration."""
        estimator = HazardEstimator()
        before = estimator.median_left(0.0, 100.0)
        observe(estimator, [(0.0, 10.0, True)] * 50)

        assert before == pytest.approx(100.0, rel=0.01)
        assert estimator.median_left(0.0, 100.0) == pytest.approx(10.0, rel=0.2)
        assert HazardEstimator().median_left(0.0, 20.0) == pytest.approx(20.0, rel=0.01)

    def test_a_look_does_not_change_when_the_plan_is_renewed(self) -> None:
        """Ends are expected by the hazards of the plan, and not by those of a look in between."""
        watched, alone = HazardEstimator(), HazardEstimator()
        for estimator in (watched, alone):
            for number in range(20):
                observe(estimator, [(0.0, 60.0, True)] * 5)
                estimator.hazards(60.0)
                for age in range(200):
                    estimator.observe_exposure(age, age + 1.0)
                    if estimator is watched and number % 2:
                        estimator.median_left(age, 60.0)

        assert watched.version == alone.version
