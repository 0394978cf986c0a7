"""Timers of the library, which are late where the event loop was held up."""

from __future__ import annotations

import asyncio

import pytest
from support import hold_up, now

import acetasks
from acetasks._runtime import Timer, limit_time


async def test_timer_calls_at_its_time():
    """Once, with nothing before, and not after it was cancelled."""
    rung = []
    Timer(2.5, lambda: rung.append(now()))
    cancelled = Timer(2.0, lambda: rung.append(None))
    cancelled.cancel()
    await asyncio.sleep(10)
    assert rung == [2.5]


@pytest.mark.parametrize(("late", "rung_at"), [(0.05, 1.05), (0.09, 1.09), (0.2, 1.25), (600.0, 601.05)])
async def test_late_timer_waits_for_what_arrived(late, rung_at):
    """More than a tenth of a second late, it waits a twentieth longer."""
    rung = []
    Timer(1.0, lambda: rung.append(now()))
    await asyncio.sleep(0)
    hold_up(1.0 + late)
    await asyncio.sleep(1)
    assert rung == [pytest.approx(rung_at)]


async def test_limit_ends_a_block_in_time():
    """`TimeoutError` comes at the limit; None is no limit, and a block that has ended is left alone."""
    async with limit_time(5):
        await asyncio.sleep(1)
    async with limit_time(None):
        await asyncio.sleep(1000)
    with pytest.raises(TimeoutError):
        async with limit_time(5):
            await asyncio.sleep(1000)
    assert now() == 1006.0


async def test_cancellation_passes_a_limit():
    """A cancellation from outside stays one."""

    async def work() -> None:
        async with limit_time(5):
            await asyncio.sleep(1000)

    task = asyncio.create_task(work())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestHeldUp:
    """The loop stands still past a timeout while the response arrives."""

    @pytest.mark.parametrize("call", ["retrieve", "submit"])
    async def test_response_in_the_socket_is_read(self, answer_late, call):
        """Neither a poll is sent again nor a submission uncertain."""
        retry = acetasks.RetryPolicy(timeout=1, submit_timeout=1)
        url, requests = await answer_late(b'{"id":"t","task_id":"t","response":{"state":"processing"}}')
        async with acetasks.Client("token", base_url=url, retry=retry) as client:
            if call == "submit":
                assert (await client.submit("luma", {"prompt": "a cat"})).id == "t"
            else:
                assert (await client.retrieve("luma", "t")).state is acetasks.TaskState.RUNNING
        assert len(requests) == 1

    @pytest.mark.parametrize("call", ["wait", "wait_all", "as_completed"])
    async def test_wait_sees_the_end_in_the_socket(self, answer_late, call):
        """A finished task is returned, in spite of the timeout of the wait."""
        body = b'{"id":"t","response":{"state":"completed","video_url":"https://files.example/t.mp4"}}'
        url, requests = await answer_late(body)
        async with acetasks.Client("token", base_url=url) as client:
            if call == "wait":
                task = await client.wait("luma", "t", timeout=5)
            elif call == "wait_all":
                (task,) = await client.wait_all("luma", ["t"], timeout=5)
            else:
                (task,) = [task async for task in client.as_completed("luma", ["t"], timeout=5)]
        assert task.state is acetasks.TaskState.SUCCEEDED
        assert len(requests) == 1

    @pytest.fixture
    async def answer_late(self):
        """Starts a service that answers at once and holds the loop up for 20 s at the first response."""
        servers = []

        async def start(body: bytes) -> tuple[str, list[bytes]]:
            requests: list[bytes] = []
            body += b" " * 600_000  # which takes several steps of the loop to read

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                requests.append(await reader.readuntil(b"}"))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
                if len(requests) == 1:
                    hold_up(20)
                writer.close()

            servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
            return f"http://127.0.0.1:{servers[0].sockets[0].getsockname()[1]}", requests

        yield start
        for server in servers:
            server.close()
