"""Who waits for what: each id with its waiters, from registering to the one result that every waiter gets.

All state changes are in synchronous methods, so that nothing can come between; none of them does I/O. A waiter's
future is given a result, never an exception: a `Task` (unfinished if the waiter's limit passed first) or an error for
the caller to raise, so that a waiter who has left leaves no exception behind that nobody retrieves.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

from acetasks.errors import AceTasksError
from acetasks.models import Task, TaskState

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

#: What a waiter is given.
Outcome = Task | AceTasksError
#: An id under its provider.
Key = tuple[str, str]

#: Limits of waiters who have left are cleaned up when they outnumber the others by this many.
_VOID_LIMITS_KEPT = 64


class Waiter:
    """One who waits for one task.

    Attributes:
        entry: The task's entry.
        deadline: When its limit passes, in seconds of the loop's clock; infinity for none.
        future: Given an outcome exactly once, unless the waiter leaves first.
        on_change: Called with the task when it is first seen, or at once if it was seen before, and at each change of
            its state or progress.
        fault: Where its limit has passed, the error of the last look at the task, if that failed; else None.
    """

    __slots__ = ("deadline", "entry", "fault", "future", "on_change")

    def __init__(
        self,
        entry: Entry,
        future: asyncio.Future[Outcome],
        deadline: float,
        on_change: Callable[[Task], None] | None = None,
    ) -> None:
        self.entry = entry
        self.future = future
        self.deadline = deadline
        self.on_change = on_change
        self.fault: AceTasksError | None = None

    @property
    def key(self) -> Key:
        """The provider and id."""
        return self.entry.key


class Trouble:
    """What is wrong with a task at the moment; most have none.

    Attributes:
        misses: Looks in a row without a trace of it.
        missing_since: When the first of those was, in seconds of the loop's clock.
        unconfirmed: Looks in a row at which it seemed failed without saying for sure.
        unreadable: Looks in a row at which its record could not be read.
        fault: The error of the last look at it, if that failed; else None.
        faulted_at: When a look last failed for a passing reason, in seconds of the loop's clock.
        faults: Looks in a row that failed so.
        suspicion: How often a look at it has failed though its provider answered others; from 0 up to a few.
    """

    __slots__ = (
        *("fault", "faulted_at", "faults", "misses", "missing_since", "suspicion", "unconfirmed", "unreadable"),
    )

    def __init__(self) -> None:
        self.misses = self.unconfirmed = self.unreadable = self.faults = self.suspicion = 0
        self.missing_since = self.faulted_at = math.inf
        self.fault: AceTasksError | None = None


class Entry:
    """An id that somebody waits for, and what is known of it.

    Attributes:
        key: The provider and id.
        waiters: Empty only once it is settled or dropped.
        task: As it was last seen, or None.
        trouble: What is wrong with it, or None.
        turn: Its place in the agenda, which is the agenda's to change.
        flight: The request that it is part of, or None; the poller's to change.
    """

    __slots__ = ("flight", "key", "task", "trouble", "turn", "waiters")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.waiters: list[Waiter] = []
        self.task: Task | None = None
        self.trouble: Trouble | None = None
        self.turn: object = None
        self.flight: object = None

    @property
    def last_seen(self) -> Task:
        """The task as it was last seen, or one of which nothing is known yet."""
        return self.task or Task(provider=self.key[0], id=self.key[1], state=TaskState.PENDING)


class Pending:
    """All ids that somebody waits for."""

    def __init__(self, new_future: Callable[[], asyncio.Future[Outcome]]) -> None:
        """Start with nobody waiting.

        Args:
            new_future: Makes the future of a waiter; the running loop's `create_future`.
        """
        self._new_future = new_future
        self._entries: dict[Key, Entry] = {}
        # Entries that nobody waits for any more, while a request that asks for them is under way.
        self._leaving: dict[Key, Entry] = {}
        self._limits: list[tuple[float, int, Waiter]] = []
        self._limited = 0
        self._numbers = itertools.count()

    def __repr__(self) -> str:
        """Show how much is waited for."""
        waiters = sum(len(entry.waiters) for entry in self._entries.values())
        return f"<Pending {len(self._entries)} ids, {waiters} waiters>"

    def __len__(self) -> int:
        """Count the ids that somebody waits for."""
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        """Tell whether somebody waits for an id."""
        return key in self._entries

    def get(self, key: Key) -> Entry | None:
        """Find what is known of an id; None if nobody waits for it."""
        return self._entries.get(key)

    def __iter__(self) -> Iterator[Entry]:
        """Go through the entries as they are now; they may be settled meanwhile."""
        return iter(tuple(self._entries.values()))

    def register(
        self, key: Key, *, deadline: float = math.inf, on_change: Callable[[Task], None] | None = None
    ) -> Waiter:
        """Add a waiter for an id.

        Args:
            key: The provider and id.
            deadline: When its limit passes, in seconds of the loop's clock; infinity for none.
            on_change: See `Waiter`.

        Returns:
            The waiter, to be given to `leave` when it is no longer interested.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._leaving.pop(key) if key in self._leaving else Entry(key)
            self._entries[key] = entry
        waiter = Waiter(entry, self._new_future(), deadline, on_change)
        entry.waiters.append(waiter)
        if on_change is not None and entry.task is not None:
            on_change(entry.task)
        if deadline < math.inf:
            self._limited += 1
            heapq.heappush(self._limits, (deadline, next(self._numbers), waiter))
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """Take a waiter off, whether it has been given its outcome or not.

        Returns:
            True if nobody waits for that id any more because of it, so that it must no longer be asked.
        """
        entry = waiter.entry
        if waiter not in entry.waiters:
            return False
        entry.waiters.remove(waiter)
        self._forget_limit(waiter)
        waiter.future.cancel()
        return self._drop_if_alone(entry)

    def land(self, entry: Entry) -> None:
        """Take note that the request that asked for an entry has come back."""
        entry.flight = None
        if not entry.waiters:
            self._leaving.pop(entry.key, None)

    def note(self, entry: Entry, task: Task) -> bool:
        """Keep a task as last seen, and tell those who follow its changes.

        Returns:
            True if it is news: the first look, or another state or progress.
        """
        last = entry.task
        entry.task = task
        is_news = last is None or last.state is not task.state or last.progress != task.progress
        if is_news:
            for waiter in entry.waiters:
                if waiter.on_change is not None:
                    waiter.on_change(task)
        return is_news

    def settle(self, entry: Entry, outcome: Outcome) -> int:
        """Give every waiter of an id the same outcome, and forget the id.

        Returns:
            How many were given it; 0 if nobody waits for that id.
        """
        waiters, entry.waiters = entry.waiters, []
        for waiter in waiters:
            self._give(waiter, outcome)
        if waiters:
            self._drop_if_alone(entry)
        return len(waiters)

    def expire(self, now: float) -> list[Entry]:
        """Give waiters whose limit has passed their task as it was last seen.

        Args:
            now: Seconds of the loop's clock.

        Returns:
            What nobody waits for any more, and must no longer be asked.
        """
        dropped = []
        while self._limits and self._limits[0][0] <= now:
            waiter = heapq.heappop(self._limits)[2]
            entry = waiter.entry
            if waiter not in entry.waiters:
                continue
            entry.waiters.remove(waiter)
            waiter.fault = entry.trouble.fault if entry.trouble else None
            self._give(waiter, entry.last_seen)
            if self._drop_if_alone(entry):
                dropped.append(entry)
        return dropped

    def next_deadline(self) -> float:
        """Tell when the next limit passes, in seconds of the loop's clock; infinity for never."""
        while self._limits and self._limits[0][2].future.done():
            heapq.heappop(self._limits)
        return self._limits[0][0] if self._limits else math.inf

    def close(self, error: AceTasksError) -> None:
        """Give everybody the same error."""
        for entry in self:
            self.settle(entry, error)

    def _give(self, waiter: Waiter, outcome: Outcome) -> None:
        self._forget_limit(waiter)
        # A waiter that was cancelled, and has not yet come to leave, is given nothing.
        if not waiter.future.done():
            waiter.future.set_result(outcome)

    def _drop_if_alone(self, entry: Entry) -> bool:
        if entry.waiters:
            return False
        del self._entries[entry.key]
        if entry.flight is not None:
            self._leaving[entry.key] = entry
        return True

    def _forget_limit(self, waiter: Waiter) -> None:
        """Void a waiter's limit; void ones are skipped when they come up, or cleaned up when they are many."""
        if waiter.deadline == math.inf:
            return
        waiter.deadline = math.inf
        self._limited -= 1
        if len(self._limits) > 2 * self._limited + _VOID_LIMITS_KEPT:
            self._limits = [limit for limit in self._limits if limit[2].deadline < math.inf]
            heapq.heapify(self._limits)
