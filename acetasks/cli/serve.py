"""`acetasks serve`: runs the simulated service, to test programs without a real token or cost."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import itertools
import shlex
import signal
import sys
import time
from typing import Annotated

import msgspec
import typer

from acetasks.cli.demo_service import TASK_SHARES
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.runner import run_command
from acetasks.testing.server import AceServer


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Options of `acetasks serve`."""

    host: str
    port: int
    token: str
    speed: float
    seed: int
    tasks: int
    failure_rate: float = 0.0


def serve(
    context: typer.Context,
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="N", help="Port to listen on; 0 selects a free one.")
    ] = 8080,
    token: Annotated[str, typer.Option(metavar="TOKEN", help="Token that requests must carry.")] = "test-token",  # noqa: S107  # only valid at the simulated service
    speed: Annotated[
        float, typer.Option(metavar="FACTOR", help="Speed of the tasks; 10 is ten times faster than real.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Random seed; the same seed gives the same ids and durations.")
    ] = 0,
    tasks: Annotated[int, typer.Option(min=0, metavar="N", help="Number of tasks at the start.")] = 5,
    failure_rate: Annotated[
        float, typer.Option(min=0, max=1, metavar="SHARE", help="Share of the tasks that fail, from 0 to 1.")
    ] = 0.0,
) -> None:
    """Run the simulated service, to test programs and commands against it.

    Exit codes: 0 stopped by Ctrl-C or SIGTERM, 2 wrong usage or a port that is in use.
    """
    settings = Settings(
        host=host, port=port, token=token, speed=speed, seed=seed, tasks=tasks, failure_rate=failure_rate
    )
    raise typer.Exit(run_command(context.obj, lambda: asyncio.run(run_service(settings))))


def loopback_address(host: str) -> str:
    """Return the loopback address to listen on.

    Args:
        host: `localhost`, or an address.

    Raises:
        CommandError: The host is not an address, or other machines could reach it.
    """
    if host == "localhost":
        # The name may resolve to two addresses; with port 0 each would get a different port.
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise CommandError(
            "--host must be a loopback address such as 127.0.0.1, "
            f"the simulated service is for this machine only; got {host!r}"
        )
    return host


async def run_service(settings: Settings) -> ExitCode:
    """Run the simulated service until Ctrl-C or SIGTERM.

    Raises:
        CommandError: A setting is invalid, or the service cannot listen at the address.
    """
    _check_token(settings.token)
    loop = asyncio.get_running_loop()
    try:
        server = AceServer(
            token=settings.token,
            seed=settings.seed,
            # Records carry wall time, as the real service's do.
            epoch=time.time() - loop.time(),
            host=loopback_address(settings.host),
            port=settings.port,
            speed=settings.speed,
            failure_rate=settings.failure_rate,
            record_requests=False,
        )
        await server.start()
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(_listen_error(error, settings)) from error
    try:
        stopped = _stop_event(loop)
        _print_instructions(server, settings.token, _add_tasks(server, settings.tasks))
        await stopped.wait()
    finally:
        await server.stop()
    return ExitCode.OK


def _check_token(token: str) -> None:
    if not token.isascii() or not token.isprintable() or not token or " " in token:
        raise CommandError("--token must be non-empty printable ASCII without spaces")


def _listen_error(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} is already in use: choose another with --port, or --port 0 for any free port"
    return f"the simulated service cannot listen on {settings.host} port {settings.port}: {error.strerror}"


def _stop_event(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Return an event set by Ctrl-C and SIGTERM; on Windows Ctrl-C ends the loop without it."""
    stopped = asyncio.Event()
    with contextlib.suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    return stopped


def _add_tasks(server: AceServer, count: int) -> list[tuple[str, str]]:
    """Create tasks on the service, and return their providers and ids."""
    providers = itertools.islice(itertools.cycle(TASK_SHARES), count)
    return [(provider, server.add(provider)) for provider in providers]


def _print_instructions(server: AceServer, token: str, tasks: list[tuple[str, str]]) -> None:
    """Print the address, the environment variables to set, and the tasks."""
    lines = [
        f"The simulated service listens at {server.url} with the token {token}. Press Ctrl-C to stop it.",
        # The SDK reads the token's variable, but not the address's: without this it calls the real service.
        f'The official SDK needs its address in the program: AceDataCloud(base_url="{server.url}")',
        "Paste this into another terminal:",
        "",
        *(
            f"export {name}_API_{variable}={shlex.quote(value)}"
            for name in ("ACEDATACLOUD", "USEAPI")
            for variable, value in (("BASE_URL", server.url), ("TOKEN", token))
        ),
    ]
    if tasks:
        lines.append("acetasks wait {} {}".format(*tasks[0]))
        lines += ["", "It has these tasks, and accepts new ones:", ""]
        lines += [f"{provider:<16} {task_id}" for provider, task_id in tasks]
    sys.stdout.write("\n".join([*lines, ""]))
    # A parent process may be reading the address from a pipe.
    sys.stdout.flush()
