"""Definitions of the commands: arguments, options and help."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated

import typer

from acetasks import __version__
from acetasks.cli.client_setup import LastSeen, build_client, read_ids
from acetasks.cli.demo import SPEED, run_demo
from acetasks.cli.demo_service import TASK_SHARES, DemoConfig
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.get import get_tasks
from acetasks.cli.providers import list_providers
from acetasks.cli.report import Report
from acetasks.cli.report_page import ReportFile, check_page, report, write_page
from acetasks.cli.runner import run_command
from acetasks.cli.screen import Screen, open_screen
from acetasks.cli.serve import Settings, run_service
from acetasks.cli.wait import wait_for_tasks

# Plain tracebacks: rich's show local variables, which may include a token.
app = typer.Typer(name="acetasks", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_INTERRUPTED = "interrupted: the remote tasks continue, run the command again to resume"


def _reject_nan(seconds: float | None) -> float | None:
    """Reject NaN, which a minimum of 0 does not exclude in every version of typer."""
    if seconds is not None and math.isnan(seconds):
        raise typer.BadParameter("must be a number of seconds of at least 0, got nan")
    return seconds


Provider = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="Provider, such as luma; 'acetasks providers' lists them.")
]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Task ids, or - to read one id per line from stdin.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Base URL of the service; overrides the environment variable."),
]
AllowInsecure = Annotated[
    bool, typer.Option("--allow-insecure", help="Allow sending the token to another machine over plain HTTP.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="SECONDS", callback=_reject_nan, help="Stop waiting after this time; the remote tasks continue."
    ),
]
Host = Annotated[str, typer.Option(help="Loopback address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 selects a free one.")]
Token = Annotated[str, typer.Option(help="Token that requests must carry.")]
Speed = Annotated[float, typer.Option(help="Speed of the tasks; 10 is ten times faster than real.")]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same ids and durations.")]
ServedTasks = Annotated[int, typer.Option(min=0, help="Number of tasks at the start.")]
DemoTasks = Annotated[int, typer.Option(min=len(TASK_SHARES), max=5000, help="Number of tasks, over five providers.")]
# For tests: at the default speed the longest task takes 20 seconds.
DemoSpeed = Annotated[float, typer.Option(hidden=True, min=1)]


def run() -> None:
    """Run the command line and exit."""
    app(prog_name="acetasks")


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"acetasks {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # handled by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Await generation tasks on Ace Data Cloud and useapi.net.

    Tokens are read from ACEDATACLOUD_API_TOKEN and USEAPI_API_TOKEN.
    """
    context.obj = context.with_resource(open_screen())


@app.command(epilog="Example: acetasks wait luma 7489df4c-ef03-4de0-b598-e9a590793434 --timeout 600")
def wait(
    context: typer.Context,
    provider: Provider,
    ids: Ids,
    *,
    timeout: Timeout = None,
    as_json: AsJson = False,
    page: ReportFile = None,
    base_url: BaseUrl = None,
    allow_insecure: AllowInsecure = False,
) -> None:
    """Wait for tasks, and print each one when it ends.

    Exit codes: 0 all succeeded, 1 any failed, 2 wrong usage or bad token, 3 timed out.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        last_seen = LastSeen(provider, read_ids(ids))
        client = build_client(last_seen, base_url, allow_insecure=allow_insecure)
        if page is not None:
            check_page(page)
        try:
            return asyncio.run(wait_for_tasks(client, last_seen, Report(screen, as_json=as_json), timeout=timeout))
        finally:
            # Also after Ctrl-C: with the tasks as last seen.
            if page is not None:
                write_page(screen, last_seen.tasks.values(), page)

    raise typer.Exit(run_command(screen, action, interrupted=_INTERRUPTED))


@app.command(epilog="Example: acetasks get veo 7489df4c-ef03-4de0-b598-e9a590793434 --json")
def get(
    context: typer.Context,
    provider: Provider,
    ids: Ids,
    *,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
    allow_insecure: AllowInsecure = False,
) -> None:
    """Retrieve tasks once, without waiting.

    Exit codes: 0 none failed, 1 any failed or not found, 2 wrong usage or bad token.
    """
    screen: Screen = context.obj

    def action() -> ExitCode:
        last_seen = LastSeen(provider, read_ids(ids))
        client = build_client(last_seen, base_url, allow_insecure=allow_insecure)
        return asyncio.run(get_tasks(client, last_seen, Report(screen, as_json=as_json)))

    raise typer.Exit(run_command(screen, action, interrupted=_INTERRUPTED))


app.command(epilog="Example: acetasks report --journal tasks.db -o report.html")(report)


@app.command(epilog="Example: acetasks serve --port 8080 --speed 10")
def serve(
    context: typer.Context,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    token: Token = "test-token",  # noqa: S107  # only valid at the simulated service
    speed: Speed = 1.0,
    seed: Seed = 0,
    tasks: ServedTasks = 5,
) -> None:
    """Run the simulated service, to test programs against it."""
    settings = Settings(host=host, port=port, token=token, speed=speed, seed=seed, tasks=tasks)
    code = run_command(context.obj, lambda: asyncio.run(run_service(settings)), interrupted="stopped")
    raise typer.Exit(code)


@app.command(epilog="Example: acetasks providers --json")
def providers(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the providers, with their submit paths and poll settings."""
    screen: Screen = context.obj
    raise typer.Exit(run_command(screen, lambda: list_providers(screen, as_json=as_json), interrupted="interrupted"))


@app.command(epilog="Example: acetasks demo --tasks 200")
def demo(context: typer.Context, *, tasks: DemoTasks = 1000, seed: Seed = 0, speed: DemoSpeed = SPEED) -> None:
    """Show one client awaiting a thousand tasks of a simulated service."""
    screen: Screen = context.obj
    config = DemoConfig(tasks=tasks, seed=seed, speed=speed)
    raise typer.Exit(run_command(screen, lambda: run_demo(screen, config), interrupted="stopped"))
