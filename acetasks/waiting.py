"""The awaiting side: one coroutine for each way to wait, over the poller's waiters.

Each of them registers its waiters and takes them off again however it ends, so that cancelling it at any await leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import anyio.lowlevel
import msgspec

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
from acetasks.providers import ProviderSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence

    from acetasks.pending import Key, Outcome, Waiter
    from acetasks.poller import Poller

#: Waiters that are registered before others get their turn: a few milliseconds of work.
_REGISTERED_AT_ONCE = 500


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A task that somebody wants the end of.

    Attributes:
        spec: The provider's row.
        id: The task's id.
        finished: The task, where its end is known without asking.
    """

    spec: ProviderSpec
    id: str
    finished: Task | None = None

    @property
    def key(self) -> Key:
        """What tells it from others: a result without an id is told by its trace id or record."""
        if self.id or self.finished is None:
            return self.spec.slug, self.id
        return self.spec.slug, f"finished {self.finished.trace_id or hash(self.finished.raw)}"


async def wait_for(poller: Poller, wanted: Wanted, timeout: float | None) -> Task:
    """Wait for one task to end well.

    Args:
        poller: Who polls.
        wanted: The task.
        timeout: Seconds, or None for no limit.

    Returns:
        The task, succeeded or partial.

    Raises:
        TaskFailedError: It failed.
        TaskNotFoundError: The service knows no such task.
        TaskTimeoutError: The limit passed first.
        AceTasksError: It cannot be asked for.
    """
    waiter = poller.register(wanted.spec, wanted.id, deadline=poller.deadline(timeout))
    try:
        task = _task_or_raise(await waiter.future)
    finally:
        poller.leave(waiter)
    if not task.state.is_terminal:
        raise TaskTimeoutError((task,), timeout or 0.0, waiter.fault)
    return succeeded_or_raise(task)


async def each_completed(
    poller: Poller, wanted: Sequence[Wanted], timeout: float | None, *, hold_back: bool = True
) -> AsyncGenerator[tuple[Key, Task], None]:
    """Wait for several tasks, and yield each as it ends, whichever way it does.

    Args:
        poller: Who polls.
        wanted: The tasks; one that is given twice is yielded once.
        timeout: Seconds for all of them, or None for no limit.
        hold_back: Whether an error that concerns only one of the tasks is raised when all others have ended, and not
            at once.

    Yields:
        Each task that has ended, with the key that it was wanted by.

    Raises:
        TaskTimeoutError: The limit passed first.
        AceTasksError: Some cannot be asked for. Like that of every error here, its `tasks` has all of them.
    """
    distinct = {one.key: one for one in wanted}
    ended = {one.key: one.finished for one in distinct.values() if one.finished is not None}
    waiters: dict[asyncio.Future[Outcome], Waiter] = {}
    done: asyncio.Queue[asyncio.Future[Outcome]] = asyncio.Queue()
    held_back: list[AceTasksError] = []
    # One limit for all: when it passes, every waiter is given its task as last seen at once.
    deadline = poller.deadline(timeout)
    try:
        async for waiter in _register(poller, (one for one in distinct.values() if one.key not in ended), deadline):
            waiters[waiter.future] = waiter
            waiter.future.add_done_callback(done.put_nowait)
        for key, task in tuple(ended.items()):
            yield key, task
        for _ in range(len(waiters)):
            waiter = waiters[future := await done.get()]
            outcome = future.result()
            # 1. The limit.   2. An end.   3. An error of this task alone.   4. An error of more than it.
            if isinstance(outcome, Task) and not outcome.state.is_terminal:
                raise _noting(_timed_out(poller, wanted, ended, waiters.values(), timeout), held_back)
            if isinstance(outcome, Task):
                ended[waiter.key] = outcome
                yield waiter.key, outcome
            elif hold_back and _is_of_one(outcome):
                held_back.append(outcome)
            else:
                raise _noting(_with_tasks(outcome, _all_seen(poller, wanted, ended)), held_back)
        if held_back:
            raise _noting(_with_tasks(held_back[0], _all_seen(poller, wanted, ended)), held_back[1:])
    finally:
        for waiter in waiters.values():
            poller.leave(waiter)


async def wait_all(
    poller: Poller, wanted: Sequence[Wanted], timeout: float | None, *, return_failed: bool
) -> list[Task]:
    """Wait for several tasks to end.

    Args:
        poller: Who polls.
        wanted: The tasks.
        timeout: Seconds for all of them, or None for no limit.
        return_failed: Whether tasks that failed or were not found are returned; else the first of them is raised.

    Returns:
        The tasks, in the order given.

    Raises:
        AceTasksError: As `wait_for` and `each_completed` do; its `tasks` has all of them.
    """
    ended: dict[Key, Task] = {}
    async with contextlib.aclosing(each_completed(poller, wanted, timeout, hold_back=return_failed)) as stream:
        async for key, task in stream:
            ended[key] = task
            if not return_failed and (error := _failure_of(task)) is not None:
                raise _with_tasks(error, _all_seen(poller, wanted, ended))
    return [ended[one.key] for one in wanted]


async def follow(poller: Poller, wanted: Wanted) -> AsyncGenerator[Task, None]:
    """Yield a task when it is first seen and at each change of its state or progress, its end included.

    Args:
        poller: Who polls.
        wanted: The task.

    Yields:
        The task, as it was seen.

    Raises:
        AceTasksError: It cannot be asked for.
    """
    news: asyncio.Queue[Task | asyncio.Future[Outcome]] = asyncio.Queue()
    waiter = poller.register(wanted.spec, wanted.id, on_change=news.put_nowait)
    waiter.future.add_done_callback(news.put_nowait)
    try:
        while isinstance(item := await news.get(), Task):
            yield item
        _task_or_raise(item.result())
    finally:
        poller.leave(waiter)


async def once(task: Task) -> AsyncGenerator[Task, None]:
    """Yield a task whose end is known already, in the place of `follow`."""
    yield task


def succeeded_or_raise(task: Task) -> Task:
    """Return a task that has made something; raise for one that has not.

    Raises:
        TaskFailedError: It failed.
        TaskNotFoundError: The service knows no such task.
    """
    error = _failure_of(task)
    if error is not None:
        raise error
    return task


def _failure_of(task: Task) -> TaskFailedError | TaskNotFoundError | None:
    if task.state is TaskState.FAILED:
        return TaskFailedError(task)
    return TaskNotFoundError(task) if task.state is TaskState.NOT_FOUND else None


def _task_or_raise(outcome: Outcome) -> Task:
    if isinstance(outcome, AceTasksError):
        raise fresh_copy(outcome)
    return outcome


def _is_of_one(error: AceTasksError) -> bool:
    """Tell whether an error concerns nothing but the task that it was given for."""
    return isinstance(error, ProtocolError) or (isinstance(error, BadRequestError) and not error.is_redirect)


async def _register(poller: Poller, wanted: Iterable[Wanted], deadline: float) -> AsyncGenerator[Waiter, None]:
    """Register a waiter for each task, and let others have their turn in between."""
    for count, one in enumerate(wanted, start=1):
        yield poller.register(one.spec, one.id, deadline=deadline)
        if count % _REGISTERED_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()


def _timed_out(
    poller: Poller,
    wanted: Sequence[Wanted],
    ended: Mapping[Key, Task],
    waiters: Collection[Waiter],
    timeout: float | None,
) -> TaskTimeoutError:
    """Make the error of a limit that has passed."""
    seen: dict[Key, Task | None] = {waiter.key: _seen_by(waiter) for waiter in waiters}
    seen.update(ended)
    fault = next(filter(None, (waiter.fault for waiter in waiters)), None)
    return TaskTimeoutError(_all_seen(poller, wanted, seen), timeout or 0.0, fault)


def _seen_by(waiter: Waiter) -> Task | None:
    """Tell how a task was last seen by a waiter whose limit has passed."""
    outcome = waiter.future.result() if waiter.future.done() else None
    return outcome if isinstance(outcome, Task) else None


def _all_seen(poller: Poller, wanted: Sequence[Wanted], seen: Mapping[Key, Task | None]) -> tuple[Task, ...]:
    """List every task of a wait as it was last seen, in the order given."""
    return tuple(seen.get(one.key) or poller.last_seen(one.spec, one.id) for one in wanted)


def _with_tasks(error: AceTasksError, tasks: tuple[Task, ...]) -> AceTasksError:
    """Give somebody an error of their own, with every task of their wait, so that what has ended is not lost."""
    own = fresh_copy(error)
    own.tasks = tasks
    return own


def _noting(error: AceTasksError, others: Sequence[AceTasksError]) -> AceTasksError:
    """Tell of errors that were held back along with the one that is raised."""
    for other in others:
        error.add_note(f"{type(other).__name__}: {other}")
    return error
