"""`acetasks submit`: submits one task, and prints its provider and id, or waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from acetasks import Client, Event, RequestFailed, RequestSent, Task, TaskHandle, TaskState, TaskSubmitted
from acetasks.cli.client_setup import build_client, checked_arguments
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.options import (
    ClientOptions,
    Download,
    Headers,
    OutputOptions,
    PollOptions,
    Provider,
    SubmitPath,
    read_duration,
)
from acetasks.cli.payloads import build_payload, read_headers
from acetasks.cli.report import Report, describe_continuation
from acetasks.cli.results import TaskResult
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.targets import format_target
from acetasks.cli.task_lines import encode_task_line
from acetasks.cli.tracking import TaskTracker
from acetasks.cli.wait import WaitOptions, report_each

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class SubmitOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for a submission."""

    json_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="JSON file with the payload, to which key=value adds; - is stdin."),
    ] = None
    header: Headers = None
    path: SubmitPath = None
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Name of this submission, which is paid for once; needs a journal."),
    ] = None
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the task, and print it when it ends.")] = False
    download: Download = None


def submit(
    context: typer.Context,
    provider: Provider,
    payload: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Payload: key=value, key:=json or key=@file; a.b=value nests."),
    ] = None,
    *,
    sending: SubmitOptions,
    polling: PollOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """Submit a task, and print PROVIDER:ID for other commands.

    With --wait or --download, wait for it and print the result.

    Exit codes: 0 accepted (and succeeded), 1 refused or failed, 2 wrong usage or bad token, 3 timed out, 4 it may or
    may not have been accepted.
    """
    screen: Screen = context.obj
    submission = _Submission(provider)

    def action() -> ExitCode:
        body, headers = build_payload(payload or (), sending.json_file), read_headers(sending.header or ())
        client = build_client(
            client_options,
            providers=[provider],
            interval=read_duration(polling.interval, "--interval"),
            observers=[submission, submission.tracker],
        )
        timeout = read_duration(polling.timeout, "--timeout")

        def send() -> Awaitable[TaskHandle]:
            return client.submit(provider, body, path=sending.path, headers=headers, key=sending.key)

        report = Report(screen, as_json=output.as_json)
        return run_async(_submit_task(client, send, report, submission.tracker, sending, timeout=timeout))

    raise typer.Exit(run_command(screen, action, how_to_go_on=submission.describe))


class _Submission:
    """Observer of how far the submission has come, for the message after Ctrl-C."""

    def __init__(self, provider: str) -> None:
        self.tracker = TaskTracker()
        self._provider = provider
        self._may_be_accepted = False

    def on_event(self, event: Event) -> None:
        """Note that the request was sent, refused or accepted."""
        match event:
            case RequestSent(ids=0):
                self._may_be_accepted = True
            case RequestFailed(ids=0, error=error):
                self._may_be_accepted = getattr(error, "reached", False)
            case TaskSubmitted():
                self._may_be_accepted = False
            case _:
                pass

    def describe(self) -> str:
        """Return what is known of the submission, and the command to go on with."""
        if self.tracker.tasks:
            return describe_continuation(self.tracker.unfinished)
        if self._may_be_accepted:
            return (
                f"the submission may or may not have been accepted; look it up with: acetasks history {self._provider}"
            )
        return "nothing was submitted"


async def _submit_task(
    client: Client,
    send: Callable[[], Awaitable[TaskHandle]],
    report: Report,
    tracker: TaskTracker,
    sending: SubmitOptions,
    *,
    timeout: float | None,
) -> ExitCode:
    """Submit a task with a client that is not open, and print its id or its end."""
    async with client:
        with checked_arguments():
            handle = await send()
        if handle.finished is not None:
            return await _report_finished(client, handle.finished, report, sending)
        key = (handle.provider, handle.id)
        tracker.add(key)
        if not sending.wait and sending.download is None:
            _print_submitted(report, handle)
            return ExitCode.OK
        report.screen.info(f"submitted {format_target(key)}")
        return await report_each(client, tracker, report, WaitOptions(download=sending.download), timeout=timeout)


async def _report_finished(client: Client, task: Task, report: Report, sending: SubmitOptions) -> ExitCode:
    """Print a task whose result came with the response to its submission, or that of an earlier one of its key."""
    if sending.download is not None and task.state in {TaskState.SUCCEEDED, TaskState.PARTIAL}:
        paths = [str(path) for path in await client.download(task, sending.download)]
        for path in paths:
            report.screen.info(f"downloaded {path}")
    report.add(TaskResult(task))
    return report.exit_code


def _print_submitted(report: Report, handle: TaskHandle) -> None:
    if report.as_json:
        task = Task(provider=handle.provider, id=handle.id, state=TaskState.PENDING)
        report.screen.print_json(encode_task_line(task))
    else:
        report.screen.print_line(format_target((handle.provider, handle.id)))
