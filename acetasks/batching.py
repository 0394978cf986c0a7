"""Who is asked together: due ids into full, bounded, fair batches.

An `Agenda` keeps, for each provider, the ids in the order in which they are due. It is pure of clocks and I/O: every
method is given the time. Taking an id off is cheap wherever it stands, since its turn is only marked as void and
skipped when it comes up.
"""

from __future__ import annotations

import heapq
import itertools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A queue is cleaned of void turns when they outnumber the valid ones by this many, so that it cannot grow by
#: cancellations alone and small queues are not rebuilt all the time.
_VOID_TURNS_KEPT = 64


class Agenda:
    """Which ids are due when, over all providers."""

    def __init__(self) -> None:
        self._queues: dict[str, _Queue] = {}

    def __repr__(self) -> str:
        """Show how many ids each provider has waiting for their turn."""
        sizes = ", ".join(f"{provider}: {len(queue)}" for provider, queue in self._queues.items())
        return f"<Agenda {sizes or 'empty'}>"

    def __len__(self) -> int:
        """Count the ids that have a turn."""
        return sum(len(queue) for queue in self._queues.values())

    def add(self, provider: str, task_id: str, due: float) -> None:
        """Give an id its turn at a time, in place of any turn that it has."""
        queue = self._queues.get(provider)
        if queue is None:
            queue = self._queues[provider] = _Queue()
        queue.add(task_id, due)

    def discard(self, provider: str, task_id: str) -> None:
        """Take an id off; one that has no turn is passed over."""
        queue = self._queues.get(provider)
        if queue is not None:
            queue.discard(task_id)
            if not queue:
                del self._queues[provider]

    def turns(self) -> Iterator[tuple[float, str]]:
        """Go through the providers that have turns: when each one's first is due, and its slug."""
        return ((queue.first_due(), provider) for provider, queue in self._queues.items())

    def take(self, provider: str, size: int, latest: float = math.inf) -> list[str]:
        """Take a provider's next ids off, to be asked together.

        Whether the first of them is due is for the caller to see to. The others fill the batch's room: those that
        are due too come first, then those that are due next, which ride along at no cost.

        Args:
            provider: The provider's slug.
            size: Ids in the batch, at most.
            latest: Only ids that are due by this time are taken, in seconds of the loop's clock.

        Returns:
            The ids, in the order of their turns.
        """
        queue = self._queues[provider]
        taken = queue.take(size, latest)
        if not queue:
            del self._queues[provider]
        return taken


class _Queue:
    """The turns of one provider's ids. A turn is valid while `_turns` still has its number for its id."""

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
