"""Exponential backoff with full jitter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._limits.backoff import full_jitter

SAMPLES = st.floats(0, 1, exclude_max=True)


@given(failures=st.integers(1, 200), base=st.floats(0, 100), cap=st.floats(0, 1000), sample=SAMPLES)
def test_delay_is_within_full_jitter(failures: int, base: float, cap: float, sample: float) -> None:
    """A delay is between 0 and the doubled base, and at most the cap."""
    assert 0 <= full_jitter(failures, base, cap, sample) <= min(cap, base * 2.0 ** (failures - 1))


@given(
    failures=st.integers(1, 200),
    base=st.floats(0, 100),
    cap=st.floats(0, 1000),
    sample=SAMPLES,
    retry_after=st.floats(0, 1e6),
)
def test_retry_after_is_a_lower_bound(
    failures: int, base: float, cap: float, sample: float, retry_after: float
) -> None:
    """A requested delay is kept even beyond the cap, and does not change a longer backoff."""
    backoff = full_jitter(failures, base, cap, sample)

    assert full_jitter(failures, base, cap, sample, retry_after) == max(backoff, retry_after)


@given(failures=st.integers(64, 10**400), sample=SAMPLES)
def test_many_failures_do_not_overflow(failures: int, sample: float) -> None:
    """After any number of failures the delay is between 0 and the cap."""
    assert full_jitter(failures, 1.0, 16.0, sample) == 16.0 * sample


@pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0)])
def test_bound_doubles_up_to_the_cap(failures: int, delay: float) -> None:
    """The service's documents advise 1, 2, 4, 8, 16 s: these are the bounds."""
    assert full_jitter(failures, 1.0, 16.0, 0.5) == delay
