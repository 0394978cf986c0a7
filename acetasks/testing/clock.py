"""Virtual clock: an event loop whose time jumps to the next timer as soon as nothing else can happen.

A test of ten minutes of polling takes a millisecond and ends at exactly the same virtual time on every machine. Real
sockets and threads keep working: time stands still until the kernel has delivered all data between sockets of the
loop, and until every call in a thread has returned.

This module and `loopback` import only the standard library, so that any test can use them.
"""

from __future__ import annotations

import asyncio
import math
import sys
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
    """A task that was waiting when the virtual clock was stuck.

    Attributes:
        name: The task's name.
        frames: Its stack as `file:line in function`, from its own coroutine to the innermost await.
    """

    name: str
    frames: tuple[str, ...]


class VirtualClockDeadlockError(Exception):
    """Raised when nothing on a virtual clock can wake a task; a retry does not help.

    Attributes:
        time: The virtual time, in seconds.
        tasks: The unfinished tasks, oldest first if they have their default names.
    """

    def __init__(self, reason: str, *, time: float, tasks: tuple[StuckTask, ...]) -> None:
        self.time = time
        self.tasks = tasks
        waiting = "".join("\n    ".join((f"\n  {task.name}", *task.frames)) for task in tasks)
        super().__init__(
            f"at virtual time {time!r} s {reason}; use the real clock to wait for another process or for a thread that"
            f" the loop did not start; waiting tasks:{waiting or ' none'}"
        )


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of waiting for it.

    Each jump ends at exactly the time of a timer; callbacks, sockets and threads take no virtual time. Calls in
    threads count if they were started through the loop (`asyncio.to_thread`, `run_in_executor`, name resolution),
    through `anyio.to_thread` or by aiosqlite. The loop cannot detect activity of other processes, loops and threads:
    tests with those need the real clock. While a task spins on `sleep(0)`, time stands still.

    Args:
        start: The initial virtual time, in seconds.
        io_patience: Timeout, in real seconds, for I/O from outside the loop when there is neither a timer nor a call
            in a thread; then `VirtualClockDeadlockError` is raised.
        thread_patience: Timeout, in real seconds, for calls in threads before `VirtualClockDeadlockError` is raised: a
            thread may itself be waiting for virtual time, which stands still until it returns.
    """

    # asyncio's heap of timers, and the resolution of their times. There is no public API for the next timer; both
    # have had these names and meanings since Python 3.4, but the type stubs omit them.
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
        state = "closed" if self.is_closed() else "running" if self.is_running() else "idle"
        timers, calls = len(self._scheduled), self._count_calls_in_threads()
        return f"<VirtualClockLoop time={self._now!r} {state}, {timers} timers, {calls} calls in threads>"

    def time(self) -> float:
        """Return the virtual time, in seconds; it begins at `start` and never decreases."""
        return self._now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Arguments], _Result], *args: *_Arguments
    ) -> asyncio.Future[_Result]:
        """Call a function in an executor while virtual time stands still.

        Args:
            executor: The executor; None means the loop's default threads.
            func: The function.
            args: Its arguments.

        Returns:
            A future of the function's result.
        """
        future = super().run_in_executor(executor, func, *args)
        self._calls_in_threads.add(future)
        future.add_done_callback(self._calls_in_threads.discard)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        """Create a future of the loop; virtual time stands still until those of aiosqlite are done."""
        future = super().create_future()
        # aiosqlite has threads of its own, and one future of the loop for each call in them.
        if sys._getframe(1).f_globals.get("__name__") == "aiosqlite.core":  # noqa: SLF001  # the documented way
            self._calls_in_threads.add(future)
            future.add_done_callback(self._calls_in_threads.discard)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait until the loop's default threads have ended, while virtual time stands still.

        Args:
            timeout: From Python 3.12 on, the seconds after which asyncio gives up with a warning. They are virtual,
                so they pass at once after `thread_patience` real seconds.
        """
        self._is_joining_threads = True
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._is_joining_threads = False

    def _set_time(self, now: float) -> None:
        self._now = now
        # asyncio also runs timers that are due within this resolution. One unit in the last place is the minimum that
        # runs timers due now. The default of a nanosecond would run later timers too, and none at all beyond 2**24 s,
        # where adding a nanosecond changes nothing.
        self._clock_resolution = math.ulp(now)

    def _count_calls_in_threads(self) -> int:
        # anyio's threads do not report to the loop before they return. But each is in a list of idle workers unless it
        # is in use, and only the loop's own thread changes that list, so the count is exact here.
        return len(self._calls_in_threads) + sum(
            getattr(thread, "loop", None) is self
            and not getattr(thread, "stopping", True)
            and thread not in getattr(thread, "idle_workers", (thread,))
            for thread in threading.enumerate()
        )

    def _wait_or_jump(self) -> Events:
        """Wait in real time for pending I/O and threads, or advance the virtual time; called when nothing is ready."""
        # 1. The kernel has not delivered everything between sockets of this loop.
        if events := self._virtual_selector.await_deliveries():
            return events
        # 2. Calls in threads. If the loop is only joining threads, asyncio's own timeout may pass.
        calls = self._count_calls_in_threads()
        if calls or self._is_joining_threads:
            if events := self._virtual_selector.select_in_real_time(self._thread_patience):
                return events
            if not self._is_joining_threads:
                raise self._build_error(
                    f"{calls} calls in threads have not returned for {self._thread_patience} real seconds"
                )
        # 3. A timer: jump to it, even beyond the day that asyncio waits at most. A timer at infinity never fires.
        when = self._scheduled[0].when() if self._scheduled else math.inf
        if when < math.inf:
            self._set_time(when)
            return []
        # 4. Only I/O from outside the loop could wake a task.
        events = self._virtual_selector.select_in_real_time(self._io_patience)
        if not events and not self._is_joining_threads:
            raise self._build_error("nothing is ready: no timer, no call in a thread, no socket event")
        return events

    def _build_error(self, reason: str) -> VirtualClockDeadlockError:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: (len(task.get_name()), task.get_name()))
        stuck = tuple(StuckTask(task.get_name(), tuple(_list_frames(task.get_coro()))) for task in tasks)
        return VirtualClockDeadlockError(reason, time=self._now, tasks=stuck)


def run(main: Coroutine[object, None, _Result], *, start: float = 0.0) -> _Result:
    """Run a coroutine on a new virtual clock.

    Args:
        main: The coroutine.
        start: The initial virtual time, in seconds.

    Returns:
        What the coroutine returns.

    Raises:
        VirtualClockDeadlockError: The coroutine waits for what cannot come.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(start=start)) as runner:
        return runner.run(main)


def _list_frames(awaited: object) -> Iterator[str]:
    # Task.get_stack() ends at the outermost coroutine, which seldom shows what is awaited.
    while awaited is not None:
        prefix = next((prefix for prefix in ("cr", "gi", "ag") if hasattr(awaited, f"{prefix}_frame")), None)
        frame = getattr(awaited, f"{prefix}_frame", None)
        if frame is None:
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
