"""The simulated service and the client of the fixtures; both are imported when the first test needs them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import acetasks
    from acetasks.testing import AceServer


@contextlib.asynccontextmanager
async def open_server() -> AsyncIterator[AceServer]:
    """Start a simulated service in the running loop."""
    from acetasks.testing import AceServer  # noqa: PLC0415  # not before a test asks for it

    async with AceServer() as server:
        yield server


@contextlib.asynccontextmanager
async def open_client(server: AceServer) -> AsyncIterator[acetasks.Client]:
    """Open a client of a simulated service."""
    from acetasks import Client  # noqa: PLC0415  # as above

    async with Client(
        server.token, base_url=server.url, useapi_token=server.token, useapi_base_url=server.url
    ) as client:
        yield client
