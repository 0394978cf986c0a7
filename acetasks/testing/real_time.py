"""Warning about tests that await long simulated tasks in real time."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import TYPE_CHECKING

from acetasks.testing.outside import VirtualClockWarning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.testing.scenario import ScriptedTask

#: Real seconds until the end of a task from which on a test had better use the virtual clock.
_LONG = 5.0
#: Real seconds between two polls of one task from which on it is awaited, and not just looked up.
_AWAITED = 2.0


class RealTimeWatch:
    """Warns once if a test goes on polling a task whose scripted end is much later in real time."""

    def __init__(self) -> None:
        self._first_polls: dict[str, float] = {}
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<RealTimeWatch polled={len(self._first_polls)}{' warned' if self._has_warned else ''}>"

    def observe_poll(self, tasks: Iterable[ScriptedTask], *, now: float) -> None:
        """Check the tasks of a poll.

        Args:
            tasks: The polled tasks.
            now: The loop time.

        Warns:
            VirtualClockWarning: The scripted end of one of them is much later.
        """
        if self._has_warned or "pytest" not in sys.modules or not _is_real(asyncio.get_running_loop()):
            return
        for task in tasks:
            if not task.has_scripted_end or task.ends_at - now <= _LONG:
                continue
            if now - self._first_polls.setdefault(task.id, now) >= _AWAITED:
                self._has_warned = True
                warnings.warn(
                    f"the {task.provider} task {task.id} ends in {task.ends_at - now:.0f} s of real time: mark the test"
                    " with @pytest.mark.acetasks_virtual_clock, or pass a smaller `after`",
                    VirtualClockWarning,
                    stacklevel=2,
                )
                return


def _is_real(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether a loop has the clock of asyncio or uvloop, and not a virtual one."""
    return type(loop).time is asyncio.BaseEventLoop.time or type(loop).__module__.partition(".")[0] == "uvloop"
