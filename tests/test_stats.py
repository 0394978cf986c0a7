"""`Client.stats` and `Client.explain`, on the virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from support import EXACT

import acetasks
import acetasks.sync
from acetasks import TaskState, WaitReason


@contextlib.asynccontextmanager
async def awaiting(client, *targets, seconds: float):
    """Await tasks in the background, and let some seconds pass."""
    waits = [asyncio.create_task(client.wait(provider, task_id)) for provider, task_id in targets]
    await asyncio.sleep(seconds)
    try:
        yield
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


@pytest.fixture
async def client(new_client):
    """A client that polls at exact times: 0.05, 5.05, 10.05 ..."""
    async with new_client(policy=EXACT) as client:
        yield client


class TestStats:
    """`stats`."""

    async def test_a_new_client_has_done_nothing(self, client):
        """All counts are 0, and nothing was learned."""
        stats = client.stats()
        assert stats.requests == acetasks.RequestStats()
        assert stats.submissions == acetasks.SubmissionStats()
        assert (stats.pending, stats.waiters, stats.polls_in_flight, stats.providers) == (0, 0, 0, {})

    async def test_pending_tasks_count_by_provider_and_state(self, server, client):
        """A task with two waits is one pending task."""
        suno, luma = server.add("suno", after=100, queued_for=1), server.add("luma", after=100, queued_for=50)
        async with awaiting(client, ("luma", luma), ("luma", luma), ("suno", suno), seconds=12):
            stats = client.stats()
        assert stats.providers["suno"].pending == {TaskState.RUNNING: 1}
        assert stats.providers["luma"].pending == {TaskState.PENDING: 1}
        assert (stats.pending, stats.waiters) == (2, 3)
        assert client.stats().pending == 0

    async def test_requests_count_by_outcome(self, server, client):
        """Each attempt counts: answered, failed by type, and repeated."""
        server.fail("luma", status=429)
        await client.submit("luma", {"prompt": "a cat"})
        stats = client.stats()
        assert stats.requests == acetasks.RequestStats(sent=2, answered=1, failed={"RateLimitError": 1}, retries=1)
        assert stats.submissions == acetasks.SubmissionStats(accepted=1)
        assert stats.rates["acedata"].is_reduced

    async def test_a_request_in_flight_counts_until_its_response(self, server, client):
        """A poll without a response is in flight, and cancelled once nothing waits for it."""
        server.fail("luma", hang=30)
        async with awaiting(client, ("luma", server.add("luma", after=100)), seconds=3):
            stats = client.stats()
            assert (stats.polls_in_flight, stats.requests.in_flight, stats.requests.sent) == (1, 1, 1)
        await asyncio.sleep(1)
        assert client.stats().requests == acetasks.RequestStats(sent=1, cancelled=1)

    async def test_an_uncertain_submission_counts(self, server, client):
        """A submission whose response is lost is uncertain."""
        server.fail("luma", reset=True, action="submit")
        with pytest.raises(acetasks.SubmissionUncertainError):
            await client.submit("luma", {"prompt": "a cat"})
        assert client.stats().submissions == acetasks.SubmissionStats(uncertain=1)

    async def test_a_provider_that_is_down_is_held(self, server, client):
        """An open circuit has the time of the next probe; other providers are not held."""
        server.fail("luma", status=503, times=None)
        targets = ("luma", server.add("luma", after=100)), ("suno", server.add("suno", after=100))
        async with awaiting(client, *targets, seconds=60):
            stats = client.stats()
        assert stats.providers["luma"].circuit == "open"
        assert stats.providers["luma"].held_until > stats.time
        assert (stats.providers["suno"].circuit, stats.providers["suno"].held_until) == ("closed", None)

    async def test_reading_changes_nothing(self, server, new_client):
        """A client that is read all the time sends the same requests at the same times."""

        async def run(*, reads: bool) -> list[float]:
            start, first = asyncio.get_running_loop().time(), len(server.requests)
            task_id = server.add("luma", after=60)
            async with new_client() as client, asyncio.TaskGroup() as group:
                wait = group.create_task(client.wait("luma", task_id))
                while reads and not wait.done():
                    client.stats()
                    str(client.explain("luma", task_id))
                    client.explain("suno", "other")
                    await asyncio.sleep(1)
            return [round(request.time - start, 3) for request in server.requests[first:]]

        assert await run(reads=True) == await run(reads=False)

    async def test_a_closed_client_raises(self, new_client):
        """Both need an open client."""
        client = new_client()
        with pytest.raises(acetasks.ClientClosedError):
            client.stats()
        with pytest.raises(acetasks.ClientClosedError):
            client.explain("luma", "id")


class TestExplain:
    """`explain`."""

    async def test_a_task_that_is_not_awaited(self, client):
        """It says so."""
        explanation = client.explain("luma", "some-id")
        assert not explanation.is_awaited
        assert str(explanation) == "luma task some-id is not awaited by this client, so it is not polled"

    async def test_a_task_awaited_before_has_its_last_state(self, server, client):
        """The state that the last wait saw is kept."""
        task_id = server.add("suno", after=100)
        async with awaiting(client, ("suno", task_id), seconds=12):
            pass
        assert str(client.explain("suno", task_id)).endswith("; it was last seen running")

    async def test_the_next_poll_at_a_fixed_interval(self, server, client):
        """At 12 s there were three polls, and the next is at 15.05 s."""
        task_id = server.add("suno", after=100)
        async with awaiting(client, ("suno", task_id), seconds=12):
            explanation = client.explain("suno", task_id)
        assert explanation.reason is WaitReason.INTERVAL
        assert (explanation.state, explanation.polls, explanation.waiters) == (TaskState.RUNNING, 3, 1)
        assert explanation.next_poll_in == pytest.approx(3.05, abs=0.1)
        assert explanation.seen_ago == pytest.approx(1.95, abs=0.1)
        assert re.fullmatch(
            rf"suno task {task_id} is running; polled 3 times, last seen (1.9|2.0) s ago; next poll in 3.[01] s"
            r" \(interval\); submitted 1[12].\d s ago; half of such tasks end within \d+.\d s; 1 waiter",
            str(explanation),
        )

    async def test_before_the_first_poll(self, server, client):
        """A task that was just registered is polled after the linger."""
        task_id = server.add("luma", after=100)
        async with awaiting(client, ("luma", task_id), seconds=0):
            explanation = client.explain("luma", task_id)
        assert (explanation.reason, explanation.polls, explanation.seen_ago) == (WaitReason.FIRST_POLL, 0, None)
        assert explanation.age is None
        assert "not polled yet; next poll in 0." in str(explanation)

    async def test_a_poll_in_flight(self, server, client):
        """There is no time of the next poll while one is in flight."""
        task_id = server.add("luma", after=100)
        server.fail("luma", hang=30)
        async with awaiting(client, ("luma", task_id), seconds=3):
            explanation = client.explain("luma", task_id)
        assert (explanation.reason, explanation.next_poll_in) == (WaitReason.IN_FLIGHT, None)
        assert "a poll is in flight" in str(explanation)

    async def test_after_an_error(self, server, new_client):
        """A failed poll is repeated after a backoff, and its message is in the explanation."""
        task_id = server.add("luma", after=100)
        server.fail("luma", status=503)
        retry = acetasks.RetryPolicy(base=60, cap=60)
        async with new_client(retry=retry) as client, awaiting(client, ("luma", task_id), seconds=1):
            explanation = client.explain("luma", task_id)
        assert explanation.reason is WaitReason.RETRY
        assert "503" in explanation.fault
        assert f"last error: {explanation.fault}" in str(explanation)

    async def test_a_requested_pause(self, server, client):
        """`Retry-After` keeps the next poll back."""
        task_id = server.add("luma", after=1000)
        server.fail("luma", status=429, headers={"Retry-After": "40"})
        async with awaiting(client, ("luma", task_id), seconds=10):
            explanation = client.explain("luma", task_id)
        assert explanation.reason is WaitReason.PAUSE
        assert explanation.next_poll_in == pytest.approx(30, abs=0.2)

    async def test_an_outage(self, server, client):
        """A provider that is down is probed later."""
        task_id = server.add("luma", after=1000)
        server.fail("luma", status=503, times=None)
        async with awaiting(client, ("luma", task_id), seconds=60):
            explanation = client.explain("luma", task_id)
        assert explanation.reason is WaitReason.OUTAGE
        assert explanation.next_poll_in > 0

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_refusal_is_confirmed(self, server, client, status):
        """The first refusal of the token or the provider is confirmed by a poll some seconds later."""
        task_id = server.add("luma", after=1000)
        server.fail("luma", status=status)
        async with awaiting(client, ("luma", task_id), seconds=2):
            explanation = client.explain("luma", task_id)
        assert explanation.reason is WaitReason.REFUSED
        assert explanation.next_poll_in == pytest.approx(3.05, abs=0.1)
        assert f"last error: luma: HTTP {status}" in str(explanation)

    async def test_other_tasks_of_a_refusal_are_held(self, server, client):
        """A task that is due meanwhile waits for that poll, or is in it."""
        first, second = server.add("luma", after=1000), server.add("luma", after=1000)
        server.fail("luma", status=403)
        async with awaiting(client, ("luma", first), seconds=2), awaiting(client, ("luma", second), seconds=0.5):
            explanation = client.explain("luma", second)
        assert explanation.reason is WaitReason.REFUSED
        assert explanation.next_poll_in == pytest.approx(2.55, abs=0.1)

    async def test_a_free_slot(self, server, new_client):
        """A due task waits while all slots are in use, and is polled as soon as one is free."""
        policy = acetasks.PollPolicy(interval=5, jitter=0, max_in_flight=1)
        server.fail("luma", hang=30)
        luma, suno = server.add("luma", after=1000), server.add("suno", after=1000)
        async with (
            new_client(policy=policy) as client,
            awaiting(client, ("luma", luma), seconds=1),
            awaiting(client, ("suno", suno), seconds=2),
        ):
            explanation = client.explain("suno", suno)
        assert (explanation.reason, explanation.polls, explanation.next_poll_in) == (WaitReason.QUEUED, 0, 0)

    async def test_the_rate_limit_of_the_user(self, server, new_client):
        """With one request in 100 s, the second provider waits for the rate."""
        policy = acetasks.PollPolicy(interval=5, jitter=0, max_rate=0.01)
        task_id = server.add("luma", after=1000)
        async with new_client(policy=policy) as client, awaiting(client, ("luma", task_id), seconds=12):
            explanation = client.explain("luma", task_id)
            assert client.stats().max_rate == 0.01
        assert explanation.reason is WaitReason.RATE_LIMIT
        assert explanation.next_poll_in == pytest.approx(98, abs=0.2)

    async def test_a_learned_schedule(self, server, new_client):
        """After enough ends of such tasks, the next poll is by what was learned, and so is the time left."""
        async with new_client() as client:
            await client.wait_all("luma", [server.add("luma", after=60 + number) for number in range(20)])
            task_id = server.add("luma", after=60)
            async with awaiting(client, ("luma", task_id), seconds=30):
                explanation = client.explain("luma", task_id)
        assert explanation.reason is WaitReason.LEARNED
        assert 20 < explanation.expected_left < 60
        assert "half of such tasks end within" in str(explanation)

    async def test_a_task_that_is_not_found(self, server, client):
        """Polls without a record are counted."""
        task_id = server.add("luma", after=100, visible_after=60)
        async with awaiting(client, ("luma", task_id), seconds=6):
            explanation = client.explain("luma", task_id)
        assert (explanation.reason, explanation.misses) == (WaitReason.RETRY, 2)
        assert "not found in the last 2 polls" in str(explanation)

    async def test_wrong_arguments_raise(self, client):
        """A malformed id or provider is an error, as elsewhere."""
        with pytest.raises(acetasks.UnknownProviderError):
            client.explain("no such provider!", "id")
        with pytest.raises(ValueError, match="id"):
            client.explain("luma", "")


@pytest.mark.real_clock
def test_the_blocking_client_has_both():
    """`acetasks.sync.Client` has the same methods."""
    with acetasks.sync.Client("token") as client:
        assert client.stats().pending == 0
        assert not client.explain("luma", "some-id").is_awaited
