"""Handler of poll results: updates the registry, and returns the changes for the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks._limits import ErrorScope
from acetasks._scheduling import Changes
from acetasks.events import TaskChanged, TaskSettled
from acetasks.models import Task, TaskState
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from acetasks._http import PollResult
    from acetasks._polling.awaited import AwaitedTask, Outcome
    from acetasks._polling.callbacks import ExpectedCallbacks
    from acetasks._polling.outcomes import OutcomeRules
    from acetasks._polling.registry import TaskRegistry
    from acetasks._scheduling import InFlightPoll
    from acetasks.events import Observers
    from acetasks.providers import ProviderSpec, RecordStatus


#: How many times the usual duration of a provider's tasks an undocumented state may last before it is reported again:
#: far more than tasks vary, and soon enough to be of use.
_LASTING = 10.0


class ResultHandler:
    """Applies the results of polls: updates and resolves tasks, and emits events."""

    def __init__(
        self,
        registry: TaskRegistry,
        *,
        rules: OutcomeRules,
        observers: Observers,
        on_end: Callable[[Task], object] | None = None,
        callbacks: ExpectedCallbacks | None = None,
    ) -> None:
        self._registry = registry
        self._on_end = on_end
        self._callbacks = callbacks
        self._rules = rules
        self._observers = observers

    def apply(self, poll: InFlightPoll, result: PollResult, now: float) -> Changes:
        """Apply the result of a poll, which the throttle has recorded, and return the changes for the scheduler."""
        changes = Changes(result.server_time)
        for task in self._affected(poll.spec, result):
            decision = self._rules.decide(task, poll, result, now)
            if decision.status is not None:
                self._update(task, decision.status, changes, now)
            if decision.outcome is not None:
                for ended in self._in_scope(task, poll.spec, decision.scope):
                    self.resolve(ended, decision.outcome, now)
                    changes.ended.append(ended)
                continue
            if decision.apart:
                changes.apart[decision.split_level, decision.due].append(task)
            self._report_lasting(task, poll.spec, now)
        return changes

    def resolve(self, task: AwaitedTask, outcome: Outcome, now: float) -> None:
        """Pass an outcome to every waiter of a task."""
        waiters = self._registry.resolve(task, outcome)
        if not isinstance(outcome, Task):
            return
        if self._on_end is not None:
            self._on_end(outcome)
        if self._callbacks is not None:
            for event in self._callbacks.finish(task, outcome, now):
                self._observers(event)
        if self._observers.wants(TaskSettled):
            self._observers(TaskSettled(time=now, provider=task.key[0], task=outcome, waiters=waiters))

    def _affected(self, spec: ProviderSpec, result: PollResult) -> Iterator[AwaitedTask]:
        """Yield the tasks to decide on: those still awaited, but for unchanged ones without failure counters."""
        ids = [*result.statuses, *result.errors, *result.missing]
        if health := self._registry.health:
            ids += [task_id for task_id in result.unchanged if (spec.slug, task_id) in health]
        for task_id in ids:
            if (task := self._registry.get((spec.slug, task_id))) is not None:
                yield task

    def _update(self, task: AwaitedTask, status: RecordStatus, changes: Changes, now: float) -> None:
        if status.state is not TaskState.NOT_FOUND:
            changes.observed.append((task, status))
        is_change = self._registry.update(task, status)
        # The log observes only changes to an undocumented state.
        word = status.unknown_word
        if is_change and (word is not None or self._observers.wants(TaskChanged)):
            self._observers(TaskChanged(time=now, provider=task.key[0], task=status.task, unknown_word=word))

    def _report_lasting(self, task: AwaitedTask, spec: ProviderSpec, now: float) -> None:
        """Emit an event for a task whose state has been undocumented for very long: it may be a final one."""
        health = self._registry.health.get(task.key)
        if health is None or task.record is None:
            return
        seconds = now - health.unknown_since
        if seconds < spec.typical_duration * _LASTING:
            return
        health.unknown_since = now  # it is reported again after as long
        status = read_record(spec, task.record, task_id=task.key[1])
        event = TaskChanged(
            time=now, provider=spec.slug, task=status.task, unknown_word=status.unknown_word, unknown_for=seconds
        )
        self._observers(event)

    def _in_scope(self, task: AwaitedTask, spec: ProviderSpec, scope: ErrorScope) -> Iterable[AwaitedTask]:
        if scope is ErrorScope.TASK:
            return (task,)
        return [
            other
            for other in self._registry
            if other.key[0] == spec.slug or (scope is ErrorScope.TOKEN and lookup(other.key[0]).service is spec.service)
        ]
