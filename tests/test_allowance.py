"""Allowance: how many requests planned looks may take, what is saved of them, and when they leave together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.allowance import Allowance

#: Mean seconds from one look at a task to the next, in these tests.
INTERVAL = 10.0
#: How many full batches it takes to ask for all, and how many requests that earns in an interval.
EARNED = [(1.0, 1.5), (1.5, 2.25), (2.0, 3.0), (4.0, 6.0), (9.0, 13.5), (16.0, 22.4), (100.0, 122.0), (400.0, 464.0)]
#: Sums of floats are off by less than this, in requests.
SLACK = 1e-6


def earn(share: float) -> float:
    """Tell how many requests an interval is worth."""
    return share + min(0.5 * share, 0.1 * share + 1.2 * math.sqrt(share))


def begin(share: float, *, patience: float = 0.1) -> Allowance:
    """Make an allowance that begins to save at 0."""
    allowance = Allowance(INTERVAL, patience, 0.0)
    allowance.advance(0.0, share)
    return allowance


def spend_all(allowance: Allowance, now: float) -> int:
    """Spend what may be spent at once, and count it."""
    spent = 0
    while allowance.free_at() <= now:
        allowance.spend()
        spent += 1
    return spent


def spend_on(allowance: Allowance, share: float, seconds: float) -> list[tuple[float, int]]:
    """Spend whatever there is as soon as it may be spent, and tell how much when."""
    groups: list[tuple[float, int]] = []
    now = 0.0
    while (now := max(now, allowance.free_at())) <= seconds:
        allowance.advance(now, share)
        if spent := spend_all(allowance, now):
            groups.append((now, spent))
    return groups


class TestEarning:
    """What an interval is worth."""

    @pytest.mark.parametrize(("share", "earned"), EARNED)
    def test_it_is_as_much_as_full_batches_take_and_some_more(self, share: float, earned: float) -> None:
        """Half as much again for a few; for many, a tenth and somewhat more than the root."""
        assert begin(share).free_at() == pytest.approx(INTERVAL / earned)

    @pytest.mark.parametrize(("share", "earned"), EARNED)
    def test_it_can_all_be_spent(self, share: float, earned: float) -> None:
        """Whole requests, after an interval; and what is left of one counts for the next."""
        allowance = begin(share)
        allowance.advance(INTERVAL, share)
        assert spend_all(allowance, INTERVAL) == math.floor(earned)
        allowance.advance(2.0 * INTERVAL, share)

        assert spend_all(allowance, 2.0 * INTERVAL) == math.floor(2.0 * earned) - math.floor(earned)

    def test_nothing_is_saved_to_begin_with(self) -> None:
        """The first request is there when it was earned, whenever it began."""
        allowance = Allowance(INTERVAL, 0.1, 500.0)
        allowance.advance(500.0, 4.0)

        assert allowance.free_at() == pytest.approx(500.0 + INTERVAL / 6.0)

    def test_what_has_passed_is_worth_what_there_was_then(self) -> None:
        """Those who come earn from then on."""
        allowance = begin(1.0)
        allowance.advance(5.0, 100.0)

        # Three quarters of a request were saved.
        assert allowance.free_at() == pytest.approx(5.0 + 0.25 / 122.0 * INTERVAL)

    @given(
        share=st.floats(1.0, 300.0),
        patience=st.sampled_from([0.0, 0.1, 0.5]),
        intervals=st.floats(0.5, 8.0),
    )
    def test_over_time_all_is_spent_and_no_more(self, share: float, patience: float, intervals: float) -> None:
        """However long they wait for each other: what they wait for is the most that is left over."""
        earned = earn(share)
        spent = sum(count for _, count in spend_on(begin(share, patience=patience), share, intervals * INTERVAL))

        assert spent <= intervals * earned + SLACK
        assert spent >= intervals * earned - max(1.0, patience * earned) - 1.0 - SLACK


class TestSaving:
    """What is not used is there later, up to a limit."""

    @pytest.mark.parametrize(("intervals", "saved"), [(1.5, 9), (2.0, 12), (2.5, 15), (4.0, 15), (1000.0, 15)])
    def test_a_long_time_between_two_looks_is_worth_a_few_intervals(self, intervals: float, saved: int) -> None:
        """Two and a half at most: nobody was waited for in the rest of it."""
        allowance = begin(4.0)
        allowance.advance(intervals * INTERVAL, 4.0)

        assert spend_all(allowance, intervals * INTERVAL) == saved

    @pytest.mark.parametrize(("share", "saved"), [(1.0, 60), (4.0, 240), (100.0, 6000)])
    def test_no_more_is_saved_than_full_batches_take_in_sixty_intervals(self, share: float, saved: int) -> None:
        """However long none was worth its request."""
        allowance = begin(share)
        for turn in range(1, 200):
            allowance.advance(turn * INTERVAL, share)

        assert spend_all(allowance, 199.0 * INTERVAL) == saved

    def test_what_is_saved_is_for_as_many_as_there_are(self) -> None:
        """Where most have ended, most of it is given up."""
        allowance = begin(100.0)
        for turn in range(1, 100):
            allowance.advance(turn * INTERVAL, 100.0)
        allowance.advance(99.0 * INTERVAL, 2.0)

        assert spend_all(allowance, 99.0 * INTERVAL) == 120

    def test_less_than_a_request_may_be_spent(self) -> None:
        """Whoever is not to wait takes what there is, and nobody gets into debt."""
        allowance = begin(1.0)
        allowance.advance(5.0, 1.0)
        for _ in range(3):
            allowance.spend()

            assert allowance.free_at() == pytest.approx(5.0 + INTERVAL / 1.5)


class TestGathering:
    """Once all is spent, some are saved that leave together."""

    @pytest.mark.parametrize(
        ("share", "patience", "seconds"),
        [
            # An interval's worth is 122: a tenth of it takes a tenth of an interval.
            (100.0, 0.1, 1.0),
            (100.0, 0.5, 5.0),
            (400.0, 0.1, 1.0),
            # There is to be at least one.
            (100.0, 0.0, INTERVAL / 122.0),
            (4.0, 0.1, INTERVAL / 6.0),
            (1.0, 0.1, INTERVAL / 1.5),
            (1.0, 0.9, 9.0),
        ],
    )
    def test_it_takes_so_long_until_there_are_some(self, share: float, patience: float, seconds: float) -> None:
        """The first of all leaves as soon as it may, and the next ones wait for each other."""
        allowance = begin(share, patience=patience)
        first = allowance.free_at()
        assert first == pytest.approx(INTERVAL / earn(share))
        allowance.advance(first, share)
        allowance.spend()

        assert allowance.free_at() == pytest.approx(first + seconds)

    def test_while_there_is_one_it_leaves_at_once(self) -> None:
        """Of those that were saved, each; only then do they wait."""
        allowance = begin(100.0)
        allowance.advance(5.0, 100.0)
        for _ in range(61):
            assert allowance.free_at() == 5.0
            allowance.spend()

        assert allowance.free_at() == pytest.approx(6.0)

    def test_they_leave_in_groups(self) -> None:
        """Of a tenth of an interval's worth; what is left of a request is not saved once more."""
        groups = spend_on(begin(100.0), 100.0, 100.0)
        times, counts = zip(*groups, strict=True)

        assert counts == (1, *[12] * (len(groups) - 1))
        assert times[:3] == pytest.approx((10.0 / 122.0, 10.0 / 122.0 + 1.0, 10.0 / 122.0 + 1.0 + 120.0 / 122.0))
        assert len(groups) == pytest.approx(1220.0 / 12.0, abs=2.0)

    @given(
        share=st.floats(1.0, 300.0),
        patience=st.sampled_from([0.0, 0.1, 0.5]),
        steps=st.lists(st.floats(0.0, 1.0), max_size=20),
    )
    def test_whoever_looks_in_between_changes_nothing(self, share: float, patience: float, steps: list[float]) -> None:
        """What there is to wait for is the same, however often that is asked before it is there."""
        allowance = begin(share, patience=patience)
        allowance.spend()
        foreseen = allowance.free_at()
        for part in sorted(steps):
            allowance.advance(part * foreseen, share)

            assert allowance.free_at() == pytest.approx(foreseen)


def test_repr_shows_what_there_is() -> None:
    """The repr tells what is saved, and what comes."""
    allowance = begin(4.0)
    assert repr(allowance) == "<Allowance 0 requests, 6 more in 10 s>"
    allowance.advance(5.0, 100.0)

    assert repr(allowance) == "<Allowance 3 requests, 122 more in 10 s>"
