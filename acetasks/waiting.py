"""The awaiting side: one coroutine for each way to wait, over the poller's waiters.

Each of them registers its waiters and takes them off again however it ends, so that cancelling it at any await leaves
nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import AceTasksError, TaskFailedError, TaskNotFoundError, TaskTimeoutError, fresh_copy
from acetasks.models import Task, TaskState
from acetasks.providers import ProviderSpec

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from acetasks.pending import Key, Outcome, Waiter
    from acetasks.poller import Poller


class Wanted(msgspec.Struct, frozen=True):
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
        raise TaskTimeoutError((task,), timeout or 0.0)
    return succeeded_or_raise(task)


async def each_completed(
    poller: Poller, wanted: Sequence[Wanted], timeout: float | None
) -> AsyncGenerator[tuple[Key, Task], None]:
    """Wait for several tasks, and yield each as it ends, whichever way it does.

    Args:
        poller: Who polls.
        wanted: The tasks; one that is given twice is yielded once.
        timeout: Seconds for all of them, or None for no limit.

    Yields:
        Each task that has ended, with the key that it was wanted by.

    Raises:
        TaskTimeoutError: The limit passed first; it has every task as it was last seen.
        AceTasksError: One of them cannot be asked for.
    """
    distinct = {one.key: one for one in wanted}
    ended: dict[Key, Task] = {}
    waiters: dict[asyncio.Future[Outcome], tuple[Wanted, Waiter]] = {}
    done: asyncio.Queue[asyncio.Future[Outcome]] = asyncio.Queue()
    # One limit for all: when it passes, every waiter is given its task as last seen at once.
    deadline = poller.deadline(timeout)
    try:
        for one in distinct.values():
            if one.finished is None:
                waiter = poller.register(one.spec, one.id, deadline=deadline)
                waiters[waiter.future] = (one, waiter)
                waiter.future.add_done_callback(done.put_nowait)
        for one in distinct.values():
            if one.finished is not None:
                ended[one.key] = one.finished
                yield one.key, one.finished
        for _ in range(len(waiters)):
            future = await done.get()
            task = _task_or_raise(future.result())
            one, _waiter = waiters[future]
            if not task.state.is_terminal:
                last_seen = {entry.key: _last_seen(entry, future) for future, (entry, _) in waiters.items()}
                raise TaskTimeoutError(tuple((ended | last_seen)[one.key] for one in wanted), timeout or 0.0)
            yield one.key, task
    finally:
        for _, waiter in waiters.values():
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
        AceTasksError: As `wait_for` and `each_completed` do.
    """
    ended: dict[Key, Task] = {}
    async with contextlib.aclosing(each_completed(poller, wanted, timeout)) as stream:
        async for key, task in stream:
            ended[key] = task if return_failed else succeeded_or_raise(task)
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
    if task.state is TaskState.FAILED:
        raise TaskFailedError(task)
    if task.state is TaskState.NOT_FOUND:
        raise TaskNotFoundError(task)
    return task


def _task_or_raise(outcome: Outcome) -> Task:
    if isinstance(outcome, AceTasksError):
        raise fresh_copy(outcome)
    return outcome


def _last_seen(wanted: Wanted, future: asyncio.Future[Outcome]) -> Task:
    """Tell how a task was last seen by a waiter who was given an outcome."""
    outcome = future.result()
    return (
        outcome if isinstance(outcome, Task) else Task(provider=wanted.spec.slug, id=wanted.id, state=TaskState.PENDING)
    )
