"""Outcome rules: after each poll, whether a task has ended, or when it is polled again and in which batch size.

They limit how often a task may be missing, seem failed, or have a record that cannot be read. Pure, but for the failure
counters in the registry's `health`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from acetasks._limits import CONFIRM_AFTER, ErrorScope, scope_of
from acetasks._polling.awaited import Outcome, TaskHealth
from acetasks.errors import (
    AceTasksError,
    ProtocolError,
    RateLimitError,
    TransportError,
)
from acetasks.models import TaskState
from acetasks.providers import RecordStatus, read_record

if TYPE_CHECKING:
    from acetasks._http import PollResult
    from acetasks._limits import Throttle
    from acetasks._polling.awaited import AwaitedTask
    from acetasks._polling.registry import TaskRegistry
    from acetasks._scheduling import InFlightPoll
    from acetasks.policies import PollPolicy
    from acetasks.providers import ProviderSpec, Service


#: Seconds after which waits end with a certificate that does not verify, or another failure with a remedy: time enough
#: for a network that comes up after the program, as on a machine that is starting.
_SETUP_GRACE = 60.0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """Meaning of a poll for one task.

    Attributes:
        status: The new record; None if nothing is new.
        outcome: None if the task is polled again.
        scope: The tasks to which the outcome applies.
        apart: Whether the task is polled again apart from its batch, not as planned.
        due: Loop time of that poll; None for the fixed interval.
        split_level: Split level of that poll; see `PollGroup`.
    """

    status: RecordStatus | None = None
    outcome: Outcome | None = None
    scope: ErrorScope = ErrorScope.TASK
    apart: bool = False
    due: float | None = None
    split_level: int = 0


class OutcomeRules:
    """Decides outcomes by a client's policy."""

    def __init__(self, policy: PollPolicy, *, throttle: Throttle, registry: TaskRegistry) -> None:
        self._policy = policy
        self._throttle = throttle
        self._health = registry.health
        # Loop time of the first failure with a remedy. It is not reset, because after a response there is no remedy.
        self._failing_since: dict[Service, float] = {}

    def __repr__(self) -> str:
        return f"<OutcomeRules {self._policy!r}>"

    def decide(self, task: AwaitedTask, poll: InFlightPoll, result: PollResult, now: float) -> Decision:
        """Decide what the result of a poll, which the throttle has recorded, means for one of its tasks."""
        task_id = task.key[1]
        # 1. A new record.   2. An error.   3. No record.   4. The same record again.
        if (status := result.statuses.get(task_id)) is not None:
            return self._decide_record(task, poll.spec, status, now)
        if (error := result.errors.get(task_id)) is not None:
            return self._decide_error(task, poll, error, now)
        if task_id in result.missing:
            # A batch that was not answered says nothing about its tasks.
            if result.batch_works is False:
                return self._poll_alone(task, poll.spec, now)
            return self._decide_miss(task, poll.spec, now, is_alone=False)
        return self._decide_unchanged(task, poll.spec, now)

    def _decide_record(self, task: AwaitedTask, spec: ProviderSpec, status: RecordStatus, now: float) -> Decision:
        if status.state is TaskState.NOT_FOUND:
            return self._decide_miss(task, spec, now, is_alone=True)
        before = self._health.pop(task.key, None) or TaskHealth()
        if status.unknown_word is not None:
            self._health[task.key] = TaskHealth(unknown_since=min(before.unknown_since, now))
        if status.unconfirmed:
            # It only seems failed, which counts once enough polls in a row have found the same.
            health = self._health.setdefault(task.key, TaskHealth())
            health.unconfirmed = before.unconfirmed + 1
            if health.unconfirmed >= self._policy.unconfirmed_polls:
                status = read_record(spec, status.raw, task_id=status.id, confirmed=True)
        return Decision(status=status, outcome=status.task if status.state.is_terminal else None)

    def _decide_unchanged(self, task: AwaitedTask, spec: ProviderSpec, now: float) -> Decision:
        # A record that seems failed counts again.
        health = self._health.get(task.key)
        if health is not None and health.unconfirmed and task.record is not None:
            return self._decide_record(task, spec, read_record(spec, task.record, task_id=task.key[1]), now)
        self._health.pop(task.key, None)
        if health is not None and health.unknown_since < math.inf:
            self._health[task.key] = TaskHealth(unknown_since=health.unknown_since)
        return Decision()

    def _decide_miss(self, task: AwaitedTask, spec: ProviderSpec, now: float, *, is_alone: bool) -> Decision:
        health = self._health.setdefault(task.key, TaskHealth())
        health.clear_faults()
        if not health.misses:
            health.missing_since = now
        health.misses += 1
        grace = max(self._policy.missing_grace, spec.missing_grace)
        if is_not_found(health.misses, now - health.missing_since, polls=self._policy.missing_polls, grace=grace):
            # A batch may leave out tasks that exist: only a poll of the task alone is the last one.
            if not is_alone:
                return self._poll_alone(task, spec, now)
            # Most services return an empty record for a task that does not exist.
            status = read_record(spec, b"{}", task_id=task.key[1])
            return Decision(status=status, outcome=status.task)
        return Decision(apart=True)

    def _decide_error(self, task: AwaitedTask, poll: InFlightPoll, error: AceTasksError, now: float) -> Decision:
        health = self._health.setdefault(task.key, TaskHealth())
        # 1. An error of the token or the provider, once it was repeated.   2. The first of them: polled once more.
        if scope_of(error) is not ErrorScope.TASK:
            if (scope := self._throttle.confirmed_scope(poll.spec, error)) is not None:
                return Decision(outcome=error, scope=scope)
            health.fault = error
            return Decision(apart=True, due=now + CONFIRM_AFTER, split_level=health.split_level)
        # 3. A record that cannot be read: final after several polls. Until then the task is polled alone, so that it
        # cannot make a batch fail.
        if isinstance(error, ProtocolError) and not error.transient:
            health.clear_faults()
            health.unreadable += 1
            health.fault = error
            health.split_level = self._max_split_level(poll.spec)
            is_final = health.unreadable >= self._policy.unconfirmed_polls
            return Decision(outcome=error if is_final else None, apart=True, split_level=health.split_level)
        # 4. Any other error that is not transient: final. A connection that seldom succeeds later gets a minute, and
        # concerns the service, whose tasks are those under its token.
        if self._is_final(error, poll.spec, now):
            scope = ErrorScope.TOKEN if isinstance(error, TransportError) else ErrorScope.TASK
            return Decision(outcome=error, scope=scope)
        # 5. Too many requests: polled as soon as the rate allows.   6. Any other transient fault: after a backoff.
        health.fault = error
        if isinstance(error, RateLimitError):
            return Decision(apart=True, due=now, split_level=health.split_level)
        if health.faults and self._throttle.has_answered_since(poll.spec.slug, health.faulted_at):
            # The provider answers other polls: this task may be what makes its polls fail.
            health.split_level = min(health.split_level + 1, self._max_split_level(poll.spec))
        health.faults += 1
        health.faulted_at = now
        due = self._throttle.retry_at(health.faults, error, now, poll.jitter_sample)
        return Decision(apart=True, due=due, split_level=health.split_level)

    def _is_final(self, error: AceTasksError, spec: ProviderSpec, now: float) -> bool:
        """Return whether an error ends waits; a failed connection does so with a remedy, after a minute."""
        if not isinstance(error, TransportError):
            return not error.transient
        if error.remedy is None:
            return False
        return now - self._failing_since.setdefault(spec.service, now) >= _SETUP_GRACE

    def _poll_alone(self, task: AwaitedTask, spec: ProviderSpec, now: float) -> Decision:
        health = self._health.setdefault(task.key, TaskHealth())
        health.split_level = self._max_split_level(spec)
        return Decision(apart=True, due=now, split_level=health.split_level)

    def _max_split_level(self, spec: ProviderSpec) -> int:
        """Return the split level at which a batch is one task."""
        return spec.batch_size(self._policy.batch_size).bit_length() - 1


def is_not_found(misses: int, missing_for: float, *, polls: int, grace: float) -> bool:
    """Return whether a task counts as not found: after at least `polls` misses in a row, over `grace` seconds."""
    return misses >= polls and missing_for >= grace
