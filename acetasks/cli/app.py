"""The commands as they are typed: arguments, options and help. What they do is in the rooms beside this one."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from acetasks._version import __version__
from acetasks.cli import demo as demo_room
from acetasks.cli import waiting
from acetasks.cli.catalog import list_providers
from acetasks.cli.running import Exit
from acetasks.cli.running import run as run_command
from acetasks.cli.screen import Screen, opened_screen
from acetasks.cli.serve import Settings
from acetasks.cli.serve import serve as run_service
from acetasks.cli.stage import SHARES, Plan

# Tracebacks stay plain: rich's would show local variables, and a token may be among them.
app = typer.Typer(name="acetasks", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

_STILL_THERE = "interrupted: the remote tasks go on, and can be waited for again"

Provider = Annotated[
    str, typer.Argument(metavar="PROVIDER", help="The provider, such as luma; see 'acetasks providers'.")
]
Ids = Annotated[list[str], typer.Argument(metavar="ID", help="Task ids; - reads them from stdin, one a line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Where the service is, if not where the environment says."),
]
AllowInsecure = Annotated[
    bool, typer.Option("--allow-insecure", help="Send the token to another machine without TLS, if URL says http.")
]
Timeout = Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="Give up then; the tasks go on.")]
Host = Annotated[str, typer.Option(help="The address to listen at; a loopback one.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen at; 0 takes a free one.")]
Token = Annotated[str, typer.Option(help="The token that requests must carry.")]
Speed = Annotated[float, typer.Option(help="How many times faster than real its tasks run.")]
Seed = Annotated[int, typer.Option(help="The same seed gives the same ids and durations.")]
Held = Annotated[int, typer.Option(min=0, help="How many tasks it holds from the start.")]
DemoTasks = Annotated[int, typer.Option(min=len(SHARES), max=5000, help="How many tasks, over five systems.")]
# For tests: at the usual speed the longest task takes 20 seconds.
DemoSpeed = Annotated[float, typer.Option(hidden=True, min=1)]


def run() -> None:
    """Run the command line, and exit."""
    app(prog_name="acetasks")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"acetasks {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # its callback has it all
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Await generation tasks on Ace Data Cloud and useapi.net.

    The tokens are taken from ACEDATACLOUD_API_TOKEN and USEAPI_API_TOKEN.
    """
    context.obj = context.with_resource(opened_screen())


@app.command(epilog="Example: acetasks wait luma 7489df4c-ef03-4de0-b598-e9a590793434 --timeout 600")
def wait(
    context: typer.Context,
    provider: Provider,
    ids: Ids,
    *,
    timeout: Timeout = None,
    as_json: AsJson = False,
    base_url: BaseUrl = None,
    allow_insecure: AllowInsecure = False,
) -> None:
    """Wait for tasks, and print each when it ends.

    Exits with 0 if all succeeded, 1 if any failed, 2 on wrong use or a bad token, 3 if time ran out.
    """
    screen: Screen = context.obj

    def action() -> Exit:
        wanted = waiting.read_ids(ids)
        lookout = waiting.Lookout(provider, wanted)
        client = waiting.open_client(lookout, wanted, base_url, timeout, allow_insecure=allow_insecure)
        report = waiting.Report(screen, as_json=as_json)
        return asyncio.run(waiting.wait(client, lookout, wanted, timeout=timeout, report=report, screen=screen))

    raise typer.Exit(run_command(screen, action, interrupted=_STILL_THERE))


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
    """Look at tasks once, without waiting.

    Exits with 0 if none failed, 1 if any failed or is not known, 2 on wrong use or a bad token.
    """
    screen: Screen = context.obj

    def action() -> Exit:
        wanted = waiting.read_ids(ids)
        lookout = waiting.Lookout(provider, wanted)
        client = waiting.open_client(lookout, wanted, base_url, allow_insecure=allow_insecure)
        report = waiting.Report(screen, as_json=as_json)
        return asyncio.run(waiting.look(client, lookout, wanted, report))

    raise typer.Exit(run_command(screen, action, interrupted=_STILL_THERE))


@app.command(epilog="Example: acetasks serve --port 8080 --speed 10")
def serve(
    context: typer.Context,
    *,
    host: Host = "127.0.0.1",
    port: Port = 8080,
    token: Token = "test-token",  # noqa: S107  # made up, for a service that is simulated
    speed: Speed = 1.0,
    seed: Seed = 0,
    tasks: Held = 5,
) -> None:
    """Run the simulated service, to try programs against."""
    settings = Settings(host=host, port=port, token=token, speed=speed, seed=seed, tasks=tasks)
    code = run_command(context.obj, lambda: asyncio.run(run_service(settings)), interrupted="stopped")
    raise typer.Exit(code)


@app.command(epilog="Example: acetasks providers --json")
def providers(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the providers, where they submit to and how they are asked."""
    screen: Screen = context.obj
    raise typer.Exit(run_command(screen, lambda: list_providers(screen, as_json=as_json), interrupted="interrupted"))


@app.command(epilog="Example: acetasks demo --tasks 200")
def demo(
    context: typer.Context, *, tasks: DemoTasks = 1000, seed: Seed = 0, speed: DemoSpeed = demo_room.SPEED
) -> None:
    """Watch one client follow a thousand tasks of a simulated service."""
    screen: Screen = context.obj
    plan = Plan(tasks=tasks, seed=seed, speed=speed)
    raise typer.Exit(run_command(screen, lambda: demo_room.show(screen, plan), interrupted="stopped"))
