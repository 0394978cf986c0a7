"""A client with a journal: what is paid for is written down, once for each key, and found after a restart."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from typing import TYPE_CHECKING

import aiohttp
import pytest
from support import now

import acetasks
from acetasks import EntryState, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from acetasks.testing.server import AceServer

EPOCH = 1_780_000_000.0
PAYLOAD = {"prompt": "a cat"}


@pytest.fixture(autouse=True)
def _wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the time of day pass with the virtual clock."""
    monkeypatch.setattr("time.time", lambda: EPOCH + now())


@pytest.fixture(params=["memory", "file"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], acetasks.Store | Path]:
    """Returns the same journal for each client."""
    if request.param == "file":
        return lambda: tmp_path / "tasks.db"
    store = acetasks.MemoryStore()
    return lambda: store


async def entries(client: acetasks.Client) -> list[acetasks.Entry]:
    """Return all entries of a client's journal."""
    return [entry async for entry in client.journal.tasks()]


class TestKeys:
    """`submit(key=)`."""

    async def test_same_key_is_submitted_once(self, server: AceServer, new_client, journal) -> None:
        """Another call has the same task, in the same client and in the next one."""
        async with new_client(journal=journal()) as client:
            first = await client.submit("luma", PAYLOAD, key="order-1")
            again = await client.submit("luma", PAYLOAD, key="order-1")
            other = await client.submit("luma", PAYLOAD, key="order-2")
        async with new_client(journal=journal()) as client:
            later = await client.submit("luma", dict(reversed(PAYLOAD.items())), key="order-1")
        assert first == again == later != other
        assert server.submissions == 2

    async def test_concurrent_calls_submit_once(self, server: AceServer, new_client, journal) -> None:
        """The second waits for the response to the first, also in another client."""
        server.fail("luma", hang=3)
        async with new_client(journal=journal()) as one, new_client(journal=journal()) as other:
            handles = await asyncio.gather(
                *(client.submit("luma", PAYLOAD, key="order-1") for client in (one, one, other))
            )
        assert len(set(handles)) == 1
        assert server.submissions == 1

    async def test_ended_task_is_returned_without_a_poll(self, server: AceServer, new_client, journal) -> None:
        """A key whose task has ended gives its end, from the journal."""
        async with new_client(journal=journal()) as client:
            task = await client.run("luma", PAYLOAD, key="order-1")
        requests = len(server.requests)
        async with new_client(journal=journal()) as client:
            handle = await client.submit("luma", PAYLOAD, key="order-1")
            assert handle.finished == await client.run("luma", PAYLOAD, key="order-1") == task
        assert len(server.requests) == requests

    async def test_failed_task_stays_failed(self, server: AceServer, new_client, journal) -> None:
        """It was paid for: its key does not submit another one."""
        server.script("luma", outcome="failed")
        async with new_client(journal=journal()) as client:
            for _ in range(2):
                with pytest.raises(acetasks.TaskFailedError):
                    await client.run("luma", PAYLOAD, key="order-1")
        assert server.submissions == 1

    async def test_blocking_submission(self, server: AceServer, new_client, journal) -> None:
        """Its end is in the journal with its acceptance."""
        payload = PAYLOAD | {"async": False}
        async with new_client(journal=journal()) as client:
            first = await client.submit("luma", payload, key="order-1")
            again = await client.submit("luma", payload, key="order-1")
            (entry,) = await entries(client)
        assert first.finished is not None
        assert again.finished == first.finished
        assert (entry.state, server.submissions) == (EntryState.SUCCEEDED, 1)

    async def test_refused_key_can_be_used_again(self, server: AceServer, new_client, journal) -> None:
        """Nothing was paid for."""
        server.fail("luma", status=400)
        async with new_client(journal=journal()) as client:
            with pytest.raises(acetasks.BadRequestError):
                await client.submit("luma", PAYLOAD, key="order-1")
            (entry,) = await entries(client)
            assert entry.state is EntryState.REFUSED
            assert "400" in (entry.reason or "")
            await client.submit("luma", PAYLOAD | {"loop": True}, key="order-1")
        assert server.submissions == 1

    async def test_too_many_requests(self, server: AceServer, new_client, journal) -> None:
        """A retry of the same call is the same entry, with a later stamp."""
        server.fail("luma", status=429, headers={"Retry-After": "40"})
        async with new_client(journal=journal()) as client:
            await client.submit("luma", PAYLOAD, key="order-1")
            (entry,) = await entries(client)
        assert (entry.state, entry.sent_at) == (EntryState.ACCEPTED, EPOCH + 40)

    async def test_uncertain_key_is_not_submitted_again(self, server: AceServer, new_client, journal) -> None:
        """Every further call raises the same error, with the key, until it is known what became of it."""
        server.fail("luma", reset=True)
        for _ in range(2):
            async with new_client(journal=journal()) as client:
                with pytest.raises(acetasks.SubmissionUncertainError) as caught:
                    await client.submit("luma", PAYLOAD, key="order-1")
                assert (caught.value.key, caught.value.sent_at) == ("order-1", EPOCH)
                (entry,) = [entry async for entry in client.journal.tasks(state="uncertain")]
                assert json.loads(entry.request)["prompt"] == "a cat"

    async def test_other_payload_is_refused(self, server: AceServer, new_client, journal) -> None:
        """A key names one submission: another path, header or payload is another one."""
        async with new_client(journal=journal()) as client:
            await client.submit("luma", PAYLOAD, key="order-1")
            for payload, options in (
                ({"prompt": "a dog"}, {}),
                (PAYLOAD, {"path": "/luma/other"}),
                (PAYLOAD, {"headers": {"model": "x"}}),
            ):
                with pytest.raises(ValueError, match="'order-1' was used for another payload"):
                    await client.submit("luma", payload, key="order-1", **options)
        assert server.submissions == 1

    @pytest.mark.parametrize("key", ["", " a", "a\n", "x" * 300, 7])
    async def test_malformed_key(self, server: AceServer, new_client, key: object) -> None:
        """It is refused before anything is sent."""
        async with new_client(journal=acetasks.MemoryStore()) as client:
            with pytest.raises((ValueError, TypeError), match="key must"):
                await client.submit("luma", PAYLOAD, key=key)
        assert not server.requests

    async def test_key_without_a_journal(self, server: AceServer, client: acetasks.Client) -> None:
        """A key that nothing keeps would promise what does not hold."""
        with pytest.raises(ValueError, match=r"Client\(journal='tasks\.db'\)"):
            await client.submit("luma", PAYLOAD, key="order-1")
        assert not server.requests


class TestFrozenProcess:
    """A process that is stopped between the intent and the request."""

    async def test_late_submission_is_not_sent(self, server: AceServer, new_client, journal, monkeypatch) -> None:
        """Another process may call it uncertain by then: it is stamped anew before it is sent."""
        resolve, delays = aiohttp.ThreadedResolver.resolve, [40.0]

        async def resolve_late(*args: object, **options: object) -> object:
            if delays:
                await asyncio.sleep(delays.pop())
            return await resolve(*args, **options)

        monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve_late)
        url = server.url.replace("127.0.0.1", "localhost")
        retry = acetasks.RetryPolicy(timeout=100, base=0)
        async with new_client(journal=journal(), base_url=url, retry=retry) as client:
            await client.submit("luma", PAYLOAD, key="order-1")
            (entry,) = await entries(client)
        assert entry.sent_at == EPOCH + 40
        assert server.submissions == 1


class TestRestart:
    """`pending` and `resume`."""

    async def test_unfinished_tasks_are_resumed(self, server: AceServer, new_client, journal) -> None:
        """The next client waits for what the last one has submitted, with or without a key, and not for what ended."""
        server.script("flux", after=500)
        async with new_client(journal=journal()) as client:
            await client.run("luma", PAYLOAD)
            handles = [await client.submit("flux", PAYLOAD), await client.submit("flux", PAYLOAD, key="order-1")]
        async with new_client(journal=journal()) as client:
            assert [handle async for handle in client.pending()] == handles
            tasks = await client.resume(timeout=1000)
            assert [(task.id, task.state) for task in tasks] == [(handle.id, TaskState.SUCCEEDED) for handle in handles]
            assert [handle async for handle in client.pending()] == []
            assert await client.resume() == []

    async def test_failed_tasks_are_returned(self, server: AceServer, new_client, journal) -> None:
        """A failure of one does not hide the others."""
        server.script("luma", outcome="failed")
        async with new_client(journal=journal()) as client:
            await client.submit("luma", PAYLOAD)
            await client.submit("flux", PAYLOAD)
            assert [task.state for task in await client.resume()] == [TaskState.FAILED, TaskState.SUCCEEDED]
            assert sorted(entry.state for entry in await entries(client)) == ["failed", "succeeded"]

    async def test_retrieved_end_is_noted(self, new_client, journal) -> None:
        """An end that `retrieve` has seen is an end."""
        async with new_client(journal=journal()) as client:
            handle = await client.submit("luma", PAYLOAD)
            await asyncio.sleep(1000)
            await client.retrieve("luma", handle.id)
            assert [handle async for handle in client.pending()] == []

    async def test_task_of_another_journal_is_ignored(self, server: AceServer, new_client, journal) -> None:
        """Waiting for a task that was submitted elsewhere writes nothing down."""
        async with new_client(journal=journal()) as client:
            await client.wait("luma", server.add("luma"))
            assert await entries(client) == []


class TestFiles:
    """The paths of downloaded files."""

    @pytest.mark.parametrize("way", ["run", "wait", "handle", "wait_all", "run_many", "resume", "download"])
    async def test_paths_are_noted(self, new_client, journal, tmp_path: Path, way: str) -> None:
        """However a file was downloaded, its entry has the path, as an absolute one, also after a restart."""
        to = os.path.relpath(tmp_path / "videos")  # noqa: ASYNC240  # before anything is awaited
        async with new_client(journal=journal()) as client:
            handle = None if way in {"run", "run_many"} else await client.submit("luma", PAYLOAD, key="order-1")
            if handle is None and way == "run":
                await client.run("luma", PAYLOAD, key="order-1", download_to=to)
            elif handle is None:
                _ = [_ async for _ in client.run_many("luma", [PAYLOAD], keys=["order-1"], download_to=to)]
            elif way == "wait":
                await client.wait("luma", handle.id, download_to=to)
            elif way == "handle":
                await handle.wait(download_to=to)
            elif way == "wait_all":
                await client.wait_all([handle], download_to=to)
            elif way == "resume":
                await client.resume(download_to=to)
            else:
                await client.download(await handle.wait(), to)
        async with new_client(journal=journal()) as client:
            (entry,) = await entries(client)
        assert entry.files == (str(tmp_path / "videos" / f"luma-{entry.task_id}.mp4"),)

    async def test_complete_files_are_not_downloaded_again(
        self, server: AceServer, new_client, journal, tmp_path: Path
    ) -> None:
        """The next run of a job downloads what is missing, although its task has ended long ago."""
        for runs, is_there in ((1, False), (1, True), (2, False)):
            if not is_there:
                shutil.rmtree(tmp_path / "videos", ignore_errors=True)
            async with new_client(journal=journal()) as client:
                task = await client.run("luma", PAYLOAD, key="order-1", download_to=tmp_path / "videos")
                (entry,) = await entries(client)
            assert entry.files == (task.artifacts[0].path,)
            assert sum(request.path.startswith("/files/") for request in server.requests) == runs
        assert server.submissions == 1

    async def test_all_roles(self, new_client, tmp_path: Path) -> None:
        """The files of the last download are noted, in the order of the artifacts."""
        async with new_client(journal=acetasks.MemoryStore()) as client:
            task = await client.run("luma", PAYLOAD, download_to=tmp_path)
            paths = await client.download(task, tmp_path, roles=None)
            (entry,) = await entries(client)
        assert len(paths) > 1
        assert entry.files == tuple(map(str, paths))

    async def test_result_without_an_id(self, server: AceServer, new_client, tmp_path: Path) -> None:
        """Its entry is found by the key."""
        body = {"success": True, "data": [{"audio_url": "data:audio/mpeg;base64,SUQz"}], "trace_id": "t"}
        server.fail("fish", action="submit", body=body, times=None)
        async with new_client(journal=acetasks.MemoryStore()) as client:
            handle = await client.submit("fish", {"text": "hello", "async": False}, key="order-1")
            task = await handle.wait(download_to=tmp_path)
            (entry,) = await entries(client)
        assert (task.id, entry.task_id) == ("", None)
        assert entry.files == (task.artifacts[0].path,)

    async def test_failed_download(self, server: AceServer, new_client, tmp_path: Path) -> None:
        """What was not downloaded is not noted, and the task has ended all the same."""
        server.fail(action="download", status=404, times=None)
        async with new_client(journal=acetasks.MemoryStore()) as client:
            with pytest.raises(acetasks.DownloadError):
                await client.run("luma", PAYLOAD, download_to=tmp_path)
            (entry,) = await entries(client)
        assert (entry.state, entry.files) == (EntryState.SUCCEEDED, ())


class TestCancellation:
    """Whatever ends a call, what was paid for is in the journal."""

    @pytest.mark.parametrize("steps", range(60))
    async def test_cancelled_after_any_step(self, server: AceServer, new_client, steps: int) -> None:
        """If the service has a task, the journal has it, or an uncertain entry; if not, the key is free."""
        store = acetasks.MemoryStore()
        async with new_client(journal=store) as client:
            call = asyncio.create_task(client.submit("luma", PAYLOAD, key="order-1"))
            for _ in range(steps):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.sleep(1)
            found = [entry.task_id for entry in await entries(client) if entry.task_id is not None]
            assert len(found) == server.submissions
            if call.cancelled():
                await client.submit("luma", PAYLOAD, key="order-1")
        assert server.submissions == 1

    async def test_timeout_while_the_task_is_being_noted(self, server: AceServer, new_client) -> None:
        """The task is known by then: it is returned."""
        store = SlowStore(seconds=5)
        async with new_client(journal=store) as client:
            with pytest.raises(acetasks.TaskTimeoutError) as caught:
                await client.run("luma", PAYLOAD, timeout=7)
            assert caught.value.task.id
        assert server.submissions == 1

    async def test_cancelled_while_the_task_is_being_noted(self, new_client) -> None:
        """The exception has the id, and the journal too."""
        store = SlowStore(seconds=5)
        async with new_client(journal=store) as client:
            call = asyncio.create_task(client.submit("luma", PAYLOAD))
            await asyncio.sleep(7)
            call.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await call
            await asyncio.sleep(10)
            (entry,) = await entries(client)
        assert entry.task_id is not None
        assert entry.task_id in caught.value.__notes__[0]


class SlowStore(acetasks.MemoryStore):
    """A store whose writes take some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def write(self, changes, intents):  # noqa: D102
        await asyncio.sleep(self._seconds)
        return await super().write(changes, intents)


class FullStore(acetasks.MemoryStore):
    """A store that is full from a number of writes on."""

    def __init__(self, writes: int) -> None:
        super().__init__()
        self.left = writes

    async def write(self, changes, intents):  # noqa: D102
        self.left -= 1
        if self.left < 0:
            raise acetasks.LedgerError("the disk is full", location="tasks.db")
        return await super().write(changes, intents)


class TestFailures:
    """A journal that cannot be written."""

    async def test_nothing_is_sent(self, server: AceServer, new_client) -> None:
        """If the intent cannot be written, nothing is paid for."""
        async with new_client(journal=FullStore(0)) as client:
            with pytest.raises(acetasks.LedgerError, match="the disk is full"):
                await client.submit("luma", PAYLOAD)
        assert not server.requests

    async def test_waiting_goes_on(self, new_client, caplog: pytest.LogCaptureFixture) -> None:
        """If the id cannot be written, the log says so, the wait goes on, and a later write has it."""
        store = FullStore(1)
        async with new_client(journal=store) as client:
            task = await client.run("luma", PAYLOAD)
            store.left = 100
            assert [entry.task_id for entry in await entries(client)] == [task.id]
        assert "the ledger cannot be written" in caplog.text
        assert task.state is TaskState.SUCCEEDED

    async def test_damaged_file(self, new_client, tmp_path: Path) -> None:
        """The client does not open, so that nothing is submitted unnoticed."""
        (tmp_path / "tasks.db").write_bytes(b"no database" * 1000)
        with pytest.raises(acetasks.LedgerError):
            async with new_client(journal=tmp_path / "tasks.db"):
                pass

    @pytest.mark.parametrize("journal", ["", " ", ":memory:", "mysql://db/tasks", "sqlite:///tasks.db"])
    def test_no_path(self, journal: str) -> None:
        """A URL or an empty path is refused when the client is created."""
        with pytest.raises(ValueError, match="journal must be the path of a file"):
            acetasks.Client("t", journal=journal)

    @pytest.mark.parametrize("journal", [7, b"tasks.db", object()])
    def test_no_store(self, journal: object) -> None:
        """So is anything that is neither a path nor a store."""
        with pytest.raises(TypeError, match="journal must be"):
            acetasks.Client("t", journal=journal)

    async def test_no_journal(self, client: acetasks.Client) -> None:
        """What needs one says so."""
        for call in (lambda: client.journal, client.resume, lambda: anext(client.pending())):
            with pytest.raises(ValueError, match="has no journal"):
                await call()


class TestReconcile:
    """`reconcile`, and `resume`, which begins with it."""

    async def test_uncertain_submission_is_adopted(self, server: AceServer, new_client, journal) -> None:
        """What the service has made is found in its history, awaited, and never submitted again."""
        server.fail("luma", action="submit", reset=True)
        async with new_client(journal=journal()) as client:
            with pytest.raises(acetasks.SubmissionUncertainError):
                await client.submit("luma", PAYLOAD, key="order-1")
        assert server.submissions == 1
        async with new_client(journal=journal()) as client:
            (task,) = await client.resume()
            assert task.state is TaskState.SUCCEEDED
            assert (await client.submit("luma", PAYLOAD, key="order-1")).finished == task
        assert server.submissions == 1

    async def test_adopted_task_that_has_ended_is_returned(
        self, server: AceServer, new_client, journal, tmp_path: Path
    ) -> None:
        """A task that ended before the restart, unseen, is one of those that `resume` returns, with its file."""
        server.fail("luma", action="submit", reset=True)
        async with new_client(journal=journal()) as client:
            with pytest.raises(acetasks.SubmissionUncertainError):
                await client.submit("luma", PAYLOAD, key="order-1")
        await asyncio.sleep(1000)
        async with new_client(journal=journal()) as client:
            (task,) = await client.resume(download_to=tmp_path)
            (entry,) = await entries(client)
        assert (task.id, task.state) == (entry.task_id, TaskState.SUCCEEDED)
        assert entry.files == (task.artifacts[0].path,)
        assert server.submissions == 1

    async def test_never_sent_submission_is_absent(self, server: AceServer, new_client, journal) -> None:
        """It is reported when the history has settled, and its key stays uncertain."""
        server.fail("luma", action="submit", status=502, body="<html>")
        async with new_client(journal=journal()) as client:
            with pytest.raises(acetasks.SubmissionUncertainError):
                await client.submit("luma", PAYLOAD, key="order-1")
            await asyncio.sleep(1000)
            found = await client.reconcile("luma")
        assert ([entry.key for entry in found.absent], found.adopted, found.ambiguous) == (["order-1"], (), ())
        assert server.submissions == 0

    async def test_released_submission_is_sent_again(self, server: AceServer, new_client, journal) -> None:
        """The key of an absent submission is submitted once more when it was released, and not before."""
        server.fail("luma", action="submit", status=502, body="<html>")
        async with new_client(journal=journal()) as client:
            for _ in range(2):
                with pytest.raises(acetasks.SubmissionUncertainError):
                    await client.submit("luma", PAYLOAD, key="order-1")
            await asyncio.sleep(1000)
            (absent,) = (await client.reconcile()).absent
            assert await client.journal.release(absent)
            task = await client.run("luma", PAYLOAD, key="order-1")
            (entry,) = await entries(client)
            assert not await client.journal.release(absent)
            assert (entry.key, entry.task_id, entry.reason) == ("order-1", task.id, None)
        assert server.submissions == 1
