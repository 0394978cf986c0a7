"""The ids that are asked for: who waits for each, what is known of it, and with whom it is asked for.

Made so that hundreds of thousands are little to keep and to go through: a look that brings no news moves a batch of
them as a whole, and the garbage collector passes over them.
"""

from __future__ import annotations

import abc
import functools
import math
import operator
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import AceTasksError
from acetasks.models import Task, TaskState
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.wire import Question

#: An id under its provider.
Key = tuple[str, str]

#: What a waiter is given.
Outcome = Task | AceTasksError

#: What is wrong with an entry.
_TROUBLE = operator.attrgetter("trouble")


class Waiter(abc.ABC):
    """One who waits, for one task or for many, with one limit for all of them.

    What it does with its news is for its subclasses to say: see `acetasks.waiters`.

    Attributes:
        deadline: When its limit passes, in seconds of the loop's clock; infinity for none.
        alone: Itself, as those of its tasks have it whom nobody else waits for: one tuple for all of them.
    """

    __slots__ = ("alone", "deadline")

    #: Whether it wants to be told of changes.
    follows = False

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.alone: tuple[Waiter, ...] = (self,)

    @abc.abstractmethod
    def settle(self, entry: Entry, outcome: Outcome) -> None:
        """Take the outcome of a task: once for each that it waits for, unless it leaves first."""

    def change(self, task: Task) -> None:  # noqa: B027  # one that does not follow has nothing to do
        """Take note of a task, where it `follows`: when it is first seen, and at each change of state or progress."""

    @abc.abstractmethod
    def expire(self) -> None:
        """Take note that the limit has passed. It is expected to leave."""


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


class Entry(msgspec.Struct, eq=False, gc=False):
    """An id that somebody waits for, and what is known of it.

    Of its task the record is kept as it came, and read again when somebody asks for the task; most never do before its
    end. Hundreds of thousands of entries are nothing for the garbage collector to go through: whoever ends an entry
    clears its batch.

    Attributes:
        key: The provider and id.
        waiters: Empty only once it is settled or dropped.
        record: As it was last read; None before.
        state: As it was last seen.
        progress: As it was last seen, in percent.
        trouble: What is wrong with it, or None.
        batch: Those that it is asked for with, or None as long as it is not to be.
        born: When its task was submitted, as far as that is known, in seconds of the loop's clock; the planner's.
        seen_at: When it was last looked at, likewise, unless its batch knows better; the planner's.
        kind: What it is planned alike with; the planner's.
    """

    key: Key
    waiters: tuple[Waiter, ...] = ()
    record: bytes | None = None
    state: TaskState = TaskState.PENDING
    progress: float | None = None
    trouble: Trouble | None = None
    batch: Batch | None = None
    born: float = math.nan
    seen_at: float = math.nan
    kind: object = None

    def leave_batch(self) -> None:
        """Leave the others, and remember when it was last looked at with them."""
        self.seen_at = self.looked_at
        self.batch = None

    @property
    def looked_at(self) -> float:
        """When it was last looked at, with the others or before, in seconds of the loop's clock."""
        batch = self.batch
        return self.seen_at if batch is None or math.isnan(batch.seen_at) else batch.seen_at

    @property
    def last_seen(self) -> Task:
        """The task as it was last seen, or one of which nothing is known yet."""
        provider, task_id = self.key
        if self.record is None:
            return Task(provider=provider, id=task_id, state=TaskState.PENDING)
        return read_record(lookup(provider), self.record, task_id=task_id).task

    @property
    def fault(self) -> AceTasksError | None:
        """The error of the last look at it, if that failed."""
        return self.trouble.fault if self.trouble else None


class Batch:
    """Entries that are asked for together, and what is the same at each look as long as nothing is new of any of them.

    An entry is in one batch at a time: the last that was made of it. One that goes on as it was is moved as a whole,
    without a look at its entries. And thousands of them are little for the garbage collector to go through: it passes
    over tuples of entries.

    Attributes:
        place: Its turn in the agenda or the request that it is, or None; for them to change.
        seen_at: When all of them were looked at last, in seconds of the loop's clock; NaN where each has its own time;
            the planner's.
        entries: They, as a tuple.
        is_troubled: Whether something may be wrong with any of them.
        question: What is asked; the poller's.
        alike: What they are planned alike with, and times between which all of their tasks were submitted; None where
            they are not planned alike, or nobody has looked; the planner's.
    """

    __slots__ = ("alike", "entries", "is_troubled", "place", "question", "seen_at")

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries: tuple[Entry, ...] = tuple(entries)
        self.place: object = None
        self.seen_at = math.nan
        self.is_troubled = any(map(_TROUBLE, self.entries))
        self.question: Question | None = None
        self.alike: tuple[object, float, float] | None = None
        # What is known of those that they come from is known of them too.
        alike: list[tuple[object, float, float] | None] = []
        came_from: Batch | None = self
        seen_at: float | None = None
        for entry in self.entries:
            if entry.batch is not came_from:
                came_from = entry.batch
                alike.append(None if came_from is None else came_from.alike)
                seen_at = None if came_from is None or math.isnan(came_from.seen_at) else came_from.seen_at
            # As `leave_batch` would; there are thousands of them in a second.
            if seen_at is not None:
                entry.seen_at = seen_at
            entry.batch = self
        if alike:
            self.alike = functools.reduce(_join, alike)

    def close_ranks(self) -> None:
        """Go on without those that have left, and with what is new of the others."""
        self.entries = tuple([entry for entry in self.entries if entry.batch is self])
        self.is_troubled = self.is_troubled and any(map(_TROUBLE, self.entries))
        self.question = None


def _join(
    alike: tuple[object, float, float] | None, other: tuple[object, float, float] | None
) -> tuple[object, float, float] | None:
    """Tell what entries of two batches are planned alike with, if it is the same."""
    if alike is None or other is None or alike[0] is not other[0]:
        return None
    return alike[0], min(alike[1], other[1]), max(alike[2], other[2])
