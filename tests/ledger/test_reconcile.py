"""Reconciliation: uncertain submissions are looked up in the history."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from conftest import EPOCH as SERVER_EPOCH
from ledger_support import EPOCH, intent, note
from support import now

from acetasks import Task, TaskState
from acetasks._ledger import Abandoned, Accepted, EntryState, HistorySource, Ledger, MemoryStore, SQLiteStore, reconcile
from acetasks._ledger.reconcile import CLOCK_MARGIN, SETTLE_TIME

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from acetasks import Client
    from acetasks._ledger import Reconciliation
    from acetasks.testing import AceServer

BOUND = 90.0
#: The time of reconciliation: after everything has settled.
LATER = EPOCH + 10_000


class Listed:
    """A history with some tasks."""

    def __init__(self, tasks: list[Task], *, is_complete: bool = True) -> None:
        self._tasks = tasks
        self.is_complete = is_complete
        self.times: list[tuple[float, float]] = []

    async def tasks(self) -> AsyncGenerator[Task, None]:
        """Implement `History.tasks`."""
        for task in self._tasks:
            yield task

    def walk(self, after: float, before: float) -> Listed:
        """Begin a walk."""
        self.times.append((after, before))
        return self


def payload(**fields: object) -> bytes:
    """Build the body of a submission."""
    return msgspec.json.encode(fields | {"async": True})


def listed(task_id: str, created: float = EPOCH + 1, **request: object) -> Task:
    """Build a task of the history."""
    raw = msgspec.json.encode({"id": task_id, "request": request})
    return Task(provider="luma", id=task_id, state=TaskState.PENDING, created_at=created, raw=raw)


async def uncertain(store: MemoryStore, **requests: bytes) -> None:
    """Insert uncertain entries, by their keys."""
    for key, request in requests.items():
        await store.write([], [intent(key, request=request)])
        await note(store, Abandoned(key=key, sent_at=EPOCH))


async def run(store: MemoryStore, history: Listed, *, at: float = LATER, **options: object) -> Reconciliation:
    """Reconcile at a time."""
    ledger = Ledger(store, clock=lambda: at, longest_post=60.0, send_within=30.0)
    return await reconcile(ledger, lambda _: HistorySource(history.walk, **options))


def outcome(found: Reconciliation) -> tuple[dict[str, str | None], list[str], dict[str, str]]:
    """Return the ids of adopted entries, the absent ones, and the reasons of the others, by key."""
    return (
        {entry.key: entry.task_id for entry in found.adopted},
        [entry.key for entry in found.absent],
        {doubt.entry.key: doubt.reason for doubt in found.ambiguous},
    )


async def test_equal_requests_are_interchangeable() -> None:
    """Of three equal submissions with two tasks two are adopted, one is absent; claimed and other tasks stay."""
    store = MemoryStore()
    await store.write([], [intent("known", request=payload(prompt="a"))])
    await note(store, Accepted(key="known", task_id="claimed"))
    await uncertain(store, x=payload(prompt="a"), y=payload(prompt="a"), z=payload(prompt="a"))
    tasks = [listed("t2", prompt="a"), listed("claimed", prompt="a"), listed("s", prompt="b"), listed("t1", prompt="a")]
    history = Listed(tasks)
    adopted, absent, ambiguous = outcome(await run(store, history))
    assert sorted(adopted.values()) == ["t1", "t2"]
    assert (len(absent), ambiguous) == (1, {})
    assert history.times == [(EPOCH - CLOCK_MARGIN, EPOCH + BOUND + CLOCK_MARGIN)]
    assert [entry.state for entry in await store.find([*adopted])] == [EntryState.ACCEPTED] * 2
    assert (await store.find(absent))[0].state is EntryState.UNCERTAIN


@pytest.mark.parametrize(
    ("sent", "request_", "expected"),
    [
        (payload(prompt="a"), {"prompt": "a", "model": "default"}, "adopted"),
        (payload(prompt="a", seconds=5), {"prompt": "a", "seconds": 5.0, "async": False}, "adopted"),
        (payload(prompt="a", image="x"), {"prompt": "a"}, "ambiguous"),
        (payload(prompt="a"), {}, "ambiguous"),
        (payload(prompt="a"), {"prompt": "a", "callback_url": "https://x"}, "ambiguous"),
        (payload(prompt="a"), {"prompt": "b"}, "absent"),
        (payload(prompt="a", callback_url="https://x/1"), {"prompt": "a", "callback_url": "https://x/2"}, "absent"),
        (payload(prompt="a", callback_url="https://x/1"), {"prompt": "a", "callback_url": "https://x/1"}, "adopted"),
        (payload(prompt="a", callback_url="https://x/1"), {"prompt": "a"}, "adopted"),
        (payload(prompt="a", callback_url="https://x/1"), {"callback_url": "https://x/1"}, "ambiguous"),
    ],
)
async def test_what_a_record_repeats(sent: bytes, request_: dict[str, object], expected: str) -> None:
    """A record that repeats the whole payload is adopted; one that repeats a part leaves a doubt."""
    store = MemoryStore()
    await uncertain(store, x=sent)
    found = await run(store, Listed([listed("t", **request_)]))
    assert [name for name in ("adopted", "absent", "ambiguous") if getattr(found, name)] == [expected]


async def test_callback_urls_tell_equal_payloads_apart() -> None:
    """If the records repeat them; if not, each of the tasks may be that of each submission."""
    urls = {key: f"https://x/{key}" for key in ("x", "y")}
    for has_url in (True, False):
        store = MemoryStore()
        await uncertain(store, **{key: payload(prompt="a", callback_url=url) for key, url in urls.items()})
        requests = {key: {"prompt": "a"} | ({"callback_url": url} if has_url else {}) for key, url in urls.items()}
        found = await run(store, Listed([listed(f"t{key}", **request) for key, request in requests.items()]))
        adopted, absent, ambiguous = outcome(found)
        assert (adopted, absent) == ({"x": "tx", "y": "ty"} if has_url else {}, [])
        assert set(ambiguous) == (set() if has_url else {"x", "y"})


@pytest.mark.parametrize(
    ("options", "at", "reason"),
    [
        ({"is_complete": False}, LATER, "the history cannot be read to its end"),
        ({}, EPOCH + BOUND + SETTLE_TIME - 1, "it is too recent: the history may list it later"),
        ({"reach": 600.0}, LATER, "the history does not reach back so far"),
    ],
    ids=["incomplete", "recent", "old"],
)
async def test_absent_needs_a_settled_history(options: dict[str, object], at: float, reason: str) -> None:
    """What a history that is incomplete, too early or too short does not list may exist."""
    store = MemoryStore()
    await uncertain(store, x=payload(prompt="a"))
    history = Listed([], is_complete=options.pop("is_complete", True))
    assert outcome(await run(store, history, at=at, **options)) == ({}, [], {"x": reason})


async def test_an_equal_request_under_way() -> None:
    """A task may be that of an equal submission whose id is not noted yet."""
    store = MemoryStore()
    await uncertain(store, x=payload(prompt="a"))
    await store.write([], [intent("now", sent_at=LATER, request=payload(prompt="a"))])
    found = await run(store, Listed([listed("t", created=EPOCH + 150, prompt="a")]), at=LATER)
    assert outcome(found)[0] == {"x": "t"}
    store = MemoryStore()
    await uncertain(store, x=payload(prompt="a"))
    await store.write([], [intent("now", sent_at=EPOCH + 60, request=payload(prompt="a"))])
    found = await run(store, Listed([listed("t", prompt="a")]), at=EPOCH + 100)
    assert outcome(found)[2] == {"x": "an equal request is being submitted"}


async def test_without_a_history() -> None:
    """A provider without a list leaves a doubt."""
    store = MemoryStore()
    await uncertain(store, x=payload(prompt="a"))
    ledger = Ledger(store, clock=lambda: LATER, longest_post=60.0)
    found = await reconcile(ledger, lambda _: None)
    assert outcome(found)[2] == {"x": "the provider has no history"}


@pytest.mark.parametrize("seed", range(3))
async def test_thousands_among_the_tasks_of_others(seed: int) -> None:
    """Of 3,000 uncertain submissions all are told apart, and none gets a task with another request."""
    rng = random.Random(seed)
    store, tasks, accepted = MemoryStore(), [], {}
    for number in range(3000):
        prompt, sent_at = f"p{rng.randrange(1500)}", EPOCH + number
        await store.write([], [intent(f"k{number}", sent_at=sent_at, request=payload(prompt=prompt))])
        await note(store, Abandoned(key=f"k{number}", sent_at=sent_at))
        if rng.random() < 0.7:
            accepted[f"t{number}"] = prompt
            tasks.append(listed(f"t{number}", sent_at + rng.uniform(0, BOUND), prompt=prompt, model="default"))
        tasks.append(listed(f"s{number}", sent_at, prompt=f"stranger {number}"))
    rng.shuffle(tasks)
    found = await run(store, Listed(tasks), at=LATER)
    assert not found.ambiguous
    assert {entry.task_id for entry in found.adopted} == accepted.keys()
    assert len(found.adopted) + len(found.absent) == 3000
    for entry in found.adopted:
        assert msgspec.json.decode(entry.request)["prompt"] == accepted[entry.task_id]


async def test_a_client_without_a_journal(client: Client) -> None:
    """Without a journal there is nothing to reconcile."""
    with pytest.raises(ValueError, match="this client has no journal"):
        await client.reconcile()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_task_is_adopted_once(kind: str, tmp_path: Path) -> None:
    """Of two processes that give one task to different entries, one succeeds."""
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "tasks.db")
    ledger = Ledger(store, clock=lambda: LATER, longest_post=60.0)
    await ledger.open()
    await uncertain(store, x=payload(prompt="a"), y=payload(prompt="a"))
    first, second = await store.find(["x", "y"])
    assert (await ledger.adopt(first, listed("t"))).task_id == "t"
    assert await ledger.adopt(second, listed("t")) is None
    assert (await ledger.adopt(first, listed("t"))).task_id == "t"
    assert (await store.find(["y"]))[0].task_id is None
    await ledger.close()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_released_key_is_submitted_once(kind: str, tmp_path: Path) -> None:
    """Of two processes that release and submit it, one submits; a late response to the first submission is kept."""
    store = MemoryStore() if kind == "memory" else SQLiteStore(tmp_path / "tasks.db")
    mine, other = (Ledger(store, clock=lambda: LATER, longest_post=60.0) for _ in range(2))
    await mine.open()  # and with it the store
    await uncertain(store, x=payload(prompt="a"))
    (absent,) = [entry async for entry in mine.unfinished()]
    assert await mine.release(absent)
    arguments = {"provider": "luma", "path": "/luma/videos", "request": payload(prompt="a")}
    again = await mine.begin("x", **arguments)
    assert again.sent_at == LATER
    # The other process has seen the same entry, and the key is under way in this one.
    assert not await other.release(absent)
    assert not await mine.release(absent)
    with pytest.raises(ValueError, match="only an uncertain submission can be released, and 'x' is submitting"):
        await mine.release(again)
    assert (await mine.accept(again, listed("t2"))).key == "x"
    assert (await other.accept(absent, listed("t1"))).key != "x"
    assert {entry.task_id async for entry in mine.tasks()} == {"t1", "t2"}
    await mine.close()


async def test_over_the_simulated_service(client: Client, server: AceServer) -> None:
    """Of 1,000 submissions the accepted ones are adopted in n/50 requests; those listed late, once they are listed."""
    store = MemoryStore()
    for number in range(1000):
        request = {"prompt": f"p{number}", "async": True}
        body = msgspec.json.encode(request)
        await store.write([], [intent(f"k{number}", sent_at=SERVER_EPOCH, request=body)])
        await note(store, Abandoned(key=f"k{number}", sent_at=SERVER_EPOCH))
        if number % 4:
            server.add("luma", request=request, id=f"t{number}", visible_after=600 if number % 4 == 1 else 0)
        else:
            server.add("luma", request={"prompt": f"stranger {number}"})
    ledger = Ledger(store, clock=lambda: SERVER_EPOCH + now(), longest_post=60.0, send_within=30.0)

    async def look() -> Reconciliation:
        return await reconcile(ledger, client._find_history)  # noqa: SLF001  # what `Client.reconcile` passes

    await asyncio.sleep(100)
    early = await look()
    assert (len(early.adopted), len(early.absent), len(early.ambiguous)) == (500, 0, 500)
    assert server.request_count <= 1000 / 50 + 5
    await asyncio.sleep(600)
    server.fail(limit=12, times=None)
    server.fail(edit=lambda body: body | {"items": body["items"][::-1]}, times=None)
    late = await look()
    assert (len(late.adopted), len(late.absent), len(late.ambiguous)) == (250, 250, 0)
    assert all(entry.task_id == f"t{entry.key[1:]}" for entry in (*early.adopted, *late.adopted))
