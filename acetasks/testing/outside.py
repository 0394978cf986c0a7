"""Work outside an event loop that its tasks may wait for: child processes, timers in threads, unanswered requests.

The virtual clock does not jump while there is any, up to a bound of real time. Like the clock, this module imports
only the standard library.
"""

from __future__ import annotations

import threading
import time
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import SubprocessTransport
    from collections.abc import Callable, Hashable, Mapping


def real_time() -> float:
    """Return a time in real seconds, also where a test has replaced the functions of `time`.

    freezegun replaces every reference to `time.monotonic`, but not `clock_gettime`, which Windows does not have.
    """
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


class VirtualClockWarning(UserWarning):
    """Issued when virtual time goes on although something outside the event loop may be awaited."""


class Patience:
    """Real seconds for which each of several things has been waited for.

    Args:
        limit: Seconds after which a thing is no longer waited for.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._since: dict[Hashable, float] = {}

    def remaining(self, awaited: Mapping[Hashable, str]) -> dict[Hashable, float]:
        """Return the seconds left for each awaited thing; what is not among them is forgotten.

        Args:
            awaited: The things that are awaited now, with their descriptions.
        """
        now = real_time()
        self._since = {key: self._since.get(key, now) for key in awaited}
        return {key: self.limit - (now - since) for key, since in self._since.items()}


class OutsideWork:
    """The work outside one event loop that virtual time waits for.

    Args:
        list_connections: Returns descriptions of the connections to other event loops, threads and processes on which
            a request has not been answered.
        patience: Real seconds for which each piece of work is waited for.
    """

    def __init__(self, list_connections: Callable[[], Mapping[Hashable, str]], patience: float) -> None:
        self._list_connections = list_connections
        self._patience = Patience(patience)
        self._processes: list[SubprocessTransport] = []
        self._known_threads: set[threading.Thread] = set()
        self._ignored: set[Hashable] = set()

    def __repr__(self) -> str:
        return f"<OutsideWork {list(self._find().values())!r}>"

    def begin_run(self) -> None:
        """Ignore the timers that have been started before the loop runs, such as those of pytest-timeout."""
        self._known_threads = set(threading.enumerate())

    def add_process(self, process: SubprocessTransport) -> None:
        """Track a child process."""
        self._processes.append(process)

    def seconds_left(self) -> float | None:
        """Return for how many real seconds to wait at most, or None if there is no work outside the loop.

        Warns:
            VirtualClockWarning: Some work has lasted too long, and is ignored from now on.
        """
        found = self._find()
        self._ignored &= found.keys()
        awaited = {key: text for key, text in found.items() if key not in self._ignored}
        left = self._patience.remaining(awaited)
        overdue = [key for key, seconds in left.items() if seconds <= 0]
        self._ignored.update(overdue)
        if overdue:
            texts = ", ".join(awaited[key] for key in overdue)
            warnings.warn(
                f"virtual time goes on after {self._patience.limit:g} real seconds of waiting for {texts}: if the test"
                " waits for that, its timeouts pass at once; run it on the real clock (@pytest.mark.real_clock)",
                VirtualClockWarning,
                stacklevel=2,
            )
        return max((seconds for key, seconds in left.items() if key not in self._ignored), default=None)

    def _find(self) -> dict[Hashable, str]:
        self._processes = [process for process in self._processes if process.get_returncode() is None]
        found: dict[Hashable, str] = {process: f"the process {process.get_pid()}" for process in self._processes}
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer) and thread not in self._known_threads:
                found[thread] = f"the timer in the thread {thread.name!r}"
        found.update(self._list_connections())
        return found
