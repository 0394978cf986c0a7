"""A store in a PostgreSQL database, which processes of many machines may share.

The only modules that use asyncpg, which the extra `postgres` installs, are this one and the one of its errors; it is
imported when a store is opened.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

import anyio
import msgspec

from acetasks._ledger import postgres_schema as schema
from acetasks._ledger.entries import CHANGE_ORDER, Accepted, Change, Entry, EntryState, Intent, Query
from acetasks._ledger.postgres_errors import (
    import_asyncpg,
    leaves_connection_unusable,
    may_repeat,
    translate_errors,
)
from acetasks._ledger.store import Written
from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    import asyncpg

    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    #: A call over a connection, with the number of the attempt.
    _Call: TypeAlias = Callable[[Connection, int], Awaitable["_T"]]

_T = TypeVar("_T")

#: The oldest server that the tests know: 13 was the oldest supported one in 2025.
_OLDEST_SERVER = 13
#: Attempts at a call whose connection breaks or that meets a conflict, and the seconds before the second one.
_ATTEMPTS, _FIRST_PAUSE = 6, 0.1
#: Hosts with their ports, separated by commas, as libpq takes them; an IPv6 address is in brackets.
_HOST = r"(\[[^\]]*\]|[^:\[\]]*)(:\d+)?"
_HOSTS = re.compile(rf"{_HOST}(,{_HOST})*", re.ASCII)


class PostgresStore:
    """A `Store` in a PostgreSQL database, from version 13 on.

    It creates its tables `acetasks_entries` and `acetasks_schema` in the first schema of the search path. What a call
    wrote survives a crash of the server when the call returns, unless the server has `synchronous_commit` off. One
    connection serves the calls one after the other, and is opened again when it breaks; not through a pooler that
    shares it between transactions.

    Args:
        url: URL of the database, such as `postgresql://user:password@host:5432/database`, with the options of libpq.
        timeout: Maximum seconds of connecting and of each statement, and half of it to wait for another process that
            writes the same entries.

    Raises:
        ValueError: The URL is malformed, such as with a password that is not percent-encoded.
    """

    def __init__(self, url: str, *, timeout: float = 10.0) -> None:
        self._url, self._timeout = url, timeout
        self._location = _build_location(url)
        self._connection: Connection | None = None
        self._is_open = False
        # Statements of several calls must not mix in one transaction.
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<PostgresStore {self._location} {'open' if self._is_open else 'closed'}>"

    async def open(self) -> None:
        """Connect, and create the tables or bring them to this version.

        Raises:
            LedgerError: The server cannot be reached, is too old or accepts no writes; the user has not the rights; or
                the tables are of a later version of acetasks. Nothing in them was changed.
        """
        self._is_open = True
        try:
            await self._repeat(self._prepare)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Implement `Store.close`."""
        async with self._lock:
            self._is_open = False
            await self._disconnect()

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`.

        If the connection breaks, the server may or may not have written everything, and the call is repeated. The
        changes apply once all the same, and an entry that is there with the stamp of its intent is the one written.
        """

        async def write(connection: Connection, attempt: int) -> Written:
            async with connection.transaction():
                rejected = await _apply(connection, changes)
                found = {entry.key: entry for entry in await _insert(connection, intents)}
            if attempt > 1:
                own = [intent.key for intent in intents if _is_own(found.get(intent.key), intent.sent_at)]
                found = {key: entry for key, entry in found.items() if key not in own}
            return Written(rejected, [found.get(intent.key) for intent in intents])

        return await self._repeat(write)

    async def restamp(self, key: str, seen: float, now: float) -> bool:
        """Implement `Store.restamp`; repeated as `write` is."""

        async def restamp(connection: Connection, attempt: int) -> bool:
            if await connection.fetchval(schema.RESTAMP, key, seen, now) is not None:
                return True
            rows = await connection.fetch(schema.FIND, [key]) if attempt > 1 else []
            return any(_is_own(schema.read_row(row.items()), now) for row in rows)

        return await self._repeat(restamp)

    async def find(self, keys: Sequence[str]) -> list[Entry | None]:
        """Implement `Store.find`."""
        entries = await self._read(schema.FIND, list(keys))
        found = {entry.key: entry for entry in entries}
        return [found.get(key) for key in keys]

    async def find_tasks(self, provider: str, task_ids: Sequence[str]) -> list[Entry]:
        """Implement `Store.find_tasks`."""
        return await self._read(schema.FIND_TASKS, list(task_ids), provider)

    async def unfinished(self, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.unfinished`."""
        return await self._read(schema.UNFINISHED, after, limit)

    async def select(self, query: Query, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.select`."""
        statement, parameters = schema.build_select(query, after, limit)
        return await self._read(statement, *parameters)

    async def _read(self, statement: str, *parameters: object) -> list[Entry]:
        rows = await self._repeat(lambda connection, _: connection.fetch(statement, *parameters))
        try:
            return [schema.read_row(row.items()) for row in rows]
        except msgspec.DecodeError as error:
            raise self._build_error(f"it has an entry that cannot be read ({error}): restore a copy") from error

    async def _repeat(self, call: _Call[_T]) -> _T:
        """Return what a call returns; repeat it over a new connection if the connection breaks, or after a conflict."""
        for attempt in range(1, _ATTEMPTS):
            try:
                return await self._attempt(call, attempt)
            except LedgerError as error:
                if not may_repeat(error):
                    raise
            await anyio.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
        return await self._attempt(call, _ATTEMPTS)

    async def _attempt(self, call: _Call[_T], attempt: int) -> _T:
        """Wait for the calls before, and return what a call over the connection returns."""
        async with self._lock:
            if not self._is_open:
                raise self._build_error("it is not open: open the store first, and use it before it is closed")
            with translate_errors(self._location):
                connection = await self._connect()
                try:
                    return await call(connection, attempt)
                except Exception as error:
                    if leaves_connection_unusable(error):
                        await self._disconnect()
                    raise

    async def _connect(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            limit = f"{int(self._timeout * 1000)}ms"
            settings = {
                "application_name": "acetasks",
                "lock_timeout": f"{int(self._timeout * 500)}ms",
                # A process that is frozen in a transaction must not hold up the others.
                "idle_in_transaction_session_timeout": limit,
                **schema.PLANNING,
            }
            self._connection = await import_asyncpg(self._location).connect(
                self._url, timeout=self._timeout, command_timeout=self._timeout, server_settings=settings
            )
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=1.0)
        except Exception:  # noqa: BLE001  # it is broken in some way, and not used any more
            connection.terminate()

    async def _prepare(self, connection: Connection, _attempt: int) -> None:
        """Check the server, and create the tables or bring them to this version."""
        version = connection.get_server_version()
        if version.major < _OLDEST_SERVER:
            raise self._build_error(f"the server has version {version.major}: use {_OLDEST_SERVER} or later")
        if await connection.fetchval(schema.IS_READ_ONLY):
            raise self._build_error("the server accepts no writes (a replica, or read-only): name the primary server")
        async with connection.transaction():
            # Of several processes that start together, one creates the tables.
            await connection.execute(schema.LOCK)
            has_versions, has_entries = await connection.fetchrow(schema.FIND_TABLES) or (False, False)
            if has_versions != has_entries:
                raise self._build_error(
                    "it has one of the tables 'acetasks_entries' and 'acetasks_schema' without the other: restore a"
                    " copy, or name another database"
                )
            known = await connection.fetchval(schema.READ_VERSION) if has_versions else 0
            if known > schema.SCHEMA_VERSION:
                raise self._build_error(
                    f"its tables were written by a later version of acetasks (tables of version {known}, this one knows"
                    f" {schema.SCHEMA_VERSION}): use that version, or name another database"
                )
            for number, migration in enumerate(schema.MIGRATIONS[known:], known + 1):
                await connection.execute(migration)
                await connection.execute(schema.WRITE_VERSION, number)
            await connection.fetch(schema.UNFINISHED, None, 1)

    def _build_error(self, message: str) -> LedgerError:
        return LedgerError(message, location=self._location)


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


def _is_own(entry: Entry | None, stamp: float) -> bool:
    """Return whether an entry is the one that this process has just written, with this stamp."""
    return entry is not None and entry.state is EntryState.SUBMITTING and entry.sent_at == stamp


async def _insert(connection: Connection, intents: Sequence[Intent]) -> list[Entry]:
    """Insert intents where their keys are new or were refused, and return the entries that stay."""
    if not intents:
        return []
    inserted = {row["key"] for row in await connection.fetch(schema.INSERT, *schema.build_arrays(intents))}
    known = [intent.key for intent in intents if intent.key not in inserted]
    return [schema.read_row(row.items()) for row in await connection.fetch(schema.FIND, known)] if known else []


async def _apply(connection: Connection, changes: Sequence[Change]) -> list[str]:
    """Apply changes, and return the keys of the accepted submissions that were rejected."""
    rejected: list[str] = []
    for kind in CHANGE_ORDER:
        found = [change for change in changes if type(change) is kind]
        if not found:
            continue
        if kind is Accepted:
            rejected = await _accept(connection, [change for change in found if isinstance(change, Accepted)])
        else:
            await connection.execute(schema.CHANGES[kind], *schema.build_arrays(found))
    return rejected


async def _accept(connection: Connection, changes: Sequence[Accepted]) -> list[str]:
    """Apply what was accepted, and return the keys of the changes that were rejected."""
    plain = [change for change in changes if not change.unclaimed]
    if plain:
        await connection.execute(schema.CHANGES[Accepted], *schema.build_arrays(plain))
    adoptions = [change for change in changes if change.unclaimed]
    if adoptions:
        # One after the other, each in sight of those before, also of other processes.
        await connection.execute(schema.LOCK_ADOPTIONS)
        for change in adoptions:
            await connection.execute(schema.CHANGES[Accepted], *schema.build_arrays([change]))
    results = await connection.fetch(schema.FIND_RESULTS, [change.key for change in changes])
    noted = {row["key"]: (row["task_id"], row["record"]) for row in results}
    return [change.key for change in changes if change.key not in noted or not change.is_noted(*noted[change.key])]
