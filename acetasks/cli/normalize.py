"""`acetasks normalize`: reads stored records and callback bodies as tasks, without any request."""

from __future__ import annotations

from typing import Annotated

import typer

from acetasks import ProtocolError
from acetasks import normalize as read_task
from acetasks.cli.client_setup import checked_arguments
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.options import OutputOptions, Provider
from acetasks.cli.report import Report
from acetasks.cli.results import TaskResult
from acetasks.cli.runner import run_command
from acetasks.cli.screen import Screen
from acetasks.cli.shell_words import describe_error
from acetasks.cli.targets import read_text


def normalize(
    context: typer.Context,
    provider: Provider,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON file with one record, or *.jsonl with one a line; - is stdin.")
    ],
    *,
    output: OutputOptions,
) -> None:
    """Read stored records, callback bodies or responses as tasks, and print them.

    Exit codes: 0 none failed, 1 a task failed, 2 wrong usage or not a record.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        text = read_text(file, content="the record")
        report = Report(screen, as_json=output.as_json)
        payloads = list(filter(str.strip, text.splitlines())) if file.endswith((".jsonl", ".ndjson")) else [text]
        for payload in payloads:
            with checked_arguments():
                try:
                    task = read_task(provider, payload)
                except ProtocolError as error:
                    raise CommandError(describe_error(error)) from error
            report.add(TaskResult(task))
        return report.exit_code

    raise typer.Exit(run_command(screen, action))
