"""The token bucket, and the rate limiter that adapts to a service."""

from __future__ import annotations

import collections
import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import RetryPolicy
from acetasks._limits.rate_limiter import BURST, LEAST_RATE, RECOVERY, AdaptiveRateLimiter, TokenBucket

#: Requests per second.
RATES = st.floats(0.05, 200.0)
#: Seconds between a request and the attempt to send the next; often none.
IDLE = st.lists(st.just(0.0) | st.floats(0.0, 5.0), min_size=1, max_size=30)
#: Rounding errors are smaller than this, in requests.
SLACK = 1e-6
#: Pauses are exactly as requested.
NO_BACKOFF = RetryPolicy(base=0.0)

Limiter = TokenBucket | AdaptiveRateLimiter


def new_limiter(rate: float) -> AdaptiveRateLimiter:
    """Return a limiter that pauses only as requested."""
    return AdaptiveRateLimiter(rate, NO_BACKOFF)


def send(limiter: Limiter, now: float) -> float:
    """Send a request as soon as the limiter allows it, and return the time."""
    at = max(now, limiter.available_at())
    limiter.acquire(at)
    return at


def send_all(limiter: Limiter, idle: list[float], start: float = 0.0) -> list[float]:
    """Send requests, each after an idle time or as soon as allowed, and return the times."""
    times, now = [], start
    for seconds in idle:
        now = send(limiter, now + seconds)
        times.append(now)
    return times


def use_fully(limiter: AdaptiveRateLimiter, start: float, seconds: float) -> float:
    """Send requests as fast as allowed, each with an immediate response, and return the time of the last."""
    now = start
    while (at := max(now, limiter.available_at())) <= start + seconds:
        limiter.acquire(at)
        limiter.record_success()
        now = at
    return now


def reduce(limiter: AdaptiveRateLimiter, now: float, pause: float = 0.0, *, sent_at: float | None = None) -> bool:
    """Record a 429 response, by default to a request sent just now."""
    return limiter.record_rate_limit(now, now if sent_at is None else sent_at, pause, 0.0)


def excess(times: list[float], rate: float) -> float:
    """Return by how much the fullest time window holds more than its length times the rate."""
    windows = itertools.combinations_with_replacement(enumerate(times), 2)
    return max(last - first + 1 - rate * (end - begin) for (first, begin), (last, end) in windows)


class TestTokenBucket:
    """`TokenBucket`: tokens at a rate, up to a capacity."""

    @given(rate=RATES, capacity=st.floats(1.0, 50.0), idle=IDLE, start=st.floats(0.0, 1e6))
    def test_no_window_exceeds_the_rate_by_more_than_the_capacity(
        self, rate: float, capacity: float, idle: list[float], start: float
    ) -> None:
        """In any window of T seconds at most rate * T + capacity tokens are acquired."""
        times = send_all(TokenBucket(rate, capacity), idle, start)

        assert excess(times, rate) <= capacity + SLACK

    def test_capacity_1_spaces_requests_evenly(self) -> None:
        """Nothing is saved: however long nothing was sent, requests follow one by one."""
        times = send_all(TokenBucket(4.0, 1.0), [100.0, 0.0, 0.0, 60.0, 0.0, 0.0])

        assert times == [100.0, 100.25, 100.5, 160.5, 160.75, 161.0]

    @given(rate=RATES, capacity=st.floats(1.0, 50.0), idle=IDLE, tokens=st.floats(0.0, 50.0))
    def test_available_at_is_the_time_of_the_tokens(
        self, rate: float, capacity: float, idle: list[float], tokens: float
    ) -> None:
        """At that time the bucket holds them, and before the last update nothing is foretold."""
        bucket = TokenBucket(rate, capacity)
        send_all(bucket, idle)
        at = bucket.available_at(min(tokens, capacity))
        assert at >= bucket.updated_at
        bucket.refill(at)

        assert bucket.tokens >= min(tokens, capacity) - SLACK

    def test_a_refill_does_not_go_back_in_time(self) -> None:
        """An earlier time changes nothing."""
        bucket = TokenBucket(4.0, 2.0)
        bucket.acquire(100.0)
        bucket.refill(50.0)

        assert (bucket.tokens, bucket.updated_at) == (1.0, 100.0)
        assert repr(bucket) == "<TokenBucket 1 of 2 tokens, 4/s>"


class TestRate:
    """`available_at` and `acquire`: the rate is kept."""

    @given(rate=RATES, idle=IDLE, start=st.floats(0.0, 1e6))
    def test_no_window_exceeds_the_rate_by_more_than_a_burst(
        self, rate: float, idle: list[float], start: float
    ) -> None:
        """In any window of T seconds at most rate * (T + BURST) requests are sent, and the one that it begins with."""
        assert excess(send_all(new_limiter(rate), idle, start), rate) <= rate * BURST + 1 + SLACK

    @given(rate=RATES, count=st.integers(2, 60))
    def test_the_rate_can_be_used_in_full(self, rate: float, count: int) -> None:
        """Requests that wait for nothing else are sent at the rate, not slower."""
        for limiter in (new_limiter(rate), TokenBucket(rate, 1.0)):
            times = send_all(limiter, [0.0] * count)

            assert times[-1] - times[0] <= (count - 1) / rate + SLACK

    def test_one_second_of_the_rate_is_sent_as_a_burst(self) -> None:
        """After an idle time a burst is sent at once, and the following requests one by one."""
        times = send_all(new_limiter(4.0), [100.0, *[0.0] * 5, 3.0, *[0.0] * 4])

        assert times == [100.0] * 4 + [100.25, 100.5] + [103.5] * 4 + [103.75]

    def test_a_rate_below_one_has_no_burst(self) -> None:
        """A second of such a rate is less than a request."""
        assert send_all(new_limiter(0.5), [0.0, 0.0, 60.0, 0.0]) == [0.0, 2.0, 62.0, 64.0]

    def test_a_new_limiter_delays_nothing(self) -> None:
        """At whatever time the first request is sent."""
        assert new_limiter(1.0).available_at() == -math.inf
        assert not new_limiter(1.0).is_reduced


def send_coalesced(limiter: AdaptiveRateLimiter, count: int, seconds: float, *, tick: float = 0.0) -> list[float]:
    """Send requests that are coalesced for some seconds, and return the times.

    The limiter is queried at every tick, or without ticks just at the times that it returns.
    """
    times: list[float] = []
    now = 0.0
    while len(times) < count:
        if (at := limiter.available_at(seconds)) > now:
            now = now + tick if tick else at
        else:
            limiter.acquire(now)
            times.append(now)
    return times


class TestCoalescing:
    """`available_at(coalesce)`: where the rate is fully used, requests are sent in bursts, at no lower rate."""

    @pytest.mark.parametrize(
        ("seconds", "bursts"),
        [
            (0.0, {0.0: 16, 0.0625: 1, 0.125: 1, 0.1875: 1}),
            (0.03125, {0.0: 16, 0.09375: 1, 0.15625: 1, 0.21875: 1}),
            (0.0625, {0.0: 16, 0.125: 2, 0.25: 2, 0.375: 2}),
            (0.5, {0.0: 16, 0.5625: 9, 1.125: 9, 1.6875: 9}),
            # A burst is no larger than without.
            (5.0, {0.0: 16, 1.0: 16, 2.0: 16, 3.0: 16}),
            (math.inf, {0.0: 16, 1.0: 16, 2.0: 16, 3.0: 16}),
        ],
    )
    def test_requests_are_sent_in_bursts(self, seconds: float, bursts: dict[float, int]) -> None:
        """The first of each waits for the coalescing window, or until the bucket is full."""
        times = send_coalesced(new_limiter(16.0), sum(bursts.values()), seconds)

        assert collections.Counter(times) == bursts

    @pytest.mark.parametrize("seconds", [0.0, 0.0625, 0.5, 5.0])
    def test_queries_in_between_send_nothing_early(self, seconds: float) -> None:
        """The times depend on the requests sent, not on when the limiter is queried."""
        times = send_coalesced(new_limiter(16.0), 100, seconds)

        assert send_coalesced(new_limiter(16.0), 100, seconds, tick=1.0 / 64.0) == times

    @given(rate=RATES, seconds=st.floats(0.0, 3.0), count=st.integers(2, 150))
    def test_the_rate_is_used_in_full_and_never_exceeded(self, rate: float, seconds: float, count: int) -> None:
        """Over any time as many requests are sent as without coalescing, and no window has more."""
        times = send_coalesced(new_limiter(rate), count, seconds)

        assert times[-1] - times[0] <= (count - 1) / rate + SLACK
        assert excess(times, rate) <= rate * BURST + 1 + SLACK

    @given(
        rate=st.floats(0.05, 100.0),
        seconds=st.floats(0.0, 3.0),
        events=st.lists(st.tuples(st.sampled_from(["send", "send", "success", "limit"]), st.floats(0.0, 1.0))),
    )
    def test_the_delay_is_at_most_the_window(
        self, rate: float, seconds: float, events: list[tuple[str, float]]
    ) -> None:
        """Whatever happens; and a reduced rate is not coalesced."""
        limiter = new_limiter(rate)
        now = 0.0
        for event, number in events:
            now += number
            if event == "send":
                now = send(limiter, now)
            elif event == "success":
                limiter.record_success()
            else:
                reduce(limiter, now, number, sent_at=now - number)

            available_at = limiter.available_at()
            assert available_at <= limiter.available_at(seconds) <= available_at + seconds
            if limiter.is_reduced:
                assert limiter.available_at(seconds) == available_at

    def test_nothing_is_delayed_while_the_rate_is_not_fully_used(self) -> None:
        """Before the first request, after less than a burst, and after an idle time."""
        limiter = new_limiter(4.0)
        assert limiter.available_at(0.5) == -math.inf
        for _ in range(3):
            limiter.acquire(100.0)
            assert limiter.available_at(0.5) == limiter.available_at() <= 100.0
        limiter.acquire(100.0)
        assert (limiter.available_at(), limiter.available_at(0.5)) == (100.25, 100.75)

        limiter.acquire(160.0)
        assert limiter.available_at(0.5) == limiter.available_at() <= 160.0

    def test_a_reduced_rate_is_used_evenly(self) -> None:
        """Requests are sent one by one until the rate has recovered."""
        limiter = new_limiter(8.0)
        last = send_all(limiter, [0.0] * 1000)[-1]
        assert limiter.available_at(0.5) > limiter.available_at()
        reduce(limiter, last, 10.0)
        assert limiter.available_at(0.5) == limiter.available_at() == last + 10.0
        use_fully(limiter, last, 30.0)
        assert (limiter.is_reduced, limiter.available_at(0.5)) == (True, limiter.available_at())

        use_fully(limiter, last, 10.0 + RECOVERY * 1.1)
        assert not limiter.is_reduced
        assert limiter.available_at(0.5) == pytest.approx(limiter.available_at() + 0.5)


class TestReduction:
    """`record_rate_limit`: the rate is halved."""

    def test_a_429_response_halves_the_rate(self) -> None:
        """A fully used rate is halved, and the method returns that it was."""
        limiter = new_limiter(10.0)
        last = send_all(limiter, [0.0] * 600)[-1]

        assert reduce(limiter, last) is True
        assert (limiter.rate, limiter.is_reduced) == (5.0, True)

    @given(in_flight=st.integers(2, 50), latency=st.floats(0.0, 2.0))
    def test_requests_in_flight_together_halve_it_once(self, in_flight: int, latency: float) -> None:
        """Later responses to requests sent before the reduction change nothing, even if the clock has not moved."""
        limiter = new_limiter(100.0)
        times = send_all(limiter, [0.0] * 100)
        reduced_at = times[-1] + latency
        reductions, rates = [], set()
        for sent_at in times[-in_flight:]:
            reductions.append(reduce(limiter, reduced_at, sent_at=sent_at))
            rates.add(limiter.rate)

        assert reductions == [True] + [False] * (in_flight - 1)
        assert len(rates) == 1

    def test_a_request_sent_after_the_reduction_halves_it_again(self) -> None:
        """The lower rate is still too high; the reduction is reported once."""
        limiter = new_limiter(16.0)
        last = send_all(limiter, [0.0] * 1600)[-1]
        assert reduce(limiter, last) is True
        last = use_fully(limiter, last, 50.0)
        before = limiter.rate

        assert reduce(limiter, last) is False
        assert 8.0 < before < 16.0
        # The rate in use is an average, so it lags a little behind the allowed one.
        assert limiter.rate == pytest.approx(before / 2, rel=0.1)

    def test_an_unused_rate_does_not_count(self) -> None:
        """Where 2 requests per second were refused, half of the allowed 60 would be refused too."""
        limiter = new_limiter(60.0)
        times = send_all(limiter, [0.5] * 200)
        reduce(limiter, times[-1])

        assert LEAST_RATE <= limiter.rate < 2.0

    def test_a_refused_first_request_leaves_the_least_rate(self) -> None:
        """Without any evidence the rate climbs from its lower bound."""
        limiter = new_limiter(60.0)
        limiter.acquire(0.0)
        reduce(limiter, 0.1, sent_at=0.0)

        assert limiter.rate == LEAST_RATE

    @given(
        rate=st.floats(0.05, 100.0),
        events=st.lists(st.tuples(st.sampled_from(["send", "success", "limit"]), st.floats(0.001, 5.0)), max_size=80),
    )
    def test_a_reduction_stays_above_the_least_rate(self, rate: float, events: list[tuple[str, float]]) -> None:
        """Whatever happens, the rate is at least the least one, or the first one if that is lower."""
        limiter = new_limiter(rate)
        now = 0.0
        for event, seconds in events:
            now += seconds
            before = limiter.rate
            if event == "send":
                send(limiter, now)
            elif event == "success":
                limiter.record_success()
                assert limiter.rate >= before
            else:
                was_reduced = limiter.is_reduced
                is_new = reduce(limiter, now)
                assert limiter.rate <= before
                assert is_new is (limiter.is_reduced and not was_reduced)
            assert limiter.rate >= min(rate, LEAST_RATE)

    def test_a_rate_below_the_least_is_not_reduced(self) -> None:
        """It is kept, and only the pause holds."""
        limiter = new_limiter(0.1)
        limiter.acquire(0.0)

        assert reduce(limiter, 1.0, 30.0, sent_at=0.0) is False
        assert (limiter.rate, limiter.is_reduced, limiter.available_at()) == (0.1, False, 31.0)


class TestPause:
    """`record_rate_limit`: nothing is sent during the pause, and no burst after it."""

    @given(
        pauses=st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 60.0), st.booleans()), min_size=1, max_size=10),
        rate=st.floats(0.5, 100.0),
    )
    def test_a_pause_is_kept(self, pauses: list[tuple[float, float, bool]], rate: float) -> None:
        """The pause that ends last counts, whether its response reduced the rate or came late."""
        limiter = new_limiter(rate)
        now = until = 0.0
        for seconds, pause, is_late in pauses:
            now += seconds
            limiter.acquire(now)
            reduce(limiter, now, pause, sent_at=-1.0 if is_late else now)
            until = max(until, now + pause)
            limiter.record_success()

            assert limiter.available_at() >= until

    def test_the_pause_is_a_backoff_unless_a_longer_one_is_requested(self) -> None:
        """It doubles with each consecutive 429 response, and starts again after a success."""
        limiter = AdaptiveRateLimiter(60.0, RetryPolicy(base=2.0, cap=16.0))
        pauses = []
        for now in range(0, 500, 100):
            limiter.record_rate_limit(now, now, 0.0, 0.5)
            pauses.append(limiter.available_at() - now)
        limiter.record_rate_limit(500.0, 500.0, 30.0, 0.5)
        pauses.append(limiter.available_at() - 500.0)
        limiter.record_success()
        limiter.record_rate_limit(600.0, 600.0, 0.0, 0.5)
        pauses.append(limiter.available_at() - 600.0)

        assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 30.0, 1.0]

    @given(rate=st.floats(2.0, 200.0), pause=st.floats(1.0, 1000.0))
    def test_a_pause_ends_without_a_burst(self, rate: float, pause: float) -> None:
        """The first request is sent at its very end, and the others one by one."""
        limiter = new_limiter(rate)
        last = send_all(limiter, [0.0] * 200)[-1]
        reduce(limiter, last, pause)
        times = send_all(limiter, [0.0] * 20, last)

        assert times[0] == pytest.approx(last + pause)
        assert times[0] >= last + pause
        assert excess(times, limiter.rate) <= 1 + SLACK

    def test_an_idle_time_after_the_pause_allows_a_burst(self) -> None:
        """Only the end of the pause is without."""
        limiter = new_limiter(8.0)
        last = send_all(limiter, [0.0] * 1000)[-1]
        reduce(limiter, last, 10.0)

        assert send_all(limiter, [0.0, 60.0, 0.0, 0.0, 0.0], last) == [last + 10.0] + [last + 70.0] * 4


class TestRecovery:
    """`record_success`: the rate climbs back in time."""

    @given(rate=st.floats(2.0, 100.0), seconds=st.floats(0.0, RECOVERY))
    def test_the_rate_climbs_linearly(self, rate: float, seconds: float) -> None:
        """After some seconds of full use, that share of the reduction is regained."""
        limiter = new_limiter(rate)
        last = send_all(limiter, [0.0] * math.ceil(rate * 60))[-1]
        reduce(limiter, last)
        use_fully(limiter, last, seconds)
        one_step = (rate / 2) / RECOVERY / (rate / 2)

        assert limiter.rate == pytest.approx(rate / 2 * (1 + seconds / RECOVERY), abs=2 * one_step, rel=0.02)

    @pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 1.0])
    @pytest.mark.parametrize("rate", [2.0, 5.0, 60.0])
    def test_the_rate_recovers_in_a_fixed_time_of_full_use(self, rate: float, share: float) -> None:
        """It is reported once, and takes as long whatever share of the rate was in use when it was reduced."""
        limiter = new_limiter(rate)
        times = send_all(limiter, [1 / rate / share] * math.ceil(rate * share * 60)) if share else [send(limiter, 0.0)]
        reduced_at = times[-1]
        assert reduce(limiter, reduced_at) is True
        now, reports = reduced_at, 0
        while limiter.is_reduced:
            now = send(limiter, now)
            reports += limiter.record_success()

        assert reports == 1
        assert limiter.rate >= rate
        assert now - reduced_at == pytest.approx(RECOVERY, rel=0.1)
        assert limiter.record_success() is False

    def test_a_rate_that_is_not_fully_used_does_not_climb(self) -> None:
        """Ten minutes at half the allowed rate are no evidence that more would be accepted."""
        limiter = new_limiter(8.0)
        last = send_all(limiter, [0.0] * 1000)[-1]
        reduce(limiter, last)
        now = last + 10.0
        for _ in range(1200):
            now = send(limiter, now + 0.5)
            assert limiter.record_success() is False

        assert (limiter.rate, limiter.is_reduced) == (4.0, True)

    def test_a_rate_that_was_never_reduced_climbs_too(self) -> None:
        """The first rate is a guess: within the recovery time of full use it grows by half."""
        limiter = new_limiter(4.0)
        use_fully(limiter, 0.0, RECOVERY)

        assert limiter.rate == pytest.approx(6.0, rel=0.02)
        assert not limiter.is_reduced

    def test_responses_to_earlier_requests_raise_nothing(self) -> None:
        """The reduced rate climbs from the first request that is sent under it."""
        limiter = new_limiter(10.0)
        last = send_all(limiter, [0.0] * 600)[-1]
        reduce(limiter, last)
        for _ in range(20):
            limiter.record_success()
        assert limiter.rate == 5.0

        send(limiter, last)
        limiter.record_success()
        assert limiter.rate > 5.0

    def test_a_late_429_response_after_the_recovery_reduces_nothing(self) -> None:
        """Its request was sent before the reduction."""
        limiter = new_limiter(10.0)
        last = send_all(limiter, [0.0] * 600)[-1]
        reduce(limiter, last)
        now = use_fully(limiter, last, 2 * RECOVERY)
        rate = limiter.rate

        assert reduce(limiter, now, sent_at=last - 1.0) is False
        assert (limiter.rate, limiter.is_reduced) == (rate, False)

    def test_a_second_reduction_keeps_the_goal(self) -> None:
        """The rate has recovered when it is where it was before the first reduction."""
        limiter = new_limiter(10.0)
        last = send_all(limiter, [0.0] * 600)[-1]
        reduce(limiter, last)
        last = use_fully(limiter, last, 30.0)
        reduce(limiter, last)
        use_fully(limiter, last, RECOVERY * 1.1)
        assert (limiter.is_reduced, 7.0 < limiter.rate < 9.0) == (True, True)

        use_fully(limiter, last, RECOVERY * 3)
        assert not limiter.is_reduced


def simulate(accepted: float, tolerance: float, limiter: AdaptiveRateLimiter, latency: float = 0.2) -> tuple[int, int]:
    """Send as much as a limiter allows for ten minutes, with at most 8 requests in flight.

    Args:
        accepted: Requests per second that the service accepts.
        tolerance: Seconds of that rate that it accepts at once.
        limiter: The limiter.
        latency: Seconds to each response.

    Returns:
        How many requests were accepted, and how many refused.
    """
    service = TokenBucket(accepted, max(1.0, accepted * tolerance))
    counts = collections.Counter[bool]()
    now = 0.0
    # Responses in order of arrival: the time, the time of the request, and whether it was accepted.
    responses: collections.deque[tuple[float, float, bool]] = collections.deque()
    while now < 600.0:
        now = max(now, limiter.available_at())
        while responses and (responses[0][0] <= now or len(responses) == 8):
            now, sent_at, is_accepted = responses.popleft()
            if is_accepted:
                limiter.record_success()
            else:
                reduce(limiter, now, 1.0, sent_at=sent_at)
            now = max(now, limiter.available_at())
        limiter.acquire(now)
        service.refill(now)
        is_accepted = service.tokens >= 1.0
        service.tokens -= is_accepted
        counts[is_accepted] += 1
        responses.append((now + latency, now, is_accepted))
    return counts[True], counts[False]


@pytest.mark.parametrize("tolerance", [0.0, 1.0], ids=["strict", "tolerant"])
@pytest.mark.parametrize(
    # At the least rate itself nothing can be halved: each climb is refused soon.
    ("accepted", "share"),
    [(0.5, 0.4), (1.0, 0.06), (2.0, 0.04), (5.0, 0.02), (10.0, 0.01), (20.0, 0.01), (50.0, 0.01)],
)
def test_the_limiter_finds_the_accepted_rate(accepted: float, share: float, tolerance: float) -> None:
    """From the first second on, at least 60 % of the accepted rate is used, and few requests are refused."""
    successes, refusals = simulate(accepted, tolerance, new_limiter(60.0))

    assert successes / 600.0 >= 0.6 * accepted
    assert refusals / (successes + refusals) <= share


def test_repr_shows_the_rate() -> None:
    """The repr names the rate, and whether it is reduced."""
    limiter = new_limiter(4.0)
    assert repr(limiter) == "<AdaptiveRateLimiter 4/s>"
    last = send_all(limiter, [0.0] * 400)[-1]
    reduce(limiter, last)

    assert repr(limiter) == "<AdaptiveRateLimiter 2/s reduced>"
