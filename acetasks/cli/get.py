"""`acetasks get`: retrieves tasks by id once, without waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from acetasks import BadRequestError, Client, ProtocolError, Task, TaskState
from acetasks.cli.client_setup import build_client
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.options import ClientOptions, OutputOptions, Targets
from acetasks.cli.report import Report
from acetasks.cli.results import TaskResult
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.targets import Key, parse_targets

if TYPE_CHECKING:
    from collections.abc import Sequence


def get(context: typer.Context, targets: Targets, *, client_options: ClientOptions, output: OutputOptions) -> None:
    """Retrieve tasks once, without waiting.

    Exit codes: 0 none failed, 1 any failed or not found, 2 wrong usage or bad token.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        keys = parse_targets(targets)
        client = build_client(client_options, targets=keys)
        return run_async(get_tasks(client, keys, Report(screen, as_json=output.as_json)))

    raise typer.Exit(run_command(screen, action))


async def get_tasks(client: Client, keys: Sequence[Key], report: Report) -> ExitCode:
    """Retrieve tasks once, and report each in the order given.

    Args:
        client: The client, not opened.
        keys: Their providers and ids.
        report: Receives the results.

    Returns:
        The exit code.

    Raises:
        AceTasksError: No task could be retrieved.
    """
    async with client:
        results = await retrieve_each(client, keys)
    for key in keys:
        report.add(results[key])
    if len(keys) > 1:
        report.summarize(len(keys))
    for provider in dict.fromkeys(provider for provider, _ in keys):
        unreported = sum(_is_unreported(results[key].task) for key in keys if key[0] == provider)
        if unreported:
            report.screen.info(
                f"{provider} has no record of {unreported} of these tasks: either they have no result yet, or their"
                " ids are unknown, which only 'acetasks wait' can tell apart"
            )
    return report.exit_code


async def retrieve_each(client: Client, keys: Sequence[Key]) -> dict[Key, TaskResult]:
    """Retrieve tasks with an open client, in as few requests as their providers allow.

    Raises:
        AceTasksError: No task could be retrieved.
    """
    results: dict[Key, TaskResult] = {}
    for provider in dict.fromkeys(provider for provider, _ in keys):
        ids = [task_id for slug, task_id in keys if slug == provider]
        try:
            tasks = await client.retrieve_batch(provider, ids)
            results |= {(provider, task_id): TaskResult(task) for task_id, task in zip(ids, tasks, strict=True)}
        except (BadRequestError, ProtocolError):
            # One invalid id or unreadable record fails the whole batch: single requests find it.
            results |= {(provider, task_id): await _get_one(client, provider, task_id) for task_id in ids}
    return results


def _is_unreported(task: Task) -> bool:
    """Return whether a task is pending without a record, which may also be an unknown id (see `Client.retrieve`)."""
    return task.state is TaskState.PENDING and task.raw == b"{}"


async def _get_one(client: Client, provider: str, task_id: str) -> TaskResult:
    try:
        return TaskResult(await client.retrieve(provider, task_id))
    except (BadRequestError, ProtocolError) as error:
        return TaskResult(Task(provider=provider, id=task_id, state=TaskState.PENDING), error=error)
