"""Who waits for what: each id with its waiters, from registering to the one outcome that every waiter gets.

All state changes are in synchronous methods, so that nothing can come between; none of them does I/O. An outcome is
given as a value, never raised: a `Task` in its terminal state, or an error for the caller to raise, so that one who has
left leaves no exception behind that nobody retrieves.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

from acetasks.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.entries import Key, Outcome, Waiter
    from acetasks.providers import Reading

#: Limits of waiters who have left are cleaned up when they outnumber the others by this many.
_VOID_LIMITS_KEPT = 64


class Pending:
    """All ids that somebody waits for."""

    def __init__(self) -> None:
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

    def register(self, key: Key, waiter: Waiter) -> Entry:
        """Add a waiter for an id.

        Args:
            key: The provider and id.
            waiter: Who waits; not yet for this id.

        Returns:
            What is known of the id; `leave` takes it.
        """
        entry = self._entries.get(key)
        if entry is None:
            entry = self._leaving.pop(key) if key in self._leaving else Entry(key)
            self._entries[key] = entry
            entry.waiters = waiter.alone
        else:
            entry.waiters = (*entry.waiters, waiter)
        if waiter.follows and entry.record is not None:
            waiter.change(entry.last_seen)
        return entry

    def limit(self, waiter: Waiter) -> None:
        """Watch over a waiter's limit, if it has one, until `release`."""
        if waiter.deadline < math.inf:
            self._limited += 1
            heapq.heappush(self._limits, (waiter.deadline, next(self._numbers), waiter))

    def release(self, waiter: Waiter) -> None:
        """Void a waiter's limit; void ones are skipped when they come up, or cleaned up when they are many."""
        if waiter.deadline == math.inf:
            return
        waiter.deadline = math.inf
        self._limited -= 1
        if len(self._limits) > 2 * self._limited + _VOID_LIMITS_KEPT:
            self._limits = [limit for limit in self._limits if limit[2].deadline < math.inf]
            heapq.heapify(self._limits)

    def leave(self, entry: Entry, waiter: Waiter) -> bool:
        """Take a waiter off an id, whether it has been given its outcome or not.

        Returns:
            True if nobody waits for that id any more because of it, so that it must no longer be asked.
        """
        waiters = entry.waiters
        if waiter not in waiters:
            return False
        entry.waiters = () if len(waiters) == 1 else tuple(other for other in waiters if other is not waiter)
        return self._drop_if_alone(entry)

    def keep(self, entry: Entry) -> None:
        """Keep a dropped entry until it lands: a request that asks for it is under way, and somebody may come back."""
        self._leaving[entry.key] = entry

    def land(self, entry: Entry) -> None:
        """Take note that the request that asked for a dropped entry has come back."""
        self._leaving.pop(entry.key, None)

    def note(self, entry: Entry, reading: Reading) -> bool:
        """Keep a record as last seen, and tell those who follow its changes.

        Returns:
            True if it is news: the first look, or another state or progress.
        """
        is_news = entry.record is None or entry.state is not reading.state or entry.progress != reading.progress
        entry.record, entry.state, entry.progress = reading.raw, reading.state, reading.progress
        if is_news:
            for waiter in entry.waiters:
                if waiter.follows:
                    waiter.change(reading.task)
        return is_news

    def settle(self, entry: Entry, outcome: Outcome) -> int:
        """Give every waiter of an id the same outcome, and forget the id.

        Returns:
            How many were given it; 0 if nobody waits for that id.
        """
        waiters, entry.waiters = entry.waiters, ()
        entry.trouble = None
        for waiter in waiters:
            waiter.settle(entry, outcome)
        if waiters:
            self._drop_if_alone(entry)
        return len(waiters)

    def expire(self, now: float, most: int) -> None:
        """Tell waiters that their limit has passed.

        Args:
            now: Seconds of the loop's clock.
            most: How many of them at once; the others at the next call.
        """
        for _ in range(most):
            if self.next_deadline() > now:
                break
            waiter = self._limits[0][2]
            self.release(waiter)
            waiter.expire()

    def next_deadline(self) -> float:
        """Tell when the next limit passes, in seconds of the loop's clock; infinity for never."""
        while self._limits and self._limits[0][2].deadline == math.inf:
            heapq.heappop(self._limits)
        return self._limits[0][0] if self._limits else math.inf

    def _drop_if_alone(self, entry: Entry) -> bool:
        if entry.waiters:
            return False
        del self._entries[entry.key]
        return True
