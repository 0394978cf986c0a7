"""Announcements over a PostgreSQL server, and connections that fail."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import asyncpg
import pytest
from ledger_support import accepted, begin, intent, note
from postgres_support import behind, empty_database, execute

import acetasks
from acetasks._ledger import AnnouncingStore, PostgresStore, postgres_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tcp_proxy import TCPProxy

pytestmark = pytest.mark.real_clock  # the server is another process

#: Seconds for what must happen, on a busy machine too.
PATIENCE = 60.0


class Listener:
    """A call of `listen` in a task of its own.

    Attributes:
        received: Its texts, in a queue.
        task: The task.
    """

    def __init__(self, store: AnnouncingStore) -> None:
        self.received: asyncio.Queue[str] = asyncio.Queue()
        self._is_listening = asyncio.Event()
        self.task = asyncio.create_task(store.listen(self.received.put_nowait, self._is_listening.set))

    async def start(self) -> None:
        """Wait until it listens."""
        await asyncio.wait_for(self._is_listening.wait(), PATIENCE)

    async def take(self, count: int = 1) -> list[str]:
        """Wait for texts."""
        return [await asyncio.wait_for(self.received.get(), PATIENCE) for _ in range(count)]


@contextlib.asynccontextmanager
async def listening(url: str, **options: float) -> AsyncIterator[tuple[PostgresStore, Listener]]:
    """Open a store, and listen."""
    store = PostgresStore(url, **options)
    await store.open()
    listener = Listener(store)
    try:
        await listener.start()
        yield store, listener
    finally:
        listener.task.cancel()
        await asyncio.wait([listener.task])
        await store.close()


async def test_texts_reach_every_process(postgres_url: str) -> None:
    """In their order, of any content but NUL, up to 7,000 bytes; a group as large as one may be."""
    texts = ["a", "'; DROP TABLE acetasks_entries; --", "ß" * 3500, "", *map(str, range(1000))]
    async with listening(postgres_url) as (one, first), listening(postgres_url) as (_, second):
        await one.announce(texts)
        assert await first.take(len(texts)) == await second.take(len(texts)) == texts


async def test_a_call_that_has_ended_receives_nothing(postgres_url: str) -> None:
    """The connection outlives it, and the next call of the same process is the only one that receives."""
    async with listening(postgres_url) as (store, first):
        first.task.cancel()
        await asyncio.wait([first.task])
        second = Listener(store)
        await second.start()
        await store.announce(["a"])
        assert await second.take() == ["a"]
        assert first.received.empty()
        second.task.cancel()
        await asyncio.wait([second.task])


@pytest.fixture
def other_url() -> Iterator[str]:
    """The URL of another schema in the same database."""
    with empty_database() as url:
        yield url


async def test_journals_of_one_database_are_apart(postgres_url: str, other_url: str) -> None:
    """Each schema has a channel of its own."""
    async with listening(postgres_url) as (one, first), listening(other_url) as (other, second):
        await one.announce(["here"])
        await other.announce(["there"])
        assert await first.take() == ["here"]
        assert await second.take() == ["there"]


async def test_transactions_and_announcements_do_not_wait_for_each_other(postgres_url: str) -> None:
    """They have a connection each: a write that waits for a lock does not hold up an announcement."""
    async with listening(postgres_url, timeout=PATIENCE) as (store, listener):
        await begin(store, intent("a"))
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("SELECT * FROM acetasks_entries FOR UPDATE")
            writing = asyncio.create_task(note(store, accepted("a")))
            await asyncio.sleep(0.2)
            await store.announce(["a"])
            assert await listener.take() == ["a"]
            assert not writing.done()
        assert await writing == []
        await other.close()


async def test_the_second_connection_is_opened_when_it_is_used(postgres_url: str, proxy: TCPProxy) -> None:
    """By the first announcement, or by listening; and closed with the store."""
    store = PostgresStore(behind(proxy, postgres_url))
    await store.open()
    await begin(store, intent("a"))
    assert proxy.connections == 1
    await store.announce(["a"])
    listener = Listener(store)
    await listener.start()
    await begin(store, intent("b"))
    assert proxy.connections == 2
    await store.close()
    with pytest.raises(acetasks.LedgerError, match="the connection was lost"):
        await asyncio.wait_for(listener.task, PATIENCE)
    with pytest.raises(acetasks.LedgerError, match="not open"):
        await store.announce(["b"])


async def test_a_connection_that_is_cut(postgres_url: str, proxy: TCPProxy) -> None:
    """Listening ends, and can begin again."""
    async with listening(behind(proxy, postgres_url)) as (store, listener):
        proxy.cut()
        with pytest.raises(acetasks.LedgerError, match="the connection was lost") as caught:
            await asyncio.wait_for(asyncio.shield(listener.task), PATIENCE)
        assert caught.value.transient
        again = Listener(store)
        await again.start()
        await store.announce(["a"])
        assert await again.take() == ["a"]
        again.task.cancel()
        await asyncio.wait([again.task])


async def test_a_server_that_ends_the_connection(postgres_url: str) -> None:
    """As an administrator's command does."""
    schema = postgres_url.partition("search_path=")[2].partition("&")[0]
    async with listening(postgres_url) as (_, listener):
        channel = f"'%acetasks_' || to_regclass('{schema}.acetasks_entries')::oid || '%'"
        ending = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN ' || {channel}"  # noqa: S608  # names of this test
        await asyncio.to_thread(execute, ending)
        with pytest.raises(acetasks.LedgerError, match="the connection was lost"):
            await asyncio.wait_for(asyncio.shield(listener.task), PATIENCE)


async def test_a_peer_that_is_gone_without_a_word(
    postgres_url: str, proxy: TCPProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection over which nothing comes is checked."""
    monkeypatch.setattr(postgres_channel, "_CHECK_INTERVAL", 0.3)
    async with listening(behind(proxy, postgres_url), timeout=1.0) as (store, listener):
        await asyncio.sleep(1)
        await store.announce(["a"])
        assert await listener.take() == ["a"]
        proxy.flowing.clear()
        with pytest.raises(acetasks.LedgerError, match="did not respond in time"):
            await asyncio.wait_for(asyncio.shield(listener.task), PATIENCE)
        proxy.flowing.set()


async def test_tables_that_are_gone(postgres_url: str) -> None:
    """Both calls raise."""
    store = PostgresStore(postgres_url)
    await store.open()
    await asyncio.to_thread(execute, "DROP TABLE acetasks_entries", url=postgres_url)
    with pytest.raises(acetasks.LedgerError, match="does not have the tables of a ledger"):
        await store.announce(["a"])
    with pytest.raises(acetasks.LedgerError, match="does not have the tables of a ledger"):
        await Listener(store).task
    await store.close()
