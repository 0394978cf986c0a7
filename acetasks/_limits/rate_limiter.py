"""Token bucket, and a rate limiter that adapts to the rate limit of a service."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from acetasks._limits.backoff import full_jitter

if TYPE_CHECKING:
    from acetasks.policies import RetryPolicy

#: Seconds of its rate that may be sent as one burst.
BURST = 1.0
#: Seconds of full use in which a halved rate recovers.
RECOVERY = 60.0
#: Lower bound of a reduced rate, in requests per second. The service documents that less than one is always accepted;
#: longer silences are requested with `Retry-After`.
LEAST_RATE = 0.5
#: Seconds over which the rate in use is averaged.
_USAGE_WINDOW = 1.0


class TokenBucket:
    """Token bucket, full at first.

    Attributes:
        rate: Tokens per second, finite.
        capacity: Largest number of tokens kept.
        tokens: Tokens at `updated_at`; negative after more were acquired than there were.
        updated_at: Time of the last refill.
    """

    def __init__(self, rate: float, capacity: float) -> None:
        self.rate = rate
        self.tokens = self.capacity = capacity
        self.updated_at = -math.inf

    def __repr__(self) -> str:
        return f"<TokenBucket {self.tokens:.3g} of {self.capacity:.3g} tokens, {self.rate:.3g}/s>"

    def available_at(self, tokens: float = 1.0) -> float:
        """Return the time at which the bucket holds this many tokens; never before `updated_at`."""
        missing = tokens - self.tokens
        return self.updated_at + missing / self.rate if missing > 0.0 else self.updated_at

    def refill(self, now: float) -> None:
        """Add the tokens of the time since the last update, up to the capacity."""
        if self.tokens < self.capacity and now > self.updated_at:
            self.tokens += (now - self.updated_at) * self.rate
        self.tokens = min(self.tokens, self.capacity)
        self.updated_at = max(self.updated_at, now)

    def acquire(self, now: float) -> None:
        """Remove one token, whether or not there is one."""
        self.refill(now)
        self.tokens -= 1.0


class AdaptiveRateLimiter:
    """Rate limiter of one service: a token bucket whose rate is halved by each 429 response and then recovers.

    Additive increase and multiplicative decrease (Chiu and Jain 1989) finds the rate that a service accepts without
    being configured, and shares it fairly with other clients that do the same.

    Attributes:
        is_reduced: Whether the rate was halved and has not yet recovered.
    """

    def __init__(self, rate: float, retry: RetryPolicy) -> None:
        self._retry = retry
        self._bucket = TokenBucket(rate, max(1.0, rate * BURST))
        self.is_reduced = False
        # The rate to recover, and the rise of the rate in one second of full use.
        self._goal = rate
        self._step = rate / 2 / RECOVERY
        # Consecutive 429 responses, where requests in flight together count once, and the time of the last.
        self._rate_limits = 0
        self._rate_limited_at = -math.inf
        # Whether the last request used up the bucket.
        self._is_saturated = False
        # The rate in use, as of the last request.
        self._usage = 0.0
        self._used_at = -math.inf

    def __repr__(self) -> str:
        return f"<AdaptiveRateLimiter {self.rate:g}/s{' reduced' if self.is_reduced else ''}>"

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self._bucket.rate

    def _set_rate(self, rate: float) -> None:
        bucket = self._bucket
        # A new rate applies to the requests that follow: the time at which the bucket is full stays the same.
        seconds_to_full = (bucket.capacity - bucket.tokens) / bucket.rate
        bucket.rate, bucket.capacity = rate, max(1.0, rate * BURST)
        bucket.tokens = bucket.capacity - seconds_to_full * rate

    def available_at(self, coalesce: float = 0.0) -> float:
        """Return the time at which the next request may be sent; it may lie in the past.

        While the rate is fully used, requests are delayed by up to `coalesce` seconds, to be sent in small bursts. A
        reduced rate is used evenly: it is an estimate, and a burst may exceed the real limit.
        """
        available_at = self._bucket.available_at()
        if self.is_reduced or not self._is_saturated:
            return available_at
        return min(available_at + coalesce, self._bucket.available_at(self._bucket.capacity))

    def acquire(self, now: float) -> None:
        """Count a request that is sent now."""
        self._bucket.acquire(now)
        self._is_saturated = self._bucket.available_at() > now
        self.record_usage(now)

    def record_usage(self, now: float) -> None:
        """Count a request as evidence of what the service accepts, without taking a token."""
        self._usage = self._usage_at(now) + 1.0 / _USAGE_WINDOW
        self._used_at = now

    def record_success(self) -> bool:
        """Raise the rate by one step, and return whether it has just recovered.

        It rises only while it is fully used: otherwise nothing shows that more would be accepted.
        """
        self._rate_limits = 0
        if self._is_saturated:
            self._set_rate(self.rate + self._step / self.rate)
        if self.is_reduced and self.rate >= self._goal:
            self.is_reduced = False
            return True
        return False

    def record_rate_limit(self, now: float, sent_at: float, pause: float, jitter_sample: float) -> bool:
        """Halve the rate and pause after a 429 response, and return whether the rate has just become reduced.

        The pause is a backoff, and at least the one that the service requests, in seconds.
        """
        was_reduced = self.is_reduced
        # A request sent at the very time of the last 429 response, by a coarse clock, was in flight then.
        if sent_at > self._rate_limited_at:
            self._rate_limited_at = now
            self._rate_limits += 1
            self._reduce_rate(now)
        delay = full_jitter(self._rate_limits, self._retry.base, self._retry.cap, jitter_sample, pause)
        # No burst at the end of the pause.
        self._bucket.refill(now + delay)
        self._bucket.tokens = min(self._bucket.tokens, 1.0)
        return self.is_reduced and not was_reduced

    def _reduce_rate(self, now: float) -> None:
        allowed = self.rate
        # An allowed rate that was not used is no evidence of what the service accepts.
        accepted = min(allowed, max(self._usage_at(now), 2 * LEAST_RATE))
        if not self.is_reduced:
            self._goal = allowed
        self._set_rate(min(allowed, max(accepted / 2, LEAST_RATE)))
        self.is_reduced = self.rate < self._goal
        # At least `self.rate`: the recovery from a 429 response after a quiet minute would otherwise take hours.
        self._step = max(allowed - self.rate, self.rate) / RECOVERY
        # Responses to requests sent before the reduction are no evidence about the new rate.
        self._is_saturated = False

    def _usage_at(self, now: float) -> float:
        return self._usage * math.exp((self._used_at - now) / _USAGE_WINDOW) if self._usage else 0.0
