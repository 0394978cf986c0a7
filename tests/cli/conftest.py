"""Fixtures of the command line tests: run a command in this process or in a child process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import aiohttp.web
import pytest
from typer.testing import CliRunner, Result

from acetasks.cli.app import app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from acetasks.testing.server import AceServer

#: Variables of the developer's terminal that would change colours or widths in the output.
_TERMINAL_VARIABLES = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")

#: Child processes of a background shell ignore SIGINT, so the handler is restored.
_MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from acetasks.cli import main; main()"


class Terminal(io.TextIOWrapper):
    """Text stream that claims to be a terminal and stores its output."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Return True."""
        return True

    @property
    def text(self) -> str:
        """The output so far."""
        return self.buffer.getvalue().decode()


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _TERMINAL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("_TYPER_FORCE_DISABLE_TERMINAL", "1")


@pytest.fixture
def terminals() -> Callable[[], AbstractContextManager[tuple[Terminal, Terminal]]]:
    """Context manager that replaces stdout and stderr by terminals; pytest captures both before the test starts."""

    @contextlib.contextmanager
    def replace() -> Iterator[tuple[Terminal, Terminal]]:
        out, err = Terminal(), Terminal()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err

    return replace


@pytest.fixture
def environment(server: AceServer) -> dict[str, str]:
    """Environment variables that point a command at the simulated service."""
    return {
        "ACEDATACLOUD_API_BASE_URL": server.url,
        "ACEDATACLOUD_API_TOKEN": server.token,
        "USEAPI_API_BASE_URL": server.url,
        "USEAPI_API_TOKEN": server.token,
    }


@pytest.fixture
def invoke(environment: dict[str, str]) -> Callable[..., Awaitable[Result]]:
    """Runs a command in a thread, while the simulated service runs in the test's event loop."""

    async def run(*args: str, stdin: str | None = None, **variables: str | None) -> Result:
        env = environment | variables
        return await asyncio.to_thread(CliRunner().invoke, app, args, input=stdin, env=env)

    return run


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a command in a child process, killed at the end of the test."""
    started = []

    def start(*args: str, **variables: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, *args],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
async def fake_service() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts a service that sends the response returned by the test's function; returns its URL."""
    runners = []

    async def start(respond: Callable[[dict[str, object]], tuple[int, object]]) -> str:
        async def handle(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            status, body = respond(await request.json())
            return aiohttp.web.json_response(body, status=status)

        runner = aiohttp.web.ServerRunner(aiohttp.web.Server(handle))
        await runner.setup()
        runners.append(runner)
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]
        return f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()
