"""A connection to a PostgreSQL server, as it is opened."""

from __future__ import annotations

import pytest

from acetasks._ledger.postgres_connection import PostgresConnection

pytestmark = pytest.mark.real_clock  # the server is another process

_READ_SOURCES = "SELECT name, setting FROM pg_settings WHERE source = $1"


async def test_settings_are_those_of_the_session(postgres_url: str) -> None:
    """They are no parameters of the start, since PgBouncer refuses a connection with any that it does not know."""
    connection = PostgresConnection(postgres_url, timeout=10)
    connection.open()
    async with connection.use() as opened:
        at_start = {row["name"] for row in await opened.fetch(_READ_SOURCES, "client")}
        session = {row["name"]: row["setting"] for row in await opened.fetch(_READ_SOURCES, "session")}
    await connection.close()
    assert not at_start & {"plan_cache_mode", "jit", "lock_timeout", "idle_in_transaction_session_timeout"}
    assert session == {
        "plan_cache_mode": "force_generic_plan",
        "jit": "off",
        "lock_timeout": "5000",
        "idle_in_transaction_session_timeout": "10000",
    }
