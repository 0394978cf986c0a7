"""Measures callbacks that reach any of several workers: `python tests/callbacks/worker_figures.py [URL]`.

Each worker is a client with callbacks of its own, of one URL and secret; all share a journal. A load balancer passes
each callback on to a random one. Without a URL the journal is in memory and the clock virtual, so that the figures are
the same on every machine; with the URL of a PostgreSQL database both are real, and the tasks are shorter.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import warnings
from typing import TYPE_CHECKING

from aiohttp import web
from announcing_support import AnnouncingMemoryStore
from callback_figures import Figures, print_row, serve_app
from postgres_support import empty_database

import acetasks
from acetasks import MemoryStore
from acetasks.testing import AceServer, VirtualClockWarning, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from acetasks import Store

WORKERS = 4
TASKS = 1000
SECRET = "a secret of the tests"
TOKEN = "test-token"
_EPOCH = 1_780_000_000.0


@contextlib.asynccontextmanager
async def balance(
    workers: int, choose: Callable[[Sequence[acetasks.Callbacks]], Sequence[acetasks.Callbacks]]
) -> AsyncIterator[list[acetasks.Callbacks]]:
    """Create the callbacks of several workers, and serve the URL that they share.

    Args:
        workers: Number of workers.
        choose: Returns the ones that receive a request.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/hooks"
    callbacks = [acetasks.Callbacks(url, secret=SECRET) for _ in range(workers)]

    async def pass_on(request: web.Request) -> web.Response:
        body = await request.read()
        for chosen in choose(callbacks):
            chosen.receive(request.path, body)
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hooks/{path:.*}", pass_on)
    async with serve_app(app, listening):
        yield callbacks


async def measure(
    journal: str | Store | None = None,
    *,
    callbacks: bool = True,
    tasks: int = TASKS,
    after: tuple[float, float] | None = None,
    **script: float,
) -> Figures:
    """Submit and await Luma tasks in several workers.

    Args:
        journal: The journal that they share; None for one in memory that passes announcements.
        callbacks: Whether they have callbacks.
        tasks: Number of tasks of each.
        after: Least and most seconds that a task takes; None for the service's distribution around 154.
        script: How the service posts callbacks, as for `AceServer.script_callbacks`.
    """
    shared = AnnouncingMemoryStore() if journal is None else journal
    rng = random.Random(1)
    lateness: list[float] = []
    now = asyncio.get_running_loop().time
    gate = asyncio.Semaphore(50)

    async def one(server: AceServer, client: acetasks.Client, number: int) -> None:
        async with gate:
            handle = await client.submit("luma", {"prompt": f"a lighthouse {number}"})
        await handle.wait()
        lateness.append(now() - server.tasks[handle.id].finishes_at)

    async with (
        AceServer(token=TOKEN, epoch=_EPOCH, record_requests=False) as server,
        balance(WORKERS, lambda workers: [rng.choice(workers)]) as receivers,
        contextlib.AsyncExitStack() as stack,
    ):
        server.script_callbacks(**script)
        for _ in range(WORKERS * tasks if after else 0):
            server.script("luma", after=rng.uniform(*after))
        if after is None:
            server.script("luma", times=None)
        clients = [
            await stack.enter_async_context(
                acetasks.Client(
                    TOKEN,
                    base_url=server.url,
                    rng=random.Random(number),
                    journal=shared,
                    callbacks=receiver if callbacks else None,
                )
            )
            for number, receiver in enumerate(receivers)
        ]
        await asyncio.gather(*(one(server, client, number) for number in range(tasks) for client in clients))
        return Figures.of(server, lateness, submissions=WORKERS * tasks)


#: Runs of the table: the name, and the options of `measure`.
RUNS: dict[str, dict[str, float]] = {
    "with callbacks": {},
    "each callback three times": {"copies": 3},
    "all callbacks lost": {"drop_rate": 1.0},
}


def main() -> None:
    """Print the table."""
    sys.stdout.write(
        f"{WORKERS} workers, {TASKS} Luma tasks each | ids polled | requests | median lateness | longest\n"
    )
    total = WORKERS * TASKS
    if len(sys.argv) == 1:
        without = run(measure(callbacks=False))
        print_row("without callbacks", without, tasks=total)
        for name, options in RUNS.items():
            print_row(name, run(measure(**options)), without, tasks=total)
        print_row("with callbacks, which are not announced", run(measure(MemoryStore())), without, tasks=total)
    else:
        without = measure_really(sys.argv[1], callbacks=False)
        print_row("PostgreSQL, 60 to 180 s each, without callbacks", without, tasks=total)
        print_row("with callbacks", measure_really(sys.argv[1], callbacks=True), without, tasks=total)


def measure_really(url: str, *, callbacks: bool) -> Figures:
    """Measure in real time, in an empty schema of a database."""
    with empty_database(url) as journal, warnings.catch_warnings():
        warnings.simplefilter("ignore", VirtualClockWarning)  # the tasks are long on purpose
        return asyncio.run(measure(journal, callbacks=callbacks, after=(60.0, 180.0)))


if __name__ == "__main__":
    sys.exit(main())
