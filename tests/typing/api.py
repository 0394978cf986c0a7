"""A typed program that uses the public interface; type-checked, never run."""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import acetasks
import acetasks.sync
from acetasks.providers import ArtifactField, ProviderSpec, register
from acetasks.testing import AceServer, Fault, VirtualClockLoop, run

if TYPE_CHECKING:
    import aiohttp
    from aiohttp import web


class Progress:
    """An observer: any class with `on_event`."""

    def on_event(self, event: acetasks.Event) -> None:
        """Match some types of event."""
        match event:
            case acetasks.RequestSent(ids=ids):
                assert_type(ids, int)
            case acetasks.OutageBegan(error=error):
                assert_type(error, acetasks.AceTasksError)
            case acetasks.RateCut(rate=rate):
                assert_type(rate, float)
            case acetasks.DownloadProgress(total=total):
                assert_type(total, int | None)
            case acetasks.TaskSettled(task=task):
                assert_type(task, acetasks.Task)
            case _:
                pass


async def use_the_client(http: aiohttp.ClientSession) -> None:
    """Use every method of a client."""
    async with acetasks.Client(
        "token",
        base_url="https://api.acedata.cloud",
        useapi_token="token",
        policy=acetasks.PollPolicy(interval=5, jitter=0.1, schedule="learned"),
        retry=acetasks.RetryPolicy(attempts=2),
        downloads=acetasks.DownloadPolicy(concurrency=8, allow_private=True),
        http=http,
        durations=acetasks.Durations.from_json(b""),
        observers=[Progress()],
        rng=random.Random(1),
    ) as client:
        assert_type(client, acetasks.Client)
        assert_type(client.durations, acetasks.Durations)
        assert_type(client.durations.to_json(), bytes)
        task = await client.wait("luma", "id", timeout=600)
        assert_type(task, acetasks.Task)
        assert_type(task.state, acetasks.TaskState)
        assert_type(task.to_json(), bytes)
        assert_type(acetasks.Task.from_json(task.to_json()), acetasks.Task)
        assert_type(dict(task), dict[str, object])
        assert_type(task.artifacts, tuple[acetasks.Artifact, ...])
        assert_type(task.response, dict[str, object] | None)
        assert_type(task.decode(acetasks.LumaResponse), acetasks.LumaResponse)
        assert_type(task.decode(acetasks.LumaResponse).video_url, str | None)
        handle = await client.submit("veo", {"prompt": "a cat"})
        assert_type(handle, acetasks.TaskHandle)
        assert_type(await handle.wait(timeout=1), acetasks.Task)
        assert_type(await client.run("veo", {"prompt": "a cat"}, path="/veo/videos"), acetasks.Task)
        async for update in handle.updates():
            assert_type(update, acetasks.Task)
        completed = client.as_completed("flux", ["a", "b"])
        assert_type(completed, AsyncGenerator[acetasks.Task, None])
        async with contextlib.aclosing(completed) as stream, contextlib.aclosing(handle.updates()) as updates:
            assert_type([task async for task in stream], list[acetasks.Task])
            assert_type(await anext(updates), acetasks.Task)
        async for finished in client.as_completed([("luma", "a"), handle], timeout=5):
            assert_type(finished, acetasks.Task)
        assert_type(await client.wait_all([("luma", "a"), handle]), list[acetasks.Task])
        assert_type(await client.wait_all("luma", ["a"], return_failed=True), list[acetasks.Task])
        assert_type(await client.wait_all("luma", ["a"], download_to="videos"), list[acetasks.Task])
        assert_type(await client.wait("luma", "a", download_to=Path("videos")), acetasks.Task)
        assert_type(await client.run("veo", {"prompt": "a cat"}, download_to="videos"), acetasks.Task)
        async for finished in client.as_completed("luma", ["a"], download_to="videos"):
            assert_type(finished.artifacts[0].path, str | None)
        assert_type(await client.download(task, "videos", roles=None, overwrite=True), list[Path])
        assert_type(await task.download(Path("videos"), policy=acetasks.DownloadPolicy(attempts=9)), list[Path])
        prompts = ({"prompt": word} for word in ("a cat", "a dog"))
        async for result in client.run_many("flux", prompts, keys=lambda payload: str(payload["prompt"])):
            assert_type(result, acetasks.RunResult)
            assert_type(result.task, acetasks.Task | None)
            assert_type(result.error, acetasks.AceTasksError | None)
        client.run_many("flux", [], on_error="ignore")  # type: ignore[arg-type]  # it is no choice
        assert_type(await client.retrieve("luma", "id"), acetasks.Task)
        assert_type(await client.retrieve_batch("luma", ["id"]), list[acetasks.Task])
        await client.wait_all(csv.reader(["luma,a"]), timeout=5)
        await client.wait_all([["luma", "a"], ("luma", "b"), handle])
        await client.wait_all([("luma",)])  # type: ignore[list-item]  # a pair has two texts
        await client.wait_all("luma")  # type: ignore[arg-type]  # a slug needs ids
        await client.wait("luma", 7)  # type: ignore[arg-type]  # an id is a string


async def use_the_journal() -> None:
    """Use keys, the journal and the history."""
    async with acetasks.Client("token", journal=Path("tasks.db")) as client:
        handle = await client.submit("luma", {"prompt": "a cat"}, key="order-1")
        assert_type(await handle.wait(timeout=5, download_to=Path("videos")), acetasks.Task)
        assert_type(await client.run("luma", {"prompt": "a cat"}, key="order-2"), acetasks.Task)
        assert_type(client.pending(), AsyncGenerator[acetasks.TaskHandle, None])
        assert_type([handle async for handle in client.pending()], list[acetasks.TaskHandle])
        assert_type(await client.resume(timeout=600, download_to="videos"), list[acetasks.Task])
        history = client.history("luma", created_after=dt.datetime.now(dt.UTC), created_before=1.8e9, limit=5)
        assert_type(history, AsyncGenerator[acetasks.Task, None])
        found = await client.reconcile("luma")
        assert_type(found, acetasks.Reconciliation)
        assert_type(found.adopted, tuple[acetasks.Entry, ...])
        assert_type(found.absent, tuple[acetasks.Entry, ...])
        assert_type([(doubt.entry, doubt.reason) for doubt in found.ambiguous], list[tuple[acetasks.Entry, str]])
        assert_type(client.journal, acetasks.Ledger)
        assert_type(await client.journal.find("order-1"), acetasks.Entry | None)
        async for entry in client.journal.tasks(provider="luma", state="uncertain", since=1.8e9):
            assert_type(entry, acetasks.Entry)
            assert_type((entry.key, entry.task_id, entry.ended_at), tuple[str, str | None, float | None])
            assert_type((entry.state, entry.files), tuple[acetasks.EntryState, tuple[str, ...]])
        await client.submit("luma", {}, key=7)  # type: ignore[arg-type]  # a key is a string
        client.history("luma", created_after="today")  # type: ignore[arg-type]  # a time is a datetime or a number
    assert_type(await client.retrieve("openai", trace_id="a"), acetasks.Task)


def name_journals(store: acetasks.Store) -> None:
    """Create clients with a journal of each kind."""
    acetasks.Client("token", journal="tasks.db")
    acetasks.Client("token", journal=store)
    acetasks.Client("token", journal=acetasks.MemoryStore())
    acetasks.Client("token", journal=acetasks.SQLiteStore("tasks.db", busy_timeout=5))
    assert_type(isinstance(store, acetasks.AnnouncingStore), bool)
    announcing: acetasks.AnnouncingStore = acetasks.PostgresStore("postgresql://127.0.0.1/test")
    acetasks.Client("token", journal=announcing)
    acetasks.Client("token", journal=7)  # type: ignore[arg-type]  # neither a path nor a store


async def receive_callbacks(app: web.Application) -> None:
    """Use callbacks, in both apps and without one."""
    callbacks = acetasks.Callbacks("https://shop.example/acetasks", secret=b"sixteen bytes...", max_bytes=100_000)
    app.add_subapp("/acetasks", callbacks.aiohttp_app())
    mount(callbacks.asgi_app())
    callbacks.receive("/acetasks/luma/token", b"{}")
    assert_type((callbacks.url, callbacks.received, callbacks.refused), tuple[str, int, int])
    acetasks.Client("token", callbacks=callbacks, policy=acetasks.PollPolicy(callback_interval=60))
    acetasks.sync.Client("token", callbacks=callbacks)
    await acetasks.Client.open("token", callbacks=callbacks)
    acetasks.Client("token", callbacks="https://shop.example")  # type: ignore[arg-type]  # a URL is not enough


def mount(
    app: Callable[
        [
            MutableMapping[str, Any],
            Callable[[], Awaitable[MutableMapping[str, Any]]],
            Callable[[MutableMapping[str, Any]], Awaitable[None]],
        ],
        Awaitable[None],
    ],
) -> None:
    """Take an ASGI app as Starlette types it."""


async def open_and_close() -> None:
    """Open a client without a `with` statement."""
    client = await acetasks.Client.open("token", policy=acetasks.PollPolicy(interval=5), allow_insecure=True)
    assert_type(client, acetasks.Client)
    await client.close()
    await acetasks.Client.open(policy=5)  # type: ignore[arg-type]  # a policy is a PollPolicy


def use_the_blocking_client() -> None:
    """Use every method of a blocking client."""
    with acetasks.sync.Client("token", policy=acetasks.PollPolicy(interval=5)) as client:
        assert_type(client, acetasks.sync.Client)
        assert_type(client.durations, acetasks.Durations)
        handle = client.submit("veo", {"prompt": "a cat"}, path="/veo/videos")
        assert_type(handle, acetasks.sync.TaskHandle)
        assert_type(handle.wait(timeout=1), acetasks.Task)
        assert_type(list(handle.updates()), list[acetasks.Task])
        assert_type(client.handle("luma", "a"), acetasks.sync.TaskHandle)
        assert_type(client.wait("luma", "id", timeout=600), acetasks.Task)
        assert_type(client.run("veo", {"prompt": "a cat"}, timeout=5), acetasks.Task)
        assert_type(client.retrieve("luma", "id"), acetasks.Task)
        assert_type(client.retrieve_batch("luma", ["id"]), list[acetasks.Task])
        assert_type(client.wait_all([handle, ("luma", "b")], return_failed=True), list[acetasks.Task])
        client.wait_all([acetasks.TaskHandle("luma", "a"), ["luma", "c"]])
        with contextlib.closing(client.as_completed("flux", ["a"], timeout=5)) as tasks:
            assert_type(next(tasks), acetasks.Task)
        assert_type(handle.wait(download_to="videos"), acetasks.Task)
        assert_type(client.run("veo", {"prompt": "a cat"}, key="order-1"), acetasks.Task)
        assert_type(client.reconcile(), acetasks.Reconciliation)
        assert_type(client.resume(timeout=5), list[acetasks.Task])
        assert_type(list(client.pending()), list[acetasks.sync.TaskHandle])
        assert_type(list(client.history("veo", limit=5)), list[acetasks.Task])
        assert_type(client.journal.find("order-1"), acetasks.Entry | None)
        assert_type(list(client.journal.tasks(state=acetasks.EntryState.FAILED)), list[acetasks.Entry])
        client.wait("luma", 7)  # type: ignore[arg-type]  # an id is a string
        client.wait_all("luma")  # type: ignore[arg-type]  # a slug needs ids
    assert_type(acetasks.sync.Client.open(base_url="https://ace.example"), acetasks.sync.Client)


async def fetch_token() -> str:
    """Return a token."""
    return "token"


def make_clients(http: aiohttp.ClientSession) -> None:
    """Create clients with token providers, without TLS and with rate limits."""
    acetasks.Client(fetch_token, useapi_token=lambda: "token")
    acetasks.Client("token", base_url="http://ace.example", http=http, allow_insecure=True)
    acetasks.Client("token", policy=acetasks.PollPolicy(max_rate=2.5, start_rate=10))
    acetasks.Client(7)  # type: ignore[arg-type]  # a token is a string or a callable


def read_errors(error: acetasks.AceTasksError) -> None:
    """Read the attributes of errors."""
    if isinstance(error, acetasks.TaskTimeoutError):
        assert_type(error.task, acetasks.Task)
        assert_type(error.tasks, tuple[acetasks.Task, ...])
    assert_type(error.transient, bool)
    assert_type(error.tasks, tuple[acetasks.Task, ...])
    if isinstance(error, acetasks.APIError):
        assert_type(error.status, int | None)
        assert_type(error.retry_after, float | None)
    if isinstance(error, acetasks.DownloadError):
        assert_type(error.artifact, acetasks.Artifact)
    if isinstance(error, acetasks.SubmissionUncertainError):
        assert_type(error.payload, bytes)


def normalise(payload: bytes) -> acetasks.Task:
    """Normalise a payload, as bytes or decoded."""
    acetasks.normalize("veo", {"response": None})
    return acetasks.normalize("luma", payload, http_status=200)


def add_a_provider() -> None:
    """Register a provider spec."""
    field = ArtifactField("data.*.image_url", acetasks.ArtifactKind.IMAGE)
    register(ProviderSpec(slug="lantern", submit_paths=("/lantern/images",), artifacts=(field,)), replace=True)


async def use_the_simulated_service() -> None:
    """Add tasks and faults to the simulated service."""
    async with AceServer(token="token") as server:
        assert_type(server.add("luma", after=154, outcome="failed"), str)
        assert_type(server.url, str)
        fault = server.fail("luma", status=503, headers={"Retry-After": "5"}, times=2)
        assert_type(fault, Fault)
        assert_type(fault.hits, int)
        server.fail(reset=True, rate=0.1, when=lambda request: request.time > 5 and "a" in request.ids)
        server.fail("luma", edit=lambda _: {"items": []}, times=None)
        server.fail("luma", action="download", cut=100)
        server.fail("luma", status=403, code="used_up")
        server.allow("newest")
        server.clear_scripts()
        server.script_callbacks(delay=1, copies=2, drop_rate=0.5)
        assert_type(server.requests[0].headers["Accept"], str)
        assert_type(server.requests[0].body, object)
        server.fail("luma", status="503")  # type: ignore[arg-type]  # a status is an integer


def use_the_virtual_clock() -> None:
    """Run on the virtual clock."""
    run(use_the_simulated_service())
    assert_type(VirtualClockLoop(start=1.0).time(), float)
