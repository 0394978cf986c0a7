"""Who has a turn when: those that come up at a time together, and of those that have, the ones that are worth most.

A `Queue` keeps the turns of one lane; a `Turn` is shared by all who are due at the same time and equally urgent, so
that a thousand of them are a few entries of a heap. Pure of clocks and I/O: every method is given the time.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import math
import operator
from typing import TYPE_CHECKING, NamedTuple

from acetasks.entries import Batch, Entry

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A queue is cleaned of empty places when they outnumber the others by this many, so that it cannot grow by
#: cancellations alone and small queues are not rebuilt all the time. Whether they do is counted now and then.
_EMPTY_PLACES_KEPT = 64
_CLEANED_EVERY = 64
#: A thousandth of an end per year: less is no hazard that anybody could tell from none.
_LEAST_HAZARD = 1e-11


class Worth(NamedTuple):
    """What it is worth to ask for a task: the lateness that has built up since the last look at it.

    A task that ends at a constant hazard h has, t seconds after a look, waited h t²/2 seconds too long on average. To
    ask always where that is most spreads any number of looks so that all waiting together is the least: each task is
    asked at a rate that grows with the square root of its hazard (Barlow, Hunter and Proschan 1963).

    Attributes:
        hazard: How many of such tasks end in a second, of those that have not ended.
        seen_at: When it was last asked for, in seconds of the loop's clock.
        is_spare: Whether the look may wait, at will, for others to come along.
        latest: Until when it may, about, in seconds of the loop's clock.
    """

    hazard: float
    seen_at: float
    is_spare: bool = False
    latest: float = math.inf

    @property
    def urgency(self) -> int:
        """The hazard, roughly: its power of 2."""
        return round(math.log2(max(self.hazard, _LEAST_HAZARD)))

    def at(self, now: float) -> float:
        """Tell the worth, in seconds of waiting.

        Args:
            now: Seconds of the loop's clock.
        """
        return max(self.hazard, _LEAST_HAZARD) * (now - self.seen_at) ** 2 / 2.0


class _Part(NamedTuple):
    """What is left of a batch in its turn. An entry has left if its batch is another, or none."""

    batch: Batch
    entries: Sequence[Entry]

    @property
    def present(self) -> Sequence[Entry]:
        """Those who have not left."""
        batch, entries = self
        return [entry for entry in entries if entry.batch is batch]


class Turn:
    """Those who are due together and equally urgent.

    Attributes:
        queue: Its queue.
        worth: What asking for one of them is worth, about.
        places: How many may still be there.
        has_left: Whether somebody has, so that not all of them are.
    """

    __slots__ = ("_come", "_parts", "has_left", "places", "queue", "worth")

    def __init__(self, queue: Queue, worth: Worth) -> None:
        self.queue = queue
        self.worth = worth
        self.places = 0
        self.has_left = False
        # Those who come are put in order when the first of them is taken; whoever comes later is behind them.
        self._come: list[tuple[int, int, Batch]] = []
        self._parts: collections.deque[_Part] = collections.deque()

    def add(self, batch: Batch, rank: int, number: int) -> None:
        """Put a batch behind those of lower ranks, and of the same rank behind those of lower numbers."""
        batch.place = self
        self._come.append((rank, number, batch))
        self.places += len(batch)

    def take(self, room: int) -> Sequence[Entry]:
        """Take off as many as there is room for; where it is one whole batch, that itself."""
        self._gather()
        parts = self._parts
        taken: list[Entry] = []
        while parts and len(taken) < room:
            part = parts.popleft()
            self.places -= len(part.entries)
            is_all = len(part.entries) == room or (len(part.entries) < room and not parts)
            if is_all and not taken and not self.has_left:
                return part.entries
            entries = part.present if self.has_left else part.entries
            fits = room - len(taken)
            taken += entries[:fits]
            if len(entries) > fits:
                parts.appendleft(_Part(part.batch, entries[fits:]))
                self.places += len(entries) - fits
        return taken

    def has_anybody(self) -> bool:
        """Tell whether somebody has not left."""
        if not self.has_left:
            return self.places > 0
        while self._parts:
            part = self._parts.popleft()
            present = part.present
            self.places -= len(part.entries) - len(present)
            if present:
                self._parts.appendleft(_Part(part.batch, present))
                return True
        return any(entry.batch is batch for *_, batch in self._come for entry in batch)

    def clean(self) -> None:
        """Give up empty places."""
        self._gather()
        present = (part.present for part in self._parts)
        batches = [Batch(entries) for entries in present if entries]
        for batch in batches:
            batch.place = self
        self._parts = collections.deque(_Part(batch, batch) for batch in batches)
        self.places = sum(map(len, batches))
        self.has_left = False

    def _gather(self) -> None:
        """Put those who have come behind the others, in order."""
        if self._come:
            if len(self._come) > 1:
                self._come.sort(key=operator.itemgetter(0, 1))
            self._parts.extend(_Part(batch, batch) for *_, batch in self._come)
            self._come.clear()


class Queue:
    """The turns of one lane: those to come by when they are due, and those that are due by what they are worth."""

    __slots__ = ("_coming", "_due", "_heaps", "_left", "_numbers", "_present")

    def __init__(self) -> None:
        # The turns to come, by when they are due, whether they may wait, and how urgent they are.
        self._coming: dict[tuple[float, bool, int], Turn] = {}
        # Their keys, in a heap for those that are not to wait and one for those that may.
        self._heaps: tuple[list[tuple[float, bool, int]], ...] = ([], [])
        # Of turns that are equally urgent the one that is due the longest is worth most, so that only the first of each
        # has to be compared.
        self._due: dict[tuple[bool, int], collections.deque[Turn]] = {}
        self._present = 0
        self._left = 0
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._present

    def add(self, batch: Batch, due: float, rank: int, worth: Worth) -> None:
        """Give a batch its turn; see `Agenda.add`."""
        when = (due, worth.is_spare, worth.urgency)
        turn = self._coming.get(when)
        if turn is None:
            turn = self._coming[when] = Turn(self, worth)
            heapq.heappush(self._heaps[worth.is_spare], when)
        turn.add(batch, rank, next(self._numbers))
        self._present += len(batch)

    def note_left(self) -> None:
        """Take note that one has left its place empty."""
        self._present -= 1
        self._left += 1
        if self._left % _CLEANED_EVERY == 0:
            self._clean()

    def first_due(self, now: float) -> tuple[float, float]:
        """Tell when the first turn is due of those that are not to wait, and of those that may; see `Turns`."""
        self._ripen(now)
        due = spare_due = math.inf
        if self._best(now) is not None:
            for is_spare, _ in self._due:
                if is_spare:
                    spare_due = -math.inf
                else:
                    due = -math.inf
        urgent, spare = self._heaps
        if urgent and due == math.inf:
            due = self._first_coming(urgent)
        if spare and spare_due == math.inf:
            spare_due = self._first_coming(spare)
        return due, spare_due

    def _first_coming(self, heap: list[tuple[float, bool, int]]) -> float:
        """Tell when the first of the turns to come in a heap is due."""
        while heap:
            if self._coming[heap[0]].has_anybody():
                return heap[0][0]
            del self._coming[heapq.heappop(heap)]
        return math.inf

    def worth(self, size: int, now: float) -> float:
        """Tell what it is worth to ask: as many times what the best is worth as there are others to ask with it."""
        best = self._best(now)
        if best is None:
            return 0.0
        due = 0
        for turn in itertools.chain.from_iterable(self._due.values()):
            due += turn.places
            if due >= size:
                break
        return best.worth.at(now) * min(size, due)

    def latest(self) -> float:
        """Tell until when those that are due and may wait are to do so; after `first_due`."""
        longest = self._longest_waiting()
        return math.inf if longest is None else longest.worth.latest

    def _longest_waiting(self) -> Turn | None:
        """Find the turn, of those that are due and may wait, that is not to do so any more before all others."""
        longest: Turn | None = None
        for (is_spare, _), turns in self._due.items():
            if is_spare and turns and (longest is None or turns[0].worth.latest < longest.worth.latest):
                longest = turns[0]
        return longest

    def _overdue(self, until: float) -> Turn | None:
        """Find the one that is not to wait any more before all others, if that was so by a time."""
        longest = self._longest_waiting()
        return longest if longest is not None and longest.worth.latest <= until else None

    def take(self, size: int, now: float, latest: float, spare_latest: float, overdue: float) -> Sequence[Entry]:
        """Take the next ones off; see `Agenda.take`."""
        self._ripen(now)
        # A request that leaves for those who are not to wait takes some of them, whoever else is worth more.
        first = self._best(now, is_urgent=True) or self._overdue(overdue) or self._best(now)
        taken = () if first is None else first.take(size)
        while len(taken) < size and (turn := self._best(now)) is not None:
            taken = _join(taken, turn.take(size - len(taken)))
        for heap, until in zip(self._heaps, (latest, spare_latest), strict=True):
            while len(taken) < size and heap and heap[0][0] <= until:
                turn = self._coming[heap[0]]
                taken = _join(taken, turn.take(size - len(taken)))
                if not turn.places:
                    del self._coming[heapq.heappop(heap)]
        self._present -= len(taken)
        return taken

    def _ripen(self, now: float) -> None:
        """Put the turns that are due by now to those that are."""
        for heap in self._heaps:
            while heap and heap[0][0] <= now:
                when = heapq.heappop(heap)
                self._due.setdefault(when[1:], collections.deque()).append(self._coming.pop(when))

    def _best(self, now: float, *, is_urgent: bool = False) -> Turn | None:
        """Find the turn, of those that are due, that it is worth most to ask for; or of those that are not to wait."""
        best: Turn | None = None
        most = 0.0
        for sort, turns in tuple(self._due.items()) if self._due else ():
            while turns and not turns[0].has_anybody():
                turns.popleft()
            if not turns:
                del self._due[sort]
            elif not (is_urgent and sort[0]) and (best is None or turns[0].worth.at(now) > most):
                best = turns[0]
                most = best.worth.at(now) if len(self._due) > 1 else 0.0
        return best

    def _clean(self) -> None:
        """Give up empty places if they are more than the others."""
        turns = [*self._coming.values(), *itertools.chain.from_iterable(self._due.values())]
        if sum(turn.places for turn in turns) > 2 * self._present + _EMPTY_PLACES_KEPT:
            for turn in turns:
                turn.clean()
            self._coming = {when: turn for when, turn in self._coming.items() if turn.places}
            self._heaps = tuple(sorted(when for when in self._coming if when[1] is spare) for spare in (False, True))


def _join(taken: Sequence[Entry], more: Sequence[Entry]) -> Sequence[Entry]:
    """Put some to others; where there are none, they stay as they are."""
    return [*taken, *more] if taken else more
