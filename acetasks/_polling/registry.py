"""Registry of awaited tasks and their waiters, from registration to the outcome.

All changes are synchronous. An outcome is passed as a value, never raised, so that a waiter that was cancelled leaves
no exception behind that is never retrieved.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from acetasks._polling.awaited import AwaitedTask, read_last_seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from acetasks._polling.awaited import Outcome, TaskHealth, Waiter
    from acetasks._scheduling import Key
    from acetasks.models import Task, TaskState
    from acetasks.providers import RecordStatus

#: Number of tasks whose records are kept when their waiters have left, and the maximum bytes of such a record.
_MAX_LEFT, _MAX_LEFT_SIZE = 1024, 16 * 1024


class TaskRegistry:
    """The awaited tasks of one client.

    Attributes:
        health: Failure counters of the tasks whose last poll found something wrong; owned by the outcome rules.
    """

    def __init__(self) -> None:
        self._tasks: dict[Key, AwaitedTask] = {}
        self._left: collections.OrderedDict[Key, bytes] = collections.OrderedDict()
        self.health: dict[Key, TaskHealth] = {}

    def __repr__(self) -> str:
        waiters = sum(len(task.waiters) for task in self._tasks.values())
        return f"<TaskRegistry {len(self._tasks)} tasks, {waiters} waiters>"

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[AwaitedTask]:
        """Iterate over the tasks awaited now; they may be resolved meanwhile."""
        return iter(tuple(self._tasks.values()))

    def get(self, key: Key) -> AwaitedTask | None:
        """Return a task, or None if it is not awaited."""
        return self._tasks.get(key)

    def last_seen(self, key: Key) -> Task:
        """Return a task as last seen, awaited or not long ago; pending if it was not seen."""
        task = self._tasks.get(key)
        record = task.record if task is not None else None
        return read_last_seen(key, self._left.get(key) if record is None else record)

    def describe(self) -> tuple[dict[str, dict[TaskState, int]], int]:
        """Return the number of tasks of each provider by their state as last seen, and that of all waiters."""
        counts: dict[str, dict[TaskState, int]] = {}
        waiters = 0
        for task in self:
            states = counts.setdefault(task.key[0], {})
            states[task.state] = states.get(task.state, 0) + 1
            waiters += len(task.waiters)
        return counts, waiters

    def register(self, waiter: Waiter, keys: Sequence[Key]) -> list[AwaitedTask]:
        """Add a waiter, not yet registered for any of these tasks, and return the tasks not awaited before."""
        new: list[AwaitedTask] = []
        waiters = (waiter,)  # one tuple for all of them
        for key in keys:
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = AwaitedTask(key, waiters=waiters)
                new.append(task)
            else:
                task.waiters += waiters
                if waiter.wants_changes and task.record is not None:
                    waiter.receive_change(task.last_seen)
        return new

    def leave(self, waiter: Waiter, key: Key) -> AwaitedTask | None:
        """Remove a waiter from a task, whether it has received the outcome or not.

        Returns:
            The task, if that was its last waiter: it is not awaited any more, and must not be polled.
        """
        task = self._tasks.get(key)
        if task is None or waiter not in task.waiters:
            return None
        task.waiters = tuple(other for other in task.waiters if other is not waiter)
        if task.waiters:
            return None
        self._forget(task)
        if task.record is not None and len(task.record) <= _MAX_LEFT_SIZE:
            self._left[key] = task.record
            self._left.move_to_end(key)
            if len(self._left) > _MAX_LEFT:
                self._left.popitem(last=False)
        return task

    def update(self, task: AwaitedTask, status: RecordStatus) -> bool:
        """Store a new record, and pass a change on to the waiters that want changes.

        Returns:
            Whether it is the first record, or the state or progress has changed.
        """
        is_change = task.record is None or task.state is not status.state or task.progress != status.progress
        task.record, task.state, task.progress = status.raw, status.state, status.progress
        if is_change:
            for waiter in task.waiters:
                if waiter.wants_changes:
                    waiter.receive_change(status.task)
        return is_change

    def resolve(self, task: AwaitedTask, outcome: Outcome) -> int:
        """Pass an outcome to every waiter of a task, forget the task, and return the number of waiters."""
        waiters, task.waiters = task.waiters, ()
        if waiters:
            self._forget(task)
            self._left.pop(task.key, None)
        for waiter in waiters:
            waiter.resolve(task, outcome)
        return len(waiters)

    def _forget(self, task: AwaitedTask) -> None:
        del self._tasks[task.key]
        self.health.pop(task.key, None)
