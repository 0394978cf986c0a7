"""Virtual clock: exact times, sockets and threads before timers, and deadlock errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import fcntl
import math
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import aiosqlite
import anyio
import anyio.to_thread
import pytest
from aiohttp import ClientSession, web
from support import now

from acetasks.testing import VirtualClockDeadlockError, VirtualClockLoop, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

# Real seconds of work in a thread: long for the loop, short for the test run.
WORK = 0.01

# A socket option of Linux that Python does not define: the maximum bytes sent per second. At this rate, data stays in
# the kernel for some milliseconds.
SO_MAX_PACING_RATE = 47
PACING_RATE = 20_000_000
PAYLOAD = bytes(200_000)

on_linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux paces its sockets")


@contextlib.asynccontextmanager
async def near_timer() -> AsyncIterator[None]:
    """Keep a timer set so close that any jump reaches it."""
    timer = asyncio.get_running_loop().call_later(1e-9, lambda: None)
    yield
    timer.cancel()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a greeting, then send back all data until the other end stops sending."""
    writer.write(b"hello")
    writer.write(await reader.read())


@contextlib.asynccontextmanager
async def connection(
    handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], host: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server of the same loop, which closes its end when the handler returns."""
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await handler(reader, writer)
        await close(writer)
        served.set()

    async with await asyncio.start_server(serve, host, 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        yield reader, writer
        await close(writer)
        await served.wait()


async def close(writer: asyncio.StreamWriter) -> None:
    """Close one end of a connection whose other end may have been aborted."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def website(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve one page in the same loop."""
    application = web.Application()
    application.router.add_get("/", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://127.0.0.1:{1}/".format(*runner.addresses[0])
    await runner.cleanup()


# ------------------------------------------------------------------------------------------------------- time


def test_timers_run_in_order_at_exact_times() -> None:
    """Timers run in the order of their times, each at exactly its time."""

    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []
        for name, delay in (("late", 600.0), ("early", 0.1), ("middle", 2.5)):
            loop.call_later(delay, lambda name=name: seen.append((name, loop.time())))
        await asyncio.sleep(601)
        return seen

    assert run(main()) == [("early", 0.1), ("middle", 2.5), ("late", 600.0)]


def test_clock_is_as_exact_as_floating_point() -> None:
    """Thirty sleeps of 0.1 s end exactly where thirty additions do."""

    async def main() -> list[float]:
        times = []
        for _ in range(30):
            await asyncio.sleep(0.1)
            times.append(now())
        return times

    expected = [0.1]
    while len(expected) < 30:
        expected.append(expected[-1] + 0.1)
    assert run(main()) == expected


def test_timers_closer_than_a_nanosecond_run_separately() -> None:
    """A timer that is one unit in the last place after another runs at its own time."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        seen: list[float] = []
        for when in (1.0, math.nextafter(1.0, 2.0)):
            loop.call_at(when, lambda: seen.append(loop.time()))
        await asyncio.sleep(2)
        return seen

    assert run(main()) == [1.0, math.nextafter(1.0, 2.0)]


def test_clock_starts_at_a_given_time() -> None:
    """A clock that starts at a Unix time of today still runs its timers exactly."""

    async def main() -> tuple[float, float]:
        started = now()
        await asyncio.sleep(0.25)
        return started, now()

    assert run(main()) == (0.0, 0.25)
    assert run(main(), start=1_700_000_000.0) == (1_700_000_000.0, 1_700_000_000.25)


def test_sleep_of_a_month_ends_at_its_exact_time() -> None:
    """A sleep beyond asyncio's maximum wait of a day ends where one addition does."""

    async def main() -> float:
        await asyncio.sleep(30 * 86_400)
        return now()

    assert run(main(), start=0.1, end=math.inf) == 0.1 + 30 * 86_400


def test_time_stands_still_while_callbacks_are_ready() -> None:
    """A thousand iterations of the loop take no time although a timer is due soon."""

    async def main() -> float:
        async with near_timer():
            for _ in range(1000):
                await asyncio.sleep(0)
            return now()

    assert run(main()) == 0.0


async def wait_with_asyncio_timeout() -> None:
    """Wait with `asyncio.timeout`."""
    async with asyncio.timeout(5):
        await asyncio.sleep(600)


async def wait_with_wait_for() -> None:
    """Wait with `asyncio.wait_for`."""
    await asyncio.wait_for(asyncio.Event().wait(), 5)


async def wait_with_anyio() -> None:
    """Wait with `anyio.fail_after`."""
    with anyio.fail_after(5):
        await anyio.sleep_forever()


@pytest.mark.parametrize("wait", [wait_with_asyncio_timeout, wait_with_wait_for, wait_with_anyio])
def test_timeouts_end_on_time(wait: Callable[[], Coroutine[object, None, None]]) -> None:
    """The timeouts of asyncio and anyio end a wait at exactly their time."""

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await wait()
        return now()

    assert run(main()) == 5.0


# ---------------------------------------------------------------------------------------------------- sockets


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_socket_exchange_takes_no_time(host: str) -> None:
    """A connect, a greeting, an echo and a close of both ends all happen before the next timer."""

    async def main() -> tuple[bytes, float]:
        async with near_timer(), connection(echo, host) as (reader, writer):
            assert await reader.readexactly(5) == b"hello"
            writer.write(b"again")
            writer.write_eof()
            return await reader.read(), now()

    try:
        socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        pytest.skip(f"this machine has no {host}")
    assert run(main()) == (b"again", 0.0)


def test_reset_is_received_in_no_time() -> None:
    """The other end receives a reset before the next timer."""

    async def abort(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def main() -> float:
        async with near_timer(), connection(abort) as (reader, _):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            return now()

    assert run(main()) == 0.0


def test_http_exchange_takes_no_time() -> None:
    """An aiohttp client gets a response before the next timer, on new and on kept connections."""

    async def pong(request: web.Request) -> web.Response:
        response = web.Response(text="pong")
        if "close" in request.query:
            response.force_close()
        return response

    async def main() -> float:
        async with website(pong) as url, ClientSession() as session, near_timer():
            for query in ("", "", "?close", "") * 5:
                async with session.get(url + query) as response:
                    assert await response.text() == "pong"
            return now()

    assert run(main()) == 0.0


def test_http_response_takes_exactly_the_server_s_sleep() -> None:
    """Responses that a server delays arrive at exact times, concurrent or not."""

    async def slow_response(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return web.Response()

    async def main() -> list[float]:
        async with website(slow_response) as url, ClientSession() as session:

            async def get(seconds: float) -> float:
                async with session.get(url, params={"seconds": str(seconds)}) as response:
                    response.raise_for_status()
                return now()

            together = await asyncio.gather(get(120), get(0.5), get(7.25))
            # The server has closed the idle connections long before the second one.
            await asyncio.sleep(100_000)
            return [*together, await get(0.5)]

    assert run(main(), end=math.inf) == [120.0, 0.5, 7.25, 100_120.5]


async def pace(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Make the kernel delay sent data, which it does from the tenth segment on."""
    for _ in range(20):
        writer.write(b".")
        await reader.readexactly(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, PACING_RATE)


async def count_bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Echo each dot, then confirm the payload."""
    for _ in range(20):
        writer.write(await reader.readexactly(1))
    await reader.readexactly(len(PAYLOAD))
    writer.write(b"all")


@on_linux_only
def test_delayed_bytes_arrive_before_the_next_timer() -> None:
    """Time stands still until the kernel has sent all queued data."""

    async def main() -> tuple[bytes, float]:
        async with connection(count_bytes) as (reader, writer), near_timer():
            await pace(reader, writer)
            writer.write(PAYLOAD)
            return await reader.readexactly(3), now()

    assert run(main()) == (b"all", 0.0)


@on_linux_only
def test_delayed_end_of_connection_arrives_before_the_next_timer() -> None:
    """Time stands still until the other end has received all data sent before a close."""

    async def main() -> tuple[int, float]:
        received: asyncio.Future[tuple[int, float]] = asyncio.get_running_loop().create_future()

        async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for _ in range(20):
                writer.write(await reader.readexactly(1))
            received.set_result((len(await reader.read()), now()))

        async with connection(receive) as (reader, writer), near_timer():
            await pace(reader, writer)
            writer.write(PAYLOAD)
            writer.close()
            return await received

    assert run(main()) == (len(PAYLOAD), 0.0)


def test_paused_reader_does_not_stop_the_clock() -> None:
    """Time passes for a writer whose peer does not read yet, and no byte is lost."""
    size = 20_000_000

    async def main() -> tuple[float, int, float]:
        async def send(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(bytes(size))  # more than the kernel keeps

        async with connection(send) as (reader, _):
            await asyncio.sleep(600)
            slept = now()
            return slept, len(await reader.read()), now()

    assert run(main()) == (600.0, size, 600.0)


def test_sockets_work_without_kernel_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets work on a kernel that does not expose its queues."""

    def refuse(*_: object) -> bytes:
        raise OSError

    async def main() -> float:
        async with connection(echo) as (reader, writer):
            await asyncio.sleep(600)
            async with near_timer():
                writer.write_eof()
                assert await reader.read() == b"hello"
                return now()

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    assert run(main()) == 600.0


# ---------------------------------------------------------------------------------------------------- threads


async def work_in_asyncio_thread() -> None:
    """Work in asyncio's thread pool."""
    await asyncio.to_thread(time.sleep, WORK)


async def work_in_own_executor() -> None:
    """Work in a separate thread pool."""
    with concurrent.futures.ThreadPoolExecutor() as executor:
        await asyncio.get_running_loop().run_in_executor(executor, time.sleep, WORK)


async def work_in_anyio_thread() -> None:
    """Work in anyio's thread pool, twice, because the second call reuses an idle thread."""
    await anyio.to_thread.run_sync(time.sleep, WORK)
    await anyio.to_thread.run_sync(time.sleep, WORK)


async def work_in_aiosqlite_thread() -> None:
    """Open a database, call a slow function in it, and close it."""
    async with aiosqlite.connect(":memory:") as database:
        await database.create_function("work", 0, lambda: time.sleep(WORK))
        await database.execute("SELECT work()")


async def resolve_name() -> None:
    """Resolve a host name, which asyncio does in a thread."""
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


@pytest.mark.parametrize(
    "work",
    [work_in_asyncio_thread, work_in_own_executor, work_in_anyio_thread, work_in_aiosqlite_thread, resolve_name],
)
def test_work_in_threads_takes_no_virtual_time(work: Callable[[], Coroutine[object, None, None]]) -> None:
    """The loop waits in real time for a thread, even with a timer due."""

    async def main() -> float:
        async with near_timer():
            await work()
            return now()

    assert run(main()) == 0.0


def test_time_passes_again_after_work_in_threads() -> None:
    """Idle threads do not stop the clock."""

    async def main() -> float:
        await work_in_asyncio_thread()
        await work_in_anyio_thread()
        async with aiosqlite.connect(":memory:"):
            await asyncio.sleep(600)
        return now()

    assert run(main()) == 600.0


def test_joining_threads_takes_no_virtual_time() -> None:
    """Closing the loop waits in real time for a thread whose call was cancelled, beyond asyncio's own timeout."""
    finished = threading.Event()

    def work() -> None:
        time.sleep(WORK)
        finished.set()

    async def abandon() -> None:
        call = asyncio.get_running_loop().run_in_executor(None, work)
        await asyncio.sleep(0)
        call.cancel()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        loop = runner.get_loop()
        runner.run(abandon())
    assert finished.is_set()
    assert loop.time() == 0.0


def test_thread_waiting_for_virtual_time_is_a_deadlock() -> None:
    """A thread that waits for virtual time is a deadlock after `thread_patience`."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(asyncio.sleep(5), loop).result())

    with (
        pytest.raises(VirtualClockDeadlockError, match=r"1 calls in threads have not returned for 0\.02 real"),
        asyncio.Runner(loop_factory=lambda: VirtualClockLoop(thread_patience=0.02)) as runner,
    ):
        runner.run(main())


def test_signal_is_handled_during_a_real_wait() -> None:
    """A signal handler of the loop runs during a real wait, at no virtual time."""
    handled = threading.Event()

    def work() -> bool:
        os.kill(os.getpid(), signal.SIGUSR1)
        return handled.wait(5)

    async def main() -> tuple[bool, float]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, handled.set)
        try:
            return await asyncio.to_thread(work), loop.time()
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    assert run(main()) == (True, 0.0)


def test_keyboard_interrupt_ends_a_real_wait() -> None:
    """Ctrl-C during a real wait cancels the main task and is raised to the caller."""
    cancelled = threading.Event()

    def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        cancelled.wait(5)

    async def main() -> None:
        try:
            await asyncio.to_thread(work)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    # A shell makes its background jobs ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert cancelled.is_set()


# -------------------------------------------------------------------------------------------------- deadlocks


def test_deadlock_error_has_the_waiting_tasks() -> None:
    """The error has the virtual time, and the name and the stack of each waiting task."""

    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        asyncio.current_task().set_name("job-9")
        await asyncio.sleep(12.5)
        await asyncio.create_task(wait_for_nothing(), name="job-10")

    with pytest.raises(VirtualClockDeadlockError) as caught:
        run(main())
    assert caught.value.time == 12.5
    assert [task.name for task in caught.value.tasks] == ["job-9", "job-10"]
    outer, inner = caught.value.tasks[1].frames
    line = wait_for_nothing.__code__.co_firstlineno + 1
    assert outer == f"{__file__}:{line} in {wait_for_nothing.__qualname__}"
    assert inner.endswith("in Event.wait")
    message = str(caught.value)
    assert "at virtual time 12.5 s nothing is ready: no timer" in message
    assert f"\n  job-10\n    {outer}\n    {inner}" in message


@pytest.mark.parametrize("kind", ["coroutine", "generator", "async generator"])
def test_deadlock_error_has_all_visible_frames(kind: str) -> None:
    """The frames lead through awaited coroutines and generators, as far as Python exposes them."""

    class Wait:
        def __await__(self) -> object:
            yield from asyncio.Event().wait().__await__()

    async def generate() -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    async def main() -> None:
        match kind:
            case "coroutine":
                await asyncio.Event().wait()
            case "generator":
                await Wait()
            case "async generator":
                async for _ in generate():
                    pass

    with pytest.raises(VirtualClockDeadlockError) as caught:
        run(main())
    [task] = caught.value.tasks
    functions = [frame.rpartition(".")[2] for frame in task.frames]
    expected = {"coroutine": ["main", "wait"], "generator": ["main", "__await__"], "async generator": ["main"]}
    assert functions == expected[kind]


def test_infinite_sleep_is_a_deadlock() -> None:
    """An infinite sleep without any other activity is a deadlock."""
    with pytest.raises(VirtualClockDeadlockError):
        run(anyio.sleep_forever())


def test_loop_without_tasks_is_a_deadlock() -> None:
    """Running forever with nothing to do is a deadlock without waiting tasks."""
    with (
        contextlib.closing(VirtualClockLoop(start=3.0)) as loop,
        pytest.raises(VirtualClockDeadlockError, match=r"at virtual time 3\.0 s .* waiting tasks: none"),
    ):
        loop.run_forever()


def test_cleanup_works_after_a_deadlock() -> None:
    """After the error all tasks are cancelled, their clean-up may sleep, and threads and generators end."""
    cleaned: list[tuple[str, float]] = []

    async def generate() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await asyncio.sleep(1)
            cleaned.append(("generator", now()))

    async def main() -> None:
        await asyncio.to_thread(time.sleep, 0)
        await anext(generator)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(10)
            cleaned.append(("task", now()))

    generator = generate()
    threads = set(threading.enumerate())
    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        loop = runner.get_loop()
        with pytest.raises(VirtualClockDeadlockError):
            runner.run(main())
    assert cleaned == [("task", 10.0), ("generator", 11.0)]
    assert loop.is_closed()
    assert set(threading.enumerate()) <= threads


def test_loop_can_be_used_after_a_deadlock() -> None:
    """A loop runs the next coroutine after a deadlock, as the clean-up of fixtures needs."""

    async def sleep() -> float:
        await asyncio.sleep(2)
        return now()

    with asyncio.Runner(loop_factory=VirtualClockLoop) as runner:
        with pytest.raises(VirtualClockDeadlockError):
            runner.run(asyncio.Event().wait())
        assert runner.run(sleep()) == 2.0


def test_external_thread_can_wake_the_loop() -> None:
    """A thread that the loop did not start can wake it within `io_patience`."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        received: asyncio.Future[str] = loop.create_future()
        threading.Timer(WORK, loop.call_soon_threadsafe, (received.set_result, "result")).start()
        return await received

    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(io_patience=10)) as runner:
        assert runner.run(main()) == "result"


# ------------------------------------------------------------------------------------------------------- rest


def test_run_returns_or_raises() -> None:
    """`run` returns the coroutine's result or raises its exception."""

    async def fail() -> None:
        await asyncio.sleep(1)
        raise LookupError("gone")

    assert run(asyncio.sleep(600, "result")) == "result"
    with pytest.raises(LookupError, match="gone"):
        run(fail())


def test_repr() -> None:
    """The repr has the time, the state, and the numbers of timers and of calls in threads."""

    async def main() -> str:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(1.5)
        async with near_timer():
            call = asyncio.ensure_future(asyncio.to_thread(time.sleep, 0))
            await asyncio.sleep(0)
            shown = repr(loop)
            await call
            return shown

    with contextlib.closing(VirtualClockLoop(start=1)) as loop:
        assert repr(loop) == "<VirtualClockLoop time=1.0 idle, 0 timers, 0 calls in threads>"
        assert loop.run_until_complete(main()) == "<VirtualClockLoop time=2.5 running, 1 timers, 1 calls in threads>"
        loop.run_until_complete(loop.shutdown_default_executor())
    assert repr(loop) == "<VirtualClockLoop time=2.5 closed, 0 timers, 0 calls in threads>"
