"""Several clients with one token, each with a share of its limit: together they keep it, and nothing starves."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest

from acetasks import PollPolicy
from acetasks.providers import lookup
from acetasks.testing.requests import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks import Client
    from acetasks.testing import AceServer, RecordedRequest

#: The limit of the token, in requests per second, the clients that share it, and their tasks.
LIMIT, CLIENTS, TASKS = 60, 4, 160
LUMA = lookup("luma")


async def use(client: Client, tasks: int) -> None:
    """Submit tasks at once and await them, and read the history again and again meanwhile."""

    async def read_history() -> None:
        while True:
            async for _ in client.history("luma", limit=2):
                pass

    reading = asyncio.create_task(read_history())
    await asyncio.gather(*(client.run("luma", {"prompt": "a cat"}) for _ in range(tasks)))
    reading.cancel()
    await asyncio.wait([reading])


def count_most(times: list[float]) -> int:
    """Return the largest number of sorted times in a second, both of its ends included."""
    return max(sum(time <= later <= time + 1.0 for later in times[index:]) for index, time in enumerate(times))


def longest_gap(requests: list[RecordedRequest]) -> float:
    """Return the longest time between two polls of a task, in intervals."""
    polls: dict[str, list[float]] = collections.defaultdict(list)
    for seen in requests:
        if seen.action in {Action.RETRIEVE, Action.RETRIEVE_BATCH}:
            for task_id in seen.ids:
                polls[task_id].append(seen.time)
    gaps = [later - earlier for times in polls.values() for earlier, later in itertools.pairwise(times)]
    return max(gaps) / LUMA.poll_interval(None)


async def test_the_clients_keep_the_limit_together(server: AceServer, new_client: Callable[..., Client]) -> None:
    """In every second, with submissions, polls and histories at once; each task is polled within 1.3 intervals."""
    rng = random.Random(5)
    for _ in range(TASKS):
        server.script("luma", after=rng.uniform(10.0, 20.0))
    policy = PollPolicy(schedule="fixed", jitter=0.1, batch_size=10, max_rate=LIMIT // CLIENTS)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for seed in range(CLIENTS):
            client = await stack.enter_async_context(new_client(policy=policy, rng=random.Random(seed)))
            group.create_task(use(client, TASKS // CLIENTS))

    times = [seen.time for seen in server.requests]
    assert LIMIT / 1.25 < count_most(times) <= LIMIT
    assert longest_gap(server.requests) <= 1.3
    assert server.submissions == TASKS


async def test_no_kind_of_request_starves(server: AceServer, new_client: Callable[..., Client]) -> None:
    """While more of each kind wait than the share allows, they take turns."""
    ids = [server.add("luma", after=1000) for _ in range(100)]
    policy = PollPolicy(schedule="fixed", interval=1, batch_size=1, max_rate=6)
    async with new_client(policy=policy) as client:
        waiting = asyncio.create_task(client.wait_all("luma", ids))
        using = asyncio.create_task(use(client, 200))
        await asyncio.sleep(30)
        for task in (waiting, using):
            task.cancel()
        await asyncio.wait([waiting, using])

    counts = collections.Counter(seen.action for seen in server.requests)
    polls = counts[Action.RETRIEVE] + counts[Action.RETRIEVE_BATCH]
    assert [counts[Action.SUBMIT], counts[Action.HISTORY], polls] == pytest.approx([54, 54, 54], abs=3)


async def test_submissions_alone_use_the_share(server: AceServer, new_client: Callable[..., Client]) -> None:
    """They do not leave room for what does not wait."""
    async with new_client(policy=PollPolicy(max_rate=10)) as client:
        await asyncio.gather(*(client.submit("luma", {"prompt": "a cat"}) for _ in range(100)))
    times = [seen.time for seen in server.requests]
    assert times[-1] - times[0] == pytest.approx(99 * 0.11, rel=0.02)


async def test_services_have_a_rate_each(server: AceServer, new_client: Callable[..., Client]) -> None:
    """Ace Data Cloud and useapi.net have a token and a limit each."""
    async with new_client(policy=PollPolicy(max_rate=0.1)) as client:
        await asyncio.gather(
            client.retrieve("luma", server.add("luma")),
            client.retrieve("useapi-pixverse", server.add("useapi-pixverse")),
        )
        assert asyncio.get_running_loop().time() < 1.0
