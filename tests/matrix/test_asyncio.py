"""Tests of pytest-asyncio, in both modes."""

import asyncio
import time

import pytest

pytestmark = pytest.mark.asyncio


async def test_fixtures(ace_server, ace_client):
    """A ten-minute job takes no real time."""
    started = time.monotonic()
    await ace_client.wait("veo", ace_server.add("veo", after=600))
    assert asyncio.get_running_loop().time() >= 600
    assert time.monotonic() - started < 60


@pytest.mark.acetasks_virtual_clock
async def test_marker():
    """A marked test has virtual time."""
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600


async def test_real_time():
    """An unmarked test has real time."""
    started = time.monotonic()
    await asyncio.sleep(0.05)
    assert time.monotonic() - started >= 0.045
    assert type(asyncio.get_running_loop()).__name__ != "VirtualClockLoop"
