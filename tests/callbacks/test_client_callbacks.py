"""A client with callbacks: submissions have a URL each, and a callback leads to one poll of its task."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from callback_figures import serve
from support import now

import acetasks
from acetasks import Callbacks, MemoryStore, TaskState, WaitReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acetasks.testing.server import AceServer

SECRET = "a secret of the tests"
PAYLOAD = {"prompt": "a cat"}
USEAPI_PATH = "/v1/pixverse/create"
#: Seconds by which polls after callbacks are delayed, to be shared.
LINGER = 0.025


@pytest.fixture
async def callbacks() -> AsyncIterator[Callbacks]:
    """Callbacks that are received at this machine."""
    async with serve(secret=SECRET) as callbacks:
        yield callbacks


@pytest.fixture
async def client(new_client: Callable[..., acetasks.Client], callbacks: Callbacks) -> AsyncIterator[acetasks.Client]:
    """An open client with callbacks."""
    async with new_client(callbacks=callbacks) as client:
        yield client


def polls(server: AceServer) -> list[tuple[float, tuple[str, ...]]]:
    """Return the loop time and ids of each poll."""
    return [(request.time, request.ids) for request in server.requests if request.action != "submit"]


def urls(server: AceServer, field: str = "callback_url") -> list[object]:
    """Return the callback URL of each submission, or None."""
    return [request.body.get(field) for request in server.requests if request.action == "submit"]


class TestSubmissions:
    """The URLs that submissions get."""

    async def test_each_has_a_url_of_its_own(
        self, server: AceServer, client: acetasks.Client, callbacks: Callbacks
    ) -> None:
        """It is added to the payload, beside `async`."""
        for _ in range(3):
            await client.submit("luma", PAYLOAD)
        found = urls(server)
        assert len(set(found)) == 3
        assert all(callbacks.find_token("luma", str(url)) for url in found)
        assert server.requests[0].body == {**PAYLOAD, "async": True, "callback_url": found[0]}

    async def test_a_url_of_the_caller_stays(self, server: AceServer, client: acetasks.Client) -> None:
        """Nothing is added, and the task is polled as without callbacks."""
        server.script("luma", after=20)
        own = "http://127.0.0.1:9/mine"
        await client.run("luma", {**PAYLOAD, "callback_url": own})
        assert server.requests[0].body == {**PAYLOAD, "callback_url": own}
        assert len(polls(server)) > 3

    async def test_a_blocking_submission_has_none(self, server: AceServer, client: acetasks.Client) -> None:
        """With `async: false` the response is the result: a callback URL would make it an acknowledgement."""
        handle = await client.submit("luma", {**PAYLOAD, "async": False})
        assert handle.finished is not None
        assert urls(server) == [None]

    async def test_an_error_that_repeats_the_url_is_shown_without_its_token(
        self,
        server: AceServer,
        client: acetasks.Client,
        callbacks: Callbacks,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The token of the URL is masked as that of the client."""
        url = callbacks.build_url("luma")
        monkeypatch.setattr(callbacks, "build_url", lambda _: url)
        message = f"callback_url {url} cannot be reached"
        server.fail("luma", status=400, body={"error": {"code": "bad_request", "message": message}}, action="submit")
        with pytest.raises(acetasks.BadRequestError, match=r"callback_url .* cannot be reached") as caught:
            await client.submit("luma", PAYLOAD)
        assert urls(server) == [url]
        assert url.rpartition("/")[2] not in repr((caught.value, str(caught.value), caught.value.message))

    async def test_the_field_is_that_of_the_provider(self, server: AceServer, client: acetasks.Client) -> None:
        """useapi.net has a field of another name, and captcha has none."""
        await client.submit("useapi-pixverse", PAYLOAD, path=USEAPI_PATH)
        await client.submit("captcha", PAYLOAD)
        assert urls(server) == [None, None]
        assert [url is not None for url in urls(server, "replyUrl")] == [True, False]

    async def test_run_and_run_many_have_them_too(self, server: AceServer, client: acetasks.Client) -> None:
        """Every way to submit adds one."""
        server.script("flux", after=3, times=None)
        await client.run("flux", PAYLOAD)
        assert [result.error async for result in client.run_many("flux", [PAYLOAD] * 2)] == [None, None]
        assert len(set(urls(server))) == 3


class TestArrival:
    """What an arriving callback leads to."""

    @pytest.mark.parametrize("outcome", ["succeeded", "failed", "partial"])
    async def test_a_callback_leads_to_one_poll(self, server: AceServer, client: acetasks.Client, outcome: str) -> None:
        """The wait ends right after the task, whatever its end, with a single poll of it."""
        server.script("suno", after=50, outcome=outcome)
        handle = await client.submit("suno", PAYLOAD)
        start = now()
        (task,) = await client.wait_all([handle], return_failed=True)
        assert (task.state, now() - start) == (outcome, 50 + LINGER)
        assert polls(server) == [(start + 50 + LINGER, (handle.id,))]

    async def test_the_state_is_that_of_the_poll(
        self, server: AceServer, client: acetasks.Client, callbacks: Callbacks
    ) -> None:
        """A callback that says that the task has failed, which goes on, is believed in nothing; nor is a second one."""
        server.script("luma", after=50)
        server.script_callbacks(drop_rate=1)
        handle = await client.submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(20)
        for _ in range(2):
            callbacks.receive(str(urls(server)[0]), b'{"success": false, "task_id": "%s"}' % handle.id.encode())
            await asyncio.sleep(0.5)
        assert [time for time, _ in polls(server)] == [20 + LINGER]
        # The callback will not come again: it is polled as without callbacks.
        assert (await wait).state is TaskState.SUCCEEDED
        assert now() < 50 + 6.2

    async def test_callbacks_of_a_moment_share_a_poll(self, server: AceServer, client: acetasks.Client) -> None:
        """Those that arrive within half a linger are polled together, and nothing else is polled with them."""
        for after in (60, 60.01, 60.02, 60.03, 90):
            server.script("luma", after=after)
        handles = [await client.submit("luma", PAYLOAD) for _ in range(5)]
        await client.wait_all(handles)
        ids = [handle.id for handle in handles]
        assert [(time, set(asked)) for time, asked in polls(server)] == [
            (60 + LINGER, set(ids[:3])),
            (pytest.approx(60.03 + LINGER), {ids[3]}),
            (90 + LINGER, {ids[4]}),
        ]

    async def test_repeated_callbacks_lead_to_one_poll(self, server: AceServer, client: acetasks.Client) -> None:
        """A service that posts each ten times costs no more."""
        server.script_callbacks(copies=10)
        await client.run("luma", PAYLOAD)
        assert len(server.callbacks) == 10
        assert {callback.status for callback in server.callbacks} == {204}
        assert len(polls(server)) == 1

    async def test_a_callback_may_come_before_the_response_to_the_submission(
        self, server: AceServer, client: acetasks.Client
    ) -> None:
        """The wait begins with a poll at once."""
        server.script("luma", after=1)
        server.fail("luma", action="submit", hang=5)
        handle = await client.submit("luma", PAYLOAD)
        assert (len(server.callbacks), now()) == (1, 5)
        await handle.wait()
        assert [time for time, _ in polls(server)] == [5.05]

    async def test_a_callback_may_come_before_the_wait(self, server: AceServer, client: acetasks.Client) -> None:
        """It is remembered."""
        server.script("luma", after=2)
        handle = await client.submit("luma", PAYLOAD)
        await asyncio.sleep(3)
        await handle.wait()
        assert [time for time, _ in polls(server)] == [3.05]

    async def test_a_wait_that_begins_later_polls_first(self, server: AceServer, client: acetasks.Client) -> None:
        """A callback may have been lost by then; after that poll, the callback is waited for."""
        server.script("luma", after=100)
        handle = await client.submit("luma", PAYLOAD)
        await asyncio.sleep(30)
        await handle.wait()
        assert [time for time, _ in polls(server)] == [30.05, 100 + LINGER]

    async def test_a_callback_during_a_poll_leads_to_another(self, server: AceServer, client: acetasks.Client) -> None:
        """The response may be older than the callback."""
        server.script("luma", after=31)
        handle = await client.submit("luma", PAYLOAD)
        await asyncio.sleep(30)
        server.fail("luma", action="retrieve", hang=3, edit=lambda _: {"id": handle.id, "request": {}})
        await handle.wait()
        assert [time for time, _ in polls(server)] == [30.05, 33.05 + LINGER]

    async def test_a_poll_after_a_callback_may_fail(self, server: AceServer, client: acetasks.Client) -> None:
        """It is repeated like any other."""
        server.script("luma", after=50)
        server.fail("luma", action="retrieve", status=503, times=2)
        await client.run("luma", PAYLOAD)
        assert len(polls(server)) == 3
        assert now() < 60

    async def test_updates_do_not_wait_for_callbacks(self, server: AceServer, client: acetasks.Client) -> None:
        """Changes on the way are seen as without callbacks, also if another wait was there first."""
        server.script("luma", after=50, queued_for=20)
        handle = await client.submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(1)
        seen = [(task.state, now()) async for task in handle.updates()]
        assert [state for state, _ in seen] == [TaskState.PENDING, TaskState.RUNNING, TaskState.SUCCEEDED]
        assert seen[0][1] == 1 + LINGER
        assert 20 < seen[1][1] < 26.2
        assert seen[2][1] == 50 + LINGER
        await wait

    async def test_a_minimum_interval_is_kept(self, server: AceServer, client: acetasks.Client) -> None:
        """A callback does not make useapi.net be asked twice within ten seconds."""
        server.script("useapi-pixverse", after=35)
        handle = await client.submit("useapi-pixverse", PAYLOAD, path=USEAPI_PATH)
        await asyncio.sleep(30)
        await handle.wait()
        assert [time for time, _ in polls(server)] == [30.05, 40.05]

    async def test_a_timeout_is_kept(self, server: AceServer, client: acetasks.Client) -> None:
        """A task that is waited for with a timeout, again and again, costs no more polls than without callbacks."""
        server.script("luma", after=60)
        handle = await client.submit("luma", PAYLOAD)
        timeouts = 0
        while True:
            try:
                await handle.wait(timeout=1)
            except acetasks.TaskTimeoutError:
                timeouts += 1
            else:
                break
        assert timeouts == 60
        assert len(polls(server)) < 60 / 5

    async def test_a_closed_client_ignores_callbacks(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """Nothing is polled after the end, and another client can use the same callbacks."""
        async with new_client(callbacks=callbacks) as client:
            await client.submit("luma", PAYLOAD)
        await asyncio.sleep(400)
        assert (len(server.callbacks), len(polls(server))) == (1, 0)
        async with new_client(callbacks=callbacks) as client:
            await client.run("luma", PAYLOAD)
        assert len(polls(server)) == 1


class TestNet:
    """Callbacks that do not arrive."""

    async def test_a_lost_callback_costs_time_only(self, server: AceServer, client: acetasks.Client) -> None:
        """The task is polled at the rare interval, and its end is found."""
        server.script("luma", after=100)
        server.script_callbacks(drop_rate=1)
        await client.run("luma", PAYLOAD)
        ((time, _),) = polls(server)
        assert 154 <= time <= 1.2 * 154

    async def test_the_rare_interval_is_a_setting(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """`PollPolicy(callback_interval=)` sets it for all providers."""
        server.script("luma", after=100)
        server.script_callbacks(drop_rate=1)
        policy = acetasks.PollPolicy(callback_interval=30, jitter=0)
        async with new_client(callbacks=callbacks, policy=policy) as client:
            await client.run("luma", PAYLOAD)
        assert [time for time, _ in polls(server)] == pytest.approx([30, 60, 90, 120])

    @pytest.mark.parametrize("many", [False, True])
    async def test_a_task_is_polled_before_its_timeout(
        self,
        server: AceServer,
        client: acetasks.Client,
        many: bool,  # noqa: FBT001  # a parameter of the test
    ) -> None:
        """A callback that is lost does not lead to a timeout of a task that has ended."""
        server.script("luma", after=100, times=None)
        server.script_callbacks(drop_rate=1)
        handles = [await client.submit("luma", PAYLOAD) for _ in range(60 if many else 1)]
        if many:
            await client.wait_all(handles, timeout=120)
        else:
            await handles[0].wait(timeout=120)
        assert now() == 115 + LINGER
        assert [len(ids) for _, ids in polls(server)] == ([50, 10] if many else [1])

    async def test_the_poll_before_a_timeout_leaves_other_waits_as_they_are(
        self, server: AceServer, client: acetasks.Client
    ) -> None:
        """The callback is expected as before; without it the next poll is a rare one."""
        server.script("luma", after=100)
        handle = await client.submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await handle.wait(timeout=40)
        assert caught.value.task.state is TaskState.RUNNING
        await wait
        assert [time for time, _ in polls(server)] == [35 + LINGER, 100 + LINGER]

    async def test_missing_callbacks_are_not_relied_on(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks, caplog
    ) -> None:
        """After three in a row, tasks are polled as without callbacks until one arrives; both are logged and told."""
        events: list[acetasks.Event] = []

        class Watch:
            def on_event(self, event: acetasks.Event) -> None:
                if isinstance(event, acetasks.CallbacksMissing | acetasks.CallbacksRestored):
                    events.append(event)

        caplog.set_level(logging.INFO, "acetasks")
        server.script("flux", after=20, times=None)
        server.script_callbacks(drop_rate=1)
        async with new_client(callbacks=callbacks, observers=[Watch()]) as client:
            for expected in (60, 60, 60, 20, 20):
                start = now()
                await client.run("flux", PAYLOAD)
                assert expected <= now() - start <= 1.2 * expected + 3
            server.script_callbacks()
            await client.run("flux", PAYLOAD)
            server.script_callbacks(drop_rate=1)
            start = now()
            await client.run("flux", PAYLOAD)
            assert now() - start >= 60
        assert [type(event).__name__ for event in events] == ["CallbacksMissing", "CallbacksRestored"]
        assert {event.provider for event in events} == {"flux"}
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert "tasks end without their callbacks" in caplog.text

    async def test_tasks_on_their_way_are_polled_then_too(self, server: AceServer, client: acetasks.Client) -> None:
        """Those that were polled when the callbacks were found missing do not wait for theirs any more."""
        for after in (20, 20, 20, 90):
            server.script("flux", after=after)
        server.script_callbacks(drop_rate=1)
        handles = [await client.submit("flux", PAYLOAD) for _ in range(4)]
        await client.wait_all(handles)
        assert now() < 93


class TestExplain:
    """`explain` of a task that expects a callback."""

    async def test_an_expected_callback_is_the_reason(self, server: AceServer, client: acetasks.Client) -> None:
        """Before its first poll, and between the rare ones."""
        server.script("luma", after=1000)
        server.script_callbacks(drop_rate=1)
        handle = await client.submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(10)
        before = client.explain("luma", handle.id)
        await asyncio.sleep(200)
        after = client.explain("luma", handle.id)
        wait.cancel()
        assert [before.reason, after.reason] == [WaitReason.CALLBACK] * 2
        assert (before.polls, after.polls) == (0, 1)
        assert before.next_poll_in > 120
        assert "not polled yet; next poll in 1" in str(before)
        assert "(callback expected); " in str(before)

    async def test_a_poll_after_a_callback_has_it_as_its_reason_too(
        self, server: AceServer, client: acetasks.Client
    ) -> None:
        """It is due within the time in which others may share it."""
        server.script("luma", after=10)
        handle = await client.submit("luma", PAYLOAD)
        wait = asyncio.create_task(handle.wait())
        await asyncio.sleep(10 + LINGER / 2)
        explanation = client.explain("luma", handle.id)
        await wait
        assert explanation.reason is WaitReason.CALLBACK
        assert explanation.next_poll_in == pytest.approx(LINGER / 2, abs=0.01)

    async def test_the_poll_before_a_timeout_is_not_the_first(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """A task that was polled before still expects its callback then."""
        server.script("luma", after=1000)
        server.script_callbacks(drop_rate=1)
        policy = acetasks.PollPolicy(callback_interval=30, jitter=0, max_in_flight=1)
        async with new_client(callbacks=callbacks, policy=policy) as client:
            handle = await client.submit("luma", PAYLOAD)
            wait = asyncio.create_task(handle.wait(timeout=50))
            await asyncio.sleep(45.01)
            explanation = client.explain("luma", handle.id)
            wait.cancel()
        assert (explanation.reason, explanation.polls) == (WaitReason.CALLBACK, 1)
        assert explanation.next_poll_in < LINGER


class TestForged:
    """Callbacks that the service has not sent."""

    async def test_unknown_tokens_and_ids_lead_to_nothing(
        self, server: AceServer, client: acetasks.Client, callbacks: Callbacks
    ) -> None:
        """Neither a known id with a wrong token, nor that of another task, nor an unknown id with a right one."""
        server.script("luma", after=100, times=None)
        handles = [await client.submit("luma", PAYLOAD) for _ in range(2)]
        waits = [asyncio.create_task(handle.wait()) for handle in handles]
        await asyncio.sleep(10)
        first, second = (str(url) for url in urls(server))
        for url, task_id in [(first[:-1], handles[0].id), (first, handles[1].id), (second, "x"), (first, "x")]:
            callbacks.receive(url, b'{"task_id": "%s"}' % task_id.encode())
        await asyncio.sleep(10)
        assert polls(server) == []
        await asyncio.gather(*waits)
        assert len(polls(server)) == 1

    async def test_a_replayed_callback_leads_to_nothing(
        self, server: AceServer, client: acetasks.Client, callbacks: Callbacks
    ) -> None:
        """After the end, the same callback has no effect, also if the task is awaited anew."""
        handle = await client.submit("luma", PAYLOAD)
        await handle.wait()
        server.clear_requests()
        for _ in range(100):
            callbacks.receive(callbacks.build_url("luma"), b'{"task_id": "%s"}' % handle.id.encode())
            await asyncio.sleep(0.1)
        assert polls(server) == []


class TestRestart:
    """Another process with the same secret."""

    @pytest.fixture(autouse=True)
    def _wall_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the time of day pass with the virtual clock."""
        monkeypatch.setattr("time.time", lambda: 1_780_000_000.0 + now())

    async def test_resume_accepts_earlier_callbacks(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """The journal has the URL of each submission; after one poll, its callback is waited for."""
        store = MemoryStore()
        server.script("luma", after=300, times=None)
        async with new_client(callbacks=callbacks, journal=store) as client:
            handles = [await client.submit("luma", PAYLOAD) for _ in range(3)]
        await asyncio.sleep(100)
        again = Callbacks(callbacks.url, secret=SECRET)
        async with new_client(callbacks=again, journal=store) as client:
            forward(callbacks, again)
            tasks = await client.resume()
        assert {task.id for task in tasks} == {handle.id for handle in handles}
        times = [time for time, _ in polls(server)]
        assert times[0] == 100.05
        assert len(times) == 3
        assert times[-1] == 300 + LINGER

    async def test_another_secret_polls_as_usual(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """Callbacks that would be refused are not waited for."""
        store = MemoryStore()
        server.script("luma", after=60, times=None)
        async with new_client(callbacks=callbacks, journal=store) as client:
            await client.submit("luma", PAYLOAD)
        async with new_client(callbacks=Callbacks(callbacks.url), journal=store) as client:
            await client.resume()
        assert len(polls(server)) > 8

    async def test_a_task_known_by_its_id_takes_one_callback(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """Without a journal, a genuine token and the id of an awaited task lead to one poll, and no more."""
        async with new_client(callbacks=callbacks) as client:
            task_id = server.add("luma", after=100)
            wait = asyncio.create_task(client.wait("luma", task_id))
            await asyncio.sleep(7)
            server.clear_requests()
            for url in [callbacks.build_url("luma") for _ in range(20)] * 2:
                callbacks.receive(url, b'{"task_id": "%s"}' % task_id.encode())
                await asyncio.sleep(0.05)
            assert [time for time, _ in polls(server)] == [7 + LINGER]
            await wait

    async def test_a_key_is_of_the_payload_without_the_url(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """The same key and payload is the same submission, with or without callbacks, whose callback is expected."""
        store = MemoryStore()
        server.script("luma", after=80)
        handles = []
        for options in ({}, {"callbacks": callbacks}, {"callbacks": callbacks}):
            async with new_client(journal=store, **options) as client:
                handles.append(await client.submit("luma", PAYLOAD, key="order-1"))
                with pytest.raises(ValueError, match="was used for another payload"):
                    await client.submit("luma", {"prompt": "a dog"}, key="order-1")
        assert (server.submissions, len(set(handles))) == (1, 1)

    async def test_the_callback_of_a_key_is_that_of_its_submission(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """A later call with the key, in another client, waits for the callback that the service has the URL of."""
        store = MemoryStore()
        server.script("luma", after=80)
        async with new_client(journal=store, callbacks=callbacks) as client:
            await client.submit("luma", PAYLOAD, key="order-1")
        async with new_client(journal=store, callbacks=callbacks) as client:
            await client.run("luma", PAYLOAD, key="order-1")
        assert [time for time, _ in polls(server)] == [0.05, 80 + LINGER]

    async def test_a_lost_response_is_reconciled(
        self, server: AceServer, new_client: Callable[..., acetasks.Client], callbacks: Callbacks
    ) -> None:
        """The record repeats the callback URL, which no other submission has: equal payloads are told apart."""
        store = MemoryStore()
        server.script("luma", after=2000, times=None)
        async with new_client(callbacks=callbacks, journal=store) as client:
            first = await client.submit("luma", PAYLOAD)
            server.fail("luma", action="submit", truncate=0.5)
            with pytest.raises(acetasks.SubmissionUncertainError):
                await client.submit("luma", PAYLOAD)
            await asyncio.sleep(800)
            report = await client.reconcile()
        ((adopted,), absent, ambiguous) = (report.adopted, report.absent, report.ambiguous)
        assert (absent, ambiguous) == ((), ())
        assert adopted.task_id == next(task for task in server.tasks if task != first.id)


class TestOtherFrameworks:
    """Receivers other than the aiohttp application: see also `tests/realtime` for another thread."""

    async def test_a_receiver_of_ones_own(self, server: AceServer, new_client: Callable[..., acetasks.Client]) -> None:
        """`Callbacks.receive` takes the path and the body of a request, however they come."""
        callbacks = Callbacks("https://shop.example/hooks")
        server.script("luma", after=100)
        async with new_client(callbacks=callbacks) as client:
            handle = await client.submit("luma", PAYLOAD)
            wait = asyncio.create_task(handle.wait())
            await asyncio.sleep(100)
            path = str(urls(server)[0]).removeprefix("https://shop.example")
            callbacks.receive(path, b'{"task_id": "%s"}' % handle.id.encode())
            await wait
        assert len(polls(server)) == 1


def forward(source: Callbacks, target: Callbacks) -> None:
    """Pass what one receiver gets on to another, in place of a restarted server at the same address."""
    source.attach(
        lambda callback: target.receive(
            f"/hooks/{callback.provider}/{callback.token}", b'{"task_id": "%s"}' % callback.task_id.encode()
        ),
        asyncio.get_running_loop(),
    )
