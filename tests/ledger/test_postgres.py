"""The store in a PostgreSQL database: the contract, other processes, and a server that fails."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import asyncpg
import pytest
from ledger_support import EPOCH, accepted, begin, clock, ended, entry, intent, note
from postgres_support import behind, execute
from store_contract import ChangesContract, IntentsContract, PagesContract, RestampContract, all_of
from tcp_proxy import TCPProxy

import acetasks
from acetasks._ledger import EntryState, Ledger, PostgresStore, Store, build_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tcp_proxy import TCPProxy

    from acetasks.testing import AceServer

pytestmark = pytest.mark.real_clock  # the server is another process

#: Seconds for what the server must do in time, on a busy machine too.
PATIENCE = 60.0


@pytest.fixture
async def store(postgres_url: str) -> AsyncIterator[Store]:
    """An open, empty store."""
    store = PostgresStore(postgres_url)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def remote(postgres_url: str, proxy: TCPProxy) -> AsyncIterator[PostgresStore]:
    """An open store behind the proxy."""
    store = PostgresStore(behind(proxy, postgres_url))
    await store.open()
    yield store
    await store.close()


class TestIntents(IntentsContract):
    """As the contract."""


class TestRestamp(RestampContract):
    """As the contract."""


class TestChanges(ChangesContract):
    """As the contract."""


class TestPages(PagesContract):
    """As the contract."""


class TestOpening:
    """`open` creates the tables, or says why the database cannot be used."""

    async def test_stores_that_open_at_once(self, postgres_url: str) -> None:
        """One of them creates the tables, and all use them."""
        stores = [PostgresStore(postgres_url) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        found = await asyncio.gather(*(begin(store, intent("a")) for store in stores))
        await asyncio.gather(*(store.close() for store in stores))

        assert sorted(found, key=repr) == sorted([[None], *[[entry("a")]] * 7], key=repr)

    @pytest.mark.parametrize(
        ("statement", "message"),
        [
            ("UPDATE acetasks_schema SET version = 99", "a later version of acetasks (tables of version 99"),
            ("DROP TABLE acetasks_schema", "'acetasks_schema' without the other"),
            ("DROP TABLE acetasks_entries", "'acetasks_schema' without the other"),
            ("ALTER TABLE acetasks_entries DROP COLUMN record", "does not have the tables of a ledger"),
        ],
        ids=["later version", "no versions", "no entries", "other columns"],
    )
    async def test_other_tables(self, postgres_url: str, statement: str, message: str) -> None:
        """Tables that are not those of this version are refused."""
        store = PostgresStore(postgres_url)
        await store.open()
        await store.close()
        await asyncio.to_thread(execute, statement, url=postgres_url)

        with pytest.raises(acetasks.LedgerError, match=message.replace("(", r"\(")) as caught:
            await store.open()
        assert not caught.value.transient

    async def test_a_server_without_writes(self, postgres_url: str) -> None:
        """A replica, or a session that may only read, is refused before anything is submitted."""
        store = PostgresStore(f"{postgres_url}&default_transaction_read_only=on")

        with pytest.raises(acetasks.LedgerError, match="name the primary server"):
            await store.open()

    async def test_no_such_database(self, postgres_url: str) -> None:
        """The message says what to do."""
        url = urlsplit(postgres_url)._replace(path="/acetasks-no-such-database", query="").geturl()

        with pytest.raises(acetasks.LedgerError, match="there is no such database"):
            await PostgresStore(url).open()

    async def test_no_server(self, proxy: TCPProxy) -> None:
        """A server that cannot be reached is tried again for some seconds; then the message says what to check."""
        proxy.stop()
        store = PostgresStore(f"postgresql://user:secret@127.0.0.1:{proxy.port}/test?sslmode=disable")

        with pytest.raises(acetasks.LedgerError, match="check that it runs, and its host and port") as caught:
            await store.open()
        assert caught.value.transient
        assert caught.value.location == f"postgresql://user@127.0.0.1:{proxy.port}/test"
        assert "secret" not in repr((store, caught.value))

    async def test_a_missing_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without asyncpg the message has the command that installs it."""
        monkeypatch.setitem(sys.modules, "asyncpg", None)

        with pytest.raises(acetasks.LedgerError, match="python -m pip install asyncpg"):
            await build_store("postgresql://127.0.0.1/test").open()

    async def test_a_closed_store(self, store: Store) -> None:
        """Its calls raise, and it can be opened again."""
        await begin(store, intent("a"))
        await store.close()

        with pytest.raises(acetasks.LedgerError, match="not open"):
            await store.find(["a"])
        await store.open()
        assert await store.find(["a"]) == [entry("a")]


class TestConnections:
    """A connection that breaks is opened again, and nothing is written twice."""

    async def test_cut_at_any_byte_to_the_server(self, remote: PostgresStore, proxy: TCPProxy) -> None:
        """A write is repeated until it is there, and finds that the intents are its own."""
        rng = random.Random(1)
        for number in range(40):
            proxy.upstream_left = rng.randrange(1200)
            key = f"key-{number}"
            assert await begin(remote, intent(key)) == [None]
            proxy.upstream_left = rng.randrange(800)
            assert await note(remote, accepted(key), ended(f"{key}-task")) == []
        proxy.upstream_left = None

        assert proxy.connections > 10
        entries = await all_of(remote)
        assert [(found.key, found.state) for found in entries] == [
            (f"key-{number}", EntryState.SUCCEEDED) for number in range(40)
        ]

    async def test_cut_at_any_byte_from_the_server(self, remote: PostgresStore, proxy: TCPProxy) -> None:
        """A response to a commit that is lost is no reason to send a submission twice, or not at all."""
        rng = random.Random(2)
        for number in range(40):
            proxy.downstream_left = rng.randrange(250)
            assert await begin(remote, intent(f"key-{number}")) == [None]
            proxy.downstream_left = rng.randrange(100)
            assert await remote.restamp(f"key-{number}", EPOCH, EPOCH + 1)
        proxy.downstream_left = None

        assert proxy.connections > 10
        assert {(found.state, found.sent_at) for found in await all_of(remote)} == {(EntryState.SUBMITTING, EPOCH + 1)}

    async def test_another_intent_is_not_taken_for_the_own_one(self, remote: PostgresStore, proxy: TCPProxy) -> None:
        """An entry of another process stays, however often the write is repeated."""
        await begin(remote, intent("a"))
        proxy.downstream_left = 150

        assert await begin(remote, intent("a", sent_at=EPOCH + 1)) == [entry("a")]
        assert proxy.connections > 1
        proxy.downstream_left = 10
        assert not await remote.restamp("a", EPOCH + 5, EPOCH + 6)

    async def test_the_server_restarts(self, remote: PostgresStore, proxy: TCPProxy) -> None:
        """Calls wait for some seconds until it is up."""
        proxy.stop()
        writing = asyncio.create_task(begin(remote, intent("a")))
        await asyncio.sleep(0.3)
        await proxy.start()

        assert await writing == [None]

    async def test_the_server_ends_the_connection(self, store: Store, postgres_url: str) -> None:
        """As an administrator's command does: the next call opens a new one."""
        ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'acetasks'"
        schema = postgres_url.partition("search_path=")[2].partition("&")[0]
        await asyncio.to_thread(execute, f"{ending} AND query LIKE '%{schema}%' OR pid = {await _pid(store)}")

        assert await begin(store, intent("a")) == [None]

    async def test_the_server_hangs(self, postgres_url: str, proxy: TCPProxy) -> None:
        """A call ends with the timeout, and the next one uses a new connection."""
        parts = urlsplit(postgres_url)
        store = PostgresStore(parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl(), timeout=2.0)
        await store.open()
        proxy.flowing.clear()
        with pytest.raises(acetasks.LedgerError, match="did not respond in time") as caught:
            await store.find(["a"])
        proxy.flowing.set()

        assert caught.value.transient
        async with asyncio.timeout(PATIENCE):
            assert await store.find(["a"]) == [None]
        await store.close()

    async def test_a_cancelled_call(self, store: Store) -> None:
        """It writes everything or nothing, and the connection is usable."""
        for delay in range(30):
            call = asyncio.create_task(begin(store, intent(f"a-{delay}"), intent(f"b-{delay}")))
            for _ in range(delay):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])

        found = [found.key for found in await all_of(store)]
        assert sorted(key for key in found if key[0] == "a") == [
            f"a{key[1:]}" for key in sorted(found) if key[0] == "b"
        ]


class TestOtherProcesses:
    """Several processes use one database."""

    async def test_a_locked_entry(self, postgres_url: str) -> None:
        """A write that another transaction holds up for too long raises, and can be tried again."""
        store = PostgresStore(postgres_url, timeout=1.0)
        await store.open()
        await begin(store, intent("a"))
        other = await asyncpg.connect(postgres_url)
        async with other.transaction():
            await other.execute("SELECT * FROM acetasks_entries FOR UPDATE")
            with pytest.raises(acetasks.LedgerError, match="another process holds the entries") as caught:
                await note(store, accepted("a"))
            assert caught.value.transient
        await other.close()

        assert await note(store, accepted("a")) == []
        await store.close()

    async def test_a_process_that_stops_in_a_transaction(self, postgres_url: str) -> None:
        """The server ends its transaction, and the others go on."""
        frozen = PostgresStore(postgres_url, timeout=1.0)
        await frozen.open()
        await begin(frozen, intent("a"))
        async with frozen._connection.use() as connection:  # noqa: SLF001  # what a frozen process holds
            await connection.execute("BEGIN")
            await connection.execute("SELECT * FROM acetasks_entries FOR UPDATE")
        store = PostgresStore(postgres_url, timeout=PATIENCE)
        await store.open()

        assert await note(store, accepted("a")) == []
        assert await note(frozen, ended("a-task")) == []
        await store.close()
        await frozen.close()

    async def test_the_same_entries_in_another_order(self, postgres_url: str) -> None:
        """Groups of two processes that insert the same keys in opposite orders meet without losing any."""
        stores = [PostgresStore(postgres_url) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        keys = [f"key-{number}" for number in range(300)]
        orders = [keys, keys[::-1], keys[150:] + keys[:150], keys[::2] + keys[1::2]]
        found = await asyncio.gather(
            *(
                begin(store, *(intent(key, sent_at=EPOCH + number) for key in order))
                for number, (store, order) in enumerate(zip(stores, orders, strict=True))
            )
        )
        await asyncio.gather(*(note(store, *map(accepted, order)) for store, order in zip(stores, orders, strict=True)))

        inserted = [
            key
            for keys, results in zip(orders, found, strict=True)
            for key, it in zip(keys, results, strict=True)
            if it is None
        ]
        assert sorted(inserted) == sorted(keys)
        assert {entry.state for entry in await all_of(stores[0])} == {EntryState.ACCEPTED}
        await asyncio.gather(*(store.close() for store in stores))

    @pytest.mark.parametrize("skew", [-1000.0, -5.0, 5.0, 1000.0])
    async def test_clocks_that_differ(self, postgres_url: str, skew: float) -> None:
        """With clocks of several hosts apart, a key is still sent by one of them only."""
        ledgers = [
            Ledger(
                PostgresStore(postgres_url),
                clock=lambda ahead=ahead: clock() + ahead,
                longest_post=0.2,
                send_within=0.3,
            )
            for ahead in (0.0, skew)
        ]
        await asyncio.gather(*(ledger.open() for ledger in ledgers))
        calls = [ledger.begin("a", provider="luma", path="/luma/videos", request=b"{}") for ledger in ledgers]
        results = await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*(ledger.close() for ledger in ledgers))

        kinds = sorted(type(result).__name__ for result in results)
        assert kinds == ["Entry", "SubmissionUncertainError"]


async def test_a_client_with_its_journal_in_the_database(
    postgres_url: str, new_client: Callable[..., acetasks.Client], server: AceServer
) -> None:
    """A key is paid for once by two clients, and what the first has left unfinished is resumed by the second."""
    server.script("luma", after=0.2)
    async with new_client(journal=postgres_url) as client:
        first = await client.submit("luma", {"prompt": "a cat"}, key="order-1")
    async with new_client(journal=postgres_url, policy=acetasks.PollPolicy(interval=0.05)) as client:
        again = await client.submit("luma", {"prompt": "a cat"}, key="order-1")
        assert [handle.id async for handle in client.pending()] == [first.id] == [again.id]
        (task,) = await client.resume()
        assert task.state == "succeeded"
        assert [handle async for handle in client.pending()] == []


async def _pid(store: Store) -> int:
    assert isinstance(store, PostgresStore)
    async with store._connection.use() as connection:  # noqa: SLF001  # which one to end
        return connection.get_server_pid()
