"""States of the circuit breaker; how it limits polls is tested through the throttle."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import RetryPolicy
from acetasks._limits.circuit_breaker import CircuitBreaker, CircuitState


@pytest.fixture
def breaker() -> CircuitBreaker:
    """A closed breaker that opens after two failures."""
    return CircuitBreaker(RetryPolicy(attempts=2, base=2.0, cap=16.0))


def fail(breaker: CircuitBreaker, now: float, *, pause: float = 0.0) -> bool:
    """Record the failure of a poll sent just now."""
    return breaker.record_failure(now, now, pause, 0.5)


def test_a_breaker_goes_through_its_states(breaker: CircuitBreaker) -> None:
    """Closed, open after failures, half-open during each probe, and closed by a response."""
    states = [breaker.state]
    for step in (
        lambda: fail(breaker, 0.0),
        lambda: fail(breaker, 1.0),
        breaker.acquire,
        lambda: fail(breaker, 3.0),
        breaker.acquire,
        lambda: breaker.record_success(9.0),
        breaker.acquire,
    ):
        step()
        states.append(breaker.state)

    closed, opened, half_open = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
    assert states == [closed, closed, opened, half_open, opened, half_open, closed, closed]


def test_opening_and_closing_are_reported_once(breaker: CircuitBreaker) -> None:
    """Closing reports the seconds since the first failure."""
    assert [fail(breaker, now) for now in (5.0, 6.0, 7.0)] == [False, True, False]
    assert breaker.record_success(12.0) == 7.0
    assert breaker.record_success(13.0) is None
    assert breaker.last_success_at == 13.0


def test_only_a_provider_that_is_down_is_limited_by_requests_in_flight(breaker: CircuitBreaker) -> None:
    """Then one request is sent at a time, after the backoff."""
    fail(breaker, 10.0)
    assert breaker.available_at(7) <= 10.0
    fail(breaker, 10.0)
    assert (breaker.available_at(), breaker.available_at(1)) == (11.0, math.inf)

    breaker.acquire()
    assert breaker.available_at(1) == math.inf
    # The probe ended without a result.
    assert breaker.available_at(0) == 11.0


@given(pauses=st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 100)), max_size=20))
def test_a_requested_pause_is_kept_in_every_state(pauses: list[tuple[bool, float, float]]) -> None:
    """The one that ends last counts, and neither failures nor responses shorten it."""
    breaker = CircuitBreaker(RetryPolicy(attempts=2))
    now, until = 0.0, -math.inf
    for is_answered, seconds, pause in pauses:
        now += seconds
        if is_answered:
            breaker.record_success(now)
        else:
            fail(breaker, now, pause=pause)
            until = max(until, now + pause)

        assert breaker.paused_until == until <= breaker.available_at()


def test_repr_shows_the_state(breaker: CircuitBreaker) -> None:
    """The repr names the state and the consecutive failures."""
    assert repr(breaker) == "<CircuitBreaker closed, 0 failures>"
    fail(breaker, 0.0)
    fail(breaker, 0.0)
    breaker.acquire()

    assert repr(breaker) == "<CircuitBreaker half-open, 2 failures>"
