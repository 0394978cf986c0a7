"""Pace: how fast requests may leave, how a refusal makes it slower, and how it finds what a service bears."""

from __future__ import annotations

import collections
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.pace import BURST, LEAST_RATE, RECOVERY, Pace

#: Requests a second.
RATES = st.floats(0.05, 200.0)
#: Seconds between the wish to send one request and the next; none at all as often as some.
IDLE = st.lists(st.just(0.0) | st.floats(0.0, 5.0), min_size=1, max_size=30)
#: Sums of floats are off by less than this, in requests.
SLACK = 1e-6


def leave(pace: Pace, now: float) -> float:
    """Let a request leave as soon as it may, and tell when that is."""
    at = max(now, pace.free_at)
    pace.take(at)
    return at


def leave_all(pace: Pace, idle: list[float], start: float = 0.0) -> list[float]:
    """Let requests leave, each after an idle time or as soon as it may, and tell when they did."""
    times, now = [], start
    for seconds in idle:
        now = leave(pace, now + seconds)
        times.append(now)
    return times


def use_fully(pace: Pace, start: float, seconds: float) -> float:
    """Let a request leave whenever one may, each answered at once, and tell when the last did."""
    now = start
    while (at := max(now, pace.free_at)) <= start + seconds:
        pace.take(at)
        pace.note_answer()
        now = at
    return now


def excess(times: list[float], rate: float) -> float:
    """Tell by how much the fullest window of time holds more than its length times the rate."""
    windows = itertools.combinations_with_replacement(enumerate(times), 2)
    return max(last - first + 1 - rate * (end - begin) for (first, begin), (last, end) in windows)


class TestRate:
    """`free_at` and `take`: no more leaves than the rate allows."""

    @given(rate=RATES, idle=IDLE, start=st.floats(0.0, 1e6))
    def test_a_steady_pace_lets_no_window_have_more_than_its_rate(
        self, rate: float, idle: list[float], start: float
    ) -> None:
        """In any window of T seconds at most rate * T requests leave, and the one that it begins with."""
        times = leave_all(Pace(rate, is_steady=True), idle, start)

        assert excess(times, rate) <= 1 + SLACK

    @given(rate=RATES, idle=IDLE, start=st.floats(0.0, 1e6))
    def test_a_bursting_pace_lets_no_window_have_more_than_a_burst_over_its_rate(
        self, rate: float, idle: list[float], start: float
    ) -> None:
        """In any window of T seconds at most rate * (T + BURST) requests leave, and the one that it begins with."""
        times = leave_all(Pace(rate), idle, start)

        assert excess(times, rate) <= rate * BURST + 1 + SLACK

    @given(rate=RATES, is_steady=st.booleans(), count=st.integers(2, 60))
    def test_what_is_allowed_can_be_used(self, rate: float, count: int, *, is_steady: bool) -> None:
        """Requests that wait for nothing else leave at the rate, not at less."""
        times = leave_all(Pace(rate, is_steady=is_steady), [0.0] * count)

        assert times[-1] - times[0] <= (count - 1) / rate + SLACK

    def test_a_second_of_the_rate_may_leave_at_once(self) -> None:
        """After a time of less, a burst leaves at once, and what follows is one by one."""
        times = leave_all(Pace(4.0), [100.0, *[0.0] * 5, 3.0, *[0.0] * 4])

        assert times == [100.0] * 4 + [100.25, 100.5] + [103.5] * 4 + [103.75]

    def test_a_steady_pace_makes_up_for_nothing(self) -> None:
        """However long nothing has left, requests leave one by one."""
        times = leave_all(Pace(4.0, is_steady=True), [100.0, 0.0, 0.0, 60.0, 0.0, 0.0])

        assert times == [100.0, 100.25, 100.5, 160.5, 160.75, 161.0]

    def test_less_than_one_a_second_leaves_one_by_one(self) -> None:
        """A second of such a rate is less than a request, so there is nothing to burst with."""
        assert leave_all(Pace(0.5), [0.0, 0.0, 60.0, 0.0]) == [0.0, 2.0, 62.0, 64.0]

    @pytest.mark.parametrize("is_steady", [True, False])
    def test_no_limit_is_none(self, *, is_steady: bool) -> None:
        """At an infinite rate any number leaves at once."""
        assert leave_all(Pace(math.inf, is_steady=is_steady), [5.0, *[0.0] * 1000]) == [5.0] * 1001

    def test_before_anything_has_left_all_is_free(self) -> None:
        """A new pace holds nobody up, at whatever time it is asked."""
        assert Pace(1.0).free_at == -math.inf
        assert not Pace(1.0).is_slowed


def leave_together(pace: Pace, count: int, seconds: float, *, tick: float = 0.0) -> list[float]:
    """Let some requests leave that wait for each other for some seconds, and tell when they did.

    A tick is how often somebody looks whether one may leave, for whatever reason; without one it is just when one may.
    """
    times: list[float] = []
    now = 0.0
    while len(times) < count:
        if (at := pace.gathered_at(seconds)) > now:
            now = now + tick if tick else at
        else:
            pace.take(now)
            times.append(now)
    return times


class TestGathering:
    """`gathered_at`: where the rate is used to the full, requests leave a few at a time, and no fewer of them."""

    @pytest.mark.parametrize(
        ("seconds", "groups"),
        [
            (0.0, {0.0: 16, 0.0625: 1, 0.125: 1, 0.1875: 1}),
            (0.03125, {0.0: 16, 0.09375: 1, 0.15625: 1, 0.21875: 1}),
            (0.0625, {0.0: 16, 0.125: 2, 0.25: 2, 0.375: 2}),
            (0.5, {0.0: 16, 0.5625: 9, 1.125: 9, 1.6875: 9}),
            # A burst is no larger than it is without.
            (5.0, {0.0: 16, 1.0: 16, 2.0: 16, 3.0: 16}),
            (math.inf, {0.0: 16, 1.0: 16, 2.0: 16, 3.0: 16}),
        ],
    )
    def test_requests_leave_in_groups(self, seconds: float, groups: dict[float, int]) -> None:
        """The first of them waits as long as is said, or until a whole burst is free."""
        times = leave_together(Pace(16.0), sum(groups.values()), seconds)

        assert collections.Counter(times) == groups

    @pytest.mark.parametrize("seconds", [0.0, 0.0625, 0.5, 5.0])
    def test_whoever_looks_in_between_makes_none_leave_early(self, seconds: float) -> None:
        """However often: when they leave is told by what has left, and not by when that is asked."""
        times = leave_together(Pace(16.0), 100, seconds)

        assert leave_together(Pace(16.0), 100, seconds, tick=1.0 / 64.0) == times

    @given(rate=RATES, is_steady=st.booleans(), seconds=st.floats(0.0, 3.0), count=st.integers(2, 150))
    def test_the_rate_is_used_in_full_and_no_more(
        self, rate: float, seconds: float, count: int, *, is_steady: bool
    ) -> None:
        """Over any time as many leave as if nobody waited, and no window of it has more than without."""
        times = leave_together(Pace(rate, is_steady=is_steady), count, seconds)

        assert times[-1] - times[0] <= (count - 1) / rate + SLACK
        assert excess(times, rate) <= (1 if is_steady else rate * BURST + 1) + SLACK

    @given(
        rate=st.floats(0.05, 100.0),
        is_steady=st.booleans(),
        seconds=st.floats(0.0, 3.0),
        events=st.lists(st.tuples(st.sampled_from(["take", "take", "answer", "limit"]), st.floats(0.0, 1.0))),
    )
    def test_nothing_leaves_before_it_may_or_waits_for_longer(
        self, rate: float, seconds: float, events: list[tuple[str, float]], *, is_steady: bool
    ) -> None:
        """Whatever happens; and where a rate was cut, or is steady, nothing waits."""
        pace = Pace(rate, is_steady=is_steady)
        now = 0.0
        for event, number in events:
            now += number
            if event == "take":
                now = leave(pace, now)
            elif event == "answer":
                pace.note_answer()
            else:
                pace.note_limit(now, now - number, number)

            gathered_at = pace.gathered_at(seconds)
            assert pace.free_at <= gathered_at <= pace.free_at + seconds
            assert pace.gathered_at(0.0) == pace.free_at
            if pace.is_slowed or is_steady:
                assert gathered_at == pace.free_at

    def test_nothing_waits_where_the_rate_is_not_used_up(self) -> None:
        """Before anything has left, after less than a burst, and after a time of less."""
        pace = Pace(4.0)
        assert pace.gathered_at(0.5) == -math.inf
        for _ in range(3):
            pace.take(100.0)
            assert pace.gathered_at(0.5) == pace.free_at <= 100.0
        pace.take(100.0)
        assert (pace.free_at, pace.gathered_at(0.5)) == (100.25, 100.75)

        pace.take(160.0)
        assert pace.gathered_at(0.5) == pace.free_at <= 160.0

    def test_a_rate_that_was_cut_is_used_evenly(self) -> None:
        """One by one, until it is back where it was."""
        pace = Pace(8.0)
        last = leave_all(pace, [0.0] * 1000)[-1]
        assert pace.gathered_at(0.5) > pace.free_at
        pace.note_limit(last, last, 10.0)
        assert pace.gathered_at(0.5) == pace.free_at == last + 10.0
        use_fully(pace, last, 30.0)
        assert (pace.is_slowed, pace.gathered_at(0.5)) == (True, pace.free_at)

        use_fully(pace, last, 10.0 + RECOVERY * 1.1)
        assert not pace.is_slowed
        assert pace.gathered_at(0.5) == pytest.approx(pace.free_at + 0.5)


class TestCut:
    """`note_limit`: half the rate, and a pause."""

    def test_a_refusal_halves_the_rate(self) -> None:
        """Half of what was used to the full is left, and the caller is told that it was cut."""
        pace = Pace(10.0)
        last = leave_all(pace, [0.0] * 600)[-1]

        assert pace.note_limit(last, last, 0.0) is True
        assert (pace.rate, pace.is_slowed) == (5.0, True)

    @given(under_way=st.integers(2, 50), latency=st.floats(0.0, 2.0))
    def test_refusals_of_requests_under_way_together_halve_it_once(self, under_way: int, latency: float) -> None:
        """Those that had left when the first refusal came tell nothing new, even if the clock has not moved since."""
        pace = Pace(100.0)
        times = leave_all(pace, [0.0] * 100)
        cut_at = times[-1] + latency
        told, rates = [], set()
        for sent_at in times[-under_way:]:
            told.append(pace.note_limit(cut_at, sent_at, 0.0))
            rates.add(pace.rate)

        assert told == [True] + [False] * (under_way - 1)
        assert len(rates) == 1

    def test_a_refusal_of_what_left_after_the_cut_halves_it_again(self) -> None:
        """The lower rate is still too much; that the rate is cut is told once."""
        pace = Pace(16.0)
        last = leave_all(pace, [0.0] * 1600)[-1]
        assert pace.note_limit(last, last, 0.0) is True
        last = use_fully(pace, last, 50.0)
        before = pace.rate

        assert pace.note_limit(last, last, 0.0) is False
        assert 8.0 < before < 16.0
        # The rate that was used is a mean of some seconds, so it comes a little after the one that was allowed.
        assert pace.rate == pytest.approx(before / 2, rel=0.1)

    def test_what_was_allowed_and_not_used_does_not_count(self) -> None:
        """Where 2 a second were refused, half of the 60 that were allowed would be refused too."""
        pace = Pace(60.0)
        times = leave_all(pace, [0.5] * 200)
        pace.note_limit(times[-1], times[-1], 0.0)

        assert LEAST_RATE <= pace.rate < 2.0

    def test_a_first_request_that_is_refused_leaves_the_least_rate(self) -> None:
        """With nothing to go by, it begins from the bottom."""
        pace = Pace(60.0)
        pace.take(0.0)
        pace.note_limit(0.1, 0.0, 0.0)

        assert pace.rate == LEAST_RATE

    @given(
        rate=st.floats(0.05, 100.0),
        events=st.lists(st.tuples(st.sampled_from(["take", "answer", "limit"]), st.floats(0.001, 5.0)), max_size=80),
    )
    def test_no_cut_goes_below_the_least_rate_or_raises_it(self, rate: float, events: list[tuple[str, float]]) -> None:
        """Whatever happens, the rate stays above the least, or above where it began if that is less."""
        pace = Pace(rate)
        now = 0.0
        for event, seconds in events:
            now += seconds
            before = pace.rate
            if event == "take":
                leave(pace, now)
            elif event == "answer":
                pace.note_answer()
                assert pace.rate >= before
            else:
                was_slowed = pace.is_slowed
                is_news = pace.note_limit(now, now, 0.0)
                assert pace.rate <= before
                assert is_news is (pace.is_slowed and not was_slowed)
            assert pace.rate >= min(rate, LEAST_RATE)

    def test_a_rate_below_the_least_is_not_cut(self) -> None:
        """Whoever begins with less than the least rate keeps it, and nothing is told."""
        pace = Pace(0.1)
        pace.take(0.0)

        assert pace.note_limit(1.0, 0.0, 30.0) is False
        assert (pace.rate, pace.is_slowed, pace.free_at) == (0.1, False, 31.0)


class TestPause:
    """`note_limit`: nothing leaves before the pause is over, and no burst after it."""

    @given(
        pauses=st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 60.0), st.booleans()), min_size=1, max_size=10),
        rate=st.floats(0.5, 100.0),
    )
    def test_a_pause_is_never_undercut(self, pauses: list[tuple[float, float, bool]], rate: float) -> None:
        """Of all pauses the one that ends last is kept, whether the refusal cut the rate or came late."""
        pace = Pace(rate)
        now = until = 0.0
        for seconds, pause, is_late in pauses:
            now += seconds
            pace.take(now)
            pace.note_limit(now, -1.0 if is_late else now, pause)
            until = max(until, now + pause)
            pace.note_answer()

            assert pace.free_at >= until

    @given(rate=st.floats(2.0, 200.0), pause=st.floats(1.0, 1000.0))
    def test_a_pause_ends_without_a_burst(self, rate: float, pause: float) -> None:
        """The first request leaves at its very end, and the others follow one by one."""
        pace = Pace(rate)
        last = leave_all(pace, [0.0] * 200)[-1]
        pace.note_limit(last, last, pause)
        times = leave_all(pace, [0.0] * 20, last)

        assert times[0] == pytest.approx(last + pause)
        assert times[0] >= last + pause
        assert excess(times, pace.rate) <= 1 + SLACK

    def test_a_burst_may_leave_again_after_a_time_of_less(self) -> None:
        """Only the end of the pause is without: what is not used after it is made up for."""
        pace = Pace(8.0)
        last = leave_all(pace, [0.0] * 1000)[-1]
        pace.note_limit(last, last, 10.0)

        assert leave_all(pace, [0.0, 60.0, 0.0, 0.0, 0.0], last) == [last + 10.0] + [last + 70.0] * 4


class TestRecovery:
    """`note_answer`: the rate climbs, and is back in time."""

    @given(rate=st.floats(2.0, 100.0), seconds=st.floats(0.0, RECOVERY))
    def test_the_rate_climbs_linearly(self, rate: float, seconds: float) -> None:
        """After some seconds of full use, that share of what was cut is back."""
        pace = Pace(rate)
        last = leave_all(pace, [0.0] * math.ceil(rate * 60))[-1]
        pace.note_limit(last, last, 0.0)
        use_fully(pace, last, seconds)
        one_step = (rate / 2) / RECOVERY / (rate / 2)

        assert pace.rate == pytest.approx(rate / 2 * (1 + seconds / RECOVERY), abs=2 * one_step, rel=0.02)

    @pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
    @pytest.mark.parametrize("rate", [2.0, 5.0, 60.0])
    def test_the_rate_is_back_after_a_time_of_full_use(self, rate: float, share: float) -> None:
        """It is told once, and takes as long however much of the rate was used when it was cut."""
        pace = Pace(rate)
        times = leave_all(pace, [1 / rate / share] * math.ceil(rate * share * 60)) if share else [leave(pace, 0.0)]
        cut_at = times[-1]
        assert pace.note_limit(cut_at, cut_at, 0.0) is True
        now, told = cut_at, 0
        while pace.is_slowed:
            now = leave(pace, now)
            told += pace.note_answer()

        assert told == 1
        assert pace.rate >= rate
        assert now - cut_at == pytest.approx(RECOVERY, rel=0.1)
        assert pace.note_answer() is False

    def test_a_rate_that_is_not_used_to_the_full_does_not_climb(self) -> None:
        """Ten minutes at half of what is allowed show nothing of what else would be borne."""
        pace = Pace(8.0)
        last = leave_all(pace, [0.0] * 1000)[-1]
        pace.note_limit(last, last, 0.0)
        now = last + 10.0
        for _ in range(1200):
            now = leave(pace, now + 0.5)
            assert pace.note_answer() is False

        assert (pace.rate, pace.is_slowed) == (4.0, True)

    def test_a_rate_that_was_never_cut_climbs_too(self) -> None:
        """What it begins with is no more than a guess: in a time of full use it grows by half."""
        pace = Pace(4.0)
        use_fully(pace, 0.0, RECOVERY)

        assert pace.rate == pytest.approx(6.0, rel=0.02)
        assert not pace.is_slowed

    def test_answers_to_what_left_before_the_cut_raise_nothing(self) -> None:
        """They tell of the old rate: the new one climbs from the first request that leaves under it."""
        pace = Pace(10.0)
        last = leave_all(pace, [0.0] * 600)[-1]
        pace.note_limit(last, last, 0.0)
        for _ in range(20):
            pace.note_answer()
        assert pace.rate == 5.0

        leave(pace, last)
        pace.note_answer()
        assert pace.rate > 5.0

    def test_a_refusal_that_comes_after_the_recovery_cuts_nothing(self) -> None:
        """One that left before the cut, and was answered very late, is old news, and nothing is told."""
        pace = Pace(10.0)
        last = leave_all(pace, [0.0] * 600)[-1]
        pace.note_limit(last, last, 0.0)
        now = use_fully(pace, last, 2 * RECOVERY)
        rate = pace.rate

        assert pace.note_limit(now, last - 1.0, 0.0) is False
        assert (pace.rate, pace.is_slowed) == (rate, False)

    def test_a_second_cut_does_not_change_what_counts_as_back(self) -> None:
        """The rate is back when it is where it was before the first cut."""
        pace = Pace(10.0)
        last = leave_all(pace, [0.0] * 600)[-1]
        pace.note_limit(last, last, 0.0)
        last = use_fully(pace, last, 30.0)
        pace.note_limit(last, last, 0.0)
        use_fully(pace, last, RECOVERY * 1.1)
        assert (pace.is_slowed, 7.0 < pace.rate < 9.0) == (True, True)

        use_fully(pace, last, RECOVERY * 3)
        assert not pace.is_slowed


class Service:
    """A service that bears some requests a second, and refuses what is too much.

    Args:
        rate: Requests a second that it bears.
        patience: Seconds of its rate that it bears at once.
    """

    def __init__(self, rate: float, patience: float) -> None:
        self.rate = rate
        self.most = max(1.0, rate * patience)
        self.left = self.most
        self.at = 0.0

    def bears(self, now: float) -> bool:
        """Tell whether it bears one more request now."""
        self.left = min(self.most, self.left + (now - self.at) * self.rate)
        self.at = now
        is_borne = self.left >= 1.0
        self.left -= is_borne
        return is_borne


def simulate(service: Service, pace: Pace, seconds: float, latency: float = 0.2) -> tuple[int, int]:
    """Let a client ask a service for all that its pace allows, with 8 requests under way at most.

    Returns:
        How many of its requests were borne, and how many were refused.
    """
    borne = refused = 0
    now = 0.0
    # Answers on their way, first come first: when, when asked, and whether it was borne.
    answers: collections.deque[tuple[float, float, bool]] = collections.deque()
    while now < seconds:
        now = max(now, pace.free_at)
        while answers and (answers[0][0] <= now or len(answers) == 8):
            now, sent_at, is_borne = answers.popleft()
            if is_borne:
                pace.note_answer()
            else:
                pace.note_limit(now, sent_at, 1.0)
            now = max(now, pace.free_at)
        pace.take(now)
        is_borne = service.bears(now)
        borne += is_borne
        refused += not is_borne
        answers.append((now + latency, now, is_borne))
    return borne, refused


class TestFinding:
    """What a service bears is found out without being told."""

    @pytest.mark.parametrize("patience", [0.0, 1.0], ids=["strict", "patient"])
    @pytest.mark.parametrize(
        # At the least rate itself, nothing is left to be halved: each climb is refused soon.
        ("borne", "share"),
        [(0.5, 0.4), (1.0, 0.06), (2.0, 0.04), (5.0, 0.02), (10.0, 0.01), (20.0, 0.01), (50.0, 0.01)],
    )
    def test_most_of_what_is_borne_is_used(self, borne: float, share: float, patience: float) -> None:
        """From the first second on, at least 60 % of what a service bears gets through, and little is refused."""
        answered, refused = simulate(Service(borne, patience), Pace(60.0), 600.0)

        assert answered / 600.0 >= 0.6 * borne
        assert refused / (answered + refused) <= share


def test_repr_shows_the_rate() -> None:
    """The repr tells the rate, and whether it is less than usual."""
    pace = Pace(4.0)
    assert repr(pace) == "<Pace 4/s>"
    last = leave_all(pace, [0.0] * 400)[-1]
    pace.note_limit(last, last, 0.0)

    assert repr(pace) == "<Pace 2/s slowed>"
