"""`acetasks get`: retrieves tasks by id once, without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks import BadRequestError, Client, ProtocolError, Task, TaskState
from acetasks.cli.report import Report, TaskResult

if TYPE_CHECKING:
    from acetasks.cli.client_setup import LastSeen
    from acetasks.cli.exit_codes import ExitCode


async def get_tasks(client: Client, last_seen: LastSeen, report: Report) -> ExitCode:
    """Retrieve all tasks once, and report each.

    Args:
        client: The client, not opened.
        last_seen: The tasks; an observer of the client.
        report: Receives the results.

    Returns:
        The exit code.

    Raises:
        AceTasksError: No task could be retrieved.
    """
    ids = list(last_seen.tasks)
    async with client:
        try:
            results = [TaskResult(task) for task in await client.retrieve_batch(last_seen.provider, ids)]
        except (BadRequestError, ProtocolError):
            # One invalid id or unreadable record fails the whole batch: single requests find it.
            results = [await _get_one(client, last_seen, task_id) for task_id in ids]
    for result in results:
        report.add(result)
    if unreported := sum(_is_unreported(result.task) for result in results):
        report.screen.info(
            f"{last_seen.provider} has no record of {unreported} of these tasks: either they have no result yet, or "
            "their ids are unknown, which only `acetasks wait` can tell apart"
        )
    return report.exit_code


def _is_unreported(task: Task) -> bool:
    """Return whether a task is pending without a record, which may also be an unknown id (see `Client.retrieve`)."""
    return task.state is TaskState.PENDING and task.raw == b"{}"


async def _get_one(client: Client, last_seen: LastSeen, task_id: str) -> TaskResult:
    try:
        return TaskResult(await client.retrieve(last_seen.provider, task_id))
    except (BadRequestError, ProtocolError) as error:
        return TaskResult(last_seen.tasks[task_id], error=error)
