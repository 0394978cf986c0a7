"""Who is asked together: due ids into full, bounded, fair batches.

An `Agenda` keeps, for each lane, who is due when, and `Limits` what a provider has shown to be too large a batch. Both
are pure of clocks and I/O: every method is given the time. Those who were asked together and stay unfinished have
their next turn together, so that a thousand of them cost twenty entries of a heap and not a thousand. Taking one off
is cheap wherever it stands: its place is only left empty, and skipped when its turn comes up.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: A queue is cleaned of empty places when they outnumber the others by this many, so that it cannot grow by
#: cancellations alone and small queues are not rebuilt all the time.
_EMPTY_PLACES_KEPT = 64

#: Answers in a row that are cut short at the same number of records before that number is taken for a limit.
_CUTS_TO_LEARN = 2
#: Seconds after which a learned limit is forgotten, in case that it was chance or is no more.
LIMIT_KEPT = 600.0


class Member(Protocol):
    """Whoever can be asked for: it holds its own place in the agenda, and nobody else changes that.

    Attributes:
        turn: Its turn, or None if it has none.
    """

    turn: object


M = TypeVar("M", bound=Member)


class Lane(msgspec.Struct, frozen=True, order=True):
    """Ids of one provider that may be asked together.

    Attributes:
        provider: The provider's slug.
        halvings: How often a full batch is halved for them: ids whose batches keep failing are asked in ever smaller
            company, until the one that makes them fail is alone.
    """

    provider: str
    halvings: int = 0

    def batch_size(self, full: int) -> int:
        """Tell how many ids of the lane to ask together.

        Args:
            full: How many where nothing is wrong.

        Returns:
            At least 1.
        """
        return max(1, full >> self.halvings)


class Agenda(Generic[M]):
    """Who is due when, over all lanes."""

    def __init__(self) -> None:
        self._queues: dict[Lane, _Queue[M]] = {}

    def __repr__(self) -> str:
        """Show how many each lane has waiting for their turn."""
        sizes = ", ".join(
            f"{lane.provider}{f' (1/{2**lane.halvings})' if lane.halvings else ''}: {len(queue)}"
            for lane, queue in self._queues.items()
            if queue
        )
        return f"<Agenda {sizes or 'empty'}>"

    def __len__(self) -> int:
        """Count those who have a turn."""
        return sum(map(len, self._queues.values()))

    def add(self, lane: Lane, members: Sequence[M], due: float, rank: int = 0) -> None:
        """Give some their turn together, each in place of any turn that it has.

        Args:
            lane: The lane.
            members: Whose turn it is; at least one.
            due: When, in seconds of the loop's clock.
            rank: Which of the turns of the same time comes first, the lowest; of the same rank, the one given first.
        """
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _Queue()
        for member in members:
            if member.turn is not None:
                self.discard(member)
        queue.add(members, due, rank)

    def discard(self, member: M) -> None:
        """Take one off; one that has no turn is passed over."""
        turn = member.turn
        member.turn = None
        if isinstance(turn, _Turn):
            turn.queue.note_left()

    def turns(self) -> Iterator[tuple[float, Lane]]:
        """Go through the lanes that have turns: when each one's first is due, and the lane."""
        for lane in [lane for lane, queue in self._queues.items() if not queue]:
            del self._queues[lane]
        return ((queue.first_due(), lane) for lane, queue in self._queues.items())

    def take(self, lane: Lane, size: int, latest: float = math.inf) -> list[M]:
        """Take a lane's next ones off, to be asked together.

        Whether the first of them is due is for the caller to see to. The others fill the batch's room: those that
        are due too come first, then those that are due next, which ride along at no cost.

        Args:
            lane: The lane.
            size: How many, at most.
            latest: Only those that are due by this time are taken, in seconds of the loop's clock.

        Returns:
            They, in the order of their turns.
        """
        return self._queues[lane].take(size, latest)


class _Turn(Generic[M]):
    """Some who are due together. A member has left if its own turn is another, or none."""

    __slots__ = ("members", "queue")

    def __init__(self, queue: _Queue[M], members: Sequence[M]) -> None:
        self.queue = queue
        self.members = members

    def present(self) -> list[M]:
        """List those who have not left."""
        return [member for member in self.members if member.turn is self]


class _Queue(Generic[M]):
    """The turns of one lane, by when they are due."""

    __slots__ = ("_heap", "_numbers", "_places", "_present")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, _Turn[M]]] = []
        self._present = 0
        self._places = 0
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return self._present

    def add(self, members: Sequence[M], due: float, rank: int) -> None:
        turn = _Turn(self, members)
        for member in members:
            member.turn = turn
        self._present += len(members)
        self._places += len(members)
        heapq.heappush(self._heap, (due, rank, next(self._numbers), turn))

    def note_left(self) -> None:
        """Take note that one has left its place empty."""
        self._present -= 1
        if self._places > 2 * self._present + _EMPTY_PLACES_KEPT:
            for *_, turn in self._heap:
                turn.members = turn.present()
            self._heap = [place for place in self._heap if place[-1].members]
            heapq.heapify(self._heap)
            self._places = self._present

    def first_due(self) -> float:
        while self._heap:
            due, *_, turn = self._heap[0]
            if any(member.turn is turn for member in turn.members):
                return due
            self._places -= len(turn.members)
            heapq.heappop(self._heap)
        return math.inf

    def take(self, size: int, latest: float) -> list[M]:
        taken: list[M] = []
        while self._heap and len(taken) < size and self._heap[0][0] <= latest:
            turn = self._heap[0][-1]
            present = turn.present()
            room = size - len(taken)
            self._places -= len(turn.members)
            # The rest of a turn that is too large for the room keeps its place.
            turn.members = present[room:]
            self._places += len(turn.members)
            taken += present[:room]
            if not turn.members:
                heapq.heappop(self._heap)
        for member in taken:
            member.turn = None
        self._present -= len(taken)
        return taken


class _Limit(msgspec.Struct):
    """What a provider has shown.

    Attributes:
        cut_to: The number of records at which its last short answer was cut.
        cuts: How many answers in a row were cut there.
        size: Ids to ask for at most.
        until: When that is forgotten.
    """

    cut_to: int = 0
    cuts: int = 0
    size: int = 0
    until: float = -math.inf


class Limits:
    """How many ids each provider takes in one request, as far as it has shown."""

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}

    def __repr__(self) -> str:
        """Show what was learned."""
        learned = {provider: limit.size for provider, limit in self._limits.items() if limit.size}
        return f"<Limits {learned or 'none'}>"

    def size(self, provider: str, full: int, now: float) -> int:
        """Tell how many ids to put into one request.

        Args:
            provider: The provider's slug.
            full: How many where nothing was learned.
            now: Seconds of the loop's clock.

        Returns:
            At least 1, and no more than `full`.
        """
        limit = self._limits.get(provider)
        return min(full, limit.size) if limit is not None and limit.size and now < limit.until else full

    def note_cuts(self, provider: str, cuts: Iterable[int], now: float) -> None:
        """Take note of answers that were cut short, though the rest of what they were asked for was there too.

        Args:
            provider: The provider's slug.
            cuts: How many records each of them had, at least 1.
            now: Seconds of the loop's clock.
        """
        for kept in cuts:
            limit = self._limits.setdefault(provider, _Limit())
            limit.cuts = limit.cuts + 1 if limit.cut_to == kept else 1
            limit.cut_to = kept
            if limit.cuts >= _CUTS_TO_LEARN:
                limit.size, limit.until = kept, now + LIMIT_KEPT

    def note_too_large(self, provider: str, fits: int, now: float) -> None:
        """Take note that a request was refused for its size, and that this many ids were not too many.

        Args:
            provider: The provider's slug.
            fits: Ids, at least 1.
            now: Seconds of the loop's clock.
        """
        limit = self._limits.setdefault(provider, _Limit())
        limit.size, limit.until = fits, now + LIMIT_KEPT
