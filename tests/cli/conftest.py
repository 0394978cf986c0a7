"""What the tests of the command line share: ways to run it, in this process and in one of its own."""

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

#: Terminals of the one who runs the tests must not colour or widen what they look at.
_TERMINAL_VARIABLES = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "PY_COLORS", "TTY_COMPATIBLE", "TTY_INTERACTIVE")

#: A shell that runs the tests in the background has its children ignore Ctrl-C.
_MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from acetasks.cli import main; main()"


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal, and keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        """Say so."""
        return True

    @property
    def text(self) -> str:
        """What was written so far."""
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
    """Puts terminals in the place of stdout and stderr; not by itself, since pytest takes both as the test begins."""

    @contextlib.contextmanager
    def put() -> Iterator[tuple[Terminal, Terminal]]:
        out, err = Terminal(), Terminal()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield out, err

    return put


@pytest.fixture
def environment(server: AceServer) -> dict[str, str]:
    """The variables that lead a command to the simulated service."""
    return {
        "ACEDATACLOUD_API_BASE_URL": server.url,
        "ACEDATACLOUD_API_TOKEN": server.token,
        "USEAPI_API_BASE_URL": server.url,
        "USEAPI_API_TOKEN": server.token,
    }


@pytest.fixture
def invoke(environment: dict[str, str]) -> Callable[..., Awaitable[Result]]:
    """Runs a command in a thread of this process, while the simulated service answers in the test's loop."""

    async def run(*args: str, stdin: str | None = None, **variables: str | None) -> Result:
        env = environment | variables
        return await asyncio.to_thread(CliRunner().invoke, app, args, input=stdin, env=env)

    return run


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a command as a process of its own, which does not outlive the test."""
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
async def answering() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts a service that answers as the test says; gives its address."""
    runners = []

    async def start(answer: Callable[[dict[str, object]], tuple[int, object]]) -> str:
        async def handle(request: aiohttp.web.BaseRequest) -> aiohttp.web.Response:
            status, body = answer(await request.json())
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
