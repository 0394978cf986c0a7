"""Fixtures of the tests in real terminals."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

import pytest
from terminal_board import Session

from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Open = Callable[..., Session]


@pytest.fixture
async def server() -> AsyncIterator[AceServer]:
    """The simulated service at the time of day, as its tasks have an age on the board."""
    epoch = time.time() - asyncio.get_running_loop().time()
    async with AceServer(token="test-token", epoch=epoch) as server:
        yield server


@pytest.fixture
def open_terminal(environment: dict[str, str]) -> Iterator[Open]:
    """Starts a command in a terminal, killed at the end of the test; variables override those of the service."""
    sessions = []

    def start(*args: str, variables: dict[str, str] | None = None, **options: object) -> Session:
        session = Session(args, environment | (variables or {}), **options)
        sessions.append(session)
        return session

    yield start
    for session in sessions:
        session.process.close(force=True)


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that refuses connections: taken, but not listened on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
