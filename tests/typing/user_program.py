# pyright: strict
"""A program that uses the whole client as its users write it, checked by mypy and pyright in strict mode; never run.

It has no `type: ignore`: what a user writes in good faith must pass as it stands.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import aclosing, closing
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, assert_type

import msgspec

import acetasks
import acetasks.sync
from acetasks.telemetry import OpenTelemetry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Song(msgspec.Struct):
    """A type of the user's own for a response."""

    audio_url: str


class Payload(TypedDict):
    """A payload with known names."""

    prompt: str
    count: int


class Progress:
    """An observer."""

    def __init__(self) -> None:
        self.finished = 0

    def on_event(self, event: acetasks.Event) -> None:
        """Count finished tasks."""
        match event:
            case acetasks.TaskSettled(task=task):
                self.finished += task.state is acetasks.TaskState.SUCCEEDED
            case acetasks.RequestFailed(error=error):
                print(event.provider, error)
            case _:
                pass


async def wait(client: acetasks.Client, ids: list[str]) -> None:
    """Wait in every way."""
    task = await client.wait("luma", ids[0], timeout=600, download_to="videos")
    assert_type(task, acetasks.Task)
    paths = [artifact.path for artifact in task.artifacts if artifact.kind is acetasks.ArtifactKind.VIDEO]
    assert_type(paths, list[str | None])
    assert_type(task.decode(acetasks.LumaResponse), acetasks.LumaResponse)
    assert_type(task.decode(Song).audio_url, str)
    assert_type(task.decode(dict[str, object]), dict[str, object])
    assert_type(task.cost, dict[str, object] | None)

    async with aclosing(client.as_completed("luma", ids, timeout=600)) as tasks:
        async for ended in tasks:
            assert_type(ended, acetasks.Task)
            if ended.state.is_terminal:
                break
    async with aclosing(client.as_completed([("luma", ids[0]), client.handle("veo", "id")])) as tasks:
        assert_type(await anext(tasks), acetasks.Task)
    async with aclosing(client.handle("luma", ids[0]).updates()) as updates:
        assert_type([update.progress async for update in updates], list[float | None])

    assert_type(await client.wait_all("luma", tuple(ids), return_failed=True), list[acetasks.Task])
    assert_type(await client.wait_all((("luma", task_id) for task_id in ids), timeout=60), list[acetasks.Task])
    assert_type(await client.retrieve("luma", ids[0]), acetasks.Task)
    assert_type(await client.retrieve_batch("luma", ids), list[acetasks.Task])
    assert_type(await client.download(task, Path("videos")), list[Path])


async def submit(client: acetasks.Client) -> None:
    """Submit payloads of every kind: a literal, a variable, nested values, a `TypedDict`."""
    payload = {"prompt": "a cat", "duration": 5, "image_urls": ["https://cdn.example/cat.png"]}
    typed: Payload = {"prompt": "a cat", "count": 2}
    texts = {"prompt": "a cat"}
    handle = await client.submit("luma", payload)
    assert_type(handle, acetasks.TaskHandle)
    assert_type(await handle.wait(timeout=60), acetasks.Task)
    await client.submit("suno", {"custom": True, "style": None}, path="/suno/audios", key="order-1")
    await client.submit("flux", typed)
    await client.run("fish", texts, headers={"model": "s2-pro"}, timeout=60, download_to=Path("audio"))

    payloads = [{"prompt": word} for word in ("a cat", "a dog")]
    async with aclosing(client.run_many("luma", payloads, concurrency=5, keys=["a", "b"])) as results:
        async for result in results:
            assert_type(result.task, acetasks.Task | None)
            if result.error is not None:
                print(result.payload, result.error)

    async def endless() -> AsyncIterator[dict[str, str]]:
        while True:
            yield {"prompt": "a cat"}
            await asyncio.sleep(1)

    async for result in client.run_many("luma", endless(), keys=lambda payload: str(payload["prompt"])):
        assert_type(result, acetasks.RunResult)


async def look_back(client: acetasks.Client) -> None:
    """Read the history and the journal."""
    since = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    async with aclosing(client.history("luma", created_after=since, limit=100)) as tasks:
        assert_type([task.id async for task in tasks], list[str])
    async for entry in client.journal.tasks(state="failed", provider="luma"):
        assert_type(entry, acetasks.Entry)
    assert_type(await client.journal.find("order-1"), acetasks.Entry | None)
    async for handle in client.pending():
        assert_type(handle, acetasks.TaskHandle)
    reconciliation = await client.reconcile("luma")
    assert_type(reconciliation, acetasks.Reconciliation)


def look_inside(client: acetasks.Client | acetasks.sync.Client) -> None:
    """Read what a client does now."""
    stats = client.stats()
    assert_type(stats, acetasks.ClientStats)
    assert_type(stats.pending, int)
    assert_type(stats.providers["luma"].pending, dict[acetasks.TaskState, int])
    assert_type(stats.requests.failed, dict[str, int])
    assert_type(stats.submissions.uncertain, int)
    assert_type(stats.rates["acedata"].rate, float)
    explanation = client.explain("luma", "id")
    assert_type(explanation, acetasks.Explanation)
    assert_type(explanation.next_poll_in, float | None)
    if explanation.reason is acetasks.WaitReason.OUTAGE:
        print(explanation)


def wait_in_a_script(ids: list[str]) -> None:
    """Do the same without asyncio."""
    with acetasks.sync.Client(journal="tasks.db", telemetry=OpenTelemetry()) as client:
        handle = client.submit("luma", {"prompt": "a cat", "loop": True}, key="order-2")
        assert_type(handle, acetasks.sync.TaskHandle)
        with closing(client.as_completed("luma", ids)) as tasks:
            assert_type(next(tasks), acetasks.Task)
        assert_type(client.wait_all([handle, ("luma", ids[0])]), list[acetasks.Task])
        assert_type(client.run("luma", {"prompt": "a cat"}).decode(acetasks.LumaResponse), acetasks.LumaResponse)
        for result in client.run_many("luma", [{"prompt": "a cat"}]):
            assert_type(result, acetasks.RunResult)
        assert_type([task.id for task in client.history("luma", limit=5)], list[str])
        assert_type([entry.state for entry in client.journal.tasks()], list[acetasks.EntryState])
        look_inside(client)


async def main() -> None:
    """Open a client with every setting, and handle errors."""
    progress = Progress()
    async with acetasks.Client(
        policy=acetasks.PollPolicy(max_rate=5),
        retry=acetasks.RetryPolicy(attempts=5),
        downloads=acetasks.DownloadPolicy(concurrency=4),
        observers=[progress, acetasks.LoggingObserver()],
        telemetry=OpenTelemetry(),
        journal=acetasks.SQLiteStore("tasks.db"),
        durations=acetasks.Durations(),
    ) as client:
        try:
            await submit(client)
            await wait(client, ["a", "b"])
        except acetasks.TaskFailedError as error:
            assert_type(error.task.error, acetasks.TaskError | None)
        except acetasks.SubmissionUncertainError as error:
            assert_type(error.payload, bytes)
        except acetasks.TaskTimeoutError as error:
            print(client.explain(error.task.provider, error.task.id))
        except acetasks.APIError as error:
            assert_type(error.status, int | None)
        look_inside(client)
        await look_back(client)


if __name__ == "__main__":
    asyncio.run(main())
