"""Coroutines that wait: for one task, for all of several, for each as it completes, for each change.

Each removes its waiter however it ends, so that it can be cancelled at any await. Work on thousands of tasks is done in
chunks, between which other asyncio tasks run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import operator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio.lowlevel

from acetasks._limits import ErrorScope, scope_of
from acetasks._polling.awaited import ManyTasksWaiter, SingleTaskWaiter, UpdatesWaiter
from acetasks._runtime import Timer, limit_time
from acetasks.errors import (
    AceTasksError,
    BadRequestError,
    ProtocolError,
    TaskFailedError,
    TaskNotFoundError,
    TaskTimeoutError,
    fresh_copy,
)
from acetasks.models import Task, TaskState
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from acetasks._polling.awaited import Outcome
    from acetasks._polling.poller import Poller
    from acetasks._scheduling import Key
    from acetasks._tracing import Telemetry

    #: Ended tasks with their keys.
    Stream = AsyncGenerator[tuple[Key, Task], None]

T = TypeVar("T")

#: Number of tasks handled in one step of the event loop: a few milliseconds of work.
_CHUNK = 500


class WaitTargets(NamedTuple):
    """The tasks of one wait.

    Attributes:
        keys: In the order given; a task may occur twice.
        finished: The ones in a terminal state, which are not polled.
    """

    keys: Sequence[Key]
    finished: dict[Key, Task]

    @property
    def unfinished(self) -> Sequence[Key]:
        """The keys to poll."""
        return [key for key in self.keys if key not in self.finished] if self.finished else self.keys


async def wait_one(poller: Poller, key: Key, timeout: float | None, *, elapsed: float = 0.0) -> Task:
    """Wait for one task to succeed, in part at least.

    The timeout is in seconds, here and below; None for no limit. `elapsed` seconds of it have passed already.

    Raises:
        TaskFailedError: It failed.
        TaskNotFoundError: The service knows no such task.
        TaskTimeoutError: The timeout passed first.
        AceTasksError: It cannot be polled.
    """
    if poller.telemetry is None:
        return await _wait_one(poller, key, timeout, elapsed)
    with poller.telemetry.trace_wait((key,)) as note_task:
        task = await _wait_one(poller, key, timeout, elapsed)
        note_task(task)
    return task


async def _wait_one(poller: Poller, key: Key, timeout: float | None, elapsed: float) -> Task:
    waiter = SingleTaskWaiter()
    left = None if timeout is None else max(0.0, timeout - elapsed)
    poller.register(waiter, (key,))
    last_look = poller.schedule_last_look(left, lambda: (key,))
    try:
        with contextlib.suppress(TimeoutError):
            async with limit_time(left):
                await asyncio.wait((waiter.done,))
        if not waiter.done.done():
            fault, pause = poller.fault_of(key), poller.pause_of(key[0])
            raise _build_timeout_error((poller.last_seen(key),), timeout or 0.0, fault, pause)
        outcome = waiter.done.result()
    finally:
        if last_look is not None:
            last_look.cancel()
        poller.leave(waiter, (key,))
    if isinstance(outcome, AceTasksError):
        raise fresh_copy(outcome)
    return succeeded_or_raise(outcome)


def as_completed(
    poller: Poller, targets: WaitTargets, timeout: float | None, *, defer_errors: bool = True
) -> AsyncGenerator[tuple[Key, Task], None]:
    """Wait for several tasks, and yield the key and the task of each once, as it ends.

    Args:
        poller: Polls the tasks.
        targets: The tasks.
        timeout: Seconds for all of them together, or None.
        defer_errors: Whether failed tasks are yielded, and an error of one task only is raised when all others have
            ended. Otherwise the first of either is raised at once.

    Raises:
        TaskTimeoutError: The timeout passed first.
        AceTasksError: Some tasks cannot be polled. The `tasks` of every error here has all tasks of the wait.
    """
    stream = _as_completed(poller, targets, timeout, defer_errors=defer_errors)
    if poller.telemetry is None or not targets.keys:
        return stream
    return _trace(stream, poller.telemetry, targets.keys, operator.itemgetter(1))


async def _as_completed(
    poller: Poller, targets: WaitTargets, timeout: float | None, *, defer_errors: bool
) -> AsyncGenerator[tuple[Key, Task], None]:
    wait = _ManyTasksWait(poller, targets, timeout)
    try:
        await wait.begin()
        while (item := await wait.next_outcome()) is not None:
            key, outcome = item
            error = _failure_of(outcome) if isinstance(outcome, Task) else outcome
            # 1. A task to yield.   2. An error to raise later.   3. An error to raise now.
            if isinstance(outcome, Task) and (defer_errors or error is None):
                yield key, outcome
            elif error is not None and defer_errors and _concerns_one_task(error):
                wait.deferred.append(error)
            elif error is not None:
                raise await wait.build_error(error)
        if wait.deferred:
            raise await wait.build_error(wait.deferred.pop(0))
    finally:
        await wait.end()


async def wait_all(
    poller: Poller,
    targets: WaitTargets,
    timeout: float | None,
    *,
    return_failed: bool,
    through: Callable[[Stream], Stream] | None = None,
) -> list[Task]:
    """Wait for several tasks to end, and return them in the order given.

    A task that failed or was not found is returned if `return_failed`, else raised. `through` may change the ended
    tasks on their way. Errors are as by `as_completed`.
    """
    stream = as_completed(poller, targets, timeout, defer_errors=return_failed)
    async with contextlib.aclosing(stream if through is None else through(stream)) as ending:
        ended = {key: task async for key, task in ending}
    return [ended[key] for key in targets.keys]


def updates(poller: Poller, key: Key) -> AsyncGenerator[Task, None]:
    """Yield a task when it is first seen and at each change of its state or progress, its end included.

    Raises:
        AceTasksError: It cannot be polled.
    """
    stream = _updates(poller, key)
    return stream if poller.telemetry is None else _trace(stream, poller.telemetry, (key,), lambda task: task)


async def _updates(poller: Poller, key: Key) -> AsyncGenerator[Task, None]:
    waiter = UpdatesWaiter()
    poller.register(waiter, (key,))
    try:
        while (item := await waiter.queue.get()) is not None:
            _, outcome = item
            if isinstance(outcome, AceTasksError):
                raise fresh_copy(outcome)
            yield outcome
            if outcome.state.is_terminal:
                break
    finally:
        poller.leave(waiter, (key,))


async def _trace(
    stream: AsyncGenerator[T, None], telemetry: Telemetry, keys: Sequence[Key], task_of: Callable[[T], Task]
) -> AsyncGenerator[T, None]:
    """Pass a stream on, followed by the telemetry from the first item that is requested to the end."""
    with telemetry.trace_wait(keys) as note_task:
        async with contextlib.aclosing(stream):
            async for item in stream:
                note_task(task_of(item))
                yield item


async def once(task: Task) -> AsyncGenerator[Task, None]:
    """Yield a task in a terminal state, in place of `updates`."""
    yield task


def succeeded_or_raise(task: Task) -> Task:
    """Return a task, succeeded or partial; raise `TaskFailedError` or `TaskNotFoundError` for any other."""
    error = _failure_of(task)
    if error is not None:
        raise error
    return task


class _ManyTasksWait:
    """One wait for several tasks.

    Attributes:
        deferred: Errors that are not raised yet; notes of the one that is raised.
    """

    def __init__(self, poller: Poller, targets: WaitTargets, timeout: float | None) -> None:
        self._poller = poller
        self._targets = targets
        self._timeout = timeout or 0.0
        self._waiter = ManyTasksWaiter()
        self._unread = 0
        self.deferred: list[AceTasksError] = []
        self._timer: Timer | None = None
        if timeout is not None:
            self._timer = Timer(timeout, functools.partial(self._waiter.queue.put_nowait, None))
        self._last_look = poller.schedule_last_look(timeout, self._awaited_keys)

    async def begin(self) -> None:
        """Queue the finished tasks, and register the waiter once for each other task."""
        waiter = self._waiter
        waiter.results.update(self._targets.finished)
        for item in self._targets.finished.items():
            waiter.queue.put_nowait(item)
        await _in_chunks(self._register, self._targets.keys)
        self._unread = len(waiter.results)

    async def next_outcome(self) -> tuple[Key, Outcome] | None:
        """Return the key and outcome of the next task; None if there is none left.

        Raises:
            TaskTimeoutError: The timeout passed first.
        """
        if self._unread and self._unread % _CHUNK == 0:
            await anyio.lowlevel.checkpoint()
        while self._unread:
            if (item := await self._waiter.queue.get()) is not None:
                self._unread -= 1
                return item
            # Outcomes may have come at the same time as the timeout.
            if None in self._waiter.results.values():
                tasks, fault, pause = await self._snapshot(), await self._find_fault(), self._find_pause()
                raise self._add_notes(_build_timeout_error(tasks, self._timeout, fault, pause))
        return None

    async def build_error(self, error: AceTasksError) -> AceTasksError:
        """Return a copy of an error that has every task, so that finished ones are not lost."""
        own = fresh_copy(error)
        own.tasks = await self._snapshot()
        return self._add_notes(own)

    async def end(self) -> None:
        """Remove the waiter in chunks, even if the wait was cancelled; at once if it is cancelled again."""
        if self._timer is not None:
            self._timer.cancel()
        if self._last_look is not None:
            self._last_look.cancel()
        keys = self._awaited_keys()
        leave = functools.partial(self._poller.leave, self._waiter)
        try:
            with anyio.CancelScope(shield=True):
                await _in_chunks(leave, keys)
                # Freeing a hundred thousand tasks at once would stall the event loop.
                await _in_chunks(self._forget, list(self._waiter.results))
        except asyncio.CancelledError:
            leave(keys)
            raise

    def _add_notes(self, error: AceTasksError) -> AceTasksError:
        for deferred in self.deferred:
            error.add_note(f"{type(deferred).__name__}: {deferred}")
        return error

    def _register(self, keys: Sequence[Key]) -> None:
        results = self._waiter.results
        if new := [key for key in dict.fromkeys(keys) if key not in results]:
            results.update(dict.fromkeys(new))
            self._poller.register(self._waiter, new)

    def _forget(self, keys: Sequence[Key]) -> None:
        for key in keys:
            del self._waiter.results[key]

    def _awaited_keys(self) -> list[Key]:
        return [key for key, result in self._waiter.results.items() if result is None]

    def _last_seen(self, key: Key) -> Task:
        result = self._waiter.results[key]
        # 1. It is awaited.   2. It is in a terminal state.   3. Its outcome was an error.
        if result is None:
            return self._poller.last_seen(key)
        return result if isinstance(result, Task) else result.last_seen

    async def _snapshot(self) -> tuple[Task, ...]:
        """Return every task as last seen, in the order given."""
        tasks: list[Task] = []
        await _in_chunks(lambda keys: tasks.extend(map(self._last_seen, keys)), self._targets.keys)
        return tuple(tasks)

    def _find_pause(self) -> float | None:
        """Return the seconds of a requested pause that keeps an awaited task from being polled, if any does."""
        providers = dict.fromkeys(provider for provider, _ in self._awaited_keys())
        return next(filter(None, map(self._poller.pause_of, providers)), None)

    async def _find_fault(self) -> AceTasksError | None:
        """Return why the last poll of an awaited task failed, if any did."""
        faults: list[AceTasksError | None] = []
        await _in_chunks(lambda keys: faults.extend(map(self._poller.fault_of, keys)), self._awaited_keys())
        return next(filter(None, faults), None)


async def _in_chunks(action: Callable[[Sequence[T]], object], items: Sequence[T]) -> None:
    """Call a function with chunks of the items; other asyncio tasks run between the calls."""
    for start in range(0, len(items), _CHUNK):
        if start:
            await anyio.lowlevel.checkpoint()
        action(items[start : start + _CHUNK])


def _build_timeout_error(
    tasks: tuple[Task, ...], timeout: float, fault: AceTasksError | None, pause: float | None
) -> TaskTimeoutError:
    """Build the error, which says so if the state of the first unfinished task is undocumented."""
    task = next((task for task in tasks if not task.state.is_terminal), tasks[0])
    word = read_record(lookup(task.provider), task.raw, task_id=task.id).unknown_word
    return TaskTimeoutError(tasks, timeout, fault, pause=pause, unknown_word=word)


def _failure_of(task: Task) -> TaskFailedError | TaskNotFoundError | None:
    if task.state is TaskState.FAILED:
        return TaskFailedError(task)
    return TaskNotFoundError(task) if task.state is TaskState.NOT_FOUND else None


def _concerns_one_task(error: AceTasksError) -> bool:
    return isinstance(error, ProtocolError | BadRequestError) and scope_of(error) is ErrorScope.TASK
