"""The throttle: retries, outages, pauses, rates, the user's own rate, batch sizes and the events they cause."""

from __future__ import annotations

import collections
import itertools
import math
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import (
    AceTasksError,
    BadRequestError,
    BatchesIgnored,
    OutageBegan,
    OutageEnded,
    PollPolicy,
    ProtocolError,
    RateCut,
    RateLimitError,
    RateRestored,
    RetryPolicy,
    ServiceError,
    TransportError,
)
from acetasks._limits.batch_size import LIMIT_TTL
from acetasks._limits.rate_limiter import LEAST_RATE, RECOVERY
from acetasks._limits.throttle import SHARED_PAUSE, SPREAD, Throttle
from acetasks._limits.turns import RequestKind
from acetasks.providers import ProviderSpec, lookup

if TYPE_CHECKING:
    from acetasks import Event

#: Two providers of one service, and one of another.
LUMA, FLUX, USEAPI = lookup("luma"), lookup("flux"), lookup("useapi-pixverse")
POLL, SUBMISSION, OTHER = RequestKind
OUTAGE = TransportError("reset")
RATE_LIMIT = RateLimitError("slow down", status=429)
#: With a jitter sample of 0.5 the delays are 1, 2, 4, 8, 8 s, and so on.
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)


class Result(msgspec.Struct):
    """The result of a poll."""

    errors: dict[str, AceTasksError]
    is_answered: bool
    truncated_at: list[int] = []
    accepted_size: int | None = None
    batch_works: bool | None = None


def submit(throttle: Throttle, spec: ProviderSpec, now: float) -> float:
    """Send a submission as soon as the limits allow, and return when that is."""
    time = max(now, throttle.rate_available_at(spec, SUBMISSION))
    throttle.acquire(spec, SUBMISSION, time)
    return time


def new_throttle(policy: PollPolicy | None = None, retry: RetryPolicy = RETRY) -> Throttle:
    """Return the throttle of a new client."""
    return Throttle(policy or PollPolicy(), retry)


@pytest.fixture
def throttle() -> Throttle:
    """The throttle of a new client."""
    return new_throttle()


def record(
    throttle: Throttle,
    spec: ProviderSpec,
    *errors: AceTasksError,
    now: float,
    sent_at: float | None = None,
    answered: bool | None = None,
    jitter_sample: float = 0.5,
) -> list[Event]:
    """Record a poll with some errors; one without any was answered."""
    is_answered = not errors if answered is None else answered
    result = Result({f"task-{number}": error for number, error in enumerate(errors)}, is_answered)
    sent_at = now if sent_at is None else sent_at
    return throttle.record(spec, result, sent_at=sent_at, now=now, jitter_sample=jitter_sample)


def fail(throttle: Throttle, spec: ProviderSpec, times: int, *, now: float = 0.0) -> list[Event]:
    """Record consecutive failed polls."""
    return [event for _ in range(times) for event in record(throttle, spec, OUTAGE, now=now)]


def size(throttle: Throttle, spec: ProviderSpec, *, split_level: int = 0, now: float = 0.0) -> int:
    """Return the size of the next batch."""
    return throttle.batch_size(spec, split_level, now)


def test_nothing_is_limited_at_first(throttle: Throttle) -> None:
    """Any provider may be polled at any time, in full batches, with any number of requests in flight."""
    for in_flight in (0, 7):
        assert throttle.available_at(LUMA, in_flight=in_flight) == -math.inf
    assert throttle.rate_available_at(LUMA, POLL) == -math.inf
    assert size(throttle, LUMA) == 50
    assert not throttle.is_down("luma")
    assert not throttle.has_answered_since("luma", -math.inf)


class TestRetries:
    """1. A task whose poll failed is retried after a random, growing delay; other polls go on."""

    def test_delays_double_with_each_failure_up_to_the_cap(self, throttle: Throttle) -> None:
        """The bound of the delay grows with the consecutive failures of a task."""
        delays = [throttle.retry_at(failures, OUTAGE, 100.0, 0.5) - 100.0 for failures in (1, 2, 3, 4, 5, 1000)]

        assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

    @given(
        failures=st.integers(1, 10_000),
        jitter_sample=st.floats(0, 1, exclude_max=True),
        retry_after=st.none() | st.floats(0, 1000),
    )
    def test_a_delay_is_random_and_at_least_retry_after(
        self, failures: int, jitter_sample: float, retry_after: float | None
    ) -> None:
        """Full jitter: from 0 to the bound, unless the service requested more."""
        error = ServiceError("busy", status=503, retry_after=retry_after)
        bound = 2.0 ** min(failures, 4)

        delay = new_throttle().retry_at(failures, error, 0.0, jitter_sample)
        assert delay == max(bound * jitter_sample, retry_after or 0.0)

    @pytest.mark.parametrize("error", [OUTAGE, ServiceError("busy", status=500), ProtocolError("no JSON")])
    def test_other_polls_go_on(self, throttle: Throttle, error: AceTasksError) -> None:
        """A provider with fewer consecutive failures than the policy's is not limited."""
        for _ in range(2):
            assert record(throttle, LUMA, error, now=100.0) == []

        assert not throttle.is_down("luma")
        assert throttle.available_at(LUMA, in_flight=7) <= 100.0
        assert size(throttle, LUMA) == 50

    def test_a_final_error_is_no_failure_of_the_provider(self, throttle: Throttle) -> None:
        """A rejected request was answered: it begins no outage, and ends one."""
        rejected = BadRequestError("no such id", status=400)
        for _ in range(5):
            assert record(throttle, LUMA, rejected, answered=True, now=1.0) == []
        assert not throttle.is_down("luma")

        fail(throttle, LUMA, 3)
        assert [type(event) for event in record(throttle, LUMA, rejected, answered=True, now=1.0)] == [OutageEnded]

    def test_a_connection_that_seldom_succeeds_later_is_a_failure(self, throttle: Throttle) -> None:
        """Nothing was answered: the provider is down after as many of them as of transient errors."""
        error = TransportError("bad certificate", transient=False, remedy="check it")
        events = [event for _ in range(3) for event in record(throttle, LUMA, error, answered=False, now=1.0)]
        (began,) = events
        assert isinstance(began, OutageBegan)
        assert began.error is error
        assert throttle.is_down("luma")


class TestOutages:
    """2. A provider that keeps failing is down, and is probed by one request at a time."""

    def test_an_outage_is_reported_when_it_begins_and_ends(self, throttle: Throttle) -> None:
        """It begins with the last of the failures that make it, and has lasted since the first of them."""
        last = ServiceError("busy", status=500)
        assert record(throttle, LUMA, OUTAGE, now=10.0) == []
        assert record(throttle, LUMA, OUTAGE, now=11.0) == []
        assert record(throttle, LUMA, last, now=15.0) == [
            OutageBegan(time=15.0, provider="luma", error=last, until=16.0)
        ]
        assert throttle.is_down("luma")
        assert fail(throttle, LUMA, 5, now=20.0) == []

        assert record(throttle, LUMA, now=52.5) == [OutageEnded(time=52.5, provider="luma", seconds=42.5)]
        assert not throttle.is_down("luma")
        assert record(throttle, LUMA, now=60.0) == []

    @pytest.mark.parametrize("attempts", [1, 2, 7])
    def test_it_begins_after_the_policys_failures(self, attempts: int) -> None:
        """One failure less is no outage."""
        throttle = new_throttle(retry=RetryPolicy(attempts=attempts))
        assert fail(throttle, LUMA, attempts - 1) == []
        assert not throttle.is_down("luma")

        assert [type(event) for event in fail(throttle, LUMA, 1)] == [OutageBegan]
        assert throttle.is_down("luma")

    def test_a_response_resets_the_count_of_failures(self, throttle: Throttle) -> None:
        """Failures with responses in between make no outage, and a later one has lasted since its own first failure."""
        for now in range(0, 30, 3):
            assert fail(throttle, LUMA, 2, now=now) == []
            assert record(throttle, LUMA, now=now + 1.0) == []
        assert [type(event) for event in fail(throttle, LUMA, 3, now=100.0)] == [OutageBegan]

        assert record(throttle, LUMA, now=101.0) == [OutageEnded(time=101.0, provider="luma", seconds=1.0)]

    def test_a_response_and_a_failure_in_one_poll_are_a_first_failure(self, throttle: Throttle) -> None:
        """The response ends the outage, and the failure counts anew."""
        fail(throttle, LUMA, 5, now=1.0)
        events = record(throttle, LUMA, OUTAGE, answered=True, now=7.0)

        assert events == [OutageEnded(time=7.0, provider="luma", seconds=6.0)]
        assert [len(fail(throttle, LUMA, 1)) for _ in range(2)] == [0, 1]

    def test_one_probe_is_in_flight_at_a_time(self, throttle: Throttle) -> None:
        """The next is sent after the backoff."""
        fail(throttle, LUMA, 3, now=100.0)

        assert throttle.available_at(LUMA, in_flight=0) == 101.0
        assert throttle.available_at(LUMA, in_flight=1) == math.inf

    def test_a_poll_by_the_user_is_not_delayed_by_an_outage(self, throttle: Throttle) -> None:
        """Only the rates and requested pauses hold for it."""
        fail(throttle, LUMA, 3, now=100.0)

        assert throttle.rate_available_at(LUMA, POLL) <= 100.0

    def test_the_delay_between_probes_doubles_up_to_the_cap(self, throttle: Throttle) -> None:
        """The first delay after the beginning of an outage is the shortest."""
        fail(throttle, LUMA, 2)
        delays = []
        for now in range(100, 700, 100):
            throttle.acquire(LUMA, POLL, now)
            record(throttle, LUMA, OUTAGE, now=now)
            delays.append(throttle.available_at(LUMA, in_flight=0) - now)

        assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

    def test_each_probe_has_half_as_many_ids(self, throttle: Throttle) -> None:
        """The ids may be the cause of the failures; a response restores the full batch."""
        fail(throttle, LUMA, 2)
        sizes = []
        for time in range(8):
            fail(throttle, LUMA, 1, now=float(time))
            sizes.append(size(throttle, LUMA))

        assert sizes == [25, 12, 6, 3, 1, 1, 1, 1]
        assert size(throttle, LUMA, split_level=3) == 1
        record(throttle, LUMA, now=10.0)
        assert size(throttle, LUMA) == 50

    def test_polls_in_flight_together_are_one_step_of_the_backoff(self, throttle: Throttle) -> None:
        """Eight polls that fail at once open the circuit, and no more."""
        for _ in range(8):
            record(throttle, LUMA, OUTAGE, now=10.0, sent_at=5.0)

        assert throttle.available_at(LUMA, in_flight=0) == 11.0
        assert size(throttle, LUMA) == 25
        record(throttle, LUMA, OUTAGE, now=12.0, sent_at=11.0)
        assert throttle.available_at(LUMA, in_flight=0) == 14.0

    def test_other_providers_are_not_affected(self, throttle: Throttle) -> None:
        """Neither of the same service nor of another."""
        fail(throttle, LUMA, 10)

        for spec in (FLUX, USEAPI):
            assert throttle.available_at(spec, in_flight=7) == -math.inf
            assert size(throttle, spec) == spec.batch_size(50)
            assert not throttle.is_down(spec.slug)

    def test_a_response_of_another_provider_does_not_end_an_outage(self, throttle: Throttle) -> None:
        """Each provider has its own circuit."""
        fail(throttle, LUMA, 3)

        assert record(throttle, FLUX, now=1.0) == []
        assert throttle.available_at(LUMA, in_flight=1) == math.inf

    def test_the_time_of_the_last_response_is_kept(self, throttle: Throttle) -> None:
        """For each provider; a response at the very time is not after it."""
        record(throttle, LUMA, now=10.0)
        record(throttle, LUMA, OUTAGE, now=12.0)

        assert throttle.has_answered_since("luma", 9.9)
        assert not throttle.has_answered_since("luma", 10.0)
        assert not throttle.has_answered_since("flux", 9.9)

    @pytest.mark.parametrize("seed", range(5))
    def test_probes_of_an_hour_are_as_many_as_full_jitter_gives(self, seed: int) -> None:
        """With a cap of 16 s the mean delay is 8 s: 450 probes an hour, and never two at once."""
        throttle, rng = new_throttle(retry=RetryPolicy(attempts=4, base=1.0, cap=16.0)), random.Random(seed)
        now, probes = 0.0, 0
        for _ in range(4):
            record(throttle, LUMA, OUTAGE, now=now, jitter_sample=rng.random())
        while (now := throttle.available_at(LUMA, in_flight=0)) < 3600.0:
            probes += 1
            throttle.acquire(LUMA, POLL, now)
            assert throttle.available_at(LUMA, in_flight=1) == math.inf
            record(throttle, LUMA, OUTAGE, now=now, jitter_sample=rng.random())

        assert probes == pytest.approx(450, rel=0.1)

    @given(
        polls=st.lists(
            st.tuples(st.sampled_from([LUMA, FLUX]), st.sampled_from(["answer", "fail", "limit", "both"])),
            max_size=60,
        ),
        attempts=st.integers(1, 4),
    )
    def test_beginnings_and_ends_alternate(self, polls: list[tuple[ProviderSpec, str]], attempts: int) -> None:
        """Whatever happens, each provider is down just between the beginning and the end of an outage."""
        throttle = new_throttle(retry=RetryPolicy(attempts=attempts))
        failures: collections.Counter[str] = collections.Counter()
        reported: dict[str, list[type]] = {"luma": [], "flux": []}
        for now, (spec, outcome) in enumerate(polls):
            errors = {"fail": [OUTAGE], "both": [OUTAGE], "limit": [RATE_LIMIT]}.get(outcome, [])
            is_answered = outcome in {"answer", "both"}
            throttle.acquire(spec, POLL, float(now))
            events = record(throttle, spec, *errors, answered=is_answered, now=float(now))
            reported[spec.slug] += [type(event) for event in events if isinstance(event, OutageBegan | OutageEnded)]
            failures[spec.slug] = (0 if is_answered else failures[spec.slug]) + (OUTAGE in errors)

            assert throttle.is_down(spec.slug) is (failures[spec.slug] >= attempts)
            assert len(reported[spec.slug]) % 2 == throttle.is_down(spec.slug)
        for kinds in reported.values():
            assert all(kind is (OutageEnded if number % 2 else OutageBegan) for number, kind in enumerate(kinds))


class TestPauses:
    """3. A pause requested by a service is kept."""

    def test_a_pause_after_a_failure_is_the_providers(self, throttle: Throttle) -> None:
        """After a 503 with `Retry-After` that provider is not polled, and others are."""
        record(throttle, LUMA, ServiceError("busy", status=503, retry_after=30.0), now=10.0)

        assert throttle.available_at(LUMA, in_flight=0) == throttle.rate_available_at(LUMA, POLL) == 40.0
        for spec in (FLUX, USEAPI):
            assert throttle.available_at(spec, in_flight=0) == -math.inf

    @pytest.mark.parametrize(("retry_after", "is_down"), [(16.0, False), (17.0, True)])
    def test_a_pause_longer_than_any_backoff_is_an_outage(
        self, throttle: Throttle, retry_after: float, *, is_down: bool
    ) -> None:
        """It is reported at once, with its end, and the provider is probed then."""
        error = ServiceError("busy", status=503, retry_after=retry_after)
        began = OutageBegan(time=10.0, provider="luma", error=error, until=10.0 + retry_after)

        assert record(throttle, LUMA, error, now=10.0) == ([began] if is_down else [])
        assert throttle.is_down("luma") is is_down
        assert [type(event) for event in record(throttle, LUMA, now=40.0)] == ([OutageEnded] if is_down else [])

    def test_a_long_pause_after_a_rate_limit_is_the_providers(self, throttle: Throttle) -> None:
        """Other providers under the token are slowed after a minute, not silenced."""
        (cut,) = record(throttle, LUMA, RateLimitError("slow down", status=429, retry_after=300.0), now=10.0)

        assert (cut.time, cut.until) == (10.0, 310.0)
        assert throttle.available_at(LUMA, in_flight=0) == 310.0
        assert throttle.available_at(FLUX, in_flight=0) == 10.0 + SHARED_PAUSE
        assert throttle.available_at(USEAPI, in_flight=0) == -math.inf

    def test_a_further_long_pause_is_reported(self, throttle: Throttle) -> None:
        """Those that hardly add to the pause are not: they are of polls in flight together."""
        limited = RateLimitError("slow down", status=429, retry_after=200.0)
        assert len(record(throttle, LUMA, RATE_LIMIT, now=0.0)) == 1
        assert [event.until for event in record(throttle, LUMA, limited, now=10.0)] == [210.0]
        assert [record(throttle, LUMA, limited, now=now) for now in (11.0, 26.0)] == [[], []]
        assert [event.until for event in record(throttle, LUMA, limited, now=100.0)] == [300.0]

    def test_the_requested_pause_is_known_while_it_lasts(self, throttle: Throttle) -> None:
        """The provider's own, or else that of a rate limit under its token."""
        record(throttle, LUMA, RateLimitError("slow down", status=429, retry_after=100.0), now=10.0)
        record(throttle, LUMA, RateLimitError("slow down", status=429, retry_after=5.0), now=11.0)

        assert [throttle.requested_pause(LUMA, now) for now in (11.0, 109.0, 110.0)] == [100.0, 100.0, None]
        assert [throttle.requested_pause(FLUX, now) for now in (11.0, 69.0, 70.0)] == [SHARED_PAUSE, SHARED_PAUSE, None]
        assert throttle.requested_pause(USEAPI, 11.0) is None
        record(throttle, USEAPI, ServiceError("busy", status=503, retry_after=30.0), now=20.0)
        assert [throttle.requested_pause(USEAPI, now) for now in (20.0, 50.0)] == [30.0, None]

    def test_a_pause_after_a_rate_limit_is_the_services(self, throttle: Throttle) -> None:
        """After a 429 with `Retry-After` nothing is polled under that token, and another service is."""
        record(throttle, LUMA, RateLimitError("slow down", status=429, retry_after=30.0), now=10.0)

        assert throttle.available_at(LUMA, in_flight=0) == throttle.available_at(FLUX, in_flight=5) == 40.0
        assert throttle.available_at(USEAPI, in_flight=0) == -math.inf

    def test_a_pause_delays_probes_too(self, throttle: Throttle) -> None:
        """A provider that is down is probed after the pause, where it is longer than the backoff."""
        fail(throttle, LUMA, 5)
        record(throttle, LUMA, ServiceError("busy", status=503, retry_after=300.0), now=10.0)

        assert throttle.available_at(LUMA, in_flight=0) == 310.0
        record(throttle, LUMA, OUTAGE, now=20.0)
        assert throttle.available_at(LUMA, in_flight=0) == 310.0

    def test_the_longest_pause_counts(self, throttle: Throttle) -> None:
        """Of several errors of one poll, and of several polls."""
        errors = [ServiceError("busy", status=503, retry_after=seconds) for seconds in (5.0, 30.0, None)]
        record(throttle, LUMA, *errors, now=10.0)
        assert throttle.available_at(LUMA, in_flight=0) == 40.0

        record(throttle, LUMA, errors[0], now=11.0)
        assert throttle.available_at(LUMA, in_flight=0) == 40.0

    def test_a_response_does_not_shorten_a_pause(self, throttle: Throttle) -> None:
        """A request in flight when the pause was requested may still be answered."""
        record(throttle, LUMA, RateLimitError("slow down", status=429, retry_after=60.0), now=0.0)
        record(throttle, LUMA, ServiceError("busy", status=503, retry_after=90.0), now=0.0)
        record(throttle, LUMA, now=1.0)

        assert throttle.available_at(FLUX, in_flight=0) == 60.0
        assert throttle.available_at(LUMA, in_flight=0) == 90.0

    @given(
        polls=st.lists(
            st.tuples(
                st.sampled_from([LUMA, FLUX, USEAPI]),
                st.floats(0, 100),
                st.none() | st.floats(0, 100),
                st.booleans(),
                st.floats(0, 1, exclude_max=True),
            ),
            min_size=1,
        )
    )
    def test_no_requested_pause_is_cut_short(
        self, polls: list[tuple[ProviderSpec, float, float | None, bool, float]]
    ) -> None:
        """Whatever happens in between, a provider is not polled before the end of every pause that it is to keep."""
        throttle = new_throttle()
        pauses: list[tuple[object, float]] = []
        now = 0.0
        for spec, seconds, retry_after, is_limit, jitter_sample in polls:
            now += seconds
            throttle.acquire(spec, POLL, now)
            kind = RateLimitError if is_limit else ServiceError
            record(throttle, spec, kind("later", retry_after=retry_after), now=now, jitter_sample=jitter_sample)
            if retry_after is not None:
                pauses.append((spec.slug, now + retry_after))
            if retry_after is not None and is_limit:
                pauses.append((spec.service, now + min(retry_after, SHARED_PAUSE)))
            record(throttle, spec, now=now)

        for spec in (LUMA, FLUX, USEAPI):
            ends = [until for source, until in pauses if source in (spec.service, spec.slug)]
            assert throttle.available_at(spec, in_flight=0) >= max(ends, default=-math.inf)


class TestRates:
    """4. A service that responds 429 is polled at half the rate, and then slowly faster, for all of its providers."""

    @staticmethod
    def use(throttle: Throttle, spec: ProviderSpec, start: float, count: int) -> tuple[float, list[Event]]:
        """Send requests as fast as allowed, each with an immediate response."""
        now, events = start, []
        for _ in range(count):
            now = max(now, throttle.rate_available_at(spec, POLL))
            throttle.acquire(spec, POLL, now)
            events += record(throttle, spec, now=now)
        return now, events

    def test_requests_are_sent_at_the_start_rate(self) -> None:
        """A burst of a second's worth, and then one by one; another service has its own rate."""
        throttle = new_throttle(PollPolicy(start_rate=4.0))
        for _ in range(4):
            assert throttle.rate_available_at(FLUX, POLL) <= 100.0
            throttle.acquire(LUMA, POLL, 100.0)

        assert throttle.rate_available_at(LUMA, POLL) == throttle.rate_available_at(FLUX, POLL) == 100.25
        assert throttle.available_at(FLUX, in_flight=0) == 100.25
        assert throttle.rate_available_at(USEAPI, POLL) <= 100.0

    def test_polls_are_coalesced_where_the_rate_is_used_up(self) -> None:
        """For the given seconds, and only under that token."""
        throttle = new_throttle(PollPolicy(start_rate=4.0))
        for _ in range(3):
            throttle.acquire(LUMA, POLL, 100.0)
        assert throttle.available_at(FLUX, in_flight=0, coalesce=0.5) <= 100.0
        throttle.acquire(LUMA, POLL, 100.0)

        assert throttle.available_at(FLUX, in_flight=3, coalesce=0.5) == 100.75
        assert throttle.available_at(FLUX, in_flight=3, coalesce=0.0) == 100.25
        assert throttle.rate_available_at(FLUX, POLL) == 100.25
        assert throttle.available_at(USEAPI, in_flight=0, coalesce=0.5) == -math.inf

    def test_coalesced_polls_keep_a_pause_and_probes_are_not_coalesced(self) -> None:
        """The later of window and pause counts."""
        throttle = new_throttle(PollPolicy(start_rate=4.0))
        for _ in range(4):
            throttle.acquire(LUMA, POLL, 100.0)
        record(throttle, FLUX, ServiceError("busy", status=503, retry_after=30.0), now=100.0)
        assert throttle.available_at(FLUX, in_flight=0, coalesce=0.5) == 130.0
        fail(throttle, LUMA, 3, now=98.5)

        assert (
            throttle.available_at(LUMA, in_flight=0, coalesce=0.5) == throttle.rate_available_at(LUMA, POLL) == 100.25
        )
        assert throttle.available_at(LUMA, in_flight=1, coalesce=0.5) == math.inf

    def test_a_reduction_and_its_recovery_are_reported_once(self) -> None:
        """With the provider of the 429 response, and that of the response with which the rate has recovered."""
        throttle = new_throttle(PollPolicy(start_rate=4.0))
        for _ in range(4):
            throttle.acquire(LUMA, POLL, 0.0)
        (cut,) = record(throttle, LUMA, RATE_LIMIT, now=0.0)
        assert cut == RateCut(time=0.0, provider="luma", rate=cut.rate, error=RATE_LIMIT, until=1.0)
        assert LEAST_RATE <= cut.rate <= 2.0
        assert record(throttle, FLUX, RATE_LIMIT, sent_at=0.0, now=0.1) == []

        last, (restored,) = self.use(throttle, FLUX, 0.1, 400)
        assert restored == RateRestored(time=restored.time, provider="flux", rate=restored.rate)
        assert restored.rate == pytest.approx(4.0, rel=0.05)
        assert restored.time == pytest.approx(RECOVERY, rel=0.1)
        assert last > 80.0

    def test_requests_in_flight_together_reduce_the_rate_once(self) -> None:
        """Of whichever provider: the rate is that of the service."""
        throttle = new_throttle(PollPolicy(start_rate=8.0))
        now, _ = self.use(throttle, LUMA, 0.0, 800)
        events = [
            event
            for spec in (LUMA, FLUX, LUMA, FLUX)
            for event in record(throttle, spec, RATE_LIMIT, sent_at=now, now=now + 0.2, jitter_sample=0.0)
        ]

        assert [type(event) for event in events] == [RateCut]
        assert events[0].rate < 8.0
        assert repr(throttle).endswith(f"{{'acedata': {events[0].rate}}}>")

    def test_a_rate_limit_is_no_outage(self, throttle: Throttle) -> None:
        """However often it is hit, nothing is probed, and batches stay full."""
        for now in range(20):
            record(throttle, LUMA, RATE_LIMIT, now=float(now))

        assert not throttle.is_down("luma")
        assert throttle.available_at(LUMA, in_flight=5) < math.inf
        assert size(throttle, LUMA) == 50

    def test_pauses_double_with_each_429_response_up_to_the_cap(self, throttle: Throttle) -> None:
        """Of any provider of the service; a response resets them."""
        pauses = []
        for now, spec in zip(range(0, 600, 100), itertools.cycle([LUMA, FLUX]), strict=False):
            record(throttle, spec, RATE_LIMIT, now=float(now))
            pauses.append(throttle.available_at(LUMA, in_flight=0) - now)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

        record(throttle, FLUX, now=700.0)
        record(throttle, LUMA, RATE_LIMIT, now=700.0)
        assert throttle.available_at(LUMA, in_flight=0) == 701.0

    def test_429_responses_to_requests_in_flight_together_are_one_step(self, throttle: Throttle) -> None:
        """Eight of them pause for as long as one; the next doubles that."""
        for _ in range(8):
            record(throttle, LUMA, RATE_LIMIT, now=10.0, sent_at=5.0)

        assert throttle.rate_available_at(LUMA, POLL) == 11.0
        record(throttle, LUMA, RATE_LIMIT, now=12.0, sent_at=11.5)
        assert throttle.rate_available_at(LUMA, POLL) == 14.0

    def test_a_response_of_another_service_does_not_reset_the_pauses(self, throttle: Throttle) -> None:
        """Each service has its own."""
        record(throttle, LUMA, RATE_LIMIT, now=0.0)
        record(throttle, USEAPI, now=10.0)
        record(throttle, LUMA, RATE_LIMIT, now=10.0)

        assert throttle.available_at(LUMA, in_flight=0) == 12.0

    def test_a_response_in_a_rate_limited_poll_does_not_reset_the_pauses(self, throttle: Throttle) -> None:
        """It ends an outage, but is no evidence that the rate is accepted."""
        fail(throttle, LUMA, 3, now=0.0)
        record(throttle, LUMA, RATE_LIMIT, now=0.0)
        events = record(throttle, LUMA, RATE_LIMIT, answered=True, now=10.0)

        assert [type(event) for event in events] == [OutageEnded]
        assert throttle.available_at(LUMA, in_flight=1) == 12.0

    def test_a_poll_may_both_fail_and_be_rate_limited(self, throttle: Throttle) -> None:
        """It is a failure of the provider and a pause of the service; the rate is reported first."""
        fail(throttle, LUMA, 2)
        events = record(throttle, LUMA, OUTAGE, RATE_LIMIT, now=0.0)

        assert [type(event) for event in events] == [RateCut, OutageBegan]
        assert throttle.available_at(FLUX, in_flight=0) == 1.0


class TestUserRate:
    """5. `PollPolicy.max_rate` limits all requests to a service together."""

    def test_it_holds_for_all_providers_of_a_service(self) -> None:
        """Requests are spaced evenly, by a tenth more than the rate needs, and nothing is saved for later."""
        throttle = new_throttle(PollPolicy(max_rate=0.5))
        throttle.acquire(LUMA, POLL, 100.0)
        for spec in (LUMA, FLUX):
            assert throttle.available_at(spec, in_flight=0) == pytest.approx(102.2)
        assert throttle.available_at(USEAPI, in_flight=0) == -math.inf

        throttle.acquire(FLUX, POLL, 160.0)
        assert throttle.rate_available_at(LUMA, POLL) == pytest.approx(162.2)

    @pytest.mark.parametrize("rate", [1.0, 2.0, 15.0, 60.0])
    @pytest.mark.parametrize("spread", [0.0, SPREAD - 1e-6])
    def test_no_second_has_more_as_the_requests_arrive(self, rate: float, spread: float) -> None:
        """Though some arrive later after they were sent than others."""
        throttle = new_throttle(PollPolicy(max_rate=rate))
        now, times = 0.0, []
        for number in range(500):
            throttle.acquire(LUMA, POLL, now)
            times.append(now + spread * (number // 3 % 2))
            now = throttle.rate_available_at(LUMA, POLL)
        times.sort()

        count = int(rate)
        assert all(later - earlier > 1.0 for earlier, later in zip(times, times[count:], strict=False))

    def test_it_is_not_coalesced(self) -> None:
        """Requests are sent one by one."""
        throttle = new_throttle(PollPolicy(max_rate=2.0))
        throttle.acquire(LUMA, POLL, 100.0)

        assert throttle.available_at(LUMA, in_flight=0, coalesce=5.0) == pytest.approx(100.55)

    def test_kinds_of_requests_take_turns(self) -> None:
        """The one that was sent longest ago is first, and the last one gives way to the two others."""
        throttle = new_throttle(PollPolicy(max_rate=1.1))
        for kind in (OTHER, POLL, SUBMISSION):
            throttle.acquire(LUMA, kind, 0.0)
        with throttle.waiting(LUMA, OTHER), throttle.waiting(LUMA, SUBMISSION):
            times = [throttle.rate_available_at(LUMA, kind) for kind in (OTHER, POLL, SUBMISSION)]
            assert times == pytest.approx([3.0, 3.01, 3.02])

        assert throttle.rate_available_at(LUMA, POLL) == pytest.approx(3.0)
        assert throttle.rate_available_at(LUMA, SUBMISSION) == pytest.approx(3.01)  # a poll may wait, for all it knows

    def test_without_it_only_the_rates_of_the_services_hold(self) -> None:
        """None is the default."""
        throttle = new_throttle(PollPolicy(start_rate=64.0))
        for _ in range(64):
            throttle.acquire(LUMA, POLL, 0.0)
        for _ in range(63):
            throttle.acquire(USEAPI, POLL, 0.0)

        assert throttle.rate_available_at(USEAPI, POLL) <= 0.0 < throttle.rate_available_at(LUMA, POLL)


class TestBatchSize:
    """6. A provider that truncates or refuses large batches is sent smaller ones."""

    def test_it_is_the_smaller_of_policy_and_provider(self, throttle: Throttle) -> None:
        """A provider without a batch call is asked for one id."""
        limited = msgspec.structs.replace(LUMA, batch_limit=20)

        assert [size(throttle, spec) for spec in (LUMA, limited, USEAPI)] == [50, 20, USEAPI.batch_size(50)]
        assert size(new_throttle(PollPolicy(batch_size=7)), limited) == 7

    @pytest.mark.parametrize(("split_level", "ids"), [(0, 50), (1, 25), (2, 12), (5, 1), (6, 1), (100, 1)])
    def test_each_split_halves_it(self, throttle: Throttle, split_level: int, ids: int) -> None:
        """Down to one id."""
        assert size(throttle, LUMA, split_level=split_level) == ids

    def test_truncated_responses_limit_it_for_a_while(self, throttle: Throttle) -> None:
        """After two at the same number of records, for that provider alone."""
        for now in (0.0, 5.0):
            assert size(throttle, LUMA, now=now) == 50
            result = Result({}, is_answered=True, truncated_at=[12])
            assert throttle.record(LUMA, result, sent_at=now, now=now, jitter_sample=0.5) == []

        assert size(throttle, LUMA, now=5.0) == 12
        assert size(throttle, LUMA, split_level=1, now=5.0) == 6
        assert size(throttle, FLUX, now=5.0) == 50
        assert size(throttle, LUMA, now=5.0 + LIMIT_TTL) == 50

    def test_a_refused_request_limits_it_at_once(self, throttle: Throttle) -> None:
        """To the number of ids that was accepted."""
        result = Result({}, is_answered=True, accepted_size=24)
        throttle.record(LUMA, result, sent_at=0.0, now=0.0, jitter_sample=0.5)

        assert size(throttle, LUMA) == 24

    def test_ignored_batches_are_reported_once(self, throttle: Throttle) -> None:
        """After two polls in a row the provider is polled for one task at a time, for ten minutes."""
        events = []
        for now in (0.0, 5.0, 10.0):
            result = Result({}, is_answered=True, batch_works=False)
            events += throttle.record(LUMA, result, sent_at=now, now=now + 1.0, jitter_sample=0.5)

        assert events == [BatchesIgnored(time=6.0, provider="luma", until=6.0 + LIMIT_TTL)]
        assert (throttle.largest_batch(LUMA, 11.0), throttle.largest_batch(FLUX, 11.0)) == (1, 50)

    def test_answered_batches_are_kept(self, throttle: Throttle) -> None:
        """A poll that was answered between two ignored ones shows that it was chance."""
        for now, batch_works in ((0.0, False), (5.0, True), (10.0, None), (15.0, False)):
            result = Result({}, is_answered=True, batch_works=batch_works)
            assert throttle.record(LUMA, result, sent_at=now, now=now, jitter_sample=0.5) == []

        assert throttle.largest_batch(LUMA, 15.0) == 50

    def test_probes_halve_a_learned_limit(self, throttle: Throttle) -> None:
        """A provider that is down and has a limit is sent fewer still."""
        result = Result({}, is_answered=True, accepted_size=24)
        throttle.record(LUMA, result, sent_at=0.0, now=0.0, jitter_sample=0.5)
        fail(throttle, LUMA, 3)

        assert size(throttle, LUMA) == 12


def test_repr_shows_what_is_limited(throttle: Throttle) -> None:
    """The repr names the providers that are down, and the rates of the services."""
    assert repr(throttle) == "<Throttle down={} rates={}>"
    fail(throttle, LUMA, 3)
    throttle.acquire(USEAPI, POLL, 0.0)
    record(throttle, USEAPI, RATE_LIMIT, now=0.0)
    assert repr(throttle) == "<Throttle down={'luma': 'open'} rates={'acedata': 60.0, 'useapi': 0.5}>"

    throttle.acquire(LUMA, POLL, 1.0)
    assert repr(throttle) == "<Throttle down={'luma': 'half-open'} rates={'acedata': 60.0, 'useapi': 0.5}>"
    record(throttle, LUMA, now=1.0)
    assert repr(throttle) == "<Throttle down={} rates={'acedata': 60.0, 'useapi': 0.5}>"


class TestSubmissions:
    """Submissions share the limits of polls where the service or the user says so."""

    def test_submissions_are_not_limited_at_first(self, throttle: Throttle) -> None:
        """A hundred at once leave at once, and take nothing from polls."""
        assert [submit(throttle, LUMA, 7.0) for _ in range(100)] == [7.0] * 100
        assert not throttle.limits_submissions(LUMA)
        assert throttle.rate_available_at(LUMA, POLL) == -math.inf

    def test_rate_limit_of_a_submission_holds_polls_and_submissions(self, throttle: Throttle) -> None:
        """Thirty at once were too many: half of that, from the end of the pause on, evenly."""
        for _ in range(30):
            submit(throttle, LUMA, 0.0)
        error = RateLimitError("slow down", retry_after=2.0)
        events = [throttle.record_submission(LUMA, error, sent_at=0.0, now=0.5, jitter_sample=0.0) for _ in range(30)]
        ((cut,), *others) = events
        assert isinstance(cut, RateCut)
        assert (cut.provider, cut.error, others) == ("luma", error, [[]] * 29)
        assert cut.rate == pytest.approx(30 * math.exp(-0.5) / 2)
        assert throttle.rate_available_at(FLUX, POLL) == 2.5
        assert throttle.rate_available_at(USEAPI, POLL) == -math.inf
        times = [submit(throttle, FLUX, 0.5) for _ in range(10)]
        assert times == pytest.approx([2.5 + number / cut.rate for number in range(10)], abs=0.02)
        assert throttle.rate_available_at(LUMA, POLL) == pytest.approx(times[-1] + 1 / cut.rate, abs=0.02)

    def test_rate_recovers_by_submissions_alone(self, throttle: Throttle) -> None:
        """The end of a reduction is told once."""
        throttle.record_submission(LUMA, RATE_LIMIT, sent_at=0.0, now=0.0, jitter_sample=0.0)
        now, events = 0.0, []
        while not events and now < 1000.0:
            now = submit(throttle, LUMA, now)
            events = throttle.record_submission(LUMA, None, sent_at=now, now=now, jitter_sample=0.0)
        assert [type(event) for event in events] == [RateRestored]
        assert now < 2 * RECOVERY

    def test_other_errors_of_submissions_change_nothing(self, throttle: Throttle) -> None:
        """Neither the rate nor the circuit breaker of polls is about submissions."""
        for error in (OUTAGE, ServiceError("busy", status=500, retry_after=9.0), BadRequestError("no")) * 5:
            assert throttle.record_submission(LUMA, error, sent_at=0.0, now=0.0, jitter_sample=0.5) == []
        assert throttle.rate_available_at(LUMA, POLL) == -math.inf
        assert not throttle.is_down("luma")

    def test_they_keep_the_users_rate(self) -> None:
        """Of whichever provider of the service, together with polls."""
        throttle = new_throttle(PollPolicy(max_rate=2.2))
        throttle.acquire(LUMA, POLL, 10.0)
        assert [submit(throttle, spec, 10.0) for spec in (LUMA, USEAPI, FLUX)] == pytest.approx([10.5, 10.0, 11.005])
        assert throttle.rate_available_at(LUMA, POLL) == pytest.approx(11.505)
        assert throttle.limits_submissions(LUMA)
