"""One limit for whatever runs at once, with one timer for all of it.

`asyncio.timeout` and aiohttp's own limits set a timer for each request, and look up the running task at each step of
it; of what acetasks itself costs for a look without news, that would be a fifth.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


class Deadlines:
    """Breaks off what takes longer than it may.

    Attributes:
        seconds: How long each thing may take.
    """

    __slots__ = ("_alarm", "_running", "seconds")

    def __init__(self, seconds: float) -> None:
        """Start with nothing running.

        Args:
            seconds: How long each thing may take; more than 0.
        """
        self.seconds = seconds
        # In the order of their ends, since all have as long.
        self._running: dict[Deadline, None] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        """Show how much runs."""
        return f"<Deadlines of {self.seconds:g} s, {len(self._running)} running>"

    def set(self) -> Deadline:
        """Give a limit to what runs in the context of the deadline, from when it is entered."""
        return Deadline(self)

    def begin(self, deadline: Deadline, loop: asyncio.AbstractEventLoop) -> None:
        """Take note that something runs. For deadlines to call."""
        deadline.time = loop.time() + self.seconds
        self._running[deadline] = None
        if self._alarm is None:
            self._alarm = loop.call_at(deadline.time, self._ring, loop)

    def end(self, deadline: Deadline) -> None:
        """Take note that something runs no more. For deadlines to call."""
        del self._running[deadline]
        if not self._running and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        """Break off what is over its time, and wait for the next that may be."""
        self._alarm = None
        now = loop.time()
        for deadline in self._running:
            if deadline.time > now:
                self._alarm = loop.call_at(deadline.time, self._ring, loop)
                break
            deadline.pass_over()


class Deadline:
    """The limit of one thing, as a context: what runs in it is cancelled when it passes, and ends in a `TimeoutError`.

    A cancellation that comes from elsewhere goes on as such, as with `asyncio.timeout`.

    Attributes:
        time: When it passes, in seconds of the loop's clock.
    """

    __slots__ = ("_cancelling", "_deadlines", "_has_passed", "_task", "time")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        self._has_passed = False
        self.time = 0.0

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("only what runs in a task can be broken off")
        self._task = task
        self._cancelling = task.cancelling()
        self._deadlines.begin(self, loop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.end(self)
        if not self._has_passed:
            return
        # Whoever else has cancelled the task meanwhile is to see it cancelled.
        is_only_reason = self._task.uncancel() <= self._cancelling
        if is_only_reason and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error

    def pass_over(self) -> None:
        """Break off what runs; it is over its time. For deadlines to call."""
        if not self._has_passed:
            self._has_passed = True
            self._task.cancel()
