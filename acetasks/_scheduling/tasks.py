"""Data of the scheduler: tracked tasks, the batches they are polled in, and polls in flight."""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from acetasks._scheduling.timetable import DurationProfile
from acetasks.providers import ProviderSpec

#: Provider slug and task id.
Key = tuple[str, str]

#: A thousandth of an end per year, in ends per second: a smaller hazard cannot be told from none.
_MIN_HAZARD = 1e-11


class CallbackState(enum.Enum):
    """Whether the service is to announce the end of a task by a callback."""

    #: No callback is expected, or none any more: the task is polled at its intervals.
    NONE = enum.auto()
    #: It is polled rarely until the callback arrives.
    EXPECTED = enum.auto()
    #: The callback has arrived, and no poll was sent since then.
    RECEIVED = enum.auto()


class TrackedTask(msgspec.Struct, eq=False, gc=False):
    """A task that is polled until it ends.

    The garbage collector does not visit it, so that hundreds of thousands cost no time. It and its batch refer to each
    other; `PollBatch.discard` ends that reference cycle.

    Attributes:
        key: Provider slug and task id.
        batch: None while it is not polled.
        profile: Of similar tasks; None before its first record.
        submitted_at: Loop time of its submission; NaN before its first record.
        last_polled_at: Loop time of the last poll that found it unfinished, or of its registration.
        polls: Number of polls that were started.
        callback: Whether a callback is to announce its end.
    """

    key: Key
    batch: PollBatch | None = None
    profile: DurationProfile | None = None
    submitted_at: float = math.nan
    last_polled_at: float = math.nan
    polls: int = 0
    callback: CallbackState = CallbackState.NONE

    @property
    def is_unscheduled(self) -> bool:
        """Whether it is neither queued nor in flight."""
        return self.batch is None or (self.batch.group is None and self.batch.poll is None)


class PollGroup(NamedTuple):
    """Tasks that may be polled in one request.

    Attributes:
        provider: Provider slug.
        split_level: How often a full batch is halved for these tasks. Tasks whose polls keep failing are polled in ever
            smaller batches, until the one that causes the failure is alone.
        expecting: Whether they are tasks with a callback, expected or just received, which fill no other batches.
    """

    provider: str
    split_level: int = 0
    expecting: bool = False


class PollPriority(NamedTuple):
    """Priority of a poll: the delay that has built up since the poll before.

    A task that ends at a constant hazard h is noticed h t²/2 seconds late on average, t seconds after its last poll.
    Polling where that is largest spreads any number of polls so that the total delay is smallest: each task is polled
    at a rate proportional to the square root of its hazard (Barlow, Hunter and Proschan, "Optimum checking
    procedures", 1963).

    Attributes:
        hazard: Ends per second among tasks like these that have not ended.
        last_polled_at: Loop time.
        deferrable: Whether the poll may wait until the poll budget allows it.
        defer_deadline: Approximate loop time until which a deferrable poll may wait.
    """

    hazard: float
    last_polled_at: float
    deferrable: bool = False
    defer_deadline: float = math.inf

    @property
    def urgency(self) -> int:
        """The hazard, rounded to a power of 2: of polls of equal urgency, the one due first has the highest score."""
        return _round_hazard(self.hazard)

    def score(self, now: float) -> float:
        """Return the expected delay so far, in seconds."""
        return max(self.hazard, _MIN_HAZARD) * (now - self.last_polled_at) ** 2 / 2.0


@functools.lru_cache(maxsize=1024)  # a client has some dozens of hazards
def _round_hazard(hazard: float) -> int:
    return round(math.log2(max(hazard, _MIN_HAZARD)))


class PollBatch:
    """Tasks that are polled in one request, and stay together as long as they are due at the same times.

    A batch is queued, in flight, or neither.

    Attributes:
        tasks: Discarded tasks included, until `prune`.
        live_count: Number of tasks that were not discarded.
        group: The group that it is queued in, or None. Owned by the queue.
        due: Loop time. Owned by the queue.
        priority: Owned by the queue.
        poll: The poll in flight, or None. Owned by the scheduler.
        polled_at: Loop time of the last response to a poll of these tasks; minus infinity before the first.
    """

    __slots__ = ("due", "group", "live_count", "poll", "polled_at", "priority", "tasks")

    def __init__(self, tasks: Iterable[TrackedTask], *, polled_at: float = -math.inf) -> None:
        """Move tasks into a new batch; the batches that they were in are to be pruned."""
        self.tasks = tuple(tasks)
        self.live_count = len(self.tasks)
        self.group: PollGroup | None = None
        self.due = math.inf
        self.priority = PollPriority(0.0, math.nan)
        self.poll: InFlightPoll | None = None
        self.polled_at = polled_at
        for task in self.tasks:
            task.batch = self

    def __repr__(self) -> str:
        state = "in flight" if self.poll else f"due at {self.due:g}" if self.group else "idle"
        return f"<PollBatch of {self.live_count}, {state}>"

    @property
    def last_polled_at(self) -> float:
        """The time of the poll in flight if its requests have begun, else `polled_at`."""
        return self.poll.sent_at if self.poll is not None and self.poll.cancel is not None else self.polled_at

    def discard(self, task: TrackedTask) -> None:
        """Take out one of its tasks, which stays in `tasks` until `prune`."""
        task.batch = None
        self.live_count -= 1

    def prune(self) -> None:
        """Drop the tasks that were discarded, or moved to another batch."""
        tasks = [task for task in self.tasks if task.batch is self]
        if len(tasks) < len(self.tasks):
            self.tasks = tuple(tasks)
        self.live_count = len(tasks)


class InFlightPoll(msgspec.Struct, eq=False):
    """A poll in flight.

    Its sequence number and jitter sample are fixed when it starts, so that they do not depend on the order in which
    responses arrive.

    Attributes:
        spec: The provider.
        batch: The tasks that are polled.
        sent_at: Loop time.
        sequence: Breaks ties among batches that are due at the same time.
        jitter_sample: Random number from 0 up to 1.
        cancel: Called when the last task of the batch is discarded; None before the request begins.
    """

    spec: ProviderSpec
    batch: PollBatch
    sent_at: float
    sequence: int
    jitter_sample: float
    cancel: Callable[[], object] | None = None

    def with_tasks(self, tasks: Iterable[TrackedTask]) -> InFlightPoll:
        """Return a copy of a poll that has ended, with a new batch of some of its tasks."""
        return msgspec.structs.replace(self, batch=PollBatch(tasks), cancel=None)

    def __repr__(self) -> str:
        return f"<InFlightPoll {self.spec.slug}, {self.batch.live_count} tasks>"
