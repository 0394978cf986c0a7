"""A store in an SQLite file, which several processes of one machine may share.

The only module that uses aiosqlite, which the extra `durable` installs; it is imported when a store is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger import sqlite_schema as schema
from acetasks._ledger.entries import CHANGE_ORDER, Accepted, Change, Entry, EntryState, Intent, Query
from acetasks._ledger.sqlite_errors import is_busy, translate_errors
from acetasks._ledger.store import Written
from acetasks.errors import LedgerError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    import aiosqlite

#: Seconds between two attempts to switch a file to WAL mode, for which SQLite does not wait.
_WAL_RETRY = 0.05


class SQLiteStore:
    """A `Store` in an SQLite file.

    The file is in WAL mode with full synchronisation: what a call wrote survives a power cut when the call returns.
    SQLite runs in a thread of its own, one call after the other, so that the event loop never waits for the disk.

    Args:
        path: The file. It is created if it does not exist, its folder is not. On a disk of this machine: SQLite does
            not lock files reliably over a network.
        busy_timeout: Maximum seconds to wait for another process that writes.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_timeout: float = 10.0) -> None:
        self._path = Path(path)
        self._busy_timeout = busy_timeout
        self._connection: aiosqlite.Connection | None = None
        # Statements of several calls must not mix in one transaction.
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<SQLiteStore {self._path} {'closed' if self._connection is None else 'open'}>"

    async def open(self) -> None:
        """Open the file, and create it if it does not exist.

        Raises:
            LedgerError: The file cannot be opened or written, is damaged, or belongs to another program or to another
                version of acetasks. Nothing in it was changed.
        """
        with translate_errors(self._path):
            connection = await _connect(self._path, self._busy_timeout)
            try:
                await self._prepare(connection)
            except BaseException:
                await connection.close()
                raise
        self._connection = connection

    async def close(self) -> None:
        """Implement `Store.close`."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with translate_errors(self._path):
                    await connection.close()

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`."""
        async with self._use() as connection:
            # 1. The usual case, with the fewest steps to the thread: every key is new.
            async with _transaction(connection):
                rejected = await _apply(connection, changes)
                if await _insert(connection, intents) == len(intents):
                    return Written(rejected, [None] * len(intents))
                await connection.rollback()
            # 2. Some keys are known, and SQLite does not say which: look first.
            async with _transaction(connection):
                await connection.execute("BEGIN IMMEDIATE")
                rejected = await _apply(connection, changes)
                keys = schema.write_list([intent.key for intent in intents])
                found = await self._read(connection, schema.FIND, (keys,))
                kept = {entry.key: entry for entry in found if entry.state is not EntryState.REFUSED}
                await _insert(connection, [intent for intent in intents if intent.key not in kept])
            return Written(rejected, [kept.get(intent.key) for intent in intents])

    async def restamp(self, key: str, seen: float, now: float) -> bool:
        """Implement `Store.restamp`."""
        async with self._use() as connection, _transaction(connection):
            cursor = await connection.execute(schema.RESTAMP, {"key": key, "sent_at": seen, "now": now})
            return cursor.rowcount > 0

    async def find(self, keys: Sequence[str]) -> list[Entry | None]:
        """Implement `Store.find`."""
        async with self._use() as connection:
            entries = await self._read(connection, schema.FIND, (schema.write_list(keys),))
        found = {entry.key: entry for entry in entries}
        return [found.get(key) for key in keys]

    async def find_tasks(self, provider: str, task_ids: Sequence[str]) -> list[Entry]:
        """Implement `Store.find_tasks`."""
        async with self._use() as connection:
            return await self._read(connection, schema.FIND_TASKS, (schema.write_list(task_ids), provider))

    async def unfinished(self, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.unfinished`."""
        async with self._use() as connection:
            return await self._read(connection, schema.UNFINISHED, {"after": after, "limit": limit})

    async def select(self, query: Query, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.select`."""
        async with self._use() as connection:
            return await self._read(connection, *schema.build_select(query, after, limit))

    @contextlib.asynccontextmanager
    async def _use(self) -> AsyncIterator[aiosqlite.Connection]:
        """Wait for the calls before, and give the connection."""
        async with self._lock:
            if self._connection is None:
                raise self._build_error("it is not open: open the store first, and use it before it is closed")
            with translate_errors(self._path):
                yield self._connection

    async def _read(
        self, connection: aiosqlite.Connection, statement: str, parameters: tuple[object, ...] | Mapping[str, object]
    ) -> list[Entry]:
        rows = await _fetch(connection, statement, parameters)
        try:
            return [schema.read_row(row) for row in rows]
        except msgspec.DecodeError as error:
            raise self._build_error(f"it has an entry that cannot be read ({error}): restore a copy") from error

    async def _prepare(self, connection: aiosqlite.Connection) -> None:
        """Check that the file is a ledger that can be written, and create the tables in an empty one."""
        # Before anything is written: the file may be another program's.
        async with _transaction(connection):
            await connection.execute("BEGIN")  # all of it is read as of one time: another process may create the tables
            is_new = await self._check_origin(connection)
        await self._enter_wal(connection)
        await connection.execute("PRAGMA synchronous = FULL")
        async with _transaction(connection):
            await connection.execute("BEGIN IMMEDIATE")
            # Another process may have created the tables meanwhile.
            if is_new and await self._check_origin(connection):
                for statement in schema.CREATE:
                    await connection.execute(statement)
            await self._read(connection, schema.UNFINISHED, {"after": None, "limit": 1})
            # Only a write shows that the file can be written: in a read-only one, BEGIN IMMEDIATE is no error.
            await connection.execute(schema.SET_VERSION)

    async def _check_origin(self, connection: aiosqlite.Connection) -> bool:
        """Return whether the file is empty; raise if it is no ledger of this version."""
        ((application_id,),) = await _fetch(connection, "PRAGMA application_id")
        ((version,),) = await _fetch(connection, "PRAGMA user_version")
        ((tables,),) = await _fetch(connection, "SELECT count(*) FROM sqlite_master")
        if application_id == version == tables == 0:
            return True
        if application_id != schema.APPLICATION_ID:
            raise self._build_error("the file is an SQLite database of another program: name another file")
        if version != schema.SCHEMA_VERSION:
            raise self._build_error(
                f"the file was written by another version of acetasks (tables of version {version}, this one knows"
                f" {schema.SCHEMA_VERSION}): upgrade acetasks, or name another file"
            )
        return False

    async def _enter_wal(self, connection: aiosqlite.Connection) -> None:
        """Switch the file to WAL mode, waiting for other processes that are about to do the same."""
        attempts = int(self._busy_timeout / _WAL_RETRY) + 1
        for attempt in range(attempts):
            try:
                ((mode,),) = await _fetch(connection, "PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if not is_busy(error) or attempt == attempts - 1:
                    raise
                await asyncio.sleep(_WAL_RETRY)
                continue
            if mode != "wal":
                raise self._build_error(
                    f"its journal mode stays {mode!r}, because its file system does not support WAL: name a file on a"
                    " disk of this machine"
                )
            return

    def _build_error(self, message: str) -> LedgerError:
        return LedgerError(message, location=str(self._path))


async def _connect(path: Path, busy_timeout: float) -> aiosqlite.Connection:
    try:
        import aiosqlite  # noqa: PLC0415  # the extra may be missing
    except ModuleNotFoundError as error:
        if error.name != "aiosqlite":
            raise
        raise LedgerError("aiosqlite is not installed: python -m pip install aiosqlite", location=str(path)) from error
    # With an isolation level, the first statement that writes begins a transaction: a step to the thread less.
    connection = aiosqlite.connect(path, isolation_level="IMMEDIATE", timeout=busy_timeout)
    thread: object = getattr(connection, "_thread", None)
    if not isinstance(thread, threading.Thread):  # the attribute is private
        return await connection
    # Otherwise a store that was not closed would keep the interpreter from exiting.
    thread.daemon = True
    try:
        return await connection
    except BaseException:
        # aiosqlite does not wait for it, and it would report to a loop that may be closed by then.
        await asyncio.to_thread(thread.join)
        raise


@contextlib.asynccontextmanager
async def _transaction(connection: aiosqlite.Connection) -> AsyncIterator[None]:
    """Commit what is written inside, or nothing of it."""
    try:
        yield
        await connection.commit()
    except BaseException:
        await connection.rollback()
        raise


async def _fetch(
    connection: aiosqlite.Connection, statement: str, parameters: tuple[object, ...] | Mapping[str, object] = ()
) -> list[tuple[object, ...]]:
    rows: Iterable[sqlite3.Row] = await connection.execute_fetchall(statement, parameters)
    return [tuple(row) for row in rows]


async def _insert(connection: aiosqlite.Connection, intents: Sequence[Intent]) -> int:
    """Insert intents where their keys are new or were refused, and return how many were."""
    if not intents:
        return 0
    cursor = await connection.executemany(schema.INSERT, map(schema.build_row, intents))
    return cursor.rowcount


async def _apply(connection: aiosqlite.Connection, changes: Sequence[Change]) -> list[str]:
    """Apply changes, and return the keys of the accepted submissions that were rejected."""
    rejected: list[str] = []
    for kind in CHANGE_ORDER:
        found = [change for change in changes if type(change) is kind]
        if found:
            cursor = await connection.executemany(schema.CHANGES[kind], map(schema.build_row, found))
            if kind is Accepted and cursor.rowcount < len(found):
                rejected = await _find_rejected(connection, found)
    return rejected


async def _find_rejected(connection: aiosqlite.Connection, changes: Sequence[Change]) -> list[str]:
    """Return the keys of accepted submissions that their entries do not show as accepted."""
    accepted = [change for change in changes if isinstance(change, Accepted)]
    keys = schema.write_list([change.key for change in accepted])
    found = {key: rest for key, *rest in await _fetch(connection, schema.FIND_RESULTS, (keys,))}
    return [change.key for change in accepted if change.key not in found or not change.is_noted(*found[change.key])]
