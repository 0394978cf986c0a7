"""`acetasks history`: lists the tasks of a provider, or the submissions of a journal."""

from __future__ import annotations

import collections
import datetime as dt
from typing import Annotated

import msgspec
import typer
from rich.text import Text

from acetasks import Client, Entry
from acetasks._records import escape_controls
from acetasks.cli.client_setup import build_client, checked_arguments, find_journal
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.formatting import format_count, format_time
from acetasks.cli.help import complete_provider
from acetasks.cli.options import JOURNAL_VARIABLE, ClientOptions, OutputOptions, read_time
from acetasks.cli.runner import run_async, run_command
from acetasks.cli.screen import Screen
from acetasks.cli.task_lines import encode_task_line, format_task_line

#: Tasks that are listed if the command does not say how many.
_LIMIT = 50


class HistoryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for which tasks are listed."""

    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Earliest submission: yesterday, 2h (ago) or 2026-01-31T09:00."),
    ] = None
    before: Annotated[str | None, typer.Option(metavar="TIME", help="Latest submission, likewise.")] = None
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="Maximum number of tasks, the newest ones.")] = _LIMIT
    all: Annotated[bool, typer.Option("--all", help="List all of them.")] = False


class EntryLine(msgspec.Struct, frozen=True, kw_only=True):
    """JSON object of a submission of a journal; its keys are explained at `acetasks.Entry`."""

    provider: str
    id: str | None
    state: str
    key: str
    path: str
    sent_at: float
    ended_at: float | None
    reason: str | None
    request: msgspec.Raw


def history(
    context: typer.Context,
    provider: Annotated[
        str | None,
        typer.Argument(
            metavar="PROVIDER",
            help="Provider to list the tasks of; without it, the journal is listed.",
            autocompletion=complete_provider,
        ),
    ] = None,
    *,
    listing: HistoryOptions,
    client_options: ClientOptions,
    output: OutputOptions,
) -> None:
    """List the tasks of a provider, newest first, or the submissions of a journal.

    Exit codes: 0 listed, 1 the service failed, 2 wrong usage or bad token.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        if provider is None and client_options.journal is None:
            raise CommandError(
                "nothing to list: name a provider, or a journal with --journal or the environment variable"
                f" {JOURNAL_VARIABLE}"
            )
        request = _Listing(
            since=read_time(listing.since, "--since"),
            before=read_time(listing.before, "--before"),
            limit=None if listing.all else listing.limit,
            as_json=output.as_json,
        )
        if provider is None:
            find_journal(client_options)
            return run_async(_list_entries(build_client(client_options), screen, request))
        return run_async(_list_tasks(build_client(client_options, providers=[provider]), screen, provider, request))

    raise typer.Exit(run_command(screen, action))


class _Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What to list, and how."""

    since: dt.datetime | None
    before: dt.datetime | None
    limit: int | None
    as_json: bool


async def _list_tasks(client: Client, screen: Screen, provider: str, listing: _Listing) -> ExitCode:
    count = 0
    async with client:
        with checked_arguments():
            tasks = client.history(
                provider, created_after=listing.since, created_before=listing.before, limit=listing.limit
            )
        async for task in tasks:
            count += 1
            if listing.as_json:
                screen.print_json(encode_task_line(task))
            else:
                time = format_time(task.created_at) if task.created_at is not None else " " * len(format_time(0))
                screen.print_result(Text(f"{time}  ").append_text(format_task_line(task, width=screen.result_width)))
    _summarize(screen, count, listing.limit, "task")
    return ExitCode.OK


async def _list_entries(client: Client, screen: Screen, listing: _Listing) -> ExitCode:
    newest: collections.deque[Entry] = collections.deque(maxlen=listing.limit)
    async with client:
        entries = client.journal.tasks(
            since=None if listing.since is None else listing.since.timestamp(),
            before=None if listing.before is None else listing.before.timestamp(),
        )
        async for entry in entries:
            newest.append(entry)
    for entry in reversed(newest):
        if listing.as_json:
            screen.print_json(msgspec.json.encode(_entry_line(entry)))
        else:
            screen.print_result(_format_entry(entry))
    _summarize(screen, len(newest), listing.limit, "submission")
    return ExitCode.OK


def _summarize(screen: Screen, count: int, limit: int | None, noun: str) -> None:
    more = "; there may be older ones: --limit N or --all lists more" if count == limit else ""
    screen.info(f"{format_count(count, noun)}{more}")


def _entry_line(entry: Entry) -> EntryLine:
    return EntryLine(
        provider=entry.provider,
        id=entry.task_id,
        state=entry.state,
        key=entry.key,
        path=entry.path,
        sent_at=entry.sent_at,
        ended_at=entry.ended_at,
        reason=entry.reason,
        request=msgspec.Raw(entry.request or b"null"),
    )


def _format_entry(entry: Entry) -> Text:
    parts = [format_time(entry.sent_at), f"{entry.state.value:<10}", entry.provider, entry.task_id or "-", entry.key]
    return Text(escape_controls("  ".join([*parts, *([entry.reason] if entry.reason else [])])), no_wrap=True)
