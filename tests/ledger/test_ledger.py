"""The rules of the ledger: one submission for each key, and one end for each task."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from ledger_support import EPOCH, REQUEST, GatedStore, clock, entry, intent, task
from support import now

from acetasks import LedgerError, SubmissionUncertainError, TaskState
from acetasks._ledger import EntryState, Ledger, MemoryStore, SQLiteStore, Store, build_fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acetasks._ledger import Entry

LONGEST_POST, SEND_WITHIN = 60.0, 30.0
BOUND = LONGEST_POST + SEND_WITHIN


def new_ledger(store: Store) -> Ledger:
    """Return a ledger on the virtual clock, which is not open."""
    return Ledger(store, clock=clock, longest_post=LONGEST_POST, send_within=SEND_WITHIN)


async def begin(ledger: Ledger, key: str | None = "a", request: bytes = REQUEST) -> Entry:
    """Begin a submission."""
    return await ledger.begin(key, provider="luma", path="/luma/videos", request=request)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A closed store of each kind."""
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "tasks.db")


@pytest.fixture
async def ledger(store: Store) -> AsyncIterator[Ledger]:
    """An open ledger."""
    ledger = new_ledger(store)
    await ledger.open()
    yield ledger
    await ledger.close()


class TestOneSubmission:
    """The way of one submission."""

    async def test_to_its_end(self, ledger: Ledger) -> None:
        """An intent, an id, and an end."""
        begun = await begin(ledger)
        assert begun == entry("a")
        assert ledger.may_send(begun)
        await asyncio.sleep(5)
        followed = await ledger.accept(begun, task("t"))
        assert followed == entry("a", state=EntryState.ACCEPTED, task_id="t", trace_id="trace")
        assert [found async for found in ledger.unfinished()] == [followed]
        await asyncio.sleep(60)
        ledger.finish(task("t", TaskState.FAILED))
        ledger.finish(task("t", TaskState.SUCCEEDED))

        found = await ledger.find("a")
        assert found == msgspec.structs.replace(
            followed, state=EntryState.FAILED, ended_at=EPOCH + 65, record=b'{"id":"t"}'
        )
        assert [found async for found in ledger.unfinished()] == []

    async def test_with_the_end_in_the_response(self, ledger: Ledger) -> None:
        """A result that comes with the response ends the entry, also without an id."""
        done = await ledger.accept(await begin(ledger), task("", TaskState.SUCCEEDED))

        assert (done.state, done.task_id, done.ended_at) == (EntryState.SUCCEEDED, None, EPOCH)
        assert await begin(ledger) == done

    async def test_a_task_that_is_not_found_has_not_ended(self, ledger: Ledger) -> None:
        """With another token it may be found, so it stays unfinished; and so do running and unknown tasks."""
        await ledger.accept(await begin(ledger), task("t"))
        for ended in (task("t", TaskState.NOT_FOUND), task("t", TaskState.RUNNING), task("u", TaskState.FAILED)):
            ledger.finish(ended)

        assert [found.state async for found in ledger.unfinished()] == [EntryState.ACCEPTED]

    async def test_an_old_stamp_is_not_sent(self, ledger: Ledger) -> None:
        """A submission that was held up is given a new stamp; only one of two callers gets it."""
        begun = await begin(ledger)
        await asyncio.sleep(SEND_WITHIN + 1)
        assert not ledger.may_send(begun)

        stamped = await ledger.restamp(begun)
        assert stamped == entry("a", sent_at=EPOCH + SEND_WITHIN + 1)
        assert ledger.may_send(stamped)
        assert await ledger.restamp(begun) is None

    async def test_a_key_that_another_process_has_released(self, ledger: Ledger, store: Store) -> None:
        """A sender that was frozen for long finds its key released, and begins again; it does not wait for itself."""
        begun = await begin(ledger)
        await asyncio.sleep(BOUND + 1)
        assert await new_ledger(store).release(msgspec.structs.replace(begun, state=EntryState.UNCERTAIN))
        assert await ledger.restamp(begun) is None

        async with asyncio.timeout(BOUND):
            again = await begin(ledger)
        assert again.state is EntryState.SUBMITTING
        assert again.sent_at > begun.sent_at

    async def test_without_a_key(self, ledger: Ledger) -> None:
        """Each call is a submission of its own, and keys that are made up are in the order of time."""
        keys = []
        for _ in range(3):
            keys.append((await begin(ledger, None)).key)
            await asyncio.sleep(1)

        assert keys == sorted(set(keys))
        assert [found.key async for found in ledger.tasks()] == keys


class TestSameKey:
    """A key that was used before."""

    async def test_gets_the_first_task(self, ledger: Ledger) -> None:
        """The second call gets the entry with the id, and sends nothing."""
        first = await ledger.accept(await begin(ledger), task("t"))

        assert await begin(ledger) == first

    async def test_with_its_keys_in_another_order(self, ledger: Ledger) -> None:
        """Equal payloads are equal, however they are written."""
        first = await ledger.accept(await begin(ledger, request=b'{"a":1,"b":[2]}'), task("t"))

        assert await begin(ledger, request=b'{"b": [2], "a": 1}') == first

    async def test_with_another_payload(self, ledger: Ledger) -> None:
        """A key names one submission."""
        await ledger.accept(await begin(ledger), task("t"))

        with pytest.raises(ValueError, match=r"key 'a' was used for another payload .* use another one"):
            await begin(ledger, request=b'{"prompt":"a dog"}')

    @pytest.mark.parametrize(
        ("key", "error"),
        [("", ValueError), (" a", ValueError), ("a\n", ValueError), ("x" * 257, ValueError), (7, TypeError)],
    )
    async def test_malformed(self, ledger: Ledger, key: str, error: type[Exception]) -> None:
        """A key is a short text without surprises."""
        with pytest.raises(error, match="key must"):
            await begin(ledger, key)

    async def test_under_way_waits_for_the_first(self, ledger: Ledger) -> None:
        """Calls of one process wait for the response, however long it takes."""
        begun = await begin(ledger)
        others = [asyncio.create_task(begin(ledger)) for _ in range(3)]
        await asyncio.sleep(1000)
        assert not any(other.done() for other in others)
        followed = await ledger.accept(begun, task("t"))

        assert await asyncio.gather(*others) == [followed] * 3
        assert now() == 1000

    async def test_under_way_is_sent_by_the_next_after_a_refusal(self, ledger: Ledger) -> None:
        """After a refusal exactly one of the waiting calls submits, with another payload if it has one."""
        begun = await begin(ledger)
        others = [asyncio.create_task(begin(ledger, request=b'{"seed":%d}' % seed)) for seed in range(3)]
        await asyncio.sleep(1)
        await ledger.refuse(begun, "too many requests")
        await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)

        done = [other.result() for other in others if other.done()]
        assert [again.state for again in done] == [EntryState.SUBMITTING]
        await ledger.accept(done[0], task("t"))
        results = await asyncio.gather(*others, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Entry", "ValueError", "ValueError"]

    async def test_refused_keeps_the_reason(self, ledger: Ledger) -> None:
        """A refused submission is in the list with its reason, and is not unfinished."""
        await ledger.refuse(await begin(ledger), "too many requests")

        (found,) = [found async for found in ledger.tasks(state="refused")]
        assert (found.key, found.reason, found.ended_at) == ("a", "too many requests", EPOCH)
        assert [found async for found in ledger.unfinished()] == []

    async def test_abandoned_is_uncertain_at_once(self, ledger: Ledger) -> None:
        """When the sender has given up, nothing waits for the bound."""
        begun = await begin(ledger)
        other = asyncio.create_task(begin(ledger))
        await asyncio.sleep(10)
        await ledger.abandon(begun)

        with pytest.raises(SubmissionUncertainError, match="key 'a' was submitted 10 s ago") as caught:
            await other
        assert (caught.value.provider, caught.value.path, caught.value.payload) == ("luma", "/luma/videos", REQUEST)
        assert (caught.value.key, caught.value.sent_at) == ("a", EPOCH)
        assert now() == 10

    async def test_a_late_id_settles_an_uncertain_submission(self, ledger: Ledger) -> None:
        """An uncertain entry is given the id that the history has, and the key leads to it."""
        await ledger.abandon(await begin(ledger))
        (uncertain,) = [found async for found in ledger.unfinished()]
        assert uncertain.state is EntryState.UNCERTAIN
        followed = await ledger.accept(uncertain, task("t"))

        assert await begin(ledger) == followed
        assert await ledger.restamp(uncertain) is None

    async def test_an_uncertain_submission_is_sent_again_by_one(self, ledger: Ledger) -> None:
        """Of two calls that send it again, one gets the entry, and others wait for it."""
        await ledger.abandon(await begin(ledger))
        (uncertain,) = [found async for found in ledger.unfinished()]
        await asyncio.sleep(5)

        again = await asyncio.gather(ledger.restamp(uncertain), ledger.restamp(uncertain))
        assert again == [entry("a", sent_at=EPOCH + 5), None]
        waiting = asyncio.create_task(begin(ledger))
        await asyncio.sleep(5)
        followed = await ledger.accept(again[0], task("t"))
        assert await waiting == followed


class TestCancellation:
    """A caller that is cancelled leaves a key that can be used."""

    async def test_before_the_intent_is_written(self) -> None:
        """Nothing was sent: the key is refused as soon as its intent is written, and the next call submits."""
        ledger = new_ledger(store := GatedStore())
        first = asyncio.create_task(begin(ledger))
        await asyncio.sleep(0.5)
        first.cancel()

        again = await begin(ledger)
        assert (again.state, again.sent_at, now()) == (EntryState.SUBMITTING, EPOCH + 2, 3)
        assert store.groups == ["a", "Refused", "a"]

    async def test_just_when_the_intent_is_written(self) -> None:
        """A cancellation between the write and the caller's next step is no other."""
        ledger = new_ledger(store := GatedStore())
        first = asyncio.create_task(begin(ledger))
        asyncio.get_running_loop().call_at(1.0, first.cancel)
        with pytest.raises(asyncio.CancelledError):
            await first

        assert (await begin(ledger)).state is EntryState.SUBMITTING
        assert store.groups == ["a", "Refused", "a"]

    async def test_while_the_intent_fails(self) -> None:
        """An intent that cannot be written leaves nothing to refuse."""
        ledger = new_ledger(store := GatedStore())
        store.failure = LedgerError("full", location="x")
        first = asyncio.create_task(begin(ledger))
        await asyncio.sleep(0.5)
        first.cancel()
        await asyncio.sleep(1)
        store.failure = None

        assert (await begin(ledger)).sent_at == EPOCH + 1.5
        assert store.groups == ["a", "a"]

    async def test_while_an_id_is_written(self) -> None:
        """The id is written all the same."""
        ledger = new_ledger(GatedStore())
        begun = await begin(ledger)
        accepting = asyncio.create_task(ledger.accept(begun, task("t")))
        await asyncio.sleep(0.5)
        accepting.cancel()

        assert (await begin(ledger)).task_id == "t"

    async def test_while_a_second_id_is_written(self, caplog: pytest.LogCaptureFixture) -> None:
        """The log has the key and the id of what the store rejects, and nothing of its record."""
        ledger = new_ledger(store := GatedStore())
        begun, other = await begin(ledger), new_ledger(store)
        await other.accept(begun, task("t"))
        accepting = asyncio.create_task(ledger.accept(begun, task("u", TaskState.SUCCEEDED)))
        await asyncio.sleep(0.5)
        accepting.cancel()
        await ledger.flush()

        (record,) = caplog.records
        assert record.getMessage() == "the ledger has another task than 'u' under key 'a'"


class TestOtherProcesses:
    """Two ledgers on one store are what two processes are."""

    async def test_waits_for_the_response_of_another(self, ledger: Ledger, store: Store) -> None:
        """The store is looked at, less often as time goes on."""
        begun = await begin(ledger)
        waiting = asyncio.create_task(begin(new_ledger(store)))
        await asyncio.sleep(20)
        followed = await ledger.accept(begun, task("t"))

        assert await waiting == followed
        assert 20 <= now() <= 22

    async def test_an_old_stamp_is_uncertain(self, ledger: Ledger, store: Store) -> None:
        """When the longest request must have ended, its id will not come; nothing is sent."""
        await begin(ledger)

        with pytest.raises(SubmissionUncertainError, match="key 'a' was submitted 90 s ago"):
            await begin(new_ledger(store))
        assert now() == pytest.approx(BOUND, abs=0.01)
        assert [found.state async for found in ledger.tasks()] == [EntryState.UNCERTAIN]

    async def test_a_stamp_in_the_future_is_not_waited_for_any_longer(self) -> None:
        """A process whose clock is wrong holds up nobody for longer than a right one."""
        store = MemoryStore()
        await store.write([], [intent("a", sent_at=EPOCH + 1e6)])

        with pytest.raises(SubmissionUncertainError):
            await begin(new_ledger(store))
        assert now() == BOUND

    async def test_submits_what_another_was_refused(self, ledger: Ledger, store: Store) -> None:
        """The waiting process is the next sender."""
        begun = await begin(ledger)
        waiting = asyncio.create_task(begin(new_ledger(store)))
        await asyncio.sleep(10)
        await ledger.refuse(begun, "too many requests")

        again = await waiting
        assert again.state is EntryState.SUBMITTING
        assert again.sent_at >= EPOCH + 10

    async def test_a_second_task_of_a_key_is_followed_too(
        self, ledger: Ledger, store: Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Should a submission be paid for twice, both ids are in the ledger, and an error is logged."""
        begun, other = await begin(ledger), new_ledger(store)
        await ledger.abandon(begun)
        again = await other.restamp(msgspec.structs.replace(begun, state=EntryState.UNCERTAIN))
        assert again is not None
        first = await other.accept(again, task("t"))
        second = await ledger.accept(begun, task("u"))

        assert second.key != first.key
        assert [found.task_id async for found in ledger.unfinished()] == ["t", "u"]
        assert "a second task was made for key 'a': luma u" in caplog.text


class TestReading:
    """Lists of entries."""

    async def test_by_provider_state_and_time(self, ledger: Ledger) -> None:
        """Each condition is one of `tasks`; uncertain is what nobody knows of now."""
        await ledger.accept(await begin(ledger, "done"), task("t", TaskState.SUCCEEDED))
        await begin(ledger, "old")
        await asyncio.sleep(BOUND - 1)
        await begin(ledger, "new")
        await asyncio.sleep(1)

        async def keys(**conditions: object) -> list[str]:
            return [found.key async for found in ledger.tasks(**conditions)]

        assert await keys() == ["done", "old", "new"]
        assert await keys(state="uncertain") == ["old"]
        assert await keys(state=EntryState.SUBMITTING) == ["new"]
        assert await keys(state="succeeded", provider="luma") == ["done"]
        assert await keys(provider="flux") == []
        assert await keys(since=EPOCH + 1) == ["new"]
        assert await keys(before=EPOCH + 1) == ["done", "old"]
        with pytest.raises(ValueError, match="melted"):
            await keys(state="melted")

    async def test_more_than_a_page(self, ledger: Ledger) -> None:
        """A list has every entry once."""
        entries = await asyncio.gather(*(begin(ledger, f"key-{index:04}") for index in range(1201)))
        keys = [begun.key for begun in entries]

        assert [found.key async for found in ledger.unfinished()] == keys
        assert [found.key async for found in ledger.tasks(provider="luma")] == keys
        assert await ledger.find("key-1201") is None


class TestGroups:
    """Writes are grouped, and one that fails is tried again."""

    async def test_what_comes_during_a_write_is_the_next_group(self) -> None:
        """All calls that are ready are one write, and so are all that come while it runs."""
        ledger = new_ledger(store := GatedStore())
        a, b = await asyncio.gather(begin(ledger, "a"), begin(ledger, "b"))
        calls = [asyncio.create_task(begin(ledger, "c"))]
        await asyncio.sleep(0.5)
        calls += [asyncio.create_task(ledger.accept(begun, task(begun.key))) for begun in (a, b)]
        calls += [asyncio.create_task(begin(ledger, key)) for key in "de"]
        await asyncio.gather(*calls)

        assert store.groups == ["a b", "c", "Accepted Accepted d e"]
        assert now() == 3

    async def test_a_group_is_limited(self) -> None:
        """Five hundred of each kind are written at once."""
        ledger = new_ledger(store := GatedStore())
        await asyncio.gather(*(begin(ledger, str(index)) for index in range(1001)))

        assert [len(group.split()) for group in store.groups] == [500, 500, 1]

    async def test_an_intent_that_cannot_be_written_is_not_sent(self) -> None:
        """The error reaches every call of the group, and the keys can be used again."""
        ledger = new_ledger(store := GatedStore())
        store.failure = LedgerError("the disk is full", location="tasks.db")
        failed = await asyncio.gather(*(begin(ledger, key) for key in "ab"), return_exceptions=True)
        store.failure = None

        assert [str(error) for error in failed] == ["ledger tasks.db: the disk is full"] * 2
        assert failed[0] is not failed[1]
        assert (await begin(ledger, "a")).state is EntryState.SUBMITTING

    async def test_an_id_that_cannot_be_written_is_tried_again(self, caplog: pytest.LogCaptureFixture) -> None:
        """The caller is told, and the next write has it; the first failure and the recovery are logged."""
        ledger = new_ledger(store := GatedStore())
        a, b = await begin(ledger, "a"), await begin(ledger, "b")
        store.failure = LedgerError("the disk is full", location="tasks.db")
        for begun in (a, b):
            with pytest.raises(LedgerError, match="the disk is full"):
                await ledger.accept(begun, task(begun.key))
        with pytest.raises(LedgerError, match="the disk is full"):
            await ledger.flush()
        store.failure = None
        ledger.finish(task("a", TaskState.SUCCEEDED))
        await ledger.flush()

        assert [(found.task_id, found.state) async for found in ledger.tasks()] == [
            ("a", EntryState.SUCCEEDED),
            ("b", EntryState.ACCEPTED),
        ]
        assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
            "the ledger cannot be written",
            "the ledger can be written again",
        ]

    async def test_text_that_a_database_cannot_store(self, ledger: Ledger) -> None:
        """It is written with its odd characters escaped: it would fail for ever, and what is written with it."""
        odd = msgspec.structs.replace(task("t"), trace_id="a\0b\ud800")
        await ledger.accept(await begin(ledger), odd)
        ledger.save_files(odd, [Path("/caf\udce9/t.mp4")])
        await ledger.flush()

        found = await ledger.find("a")
        assert found is not None
        assert (found.task_id, found.trace_id, found.files) == ("t", r"a\x00b\ud800", (r"/caf\udce9/t.mp4",))

    @pytest.mark.parametrize("failure", [ZeroDivisionError("oops"), asyncio.CancelledError()], ids=["error", "cancel"])
    async def test_a_store_that_fails_unexpectedly(self, failure: BaseException) -> None:
        """Whatever a store raises is a `LedgerError`, and the ledger goes on."""
        ledger = new_ledger(store := GatedStore())
        store.failure = failure
        with pytest.raises(LedgerError, match=f"ledger store: it failed unexpectedly .{type(failure).__name__}"):
            await begin(ledger)
        store.failure = None

        assert (await begin(ledger)).state is EntryState.SUBMITTING

    @pytest.mark.parametrize("seconds", [0.0, 0.5], ids=["before it begins", "during a write"])
    async def test_a_write_that_other_code_cancels(self, seconds: float) -> None:
        """As by a loop over all tasks at the end of a program: the id is kept, and closing writes it."""
        ledger = new_ledger(store := GatedStore())
        begun = await begin(ledger)
        accepting = asyncio.create_task(ledger.accept(begun, task("t")))
        beginning = asyncio.create_task(begin(ledger, "b"))
        await asyncio.sleep(seconds)
        (writing,) = [other for other in asyncio.all_tasks() if other.get_name() == "acetasks ledger"]
        writing.cancel()
        for waiting in (accepting, beginning):
            with pytest.raises(LedgerError, match="cancelled by other code"):
                await waiting
        ledger.finish(task("t", TaskState.SUCCEEDED))
        await ledger.close()

        (found,) = await store.find(["a"])
        assert found is not None
        assert (found.task_id, found.state) == ("t", EntryState.SUCCEEDED)

    async def test_closing_writes_what_is_queued(self) -> None:
        """An end that nothing waits for is written before the store is closed."""
        ledger = new_ledger(store := GatedStore())
        await ledger.accept(await begin(ledger), task("t"))
        ledger.finish(task("t", TaskState.SUCCEEDED))
        await ledger.close()

        assert [found and found.state for found in await store.find(["a"])] == [EntryState.SUCCEEDED]

    async def test_closing_says_what_is_lost(self, caplog: pytest.LogCaptureFixture) -> None:
        """What cannot be written until the end is an error in the log."""
        ledger = new_ledger(store := GatedStore())
        store.failure = LedgerError("the disk is full", location="tasks.db")
        ledger.finish(task("t", TaskState.SUCCEEDED))
        await ledger.close()

        (lost,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert lost == "the ledger cannot be written (ledger tasks.db: the disk is full); 1 changes are lost"

    async def test_reading_under_load_ends(self) -> None:
        """A reader waits for the changes before it, not for those that go on coming."""
        ledger = new_ledger(GatedStore())

        async def submit_forever() -> None:
            while True:
                await ledger.accept(await begin(ledger, None), task("t"))

        load = [asyncio.create_task(submit_forever()) for _ in range(3)]
        await asyncio.sleep(10)
        async with asyncio.timeout(5):
            assert [found async for found in ledger.tasks()]
        for submitting in load:
            submitting.cancel()
        await asyncio.wait(load)
        await ledger.close()

    async def test_the_parts_show_their_state(self) -> None:
        """A repr says what is under way."""
        ledger = new_ledger(MemoryStore())
        await begin(ledger)

        assert repr(ledger) == "<Ledger <MemoryStore 1 entries> 1 submissions under way>"


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        (("luma", "/luma/videos", b'{"b":2,"a":{"y":1,"x":[1,2]}}', {"x-A": "1"}), True),
        (("flux", "/luma/videos", b'{"b":2,"a":{"y":1,"x":[1,2]}}', {"x-A": "1"}), False),
        (("luma", "/luma/audios", b'{"b":2,"a":{"y":1,"x":[1,2]}}', {"x-A": "1"}), False),
        (("luma", "/luma/videos", b'{"b":2,"a":{"y":1,"x":[2,1]}}', {"x-A": "1"}), False),
        (("luma", "/luma/videos", b'{"b":2,"a":{"y":1,"x":[1,2]}}', {"x-A": "2"}), False),
        (("luma", "/luma/videos", b'{"b":2,"a":{"y":1,"x":[1,2]}}', {}), False),
        (("luma", "/luma/videos", b"", {"x-A": "1"}), False),
    ],
    ids=["order", "provider", "path", "payload", "header", "no header", "no payload"],
)
def test_fingerprints(other: tuple[str, str, bytes, dict[str, str]], is_same: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A fingerprint has the provider, the path, the payload without the order of its keys, and the headers."""
    one = build_fingerprint("luma", "/luma/videos", b'{"a": {"x": [1, 2], "y": 1}, "b": 2}', {"X-a": "1"})

    assert (build_fingerprint(*other) == one) is is_same
