"""`acetasks wait`: waits for tasks by id and reports each as it ends.

Each id has a wait of its own, so that an error of one does not end the others. The client still polls them in batches.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from acetasks import AceTasksError, Client
from acetasks.cli.client_setup import build_client
from acetasks.cli.exit_codes import FATAL_ERRORS, ExitCode
from acetasks.cli.options import ClientOptions, Download, OutputOptions, PollOptions, Targets, read_duration
from acetasks.cli.progress import show_progress
from acetasks.cli.report import Report, describe_continuation
from acetasks.cli.report_page import ReportFile, check_page, write_page
from acetasks.cli.results import TaskResult, build_result
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.targets import Key, parse_targets
from acetasks.cli.task_lines import replace_error
from acetasks.cli.tracking import TaskTracker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class WaitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for when a wait for several tasks ends."""

    first: Annotated[bool, typer.Option("--any", help="Stop when the first task has ended.")] = False
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop when the first task has failed.")] = False
    download: Download = None
    page: ReportFile = None


def wait(
    context: typer.Context,
    targets: Targets,
    *,
    waiting: WaitOptions,
    polling: PollOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """Wait for tasks, and print each one when it ends.

    Exit codes: 0 all succeeded, 1 any failed, 2 wrong usage or bad token, 3 timed out.
    """
    screen: Screen = context.obj
    tracker = TaskTracker()

    def action() -> ExitCode:
        keys = parse_targets(targets)
        for key in keys:
            tracker.add(key)
        client = build_client(
            client_options,
            targets=keys,
            interval=read_duration(polling.interval, "--interval"),
            observers=[tracker],
        )
        timeout = read_duration(polling.timeout, "--timeout")
        report = Report(screen, as_json=output.as_json)
        if waiting.page is not None:
            check_page(waiting.page)
        try:
            return run_async(wait_for_tasks(client, tracker, report, waiting, timeout=timeout))
        finally:
            # Also after Ctrl-C: with the tasks as last seen.
            if waiting.page is not None:
                write_page(screen, tracker.tasks.values(), waiting.page)

    raise typer.Exit(run_command(screen, action, how_to_go_on=lambda: describe_continuation(tracker.unfinished)))


async def wait_for_tasks(
    client: Client, tracker: TaskTracker, report: Report, waiting: WaitOptions, *, timeout: float | None
) -> ExitCode:
    """Open a client, wait for tasks, report each as it ends, show the progress, and print a summary.

    Args:
        client: The client, not opened.
        tracker: The tasks; an observer of the client.
        report: Receives the results.
        waiting: When the wait ends, and where files go.
        timeout: Seconds, or None to wait until every task has ended.

    Returns:
        The exit code.

    Raises:
        AceTasksError: An error that applies to every id: a bad token or an unknown provider.
    """
    async with client:
        return await report_each(client, tracker, report, waiting, timeout=timeout)


async def report_each(
    client: Client,
    tracker: TaskTracker,
    report: Report,
    waiting: WaitOptions,
    *,
    timeout: float | None,
    journal: str | None = None,
) -> ExitCode:
    """Do the same with an open client; `journal` is the one that the tasks are from, if they were not named."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        results = wait_for_each(client, tracker, timeout=timeout, download_to=waiting.download)
        async with show_progress(report.screen, tracker), contextlib.aclosing(results):
            async for result in results:
                report.add(result)
                tracker.tasks[result.task.provider, result.task.id] = replace_error(result.task, result.error)
                if waiting.first or (waiting.fail_fast and result.exit_code):
                    break
    finally:
        report.summarize(tracker.total, loop.time() - start)
    if tracker.unfinished:
        report.screen.info(describe_continuation(tracker.unfinished, journal))
    return report.exit_code


async def wait_for_each(
    client: Client, tracker: TaskTracker, *, timeout: float | None, download_to: Path | None = None
) -> AsyncGenerator[TaskResult, None]:
    """Wait for each task separately.

    Args:
        client: An open client.
        tracker: The tasks; an observer of the client.
        timeout: Seconds, or None to wait until every task has ended.
        download_to: Directory for the files of each task, or None.

    Yields:
        One result per task, in the order in which they end.

    Raises:
        AceTasksError: An error that applies to every id.
    """
    waits = [
        asyncio.create_task(_wait_for_one(client, tracker, key, timeout, download_to)) for key in tracker.unfinished
    ]
    try:
        for finished in asyncio.as_completed(waits):
            yield await finished
    finally:
        for wait_task in waits:
            wait_task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _wait_for_one(
    client: Client, tracker: TaskTracker, key: Key, timeout: float | None, download_to: Path | None
) -> TaskResult:
    try:
        result = TaskResult(await client.wait(*key, timeout=timeout, download_to=download_to))
    except FATAL_ERRORS:
        raise
    except AceTasksError as error:
        result = build_result(tracker.last_seen(key), error, tracker)
    if result.timeout is None:
        tracker.record_end(key, result.task, result.error)
    return result
