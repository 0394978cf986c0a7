"""`acetasks get`: retrieves tasks by id once, without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks import BadRequestError, Client, ProtocolError
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
    return report.exit_code


async def _get_one(client: Client, last_seen: LastSeen, task_id: str) -> TaskResult:
    try:
        return TaskResult(await client.retrieve(last_seen.provider, task_id))
    except (BadRequestError, ProtocolError) as error:
        return TaskResult(last_seen.tasks[task_id], error=error)
