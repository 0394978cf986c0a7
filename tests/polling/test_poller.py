"""The poller, over a fake service, on the virtual clock with exact times."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics

import anyio
import msgspec
import pytest
from support import FakeService, done, new_poller, new_runtime, now, record, until

import acetasks
from acetasks import PollPolicy, RetryPolicy, TaskState
from acetasks._polling import WaitTargets
from acetasks._polling.awaited import SingleTaskWaiter
from acetasks._polling.poller import Poller
from acetasks._polling.waiting import wait_all, wait_one
from acetasks._scheduling import Durations
from acetasks._scheduling.tasks import PollPriority
from acetasks.providers import lookup
from acetasks.testing.clock import VirtualClockDeadlockError, run

LUMA, VEO, USEAPI = lookup("luma"), lookup("veo"), lookup("useapi-pixverse")


async def wait(poller: Poller, task_id: str, timeout: float | None = None, spec=LUMA) -> acetasks.Task:
    """Wait for one task, as a client does."""
    return await wait_one(poller, (spec.slug, task_id), timeout)


def times_of(transport: FakeService, provider: str) -> list[float]:
    """Return the loop times of the requests to one provider."""
    return [time for time, request in transport.sent if request.provider == provider]


class StubbornService(FakeService):
    """A service whose requests ignore cancellation for ten seconds."""

    async def send(self, request, read, *, acquire_slot=None, attempts=1) -> object:
        """Answer after ten seconds, cancelled or not."""
        end = now() + 10
        while now() < end:
            try:
                await asyncio.sleep(end - now())
            except asyncio.CancelledError:
                continue
        return await super().send(request, read, acquire_slot=acquire_slot, attempts=attempts)


class TestTiming:
    """Request times."""

    async def test_waiters_within_the_linger_share_a_request(self):
        """The first poll is sent a linger after the first waiter, and includes the tasks registered meanwhile."""
        transport = FakeService(done)
        poller = new_poller(transport)
        async with asyncio.TaskGroup() as group:
            for index in range(5):
                group.create_task(wait(poller, f"t{index}"))
                await asyncio.sleep(0.01)

        assert transport.times == [0.05]
        assert transport.sent[0][1].ids == ("t0", "t1", "t2", "t3", "t4")

    async def test_polls_are_an_interval_apart(self):
        """Without jitter, each poll is sent exactly one interval after the response to the previous one."""
        transport = FakeService(until(18, done), latency=0.5)
        await wait(new_poller(transport), "t")

        assert transport.times == [0.05, 5.55, 11.05, 16.55, 22.05]
        assert now() == pytest.approx(22.55)

    async def test_a_second_waiter_does_not_change_the_polls_of_a_task(self):
        """A later waiter of an awaited task shares its polls."""
        transport = FakeService(until(8, done))
        poller = new_poller(transport)
        first = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(3)
        await wait(poller, "t")

        assert (await first).state is TaskState.SUCCEEDED
        assert transport.times == [0.05, 5.05, 10.05]

    async def test_requests_in_flight_are_limited_across_providers(self):
        """With a slow service there are never more than `max_in_flight` requests, `poll_once` included."""
        transport = FakeService(done, latency=1)
        poller = new_poller(transport, PollPolicy(max_in_flight=3))
        waits = [wait(poller, f"{spec.slug}{n}", spec=spec) for spec in (LUMA, VEO, USEAPI) for n in range(60)]
        async with asyncio.TaskGroup() as group:
            for waiting in waits:
                group.create_task(waiting)
            group.create_task(poller.requests.poll_once(VEO, ["other"]))
            group.create_task(poller.requests.poll_once(VEO, ["another"]))

        assert transport.max_in_flight == 3

    async def test_a_slot_freed_by_poll_once_is_used_at_once(self):
        """A poll that waits for a free slot is sent when `poll_once` returns."""
        transport = FakeService(done, latency=1)
        poller = new_poller(transport, PollPolicy(max_in_flight=1))
        async with asyncio.TaskGroup() as group:
            group.create_task(poller.requests.poll_once(VEO, ["other"]))
            group.create_task(wait(poller, "t"))

        assert transport.times == [0.0, 1.0]

    async def test_every_request_of_a_poll_counts_towards_the_rate(self):
        """The second request for omitted records waits for `max_rate`, and so does `poll_once`."""
        transport = FakeService(lambda task_id: None if task_id == "gone" else record(task_id))
        poller = new_poller(transport, PollPolicy(interval=100, jitter=0, max_rate=1))
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(poller, "t", 20))
                group.create_task(wait(poller, "gone", 20))
                for number in range(3):
                    group.create_task(poller.requests.poll_once(LUMA, ["gone", f"other{number}"]))

        assert len(transport.times) == 8
        assert all(later - earlier > 1 - 1e-6 for earlier, later in itertools.pairwise(transport.times))

    @pytest.mark.parametrize("latency", [0.0, 3.0])
    async def test_a_minimum_interval_outlasts_the_waiters(self, latency):
        """A useapi.net job that is awaited again and again is polled at most every 10 s."""
        transport = FakeService(latency=latency)
        poller = new_poller(transport)
        for _ in range(30):
            with pytest.raises(acetasks.TaskTimeoutError):
                await wait(poller, "job", 2, spec=USEAPI)

        assert len(transport.times) >= 4
        assert all(later - earlier > 10 - 1e-6 for earlier, later in itertools.pairwise(transport.times))

    async def test_timeouts_are_exact_while_the_service_hangs(self):
        """A wait ends exactly at its timeout though its request gets no response; the request is cancelled."""
        transport = FakeService(done, latency=1e9)
        poller = new_poller(transport)
        for seconds in (0.5, 1, 30):
            began = now()
            with pytest.raises(acetasks.TaskTimeoutError):
                await wait(poller, f"t{seconds}", seconds)
            assert now() - began == pytest.approx(seconds, abs=1e-6)
        await asyncio.sleep(0.01)

        assert transport.cancelled == 3

    async def test_a_poll_in_flight_resolves_a_task_that_is_awaited_anew(self):
        """A task that is dropped and awaited again during its poll is resolved by the response to that poll."""
        transport = FakeService(done, latency=2)
        poller = new_poller(transport)
        other = asyncio.create_task(wait(poller, "other"))
        first = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(0.1)

        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED
        assert now() == pytest.approx(2.05)
        assert (await other).state is TaskState.SUCCEEDED
        # The task has been queued anew: at most that one request is sent besides.
        assert [request.ids for _, request in transport.sent[1:]] in ([], [("t",)])
        await asyncio.sleep(10)
        assert len(transport.sent) <= 2

    async def test_a_task_awaited_anew_stays_scheduled_if_the_poll_in_flight_finds_it_unfinished(self):
        """The response to the old poll does not unschedule, or schedule twice, the task that is awaited anew."""
        transport = FakeService(until(30, done), latency=2)
        poller = new_poller(transport)
        other = asyncio.create_task(wait(poller, "other"))
        first = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(0.1)

        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED
        assert (await other).state is TaskState.SUCCEEDED
        for task_id in ("t", "other"):
            times = [time for time, request in transport.sent[1:] if task_id in request.ids]
            assert all(later - earlier > 5 for earlier, later in itertools.pairwise(times))

    async def test_a_task_awaited_anew_after_its_poll_was_cancelled_is_polled_again(self):
        """A task whose poll has just been cancelled gets another request an interval after the first."""
        transport = FakeService(done, latency=2)
        poller = new_poller(transport)
        first, second = SingleTaskWaiter(), SingleTaskWaiter()
        poller.register(first, [("luma", "t")])
        await asyncio.sleep(1)
        poller.leave(first, [("luma", "t")])
        poller.register(second, [("luma", "t")])
        outcome = await second.done

        assert isinstance(outcome, acetasks.Task)
        assert outcome.state is TaskState.SUCCEEDED
        assert transport.cancelled == 1
        assert now() == pytest.approx(7.05)

    async def test_a_poll_that_was_cancelled_before_it_began_delays_nothing(self):
        """A task that is left before any request for it is polled after the linger."""
        transport = FakeService(done)
        poller = new_poller(transport)
        with pytest.raises(acetasks.TaskTimeoutError):
            await wait(poller, "t", 0.04)

        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED
        assert transport.times == [0.09]

    @pytest.mark.parametrize("latency", [0.0, 0.5, 3.0])
    async def test_the_interval_outlasts_the_waiters(self, latency):
        """However often a task is awaited anew, requests for it are an interval apart, whether they are answered."""
        transport = FakeService(latency=latency)
        poller = new_poller(transport)
        for _ in range(60):
            with pytest.raises(acetasks.TaskTimeoutError):
                await wait(poller, "t", 1)

        assert len(transport.times) >= 9
        assert all(later - earlier > 5 - 1e-6 for earlier, later in itertools.pairwise(transport.times))

    async def test_an_ended_task_is_polled_at_once_if_it_is_awaited_anew(self):
        """Only tasks that were left unfinished keep their interval."""
        transport = FakeService(done)
        poller = new_poller(transport)
        for _ in range(2):
            await wait(poller, "t")

        assert transport.times == [0.05, 0.1]

    async def test_a_wait_that_sends_no_request_has_what_was_last_seen(self):
        """The timeout error has the task of the wait before."""
        transport = FakeService(lambda task_id: record(task_id, progress=now() // 5 * 10))
        poller = new_poller(transport)
        progress = []
        for _ in range(8):
            with pytest.raises(acetasks.TaskTimeoutError) as caught:
                await wait(poller, "t", 1)
            progress.append((caught.value.task.state, caught.value.task.progress))

        assert progress == [(TaskState.RUNNING, 0.0)] * 5 + [(TaskState.RUNNING, 10.0)] * 3
        assert len(transport.times) == 2


class TestFailures:
    """Poll results other than a record."""

    async def test_a_transient_failure_leaves_tasks_pending(self):
        """After HTTP 500 a task is polled again, and ends as usual."""
        fault = acetasks.ServiceError("broken", status=500)
        transport = FakeService(until(30, done, before=lambda _: fault))

        assert (await wait(new_poller(transport), "t")).state is TaskState.SUCCEEDED
        assert 30 <= now() < 60

    async def test_an_outage_does_not_delay_other_providers(self):
        """While one provider fails, another one's tasks are polled on time."""
        fault = acetasks.TransportError("refused", reached=False)
        transport = FakeService(lambda task_id: fault if task_id.startswith("luma") else until(20, done)(task_id))
        poller = new_poller(transport)
        broken = [asyncio.create_task(wait(poller, f"luma{n}")) for n in range(500)]

        assert (await wait(poller, "veo", spec=VEO)).state is TaskState.SUCCEEDED
        assert times_of(transport, "veo") == pytest.approx([0.05, 5.05, 10.05, 15.05, 20.05])
        for waiting in broken:
            waiting.cancel()
        await asyncio.wait(broken)

    async def test_a_provider_that_is_down_is_probed_by_one_request_at_a_time(self):
        """Five hundred tasks of a provider that is down cost one request for each backoff delay, not ten."""
        transport = FakeService(lambda _: acetasks.TransportError("refused"), latency=0.1)
        poller = new_poller(transport, retry=RetryPolicy(base=1, cap=8))
        waits = [asyncio.create_task(wait(poller, f"t{n}", 120)) for n in range(500)]
        await asyncio.wait(waits)

        first = [time for time in transport.times if time < 0.2]
        later = [time for time in transport.times if time >= 0.2]
        assert len(first) <= 10
        assert all(after - before >= 0.1 for before, after in itertools.pairwise(later))
        # Full jitter up to 8 s: about one request in four seconds.
        assert len(later) < 60

    @pytest.mark.parametrize("retry_after", [30.0, 200.0])
    async def test_retry_after_of_a_429_holds_for_the_provider(self, retry_after):
        """Other providers of that service are not polled for a minute at most; another service's are."""
        limit = acetasks.RateLimitError("slow down", status=429, retry_after=retry_after)
        transport = FakeService(until(1, done, before=lambda task_id: limit if task_id == "luma" else record(task_id)))
        poller = new_poller(transport)
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(poller, "luma"))
            group.create_task(wait(poller, "veo", spec=VEO))
            group.create_task(wait(poller, "job", spec=USEAPI))

        assert times_of(transport, "luma")[1] == pytest.approx(0.05 + retry_after)
        assert times_of(transport, "veo")[1] == pytest.approx(0.05 + min(retry_after, 60.0), abs=3.0)
        assert times_of(transport, "useapi-pixverse")[1] == pytest.approx(10.05)

    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_timeout_in_a_requested_pause_names_it(self, status):
        """For the tasks that were polled, and for those that were not because of it."""
        kind = acetasks.RateLimitError if status == 429 else acetasks.ServiceError
        poller = new_poller(FakeService(lambda _: kind("later", status=status, retry_after=200.0)))
        first = asyncio.create_task(wait(poller, "a", 50))
        await asyncio.sleep(1)
        both = WaitTargets([("luma", "c"), ("luma", "d")], {})
        errors = await asyncio.gather(
            first, wait(poller, "b", 20), wait_all(poller, both, 20, return_failed=True), return_exceptions=True
        )

        assert [type(error) for error in errors] == [acetasks.TaskTimeoutError] * 3
        assert ["(the service asked to pause for 200 s)" in str(error) for error in errors] == [True] * 3

    async def test_a_401_ends_every_wait_under_its_token(self):
        """All waiters of that service receive the error, each a copy of its own; other services are not affected."""
        fault = acetasks.AuthenticationError("expired", status=401, code="token_expired")
        transport = FakeService(lambda task_id: until(20, done)(task_id) if task_id == "job" else fault)
        poller = new_poller(transport)
        waits = [
            asyncio.create_task(wait(poller, task_id, spec=spec))
            for task_id, spec in (("a", LUMA), ("b", LUMA), ("c", VEO), ("d", VEO), ("job", USEAPI))
        ]
        ended, pending = await asyncio.wait(waits, timeout=6)

        errors = [waiting.exception() for waiting in waits[:4]]
        assert (len(ended), len(pending)) == (4, 1)
        assert all(isinstance(error, acetasks.AuthenticationError) for error in errors)
        assert len({id(error) for error in errors}) == 4
        assert (await waits[4]).state is TaskState.SUCCEEDED

    @pytest.mark.parametrize(
        "fault",
        [
            acetasks.AuthenticationError("for another API", status=401),
            acetasks.PermissionDeniedError("used up", status=403),
            acetasks.UnknownProviderError("luma"),
        ],
        ids=lambda error: type(error).__name__,
    )
    async def test_a_provider_error_ends_the_waits_of_that_provider(self, fault):
        """It takes two of them, five seconds apart. Other providers under the token are answered, and not affected."""
        transport = FakeService(lambda task_id: fault if task_id == "bad" else until(20, done)(task_id))
        poller = new_poller(transport)
        waits = [
            asyncio.create_task(wait(poller, task_id, spec=spec))
            for task_id, spec in (("c", VEO), ("a", LUMA), ("bad", LUMA))
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)

        assert now() == pytest.approx(5.05)
        assert [type(waiting.exception()) for waiting in waits[1:]] == [type(fault)] * 2
        assert times_of(transport, "luma") == [0.05, 5.05]
        assert (await waits[0]).state is TaskState.SUCCEEDED

    async def test_an_answer_between_two_refusals_shows_that_the_first_has_passed(self):
        """The waits continue, however often that happens, at most one poll in five seconds more."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        polls = itertools.count(1)
        transport = FakeService(lambda task_id: fault if next(polls) % 2 else until(60, done)(task_id))

        assert (await wait(new_poller(transport), "t")).state is TaskState.SUCCEEDED
        assert transport.times == pytest.approx([0.05 + 5.0 * number for number in range(len(transport.times))])

    async def test_a_provider_error_ends_waits_whose_tasks_are_in_other_batches(self):
        """Tasks that are queued or in flight in another batch are resolved too, and are not polled any more."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        transport = FakeService(lambda task_id: fault if task_id == "bad" else record(task_id), latency=1.0)
        poller = new_poller(transport)
        waits = [asyncio.create_task(wait(poller, f"t{n}")) for n in range(120)]
        await asyncio.sleep(4)
        waits.append(asyncio.create_task(wait(poller, "bad")))
        outcomes = await asyncio.gather(*waits, return_exceptions=True)

        assert {type(outcome) for outcome in outcomes} == {acetasks.PermissionDeniedError}
        assert now() == pytest.approx(11.05)
        sent = len(transport.sent)
        await asyncio.sleep(100)
        assert len(transport.sent) == sent
        assert poller.is_idle

    async def test_a_rejected_id_ends_only_its_own_wait(self):
        """The service rejects one id; the other tasks of its batch are resolved as usual."""
        fault = acetasks.BadRequestError("no such thing", status=400)
        transport = FakeService(lambda task_id: fault if task_id == "bad" else done(task_id))
        poller = new_poller(transport)
        waits = [asyncio.create_task(wait(poller, f"t{n}")) for n in range(49)]
        with pytest.raises(acetasks.BadRequestError):
            await wait(poller, "bad")

        assert {task.state for task in await asyncio.gather(*waits)} == {TaskState.SUCCEEDED}
        assert len(transport.sent) <= 13

    @pytest.mark.parametrize(("interval", "at"), [(1, 10.05), (30, 60.05)])
    async def test_a_task_without_a_record_is_not_found_after_the_grace_period(self, interval, at):
        """Both the polls and the seconds of the grace period have to pass."""
        policy = PollPolicy(interval=interval, jitter=0, missing_polls=3, missing_grace=10)
        with pytest.raises(acetasks.TaskNotFoundError):
            await wait(new_poller(FakeService(lambda _: None), policy), "t")

        assert now() == pytest.approx(at)

    async def test_missing_tasks_of_a_batch_do_not_affect_the_others(self):
        """In a batch too, only the tasks without a record are not found."""
        transport = FakeService(lambda task_id: None if task_id.startswith("gone") else until(30, done)(task_id))
        poller = new_poller(transport)
        waits = [asyncio.create_task(wait(poller, task_id)) for task_id in ("gone1", "t1", "gone2", "t2")]
        outcomes = await asyncio.gather(*waits, return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [acetasks.TaskNotFoundError, acetasks.Task] * 2

    async def test_a_record_restarts_the_grace_period(self):
        """A task that is missing, found, and missing again has the whole grace period again."""

        def answer(task_id: str) -> object:
            return record(task_id) if 20 < now() < 26 else done(task_id) if now() > 45 else None

        policy = PollPolicy(interval=5, jitter=0, missing_polls=3, missing_grace=22)
        assert (await wait(new_poller(FakeService(answer), policy), "t")).state is TaskState.SUCCEEDED

    @pytest.mark.parametrize("others", [0, 2])
    async def test_an_unconfirmed_failure_is_believed_if_it_stays(self, others):
        """`success: false` alone counts as failed after enough polls, single or in a batch of unchanged records."""
        failed = {"success": False, "error": "temporary"}
        transport = FakeService(
            lambda task_id: {"id": task_id, "response": failed} if task_id == "t" else record(task_id)
        )
        poller = new_poller(transport, PollPolicy(interval=5, jitter=0, unconfirmed_polls=4))
        waits = [asyncio.create_task(wait(poller, f"other{n}")) for n in range(others)]
        with pytest.raises(acetasks.TaskFailedError, match="temporary"):
            await wait(poller, "t")

        assert now() == pytest.approx(15.05)
        assert not any(waiting.done() for waiting in waits)
        await poller.close()
        await asyncio.gather(*waits, return_exceptions=True)

    async def test_an_unconfirmed_failure_that_is_taken_back_does_not_count(self):
        """A record of a running task resets the count of unconfirmed failures."""

        def answer(task_id: str) -> object:
            if now() > 60:
                return done(task_id)
            return record(task_id) if int(now() / 5) % 3 == 2 else {"id": task_id, "response": {"success": False}}

        poller = new_poller(FakeService(answer), PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    async def test_a_record_that_stays_unreadable_ends_its_own_wait(self):
        """An unreadable record ends its own wait after some polls; the other tasks of the batch are not affected."""
        transport = FakeService(
            lambda task_id: msgspec.Raw(b'{"id":"bad","state":1e999}') if task_id == "bad" else done(task_id)
        )
        poller = new_poller(transport, PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        good = asyncio.create_task(wait(poller, "good"))
        with pytest.raises(acetasks.ProtocolError, match="range"):
            await wait(poller, "bad")

        assert (await good).state is TaskState.SUCCEEDED
        assert now() == pytest.approx(10.05)

    @pytest.mark.parametrize("body", [b'{"id":"bad","x":undefined}', b'{"items":[],"count":0}', b"{}{}"])
    async def test_a_single_response_that_stays_malformed_ends_the_wait(self, body: bytes):
        """A complete response that cannot be read is the same at every poll, so that a few are enough."""
        poller = new_poller(FakeService(lambda _: body), PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        with pytest.raises(acetasks.ProtocolError):
            await wait(poller, "bad")

        assert now() == pytest.approx(10.05)

    async def test_a_malformed_record_delays_no_other(self):
        """It ends its own wait, after the others of its batch have ended at their first poll."""
        malformed = msgspec.Raw(b'{"id":"bad","x":undefined}')
        transport = FakeService(lambda task_id: malformed if task_id == "bad" else done(task_id))
        poller = new_poller(transport, PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        good = [asyncio.create_task(wait(poller, f"good-{number}")) for number in range(20)]
        bad = asyncio.create_task(wait(poller, "bad"))
        await asyncio.gather(*good)
        assert now() == pytest.approx(0.05)

        with pytest.raises(acetasks.ProtocolError, match="malformed"):
            await bad
        assert now() == pytest.approx(10.05)

    async def test_a_truncated_body_leaves_tasks_pending(self):
        """A body that ends too soon is a transient failure, however often it is received."""
        transport = FakeService(
            until(100, lambda task_id: msgspec.json.encode(done(task_id)), before=lambda _: b'{"id": "t", "resp')
        )
        assert (await wait(new_poller(transport), "t")).state is TaskState.SUCCEEDED


class TestLifetime:
    """Start and end of the background task."""

    async def test_is_idle_while_nothing_is_awaited(self):
        """After the last waiter the task ends and idle connections are closed; the next waiter starts it again."""
        transport = FakeService(done)
        poller = new_poller(transport)
        assert poller.is_idle
        for rounds in (1, 2):
            waiting = asyncio.create_task(wait(poller, "t"))
            await asyncio.sleep(0.01)
            assert not poller.is_idle
            await waiting
            await asyncio.sleep(0.01)
            assert poller.is_idle
            assert transport.idle_closes == rounds

    async def test_a_waiter_that_comes_while_connections_are_closed_is_served(self):
        """A task that is registered while the background task ends starts a new one."""

        class SlowToClose(FakeService):
            """Takes a second to close idle connections."""

            async def close_idle(self) -> None:
                await asyncio.sleep(1)
                await super().close_idle()

        poller = new_poller(SlowToClose(done))
        await wait(poller, "a")
        await asyncio.sleep(0.5)

        assert (await wait(poller, "b")).state is TaskState.SUCCEEDED
        assert now() == pytest.approx(1.05)

    def test_cancelling_all_waits_leaves_no_timer_and_no_task(self):
        """When all waits are cancelled, nothing is scheduled on the event loop any more."""

        async def main() -> None:
            poller = new_poller(FakeService(latency=1))
            waits = [asyncio.create_task(wait(poller, f"t{n}", 1000)) for n in range(200)]
            await asyncio.sleep(42.5)
            for waiting in waits:
                waiting.cancel()
            await asyncio.wait(waits)
            assert await asyncio.sleep(0) is None
            await asyncio.get_running_loop().create_future()

        with pytest.raises(VirtualClockDeadlockError) as caught:
            run(main())
        assert caught.value.time == 42.5
        assert len(caught.value.tasks) == 1

    async def test_an_error_of_the_loop_itself_ends_every_wait_at_once(self):
        """If starting the second poll fails, the first is cancelled before its first step; the next wait works."""

        class FailingRandom(random.Random):
            """Fails at the third call."""

            calls = 0

            def random(self) -> float:
                self.calls += 1
                if self.calls == 3:
                    raise ZeroDivisionError("bug")
                return super().random()

        runtime = new_runtime(PollPolicy(max_in_flight=3))._replace(rng=FailingRandom(0))
        poller = Poller(FakeService(done), runtime=runtime, durations=Durations())
        outcomes = await asyncio.gather(*(wait(poller, f"t{n}") for n in range(120)), return_exceptions=True)

        assert now() < 0.1
        assert {type(outcome) for outcome in outcomes} == {acetasks.AceTasksError}
        assert {type(outcome.__cause__) for outcome in outcomes} == {ZeroDivisionError}
        await asyncio.sleep(0.001)
        assert repr(poller).endswith("0 polls in flight>, 3 free slots>")
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    @pytest.mark.parametrize("latency", [0.0, 100.0], ids=["between polls", "in a poll"])
    async def test_cancelling_the_background_task_ends_every_wait(self, latency):
        """Foreign code that cancels all tasks leaves no wait without an outcome; the next wait works."""
        poller = new_poller(FakeService(until(300.0, done), latency=latency))
        waits = [asyncio.create_task(wait(poller, "t")) for _ in range(3)]
        await asyncio.sleep(1)
        for task in asyncio.all_tasks() - {asyncio.current_task(), *waits}:
            task.cancel()

        for error in await asyncio.gather(*waits, return_exceptions=True):
            assert str(error).startswith("polling was cancelled by other code")
            assert (type(error), error.transient, error.__cause__) == (acetasks.AceTasksError, True, None)
        assert now() == 1.0
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    async def test_close_ends_every_wait_and_cancels_requests_in_flight(self):
        """Closing takes no time though requests hang, and nothing can be registered afterwards."""
        transport = FakeService(latency=1e9)
        poller = new_poller(transport)
        waits = [asyncio.create_task(wait(poller, f"t{n}", 10_000)) for n in range(120)]
        await asyncio.sleep(1)
        await poller.close()

        assert now() == 1
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {acetasks.ClientClosedError}
        assert transport.cancelled == 3
        assert poller.is_idle
        with pytest.raises(acetasks.ClientClosedError, match="closed"):
            poller.register(SingleTaskWaiter(), [("luma", "t")])

    async def test_close_does_not_wait_for_a_request_that_ignores_its_cancellation(self, caplog):
        """After half a second the request is left behind, with a line in the log."""
        poller = new_poller(StubbornService())
        waiting = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(1)
        await poller.close()

        assert now() == 1.5
        assert "ignores its cancellation" in caplog.text
        with pytest.raises(acetasks.ClientClosedError):
            await waiting

    async def test_ends_after_a_request_that_ignored_its_cancellation(self):
        """If the last waiter leaves during such a request, the background task ends with the request."""
        poller = new_poller(StubbornService())
        with pytest.raises(acetasks.TaskTimeoutError):
            await wait(poller, "t", 1)
        await asyncio.sleep(8)
        assert not poller.is_idle
        await asyncio.sleep(2)
        assert poller.is_idle

    @pytest.mark.parametrize("iterations", range(6))
    async def test_nothing_is_sent_for_a_task_that_is_left_before_its_request(self, iterations):
        """In whichever iteration of the event loop the waiter leaves, no request stays in flight."""
        transport = FakeService(latency=1e9)
        poller = new_poller(transport)
        waiting = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(0.05)
        for _ in range(iterations):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0.001)

        assert transport.in_flight == 0
        assert poller.is_idle

    @pytest.mark.parametrize("iterations", range(6))
    async def test_every_slot_is_released_if_the_background_task_is_cancelled(self, iterations):
        """In whichever iteration of the event loop that happens."""
        transport = FakeService(done)
        poller = new_poller(transport, PollPolicy(max_in_flight=3))
        waits = [asyncio.create_task(wait(poller, f"t{n}")) for n in range(120)]
        await asyncio.sleep(0.05)
        for _ in range(iterations):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task.get_name() == "acetasks poller":
                task.cancel()
        await asyncio.wait(waits)
        await asyncio.sleep(0.001)

        assert poller.is_idle
        assert repr(poller).endswith("0 polls in flight>, 3 free slots>")
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    async def test_waits_can_be_cancelled_in_any_way(self):
        """Cancellation by anyio scopes, asyncio timeouts and task groups removes the waiter each time."""
        poller = new_poller(FakeService())
        with anyio.move_on_after(3):
            await wait(poller, "a")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(poller, "b"), 3)
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(wait(poller, "c"))
                group.create_task(asyncio.wait_for(wait(poller, "d"), 3))
        await asyncio.sleep(0.01)

        assert now() == pytest.approx(9.01)
        assert poller.is_idle

    async def test_repr_shows_what_is_awaited_and_scheduled(self):
        """The repr has the registry, the queue, and the number of polls in flight and of free slots."""
        poller = new_poller(FakeService(latency=1), PollPolicy(max_in_flight=4))
        waiting = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(0.5)

        assert repr(poller) == (
            "<Poller <TaskRegistry 1 tasks, 1 waiters>, <Scheduler <PollQueue empty>, 1 polls in flight>, 3 free slots>"
        )
        waiting.cancel()
        await asyncio.wait([waiting])


class TestEvents:
    """Events of tasks."""

    @staticmethod
    async def collect(*, is_observed: bool) -> list[acetasks.Event]:
        """Wait for a task that ends, one with an undocumented state at first, and one that is missing."""
        events: list[acetasks.Event] = []

        def answer(task_id: str) -> object:
            if task_id == "lost":
                return None
            odd = "dreaming" if task_id == "odd" else "processing"
            return record(task_id, odd if now() < 12.0 else "completed")

        poller = new_poller(FakeService(answer), on_event=events.append if is_observed else None)
        ended = await asyncio.gather(*(wait(poller, name) for name in ("odd", "good", "lost")), return_exceptions=True)
        assert [getattr(end, "state", type(end)) for end in ended] == [
            TaskState.SUCCEEDED,
            TaskState.SUCCEEDED,
            acetasks.TaskNotFoundError,
        ]
        await poller.close()
        return events

    async def test_each_change_and_end_is_an_event(self):
        """Each is emitted once; not found is a change and an end as well."""
        events = [
            (type(event).__name__, event.task.id, getattr(event, "unknown_word", None))
            for event in await self.collect(is_observed=True)
            if isinstance(event, acetasks.TaskChanged | acetasks.TaskSettled)
        ]

        assert sorted(events, key=repr) == sorted(
            [
                ("TaskChanged", "good", None),
                ("TaskChanged", "good", None),
                ("TaskChanged", "lost", None),
                ("TaskChanged", "odd", "dreaming"),
                ("TaskChanged", "odd", None),
                ("TaskSettled", "good", None),
                ("TaskSettled", "lost", None),
                ("TaskSettled", "odd", None),
            ],
            key=repr,
        )

    async def test_undocumented_states_are_logged_without_observers(self, caplog):
        """Of all changes, the log has only the undocumented state, once."""
        await self.collect(is_observed=False)

        messages = [entry.getMessage() for entry in caplog.records if entry.name == "acetasks"]
        assert len(messages) == 1
        assert "odd" in messages[0]
        assert "'dreaming'" in messages[0]

    @pytest.mark.parametrize("task_id", ["good", "odd"])
    async def test_events_are_built_only_if_they_are_used(self, task_id, monkeypatch):
        """Without observers only the change to an undocumented state is passed on."""
        emitted: list[acetasks.Event] = []
        word = "dreaming" if task_id == "odd" else "processing"
        transport = FakeService(until(12.0, done, before=lambda task_id: record(task_id, word)))
        monkeypatch.setattr(acetasks.events.Observers, "__call__", lambda _, event: emitted.append(event))
        await wait(new_poller(transport), task_id)

        assert [(type(event), event.unknown_word) for event in emitted] == (
            [(acetasks.TaskChanged, "dreaming")] if task_id == "odd" else []
        )


class TestPriorities:
    """Under `max_rate`, the polls with the highest expected delay come first."""

    RATE = 1.0

    async def wait_for_all(self, server, client) -> tuple[dict[str, list[float]], float]:
        """Wait for tasks of minutes and, meanwhile, for some of seconds, and check the rate.

        Returns:
            The delays of each provider's tasks, and the longest time that a task was not polled.
        """
        rng = random.Random(5)
        delays: dict[str, list[float]] = {"flux": [], "veo": []}
        awaited_at: dict[str, float] = {}

        async def wait_for_some(provider: str, count: int, least: float, most: float) -> None:
            ids = [server.add(provider, after=rng.uniform(least, most)) for _ in range(count)]
            awaited_at.update(dict.fromkeys(ids, now()))
            async for task in client.as_completed(provider, ids):
                assert task.state is TaskState.SUCCEEDED
                delays[provider].append(now() - server.tasks[task.id].finishes_at)

        server.clear_requests()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_some("veo", 1500, 60.0, 180.0))
            for _ in range(12):
                group.create_task(wait_for_some("flux", 25, 5.0, 15.0))
                await asyncio.sleep(5.0)
        assert (len(delays["flux"]), len(delays["veo"])) == (300, 1500)
        assert min(map(min, delays.values())) >= 0.0

        times = [request.time for request in server.requests]
        assert all(later - earlier >= 1 / self.RATE - 1e-6 for earlier, later in itertools.pairwise(times))
        longest = 0.0
        last = dict(awaited_at)
        for request in server.requests:
            for task_id in request.ids:
                longest = max(longest, request.time - last[task_id])
                last[task_id] = request.time
        return delays, longest

    async def test_short_tasks_are_not_delayed_by_long_ones(self, server, new_client, monkeypatch):
        """The rate is kept, no task starves, and the total delay is clearly less than with polls in order of age."""
        policy = PollPolicy(max_rate=self.RATE, schedule="fixed")
        async with new_client(policy=policy) as client:
            by_score, longest = await self.wait_for_all(server, client)
        monkeypatch.setattr(PollPriority, "urgency", 0)
        monkeypatch.setattr(PollPriority, "score", lambda priority, time: time - priority.last_polled_at)
        async with new_client(policy=policy) as client:
            by_age, _ = await self.wait_for_all(server, client)

        # Thirty batches of long tasks, and up to seven of short ones: in turn, each is polled once in 37 requests.
        assert longest < 1.5 * 37 / self.RATE
        assert statistics.mean(by_score["flux"]) < 0.5 * statistics.mean(by_age["flux"])
        assert statistics.mean(by_score["veo"]) < 1.1 * statistics.mean(by_age["veo"])
        assert sum(map(sum, by_score.values())) < 0.9 * sum(map(sum, by_age.values()))
