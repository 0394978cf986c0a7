"""`acetasks run`: submits and awaits every row of a file, and goes on where it stopped when it is run again."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from typing import TYPE_CHECKING, Annotated, TypeGuard

import anyio
import msgspec
import typer

from acetasks import AceTasksError, AuthenticationError, Client, PermissionDeniedError, RunResult, Task, TaskState
from acetasks.cli.client_setup import build_client, checked_arguments, name_journal
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.options import (
    ClientOptions,
    Download,
    Headers,
    OutputOptions,
    PollOptions,
    SubmitPath,
    read_duration,
)
from acetasks.cli.payloads import read_headers
from acetasks.cli.progress import show_progress
from acetasks.cli.report import Report
from acetasks.cli.results import build_result
from acetasks.cli.rows import Row, read_rows
from acetasks.cli.runner import is_refused_content, run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.targets import STDIN
from acetasks.cli.task_lines import RowInfo
from acetasks.cli.tracking import TaskTracker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

#: What the client logs of each row that Ctrl-C ends: the journal has it, and the command is run again.
_MUTED = ("a run was ended by", "but run_many was ended", "after its caller had gone")


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for many submissions."""

    provider: Annotated[
        str | None, typer.Option(metavar="PROVIDER", help="Provider of the rows that do not name one.")
    ] = None
    concurrency: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of tasks of each provider that are in work at once.")
    ] = 10
    download: Download = None
    header: Headers = None
    path: SubmitPath = None


def run(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="*.csv or *.jsonl with one payload a row; - is JSONL.")],
    *,
    running: RunOptions,
    polling: PollOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """Submit and await every row of a file, and print each one when it ends.

    Columns are the payload, except for provider and key. Submissions are noted in a journal, FILE.db by default: killed
    and run again, the command goes on where it stopped, and no row is paid for twice. The timeout is for each row.

    Exit codes: 0 all succeeded, 1 any failed, 2 wrong usage or bad token, 3 timed out, 4 a submission is uncertain.
    """
    screen: Screen = context.obj
    tracker = TaskTracker()
    journal = client_options.journal or (None if file == STDIN else f"{file}.db")

    def action() -> ExitCode:
        if journal is None:
            raise CommandError("rows from stdin need a journal: name its file with --journal")
        headers = read_headers(running.header or ())
        rows = read_rows(file, provider=running.provider, salt=f"{running.path or ''}{headers or ''}")
        for provider, number in collections.Counter(row.provider for row in rows).items():
            tracker.board.expect(provider, number)
        client = build_client(
            client_options,
            providers={row.provider for row in rows},
            journal=journal,
            interval=read_duration(polling.interval, "--interval"),
            observers=[tracker],
        )
        job = _Job(running, headers, read_duration(polling.timeout, "--timeout"))
        return run_async(_run_rows(client, rows, tracker, Report(screen, as_json=output.as_json), job))

    raise typer.Exit(run_command(screen, action, how_to_go_on=lambda: _describe_continuation(tracker, journal)))


def _describe_continuation(tracker: TaskTracker, journal: str | None) -> str:
    started = f"{len(tracker.ended):,} of {tracker.total:,} rows have ended; " if tracker.total else ""
    place = f" (the journal is {name_journal(journal)})" if journal else ""
    return f"{started}run the same command again to go on{place}"


class _Job(msgspec.Struct, frozen=True):
    """What the submissions of all rows have in common."""

    options: RunOptions
    headers: dict[str, str]
    timeout: float | None

    def start(self, client: Client, provider: str, rows: Sequence[Row]) -> AsyncGenerator[RunResult, None]:
        """Run the rows of one provider with an open client."""
        with checked_arguments():
            return client.run_many(
                provider,
                [row.payload for row in rows],
                keys=[row.key for row in rows],
                concurrency=self.options.concurrency,
                path=self.options.path,
                headers=self.headers,
                download_to=self.options.download,
                timeout=self.timeout,
            )


async def _run_rows(client: Client, rows: Sequence[Row], tracker: TaskTracker, report: Report, job: _Job) -> ExitCode:
    for text in _MUTED:
        report.screen.mute_log(text)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with client:
        try:
            results = _run_each(client, rows, job)
            async with show_progress(report.screen, tracker), contextlib.aclosing(results):
                async for row, result in results:
                    if _is_fatal(result.error):
                        raise result.error
                    _report_row(report, tracker, row, result)
        finally:
            report.summarize(len(rows), loop.time() - start)
    if report.exit_code in {ExitCode.TIMED_OUT, ExitCode.UNCERTAIN}:
        report.screen.info("run the same command again to go on")
    return report.exit_code


async def _run_each(client: Client, rows: Sequence[Row], job: _Job) -> AsyncGenerator[tuple[Row, RunResult], None]:
    """Run the rows of all providers at once, and yield each with its result."""
    send, receive = anyio.create_memory_object_stream[tuple[Row, RunResult]]()

    async def pump(provider: str) -> None:
        own = [row for row in rows if row.provider == provider]
        async with contextlib.aclosing(job.start(client, provider, own)) as results:
            async for result in results:
                await send.send((own[result.index], result))

    async def pump_all() -> None:
        async with send, asyncio.TaskGroup() as group:
            for provider in dict.fromkeys(row.provider for row in rows):
                group.create_task(pump(provider))

    pumping = asyncio.create_task(pump_all())
    try:
        async with receive:
            async for item in receive:
                yield item
        await pumping
    except ExceptionGroup as errors:
        with checked_arguments():
            raise errors.exceptions[0] from None
    finally:
        pumping.cancel()
        await asyncio.gather(pumping, return_exceptions=True)


def _report_row(report: Report, tracker: TaskTracker, row: Row, result: RunResult) -> None:
    task = result.task or Task(provider=row.provider, id="", state=TaskState.PENDING)
    found = build_result(task, result.error, tracker)
    if found.timeout is None:
        tracker.record_end((row.provider, task.id or f"row {row.number}"), found.task, found.error)
    report.add(msgspec.structs.replace(found, row=RowInfo(number=row.number, key=row.key)))


def _is_fatal(error: AceTasksError | None) -> TypeGuard[AceTasksError]:
    """Return whether every other row would fail in the same way."""
    return isinstance(error, AuthenticationError | PermissionDeniedError) and not is_refused_content(error)
