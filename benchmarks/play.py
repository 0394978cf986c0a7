"""Plays tasks that take as long as a law says to the real poller, on the virtual clock: hours in a second.

There is no HTTP: the service is a transport, which answers each request at once, as luma does, and counts the ids that
it is asked for. What a play shows is the same on every machine.
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
from acetasks.durations import Durations
from acetasks.poller import Poller
from acetasks.providers import lookup, register
from acetasks.testing.clock import run
from acetasks.waiting import wait_for
from acetasks.wire import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from laws import Law

    from acetasks.wire import Request

T = TypeVar("T")

#: Tasks that are awaited of each law.
TASKS = 1000
#: Seconds from one task to the next, where they are spread; and how many come at once where they do not.
_APART, _BURST = 3.0, 200
#: The service's time when its clock begins, in seconds since the epoch; not a whole one, as nothing is in step.
_EPOCH = 1_790_000_000.37
#: A task says `pending` up to this share of its time.
_PENDING_SHARE = 0.2
_END_UNTOLD = (
    b',"response":{"success":true,"video_url":"https://platform.cdn.acedata.cloud/v.mp4","state":"completed"}}'
)


class Arrivals(enum.StrEnum):
    """How tasks come, as many in an hour each way, and how they are asked for."""

    #: One every few seconds, so that those who are waited for at once are of all ages; each is asked for alone.
    ALONE = "spread, each alone"
    #: Many at once, in batches.
    BURSTS = "bursts of 200"
    #: One every few seconds; all that are waited for fit into one batch, so that whoever comes takes all along.
    SPREAD = "spread, in one batch"


class Play(msgspec.Struct, frozen=True, kw_only=True):
    """What a play has shown.

    Attributes:
        looks: Ids asked for each task, the last look included.
        lateness: Seconds from the end of a task to the wake-up of its waiter, on average.
        requests: Requests for each task.
    """

    looks: float
    lateness: float
    requests: float


class Planned(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task as it is to be; times are in seconds of the virtual clock.

    Attributes:
        id: Its id.
        begin: When it is submitted, and its waiter comes.
        end: When it is over.
        model: What makes it; empty where nothing is said of that.
        is_told: Whether its record tells when it ended.
    """

    id: str
    begin: float
    end: float
    model: str = ""
    is_told: bool = True


class _Held:
    """A task that the service holds, with what its record is made of, written once."""

    __slots__ = ("end", "head", "pending_until", "tail")

    def __init__(self, task: Planned) -> None:
        head = write_head(task.id, _EPOCH + task.begin)
        if task.model:
            head = head.replace(b'"request":{', b'"request":{"model":"%s",' % task.model.encode())
        self.head = head
        self.tail = write_end(task.id, _EPOCH + task.end) if task.is_told else _END_UNTOLD
        self.pending_until = task.begin + _PENDING_SHARE * (task.end - task.begin)
        self.end = task.end

    def record(self, now: float) -> bytes:
        """Write the record as it is at a time."""
        if now >= self.end:
            return self.head + self.tail
        return self.head + (PENDING if now < self.pending_until else PROCESSING)


class Service:
    """A transport that answers at once, and counts.

    Attributes:
        ids: Ids that it was asked for, repeated ones included.
        requests: Requests.
    """

    def __init__(self, tasks: Iterable[Planned], clock: Callable[[], float]) -> None:
        self._held = {task.id: _Held(task) for task in tasks}
        self._clock = clock
        self.ids = self.requests = 0

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,  # noqa: ARG002  # none of them fails
    ) -> T:
        """Answer with the records of what is asked for."""
        if admit is not None:
            await admit()
        now = self._clock()
        self.requests += 1
        self.ids += len(request.ids)
        records = [self._held[task_id].record(now) for task_id in request.ids]
        body = records[0] if len(records) == 1 else b'{"items":[%s],"count":%d}' % (b",".join(records), len(records))
        return read(Response(status=200, headers={"date": _write_date(int(_EPOCH + now))}, body=body))

    async def rest(self) -> None:
        """Have nothing to give up."""


def plan_tasks(law: Law, arrivals: Arrivals, seed: int, count: int = TASKS) -> list[Planned]:
    """Plan tasks of a law, in the order in which they come; the same seed gives the same tasks."""
    draw = random.Random(f"{law.name} {seed}")
    size = _BURST if arrivals is Arrivals.BURSTS else 1
    tasks = []
    for number in range(count):
        # Those of a burst are submitted one after the other, within a second.
        begin = number // size * size * _APART + number % size / _BURST
        end = begin + law.draw(draw, number, begin)
        tasks.append(Planned(id=f"{seed}-{number:05}", begin=begin, end=end, is_told=law.is_told))
    return tasks


def add_provider(slug: str, typical: float) -> str:
    """Add a provider like luma whose tasks usually take so many seconds; returns its slug."""
    register(msgspec.structs.replace(lookup("luma"), slug=slug, typical_duration=typical), replace=True)
    return slug


def play(
    tasks: Sequence[Planned], slug: str, policy: PollPolicy, *, seed: int, durations: Durations | None = None
) -> Play:
    """Await every task, each by a waiter of its own that comes when it is submitted.

    Args:
        tasks: They, in the order in which they come.
        slug: Of the provider.
        policy: How to ask.
        seed: Of the client's randomness.
        durations: What the client knows of how long tasks take, and adds to; None for nothing.
    """
    return run(_play(tasks, slug, policy, random.Random(seed), durations or Durations()))


async def _play(
    tasks: Sequence[Planned], slug: str, policy: PollPolicy, rng: random.Random, durations: Durations
) -> Play:
    clock = asyncio.get_running_loop().time
    service = Service(tasks, clock)
    poller = Poller(
        service,
        policy=policy,
        retry=RetryPolicy(),
        durations=durations,
        rng=rng,
        clock=clock,
        emit=lambda _: None,
        is_watched=False,
    )
    lateness = 0.0

    async def await_end(task: Planned) -> None:
        nonlocal lateness
        await wait_for(poller, (slug, task.id), None)
        lateness += clock() - task.end

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            await anyio.sleep_until(task.begin)
            group.create_task(await_end(task))
    await poller.close()
    count = len(tasks)
    return Play(looks=service.ids / count, lateness=lateness / count, requests=service.requests / count)


@functools.lru_cache(maxsize=16)
def _write_date(second: int) -> str:
    """Write a time as HTTP does, to the second."""
    return email.utils.formatdate(second, usegmt=True)
