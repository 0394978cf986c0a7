"""Simulates tasks with given duration distributions against the real poller, on the virtual clock.

There is no HTTP: the service is a transport that responds at once in Luma's format and counts the polled ids. The
results are the same on every machine.
"""

from __future__ import annotations

import asyncio
import email.utils
import enum
import functools
import random
from typing import TYPE_CHECKING, TypeVar

import anyio
import msgspec
from records import PENDING, PROCESSING, write_end, write_head

from acetasks import PollPolicy, RetryPolicy
from acetasks._http import Response
from acetasks._polling.poller import Poller
from acetasks._polling.waiting import wait_one
from acetasks._runtime import Runtime
from acetasks._scheduling import Durations
from acetasks.events import Observers
from acetasks.providers import lookup, register
from acetasks.testing.clock import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from laws import Law

    from acetasks._http import Request

T = TypeVar("T")

#: Number of tasks in a simulation.
TASKS = 1000
#: Seconds between two spread tasks, and number of tasks in a burst.
_APART, _BURST = 3.0, 200
#: Start of the service's clock in seconds since the epoch, with a fraction so that it is not aligned to seconds.
_EPOCH = 1_790_000_000.37
#: Share of its duration during which a task is `pending`.
_PENDING_SHARE = 0.2
_END_WITHOUT_TIME = (
    b',"response":{"success":true,"video_url":"https://platform.cdn.acedata.cloud/v.mp4","state":"completed"}}'
)


class Arrivals(enum.StrEnum):
    """Arrival pattern of the tasks, with the same rate for all, and how they are polled."""

    #: One task every few seconds, so that the awaited tasks have all ages; each is polled separately.
    ALONE = "spread, separate polls"
    #: Many tasks at once, polled in batches.
    BURSTS = "bursts of 200"
    #: One task every few seconds; all awaited tasks fit into one batch, so each poll includes all of them.
    SPREAD = "spread, one batch"


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a simulation.

    Attributes:
        polls: Polls for each task, including the last one.
        lateness: Mean seconds from the end of a task until its waiter continues.
        requests: Requests for each task.
    """

    polls: float
    lateness: float
    requests: float


class Planned(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A planned task. Times are in seconds of the virtual clock.

    Attributes:
        id: The task id.
        begin: Time of its submission and the start of its wait.
        end: Time of its end.
        model: Model in its request, or empty.
        has_end_time: Whether its record has the end time.
    """

    id: str
    begin: float
    end: float
    model: str = ""
    has_end_time: bool = True


class _StoredTask:
    """A task of the service with the parts of its record."""

    __slots__ = ("end", "head", "pending_until", "tail")

    def __init__(self, task: Planned) -> None:
        head = write_head(task.id, _EPOCH + task.begin)
        if task.model:
            head = head.replace(b'"request":{', b'"request":{"model":"%s",' % task.model.encode())
        self.head = head
        self.tail = write_end(task.id, _EPOCH + task.end) if task.has_end_time else _END_WITHOUT_TIME
        self.pending_until = task.begin + _PENDING_SHARE * (task.end - task.begin)
        self.end = task.end

    def record(self, now: float) -> bytes:
        """Return the record at a time."""
        if now >= self.end:
            return self.head + self.tail
        return self.head + (PENDING if now < self.pending_until else PROCESSING)


class Service:
    """Transport that responds at once and counts requests.

    Attributes:
        ids: Number of polled ids, repeated ones included.
        requests: Number of requests.
    """

    def __init__(self, tasks: Iterable[Planned], clock: Callable[[], float]) -> None:
        self._tasks = {task.id: _StoredTask(task) for task in tasks}
        self._clock = clock
        self.ids = self.requests = 0

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        acquire_slot: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,  # noqa: ARG002  # no request fails
    ) -> T:
        """Respond with the records of the requested tasks."""
        if acquire_slot is not None:
            await acquire_slot()
        now = self._clock()
        self.requests += 1
        self.ids += len(request.ids)
        records = [self._tasks[task_id].record(now) for task_id in request.ids]
        body = records[0] if len(records) == 1 else b'{"items":[%s],"count":%d}' % (b",".join(records), len(records))
        return read(Response(status=200, headers={"date": _write_date(int(_EPOCH + now))}, body=body))

    async def close_idle(self) -> None:
        """Do nothing; there are no connections."""


def plan_tasks(law: Law, arrivals: Arrivals, seed: int, count: int = TASKS) -> list[Planned]:
    """Return tasks of a distribution in the order of arrival; the same seed gives the same tasks."""
    rng = random.Random(f"{law.name} {seed}")
    size = _BURST if arrivals is Arrivals.BURSTS else 1
    tasks = []
    for number in range(count):
        # The tasks of a burst are submitted within a second.
        begin = number // size * size * _APART + number % size / _BURST
        end = begin + law.draw_duration(rng, number, begin)
        tasks.append(Planned(id=f"{seed}-{number:05}", begin=begin, end=end, has_end_time=law.has_end_time))
    return tasks


def add_provider(slug: str, typical: float) -> str:
    """Register a provider like Luma with a typical duration in seconds, and return its slug."""
    register(msgspec.structs.replace(lookup("luma"), slug=slug, typical_duration=typical), replace=True)
    return slug


def simulate(
    tasks: Sequence[Planned], slug: str, policy: PollPolicy, *, seed: int, durations: Durations | None = None
) -> Simulation:
    """Simulate waits for all tasks, one from each submission on.

    Args:
        tasks: The tasks in the order of arrival.
        slug: The provider.
        policy: Polling policy of the client.
        seed: Seed of the client's random numbers.
        durations: Learned durations, updated by the simulation; None for none.
    """
    return run(_simulate(tasks, slug, policy, random.Random(seed), durations or Durations()))


async def _simulate(
    tasks: Sequence[Planned], slug: str, policy: PollPolicy, rng: random.Random, durations: Durations
) -> Simulation:
    clock = asyncio.get_running_loop().time
    service = Service(tasks, clock)
    runtime = Runtime(policy, RetryPolicy(), Observers(), rng, clock)
    poller = Poller(service, runtime=runtime, durations=durations)
    lateness = 0.0

    async def await_end(task: Planned) -> None:
        nonlocal lateness
        await wait_one(poller, (slug, task.id), None)
        lateness += clock() - task.end

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            await anyio.sleep_until(task.begin)
            group.create_task(await_end(task))
    await poller.close()
    count = len(tasks)
    return Simulation(polls=service.ids / count, lateness=lateness / count, requests=service.requests / count)


@functools.lru_cache(maxsize=16)
def _write_date(second: int) -> str:
    """Return a time in the HTTP date format."""
    return email.utils.formatdate(second, usegmt=True)
