"""Whom to leave alone for a while: providers that do not answer, and services that limit the rate.

Pure state: told what a look has found, it tells until when nothing is to be asked. A provider's outage holds back
that provider only; a rate limit is the token's, and holds back everything under it.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING

from acetasks.errors import AceTasksError, APIError, RateLimitError
from acetasks.schedule import plan_retry

if TYPE_CHECKING:
    from collections.abc import Collection

    from acetasks.models import RetryPolicy
    from acetasks.providers import ProviderSpec, Service


class _Hold:
    """How often something failed in a row, and until when it is left alone."""

    __slots__ = ("failures", "until")

    def __init__(self) -> None:
        self.failures = 0
        self.until = -math.inf


class Holds:
    """Every hold of one client."""

    def __init__(self, retry: RetryPolicy) -> None:
        """Start with none.

        Args:
            retry: How long to hold back after how many failures.
        """
        self._retry = retry
        self._outages: dict[str, _Hold] = collections.defaultdict(_Hold)
        self._rate_limits: dict[Service, _Hold] = collections.defaultdict(_Hold)

    def __repr__(self) -> str:
        """Show who is failing."""
        failing = [provider for provider, hold in self._outages.items() if hold.failures]
        limited = [str(service) for service, hold in self._rate_limits.items() if hold.failures]
        return f"<Holds failing={failing} limited={limited}>"

    def until(self, spec: ProviderSpec, *, under_way: int) -> float:
        """Tell until when a provider is not to be asked.

        Args:
            spec: The provider's row.
            under_way: Its requests under way. One that does not answer is probed by one request at a time.

        Returns:
            Seconds of the loop's clock; infinity while a probe is under way.
        """
        outage = self._outages[spec.slug]
        if outage.failures and under_way:
            return math.inf
        return max(outage.until, self._rate_limits[spec.service].until)

    def note_answer(self, spec: ProviderSpec) -> None:
        """Take note that a provider has answered: it is out of its troubles, and within its rate."""
        self._outages[spec.slug].failures = 0
        self._rate_limits[spec.service].failures = 0

    def note_faults(self, spec: ProviderSpec, faults: Collection[AceTasksError], now: float, draw: float) -> None:
        """Take note of passing faults of one look.

        Args:
            spec: The provider's row.
            faults: At least one; the longest pause that they ask for is kept.
            now: Seconds of the loop's clock.
            draw: A random number from 0 up to 1.
        """
        is_limited = any(isinstance(fault, RateLimitError) for fault in faults)
        hold = self._rate_limits[spec.service] if is_limited else self._outages[spec.slug]
        hold.failures += 1
        pauses = [fault.retry_after or 0.0 for fault in faults if isinstance(fault, APIError)]
        delay = plan_retry(hold.failures, self._retry.base, self._retry.cap, draw, max(pauses, default=None))
        hold.until = max(hold.until, now + delay)
