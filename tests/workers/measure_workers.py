"""Measures the workers of the examples, without kills: processor time and memory of a job, beside acetasks alone.

Processor time: orders whose tasks take 20 to 30 s, on two workers. It is that of the workers from their start to the
last result, and that of a PostgreSQL server of the run's own, with the web application's share. Memory: as many waits
at once in one worker as there are orders; the difference between its resident memory then and before the first order.
The times of the example and of acetasks are as they are, and not shortened as in `kill_workers.py`; but where memory is
measured, nothing is polled.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

# Its own modules, those that tests share, and the examples: also where Python is told not to add the first.
sys.path.extend(str(Path(__file__).parent / path) for path in (".", "..", "../../examples/workers"))

import engines
import orders
import psutil
from ordering import place_orders, serve, wait_until_ended
from places import Mode, Place
from private_postgres import PrivatePostgres
from processes import Fleet
from worker import QUIET_INTERVAL

from acetasks.testing import AceServer, VirtualClockWarning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

#: The name of acetasks alone.
ALONE = "alone"
#: Minimum and maximum seconds of a task whose processor time is measured, and seconds of one that only waits.
TASK_SECONDS, ENDLESS = (20.0, 30.0), 36_000.0
#: Seconds after the last submission at which the memory is read.
UNTIL_QUIET = 5.0
#: Seconds for all orders to end.
PATIENCE = 600.0


class Options(argparse.Namespace):
    """The options of the command line."""

    engines: list[str]
    tasks: int
    awaits: int


class Cost(NamedTuple):
    """What the processes of a run have used.

    Attributes:
        workers: Processor seconds of the workers.
        server: Processor seconds of the database's server.
        memory: Bytes of resident memory of the workers.
    """

    workers: float
    server: float
    memory: int


def measure(pids: Iterable[int], database: PrivatePostgres | None = None) -> Cost:
    """Return what worker processes and a server have used so far."""
    workers = [process for pid in pids for process in _find_processes(pid)]
    memory = sum(process.memory_info().rss for process in workers)
    if database is None:
        return Cost(sum(map(_read_seconds, workers)), 0.0, memory)
    server = psutil.Process(database.pid)
    ended = server.cpu_times()  # those of its processes that have ended count as its children's
    seconds = sum(map(_read_seconds, _find_processes(database.pid))) + ended.children_user + ended.children_system
    return Cost(sum(map(_read_seconds, workers)), seconds, memory)


def _find_processes(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _read_seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


@contextlib.asynccontextmanager
async def open_service(tasks: int, after: tuple[float, float]) -> AsyncIterator[AceServer]:
    """Run the simulated service, with tasks that take times between two."""
    async with AceServer(record_requests=False) as server:
        rng = random.Random(1)
        for _ in range(tasks):
            server.script("luma", after=rng.uniform(*after))
        yield server


async def run_alone(tasks: int, after: tuple[float, float]) -> tuple[Cost, Cost]:
    """Run acetasks alone, and return what was used before the first task, and when all have ended, or wait."""
    async with open_service(tasks, after) as server:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name("alone.py")),
            str(tasks),
            str(QUIET_INTERVAL if after[0] >= ENDLESS else 0),
            env=os.environ | server.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        await worker.stdout.readline()
        before = measure([worker.pid])
        worker.stdin.write(b"\n")
        if after[0] < ENDLESS:
            await worker.stdout.readline()
        else:
            await wait_until_submitted(server, tasks)
        used = measure([worker.pid])
        worker.kill()
        await worker.wait()
        return before, used


async def wait_until_submitted(server: AceServer, tasks: int) -> None:
    """Wait until the service has all tasks, and a little longer."""
    while len(server.tasks) < tasks:  # noqa: ASYNC110  # the server has no event of it
        await asyncio.sleep(0.5)
    await asyncio.sleep(UNTIL_QUIET)


async def run_engine(name: str, workers: int, tasks: int, after: tuple[float, float]) -> tuple[Cost, Cost]:
    """Run an example, and return what was used before the first order, and when all have ended, or wait."""
    engine = engines.load(name)
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        database = await stack.enter_async_context(PrivatePostgres())
        server = await stack.enter_async_context(open_service(tasks, after))
        mode = Mode.QUIET if after[0] >= ENDLESS else Mode.UNCHANGED
        queue = f"workers_{secrets.token_hex(8)}"
        place = Place(database.url, server.url, directory / "notes", queue, max(tasks, 200), mode)
        await orders.create_table(database.url)
        await engine.prepare(place)
        stack.push_async_callback(engine.clean_up, place)
        app = await stack.enter_async_context(serve(engine.build_web(place)))
        fleet = Fleet(name, [place] * workers)
        stack.push_async_callback(fleet.kill_all)
        await asyncio.gather(*map(fleet.start, range(workers)))
        before = measure(fleet.pids, database)
        await place_orders(app, tasks)
        await wait_until_submitted(server, tasks)
        if after[0] < ENDLESS:
            await wait_until_ended(database.url, PATIENCE)
        return before, measure(fleet.pids, database)


async def run(name: str, workers: int, tasks: int, after: tuple[float, float]) -> tuple[Cost, Cost]:
    """Run an example, or acetasks alone."""
    return await (run_alone(tasks, after) if name == ALONE else run_engine(name, workers, tasks, after))


async def measure_engine(name: str, options: Options) -> str:
    """Return the row of an engine."""
    cells = [name]
    if options.tasks:
        before, after = await run(name, 2, options.tasks, TASK_SECONDS)
        cells += [
            f"{1000 * (after.workers - before.workers) / options.tasks:.2f}",
            f"{1000 * (after.server - before.server) / options.tasks:.2f}",
        ]
    if options.awaits:
        before, after = await run(name, 1, options.awaits, (ENDLESS, ENDLESS))
        cells += [
            f"{(after.memory - before.memory) / options.awaits / 1024:.1f}",
            f"{after.memory / 2**20:.0f}",
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", nargs="+", default=[ALONE, "pgqueuer", "taskiq"])
    parser.add_argument("--tasks", type=int, default=2000, help="orders whose processor time is measured; or 0")
    parser.add_argument("--awaits", type=int, default=10_000, help="waits at once whose memory is measured; or 0")
    options = parser.parse_args(namespace=Options())
    warnings.simplefilter("ignore", VirtualClockWarning)  # real time is meant here
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that workers, queues and the database are removed
    columns = ["engine"]
    if options.tasks:
        columns += ["ms of processor time a job: workers", "PostgreSQL"]
    if options.awaits:
        columns += ["KiB a waiting job", "MiB of the worker"]
    print(f"| {' | '.join(columns)} |")  # noqa: T201
    print(f"|---|{'---:|' * (len(columns) - 1)}")  # noqa: T201
    for name in options.engines:
        print(asyncio.run(measure_engine(name, options)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
