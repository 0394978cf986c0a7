"""The simulated service in a thread of its own, the official clients, and the table of what they did."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import pytest
from anyio.from_thread import start_blocking_portal
from conformance.official import CLIENTS, McpServer, Sdk, Settings

import acetasks
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anyio.from_thread import BlockingPortal
    from conformance.official import Official

_CELLS = pytest.StashKey[dict[tuple[str, str], str]]()


class Service:
    """The simulated service, for tests in other threads."""

    def __init__(self, server: AceServer, portal: BlockingPortal) -> None:
        self.server = server
        self._portal = portal

    def add(self, provider: str, **options: object) -> str:
        """Create a task, and return its id."""
        return self._portal.call(functools.partial(self.server.add, provider, **options))

    def script(self, provider: str, **options: object) -> None:
        """Determine what the next submission creates."""
        self._portal.call(functools.partial(self.server.script, provider, **options))


class Ours:
    """What acetasks says of a task."""

    def __init__(self, client: acetasks.Client, portal: BlockingPortal) -> None:
        self._client = client
        self._portal = portal

    def look(self, provider: str, task_id: str) -> acetasks.Task:
        """Look up a task."""
        return self._portal.call(self._client.retrieve, provider, task_id)

    def wait(self, provider: str, task_id: str) -> acetasks.Task:
        """Wait for a task."""
        return self._portal.call(functools.partial(self._client.wait, provider, task_id, timeout=20))


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The simulated service."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(AceServer()) as server:
        yield Service(server, portal)


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """The thread of the asynchronous clients."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def ours(service: Service, portal: BlockingPortal) -> Iterator[Ours]:
    """A client of acetasks."""
    client = acetasks.Client(service.server.token, base_url=service.server.url)
    with portal.wrap_async_context_manager(client) as client:
        yield Ours(client, portal)


@pytest.fixture(scope="session")
def connect(service: Service, portal: BlockingPortal) -> Iterator[Callable[..., Official]]:
    """Makes an official client, once for each token, and ends its process."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def make(name: str, token: str = service.server.token) -> Official:
            client = CLIENTS[name](Settings(token, service.server.url, portal))
            if isinstance(client, Sdk | McpServer):
                stack.callback(client.close)
            return client

        yield make


@pytest.fixture
def fast(portal: BlockingPortal) -> Iterator[Settings]:
    """Another simulated service, whose tasks end at once."""
    with portal.wrap_async_context_manager(AceServer(speed=1e6)) as server:
        yield Settings(server.token, server.url, portal)


@pytest.fixture
def note(pytestconfig: pytest.Config) -> Callable[[str, str, str], None]:
    """Writes a cell of the table: the client, the operation and what it did."""

    def write(client: str, operation: str, result: str) -> None:
        pytestconfig.stash.setdefault(_CELLS, {})[client, operation] = result

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    cells = config.stash.get(_CELLS, {})
    clients = [name for name in CLIENTS if any(name == client for client, _ in cells)]
    operations = sorted({operation for _, operation in cells})
    body = [[operation, *(cells.get((client, operation), "") for client in clients)] for operation in operations]
    rows = [["", *clients], *body]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
