"""Kills the workers of an example in examples/workers at random moments, then counts; `nox -s workers` runs it.

The simulated service and the web application run in this process, the workers in others, all in real time and over
real connections. Orders come in bursts, and a worker is killed somewhere in each. What must hold in the end: every
order has the result of its own task, none was paid for twice, and others soon began the jobs of a killed worker.

`--naive` runs plain code, which submits without keys and a journal. It must be found to pay twice: otherwise the runs
prove nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

# Its own modules, those that tests share, and the examples: also where Python is told not to add the first.
sys.path.extend(str(Path(__file__).parent / path) for path in (".", "..", "../../examples/workers"))

import aiohttp
import engines
import orders
from counts import LATEST, Counts, Order, count
from ordering import place, read, serve, wait_until_ended
from places import Mode, Place, new_database
from private_postgres import PrivatePostgres
from processes import Fault, Fleet, read_notes
from tcp_proxy import TCPProxy

from acetasks.testing import AceServer, VirtualClockWarning

#: Seconds from the acceptance of a submission to its response: a kill in between leaves a doubt.
RESPONSE_SECONDS = 0.2
#: Minimum and maximum seconds of a task, and the share that fails.
TASK_SECONDS, FAILED = (2.0, 8.0), 0.05
#: Seconds in which the orders of a burst are placed, and the maximum from its beginning to the fault.
BURST, AFTER_BURST = 0.6, 0.8
#: Maximum seconds until a worker is started in the place of a killed one.
UNTIL_STARTED = 2.0
#: Seconds for which a worker is stopped: longer than the heartbeats of the queue, the bound after which a submission
#: is uncertain and the time after which the history is settled, together.
FROZEN = 25.0
#: Maximum seconds for which the connections to the database are cut, or its server is down.
CUT = 8.0
#: Seconds for the last orders to end.
PATIENCE = 120.0


class Options(argparse.Namespace):
    """The options of the command line."""

    engine: str
    workers: int
    tasks: int
    kills: int
    jobs: int
    freeze: bool
    cut: bool
    restart: bool
    terminate: bool
    naive: bool
    output: str | None
    latest: float
    seed: int


class Run:
    """One run: its workers, orders and faults."""

    def __init__(
        self,
        options: Options,
        fleet: Fleet,
        place: Place,
        app: str,
        *,
        proxies: list[TCPProxy],
        database: PrivatePostgres | None,
    ) -> None:
        self._options = options
        self._database = database
        self._fleet = fleet
        self._log = place.log
        self._app = app
        self._proxies = proxies
        self._rng = random.Random(options.seed)
        self.kills: list[Fault] = []
        self.faults = 0

    async def interrupt(self) -> None:
        """Place all orders in bursts, with a fault in each; every worker is up before the next one."""
        options = self._options
        faults = {"stopped": self._freeze, "cut": self._cut, "database": self._restart}
        fault = faults.get(describe_fault(options), self._kill)
        slots = range(len(self._fleet))
        await asyncio.gather(*map(self._fleet.start, slots))
        async with aiohttp.ClientSession(self._app) as http:
            for number in range(self._options.kills or 1):
                first, stop = (self._options.tasks * n // (self._options.kills or 1) for n in (number, number + 1))
                placing = [
                    asyncio.create_task(place(http, f"order-{order}", self._rng.uniform(0.0, BURST)))
                    for order in range(first, stop)
                ]
                if self._options.kills:
                    await asyncio.sleep(self._rng.uniform(0.0, AFTER_BURST))
                    await fault(self._choose())
                    self.faults += 1
                await asyncio.gather(*placing)
                await self._fleet.revive()

    def _choose(self) -> int:
        """Return a slot at random, rather one whose worker has many jobs under way."""
        notes = read_notes(self._log)
        ended = {(note.worker, note.order) for note in notes if note.what == "end"}
        under_way = Counter(n.worker for n in notes if n.what == "begin" and (n.worker, n.order) not in ended)
        slots = range(len(self._fleet))
        return self._rng.choices(slots, [1 + under_way[self._fleet.name(slot)] for slot in slots])[0]

    async def _kill(self, slot: int) -> None:
        number = signal.SIGTERM if self._options.terminate else signal.SIGKILL
        self.kills.append(await self._fleet.kill(slot, number))
        await asyncio.sleep(self._rng.uniform(0.0, UNTIL_STARTED))
        await self._fleet.start(slot)

    async def _freeze(self, slot: int) -> None:
        self.kills.append(self._fleet.send(slot, signal.SIGSTOP))
        await asyncio.sleep(FROZEN)
        self._fleet.send(slot, signal.SIGCONT)

    async def _cut(self, slot: int) -> None:
        proxy = self._proxies[slot]
        proxy.stop()
        await asyncio.sleep(self._rng.uniform(0.0, CUT))
        await proxy.start()

    async def _restart(self, _slot: int) -> None:
        assert self._database is not None
        await self._database.stop(self._rng.choice([signal.SIGKILL, signal.SIGINT]))
        await asyncio.sleep(self._rng.uniform(0.0, CUT))
        await self._database.start()

    async def read_orders(self) -> dict[str, Order]:
        """Ask the web application for every order."""
        async with aiohttp.ClientSession(self._app) as http:
            return {f"order-{number}": await read(http, f"order-{number}") for number in range(self._options.tasks)}


def script(server: AceServer, options: Options) -> None:
    """Let the service respond late, and its tasks take different times."""
    rng = random.Random(options.seed)
    server.fail("luma", action="submit", hang=RESPONSE_SECONDS, times=None)
    for _ in range(20 * options.tasks):
        outcome = "failed" if rng.random() < FAILED else "succeeded"
        server.script("luma", after=rng.uniform(*TASK_SECONDS), outcome=outcome)


async def run(options: Options) -> Counts:
    """Interrupt the workers, let the orders end, and count."""
    engine = engines.load(options.engine)
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = await stack.enter_async_context(PrivatePostgres()) if options.restart else None
        url = database.url if database is not None else await stack.enter_async_context(new_database())
        server = await stack.enter_async_context(AceServer(record_requests=False))
        script(server, options)
        mode = Mode.NAIVE if options.naive else Mode.SHORT
        queue = f"workers_{secrets.token_hex(8)}"
        place = Place(url, server.url, directory / "notes", queue, options.jobs, mode)
        await orders.create_table(url)
        await engine.prepare(place)
        stack.push_async_callback(engine.clean_up, place)
        proxies: list[TCPProxy] = []
        places = [place] * options.workers
        if options.cut:
            address, port = place.address
            proxies = [await stack.enter_async_context(TCPProxy(address, port)) for _ in places]
            places = [place.at(proxy.port) for proxy in proxies]
        app = await stack.enter_async_context(serve(engine.build_web(place)))
        fleet = Fleet(options.engine, places)
        stack.push_async_callback(fleet.kill_all)
        this = Run(options, fleet, place, app, proxies=proxies, database=database)
        began = time.monotonic()
        await this.interrupt()
        await wait_until_ended(url, PATIENCE, fleet)
        notes, found = read_notes(place.log), await this.read_orders()
        if options.output is not None:
            shutil.copy(place.log.with_suffix(".err"), options.output)
        figures = {"seconds": time.monotonic() - began, "latest": options.latest}
        return count(found, server.tasks, notes, this.kills, faults=this.faults, died=fleet.died, **figures)


def describe_fault(options: Options) -> str:
    """Return the kind of the faults, as the table of a run names it."""
    if options.restart:
        return "database"
    if options.cut:
        return "cut"
    if options.freeze:
        return "stopped"
    return "SIGTERM" if options.terminate else "kill -9"


def print_counts(options: Options, counts: Counts) -> None:
    """Print what was counted, and the same as a row of the table in docs/workers.md."""
    for title, value in (counts.figures | counts.wrong).items():
        print(f"{value:6g} {title}")  # noqa: T201
    name = f"{options.engine}, plain code" if options.naive else options.engine
    cells = [name, describe_fault(options), str(options.workers), *(f"{value:,g}" for value in counts.row)]
    print(f"| {' | '.join(cells)} |")  # noqa: T201


def parse() -> Options:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="pgqueuer", help="pgqueuer, taskiq, procrastinate, dbos, dbos_take_over")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time")
    parser.add_argument("--tasks", type=int, default=2000, help="number of orders")
    parser.add_argument("--kills", type=int, default=100, help="number of faults")
    parser.add_argument("--jobs", type=int, default=10_000, help="maximum number of jobs of a worker")
    parser.add_argument("--freeze", action="store_true", help=f"stop a worker for {FROZEN:g} s instead of killing it")
    parser.add_argument("--cut", action="store_true", help="cut a worker's connections to the database instead")
    parser.add_argument("--restart", action="store_true", help="kill or restart the database instead")
    parser.add_argument("--terminate", action="store_true", help="stop a worker with SIGTERM instead")
    parser.add_argument("--naive", action="store_true", help="plain code, which must pay twice")
    parser.add_argument("--output", help="file for what the workers have printed")
    parser.add_argument(
        "--latest", type=float, default=LATEST, help="maximum seconds until others begin a dead worker's jobs"
    )
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of the moments of the faults")
    return parser.parse_args(namespace=Options())


def main() -> None:
    """Run it, and print what was counted."""
    options = parse()
    warnings.simplefilter("ignore", VirtualClockWarning)  # real time is meant here
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that workers, queues and the database are removed
    counts = asyncio.run(run(options))
    print_counts(options, counts)
    if options.naive and not counts.wrong["orders paid for twice"]:
        sys.exit("plain code paid for nothing twice: these runs would not find a fault")
    if not options.naive and any(counts.wrong.values()):
        sys.exit("WRONG: an order was lost, late or paid for twice")


if __name__ == "__main__":
    main()
