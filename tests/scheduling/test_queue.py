"""The poll queue: future batches by due time, due batches by priority, in full and bounded requests."""

from __future__ import annotations

import itertools
import math
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from acetasks._scheduling.queue import GroupOutlook, PollQueue, PullLimits
from acetasks._scheduling.tasks import PollBatch, PollGroup, PollPriority, TrackedTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LUMA, FLUX = PollGroup("luma"), PollGroup("flux")
#: Luma's tasks whose polls keep failing.
SPLIT, ALONE = PollGroup("luma", 1), PollGroup("luma", 5)
GROUPS = (FLUX, LUMA, SPLIT)
#: Few different times, so that many tasks are due at once.
TIMES = st.integers(0, 4).map(float)
#: Of equal priority, batches are popped in the order in which they became due.
SAME = PollPriority(0.01, 0.0)
DEFERRABLE = PollPriority(0.01, 0.0, deferrable=True)
#: Deadlines of deferrable batches, after they are due; different, so that no two hazards share a deadline.
DEADLINES = {0.01: 1.0, 0.3: 2.25, 0.0: 3.5}


class WatchedTask(TrackedTask, weakref=True, eq=False, gc=True):
    """A task of which a test can see whether anything still refers to it."""


class WatchedBatch(PollBatch):
    """A batch, likewise."""

    __slots__ = ("__weakref__",)


def new_tasks(names: str) -> list[TrackedTask]:
    """Build tasks."""
    return [WatchedTask(("luma", name)) for name in names.split()]


def names_of(tasks: Iterable[TrackedTask]) -> str:
    """Return the names of tasks."""
    return " ".join(task.key[1] for task in tasks)


def push(
    queue: PollQueue,
    tasks: str | Sequence[TrackedTask],
    due: float,
    priority: PollPriority = SAME,
    *,
    group: PollGroup = LUMA,
    sequence: int = 0,
) -> PollBatch:
    """Queue a new batch."""
    batch = WatchedBatch(new_tasks(tasks) if isinstance(tasks, str) else tasks)
    queue.push(group, batch, due, priority, sequence)
    return batch


def pop(queue: PollQueue, size: int = 50, now: float = 100.0, *, group: PollGroup = LUMA, **limits: float) -> str:
    """Pop the next batch of a group, and return the names of its tasks."""
    return names_of(queue.pop(group, size, now, PullLimits(**limits)).tasks)


def dues(queue: PollQueue, now: float) -> list[tuple[PollGroup, float]]:
    """Return when the next batch of each group is due that is not deferrable."""
    return [(outlook.group, outlook.due) for outlook in queue.outlooks(now)]


class Expected:
    """A queued batch as the model has it; `tasks` are the live ones."""

    def __init__(self, batch: PollBatch, due: float, priority: PollPriority) -> None:
        self.batch, self.due, self.priority = batch, due, priority
        self.tasks = list(batch.tasks)


class QueueMachine(RuleBasedStateMachine):
    """A queue beside a model of it: for each group, a sorted list of future batches and a list of due ones."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = PollQueue()
        self.tasks = new_tasks("a b c d e f g h")
        self.now = 0.0
        self.numbers = itertools.count()
        self.future: dict[PollGroup, list[tuple[float, int, int, Expected]]] = {group: [] for group in GROUPS}
        self.due: dict[PollGroup, list[Expected]] = {group: [] for group in GROUPS}
        self.popped: PollBatch | None = None

    def ripen(self) -> None:
        """Move the batches that are due, in order of due time, sequence and push."""
        for group in GROUPS:
            self.future[group].sort(key=lambda item: item[:3])
            while self.future[group] and self.future[group][0][0] <= self.now:
                self.due[group].append(self.future[group].pop(0)[-1])

    def due_in(self, group: PollGroup, *, deferrable: bool | None = None) -> list[Expected]:
        """Return the due batches of a group that have live tasks."""
        due = [batch for batch in self.due[group] if batch.tasks]
        return [batch for batch in due if deferrable is None or batch.priority.deferrable is deferrable]

    def future_in(self, group: PollGroup, *, deferrable: bool) -> list[Expected]:
        """Return the future batches of a group that have live tasks, in order."""
        future = sorted(self.future[group], key=lambda item: item[:3])
        return [batch for *_, batch in future if batch.tasks and batch.priority.deferrable is deferrable]

    def live(self, group: PollGroup) -> list[Expected]:
        """Return all batches of a group that have live tasks."""
        return [batch for batch in (*self.due[group], *(item[-1] for item in self.future[group])) if batch.tasks]

    def best(self, due: Iterable[Expected]) -> Expected | None:
        """Return the first of the batches with the highest score."""
        return max(due, key=lambda batch: batch.priority.score(self.now), default=None)

    def groups(self) -> list[PollGroup]:
        """Return the groups with queued tasks."""
        return [group for group in GROUPS if self.live(group)]

    def idle(self) -> list[TrackedTask]:
        """Return the tasks that are not queued."""
        queued = {task for group in GROUPS for batch in self.live(group) for task in batch.tasks}
        return [task for task in self.tasks if task not in queued]

    @precondition(lambda self: self.idle())
    @rule(
        group=st.sampled_from(GROUPS),
        data=st.data(),
        timing=st.tuples(TIMES, st.integers(0, 2)),
        hazard=st.sampled_from([*DEADLINES]),
        deferrable=st.booleans(),
    )
    def push(
        self,
        group: PollGroup,
        data: st.DataObject,
        timing: tuple[float, int],
        hazard: float,
        deferrable: bool,  # noqa: FBT001  # drawn
    ) -> None:
        """Queue a new batch, or the one that was popped last."""
        seconds, sequence = timing
        if self.popped is not None and data.draw(st.booleans()):
            batch = self.popped
        else:
            batch = PollBatch(data.draw(st.lists(st.sampled_from(self.idle()), min_size=1, unique=True)))
        self.popped = None
        due = self.now + seconds
        # No two batches of different hazard, or of which one is deferrable, have the same score.
        priority = PollPriority(hazard, due - (5.25 if deferrable else 5.0), deferrable, due + DEADLINES[hazard])
        self.queue.push(group, batch, due, priority, sequence)
        self.future[group].append((due, sequence, next(self.numbers), Expected(batch, due, priority)))

    @rule(place=st.integers(0, 7))
    def discard(self, place: int) -> None:
        """Discard a task; one that is not queued is passed over."""
        task = self.tasks[place]
        self.queue.discard(task)
        for group in GROUPS:
            for batch in self.live(group):
                if task in batch.tasks:
                    batch.tasks.remove(task)
                    assert task.batch is None

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @precondition(lambda self: self.groups())
    @rule(
        data=st.data(),
        size=st.integers(1, 4),
        windows=st.tuples(*[st.just(math.inf) | TIMES] * 2),
        overdue=st.just(-math.inf) | st.integers(-2, 2).map(float),
    )
    def pop(self, data: st.DataObject, size: int, windows: tuple[float, float], overdue: float) -> None:
        """Pop a batch: one that is not deferrable or is overdue, the other due ones by score, then future ones."""
        group = data.draw(st.sampled_from(self.groups()))
        self.ripen()
        limits = PullLimits(self.now + windows[0], self.now + windows[1], self.now + overdue)
        expected: list[TrackedTask] = []
        sources: list[tuple[Expected, int]] = []

        def take(batch: Expected) -> None:
            free = size - len(expected)
            sources.append((batch, len(batch.tasks[free:])))
            expected.extend(batch.tasks[:free])
            del batch.tasks[:free]

        deferrable = self.due_in(group, deferrable=True)
        by_deadline = min(deferrable, key=lambda batch: batch.priority.defer_deadline, default=None)
        if by_deadline is not None and by_deadline.priority.defer_deadline > limits.defer_deadline:
            by_deadline = None
        first = self.best(self.due_in(group, deferrable=False)) or by_deadline or self.best(deferrable)
        while first is not None and len(expected) < size:
            take(first)
            first = self.best(self.due_in(group))
        for is_deferrable, until in ((False, limits.due), (True, limits.deferrable_due)):
            for batch in self.future_in(group, deferrable=is_deferrable):
                if batch.due <= until and len(expected) < size:
                    take(batch)

        popped = self.queue.pop(group, size, self.now, limits)
        assert [*popped.tasks] == expected
        assert popped.live_count == len(expected)
        assert popped.group is None
        assert all(task.batch is popped for task in popped.tasks)
        if len(sources) == 1 and not sources[0][1]:
            assert popped is sources[0][0].batch
        self.popped = popped if popped.tasks else None

    @invariant()
    def counts_are_right(self) -> None:
        """The length is the number of queued tasks, and the repr shows it for each group."""
        assert len(self.queue) == len(self.tasks) - len(self.idle())
        names = {FLUX: "flux", LUMA: "luma", SPLIT: "luma (1/2)"}
        sizes = [f"{names[group]}: {sum(len(batch.tasks) for batch in self.live(group))}" for group in self.groups()]
        shown = repr(self.queue).removeprefix("<PollQueue ").removesuffix(">").split(", ")
        assert sorted(shown) == sorted(sizes or ["empty"])

    @invariant()
    def outlooks_are_right(self) -> None:
        """Every group with queued tasks has an outlook and a score, and no other has."""
        self.ripen()
        outlooks = {outlook.group: outlook for outlook in self.queue.outlooks(self.now)}

        assert outlooks.keys() == {*self.groups()}
        for group, outlook in outlooks.items():
            times = []
            for deferrable in (False, True):
                future = self.future_in(group, deferrable=deferrable)
                is_due = self.due_in(group, deferrable=deferrable)
                times.append(-math.inf if is_due else future[0].due if future else math.inf)
            deadlines = [batch.priority.defer_deadline for batch in self.due_in(group, deferrable=True)]
            size = sum(len(batch.tasks) for batch in self.live(group))
            assert outlook == GroupOutlook(group, size, *times, min(deadlines, default=math.inf))

            best, due = self.best(self.due_in(group)), sum(len(batch.tasks) for batch in self.due_in(group))
            for size in (1, 3):
                score = best.priority.score(self.now) * min(size, due) if best else 0.0
                assert self.queue.score(group, size, self.now) == score

    @invariant()
    def batches_refer_to_their_live_tasks(self) -> None:
        """A queued task refers to its batch."""
        for group in GROUPS:
            for batch in self.live(group):
                assert batch.batch.group == group
                assert batch.batch.live_count == len(batch.tasks)
                assert all(task.batch is batch.batch for task in batch.tasks)


TestPollQueue = QueueMachine.TestCase
TestPollQueue.settings = settings(max_examples=60, stateful_step_count=30)


@given(
    batches=st.lists(st.tuples(st.integers(1, 70), TIMES), min_size=1, max_size=12),
    now=TIMES,
    size=st.integers(1, 60),
    discarded=st.sets(st.integers(0, 900)),
    moved=st.lists(st.tuples(st.integers(0, 900), TIMES), max_size=60),
)
def test_every_task_is_popped_once_in_full_batches(
    batches: list[tuple[int, float]],
    now: float,
    size: int,
    discarded: set[int],
    moved: list[tuple[int, float]],
) -> None:
    """Whatever the sizes of the queued batches, unless it was discarded; at equal priority in order of due time."""
    queue = PollQueue()
    due: dict[TrackedTask, float] = {}
    tasks: list[TrackedTask] = []
    for count, time in batches:
        together = new_tasks("task " * count)
        push(queue, together, time)
        due |= dict.fromkeys(together, time)
        tasks += together
    for number, time in moved:
        task = tasks[number % len(tasks)]
        queue.discard(task)
        push(queue, [task], time)
        due[task] = time
    for number in discarded:
        queue.discard(tasks[number % len(tasks)])
        due.pop(tasks[number % len(tasks)], None)

    popped: list[TrackedTask] = []
    while len(queue):
        ((_, first_due),) = dues(queue, now)
        batch = queue.pop(LUMA, size, now, PullLimits()).tasks
        assert first_due == (-math.inf if due[batch[0]] <= now else due[batch[0]])
        assert len(batch) == min(size, len(due) - len(popped))
        popped += batch

    assert len(popped) == len(set(popped))
    assert set(popped) == due.keys()
    assert [due[task] for task in popped] == sorted(due.values())


@pytest.mark.parametrize("together", [1, 7, 50, 1000])
@pytest.mark.parametrize(("count", "requests"), [(1, 1), (50, 1), (51, 2), (1000, 20)])
def test_a_thousand_due_tasks_are_twenty_requests(count: int, requests: int, together: int) -> None:
    """At 50 in a request, in order, whatever the sizes of the queued batches."""
    queue = PollQueue()
    tasks = new_tasks("task " * count)
    for start in range(0, count, together):
        push(queue, tasks[start : start + together], 1.0)
    batches = []
    while len(queue):
        batches.append(queue.pop(LUMA, 50, 5.0, PullLimits()).tasks)

    assert len(batches) == requests
    assert [*itertools.chain.from_iterable(batches)] == tasks


class TestOrder:
    """The order in which tasks are popped."""

    def test_due_batches_are_popped_by_score(self) -> None:
        """The hazard and the time since the last poll decide, not the due time."""
        queue = PollQueue()
        for names, due, priority in [
            ("slow1 slow2", 1.0, PollPriority(0.001, 0.0)),  # a score of 0.05 at 10 s
            ("new", 2.0, PollPriority(0.2, 9.5)),  # 0.025
            ("old", 5.0, PollPriority(0.002, -40.0)),  # 2.5
            ("fast", 9.0, PollPriority(0.1, 8.0)),  # 0.2
        ]:
            push(queue, names, due, priority)

        assert [pop(queue, 3, 10.0) for _ in range(2)] == ["old fast slow1", "slow2 new"]

    @pytest.mark.parametrize("now", [0.0, 1.0, 100.0])
    def test_ties_are_broken_by_sequence_then_first_in_first_out(self, now: float) -> None:
        """Among batches due at the same time, before or after that time; an earlier time comes first."""
        queue = PollQueue()
        for names, due, sequence in [("e", 2.0, 7), ("c d", 2.0, 3), ("b", 2.0, 0), ("f", 2.0, 7), ("a", 1.0, 9)]:
            push(queue, names, due, sequence=sequence)

        assert pop(queue, 50, now) == "a b c d e f"

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_order_does_not_depend_on_the_order_of_responses(self, order: tuple[int, ...]) -> None:
        """Polls that are due at one tick are ordered by sequence, however the responses came."""
        queue = PollQueue()
        for time, sequence in enumerate(order):
            push(queue, ("a b", "c", "d e")[sequence], 5.0, sequence=sequence)
            assert dues(queue, 1.0 + time) == [(LUMA, 5.0)]

        assert [pop(queue, 2, 5.0) for _ in range(3)] == ["a b", "c d", "e"]

    def test_the_rest_of_a_large_batch_keeps_its_place(self) -> None:
        """It is first in the next request, before batches that were queued later."""
        queue = PollQueue()
        batch = push(queue, "a b c d e f", 1.0)
        push(queue, "g", 1.0)
        push(queue, "z", 0.0)

        assert pop(queue, 3, 0.5) == "z a b"
        assert dues(queue, 0.5) == [(LUMA, 1.0)]
        queue.discard(batch.tasks[1])
        assert [pop(queue, 2, 1.0) for _ in range(2)] == ["c e", "f g"]

    @pytest.mark.parametrize("size", [3, 50])
    def test_a_whole_batch_is_popped_as_it_is(self, size: int) -> None:
        """The same object time after time, without its discarded tasks."""
        queue = PollQueue()
        batch = push(queue, "a b c", 1.0)
        for now in (1.0, 2.0, 3.0):
            assert queue.pop(LUMA, size, now, PullLimits()) is batch
            assert queue.outlooks(now) == []
            queue.push(LUMA, batch, now + 1.0, SAME)
        queue.discard(batch.tasks[1])

        assert queue.pop(LUMA, size, 4.0, PullLimits()) is batch
        assert names_of(batch.tasks) == "a c"


class TestScore:
    """The score of a group's next request."""

    def test_it_is_the_best_score_times_the_due_tasks_of_a_request(self) -> None:
        """Future tasks do not count; a group of which nothing is due has a score of 0."""
        queue = PollQueue()
        push(queue, "a b c", 1.0, PollPriority(0.01, 0.0))
        push(queue, "d e", 2.0, PollPriority(0.5, 0.0, deferrable=True))
        push(queue, "f g h", 9.0, PollPriority(0.5, 0.0))
        queue.outlooks(0.0)
        assert queue.score(LUMA, 50, 0.0) == 0.0

        queue.outlooks(4.0)
        assert [queue.score(LUMA, size, 4.0) for size in (1, 4, 5, 50)] == [4.0, 16.0, 20.0, 20.0]

    def test_discarded_tasks_do_not_count(self) -> None:
        """Neither their number, nor their priority."""
        queue = PollQueue()
        fast = push(queue, "fast faster", 1.0, PollPriority(0.5, 0.0))
        push(queue, "slow", 1.0)
        queue.outlooks(2.0)
        for task in fast.tasks:
            queue.discard(task)

        assert queue.score(LUMA, 50, 2.0) == SAME.score(2.0)
        assert pop(queue, 50, 2.0) == "slow"


class TestDeferrable:
    """Deferrable batches are queued apart."""

    def test_outlooks_show_both_due_times_and_the_earliest_deadline(self) -> None:
        """Infinity stands for none, minus infinity for now; the deadline is that of the due ones."""
        queue = PollQueue()
        push(queue, "a", 5.0, PollPriority(0.01, 0.0, deferrable=True, defer_deadline=30.0))
        push(queue, "b", 6.0, PollPriority(1.0, 0.0, deferrable=True, defer_deadline=20.0))
        push(queue, "c", 9.0, PollPriority(0.1, 0.0, defer_deadline=1.0))

        assert [queue.outlooks(now)[0][2:] for now in (4.0, 5.0, 6.0, 9.0)] == [
            (9.0, 5.0, math.inf),
            (9.0, -math.inf, 30.0),
            (9.0, -math.inf, 20.0),
            (-math.inf, -math.inf, 20.0),
        ]
        assert DEFERRABLE.defer_deadline == math.inf

    @pytest.mark.parametrize(
        ("deadline", "order"), [(-math.inf, "b a"), (19.9, "b a"), (20.0, "a b"), (25.0, "a b"), (40.0, "a b")]
    )
    def test_an_overdue_batch_comes_first(self, deadline: float, order: str) -> None:
        """Whatever the priority of the others, but not before a batch that is not deferrable."""
        queue = PollQueue()
        push(queue, "a", 5.0, PollPriority(1e-6, 0.0, deferrable=True, defer_deadline=20.0))
        push(queue, "b", 5.0, PollPriority(1.0, 0.0, deferrable=True, defer_deadline=30.0))
        push(queue, "c", 5.0, PollPriority(1e-9, 0.0))

        assert " ".join(pop(queue, 1, 50.0, defer_deadline=deadline) for _ in range(3)) == f"c {order}"

    @pytest.mark.parametrize(
        ("due", "deferrable_due", "names"),
        [
            (10.0, 10.0, "due"),
            (20.0, 10.0, "due next"),
            (math.inf, 15.0, "due next later spare1"),
            (10.0, math.inf, "due spare1 spare2"),
            (math.inf, 14.0, "due next later"),
        ],
    )
    def test_each_kind_is_pulled_up_to_its_own_limit(self, due: float, deferrable_due: float, names: str) -> None:
        """The limit included; deferrable batches come last."""
        queue = PollQueue()
        push(queue, "spare1", 15.0, DEFERRABLE)
        push(queue, "spare2", 40.0, DEFERRABLE)
        for name, time in (("later", 30.0), ("next", 20.0), ("due", 9.0)):
            push(queue, name, time)

        assert pop(queue, 50, 10.0, due=due, deferrable_due=deferrable_due) == names
        assert len(queue) == 5 - len(names.split())


class TestDiscard:
    """Discarded tasks."""

    def test_a_task_is_discarded_from_any_group(self) -> None:
        """A second time, or one that was never queued, changes nothing."""
        queue = PollQueue()
        groups = {group: push(queue, "x y", 1.0, group=group).tasks for group in (LUMA, SPLIT, ALONE, FLUX)}
        for group in (LUMA, SPLIT, ALONE):
            for _ in range(2):
                queue.discard(groups[group][0])
        assert repr(queue) == "<PollQueue luma: 1, luma (1/2): 1, luma (1/32): 1, flux: 2>"

        for group in (LUMA, SPLIT, ALONE):
            queue.discard(groups[group][1])
        queue.discard(*new_tasks("stranger"))
        assert dues(queue, 0.0) == [(FLUX, 1.0)]
        assert repr(queue) == "<PollQueue flux: 2>"

    def test_an_empty_batch_has_no_due_time(self) -> None:
        """It is passed over once its last task was discarded."""
        queue = PollQueue()
        first = push(queue, "a b", 1.0)
        push(queue, "c", 2.0)
        for task, due in zip(first.tasks, (1.0, 2.0), strict=True):
            queue.discard(task)
            assert dues(queue, 0.0) == [(LUMA, due)]

        assert dues(queue, 1.5) == [(LUMA, 2.0)]
        assert pop(queue, 2) == "c"


class TestGrowth:
    """A queue does not grow by discarded tasks; `MANY` are far more than it may keep, `FEW` more than it does."""

    MANY, FEW = 5000, 200

    @pytest.mark.parametrize("size", [1, 3])
    def test_tasks_that_come_and_go_do_not_pile_up(self, size: int) -> None:
        """Whatever the sizes of their batches."""
        queue = PollQueue()
        push(queue, "stays", 1.0)
        watched: list[weakref.ref[object]] = []
        for number in range(self.MANY // size):
            tasks = new_tasks("task " * size)
            watched.append(weakref.ref(push(queue, tasks, 2.0 + number)))
            for task in tasks:
                queue.discard(task)
            watched += map(weakref.ref, tasks)
            del tasks, task

        assert sum(ref() is not None for ref in watched) < self.FEW
        assert pop(queue) == "stays"

    @pytest.mark.parametrize("now", [0.0, 1.0])
    @pytest.mark.parametrize("together", [1, 50, MANY])
    def test_a_mass_that_is_discarded_at_once_is_released(self, together: int, now: float) -> None:
        """Future or due, in small or large batches."""
        queue = PollQueue()
        tasks = new_tasks(" ".join(f"task-{number}" for number in range(self.MANY)))
        for start in range(0, self.MANY, together):
            push(queue, tasks[start : start + together], 1.0)
        queue.outlooks(now)
        for task in tasks[:-1]:
            queue.discard(task)
        watched = [weakref.ref(task) for task in tasks]
        del tasks, task

        assert sum(ref() is not None for ref in watched) < self.FEW
        assert pop(queue) == f"task-{self.MANY - 1}"

    @pytest.mark.parametrize("now", [0.0, 5.0])
    @pytest.mark.parametrize("batches", [10, 20, 40])
    def test_compaction_keeps_the_order(self, now: float, batches: int) -> None:
        """The remaining tasks are popped as if the others had never been queued."""
        queue = PollQueue()
        crowd = [new_tasks(" ".join(f"{number}-{place}" for place in range(20))) for number in range(batches)]
        for number, tasks in enumerate(crowd):
            push(queue, tasks, float(number % 3), sequence=number % 2)
        queue.outlooks(now)
        kept = {number: crowd[number][7 : 13 : 1 + number % 3] for number in range(0, batches, 5)}
        for number, tasks in enumerate(crowd):
            for task in tasks:
                if task not in kept.get(number, ()):
                    queue.discard(task)

        order = sorted(kept, key=lambda number: (number % 3, number % 2, number))
        assert pop(queue, 1000, 5.0) == " ".join(names_of(kept[number]) for number in order)

    def test_an_empty_queue_keeps_nothing(self) -> None:
        """Neither popped tasks, nor discarded ones."""
        queue = PollQueue()
        tasks = new_tasks("task " * 100)
        push(queue, tasks[:70], 1.0)
        for task in tasks[70:]:
            push(queue, [task], 2.0)
        for task in tasks[50:]:
            queue.discard(task)
        for task in queue.pop(LUMA, 50, 5.0, PullLimits()).tasks:
            task.batch = None
        watched = [weakref.ref(task) for task in tasks]
        del tasks, task

        assert queue.outlooks(5.0) == []
        assert [ref() for ref in watched if ref() is not None] == []
        assert repr(queue) == "<PollQueue empty>"
