"""Result of one task of a command: how its wait or its retrieval has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks import (
    AceTasksError,
    DownloadError,
    SubmissionUncertainError,
    Task,
    TaskFailedError,
    TaskNotFoundError,
    TaskState,
    TaskTimeoutError,
)
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.runner import exit_code_of
from acetasks.cli.task_lines import RowInfo

if TYPE_CHECKING:
    from acetasks.cli.tracking import TaskTracker


class TaskResult(msgspec.Struct, frozen=True):
    """Result of waiting for one task, or of retrieving it.

    Attributes:
        task: The task as last seen; without an id if its submission was not accepted.
        timeout: Seconds waited in vain, or None if no timeout passed.
        error: The error that prevented polling the task, or downloading its files, or None.
        reason: What is known of a task that has not ended within the timeout.
        row: Its row of a file, or None.
    """

    task: Task
    timeout: float | None = None
    error: AceTasksError | None = None
    reason: str = ""
    row: RowInfo | None = None

    @property
    def exit_code(self) -> ExitCode:
        """Exit code that this result alone leads to; a retrieved task may still be unfinished."""
        if self.timeout is not None:
            return ExitCode.TIMED_OUT
        if self.error is not None:
            # An error of usage ends the command; of a single task it is a failure like others.
            return ExitCode.UNCERTAIN if exit_code_of(self.error) is ExitCode.UNCERTAIN else ExitCode.FAILED
        has_failed = self.task.state.is_terminal and self.task.state is not TaskState.SUCCEEDED
        return ExitCode.FAILED if has_failed else ExitCode.OK

    @property
    def state_word(self) -> str:
        """State of the task, or what became of a submission without one."""
        if self.error is not None and not self.task.id:
            return "uncertain" if isinstance(self.error, SubmissionUncertainError) else "refused"
        return self.task.state.value

    @property
    def outcome(self) -> str:
        """The word for it in the summary."""
        if self.timeout is not None:
            return "not ended"
        if isinstance(self.error, DownloadError):
            return "not downloaded"
        if self.error is not None and self.task.id:
            return "could not be polled"
        return self.state_word.replace("_", " ")


def build_result(task: Task, error: AceTasksError | None, tracker: TaskTracker) -> TaskResult:
    """Return the result of a wait.

    Args:
        task: The task as last seen, unless the error has it.
        error: The error that ended the wait, or None.
        tracker: Explains a timeout.
    """
    match error:
        case TaskFailedError(task=ended) | TaskNotFoundError(task=ended):
            return TaskResult(ended)
        case TaskTimeoutError(task=seen, timeout=timeout):
            return TaskResult(seen, timeout=timeout, reason=tracker.explain_timeout(error))
        case DownloadError(task=ended):
            return TaskResult(ended, error=error)
        case _:
            return TaskResult(task, error=error)
