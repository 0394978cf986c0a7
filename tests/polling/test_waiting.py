"""The coroutines that wait, over a poller with a fake service, on the virtual clock with exact times."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

import anyio
import pytest
from support import EXACT, FakeService, done, new_runtime, now, record

import acetasks
from acetasks import Task, TaskState
from acetasks._polling import WaitTargets
from acetasks._polling.poller import Poller
from acetasks._polling.waiting import as_completed, once, updates, wait_all, wait_one
from acetasks._scheduling import Durations
from acetasks.testing.clock import VirtualClockDeadlockError, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence

    from acetasks._polling.awaited import Waiter
    from acetasks._scheduling import Key

#: More tasks than one chunk.
MANY = 2000
DONE = Task(provider="luma", id="known", state=TaskState.SUCCEEDED, raw=b'{"id":"known"}')
FAILED = Task(provider="luma", id="known", state=TaskState.FAILED, raw=b"{}")
A: Key = ("luma", "a")


def done_at(times: dict[str, float]) -> Callable[[str], object]:
    """Build an answer by which each task finishes at its loop time; tasks without one never do."""
    return lambda task_id: done(task_id) if now() >= times.get(task_id, 1e9) else record(task_id)


def targets(*ids: str, finished: Sequence[Task] = ()) -> WaitTargets:
    """Build the targets of a wait for some luma tasks, some of which have ended."""
    return WaitTargets([("luma", task_id) for task_id in ids], {("luma", task.id): task for task in finished})


def numbered(count: int) -> list[str]:
    """Return so many ids."""
    return [f"t{number}" for number in range(count)]


class CountingPoller(Poller):
    """A poller that records the size of each call, and the iteration of the event loop it was made in.

    Attributes:
        iteration: Number of the iteration; counted only within `counting`.
        registered: Iteration and number of tasks of each call of `register`.
        left: Iteration and number of tasks of each call of `leave`.
    """

    def __init__(self, transport: FakeService) -> None:
        super().__init__(transport, runtime=new_runtime(EXACT), durations=Durations())
        self.iteration = 0
        self.registered: list[tuple[int, int]] = []
        self.left: list[tuple[int, int]] = []

    def register(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Record and register."""
        self.registered.append((self.iteration, len(keys)))
        super().register(waiter, keys)

    def leave(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Record and leave."""
        self.left.append((self.iteration, len(keys)))
        super().leave(waiter, keys)

    @contextlib.asynccontextmanager
    async def counting(self) -> AsyncIterator[None]:
        """Count iterations of the event loop, during which the virtual time stands still."""

        async def count() -> None:
            while True:
                self.iteration += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        try:
            yield
        finally:
            counting.cancel()
            await asyncio.wait([counting])


async def assert_nothing_left(poller: Poller) -> None:
    """Check that nothing is awaited, queued or in flight, and that no other asyncio task runs."""
    await asyncio.sleep(0.001)
    assert poller.is_idle
    assert repr(poller).startswith(
        "<Poller <TaskRegistry 0 tasks, 0 waiters>, <Scheduler <PollQueue empty>, 0 polls in flight>"
    )
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def collect(stream: AsyncIterator[tuple[Key, Task]]) -> list[str]:
    """List the ids of the tasks that a stream yields."""
    return [key[1] async for key, _ in stream]


async def collect_states(stream: AsyncIterator[Task]) -> list[tuple[str, float | None]]:
    """List the states that a stream yields."""
    return [(task.state.value, task.progress) async for task in stream]


class TestChunks:
    """Work on thousands of tasks is done in chunks."""

    async def test_other_tasks_run_between_chunks(self) -> None:
        """At most five hundred tasks are registered or left in one iteration of the event loop."""
        poller = CountingPoller(FakeService())
        async with poller.counting():
            waiting = asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), 3600.0, return_failed=True))
            for _ in range(20):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])

        for calls in (poller.registered, poller.left):
            assert [count for _, count in calls if count][:4] == [500] * 4
            assert all(later > earlier for (earlier, _), (later, _) in itertools.pairwise(calls[:4]))
        assert waiting.cancelled()
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("is_twice", [False, True])
    @pytest.mark.parametrize("iterations", [0, 1, 2, 3, 4, 5, 6, 10])
    async def test_cancelling_during_registration_leaves_nothing_behind(self, iterations: int, is_twice: bool) -> None:  # noqa: FBT001  # a column
        """In any iteration of the event loop, and if it is cancelled again in the next."""
        poller = CountingPoller(FakeService())
        waiting = asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), 3600.0, return_failed=True))
        for _ in range(iterations):
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
    async def test_cancelling_repeatedly_leaves_nothing_behind(self, times: int) -> None:
        """After the first cancellation tasks are left in chunks; after the second, all at once."""
        poller = CountingPoller(FakeService(latency=1.0))
        waiting = asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), 3600.0, return_failed=True))
        await asyncio.sleep(12.5)
        async with poller.counting():
            for _ in range(times):
                waiting.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([waiting])

        assert waiting.cancelled()
        assert now() == 12.5
        assert max(count for _, count in poller.left) == (500 if times == 1 else MANY)
        await assert_nothing_left(poller)

    async def test_a_cancel_scope_leaves_tasks_in_chunks(self) -> None:
        """The cancellation by an anyio scope, which is repeated at each await, counts as one."""
        poller = CountingPoller(FakeService())
        with anyio.move_on_after(12.5):
            await wait_all(poller, targets(*numbered(MANY)), None, return_failed=True)

        assert [count for _, count in poller.left][:4] == [500] * 4
        await assert_nothing_left(poller)

    def test_cancelling_leaves_no_timer_and_no_task(self) -> None:
        """When all waits are cancelled, nothing is scheduled on the event loop any more."""

        async def main() -> None:
            poller = CountingPoller(FakeService(latency=1.0))
            waits = [
                asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), 1e6, return_failed=True))
                for _ in range(2)
            ]
            await asyncio.sleep(42.5)
            for waiting in waits:
                waiting.cancel()
            await asyncio.wait(waits)
            await asyncio.get_running_loop().create_future()

        with pytest.raises(VirtualClockDeadlockError) as caught:
            run(main())
        assert caught.value.time == 42.5
        assert len(caught.value.tasks) == 1

    async def test_closing_the_iterator_leaves_nothing_behind(self) -> None:
        """An iteration that ends early leaves all its tasks."""
        poller = CountingPoller(FakeService(done_at(dict.fromkeys(numbered(70), 0.0))))
        async with contextlib.aclosing(as_completed(poller, targets(*numbered(MANY)), None)) as stream:
            async for _ in stream:
                break
        await assert_nothing_left(poller)

    async def test_other_tasks_run_while_outcomes_are_read(self) -> None:
        """Reading thousands of outcomes that are queued already does not block the event loop."""
        poller = CountingPoller(FakeService(done))
        stream = as_completed(poller, targets(*numbered(MANY)), None)
        await anext(stream)
        await asyncio.sleep(10.0)
        async with poller.counting():
            iterations = [poller.iteration async for _ in stream]

        assert len(iterations) == MANY - 1
        assert max(map(iterations.count, iterations)) <= 501


class TestTimeouts:
    """One timeout for all tasks of a wait."""

    async def test_a_timeout_holds_for_all_tasks(self) -> None:
        """It is exact, and its error has every task as last seen, in the order given."""
        ids = numbered(MANY)
        poller = CountingPoller(FakeService(done_at({"t7": 0.0, "t3": 12.0})))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(poller, targets(*reversed(ids), "t7"), 30.0, return_failed=True)

        assert now() == 30.0
        assert caught.value.timeout == 30.0
        states = {task.id: task.state for task in caught.value.tasks}
        assert [task.id for task in caught.value.tasks] == [*reversed(ids), "t7"]
        assert {task_id for task_id, state in states.items() if state is TaskState.SUCCEEDED} == {"t7", "t3"}
        assert set(states.values()) == {TaskState.SUCCEEDED, TaskState.RUNNING}
        await assert_nothing_left(poller)

    async def test_an_undocumented_state_is_in_the_error(self) -> None:
        """The first unfinished task may have ended in it; a documented state is not doubted."""
        states = {"a": "completed", "b": "position 3", "c": "processing"}
        poller = CountingPoller(FakeService(lambda task_id: record(task_id, states[task_id])))
        doubt = r" \(its state 'position 3' is not documented: it may have ended\); the remote"
        with pytest.raises(acetasks.TaskTimeoutError, match=r"b \(and 1 more\) was still running after 30 s" + doubt):
            await wait_all(poller, targets("a", "b", "c"), 30.0, return_failed=True)
        with pytest.raises(acetasks.TaskTimeoutError, match=doubt):
            await wait_one(poller, ("luma", "b"), 30.0)
        with pytest.raises(acetasks.TaskTimeoutError, match="running after 30 s; the remote"):
            await wait_one(poller, ("luma", "c"), 30.0)
        await assert_nothing_left(poller)

    async def test_other_tasks_run_while_the_error_is_built(self) -> None:
        """Listing and leaving thousands of tasks is done in chunks too."""
        poller = CountingPoller(FakeService())
        waiting = asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), 30.0, return_failed=True))
        await asyncio.sleep(29.9)
        await asyncio.create_task(asyncio.sleep(0.1))
        async with poller.counting():
            before = poller.iteration
            await asyncio.wait([waiting])

        assert isinstance(waiting.exception(), acetasks.TaskTimeoutError)
        assert poller.iteration - before >= 6
        assert [count for _, count in poller.left][:4] == [500] * 4

    async def test_timeouts_are_independent(self) -> None:
        """Each wait for a task has its own timeout; the others, and the polling, go on."""
        poller = CountingPoller(FakeService(done_at({"a": 22.0})))
        waits = [asyncio.create_task(wait_one(poller, A, timeout)) for timeout in (10.0, 20.0, None, 30.0)]
        for seconds in (10.0, 20.0):
            (ended,), _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            assert isinstance(ended.exception(), acetasks.TaskTimeoutError)
            assert now() == seconds
            waits.remove(ended)

        assert [task.state for task in await asyncio.gather(*waits)] == [TaskState.SUCCEEDED] * 2
        assert now() == pytest.approx(25.05)
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("timeout", [0.0, 0.01, 3.0])
    async def test_a_timeout_may_come_before_the_first_response(self, timeout: float) -> None:
        """The tasks are pending in the error then, and there is no cause."""
        poller = CountingPoller(FakeService(latency=10.0))
        outcomes = await asyncio.gather(
            wait_all(poller, targets("a", "b"), timeout, return_failed=True),
            wait_one(poller, A, timeout),
            return_exceptions=True,
        )

        assert now() == timeout
        pending = tuple(Task(provider="luma", id=task_id, state=TaskState.PENDING) for task_id in "ab")
        for outcome, tasks in zip(outcomes, (pending, pending[:1]), strict=True):
            assert isinstance(outcome, acetasks.TaskTimeoutError)
            assert (outcome.tasks, outcome.__cause__) == (tasks, None)
        await assert_nothing_left(poller)

    async def test_the_error_has_the_fault_of_the_last_poll(self) -> None:
        """If the last poll of a task failed, that is the cause of the timeout error."""
        fault = acetasks.ServiceError("broken", status=500)
        poller = CountingPoller(FakeService(lambda task_id: fault if task_id == "a" else record(task_id)))
        for waiting in (
            wait_one(poller, A, 30.0),
            wait_all(poller, targets("a"), 30.0, return_failed=True),
            wait_all(poller, targets(*numbered(600), "a"), 30.0, return_failed=True),
        ):
            with pytest.raises(acetasks.TaskTimeoutError, match="broken") as caught:
                await waiting
            assert isinstance(caught.value.__cause__, acetasks.ServiceError)
        await assert_nothing_left(poller)

    async def test_tasks_that_ended_before_the_timeout_are_yielded(self) -> None:
        """Even if they are read after it."""
        poller = CountingPoller(FakeService(done_at({"a": 0.0, "b": 0.0})))
        stream = as_completed(poller, targets("a", "b", "c"), 20.0)
        found = [(await anext(stream))[0][1]]
        await asyncio.sleep(100.0)
        found.append((await anext(stream))[0][1])
        with pytest.raises(acetasks.TaskTimeoutError):
            await anext(stream)

        assert found == ["a", "b"]

    async def test_a_timeout_that_is_read_when_all_tasks_have_ended_is_ignored(self) -> None:
        """Tasks that end after the timeout, but before it is read, are yielded."""
        poller = CountingPoller(FakeService(done_at({"a": 0.0, "b": 30.0})))
        stream = as_completed(poller, targets("a", "b"), 20.0)
        found = [(await anext(stream))[0][1]]
        await asyncio.sleep(100.0)

        assert [*found, *await collect(stream)] == ["a", "b"]
        await assert_nothing_left(poller)

    async def test_a_task_that_ends_after_the_timeout_is_not_lost(self) -> None:
        """If it ends before the timeout is read, the error has it in its terminal state."""
        poller = CountingPoller(FakeService(done_at({"a": 0.0, "b": 30.0})))
        stream = as_completed(poller, targets("a", "b", "c"), 20.0)
        await anext(stream)
        await asyncio.sleep(100.0)
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await anext(stream)

        assert [task.state.value for task in caught.value.tasks] == ["succeeded", "succeeded", "running"]
        await assert_nothing_left(poller)

    @pytest.mark.parametrize("end", ["done", "progress"])
    @pytest.mark.parametrize("difference", [-1e-6, 0.0, 1e-6])
    async def test_a_response_at_about_the_time_of_the_timeout(self, difference: float, end: str) -> None:
        """A response before the timeout counts; at the same time, the wait may end either way, but loses nothing."""

        def answer(task_id: str) -> object:
            if now() < 7.0:
                return record(task_id)
            return done(task_id) if end == "done" else record(task_id, progress=50.0)

        poller = CountingPoller(FakeService(answer, latency=1.0))
        # The first response comes at 1.05 s, the second at 7.05 s.
        outcomes = await asyncio.gather(
            wait_one(poller, A, 7.05 + difference),
            wait_all(poller, targets("a", "b"), 7.05 + difference, return_failed=True),
            return_exceptions=True,
        )

        assert now() == pytest.approx(7.05, abs=2e-6)
        for outcome in outcomes:
            if end == "progress" or difference < 0 or isinstance(outcome, BaseException):
                assert isinstance(outcome, acetasks.TaskTimeoutError)
                assert difference <= 0 or end == "progress"
                found = {(task.state, task.progress) for task in outcome.tasks}
                before, after = {(TaskState.RUNNING, None)}, {(TaskState.RUNNING, 50.0)}
                assert found == (before if difference < 0 else after if difference > 0 else found & (before | after))
        await assert_nothing_left(poller)


class TestFinished:
    """Targets of which the end is known."""

    async def test_they_are_yielded_first_and_not_polled(self) -> None:
        """The other targets are polled as usual."""
        transport = FakeService(done)
        stream = as_completed(CountingPoller(transport), targets("a", "known", "b", finished=[DONE]), None)

        assert await collect(stream) == ["known", "a", "b"]
        assert [request.ids for _, request in transport.sent] == [("a", "b")]

    async def test_nothing_is_polled_if_all_have_ended(self) -> None:
        """Each is returned at its places, and the poller stays idle."""
        transport = FakeService()
        poller = CountingPoller(transport)

        assert (
            await wait_all(poller, targets("known", "known", finished=[DONE]), 0.0, return_failed=False) == [DONE] * 2
        )
        assert (poller.is_idle, transport.sent, now()) == (True, [], 0.0)

    async def test_a_failed_one_is_raised(self) -> None:
        """Unless failed tasks are to be returned."""
        poller = CountingPoller(FakeService())
        with pytest.raises(acetasks.TaskFailedError) as caught:
            await wait_all(poller, targets("a", "known", finished=[FAILED]), None, return_failed=False)

        assert [task.id for task in caught.value.tasks] == ["a", "known"]
        await assert_nothing_left(poller)
        assert await wait_all(poller, targets("known", finished=[FAILED]), None, return_failed=True) == [FAILED]

    async def test_they_are_among_the_tasks_of_an_error(self) -> None:
        """At their places in the order given."""
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(
                CountingPoller(FakeService()), targets("a", "known", "b", finished=[DONE]), 3.0, return_failed=True
            )

        assert [task.id for task in caught.value.tasks] == ["a", "known", "b"]
        assert caught.value.tasks[1] is DONE

    async def test_the_updates_of_a_finished_task_are_one(self) -> None:
        """`once` yields the task and nothing else."""
        assert [task async for task in once(DONE)] == [DONE]

    def test_unfinished_targets_keep_their_order(self) -> None:
        """`unfinished` has the targets that have to be polled, in the order given."""
        assert targets("a", "known", "b", "a", finished=[DONE]).unfinished == [("luma", task_id) for task_id in "aba"]
        assert targets("a", "b").unfinished == [("luma", "a"), ("luma", "b")]


class TestOrder:
    """The order of what is yielded and returned."""

    async def test_tasks_are_yielded_as_they_end(self) -> None:
        """A target that is given twice is yielded once."""
        poller = CountingPoller(FakeService(done_at({"a": 12.0, "b": 7.0, "c": 0.0})))
        stream = as_completed(poller, targets("c", "a", "b", "a", "c"), None)

        assert [(key[1], now()) async for key, _ in stream] == [
            ("c", 0.05),
            ("b", pytest.approx(10.05)),
            ("a", pytest.approx(15.05)),
        ]

    async def test_tasks_are_returned_in_the_order_given(self) -> None:
        """A target that is given twice is returned at both places, and polled once."""
        transport = FakeService(done)
        ids = [*numbered(1200), *numbered(700)]
        poller = CountingPoller(transport)
        tasks = await wait_all(poller, targets(*ids), None, return_failed=False)

        assert [task.id for task in tasks] == ids
        await assert_nothing_left(poller)
        assert sum(len(request.ids) for _, request in transport.sent) == 1200


class TestErrors:
    """Tasks that cannot be polled."""

    BAD = acetasks.BadRequestError("no such thing", status=400)

    async def test_an_error_of_one_task_is_deferred_until_the_others_have_ended(self) -> None:
        """It is raised then, with further ones as notes, and with all tasks in the order given."""
        answer = done_at({"a": 0.0, "b": 22.0})
        poller = CountingPoller(FakeService(lambda task_id: self.BAD if task_id.startswith("bad") else answer(task_id)))
        stream = as_completed(poller, targets("bad1", "b", "bad2", "a"), None)
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

    async def test_a_deferred_error_is_a_note_of_the_timeout_error(self) -> None:
        """A timeout that passes first does not hide it."""
        poller = CountingPoller(FakeService(lambda task_id: self.BAD if task_id == "bad" else record(task_id)))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_all(poller, targets("bad", "a"), 30.0, return_failed=True)

        assert caught.value.__notes__ == [f"BadRequestError: {self.BAD}"]

    async def test_an_error_is_not_deferred_if_failures_are_raised(self) -> None:
        """Without `return_failed` the first error is raised at once."""
        poller = CountingPoller(FakeService(lambda task_id: self.BAD if task_id == "bad" else record(task_id)))
        with pytest.raises(acetasks.BadRequestError) as caught:
            await wait_all(poller, targets("a", "bad"), None, return_failed=False)

        assert now() == 0.05
        assert [(task.id, task.state) for task in caught.value.tasks] == [
            ("a", TaskState.RUNNING),
            ("bad", TaskState.PENDING),
        ]
        await assert_nothing_left(poller)

    async def test_an_error_of_many_tasks_is_raised_at_once(self) -> None:
        """Each waiter raises a copy of its own, with its own tasks, the ended ones included."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        answer = done_at({"a": 0.0})
        poller = CountingPoller(FakeService(lambda task_id: fault if now() > 8.0 else answer(task_id)))
        errors = await asyncio.gather(
            wait_all(poller, targets("b", "a"), None, return_failed=True),
            wait_all(poller, targets("c", "b"), None, return_failed=False),
            wait_one(poller, ("luma", "c"), None),
            return_exceptions=True,
        )

        assert [type(error) for error in errors] == [acetasks.PermissionDeniedError] * 3
        assert len(set(map(id, [fault, *errors]))) == 4
        assert now() == pytest.approx(15.05)
        assert [task.id for task in errors[0].tasks] == ["b", "a"]
        assert errors[0].tasks[1].state is TaskState.SUCCEEDED
        assert [task.id for task in errors[1].tasks] == ["c", "b"]
        await assert_nothing_left(poller)

    async def test_the_tasks_of_an_error_are_as_last_seen(self) -> None:
        """A task that was found running is not reported as never seen."""
        fault = acetasks.PermissionDeniedError("used up", status=403)
        poller = CountingPoller(FakeService(lambda task_id: fault if now() > 8.0 else record(task_id, progress=10.0)))
        with pytest.raises(acetasks.PermissionDeniedError) as caught:
            await wait_all(poller, targets(*numbered(3)), None, return_failed=True)

        assert [(task.state, task.progress) for task in caught.value.tasks] == [(TaskState.RUNNING, 10.0)] * 3

    async def test_a_failure_does_not_lose_tasks_that_ended_with_it(self) -> None:
        """The error has the tasks that ended in the same response in their terminal states."""
        poller = CountingPoller(
            FakeService(lambda task_id: record(task_id, "failed") if task_id == "bad" else done(task_id))
        )
        with pytest.raises(acetasks.TaskFailedError) as caught:
            await wait_all(poller, targets("a", "bad", "b"), None, return_failed=False)

        assert [(task.id, task.state.value) for task in caught.value.tasks] == [
            ("a", "succeeded"),
            ("bad", "failed"),
            ("b", "succeeded"),
        ]
        assert caught.value.task.id == "bad"
        await assert_nothing_left(poller)

    async def test_close_ends_every_kind_of_wait(self) -> None:
        """Each raises a `ClientClosedError`, even one that is still registering its tasks."""
        poller = CountingPoller(FakeService())
        waits: list[Coroutine[object, object, object]] = [
            wait_one(poller, A, None),
            wait_all(poller, targets(*numbered(MANY)), None, return_failed=True),
            collect_states(updates(poller, A)),
        ]
        running = [asyncio.create_task(waiting) for waiting in waits]
        await asyncio.sleep(1.0)
        late = asyncio.create_task(wait_all(poller, targets(*numbered(MANY)), None, return_failed=True))
        await asyncio.sleep(0)
        await poller.close()

        outcomes = await asyncio.gather(*running, late, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {acetasks.ClientClosedError}
        assert now() == 1.0
        await assert_nothing_left(poller)


class TestWaitOne:
    """`wait_one`."""

    async def test_returns_a_succeeded_task_and_raises_any_other(self) -> None:
        """A failed task is an error, and so is one that is not found."""
        transport = FakeService(done)
        assert (await wait_one(CountingPoller(transport), A, 3.0)).state is TaskState.SUCCEEDED
        transport.answer = lambda task_id: record(task_id, "failed")
        with pytest.raises(acetasks.TaskFailedError):
            await wait_one(CountingPoller(transport), A, None)
        transport.answer = lambda _: {}
        with pytest.raises(acetasks.TaskNotFoundError):
            await wait_one(CountingPoller(transport), A, None)

    async def test_a_timeout_error_has_the_task_as_last_seen(self) -> None:
        """The error has its state and progress, and nothing is left behind."""
        poller = CountingPoller(FakeService(lambda task_id: record(task_id, progress=30.0)))
        with pytest.raises(acetasks.TaskTimeoutError) as caught:
            await wait_one(poller, A, 12.0)

        assert (caught.value.task.state, caught.value.task.progress) == (TaskState.RUNNING, 30.0)
        assert now() == 12.0
        await assert_nothing_left(poller)

    async def test_cancelling_one_wait_does_not_affect_another(self) -> None:
        """The other waiter of the same task receives its outcome."""
        poller = CountingPoller(FakeService(done_at({"a": 7.0})))
        first, second = (asyncio.create_task(wait_one(poller, A, 100.0)) for _ in range(2))
        await asyncio.sleep(3.0)
        first.cancel()

        assert (await second).state is TaskState.SUCCEEDED
        assert first.cancelled()
        await assert_nothing_left(poller)


class TestUpdates:
    """`updates`."""

    async def test_yields_the_first_record_each_change_and_the_end(self) -> None:
        """A poll without a change yields nothing, and a failed end is yielded."""
        records = iter(
            [record("a", "queued"), record("a"), record("a"), record("a", progress=10.0), record("a", "failed")]
        )
        poller = CountingPoller(FakeService(lambda _: next(records)))
        found = [(task.state.value, task.progress, round(now(), 6)) async for task in updates(poller, A)]

        assert found == [
            ("pending", None, 0.05),
            ("running", None, 5.05),
            ("running", 10.0, 15.05),
            ("failed", None, 20.05),
        ]
        await assert_nothing_left(poller)

    async def test_yields_at_once_what_is_known(self) -> None:
        """A task that is awaited already is yielded as last seen, without another poll."""
        poller = CountingPoller(FakeService(lambda task_id: record(task_id, progress=10.0)))
        with anyio.move_on_after(7.0):
            await wait_one(poller, A, None)
        waiting = asyncio.create_task(wait_one(poller, A, None))
        await asyncio.sleep(4.0)
        async with contextlib.aclosing(updates(poller, A)) as stream:
            task = await anext(stream)
        assert (task.progress, now()) == (10.0, 11.0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await assert_nothing_left(poller)

    async def test_raises_an_error(self) -> None:
        """What was found before is yielded first; the error is a copy."""
        error = acetasks.BadRequestError("no such thing", status=400)
        poller = CountingPoller(FakeService(lambda task_id: error if now() > 3.0 else record(task_id)))
        stream = updates(poller, A)
        assert (await anext(stream)).state is TaskState.RUNNING
        with pytest.raises(acetasks.BadRequestError) as caught:
            await anext(stream)

        assert caught.value is not error
        await assert_nothing_left(poller)

    async def test_closing_the_iterator_ends_the_polling(self) -> None:
        """Unless another waiter awaits the task."""
        poller = CountingPoller(FakeService())
        async with contextlib.aclosing(updates(poller, A)) as stream:
            await anext(stream)
        await assert_nothing_left(poller)
