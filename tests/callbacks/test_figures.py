"""What callbacks save, and what forged ones cost: the figures of the documentation."""

from __future__ import annotations

import asyncio
import collections
import functools
import gc
import io
import random
import tracemalloc
from typing import TYPE_CHECKING

import aiohttp
import pytest
from callback_figures import RUNS, Figures, measure, serve

from acetasks.testing import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import acetasks
    from acetasks import Callbacks
    from acetasks.testing.server import AceServer

# Ten seconds of CPU, of which most is for a thousand connections: much more if traced, on a busy machine.
pytestmark = pytest.mark.timeout(400)

#: Tasks that forged callbacks name.
TASKS = 100


@functools.cache
def figures(**options: float) -> Figures:
    """Return the figures of a run; several tests compare with one of them."""
    return run(measure(**options))


def test_a_thousand_tasks_with_callbacks() -> None:
    """All end within 26 ms, and no more than a twentieth of the ids are polled."""
    without, with_ = figures(callbacks=False), figures()
    assert without.ended == with_.ended == 1000
    assert with_.median <= with_.worst <= 0.026
    assert with_.ids <= without.ids / 20
    # Ends that are further apart than a poll is delayed cannot share a request.
    assert with_.requests <= 1.1 * without.requests


def test_all_callbacks_lost() -> None:
    """Every task ends, in at most a tenth of the polls; after the first rare poll they are polled as usual."""
    without, with_ = figures(callbacks=False), figures(drop_rate=1.0)
    assert with_.ended == 1000
    assert with_.ids <= without.ids / 10
    assert with_.requests <= without.requests / 10
    assert with_.worst < 1.2 * 154


def test_ends_that_coincide_share_requests() -> None:
    """Tasks that end together are polled in full batches."""
    options = RUNS["submitted at once, each takes 150 s"] | {"tasks": 200}
    without, with_ = figures(callbacks=False, **options), figures(**options)
    assert (with_.requests, with_.ids, with_.ended) == (4, 200, 200)
    assert with_.requests <= without.requests / 10
    assert with_.worst <= 0.026


class Forger:
    """Sends forged callbacks for some tasks of a client.

    Attributes:
        send: Posts a body to a URL, and returns the status of the response.
        ids: The ids of the tasks.
        urls: Their callback URLs.
    """

    def __init__(self, send: Callable[[str, bytes], Awaitable[int]]) -> None:
        self.send = send
        self.ids: list[str] = []
        self.urls: list[str] = []
        self._rng = random.Random(2)

    async def forge(self, number: int) -> int:
        """Send one, and return the status."""
        # 1. A made-up token.   2. A changed one.   3. That of another task.   4. A genuine one with its own id.
        # 5. A genuine one with an unknown id.   6. Far too large.
        kind, which = number % 6, number // 6 % TASKS
        url, task_id, more = self.urls[which], self.ids[which], 0
        if kind == 0:
            url = url[:-43] + "".join(self._rng.choices("abcdefgh", k=43))
        elif kind == 1:
            url = url[:-2] + "~~"
        elif kind == 2:
            task_id = self.ids[which - 1]
        elif kind == 4:
            task_id = f"unknown {number}"
        elif kind == 5:
            more = 2000
        return await self.send(url, b'{"task_id": "%s"}' % task_id.encode() + b" " * more)


async def send_asgi(callbacks: Callbacks, url: str, body: bytes) -> int:
    """Call the ASGI app."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, object]) -> None:
        statuses.append(message.get("status", 0))

    scope = {"type": "http", "method": "POST", "path": url, "headers": []}
    await callbacks.asgi_app()(scope, receive, send)
    return statuses[0]


async def send_http(http: aiohttp.ClientSession, url: str, body: bytes) -> int:
    """Post to the aiohttp application."""
    async with http.post(url, data=io.BytesIO(body)) as response:
        return response.status


# Over HTTP, memory has the caches of URLs of aiohttp, which are bounded, and the sender.
@pytest.mark.parametrize(("app", "count", "grown"), [("asgi", 10_000, 10_000), ("aiohttp", 600, 150_000)])
async def test_forged_callbacks(
    app: str, count: int, grown: int, server: AceServer, new_client: Callable[..., acetasks.Client]
) -> None:
    """At most one look for each known id, the response of a genuine callback to all, and no memory."""
    server.script("luma", after=5000, times=None)
    async with (
        serve(max_bytes=1000) as callbacks,
        new_client(callbacks=callbacks) as client,
        aiohttp.ClientSession() as http,
    ):
        partial = functools.partial(send_asgi, callbacks) if app == "asgi" else functools.partial(send_http, http)
        forger = Forger(partial)
        handles = [await client.submit("luma", {"prompt": "a cat"}) for _ in range(TASKS)]
        waits = [asyncio.create_task(handle.wait()) for handle in handles]
        await asyncio.sleep(1)
        forger.ids = [handle.id for handle in handles]
        forger.urls = [request.body["callback_url"] for request in server.requests]
        server.clear_requests()
        statuses, sizes = collections.Counter[int](), list[int]()
        tracemalloc.start()
        for part in range(2):
            for number in range(count // 2):
                statuses[await forger.forge(part * count // 2 + number)] += 1
            await asyncio.sleep(1)
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
        looks = collections.Counter(task_id for request in server.requests for task_id in request.ids)
        for wait in waits:
            wait.cancel()
    assert set(statuses) == {204, 413}
    assert statuses[413] == count // 6
    assert set(looks) == set(forger.ids)
    assert max(looks.values()) == 1
    assert sizes[1] - sizes[0] < grown
