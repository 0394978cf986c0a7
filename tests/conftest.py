"""What all tests share: the virtual clock, a simulated service, a client that talks to it, and raw servers."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import random
from typing import TYPE_CHECKING

import pytest
from http_support import Authority
from hypothesis import settings
from postgres_support import empty_database
from service_support import NOT_TESTED, find_service

import acetasks
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytest_plugins = ["pytester"]

# The same examples each time: a test that fails, fails for everybody and again.
settings.register_profile("exact", derandomize=True, deadline=None)
settings.load_profile("exact")

TOKEN = "test-token"
EPOCH = 1_780_000_000.0


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested because a service does not run on this machine."""
    reasons = (str(report.longrepr) for report in terminalreporter.stats.get("skipped", []))
    missing = collections.Counter(filter(None, map(find_service, reasons)))
    for service, count in sorted(missing.items()):
        terminalreporter.write_line(f"{NOT_TESTED}{service}: {count} tests were skipped", yellow=True)


@pytest.fixture(autouse=True)
def _no_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the caller's tokens, base URLs and proxies out of every test."""
    for name in ("ACEDATACLOUD_API_TOKEN", "ACEDATACLOUD_API_BASE_URL", "USEAPI_API_TOKEN", "USEAPI_API_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[AceServer]:
    """The simulated service, in the test's own loop."""
    async with AceServer(token=TOKEN, epoch=EPOCH) as server:
        yield server


@pytest.fixture
def new_client(server: AceServer) -> Callable[..., acetasks.Client]:
    """Makes clients of the simulated service, not opened; keyword arguments go to `Client`."""

    def make(token: str = TOKEN, **options: object) -> acetasks.Client:
        defaults = {
            "base_url": server.url,
            "useapi_base_url": server.url,
            "useapi_token": token,
            "rng": random.Random(1),
        }
        return acetasks.Client(token, **(defaults | options))

    return make


@pytest.fixture
async def client(new_client: Callable[..., acetasks.Client]) -> AsyncIterator[acetasks.Client]:
    """An open client of the simulated service."""
    async with new_client() as client:
        yield client


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The URL of an empty PostgreSQL database; without a server the test is skipped."""
    with empty_database() as url:
        yield url


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The certificate authority of the tests."""
    return Authority()


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every session trust the certificate authority of the tests."""
    # aiohttp loads the machine's authorities once, on import.
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", authority.client_context())


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Starts servers that send raw bytes for each request, and stops them; None sends nothing."""
    servers, writers = [], []

    async def start(
        *responses: bytes | None,
        tls: ssl.SSLContext | None = None,
        seen: list[bytes] | None = None,
        speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None,
    ) -> str:
        replies = itertools.chain(responses, itertools.repeat(responses[-1] if responses else None))

        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                if seen is not None:
                    seen.append(head)
                await reader.readuntil(b"}")
                reply = next(replies)
                if reply is None:
                    await asyncio.sleep(10_000)
                else:
                    writer.write(reply)
                    await writer.drain()
            writer.close()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await (speak or respond)(reader, writer)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
        servers.append(server)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)
