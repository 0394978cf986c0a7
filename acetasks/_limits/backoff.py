"""Exponential backoff with full jitter."""

from __future__ import annotations

#: 2 ** 64 seconds exceed any cap; more doublings would only overflow.
_MOST_DOUBLINGS = 64


def full_jitter(
    failures: int, base: float, cap: float, jitter_sample: float, retry_after: float | None = None
) -> float:
    """Return the seconds to wait after consecutive failures, at least 1 of them.

    The delay is random, below a bound that is `base` seconds at first, doubles with each failure and ends at `cap`. It
    is never shorter than the `retry_after` seconds that the service requests.
    """
    bound = min(cap, base * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
    return max(bound * jitter_sample, retry_after or 0.0)
