"""The simulated service over HTTP: what it answers and when, on the virtual clock."""

from __future__ import annotations

import asyncio
import socket
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest
from aiohttp import web

from acetasks.models import TaskState
from acetasks.providers import TasksCall, lookup, normalize, register, specs
from acetasks.testing.looks import Json
from acetasks.testing.script import Outcome
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EPOCH = 1_780_000_000.0
TOKEN = "test-token"
SLUGS = [spec.slug for spec in specs()]
BATCH_SLUGS = [spec.slug for spec in specs() if spec.has_batch]
SUBMISSIONS = [(spec.slug, path) for spec in specs() for path in spec.submit_paths]


class Answer(msgspec.Struct):
    """An HTTP answer."""

    status: int
    body: Json


class Caller:
    """Asks a server over one pool of connections, with its token unless told otherwise."""

    def __init__(self, server: AceServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def send(
        self,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        token: str | None = TOKEN,
        data: bytes | BytesIO | None = None,
    ) -> Answer:
        """Send a request, with a body as JSON or as it is."""
        content = msgspec.json.encode(body) if data is None and body is not None else data
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.http.request(method, self.server.url + path, data=content, headers=headers) as response:
            return Answer(response.status, msgspec.json.decode(await response.read()))

    async def retrieve(self, slug: str, task_id: str) -> Answer:
        """Ask for one task in the way of its provider."""
        spec = lookup(slug)
        if spec.tasks_call is TasksCall.QUERY:
            return await self.send(f"{spec.path}?{spec.id_field}={task_id}", method="GET")
        action = {} if spec.tasks_call is TasksCall.BARE else {"action": "retrieve"}
        return await self.send(spec.path, {spec.id_field: task_id, **action})

    async def batch(self, slug: str, ids: list[str], **more: object) -> Json:
        """Ask for several tasks in one request."""
        spec = lookup(slug)
        answer = await self.send(spec.path, {spec.ids_field: ids, "action": "retrieve_batch", **more})
        assert answer.status == 200
        return answer.body

    async def history(self, slug: str, **more: object) -> Json:
        """Ask for a provider's latest tasks."""
        answer = await self.send(f"/{slug}/tasks", {"action": "retrieve_batch", **more})
        assert answer.status == 200
        return answer.body


def ids_in(answer: Json) -> list[object]:
    """List the ids of a batch answer, in its order."""
    items = answer["items"]
    assert isinstance(items, list)
    return [item["id"] for item in items]


def now() -> float:
    """Tell the time of the loop that a test and its server share."""
    return asyncio.get_running_loop().time()


@pytest.fixture
async def caller(server: AceServer) -> AsyncIterator[Caller]:
    """Ask that server."""
    async with aiohttp.ClientSession() as http:
        yield Caller(server, http)


class Mailbox:
    """Receives callbacks."""

    def __init__(self) -> None:
        self.url = ""
        self.letters: list[tuple[float, str, Json]] = []

    async def receive(self, request: web.BaseRequest) -> web.Response:
        """Keep a callback with the time it came at."""
        self.letters.append((now(), request.path, msgspec.json.decode(await request.read())))
        if request.path == "/moved":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        if request.path == "/deaf":
            await asyncio.get_running_loop().create_future()
        return web.Response(status=204)


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    """Run a receiver of callbacks on the test's own loop."""
    box = Mailbox()
    runner = web.ServerRunner(web.Server(box.receive, access_log=None, handler_cancellation=True))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    box.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield box
    await runner.cleanup()


class TestTime:
    """Tasks change with the time of the loop and of nothing else."""

    async def test_task_ends_exactly_when_scripted(self, server: AceServer, caller: Caller) -> None:
        """A task of 154 s is queued, runs and ends at the second, and its record tells so in wall time."""
        created = now()
        task_id = server.add("luma", after=154, queued_for=10)
        looks = []
        for at in (0.0, 9.5, 77.0, 153.999, 154.0, 100_000.0):
            await asyncio.sleep(created + at - now())
            looks.append(normalize("luma", (await caller.retrieve("luma", task_id)).body))
        states = [task.state.value for task in looks]
        assert states == ["pending", "pending", "running", "running", "succeeded", "succeeded"]
        assert {task.created_at for task in looks} == {EPOCH + created}
        assert [task.finished_at for task in looks[3:]] == [None, EPOCH + created + 154.0, EPOCH + created + 154.0]

    async def test_speed_divides_every_time(self) -> None:
        """At a speed of 10 a task of 100 s that is visible after 20 takes 10 s and is visible after 2."""
        async with AceServer(speed=10.0) as server:
            task = server.tasks[server.add("luma", after=100, visible_after=20, queued_for=30)]
            assert (task.visible_at, task.starts_at, task.finishes_at) == (now() + 2, now() + 3, now() + 10)

    @pytest.mark.parametrize(("after", "queued"), [(30, 3), (300, 5)])
    async def test_task_is_queued_for_a_tenth(self, server: AceServer, after: float, queued: float) -> None:
        """Unless scripted, a task is queued for a tenth of its duration and for 5 s at most."""
        task = server.tasks[server.add("luma", after=after)]
        assert task.starts_at == task.created + queued

    async def test_epoch_is_what_the_clock_counts_from(self) -> None:
        """Records tell the loop's time as seconds since the epoch that was given."""
        async with AceServer(epoch=1_000_000.0) as server, aiohttp.ClientSession() as http:
            await asyncio.sleep(25.0)
            answer = await Caller(server, http).retrieve("kling", server.add("kling", after=0))
            assert answer.body["created_at"] == 1_000_000.0 + now()

    async def test_task_is_unknown_until_it_is_visible(self, server: AceServer, caller: Caller) -> None:
        """The tasks call knows nothing of a task before its time, alone or in a batch or in the history."""
        task_id = server.add("flux", after=100, visible_after=7)
        await asyncio.sleep(6.999)
        assert (await caller.retrieve("flux", task_id)).body == {}
        assert await caller.batch("flux", [task_id]) == {"items": [], "count": 0}
        assert await caller.history("flux") == {"items": [], "count": 0}
        await asyncio.sleep(0.001)
        assert (await caller.retrieve("flux", task_id)).body["id"] == task_id

    async def test_lost_task_is_never_known(self, server: AceServer, caller: Caller) -> None:
        """A task with the outcome `not_found` stays unknown for good."""
        task_id = server.add("luma", outcome="not_found")
        await asyncio.sleep(1e6)
        assert (await caller.retrieve("luma", task_id)).body == {}

    async def test_endless_task_stays_short_of_the_end(self, server: AceServer, caller: Caller) -> None:
        """A task with the outcome `forever` runs on, at 99 percent in the end."""
        task_id = server.add("midjourney", after=60, outcome="forever")
        await asyncio.sleep(1e6)
        task = normalize("midjourney", (await caller.retrieve("midjourney", task_id)).body)
        assert (task.state, task.progress) == (TaskState.RUNNING, 99.0)

    async def test_progress_can_be_scripted(self, server: AceServer, caller: Caller) -> None:
        """A task shows the progress that it was given, whatever the time."""
        task_id = server.add("midjourney", after=60, progress=12)
        await asyncio.sleep(50)
        assert normalize("midjourney", (await caller.retrieve("midjourney", task_id)).body).progress == 12.0


class TestOneTask:
    """The answer to a question for one task."""

    @pytest.mark.parametrize("outcome", ["succeeded", "failed"])
    @pytest.mark.parametrize("slug", SLUGS)
    async def test_every_provider_tells_the_end(
        self, server: AceServer, caller: Caller, slug: str, outcome: str
    ) -> None:
        """Every provider's task is read as waiting a second before its end, and as ended from then on."""
        task_id = server.add(slug, after=60, outcome=outcome, queued_for=0)
        await asyncio.sleep(59)
        before = await caller.retrieve(slug, task_id)
        await asyncio.sleep(1)
        after = await caller.retrieve(slug, task_id)
        assert not normalize(slug, before.body, http_status=before.status).state.is_terminal
        assert normalize(slug, after.body, http_status=after.status).state == outcome

    @pytest.mark.parametrize("slug", SLUGS)
    async def test_unknown_id(self, caller: Caller, slug: str) -> None:
        """An unknown id is an empty object for most, and a 404 that means the task for four."""
        answer = await caller.retrieve(slug, "no-such-id")
        assert answer.status == (404 if slug in {"captcha", "digital-human", "maestro", "useapi-pixverse"} else 200)
        assert normalize(slug, answer.body, http_status=answer.status).state is TaskState.NOT_FOUND

    async def test_task_of_another_provider_is_unknown(self, server: AceServer, caller: Caller) -> None:
        """An id is known to its own provider only."""
        assert (await caller.retrieve("veo", server.add("luma"))).body == {}

    async def test_captcha_fails_with_504(self, server: AceServer, caller: Caller) -> None:
        """A captcha's own failure comes as an HTTP 504, with its code."""
        answer = await caller.retrieve("captcha", server.add("captcha", after=0, outcome="failed"))
        assert answer.status == 504
        assert (answer.body["status"], answer.body["code"]) == ("failed", "timeout")

    async def test_digital_human_is_flat_without_an_action(self, server: AceServer, caller: Caller) -> None:
        """digital-human takes `task_id`, and leaves the record out when the action is."""
        task_id = server.add("digital-human", after=0)
        whole = await caller.send("/digital-human/tasks", {"task_id": task_id, "action": "retrieve"})
        flat = await caller.send("/digital-human/tasks", {"task_id": task_id})
        assert (whole.body["id"], whole.body["status"]) == (task_id, "succeed")
        assert flat.body == whole.body["response"]

    async def test_minimax_is_wrapped(self, server: AceServer, caller: Caller) -> None:
        """A single record of minimax is wrapped."""
        task_id = server.add("minimax", after=0)
        answer = await caller.retrieve("minimax", task_id)
        assert list(answer.body) == ["task"]

    async def test_useapi_wants_a_jobid(self, caller: Caller) -> None:
        """useapi.net answers a question without an id with its own form of a 400."""
        answer = await caller.send("/v1/pixverse/jobs/", method="GET")
        assert answer == Answer(400, {"error": "Query param jobid not provided", "code": 400})


class TestBatch:
    """The answer to a question for many tasks."""

    @pytest.mark.parametrize("slug", BATCH_SLUGS)
    async def test_batch_is_not_in_the_order_asked(self, server: AceServer, caller: Caller, slug: str) -> None:
        """Every id that exists comes back, in another order, and unknown ones are left out."""
        first, second, third = (server.add(slug, after=0) for _ in range(3))
        server_order = [third, second, first]
        answer = await caller.batch(slug, [first, "no-such-id", second, third])
        if slug == "kling":  # sorted by age, and these three are of one age
            server_order = ids_in(answer)  # type: ignore[assignment]
            assert sorted(server_order) == sorted([first, second, third])
        assert ids_in(answer) == server_order
        assert answer["total" if slug == "minimax" else "count"] == 3

    async def test_kling_answers_the_newest_first(self, server: AceServer, caller: Caller) -> None:
        """The order of kling is by age, whatever was asked first."""
        ids = []
        for _ in range(3):
            ids.append(server.add("kling"))
            await asyncio.sleep(1)
        answer = await caller.batch("kling", [ids[1], ids[2], ids[0]])
        assert ids_in(answer) == ids[::-1]

    @pytest.mark.parametrize(("slug", "times"), [("veo", 2), ("luma", 1), ("kling", 1)])
    async def test_id_that_is_asked_twice(self, server: AceServer, caller: Caller, slug: str, times: int) -> None:
        """An id that stands twice in a request is answered twice by veo, and once by the others."""
        task_id = server.add(slug)
        assert ids_in(await caller.batch(slug, [task_id, task_id])) == [task_id] * times

    async def test_limit_and_offset_cut_a_batch(self, server: AceServer, caller: Caller) -> None:
        """A batch that says `limit` and `offset` gets no more than that; one that does not gets all of it."""
        ids = [server.add("openai") for _ in range(20)]
        assert len(ids_in(await caller.batch("openai", ids))) == 20
        answer = await caller.batch("openai", ids, limit=5, offset=3)
        assert ids_in(answer) == ids[::-1][3:8]
        assert answer["count"] == 5

    async def test_digital_human_takes_a_list_as_task_id(self, server: AceServer, caller: Caller) -> None:
        """digital-human's key for ids is that for one."""
        ids = [server.add("digital-human") for _ in range(2)]
        answer = await caller.send("/digital-human/tasks", {"task_id": ids, "action": "retrieve_batch"})
        assert sorted(map(str, ids_in(answer.body))) == sorted(ids)

    async def test_silent_task_is_left_out(self, server: AceServer, caller: Caller) -> None:
        """A task that dreamina has queued is left out of a batch, as alone it is an empty object."""
        task_id = server.add("dreamina", after=60, queued_for=10)
        assert await caller.batch("dreamina", [task_id]) == {"items": [], "count": 0}
        await asyncio.sleep(10)
        assert ids_in(await caller.batch("dreamina", [task_id])) == [task_id]

    async def test_maestro_ignores_ids(self, server: AceServer, caller: Caller) -> None:
        """The batch call of maestro lists the history, and counts all that there is."""
        ids = [server.add("maestro") for _ in range(15)]
        answer = await caller.send("/maestro/tasks", {"ids": ids[:1], "action": "retrieve_batch"})
        assert ids_in(answer.body) == ids[::-1][:12]
        assert answer.body["count"] == 15


class TestHistory:
    """The list of a user's latest tasks."""

    async def test_history_is_the_latest_twelve(self, server: AceServer, caller: Caller) -> None:
        """A batch call without ids lists the newest tasks of that provider, 12 of them unless told otherwise."""
        ids = [server.add("luma") for _ in range(15)]
        server.add("veo")
        assert ids_in(await caller.history("luma")) == ids[::-1][:12]
        assert ids_in(await caller.history("luma", limit=2, offset=13)) == ids[::-1][13:]

    async def test_history_between_two_times(self, server: AceServer, caller: Caller) -> None:
        """`created_at_min` and `created_at_max` bound the list, both included."""
        start, ids = EPOCH + now(), []
        for _ in range(5):
            ids.append(server.add("luma"))
            await asyncio.sleep(10)
        answer = await caller.history("luma", created_at_min=start + 10, created_at_max=start + 30)
        assert ids_in(answer) == [ids[3], ids[2], ids[1]]

    async def test_minimax_counts_all_past_tasks(self, server: AceServer, caller: Caller) -> None:
        """The key of minimax is `total`, and means all of the user's tasks."""
        for _ in range(15):
            server.add("minimax")
        answer = await caller.history("minimax", limit=1)
        assert (len(ids_in(answer)), answer["total"]) == (1, 15)


class TestSubmission:
    """Tasks that are submitted over HTTP."""

    @pytest.mark.parametrize(("slug", "path"), SUBMISSIONS)
    async def test_every_path_submits(self, server: AceServer, caller: Caller, slug: str, path: str) -> None:
        """Every documented path makes a task, acknowledges it at once, and repeats the request in the record."""
        request = {"prompt": "a lighthouse", "async": True}
        answer = await caller.send(path, request)
        (task_id,) = server.tasks
        task = server.tasks[task_id]
        assert answer.status == (201 if slug == "captcha" else 200)
        assert normalize(slug, answer.body).id == task_id
        assert not normalize(slug, answer.body).state.is_terminal
        assert (task.provider, task.path, task.request, task.created) == (slug, path, request, now())

    @pytest.mark.parametrize(
        ("path", "keys"),
        [
            ("/luma/videos", {"task_id"}),
            ("/captcha/token/turnstile", {"task_id", "trace_id"}),
            ("/fish/tts", {"task_id", "started_at"}),
            ("/sora/videos", {"task_id", "success"}),
        ],
    )
    async def test_acknowledgements_differ(self, caller: Caller, path: str, keys: set[str]) -> None:
        """Providers acknowledge with the id and what else they think fit."""
        assert (await caller.send(path, {"async": True})).body.keys() == keys

    async def test_useapi_acknowledges_with_the_job(self, server: AceServer, caller: Caller) -> None:
        """useapi.net sends the job itself, as created, even if it is to end at once."""
        server.script("useapi-pixverse", after=0)
        answer = await caller.send("/v1/pixverse/create_single", {"prompt": "a lighthouse"})
        (task_id,) = server.tasks
        assert answer.body["jobid"] == task_id
        assert (answer.body["status"], answer.body["code"], answer.body["prompt"]) == ("created", 200, "a lighthouse")

    async def test_submission_blocks_until_the_task_is_done(self, server: AceServer, caller: Caller) -> None:
        """Without `async` the answer is the finished response itself, and comes when the task ends."""
        server.script("veo", after=145)
        begun = now()
        answer = await caller.send("/veo/videos", {"action": "text2video", "model": "veo2", "prompt": "a fog"})
        assert now() == begun + 145
        task = normalize("veo", answer.body)
        assert (answer.status, task.state) == (200, TaskState.SUCCEEDED)
        assert server.tasks.keys() == {task.id}
        assert (await caller.retrieve("veo", task.id)).body["response"] == answer.body

    async def test_blocking_submission_that_fails(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission of a task that fails gets the documented form of a failure."""
        server.script("luma", after=10, outcome="failed", error=("forbidden", "not this prompt"))
        answer = await caller.send("/luma/videos", {"prompt": "a fog"})
        assert answer.body["success"] is False
        assert answer.body["error"] == {"code": "forbidden", "message": "not this prompt"}

    async def test_blocking_submission_that_is_lost(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission of a task that is lost times out at the service."""
        server.script("luma", after=60, outcome="not_found")
        begun = now()
        answer = await caller.send("/luma/videos", {"prompt": "a fog"})
        assert (answer.status, now()) == (504, begun + 60)
        assert answer.body["error"] == {"code": "timeout", "message": "Timeout to generate."}

    async def test_minimax_never_blocks(self, server: AceServer, caller: Caller) -> None:
        """A submission to minimax is always asynchronous."""
        server.script("minimax", after=100)
        begun = now()
        await caller.send("/minimax/videos", {"prompt": "a fog"})
        assert now() == begun

    async def test_client_that_hangs_up_is_not_waited_for(self, server: AceServer, caller: Caller) -> None:
        """A blocking submission ends with its connection; the task that it paid for goes on."""
        server.script("luma", after=100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await caller.send("/luma/videos", {"prompt": "a fog"})
        (task_id,) = server.tasks
        await asyncio.sleep(95)
        assert normalize("luma", (await caller.retrieve("luma", task_id)).body).state is TaskState.SUCCEEDED
        assert [request.status for request in server.requests] == [None, 200]

    async def test_rules_are_used_up_in_order(self, server: AceServer, caller: Caller) -> None:
        """Rules hold for as many submissions as said, in turn; then the lasting rule holds, for its provider only."""
        server.script("luma", after=100, times=None)
        server.script("luma", after=1, times=2)
        server.script("luma", after=2, outcome=Outcome.FAILED)
        for _ in range(5):
            await caller.send("/luma/videos", {"async": True})
        lives = [(task.finishes_at - task.created, task.outcome.value) for task in server.tasks.values()]
        assert lives == [(1, "succeeded"), (1, "succeeded"), (2, "failed"), (100, "succeeded"), (100, "succeeded")]


class TestCallbacks:
    """Callbacks are posted when their tasks end."""

    async def test_callback_is_posted_at_the_end(self, server: AceServer, caller: Caller, mailbox: Mailbox) -> None:
        """A submission with a callback is acknowledged at once, and the response is posted when the task ends."""
        server.script("veo", after=145)
        begun = now()
        ack = await caller.send("/veo/videos", {"prompt": "a fog", "callback_url": f"{mailbox.url}/secret"})
        task_id = str(ack.body["task_id"])
        assert now() == begun
        await asyncio.sleep(146)
        answer = await caller.retrieve("veo", task_id)
        assert mailbox.letters == [(begun + 145, "/secret", answer.body["response"])]
        assert {"success", "task_id", "trace_id"} <= mailbox.letters[0][2].keys()
        (noted,) = server.callbacks
        assert (noted.time, noted.task_id, noted.status, noted.error) == (begun + 145, task_id, 204, None)

    async def test_callback_is_posted_once(self, server: AceServer, caller: Caller, mailbox: Mailbox) -> None:
        """A callback goes to the URL that was given and nowhere else, whatever the receiver answers."""
        server.script("luma", after=10)
        await caller.send("/luma/videos", {"callback_url": f"{mailbox.url}/moved"})
        await asyncio.sleep(100)
        assert [path for _, path, _ in mailbox.letters] == ["/moved"]
        assert [noted.status for noted in server.callbacks] == [307]

    async def test_callbacks_come_in_the_order_of_their_ends(
        self, server: AceServer, caller: Caller, mailbox: Mailbox
    ) -> None:
        """One timer serves every callback: a later submission that ends sooner is told first."""
        begun = now()
        for after in (30, 10, 20):
            server.script("luma", after=after)
            await caller.send("/luma/videos", {"callback_url": mailbox.url})
        await asyncio.sleep(40)
        assert [time - begun for time, _, _ in mailbox.letters] == [10, 20, 30]

    async def test_callback_of_a_failure(self, server: AceServer, caller: Caller, mailbox: Mailbox) -> None:
        """A failed task's callback has the documented form: `success: false` and an error object."""
        server.script("pika", after=10, outcome="failed", error=("forbidden", "not this prompt"))
        await caller.send("/pika/videos", {"callback_url": mailbox.url})
        await asyncio.sleep(20)
        ((_, _, body),) = mailbox.letters
        assert body["success"] is False
        assert body["error"] == {"code": "forbidden", "message": "not this prompt"}

    async def test_useapi_posts_the_job(self, server: AceServer, caller: Caller, mailbox: Mailbox) -> None:
        """useapi.net's `replyUrl` gets the job as its own call shows it."""
        server.script("useapi-pixverse", after=900)
        ack = await caller.send("/v1/pixverse/create", {"prompt": "a fog", "replyUrl": mailbox.url})
        await asyncio.sleep(901)
        answer = await caller.retrieve("useapi-pixverse", str(ack.body["jobid"]))
        assert [body for _, _, body in mailbox.letters] == [answer.body]
        assert answer.body["replyUrl"] == mailbox.url

    @pytest.mark.parametrize("outcome", ["not_found", "forever"])
    async def test_no_callback_without_an_end(
        self, server: AceServer, caller: Caller, mailbox: Mailbox, outcome: str
    ) -> None:
        """A task that is lost or never ends posts nothing."""
        server.script("luma", after=10, outcome=outcome)
        await caller.send("/luma/videos", {"callback_url": mailbox.url})
        await asyncio.sleep(1e6)
        assert mailbox.letters == []

    @pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "no url at all"])
    async def test_failed_callback_is_noted(self, server: AceServer, caller: Caller, url: str) -> None:
        """A callback that cannot be posted is noted with the reason, tried once, and troubles nobody."""
        server.script("luma", after=10)
        await caller.send("/luma/videos", {"callback_url": url})
        await asyncio.sleep(100)
        (noted,) = server.callbacks
        assert (noted.url, noted.status) == (url, None)
        assert noted.error


class TestRefusals:
    """Requests that the services refuse, in the forms that they document."""

    @pytest.mark.parametrize("token", ["wrong", None])
    async def test_wrong_token(self, caller: Caller, token: str | None) -> None:
        """A wrong or missing token is a 401, in the form of the service that was asked."""
        answer = await caller.send("/luma/tasks", {"id": "x", "action": "retrieve"}, token=token)
        assert answer.status == 401
        assert answer.body["error"] == {
            "code": "invalid_token",
            "message": "The specified token is invalid or wrong.",
        }
        assert answer.body["trace_id"]
        job = await caller.send("/v1/pixverse/jobs/?jobid=x", method="GET", token=token)
        assert job == Answer(401, {"error": "Unauthorized", "code": 401})

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/luma/tasks"),
            ("POST", "/luma/nonsense"),
            ("POST", "/v1/pixverse/jobs/"),
            ("POST", "/"),
            ("POST", "/tasks"),
            ("POST", "/newcomer/"),
            ("POST", "/New_Comer/tasks"),
        ],
    )
    async def test_unknown_path(self, caller: Caller, method: str, path: str) -> None:
        """A path or method that the service does not have is a 404 that means the API."""
        answer = await caller.send(path, {}, method=method)
        assert answer.status == 404
        assert isinstance(answer.body["error"], dict)
        assert answer.body["error"]["code"] == "no_api"

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
        """A body that is no JSON object, or asks for nothing that is documented, is a 400."""
        answer = await caller.send("/luma/tasks", data=data)
        assert answer.status == 400
        assert isinstance(answer.body["error"], dict)
        assert answer.body["error"]["code"] == "bad_request"

    async def test_request_too_large(self, caller: Caller) -> None:
        """A body of more than a megabyte is a 413."""
        answer = await caller.send("/luma/videos", data=BytesIO(b"x" * 1_100_000))
        assert answer.status == 413
        assert isinstance(answer.body["error"], dict)
        assert answer.body["error"]["code"] == "request_too_large"

    async def test_refused_submission_makes_no_task(self, server: AceServer, caller: Caller) -> None:
        """A submission that is refused is not one."""
        await caller.send("/luma/videos", {"async": True}, token="wrong")
        await caller.send("/luma/videos", data=b"{")
        assert (len(server.tasks), server.submissions) == (0, 0)


class TestProviders:
    """Providers beyond those that the server knows the shapes of."""

    async def test_unknown_slug_is_served_in_the_standard_way(self, server: AceServer, caller: Caller) -> None:
        """A provider that nobody has heard of takes submissions anywhere and answers its tasks call."""
        server.script("newcomer", after=60)
        ack = await caller.send("/newcomer/videos/long", {"prompt": "a fog", "async": True})
        task_id = str(ack.body["task_id"])
        await asyncio.sleep(30)
        assert ids_in(await caller.batch("newcomer", [task_id])) == [task_id]
        await asyncio.sleep(30)
        task = normalize("newcomer", (await caller.retrieve("newcomer", task_id)).body)
        assert task.state is TaskState.SUCCEEDED
        assert task.artifacts

    async def test_row_that_is_registered_later_is_served(self, server: AceServer, caller: Caller) -> None:
        """The table is what counts at the time of the request, not at that of the start."""
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


class TestChance:
    """What is drawn comes from the seed."""

    @staticmethod
    async def draw(*, seed: int = 0, failure_rate: float = 0.0) -> list[tuple[str, float, str]]:
        """Make tasks of which nothing is scripted."""
        async with AceServer(seed=seed, failure_rate=failure_rate) as server:
            ids = [server.add(slug) for slug in ("luma", "veo", "flux") for _ in range(40)]
            tasks = [server.tasks[task_id] for task_id in ids]
            return [(task.id, task.finishes_at - task.created, task.outcome.value) for task in tasks]

    async def test_same_seed_same_tasks(self) -> None:
        """Two servers of one seed make the same tasks, another seed makes others."""
        first, second, other = await self.draw(seed=7), await self.draw(seed=7), await self.draw(seed=8)
        assert first == second
        assert not {task_id for task_id, _, _ in first} & {task_id for task_id, _, _ in other}
        assert not {duration for _, duration, _ in first} & {duration for _, duration, _ in other}

    async def test_durations_lie_about_the_typical_one(self) -> None:
        """Durations that are not scripted differ, and their median is near the provider's typical one."""
        durations = sorted(duration for _, duration, _ in (await self.draw())[:40])
        typical = lookup("luma").typical_duration
        assert len(set(durations)) == 40
        assert 0.85 * typical < durations[20] < 1.15 * typical

    async def test_failure_rate(self) -> None:
        """Tasks succeed unless a share of them is to fail."""
        assert {outcome for _, _, outcome in await self.draw()} == {"succeeded"}
        outcomes = [outcome for _, _, outcome in await self.draw(failure_rate=0.25)]
        assert 0.15 < outcomes.count("failed") / len(outcomes) < 0.35


class TestRecording:
    """What the server tells of the requests it has seen."""

    async def test_requests_are_recorded(self, server: AceServer, caller: Caller) -> None:
        """Each request is recorded with its time, what it asked for and what came of it."""
        await asyncio.sleep(5)
        one, two = server.add("luma"), server.add("luma")
        await caller.batch("luma", [one, two])
        await asyncio.sleep(5)
        await caller.send("/veo/videos", {"async": True})
        await caller.history("veo")
        await caller.send("/nowhere", {})
        seen = [
            (seen.time, seen.method, seen.path, seen.provider, seen.action, seen.ids, seen.status)
            for seen in server.requests
        ]
        submitted = list(server.tasks)[2]
        assert seen == [
            (5.0, "POST", "/luma/tasks", "luma", "retrieve_batch", (one, two), 200),
            (10.0, "POST", "/veo/videos", "veo", "submit", (submitted,), 200),
            (10.0, "POST", "/veo/tasks", "veo", "history", (), 200),
            (10.0, "POST", "/nowhere", "", None, (), 404),
        ]
        assert (server.request_count, server.ids_asked, server.submissions) == (4, 2, 1)

    async def test_refused_requests_are_recorded(self, server: AceServer, caller: Caller) -> None:
        """A request that is refused is recorded with its provider, and with what it is for if that was read."""
        await caller.send("/luma/tasks", {"ids": ["x"], "action": "retrieve_batch"}, token="wrong")
        await caller.send("/v1/pixverse/jobs/", method="GET")
        await caller.send("/luma/videos", data=b"{")
        seen = [(seen.provider, seen.action, seen.ids, seen.status) for seen in server.requests]
        assert seen == [("luma", None, (), 401), ("useapi-pixverse", None, (), 400), ("luma", None, (), 400)]
        assert (server.ids_asked, server.submissions) == (0, 0)

    async def test_counts_go_on_without_a_record(self) -> None:
        """A server that records nothing still counts."""
        async with AceServer(record_requests=False) as server, aiohttp.ClientSession() as http:
            await Caller(server, http).batch("luma", ["a", "b", "c"])
            assert (server.requests, server.request_count, server.ids_asked) == ([], 1, 3)

    async def test_clear_requests(self, server: AceServer, caller: Caller) -> None:
        """Clearing forgets requests and counts, but not the connections that are open."""
        await caller.send("/luma/videos", {"async": True})
        server.clear_requests()
        counts = (server.request_count, server.ids_asked, server.submissions, server.max_concurrent)
        assert (server.requests, server.callbacks, counts) == ([], [], (0, 0, 0, 0))
        assert (server.connections, server.open_connections) == (1, 1)

    async def test_connections_are_counted(self, server: AceServer) -> None:
        """Three blocking submissions take three connections at once, which the client then keeps or closes."""
        server.script("luma", after=10, times=3)
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            await asyncio.gather(*(caller.send("/luma/videos", {}) for _ in range(3)))
            await caller.batch("luma", ["x"])
            assert (server.max_concurrent, server.connections, server.open_connections) == (3, 3, 3)
        await asyncio.sleep(1)
        assert (server.connections, server.open_connections) == (3, 0)


class TestLife:
    """Opening and closing."""

    async def test_stop_leaves_nothing(self) -> None:
        """A stop cuts idle and blocked connections at once, and leaves no task, timer or open port behind."""
        before = asyncio.all_tasks()
        server = await AceServer().start()
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            server.script("luma", outcome="forever")
            blocked = asyncio.create_task(caller.send("/luma/videos", {}))
            await asyncio.sleep(1)
            await caller.send("/veo/videos", {"callback_url": server.url})
            begun = now()
            await server.stop()
            assert now() == begun
            assert (server.open_connections, server.callbacks) == (0, [])
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await blocked
            with pytest.raises(aiohttp.ClientConnectorError):
                await caller.retrieve("luma", "x")
        assert asyncio.all_tasks() == before

    @pytest.mark.parametrize("rounds", range(6))
    async def test_stop_while_somebody_connects(self, rounds: int) -> None:
        """However far a connection has come when the server stops, it is gone afterwards, with its task."""
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

    async def test_stop_breaks_off_callbacks(self, mailbox: Mailbox) -> None:
        """A stop does not wait for a callback that its receiver does not answer, and notes nothing of it."""
        before = asyncio.all_tasks()
        async with AceServer() as server, aiohttp.ClientSession() as http:
            server.script("luma", after=1)
            await Caller(server, http).send("/luma/videos", {"callback_url": f"{mailbox.url}/deaf"})
            await asyncio.sleep(2)
            assert len(mailbox.letters) == 1
            begun = now()
            await server.stop()
            assert (now(), server.callbacks) == (begun, [])
        await asyncio.sleep(1)
        assert asyncio.all_tasks() == before

    async def test_stop_twice_and_start_again(self) -> None:
        """A stop of a stopped server does nothing, and it can be started again with the tasks it had."""
        server = AceServer()
        await server.stop()
        for _ in range(2):
            async with server, aiohttp.ClientSession() as http:
                task_id = server.add("luma", after=0)
                assert (await Caller(server, http).retrieve("luma", task_id)).status == 200
            await server.stop()
        assert len(server.tasks) == 2

    async def test_service_goes_away_and_comes_back(self) -> None:
        """A stopped server refuses connections, and one that is started again listens at the address it had."""
        server = await AceServer().start()
        url, task_id = server.url, server.add("luma", after=0)
        async with aiohttp.ClientSession() as http:
            caller = Caller(server, http)
            for _ in range(3):
                assert (await caller.retrieve("luma", task_id)).status == 200
                begun = now()
                await server.stop()
                with pytest.raises(aiohttp.ClientConnectorError) as refused:
                    await caller.retrieve("luma", task_id)
                assert isinstance(refused.value.os_error, ConnectionRefusedError)
                await server.start()
                assert (server.url, now()) == (url, begun)
            assert (await caller.retrieve("luma", task_id)).body["id"] == task_id
        await server.stop()

    async def test_address_that_is_taken_meanwhile(self) -> None:
        """A server does not come back at an address that another has taken; it can try again."""
        server = AceServer()
        async with server:
            pass
        async with AceServer(port=int(server.url.rpartition(":")[2])):
            with pytest.raises(OSError, match="address already in use"):
                await server.start()
        async with server:
            assert repr(server).startswith("<AceServer open")

    async def test_start_twice(self, server: AceServer) -> None:
        """A server that listens already is not started again."""
        with pytest.raises(RuntimeError, match="listens already"):
            await server.start()

    async def test_port_that_is_taken(self, server: AceServer) -> None:
        """A port can be chosen; one that is taken is the system's error."""
        with pytest.raises(OSError, match="address already in use"):
            await AceServer(port=int(server.url.rpartition(":")[2])).start()

    def test_no_address_before_the_start(self) -> None:
        """A server that was never started has no address."""
        with pytest.raises(RuntimeError, match="before it is started"):
            _ = AceServer().url

    async def test_repr_tells_where_and_how_much(self, server: AceServer) -> None:
        """The repr names the address and the counts, but not the token."""
        server.add("luma")
        assert repr(server) == f"<AceServer open at {server.url} tasks=1 requests=0>"

    @pytest.mark.real_clock
    async def test_real_clock(self) -> None:
        """The server runs on asyncio's usual loop as well."""
        async with AceServer() as server, aiohttp.ClientSession() as http:
            answer = await Caller(server, http).retrieve("luma", server.add("luma", after=0))
            assert normalize("luma", answer.body).state is TaskState.SUCCEEDED


class TestMistakes:
    """A script that cannot be kept is refused where it is written."""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"after": -1}, "after must be"),
            ({"after": float("nan")}, "after must be"),
            ({"after": float("inf")}, "after must be"),
            ({"visible_after": -1}, "visible_after must be"),
            ({"outcome": "done"}, "'done' is not a valid Outcome"),
        ],
    )
    async def test_rule_that_makes_no_sense(self, server: AceServer, options: dict[str, object], message: str) -> None:
        """Times are finite and not negative, and outcomes are known, for added and submitted tasks alike."""
        with pytest.raises(ValueError, match=message):
            server.add("luma", **options)  # type: ignore[arg-type]  # the options of the one case or another
        with pytest.raises(ValueError, match=message):
            server.script("luma", **options)  # type: ignore[arg-type]  # as above

    async def test_part_of_nothing(self, server: AceServer) -> None:
        """A task that makes no files cannot be done in part."""
        with pytest.raises(ValueError, match="makes no files"):
            server.add("captcha", outcome="partial")
        with pytest.raises(ValueError, match="makes no files"):
            server.script("captcha", outcome="partial")

    async def test_id_that_is_taken(self, server: AceServer) -> None:
        """An id is given once."""
        assert server.add("luma", id="mine") == "mine"
        with pytest.raises(ValueError, match="'mine' already"):
            server.add("veo", id="mine")

    async def test_rule_for_no_submission(self, server: AceServer) -> None:
        """A rule holds for one submission at least."""
        with pytest.raises(ValueError, match="times must be"):
            server.script("luma", times=0)

    @pytest.mark.parametrize("options", [{"speed": 0}, {"speed": float("inf")}, {"failure_rate": 1.5}])
    def test_server_that_makes_no_sense(self, options: dict[str, float]) -> None:
        """The speed is above 0 and the failure rate from 0 to 1."""
        with pytest.raises(ValueError, match="must be"):
            AceServer(**options)  # type: ignore[arg-type]  # the options of the one case or another
