"""Arguments and options that several commands share."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from acetasks.cli.durations import parse_duration, parse_time
from acetasks.cli.exit_codes import CommandError
from acetasks.cli.help import complete_provider
from acetasks.cli.screen import Screen

#: The environment variable with the path, or the URL, of the journal.
JOURNAL_VARIABLE = "ACETASKS_JOURNAL"


def read_duration(text: str | None, option: str) -> float | None:
    """Return the seconds of an option, or None without it.

    Raises:
        CommandError: It is not a duration.
    """
    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}") from error


def read_time(text: str | None, option: str) -> dt.datetime | None:
    """Return the point in time of an option, or None without it.

    Raises:
        CommandError: It is no point in time.
    """
    if text is None:
        return None
    try:
        return parse_time(text, now=dt.datetime.now().astimezone())
    except ValueError as error:
        raise CommandError(f"{option}: {error}") from error


def _be_quiet(context: typer.Context, requested: bool) -> bool:
    if isinstance(context.obj, Screen):
        context.obj.is_quiet |= requested
    return requested


def _be_verbose(context: typer.Context, count: int) -> int:
    if isinstance(context.obj, Screen) and count:
        context.obj.log_more(count)
    return count


Provider = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER",
        help="Provider, such as luma; 'acetasks providers' lists them.",
        autocompletion=complete_provider,
    ),
]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET",
        help="PROVIDER ID..., or PROVIDER:ID... of several providers; @FILE or - reads more, one a line.",
        autocompletion=complete_provider,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, with the service's response.")]
Timeout = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Stop waiting after this time, such as 90, 10m or 1h30m; the remote tasks continue."
    ),
]
Download = Annotated[
    Path | None,
    typer.Option("--download", metavar="DIR", help="Download each task's files into a directory as it ends."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME=VALUE", help="Header for the service, such as model=s2-pro; repeatable."),
]
SubmitPath = Annotated[
    str | None,
    typer.Option(
        "--path", metavar="PATH", help="Submission path, such as /suno/lyrics, if not the provider's main one."
    ),
]


class OutputOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for what is printed."""

    as_json: AsJson = False
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=_be_quiet, help="Print results, warnings and errors only."),
    ] = False
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            callback=_be_verbose,
            help="Print what the client logs; -vv in detail.",
        ),
    ] = 0


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for the client of a command."""

    journal: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            envvar=JOURNAL_VARIABLE,
            show_envvar=True,
            help="File, or postgresql:// URL, in which submissions and their ends are noted.",
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Base URL of the service; overrides the environment variable."),
    ] = None
    allow_insecure: Annotated[
        bool, typer.Option("--allow-insecure", help="Allow sending the token to another machine over plain HTTP.")
    ] = False


class PollOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options for polling."""

    timeout: Timeout = None
    interval: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Time between two polls of a task, such as 5s."),
    ] = None
