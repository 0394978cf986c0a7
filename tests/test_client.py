"""The client, over HTTP against the simulated service, on the virtual clock."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
import math
import pickle
import random
import re
import traceback
from collections import Counter

import aiohttp
import anyio
import pytest
from aiohttp import web
from support import now

import acetasks
from acetasks import TaskState
from acetasks import client as client_module
from acetasks._http import PollResult
from acetasks._polling.limited_requests import LimitedRequests
from acetasks.providers import lookup, read_record
from acetasks.testing import AceServer, run


def answer_with_strangers(answer: object) -> object:
    """Send the latest tasks of the user for every batch, whatever the ids are."""
    if "items" not in answer:
        return answer
    return {"items": [{"id": f"stranger-{number}", "response": {"success": True}} for number in range(12)]}


FIVE = ("pixverse", "veo", "luma", "flux", "useapi-pixverse")


class TestWait:
    """`wait`."""

    @pytest.mark.parametrize("provider", FIVE)
    async def test_returns_the_finished_task(self, server, client, provider):
        """The finished task has its state, artifacts and id, for each kind of service."""
        task_id = server.add(provider, after=100)
        task = await client.wait(provider, task_id)
        assert (task.provider, task.id, task.state) == (provider, task_id, TaskState.SUCCEEDED)
        assert task.artifacts

    async def test_the_end_of_a_long_task_is_noticed_within_an_interval(self, server, client):
        """A task of ten minutes is returned at most one interval and its jitter after its end."""
        task_id = server.add("luma", after=600)
        await client.wait("luma", task_id)
        interval = acetasks.providers.lookup("luma").poll_interval(None)
        assert 600 <= now() <= 600 + interval * 1.2 + 0.1

    async def test_a_finished_task_is_returned_after_the_linger(self, server, client):
        """The first poll is sent after the linger, not after an interval."""
        task_id = server.add("flux", after=0)
        await client.wait("flux", task_id)
        assert now() == pytest.approx(0.05)
        assert server.request_count == 1

    async def test_raises_for_a_failed_task(self, server, client):
        """The error has the failed task and the reason given by the service."""
        task_id = server.add("veo", after=10, outcome="failed", error=("CONTENT_REJECTED", "no"))
        with pytest.raises(
            acetasks.TaskFailedError, match=f"veo task {task_id} failed: CONTENT_REJECTED: no"
        ) as caught:
            await client.wait("veo", task_id)
        assert caught.value.task.state is TaskState.FAILED
        assert caught.value.task.error == acetasks.TaskError(code="CONTENT_REJECTED", message="no")

    async def test_returns_a_partial_task(self, server, client):
        """A partial task has both artifacts and an error."""
        task_id = server.add("suno", after=10, outcome="partial")
        task = await client.wait("suno", task_id)
        assert task.state is TaskState.PARTIAL
        assert task.artifacts
        assert task.error is not None

    @pytest.mark.parametrize("provider", ["luma", "maestro", "digital-human", "captcha", "useapi-pixverse"])
    async def test_an_unknown_id_is_not_found_after_the_grace_period(self, client, provider):
        """Both the polls and the seconds of the grace period have to pass."""
        with pytest.raises(acetasks.TaskNotFoundError, match=provider) as caught:
            await client.wait(provider, "8b2e1f0c-0000-4000-8000-000000000000")
        assert caught.value.task.state is TaskState.NOT_FOUND
        assert now() >= 10

    async def test_a_task_without_a_record_at_first_is_found_later(self, server, client):
        """A task may have no record during the grace period."""
        task_id = server.add("luma", after=60, visible_after=8)
        assert (await client.wait("luma", task_id)).state is TaskState.SUCCEEDED

    async def test_a_timeout_error_has_the_task_as_last_seen(self, server, client):
        """The timeout is exact, and its error has the task as last seen."""
        task_id = server.add("wan", outcome="forever", queued_for=0)
        with pytest.raises(TimeoutError) as caught:
            await client.wait("wan", task_id, timeout=60)
        assert now() == pytest.approx(60)
        assert isinstance(caught.value, acetasks.TaskTimeoutError)
        assert caught.value.task.id == task_id
        assert caught.value.task.state is TaskState.RUNNING
        assert "60 s" in str(caught.value)

    async def test_the_timeout_holds_while_a_response_hangs(self):
        """A response that stops in its body does not delay the timeout."""

        async def hang(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'{"id": "t", "response": {"state": ')
            await asyncio.sleep(10_000)
            return response

        app = web.Application()
        app.router.add_post("/luma/tasks", hang)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with acetasks.Client("token", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait("luma", "t", timeout=2)
            assert now() == 2
        await runner.cleanup()

    async def test_a_timeout_may_come_before_the_first_poll(self, client):
        """A task that was never seen is pending in the error."""
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await client.wait("luma", "some-id", timeout=0)
        assert caught.value.task == acetasks.Task(provider="luma", id="some-id", state=TaskState.PENDING)
        assert now() == 0

    async def test_waiters_of_one_task_share_its_polls(self, server, new_client):
        """Five waiters of a task cost as many requests as one."""
        spent = []
        for waiters in (1, 5):
            async with new_client(rng=random.Random(7)) as client:
                server.clear_requests()
                task_id = server.add("luma", after=154)
                tasks = await asyncio.gather(*(client.wait("luma", task_id) for _ in range(waiters)))
                assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
                spent.append(server.request_count)
        assert spent[0] == spent[1] > 10

    async def test_a_provider_may_have_a_longer_grace_period(self, server, client):
        """Dreamina responds as for an unknown id until the first result, after the usual grace period."""
        task_id = server.add("dreamina", after=90, queued_for=90)
        assert (await client.wait("dreamina", task_id)).state is TaskState.SUCCEEDED


class TestIgnoredBatches:
    """Providers whose batch call is not about the requested tasks."""

    @pytest.mark.parametrize(
        "edit",
        [
            answer_with_strangers,
            lambda answer: {"items": [], "count": 0} if "items" in answer else answer,
            lambda answer: {"items": [{"response": {}} for _ in answer["items"]]} if "items" in answer else answer,
        ],
        ids=["strangers", "always empty", "without ids"],
    )
    async def test_tasks_are_polled_singly(self, server, new_client, edit):
        """All tasks end in time. After two such batches there are no more, which one event reports."""
        events = []
        ids = [server.add("newvideo", after=after) for after in (0, 12, 12, 22, 22)]
        server.fail("newvideo", edit=edit, times=None)
        policy = acetasks.PollPolicy(interval=5, jitter=0, schedule="fixed")
        async with new_client(policy=policy, observers=[Recorder(events)]) as client:
            tasks = await client.wait_all("newvideo", ids)
            assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * 5
            assert now() == pytest.approx(25.05)
            assert [len(request.ids) for request in server.requests].count(1) == server.request_count - 2
            (event,) = [event for event in events if isinstance(event, acetasks.BatchesIgnored)]
            assert (event.provider, event.time, event.until) == ("newvideo", 5.05, 605.05)

    async def test_batches_are_tried_again(self, server, new_client):
        """Ten minutes later one request shows whether the batch call works now."""
        ids = [server.add("newvideo", after=700) for _ in range(5)]
        server.fail("newvideo", edit=answer_with_strangers, times=None, when=lambda seen: seen.time < 300)
        policy = acetasks.PollPolicy(interval=10, jitter=0, schedule="fixed")
        async with new_client(policy=policy) as client:
            await client.wait_all("newvideo", ids)
        batches = [round(request.time, 2) for request in server.requests if len(request.ids) > 1]
        assert batches[:2] == [0.05, 10.05]
        assert min(batches[2:]) == pytest.approx(610.05, abs=10.0)
        assert {len(request.ids) for request in server.requests if request.time > 640} == {5}

    async def test_unknown_tasks_are_not_found_alone(self, server, client):
        """The last poll of each task is of this task alone."""
        tasks = await client.wait_all("luma", ["a", "b", "c"], return_failed=True)
        assert [task.state for task in tasks] == [TaskState.NOT_FOUND] * 3
        last = {request.ids: request.time for request in server.requests}
        assert max(last[("a", "b", "c")], last["a",]) <= last["b",] == last["c",]


class Recorder:
    """An observer that keeps the events in a list."""

    def __init__(self, events: list[acetasks.Event]) -> None:
        self.on_event = events.append


class TestManyTasks:
    """A thousand tasks, and the number of their requests."""

    async def test_every_waiter_receives_the_state_of_its_own_task(self, server, new_client):
        """Each of a thousand waiters receives exactly the state in which the service ended its task."""
        rng = random.Random(3)
        given = {}
        for index in range(1000):
            provider = FIVE[index % 5]
            outcome = "failed" if rng.random() < 0.1 else "succeeded"
            given[provider, server.add(provider, outcome=outcome)] = TaskState(outcome)
        async with new_client(policy=acetasks.PollPolicy(interval=30)) as client:
            tasks = await client.wait_all(list(given), return_failed=True)
        assert {(task.provider, task.id): task.state for task in tasks} == given
        assert Counter(given.values())[TaskState.FAILED] > 50

    @pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 101, 1000])
    async def test_first_polls_are_full_batches(self, server, new_client, count):
        """A poll of n due tasks of one provider takes ceil(n / 50) requests."""
        ids = [server.add("veo", after=0) for _ in range(count)]
        async with new_client() as client:
            await client.wait_all("veo", ids)
        assert server.request_count == math.ceil(count / 50)
        assert server.ids_asked == count

    async def test_later_polls_are_full_batches(self, server, new_client):
        """While n tasks are pending, each interval takes about n / 50 requests, in spite of the jitter."""
        ids = [server.add("luma", outcome="forever") for _ in range(500)]
        async with new_client(policy=acetasks.PollPolicy(interval=10, jitter=0.2)) as client:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait_all("luma", ids, timeout=1000)
        # At most one poll in each interval, and every request is full.
        assert server.request_count <= 10 * (1000 / 10 + 1)
        assert {len(request.ids) for request in server.requests} == {50}

    async def test_free_places_are_filled_with_tasks_that_are_due_later(self, server, client):
        """Thirty tasks with different due times take one request for each poll."""
        early = [server.add("luma", outcome="forever") for _ in range(15)]
        late = [server.add("luma", outcome="forever") for _ in range(15)]

        async def wait_late() -> None:
            await asyncio.sleep(2)
            await client.wait_all("luma", late, timeout=100)

        with pytest.raises(acetasks.TaskTimeoutError):
            await asyncio.gather(wait_late(), client.wait_all("luma", early, timeout=100))
        assert {len(request.ids) for request in server.requests[1:]} <= {30}

    async def test_no_task_starves_if_more_are_due_than_can_be_polled(self, server, new_client):
        """With one request at a time, the numbers of polls of any two tasks differ by one at most."""
        ids = {provider: [server.add(provider, outcome="forever") for _ in range(300)] for provider in ("luma", "veo")}
        policy = acetasks.PollPolicy(max_in_flight=1, interval=0.001, jitter=0)
        async with new_client(policy=policy) as client:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait_all([(p, i) for p, many in ids.items() for i in many], timeout=0.06)
        polls = Counter(task_id for request in server.requests for task_id in request.ids)
        assert set(polls) == {i for many in ids.values() for i in many}
        assert max(polls.values()) - min(polls.values()) <= 1
        assert server.max_concurrent == 1

    async def test_useapi_jobs_are_polled_singly_at_the_minimum_interval(self, server, new_client):
        """A useapi.net job is polled alone and at most every 10 s, whatever the policy says."""
        ids = [server.add("useapi-pixverse", after=300) for _ in range(20)]
        async with new_client(policy=acetasks.PollPolicy(interval=0.5)) as client:
            await client.wait_all("useapi-pixverse", ids)
        times: dict[str, list[float]] = {}
        for request in server.requests:
            (task_id,) = request.ids
            times.setdefault(task_id, []).append(request.time)
        gaps = [b - a for polled in times.values() for a, b in itertools.pairwise(polled)]
        assert min(gaps) >= 10
        assert len(times) == 20

    async def test_intervals_are_lengthened_by_the_jitter(self, server, new_client):
        """The polls of a task are one interval apart at least, and one interval and its jitter at most."""
        task_id = server.add("luma", after=500)
        async with new_client(policy=acetasks.PollPolicy(interval=4, jitter=0.5)) as client:
            await client.wait("luma", task_id)
        times = [request.time for request in server.requests]
        gaps = [b - a for a, b in itertools.pairwise(times)]
        assert 4 <= min(gaps) < 4.5
        assert 5.5 < max(gaps) <= 6

    def test_the_same_seed_gives_the_same_requests(self):
        """Two runs with the same seeds send the same requests at the same times."""

        async def trace() -> list[tuple[float, str, tuple[str, ...]]]:
            async with AceServer(seed=5) as server:
                pairs = [(provider, server.add(provider)) for provider in FIVE for _ in range(20)]
                options = {"base_url": server.url, "useapi_base_url": server.url, "useapi_token": server.token}
                async with acetasks.Client(server.token, **options, rng=random.Random(11)) as client:
                    await client.wait_all(pairs)
                return [(round(request.time, 6), request.path, request.ids) for request in server.requests]

        first = run(trace())
        assert run(trace()) == first
        assert len(first) > 100


class TestAsCompleted:
    """`as_completed`."""

    async def test_yields_tasks_in_the_order_of_their_ends(self, server, client):
        """Failed tasks and tasks that are not found are yielded too."""
        slow, failed, quick = (
            server.add("flux", after=60),
            server.add("flux", after=30, outcome="failed"),
            server.add("flux", after=1),
        )
        seen = [
            (task.id, task.state.value) async for task in client.as_completed("flux", [slow, failed, quick, "none"])
        ]
        assert seen == [(quick, "succeeded"), ("none", "not_found"), (failed, "failed"), (slow, "succeeded")]

    async def test_accepts_pairs_and_handles(self, server, client):
        """Pairs of several providers and handles can be mixed."""
        luma, veo = server.add("luma", after=9), server.add("veo", after=3)
        targets = [("luma", luma), client.handle("veo", veo)]
        assert [task.id async for task in client.as_completed(targets)] == [veo, luma]

    async def test_yields_duplicates_once(self, server, client):
        """An id that is given several times is polled once and yielded once."""
        task_id = server.add("luma", after=0)
        assert [task.id async for task in client.as_completed("luma", [task_id] * 3)] == [task_id]
        assert server.ids_asked == 1

    async def test_closing_the_iterator_stops_the_polling(self, server, client):
        """After a `break` the other tasks are not polled any more."""
        ids = [server.add("luma", after=1), server.add("luma", after=100)]
        async for task in client.as_completed("luma", ids):
            assert task.id == ids[0]
            break
        await asyncio.sleep(1)
        server.clear_requests()
        await asyncio.sleep(1000)
        assert server.request_count == 0

    async def test_a_timeout_error_has_all_tasks_as_last_seen(self, server, client):
        """The error has the ended tasks as well as the unfinished ones."""
        done, open_ = server.add("luma", after=1), server.add("luma", outcome="forever")
        seen = []
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            async for task in client.as_completed("luma", [open_, done], timeout=30):
                seen.append(task.id)  # noqa: PERF401  # what came before the error counts
        assert seen == [done]
        assert [task.id for task in caught.value.tasks] == [open_, done]
        assert [task.state.is_terminal for task in caught.value.tasks] == [False, True]
        assert now() == pytest.approx(30)


class TestWaitAll:
    """`wait_all`."""

    async def test_returns_tasks_in_the_order_given(self, server, client):
        """A duplicate is returned at both places."""
        pairs = [("luma", server.add("luma", after=50)), ("veo", server.add("veo", after=5))]
        tasks = await client.wait_all([*pairs, pairs[0]])
        assert [(task.provider, task.id) for task in tasks] == [*pairs, pairs[0]]

    async def test_raises_the_first_failure_at_once(self, server, client):
        """A failure is raised when it occurs, not when all tasks have ended."""
        ids = [server.add("luma", after=1000), server.add("luma", after=20, outcome="failed")]
        with pytest.raises(acetasks.TaskFailedError):
            await client.wait_all("luma", ids)
        assert 20 <= now() < 30

    async def test_returns_failures_with_return_failed(self, server, client):
        """Failed tasks and tasks that are not found are returned among the others."""
        ids = [server.add("luma", after=5), server.add("luma", after=5, outcome="failed"), "unknown-id"]
        tasks = await client.wait_all("luma", ids, return_failed=True)
        assert [task.state.value for task in tasks] == ["succeeded", "failed", "not_found"]

    async def test_the_timeout_holds_for_all_tasks(self, server, client):
        """The error has the finished and the unfinished tasks."""
        ids = [server.add("luma", after=1), server.add("luma", after=100), server.add("luma", after=200)]
        with pytest.raises(acetasks.TaskTimeoutError, match=r"\(and 1 more\)") as caught:
            await client.wait_all("luma", ids, timeout=50)
        assert now() == pytest.approx(50)
        assert [task.state.is_terminal for task in caught.value.tasks] == [True, False, False]


class TestSubmit:
    """`submit`, `run` and handles."""

    @pytest.mark.parametrize("provider", FIVE)
    async def test_a_submitted_task_can_be_awaited(self, server, client, provider):
        """The handle of a submission has the id of the new task, and waits for its end."""
        server.script(provider, after=77)
        handle = await client.submit(provider, {"prompt": "a cat"})
        assert handle.finished is None
        assert handle.id in server.tasks
        task = await handle.wait()
        assert (task.state, task.id) == (TaskState.SUCCEEDED, handle.id)
        assert now() >= 77

    async def test_a_synchronous_submission_is_not_polled(self, server, client):
        """With `async: false` the response is the result."""
        server.script("veo", after=90)
        task = await client.run("veo", {"prompt": "a cat", "async": False})
        assert task.state is TaskState.SUCCEEDED
        assert task.artifacts
        assert now() == pytest.approx(90)
        assert [request.path for request in server.requests] == ["/veo/videos"]

    async def test_a_synchronous_result_may_have_no_artifacts(self, client):
        """The result of webextrator is data."""
        task = await client.run("webextrator", {"url": "https://example.com", "async": False})
        assert task.state is TaskState.SUCCEEDED
        assert task.response is not None

    async def test_a_finished_handle_sends_no_requests(self, server, client):
        """A finished handle can be used in every way to wait."""
        server.script("flux", after=3)
        handle = await client.submit("flux", {"prompt": "a cat", "async": False})
        server.clear_requests()
        assert handle.finished is not None
        assert await handle.wait() is handle.finished
        assert [task async for task in handle.updates()] == [handle.finished]
        assert await client.wait_all([handle]) == [handle.finished]
        assert [task async for task in client.as_completed([handle])] == [handle.finished]
        assert server.request_count == 0

    async def test_results_without_an_id_are_distinct(self, client):
        """Each finished handle without an id is a task of its own."""
        results = [acetasks.normalize("fish", {"audio_url": f"https://files.example/{name}.mp3"}) for name in "ab"]
        handles = [acetasks.TaskHandle("fish", "", result) for result in results]
        assert await client.wait_all(handles) == results
        assert [task async for task in client.as_completed(handles)] == results

    async def test_a_synchronous_failure_is_raised_by_wait(self, server, client):
        """A synchronous result in the failed state is a failed task."""
        server.fail("luma", body={"success": False, "task_id": "a", "error": {"code": "c", "message": "m"}})
        with pytest.raises(acetasks.TaskFailedError):
            await client.run("luma", {"prompt": "a cat", "async": False})

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("forbidden", 403, acetasks.PermissionDeniedError),
            ("bad_request", 400, acetasks.BadRequestError),
            ("api_error", 500, acetasks.ServiceError),
        ],
    )
    async def test_a_synchronous_failure_is_an_error_of_the_service(self, server, client, code, status, kind):
        """A generation that fails while the submission blocks is an HTTP error, which is not sent again."""
        server.script("luma", after=3, outcome="failed", error=(code, "not this prompt"))
        with pytest.raises(kind, match="not this prompt") as caught:
            await client.run("luma", {"prompt": "a cat", "async": False})
        assert (caught.value.status, caught.value.code, bool(caught.value.trace_id)) == (status, code, True)
        assert (now(), server.submissions, server.request_count) == (3.0, 1, 1)

    async def test_a_synchronous_timeout_of_the_service_is_uncertain(self, server, client):
        """After a documented 504 the task may go on, and be charged for."""
        server.script("luma", after=3, outcome="failed", error=("timeout", "too slow"))
        with pytest.raises(acetasks.SubmissionUncertainError, match="too slow"):
            await client.run("luma", {"prompt": "a cat", "async": False})
        assert server.submissions == 1

    @pytest.mark.parametrize("body", [b"{}", b'{"success": true}', b"<html>", b'{"task_id": "a'])
    async def test_a_submission_without_an_id_in_its_response_is_uncertain(self, body):
        """The error has the payload that was sent."""

        async def handler(_: web.Request) -> web.Response:
            return web.Response(body=body)

        app = web.Application()
        app.router.add_post("/luma/videos", handler)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with acetasks.Client("token", base_url=f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            with pytest.raises(acetasks.SubmissionUncertainError, match="/luma/videos") as caught:
                await client.submit("luma", {"prompt": "a cat"})
        await runner.cleanup()
        assert caught.value.payload == b'{"prompt":"a cat","async":true}'

    async def test_a_submission_with_a_callback_url_is_acknowledged(self, server, client):
        """The service responds at once, and the task is polled as usual."""
        server.script("luma", after=30)
        payload = {"prompt": "a cat", "callback_url": f"{server.url}/nowhere"}
        handle = await client.submit("luma", payload)
        assert handle.finished is None
        assert (await handle.wait()).state is TaskState.SUCCEEDED

    async def test_submits_to_another_path(self, server, client):
        """`path` selects one of the provider's submission paths."""
        await client.submit("suno", {"prompt": "a song"}, path="/suno/lyrics")
        assert server.requests[-1].path == "/suno/lyrics"

    async def test_updates_yields_each_change_once(self, server, client):
        """Every state is yielded once and in order, and the last is terminal."""
        task_id = server.add("wan", after=100, queued_for=40)
        states = [task.state.value async for task in client.handle("wan", task_id).updates()]
        assert states == ["pending", "running", "succeeded"]

    async def test_updates_yields_changes_of_progress(self, server, client):
        """A change of progress alone is yielded, a poll without a change is not."""
        task_id = server.add("midjourney", after=60, queued_for=0)
        seen = [(task.state, task.progress) async for task in client.handle("midjourney", task_id).updates()]
        assert len(seen) == len(set(seen))
        assert len([progress for state, progress in seen if state is TaskState.RUNNING]) >= 1
        assert seen[-1][0] is TaskState.SUCCEEDED

    async def test_updates_yields_tasks_that_failed_or_are_not_found(self, server, client):
        """They are yielded, not raised."""
        failed = client.handle("luma", server.add("luma", after=1, outcome="failed"))
        assert [task.state async for task in failed.updates()][-1] is TaskState.FAILED
        assert [task.state async for task in client.handle("luma", "none").updates()] == [TaskState.NOT_FOUND]

    async def test_an_unused_handle_sends_no_requests(self, server, client):
        """A handle polls only while it is awaited."""
        await client.submit("luma", {"prompt": "a cat"})
        server.clear_requests()
        await asyncio.sleep(10_000)
        assert server.request_count == 0

    async def test_a_pickled_handle_can_be_used_with_another_client(self, server, new_client):
        """A pickled handle keeps its provider and id."""
        async with new_client() as client:
            server.script("luma", after=20)
            pickled = pickle.dumps(await client.submit("luma", {"prompt": "a cat"}))
        handle = pickle.loads(pickled)
        async with new_client() as client:
            assert (await client.handle(handle.provider, handle.id).wait()).id == handle.id
            assert (await client.wait_all([handle]))[0].id == handle.id


class TestRetrieve:
    """`retrieve` and `retrieve_batch`."""

    async def test_polls_once_without_waiting(self, server, client):
        """An unfinished task is returned as it is."""
        task_id = server.add("luma", after=100)
        assert not (await client.retrieve("luma", task_id)).state.is_terminal
        assert (server.request_count, now()) == (1, 0)

    async def test_an_unknown_task_is_returned(self, client):
        """Its state is `NOT_FOUND`, without a grace period."""
        task = await client.retrieve("luma", "unknown-id")
        assert (task.id, task.state) == ("unknown-id", TaskState.NOT_FOUND)

    async def test_one_poll_cannot_find_that_a_late_task_does_not_exist(self, server, client):
        """Dreamina's queued and unknown tasks are pending alike in `retrieve`; `wait` knows them apart in the end."""
        queued = server.add("dreamina", after=90, queued_for=60)
        assert (await client.retrieve("dreamina", queued)).state is TaskState.PENDING
        tasks = await client.retrieve_batch("dreamina", [queued, "unknown-id"])
        expected = [acetasks.Task(provider="dreamina", id=it, state=TaskState.PENDING) for it in (queued, "unknown-id")]
        assert tasks == expected

        with pytest.raises(acetasks.TaskNotFoundError):
            await client.wait("dreamina", "unknown-id")
        assert 600 < now() < 620

    async def test_retrieves_many_in_full_batches(self, server, client):
        """119 ids take three requests, and are returned in the order given, duplicates and unknown ids included."""
        ids = [server.add("kling", after=0) for _ in range(119)]
        tasks = await client.retrieve_batch("kling", [*ids, ids[0]])
        assert [task.id for task in tasks] == [*ids, ids[0]]
        assert sorted(len(request.ids) for request in server.requests) == [19, 50, 50]
        tasks = await client.retrieve_batch("kling", [ids[0], "unknown-id"])
        assert [task.state.value for task in tasks] == ["succeeded", "not_found"]

    async def test_unknown_tasks_are_polled_alone(self, server, client):
        """A batch may leave out tasks that exist, so only a poll of the task itself says that there is none."""
        tasks = await client.retrieve_batch("luma", ["a", "b", "c"])
        assert [task.state for task in tasks] == [TaskState.NOT_FOUND] * 3
        assert sorted(request.ids for request in server.requests) == [("a",), ("a", "b", "c"), ("b",), ("c",)]

    async def test_an_ignored_batch_is_retrieved_singly(self, server, client):
        """After the second such batch, the provider is polled for one task at a time."""
        ids = [server.add("luma", after=0) for _ in range(3)]
        server.fail("luma", edit=answer_with_strangers, times=None)
        for requests in (4, 8, 11):
            tasks = await client.retrieve_batch("luma", ids)
            assert [(task.id, task.state) for task in tasks] == [(task_id, TaskState.SUCCEEDED) for task_id in ids]
            assert server.request_count == requests
            await asyncio.sleep(1)

    @pytest.mark.parametrize("provider", ["captcha", "maestro", "useapi-pixverse"])
    async def test_retrieves_singly_without_a_batch_call(self, server, client, provider):
        """A provider without a batch call gets one request for each id."""
        ids = [server.add(provider, after=0) for _ in range(3)]
        tasks = await client.retrieve_batch(provider, ids)
        assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * 3
        assert server.request_count == 3

    @pytest.mark.parametrize("found", [[], ["known"]], ids=["no results", "one result"])
    async def test_an_id_without_a_result_is_no_unknown_task(self, client, monkeypatch, found):
        """`NOT_FOUND` is what the service says: an id with neither record, error nor miss raises."""

        async def poll_once(*_args: object) -> PollResult:
            spec = lookup("luma")
            return PollResult(statuses={task_id: read_record(spec, b"{}", task_id=task_id) for task_id in found})

        monkeypatch.setattr(LimitedRequests, "poll_once", poll_once)
        with pytest.raises(acetasks.AceTasksError, match="luma: the poll of task 'lost' ended without a result"):
            await client.retrieve_batch("luma", [*found, "lost"])

    async def test_a_poll_that_other_code_cancels_is_no_unknown_task(self, server, new_client):
        """A CancelledError out of the user's own session raises, and not `NOT_FOUND`."""

        async def cancel(*_args: object) -> None:
            refresh = asyncio.get_running_loop().create_future()
            refresh.cancel()
            await refresh

        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(cancel)
        async with aiohttp.ClientSession(trace_configs=[trace]) as http, new_client(http=http) as client:
            with pytest.raises(acetasks.AceTasksError):
                await client.retrieve("luma", server.add("luma", after=0))

    async def test_raises_an_error_response(self, server, new_client):
        """An error of the request is raised."""
        async with new_client(token="wrong") as client:
            with pytest.raises(acetasks.AuthenticationError):
                await client.retrieve("luma", server.add("luma"))


class TestInvalidArguments:
    """Invalid arguments raise before anything is sent."""

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (("luma", ""), ValueError, "task id"),
            (("luma", " x"), ValueError, "task id"),
            (("luma", "a\nb"), ValueError, "task id"),
            (("luma", 7), TypeError, "7"),
            (("luma", None), TypeError, "None"),
            (("Luma", "x"), acetasks.UnknownProviderError, "did you mean 'luma'"),
            (("", "x"), acetasks.UnknownProviderError, "unknown provider ''"),
            (("../luma", "x"), acetasks.UnknownProviderError, "unknown provider"),
            ((None, "x"), acetasks.UnknownProviderError, "None"),
        ],
    )
    async def test_wait_rejects_invalid_providers_and_ids(self, server, client, arguments, error, message):
        """The error names the value."""
        with pytest.raises(error, match=re.escape(message)):
            await client.wait(*arguments)
        assert server.request_count == 0

    @pytest.mark.parametrize(
        ("timeout", "error"), [(-1, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError)]
    )
    async def test_rejects_invalid_timeouts(self, server, client, timeout, error):
        """Every way to wait rejects a timeout that is negative or not a number."""
        with pytest.raises(error, match="timeout"):
            await client.wait("luma", "x", timeout=timeout)
        with pytest.raises(error, match="timeout"):
            await client.wait_all("luma", ["x"], timeout=timeout)
        with pytest.raises(error, match="timeout"):
            client.as_completed("luma", ["x"], timeout=timeout)
        with pytest.raises(error, match="timeout"):
            await client.run("luma", {}, timeout=timeout)
        assert server.request_count == 0

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (("luma", "abc"), TypeError, "'abc'"),
            (("luma",), TypeError, "'luma'"),
            (([("luma", "x")], ["y"]), TypeError, "slug"),
            ((["luma"],), TypeError, "pair"),
            (([("luma", "")],), ValueError, "task id"),
            (([7],), TypeError, "7"),
        ],
    )
    async def test_rejects_invalid_targets(self, server, client, arguments, error, message):
        """Every way to wait for several tasks rejects items other than ids, pairs and handles."""
        with pytest.raises(error, match=re.escape(message)):
            await client.wait_all(*arguments)
        with pytest.raises(error, match=re.escape(message)):
            client.as_completed(*arguments)
        assert server.request_count == 0

    @pytest.mark.parametrize("arguments", [("luma", []), ([],), (iter(()),)], ids=["ids", "list", "iterator"])
    async def test_no_tasks(self, server, client, arguments):
        """A wait for no tasks ends at once without a task, with a timeout of zero too, and sends no request."""
        assert await client.wait_all(*arguments, timeout=0) == []
        assert [task async for task in client.as_completed(*arguments)] == []
        assert await client.retrieve_batch("luma", []) == []
        assert (server.request_count, now()) == (0, 0)

    async def test_a_wrong_token_ends_every_wait(self, server, new_client):
        """The second 401, five seconds after the first, ends every wait under that token; no error shows it."""
        async with new_client(token="wrong-token") as client:
            with pytest.raises(acetasks.AuthenticationError, match="invalid_token") as caught:
                await client.wait_all([("luma", server.add("luma")), ("veo", server.add("veo"))])
        assert caught.value.status == 401
        assert "wrong-token" not in f"{caught.value!r} {caught.value} {client!r}"
        assert now() == pytest.approx(5.05)
        assert server.request_count == 4

    @pytest.mark.parametrize("call", ["retrieve", "submit"])
    async def test_one_refusal_ends_a_single_request(self, server, new_client, call):
        """Only waits need a second one."""
        async with new_client(token="wrong-token") as client:
            with pytest.raises(acetasks.AuthenticationError, match="invalid_token"):
                await getattr(client, call)("luma", "task" if call == "retrieve" else {"prompt": "a cat"})
        assert (server.request_count, now()) == (1, 0)

    @pytest.mark.parametrize(
        ("provider", "variable"), [("luma", "ACEDATACLOUD_API_TOKEN"), ("useapi-pixverse", "USEAPI_API_TOKEN")]
    )
    async def test_a_missing_token_raises_before_any_request(self, server, provider, variable):
        """The error says which variable to set, and where to get a token."""
        async with acetasks.Client(base_url=server.url, useapi_base_url=server.url) as client:
            for attempt in (
                client.wait(provider, "x"),
                client.wait_all(provider, ["x"]),
                client.retrieve(provider, "x"),
                client.submit(provider, {}),
            ):
                with pytest.raises(acetasks.AuthenticationError, match=f"{variable}.*https://") as caught:
                    await attempt
                assert caught.value.status is None
        assert server.request_count == 0

    async def test_reads_tokens_and_base_urls_from_the_environment(self, server, monkeypatch):
        """The variables are those of the official tools; a base URL may end with a slash."""
        monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
        monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", f"{server.url}/")
        monkeypatch.setenv("USEAPI_API_TOKEN", server.token)
        monkeypatch.setenv("USEAPI_API_BASE_URL", server.url)
        async with acetasks.Client() as client:
            tasks = await client.wait_all([(provider, server.add(provider, after=0)) for provider in FIVE])
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}

    @pytest.mark.parametrize("url", ["api.acedata.cloud", "ftp://x.y", "http://", "https://x.y?a=b", "//x.y"])
    def test_rejects_invalid_base_urls(self, url):
        """A base URL needs a scheme and a host, and has nothing after its path."""
        with pytest.raises(ValueError, match=re.escape(repr(url))):
            acetasks.Client("token", base_url=url)

    @pytest.mark.parametrize("token", ["a b", "a\r\nb", "tökén", "\x00"])
    def test_rejects_invalid_tokens_without_showing_them(self, token):
        """A token with whitespace or non-ASCII characters is rejected, and is not part of the message."""
        with pytest.raises(ValueError, match="token") as caught:
            acetasks.Client(token)
        assert token not in str(caught.value)

    async def test_rejects_invalid_payloads_and_paths(self, server, client):
        """A payload must be a mapping that can be encoded as JSON, and a path must begin with one slash."""
        for payload in (["a"], {"a": object()}, {"a": math.inf and {1, object()}}):
            with pytest.raises(TypeError):
                await client.submit("luma", payload)
        for path in ("luma/videos", "//evil.example"):
            with pytest.raises(ValueError, match="path"):
                await client.submit("luma", {}, path=path)
        with pytest.raises(ValueError, match="path="):
            await client.submit("brand-new", {})
        assert server.request_count == 0

    async def test_an_unknown_provider_is_polled_in_the_standard_way(self, server, client, caplog):
        """A provider without a spec is logged once."""
        task_id = server.add("seldom-heard-of", after=5)
        with caplog.at_level(logging.WARNING, "acetasks"):
            task = await client.wait("seldom-heard-of", task_id)
            await client.wait("seldom-heard-of", task_id)
        assert task.state is TaskState.SUCCEEDED
        messages = [record.getMessage() for record in caplog.records]
        assert ["/seldom-heard-of/tasks" in message for message in messages if "seldom-heard-of" in message] == [True]


class TestLifetime:
    """Opening and closing, and the end of waits."""

    async def test_is_opened_once(self, new_client):
        """A client cannot be opened again, while it is open or afterwards."""
        client = new_client()
        async with client:
            with pytest.raises(acetasks.ClientClosedError, match="already opened"):
                await client.__aenter__()
        with pytest.raises(acetasks.ClientClosedError, match="already opened"):
            await client.__aenter__()

    async def test_opened_without_a_with_statement(self, server):
        """`open` takes the arguments of the class and returns an open client, of the subclass if it is one."""

        class Own(acetasks.Client):
            pass

        client = await Own.open(server.token, base_url=server.url, policy=acetasks.PollPolicy(interval=5, jitter=0))
        assert (await client.wait("luma", server.add("luma", after=2))).state is TaskState.SUCCEEDED
        assert now() == pytest.approx(5.05)
        await client.close()
        assert type(client) is Own
        with pytest.raises(acetasks.ClientClosedError, match=r"closed: create a new one.*await acetasks.Client.open"):
            await client.wait("luma", "x")
        with pytest.raises(ValueError, match="nowhere") as caught:
            await acetasks.Client.open("sesame-0123", base_url="nowhere")
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
        assert "sesame" not in repr([frame.locals for frame in frames])

    def test_open_takes_every_argument(self):
        """The arguments that `open` passes on are those of the class."""
        arguments = {*inspect.signature(acetasks.Client.open).parameters, *client_module.ClientOptions.__annotations__}
        assert arguments - {"options"} == set(inspect.signature(acetasks.Client).parameters)

    async def test_is_used_only_while_open(self, server, new_client):
        """Every use raises before the client is opened and after it is closed."""
        client = new_client()
        with pytest.raises(acetasks.ClientClosedError, match="async with"):
            await client.wait("luma", "x")
        async with client:
            pass
        await client.close()
        for attempt in (client.wait("luma", "x"), client.retrieve("luma", "x"), client.submit("luma", {})):
            with pytest.raises(acetasks.ClientClosedError, match="closed"):
                await attempt
        with pytest.raises(acetasks.ClientClosedError, match="closed"):
            client.as_completed("luma", ["x"])
        assert server.request_count == 0

    async def test_close_ends_every_wait(self, server, client):
        """Every wait raises `ClientClosedError`, even with a request in flight."""
        waits = [asyncio.create_task(client.wait("luma", server.add("luma"))) for _ in range(3)]
        await asyncio.sleep(20)
        await client.close()
        for outcome in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(outcome, acetasks.ClientClosedError)
        assert now() == 20

    async def test_does_not_close_the_callers_session(self, server):
        """A session that was passed in is used and left open."""
        async with aiohttp.ClientSession() as http:
            async with acetasks.Client(server.token, base_url=server.url, http=http) as client:
                assert (await client.wait("luma", server.add("luma", after=0))).state is TaskState.SUCCEEDED
            assert not http.closed
        async with acetasks.Client(server.token, base_url=server.url, http=http) as client:
            with pytest.raises(acetasks.ClientClosedError, match="http="):
                await client.wait("luma", "x")

    async def test_cancelling_one_wait_does_not_affect_another(self, server, client):
        """The other waiter of the same task receives its outcome."""
        task_id = server.add("luma", after=100)
        first, second = (asyncio.create_task(client.wait("luma", task_id)) for _ in range(2))
        await asyncio.sleep(10)
        first.cancel()
        assert (await second).state is TaskState.SUCCEEDED
        assert first.cancelled()

    @pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 1.0, 30.0])
    async def test_cancelling_all_waits_leaves_nothing_behind(self, server, client, after):
        """No task, no background task and no connection is left, and no request is sent any more."""
        ids = [server.add("luma", outcome="forever") for _ in range(60)]
        before = asyncio.all_tasks()
        waits = [asyncio.create_task(client.wait("luma", task_id)) for task_id in ids for _ in range(2)]
        await asyncio.sleep(after)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await asyncio.sleep(0.01)
        assert "0 tasks, 0 waiters" in repr(client)
        assert "PollQueue empty" in repr(client)
        assert "0 polls in flight" in repr(client)
        assert not [task for task in asyncio.all_tasks() - before if "acetasks" in task.get_name()]
        server.clear_requests()
        await asyncio.sleep(1000)
        assert server.request_count == 0
        assert server.open_connections == 0

    @pytest.mark.parametrize("limit", [asyncio.timeout, anyio.fail_after])
    async def test_the_callers_timeouts_work(self, server, client, limit):
        """`asyncio.timeout` and `anyio.fail_after` end a wait on time, and remove its waiter."""
        with pytest.raises(TimeoutError) as caught:
            async with _entered(limit(7)):
                await client.wait("luma", server.add("luma"))
        assert not isinstance(caught.value, acetasks.TaskTimeoutError)
        assert now() == pytest.approx(7)
        assert "0 tasks, 0 waiters" in repr(client)

    async def test_repr_shows_no_token(self, new_client):
        """The repr shows the base URL and the state, never the token."""
        client = new_client(token="sesame-0123")
        assert "sesame" not in repr(client)
        assert "not opened" in repr(client)
        async with client:
            assert "0 waiters" in repr(client)
            assert "sesame" not in repr(client)
        assert "closed" in repr(client)

    @pytest.mark.parametrize("text", ['"sesame"', "${SESAME}", "<sesame>", "{sesame}"])
    def test_placeholder_in_the_environment_raises(self, monkeypatch, text):
        """A variable with quotes or a placeholder is refused at once, and not repeated."""
        monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", text)
        with pytest.raises(ValueError, match=r"the token for api\.acedata\.cloud") as caught:
            acetasks.Client()
        assert "sesame" not in str(caught.value).lower()

    @pytest.mark.parametrize("name", ["token", "useapi_token"])
    @pytest.mark.parametrize("value", [b"sesame-0123", bytearray(b"sesame-0123"), ["sesame-0123"], 7, False])
    def test_token_of_another_type_raises(self, name, value):
        """The error has the type and, with all local variables shown, not the value."""
        with pytest.raises(TypeError, match=f"a token must be a str .* got {type(value).__name__}") as caught:
            acetasks.Client(**{name: value})
        frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
        assert "sesame" not in str([frame.locals for frame in frames])

    @pytest.mark.parametrize("observer", [print, object(), "on_event", None, acetasks.LoggingObserver])
    def test_observer_without_on_event_raises(self, observer):
        """A function, or a class in place of its instance, would fail at each event."""
        with pytest.raises(TypeError, match=r"an observer must be an object with a method on_event\(event\), got "):
            acetasks.Client("token", observers=[observer])

    @pytest.mark.parametrize("name", ["policy", "retry"])
    @pytest.mark.parametrize("value", [{}, {"interval": 1}, 5, False, acetasks.PollPolicy, acetasks.Client("t")])
    def test_policy_of_another_type_raises(self, name, value):
        """The error names the argument and shows the value."""
        with pytest.raises(TypeError, match=f"{name} must be a (Poll|Retry)Policy or None, got ") as caught:
            acetasks.Client("token", **{name: value})
        assert repr(value) in str(caught.value)

    def test_policies_must_not_be_exchanged(self):
        """A `RetryPolicy` is no `PollPolicy`."""
        with pytest.raises(TypeError, match="policy must be a PollPolicy"):
            acetasks.Client("token", policy=acetasks.RetryPolicy())
        with pytest.raises(TypeError, match="retry must be a RetryPolicy"):
            acetasks.Client("token", retry=acetasks.PollPolicy())

    async def test_observers_receive_events(self, server, new_client):
        """They receive requests, changes and ends, with the loop time."""
        seen: list[acetasks.Event] = []

        class Recorder:
            def on_event(self, event: acetasks.Event) -> None:
                seen.append(event)

        async with new_client(observers=[Recorder()]) as client:
            task_id = server.add("luma", after=4)
            await asyncio.gather(client.wait("luma", task_id), client.wait("luma", task_id))
        names = [type(event).__name__ for event in seen]
        assert names[:3] == ["RequestSent", "RequestAnswered", "TaskChanged"]
        assert names[-2:] == ["TaskChanged", "TaskSettled"]
        assert seen[-1].task.state is TaskState.SUCCEEDED
        assert seen[-1].waiters == 2
        assert [event.time for event in seen] == sorted(event.time for event in seen)


class _entered:  # noqa: N801  # reads as a phrase
    """Enters a synchronous or asynchronous context manager in an `async with`."""

    def __init__(self, manager: object) -> None:
        self._manager = manager

    async def __aenter__(self) -> None:
        if hasattr(self._manager, "__aenter__"):
            await self._manager.__aenter__()
        else:
            self._manager.__enter__()

    async def __aexit__(self, *details: object) -> bool | None:
        if hasattr(self._manager, "__aexit__"):
            return await self._manager.__aexit__(*details)
        return self._manager.__exit__(*details)
