"""A proxy for the tests of a PostgreSQL database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from tcp_proxy import TCPProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[TCPProxy]:
    """A proxy in front of the server."""
    parts = urlsplit(postgres_url)
    async with TCPProxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
        yield proxy
