"""Settings and dependencies that the parts of one open client share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable

    from acetasks._tracing import Telemetry
    from acetasks.events import Observers
    from acetasks.policies import PollPolicy, RetryPolicy

#: A timer later than these seconds shows that the event loop was held up, by blocking code or a process or machine that
#: was stopped.
_LATE = 0.1
#: Seconds for what arrived meanwhile: it lies in the sockets, and takes some steps of the loop to be read.
_GRACE = 0.05


class Timer:
    """Calls a function after some seconds, and a little later if the event loop was held up until then.

    The loop runs timers that are due in the same step in which it begins to read sockets, so that a response that was
    there in time would be thrown away.
    """

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._start(seconds)

    def cancel(self) -> None:
        """Do not call the function any more."""
        self._handle.cancel()

    def _start(self, seconds: float) -> None:
        due = self._loop.time() + seconds
        self._handle = self._loop.call_at(due, self._ring, due)

    def _ring(self, due: float) -> None:
        if self._loop.time() - due > _LATE:
            self._start(_GRACE)
        else:
            self._callback()


@contextlib.asynccontextmanager
async def limit_time(seconds: float | None) -> AsyncIterator[None]:
    """Raise `TimeoutError` after some seconds, as `asyncio.timeout` does, with a `Timer`; None for no limit."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = Timer(seconds, lambda: scope.reschedule(loop.time())) if seconds is not None else None
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()


def read_wall_clock() -> float:
    """Return the seconds since the epoch; nothing else in the library reads the machine's clock."""
    return time.time()


class Runtime(NamedTuple):
    """Settings and dependencies of one open client.

    `clock` returns the loop time. `wall_clock` returns the seconds since the epoch, for what is compared with times of
    the service; nothing waits on it. `telemetry` is None if requests and waits are not traced.
    """

    policy: PollPolicy
    retry: RetryPolicy
    observers: Observers
    rng: random.Random
    clock: Callable[[], float]
    wall_clock: Callable[[], float] = read_wall_clock
    telemetry: Telemetry | None = None


def is_being_cancelled() -> bool:
    """Return whether a `CancelledError` is the running task's own, and not of something cancelled that it awaited."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
