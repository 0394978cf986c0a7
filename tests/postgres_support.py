"""Databases for tests of the PostgreSQL store: a schema of its own for each, on a server that happens to run.

ACETASKS_TEST_POSTGRES is the URL of another database than the default one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
from service_support import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcp_proxy import TCPProxy

#: The database, in which the user may create schemas.
URL = os.environ.get("ACETASKS_TEST_POSTGRES", "postgresql://127.0.0.1:5432/test")
#: Seconds to wait for the server.
PATIENCE = 5.0


def execute(statement: str, *, url: str = URL) -> None:
    """Execute a statement over a connection and in a loop of its own."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=PATIENCE)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(run())


@functools.cache
def explain_missing_server(url: str) -> str | None:
    """Return why the server cannot be used, or None if it can."""
    try:
        execute("SELECT 1", url=url)
    except (OSError, asyncpg.PostgresError) as error:
        return str(error)
    return None


def require_postgres(url: str = URL) -> None:
    """Skip the test if there is no server."""
    require("PostgreSQL", explain_missing_server(url), "set ACETASKS_TEST_POSTGRES to the URL of a database")


@contextlib.contextmanager
def empty_database(url: str = URL) -> Iterator[str]:
    """Give the URL of an empty schema, which is dropped afterwards; skip the test if there is no server."""
    require_postgres(url)
    schema = f"test_{secrets.token_hex(8)}"
    execute(f"CREATE SCHEMA {schema}", url=url)
    try:
        # Nothing here loses its power, and the disk of a busy machine is slow.
        yield f"{url}{'&' if '?' in url else '?'}search_path={schema}&synchronous_commit=off"
    finally:
        execute(f"DROP SCHEMA {schema} CASCADE", url=url)


def behind(proxy: TCPProxy, url: str) -> str:
    """Return a URL by way of the proxy."""
    parts = urlsplit(url)
    user = f"{parts.username}@" if parts.username else ""
    return parts._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()
