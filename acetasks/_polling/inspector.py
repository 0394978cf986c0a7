"""What a client awaits, and why: read from the registry, the scheduler and the limits, without changing them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers import lookup
from acetasks.stats import ClientStats, Explanation, WaitReason

if TYPE_CHECKING:
    from acetasks._limits import Throttle
    from acetasks._polling.registry import TaskRegistry
    from acetasks._runtime import Runtime
    from acetasks._scheduling import Durations, Key, Scheduler
    from acetasks.stats import RequestStats, SubmissionStats


class Inspector:
    """Describes the state of the polling.

    Args:
        registry: The awaited tasks.
        scheduler: When they are polled.
        throttle: The limits on requests.
        durations: Learned statistics of task durations.
        runtime: The client's settings and clock.
    """

    def __init__(
        self,
        registry: TaskRegistry,
        *,
        scheduler: Scheduler,
        throttle: Throttle,
        durations: Durations,
        runtime: Runtime,
    ) -> None:
        self._registry = registry
        self._scheduler = scheduler
        self._throttle = throttle
        self._durations = durations
        self._max_rate = runtime.policy.max_rate
        self._clock = runtime.clock

    def describe(self, requests: RequestStats, submissions: SubmissionStats) -> ClientStats:
        """Return the state of the client, of which the requests and submissions are given."""
        now = self._clock()
        pending, waiters = self._registry.describe()
        providers = {}
        for slug in sorted({*pending, *self._scheduler.providers}):
            stats = self._throttle.describe(lookup(slug), in_flight=self._scheduler.in_flight_of(slug), now=now)
            providers[slug] = msgspec.structs.replace(stats, pending=pending.get(slug, {}))
        return ClientStats(
            time=now,
            waiters=waiters,
            polls_in_flight=self._scheduler.in_flight,
            requests=requests,
            submissions=submissions,
            rates=self._throttle.describe_rates(),
            max_rate=self._max_rate,
            providers=providers,
        )

    def explain(self, key: Key) -> Explanation:
        """Return why a task is still awaited, and when it is polled next."""
        provider, task_id = key
        task, seen = self._registry.get(key), self._registry.last_seen(key)
        if task is None:
            return Explanation(
                provider=provider, id=task_id, reason=WaitReason.NOT_AWAITED, state=seen.state, progress=seen.progress
            )
        now = self._clock()
        next_at, reason = self._scheduler.find_next_poll(task, now)
        health = self._registry.health.get(key)
        fault, misses = (None, 0) if health is None else (health.fault, health.misses)
        if (fault is not None or misses) and reason in {WaitReason.INTERVAL, WaitReason.LEARNED}:
            reason = WaitReason.OUTAGE if self._throttle.is_down(provider) else WaitReason.RETRY
        age = None if math.isnan(task.submitted_at) else now - task.submitted_at
        return Explanation(
            provider=provider,
            id=task_id,
            reason=reason,
            state=task.state,
            progress=task.progress,
            seen_ago=now - task.last_polled_at if task.record is not None else None,
            polls=task.polls,
            next_poll_in=None if next_at is None else max(0.0, next_at - now),
            fault=None if fault is None else str(fault),
            misses=misses,
            age=age,
            expected_left=None if age is None else self._durations.expected_left(seen, age),
            waiters=len(task.waiters),
        )
