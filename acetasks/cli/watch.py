"""`acetasks watch`: shows tasks on a live board until all have ended or the user leaves.

Without a terminal it prints each result once, as `acetasks wait` does.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import typer

from acetasks import AceTasksError
from acetasks.cli.board.display import show_board
from acetasks.cli.board.rendering import BoardRenderer
from acetasks.cli.board.summary import render_failures
from acetasks.cli.client_setup import build_client
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.options import ClientOptions, PollOptions, Targets, read_duration
from acetasks.cli.progress import show_progress
from acetasks.cli.report import Report, describe_continuation
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.targets import parse_targets
from acetasks.cli.tracking import TaskTracker
from acetasks.cli.wait import wait_for_each

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from acetasks import Client


def watch(context: typer.Context, targets: Targets, *, polling: PollOptions, client_options: ClientOptions) -> None:
    """Watch tasks on a live board until all have ended.

    Keys: q quits, j and k or the arrows scroll, f shows failed tasks only.

    Exit codes: 0 all succeeded, 1 any failed, 2 wrong usage or bad token, 3 timed out, 130 left with q or Ctrl-C.
    """
    screen: Screen = context.obj
    tracker = TaskTracker()

    def action() -> ExitCode:
        keys = parse_targets(targets)
        for key in keys:
            tracker.add(key)
        interval = read_duration(polling.interval, "--interval")
        client = build_client(client_options, targets=keys, interval=interval, observers=[tracker])
        timeout = read_duration(polling.timeout, "--timeout")
        return run_async(watch_tasks(client, tracker, screen, timeout=timeout))

    code = run_command(screen, action, how_to_go_on=lambda: describe_continuation(tracker.unfinished, command="watch"))
    raise typer.Exit(code)


async def watch_tasks(client: Client, tracker: TaskTracker, screen: Screen, *, timeout: float | None) -> ExitCode:
    """Show tasks on a board until all have ended, and then the summary.

    Args:
        client: The client, not opened.
        tracker: The tasks; an observer of the client.
        screen: Where to show them.
        timeout: Seconds, or None to wait until every task has ended.

    Returns:
        The exit code, as of `wait`; `INTERRUPTED` if the user has left the board before the end.

    Raises:
        AceTasksError: An error that applies to every id: a bad token or an unknown provider.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    # Results that go to a file or a pipe are printed all the same.
    report = Report(screen, as_json=False, prints_results=not screen.shares_terminal)

    async def report_all() -> None:
        async with contextlib.aclosing(wait_for_each(client, tracker, timeout=timeout)) as results:
            async for result in results:
                report.add(result)

    try:
        async with client:
            has_ended = await _show_until_left(client, tracker, screen, report_all())
    except (asyncio.CancelledError, AceTasksError):  # the former by Ctrl-C or SIGTERM
        _print_summary(report, tracker, loop.time() - start)
        raise
    _print_summary(report, tracker, loop.time() - start)
    if tracker.unfinished:
        screen.info(describe_continuation(tracker.unfinished, command="watch"))
    return report.exit_code if has_ended else ExitCode.INTERRUPTED


async def _show_until_left(
    client: Client, tracker: TaskTracker, screen: Screen, work: Coroutine[object, object, None]
) -> bool:
    """Show the board while a coroutine runs, and return whether it has ended by itself."""
    if not screen.is_live:
        async with show_progress(screen, tracker):
            await work
        return True
    tracker.board.start(clock=asyncio.get_running_loop().time, durations=client.durations)
    renderer = BoardRenderer(screen.err, title="acetasks watch")
    return await show_board(screen, tracker.board, renderer, work)


def _print_summary(report: Report, tracker: TaskTracker, elapsed: float) -> None:
    """Print what stays on the terminal when the board has gone."""
    if report.screen.shares_terminal:
        for line in render_failures(tracker.board, report.screen.result_width):
            report.screen.print_result(line)
    report.summarize(len(tracker.tasks), elapsed)
