"""Measures what callbacks save and cost, on the virtual clock: `python tests/callbacks/callback_figures.py`.

The same tasks of the simulated service are submitted and awaited with and without callbacks. On the virtual clock
requests take no time, so the lateness is what the client itself adds, and the figures are the same on every machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import statistics
import sys
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import web

import acetasks
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

TASKS = 1000
TOKEN = "test-token"
_EPOCH = 1_780_000_000.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one run.

    Attributes:
        ids: Ids asked in polls, repeated ones included.
        requests: Requests of polls.
        median: Median seconds from the end of a task until its waiter continues.
        worst: The longest of these.
        ended: Number of tasks whose wait has returned the task.
    """

    ids: int
    requests: int
    median: float
    worst: float
    ended: int

    @classmethod
    def of(cls, server: AceServer, lateness: Sequence[float], *, submissions: int) -> Self:
        """Return the figures of a run in which some tasks were submitted, and how late each has ended."""
        return cls(
            ids=server.ids_asked,
            requests=server.request_count - submissions,
            median=statistics.median(lateness),
            worst=max(lateness),
            ended=len(lateness),
        )


@contextlib.asynccontextmanager
async def serve(
    build_app: Callable[[acetasks.Callbacks], web.Application] = acetasks.Callbacks.aiohttp_app, **options: object
) -> AsyncIterator[acetasks.Callbacks]:
    """Create callbacks, and serve an app of theirs at `/hooks` of a free port of this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    callbacks = acetasks.Callbacks(f"http://127.0.0.1:{listening.getsockname()[1]}/hooks", **options)
    app = web.Application()
    app.add_subapp("/hooks", build_app(callbacks))
    async with serve_app(app, listening):
        yield callbacks


@contextlib.asynccontextmanager
async def serve_app(app: web.Application, listening: socket.socket) -> AsyncIterator[None]:
    """Serve an application at a socket."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listening).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def measure(
    *,
    apart: float = 0.0,
    after: float | None = None,
    callbacks: bool = True,
    tasks: int = TASKS,
    linger: float = 0.05,
    **script: float,
) -> Figures:
    """Submit and await Luma tasks.

    Args:
        apart: Seconds between two submissions.
        after: Seconds that each task takes; None for the service's distribution around 154.
        callbacks: Whether the client has callbacks.
        tasks: Number of tasks.
        linger: As in `PollPolicy`.
        script: How the service posts callbacks, as for `AceServer.script_callbacks`.
    """
    lateness: list[float] = []
    now = asyncio.get_running_loop().time

    async def one(server: AceServer, client: acetasks.Client, number: int) -> None:
        await asyncio.sleep(number * apart)
        async with gate:
            handle = await client.submit("luma", {"prompt": f"a lighthouse {number}"})
        await handle.wait()
        lateness.append(now() - server.tasks[handle.id].finishes_at)

    gate = asyncio.Semaphore(50)
    async with AceServer(token=TOKEN, epoch=_EPOCH, record_requests=False) as server, serve() as own:
        server.script_callbacks(**script)
        server.script("luma", after=after, times=None)
        given, policy = own if callbacks else None, acetasks.PollPolicy(linger=linger)
        client = acetasks.Client(TOKEN, base_url=server.url, rng=random.Random(1), callbacks=given, policy=policy)
        async with client:
            await asyncio.gather(*(one(server, client, number) for number in range(tasks)))
        return Figures.of(server, lateness, submissions=tasks)


#: Runs of the table: the name, and the options of `measure`.
RUNS: dict[str, dict[str, float]] = {
    "submitted at once": {},
    "submitted at once, each takes 150 s": {"after": 150.0},
    "one submitted every 0.2 s": {"apart": 0.2},
}
OTHERS: dict[str, dict[str, float]] = {
    "with callbacks, `linger=2`": {"linger": 2.0},
    "each callback three times": {"copies": 3},
    "each callback 2 s late": {"delay": 2.0},
    "a tenth of the callbacks lost": {"drop_rate": 0.1},
    "all callbacks lost": {"drop_rate": 1.0},
}


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{TASKS} Luma tasks | ids polled | requests | median lateness | longest\n")
    for name, options in RUNS.items():
        without, with_ = run(measure(callbacks=False, **options)), run(measure(**options))
        print_row(f"{name}, without callbacks", without)
        print_row(f"{name}, with callbacks", with_, without)
    without = run(measure(callbacks=False))
    for name, options in OTHERS.items():
        print_row(f"submitted at once, {name}", run(measure(**options)), without)


def print_row(name: str, figures: Figures, without: Figures | None = None, *, tasks: int = TASKS) -> None:
    """Print one row, with the shares of what a run without callbacks takes."""
    ids = f" ({figures.ids / without.ids:.1%})" if without else ""
    requests = f" ({figures.requests / without.requests:.1%})" if without else ""
    assert figures.ended == tasks
    cells = [
        f"{figures.ids}{ids}",
        f"{figures.requests}{requests}",
        f"{figures.median:.3f} s",
        f"{figures.worst:.3f} s",
    ]
    sys.stdout.write(" | ".join([name, *cells]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
