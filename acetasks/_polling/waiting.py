"""Coroutines that wait: for one task, for all of several, for each as it completes, for each change.

Each removes its waiter however it ends, so that it can be cancelled at any await.
"""

from __future__ import annotations

import asyncio
import contextlib
import operator
from typing import TYPE_CHECKING, TypeVar

from acetasks._limits import ErrorScope, scope_of
from acetasks._polling.awaited import SingleTaskWaiter, UpdatesWaiter
from acetasks._polling.many_tasks import ManyTasksWait, build_timeout_error
from acetasks._runtime import limit_time
from acetasks.errors import (
    AceTasksError,
    BadRequestError,
    ProtocolError,
    TaskFailedError,
    TaskNotFoundError,
    fresh_copy,
)
from acetasks.models import Task, TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from acetasks._polling.many_tasks import WaitTargets
    from acetasks._polling.poller import Poller
    from acetasks._scheduling import Key
    from acetasks._tracing import Telemetry

    #: Ended tasks with their keys.
    Stream = AsyncGenerator[tuple[Key, Task], None]

T = TypeVar("T")


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
            raise build_timeout_error((poller.last_seen(key),), timeout or 0.0, fault, pause)
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
    wait = ManyTasksWait(poller, targets, timeout)
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


def _failure_of(task: Task) -> TaskFailedError | TaskNotFoundError | None:
    if task.state is TaskState.FAILED:
        return TaskFailedError(task)
    return TaskNotFoundError(task) if task.state is TaskState.NOT_FOUND else None


def _concerns_one_task(error: AceTasksError) -> bool:
    return isinstance(error, ProtocolError | BadRequestError) and scope_of(error) is ErrorScope.TASK
