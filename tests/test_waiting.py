"""Ways to wait, over a poller and a transport of the test's own, on the virtual clock with exact times."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import TYPE_CHECKING

import anyio
import msgspec
import pytest

import acetasks
from acetasks import PollPolicy, RetryPolicy, Task, TaskState
from acetasks.durations import Durations
from acetasks.poller import Poller
from acetasks.testing.clock import VirtualClockDeadlockError, run
from acetasks.waiting import KeysOfOne, Wanted, each_completed, follow, wait_all, wait_for
from acetasks.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from acetasks.entries import Key, Waiter
    from acetasks.wire import Request

EXACT = PollPolicy(interval=5, jitter=0)
#: More tasks than are seen to at once.
MANY = 2000
DONE = Task(provider="luma", id="known", state=TaskState.SUCCEEDED, raw=b'{"id":"known"}')


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


def record(task_id: str, state: str = "processing", progress: float | None = None) -> dict[str, object]:
    """Make a record of luma's."""
    return {"id": task_id, "response": {"state": state, "progress": progress}}


def done(task_id: str) -> dict[str, object]:
    """Make the record of a finished task."""
    return record(task_id, "completed")


def done_at(times: dict[str, float]) -> Callable[[str], object]:
    """Make each task finish at a time, and those without one never."""
    return lambda task_id: done(task_id) if now() >= times.get(task_id, 1e9) else record(task_id)


def want(*ids: str, finished: Sequence[Task] = ()) -> Wanted:
    """Want some tasks of luma's, some of which have ended."""
    return Wanted([("luma", task_id) for task_id in ids], {("luma", task.id): task for task in finished})


class Service:
    """A transport that answers each id as told, after some seconds, and keeps what it was sent."""

    def __init__(self, answer: Callable[[str], object] = record, *, latency: float = 0.0) -> None:
        self.answer = answer
        self.latency = latency
        self.sent: list[tuple[float, Request]] = []

    async def send(self, request: Request, read, *, admit=None, attempts: int = 1) -> object:
        """Answer after the latency, and have the answer read."""
        assert attempts >= 1
        if admit is not None:
            await admit()
        self.sent.append((now(), request))
        await asyncio.sleep(self.latency)
        answers = [self.answer(task_id) for task_id in request.ids]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        body: object = answers[0] if len(answers) == 1 else {"items": answers}
        return read(Response(status=200, body=msgspec.json.encode(body)))

    async def rest(self) -> None:
        """Do nothing."""


class Ledger(Poller):
    """A poller that keeps how many ids came and left with each call, and in which turn of the loop."""

    def __init__(self, service: Service, policy: PollPolicy = EXACT) -> None:
        super().__init__(
            service,
            policy=policy,
            retry=RetryPolicy(),
            durations=Durations(),
            rng=random.Random(0),
            clock=asyncio.get_running_loop().time,
            emit=lambda _: None,
        )
        self.turn = 0
        self.came: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []

    def register(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Write down who comes."""
        self.came.append((self.turn, len(keys)))
        super().register(waiter, keys)

    def leave(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Write down who leaves."""
        self.left.append((self.turn, len(keys)))
        super().leave(waiter, keys)

    async def count_turns(self) -> None:
        """Count the turns that another has who wants one all the time."""
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def counting(self):
        """Count turns for a while, in which the virtual time stands still."""
        counting = asyncio.create_task(self.count_turns())
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.wait([counting])


def ids(count: int) -> list[str]:
    """Name some tasks."""
    return [f"t{number}" for number in range(count)]


async def assert_nothing_left(poller: Poller) -> None:
    """Check that the poller has nothing to do any more."""
    await asyncio.sleep(0.001)
    assert poller.is_idle
    assert repr(poller).startswith(
        "<Poller <Pending 0 ids, 0 waiters>, <Dispatch <Agenda empty>, 0 requests under way>"
    )


async def collect(stream: object) -> list[str]:
    """List the ids of the tasks that a stream yields."""
    return [key[1] async for key, _ in stream]


class TestPortions:
    """What is done for each of thousands of tasks is done in portions."""

    async def test_others_have_their_turn_between_portions(self):
        """No more than five hundred come or leave at once, and the loop goes on in between."""
        poller = Ledger(Service())
        async with poller.counting():
            waiting = asyncio.create_task(wait_all(poller, want(*ids(MANY)), 3600.0, return_failed=True))
            for _ in range(20):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])

        for moves in (poller.came, poller.left):
            assert [count for _, count in moves if count][:4] == [500] * 4
            assert all(later > earlier for (earlier, _), (later, _) in itertools.pairwise(moves[:4]))
        assert waiting.cancelled()
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("is_twice", [False, True])
    @pytest.mark.parametrize("turns", [0, 1, 2, 3, 4, 5, 6, 10])
    async def test_who_is_cancelled_while_they_come_leaves_nothing_behind(self, turns: int, is_twice: bool) -> None:  # noqa: FBT001  # a column
        """In whichever turn of the loop that happens, and if it happens again in the next."""
        poller = Ledger(Service())
        waiting = asyncio.create_task(wait_all(poller, want(*ids(MANY)), 3600.0, return_failed=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        if is_twice:
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.wait([waiting])

        assert waiting.cancelled()
        assert now() == 0.0
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("times", range(1, 8))
    async def test_who_is_cancelled_again_and_again_leaves_nothing_behind(self, times: int) -> None:
        """Once is waited for in portions; the second time takes all the others off at once."""
        poller = Ledger(Service(latency=1.0))
        waiting = asyncio.create_task(wait_all(poller, want(*ids(MANY)), 3600.0, return_failed=True))
        await asyncio.sleep(12.5)
        async with poller.counting():
            for _ in range(times):
                waiting.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([waiting])

        assert waiting.cancelled()
        assert now() == 12.5
        assert max(count for _, count in poller.left) == (500 if times == 1 else 1500)
        await assert_nothing_left(poller)

    def test_no_timer_and_no_task_is_left(self) -> None:
        """When a wait for thousands was cancelled, nothing on the loop is due any more: it would stand still."""

        async def main() -> None:
            poller = Ledger(Service(latency=1.0))
            waits = [asyncio.create_task(wait_all(poller, want(*ids(MANY)), 1e6, return_failed=True)) for _ in range(2)]
            await asyncio.sleep(42.5)
            for waiting in waits:
                waiting.cancel()
            await asyncio.wait(waits)
            await asyncio.get_running_loop().create_future()

        with pytest.raises(VirtualClockDeadlockError) as caught:
            run(main())
        assert caught.value.time == 42.5
        assert len(caught.value.tasks) == 1

    async def test_who_gives_up_reading_leaves_nothing_behind(self) -> None:
        """An iteration that is left early is left for all."""
        poller = Ledger(Service(done_at(dict.fromkeys(ids(MANY)[:70], 0.0))))
        async with contextlib.aclosing(each_completed(poller, want(*ids(MANY)), None)) as stream:
            async for _ in stream:
                break
        await assert_nothing_left(poller)

    async def test_others_have_their_turn_while_thousands_of_ends_are_read(self) -> None:
        """Whoever reads ends that are there already does not hold up the loop."""
        poller = Ledger(Service(done))
        stream = each_completed(poller, want(*ids(MANY)), None)
        await anext(stream)
        await asyncio.sleep(10.0)
        async with poller.counting():
            turns = [poller.turn async for _ in stream]
        assert len(turns) == MANY - 1
        assert max(map(turns.count, turns)) <= 501


class TestLimits:
    """One limit for all tasks of a wait."""

    async def test_a_limit_for_thousands_is_one(self) -> None:
        """It passes at its very time, for all of them; `tasks` has each as it was last seen, in the order given."""
        names = ids(MANY)
        poller = Ledger(Service(done_at({"t7": 0.0, "t3": 12.0})))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(poller, want(*reversed(names), "t7"), 30.0, return_failed=True)

        assert now() == 30.0
        states = {task.id: task.state for task in caught.value.tasks}
        assert [task.id for task in caught.value.tasks] == [*reversed(names), "t7"]
        assert {name for name, state in states.items() if state is TaskState.SUCCEEDED} == {"t7", "t3"}
        assert set(states.values()) == {TaskState.SUCCEEDED, TaskState.RUNNING}
        await assert_nothing_left(poller)

    async def test_others_have_their_turn_while_a_limit_passes(self) -> None:
        """Listing thousands of tasks and leaving them is done in portions too."""
        poller = Ledger(Service())
        waiting = asyncio.create_task(wait_all(poller, want(*ids(MANY)), 30.0, return_failed=True))
        await asyncio.sleep(29.9)
        counting = asyncio.create_task(asyncio.sleep(0.1))
        await counting
        async with poller.counting():
            before = poller.turn
            await asyncio.wait([waiting])
        assert isinstance(waiting.exception(), acetasks.TaskTimeoutError)
        assert poller.turn - before >= 6
        assert [count for _, count in poller.left][:4] == [500] * 4

    @pytest.mark.parametrize("timeout", [0.0, 0.01, 3.0])
    async def test_a_limit_that_comes_before_the_first_look(self, timeout: float) -> None:
        """Nothing is known of any task then, and there is no fault."""
        poller = Ledger(Service(latency=10.0))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(poller, want("a", "b"), timeout, return_failed=True)

        assert now() == timeout
        assert caught.value.tasks == tuple(Task(provider="luma", id=name, state=TaskState.PENDING) for name in "ab")
        await assert_nothing_left(poller)

    async def test_a_limit_tells_why_nothing_better_is_known(self) -> None:
        """The fault of a last look is the error's cause."""
        poller = Ledger(Service(lambda _: acetasks.ServiceError("broken", status=500)))
        for waiting in (wait_for(poller, ("luma", "a"), 30.0), wait_all(poller, want("a"), 30.0, return_failed=True)):
            with pytest.raises(acetasks.TaskTimeoutError, match="broken"):
                await waiting

    async def test_ends_that_come_before_the_limit_are_yielded(self) -> None:
        """Even if whoever reads is slower than the limit."""
        poller = Ledger(Service(done_at({"a": 0.0, "b": 0.0})))
        stream = each_completed(poller, want("a", "b", "c"), 20.0)
        found = [(await anext(stream))[0][1]]
        await asyncio.sleep(100.0)
        found.append((await anext(stream))[0][1])
        with pytest.raises(acetasks.TaskTimeoutError):
            await anext(stream)

        assert found == ["a", "b"]

    async def test_an_end_that_comes_after_the_limit_is_not_lost(self) -> None:
        """While nobody has read that the limit has passed, tasks may end: `tasks` has them as they have."""
        poller = Ledger(Service(done_at({"a": 0.0, "b": 30.0})))
        stream = each_completed(poller, want("a", "b", "c"), 20.0)
        await anext(stream)
        await asyncio.sleep(100.0)
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await anext(stream)

        assert [task.state.value for task in caught.value.tasks] == ["succeeded", "succeeded", "running"]
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("end", ["done", "progress"])
    async def test_an_answer_at_the_very_time_of_the_limit(self, end: str) -> None:
        """What comes together with the limit leaves the task as it is known, and never as if it had not been seen."""

        def answer(task_id: str) -> object:
            return (
                record(task_id) if now() < 7.0 else done(task_id) if end == "done" else record(task_id, progress=50.0)
            )

        poller = Ledger(Service(answer, latency=1.0))
        # The first look comes back at 1.05 s, the second at 7.05 s.
        one, some = await asyncio.gather(
            wait_for(poller, ("luma", "a"), 7.05),
            wait_all(poller, want("a", "b"), 7.05, return_failed=True),
            return_exceptions=True,
        )

        assert now() == pytest.approx(7.05)
        for outcome in (one, some):
            if end == "done":
                assert not isinstance(outcome, BaseException)
            else:
                assert isinstance(outcome, acetasks.TaskTimeoutError)
                assert {(task.state, task.progress) for task in outcome.tasks} <= {
                    (TaskState.RUNNING, None),
                    (TaskState.RUNNING, 50.0),
                }
        await assert_nothing_left(poller)


class TestFinished:
    """Tasks whose end is known without asking."""

    async def test_they_come_first_and_are_not_asked_for(self) -> None:
        """The others are waited for as usual."""
        service = Service(done)
        stream = each_completed(Ledger(service), want("a", "known", "b", finished=[DONE]), None)

        assert await collect(stream) == ["known", "a", "b"]
        assert [request.ids for _, request in service.sent] == [("a", "b")]

    async def test_nothing_is_asked_where_all_have_ended(self) -> None:
        """Each is returned at its places, and no loop is started."""
        service = Service()
        poller = Ledger(service)

        assert await wait_all(poller, want("known", "known", finished=[DONE]), 0.0, return_failed=False) == [DONE] * 2
        assert (poller.is_idle, service.sent, now()) == (True, [], 0.0)

    async def test_one_that_has_failed_is_raised_like_any_other(self) -> None:
        """Unless failed ones are to be returned."""
        failed = Task(provider="luma", id="known", state=TaskState.FAILED, raw=b"{}")
        poller = Ledger(Service())
        with pytest.raises(acetasks.TaskFailedError) as caught:
            await wait_all(poller, want("a", "known", finished=[failed]), None, return_failed=False)

        assert [task.id for task in caught.value.tasks] == ["a", "known"]
        await assert_nothing_left(poller)
        assert await wait_all(poller, want("known", finished=[failed]), None, return_failed=True) == [failed]

    async def test_they_are_among_the_tasks_of_an_error(self) -> None:
        """At their place in the order given."""
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(Ledger(Service()), want("a", "known", "b", finished=[DONE]), 3.0, return_failed=True)

        assert [task.id for task in caught.value.tasks] == ["a", "known", "b"]
        assert caught.value.tasks[1] is DONE


class TestOrder:
    """What is yielded and returned in which order."""

    async def test_ends_are_yielded_as_they_come(self) -> None:
        """Once each, even if one was asked for twice."""
        service = Service(done_at({"a": 12.0, "b": 7.0, "c": 0.0}))
        stream = each_completed(Ledger(service), want("a", "b", "a", "c"), None)

        assert [(key[1], now()) async for key, _ in stream] == [
            ("c", 0.05),
            ("b", pytest.approx(10.05)),
            ("a", pytest.approx(15.05)),
        ]

    async def test_tasks_are_returned_in_the_order_given(self) -> None:
        """One that is given twice stands at both places, and is asked for once."""
        service = Service(done)
        names = [*ids(1200), *ids(700)]
        tasks = await wait_all(Ledger(service), want(*names), None, return_failed=False)

        assert [task.id for task in tasks] == names
        assert sum(len(request.ids) for _, request in service.sent) == 1200


class TestErrors:
    """What cannot be asked for."""

    BAD = acetasks.BadRequestError("no such thing", status=400)
    ODD = acetasks.APIError("odd", status=418)

    async def test_an_error_of_one_is_held_back_until_the_others_have_ended(self) -> None:
        """It is raised then, with the others of its kind as notes, and with all tasks in the order given."""
        times = {"a": 0.0, "b": 22.0}
        answer = done_at(times)
        service = Service(lambda task_id: self.BAD if task_id.startswith("bad") else answer(task_id))
        poller = Ledger(service)
        stream = each_completed(poller, want("bad1", "b", "bad2", "a"), None)
        found = []
        with pytest.raises(acetasks.BadRequestError) as caught:
            async for key, _ in stream:
                found.append(key[1])

        assert found == ["a", "b"]
        assert now() == pytest.approx(25.05)
        assert caught.value is not self.BAD
        assert [task.id for task in caught.value.tasks] == ["bad1", "b", "bad2", "a"]
        assert [task.state.is_terminal for task in caught.value.tasks] == [False, True, False, True]
        assert caught.value.__notes__ == [f"BadRequestError: {self.BAD}"]
        await assert_nothing_left(poller)

    async def test_an_error_of_one_is_noted_on_a_limit(self) -> None:
        """Whoever's limit passes first is told of it along with that."""
        service = Service(lambda task_id: self.BAD if task_id == "bad" else record(task_id))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(Ledger(service), want("bad", "a"), 30.0, return_failed=True)

        assert caught.value.__notes__ == [f"BadRequestError: {self.BAD}"]

    async def test_it_is_raised_at_once_where_failures_are(self) -> None:
        """Nothing is held back from one who wants the first of them."""
        service = Service(lambda task_id: self.BAD if task_id == "bad" else record(task_id))
        poller = Ledger(service)
        with pytest.raises(acetasks.BadRequestError) as caught:
            await wait_all(poller, want("a", "bad"), None, return_failed=False)

        assert now() == 0.05
        assert [(task.id, task.state) for task in caught.value.tasks] == [
            ("a", TaskState.RUNNING),
            ("bad", TaskState.PENDING),
        ]
        await assert_nothing_left(poller)

    async def test_an_error_of_more_than_one_is_raised_at_once(self) -> None:
        """Each who waits has a copy of its own, with its own tasks; what has ended is among them."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        answer = done_at({"a": 0.0})
        poller = Ledger(Service(lambda task_id: fault if now() > 8.0 else answer(task_id)))
        errors = await asyncio.gather(
            wait_all(poller, want("b", "a"), None, return_failed=True),
            wait_all(poller, want("c", "b"), None, return_failed=False),
            wait_for(poller, ("luma", "c"), None),
            return_exceptions=True,
        )

        assert [type(error) for error in errors] == [acetasks.PermissionDeniedError] * 3
        assert len(set(map(id, [fault, *errors]))) == 4
        assert now() == pytest.approx(10.05)
        assert [task.id for task in errors[0].tasks] == ["b", "a"]
        assert errors[0].tasks[1].state is TaskState.SUCCEEDED
        assert [task.id for task in errors[1].tasks] == ["c", "b"]
        await assert_nothing_left(poller)

    async def test_tasks_are_as_they_were_last_seen_when_an_error_ends_all(self) -> None:
        """Those that were seen at work are not said never to have been seen."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        poller = Ledger(Service(lambda task_id: fault if now() > 8.0 else record(task_id, progress=10.0)))
        with pytest.raises(acetasks.PermissionDeniedError) as caught:
            await wait_all(poller, want(*ids(3)), None, return_failed=True)

        assert [(task.state, task.progress) for task in caught.value.tasks] == [(TaskState.RUNNING, 10.0)] * 3

    async def test_a_failure_does_not_lose_what_has_ended_with_it(self) -> None:
        """Of those whose ends came in the same answer as the failure that is raised, `tasks` has the ends."""
        service = Service(lambda task_id: record(task_id, "failed") if task_id == "bad" else done(task_id))
        poller = Ledger(service)
        with pytest.raises(acetasks.TaskFailedError) as caught:
            await wait_all(poller, want("a", "bad", "b"), None, return_failed=False)

        assert [(task.id, task.state.value) for task in caught.value.tasks] == [
            ("a", "succeeded"),
            ("bad", "failed"),
            ("b", "succeeded"),
        ]
        assert caught.value.task.id == "bad"
        await assert_nothing_left(poller)

    async def test_closing_reaches_everybody(self) -> None:
        """Whichever way they wait, and in whichever portion they are."""
        poller = Ledger(Service())
        waits: list[Coroutine[object, object, object]] = [
            wait_for(poller, ("luma", "a"), None),
            wait_all(poller, want(*ids(MANY)), None, return_failed=True),
            collect_states(follow(poller, ("luma", "a"))),
        ]
        running = [asyncio.create_task(waiting) for waiting in waits]
        await asyncio.sleep(1.0)
        late = asyncio.create_task(wait_all(poller, want(*ids(MANY)), None, return_failed=True))
        await asyncio.sleep(0)
        await poller.close()

        outcomes = await asyncio.gather(*running, late, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {acetasks.ClientClosedError}
        assert now() == 1.0


async def collect_states(stream: object) -> list[tuple[str, float | None]]:
    """List the states that a stream yields."""
    return [(task.state.value, task.progress) async for task in stream]


class TestOne:
    """`wait_for`: one task."""

    async def test_returns_what_has_made_something_and_raises_the_rest(self) -> None:
        """A failure is an error, and so is a task that nobody knows."""
        service = Service(done)
        assert (await wait_for(Ledger(service), ("luma", "a"), 3.0)).state is TaskState.SUCCEEDED
        service.answer = lambda task_id: record(task_id, "failed")
        with pytest.raises(acetasks.TaskFailedError):
            await wait_for(Ledger(service), ("luma", "a"), None)
        service.answer = lambda _: {}
        with pytest.raises(acetasks.TaskNotFoundError):
            await wait_for(Ledger(service), ("luma", "a"), None)

    async def test_a_limit_has_the_task_as_last_seen(self) -> None:
        """And leaves nothing behind."""
        poller = Ledger(Service(lambda task_id: record(task_id, progress=30.0)))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_for(poller, ("luma", "a"), 12.0)

        assert (caught.value.task.state, caught.value.task.progress) == (TaskState.RUNNING, 30.0)
        assert now() == 12.0
        await assert_nothing_left(poller)

    async def test_one_who_is_cancelled_leaves_the_others(self) -> None:
        """Each waits on its own."""
        poller = Ledger(Service(done_at({"a": 7.0})))
        first, second = (asyncio.create_task(wait_for(poller, ("luma", "a"), 100.0)) for _ in range(2))
        await asyncio.sleep(3.0)
        first.cancel()

        assert (await second).state is TaskState.SUCCEEDED
        assert first.cancelled()
        await assert_nothing_left(poller)


class TestFollow:
    """`follow`: each change of one task."""

    async def test_yields_the_first_look_each_change_and_the_end(self) -> None:
        """A look that changes nothing is no news, and a failed end is yielded."""
        looks = iter(
            [record("a", "queued"), record("a"), record("a"), record("a", progress=10.0), record("a", "failed")]
        )
        poller = Ledger(Service(lambda _: next(looks)))
        found = [(task.state.value, task.progress, round(now(), 6)) async for task in follow(poller, ("luma", "a"))]

        assert found == [
            ("pending", None, 0.05),
            ("running", None, 5.05),
            ("running", 10.0, 15.05),
            ("failed", None, 20.05),
        ]
        await assert_nothing_left(poller)

    async def test_one_who_comes_late_is_told_at_once_what_is_known(self) -> None:
        """Without another look."""
        poller = Ledger(Service(lambda task_id: record(task_id, progress=10.0)))
        with anyio.move_on_after(7.0):
            await wait_for(poller, ("luma", "a"), None)
        waiting = asyncio.create_task(wait_for(poller, ("luma", "a"), None))
        await asyncio.sleep(3.0)
        async with contextlib.aclosing(follow(poller, ("luma", "a"))) as stream:
            task = await anext(stream)
        assert (task.progress, now()) == (10.0, 10.0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await assert_nothing_left(poller)

    async def test_an_error_is_raised(self) -> None:
        """What was seen before it was yielded."""
        answer = acetasks.BadRequestError("no such thing", status=400)
        poller = Ledger(Service(lambda task_id: answer if now() > 3.0 else record(task_id)))
        stream = follow(poller, ("luma", "a"))
        assert (await anext(stream)).state is TaskState.RUNNING
        with pytest.raises(acetasks.BadRequestError) as caught:
            await anext(stream)

        assert caught.value is not answer
        await assert_nothing_left(poller)

    async def test_who_stops_reading_ends_the_polling(self) -> None:
        """If nobody else waits for the task."""
        poller = Ledger(Service())
        async with contextlib.aclosing(follow(poller, ("luma", "a"))) as stream:
            await anext(stream)
        await assert_nothing_left(poller)


class TestWanted:
    """`Wanted`: the tasks that somebody wants the ends of."""

    def test_those_that_have_not_ended_have_to_be_asked_for(self) -> None:
        """In the order given."""
        assert want("a", "known", "b", "a", finished=[DONE]).unfinished == [("luma", name) for name in "aba"]
        assert want("a", "b").unfinished == [("luma", "a"), ("luma", "b")]


class TestKeysOfOne:
    """`KeysOfOne`: the keys of many tasks of one provider, none of which is made before it is looked at."""

    def test_is_as_the_list_of_them(self) -> None:
        """By place, in parts, from either end and in order."""
        ids = [f"t{number}" for number in range(7)]
        keys, expected = KeysOfOne("luma", tuple(ids)), [("luma", task_id) for task_id in ids]

        assert list(keys) == [keys[place] for place in range(7)] == expected
        assert len(keys) == 7
        assert keys[-1] == ("luma", "t6")
        assert ("luma", "t3") in keys
        assert ("flux", "t3") not in keys
        for part in (slice(2, 5), slice(5, 90), slice(9, 12), slice(None, None, -2)):
            assert list(keys[part]) == expected[part]
            assert len(keys[part]) == len(expected[part])
        with pytest.raises(IndexError):
            _ = keys[7]

    def test_of_none_is_empty(self) -> None:
        """And as false as an empty list."""
        assert not KeysOfOne("luma", ())
