"""A caller of the simulated service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from server_support import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acetasks.testing.server import AceServer


@pytest.fixture
async def caller(server: AceServer) -> AsyncIterator[Caller]:
    """A caller of that server."""
    async with aiohttp.ClientSession() as http:
        yield Caller(server, http)
