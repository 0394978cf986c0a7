"""The awaiting side: one coroutine for each way to wait, over the poller's waiters.

Each of them registers its waiter and takes it off again however it ends, so that cancelling it at any await leaves
nothing behind. What is done for each of thousands of tasks is done in portions, between which others have their turn.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import anyio.lowlevel

from acetasks.entries import Entry, Key, Waiter
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
from acetasks.waiters import FollowingWaiter, FutureWaiter, QueueWaiter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from acetasks.poller import Poller

#: Tasks that are seen to before others get their turn: a few milliseconds of work.
_PORTION = 500


class KeysOfOne(Sequence[Key]):
    """The keys of tasks of one provider, made when they are looked at: of a hundred thousand not all at once.

    The garbage collector passes over a tuple of texts; a list is gone through at each of its full rounds.
    """

    __slots__ = ("_ids", "_provider")

    def __init__(self, provider: str, ids: tuple[str, ...]) -> None:
        self._provider = provider
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Key: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Key]: ...
    def __getitem__(self, place: int | slice) -> Key | Sequence[Key]:
        found = self._ids[place]
        return (self._provider, found) if isinstance(found, str) else KeysOfOne(self._provider, found)

    def __iter__(self) -> Iterator[Key]:
        return zip(itertools.repeat(self._provider), self._ids)  # the first has no end


class Wanted(NamedTuple):
    """The tasks that somebody wants the ends of.

    Attributes:
        keys: Their providers and ids, in the order given; the same task may be there twice.
        finished: Those of them whose end is known without asking.
    """

    keys: Sequence[Key]
    finished: dict[Key, Task]

    @property
    def unfinished(self) -> Sequence[Key]:
        """Those that have to be asked for."""
        return [key for key in self.keys if key not in self.finished] if self.finished else self.keys


async def wait_for(poller: Poller, key: Key, timeout: float | None) -> Task:
    """Wait for one task to end well.

    Args:
        poller: Who polls.
        key: The task.
        timeout: Seconds, or None for no limit.

    Returns:
        The task, succeeded or partial.

    Raises:
        TaskFailedError: It failed.
        TaskNotFoundError: The service knows no such task.
        TaskTimeoutError: The limit passed first.
        AceTasksError: It cannot be asked for.
    """
    waiter = FutureWaiter(poller.deadline(timeout))
    poller.register(waiter, (key,))
    poller.limit(waiter)
    try:
        await waiter.over
        outcome = waiter.outcome
        if outcome is None:
            raise TaskTimeoutError((poller.last_seen(key),), timeout or 0.0, poller.fault_of(key))
    finally:
        poller.leave(waiter, (key,))
    if isinstance(outcome, AceTasksError):
        raise fresh_copy(outcome)
    return succeeded_or_raise(outcome)


async def each_completed(
    poller: Poller, wanted: Wanted, timeout: float | None, *, hold_back: bool = True
) -> AsyncGenerator[tuple[Key, Task], None]:
    """Wait for several tasks, and yield each as it ends, whichever way it does.

    Args:
        poller: Who polls.
        wanted: The tasks; one that is given twice is yielded once.
        timeout: Seconds for all of them, or None for no limit.
        hold_back: Whether an error that concerns only one of the tasks is raised when all others have ended, and not
            at once; and failed tasks are yielded, and not raised.

    Yields:
        Each task that has ended, with the key that it was wanted by.

    Raises:
        TaskTimeoutError: The limit passed first.
        AceTasksError: Some cannot be asked for. Like that of every error here, its `tasks` has all of them.
    """
    waiter = QueueWaiter(poller.deadline(timeout))
    ends = waiter.ends
    ends.update(wanted.finished)
    for item in wanted.finished.items():
        waiter.news.put_nowait(item)
    held_back: list[AceTasksError] = []
    try:
        await _register(poller, waiter, wanted.keys)
        poller.limit(waiter)
        unread = len(ends)
        while unread:
            if unread % _PORTION == 0:
                await anyio.lowlevel.checkpoint()
            news = await waiter.news.get()
            # 1. The limit, unless all that is left has come with it.   2. An end.   3. An error of this task alone.
            # 4. An error of more than it.
            if news is None:
                if any(end is None for end in ends.values()):
                    raise _noting(await _time_out(poller, wanted, ends, timeout), held_back)
                continue
            unread -= 1
            key, outcome = news
            error = _failure_of(outcome) if isinstance(outcome, Task) else outcome
            if isinstance(outcome, Task) and (hold_back or error is None):
                yield key, outcome
            elif error is not None and hold_back and _is_of_one(error):
                held_back.append(error)
            elif error is not None:
                raise _noting(_with_tasks(error, await _all_seen(poller, wanted, ends)), held_back)
        if held_back:
            raise _noting(_with_tasks(held_back[0], await _all_seen(poller, wanted, ends)), held_back[1:])
    finally:
        await _leave(poller, waiter, [key for key, end in ends.items() if end is None])


async def wait_all(poller: Poller, wanted: Wanted, timeout: float | None, *, return_failed: bool) -> list[Task]:
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
    async with contextlib.aclosing(each_completed(poller, wanted, timeout, hold_back=return_failed)) as stream:
        ended = {key: task async for key, task in stream}
    return [ended[key] for key in wanted.keys]


async def follow(poller: Poller, key: Key) -> AsyncGenerator[Task, None]:
    """Yield a task when it is first seen and at each change of its state or progress, its end included.

    Args:
        poller: Who polls.
        key: The task.

    Yields:
        The task, as it was seen.

    Raises:
        AceTasksError: It cannot be asked for.
    """
    waiter = FollowingWaiter(poller.deadline(None))
    poller.register(waiter, (key,))
    try:
        while (news := await waiter.news.get()) is not None:
            _, outcome = news
            if isinstance(outcome, AceTasksError):
                raise fresh_copy(outcome)
            yield outcome
            if outcome.state.is_terminal:
                break
    finally:
        poller.leave(waiter, (key,))


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


def _is_of_one(error: AceTasksError) -> bool:
    """Tell whether an error concerns nothing but the task that it was given for."""
    return isinstance(error, ProtocolError) or (isinstance(error, BadRequestError) and not error.is_redirect)


async def _register(poller: Poller, waiter: QueueWaiter, keys: Sequence[Key]) -> None:
    """Register a waiter for tasks whose ends are not known, each once."""
    for start in range(0, len(keys), _PORTION):
        if start:
            await anyio.lowlevel.checkpoint()
        new = [key for key in dict.fromkeys(keys[start : start + _PORTION]) if key not in waiter.ends]
        if len(keys) > _PORTION:
            # A short round of the garbage collector finds that it need not go through these tuples any more; and then
            # never goes through the dictionaries that have them as keys, which takes tens of milliseconds where they
            # are a hundred thousand.
            gc.collect(0)
        if new:
            waiter.ends.update(dict.fromkeys(new))
            poller.register(waiter, new)


async def _leave(poller: Poller, waiter: Waiter, keys: Sequence[Key]) -> None:
    """Take a waiter off tasks in portions, even if whoever waited was cancelled; at once if that comes again."""
    start = 0
    try:
        with anyio.CancelScope(shield=True):
            for start in range(0, len(keys), _PORTION):
                if start:
                    await anyio.lowlevel.checkpoint()
                poller.leave(waiter, keys[start : start + _PORTION])
    finally:
        poller.leave(waiter, keys[start:])


async def _time_out(
    poller: Poller, wanted: Wanted, ends: Mapping[Key, Task | Entry | None], timeout: float | None
) -> TaskTimeoutError:
    """Make the error of a limit that has passed."""
    fault: AceTasksError | None = None
    for number, (key, end) in enumerate(tuple(ends.items()), start=1):
        if number % _PORTION == 0:
            await anyio.lowlevel.checkpoint()
        if end is None and (fault := poller.fault_of(key)) is not None:
            break
    return TaskTimeoutError(await _all_seen(poller, wanted, ends), timeout or 0.0, fault)


async def _all_seen(poller: Poller, wanted: Wanted, ends: Mapping[Key, Task | Entry | None]) -> tuple[Task, ...]:
    """List every task of a wait as it was last seen, in the order given."""
    seen: list[Task] = []
    for key in wanted.keys:
        if len(seen) % _PORTION == _PORTION - 1:
            await anyio.lowlevel.checkpoint()
        # 1. It has ended.   2. An error has ended the waiting.   3. It is waited for still.
        end = ends[key]
        seen.append(end if isinstance(end, Task) else poller.last_seen(key) if end is None else end.last_seen)
    return tuple(seen)


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
