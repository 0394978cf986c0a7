"""The facade, over HTTP against the simulated service, on the virtual clock."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import pickle
import random
import re
from collections import Counter

import aiohttp
import anyio
import pytest
from aiohttp import web

import acetasks
from acetasks import TaskState
from acetasks.testing import AceServer, run

FIVE = ("pixverse", "veo", "luma", "flux", "useapi-pixverse")


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


class TestWait:
    """`wait`: one task to its end."""

    @pytest.mark.parametrize("provider", FIVE)
    async def test_returns_the_finished_task(self, server, client, provider):
        """A finished task comes back with its state, artifacts and id, whichever system it is on."""
        task_id = server.add(provider, after=100)
        task = await client.wait(provider, task_id)
        assert (task.provider, task.id, task.state) == (provider, task_id, TaskState.SUCCEEDED)
        assert task.artifacts

    async def test_a_ten_minute_wait_ends_soon_after_the_task_does(self, server, client):
        """A task of ten minutes is noticed within one stretched interval, and no sooner."""
        task_id = server.add("luma", after=600)
        await client.wait("luma", task_id)
        interval = acetasks.providers.lookup("luma").poll_interval(None)
        assert 600 <= now() <= 600 + interval * 1.2 + 0.1

    async def test_a_finished_task_is_returned_after_the_coalescing_window(self, server, client):
        """The first look comes after the linger, not an interval later."""
        task_id = server.add("flux", after=0)
        await client.wait("flux", task_id)
        assert now() == pytest.approx(0.05)
        assert server.request_count == 1

    async def test_raises_for_a_failed_task(self, server, client):
        """A failed task is raised, with the task and the service's own reason."""
        task_id = server.add("veo", after=10, outcome="failed", error=("CONTENT_REJECTED", "no"))
        with pytest.raises(
            acetasks.TaskFailedError, match=f"veo task {task_id} failed: CONTENT_REJECTED: no"
        ) as caught:
            await client.wait("veo", task_id)
        assert caught.value.task.state is TaskState.FAILED
        assert caught.value.task.error == acetasks.TaskError(code="CONTENT_REJECTED", message="no")

    async def test_returns_a_partial_task(self, server, client):
        """What was made and paid for reaches the caller, though the rest failed."""
        task_id = server.add("suno", after=10, outcome="partial")
        task = await client.wait("suno", task_id)
        assert task.state is TaskState.PARTIAL
        assert task.artifacts
        assert task.error is not None

    @pytest.mark.parametrize("provider", ["luma", "maestro", "digital-human", "captcha", "useapi-pixverse"])
    async def test_an_unknown_id_is_not_found_after_the_grace(self, client, provider):
        """An id that the service never shows is not found after both the polls and the seconds of grace."""
        with pytest.raises(acetasks.TaskNotFoundError, match=provider) as caught:
            await client.wait(provider, "8b2e1f0c-0000-4000-8000-000000000000")
        assert caught.value.task.state is TaskState.NOT_FOUND
        assert now() >= 10

    async def test_a_task_that_shows_late_is_not_lost(self, server, client):
        """A task that the service shows only after some seconds is waited for."""
        task_id = server.add("luma", after=60, visible_after=8)
        assert (await client.wait("luma", task_id)).state is TaskState.SUCCEEDED

    async def test_times_out_with_the_task_last_seen(self, server, client):
        """The limit ends the waiting at its very moment, and the error has the task as it was last seen."""
        task_id = server.add("wan", outcome="forever", queued_for=0)
        with pytest.raises(TimeoutError) as caught:
            await client.wait("wan", task_id, timeout=60)
        assert now() == pytest.approx(60)
        assert isinstance(caught.value, acetasks.TaskTimeoutError)
        assert caught.value.task.id == task_id
        assert caught.value.task.state is TaskState.RUNNING
        assert "60 s" in str(caught.value)

    async def test_the_limit_holds_while_the_service_hangs_in_mid_answer(self):
        """An answer that stops half-way does not keep a wait past its limit."""

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

    async def test_times_out_before_the_first_look(self, client):
        """A task that was never seen is pending in the error, with its id."""
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await client.wait("luma", "some-id", timeout=0)
        assert caught.value.task == acetasks.Task(provider="luma", id="some-id", state=TaskState.PENDING)
        assert now() == 0

    async def test_five_waiters_of_one_id_cost_what_one_costs(self, server, new_client):
        """Waiters of one id share its polling."""
        spent = []
        for waiters in (1, 5):
            async with new_client(rng=random.Random(7)) as client:
                server.clear_requests()
                task_id = server.add("luma", after=154)
                tasks = await asyncio.gather(*(client.wait("luma", task_id) for _ in range(waiters)))
                assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
                spent.append(server.request_count)
        assert spent[0] == spent[1] > 10

    async def test_a_provider_that_shows_nothing_until_the_end_is_waited_for(self, server, client):
        """Dreamina answers as for an unknown id until its first result, which is past the usual grace."""
        task_id = server.add("dreamina", after=90, queued_for=90)
        assert (await client.wait("dreamina", task_id)).state is TaskState.SUCCEEDED


class TestManyWaiters:
    """A thousand tasks, and what they cost."""

    async def test_a_thousand_waiters_over_five_systems_get_the_states_that_the_server_gave(self, server, new_client):
        """Every one of a thousand waiters is given exactly the state that the service ended its task with."""
        draw = random.Random(3)
        given = {}
        for index in range(1000):
            provider = FIVE[index % 5]
            outcome = "failed" if draw.random() < 0.1 else "succeeded"
            given[provider, server.add(provider, outcome=outcome)] = TaskState(outcome)
        async with new_client(policy=acetasks.PollPolicy(interval=30)) as client:
            tasks = await client.wait_all(list(given), return_failed=True)
        assert {(task.provider, task.id): task.state for task in tasks} == given
        assert Counter(given.values())[TaskState.FAILED] > 50

    @pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 101, 1000])
    async def test_a_poll_of_n_due_ids_costs_full_batches(self, server, new_client, count):
        """A look at n due ids of one provider costs ceil(n / 50) requests."""
        ids = [server.add("veo", after=0) for _ in range(count)]
        async with new_client() as client:
            await client.wait_all("veo", ids)
        assert server.request_count == math.ceil(count / 50)
        assert server.ids_asked == count

    async def test_later_looks_are_full_batches_too(self, server, new_client):
        """While n ids are pending, each interval costs about n / 50 requests, however their times are jittered."""
        ids = [server.add("luma", outcome="forever") for _ in range(500)]
        async with new_client(policy=acetasks.PollPolicy(interval=10, jitter=0.2)) as client:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait_all("luma", ids, timeout=1000)
        # At most one look an interval, and every request full.
        assert server.request_count <= 10 * (1000 / 10 + 1)
        assert {len(request.ids) for request in server.requests} == {50}

    async def test_spare_room_takes_the_ids_that_are_due_next(self, server, client):
        """Ids that are not due yet ride along in a batch that has room, so thirty ids need one request a look."""
        early = [server.add("luma", outcome="forever") for _ in range(15)]
        late = [server.add("luma", outcome="forever") for _ in range(15)]

        async def follow_late() -> None:
            await asyncio.sleep(2)
            await client.wait_all("luma", late, timeout=100)

        with pytest.raises(acetasks.TaskTimeoutError):
            await asyncio.gather(follow_late(), client.wait_all("luma", early, timeout=100))
        assert {len(request.ids) for request in server.requests[1:]} <= {30}

    async def test_nobody_starves_when_more_is_due_than_may_be_asked(self, server, new_client):
        """With one request at a time, every id is asked as often as every other, give or take one look."""
        ids = {provider: [server.add(provider, outcome="forever") for _ in range(300)] for provider in ("luma", "veo")}
        policy = acetasks.PollPolicy(max_in_flight=1, interval=0.001, jitter=0)
        async with new_client(policy=policy) as client:
            with pytest.raises(acetasks.TaskTimeoutError):
                await client.wait_all([(p, i) for p, many in ids.items() for i in many], timeout=0.06)
        asked = Counter(task_id for request in server.requests for task_id in request.ids)
        assert set(asked) == {i for many in ids.values() for i in many}
        assert max(asked.values()) - min(asked.values()) <= 1
        assert server.max_concurrent == 1

    async def test_useapi_jobs_are_asked_one_by_one_and_never_sooner_than_its_minimum(self, server, new_client):
        """A useapi.net job is asked alone, and no sooner than 10 s after the last time, whatever the policy says."""
        ids = [server.add("useapi-pixverse", after=300) for _ in range(20)]
        async with new_client(policy=acetasks.PollPolicy(interval=0.5)) as client:
            await client.wait_all("useapi-pixverse", ids)
        times: dict[str, list[float]] = {}
        for request in server.requests:
            (task_id,) = request.ids
            times.setdefault(task_id, []).append(request.time)
        gaps = [b - a for asked in times.values() for a, b in itertools.pairwise(asked)]
        assert min(gaps) >= 10
        assert len(times) == 20

    async def test_the_interval_is_stretched_and_never_shortened(self, server, new_client):
        """Looks at one task are an interval apart at least, and an interval and its jitter at most."""
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
    """`as_completed`: tasks in the order of their ends."""

    async def test_yields_tasks_as_they_finish_failed_ones_too(self, server, client):
        """Tasks come in the order in which they end, and failed and unknown ones come too."""
        slow, failed, quick = (
            server.add("flux", after=60),
            server.add("flux", after=30, outcome="failed"),
            server.add("flux", after=1),
        )
        seen = [
            (task.id, task.state.value) async for task in client.as_completed("flux", [slow, failed, quick, "none"])
        ]
        assert seen == [(quick, "succeeded"), ("none", "not_found"), (failed, "failed"), (slow, "succeeded")]

    async def test_takes_pairs_and_handles(self, server, client):
        """Pairs of several providers and handles can be mixed."""
        luma, veo = server.add("luma", after=9), server.add("veo", after=3)
        targets = [("luma", luma), client.handle("veo", veo)]
        assert [task.id async for task in client.as_completed(targets)] == [veo, luma]

    async def test_yields_an_id_that_is_given_twice_once(self, server, client):
        """A duplicate is one task, asked for once and yielded once."""
        task_id = server.add("luma", after=0)
        assert [task.id async for task in client.as_completed("luma", [task_id] * 3)] == [task_id]
        assert server.ids_asked == 1

    async def test_leaving_the_loop_early_ends_the_polling_of_the_rest(self, server, client):
        """After a break nobody waits, and nothing is asked any more."""
        ids = [server.add("luma", after=1), server.add("luma", after=100)]
        async for task in client.as_completed("luma", ids):
            assert task.id == ids[0]
            break
        await asyncio.sleep(1)
        server.clear_requests()
        await asyncio.sleep(1000)
        assert server.request_count == 0

    async def test_times_out_with_all_tasks_as_last_seen(self, server, client):
        """The error has the tasks that ended as well as those that did not."""
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
    """`wait_all`: tasks in the order given."""

    async def test_returns_tasks_in_the_order_given(self, server, client):
        """The order is the caller's, not that of finishing, and a duplicate stands at both places."""
        pairs = [("luma", server.add("luma", after=50)), ("veo", server.add("veo", after=5))]
        tasks = await client.wait_all([*pairs, pairs[0]])
        assert [(task.provider, task.id) for task in tasks] == [*pairs, pairs[0]]

    async def test_raises_the_first_failure_at_once(self, server, client):
        """A failure is raised when it happens, not when everything has ended."""
        ids = [server.add("luma", after=1000), server.add("luma", after=20, outcome="failed")]
        with pytest.raises(acetasks.TaskFailedError):
            await client.wait_all("luma", ids)
        assert 20 <= now() < 30

    async def test_keeps_failures_as_values_when_asked_to(self, server, client):
        """With return_failed, failed and unknown tasks stand among the others."""
        ids = [server.add("luma", after=5), server.add("luma", after=5, outcome="failed"), "unknown-id"]
        tasks = await client.wait_all("luma", ids, return_failed=True)
        assert [task.state.value for task in tasks] == ["succeeded", "failed", "not_found"]

    async def test_times_out_for_all_together(self, server, client):
        """One limit holds for all, and the error tells the finished from the unfinished."""
        ids = [server.add("luma", after=1), server.add("luma", after=100), server.add("luma", after=200)]
        with pytest.raises(acetasks.TaskTimeoutError, match=r"\(and 1 more\)") as caught:
            await client.wait_all("luma", ids, timeout=50)
        assert now() == pytest.approx(50)
        assert [task.state.is_terminal for task in caught.value.tasks] == [True, False, False]


class TestSubmit:
    """`submit`, `run` and handles."""

    @pytest.mark.parametrize("provider", FIVE)
    async def test_runs_a_task_from_submission_to_end(self, server, client, provider):
        """A submission is acknowledged with an id, and its handle waits for the end."""
        server.script(provider, after=77)
        handle = await client.submit(provider, {"prompt": "a cat"})
        assert handle.finished is None
        assert handle.id in server.tasks
        task = await handle.wait()
        assert (task.state, task.id) == (TaskState.SUCCEEDED, handle.id)
        assert now() >= 77

    async def test_a_synchronous_answer_is_a_finished_task_with_no_poll(self, server, client):
        """With async: false the service answers with the result, and nothing is asked afterwards."""
        server.script("veo", after=90)
        task = await client.run("veo", {"prompt": "a cat", "async": False})
        assert task.state is TaskState.SUCCEEDED
        assert task.artifacts
        assert now() == pytest.approx(90)
        assert [request.path for request in server.requests] == ["/veo/videos"]

    async def test_a_synchronous_answer_without_files_is_a_finished_task(self, client):
        """Webextrator makes no files: its data is the result."""
        task = await client.run("webextrator", {"url": "https://example.com", "async": False})
        assert task.state is TaskState.SUCCEEDED
        assert task.response is not None

    async def test_a_finished_handle_answers_every_way_without_asking(self, server, client):
        """A finished handle can be waited for, followed, and mixed with others, at no request."""
        server.script("flux", after=3)
        handle = await client.submit("flux", {"prompt": "a cat", "async": False})
        server.clear_requests()
        assert handle.finished is not None
        assert await handle.wait() is handle.finished
        assert [task async for task in handle.updates()] == [handle.finished]
        assert await client.wait_all([handle]) == [handle.finished]
        assert [task async for task in client.as_completed([handle])] == [handle.finished]
        assert server.request_count == 0

    async def test_results_without_an_id_are_told_apart(self, client):
        """Answers that name no task are as many tasks as there are answers."""
        results = [acetasks.normalize("fish", {"audio_url": f"https://files.example/{name}.mp3"}) for name in "ab"]
        handles = [acetasks.TaskHandle("fish", "", result) for result in results]
        assert await client.wait_all(handles) == results
        assert [task async for task in client.as_completed(handles)] == results

    async def test_a_synchronous_failure_is_raised_by_wait(self, server, client):
        """A result that says failed is a failed task, raised when waited for."""
        server.script("luma", after=3, outcome="failed")
        with pytest.raises(acetasks.TaskFailedError):
            await client.run("luma", {"prompt": "a cat", "async": False})

    @pytest.mark.parametrize("body", [b"{}", b'{"success": true}', b"<html>", b'{"task_id": "a'])
    async def test_an_answer_that_names_no_task_leaves_the_submission_uncertain(self, body):
        """The service took it, and nobody can say as what: the error has what was sent."""

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

    async def test_a_callback_url_makes_the_service_answer_at_once(self, server, client):
        """With a callback_url the answer is an acknowledgement, and the handle is waited for as any."""
        server.script("luma", after=30)
        payload = {"prompt": "a cat", "callback_url": f"{server.url}/nowhere"}
        handle = await client.submit("luma", payload)
        assert handle.finished is None
        assert (await handle.wait()).state is TaskState.SUCCEEDED

    async def test_posts_to_another_path_when_told(self, server, client):
        """`path` chooses among a provider's submissions."""
        await client.submit("suno", {"prompt": "a song"}, path="/suno/lyrics")
        assert server.requests[-1].path == "/suno/lyrics"

    async def test_updates_yields_each_change_once(self, server, client):
        """A follower sees every state once, in order, and the last is terminal."""
        task_id = server.add("wan", after=100, queued_for=40)
        states = [task.state.value async for task in client.handle("wan", task_id).updates()]
        assert states == ["pending", "running", "succeeded"]

    async def test_updates_yields_changes_of_progress(self, server, client):
        """A change of progress alone is an update too; no look without a change is."""
        task_id = server.add("midjourney", after=60, queued_for=0)
        seen = [(task.state, task.progress) async for task in client.handle("midjourney", task_id).updates()]
        assert len(seen) == len(set(seen))
        assert len([progress for state, progress in seen if state is TaskState.RUNNING]) >= 1
        assert seen[-1][0] is TaskState.SUCCEEDED

    async def test_updates_yields_a_failed_and_an_unknown_task(self, server, client):
        """Followers are given failures as values."""
        failed = client.handle("luma", server.add("luma", after=1, outcome="failed"))
        assert [task.state async for task in failed.updates()][-1] is TaskState.FAILED
        assert [task.state async for task in client.handle("luma", "none").updates()] == [TaskState.NOT_FOUND]

    async def test_a_handle_polls_nothing_while_nobody_waits(self, server, client):
        """Having a handle costs nothing."""
        await client.submit("luma", {"prompt": "a cat"})
        server.clear_requests()
        await asyncio.sleep(10_000)
        assert server.request_count == 0

    async def test_a_pickled_handle_is_waited_for_by_another_client(self, server, new_client):
        """A handle survives a process as provider and id."""
        async with new_client() as client:
            server.script("luma", after=20)
            pickled = pickle.dumps(await client.submit("luma", {"prompt": "a cat"}))
        handle = pickle.loads(pickled)
        async with new_client() as client:
            assert (await client.handle(handle.provider, handle.id).wait()).id == handle.id
            assert (await client.wait_all([handle]))[0].id == handle.id


class TestRetrieve:
    """`retrieve` and `retrieve_batch`: one look."""

    async def test_looks_once_without_waiting(self, server, client):
        """An unfinished task is returned as it is."""
        task_id = server.add("luma", after=100)
        assert not (await client.retrieve("luma", task_id)).state.is_terminal
        assert (server.request_count, now()) == (1, 0)

    async def test_an_unknown_task_is_a_value(self, client):
        """One look at an unknown id is a NOT_FOUND task with that id, with no grace."""
        task = await client.retrieve("luma", "unknown-id")
        assert (task.id, task.state) == ("unknown-id", TaskState.NOT_FOUND)

    async def test_looks_at_many_in_full_batches(self, server, client):
        """120 ids cost three requests, come back in the order given, and unknown and repeated ones are there too."""
        ids = [server.add("kling", after=0) for _ in range(119)]
        tasks = await client.retrieve_batch("kling", [*ids, ids[0]])
        assert [task.id for task in tasks] == [*ids, ids[0]]
        assert sorted(len(request.ids) for request in server.requests) == [19, 50, 50]
        tasks = await client.retrieve_batch("kling", [ids[0], "unknown-id"])
        assert [task.state.value for task in tasks] == ["succeeded", "not_found"]

    @pytest.mark.parametrize("provider", ["captcha", "maestro", "useapi-pixverse"])
    async def test_looks_one_by_one_where_there_is_no_batch_call(self, server, client, provider):
        """A provider without a batch call is asked one id a request."""
        ids = [server.add(provider, after=0) for _ in range(3)]
        tasks = await client.retrieve_batch(provider, ids)
        assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * 3
        assert server.request_count == 3

    async def test_raises_what_the_service_answers(self, server, new_client):
        """An error answer to a look is raised."""
        async with new_client(token="wrong") as client:
            with pytest.raises(acetasks.AuthenticationError):
                await client.retrieve("luma", server.add("luma"))


class TestBadInput:
    """What callers get wrong is refused, clearly, and before anything is sent."""

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
    async def test_wait_refuses_bad_names(self, server, client, arguments, error, message):
        """A provider or id that can be none is refused, naming it."""
        with pytest.raises(error, match=re.escape(message)):
            await client.wait(*arguments)
        assert server.request_count == 0

    @pytest.mark.parametrize(
        ("timeout", "error"), [(-1, ValueError), (math.nan, ValueError), ("5", TypeError), (True, TypeError)]
    )
    async def test_refuses_a_timeout_that_can_be_none(self, server, client, timeout, error):
        """A negative limit, or one that is no number, is refused by every way to wait."""
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
            (("luma", []), ValueError, "no task ids"),
            (([],), ValueError, "no task ids"),
            (("luma", "abc"), TypeError, "'abc'"),
            (("luma",), TypeError, "'luma'"),
            (([("luma", "x")], ["y"]), TypeError, "slug"),
            ((["luma"],), TypeError, "pair"),
            (([("luma", "")],), ValueError, "task id"),
            (([7],), TypeError, "7"),
        ],
    )
    async def test_refuses_lists_of_nothing_or_of_no_tasks(self, server, client, arguments, error, message):
        """An empty list of ids, or one of something else, is refused by every way to wait for several."""
        with pytest.raises(error, match=re.escape(message)):
            await client.wait_all(*arguments)
        with pytest.raises(error, match=re.escape(message)):
            client.as_completed(*arguments)
        assert server.request_count == 0

    async def test_a_wrong_token_fails_every_waiter_at_once(self, server, new_client):
        """A 401 ends every wait under that token, after the first answer."""
        async with new_client(token="wrong-token") as client:
            with pytest.raises(acetasks.AuthenticationError, match="invalid_token") as caught:
                await client.wait_all([("luma", server.add("luma")), ("veo", server.add("veo"))])
        assert caught.value.status == 401
        assert "wrong-token" not in f"{caught.value!r} {caught.value} {client!r}"
        assert now() < 1

    @pytest.mark.parametrize(
        ("provider", "variable"), [("luma", "ACEDATACLOUD_API_TOKEN"), ("useapi-pixverse", "USEAPI_API_TOKEN")]
    )
    async def test_no_token_is_an_error_before_any_request(self, server, provider, variable):
        """Without a token the error says where to get one and where to put it, and nothing is sent."""
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

    async def test_takes_tokens_and_base_urls_from_the_environment(self, server, monkeypatch):
        """The official tools' environment variables are used, a slash at the end of a base URL or not."""
        monkeypatch.setenv("ACEDATACLOUD_API_TOKEN", server.token)
        monkeypatch.setenv("ACEDATACLOUD_API_BASE_URL", f"{server.url}/")
        monkeypatch.setenv("USEAPI_API_TOKEN", server.token)
        monkeypatch.setenv("USEAPI_API_BASE_URL", server.url)
        async with acetasks.Client() as client:
            tasks = await client.wait_all([(provider, server.add(provider, after=0)) for provider in FIVE])
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}

    @pytest.mark.parametrize("url", ["api.acedata.cloud", "ftp://x.y", "http://", "https://x.y?a=b", "//x.y"])
    def test_refuses_a_base_url_that_can_be_none(self, url):
        """A base URL without a scheme, or with more than a path, is refused when the client is made."""
        with pytest.raises(ValueError, match=re.escape(repr(url))):
            acetasks.Client("token", base_url=url)

    @pytest.mark.parametrize("token", ["a b", "a\r\nb", "tökén", "\x00"])
    def test_refuses_a_token_that_can_be_none_without_repeating_it(self, token):
        """A token with line ends or blanks is refused, and is not in the message."""
        with pytest.raises(ValueError, match="token") as caught:
            acetasks.Client(token)
        assert token not in str(caught.value)

    async def test_refuses_a_payload_that_is_none(self, server, client):
        """A payload that is no mapping or no JSON is refused, and so is a path that is none."""
        for payload in (["a"], {"a": object()}, {"a": math.inf and {1, object()}}):
            with pytest.raises(TypeError):
                await client.submit("luma", payload)
        for path in ("luma/videos", "//evil.example"):
            with pytest.raises(ValueError, match="path"):
                await client.submit("luma", {}, path=path)
        with pytest.raises(ValueError, match="path="):
            await client.submit("brand-new", {})
        assert server.request_count == 0

    async def test_an_unknown_provider_works_in_the_standard_way_and_is_logged_once(self, server, client, caplog):
        """A slug without a row is asked as most providers are, with one line in the log."""
        task_id = server.add("seldom-heard-of", after=5)
        with caplog.at_level(logging.WARNING, "acetasks"):
            task = await client.wait("seldom-heard-of", task_id)
            await client.wait("seldom-heard-of", task_id)
        assert task.state is TaskState.SUCCEEDED
        assert [record.getMessage() for record in caplog.records if "seldom-heard-of" in record.getMessage()] == [
            "provider 'seldom-heard-of' has no row: it is asked in the standard way at /seldom-heard-of/tasks"
        ]


class TestLifetime:
    """Opening, closing, leaving."""

    async def test_is_opened_once(self, new_client):
        """A client that is opened again, while open or after, raises."""
        client = new_client()
        async with client:
            with pytest.raises(acetasks.ClientClosedError, match="opened before"):
                await client.__aenter__()
        with pytest.raises(acetasks.ClientClosedError, match="opened before"):
            await client.__aenter__()

    async def test_is_used_only_while_open(self, server, new_client):
        """Before it is opened and after it is closed, every way to use it raises."""
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

    async def test_closing_gives_those_who_wait_an_error(self, server, client):
        """Whoever waits when the client is closed gets a ClientClosedError, even with a request under way."""
        waits = [asyncio.create_task(client.wait("luma", server.add("luma"))) for _ in range(3)]
        await asyncio.sleep(20)
        await client.close()
        for outcome in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(outcome, acetasks.ClientClosedError)
        assert now() == 20

    async def test_leaves_the_callers_own_session_open(self, server):
        """A session that was passed in is used, and stays the caller's."""
        async with aiohttp.ClientSession() as http:
            async with acetasks.Client(server.token, base_url=server.url, http=http) as client:
                assert (await client.wait("luma", server.add("luma", after=0))).state is TaskState.SUCCEEDED
            assert not http.closed
        async with acetasks.Client(server.token, base_url=server.url, http=http) as client:
            with pytest.raises(acetasks.ClientClosedError, match="http="):
                await client.wait("luma", "x")

    async def test_cancelling_one_of_two_waiters_leaves_the_other(self, server, client):
        """The other waiter of the same id goes on."""
        task_id = server.add("luma", after=100)
        first, second = (asyncio.create_task(client.wait("luma", task_id)) for _ in range(2))
        await asyncio.sleep(10)
        first.cancel()
        assert (await second).state is TaskState.SUCCEEDED
        assert first.cancelled()

    @pytest.mark.parametrize("after", [0.0, 0.01, 0.05, 1.0, 30.0])
    async def test_cancelling_all_waiters_leaves_nothing(self, server, client, after):
        """When the last waiter has left there is no id, no task of ours, and no request ever after."""
        ids = [server.add("luma", outcome="forever") for _ in range(60)]
        before = asyncio.all_tasks()
        waits = [asyncio.create_task(client.wait("luma", task_id)) for task_id in ids for _ in range(2)]
        await asyncio.sleep(after)
        for wait in waits:
            wait.cancel()
        await asyncio.wait(waits)
        await asyncio.sleep(0.01)
        assert "0 ids, 0 waiters" in repr(client)
        assert "Agenda empty" in repr(client)
        assert "0 requests under way" in repr(client)
        assert not [task for task in asyncio.all_tasks() - before if "acetasks" in task.get_name()]
        server.clear_requests()
        await asyncio.sleep(1000)
        assert server.request_count == 0
        assert server.open_connections == 0

    @pytest.mark.parametrize("limit", [asyncio.timeout, anyio.fail_after])
    async def test_the_callers_own_limits_work(self, server, client, limit):
        """asyncio.timeout and anyio.fail_after end a wait at their moment, and the id is dropped."""
        with pytest.raises(TimeoutError) as caught:
            async with _entered(limit(7)):
                await client.wait("luma", server.add("luma"))
        assert not isinstance(caught.value, acetasks.TaskTimeoutError)
        assert now() == pytest.approx(7)
        assert "0 ids, 0 waiters" in repr(client)

    async def test_repr_shows_no_token(self, new_client):
        """A client's repr tells where it asks and what it follows, never the token."""
        client = new_client(token="sesame-0123")
        assert "sesame" not in repr(client)
        assert "not opened" in repr(client)
        async with client:
            assert "0 waiters" in repr(client)
            assert "sesame" not in repr(client)
        assert "closed" in repr(client)

    async def test_observers_are_told(self, server, new_client):
        """An observer is told of requests, changes and ends, with the loop's time."""
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
    """Enters a context manager of either kind in an `async with`."""

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
