"""Who is asked together: due ids into full, bounded batches, those first that it is worth most to ask for.

An `Agenda` keeps, for each lane, who is due when. It is pure of clocks and I/O: every method is given the time. Those
who were asked together and stay unfinished have their next turn together as a rule, so that a thousand of them cost
twenty entries of a heap and not a thousand. Taking one off is cheap wherever it stands: its place is only left empty,
and skipped when its turn comes up.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks.turns import Queue, Turn

if TYPE_CHECKING:
    from acetasks.entries import Batch, Entry
    from acetasks.worth import Worth


class Lane(msgspec.Struct, frozen=True, order=True, cache_hash=True):
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


class Turns(NamedTuple):
    """When the next of a lane are due, in seconds of the loop's clock: minus infinity if they are by now.

    Attributes:
        lane: The lane.
        due: When the first is whose look is not to wait; infinity if there is none.
        spare_due: When the first is whose look may wait; likewise.
        present: How many have a turn.
        latest: Until when those that are due and may wait are to do so; infinity if there are none.
    """

    lane: Lane
    due: float
    spare_due: float
    present: int
    latest: float = math.inf


class Agenda:
    """Who is due when, over all lanes."""

    def __init__(self) -> None:
        self._queues: dict[Lane, Queue] = {}

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

    def add(self, lane: Lane, batch: Batch, due: float, rank: int = 0, *, worth: Worth) -> None:
        """Give a batch that has none its turn, together with others that are due at the same time and as urgent.

        Args:
            lane: The lane.
            batch: Whose turn it is; at least one entry.
            due: When, in seconds of the loop's clock.
            rank: Who of those of one turn comes first, the lowest; of the same rank, whoever is given first.
            worth: What asking for them is worth.
        """
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = Queue()
        queue.add(batch, due, rank, worth)

    def discard(self, entry: Entry) -> None:
        """Take one off; one that has no turn is passed over."""
        turn = None if entry.batch is None else entry.batch.place
        if isinstance(turn, Turn):
            entry.leave_batch()
            turn.has_left = True
            turn.queue.note_left()

    def turns(self, now: float) -> list[Turns]:
        """List the lanes that have turns, and when each one's next are due.

        Args:
            now: Seconds of the loop's clock.
        """
        turns = []
        for lane, queue in tuple(self._queues.items()):
            due, spare_due, latest = queue.outlook(now)
            if due == spare_due == math.inf:
                del self._queues[lane]
            else:
                turns.append(Turns(lane, due, spare_due, len(queue), latest))
        return turns

    def worth(self, lane: Lane, size: int, now: float) -> float:
        """Tell what a lane's next request is worth, in seconds of waiting: nothing if nobody is due.

        Args:
            lane: The lane; it has turns.
            size: How many it can ask for, at most.
            now: Seconds of the loop's clock.
        """
        return self._queues[lane].worth(size, now)

    def take(
        self,
        lane: Lane,
        size: int,
        now: float,
        *,
        latest: float = math.inf,
        spare_latest: float = math.inf,
        overdue: float = -math.inf,
    ) -> Batch:
        """Take a lane's next ones off, to be asked together.

        Those who are due come first, the ones that are worth most before the others; but before them the first of those
        whose looks are not to wait. The rest of the batch's room is for those who are due next, who ride along at no
        cost.

        Args:
            lane: The lane; it has turns.
            size: How many, at most.
            now: Seconds of the loop's clock.
            latest: Only those that are due by this time are taken, likewise.
            spare_latest: As much for those whose looks may wait.
            overdue: Of those, the ones that were to wait until then at most come first, if no others are due.

        Returns:
            They; where it is one whole batch, that itself.
        """
        return self._queues[lane].take(size, now, latest, spare_latest, overdue)
