"""Simulates the death of a worker: its tasks are awaited by the others, as an engine redelivers them.

All workers are in one loop, with journals in one database. The one that dies sends, writes and receives nothing from
then on. What would have arrived at it goes to the others at once, and what it had not finished some seconds later.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import math
import time
from array import array
from operator import attrgetter
from typing import TYPE_CHECKING

import msgspec
from anyio import sleep_until
from fleet import MeteredStore, Run, Worker, build_run
from jobs import Job, plan_jobs

from acetasks import SubmissionUncertainError
from acetasks.testing.clock import run

if TYPE_CHECKING:
    from jobs import Scenario

#: Seconds after which an engine notices the death, and gives the tasks to others.
REDELIVERED_AFTER = 10.0


class Takeover(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet did in which a worker died.

    Attributes:
        run: What all workers did.
        redelivered: Number of tasks that the dead worker had not finished.
        lateness: Seconds from the end of each of these until its new waiter continued.
        uncertain: Number of them whose submission was under way, so that only a look into the history tells.
    """

    run: Run
    redelivered: int
    lateness: array[float]
    uncertain: int


def simulate_death(scenario: Scenario, dies_at: float = math.inf) -> Takeover:
    """Simulate a fleet whose first worker dies at a time, or does not."""
    # The calls of the dead worker are cancelled at the end, and warn of what they have paid for.
    logging.getLogger("acetasks").addHandler(logging.NullHandler())
    return run(_Fleet(scenario, dies_at).simulate(), end=math.inf)


class _Fleet:
    """Workers in one loop, of which the first may die."""

    def __init__(self, scenario: Scenario, dies_at: float) -> None:
        database, numbers = MeteredStore(), range(scenario.workers)
        self._dies_at = dies_at
        self._workers = [Worker(scenario, MeteredStore(database), number) for number in numbers]
        self._jobs = heapq.merge(*(plan_jobs(scenario, number) for number in numbers), key=attrgetter("arrives_at"))
        self._others = itertools.cycle(self._workers[1:])
        # Tasks of the first worker: in no group, which would wait for what never returns.
        self._of_first: set[asyncio.Task[float]] = set()
        self._redelivered = self._uncertain = 0
        self._lateness = array("d")

    async def simulate(self) -> Takeover:
        """Simulate until every task has ended or is uncertain."""
        started = time.process_time()
        for worker in self._workers:
            await worker.open()
        async with asyncio.TaskGroup() as group:
            if self._dies_at < math.inf:
                group.create_task(self._kill_first(group))
            for job in self._jobs:
                await sleep_until(job.arrives_at)
                self._start(job, group)
        if self._dies_at == math.inf:
            await asyncio.gather(*self._of_first)
        takeover = Takeover(
            run=build_run(self._workers, time.process_time() - started),
            redelivered=self._redelivered,
            lateness=self._lateness,
            uncertain=self._uncertain,
        )
        await self._close()
        return takeover

    async def _close(self) -> None:
        """Close all clients, that of the dead worker too."""
        for processing in self._of_first:
            processing.cancel()
        self._workers[0].revive()
        await asyncio.wait(self._of_first)
        for worker in self._workers:
            await worker.close()

    def _start(self, job: Job, group: asyncio.TaskGroup) -> None:
        """Start a task at the worker at which it arrives, or at another one if that is dead."""
        number = job.number % len(self._workers)
        if number:
            group.create_task(self._workers[number].process(job))
        elif job.arrives_at >= self._dies_at:
            group.create_task(next(self._others).process(job))
        else:
            self._of_first.add(asyncio.create_task(self._workers[0].process(job)))

    async def _kill_first(self, group: asyncio.TaskGroup) -> None:
        await sleep_until(self._dies_at)
        self._workers[0].kill()
        await asyncio.sleep(REDELIVERED_AFTER)
        left = list(self._workers[0].unfinished.values())
        self._redelivered = len(left)
        for job in left:
            group.create_task(self._take_over(job))

    async def _take_over(self, job: Job) -> None:
        try:
            self._lateness.append(await next(self._others).process(job))
        except SubmissionUncertainError:
            self._uncertain += 1
