"""Whom to leave alone for a while, and how fast the others may be asked: every consequence of trouble, in one place.

Pure state: told what a look has found, it tells when whom to ask again.

1. A look that failed for a passing reason is made again after a random delay that grows with each failure in a row of
   the tasks it was at, up to a cap (full jitter). Other looks at that provider go on.
2. A provider that has failed some times in a row, without an answer in between, is down. It is probed by one request
   at a time, with fewer ids each time, at delays that grow up to a cap.
3. Where a service asks for a pause (`Retry-After`), nothing is asked before it is over.
4. A service that is asked too much (429) is asked at half the rate, and then slowly faster: all under one token.
5. A budget of the user's own holds over everything.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING

from acetasks.errors import AceTasksError, APIError, RateLimitError
from acetasks.events import Event, OutageBegan, OutageEnded, RateCut, RateRestored
from acetasks.pace import Pace
from acetasks.schedule import plan_retry

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from acetasks.policies import PollPolicy, RetryPolicy
    from acetasks.providers import ProviderSpec, Service


class _Health:
    """How a provider has been doing.

    Attributes:
        failures: Looks that failed since the last answer.
        failing_since: When the first of them did.
        answered_at: When the last answer came.
        probes: Steps of the back-off since it counts as down: failures of looks that began after the last step.
        stepped_at: When the last step was.
        until: When it is probed next.
        paused_until: When a pause that it has asked for is over.
    """

    __slots__ = ("answered_at", "failing_since", "failures", "paused_until", "probes", "stepped_at", "until")

    def __init__(self) -> None:
        self.failures = self.probes = 0
        self.failing_since = self.answered_at = self.stepped_at = self.until = self.paused_until = -math.inf


class _Limit:
    """How a service has been limiting the rate.

    Attributes:
        refusals: Looks that were too much since the last answer, those that were under way together counted once.
        refused_at: When the last of those was.
    """

    __slots__ = ("refusals", "refused_at")

    def __init__(self) -> None:
        self.refusals = 0
        self.refused_at = -math.inf


class Holds:
    """Every hold of one client."""

    def __init__(self, policy: PollPolicy, retry: RetryPolicy) -> None:
        """Start with none.

        Args:
            policy: How many requests may leave in a second.
            retry: How long to hold back after how many failures, and how many of them make an outage.
        """
        self._retry = retry
        self._health: dict[str, _Health] = collections.defaultdict(_Health)
        self._paces: dict[Service, Pace] = collections.defaultdict(lambda: Pace(policy.start_rate))
        self._limits: dict[Service, _Limit] = collections.defaultdict(_Limit)
        self._budget = Pace(policy.max_rate or math.inf, is_steady=True)

    def __repr__(self) -> str:
        """Show who is down, and at what rates the services are asked."""
        down = [provider for provider in self._health if self.is_down(provider)]
        return f"<Holds down={down} rates={ {str(service): pace.rate for service, pace in self._paces.items()} }>"

    # Before a request.

    def is_down(self, provider: str) -> bool:
        """Tell whether a provider has failed so often in a row that it counts as down."""
        return self._health[provider].failures >= self._retry.attempts

    def free_at(self, spec: ProviderSpec, patience: float = 0.0) -> float:
        """Tell when the rates, and the pauses that were asked for, allow a request; seconds of the loop's clock.

        Args:
            spec: The provider's row.
            patience: Seconds that it may wait for others to leave with; see `Pace.gathered_at`.
        """
        pace = self._paces[spec.service]
        return max(self._budget.free_at, pace.gathered_at(patience), self._health[spec.slug].paused_until)

    def until(self, spec: ProviderSpec, *, under_way: int, patience: float = 0.0) -> float:
        """Tell until when no further look at a provider is to begin.

        Args:
            spec: The provider's row.
            under_way: Its requests under way. One that is down is probed by one request at a time.
            patience: Seconds that looks may wait for others to leave with, where the rate does not allow them all.

        Returns:
            Seconds of the loop's clock; infinity while a probe is under way.
        """
        health = self._health[spec.slug]
        if health.failures < self._retry.attempts:
            return self.free_at(spec, patience)
        return math.inf if under_way else max(health.until, self.free_at(spec))

    def probe_size(self, spec: ProviderSpec, size: int) -> int:
        """Tell how many ids to ask a provider for at once: fewer with each failure while it is down.

        It may be what is asked, and not the provider, that makes it fail.

        Args:
            spec: The provider's row.
            size: How many it is asked for when all is well.
        """
        return max(1, size >> self._health[spec.slug].probes)

    def take(self, spec: ProviderSpec, now: float) -> None:
        """Take note of a request that leaves."""
        if self._budget.rate < math.inf:
            self._budget.take(now)
        self._paces[spec.service].take(now)

    # After it.

    def note_look(
        self,
        spec: ProviderSpec,
        errors: Collection[AceTasksError],
        *,
        is_answered: bool,
        sent_at: float,
        now: float,
        draw: float,
    ) -> list[Event]:
        """Take note of what a look has met with.

        Args:
            spec: The provider's row.
            errors: What went wrong.
            is_answered: Whether any of its requests got an answer that was to be had.
            sent_at: When it began.
            now: Seconds of the loop's clock.
            draw: A random number from 0 up to 1.

        Returns:
            What is news of it.
        """
        limits = faults = []
        if errors:
            limits = [error for error in errors if isinstance(error, RateLimitError)]
            faults = [error for error in errors if error.transient and not isinstance(error, RateLimitError)]
        news = self._note_answer(spec, now, is_borne=not limits) if is_answered else []
        if limits:
            news += self._note_limits(spec, limits, sent_at, now, draw)
        if faults:
            news += self._note_faults(spec, faults, sent_at, now, draw)
        return news

    def retry_at(self, failures: int, fault: AceTasksError, now: float, draw: float) -> float:
        """Tell when to look again at a task, after looks at it that failed for passing reasons.

        Args:
            failures: Such looks in a row, at least 1.
            fault: The error of the last.
            now: Seconds of the loop's clock.
            draw: A random number from 0 up to 1; the same for all tasks of a look, so that they stay together.

        Returns:
            Seconds of the loop's clock.
        """
        return now + plan_retry(failures, self._retry.base, self._retry.cap, draw, _pause_of(fault))

    def has_answered_since(self, provider: str, then: float) -> bool:
        """Tell whether a provider has answered anything since a time."""
        return self._health[provider].answered_at > then

    def _note_answer(self, spec: ProviderSpec, now: float, *, is_borne: bool) -> list[Event]:
        """Take note that a provider has answered: it is out of its troubles, and maybe within its rate."""
        news: list[Event] = []
        health = self._health[spec.slug]
        if self.is_down(spec.slug):
            news.append(OutageEnded(time=now, provider=spec.slug, seconds=now - health.failing_since))
        health.failures = health.probes = 0
        health.answered_at = now
        if is_borne:
            self._limits[spec.service].refusals = 0
            pace = self._paces[spec.service]
            if pace.note_answer():
                news.append(RateRestored(time=now, provider=spec.slug, rate=pace.rate))
        return news

    def _note_limits(
        self, spec: ProviderSpec, limits: Sequence[RateLimitError], sent_at: float, now: float, draw: float
    ) -> list[Event]:
        """Slow down for a service that was asked too much."""
        limit = self._limits[spec.service]
        if sent_at > limit.refused_at:
            limit.refusals += 1
            limit.refused_at = now
        pause = plan_retry(limit.refusals, self._retry.base, self._retry.cap, draw, max(map(_pause_of, limits)))
        pace = self._paces[spec.service]
        if pace.note_limit(now, sent_at, pause):
            return [RateCut(time=now, provider=spec.slug, rate=pace.rate, error=limits[0])]
        return []

    def _note_faults(
        self, spec: ProviderSpec, faults: Sequence[AceTasksError], sent_at: float, now: float, draw: float
    ) -> list[Event]:
        """Hold back from a provider that fails."""
        health = self._health[spec.slug]
        was_down = self.is_down(spec.slug)
        health.failing_since = health.failing_since if health.failures else now
        health.failures += 1
        health.paused_until = max(health.paused_until, now + max(map(_pause_of, faults)))
        # What was under way together when it went down is one step, and each probe after that another.
        if self.is_down(spec.slug) and (not was_down or sent_at > health.stepped_at):
            health.probes += 1
            health.stepped_at = now
            health.until = now + plan_retry(health.probes, self._retry.base, self._retry.cap, draw)
        if self.is_down(spec.slug) and not was_down:
            return [OutageBegan(time=now, provider=spec.slug, error=faults[0])]
        return []


def _pause_of(fault: AceTasksError) -> float:
    """Tell the seconds for which an error asks to be left alone; 0 if it does not."""
    return (fault.retry_after or 0.0) if isinstance(fault, APIError) else 0.0
