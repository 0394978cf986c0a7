"""`acetasks wait`: waits for tasks by id and reports each as it ends.

Each id has a wait of its own, so that an error of one does not end the others. The client still polls them in batches.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from rich.progress_bar import ProgressBar
from rich.table import Table

from acetasks import AceTasksError, Client, TaskFailedError, TaskNotFoundError, TaskState, TaskTimeoutError
from acetasks.cli.exit_codes import FATAL_ERRORS, ExitCode
from acetasks.cli.formatting import format_clock
from acetasks.cli.report import Report, TaskResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from acetasks.cli.client_setup import LastSeen

_BAR_WIDTH = 24


async def wait_for_tasks(client: Client, last_seen: LastSeen, report: Report, *, timeout: float | None) -> ExitCode:
    """Wait for all tasks, report each as it ends, and show the progress on stderr.

    Args:
        client: The client, not opened.
        last_seen: The tasks; an observer of the client.
        report: Receives the results.
        timeout: Seconds, or None to wait until every task has ended.

    Returns:
        The exit code.

    Raises:
        AceTasksError: An error that applies to every id: a bad token or an unknown provider.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    screen = report.screen
    display: contextlib.AbstractAsyncContextManager[None] = contextlib.nullcontext()
    if screen.is_live:
        display = screen.live_display(lambda: _render_progress(last_seen, report.count, loop.time() - start))
    async with client, display, contextlib.aclosing(wait_for_each(client, last_seen, timeout)) as results:
        async for result in results:
            report.add(result)
            last_seen.tasks[result.task.id] = result.task_with_error
            if not screen.is_live and result.timeout is None:
                screen.info(f"{report.count} of {len(last_seen.tasks)} finished: {_summarize(result)}")
    return report.exit_code


async def wait_for_each(client: Client, last_seen: LastSeen, timeout: float | None) -> AsyncGenerator[TaskResult, None]:
    """Wait for each task separately.

    Args:
        client: An open client.
        last_seen: The tasks; an observer of the client.
        timeout: Seconds, or None to wait until every task has ended.

    Yields:
        One result per task, in the order in which they end.

    Raises:
        AceTasksError: An error that applies to every id.
    """
    waits = [asyncio.create_task(_wait_for_one(client, last_seen, task_id, timeout)) for task_id in last_seen.tasks]
    try:
        for finished in asyncio.as_completed(waits):
            yield await finished
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _wait_for_one(client: Client, last_seen: LastSeen, task_id: str, timeout: float | None) -> TaskResult:
    try:
        return TaskResult(await client.wait(last_seen.provider, task_id, timeout=timeout))
    except (TaskFailedError, TaskNotFoundError) as error:
        return TaskResult(error.task)
    except TaskTimeoutError as error:
        return TaskResult(error.task, timeout=error.timeout)
    except FATAL_ERRORS:
        raise
    except AceTasksError as error:
        return TaskResult(last_seen.tasks[task_id], error=error)


def _summarize(result: TaskResult) -> str:
    return f"{result.task.id} {result.task.state.value if result.error is None else 'could not be polled'}"


def _render_progress(last_seen: LastSeen, finished: int, elapsed: float) -> Table:
    """Return a progress bar with the number of pending and running tasks."""
    total = len(last_seen.tasks)
    counts = [(last_seen.count(state), state.value) for state in (TaskState.PENDING, TaskState.RUNNING)]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(
        last_seen.provider,
        ProgressBar(
            total, finished, width=_BAR_WIDTH, style="bright_black", complete_style="green", finished_style="green"
        ),
        f"{finished} of {total}",
        ", ".join(f"{number} {name}" for number, name in counts if number),
        format_clock(elapsed),
    )
    return table
