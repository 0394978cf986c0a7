"""Failures and limits of a whole client over HTTP: scope of errors, rates, tokens, and ownership."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import os

import aiohttp
import pytest
from support import now

import acetasks
from acetasks import PollPolicy, RetryPolicy, TaskState
from acetasks.providers import lookup
from acetasks.testing.server import AceServer


async def gather(*waits) -> list[object]:
    """Await all, and return errors as values."""
    return await asyncio.gather(*waits, return_exceptions=True)


class TestScope:
    """An error ends the waits that it concerns, at once, and no others."""

    async def test_a_401_ends_every_wait_under_its_token(self, server, new_client):
        """Every wait under a rejected token ends with the first response, and no other request is sent under it."""
        async with (
            AceServer(token="other") as other,
            new_client(useapi_token="other", useapi_base_url=other.url) as client,
        ):
            job = asyncio.create_task(client.wait("useapi-pixverse", other.add("useapi-pixverse", after=40)))
            waits = [
                asyncio.create_task(client.wait(provider, server.add(provider, after=600)))
                for provider in ("luma", "veo", "flux")
                for _ in range(120)
            ]
            await asyncio.sleep(20)
            server.token = "another"
            outcomes = await gather(*waits)
            ended, sent = now(), server.request_count
            assert {type(outcome) for outcome in outcomes} == {acetasks.AuthenticationError}
            assert ended < 30
            assert (await job).state is TaskState.SUCCEEDED
            assert server.request_count == sent

    async def test_a_403_ends_every_wait_of_its_provider(self, server, client):
        """The other providers under the same token are not affected."""
        server.fail("luma", status=403, times=None)
        luma = [client.wait("luma", server.add("luma", after=5)) for _ in range(60)]
        outcomes = await gather(*luma, client.wait("veo", server.add("veo", after=50)))
        assert {type(outcome) for outcome in outcomes[:-1]} == {acetasks.PermissionDeniedError}
        assert outcomes[-1].state is TaskState.SUCCEEDED
        requests = [(seen.time, len(seen.ids)) for seen in server.requests if seen.provider == "luma"]
        assert requests == [(0.05, 50), (0.05, 10), (5.05, 50)]

    async def test_a_refusal_that_passes_ends_no_wait(self, server, client):
        """Whatever it was of: a node that was just started, or a balance that was just topped up."""
        server.fail("luma", status=403, times=1)
        server.fail("veo", status=401, times=1)
        waits = [client.wait(provider, server.add(provider, after=20)) for provider in ("luma", "veo") * 30]
        assert {task.state for task in await gather(*waits)} == {TaskState.SUCCEEDED}

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, {"error": {"code": "api_not_implemented", "message": "not implemented"}, "trace_id": "t"}),
            (405, {"detail": "Method Not Allowed"}),
        ],
    )
    async def test_a_call_that_does_not_exist_is_no_fault_of_one_id(self, server, client, status, body):
        """The batch is not split, and all waits of the provider end."""
        server.fail("luma", status=status, body=body, times=None)
        ids = [server.add("luma") for _ in range(50)]
        with pytest.raises(acetasks.BadRequestError):
            await client.wait_all("luma", ids, return_failed=True)
        assert [(seen.time, len(seen.ids)) for seen in server.requests] == [(0.05, 50), (5.05, 50)]

    async def test_an_outage_does_not_delay_other_providers(self, server, client):
        """While every request to one provider hangs, the tasks of others are returned on time."""
        server.fail("luma", hang=math.inf, times=None)
        stuck = [
            asyncio.create_task(client.wait("luma", server.add("luma", after=5), timeout=900)) for _ in range(1000)
        ]
        ends = {"veo": 10, "flux": 20, "kling": 600}
        waits = {provider: client.wait(provider, server.add(provider, after=after)) for provider, after in ends.items()}
        for provider, wait in waits.items():
            assert (await wait).state is TaskState.SUCCEEDED
            assert now() < ends[provider] + 1.3 * lookup(provider).poll_interval(None)
        assert {type(outcome) for outcome in await gather(*stuck)} == {acetasks.TaskTimeoutError}
        assert now() == pytest.approx(900)

    async def test_a_provider_that_is_down_is_probed_once_per_backoff(self, server, new_client):
        """A thousand tasks of a provider that is down for an hour cost one probe per backoff, not one per task."""
        server.fail("luma", status=500, times=None)
        async with new_client(policy=PollPolicy(interval=5), retry=RetryPolicy(base=1, cap=16)) as client:
            ids = [server.add("luma", after=1) for _ in range(1000)]
            with pytest.raises(acetasks.TaskTimeoutError, match=r"the last poll failed: luma: HTTP 500") as caught:
                await client.wait_all("luma", ids, timeout=3600)
        assert isinstance(caught.value.__cause__, acetasks.ServiceError)
        # The backoff grows to a random time from 0 to 16 s: 8 s on average.
        assert 3600 / 16 < server.request_count < 1.25 * 3600 / 8
        probes = [seen.time for seen in server.requests[8:]]
        assert max(after - before for before, after in itertools.pairwise(probes)) <= 16.0
        assert {len(seen.ids) for seen in server.requests[-100:]} == {1}

    async def test_batches_are_full_right_after_an_outage(self, server, new_client):
        """The first response ends an outage: all overdue tasks are polled in full batches."""
        server.fail("luma", status=500, times=None, when=lambda seen: seen.time < 600)
        async with new_client(policy=PollPolicy(interval=5)) as client:
            ids = [server.add("luma", after=700) for _ in range(1000)]
            tasks = await client.wait_all("luma", ids)
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
        after = [seen for seen in server.requests if seen.time >= 600 and seen.status == 200]
        assert [len(seen.ids) for seen in after[1:20]] == [50] * 19
        assert after[19].time - after[0].time < 1

    async def test_errors_of_single_ids_are_deferred_by_as_completed(self, server, client):
        """The error is raised when the other tasks have ended; it has all tasks, and a note for each further error."""
        bad = {"task-3", "task-5"}
        server.fail("luma", status=400, times=None, when=lambda seen: bool(bad & set(seen.ids)))
        ids = [server.add("luma", after=10 + number, id=f"task-{number}") for number in range(10)]
        ended = []
        with pytest.raises(acetasks.BadRequestError) as caught:
            async for task in client.as_completed("luma", ids):
                ended.append(task.id)  # noqa: PERF401  # what came before the error counts
        assert sorted(ended) == [task_id for task_id in ids if task_id not in bad]
        assert [task.state.is_terminal for task in caught.value.tasks] == [task_id not in bad for task_id in ids]
        assert len(caught.value.__notes__) == 1

    async def test_an_error_of_a_single_id_is_raised_at_once_by_wait_all(self, server, client):
        """Without `return_failed` the error of one id ends the wait, and has every task as last seen."""
        server.fail("luma", status=400, times=None, when=lambda seen: "bad" in seen.ids)
        ids = [server.add("luma", after=1), server.add("luma", after=100), "bad"]
        with pytest.raises(acetasks.BadRequestError) as caught:
            await client.wait_all("luma", ids)
        assert now() < 1
        assert [task.id for task in caught.value.tasks] == ids

    async def test_a_failed_task_does_not_lose_finished_ones(self, server, client):
        """The error of `wait_all` has the tasks that ended before, which are paid for."""
        ids = [server.add("luma", after=5), server.add("luma", after=30, outcome="failed"), server.add("luma")]
        with pytest.raises(acetasks.TaskFailedError) as caught:
            await client.wait_all("luma", ids)
        assert [task.id for task in caught.value.tasks] == ids
        assert [task.state.is_terminal for task in caught.value.tasks] == [True, True, False]
        assert caught.value.tasks[0].artifacts


class TestRates:
    """Request rates, and the intervals between polls."""

    async def test_max_rate_is_kept_and_no_task_starves(self, server, new_client):
        """Under `max_rate` every window of ten seconds keeps the rate, and all tasks are polled equally often."""
        policy = PollPolicy(interval=1, batch_size=10, max_rate=2)
        async with new_client(policy=policy) as client:
            ids = [server.add("luma", after=1000) for _ in range(200)]
            waiting = asyncio.create_task(client.wait_all("luma", ids))
            await asyncio.sleep(100)
            times = [seen.time for seen in server.requests]
            polls = collections.Counter(task_id for seen in server.requests for task_id in seen.ids)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert len(times) == pytest.approx(200 / 1.1, abs=2)
        assert all(later - earlier >= 10 - 1e-6 for earlier, later in zip(times, times[20:], strict=False))
        assert set(polls) == set(ids)
        assert max(polls.values()) - min(polls.values()) <= 1

    async def test_max_rate_includes_every_kind_of_poll(self, server, new_client):
        """Splits, polls of omitted tasks, `retrieve` and its retries are counted too."""
        server.fail("luma", status=400, times=None, when=lambda seen: "bad" in seen.ids)
        server.fail("veo", status=500, times=None)
        server.fail("flux", limit=3, times=None)
        async with new_client(policy=PollPolicy(interval=1, max_rate=5)) as client:
            waits = [client.wait("luma", task_id, timeout=60) for task_id in ("bad", *self._add(server, "luma", 40))]
            waits += [client.wait("flux", task_id, timeout=60) for task_id in self._add(server, "flux", 40)]
            waits += [client.retrieve("veo", "x") for _ in range(20)]
            await gather(*waits)
        times = [seen.time for seen in server.requests]
        assert len(times) > 100
        assert all(later - earlier >= 2 - 1e-6 for earlier, later in zip(times, times[10:], strict=False))

    @staticmethod
    def _add(server: AceServer, provider: str, count: int) -> list[str]:
        return [server.add(provider, after=45) for _ in range(count)]

    async def test_the_rate_adapts_to_an_unknown_rate_limit(self, server, new_client):
        """Few requests are rejected, most of the allowed rate is used, and every task ends."""
        recent: collections.deque[float] = collections.deque(maxlen=5)

        def is_over_limit(seen) -> bool:
            if len(recent) == 5 and seen.time - recent[0] < 1.0:
                return True
            recent.append(seen.time)
            return False

        server.fail(status=429, times=None, when=is_over_limit)
        async with new_client(policy=PollPolicy(interval=2, batch_size=10)) as client:
            ids = [server.add("luma", after=300) for _ in range(300)]
            tasks = await client.wait_all("luma", ids)
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
        refused = sum(seen.status == 429 for seen in server.requests)
        assert refused < 0.05 * server.request_count
        # Five requests a second are allowed, and 15 would be needed.
        assert server.request_count - refused > 0.6 * 5 * 300

    @pytest.mark.parametrize("status", [429, 503])
    async def test_nothing_is_sent_before_retry_after_is_over(self, server, client, status):
        """`retrieve` waits for it too."""
        server.fail("luma", status=status, headers={"Retry-After": "60"})
        ids = [server.add("luma", after=5) for _ in range(200)]
        waiting = asyncio.create_task(client.wait_all("luma", ids))
        await asyncio.sleep(10)
        before = server.request_count
        assert (await client.retrieve("luma", ids[0])).state is TaskState.SUCCEEDED
        assert now() >= 60
        assert [seen.time >= 60 for seen in server.requests[before:]] == [True] * (server.request_count - before)
        await waiting

    @pytest.mark.parametrize("provider", ["luma", "captcha", "useapi-pixverse"])
    @pytest.mark.parametrize("way", ["wait", "as_completed", "updates"])
    async def test_the_interval_is_kept_however_often_a_task_is_awaited(self, server, new_client, provider, way):
        """A loop of short waits, as of a progress display, sends no more requests than one long wait."""
        async with new_client(policy=PollPolicy(interval=10, jitter=0)) as client:
            task_id = server.add(provider, after=1000)
            while now() < 60:
                try:
                    if way == "wait":
                        await client.wait(provider, task_id, timeout=1)
                    elif way == "as_completed":
                        _ = [task async for task in client.as_completed(provider, [task_id], timeout=1)]
                    else:
                        async with asyncio.timeout(1):
                            _ = [task async for task in client.handle(provider, task_id).updates()]
                except TimeoutError:  # TaskTimeoutError is one
                    continue
        assert 6 <= server.request_count <= 7

    async def test_the_minimum_interval_holds_for_failed_polls(self, server, new_client):
        """A useapi.net job is polled at most every 10 s, even if its polls fail."""
        server.fail("useapi-pixverse", status=500, rate=0.5)
        async with new_client(policy=PollPolicy(interval=1)) as client:
            ids = [server.add("useapi-pixverse", after=200) for _ in range(20)]
            await client.wait_all("useapi-pixverse", ids)
        for task_id in ids:
            times = [seen.time for seen in server.requests if seen.ids == (task_id,)]
            assert min(after - before for before, after in itertools.pairwise(times)) >= 10 - 1e-9

    async def test_a_limit_of_records_is_learned_from_the_first_poll(self, server, new_client):
        """If responses are truncated at 12 records, no wait is longer, and later polls are of 12 tasks."""
        server.fail("luma", limit=12, times=None)
        async with new_client(policy=PollPolicy(interval=5)) as client:
            ids = [server.add("luma", after=0.01) for _ in range(50)]
            await client.wait_all("luma", ids)
            assert now() < 0.1
            assert [len(seen.ids) for seen in server.requests] == [50, 38, 26, 14, 2]
            ids = [server.add("luma", after=0.01) for _ in range(24)]
            await client.wait_all("luma", ids)
        assert [len(seen.ids) for seen in server.requests[5:]] == [12, 12]

    async def test_a_limit_of_ids_is_learned_from_the_first_poll(self, server, new_client):
        """If 50 ids are rejected as too large and 25 are not, later polls are of 25 tasks."""
        server.fail("luma", status=413, times=None, when=lambda seen: len(seen.ids) > 30)
        async with new_client(policy=PollPolicy(interval=5)) as client:
            await client.wait_all("luma", [server.add("luma", after=0.01) for _ in range(50)])
            await client.wait_all("luma", [server.add("luma", after=0.01) for _ in range(50)])
        assert [len(seen.ids) for seen in server.requests] == [50, 25, 25, 25, 25]


class TestTokens:
    """Token providers."""

    async def test_a_token_is_renewed_once_for_all_requests(self, server, new_client):
        """If many requests are rejected at once, the token provider is called once, and every wait goes on."""
        calls = []

        async def provide() -> str:
            calls.append(now())
            await asyncio.sleep(1)
            return f"token-{len(calls)}"

        server.token = "token-1"
        async with new_client(token=provide) as client:
            waits = [
                client.wait(provider, server.add(provider, after=60))
                for provider in ("luma", "veo", "flux", "kling")
                for _ in range(100)
            ]

            async def expire() -> None:
                await asyncio.sleep(30)
                server.token = "token-2"

            outcomes = await gather(*waits, expire())
        assert {outcome.state for outcome in outcomes[:-1]} == {TaskState.SUCCEEDED}
        assert len(calls) == 2

    async def test_a_token_that_is_rejected_again_ends_every_wait(self, server, new_client):
        """If the token provider returns the rejected token, the error is final after few requests."""
        async with new_client(token=lambda: "stale") as client:
            ids = [server.add("luma") for _ in range(500)]
            with pytest.raises(acetasks.AuthenticationError):
                await client.wait_all("luma", ids)
        assert server.request_count <= 10
        assert now() == pytest.approx(5.05)

    async def test_a_failing_token_provider_is_a_transient_failure(self, server, new_client):
        """While the token provider fails, tasks stay pending."""

        def provide() -> str:
            if now() < 30:
                raise ConnectionRefusedError("the secret store is away")
            return server.token

        async with new_client(token=provide) as client:
            task = await client.wait("luma", server.add("luma", after=5))
        assert task.state is TaskState.SUCCEEDED
        assert 30 <= now() < 50
        assert server.request_count == 1

    @pytest.mark.parametrize("call", ["wait", "retrieve", "submit"])
    async def test_a_token_provider_that_other_code_cancels_is_a_transient_failure(self, server, new_client, call):
        """A token refresh that is shared, and cancelled with another request for it, ends no call of the client."""
        refreshes: list[asyncio.Task] = []

        async def provide() -> str:
            if not refreshes or refreshes[-1].cancelled():
                refreshes.append(asyncio.create_task(asyncio.sleep(2, server.token)))
            return await refreshes[-1]

        async with new_client(token=provide) as client:
            other = asyncio.create_task(asyncio.wait_for(provide(), 1))
            if call == "submit":
                assert (await client.submit("luma", {"prompt": "a cat"})).id
            else:
                method = client.wait if call == "wait" else client.retrieve
                assert (await method("luma", server.add("luma", after=0))).state is TaskState.SUCCEEDED
            await asyncio.wait([other])
        assert isinstance(other.exception(), TimeoutError)
        assert len(refreshes) == 2
        assert server.request_count == 1

    async def test_a_submission_is_retried_with_the_renewed_token(self, server, new_client):
        """After a 401 nothing was accepted, so the submission is sent again, and accepted once."""
        tokens = iter(["old", server.token])
        async with new_client(token=lambda: next(tokens)) as client:
            task = await client.run("luma", {"prompt": "a cat"})
        assert task.state is TaskState.SUCCEEDED
        assert server.submissions == 1


class TestSafety:
    """Insecure settings are rejected when the client is created."""

    @pytest.mark.parametrize("name", ["base_url", "useapi_base_url"])
    def test_plain_http_to_another_machine_has_to_be_allowed(self, name):
        """A base URL of `http://` is rejected, and accepted with `allow_insecure`."""
        with pytest.raises(ValueError, match="allow_insecure=True"):
            acetasks.Client("token", **{name: "http://ace.example"})
        acetasks.Client("token", **{name: "http://ace.example"}, allow_insecure=True)

    async def test_a_session_without_certificate_verification_has_to_be_allowed(self):
        """It is rejected, and accepted with `allow_insecure`."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as http:
            with pytest.raises(ValueError, match="certificates"):
                acetasks.Client("token", http=http)
            acetasks.Client("token", http=http, allow_insecure=True)


class TestOwner:
    """A client belongs to one event loop and one process."""

    async def test_close_does_not_wait_for_hanging_requests(self, server, client):
        """If every request hangs, all waits end at once, and no connection is left."""
        server.fail(hang=math.inf, times=None)
        waits = [asyncio.create_task(client.wait("luma", server.add("luma"))) for _ in range(1000)]
        waits.append(asyncio.create_task(client.retrieve("veo", "x")))
        await asyncio.sleep(10)
        await client.close()
        outcomes = await gather(*waits)
        assert {type(outcome) for outcome in outcomes[:-1]} == {acetasks.ClientClosedError}
        assert isinstance(outcomes[-1], acetasks.ClientClosedError)
        assert now() == 10
        await asyncio.sleep(0.01)
        assert server.open_connections == 0

    async def test_close_does_not_wait_for_a_token_provider(self, server, new_client):
        """A token provider that ignores its cancellation does not delay it by more than a second."""

        async def provide() -> str:
            for _ in range(100):
                try:
                    await asyncio.sleep(1)
                except asyncio.CancelledError:
                    continue
            return "token"

        client = new_client(token=provide)
        await client.__aenter__()
        wait = asyncio.create_task(client.wait("luma", server.add("luma")))
        await asyncio.sleep(5)
        await client.close()
        assert now() <= 6
        with pytest.raises(acetasks.ClientClosedError):
            await wait

    async def test_close_completes_if_it_is_cancelled(self, server, client):
        """Cancelling the task that closes a client leaves no connection and no background task."""
        wait = asyncio.create_task(client.wait("luma", server.add("luma")))
        await asyncio.sleep(10)
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        closing.cancel()
        await gather(closing)
        with pytest.raises(acetasks.ClientClosedError):
            await wait
        await asyncio.sleep(0.01)
        assert server.open_connections == 0
        assert not [task for task in asyncio.all_tasks() if "acetasks" in task.get_name()]

    async def test_concurrent_calls_of_close_wait_for_the_same_end(self, server, client):
        """Each call returns when the client is closed."""
        wait = asyncio.create_task(client.wait("luma", server.add("luma")))
        await asyncio.sleep(10)
        await asyncio.gather(client.close(), client.close())
        await asyncio.sleep(0.01)
        assert server.open_connections == 0
        with pytest.raises(acetasks.ClientClosedError):
            await wait

    async def test_a_client_cannot_be_used_in_another_event_loop(self, server, client):
        """The error says so, and the client goes on in its own loop."""

        async def elsewhere() -> list[object]:
            attempts = [client.wait("luma", "x"), client.retrieve("luma", "x"), client.submit("luma", {})]
            return await gather(*attempts, client.close())

        for outcome in await asyncio.to_thread(asyncio.run, elsewhere()):
            assert isinstance(outcome, acetasks.ClientClosedError)
            assert "another event loop" in str(outcome)
        with pytest.raises(acetasks.ClientClosedError, match="another event loop"):
            await asyncio.to_thread(client.as_completed, "luma", ["x"])
        assert (await client.wait("luma", server.add("luma", after=1))).state is TaskState.SUCCEEDED

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    async def test_a_client_cannot_be_used_in_a_forked_process(self, server, client):
        """The error says so, and the connections of the parent process go on."""
        wait = asyncio.create_task(client.wait("luma", server.add("luma", after=30)))
        await asyncio.sleep(10)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover  # another process
            lines = []
            for attempt in (lambda: client.wait("luma", "x"), client.close):
                try:
                    asyncio.run(attempt())
                except BaseException as error:  # noqa: BLE001  # the parent process checks it
                    lines.append(f"{type(error).__name__}: {error}")
            os.write(writing, "\n".join(lines).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            lines = pipe.read().splitlines()
        assert await asyncio.to_thread(os.waitpid, child, 0) == (child, 0)
        assert len(lines) == 2
        assert all(line.startswith("ClientClosedError") and "another process" in line for line in lines)
        assert (await wait).state is TaskState.SUCCEEDED


HOSTILE = {"error": {"code": "x\n", "message": "x\r\nCRITICAL:root:forged \x1b[2J\u202e"}}


class TestForeignText:
    """Text from the service in the log and in errors."""

    @pytest.mark.parametrize("status", [429, 500])
    async def test_one_warning_is_one_line(self, server, new_client, caplog, status):
        """A message with line ends and escapes forges no other line, in the log, the error or its cause."""
        caplog.set_level("DEBUG", "acetasks")
        server.fail("luma", status=status, body=HOSTILE, times=None)
        async with new_client() as client:
            with pytest.raises(acetasks.TaskTimeoutError) as caught:
                await client.wait("luma", server.add("luma", after=5), timeout=20)
        text = r"x\r\nCRITICAL:root:forged \u001b[2J\u202e"
        assert text in str(caught.value)
        assert text in str(caught.value.__cause__)
        assert caught.value.__cause__.message == HOSTILE["error"]["message"]
        assert len(caplog.messages) > 1
        assert all(text in message and message.isprintable() for message in caplog.messages)

    async def test_notes_and_results_of_several_tasks(self, server, client):
        """The notes of an error for several tasks are escaped too."""
        ids = [server.add("luma", after=5, id=name) for name in ("a", "b")]
        server.fail("luma", status=400, body=HOSTILE, times=None)
        with pytest.raises(acetasks.BadRequestError) as caught:
            await client.wait_all("luma", ids, return_failed=True)
        assert [r"forged \u001b[2J" in text and text.isprintable() for text in caught.value.__notes__] == [True]


async def test_a_state_that_may_be_final_is_told_twice(server, new_client, caplog):
    """It is logged at first and after ten times the usual duration, for many tasks; the timeout names it too."""
    ids = [server.add("luma", id=f"t{number}", outcome="forever") for number in range(20)]

    def edit(answer: object) -> object:
        items = answer.get("items", [answer])
        for item in items:
            item["response"] = {"state": f"position {item['id'][1:]} in the line"}
        return answer

    server.fail("luma", edit=edit, times=None)
    usual = lookup("luma").typical_duration
    async with new_client(policy=PollPolicy(interval=usual, schedule="fixed")) as client:
        with pytest.raises(acetasks.TaskTimeoutError, match="'position 0 in the line' is not documented"):
            await client.wait_all("luma", ids, timeout=usual * 25)
    told = [message for message in caplog.messages if "undocumented" in message]
    assert len(told) == 2
    assert " in the line' for " in told[1]
