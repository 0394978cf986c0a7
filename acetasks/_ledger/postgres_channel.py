"""Announcements over a PostgreSQL server: LISTEN and NOTIFY, over a connection of their own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks._ledger.postgres_connection import PostgresConnection

#: Seconds between two checks of a connection over which nothing comes: a peer that is gone sends nothing either.
_CHECK_INTERVAL = 30.0
#: Name of the channel: channels are shared by a whole database, and the number of the table is its journal's alone.
_CHANNEL = "'acetasks_' || 'acetasks_entries'::regclass::oid"
_FIND_CHANNEL = f"SELECT {_CHANNEL}"
_NOTIFY = f"SELECT pg_notify({_CHANNEL}, text) FROM unnest($1::text[]) AS text"  # noqa: S608  # the name is this module's own


class PostgresChannel:
    """The announcements of one process, as `AnnouncingStore` has them.

    Args:
        connection: Used for nothing else; it is opened and closed by the store.
    """

    def __init__(self, connection: PostgresConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return f"<PostgresChannel {self._connection!r}>"

    async def announce(self, texts: Sequence[str]) -> None:
        """Implement `AnnouncingStore.announce`."""
        async with self._connection.use() as connection:
            await connection.execute(_NOTIFY, list(texts))

    async def listen(self, receive: Callable[[str], object], on_listening: Callable[[], object]) -> None:
        """Implement `AnnouncingStore.listen`."""
        lost, has_ended = asyncio.Event(), False

        def pass_on(_connection: object, _pid: int, _channel: str, payload: object) -> None:
            if not has_ended:
                receive(str(payload))

        async with self._connection.use() as connection:
            connection.add_termination_listener(lambda _: lost.set())
            channel = await connection.fetchval(_FIND_CHANNEL)
            await connection.add_listener(channel, pass_on)
        on_listening()
        try:
            while not lost.is_set():
                await self._check(lost)
        finally:
            has_ended = True  # the connection may go on; UNLISTEN could wait for a server that hangs
        raise LedgerError("the connection was lost", location=self._connection.location, transient=True)

    async def _check(self, lost: asyncio.Event) -> None:
        """Wait until the connection is lost, or check it after a while."""
        try:
            async with asyncio.timeout(_CHECK_INTERVAL):
                await lost.wait()
        except TimeoutError:
            async with self._connection.use() as connection:
                await connection.execute("SELECT 1")
