"""`acetasks report`, and `--report` of other commands: writes tasks as an HTML page."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acetasks.cli.client_setup import check_journal
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.formatting import format_count
from acetasks.cli.options import JOURNAL_VARIABLE
from acetasks.cli.runner import run_async, run_command
from acetasks.report import read_journal, write_report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks import Entry, Task
    from acetasks.cli.screen import Screen

Journal = Annotated[
    str,
    typer.Option(metavar="FILE", envvar=JOURNAL_VARIABLE, show_envvar=True, help="Journal of a client or a command."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page; an older one is replaced.")]
ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write the tasks as an HTML page at the end.")
]


def report(context: typer.Context, *, journal: Journal, output: Output = Path("report.html")) -> None:
    """Write the tasks in a journal as one HTML page.

    The page has prompts, states, timings, files, costs and errors. It needs no token and sends no request.

    Exit codes: 0 written, 1 the journal cannot be read, 2 wrong usage, 5 the page cannot be written.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        check_page(output)
        if journal.strip():
            check_journal(journal)
        try:
            entries = run_async(read_journal(journal))
        except ValueError as error:
            raise CommandError(f"--journal: {error}") from error
        write_page(screen, entries, output)
        return ExitCode.OK

    raise typer.Exit(run_command(screen, action, how_to_go_on="no page was written"))


def check_page(path: Path) -> None:
    """Check that a page can be written, before a command waits for the tasks in it.

    Raises:
        CommandError: Jinja2 is not installed, or the folder does not exist.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise CommandError("jinja2 is not installed: python -m pip install jinja2")
    if not path.parent.is_dir():
        raise CommandError(f"cannot write {path}: there is no folder {path.parent}")


def write_page(screen: Screen, tasks: Iterable[Task | Entry], path: Path) -> None:
    """Write tasks as a page, and say so on stderr.

    Raises:
        CommandError: The page cannot be written.
    """
    found = list(tasks)
    try:
        write_report(found, path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}", code=ExitCode.OUTPUT) from error
    screen.info(f"{format_count(len(found), 'task')} in {path}")
