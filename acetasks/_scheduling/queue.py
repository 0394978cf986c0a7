"""Priority queue of batches: future batches by due time, due batches by priority.

Tasks that are polled together and stay unfinished stay in one batch as a rule, so that a thousand tasks are twenty
entries of a heap. Deletion is lazy: a discarded task stays in its batch until the batch is polled or compacted.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from acetasks._scheduling.tasks import PollBatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks._scheduling.tasks import PollGroup, PollPriority, TrackedTask

#: A group is compacted when it has this many more discarded tasks than twice its live ones: cancellations alone cannot
#: make it grow.
_MAX_DISCARDED = 64


class GroupOutlook(NamedTuple):
    """Next due times of one group; minus infinity if something is due now, infinity if nothing is queued.

    Attributes:
        group: The group.
        size: Number of queued tasks.
        due: Of the batches that are not deferrable.
        deferrable_due: Of the deferrable ones.
        defer_deadline: Earliest deferral deadline of the deferrable batches that are due; infinity if there are none.
    """

    group: PollGroup
    size: int
    due: float
    deferrable_due: float
    defer_deadline: float = math.inf


class PullLimits(NamedTuple):
    """Loop times that limit which batches a request takes besides the due ones of highest priority.

    Attributes:
        due: Batches that are due by then fill free places in the request.
        deferrable_due: The same, for deferrable batches.
        defer_deadline: A deferrable batch whose deadline was by then is taken first, if no other batch is due.
    """

    due: float = math.inf
    deferrable_due: float = math.inf
    defer_deadline: float = -math.inf


class PollQueue:
    """All queued batches of one client, by group."""

    def __init__(self) -> None:
        self._groups: dict[PollGroup, _GroupQueue] = collections.defaultdict(_GroupQueue)
        self._sequence = itertools.count()

    def __len__(self) -> int:
        """Return the number of queued tasks."""
        return sum(queue.live_count for queue in self._groups.values())

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{group.provider}{f' (1/{2**group.split_level})' if group.split_level else ''}: {queue.live_count}"
            for group, queue in self._groups.items()
            if queue.live_count
        )
        return f"<PollQueue {sizes or 'empty'}>"

    def push(self, group: PollGroup, batch: PollBatch, due: float, priority: PollPriority, sequence: int = 0) -> None:
        """Queue a batch of at least one task.

        Of batches of equal urgency that are due at the same time, the one with the lowest sequence number comes first,
        then the one pushed first.
        """
        batch.group, batch.due, batch.priority = group, due, priority
        self._groups[group].push((due, sequence, next(self._sequence), batch))

    def discard(self, task: TrackedTask) -> None:
        """Take out a task; ignored if it is not in a queued batch."""
        batch = task.batch
        if batch is not None and batch.group is not None:
            batch.discard(task)
            self._groups[batch.group].count_discarded()

    def outlooks(self, now: float) -> list[GroupOutlook]:
        """Return the next due times of every group that has queued tasks."""
        for group in [group for group, queue in self._groups.items() if not queue.live_count]:
            del self._groups[group]
        return [queue.outlook(group, now) for group, queue in self._groups.items()]

    def score(self, group: PollGroup, size: int, now: float) -> float:
        """Return the score of a group's next request: the highest of its due batches, times the number of due tasks.

        The group has queued tasks, of which at most `size` are in one request.
        """
        return self._groups[group].score(size, now)

    def pop(self, group: PollGroup, size: int, now: float, limits: PullLimits) -> PollBatch:
        """Take out the tasks of a group's next request, at most `size`.

        Due batches come first, in order of score; but the first of them is one that is not deferrable, if any is due.
        Free places go to the batches that are due next, as far as the limits allow: they cost no request of their own.

        Returns:
            A batch of them: the queued one itself where it is a whole one.
        """
        return self._groups[group].pop(size, now, limits)


#: A queued batch: its due time, two numbers that break ties, and the batch.
_Item = tuple[float, int, int, PollBatch]


class _GroupQueue:
    """Queued batches of one group, deferrable ones apart from the others.

    Attributes:
        live_count: Number of queued tasks.
    """

    def __init__(self) -> None:
        self._required = _UrgencyQueue()
        self._deferrable = _UrgencyQueue()
        self.live_count = 0
        self._discarded_count = 0

    def push(self, item: _Item) -> None:
        batch = item[-1]
        self._queue_of(batch).push(item)
        self.live_count += batch.live_count

    def count_discarded(self) -> None:
        """Count a discarded task, and compact the group if it has too many."""
        self.live_count -= 1
        self._discarded_count += 1
        if self._discarded_count > 2 * self.live_count + _MAX_DISCARDED:
            self._required.compact()
            self._deferrable.compact()
            self._discarded_count = 0

    def outlook(self, group: PollGroup, now: float) -> GroupOutlook:
        due, deferrable_due = self._required.next_due(now), self._deferrable.next_due(now)
        deadline = min((batch.priority.defer_deadline for batch in self._deferrable.heads()), default=math.inf)
        return GroupOutlook(group, self.live_count, due, deferrable_due, deadline)

    def score(self, size: int, now: float) -> float:
        best = self._best_due(now)
        if best is None:
            return 0.0
        due = self._required.due_count(size)
        if due < size:
            due += self._deferrable.due_count(size - due)
        return best.priority.score(now) * min(size, due)

    def pop(self, size: int, now: float, limits: PullLimits) -> PollBatch:
        self._required.move_due(now)
        self._deferrable.move_due(now)
        taken: list[PollBatch] = []
        free = size
        # A request triggered by a batch that is not deferrable takes it, even if a deferrable one has a higher score.
        batch = _best(self._required.heads(), now) or self._overdue(limits.defer_deadline) or self._best_due(now)
        while free and batch is not None:
            taken.append(self._queue_of(batch).take_head(batch, free))
            free -= taken[-1].live_count
            batch = self._best_due(now)
        for queue, until in ((self._required, limits.due), (self._deferrable, limits.deferrable_due)):
            while free and (batch := queue.first_future(until)) is not None:
                taken.append(queue.take_future(batch, free))
                free -= taken[-1].live_count
        self.live_count -= size - free
        if len(taken) == 1:
            (popped,) = taken
            popped.prune()
        else:
            popped = PollBatch(task for batch in taken for task in batch.tasks if task.batch is batch)
        popped.group = None
        return popped

    def _queue_of(self, batch: PollBatch) -> _UrgencyQueue:
        return self._deferrable if batch.priority.deferrable else self._required

    def _best_due(self, now: float) -> PollBatch | None:
        return _best([*self._required.heads(), *self._deferrable.heads()], now)

    def _overdue(self, deadline: float) -> PollBatch | None:
        """Return the deferrable batch with the earliest deadline, if that has passed."""
        first = min(self._deferrable.heads(), key=lambda batch: batch.priority.defer_deadline, default=None)
        return first if first is not None and first.priority.defer_deadline <= deadline else None


class _UrgencyQueue:
    """Batches of which all or none are deferrable: a heap of future ones, and a deque of due ones for each urgency.

    Of batches of equal urgency, the one that has been due longest has the highest score, so that only the heads of
    the deques are compared.
    """

    def __init__(self) -> None:
        self._future: list[_Item] = []
        self._due: dict[int, collections.deque[PollBatch]] = collections.defaultdict(collections.deque)

    def push(self, item: _Item) -> None:
        heapq.heappush(self._future, item)

    def move_due(self, now: float) -> None:
        """Move the batches that are due by now from the heap to the deques."""
        while self._future and self._future[0][0] <= now:
            batch = heapq.heappop(self._future)[-1]
            self._due[batch.priority.urgency].append(batch)

    def next_due(self, now: float) -> float:
        """Return when the first batch is due: minus infinity if one is now, infinity if there is none."""
        self.move_due(now)
        if self.heads():
            return -math.inf
        return math.inf if (first := self.first_future()) is None else first.due

    def heads(self) -> Sequence[PollBatch]:
        """Return the first due batch of each urgency."""
        heads = []
        for urgency, batches in tuple(self._due.items()):
            while batches and not batches[0].live_count:
                batches.popleft()
            if batches:
                heads.append(batches[0])
            else:
                del self._due[urgency]
        return heads

    def first_future(self, until: float = math.inf) -> PollBatch | None:
        """Return the batch that is due next, if it is due by a time."""
        future = self._future
        while future and not future[0][-1].live_count:
            heapq.heappop(future)
        return future[0][-1] if future and future[0][0] <= until else None

    def take_head(self, batch: PollBatch, most: int) -> PollBatch:
        """Take out one of `heads`, or only a part of it."""
        if batch.live_count > most:
            return _split_off(batch, most)
        self._due[batch.priority.urgency].popleft()
        return batch

    def take_future(self, batch: PollBatch, most: int) -> PollBatch:
        """Take out the batch that `first_future` has returned, or only a part of it."""
        if batch.live_count > most:
            return _split_off(batch, most)
        heapq.heappop(self._future)
        return batch

    def due_count(self, at_most: int) -> int:
        """Return the number of due tasks; the count stops beyond a number."""
        count = 0
        for batch in itertools.chain.from_iterable(self._due.values()):
            count += batch.live_count
            if count >= at_most:
                break
        return count

    def compact(self) -> None:
        """Drop all discarded tasks."""
        for batch in itertools.chain((item[-1] for item in self._future), *self._due.values()):
            batch.prune()
        self._future = [item for item in self._future if item[-1].live_count]
        heapq.heapify(self._future)
        for urgency, batches in self._due.items():
            self._due[urgency] = collections.deque(batch for batch in batches if batch.live_count)


def _split_off(batch: PollBatch, count: int) -> PollBatch:
    """Move the first tasks of a queued batch into a new one."""
    batch.prune()
    part = PollBatch(batch.tasks[:count])
    batch.prune()
    return part


def _best(batches: Iterable[PollBatch], now: float) -> PollBatch | None:
    """Return the batch with the highest score; of several, the first."""
    return max(batches, key=lambda batch: batch.priority.score(now), default=None)
