"""Batch limits learned from truncated responses and refused requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._limits.batch_size import LIMIT_TTL, BatchSizeLimiter


@pytest.fixture
def limiter() -> BatchSizeLimiter:
    """A limiter that has learned nothing."""
    return BatchSizeLimiter()


def test_batches_are_full_at_first(limiter: BatchSizeLimiter) -> None:
    """Without evidence of a limit, batches are full."""
    assert limiter.size("luma", 50, 0.0) == 50
    assert repr(limiter) == "<BatchSizeLimiter none>"


def test_two_responses_truncated_at_the_same_number_are_a_limit(limiter: BatchSizeLimiter) -> None:
    """One may be chance. The limit applies to that provider alone, and never enlarges a batch."""
    limiter.record_truncated("luma", [12], 0.0)
    assert limiter.size("luma", 50, 0.0) == 50
    assert repr(limiter) == "<BatchSizeLimiter none>"
    limiter.record_truncated("luma", [12], 5.0)

    assert limiter.size("luma", 50, 5.0) == 12
    assert limiter.size("luma", 10, 5.0) == 10
    assert limiter.size("flux", 50, 5.0) == 50
    assert repr(limiter) == "<BatchSizeLimiter {'luma': 12}>"


def test_one_poll_with_several_truncated_responses_is_enough(limiter: BatchSizeLimiter) -> None:
    """Fifty ids that arrive in responses of twelve show the limit at once."""
    limiter.record_truncated("luma", [12, 12, 12, 12], 0.0)

    assert limiter.size("luma", 50, 0.0) == 12


@pytest.mark.parametrize("counts", [[], [12], [12, 13], [12, 13, 12, 13], [49, 12, 48, 12]])
def test_truncation_at_changing_numbers_is_no_limit(limiter: BatchSizeLimiter, counts: list[int]) -> None:
    """A service that leaves out single records has no fixed limit."""
    for count in counts:
        limiter.record_truncated("luma", [count], 0.0)
    limiter.record_truncated("flux", [12], 0.0)

    assert limiter.size("luma", 50, 0.0) == limiter.size("flux", 50, 0.0) == 50


def test_a_limit_expires(limiter: BatchSizeLimiter) -> None:
    """It holds for ten minutes after the last evidence."""
    limiter.record_truncated("luma", [12, 12], 0.0)
    assert limiter.size("luma", 50, LIMIT_TTL - 0.001) == 12
    assert limiter.size("luma", 50, LIMIT_TTL) == 50

    limiter.record_truncated("luma", [10, 10], LIMIT_TTL)
    limiter.record_truncated("luma", [10], LIMIT_TTL + 100.0)
    assert limiter.size("luma", 50, 2 * LIMIT_TTL + 99.0) == 10
    assert limiter.size("luma", 50, 2 * LIMIT_TTL + 100.0) == 50


def test_a_refused_request_is_a_limit_at_once(limiter: BatchSizeLimiter) -> None:
    """The accepted number of ids is used until it expires."""
    limiter.record_too_large("luma", 13, 100.0)

    assert limiter.size("luma", 50, 100.0) == 13
    assert limiter.size("luma", 50, 100.0 + LIMIT_TTL) == 50


def test_the_latest_limit_counts(limiter: BatchSizeLimiter) -> None:
    """A limit that changes is followed in both directions."""
    limiter.record_too_large("luma", 25, 0.0)
    limiter.record_truncated("luma", [20, 20], 1.0)
    assert limiter.size("luma", 50, 1.0) == 20

    limiter.record_too_large("luma", 5, 2.0)
    assert limiter.size("luma", 50, 2.0) == 5


def test_two_ignored_batches_are_learned(limiter: BatchSizeLimiter) -> None:
    """From then on tasks are polled one at a time, until batches are tried again; one is enough then."""
    assert limiter.record_ignored("luma", 0.0, 1.0) is False
    assert limiter.size("luma", 50, 1.0) == 50
    assert limiter.record_ignored("luma", 2.0, 3.0) is True
    assert limiter.size("luma", 50, 3.0) == 1
    assert limiter.size("flux", 50, 3.0) == 50
    assert limiter.size("luma", 50, 3.0 + LIMIT_TTL) == 50

    assert limiter.record_ignored("luma", 1000.0, 1001.0) is False
    assert limiter.size("luma", 50, 1001.0) == 1


def test_ignored_batches_in_flight_together_count_once(limiter: BatchSizeLimiter) -> None:
    """All their tasks may have become visible at the same time."""
    for now in (1.0, 1.5, 2.0):
        assert limiter.record_ignored("luma", 1.0, now) is False

    assert limiter.size("luma", 50, 2.0) == 50


def test_an_answered_batch_resets_the_count_of_ignored_ones(limiter: BatchSizeLimiter) -> None:
    """Only consecutive ones count; a provider that was never seen to ignore any is not stored."""
    limiter.record_answered("flux")
    for now in (0.0, 10.0, 20.0):
        assert limiter.record_ignored("luma", now, now + 1.0) is False
        limiter.record_answered("luma")

    assert limiter.size("luma", 50, 30.0) == 50
    assert repr(limiter) == "<BatchSizeLimiter none>"


@given(
    full=st.integers(1, 64),
    observations=st.lists(st.tuples(st.booleans(), st.integers(1, 64), st.floats(0, LIMIT_TTL)), max_size=20),
)
def test_a_size_is_within_bounds(full: int, observations: list[tuple[bool, int, float]]) -> None:
    """Whatever was learned, a batch has at least one id and is never larger than a full one."""
    limiter, now = BatchSizeLimiter(), 0.0
    for is_truncated, count, seconds in observations:
        now += seconds
        if is_truncated:
            limiter.record_truncated("luma", [count], now)
        else:
            limiter.record_too_large("luma", count, now)
        assert 1 <= limiter.size("luma", full, now) <= full
    assert limiter.size("luma", full, now + LIMIT_TTL) == full
