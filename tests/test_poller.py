"""The loop, over a transport of the test's own, on the virtual clock with exact times."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import statistics
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

import acetasks
from acetasks import PollPolicy, RetryPolicy, TaskState
from acetasks.durations import Durations
from acetasks.poller import Poller
from acetasks.providers import lookup
from acetasks.testing.clock import VirtualClockDeadlockError, run
from acetasks.waiters import FutureWaiter
from acetasks.waiting import wait_for
from acetasks.wire import Request, Response
from acetasks.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Callable

LUMA, VEO, USEAPI = lookup("luma"), lookup("veo"), lookup("useapi-pixverse")
EXACT = PollPolicy(interval=5, jitter=0)


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


def record(task_id: str, state: str = "processing") -> dict[str, object]:
    """Make a record of luma's."""
    return {"id": task_id, "response": {"state": state}}


class Service:
    """A transport that answers each id as told, after some seconds, and keeps what it was sent."""

    def __init__(self, answer: Callable[[str], object] = record, *, latency: float = 0.0) -> None:
        self.answer = answer
        self.latency = latency
        self.sent: list[tuple[float, Request]] = []
        self.under_way = self.most_under_way = self.cancelled = self.rests = 0

    @property
    def times(self) -> list[float]:
        """When it was sent something."""
        return [round(time, 6) for time, _ in self.sent]

    async def send(self, request: Request, read, *, admit=None, attempts: int = 1) -> object:
        """Answer after the latency, and have the answer read."""
        assert attempts >= 1
        if admit is not None:
            await admit()
        self.sent.append((now(), request))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.under_way -= 1
        answers = []
        for task_id in request.ids:
            answer = self.answer(task_id)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                answers.append(answer)
        if len(request.ids) == 1:
            body: object = answers[0] if answers else {}
        else:
            body = {"items": answers, "count": len(answers)}
        return read(Response(status=200, body=body if isinstance(body, bytes) else msgspec.json.encode(body)))

    async def rest(self) -> None:
        """Count the rests."""
        self.rests += 1


def new_poller(
    service: Service,
    policy: PollPolicy = EXACT,
    retry: RetryPolicy | None = None,
    *,
    emit: Callable[[acetasks.Event], object] = lambda _: None,
    is_watched: bool = True,
) -> Poller:
    """Make a poller of the service."""
    loop = asyncio.get_running_loop()
    return Poller(
        service,
        policy=policy,
        retry=retry or RetryPolicy(),
        durations=Durations(),
        rng=random.Random(0),
        clock=loop.time,
        emit=emit,
        is_watched=is_watched,
    )


async def wait(poller: Poller, task_id: str, timeout: float | None = None, spec=LUMA) -> acetasks.Task:
    """Wait as a client does."""
    return await wait_for(poller, (spec.slug, task_id), timeout)


def until(seconds: float, then: object, before: Callable[[str], object] = record) -> Callable[[str], object]:
    """Answer with records of running tasks until a time, and then otherwise."""

    def answer(task_id: str) -> object:
        if now() < seconds:
            return before(task_id)
        return then(task_id) if callable(then) else then

    return answer


def done(task_id: str) -> dict[str, object]:
    """Make the record of a finished task."""
    return record(task_id, "completed")


class TestTiming:
    """When requests are sent."""

    async def test_waiters_that_come_within_the_linger_share_a_request(self):
        """The first look comes a linger after the first waiter, and takes along whoever came meanwhile."""
        service = Service(done)
        poller = new_poller(service)
        async with asyncio.TaskGroup() as group:
            for index in range(5):
                group.create_task(wait(poller, f"t{index}"))
                await asyncio.sleep(0.01)
        assert service.times == [0.05]
        assert service.sent[0][1].ids == ("t0", "t1", "t2", "t3", "t4")

    async def test_looks_are_an_interval_apart(self):
        """Without jitter, looks come at exact intervals after each answer."""
        service = Service(until(18, done), latency=0.5)
        await wait(new_poller(service), "t")
        assert service.times == [0.05, 5.55, 11.05, 16.55, 22.05]
        assert now() == pytest.approx(22.55)

    async def test_a_second_waiter_of_an_id_does_not_change_its_looks(self):
        """Whoever comes later to an id that is polled already shares the next look."""
        service = Service(until(8, done))
        poller = new_poller(service)
        first = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(3)
        await wait(poller, "t")
        assert (await first).state is TaskState.SUCCEEDED
        assert service.times == [0.05, 5.05, 10.05]

    async def test_requests_under_way_are_limited_across_providers(self):
        """With a slow service there are never more than `max_in_flight` requests, and looks at will count too."""
        service = Service(done, latency=1)
        poller = new_poller(service, PollPolicy(max_in_flight=3))
        waits = [wait(poller, f"{spec.slug}{n}", spec=spec) for spec in (LUMA, VEO, USEAPI) for n in range(60)]
        async with asyncio.TaskGroup() as group:
            for waiting in waits:
                group.create_task(waiting)
            group.create_task(poller.look(VEO, ["other"]))
            group.create_task(poller.look(VEO, ["another"]))
        assert service.most_under_way == 3

    @pytest.mark.parametrize("latency", [0.0, 3.0])
    async def test_a_minimum_between_looks_is_kept_whoever_asks(self, latency):
        """A useapi.net job that is waited for again and again is asked no sooner than every 10 s."""
        service = Service(latency=latency)
        poller = new_poller(service)
        for _ in range(30):
            with pytest.raises(acetasks.TaskTimeoutError):
                await wait(poller, "job", 2, spec=USEAPI)
        assert len(service.times) >= 4
        assert all(b - a > 10 - 1e-6 for a, b in itertools.pairwise(service.times))

    async def test_a_limit_is_kept_while_the_service_hangs(self):
        """A wait's limit is kept to the moment, though its request is never answered."""
        service = Service(done, latency=1e9)
        poller = new_poller(service)
        for seconds in (0.5, 1, 30):
            began = now()
            with pytest.raises(acetasks.TaskTimeoutError):
                await wait(poller, "t", seconds)
            assert now() - began == pytest.approx(seconds, abs=1e-6)
        await asyncio.sleep(0.01)
        assert service.cancelled == 3

    async def test_a_waiter_who_comes_back_during_a_look_is_answered_by_it(self):
        """An id that is dropped and wanted again while its batch is under way is not asked twice."""
        service = Service(done, latency=2)
        poller = new_poller(service)
        other = asyncio.create_task(wait(poller, "other"))
        first = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(0.1)
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED
        assert (await other).state is TaskState.SUCCEEDED
        assert len(service.sent) == 1

    async def test_a_waiter_who_comes_back_after_the_look_was_cancelled_is_asked_again(self):
        """An id whose request was just cancelled under it gets a request of its own at once."""
        service = Service(done, latency=2)
        poller = new_poller(service)
        first, second = FutureWaiter(math.inf), FutureWaiter(math.inf)
        poller.register(first, [("luma", "t")])
        await asyncio.sleep(1)
        poller.leave(first, [("luma", "t")])
        poller.register(second, [("luma", "t")])
        await second.over
        assert isinstance(second.outcome, acetasks.Task)
        assert second.outcome.state is TaskState.SUCCEEDED
        assert service.cancelled == 1
        assert now() == pytest.approx(3)


class TestTrouble:
    """What a look may bring instead of a record."""

    async def test_a_passing_fault_leaves_ids_pending(self):
        """After a 500 the tasks are asked again, and end as if nothing had been."""
        fault = acetasks.ServiceError("broken", status=500)
        service = Service(until(30, done, before=lambda _: fault))
        assert (await wait(new_poller(service), "t")).state is TaskState.SUCCEEDED
        assert 30 <= now() < 60

    async def test_an_outage_holds_back_its_own_provider_only(self):
        """While one provider fails, another's tasks are looked at as ever."""
        fault = acetasks.TransportError("refused", reached=False)
        service = Service(lambda task_id: fault if task_id.startswith("luma") else until(20, done)(task_id))
        poller = new_poller(service)
        broken = [asyncio.create_task(wait(poller, f"luma{n}")) for n in range(500)]
        assert (await wait(poller, "veo", spec=VEO)).state is TaskState.SUCCEEDED
        assert [time for time, request in service.sent if request.provider == "veo"] == pytest.approx(
            [0.05, 5.05, 10.05, 15.05, 20.05]
        )
        for waiting in broken:
            waiting.cancel()
        await asyncio.wait(broken)

    async def test_a_provider_that_is_down_is_probed_by_one_request_at_a_time(self):
        """Five hundred ids of a dead provider cost one request a back-off step, not ten."""
        service = Service(lambda _: acetasks.TransportError("refused"), latency=0.1)
        poller = new_poller(service, retry=RetryPolicy(base=1, cap=8))
        waits = [asyncio.create_task(wait(poller, f"t{n}", 120)) for n in range(500)]
        await asyncio.wait(waits)
        first = [time for time in service.times if time < 0.2]
        later = [time for time in service.times if time >= 0.2]
        assert len(first) <= 10
        assert all(b - a >= 0.1 for a, b in itertools.pairwise(later))
        # Full jitter up to 8 s: about one request in four seconds.
        assert len(later) < 60

    @pytest.mark.parametrize("asked", [30.0, 200.0])
    async def test_a_rate_limit_is_kept_for_everything_under_the_token(self, asked):
        """After a 429 nothing of that service is asked before the time it names; another service's is."""
        limit = acetasks.RateLimitError("slow down", status=429, retry_after=asked)
        service = Service(until(1, done, before=lambda task_id: limit if task_id == "luma" else record(task_id)))
        poller = new_poller(service)
        async with asyncio.TaskGroup() as group:
            group.create_task(wait(poller, "luma"))
            group.create_task(wait(poller, "veo", spec=VEO))
            group.create_task(wait(poller, "job", spec=USEAPI))
        times = {provider: [t for t, r in service.sent if r.provider == provider] for provider in ("luma", "veo")}
        assert min(times["luma"][1:] + times["veo"][1:]) >= 0.05 + asked
        assert [t for t, r in service.sent if r.provider == "useapi-pixverse"][1] == pytest.approx(10.05)

    async def test_a_401_ends_every_wait_under_that_token(self):
        """All waiters of that service get the error, each its own copy; another service's go on."""
        fault = acetasks.AuthenticationError("expired", status=401, code="token_expired")
        service = Service(lambda task_id: fault if task_id == "bad" else until(20, done)(task_id))
        poller = new_poller(service)
        waits = [
            asyncio.create_task(wait(poller, task_id, spec=spec))
            for task_id, spec in (("a", LUMA), ("b", LUMA), ("c", VEO), ("bad", VEO), ("job", USEAPI))
        ]
        done_, pending = await asyncio.wait(waits, timeout=1)
        errors = [waiting.exception() for waiting in waits[:4]]
        assert (len(done_), len(pending)) == (4, 1)
        assert all(isinstance(error, acetasks.AuthenticationError) for error in errors)
        assert len({id(error) for error in errors}) == 4
        assert (await waits[4]).state is TaskState.SUCCEEDED

    @pytest.mark.parametrize(
        "fault",
        [acetasks.PermissionDeniedError("used up", status=403), acetasks.UnknownProviderError("luma")],
    )
    async def test_a_403_ends_the_waits_of_that_provider(self, fault):
        """Waiters of that provider get the error, others go on."""
        service = Service(lambda task_id: fault if task_id == "bad" else until(20, done)(task_id))
        poller = new_poller(service)
        waits = [
            asyncio.create_task(wait(poller, task_id, spec=spec))
            for task_id, spec in (("a", LUMA), ("bad", LUMA), ("c", VEO))
        ]
        await asyncio.wait(waits, timeout=1)
        assert [type(waiting.exception()) for waiting in waits[:2]] == [type(fault)] * 2
        assert (await waits[2]).state is TaskState.SUCCEEDED

    async def test_a_bad_request_ends_only_the_wait_of_its_own_id(self):
        """The service rejects one id; the others of its batch resolve."""
        fault = acetasks.BadRequestError("no such thing", status=400)
        service = Service(lambda task_id: fault if task_id == "bad" else done(task_id))
        poller = new_poller(service)
        waits = [asyncio.create_task(wait(poller, f"t{n}")) for n in range(49)]
        with pytest.raises(acetasks.BadRequestError):
            await wait(poller, "bad")
        assert {task.state for task in await asyncio.gather(*waits)} == {TaskState.SUCCEEDED}
        assert len(service.sent) <= 13

    async def test_an_id_left_out_is_not_found_after_the_polls_and_the_seconds(self):
        """Both parts of the grace have to pass."""
        for policy, at in (
            (PollPolicy(interval=1, jitter=0, missing_polls=3, missing_grace=10), 10.05),
            (PollPolicy(interval=30, jitter=0, missing_polls=3, missing_grace=10), 60.05),
        ):
            began = now()
            poller = new_poller(Service(lambda _: None), policy)
            with pytest.raises(acetasks.TaskNotFoundError):
                await wait(poller, "t")
            assert now() - began == pytest.approx(at)

    async def test_ids_left_out_of_a_batch_are_not_found_and_their_neighbours_go_on(self):
        """In a batch too, an absence is its own id's."""
        service = Service(lambda task_id: None if task_id.startswith("gone") else until(30, done)(task_id))
        poller = new_poller(service)
        waits = [asyncio.create_task(wait(poller, task_id)) for task_id in ("gone1", "t1", "gone2", "t2")]
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [acetasks.TaskNotFoundError, acetasks.Task] * 2

    async def test_a_task_that_comes_back_begins_its_grace_anew(self):
        """A record between two absences makes the service's silence begin again."""

        def answer(task_id: str) -> object:
            return record(task_id) if 20 < now() < 26 else done(task_id) if now() > 45 else None

        policy = PollPolicy(interval=5, jitter=0, missing_polls=3, missing_grace=22)
        assert (await wait(new_poller(Service(answer), policy), "t")).state is TaskState.SUCCEEDED

    async def test_a_failure_that_stays_unconfirmed_is_settled(self):
        """`success: false` alone counts as failed once it has stayed so, and not before."""
        service = Service(lambda task_id: {"id": task_id, "response": {"success": False, "error": "temporary"}})
        poller = new_poller(service, PollPolicy(interval=5, jitter=0, unconfirmed_polls=4))
        with pytest.raises(acetasks.TaskFailedError, match="temporary"):
            await wait(poller, "t")
        assert now() == pytest.approx(15.05)

    async def test_a_failure_that_is_taken_back_is_none(self):
        """An unconfirmed failure followed by a running record starts over."""

        def answer(task_id: str) -> object:
            if now() > 60:
                return done(task_id)
            return record(task_id) if int(now() / 5) % 3 == 2 else {"id": task_id, "response": {"success": False}}

        poller = new_poller(Service(answer), PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    async def test_a_record_that_stays_unreadable_is_its_own_tasks_error(self):
        """A whole record that cannot be read ends its own wait after some looks; its neighbours go on."""
        service = Service(
            lambda task_id: msgspec.Raw(b'{"id":"bad","state":1e999}') if task_id == "bad" else done(task_id)
        )
        poller = new_poller(service, PollPolicy(interval=5, jitter=0, unconfirmed_polls=3))
        good = asyncio.create_task(wait(poller, "good"))
        with pytest.raises(acetasks.ProtocolError, match="range"):
            await wait(poller, "bad")
        assert (await good).state is TaskState.SUCCEEDED
        assert now() == pytest.approx(10.05)

    async def test_an_answer_cut_short_leaves_ids_pending(self):
        """A body that ends too soon is a passing fault, however often it comes."""
        service = Service(
            until(100, lambda task_id: msgspec.json.encode(done(task_id)), before=lambda _: b'{"id": "t", "resp')
        )
        assert (await wait(new_poller(service), "t")).state is TaskState.SUCCEEDED


class TestLifetime:
    """What is left when nobody waits, and who is told when the loop ends."""

    async def test_is_idle_when_nobody_waits(self):
        """After the last waiter the loop has ended, its connections are given up, and it starts again when needed."""
        service = Service(done)
        poller = new_poller(service)
        assert poller.is_idle
        for rounds in (1, 2):
            waiting = asyncio.create_task(wait(poller, "t"))
            await asyncio.sleep(0.01)
            assert not poller.is_idle
            await waiting
            await asyncio.sleep(0.01)
            assert poller.is_idle
            assert service.rests == rounds

    def test_no_timer_and_no_task_is_left_after_cancelling_all(self):
        """When all waiters have left, nothing on the loop is due any more: it would stand still for ever."""

        async def main() -> None:
            poller = new_poller(Service(latency=1))
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

    async def test_a_bug_reaches_every_waiter_at_once(self):
        """An error that nobody foresaw ends every wait, with the cause, and the next waiter starts afresh."""
        service = Service(lambda _: KeyError("bug"))
        poller = new_poller(service)
        outcomes = await asyncio.gather(*(wait(poller, f"t{n}") for n in range(60)), return_exceptions=True)
        assert now() < 0.1
        for outcome in outcomes:
            assert isinstance(outcome, acetasks.AceTasksError)
            assert "bug" in str(outcome)
            assert outcome.__cause__ is not None
        service.answer = done
        assert (await wait(poller, "t")).state is TaskState.SUCCEEDED

    async def test_whoever_cancels_the_loop_ends_every_wait(self):
        """The loop's own task cancelled by a stranger: nobody is left waiting."""
        poller = new_poller(Service())
        waiting = asyncio.create_task(wait(poller, "t"))
        await asyncio.sleep(1)
        for task in asyncio.all_tasks():
            if task.get_name() == "acetasks poller":
                task.cancel()
        with pytest.raises(acetasks.AceTasksError, match="died"):
            await waiting

    async def test_close_settles_everybody_and_cancels_what_is_under_way(self):
        """Closing takes no time, though requests hang."""
        service = Service(latency=1e9)
        poller = new_poller(service)
        waits = [asyncio.create_task(wait(poller, f"t{n}", 10_000)) for n in range(120)]
        await asyncio.sleep(1)
        await poller.close()
        assert now() == 1
        outcomes = await asyncio.gather(*waits, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {acetasks.ClientClosedError}
        assert service.cancelled == 3
        with pytest.raises(acetasks.ClientClosedError):
            poller.register(FutureWaiter(math.inf), [("luma", "t")])

    async def test_waits_end_under_scopes_of_any_kind(self):
        """Cancellation by anyio's scopes, asyncio's limits and task groups drops the id each time."""
        poller = new_poller(Service())
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


class TestEvents:
    """What is told of tasks, and what of them nobody wants to hear."""

    @staticmethod
    async def follow(*, is_watched: bool) -> list[acetasks.Event]:
        """Wait for a task that ends, for one that is in an odd state first, and for one that is not there."""
        events: list[acetasks.Event] = []

        def answer(task_id: str) -> object:
            if task_id == "lost":
                return None
            odd = "dreaming" if task_id == "odd" else "processing"
            return record(task_id, odd if now() < 12.0 else "completed")

        poller = new_poller(Service(answer), emit=events.append, is_watched=is_watched)
        ended = await asyncio.gather(*(wait(poller, name) for name in ("odd", "good", "lost")), return_exceptions=True)
        assert [getattr(end, "state", type(end)) for end in ended] == [
            TaskState.SUCCEEDED,
            TaskState.SUCCEEDED,
            acetasks.TaskNotFoundError,
        ]
        await poller.close()
        return events

    @staticmethod
    def tell(events: list[acetasks.Event]) -> list[tuple[str, str, str | None]]:
        """Tell of whom they are, and of which words."""
        return [
            (type(event).__name__, event.task.id, getattr(event, "unknown_word", None))
            for event in events
            if isinstance(event, acetasks.TaskChanged | acetasks.TaskSettled)
        ]

    async def test_changes_and_ends_are_told(self):
        """Each once; one that is not there is in a state as well."""
        told = self.tell(await self.follow(is_watched=True))

        assert sorted(told, key=repr) == sorted(
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

    async def test_undocumented_words_alone_are_told_where_nobody_watches(self):
        """They are for the log."""
        assert self.tell(await self.follow(is_watched=False)) == [("TaskChanged", "odd", "dreaming")]


class TestBudget:
    """Under `max_rate`, requests go where they are worth most."""

    RATE = 1.0

    async def wait_for_all(self, server, client) -> tuple[dict[str, list[float]], float]:
        """Wait for tasks of minutes and, meanwhile, for some of seconds, and keep to the rate.

        Returns:
            The latenesses of each provider's, and the longest time that one of them went without a look.
        """
        rng = random.Random(5)
        late: dict[str, list[float]] = {"flux": [], "veo": []}
        wanted_at: dict[str, float] = {}

        async def wait_for_some(provider: str, count: int, least: float, most: float) -> None:
            ids = [server.add(provider, after=rng.uniform(least, most)) for _ in range(count)]
            wanted_at.update(dict.fromkeys(ids, now()))
            async for task in client.as_completed(provider, ids):
                assert task.state is TaskState.SUCCEEDED
                late[provider].append(now() - server.tasks[task.id].finishes_at)

        server.clear_requests()
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_some("veo", 1500, 60.0, 180.0))
            for _ in range(12):
                group.create_task(wait_for_some("flux", 25, 5.0, 15.0))
                await asyncio.sleep(5.0)
        assert (len(late["flux"]), len(late["veo"])) == (300, 1500)
        assert min(map(min, late.values())) >= 0.0

        times = [request.time for request in server.requests]
        assert all(later - earlier >= 1 / self.RATE - 1e-6 for earlier, later in itertools.pairwise(times))
        longest = 0.0
        last = dict(wanted_at)
        for request in server.requests:
            for task_id in request.ids:
                longest = max(longest, request.time - last[task_id])
                last[task_id] = request.time
        return late, longest

    async def test_tasks_of_seconds_are_not_kept_waiting_by_tasks_of_minutes(self, server, new_client, monkeypatch):
        """The budget is never exceeded, nobody starves, and all together wait clearly less than in order of age."""
        async with new_client(policy=PollPolicy(max_rate=self.RATE, schedule="fixed")) as client:
            by_worth, longest = await self.wait_for_all(server, client)
        monkeypatch.setattr(Worth, "urgency", 0)
        monkeypatch.setattr(Worth, "at", lambda worth, at: at - worth.seen_at)
        async with new_client(policy=PollPolicy(max_rate=self.RATE, schedule="fixed")) as client:
            by_age, _ = await self.wait_for_all(server, client)

        # Thirty batches of the slow, and up to seven of the quick: in turn, each is asked once in so many requests.
        assert longest < 1.5 * 37 / self.RATE
        assert statistics.mean(by_worth["flux"]) < 0.5 * statistics.mean(by_age["flux"])
        assert statistics.mean(by_worth["veo"]) < 1.1 * statistics.mean(by_age["veo"])
        assert sum(map(sum, by_worth.values())) < 0.9 * sum(map(sum, by_age.values()))
