"""Poll times at the ticks of a client."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acetasks._scheduling.ticks import hash_to_unit, nearest_tick, next_tick


class TestNextTick:
    """`next_tick`: the interval, stretched by part of its jitter, at a tick."""

    @given(now=st.floats(0, 1e9), interval=st.floats(0.01, 1e5), jitter=st.floats(0, 5), anchor=st.floats(-1e9, 1e9))
    def test_it_is_never_early_and_within_the_jitter(
        self, now: float, interval: float, jitter: float, anchor: float
    ) -> None:
        """A poll is no sooner than the interval and no later than the interval with its whole jitter."""
        due = next_tick(now, interval, jitter, anchor)

        assert now + interval <= due <= now + interval * (1 + jitter)

    @given(now=st.floats(0, 1e9), interval=st.floats(0.01, 1e5), anchor=st.floats(-1e9, 1e9))
    def test_it_is_exact_without_jitter(self, now: float, interval: float, anchor: float) -> None:
        """Without jitter there are no ticks."""
        assert next_tick(now, interval, 0, anchor) == now + interval

    @given(polls=st.lists(st.floats(0, 1000), min_size=200, max_size=200), anchor=st.floats(0, 10))
    @settings(max_examples=20)  # of 200 polls each
    def test_polls_of_different_times_meet_at_the_same_ticks(self, polls: list[float], anchor: float) -> None:
        """Whenever tasks were first polled, they are later polled at about five times in an interval."""
        dues = set()
        for poll in polls:
            due = poll
            while due < 1200:
                due = next_tick(due, 10.0, 0.2, anchor)
            dues.add(round(due, 6))

        assert len(dues) <= 7

    def test_intervals_vary_within_the_jitter(self) -> None:
        """From tick to tick the interval is different, and neither short nor long for ever."""
        times = [0.0]
        for _ in range(200):
            times.append(next_tick(times[-1], 10.0, 0.2, 3.3))
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

        assert 10 <= min(gaps) < 10.3
        assert 11.7 < max(gaps) <= 12
        assert 10.8 < sum(gaps) / 200 < 11.3

    def test_clients_do_not_poll_in_step(self) -> None:
        """Another anchor is another time."""
        dues = {round(next_tick(100.0, 10.0, 0.2, anchor / 7), 3) for anchor in range(20)}

        assert len(dues) > 15


class TestNearestTick:
    """`nearest_tick`: a step from now, at a tick."""

    @given(now=st.floats(0, 1e6), step=st.floats(0.1, 1e4), tick=st.floats(0.01, 1e3), anchor=st.floats(-1e6, 1e6))
    def test_it_is_at_a_tick_and_near_the_step(self, now: float, step: float, tick: float, anchor: float) -> None:
        """No tick is nearer, unless it is before half the step: then it is the first one after that."""
        due = nearest_tick(now, step, 0.0, tick, anchor)
        least = 8 * math.ulp(3e6)

        assert abs(due - anchor - round((due - anchor) / tick) * tick) <= least
        assert due >= now + step / 2
        assert abs(due - now - step) <= tick / 2 + least or due - tick < now + step / 2
        assert due <= now + step + tick

    @given(now=st.floats(0, 1e9), step=st.floats(0.1, 1e5), anchor=st.floats(-1e9, 1e9))
    def test_it_is_exact_without_ticks(self, now: float, step: float, anchor: float) -> None:
        """Without jitter there are no ticks."""
        assert nearest_tick(now, step, 0.0, 0.0, anchor) == now + step

    def test_ticks_below_the_resolution_of_the_clock_are_ignored(self) -> None:
        """A minute jitter is no error."""
        for tick in (5e-324, 1e-300, math.ulp(100.0)):
            assert nearest_tick(100.0, 10.0, tick, tick, -7.3) == 110.0

    @pytest.mark.parametrize(
        ("step", "tick", "anchor", "due"),
        [
            *((10.0, 1.0, 0.0, 110.0), (10.4, 1.0, 0.0, 110.0), (10.6, 1.0, 0.0, 111.0), (0.6, 1.0, 0.0, 101.0)),
            *((10.0, 1.0, 0.3, 110.3), (10.0, 1.0, 0.7, 109.7), (10.0, 1.0, -1000.3, 109.7)),
            # A tick that is too soon is skipped.
            *((0.4, 1.0, 0.0, 101.0), (3.0, 8.0, 101.0, 101.0 + 8.0), (3.0, 8.0, 101.6, 101.6)),
        ],
    )
    def test_it_is_the_nearest_tick(self, step: float, tick: float, anchor: float, due: float) -> None:
        """Before or after the step, but never at once."""
        assert nearest_tick(100.0, step, 0.0, tick, anchor) == pytest.approx(due)

    @given(
        now=st.floats(0, 1e6),
        step=st.floats(0.1, 1e4),
        jitter=st.floats(0, 1),
        tick=st.floats(0.01, 1e3),
        anchor=st.floats(-1e6, 1e6),
    )
    def test_it_is_stretched_within_the_jitter(
        self, now: float, step: float, jitter: float, tick: float, anchor: float
    ) -> None:
        """It is the tick nearest to the step, to the step with its whole jitter, or between; never before half."""
        due = nearest_tick(now, step, jitter, tick, anchor)
        least, longest = 8 * math.ulp(3e6), step * (1 + jitter)

        assert abs(due - anchor - round((due - anchor) / tick) * tick) <= least
        assert due >= now + max(step / 2, step - tick / 2) - least
        # Only a step shorter than a tick may be moved to one that is not the nearest.
        assert (
            due <= now + (longest + tick / 2 if step >= tick else max(longest + tick / 2, longest / 2 + tick)) + least
        )

    @given(
        number=st.integers(-1000, 1000),
        parts=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
        step=st.floats(1, 1e4),
        jitter=st.floats(0, 1),
        anchor=st.floats(-1e3, 1e3),
    )
    def test_polls_between_the_same_ticks_stay_together(
        self, number: int, parts: tuple[float, float], step: float, jitter: float, anchor: float
    ) -> None:
        """Their next polls are at the same tick or at neighbouring ones."""
        first, second = (nearest_tick(anchor + number + part, step, jitter, 1.0, anchor) for part in parts)

        assert abs(first - second) <= 1.0 + 1e-6

    def test_steps_vary_within_the_jitter(self) -> None:
        """The stretch differs from tick to tick, and is the same for the same tick at any time."""
        times = [100.3 + number / 2 for number in range(400)]
        dues = [nearest_tick(now, 1000.0, 0.2, 0.5, 0.1) for now in times]
        parts = [(due - now) / 1000.0 - 1.0 for due, now in zip(dues, times, strict=True)]

        assert -0.001 <= min(parts) < 0.005
        assert 0.195 < max(parts) <= 0.201
        assert sum(parts) / 400 == pytest.approx(0.1, abs=0.01)
        assert all(sum(low <= part < low + 0.05 for part in parts) > 70 for low in (0.0, 0.05, 0.1, 0.15))
        # Consecutive parts are not correlated.
        assert sum(abs(later - earlier) > 0.02 for earlier, later in itertools.pairwise(parts)) > 250
        assert dues == [nearest_tick(now, 1000.0, 0.2, 0.5, 0.1) for now in times]


@given(number=st.integers(-(2**70), 2**70))
def test_hash_is_in_the_unit_interval(number: int) -> None:
    """Any integer has a hash, always the same."""
    assert 0.0 <= hash_to_unit(number) == hash_to_unit(number) <= 1.0
