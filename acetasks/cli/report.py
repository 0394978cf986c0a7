"""Results of a command: what is printed of each task, the exit code, and the closing summary."""

from __future__ import annotations

import collections
import shlex
from typing import TYPE_CHECKING

from acetasks import Task, TaskError
from acetasks.cli.client_setup import name_journal
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.formatting import format_count, format_duration
from acetasks.cli.targets import format_target
from acetasks.cli.task_lines import encode_task_line, format_task_line

if TYPE_CHECKING:
    from collections.abc import Collection

    from acetasks.cli.results import TaskResult
    from acetasks.cli.screen import Screen
    from acetasks.cli.targets import Key

#: Unfinished tasks that are listed one by one, and that a command to go on with names.
_MAX_LISTED, _MAX_NAMED = 20, 8


class Report:
    """Prints results and combines their exit codes.

    Attributes:
        screen: Prints the results.
        exit_code: The largest exit code of the results so far.
        count: The number of results so far.
        as_json: Whether results are printed as JSON.
    """

    def __init__(self, screen: Screen, *, as_json: bool, prints_results: bool = True) -> None:
        """Begin without results.

        Args:
            screen: Prints the results.
            as_json: Whether to print them as JSON.
            prints_results: Whether to print each result; not if a board shows them.
        """
        self.screen = screen
        self._prints_results = prints_results
        self.exit_code = ExitCode.OK
        self.count = 0
        self.as_json = as_json
        self._outcomes: collections.Counter[str] = collections.Counter()
        self._unlisted = 0

    def add(self, result: TaskResult) -> None:
        """Print a result and count it."""
        self.count += 1
        self.exit_code = max(self.exit_code, result.exit_code)
        self._outcomes[result.outcome] += 1
        task = result.task
        if result.timeout is not None:
            if self.as_json:
                error = TaskError(message=result.reason, code="timeout")
                self.screen.print_json(encode_task_line(task, error, row=result.row))
            self._list_unfinished(task, result.reason)
        elif not self._prints_results:
            pass
        elif self.as_json:
            self.screen.print_json(encode_task_line(task, result.error, row=result.row, state=result.state_word))
        else:
            width = self.screen.result_width
            line = format_task_line(task, result.error, row=result.row, state=result.state_word, width=width)
            self.screen.print_result(line)

    def summarize(self, total: int, elapsed: float | None = None) -> None:
        """Print how many tasks ended in which way.

        Args:
            total: The number of tasks, those included that have not ended.
            elapsed: Seconds of the wait, or None if there was none.
        """
        if self._unlisted:
            self.screen.info(f"... and {self._unlisted} more")
        outcomes = self._outcomes.copy()
        outcomes["not ended"] += total - self.count
        parts = [f"{number:,} {outcome}" for outcome, number in outcomes.items() if number]
        time = f" in {format_duration(elapsed)}" if elapsed is not None else ""
        self.screen.info(f"{format_count(total, 'task')}{time}: {', '.join(parts) or 'nothing to do'}")

    def _list_unfinished(self, task: Task, reason: str) -> None:
        if self._outcomes["not ended"] > _MAX_LISTED:
            self._unlisted += 1
        else:
            self.screen.info(f"{format_target((task.provider, task.id))}: {reason}")


def describe_continuation(unfinished: Collection[Key], journal: str | None = None, *, command: str = "wait") -> str:
    """Return the command that goes on waiting for some tasks.

    Args:
        unfinished: The tasks; their services may not know them.
        journal: The journal that they are from, or None.
        command: The command without a journal.
    """
    if journal is not None:
        how = f"go on with: acetasks resume --journal {shlex.quote(name_journal(journal))}"
    elif len(unfinished) > _MAX_NAMED:
        how = "run the command again to go on"
    elif unfinished:
        how = f"go on with: acetasks {command} {' '.join(map(format_target, unfinished))}"
    else:
        return ""
    return f"no task was cancelled; {how}"
