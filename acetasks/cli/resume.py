"""`acetasks resume`: waits for every task of a journal that has not been seen to end, as after a restart."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from acetasks import AceTasksError, Client
from acetasks.cli.client_setup import build_client, find_journal
from acetasks.cli.exit_codes import FATAL_ERRORS, ExitCode
from acetasks.cli.formatting import format_time
from acetasks.cli.options import ClientOptions, Download, OutputOptions, PollOptions, read_duration
from acetasks.cli.report import Report, describe_continuation
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.shell_words import describe_error
from acetasks.cli.tracking import TaskTracker
from acetasks.cli.wait import WaitOptions, report_each

if TYPE_CHECKING:
    from acetasks import Entry

ReleaseAbsent = Annotated[
    bool,
    typer.Option("--release-absent", help="Let the keys of submissions that the history lacks be submitted again."),
]


def resume(
    context: typer.Context,
    *,
    download: Download = None,
    release_absent: ReleaseAbsent = False,
    polling: PollOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """Wait for the tasks of a journal that have not ended, and print each one when it ends.

    Submissions without a response are first looked up in the provider's history; nothing is submitted again. With
    --release-absent a key that it lacks can be: that pays twice if the service lists the first submission later.

    Exit codes: 0 all succeeded, 1 any failed, 2 wrong usage or bad token, 3 timed out, 4 a submission stays uncertain.
    """
    screen: Screen = context.obj
    tracker = TaskTracker()

    def action() -> ExitCode:
        journal = find_journal(client_options)
        client = build_client(
            client_options, interval=read_duration(polling.interval, "--interval"), observers=[tracker]
        )
        timeout = read_duration(polling.timeout, "--timeout")
        report = Report(screen, as_json=output.as_json)
        return run_async(
            _resume_tasks(
                client,
                tracker,
                report,
                journal,
                WaitOptions(download=download),
                timeout=timeout,
                release_absent=release_absent,
            )
        )

    def describe() -> str:
        return describe_continuation(tracker.unfinished, client_options.journal)

    raise typer.Exit(run_command(screen, action, how_to_go_on=describe))


async def _resume_tasks(
    client: Client,
    tracker: TaskTracker,
    report: Report,
    journal: str,
    waiting: WaitOptions,
    *,
    timeout: float | None,
    release_absent: bool,
) -> ExitCode:
    async with client:
        is_uncertain = await _reconcile(client, report.screen, release_absent=release_absent)
        async for handle in client.pending():
            tracker.add((handle.provider, handle.id))
        code = await report_each(client, tracker, report, waiting, timeout=timeout, journal=journal)
        # Ends are written while the client goes on; the next command is to find them.
        with contextlib.suppress(AceTasksError):
            await client.journal.flush()
    return max(code, ExitCode.UNCERTAIN) if is_uncertain else code


async def _reconcile(client: Client, screen: Screen, *, release_absent: bool) -> bool:
    """Look uncertain submissions up, say what was found, and return whether any stays uncertain."""
    try:
        found = await client.reconcile()
    except FATAL_ERRORS:
        raise
    except AceTasksError as error:
        screen.warning(f"uncertain submissions could not be looked up: {describe_error(error)}")
        return True
    for entry in found.adopted:
        screen.info(f"{_name(entry)} was accepted: {entry.provider}:{entry.task_id}")
    absent = list(found.absent)
    for entry in found.absent:
        screen.warning(f"{_name(entry)} is not in the history of {entry.provider}: it was probably not accepted")
        if release_absent and await client.journal.release(entry):
            screen.info(f"key {entry.key} can be submitted again")
            absent.remove(entry)
    for doubt in found.ambiguous:
        screen.warning(f"{_name(doubt.entry)} stays uncertain: {doubt.reason}")
    return bool(absent or found.ambiguous)


def _name(entry: Entry) -> str:
    return f"the submission of {format_time(entry.sent_at)} to {entry.path} (key {entry.key})"
