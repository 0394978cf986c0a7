"""State of one wait for several tasks: its waiter, its timeout, and what was not raised yet.

Work on thousands of tasks is done in chunks, between which other asyncio tasks run.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio.lowlevel

from acetasks._polling.awaited import ManyTasksWaiter
from acetasks._runtime import Timer
from acetasks.errors import AceTasksError, TaskTimeoutError, fresh_copy
from acetasks.models import Task
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks._polling.awaited import Outcome
    from acetasks._polling.poller import Poller
    from acetasks._scheduling import Key

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


class ManyTasksWait:
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
                raise self._add_notes(build_timeout_error(tasks, self._timeout, fault, pause))
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


def build_timeout_error(
    tasks: tuple[Task, ...], timeout: float, fault: AceTasksError | None, pause: float | None
) -> TaskTimeoutError:
    """Build the error, which says so if the state of the first unfinished task is undocumented."""
    task = next((task for task in tasks if not task.state.is_terminal), tasks[0])
    word = read_record(lookup(task.provider), task.raw, task_id=task.id).unknown_word
    return TaskTimeoutError(tasks, timeout, fault, pause=pause, unknown_word=word)
