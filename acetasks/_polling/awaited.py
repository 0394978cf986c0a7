"""Awaited tasks: what is known of them, and the waiters that receive their outcomes."""

from __future__ import annotations

import abc
import asyncio
import math

import msgspec

from acetasks._scheduling import Key, TrackedTask
from acetasks.errors import AceTasksError
from acetasks.models import Task, TaskState
from acetasks.providers import lookup, read_record

#: Result of waiting for a task: the task in a terminal state, or an error to raise.
Outcome = Task | AceTasksError


class AwaitedTask(TrackedTask, eq=False, gc=False):
    """A task that is awaited, and its record as last seen. Owned by the registry.

    The record is kept as JSON and read again on demand; most tasks are not read before their end.

    Attributes:
        waiters: Empty only once the task is resolved or dropped.
        record: The last record, as JSON; None if none was seen.
        state: As last seen.
        progress: As last seen, in percent; None if unknown.
    """

    waiters: tuple[Waiter, ...] = ()
    record: bytes | None = None
    state: TaskState = TaskState.PENDING
    progress: float | None = None

    @property
    def last_seen(self) -> Task:
        """The task as last seen; pending if it was never seen."""
        return read_last_seen(self.key, self.record)


class TaskHealth(msgspec.Struct, eq=False):
    """Failure counters of an awaited task.

    Attributes:
        misses: Consecutive polls without a record of it.
        missing_since: Loop time of the first of them.
        unconfirmed: Consecutive polls whose record suggests a failure without stating it.
        unreadable: Consecutive polls with a record that cannot be read.
        faults: Consecutive polls that failed for a transient reason.
        faulted_at: Loop time of the last of them.
        fault: The error of the last poll; None if that did not fail.
        split_level: How often its batch is halved; see `PollGroup`.
        unknown_since: Loop time since which its state is undocumented, or of the last report of that; infinity if the
            state is documented.
    """

    misses: int = 0
    missing_since: float = math.inf
    unconfirmed: int = 0
    unreadable: int = 0
    faults: int = 0
    faulted_at: float = math.inf
    fault: AceTasksError | None = None
    split_level: int = 0
    unknown_since: float = math.inf

    def clear_faults(self) -> None:
        """Record a poll that did not fail."""
        self.faults = self.split_level = 0
        self.fault = None


class Waiter(abc.ABC):
    """Receives the outcomes of one or more tasks."""

    __slots__ = ()

    wants_changes = False

    @abc.abstractmethod
    def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:
        """Receive the outcome of a task; once for each task, unless the waiter is removed first."""

    def receive_change(self, task: Task) -> None:  # noqa: B027  # most waiters want no changes
        """Receive a task when it is first seen, and at each change of its state or progress, if `wants_changes`."""


class SingleTaskWaiter(Waiter):
    """Waiter for one task.

    Attributes:
        done: Future of the outcome.
    """

    __slots__ = ("done",)

    def __init__(self) -> None:
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:  # noqa: ARG002  # there is one task only
        """Set the outcome."""
        self.done.set_result(outcome)


class ManyTasksWaiter(Waiter):
    """Waiter for several tasks.

    Attributes:
        results: For each task: the task in its terminal state; or as awaited, if the outcome is an error; or None
            before its outcome. Up to date before the queue is read.
        queue: Key and outcome of each task; None when the timeout has passed.
    """

    __slots__ = ("queue", "results")

    def __init__(self) -> None:
        self.results: dict[Key, Task | AwaitedTask | None] = {}
        self.queue: asyncio.Queue[tuple[Key, Outcome] | None] = asyncio.Queue()

    def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:
        """Queue the outcome."""
        self.results[task.key] = outcome if isinstance(outcome, Task) else task
        self.queue.put_nowait((task.key, outcome))


class UpdatesWaiter(ManyTasksWaiter):
    """Waiter for each change of a task."""

    __slots__ = ()

    wants_changes = True

    def receive_change(self, task: Task) -> None:
        """Queue the task as if it were an outcome."""
        self.queue.put_nowait(((task.provider, task.id), task))


def read_last_seen(key: Key, record: bytes | None) -> Task:
    """Read a task's last record; without one, return a pending task."""
    provider, task_id = key
    if record is None:
        return Task(provider=provider, id=task_id, state=TaskState.PENDING)
    return read_record(lookup(provider), record, task_id=task_id).task
