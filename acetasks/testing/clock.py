"""Virtual clock: an event loop whose time jumps to the next timer as soon as nothing else can happen.

A test of ten minutes of polling takes a millisecond and ends at exactly the same virtual time on every machine. Real
sockets and threads keep working: time stands still until the kernel has delivered all data between sockets of the
loop, and until every call in a thread has returned.

This module and those it imports use only the standard library, so that any test can use them.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from acetasks.testing.addresses import find_problem
from acetasks.testing.clock_errors import (
    VirtualClockAddressError,
    VirtualClockDeadlockError,
    VirtualClockError,
    list_stuck_tasks,
)
from acetasks.testing.loopback import VirtualSelector
from acetasks.testing.outside import OutsideWork, Patience
from acetasks.testing.threads import ThreadCalls

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Hashable
    from concurrent.futures import Executor
    from contextvars import Context

    from acetasks.testing.loopback import Events

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")

#: Virtual seconds after which a run is taken for endless.
DAY = 86_400.0
#: Iterations of the loop at one virtual time without I/O after which a run is taken for endless: some seconds.
_MAX_SPINS = 300_000
#: Real seconds for the rest of a message from outside the loop, after its first part: Linux may acknowledge the first
#: part, which the sender may wait for, 40 ms later.
_FOLLOW_UP_PAUSE = 0.06


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer instead of waiting for it.

    Each jump ends at exactly the time of a timer; callbacks, sockets and threads take no virtual time. Calls in
    threads count if they were started through the loop (`asyncio.to_thread`, `run_in_executor`, name resolution),
    through `anyio.to_thread` or by aiosqlite. On Linux, time also does not pass faster than real time while a TCP
    connection that the loop opened to another process, loop or thread has an unanswered request, a child process of
    the loop runs, or a `threading.Timer` that was started meanwhile has not fired. The loop cannot detect other
    activity outside of it: tests that wait for such need the real clock.

    Args:
        start: The initial virtual time, in seconds.
        end: Virtual seconds after which a run, such as one `run_until_complete`, is taken for endless, and
            `VirtualClockDeadlockError` is raised; infinite for no limit.
        io_patience: Timeout, in real seconds, for I/O from outside the loop when there is neither a timer nor a call
            in a thread; then `VirtualClockDeadlockError` is raised.
        thread_patience: Timeout, in real seconds, of each call in a thread, after which `VirtualClockDeadlockError` is
            raised: the thread may itself be waiting for virtual time, which stands still until it returns.
        outside_patience: Timeout, in real seconds, for each connection, process or timer outside the loop; then time
            passes again, with a `VirtualClockWarning`.
        allowed_hosts: Public hosts that code in the loop may connect to; any other ends the run with
            `VirtualClockAddressError`. None allows all.
    """

    # asyncio's heap of timers, and the resolution of their times. There is no public API for the next timer; both
    # have had these names and meanings since Python 3.4, but the type stubs omit them.
    _scheduled: list[asyncio.TimerHandle]
    _clock_resolution: float

    def __init__(
        self,
        *,
        start: float = 0.0,
        end: float = DAY,
        io_patience: float = 0.05,
        thread_patience: float = 30.0,
        outside_patience: float = 10.0,
        allowed_hosts: Collection[str] | None = None,
    ) -> None:
        self._end = float(end)
        self._io_patience = io_patience
        self._thread_patience = Patience(thread_patience)
        self._allowed_hosts = allowed_hosts
        self._thread_calls = ThreadCalls(self)
        self._is_joining_threads = False
        self._fatal: VirtualClockError | None = None
        self._virtual_selector = VirtualSelector(self._wait_or_jump, self._count_iteration)
        self._outside = OutsideWork(self._virtual_selector.list_unanswered, outside_patience)
        super().__init__(self._virtual_selector)
        if not end > 0:
            self.close()  # or it would be reported as never closed
            raise ValueError(f"end must be a number of seconds above 0, got {end!r}")
        self._set_time(float(start))
        self._begin_run()

    def __repr__(self) -> str:
        state = "closed" if self.is_closed() else "running" if self.is_running() else "idle"
        timers, calls = len(self._scheduled), len(self._thread_calls.find())
        return f"<VirtualClockLoop time={self._now!r} {state}, {timers} timers, {calls} calls in threads>"

    def time(self) -> float:
        """Return the virtual time, in seconds; it begins at `start` and never decreases."""
        return self._now

    def run_forever(self) -> None:
        """Run until `stop` is called.

        Raises:
            VirtualClockError: The code in the loop can never end, or connects to an address that it must not use.
        """
        self._begin_run()
        super().run_forever()
        self._raise_fatal()

    def run_until_complete(self, future: Generator[Any, None, _Result] | Awaitable[_Result]) -> _Result:
        """Run until a future is done, and return its result; cancel it after a `VirtualClockError`.

        Raises:
            VirtualClockError: The code in the loop can never end, or connects to an address that it must not use.
        """
        main: asyncio.Future[_Result] = asyncio.ensure_future(future, loop=self)  # type: ignore[arg-type]  # as asyncio
        try:
            return super().run_until_complete(main)
        except VirtualClockError:
            # Otherwise it would go on during the tear-down of fixtures, and fail with what that does to it.
            main.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                super().run_until_complete(main)
            raise

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
        self._thread_calls.add(future)
        return future

    def call_soon_threadsafe(
        self, callback: Callable[[*_Arguments], object], *args: *_Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        """Schedule a callback from another thread, and note the calls that have returned."""
        self._thread_calls.observe_report(callback)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        """Create a future of the loop; virtual time stands still until those of aiosqlite are done."""
        future = super().create_future()
        # aiosqlite has threads of its own, and one future of the loop for each call in them.
        if sys._getframe(1).f_globals.get("__name__") == "aiosqlite.core":  # noqa: SLF001  # the documented way
            self._thread_calls.add(future)
        return future

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:  # noqa: ANN401  # as asyncio's own
        """Resolve a host name; if the host must not be used, the run ends."""
        await self._check_address(host, port)
        return await super().getaddrinfo(host, port, **options)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:  # noqa: ANN401  # as asyncio's own
        """Connect a socket; if the address must not be used, the run ends."""
        if isinstance(address, tuple):
            await self._check_address(*address[:2])
        await super().sock_connect(sock, address)

    async def subprocess_exec(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as asyncio's own
        """Start a child process; virtual time does not overtake real time while it runs."""
        transport, protocol = await super().subprocess_exec(*args, **options)
        self._outside.add_process(transport)
        return transport, protocol

    async def subprocess_shell(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as asyncio's own
        """Start a command in a shell; virtual time does not overtake real time while it runs."""
        transport, protocol = await super().subprocess_shell(*args, **options)
        self._outside.add_process(transport)
        return transport, protocol

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

    def _begin_run(self) -> None:
        self._ends_at = self._now + self._end
        self._spins = 0
        self._outside.begin_run()

    def _set_time(self, now: float) -> None:
        self._now = now
        self._spins = 0
        # asyncio also runs timers that are due within this resolution. One unit in the last place is the minimum that
        # runs timers due now. The default of a nanosecond would run later timers too, and none at all beyond 2**24 s,
        # where adding a nanosecond changes nothing.
        self._clock_resolution = math.ulp(now)

    async def _check_address(self, host: object, port: object) -> None:
        problem = find_problem(host, port, loop=self, allowed_hosts=self._allowed_hosts)
        if problem is not None:
            # Raised by the loop, not here: the code under test might handle it, and wait or try again for ever.
            self._fatal = VirtualClockAddressError(problem, time=self._now, tasks=list_stuck_tasks(self))
            await self.create_future()

    def _raise_fatal(self) -> None:
        error, self._fatal = self._fatal, None
        if error is not None:
            raise error

    def _count_iteration(self, *, has_events: bool) -> None:
        """Count an iteration of the loop that has callbacks to run, and end a run that spins for ever."""
        self._spins = 0 if has_events else self._spins + 1
        if self._spins >= _MAX_SPINS:
            self._spins = 0
            if not self._thread_calls.find():
                raise self._build_error(
                    f"the loop has run {_MAX_SPINS:,} times without any task waiting, and time passes only while all"
                    " tasks wait: replace a loop around `sleep(0)` by a longer sleep or an event"
                )

    def _wait_or_jump(self) -> Events:
        """Wait in real time for pending I/O and threads, or advance the virtual time; called when nothing is ready."""
        self._raise_fatal()
        # 1. The kernel has not delivered everything between sockets of this loop.
        if events := self._virtual_selector.await_deliveries():
            return events
        # 2. Calls in threads. If the loop is only joining threads, asyncio's own timeout may pass.
        if (calls := self._thread_calls.find()) or self._is_joining_threads:
            if events := self._wait_for_threads(calls):
                return events
        else:
            self._thread_patience.remaining({})
        # 3. A timer, after work outside the loop that may be awaited. A timer at infinity never fires.
        when = self._scheduled[0].when() if self._scheduled else math.inf
        if events := self._wait_for_outside(when - self._now):
            return events
        if when < math.inf:
            return self._jump(when)
        # 4. Only I/O from outside the loop could wake a task.
        events = self._virtual_selector.select_in_real_time(self._io_patience)
        if not events and not self._is_joining_threads:
            raise self._build_error(
                "nothing is ready: no timer, no call in a thread, no socket event; use the real clock to wait for"
                " another process or for a thread that the loop did not start"
            )
        return events

    def _wait_for_threads(self, calls: dict[Hashable, str]) -> Events:
        left = self._thread_patience.remaining(calls)
        seconds = max(0.0, min(left.values(), default=self._thread_patience.limit))
        events = self._virtual_selector.select_in_real_time(seconds)
        # A request from a thread is an event too, so the patience is counted from the start of each call.
        if not self._is_joining_threads and (not events or seconds <= 0):
            raise self._build_error(
                f"{len(calls)} calls in threads have not returned for {self._thread_patience.limit} real seconds; a"
                " thread that waits for virtual time, such as for a task of a simulated service in this loop, waits in"
                " vain: use the real clock"
            )
        return events

    def _wait_for_outside(self, until_timer: float) -> Events:
        if self._virtual_selector.take_foreign_reads() and (
            events := self._virtual_selector.select_in_real_time(_FOLLOW_UP_PAUSE)
        ):
            return events
        while (left := self._outside.seconds_left()) is not None:
            events = self._virtual_selector.select_in_real_time(min(left, until_timer))
            if events or left >= until_timer:
                return events
        return []

    def _jump(self, when: float) -> Events:
        """Advance the time to that of a timer, even beyond the day that asyncio waits at most."""
        if when > self._ends_at:
            raise self._build_error(
                f"the code has not ended within {self._end:g} s of virtual time: it waits for what does not come, or"
                " needs a later end, such as @pytest.mark.acetasks_virtual_clock(end=...) or run(main(), end=...)"
            )
        self._set_time(when)
        return []

    def _build_error(self, reason: str) -> VirtualClockDeadlockError:
        return VirtualClockDeadlockError(reason, time=self._now, tasks=list_stuck_tasks(self))


def run(main: Coroutine[object, None, _Result], *, start: float = 0.0, end: float = DAY) -> _Result:
    """Run a coroutine on a new virtual clock.

    Args:
        main: The coroutine.
        start: The initial virtual time, in seconds.
        end: Virtual seconds after which the coroutine is taken for endless; infinite for no limit.

    Returns:
        What the coroutine returns.

    Raises:
        VirtualClockDeadlockError: The coroutine waits for what cannot come, or has not ended in time.
    """
    with asyncio.Runner(loop_factory=lambda: VirtualClockLoop(start=start, end=end)) as runner:
        return runner.run(main)
