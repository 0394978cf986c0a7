"""Tests of unittest: IsolatedAsyncioTestCase has virtual time from Python 3.13 on, and `run` on every version."""

import asyncio
import sys
import time
import unittest

import pytest

import acetasks
from acetasks.testing import AceServer, VirtualClockLoop, run


async def wait_for_video():
    """Await a video of ten minutes, and return the loop time."""
    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        await client.wait("veo", server.add("veo", after=600))
    return asyncio.get_running_loop().time()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before Python 3.13 the loop cannot be chosen")
@pytest.mark.acetasks_virtual_clock
class TestMarked(unittest.IsolatedAsyncioTestCase):
    """A marked class."""

    async def test_video(self):
        """A ten-minute job takes no real time."""
        assert await wait_for_video() >= 600


@unittest.skipIf(sys.version_info < (3, 13), "before Python 3.13 the loop cannot be chosen")
class TestLoopFactory(unittest.IsolatedAsyncioTestCase):
    """A class with a loop factory, which needs no plugin."""

    loop_factory = VirtualClockLoop

    async def test_video(self):
        """A ten-minute job takes no real time."""
        assert await wait_for_video() >= 600


class TestRun(unittest.TestCase):
    """A class that is not async."""

    def test_video(self):
        """A ten-minute job takes no real time."""
        assert run(wait_for_video()) >= 600


class TestReal(unittest.IsolatedAsyncioTestCase):
    """An unmarked class."""

    async def test_real_time(self):
        """An unmarked test has real time."""
        started = time.monotonic()
        await asyncio.sleep(0.05)
        assert time.monotonic() - started >= 0.045
