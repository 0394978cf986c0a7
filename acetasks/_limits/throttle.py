"""Decides when, how fast and in which batch size each provider may be polled.

1. A task whose poll failed with a transient error is retried after a random, growing delay. Other polls go on.
2. A provider that keeps failing is down: its circuit breaker admits one probe at a time, each with fewer ids.
3. A pause requested by a provider (`Retry-After`) is kept, for a minute at most by other providers under its token.
4. A service that responds 429 is polled at half the rate, for all providers under that token, and then slowly faster;
   submissions keep the reduced rate too.
5. The user's own rate (`PollPolicy.max_rate`) limits all requests to a service together. While several kinds of them
   wait, they take turns.
6. A provider that truncates or refuses large batches is sent smaller ones; one that does not answer for the tasks of
   a batch is polled for one task at a time.
7. A token or a provider that the service refuses is polled once more some seconds later.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, Protocol

from acetasks._limits.backoff import full_jitter
from acetasks._limits.batch_size import LIMIT_TTL, BatchSizeLimiter
from acetasks._limits.circuit_breaker import CircuitBreaker
from acetasks._limits.rate_limiter import AdaptiveRateLimiter, TokenBucket
from acetasks._limits.refusals import ErrorScope, Refusals
from acetasks._limits.turns import RequestKind, Turns
from acetasks.errors import AceTasksError, APIError, RateLimitError, TransportError
from acetasks.events import BatchesIgnored, Event, OutageBegan, OutageEnded, RateCut, RateRestored
from acetasks.providers import Service
from acetasks.stats import ProviderStats, RateStats, WaitReason

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Mapping, Sequence

    from acetasks.policies import PollPolicy, RetryPolicy
    from acetasks.providers import ProviderSpec


#: Most seconds of a pause requested with a 429 that all providers under the token keep: the limit may be of the one
#: provider. The others are then polled at the reduced rate, which finds out.
SHARED_PAUSE = 60.0
#: Seconds by which the way to the service may delay one request more than another without more of them arriving in a
#: second than the user's rate. Requests are spaced by so much more.
SPREAD = 0.1


class PollSummary(Protocol):
    """The part of a poll's result that limits later polls."""

    @property
    def errors(self) -> Mapping[str, AceTasksError]:
        """Errors by id."""

    @property
    def is_answered(self) -> bool:
        """Whether any request of the poll got a usable response."""

    @property
    def truncated_at(self) -> Sequence[int]:
        """Number of records in each response that was truncated."""

    @property
    def accepted_size(self) -> int | None:
        """Number of ids accepted after a larger request was refused for its size; None if none was."""

    @property
    def batch_works(self) -> bool | None:
        """Whether a batch was answered with records of its tasks, or not, or None if neither was seen."""


class Throttle:
    """Limits of all providers and services of one client."""

    def __init__(self, policy: PollPolicy, retry: RetryPolicy) -> None:
        self._policy = policy
        self._retry = retry
        self._breakers: dict[str, CircuitBreaker] = collections.defaultdict(lambda: CircuitBreaker(retry))
        self._limiters: dict[Service, AdaptiveRateLimiter] = collections.defaultdict(
            lambda: AdaptiveRateLimiter(policy.start_rate, retry)
        )
        self._user_limits: dict[Service, TokenBucket] = {}
        if policy.max_rate is not None:
            # Spaced evenly: a capacity of 1 saves nothing for later.
            rate = policy.max_rate / (1.0 + SPREAD)
            self._user_limits = {service: TokenBucket(rate, 1.0) for service in Service}
        self._turns: dict[Service, Turns] = collections.defaultdict(Turns)
        self._batch_sizes = BatchSizeLimiter()
        self._refusals = Refusals()
        # The seconds of the latest requested pause, and its end, of each provider and service.
        self._pauses: dict[str, tuple[float, float]] = {}

    def __repr__(self) -> str:
        down = {slug: breaker.state.value for slug, breaker in self._breakers.items() if not breaker.is_closed}
        rates = {str(service): limiter.rate for service, limiter in self._limiters.items()}
        return f"<Throttle down={down} rates={rates}>"

    def describe_rates(self) -> dict[str, RateStats]:
        """Return the rate limit of each service in use."""
        return {
            str(service): RateStats(rate=limiter.rate, is_reduced=limiter.is_reduced)
            for service, limiter in self._limiters.copy().items()
        }

    def describe(self, spec: ProviderSpec, *, in_flight: int, now: float) -> ProviderStats:
        """Return how a provider may be polled; its `pending` is empty."""
        breaker = self._breakers.get(spec.slug) or CircuitBreaker(self._retry)
        until = max(breaker.available_at(in_flight), self._refusals.available_at(spec.slug, in_flight))
        return ProviderStats(
            circuit=breaker.state.value,
            held_until=until if until > now else None,
            batch_size=self.largest_batch(spec, now),
        )

    def find_hold(self, spec: ProviderSpec, *, in_flight: int, now: float) -> tuple[float, WaitReason]:
        """Return until when a limit keeps a provider from being polled, and which; a time that has passed for none."""
        breaker = self._breakers.get(spec.slug) or CircuitBreaker(self._retry)
        limiter = self._limiters.get(spec.service)
        holds = [(breaker.paused_until, WaitReason.PAUSE)]
        if limiter is not None:
            # The limiter keeps the pauses of other providers under the token too.
            is_pause = self.requested_pause(spec, now) is not None
            holds.append((limiter.available_at(), WaitReason.PAUSE if is_pause else WaitReason.RATE_LIMIT))
        if (user_limit := self._user_limits.get(spec.service)) is not None:
            holds.append((user_limit.available_at(), WaitReason.RATE_LIMIT))
        holds.append((self._refusals.available_at(spec.slug, in_flight), WaitReason.REFUSED))
        if not breaker.is_closed:
            holds.append((breaker.available_at(in_flight), WaitReason.OUTAGE))
        return max(holds, key=lambda hold: hold[0])

    def is_down(self, provider: str) -> bool:
        """Return whether the provider's circuit is open or half-open."""
        return not self._breakers[provider].is_closed

    def has_answered_since(self, provider: str, time: float) -> bool:
        """Return whether the provider has responded after a time."""
        return self._breakers[provider].last_success_at > time

    def confirmed_scope(self, spec: ProviderSpec, error: AceTasksError) -> ErrorScope | None:
        """Return which waits a recorded error of a whole provider or token ends; None before it is repeated."""
        return self._refusals.confirmed_scope(spec, error)

    def requested_pause(self, spec: ProviderSpec, now: float) -> float | None:
        """Return the seconds of a pause that the service requested and that keeps a provider from being polled."""
        pauses = (self._pauses.get(name, (0.0, now)) for name in (spec.slug, spec.service))
        return next((seconds for seconds, until in pauses if until > now), None)

    def available_at(self, spec: ProviderSpec, *, in_flight: int, coalesce: float = 0.0) -> float:
        """Return the time at which the next scheduled poll of a provider may start; infinity while it is probed.

        `in_flight` counts the provider's requests. Only polls that are no probes are delayed to `coalesce` them, see
        `AdaptiveRateLimiter.available_at`.
        """
        breaker = self._breakers[spec.slug]
        provider_available_at = max(breaker.available_at(in_flight), self._refusals.available_at(spec.slug, in_flight))
        rate_available_at = self.rate_available_at(
            spec, RequestKind.POLL, coalesce=coalesce if breaker.is_closed else 0.0
        )
        return max(provider_available_at, rate_available_at)

    def rate_available_at(self, spec: ProviderSpec, kind: RequestKind, *, coalesce: float = 0.0) -> float:
        """Return the time at which rates and requested pauses allow a request, even to a provider that is down.

        Submissions keep the user's rate, and that of the service only while it is reduced.
        """
        limiter, user_limit = self._limiters[spec.service], self._user_limits.get(spec.service)
        times = [] if user_limit is None else [user_limit.available_at()]
        if kind is not RequestKind.SUBMISSION:
            times += [limiter.available_at(coalesce), self._breakers[spec.slug].paused_until]
        elif limiter.is_reduced:
            times.append(limiter.available_at())
        rates = [] if user_limit is None else [user_limit.rate]
        if limiter.is_reduced:
            rates.append(limiter.rate)
        turn = self._turns[spec.service].delay(kind, 1.0 / min(rates)) if rates else 0.0
        return max(times, default=-math.inf) + turn

    def waiting(self, spec: ProviderSpec, kind: RequestKind) -> contextlib.AbstractContextManager[None]:
        """Let other kinds of requests to the service give way to one that waits; scheduled polls need not say so."""
        return self._turns[spec.service].waiting(kind)

    def limits_submissions(self, spec: ProviderSpec) -> bool:
        """Return whether submissions have to wait for a rate."""
        return spec.service in self._user_limits or self._limiters[spec.service].is_reduced

    def acquire(self, spec: ProviderSpec, kind: RequestKind, now: float) -> None:
        """Count a request that is sent now."""
        limiter = self._limiters[spec.service]
        if (user_limit := self._user_limits.get(spec.service)) is not None:
            user_limit.acquire(now)
        self._turns[spec.service].record(kind)
        if kind is not RequestKind.SUBMISSION:
            limiter.acquire(now)
            self._breakers[spec.slug].acquire()
        elif limiter.is_reduced:
            limiter.acquire(now)
        else:
            limiter.record_usage(now)

    def record_submission(
        self, spec: ProviderSpec, error: AceTasksError | None, *, sent_at: float, now: float, jitter_sample: float
    ) -> list[Event]:
        """Update the rate of the service after a submission, and return the reduction that began or ended."""
        limiter = self._limiters[spec.service]
        if isinstance(error, RateLimitError):
            cut = self._record_rate_limits(spec, [error], sent_at, now, jitter_sample)
            return [] if cut is None else [cut]
        if error is None and limiter.record_success():
            return [RateRestored(time=now, provider=spec.slug, rate=limiter.rate)]
        return []

    def largest_batch(self, spec: ProviderSpec, now: float) -> int:
        """Return the largest number of ids, at least 1, that the policy and the provider are known to allow."""
        return self._batch_sizes.size(spec.slug, spec.batch_size(self._policy.batch_size), now)

    def batch_size(self, spec: ProviderSpec, split_level: int, now: float) -> int:
        """Return the number of ids for one request, at least 1.

        The `split_level` is the number of times that a batch is halved to isolate an id that makes it fail. Each
        failed probe of a provider halves it too: the ids may be the cause.
        """
        return max(1, self.largest_batch(spec, now) >> split_level >> self._breakers[spec.slug].backoff_steps)

    def retry_at(self, failures: int, error: AceTasksError, now: float, jitter_sample: float) -> float:
        """Return the time at which to poll a task again after consecutive transient errors.

        One jitter sample for a whole batch keeps its tasks together.
        """
        return now + full_jitter(failures, self._retry.base, self._retry.cap, jitter_sample, _retry_after(error))

    def record(
        self, spec: ProviderSpec, result: PollSummary, *, sent_at: float, now: float, jitter_sample: float
    ) -> list[Event]:
        """Update the limits after a poll, and return the outages and rate reductions that began or ended."""
        events: list[Event] = []
        errors = result.errors.values()
        rate_limits = [error for error in errors if isinstance(error, RateLimitError)]
        failures = [error for error in errors if _is_failure(error)]
        limiter, breaker = self._limiters[spec.service], self._breakers[spec.slug]
        if result.is_answered:
            self._refusals.record(spec, errors, sent_at=sent_at, now=now)
            if (outage := breaker.record_success(now)) is not None:
                events.append(OutageEnded(time=now, provider=spec.slug, seconds=outage))
            if not rate_limits and limiter.record_success():
                events.append(RateRestored(time=now, provider=spec.slug, rate=limiter.rate))
        if rate_limits and (cut := self._record_rate_limits(spec, rate_limits, sent_at, now, jitter_sample)):
            events.append(cut)
        if failures:
            pause = max(map(_retry_after, failures))
            self._keep_pause(spec.slug, pause, now)
            if breaker.record_failure(now, sent_at, pause, jitter_sample):
                until = breaker.available_at()
                events.append(OutageBegan(time=now, provider=spec.slug, error=failures[0], until=until))
        if self._record_batch_size(spec.slug, result, sent_at, now):
            events.append(BatchesIgnored(time=now, provider=spec.slug, until=now + LIMIT_TTL))
        return events

    def _record_rate_limits(
        self, spec: ProviderSpec, errors: Sequence[RateLimitError], sent_at: float, now: float, jitter_sample: float
    ) -> RateCut | None:
        """Reduce the rate of the service, and pause the provider; return the event if either is new."""
        limiter, breaker = self._limiters[spec.service], self._breakers[spec.slug]
        pause = max(map(_retry_after, errors))
        is_long = now + pause - max(now, breaker.paused_until) > self._retry.cap
        breaker.pause(now + pause)
        shared = min(pause, SHARED_PAUSE)
        self._keep_pause(spec.slug, pause, now)
        self._keep_pause(spec.service, shared, now)
        if not limiter.record_rate_limit(now, sent_at, shared, jitter_sample) and not is_long:
            return None
        until = max(limiter.available_at(), breaker.paused_until)
        return RateCut(time=now, provider=spec.slug, rate=limiter.rate, error=errors[0], until=until)

    def _keep_pause(self, name: str, seconds: float, now: float) -> None:
        if now + seconds > self._pauses.get(name, (0.0, now))[1]:
            self._pauses[name] = (seconds, now + seconds)

    def _record_batch_size(self, provider: str, result: PollSummary, sent_at: float, now: float) -> bool:
        """Learn what batches a provider accepts, and return whether it was just found to ignore them."""
        sizes = self._batch_sizes
        sizes.record_truncated(provider, result.truncated_at, now)
        if result.accepted_size is not None:
            sizes.record_too_large(provider, result.accepted_size, now)
        if result.batch_works:
            sizes.record_answered(provider)
        return result.batch_works is False and sizes.record_ignored(provider, sent_at, now)


def _is_failure(error: AceTasksError) -> bool:
    """Return whether an error means that a provider may be down: no response, or a transient error."""
    return isinstance(error, TransportError) or (error.transient and not isinstance(error, RateLimitError))


def _retry_after(error: AceTasksError) -> float:
    """Return the pause that a service requests, in seconds; 0 for none."""
    return (error.retry_after or 0.0) if isinstance(error, APIError) else 0.0
