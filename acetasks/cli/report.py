"""Results of `acetasks wait` and `acetasks get`: what is printed of each task, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks import AceTasksError, APIError, Task, TaskError, TaskState
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.formatting import format_duration
from acetasks.cli.task_lines import encode_task_line, format_task_line

if TYPE_CHECKING:
    from acetasks.cli.screen import Screen


class TaskResult(msgspec.Struct, frozen=True):
    """Result of waiting for one task, or of retrieving it.

    Attributes:
        task: The task as last seen.
        timeout: Seconds waited in vain, or None if no timeout passed.
        error: The error that prevented polling the task, or None.
    """

    task: Task
    timeout: float | None = None
    error: AceTasksError | None = None

    @property
    def task_with_error(self) -> Task:
        """The task, with an error that prevented polling it in place of its own."""
        if self.error is None:
            return self.task
        code = self.error.code if isinstance(self.error, APIError) else None
        return msgspec.structs.replace(self.task, error=TaskError(message=str(self.error), code=code))

    @property
    def exit_code(self) -> ExitCode:
        """Exit code that this result alone leads to; a retrieved task may still be unfinished."""
        if self.timeout is not None:
            return ExitCode.TIMED_OUT
        if self.error is not None:
            return ExitCode.FAILED
        has_failed = self.task.state.is_terminal and self.task.state is not TaskState.SUCCEEDED
        return ExitCode.FAILED if has_failed else ExitCode.OK


class Report:
    """Prints results and combines their exit codes.

    Attributes:
        screen: Prints the results.
        exit_code: The largest exit code of the results so far.
        count: The number of results so far.
    """

    def __init__(self, screen: Screen, *, as_json: bool) -> None:
        self.screen = screen
        self.exit_code = ExitCode.OK
        self.count = 0
        self._as_json = as_json

    def add(self, result: TaskResult) -> None:
        """Print a result and count it."""
        self.count += 1
        self.exit_code = max(self.exit_code, result.exit_code)
        task = result.task
        if self._as_json:
            self.screen.print_json(encode_task_line(task, result.error))
        elif result.timeout is None:
            self.screen.print_result(format_task_line(task, result.error))
        if result.timeout is not None:
            self.screen.info(
                f"{task.provider} {task.id}: still {task.state.value} after {format_duration(result.timeout)}; "
                "the remote task continues, run the command again to resume waiting"
            )
