"""Properties of async code on the virtual clock."""

import asyncio

import pytest
from hypothesis import given, settings, strategies

import acetasks
from acetasks.testing import AceServer

pytestmark = [pytest.mark.asyncio, pytest.mark.acetasks_virtual_clock]


@settings(max_examples=5, deadline=None, database=None)
@given(strategies.integers(1, 900))
async def test_every_duration(seconds):
    """A task of any duration is awaited to its end."""
    started = asyncio.get_running_loop().time()
    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        await client.wait("luma", server.add("luma", after=seconds))
    assert asyncio.get_running_loop().time() >= started + seconds
