"""Unrelated async tests: the plugin is installed and leaves their time alone."""

import asyncio
import contextlib
import socket
import sys
import threading
import time

import pytest
from trailers.machine import fetch_greeting, python_version

pytestmark = pytest.mark.asyncio


async def test_sleep_takes_its_time() -> None:
    """A short sleep takes as long as it says."""
    started = time.monotonic()
    await asyncio.sleep(0.1)
    assert time.monotonic() - started >= 0.09


async def test_child_process() -> None:
    """A process is awaited within its limit."""
    assert await python_version() == sys.version.split()[0]


async def test_server_in_a_thread() -> None:
    """A blocking server in a thread answers within the limit."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                time.sleep(0.1)
                connection.sendall(b"hello\n")

        thread = threading.Thread(target=serve)
        thread.start()
        assert await fetch_greeting(listener.getsockname()[1]) == "hello"
        thread.join()


async def test_timer_in_a_thread() -> None:
    """A timer in a thread wakes the loop."""
    fired = asyncio.Event()
    threading.Timer(0.1, asyncio.get_running_loop().call_soon_threadsafe, [fired.set]).start()
    await asyncio.wait_for(fired.wait(), 20)


async def test_timeout() -> None:
    """A limit in real time ends a wait."""
    started = time.monotonic()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.1)
    assert time.monotonic() - started >= 0.09
