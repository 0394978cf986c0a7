"""Token bucket that keeps learned polling within the request budget of a fixed interval."""

from __future__ import annotations

import math

from acetasks._limits.rate_limiter import TokenBucket

#: Learned polls may take somewhat more requests than full batches at a fixed interval, because tasks cannot all share
#: a batch at the time that suits each best: half as many again for a few batches; for many, a tenth more and somewhat
#: more than their square root.
_LARGEST_EXTRA, _EXTRA, _EXTRA_ROOT = 0.5, 0.1, 1.2
#: Intervals whose requests are saved at most, in total and between two refills.
_SAVED_INTERVALS, _LONGEST_GAP = 60.0, 2.5


class PollBudget:
    """Requests that the learned polls of one provider may take, none at first; unused ones are saved.

    Args:
        interval: Mean seconds between two polls of one task.
        coalesce_fraction: Once the budget is used up, requests are saved for this fraction of an interval, so that
            they are sent in small bursts.

    Attributes:
        deferral_limit: Seconds by which a deferrable poll may be delayed past its latest time while the budget is used
            up: half an interval where one request polls all tasks, and less the more requests that takes.
    """

    def __init__(self, interval: float, coalesce_fraction: float, now: float) -> None:
        self._interval = interval
        self._coalesce_fraction = coalesce_fraction
        self._bucket = TokenBucket(0.0, 0.0)
        self._bucket.updated_at = now
        self._is_used_up = False
        self.deferral_limit = interval / 2.0

    def __repr__(self) -> str:
        return f"<PollBudget {self._bucket.tokens:.3g} requests, {self._income:.3g} more in {self._interval:g} s>"

    @property
    def _income(self) -> float:
        """Requests added in each interval."""
        return self._bucket.rate * self._interval

    def refill(self, now: float, requests_per_round: float) -> None:
        """Add the requests of the time since the last refill; most of a long gap passed without tasks to poll.

        From now on, `requests_per_round` (at least 1) poll every task once.
        """
        bucket = self._bucket
        bucket.updated_at = max(bucket.updated_at, now - _LONGEST_GAP * self._interval)
        bucket.capacity = _SAVED_INTERVALS * requests_per_round
        bucket.refill(now)
        extra = min(
            _LARGEST_EXTRA * requests_per_round,
            _EXTRA * requests_per_round + _EXTRA_ROOT * math.sqrt(requests_per_round),
        )
        bucket.rate = (requests_per_round + extra) / self._interval
        self.deferral_limit = self._interval / (1.0 + requests_per_round)

    def available_at(self) -> float:
        """Return the time at which the budget has a request; after it was used up, a small burst of them."""
        burst = max(1.0, self._coalesce_fraction * self._income)
        return self._bucket.available_at(burst if self._is_used_up else 1.0)

    def spend(self) -> None:
        """Remove one request, or what is left of one: a poll that cannot be deferred makes no debt."""
        self._bucket.tokens = max(0.0, self._bucket.tokens - 1.0)
        self._is_used_up = self._bucket.tokens < 1.0
