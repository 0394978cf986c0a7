"""A connection to a PostgreSQL server that is opened again when it breaks, and the URL that names the server."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from acetasks._ledger.postgres_errors import import_asyncpg, leaves_connection_unusable, translate_errors
from acetasks._ledger.postgres_schema import PLANNING, SET
from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import TypeAlias

    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

#: Hosts with their ports, separated by commas, as libpq takes them; an IPv6 address is in brackets.
_HOST = r"(\[[^\]]*\]|[^:\[\]]*)(:\d+)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*", re.ASCII)


class PostgresConnection:
    """A connection that serves one call after the other.

    Args:
        url: URL of the database.
        timeout: Maximum seconds of connecting and of each statement, and half of it to wait for a lock.

    Attributes:
        location: The URL without the password and the options.

    Raises:
        ValueError: The URL is malformed.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        self.location = _build_location(url)
        self._connection: Connection | None = None
        self._is_open = False
        # Statements of several calls must not mix in one transaction.
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<PostgresConnection {self.location} {'open' if self._is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return self._is_open

    def open(self) -> None:
        """Allow its use; the first one connects."""
        self._is_open = True

    async def close(self) -> None:
        """Disconnect after the call that is under way, and allow no other."""
        async with self._lock:
            self._is_open = False
            await self._disconnect()

    @contextlib.asynccontextmanager
    async def use(self) -> AsyncGenerator[Connection, None]:
        """Wait for the calls before, and give the connection for one call.

        Raises:
            LedgerError: It cannot be opened or was closed, or a statement of the call failed.
        """
        async with self._lock:
            if not self._is_open:
                raise LedgerError(
                    "it is not open: open the store first, and use it before it is closed", location=self.location
                )
            with translate_errors(self.location):
                connection = await self._connect()
                try:
                    yield connection
                except Exception as error:
                    if leaves_connection_unusable(error):
                        await self._disconnect()
                    raise

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            limit = f"{int(self._timeout * 1000)}ms"
            settings = {
                "lock_timeout": f"{int(self._timeout * 500)}ms",
                # A process that is frozen in a transaction must not hold up the others.
                "idle_in_transaction_session_timeout": limit,
                **PLANNING,
            }
            self._connection = await import_asyncpg(self.location).connect(
                self._url,
                timeout=self._timeout,
                command_timeout=self._timeout,
                server_settings={"application_name": "acetasks"},
            )
            try:
                # Not among the settings above, which are parameters of the start: PgBouncer refuses those.
                await self._connection.execute(SET, list(settings), list(settings.values()))
            except BaseException:
                await self._disconnect()
                raise
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=1.0)
        except Exception:  # noqa: BLE001  # it is broken in some way, and not used any more
            connection.terminate()


def _build_location(url: str) -> str:
    """Return a URL without the password and the options.

    Raises:
        ValueError: The URL is malformed; the error does not repeat it. A password with a slash, for example, would
            otherwise be taken for a host and a path, which are shown.
    """
    location = None
    try:
        parts = urlsplit(url)
        parse_qsl(parts.query, strict_parsing=bool(parts.query))
        host = parts.netloc.rpartition("@")[2]
        if "@" not in parts.path and "#" not in url and _HOSTS.fullmatch(host):
            user = f"{parts.username}@" if parts.username else ""
            location = f"{parts.scheme}://{user}{host}{parts.path}"
    except ValueError:
        pass
    if location is None:
        raise ValueError(
            "the journal's URL must be like 'postgresql://user:password@host:5432/database', with special characters"
            " of the password percent-encoded, such as %2F for a slash (urllib.parse.quote(password, safe=''))"
        )
    return location
