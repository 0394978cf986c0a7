"""Tracking of tasks while a command waits: each as last seen, and whether the services respond."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks import (
    AceTasksError,
    Event,
    OutageBegan,
    RequestAnswered,
    RequestFailed,
    Task,
    TaskChanged,
    TaskState,
    TaskSubmitted,
)
from acetasks.cli.board.model import BoardModel
from acetasks.cli.formatting import format_duration
from acetasks.cli.shell_words import describe_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks import TaskTimeoutError
    from acetasks.cli.targets import Key


class Contact(msgspec.Struct, kw_only=True):
    """How the polls of one provider went.

    Attributes:
        has_answered: Whether any request got a usable response.
        failure: The error of the last request, or None if it got a response.
    """

    has_answered: bool = False
    failure: AceTasksError | None = None


class TaskTracker:
    """Observer that stores each task as last seen, and how the polls of each provider went.

    Attributes:
        tasks: The tasks by provider and id, in the order of the arguments; pending until the first poll.
        contacts: The providers that were polled.
        ended: The tasks that are not awaited any more, because of a result or an error.
        board: What a board shows of them.
    """

    def __init__(self, targets: Iterable[Key] = ()) -> None:
        self.tasks: dict[Key, Task] = {}
        self.contacts: dict[str, Contact] = {}
        self.ended: set[Key] = set()
        self.board = BoardModel()
        for target in targets:
            self.add(target)

    def add(self, target: Key) -> None:
        """Track another task."""
        provider, task_id = target
        self.tasks.setdefault(target, Task(provider=provider, id=task_id, state=TaskState.PENDING))
        self.board.add(target)

    def on_event(self, event: Event) -> None:
        """Store what an event says of a task or a provider."""
        self.board.on_event(event)
        match event:
            case TaskChanged(task=task):
                self.tasks[task.provider, task.id] = task
            case TaskSubmitted(task=task) if task.id:
                self.add((task.provider, task.id))
            case RequestAnswered():
                contact = self._contact(event.provider)
                contact.has_answered, contact.failure = True, None
            case RequestFailed(error=error) | OutageBegan(error=error):
                self._contact(event.provider).failure = error
            case _:
                pass

    def last_seen(self, target: Key) -> Task:
        """Return a task as last seen."""
        self.add(target)
        return self.tasks[target]

    def record_end(self, target: Key, task: Task, error: AceTasksError | None = None) -> None:
        """Note that the wait for a task has ended with a result or an error.

        Args:
            target: Provider and id of the task.
            task: The task as last seen.
            error: The error that ended the wait, other than the failure of the task.
        """
        self.add(target)
        self.ended.add(target)
        self.board.record_end(target, task, error=error)

    @property
    def total(self) -> int:
        """The number of tasks, those that are still to be submitted included."""
        return self.board.count()[0].tasks

    @property
    def unfinished(self) -> list[Key]:
        """The tasks without a result or an error so far."""
        return [target for target in self.tasks if target not in self.ended]

    def explain_timeout(self, error: TaskTimeoutError) -> str:
        """Return what is known, and not more, of a task that has not ended within the timeout."""
        task, contact = error.task, self._contact(error.task.provider)
        time = format_duration(error.timeout)
        failure = error.__cause__ if isinstance(error.__cause__, AceTasksError) else contact.failure
        reason = f"; the last poll failed: {describe_error(failure)}" if failure is not None else ""
        if not contact.has_answered:
            polls = "no poll succeeded" if reason else "no response was received"
            return f"nothing is known after {time}: {polls}{reason}"
        if task.raw == b"{}":
            return f"the service has no record of it after {time}: the id is wrong, or the task is too new{reason}"
        pause = f"; the service asked to pause for {error.pause:g} s" if error.pause else ""
        if failure is not None:
            return f"{task.state.value} when last seen, and not known to have ended after {time}{pause}{reason}"
        return f"still {task.state.value} after {time}; the remote task continues{pause}"

    def _contact(self, provider: str) -> Contact:
        return self.contacts.setdefault(provider, Contact())
