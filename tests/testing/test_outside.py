"""Virtual clock beside what is outside the loop: processes, servers in threads, timers, hosts, and endless code."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest
from support import now

from acetasks.testing import (
    AceServer,
    VirtualClockAddressError,
    VirtualClockDeadlockError,
    VirtualClockLoop,
    VirtualClockWarning,
    run,
)
from acetasks.testing.addresses import is_public

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

#: Real seconds until something outside the loop happens.
SOON = 0.1

on_linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux exposes the state of its sockets")


def run_on(main: Coroutine[object, None, object], **options: object) -> object:
    """Run a coroutine on a loop with these options."""
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(**options)) as runner:
        return runner.run(main)


@contextlib.contextmanager
def thread_server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve connections in a thread with blocking sockets, and return the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def answer_later(connection: socket.socket) -> None:
    """Answer each request after a while, in two parts."""
    while connection.recv(100):
        time.sleep(SOON)
        connection.sendall(b"first ")
        time.sleep(0.005)
        connection.sendall(b"second\n")


# ---------------------------------------------------------------------------------------------------- outside


@pytest.mark.parametrize("command", ["exec", "shell"])
def test_child_process_is_awaited_in_real_time(command: str) -> None:
    """A process that ends in real time within the limit does so on the virtual clock."""
    program = [sys.executable, "-c", f"import time; time.sleep({SOON})"]

    async def main() -> tuple[int, float]:
        if command == "exec":
            process = await asyncio.create_subprocess_exec(*program)
        else:
            process = await asyncio.create_subprocess_shell(f"sleep {SOON}")
        code = await asyncio.wait_for(process.wait(), 60)
        await asyncio.sleep(600)
        return code, now()

    assert run(main()) == (0, 600.0)


@on_linux_only
def test_response_of_a_server_in_a_thread_arrives_before_the_timeout() -> None:
    """Requests to a server in a thread are answered within their limits, and idle connections let time jump."""

    async def main() -> list[object]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        seen = []
        for _ in range(2):
            writer.write(b"request")
            seen += [await asyncio.wait_for(reader.readline(), 60), now()]
            await asyncio.sleep(600)
        writer.close()
        await writer.wait_closed()
        return seen

    with thread_server(answer_later) as port:
        assert run(main()) == [b"first second\n", 0.0, b"first second\n", 600.0]


@on_linux_only
def test_greeting_of_a_server_in_a_thread_arrives_before_the_timeout() -> None:
    """The first bytes of a server that speaks first are awaited."""

    def greet(connection: socket.socket) -> None:
        time.sleep(SOON)
        connection.sendall(b"hello\n")

    async def main() -> tuple[bytes, float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        line = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        await writer.wait_closed()
        return line, now()

    with thread_server(greet) as port:
        assert run(main()) == (b"hello\n", 0.0)


@on_linux_only
def test_timeout_of_a_silent_server_passes_in_real_time() -> None:
    """A server that does not answer runs into the limit of the request, after as many real seconds."""

    async def main() -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"request")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), SOON)
        writer.close()
        await writer.wait_closed()
        return now()

    with thread_server(lambda connection: connection.recv(100) and connection.recv(100)) as port:
        assert run(main()) == SOON


def test_timer_in_a_thread_fires_before_the_timeout() -> None:
    """A `threading.Timer` that was started in the loop fires within a limit on the virtual clock."""

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        threading.Timer(SOON, loop.call_soon_threadsafe, (future.set_result, "fired")).start()
        return await asyncio.wait_for(future, 60), now()

    assert run(main()) == ("fired", 0.0)


def test_timers_started_before_the_run_are_ignored() -> None:
    """The watchdog of a test runner does not hold up virtual time."""
    watchdog = threading.Timer(600, lambda: None)
    watchdog.start()
    try:
        assert run(asyncio.sleep(300, "done")) == "done"
    finally:
        watchdog.cancel()
        watchdog.join()


def test_long_work_outside_the_loop_is_named_in_a_warning() -> None:
    """After its patience the clock goes on, once and with a warning that names the process and the clock."""

    async def main() -> float:
        process = await asyncio.create_subprocess_exec("sleep", "60")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(process.wait(), 50)
        await asyncio.sleep(600)
        process.kill()
        await process.wait()
        return now()

    with pytest.warns(VirtualClockWarning, match=r"0\.05 real seconds of waiting for the process \d+: .*real_clock"):
        assert run_on(main(), outside_patience=0.05) == 650.0


# ---------------------------------------------------------------------------------------------------- endless


def test_endless_polling_ends_at_the_end_of_time() -> None:
    """Code that sleeps in a loop for ever ends with an error that lists the tasks, after a day by default."""

    async def poll() -> None:
        while True:  # noqa: ASYNC110  # what is tested
            await asyncio.sleep(7)

    message = r"not ended within 86400 s of virtual time.*\n.*Task-"
    with pytest.raises(VirtualClockDeadlockError, match=message) as caught:
        run(poll())
    assert caught.value.time == 7 * (86_400 // 7)
    with pytest.raises(VirtualClockDeadlockError, match=r"not ended within 60 s"):
        run(poll(), end=60)


def test_end_counts_from_the_start_of_each_run() -> None:
    """A loop that is used for several tests has a day for each of them."""
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(end=100)) as runner:
        for _ in range(3):
            runner.run(asyncio.sleep(90))
        assert runner.get_loop().time() == 270.0


def test_end_must_be_positive() -> None:
    """A negative end, or none at all, is refused."""
    with pytest.raises(ValueError, match="end must be a number of seconds above 0, got 0"):
        VirtualClockLoop(end=0)


def test_spinning_is_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that spins on `sleep(0)` until a time that never comes ends with an error that says so."""
    monkeypatch.setattr("acetasks.testing.clock._MAX_SPINS", 1000)

    async def spin() -> None:
        while now() < 1:  # noqa: ASYNC110  # what is tested
            await asyncio.sleep(0)

    with pytest.raises(VirtualClockDeadlockError, match=r"1,000 times without any task waiting.*\n.*\n.* in test_spin"):
        run(spin())


def test_spinning_until_a_thread_returns_is_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spinning while a thread works is waiting in real time."""
    monkeypatch.setattr("acetasks.testing.clock._MAX_SPINS", 100)

    async def main() -> bool:
        call = asyncio.ensure_future(asyncio.to_thread(time.sleep, SOON))
        while not call.done():  # noqa: ASYNC110  # what is tested
            await asyncio.sleep(0)
        return True

    assert run(main())


def test_thread_that_keeps_requesting_runs_out_of_patience() -> None:
    """The patience counts from the start of a call, whatever else the thread does to the loop."""
    stopped = threading.Event()

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def keep_requesting() -> None:
            while not stopped.wait(0.005):
                loop.call_soon_threadsafe(lambda: None)

        await asyncio.to_thread(keep_requesting)

    with (
        pytest.raises(VirtualClockDeadlockError, match=r"have not returned for 0\.1 real seconds.*waits in vain"),
        asyncio.Runner(loop_factory=lambda: VirtualClockLoop(thread_patience=0.1)) as runner,
    ):
        try:
            runner.run(main())
        finally:
            stopped.set()


# -------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("api.acedata.cloud", True),
        ("api.acedata.cloud.", True),
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("fe80::1%eth0", False),
        ("localhost", False),
        ("postgres", False),
        ("db.svc.cluster.local", False),
        ("files.example", False),
    ],
)
def test_public_hosts(host: str, *, expected: bool) -> None:
    """Names of containers, local domains and private addresses are not public."""
    assert is_public(host) is expected


@pytest.mark.parametrize("host", ["api.acedata.cloud", "8.8.8.8"])
def test_real_host_is_refused_even_if_the_code_goes_on(host: str) -> None:
    """A connection to a real host ends the run, although the code handles the error and waits for ever."""

    async def main() -> None:
        with contextlib.suppress(Exception):
            await asyncio.open_connection(host, 443)
        await asyncio.Event().wait()

    with pytest.raises(VirtualClockAddressError, match=rf"connects to the real host '{host}': pass base_url"):
        run_on(main(), allowed_hosts=())


def test_refusal_is_raised_if_the_code_ends_at_once() -> None:
    """A run that ends in the same iteration of the loop fails all the same."""

    async def main() -> str:
        asyncio.get_running_loop().create_task(asyncio.open_connection("api.acedata.cloud", 443))
        await asyncio.sleep(0)
        return "fine"

    with pytest.raises(VirtualClockAddressError):
        run_on(main(), allowed_hosts=())


def test_allowed_and_local_hosts_are_resolved() -> None:
    """Allowed hosts and those of this machine are passed on to the resolver."""

    async def main() -> list[bool]:
        loop = asyncio.get_running_loop()
        return [bool(await loop.getaddrinfo(host, 80)) for host in ("localhost", "8.8.8.8")]

    assert run_on(main(), allowed_hosts=("8.8.8.8",)) == [True, True]


def test_service_in_a_loop_that_does_not_run_is_an_error() -> None:
    """A connection to a simulated service in another, idle loop ends the run with what to do."""

    async def connect(port: int) -> None:
        await asyncio.open_connection("127.0.0.1", port)

    with asyncio.Runner() as other:
        server = other.run(AceServer().start())
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(VirtualClockAddressError, match=r"started in another event loop.*loop_scope"):
            run(connect(port))
        other.run(server.stop())


def test_service_in_a_running_loop_of_a_thread_works() -> None:
    """A simulated service in the running loop of another thread can be used."""
    ready: dict[str, object] = {}
    started = threading.Event()

    async def serve() -> None:
        async with AceServer() as server:
            ready.update(url=server.url, stop=asyncio.Event(), loop=asyncio.get_running_loop())
            started.set()
            await ready["stop"].wait()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(ready["url"].rpartition(":")[2]))
        writer.write(b"GET /nothing HTTP/1.0\r\n\r\n")
        line = await asyncio.wait_for(reader.readline(), 60)
        writer.close()
        await writer.wait_closed()
        return line

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait()
    try:
        assert run(main()).startswith(b"HTTP/1.0 4")
    finally:
        ready["loop"].call_soon_threadsafe(ready["stop"].set)
        thread.join()


def test_infinite_end_is_no_limit() -> None:
    """Without a limit a run may take a year."""
    with warnings.catch_warnings():
        assert run(asyncio.sleep(366 * 86_400, "done"), end=math.inf) == "done"
