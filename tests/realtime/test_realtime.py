"""Tests on the standard event loop of asyncio in real time."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from aiohttp import web

import acetasks
from acetasks import PollPolicy, TaskState
from acetasks.testing.server import AceServer

pytestmark = pytest.mark.real_clock


async def test_awaits_tasks_of_several_providers():
    """Submitted tasks of several providers end as expected."""
    providers = ("pixverse", "veo", "luma", "flux")
    async with AceServer(speed=1000) as server:
        policy = PollPolicy(interval=0.05)
        async with acetasks.Client(server.token, base_url=server.url, policy=policy) as client:
            handles = [await client.submit(provider, {"prompt": "a cat"}) for provider in providers for _ in range(5)]
            tasks = await client.wait_all(handles, timeout=20)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}


async def test_timeout_while_response_hangs():
    """A wait ends within 0.1 s of its timeout while a response hangs half-way."""

    async def hang(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"id": "t", "response": {"state": ')
        with contextlib.suppress(ConnectionError):
            while True:  # until the client disconnects
                await asyncio.sleep(0.05)
                await response.write(b" ")
        return response

    app = web.Application()
    app.router.add_post("/luma/tasks", hang)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    loop = asyncio.get_running_loop()
    async with acetasks.Client("test-token", base_url=url) as client:

        async def wait() -> float:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait("luma", "t", timeout=0.5)
            return loop.time()

        async def sleep() -> float:
            # The machine may be busy, so a sleep of the same length is the reference.
            await asyncio.sleep(0.5)
            return loop.time()

        waited, slept = await asyncio.gather(wait(), sleep())
    await runner.cleanup()
    assert abs(waited - slept) < 0.1


async def test_close_ends_all_asyncio_tasks():
    """After the client is closed, all its asyncio tasks have ended."""
    before = asyncio.all_tasks()
    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        with pytest.raises(acetasks.TaskTimeoutError):
            await client.wait("luma", server.add("luma", outcome="forever"), timeout=0.2)
        await client.wait("luma", server.add("luma", after=0))
    assert asyncio.all_tasks() == before
