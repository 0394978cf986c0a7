"""Circuit breaker of one provider."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING

from acetasks._limits.backoff import full_jitter

if TYPE_CHECKING:
    from acetasks.policies import RetryPolicy


class CircuitState(enum.Enum):
    """State of a circuit breaker."""

    CLOSED = "closed"
    #: The provider is down: nothing is sent before the backoff has passed.
    OPEN = "open"
    #: The provider is down, and one request probes it.
    HALF_OPEN = "half-open"


class CircuitBreaker:
    """Circuit breaker of one provider.

    It opens after `RetryPolicy.attempts` consecutive failures, or after one that requests a pause longer than any
    backoff (`RetryPolicy.cap`). Then one request at a time probes the provider, after a backoff that grows with each
    failed probe. Any response closes it. A pause that the provider requests (`Retry-After`) holds in every state.

    Attributes:
        state: Closed, open or half-open.
        backoff_steps: How often the backoff has grown: 1 when the circuit opens, one more for each failed probe.
        paused_until: End of the requested pause.
        last_success_at: Time of the last response.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._retry = retry
        self.state = CircuitState.CLOSED
        self._failures = self.backoff_steps = 0
        self._failing_since = self._stepped_at = self._probe_at = -math.inf
        self.paused_until = self.last_success_at = -math.inf

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.state.value}, {self._failures} failures>"

    @property
    def is_closed(self) -> bool:
        """Whether the provider is not down."""
        return self.state is CircuitState.CLOSED

    def available_at(self, in_flight: int = 0) -> float:
        """Return the time at which the next request may be sent; infinity if the circuit is open with one in flight."""
        if self.is_closed:
            return self.paused_until
        return math.inf if in_flight else max(self._probe_at, self.paused_until)

    def pause(self, until: float) -> None:
        """Keep a requested pause, unless a longer one is kept."""
        self.paused_until = max(self.paused_until, until)

    def acquire(self) -> None:
        """Count a request that is sent; to a provider that is down it is a probe."""
        if self.state is CircuitState.OPEN:
            self.state = CircuitState.HALF_OPEN

    def record_success(self, now: float) -> float | None:
        """Close the circuit, and return the seconds since the first failure, or None if it was closed."""
        outage = None if self.is_closed else now - self._failing_since
        self.state = CircuitState.CLOSED
        self._failures = self.backoff_steps = 0
        self.last_success_at = now
        return outage

    def record_failure(self, now: float, sent_at: float, pause: float, jitter_sample: float) -> bool:
        """Count a failed poll, keep the requested pause in seconds, and return whether the circuit has just opened."""
        was_closed = self.is_closed
        if not self._failures:
            self._failing_since = now
        self._failures += 1
        self.pause(now + pause)
        if was_closed and self._failures < self._retry.attempts and pause <= self._retry.cap:
            return False
        self.state = CircuitState.OPEN
        # Polls in flight when the circuit opened fail together: they are one step of the backoff.
        if was_closed or sent_at > self._stepped_at:
            self.backoff_steps += 1
            self._stepped_at = now
            self._probe_at = now + full_jitter(self.backoff_steps, self._retry.base, self._retry.cap, jitter_sample)
        return was_closed
