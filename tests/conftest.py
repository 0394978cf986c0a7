"""What all tests share: the virtual clock, a simulated service, and a client that talks to it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

import acetasks
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytest_plugins = ["acetasks.testing.pytest_plugin", "pytester"]

# The same examples each time: a test that fails, fails for everybody and again.
settings.register_profile("exact", derandomize=True, deadline=None)
settings.load_profile("exact")

TOKEN = "test-token"
EPOCH = 1_780_000_000.0


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
