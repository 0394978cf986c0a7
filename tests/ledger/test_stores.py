"""The contract of stores: every store does the same."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_support import EPOCH, intent
from postgres_support import empty_database
from store_contract import ChangesContract, IntentsContract, PagesContract, RestampContract, all_of

from acetasks._ledger import (
    Abandoned,
    Accepted,
    Ended,
    EntryState,
    MemoryStore,
    PostgresStore,
    Refused,
    Saved,
    SQLiteStore,
    Store,
)
from acetasks.testing.clock import VirtualClockLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An open, empty store of each kind that needs no server."""
    store: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "tasks.db")
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


#: Few keys, ids and stamps, so that operations meet.
KEYS, IDS = st.sampled_from("abc"), st.sampled_from(["t", "u"])
STAMPS = st.sampled_from([EPOCH, EPOCH + 1])
INTENTS = st.builds(intent, KEYS, sent_at=STAMPS, provider=st.sampled_from(["luma", "flux"]))
ENDS = st.sampled_from([EntryState.SUCCEEDED, EntryState.FAILED])
RECORDS = st.sampled_from([b"{}", b"[]"])
CHANGES = st.one_of(
    st.builds(Accepted, key=KEYS, task_id=IDS),
    st.builds(Accepted, key=KEYS, task_id=st.none(), state=ENDS, ended_at=STAMPS, record=RECORDS),
    st.builds(Refused, key=KEYS, sent_at=STAMPS, ended_at=STAMPS, reason=st.just("no")),
    st.builds(Abandoned, key=KEYS, sent_at=STAMPS),
    st.builds(Ended, provider=st.just("luma"), task_id=IDS, state=ENDS, ended_at=STAMPS, record=RECORDS),
    st.builds(Saved, provider=st.just("luma"), task_id=IDS, files=st.tuples(st.text(max_size=2))),
    st.builds(Saved, provider=st.just("luma"), task_id=st.none(), key=KEYS, files=st.tuples(st.text(max_size=2))),
)
CALLS = st.one_of(
    st.tuples(
        st.just("write"),
        st.tuples(st.lists(CHANGES, max_size=5), st.lists(INTENTS, unique_by=lambda intent: intent.key)),
    ),
    st.tuples(st.just("restamp"), st.tuples(KEYS, STAMPS, STAMPS)),
    st.tuples(st.just("find_tasks"), st.tuples(st.just("luma"), st.lists(IDS, unique=True))),
    st.tuples(st.just("unfinished"), st.tuples(st.none() | KEYS, st.integers(1, 3))),
)


class Reused(NamedTuple):
    """A store that stays open, because opening takes longer than using it.

    Attributes:
        store: The store.
        runner: The runner of its loop.
        clear: Deletes its entries.
    """

    store: Store
    runner: asyncio.Runner
    clear: Callable[[], object]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def reused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reused]:
    """A store of each durable kind, for all examples."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            path = tmp_path_factory.mktemp("reused") / "tasks.db"
            store: Store = SQLiteStore(path)
            runner = stack.enter_context(asyncio.Runner(loop_factory=VirtualClockLoop))
            runner.run(store.open())
            connection = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
            clear = functools.partial(connection.execute, "DELETE FROM entries")
        else:
            url = stack.enter_context(empty_database())
            store = PostgresStore(url)
            runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))
            runner.run(store.open())
            second = runner.run(asyncpg.connect(url))
            stack.callback(lambda: runner.run(second.close()))
            clear = lambda: runner.run(second.execute("DELETE FROM acetasks_entries"))  # noqa: E731
        yield Reused(store, runner, clear)
        runner.run(store.close())


@settings(max_examples=50)  # each waits for the disk
@given(calls=st.lists(CALLS, max_size=12))
def test_a_database_does_what_memory_does(reused: Reused, calls: list[tuple[str, tuple[object, ...]]]) -> None:
    """After any calls the two stores have given the same answers, and have the same entries in the same order."""
    model, store = MemoryStore(), reused.store

    async def compare() -> None:
        for name, arguments in calls:
            expected, found = await getattr(model, name)(*arguments), await getattr(store, name)(*arguments)
            if name == "find_tasks":
                expected, found = (sorted(entries, key=lambda entry: entry.key) for entries in (expected, found))
            assert found == expected, name
        assert await all_of(store) == await all_of(model)
        assert await store.unfinished(None, 9) == await model.unfinished(None, 9)

    reused.clear()
    reused.runner.run(compare())
