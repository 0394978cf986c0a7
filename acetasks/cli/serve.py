"""`acetasks serve`: the simulated service alone, to try a program against without a token and without spending."""

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

import msgspec

from acetasks.cli.running import CommandError, Exit
from acetasks.cli.stage import SHARES
from acetasks.testing.server import AceServer


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What `acetasks serve` was asked for; see its options."""

    host: str
    port: int
    token: str
    speed: float
    seed: int
    tasks: int


def loopback(host: str) -> str:
    """Find the address to listen at.

    Args:
        host: `localhost`, or an address.

    Returns:
        An address that only this machine can reach.

    Raises:
        CommandError: Others could reach it, or it is no address.
    """
    if host == "localhost":
        # The name may stand for two addresses, and with port 0 each would get a port of its own.
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise CommandError(f"the simulated service listens on this machine only: --host 127.0.0.1, not {host!r}")
    return host


async def serve(settings: Settings) -> Exit:
    """Run the simulated service until Ctrl-C or SIGTERM.

    Args:
        settings: How to run it.

    Returns:
        The exit code.

    Raises:
        CommandError: It cannot be run so.
    """
    if not settings.token.isascii() or not settings.token.isprintable() or not settings.token or " " in settings.token:
        raise CommandError("a token is made of ASCII characters without blanks")
    loop = asyncio.get_running_loop()
    try:
        server = AceServer(
            token=settings.token,
            seed=settings.seed,
            # Records carry wall time, as the real service's do.
            epoch=time.time() - loop.time(),
            host=loopback(settings.host),
            port=settings.port,
            speed=settings.speed,
            record_requests=False,
        )
        await server.start()
    except ValueError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(_explain(error, settings)) from error
    try:
        stopped = _stop_signal(loop)
        _introduce(server, settings)
        await stopped.wait()
    finally:
        await server.stop()
    return Exit.OK


def _explain(error: OSError, settings: Settings) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {settings.port} is taken: choose another with --port (0 takes a free one)"
    return f"the simulated service cannot listen at {settings.host} port {settings.port}: {error.strerror}"


def _stop_signal(loop: asyncio.AbstractEventLoop) -> asyncio.Event:
    """Give an event that Ctrl-C and SIGTERM set; on Windows Ctrl-C ends the loop by itself."""
    stopped = asyncio.Event()
    with contextlib.suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
    return stopped


def _introduce(server: AceServer, settings: Settings) -> None:
    """Say where the service is, how to use it, and which tasks it holds."""
    providers = itertools.islice(itertools.cycle(SHARES), settings.tasks)
    ids = [(provider, server.add(provider)) for provider in providers]
    lines = [
        f"The simulated service listens at {server.url} with the token {settings.token}. Ctrl-C stops it.",
        "Paste this into another terminal:",
        "",
        *(
            f"export {name}_API_{what}={shlex.quote(value)}"
            for name in ("ACEDATACLOUD", "USEAPI")
            for what, value in (("BASE_URL", server.url), ("TOKEN", settings.token))
        ),
    ]
    if ids:
        lines.append("acetasks wait {} {}".format(*ids[0]))
        lines += ["", "It holds these tasks, and takes new ones:", ""]
        lines += [f"{provider:<16} {task_id}" for provider, task_id in ids]
    sys.stdout.write("\n".join([*lines, ""]))
    # A program that started it waits for the address, which a pipe would keep.
    sys.stdout.flush()
