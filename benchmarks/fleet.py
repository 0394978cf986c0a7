"""Simulates the workers of a fleet on the virtual clock: clients with journals, and the service in their loop.

Workers share nothing but the limit of their token, of which each keeps to its own share. So one that is simulated alone
sends the same requests at the same times as in one loop with the others, and the sums over all are exact;
`tests/test_million.py` compares both.
"""

from __future__ import annotations

import asyncio
import functools
import math
import random
import time
from array import array
from typing import TYPE_CHECKING
from unittest import mock

import msgspec
from anyio import sleep_until
from jobs import plan_ids, plan_jobs
from meters import Memory
from wire import EPOCH, SUBMIT_LATENCY, Wire, read_id

from acetasks import Client, PollPolicy
from acetasks._ledger import Ended, MemoryStore
from acetasks._runtime import Runtime
from acetasks.testing.clock import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobs import Job, Scenario

    from acetasks._ledger import Change, Intent, Written

#: Seconds of a transaction, and for each of its rows.
_TRANSACTION, _ROW = 0.003, 0.0001


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker did. Times are in seconds of the virtual clock.

    Attributes:
        polls: Time of each poll.
        submissions: Time of each submission.
        ids: Number of polled ids by provider, repeated ones included.
        waits: Seconds from the arrival of each task until its submission was sent.
        lateness: Seconds from the end of each task until its waiter continued, by provider.
        transactions: Time of each transaction.
        rows: Number of rows written in all transactions.
        largest: Largest number of rows in a transaction.
        awaiting: Largest number of tasks awaited at once.
        finished_at: Time of the last result.
    """

    polls: array[float]
    submissions: array[float]
    ids: dict[str, int]
    waits: array[float]
    lateness: dict[str, array[float]]
    transactions: array[float]
    rows: int
    largest: int
    awaiting: int
    finished_at: float


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One simulation, of one worker or several.

    Attributes:
        results: What each worker did.
        cpu: CPU seconds of everything but the service: the clients, the virtual clock, the store and the simulation.
        service_cpu: CPU seconds of the service.
        memory: Bytes by which the process has grown at most, without the measured times; 0 if not measured.
    """

    results: list[Result]
    cpu: float
    service_cpu: float
    memory: int


class MeteredStore(MemoryStore):
    """A store that takes as long as a database, counts its transactions, and forgets what has ended.

    Attributes:
        transactions: Time of each transaction.
        rows: Number of rows written.
        largest: Largest number of rows in a transaction.
        alive: Set unless the worker is dead, so that it writes nothing any more.
    """

    def __init__(self, shared: MeteredStore | None = None) -> None:
        """Create a store; with the entries of another one, as of the same database."""
        super().__init__()
        if shared is not None:
            self._entries, self._keys = shared._entries, shared._keys  # noqa: SLF001  # of the same class
        self.transactions = array("d")
        self.rows = self.largest = 0
        self.alive = asyncio.Event()
        self.alive.set()

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`."""
        rows = len(changes) + len(intents)
        await self.alive.wait()
        self.transactions.append(asyncio.get_running_loop().time())
        self.rows += rows
        self.largest = max(self.largest, rows)
        await asyncio.sleep(_TRANSACTION + rows * _ROW)
        written = await super().write(changes, intents)
        for change in changes:
            if isinstance(change, Ended):
                for key in self._keys.pop((change.provider, change.task_id), ()):
                    del self._entries[key]
        return written


class Worker:
    """One client with its journal, and what it measures."""

    def __init__(self, scenario: Scenario, store: MeteredStore, seed: int) -> None:
        self.wire = Wire()
        self.store = store
        self.waits = array("d")
        self.lateness = {kind.provider: array("d") for kind in scenario.kinds}
        self.unfinished: dict[int, Job] = {}
        self.awaiting = 0
        self._finished_at = 0.0
        self._client = Client(
            "test-token", policy=PollPolicy(max_rate=scenario.rate), journal=store, rng=random.Random(f"{seed}")
        )

    async def open(self) -> None:
        """Open the client."""
        clock = asyncio.get_running_loop().time
        runtime = functools.partial(Runtime, wall_clock=lambda: EPOCH + clock())
        with (
            mock.patch("acetasks._http.session.AiohttpBackend", return_value=self.wire),
            mock.patch("acetasks.client.Runtime", runtime),
        ):
            await self._client.__aenter__()

    async def close(self) -> None:
        """Close the client, and write what its journal still has to."""
        await self._client.close()

    async def process(self, job: Job) -> float:
        """Submit a task, unless its key is in the journal, and await it; return its lateness."""
        self.unfinished[job.number] = job
        self.awaiting = max(self.awaiting, len(self.unfinished))
        payload = {"number": job.number, "seconds": job.seconds}
        task = await self._client.run(job.provider, payload, key=job.key)
        del self.unfinished[job.number]
        self.waits.append(read_id(task.id).begin - SUBMIT_LATENCY / 2 - job.arrives_at)
        return self._finish(task.provider, task.id)

    async def follow(self, ids: Sequence[tuple[str, str]]) -> None:
        """Await tasks that were submitted elsewhere."""
        self.awaiting = len(ids)
        async for task in self._client.as_completed(ids):
            self._finish(task.provider, task.id)

    def build_result(self) -> Result:
        """Return what the worker did."""
        traffic, store = self.wire.traffic, self.store
        return Result(
            polls=traffic.polls,
            submissions=traffic.submissions,
            ids=traffic.ids,
            waits=self.waits,
            lateness=self.lateness,
            transactions=store.transactions,
            rows=store.rows,
            largest=store.largest,
            awaiting=self.awaiting,
            finished_at=self._finished_at,
        )

    def kill(self) -> None:
        """Let nothing leave the worker any more, neither requests nor writes, and nothing arrive."""
        self.wire.alive.clear()
        self.store.alive.clear()

    def revive(self) -> None:
        """Undo `kill`, so that the worker can be closed."""
        self.wire.alive.set()
        self.store.alive.set()

    def _finish(self, provider: str, task_id: str) -> float:
        self._finished_at = asyncio.get_running_loop().time()
        late = self._finished_at - read_id(task_id).end
        self.lateness[provider].append(late)
        return late


def simulate(scenario: Scenario, workers: Iterable[int]) -> Run:
    """Simulate some workers of a fleet in one loop."""
    return run(_simulate(scenario, list(workers)), end=math.inf)


async def _simulate(scenario: Scenario, numbers: Sequence[int]) -> Run:
    fleet = {number: Worker(scenario, MeteredStore(), number) for number in numbers}
    ids = {number: plan_ids(scenario, number) if not scenario.arrivals else [] for number in numbers}
    memory, started = Memory(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for number, worker in fleet.items():
            await worker.open()
            work = worker.follow(ids[number]) if ids[number] else _feed(worker, plan_jobs(scenario, number))
            group.create_task(work)
    for worker in fleet.values():
        await worker.close()
    return build_run(list(fleet.values()), time.process_time() - started, memory.grown())


def build_run(workers: Sequence[Worker], seconds: float, grown: int = 0) -> Run:
    """Return what workers did in one process, which took CPU seconds and has grown by some bytes, 0 if not measured."""
    service = sum(worker.wire.traffic.seconds for worker in workers)
    results = [worker.build_result() for worker in workers]
    measured = sum(map(_size_of, results))
    return Run(results=results, cpu=seconds - service, service_cpu=service, memory=max(0, grown - measured))


async def _feed(worker: Worker, jobs: Iterable[Job]) -> None:
    """Give a worker its jobs as they arrive."""
    async with asyncio.TaskGroup() as group:
        for job in jobs:
            await sleep_until(job.arrives_at)
            group.create_task(worker.process(job))


def _size_of(result: Result) -> int:
    """Return the bytes of the measured times."""
    times = [result.polls, result.submissions, result.waits, result.transactions, *result.lateness.values()]
    return sum(len(values) * values.itemsize for values in times)
