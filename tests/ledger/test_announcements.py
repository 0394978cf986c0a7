"""Announcements: sent in groups, sent again after a failure, and received again after a loss."""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

import pytest
from announcing_support import AnnouncingMemoryStore
from support import now

from acetasks import MemoryStore
from acetasks._ledger import Announcements, AnnouncingStore, PostgresStore, SQLiteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def store() -> AnnouncingMemoryStore:
    """A store that takes a second to announce."""
    return AnnouncingMemoryStore(latency=1.0)


@pytest.fixture
def received() -> list[str]:
    """What the announcements have received."""
    return []


@pytest.fixture
async def announcements(store: AnnouncingMemoryStore, received: list[str]) -> AsyncIterator[Announcements]:
    """Open announcements of one process."""
    announcements = Announcements(store, received.append)
    announcements.open()
    await asyncio.sleep(0)
    yield announcements
    await announcements.close()


def test_which_stores_have_them(tmp_path: Path) -> None:
    """A server passes messages; a file and the memory of a process do not."""
    stores = [PostgresStore("postgresql://127.0.0.1/test"), SQLiteStore(tmp_path / "tasks.db"), MemoryStore()]
    assert [isinstance(store, AnnouncingStore) for store in stores] == [True, False, False]


class TestSending:
    """`announce`."""

    async def test_those_of_a_moment_are_one_group(
        self, store: AnnouncingMemoryStore, announcements: Announcements, received: list[str]
    ) -> None:
        """What comes while a group is sent is the next one; the call itself waits for nothing."""
        for text in "abc":
            announcements.announce(text)
        await asyncio.sleep(0.5)
        for text in "de":
            announcements.announce(text)
        await asyncio.sleep(2)
        assert store.groups == [["a", "b", "c"], ["d", "e"]]
        assert received == list("abcde")

    async def test_a_group_that_fails_is_sent_again(
        self, store: AnnouncingMemoryStore, announcements: Announcements
    ) -> None:
        """With what has come meanwhile, after pauses of which each is twice the one before."""
        store.is_down = True
        announcements.announce("a")
        await asyncio.sleep(1)
        announcements.announce("b")
        store.is_down = False
        await asyncio.sleep(2)
        assert store.attempts["announce"] == pytest.approx([0.0, 0.1, 0.3, 0.7, 1.5])
        assert store.groups == [["a", "b"]]

    async def test_the_queue_is_bounded(self, store: AnnouncingMemoryStore, announcements: Announcements) -> None:
        """While nothing can be sent, the latest thousand are kept."""
        store.is_down = True
        for number in range(800):
            announcements.announce(str(number))
        await asyncio.sleep(0.05)
        for number in range(800, 1500):
            announcements.announce(str(number))
        assert repr(announcements) == "<Announcements open, 1000 queued>"
        store.is_down = False
        await asyncio.sleep(2)
        assert store.groups == [[str(number) for number in range(500, 1500)]]


class TestReceiving:
    """Texts of other processes."""

    async def test_a_loss_is_followed_by_another_attempt(
        self, store: AnnouncingMemoryStore, announcements: Announcements, received: list[str], caplog
    ) -> None:
        """At longer and longer pauses, which a minute without a loss makes short again; the log has two lines."""
        caplog.set_level(logging.INFO, "acetasks")
        store.is_down = True
        store.interrupt()
        await asyncio.sleep(60)
        assert repr(announcements) == "<Announcements interrupted, 0 queued>"
        store.is_down = False
        await asyncio.sleep(60)
        times = store.attempts["listen"]
        pauses = [after - before for before, after in itertools.pairwise(times[1:])]
        assert times[1] == pytest.approx(0.1)
        assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0])
        announcements.announce("a")
        await asyncio.sleep(2)
        assert received == ["a"]
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert "the connection was lost" in caplog.text

        start = now()
        store.interrupt()
        await asyncio.sleep(1)
        assert store.attempts["listen"][-1] - start == pytest.approx(0.1)

    async def test_a_store_that_raises_anything(self, caplog) -> None:
        """As after a loss: it may be the user's."""

        class Broken(AnnouncingMemoryStore):
            async def listen(self, *_: object) -> None:
                self.attempts["listen"].append(now())
                if len(self.attempts["listen"]) == 1:
                    raise ZeroDivisionError("a fault of the store")

        store = Broken()
        announcements = Announcements(store, print)
        announcements.open()
        await asyncio.sleep(1)
        await announcements.close()
        assert store.attempts["listen"] == pytest.approx([0.0, 0.1, 0.3, 0.7])
        assert "a fault of the store" in caplog.text


async def test_closing_ends_both(store: AnnouncingMemoryStore, announcements: Announcements) -> None:
    """Also while a group is sent; closing again does nothing."""
    announcements.announce("a")
    await asyncio.sleep(0.5)
    assert store.listening == 1
    await announcements.close()
    await announcements.close()
    assert (store.listening, store.groups, now()) == (0, [], 0.5)
    assert repr(announcements) == "<Announcements closed, 0 queued>"
