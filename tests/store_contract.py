"""The contract of stores, as classes of tests for each kind of store; they need a fixture `store`."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest
from ledger_support import EPOCH, accepted, begin, ended, entry, intent, note

from acetasks._ledger import (
    Abandoned,
    Accepted,
    Change,
    Entry,
    EntryState,
    Query,
    Refused,
    Saved,
    Store,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TASK = {"state": EntryState.ACCEPTED, "task_id": "a-task", "trace_id": "trace"}
END = {"state": EntryState.SUCCEEDED, "ended_at": EPOCH + 60, "record": b'{"id":"t"}'}
REFUSED = Refused(key="a", sent_at=EPOCH, ended_at=EPOCH + 1, reason="too many requests")


def saved(*files: str, task_id: str | None = None, key: str | None = None) -> Saved:
    """Build the change that notes the files of a luma task."""
    return Saved(provider="luma", task_id=task_id, key=key, files=files)


async def all_of(store: Store) -> list[Entry]:
    """Return every entry of a store."""
    return await store.select(Query(), None, 1000)


class IntentsContract:
    """`write` inserts the intents that are new."""

    async def test_a_new_key_is_inserted(self, store: Store) -> None:
        """The entry has the fields of the intent and is being submitted."""
        assert await begin(store, intent("a")) == [None]

        assert await store.find(["a"]) == [entry("a", state=EntryState.SUBMITTING)]

    async def test_a_known_key_keeps_its_entry(self, store: Store) -> None:
        """The entry that was there is returned in the place of its intent, and the others are inserted."""
        await begin(store, intent("b"))

        assert await begin(store, intent("a"), intent("b", sent_at=EPOCH + 9), intent("c")) == [None, entry("b"), None]
        assert [found and found.sent_at for found in await store.find(["b", "c"])] == [EPOCH, EPOCH]

    async def test_a_refused_key_is_used_again(self, store: Store) -> None:
        """The entry of a refused submission is replaced, with another payload if it has one."""
        await begin(store, intent("a"))
        await note(store, REFUSED)
        again = intent("a", sent_at=EPOCH + 9, request=b'{"prompt":"a dog"}')

        assert await begin(store, again) == [None]
        (found,) = await store.find(["a"])
        assert found == entry("a", sent_at=EPOCH + 9, request=again.request, fingerprint=again.fingerprint)

    async def test_nothing_begins_nothing(self, store: Store) -> None:
        """An empty list is no entry."""
        assert (
            await begin(
                store,
            )
            == []
        )
        assert await all_of(store) == []


class RestampContract:
    """`restamp` is a compare-and-swap of the stamp."""

    async def test_of_two_one_succeeds(self, store: Store) -> None:
        """The first of two concurrent calls that have seen the same stamp sets its own."""
        await begin(store, intent("a"))

        done = await asyncio.gather(*(store.restamp("a", EPOCH, EPOCH + second) for second in (1, 2)))

        assert done == [True, False]
        assert await store.find(["a"]) == [entry("a", sent_at=EPOCH + 1)]

    async def test_an_uncertain_submission_is_submitted_again(self, store: Store) -> None:
        """The state of an abandoned submission becomes `SUBMITTING`."""
        await begin(store, intent("a"))
        await note(store, Abandoned(key="a", sent_at=EPOCH))

        assert await store.restamp("a", EPOCH, EPOCH + 1)
        assert await store.find(["a"]) == [entry("a", sent_at=EPOCH + 1, state=EntryState.SUBMITTING)]

    @pytest.mark.parametrize("change", [accepted("a"), REFUSED], ids=["accepted", "refused"])
    async def test_what_is_settled_keeps_its_stamp(self, store: Store, change: Change) -> None:
        """An entry with an id or an end, and a key without an entry, have no stamp to set."""
        await begin(store, intent("a"))
        await note(store, change)

        assert not await store.restamp("a", EPOCH, EPOCH + 1)
        assert not await store.restamp("b", EPOCH, EPOCH + 1)


class ChangesContract:
    """`write` applies each change where its conditions hold."""

    @pytest.mark.parametrize(
        ("changes", "fields"),
        [
            ([accepted("a")], TASK),
            ([accepted("a"), accepted("a")], TASK),
            ([ended("a-task"), accepted("a")], TASK | END),
            ([accepted("a"), ended("a-task"), ended("a-task", state=EntryState.FAILED)], TASK | END),
            ([accepted("a"), ended("a-task", provider="flux"), ended("b-task")], TASK),
            ([Accepted(key="a", task_id=None, **END)], END),
            ([REFUSED], {"state": EntryState.REFUSED, "ended_at": EPOCH + 1, "reason": "too many requests"}),
            ([Refused(key="a", sent_at=EPOCH + 2, ended_at=EPOCH + 3, reason="late")], {}),
            ([accepted("a"), REFUSED, Abandoned(key="a", sent_at=EPOCH)], TASK),
            ([Abandoned(key="a", sent_at=EPOCH)], {"state": EntryState.UNCERTAIN}),
            ([Abandoned(key="a", sent_at=EPOCH + 2)], {}),
            ([accepted("a"), saved("x.mp4", "y.mp4", task_id="a-task")], TASK | {"files": ("x.mp4", "y.mp4")}),
            ([saved("x.mp4", "y.mp4", key="a"), saved("z.mp4", key="a")], {"files": ("z.mp4",)}),
            ([accepted("a"), saved("x.mp4", task_id="b-task"), saved("x.mp4", key="c")], TASK),
        ],
        ids=[
            "accepted",
            "accepted twice",
            "accepted and ended",
            "the first end stays",
            "other tasks end",
            "ended without an id",
            "refused",
            "refused by another stamp",
            "accepted is final",
            "abandoned",
            "abandoned by another stamp",
            "saved",
            "saved by key",
            "others saved",
        ],
    )
    async def test_changes_of_an_entry(self, store: Store, changes: list[Change], fields: dict[str, object]) -> None:
        """Changes apply in the order of their kinds, and to the entry of this key only."""
        await begin(store, intent("a"), intent("b"))

        assert await note(store, *changes) == []
        assert await store.find(["a", "b"]) == [entry("a", **fields), entry("b")]

    async def test_an_uncertain_submission_is_accepted(self, store: Store) -> None:
        """A late response settles what was given up."""
        await begin(store, intent("a"))
        await note(store, Abandoned(key="a", sent_at=EPOCH))

        assert await note(store, accepted("a")) == []
        assert await store.find(["a"]) == [entry("a", **TASK)]

    async def test_a_second_id_is_reported(self, store: Store) -> None:
        """Keys that are unknown, refused or have another task are returned, and their entries stay as they are."""
        await begin(store, intent("a"), intent("b"), intent("c"), intent("d"))
        await note(store, accepted("a"), Refused(key="c", sent_at=EPOCH, ended_at=EPOCH + 1, reason="no"))
        before = await all_of(store)
        no_id = Accepted(key="a", task_id=None, **END)

        assert await note(store, accepted("a", "other"), accepted("c"), accepted("x")) == ["a", "c", "x"]
        assert await note(store, no_id, accepted("a")) == ["a"]
        assert await all_of(store) == before

    async def test_all_entries_of_a_task_end(self, store: Store) -> None:
        """Two keys may have one task, and both end with it."""
        await begin(store, intent("a"), intent("b"))
        await note(store, accepted("a", "t"), accepted("b", "t"))
        await note(store, ended("t"))

        assert await store.unfinished(None, 10) == []
        assert [found.key for found in await store.find_tasks("luma", ["t", "u", "t"])] == ["a", "b"]
        assert await store.find_tasks("flux", ["t"]) == []


class PagesContract:
    """`unfinished` and `select` return entries by the page."""

    @pytest.fixture
    async def keys(self, store: Store) -> list[str]:
        """Keys of nine entries, stamped in the opposite order; every third has ended, and the first was refused."""
        keys = [f"key-{index}" for index in range(9)]
        await begin(store, *(intent(key, sent_at=EPOCH - index) for index, key in enumerate(keys)))
        await note(store, *(accepted(key) for key in keys[1:]))
        await note(store, *(ended(f"{key}-task") for key in keys[2::3]))
        await note(store, Refused(key=keys[0], sent_at=EPOCH, ended_at=EPOCH, reason="no"))
        return keys

    @pytest.mark.parametrize("limit", [1, 2, 5, 6])
    async def test_unfinished_in_the_order_of_insertion(self, store: Store, keys: list[str], limit: int) -> None:
        """Every unfinished entry is on one page; ended and refused ones are on none."""
        found = [found.key for found in await pages(lambda after: store.unfinished(after, limit))]

        assert found == [keys[index] for index in (1, 3, 4, 6, 7)]

    @pytest.mark.parametrize("limit", [1, 2, 9, 10])
    async def test_all_in_the_order_of_stamps(self, store: Store, keys: list[str], limit: int) -> None:
        """Every entry is on one page."""
        found = [found.key for found in await pages(lambda after: store.select(Query(), after, limit))]

        assert found == keys[::-1]

    async def test_equal_stamps_keep_the_order_of_insertion(self, store: Store) -> None:
        """A page may end between entries with equal stamps."""
        await begin(store, *(intent(key) for key in "cab"))

        assert [found.key for found in await pages(lambda after: store.select(Query(), after, 1))] == ["c", "a", "b"]

    @pytest.mark.usefixtures("keys")
    async def test_nothing_comes_after_an_unknown_key(self, store: Store) -> None:
        """A page after an entry that does not exist is empty."""
        assert await store.unfinished("unknown", 9) == []
        assert await store.select(Query(), "unknown", 9) == []

    @pytest.mark.usefixtures("keys")
    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (Query(provider="luma"), "876543210"),
            (Query(provider="flux"), ""),
            (Query(states=(EntryState.SUCCEEDED, EntryState.REFUSED)), "8520"),
            (Query(states=()), ""),
            (Query(since=EPOCH - 2), "210"),
            (Query(before=EPOCH - 2), "876543"),
            (Query(states=(EntryState.SUCCEEDED,), since=EPOCH - 5, before=EPOCH - 2), "5"),
        ],
        ids=["provider", "other provider", "states", "no states", "since", "before", "several"],
    )
    async def test_conditions(self, store: Store, query: Query, expected: str) -> None:
        """Only entries that fulfil all conditions are returned."""
        assert [found.key for found in await store.select(query, None, 10)] == [f"key-{index}" for index in expected]


async def pages(turn: Callable[[str | None], Awaitable[list[Entry]]]) -> list[Entry]:
    """Return the entries of all pages."""
    found: list[Entry] = []
    for _ in itertools.count():
        page = await turn(found[-1].key if found else None)
        if not page:
            return found
        found += page
    raise AssertionError
