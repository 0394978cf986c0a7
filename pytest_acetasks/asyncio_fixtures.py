"""Fixtures for tests of pytest-asyncio, one for each scope that the event loop of a test may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest_asyncio

from pytest_acetasks.services import open_client, open_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import acetasks
    from acetasks.testing import AceServer

_Scope = Literal["function", "class", "module", "package", "session"]


def _make_fixtures(scope: _Scope) -> dict[str, object]:
    """Return the fixtures for one scope of event loops, by the names under which pytest finds them."""

    @pytest_asyncio.fixture(loop_scope=scope, name=f"_acetasks_server_{scope}")
    async def server() -> AsyncIterator[AceServer]:
        async with open_server() as server:
            yield server

    @pytest_asyncio.fixture(loop_scope=scope, name=f"_acetasks_client_{scope}")
    async def client(ace_server: AceServer) -> AsyncIterator[acetasks.Client]:
        async with open_client(ace_server) as client:
            yield client

    return {f"server_{scope}": server, f"client_{scope}": client}


_SCOPES: tuple[_Scope, ...] = ("function", "class", "module", "package", "session")
for _scope in _SCOPES:
    globals().update(_make_fixtures(_scope))
