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
    from collections.abc import Iterator, Sequence

    from acetasks.worth import Worth

#: A queue is cleaned of empty places when they outnumber the others by this many, so that it cannot grow by
#: cancellations alone and small queues are not rebuilt all the time. Whether they do is counted now and then.
_EMPTY_PLACES_KEPT = 64
_CLEANED_EVERY = 64
#: Until when a turn may wait.
_LATEST = operator.attrgetter("worth.latest")


class _Part(NamedTuple):
    """What is left of a batch in its turn. An entry has left if its batch is another, or none."""

    batch: Batch
    entries: Sequence[Entry]

    @property
    def present(self) -> Sequence[Entry]:
        """Those who have not left."""
        batch, entries = self
        present = [entry for entry in entries if entry.batch is batch]
        return entries if len(present) == len(entries) else present


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
        self.places += len(batch.entries)

    def take(self, room: int, taken: list[_Part]) -> int:
        """Take off as many as there is room for.

        Args:
            room: For how many there is; at least 1.
            taken: The parts of batches that are taken are put to these.

        Returns:
            For how many more there is room then.
        """
        self._gather()
        parts = self._parts
        while parts and room:
            part = parts.popleft()
            self.places -= len(part.entries)
            entries = part.present if self.has_left else part.entries
            if len(entries) > room:
                parts.appendleft(_Part(part.batch, entries[room:]))
                self.places += len(entries) - room
                entries = entries[:room]
            if entries:
                taken.append(_Part(part.batch, entries))
                room -= len(entries)
        return room

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
        return any(entry.batch is batch for *_, batch in self._come for entry in batch.entries)

    def clean(self) -> None:
        """Give up empty places."""
        self._gather()
        present = (part.present for part in self._parts)
        batches = [Batch(entries) for entries in present if entries]
        for batch in batches:
            batch.place = self
        self._parts = collections.deque(_Part(batch, batch.entries) for batch in batches)
        self.places = sum(len(batch.entries) for batch in batches)
        self.has_left = False

    def _gather(self) -> None:
        """Put those who have come behind the others, in order."""
        if self._come:
            if len(self._come) > 1:
                self._come.sort(key=operator.itemgetter(0, 1))
            self._parts.extend([_Part(batch, batch.entries) for *_, batch in self._come])
            self._come.clear()


class _Line:
    """The turns of a queue that are alike in whether they may wait: those to come by when, those that are due by worth.

    Attributes:
        heap: When those to come are due, and how urgent they are.
        coming: They.
    """

    __slots__ = ("_due", "_queue", "coming", "heap")

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.heap: list[tuple[float, int]] = []
        self.coming: dict[tuple[float, int], Turn] = {}
        # Of turns that are equally urgent the one that is due the longest is worth most, so that only the first of each
        # has to be compared.
        self._due: dict[int, collections.deque[Turn]] = {}

    def __iter__(self) -> Iterator[Turn]:
        """Go through all turns."""
        return itertools.chain(self.coming.values(), *self._due.values())

    def turn_at(self, due: float, worth: Worth) -> Turn:
        """Find or make the turn for those who are due at a time and as urgent."""
        when = (due, worth.urgency)
        turn = self.coming.get(when)
        if turn is None:
            turn = self.coming[when] = Turn(self._queue, worth)
            heapq.heappush(self.heap, when)
        return turn

    def ripen(self, now: float) -> None:
        """Put the turns that are due by now to those that are."""
        heap = self.heap
        while heap and heap[0][0] <= now:
            when = heapq.heappop(heap)
            self._due.setdefault(when[1], collections.deque()).append(self.coming.pop(when))

    def outlook(self, now: float) -> tuple[float, Sequence[Turn]]:
        """Tell when the first turn is due: minus infinity if one is by now, infinity if there is none; and `firsts`."""
        self.ripen(now)
        if firsts := self.firsts():
            return -math.inf, firsts
        heap = self.heap
        while heap:
            if self.coming[heap[0]].has_anybody():
                return heap[0][0], ()
            del self.coming[heapq.heappop(heap)]
        return math.inf, ()

    def firsts(self) -> Sequence[Turn]:
        """List the turns that are due, of each urgency the first."""
        if not self._due:
            return ()
        firsts = [turns[0] for turns in self._due.values() if turns[0].has_anybody()]
        if len(firsts) < len(self._due):
            firsts = self._pass_over()
        return firsts

    def _pass_over(self) -> list[Turn]:
        """Give up turns that everybody has left, and list of each urgency the first that is left."""
        for urgency, turns in [*self._due.items()]:
            while turns and not turns[0].has_anybody():
                turns.popleft()
            if not turns:
                del self._due[urgency]
        return [turns[0] for turns in self._due.values()]

    def due_places(self, most: int) -> int:
        """Count how many may be there in the turns that are due, but not much further than to a number."""
        due = 0
        for turn in itertools.chain.from_iterable(self._due.values()):
            due += turn.places
            if due >= most:
                break
        return due

    def clean(self) -> None:
        """Give up empty places."""
        for turn in self:
            turn.clean()
        self.coming = {when: turn for when, turn in self.coming.items() if turn.places}
        self.heap = sorted(self.coming)


class Queue:
    """The turns of one lane: those to come by when they are due, and those that are due by what they are worth."""

    __slots__ = ("_left", "_numbers", "_present", "_spare", "_urgent")

    def __init__(self) -> None:
        # The turns that are not to wait, and those that may.
        self._urgent = _Line(self)
        self._spare = _Line(self)
        self._present = 0
        self._left = 0
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._present

    def add(self, batch: Batch, due: float, rank: int, worth: Worth) -> None:
        """Give a batch its turn; see `Agenda.add`."""
        line = self._spare if worth.is_spare else self._urgent
        line.turn_at(due, worth).add(batch, rank, next(self._numbers))
        self._present += len(batch.entries)

    def note_left(self) -> None:
        """Take note that one has left its place empty."""
        self._present -= 1
        self._left += 1
        if self._left % _CLEANED_EVERY == 0:
            self._clean()

    def outlook(self, now: float) -> tuple[float, float, float]:
        """Tell when the first turn is due of those that are not to wait, and of those that may; and until when.

        Returns:
            As `Turns` has them: due, spare_due and latest.
        """
        due, _ = self._urgent.outlook(now)
        spare_due, firsts = self._spare.outlook(now)
        return due, spare_due, min([turn.worth.latest for turn in firsts]) if firsts else math.inf

    def worth(self, size: int, now: float) -> float:
        """Tell what it is worth to ask: as many times what the best is worth as there are others to ask with it."""
        best = _best([*self._urgent.firsts(), *self._spare.firsts()], now)
        if best is None:
            return 0.0
        due = self._urgent.due_places(size)
        if due < size:
            due += self._spare.due_places(size - due)
        return best.worth.at(now) * min(size, due)

    def take(self, size: int, now: float, latest: float, spare_latest: float, overdue: float) -> Batch:
        """Take the next ones off; see `Agenda.take`."""
        urgent, spare = self._urgent, self._spare
        urgent.ripen(now)
        spare.ripen(now)
        taken: list[_Part] = []
        # A request that leaves for those who are not to wait takes some of them, whoever else is worth more.
        turn = _best(urgent.firsts(), now) or self._overdue(overdue)
        turn = turn or _best(spare.firsts(), now)
        room = size
        while turn is not None:
            room = turn.take(room, taken)
            if not room:
                break
            turn = _best([*urgent.firsts(), *spare.firsts()], now)
        for line, until in ((urgent, latest), (spare, spare_latest)):
            while room and line.heap and line.heap[0][0] <= until:
                turn = line.coming[line.heap[0]]
                room = turn.take(room, taken)
                if not turn.places:
                    del line.coming[heapq.heappop(line.heap)]
        self._present -= size - room
        if len(taken) == 1 and taken[0].entries is taken[0].batch.entries:
            return taken[0].batch
        return Batch(itertools.chain.from_iterable([part.entries for part in taken]))

    def _overdue(self, until: float) -> Turn | None:
        """Find the turn, of those that are due and may wait, that was to leave first, if that was by a time at most."""
        firsts = self._spare.firsts()
        first = min(firsts, key=_LATEST) if firsts else None
        return first if first is not None and first.worth.latest <= until else None

    def _clean(self) -> None:
        """Give up empty places if they are more than the others."""
        lines = (self._urgent, self._spare)
        if sum(turn.places for line in lines for turn in line) > 2 * self._present + _EMPTY_PLACES_KEPT:
            for line in lines:
                line.clean()


def _best(turns: Sequence[Turn], now: float) -> Turn | None:
    """Find the turn that it is worth most to ask for; of several, the first."""
    if len(turns) > 1:
        return max(turns, key=lambda turn: turn.worth.at(now))
    return turns[0] if turns else None
