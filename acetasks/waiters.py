"""Who waits: for one task, for several, or for each change of one; what each does with its news.

All of it is synchronous: the poller tells a waiter, and whoever awaits it reads what it was told.
"""

from __future__ import annotations

import asyncio

from acetasks.entries import Entry, Key, Outcome, Waiter
from acetasks.models import Task


class FutureWaiter(Waiter):
    """One who waits for one task.

    Attributes:
        over: Done once there is an outcome, or the limit has passed.
        outcome: Of the task; None as long as there is none. It may come at the very time of the limit.
    """

    __slots__ = ("outcome", "over")

    def __init__(self, deadline: float) -> None:
        super().__init__(deadline)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outcome: Outcome | None = None

    def settle(self, entry: Entry, outcome: Outcome) -> None:  # noqa: ARG002  # there is but one entry
        """Keep the outcome, and wake up whoever waits for it."""
        self.outcome = outcome
        self.expire()

    def expire(self) -> None:
        """Wake up whoever waits, unless that was cancelled."""
        if not self.over.done():
            self.over.set_result(None)


class QueueWaiter(Waiter):
    """One who waits for several tasks.

    Attributes:
        ends: Of each task its end; what was known of it, where an error has ended the waiting; or None as long as it is
            waited for. It is right at once, whenever the news is read.
        news: Of each task its key and outcome; None when the limit has passed.
    """

    __slots__ = ("ends", "news")

    def __init__(self, deadline: float) -> None:
        super().__init__(deadline)
        self.ends: dict[Key, Task | Entry | None] = {}
        self.news: asyncio.Queue[tuple[Key, Outcome] | None] = asyncio.Queue()

    def settle(self, entry: Entry, outcome: Outcome) -> None:
        """Put the outcome to the others."""
        self.ends[entry.key] = outcome if isinstance(outcome, Task) else entry
        self.news.put_nowait((entry.key, outcome))

    def expire(self) -> None:
        """Tell that nothing more is to be waited for."""
        self.news.put_nowait(None)


class FollowingWaiter(QueueWaiter):
    """One who also wants to see each change of a task, as if it were an outcome."""

    __slots__ = ()

    follows = True

    def change(self, task: Task) -> None:
        """Put the task to the others."""
        self.news.put_nowait(((task.provider, task.id), task))
