"""Program that uses a client in every way, for `python -X dev -W error`; it prints its slowest callback.

The time is that of the processor, in seconds: on a busy machine any callback may take long.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import time

import acetasks
from acetasks.testing.server import AceServer

_run_callback = asyncio.Handle._run  # noqa: SLF001  # there is no public way
_seconds: list[float] = []


def run_timed(handle: asyncio.Handle) -> None:
    """Run a callback of the loop, and measure it."""
    started_at = time.thread_time()
    _run_callback(handle)
    _seconds.append(time.thread_time() - started_at)


async def use(server: AceServer, client: acetasks.Client) -> None:
    """Submit, wait for one and for many, and end waits in every way."""
    handles = [await client.submit("luma", {"prompt": "a cat"}) for _ in range(5)]
    await handles[0].wait(timeout=20)
    many = []
    for _ in range(200):
        many.append(("flux", server.add("flux", after=0.3)))
        await asyncio.sleep(0)  # the simulated service's work is not measured
    await client.wait_all([*handles, *many], timeout=20)
    async for _ in client.as_completed("luma", [server.add("luma", after=after) for after in (0, 60)], timeout=20):
        break
    async for _ in (await client.submit("luma", {"prompt": "a dog"})).updates():
        break
    forever = server.add("luma", outcome="forever")
    with contextlib.suppress(acetasks.TaskTimeoutError):
        await client.wait("luma", forever, timeout=0.2)
    with contextlib.suppress(acetasks.TaskFailedError):
        await client.wait("luma", server.add("luma", after=0, outcome="failed"), timeout=20)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await client.wait_all([("luma", forever), ("flux", server.add("flux", after=0))])
    left = asyncio.create_task(client.wait("luma", forever))
    await asyncio.sleep(0.1)
    server.fail(reset=True)
    with contextlib.suppress(acetasks.SubmissionUncertainError):
        await client.submit("luma", {"prompt": "a bird"})
    await client.close()
    with contextlib.suppress(acetasks.ClientClosedError):
        await left


async def warm_up() -> None:
    """Open a client: anyio and aiohttp import some modules when they are first used."""
    asyncio.get_running_loop().slow_callback_duration = math.inf
    async with acetasks.Client("token"):
        pass


async def main() -> None:
    """Use a client against the simulated service."""
    asyncio.get_running_loop().slow_callback_duration = math.inf  # in real time
    async with AceServer() as server:
        server.script("luma", after=0.3, times=None)
        policy = acetasks.PollPolicy(interval=0.1)
        async with acetasks.Client(server.token, base_url=server.url, policy=policy) as client:
            await use(server, client)


logging.disable()  # an uncertain submission is logged
asyncio.run(warm_up())
asyncio.Handle._run = run_timed  # noqa: SLF001
asyncio.run(main())
gc.collect()
print(max(_seconds))  # noqa: T201  # it is the program's output
