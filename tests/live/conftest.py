"""A client of the real service with `--live` and a token, and of the simulated one otherwise."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Read before the fixture that keeps tokens out of tests removes it.
TOKEN = os.environ.get("ACEDATACLOUD_API_TOKEN", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that lets requests leave the machine."""
    parser.addoption("--live", action="store_true", help="test Ace Data Cloud itself; pays for one cheap image at most")


@pytest.fixture
def live(pytestconfig: pytest.Config) -> bool:
    """Whether the requests go to the real service."""
    # The option is unknown if pytest was not started with this folder.
    if not pytestconfig.getoption("--live", default=False):
        return False
    if not TOKEN:
        pytest.fail("--live needs a token in ACEDATACLOUD_API_TOKEN")
    return True


@pytest.fixture
async def service(*, live: bool) -> AsyncIterator[tuple[str, str | None]]:
    """Token and base URL of the service under test; the URL is None for the real one."""
    if live:
        yield TOKEN, None
        return
    async with AceServer(speed=100) as server:
        server.add("flux", after=0)  # an account that has a history
        yield server.token, server.url


@pytest.fixture
async def client(service: tuple[str, str | None]) -> AsyncIterator[acetasks.Client]:
    """A client of the service under test, which downloads from this machine only if the service is on it."""
    token, base_url = service
    async with acetasks.Client(token, base_url=base_url) as client:
        yield client
