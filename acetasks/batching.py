"""Who is asked together: due ids into full, bounded, fair batches.

An `Agenda` keeps, for each lane, the ids in the order in which they are due, and `Limits` what a provider has shown to
be too large a batch. Both are pure of clocks and I/O: every method is given the time. Taking an id off is cheap
wherever it stands, since its turn is only marked as void and skipped when it comes up.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: A queue is cleaned of void turns when they outnumber the valid ones by this many, so that it cannot grow by
#: cancellations alone and small queues are not rebuilt all the time.
_VOID_TURNS_KEPT = 64

#: Answers in a row that are cut short at the same number of records before that number is taken for a limit.
_CUTS_TO_LEARN = 2
#: Seconds after which a learned limit is forgotten, in case that it was chance or is no more.
LIMIT_KEPT = 600.0


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


class Agenda:
    """Which ids are due when, over all lanes."""

    def __init__(self) -> None:
        self._queues: dict[Lane, _Queue] = {}

    def __repr__(self) -> str:
        """Show how many ids each lane has waiting for their turn."""
        sizes = ", ".join(
            f"{lane.provider}{f' (1/{2**lane.halvings})' if lane.halvings else ''}: {len(queue)}"
            for lane, queue in self._queues.items()
        )
        return f"<Agenda {sizes or 'empty'}>"

    def __len__(self) -> int:
        """Count the ids that have a turn."""
        return sum(len(queue) for queue in self._queues.values())

    def add(self, lane: Lane, task_id: str, due: float) -> None:
        """Give an id its turn at a time, in place of any turn that it has in this lane."""
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _Queue()
        queue.add(task_id, due)

    def discard(self, provider: str, task_id: str) -> None:
        """Take an id off, whichever lane it has its turn in; one that has none is passed over."""
        for lane in [lane for lane in self._queues if lane.provider == provider]:
            queue = self._queues[lane]
            queue.discard(task_id)
            if not queue:
                del self._queues[lane]

    def turns(self) -> Iterator[tuple[float, Lane]]:
        """Go through the lanes that have turns: when each one's first is due, and the lane."""
        return ((queue.first_due(), lane) for lane, queue in self._queues.items())

    def take(self, lane: Lane, size: int, latest: float = math.inf) -> list[str]:
        """Take a lane's next ids off, to be asked together.

        Whether the first of them is due is for the caller to see to. The others fill the batch's room: those that
        are due too come first, then those that are due next, which ride along at no cost.

        Args:
            lane: The lane.
            size: Ids in the batch, at most.
            latest: Only ids that are due by this time are taken, in seconds of the loop's clock.

        Returns:
            The ids, in the order of their turns.
        """
        queue = self._queues[lane]
        taken = queue.take(size, latest)
        if not queue:
            del self._queues[lane]
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


class _Queue:
    """The turns of one lane's ids. A turn is valid while `_turns` still has its number for its id."""

    __slots__ = ("_heap", "_numbers", "_turns")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str]] = []
        self._turns: dict[str, int] = {}
        # Turns of the same time come up in the order in which they were given.
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._turns)

    def add(self, task_id: str, due: float) -> None:
        self._turns[task_id] = number = next(self._numbers)
        heapq.heappush(self._heap, (due, number, task_id))
        self._clean()

    def discard(self, task_id: str) -> None:
        if self._turns.pop(task_id, None) is not None:
            self._clean()

    def _clean(self) -> None:
        if len(self._heap) > 2 * len(self._turns) + _VOID_TURNS_KEPT:
            self._heap = [turn for turn in self._heap if self._turns.get(turn[2]) == turn[1]]
            heapq.heapify(self._heap)

    def first_due(self) -> float:
        while self._heap and self._turns.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def take(self, size: int, latest: float) -> list[str]:
        taken: list[str] = []
        while self._heap and len(taken) < size and self._heap[0][0] <= latest:
            _, number, task_id = heapq.heappop(self._heap)
            if self._turns.get(task_id) == number:
                del self._turns[task_id]
                taken.append(task_id)
        return taken
