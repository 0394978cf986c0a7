"""Tests of anyio's plugin."""

import time

import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def started():
    """Run in the loop of the test, before it."""
    return anyio.current_time()


async def test_fixtures(ace_server, ace_client, started):
    """A ten-minute job takes no real time."""
    await ace_client.wait("veo", ace_server.add("veo", after=600))
    assert started < 1
    assert anyio.current_time() >= 600


@pytest.mark.acetasks_virtual_clock
async def test_marker(started):
    """A marked test has virtual time."""
    await anyio.sleep(3600)
    assert anyio.current_time() == started + 3600


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_real_time(started):
    """An unmarked test has real time."""
    before = time.monotonic()
    await anyio.sleep(0.05)
    assert time.monotonic() - before >= 0.045
    assert anyio.current_time() - started >= 0.045
