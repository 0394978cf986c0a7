"""AceServer over HTTP, on the virtual clock: responses and their times."""

from __future__ import annotations

import asyncio
import socket
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from aiohttp import web
from server_support import EPOCH, TOKEN, Caller, Response, ids_in
from support import now

from acetasks.errors import UnknownProviderError
from acetasks.models import TaskState
from acetasks.providers import lookup, normalize, register, specs
from acetasks.testing.rules import Outcome
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acetasks.testing.snapshot import Json

SLUGS = [spec.slug for spec in specs()]
BATCH_SLUGS = [spec.slug for spec in specs() if spec.has_batch]
#: Paths that are answered with the result whatever `async` says (`test_endpoints`).
AT_ONCE = {
    *("/suno/lyrics", "/suno/mashup-lyrics", "/suno/style", "/suno/persona", "/suno/custom-models"),
    *("/suno/availability", "/kling/elements", "/kling/voices", "/fish/model"),
    *("/midjourney/shorten", "/midjourney/translate", "/midjourney/seed"),
}
SUBMISSIONS = [(spec.slug, path) for spec in specs() for path in spec.submit_paths if path not in AT_ONCE]


class CallbackReceiver:
    """Receives callbacks."""

    def __init__(self) -> None:
        self.url = ""
        self.callbacks: list[tuple[float, str, Json]] = []

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Record a callback with its time."""
        self.callbacks.append((now(), request.path, msgspec.json.decode(await request.read())))
        if request.path == "/moved":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        if request.path == "/silent":
            await asyncio.get_running_loop().create_future()
        return web.Response(status=204)


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """A receiver of callbacks in the test's loop."""
    receiver = CallbackReceiver()
    runner = web.ServerRunner(web.Server(receiver.receive, access_log=None, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield receiver
    await runner.cleanup()


class TestTiming:
    """Tasks depend on the loop's time only."""

    async def test_task_ends_exactly_when_scripted(self, server: AceServer, caller: Caller) -> None:
        """A task of 154 s is queued, runs and ends on time, and its record has the times in seconds since the epoch."""
        created = now()
        task_id = server.add("luma", after=154, queued_for=10)
        tasks = []
        for at in (0.0, 9.5, 77.0, 153.999, 154.0, 80_000.0):
            await asyncio.sleep(created + at - now())
            tasks.append(normalize("luma", (await caller.retrieve("luma", task_id)).body))
        states = [task.state.value for task in tasks]
        assert states == ["pending", "pending", "running", "running", "succeeded", "succeeded"]
        assert {task.created_at for task in tasks} == {EPOCH + created}
        assert [task.finished_at for task in tasks[3:]] == [None, EPOCH + created + 154.0, EPOCH + created + 154.0]

    async def test_speed_divides_every_time(self) -> None:
        """At a speed of 10 a task of 100 s that is visible after 20 takes 10 s and is visible after 2."""
        async with AceServer(speed=10.0) as server:
            task = server.tasks[server.add("luma", after=100, visible_after=20, queued_for=30)]
            assert (task.visible_at, task.starts_at, task.finishes_at) == (now() + 2, now() + 3, now() + 10)

    @pytest.mark.parametrize(("after", "queued"), [(30, 3), (300, 5)])
    async def test_default_time_in_the_queue(self, server: AceServer, after: float, queued: float) -> None:
        """By default a task is queued for a tenth of its duration, at most 5 s."""
        task = server.tasks[server.add("luma", after=after)]
        assert task.starts_at == task.created + queued

    async def test_epoch_offsets_the_times_in_records(self) -> None:
        """Times in records are the loop time plus the epoch."""
        async with AceServer(epoch=1_000_000.0) as server, aiohttp.ClientSession() as http:
            await asyncio.sleep(25.0)
            response = await Caller(server, http).retrieve("kling", server.add("kling", after=0))
            assert response.body["created_at"] == 1_000_000.0 + now()

    async def test_default_epoch_is_the_wall_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """By default times go on from the wall clock's at the first start, in whole seconds, with the loop's."""
        await asyncio.sleep(10)
        server = AceServer()
        for wall, started in ((1_800_000_000.25, 10.0), (1_900_000_000.0, 35.0)):
            monkeypatch.setattr("time.time", lambda wall=wall: wall)
            async with server, aiohttp.ClientSession() as http:
                assert now() == started
                response = await Caller(server, http).retrieve("kling", server.add("kling", after=0))
                assert response.body["created_at"] == 1_799_999_991.0 + now()
            await asyncio.sleep(25)

    async def test_task_is_not_found_before_visible_after(self, server: AceServer, caller: Caller) -> None:
        """A task is missing from single, batch and history responses until it is visible."""
        task_id = server.add("flux", after=100, visible_after=7)
        await asyncio.sleep(6.999)
        assert (await caller.retrieve("flux", task_id)).body == {}
        assert await caller.batch("flux", [task_id]) == {"items": [], "count": 0}
        assert await caller.history("flux") == {"items": [], "count": 0}
        await asyncio.sleep(0.001)
        assert (await caller.retrieve("flux", task_id)).body["id"] == task_id

    async def test_not_found_task_is_never_visible(self, server: AceServer, caller: Caller) -> None:
        """A task with the outcome `not_found` is never visible."""
        task_id = server.add("luma", outcome="not_found")
        await asyncio.sleep(80_000)
        assert (await caller.retrieve("luma", task_id)).body == {}

    async def test_forever_task_stays_at_99_percent(self, server: AceServer, caller: Caller) -> None:
        """A task with the outcome `forever` runs on, at 99 percent in the end."""
        task_id = server.add("midjourney", after=60, outcome="forever")
        await asyncio.sleep(80_000)
        task = normalize("midjourney", (await caller.retrieve("midjourney", task_id)).body)
        assert (task.state, task.progress) == (TaskState.RUNNING, 99.0)

    async def test_progress_can_be_scripted(self, server: AceServer, caller: Caller) -> None:
        """A scripted progress is shown at any time."""
        task_id = server.add("midjourney", after=60, progress=12)
        await asyncio.sleep(50)
        assert normalize("midjourney", (await caller.retrieve("midjourney", task_id)).body).progress == 12.0


class TestSingleRetrieve:
    """Responses to tasks calls for one task."""

    @pytest.mark.parametrize("outcome", ["succeeded", "failed"])
    @pytest.mark.parametrize("slug", SLUGS)
    async def test_every_provider_shows_the_end(
        self, server: AceServer, caller: Caller, slug: str, outcome: str
    ) -> None:
        """Every provider's task is unfinished a second before its end and has its outcome from then on."""
        task_id = server.add(slug, after=60, outcome=outcome, queued_for=0)
        await asyncio.sleep(59)
        before = await caller.retrieve(slug, task_id)
        await asyncio.sleep(1)
        after = await caller.retrieve(slug, task_id)
        assert not normalize(slug, before.body, http_status=before.status).state.is_terminal
        assert normalize(slug, after.body, http_status=after.status).state == outcome

    @pytest.mark.parametrize("slug", SLUGS)
    async def test_unknown_id(self, caller: Caller, slug: str) -> None:
        """An unknown id gets an empty object from most providers, and a 404 for the task from four."""
        response = await caller.retrieve(slug, "no-such-id")
        assert response.status == (404 if slug in {"captcha", "digital-human", "maestro", "useapi-pixverse"} else 200)
        assert normalize(slug, response.body, http_status=response.status).state is TaskState.NOT_FOUND

    async def test_task_of_another_provider_is_unknown(self, server: AceServer, caller: Caller) -> None:
        """An id is known to its own provider only."""
        assert (await caller.retrieve("veo", server.add("luma"))).body == {}

    async def test_failed_captcha_has_status_504(self, server: AceServer, caller: Caller) -> None:
        """A failed captcha has HTTP status 504 and its code."""
        response = await caller.retrieve("captcha", server.add("captcha", after=0, outcome="failed"))
        assert response.status == 504
        assert (response.body["status"], response.body["code"]) == ("failed", "timeout")

    async def test_digital_human_without_an_action_gets_the_response(self, server: AceServer, caller: Caller) -> None:
        """digital-human accepts `task_id`, and sends only the response if there is no action."""
        task_id = server.add("digital-human", after=0)
        whole = await caller.send("/digital-human/tasks", {"task_id": task_id, "action": "retrieve"})
        flat = await caller.send("/digital-human/tasks", {"task_id": task_id})
        assert (whole.body["id"], whole.body["status"]) == (task_id, "succeed")
        assert flat.body == whole.body["response"]

    async def test_single_minimax_record_is_wrapped(self, server: AceServer, caller: Caller) -> None:
        """A single minimax record is wrapped."""
        task_id = server.add("minimax", after=0)
        response = await caller.retrieve("minimax", task_id)
        assert list(response.body) == ["task"]

    async def test_useapi_requires_a_jobid(self, caller: Caller) -> None:
        """useapi.net sends its own form of a 400 for a request without an id."""
        response = await caller.send("/v1/pixverse/jobs/", method="GET")
        assert response == Response(400, {"error": "Query param jobid not provided", "code": 400})


class TestBatch:
    """Responses to tasks calls for many tasks."""

    @pytest.mark.parametrize("slug", BATCH_SLUGS)
    async def test_batch_is_not_in_request_order(self, server: AceServer, caller: Caller, slug: str) -> None:
        """Every known id is in the response, in another order, and unknown ids are omitted."""
        first, second, third = (server.add(slug, after=0) for _ in range(3))
        server_order = [third, second, first]
        response = await caller.batch(slug, [first, "no-such-id", second, third])
        if slug == "kling":  # sorted by age, and these three are of one age
            server_order = ids_in(response)  # type: ignore[assignment]
            assert sorted(server_order) == sorted([first, second, third])
        assert ids_in(response) == server_order
        assert response["total" if slug == "minimax" else "count"] == 3

    async def test_kling_sorts_newest_first(self, server: AceServer, caller: Caller) -> None:
        """A kling batch is sorted by age, whatever the request's order."""
        ids = []
        for _ in range(3):
            ids.append(server.add("kling"))
            await asyncio.sleep(1)
        response = await caller.batch("kling", [ids[1], ids[2], ids[0]])
        assert ids_in(response) == ids[::-1]

    @pytest.mark.parametrize(("slug", "times"), [("veo", 2), ("luma", 1), ("kling", 1)])
    async def test_duplicate_ids(self, server: AceServer, caller: Caller, slug: str, times: int) -> None:
        """A duplicate id is sent twice by veo, and once by other providers."""
        task_id = server.add(slug)
        assert ids_in(await caller.batch(slug, [task_id, task_id])) == [task_id] * times

    async def test_limit_and_offset_cut_a_batch(self, server: AceServer, caller: Caller) -> None:
        """`limit` and `offset` cut a batch; without them it is complete."""
        ids = [server.add("openai") for _ in range(20)]
        assert len(ids_in(await caller.batch("openai", ids))) == 20
        response = await caller.batch("openai", ids, limit=5, offset=3)
        assert ids_in(response) == ids[::-1][3:8]
        assert response["count"] == 5

    async def test_digital_human_ids_are_in_task_id(self, server: AceServer, caller: Caller) -> None:
        """digital-human uses the same field for one id and for several."""
        ids = [server.add("digital-human") for _ in range(2)]
        response = await caller.send("/digital-human/tasks", {"task_id": ids, "action": "retrieve_batch"})
        assert sorted(map(str, ids_in(response.body))) == sorted(ids)

    async def test_hidden_queued_task_is_omitted(self, server: AceServer, caller: Caller) -> None:
        """A queued dreamina task is omitted from a batch."""
        task_id = server.add("dreamina", after=60, queued_for=10)
        assert await caller.batch("dreamina", [task_id]) == {"items": [], "count": 0}
        await asyncio.sleep(10)
        assert ids_in(await caller.batch("dreamina", [task_id])) == [task_id]

    async def test_maestro_ignores_ids(self, server: AceServer, caller: Caller) -> None:
        """The batch call of maestro lists the history and counts all tasks."""
        ids = [server.add("maestro") for _ in range(15)]
        response = await caller.send("/maestro/tasks", {"ids": ids[:1], "action": "retrieve_batch"})
        assert ids_in(response.body) == ids[::-1]
        assert response.body["count"] == 15


class TestHistory:
    """Responses with the latest tasks."""

    async def test_default_history_has_the_latest_twelve(self, server: AceServer, caller: Caller) -> None:
        """A batch call without ids lists the provider's newest tasks, 12 by default."""
        ids = [server.add("luma") for _ in range(15)]
        server.add("veo")
        assert ids_in(await caller.history("luma")) == ids[::-1][:12]
        assert ids_in(await caller.history("luma", limit=2, offset=13)) == ids[::-1][13:]

    async def test_history_between_two_times(self, server: AceServer, caller: Caller) -> None:
        """`created_at_min` and `created_at_max` bound the history inclusively."""
        start, ids = EPOCH + now(), []
        for _ in range(5):
            ids.append(server.add("luma"))
            await asyncio.sleep(10)
        response = await caller.history("luma", created_at_min=start + 10, created_at_max=start + 30)
        assert ids_in(response) == [ids[3], ids[2], ids[1]]

    async def test_minimax_counts_all_tasks(self, server: AceServer, caller: Caller) -> None:
        """The count field of minimax is `total`, the number of all tasks."""
        for _ in range(15):
            server.add("minimax")
        response = await caller.history("minimax", limit=1)
        assert (len(ids_in(response)), response["total"]) == (1, 15)


class TestSubmission:
    """Tasks submitted over HTTP."""

    @pytest.mark.parametrize(("slug", "path"), SUBMISSIONS)
    async def test_every_path_submits(self, server: AceServer, caller: Caller, slug: str, path: str) -> None:
        """Every path that accepts `async` creates a task, acknowledges it, and its record contains the request."""
        request = {"prompt": "a lighthouse", "async": True}
        response = await caller.send(path, request)
        (task_id,) = server.tasks
        task = server.tasks[task_id]
        assert response.status == (201 if slug == "captcha" else 200)
        assert normalize(slug, response.body).id == task_id
        assert not normalize(slug, response.body).state.is_terminal
        assert (task.provider, task.path, task.request, task.created) == (slug, path, request, now())

    @pytest.mark.parametrize(
        ("path", "keys"),
        [
            ("/luma/videos", {"task_id"}),
            ("/captcha/token/turnstile", {"task_id", "trace_id"}),
            ("/fish/tts", {"task_id", "started_at"}),
            ("/sora/videos", {"task_id", "success"}),
            ("/webextrator/render", {"task_id", "success", "trace_id"}),
        ],
    )
    async def test_acknowledgements_differ_by_provider(self, caller: Caller, path: str, keys: set[str]) -> None:
        """Acknowledgements have the id and provider-specific fields."""
        assert (await caller.send(path, {"async": True})).body.keys() == keys

    async def test_fish_acknowledges_with_a_text_time(self, caller: Caller) -> None:
        """The time in an acknowledgement of fish is a text."""
        await asyncio.sleep(5)
        response = await caller.send("/fish/tts", {"async": True})
        assert response.body["started_at"] == "2026-05-28T20:26:45.000Z"

    @pytest.mark.parametrize("body", [{"async": True}, {}])
    async def test_response_as_lines(self, server: AceServer, caller: Caller, body: Json) -> None:
        """A submission that accepts lines of JSON gets the same response as a line."""
        server.script("flux", after=1)
        headers = {"Authorization": f"Bearer {server.token}", "Accept": "application/x-ndjson"}
        async with caller.http.post(f"{server.url}/flux/images", json=body, headers=headers) as response:
            content = await response.read()
            assert (response.status, response.headers["Content-Type"]) == (200, "application/x-ndjson")
        assert content.endswith(b"}\n")
        assert msgspec.json.decode(content)["task_id"] == next(iter(server.tasks))

    async def test_useapi_acknowledges_with_the_job(self, server: AceServer, caller: Caller) -> None:
        """useapi.net acknowledges with the job, as created, even if it ends at once."""
        server.script("useapi-pixverse", after=0)
        response = await caller.send("/v1/pixverse/create_single", {"prompt": "a lighthouse"})
        (task_id,) = server.tasks
        assert response.body["jobid"] == task_id
        assert (response.body["status"], response.body["code"], response.body["prompt"]) == (
            "created",
            200,
            "a lighthouse",
        )

    async def test_submission_blocks_until_the_task_ends(self, server: AceServer, caller: Caller) -> None:
        """Without `async` the response is the final one, and is sent when the task ends."""
        server.script("veo", after=145)
        start = now()
        response = await caller.send("/veo/videos", {"action": "text2video", "model": "veo2", "prompt": "a fog"})
        assert now() == start + 145
        task = normalize("veo", response.body)
        assert (response.status, task.state) == (200, TaskState.SUCCEEDED)
        assert server.tasks.keys() == {task.id}
        assert (await caller.retrieve("veo", task.id)).body["response"] == response.body

    @pytest.mark.parametrize(
        ("code", "status"),
        [("forbidden", 403), ("bad_request", 400), ("timeout", 504), ("api_error", 500), ("moderated", 500)],
    )
    async def test_blocking_submission_of_a_failed_task(
        self, server: AceServer, caller: Caller, code: str, status: int
    ) -> None:
        """A blocking submission of a failed task gets the HTTP error of its code, without `success`."""
        server.script("luma", after=10, outcome="failed", error=(code, "not this prompt"))
        start = now()
        response = await caller.send("/luma/videos", {"prompt": "a fog"})
        assert (response.status, now()) == (status, start + 10)
        assert response.body.keys() == {"error", "trace_id"}
        assert response.body["error"] == {"code": code, "message": "not this prompt"}
        (task_id,) = server.tasks
        assert (await caller.retrieve("luma", task_id)).body["trace_id"] == response.body["trace_id"]

    async def test_blocking_submission_of_a_failed_captcha(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission of a failed captcha gets the task's own record, with HTTP status 504."""
        server.script("captcha", after=10, outcome="failed")
        response = await caller.send("/captcha/token/turnstile", {"website_url": "https://example.com"})
        assert (response.status, response.body["status"], response.body["code"]) == (504, "failed", "timeout")

    async def test_blocking_submission_of_a_not_found_task(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission of a task that is never visible times out at the service."""
        server.script("luma", after=60, outcome="not_found")
        start = now()
        response = await caller.send("/luma/videos", {"prompt": "a fog"})
        assert (response.status, now()) == (504, start + 60)
        assert response.body["error"] == {"code": "timeout", "message": "Timeout to generate."}

    @pytest.mark.parametrize(
        ("slug", "keys"), [("minimax", {"task_id"}), ("maestro", {"success", "task_id", "trace_id"})]
    )
    async def test_some_providers_never_block(
        self, server: AceServer, caller: Caller, slug: str, keys: set[str]
    ) -> None:
        """A submission to minimax or maestro is always asynchronous, and acknowledged with an id to poll."""
        server.script(slug, after=2000)
        start = now()
        response = await caller.send(f"/{slug}/videos", {"prompt": "a fog"})
        assert (now(), response.body.keys()) == (start, keys)
        assert (await caller.retrieve(slug, str(response.body["task_id"]))).status == 200

    async def test_disconnect_ends_a_blocking_submission(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission ends with its connection; its task continues."""
        server.script("luma", after=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await caller.send("/luma/videos", {"prompt": "a fog"})
        (task_id,) = server.tasks
        await asyncio.sleep(95)
        assert normalize("luma", (await caller.retrieve("luma", task_id)).body).state is TaskState.SUCCEEDED
        assert [request.status for request in server.requests] == [None, 200]

    async def test_scripted_submissions_are_used_in_order(self, server: AceServer, caller: Caller) -> None:
        """Scripted rules apply in order for their number of submissions, then the provider's default rule applies."""
        server.script("luma", after=100, times=None)
        server.script("luma", after=1, times=2)
        server.script("luma", after=2, outcome=Outcome.FAILED)
        for _ in range(5):
            await caller.send("/luma/videos", {"async": True})
        tasks = [(task.finishes_at - task.created, task.outcome.value) for task in server.tasks.values()]
        assert tasks == [(1, "succeeded"), (1, "succeeded"), (2, "failed"), (100, "succeeded"), (100, "succeeded")]

    async def test_cleared_scripts_do_not_apply(self, server: AceServer, caller: Caller) -> None:
        """After `clear_scripts` the next submissions succeed, whatever was scripted; earlier tasks stay."""
        server.script("luma", outcome="failed", times=None)
        server.script("luma", outcome="failed", times=2)
        await caller.send("/luma/videos", {"async": True})
        server.clear_scripts()
        await caller.send("/luma/videos", {"async": True})
        assert [task.outcome.value for task in server.tasks.values()] == ["failed", "succeeded"]


class TestCallbacks:
    """Callbacks are posted when their tasks end."""

    async def test_callback_is_posted_at_the_end(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver
    ) -> None:
        """A submission with a callback is acknowledged at once, and the response is posted when the task ends."""
        server.script("veo", after=145)
        start = now()
        ack = await caller.send("/veo/videos", {"prompt": "a fog", "callback_url": f"{receiver.url}/secret"})
        task_id = str(ack.body["task_id"])
        assert now() == start
        await asyncio.sleep(146)
        response = await caller.retrieve("veo", task_id)
        assert receiver.callbacks == [(start + 145, "/secret", response.body["response"])]
        assert {"success", "task_id", "trace_id"} <= receiver.callbacks[0][2].keys()
        (callback,) = server.callbacks
        assert (callback.time, callback.task_id, callback.status, callback.error) == (start + 145, task_id, 204, None)

    async def test_callbacks_are_posted_as_scripted(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver
    ) -> None:
        """The callbacks of later submissions come late, several times or never; earlier ones as scripted before."""
        server.script("luma", after=10, times=None)
        server.script_callbacks(delay=5, copies=3)
        await caller.send("/luma/videos", {"callback_url": f"{receiver.url}/late"})
        server.script_callbacks(drop_rate=1)
        await caller.send("/luma/videos", {"callback_url": f"{receiver.url}/lost"})
        server.script_callbacks()
        start = now()
        await caller.send("/luma/videos", {"callback_url": f"{receiver.url}/plain"})
        await asyncio.sleep(20)
        times = sorted((time - start, path) for time, path, _ in receiver.callbacks)
        assert times == [(10, "/plain"), *[(15, "/late")] * 3]
        assert len(server.callbacks) == 4

    async def test_a_share_of_the_callbacks_is_lost(self, receiver: CallbackReceiver) -> None:
        """The share that is lost is drawn from the seed, the same in each run."""
        counts = []
        for _ in range(2):
            receiver.callbacks.clear()
            async with AceServer(token=TOKEN, seed=3) as server, aiohttp.ClientSession() as http:
                server.script_callbacks(drop_rate=0.25)
                server.script("luma", after=1, times=None)
                for _ in range(40):
                    await Caller(server, http).send("/luma/videos", {"callback_url": receiver.url})
                await asyncio.sleep(2)
            counts.append(len(receiver.callbacks))
        assert counts[0] == counts[1]
        assert 20 < counts[0] < 40

    @pytest.mark.parametrize("options", [{"delay": -1}, {"delay": float("nan")}, {"copies": 0}, {"drop_rate": 1.5}])
    async def test_impossible_scripts_are_refused(self, server: AceServer, options: dict[str, float]) -> None:
        """A number out of range is named with its value."""
        ((name, value),) = options.items()
        with pytest.raises(ValueError, match=rf"^{name} must be .*, got {value}$"):
            server.script_callbacks(**options)

    async def test_callback_does_not_follow_redirects(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver
    ) -> None:
        """A callback is posted once to its URL, whatever the response."""
        server.script("luma", after=10)
        await caller.send("/luma/videos", {"callback_url": f"{receiver.url}/moved"})
        await asyncio.sleep(100)
        assert [path for _, path, _ in receiver.callbacks] == ["/moved"]
        assert [callback.status for callback in server.callbacks] == [307]

    async def test_callbacks_are_ordered_by_end(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver
    ) -> None:
        """A callback of a later submission that ends earlier is posted first."""
        start = now()
        for after in (30, 10, 20):
            server.script("luma", after=after)
            await caller.send("/luma/videos", {"callback_url": receiver.url})
        await asyncio.sleep(40)
        assert [time - start for time, _, _ in receiver.callbacks] == [10, 20, 30]

    async def test_callback_of_a_failure(self, server: AceServer, caller: Caller, receiver: CallbackReceiver) -> None:
        """A failed task's callback has the documented form: `success: false` and an error object."""
        server.script("pika", after=10, outcome="failed", error=("forbidden", "not this prompt"))
        await caller.send("/pika/videos", {"callback_url": receiver.url})
        await asyncio.sleep(20)
        ((_, _, body),) = receiver.callbacks
        assert body["success"] is False
        assert body["error"] == {"code": "forbidden", "message": "not this prompt"}

    async def test_fish_posts_the_file_alone(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver
    ) -> None:
        """A callback of fish has the id and the file, and nothing else."""
        server.script("fish", after=10)
        await caller.send("/fish/tts", {"text": "a fog", "callback_url": receiver.url})
        await asyncio.sleep(11)
        ((_, _, body),) = receiver.callbacks
        (task_id,) = server.tasks
        assert body == {"task_id": task_id, "audio_url": f"{server.url}/files/fish/{task_id}.mp3"}

    async def test_useapi_posts_the_job(self, server: AceServer, caller: Caller, receiver: CallbackReceiver) -> None:
        """useapi.net posts the job to `replyUrl` as its tasks call shows it."""
        server.script("useapi-pixverse", after=900)
        ack = await caller.send("/v1/pixverse/create", {"prompt": "a fog", "replyUrl": receiver.url})
        await asyncio.sleep(901)
        response = await caller.retrieve("useapi-pixverse", str(ack.body["jobid"]))
        assert [body for _, _, body in receiver.callbacks] == [response.body]
        assert response.body["replyUrl"] == receiver.url

    @pytest.mark.parametrize("outcome", ["not_found", "forever"])
    async def test_no_callback_without_an_end(
        self, server: AceServer, caller: Caller, receiver: CallbackReceiver, outcome: str
    ) -> None:
        """A task that is never visible or never ends posts nothing."""
        server.script("luma", after=10, outcome=outcome)
        await caller.send("/luma/videos", {"callback_url": receiver.url})
        await asyncio.sleep(80_000)
        assert receiver.callbacks == []

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no url at all"])
    async def test_failed_callback_is_recorded(self, server: AceServer, caller: Caller, url: str) -> None:
        """A callback that cannot be posted is tried once and recorded with its error."""
        server.script("luma", after=10)
        await caller.send("/luma/videos", {"callback_url": url})
        await asyncio.sleep(100)
        (callback,) = server.callbacks
        assert (callback.url, callback.status) == (url, None)
        assert callback.error


class TestRejections:
    """Rejected requests, in the forms that the services document."""

    @pytest.mark.parametrize(
        ("token", "status", "code", "message"),
        [
            ("wrong", 401, "invalid_token", "The specified token is invalid or wrong."),
            (None, 400, "no_token", "No token specified for the request."),
        ],
    )
    async def test_wrong_token(self, caller: Caller, token: str | None, status: int, code: str, message: str) -> None:
        """A wrong token is a 401 and a missing one a 400; useapi.net has a 401 for both."""
        response = await caller.send("/luma/tasks", {"id": "x", "action": "retrieve"}, token=token)
        assert response.status == status
        assert response.body["error"] == {"code": code, "message": message}
        assert response.body["trace_id"]
        job = await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET", token=token)
        assert job == Response(401, {"error": "Unauthorized", "code": 401})

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/luma/tasks"),
            ("POST", "/luma/nonsense"),
            ("POST", "/v1/pixverse/jobs/"),
            ("POST", "/"),
            ("POST", "/tasks"),
            ("POST", "/unlisted/"),
            ("POST", "/Un_Listed/tasks"),
        ],
    )
    async def test_unknown_path(self, caller: Caller, method: str, path: str) -> None:
        """An unknown path or method is a 404 for the API."""
        response = await caller.send(path, {}, method=method)
        assert response.status == 404
        assert isinstance(response.body["error"], dict)
        assert response.body["error"]["code"] == "no_api"

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"[]",
            b'"text"',
            b'{"id": "\xff"}',
            b"[" * 100_000,
            b"{}",
            b'{"action": "retrieve"}',
            b'{"id": 5, "action": "retrieve"}',
            b'{"id": "x"}',
            b'{"id": "x", "action": "destroy"}',
            b'{"ids": "x", "action": "retrieve_batch"}',
            b'{"ids": [1], "action": "retrieve_batch"}',
            b'{"action": "retrieve_batch", "limit": -1}',
            b'{"action": "retrieve_batch", "offset": "2"}',
            b'{"action": "retrieve_batch", "created_at_min": "today"}',
        ],
        ids=lambda data: repr(data[:60]),
    )
    async def test_bad_request(self, caller: Caller, data: bytes) -> None:
        """A body that is not a JSON object or not a documented call is a 400."""
        response = await caller.send("/luma/tasks", data=data)
        assert response.status == 400
        assert isinstance(response.body["error"], dict)
        assert response.body["error"]["code"] == "bad_request"

    async def test_errors_with_success(self) -> None:
        """Error bodies can have `success: false` too, in rejections and in simulated faults."""
        async with AceServer(errors_have_success=True) as server, aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            server.fail("luma", status=429)
            bodies = [(await caller.retrieve("luma", "x")).body, (await caller.send("/nowhere", {})).body]
            assert [(list(body), body["success"]) for body in bodies] == [(["success", "error", "trace_id"], False)] * 2
            assert (await caller.retrieve("useapi-pixverse", "x")).body.keys() == {"error", "code"}

    async def test_maestro_has_a_code_for_an_unknown_id(self, caller: Caller) -> None:
        """An unknown id at maestro is a 404 with the code `not_found`."""
        response = await caller.retrieve("maestro", "x")
        assert (response.status, response.body["error"]) == (
            404,
            {"code": "not_found", "message": "task not found"},
        )

    async def test_request_too_large(self, caller: Caller) -> None:
        """A body of more than a megabyte is a 413."""
        response = await caller.send("/luma/videos", data=BytesIO(b"x" * 1_100_000))
        assert response.status == 413
        assert isinstance(response.body["error"], dict)
        assert response.body["error"]["code"] == "request_too_large"

    async def test_rejected_submission_creates_no_task(self, server: AceServer, caller: Caller) -> None:
        """A rejected submission creates no task."""
        await caller.send("/luma/videos", {"async": True}, token="wrong")
        await caller.send("/luma/videos", data=b"{")
        assert (len(server.tasks), server.submissions) == (0, 0)


class TestProviders:
    """Providers without a template."""

    async def test_unknown_slug_is_served_in_the_standard_way(self, server: AceServer, caller: Caller) -> None:
        """An unlisted provider accepts submissions on any path and responds to its tasks call."""
        server.script("unlisted", after=60)
        ack = await caller.send("/unlisted/videos/long", {"prompt": "a fog", "async": True})
        task_id = str(ack.body["task_id"])
        await asyncio.sleep(30)
        assert ids_in(await caller.batch("unlisted", [task_id])) == [task_id]
        await asyncio.sleep(30)
        task = normalize("unlisted", (await caller.retrieve("unlisted", task_id)).body)
        assert task.state is TaskState.SUCCEEDED
        assert task.artifacts

    @pytest.mark.parametrize("path", ["/nanobanana/tasks", "/nanobanana/images", "/unlisted/tasks"])
    async def test_unknown_slug_is_not_served(self, caller: Caller, path: str) -> None:
        """A slug that nothing names is a 404 for the API, as in production: a misspelt one is noticed."""
        response = await caller.send(path, {"id": "x", "action": "retrieve"})
        assert response.status == 404
        assert isinstance(response.body["error"], dict)
        assert response.body["error"]["code"] == "no_api"

    @pytest.mark.parametrize("name", ["add", "script", "allow"])
    async def test_named_slug_is_served(self, server: AceServer, caller: Caller, name: str) -> None:
        """A slug is served once it is added, scripted or allowed."""
        getattr(server, name)("newest")
        response = await caller.send("/newest/tasks", {"id": "x", "action": "retrieve"})
        assert response == Response(200, {})

    async def test_invalid_slug_is_not_allowed(self, server: AceServer) -> None:
        """A name that cannot be a provider is rejected."""
        with pytest.raises(UnknownProviderError):
            server.allow("New est")

    async def test_specs_are_looked_up_at_request_time(self, server: AceServer, caller: Caller) -> None:
        """Routes follow the provider table at the time of the request, not of the start."""
        old = lookup("luma")
        assert (await caller.send("/luma/films", {"async": True})).status == 404
        assert (await caller.send("/luma/videos", {"async": True})).status == 200
        register(msgspec.structs.replace(old, submit_paths=("/luma/films",)), replace=True)
        try:
            assert (await caller.send("/luma/videos", {"async": True})).status == 404
            assert (await caller.send("/luma/films", {"async": True})).status == 200
        finally:
            register(old, replace=True)
        assert (await caller.send("/luma/videos", {"async": True})).status == 200
        assert [task.path for task in server.tasks.values()] == ["/luma/videos", "/luma/films", "/luma/videos"]


class TestSeed:
    """Random numbers depend on the seed."""

    @staticmethod
    async def create_tasks(*, seed: int = 0, failure_rate: float = 0.0) -> list[tuple[str, float, str]]:
        """Create tasks with random duration and outcome."""
        async with AceServer(seed=seed, failure_rate=failure_rate) as server:
            ids = [server.add(slug) for slug in ("luma", "veo", "flux") for _ in range(40)]
            tasks = [server.tasks[task_id] for task_id in ids]
            return [(task.id, task.finishes_at - task.created, task.outcome.value) for task in tasks]

    async def test_same_seed_same_tasks(self) -> None:
        """Two servers with one seed create the same tasks, another seed creates others."""
        first, second, other = (
            await self.create_tasks(seed=7),
            await self.create_tasks(seed=7),
            await self.create_tasks(seed=8),
        )
        assert first == second
        assert not {task_id for task_id, _, _ in first} & {task_id for task_id, _, _ in other}
        assert not {duration for _, duration, _ in first} & {duration for _, duration, _ in other}

    async def test_random_durations_are_near_the_typical_one(self) -> None:
        """Random durations differ, and their median is near the provider's typical duration."""
        durations = sorted(duration for _, duration, _ in (await self.create_tasks())[:40])
        typical = lookup("luma").typical_duration
        assert len(set(durations)) == 40
        assert 0.85 * typical < durations[20] < 1.15 * typical

    async def test_failure_rate(self) -> None:
        """Tasks succeed except for the scripted share."""
        assert {outcome for _, _, outcome in await self.create_tasks()} == {"succeeded"}
        outcomes = [outcome for _, _, outcome in await self.create_tasks(failure_rate=0.25)]
        assert 0.15 < outcomes.count("failed") / len(outcomes) < 0.35


class TestRecording:
    """Recorded requests and counts."""

    async def test_requests_are_recorded(self, server: AceServer, caller: Caller) -> None:
        """Each request is recorded with its time, content and status."""
        await asyncio.sleep(5)
        one, two = server.add("luma"), server.add("luma")
        await caller.batch("luma", [one, two])
        await asyncio.sleep(5)
        await caller.send("/veo/videos", {"async": True})
        await caller.history("veo")
        await caller.send("/nowhere", {})
        recorded = [
            (request.time, request.method, request.path, request.provider, request.action, request.ids, request.status)
            for request in server.requests
        ]
        submitted = list(server.tasks)[2]
        assert recorded == [
            (5.0, "POST", "/luma/tasks", "luma", "retrieve_batch", (one, two), 200),
            (10.0, "POST", "/veo/videos", "veo", "submit", (submitted,), 200),
            (10.0, "POST", "/veo/tasks", "veo", "history", (), 200),
            (10.0, "POST", "/nowhere", "", None, (), 404),
        ]
        assert (server.request_count, server.ids_asked, server.submissions) == (4, 2, 1)

    async def test_rejected_requests_are_recorded(self, server: AceServer, caller: Caller) -> None:
        """A rejected request is recorded with its provider, and with its content if it was parsed."""
        await caller.send("/luma/tasks", {"ids": ["x"], "action": "retrieve_batch"}, token="wrong")
        await caller.send("/v1/pixverse/jobs/", method="GET")
        await caller.send("/luma/videos", data=b"{")
        recorded = [(request.provider, request.action, request.ids, request.status) for request in server.requests]
        assert recorded == [("luma", None, (), 401), ("useapi-pixverse", None, (), 400), ("luma", None, (), 400)]
        assert (server.ids_asked, server.submissions) == (0, 0)

    async def test_headers_and_body_are_recorded(self, server: AceServer, caller: Caller) -> None:
        """A request is recorded with its headers and its decoded body, whatever the response."""
        await caller.send("/luma/videos", {"prompt": "a fog", "async": True})
        await caller.send("/luma/tasks", {"id": "x"}, token="wrong")
        await caller.send("/nowhere", [1])
        await caller.send("/luma/videos", data=b"{")
        await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")
        assert [request.body for request in server.requests] == [
            {"prompt": "a fog", "async": True},
            {"id": "x"},
            [1],
            None,
            None,
        ]
        tokens = [request.headers["authorization"] for request in server.requests[:2]]
        assert tokens == ["Bearer test-token", "Bearer wrong"]

    async def test_repr_of_a_request(self, server: AceServer, caller: Caller) -> None:
        """The repr has the method, path, time, status and body, but not the token."""
        await asyncio.sleep(5)
        await caller.send("/luma/tasks", {"id": "x", "action": "retrieve"})
        await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET")
        assert [repr(request) for request in server.requests] == [
            "<RecordedRequest POST /luma/tasks at=5 status=200 body={'id': 'x', 'action': 'retrieve'}>",
            "<RecordedRequest GET /v1/pixverse/jobs/ at=5 status=404>",
        ]

    async def test_requests_are_counted_without_recording(self) -> None:
        """A server that records no requests still counts them."""
        async with AceServer(record_requests=False) as server, aiohttp.ClientSession() as http:
            await Caller(server, http).batch("luma", ["a", "b", "c"])
            assert (server.requests, server.request_count, server.ids_asked) == ([], 1, 3)

    async def test_clear_requests(self, server: AceServer, caller: Caller) -> None:
        """Clearing removes requests and counts, but not open connections."""
        await caller.send("/luma/videos", {"async": True})
        server.clear_requests()
        counts = (server.request_count, server.ids_asked, server.submissions, server.max_concurrent)
        assert (server.requests, server.callbacks, counts) == ([], [], (0, 0, 0, 0))
        assert (server.connections, server.open_connections) == (1, 1)

    async def test_connections_are_counted(self, server: AceServer) -> None:
        """Three concurrent blocking submissions open three connections, which the client keeps and then closes."""
        server.script("luma", after=10, times=3)
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            await asyncio.gather(*(caller.send("/luma/videos", {}) for _ in range(3)))
            await caller.batch("luma", ["x"])
            assert (server.max_concurrent, server.connections, server.open_connections) == (3, 3, 3)
        await asyncio.sleep(1)
        assert (server.connections, server.open_connections) == (3, 0)


class TestLifecycle:
    """Starting and stopping."""

    async def test_stop_cleans_up(self) -> None:
        """A stop cuts idle and blocked connections at once, and leaves no task, timer or open port."""
        before = asyncio.all_tasks()
        server = await AceServer().start()
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            server.script("luma", outcome="forever")
            blocked = asyncio.create_task(caller.send("/luma/videos", {}))
            await asyncio.sleep(1)
            await caller.send("/veo/videos", {"callback_url": server.url})
            start = now()
            await server.stop()
            assert now() == start
            assert (server.open_connections, server.callbacks) == (0, [])
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await blocked
            with pytest.raises(aiohttp.ClientConnectorError):
                await caller.retrieve("luma", "x")
        assert asyncio.all_tasks() == before

    @pytest.mark.parametrize("rounds", range(6))
    async def test_stop_during_a_connect(self, rounds: int) -> None:
        """A connection in any state of being accepted is closed after a stop, with its task."""
        before = asyncio.all_tasks()
        server = await AceServer().start()
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        with socket.create_connection((host, int(port))):
            for _ in range(rounds):
                await asyncio.sleep(0)
            await server.stop()
            assert server.open_connections == 0
            assert asyncio.all_tasks() == before
            await asyncio.sleep(1)
            assert (server.open_connections, asyncio.all_tasks()) == (0, before)

    async def test_stop_cancels_callbacks(self, receiver: CallbackReceiver) -> None:
        """A stop does not wait for a callback in flight, and does not record it."""
        before = asyncio.all_tasks()
        async with AceServer() as server, aiohttp.ClientSession() as http:
            server.script("luma", after=1)
            await Caller(server, http).send("/luma/videos", {"callback_url": f"{receiver.url}/silent"})
            await asyncio.sleep(2)
            assert len(receiver.callbacks) == 1
            start = now()
            await server.stop()
            assert (now(), server.callbacks) == (start, [])
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == before

    async def test_stop_twice_and_start_again(self) -> None:
        """A second stop does nothing, and the server can be started again with its tasks."""
        server = AceServer()
        await server.stop()
        for _ in range(2):
            async with server, aiohttp.ClientSession() as http:
                task_id = server.add("luma", after=0)
                assert (await Caller(server, http).retrieve("luma", task_id)).status == 200
            await server.stop()
        assert len(server.tasks) == 2

    async def test_restart_uses_the_same_address(self) -> None:
        """A stopped server refuses connections, and listens at the same address after another start."""
        server = await AceServer().start()
        url, task_id = server.url, server.add("luma", after=0)
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            for _ in range(3):
                assert (await caller.retrieve("luma", task_id)).status == 200
                start = now()
                await server.stop()
                with pytest.raises(aiohttp.ClientConnectorError) as refused:
                    await caller.retrieve("luma", task_id)
                assert isinstance(refused.value.os_error, ConnectionRefusedError)
                await server.start()
                assert (server.url, now()) == (url, start)
            assert (await caller.retrieve("luma", task_id)).body["id"] == task_id
        await server.stop()

    async def test_restart_at_a_taken_address_fails(self) -> None:
        """A start fails while another server has the address, and can be repeated."""
        server = AceServer()
        async with server:
            pass
        async with AceServer(port=int(server.url.rpartition(":")[2])):
            with pytest.raises(OSError, match="address already in use"):
                await server.start()
        async with server:
            assert repr(server).startswith("<AceServer open")

    async def test_start_twice(self, server: AceServer) -> None:
        """A listening server cannot be started again."""
        with pytest.raises(RuntimeError, match="already listening"):
            await server.start()

    async def test_taken_port_raises(self, server: AceServer) -> None:
        """A chosen port that is taken raises the system's error."""
        with pytest.raises(OSError, match="address already in use"):
            await AceServer(port=int(server.url.rpartition(":")[2])).start()

    def test_no_url_before_the_start(self) -> None:
        """A server that was never started has no URL."""
        with pytest.raises(RuntimeError, match="before it is started"):
            _ = AceServer().url

    async def test_repr(self, server: AceServer) -> None:
        """The repr has the address and the counts, but not the token."""
        server.add("luma")
        assert repr(server) == f"<AceServer open at {server.url} tasks=1 requests=0>"

    @pytest.mark.real_clock
    async def test_real_clock(self) -> None:
        """The server works on asyncio's default loop."""
        async with AceServer() as server, aiohttp.ClientSession() as http:
            response = await Caller(server, http).retrieve("luma", server.add("luma", after=0))
            assert normalize("luma", response.body).state is TaskState.SUCCEEDED


class TestInvalidScripts:
    """Invalid arguments are rejected by `add`, `script` and the constructor."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"after": -1}, "after must be"),
            ({"after": float("nan")}, "after must be"),
            ({"after": float("inf")}, "after must be"),
            ({"visible_after": -1}, "visible_after must be"),
            (
                {"outcome": "done"},
                "'done' is not a valid Outcome: choose one of 'succeeded', 'failed', 'partial', 'not_found', 'forever'",
            ),
        ],
    )
    async def test_invalid_rule(self, server: AceServer, options: dict[str, object], message: str) -> None:
        """Times must be finite and not negative, and outcomes known, in `add` and `script`."""
        with pytest.raises(ValueError, match=message):
            server.add("luma", **options)  # type: ignore[arg-type]  # parametrized options
        with pytest.raises(ValueError, match=message):
            server.script("luma", **options)  # type: ignore[arg-type]  # as above

    async def test_partial_without_files(self, server: AceServer) -> None:
        """A task without files cannot be partial."""
        with pytest.raises(ValueError, match="tasks have no files"):
            server.add("captcha", outcome="partial")
        with pytest.raises(ValueError, match="tasks have no files"):
            server.script("captcha", outcome="partial")

    async def test_taken_id(self, server: AceServer) -> None:
        """An id is used once."""
        assert server.add("luma", id="mine") == "mine"
        with pytest.raises(ValueError, match="'mine' is already in use"):
            server.add("veo", id="mine")

    async def test_rule_for_zero_submissions(self, server: AceServer) -> None:
        """A rule applies to at least one submission."""
        with pytest.raises(ValueError, match="times must be"):
            server.script("luma", times=0)

    @pytest.mark.parametrize("options", [{"speed": 0}, {"speed": float("inf")}, {"failure_rate": 1.5}])
    def test_invalid_server_arguments(self, options: dict[str, float]) -> None:
        """The speed is above 0 and the failure rate from 0 to 1."""
        with pytest.raises(ValueError, match="must be"):
            AceServer(**options)  # type: ignore[arg-type]  # parametrized options
