"""The virtual clock: an event loop whose time jumps to the next timer as soon as nothing else can happen.

A test of ten minutes of polling takes a millisecond and ends at exactly the same virtual time everywhere.
Real sockets and threads keep working: time stands still until the kernel has delivered what one socket of the
loop sent to another, and until every call in a thread has come back.

This module and the selector beside it stand alone: they know the standard library and nothing else of acetasks, so
that any test can use them.
"""

from __future__ import annotations

import asyncio
import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from acetasks.testing.loopback import VirtualSelector

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from concurrent.futures import Executor

    from acetasks.testing.loopback import Events

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


@dataclass(frozen=True, slots=True)
class StuckTask:
    """A task that was waiting when the virtual clock could not go on.

    Attributes:
        name: The task's name.
        frames: Where it waits, as `file:line in function`, from its own coroutine to the innermost await.
    """

    name: str
    frames: tuple[str, ...]


class VirtualClockDeadlockError(Exception):
    """Raised when all that runs on a virtual clock waits for what cannot come; trying again does not help.

    Attributes:
        time: The virtual time, in seconds, at which everything stood still.
        tasks: The tasks that are not done, oldest first if they have their default names.
    """

    def __init__(self, reason: str, *, time: float, tasks: tuple[StuckTask, ...]) -> None:
        self.time = time
        self.tasks = tasks
        waiting = "".join("\n    ".join((f"\n  {task.name}", *task.frames)) for task in tasks)
        super().__init__(
            f"at virtual time {time!r} s {reason}; use the real clock if what is awaited comes from another"
            f" process or from a thread that the loop did not start; tasks that wait:{waiting or ' none'}"
        )


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer when it would otherwise have to wait for that.

    Each jump ends at exactly the time a timer was set for; callbacks, sockets and threads take no time. A
    thread counts if it was put to work through the loop (`asyncio.to_thread`, `run_in_executor`, name
    resolution) or through `anyio.to_thread`. Whether other processes, loops and threads will yet answer, the
    loop cannot know: tests with those belong on the real clock. A task that spins on `sleep(0)` keeps time
    standing still.

    Args:
        start: The virtual time, in seconds, at which the clock starts.
        io_patience: Real seconds to wait for news from outside, which may be on its way, when no timer is set
            and no thread works; then the loop is declared stuck.
        thread_patience: Real seconds to wait for calls in threads before the loop is declared stuck: a thread
            may itself wait for virtual time to pass, which it does not while the thread works.
    """

    # asyncio's heap of timers, and its rounding of their times. There is no public way to ask for the next
    # timer; both have had these names and meanings since Python 3.4, but the type stubs leave them out.
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(self, *, start: float = 0.0, io_patience: float = 0.05, thread_patience: float = 30.0) -> None:
        self._io_patience = io_patience
        self._thread_patience = thread_patience
        self._calls_in_threads: set[asyncio.Future[Any]] = set()
        self._is_joining_threads = False
        self._virtual_selector = VirtualSelector(self._wait_or_jump)
        super().__init__(self._virtual_selector)
        self._set_time(float(start))

    def __repr__(self) -> str:
        """Tell the time, the state, and what the loop may be waiting for."""
        state = "closed" if self.is_closed() else "running" if self.is_running() else "idle"
        timers, calls = len(self._scheduled), self._count_calls_in_threads()
        return f"<VirtualClockLoop time={self._now!r} {state}, {timers} timers, {calls} calls in threads>"

    def time(self) -> float:
        """Tell the virtual time.

        Returns:
            Seconds, which begin at `start` and never run back.
        """
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        """Call a function in a thread, or whatever else the executor has, while virtual time stands still.

        Args:
            executor: Where to call it; None means the loop's own threads.
            func: The function.
            args: Its arguments.

        Returns:
            A future of the function's result.
        """
        future = super().run_in_executor(executor, func, *args)
        self._calls_in_threads.add(future)
        future.add_done_callback(self._calls_in_threads.discard)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait until the loop's own threads have ended, while virtual time stands still.

        Args:
            timeout: From Python 3.12 on, the seconds after which asyncio gives up with a warning. As virtual
                ones they pass at once when the threads have taken `thread_patience` real seconds.
        """
        self._is_joining_threads = True
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._is_joining_threads = False

    def _set_time(self, now: float) -> None:
        self._now = now
        # asyncio runs timers early that are due within this resolution. One step of floating point is the
        # least that still runs those due now. The nanosecond it starts with would run others along with them,
        # and none at all beyond 2**24 s, where adding a nanosecond changes nothing.
        self._clock_resolution = math.ulp(now)

    def _count_calls_in_threads(self) -> int:
        # anyio's threads tell the loop nothing before they are done. But each is on a list of idle ones unless
        # it works, and only the loop's own thread takes it off and puts it back: from here, that is exact.
        return len(self._calls_in_threads) + sum(
            getattr(thread, "loop", None) is self
            and not getattr(thread, "stopping", True)
            and thread not in getattr(thread, "idle_workers", (thread,))
            for thread in threading.enumerate()
        )

    def _wait_or_jump(self) -> Events:
        """Wait in real time for what is under way, or else move the virtual time; nothing is ready."""
        # 1. The kernel has yet to deliver something from one socket of ours to another.
        if events := self._virtual_selector.await_deliveries():
            return events
        # 2. A thread works. If all that is left is to join threads, asyncio's own limit on that may pass.
        calls = self._count_calls_in_threads()
        if calls or self._is_joining_threads:
            if events := self._virtual_selector.select_in_real_time(self._thread_patience):
                return events
            if not self._is_joining_threads:
                raise self._build_error(
                    f"{calls} calls in threads have not returned for {self._thread_patience} real seconds"
                )
        # 3. A timer is set: jump right to it, even past the day that asyncio would wait at most. One set for
        #    infinity never comes.
        when = self._scheduled[0].when() if self._scheduled else math.inf
        if when < math.inf:
            self._set_time(when)
            return []
        # 4. Nothing is left that could wake a task, unless something comes from outside.
        events = self._virtual_selector.select_in_real_time(self._io_patience)
        if not events and not self._is_joining_threads:
            raise self._build_error("nothing is ready, no timer is set, no thread works, no socket has news")
        return events

    def _build_error(self, reason: str) -> VirtualClockDeadlockError:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: (len(task.get_name()), task.get_name()))
        stuck = tuple(StuckTask(task.get_name(), tuple(_list_frames(task.get_coro()))) for task in tasks)
        return VirtualClockDeadlockError(reason, time=self._now, tasks=stuck)


def run(main: Coroutine[object, None, _Result], *, start: float = 0.0) -> _Result:
    """Run a coroutine to its end on a new virtual clock.

    Args:
        main: The coroutine.
        start: The virtual time, in seconds, at which the clock starts.

    Returns:
        What the coroutine returns.

    Raises:
        VirtualClockDeadlockError: The coroutine waits for what cannot come.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(start=start)) as runner:
        return runner.run(main)


def _list_frames(awaited: object) -> Iterator[str]:
    # A task's own get_stack() ends at its outermost coroutine, which seldom says what is waited for.
    while awaited is not None:
        prefix = next((prefix for prefix in ("cr", "gi", "ag") if hasattr(awaited, f"{prefix}_frame")), None)
        frame = getattr(awaited, f"{prefix}_frame", None)
        if frame is None:
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
