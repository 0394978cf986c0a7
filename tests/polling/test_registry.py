"""The registry: each waiter receives the outcome of each of its tasks exactly once, unless it leaves first."""

from __future__ import annotations

import gc
import math
import weakref
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from acetasks import ServiceError, Task, TaskState
from acetasks._polling.awaited import AwaitedTask, TaskHealth, Waiter, read_last_seen
from acetasks._polling.registry import TaskRegistry
from acetasks.providers import RecordStatus, lookup, read_record

if TYPE_CHECKING:
    from acetasks._polling.awaited import Outcome
    from acetasks._scheduling import Key

LUMA: Key = ("luma", "t-1")
#: The same id of another provider is another task.
FLUX: Key = ("flux", "t-1")
WORDS = {TaskState.PENDING: "queued", TaskState.RUNNING: "processing", TaskState.SUCCEEDED: "completed"}
DONE = Task(provider="luma", id="t-1", state=TaskState.SUCCEEDED)
BUSY = ServiceError("busy")


def read(key: Key, state: TaskState = TaskState.RUNNING, progress: float | None = None) -> RecordStatus:
    """Read a record as a poll finds it."""
    response = {"state": WORDS.get(state, "failed"), "progress": progress}
    return read_record(lookup(key[0]), msgspec.json.encode({"id": key[1], "response": response}))


class RecordingWaiter(Waiter):
    """Keeps what it receives."""

    __slots__ = ("__weakref__", "changes", "outcomes")

    def __init__(self) -> None:
        self.outcomes: list[tuple[AwaitedTask, Outcome]] = []
        self.changes: list[Task] = []

    def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcomes.append((task, outcome))

    def receive_change(self, task: Task) -> None:
        """Keep the change."""
        self.changes.append(task)


class ChangesWaiter(RecordingWaiter):
    """Keeps changes too."""

    __slots__ = ()

    wants_changes = True


@pytest.fixture
def registry() -> TaskRegistry:
    """An empty registry."""
    return TaskRegistry()


def register(registry: TaskRegistry, *keys: Key, wants_changes: bool = False) -> RecordingWaiter:
    """Register a new waiter for tasks."""
    waiter = ChangesWaiter() if wants_changes else RecordingWaiter()
    registry.register(waiter, keys)
    return waiter


def get(registry: TaskRegistry, key: Key = LUMA) -> AwaitedTask:
    """Return an awaited task."""
    task = registry.get(key)
    assert task is not None
    return task


def assert_empty(registry: TaskRegistry) -> None:
    """Check that nothing is kept."""
    assert len(registry) == 0
    assert list(registry) == []
    assert registry.health == {}
    assert repr(registry) == "<TaskRegistry 0 tasks, 0 waiters>"


class TestRegister:
    """`register`."""

    def test_is_empty_at_first(self, registry: TaskRegistry) -> None:
        """A new registry has no tasks."""
        assert_empty(registry)
        assert registry.get(LUMA) is None

    def test_waiters_of_one_task_share_it(self, registry: TaskRegistry) -> None:
        """Only the first registration creates, and returns, the task."""
        first, second = RecordingWaiter(), RecordingWaiter()
        assert registry.register(first, [LUMA]) == [get(registry)]
        assert registry.register(second, [FLUX, LUMA]) == [get(registry, FLUX)]

        assert [task.key for task in registry] == [LUMA, FLUX]
        assert get(registry).waiters == (first, second)
        assert get(registry, FLUX).waiters == (second,)
        assert repr(registry) == "<TaskRegistry 2 tasks, 3 waiters>"

    def test_nothing_is_known_of_a_new_task(self, registry: TaskRegistry) -> None:
        """A new task is pending, and has no record, batch, profile or times."""
        register(registry, LUMA)
        task = get(registry)

        assert (task.record, task.state, task.progress) == (None, TaskState.PENDING, None)
        assert task.last_seen == read_last_seen(LUMA, None) == Task(provider="luma", id="t-1", state=TaskState.PENDING)
        assert (task.batch, task.profile) == (None, None)
        assert math.isnan(task.submitted_at)
        assert math.isnan(task.last_polled_at)
        assert registry.health == {}

    def test_the_last_record_of_a_left_task_is_kept(self, registry: TaskRegistry) -> None:
        """It is what was last seen until there is another record, or the task is resolved."""
        for progress in (10.0, 20.0):
            waiter = register(registry, LUMA)
            assert registry.update(get(registry), read(LUMA, progress=progress))
            registry.leave(waiter, LUMA)
            assert registry.last_seen(LUMA).progress == progress
            waiter = register(registry, LUMA)
            assert registry.last_seen(LUMA).progress == progress
            assert get(registry).record is None
            registry.leave(waiter, LUMA)
        register(registry, LUMA)
        registry.resolve(get(registry), ServiceError("over"))

        assert registry.last_seen(LUMA).state is TaskState.PENDING

    def test_kept_records_are_bounded(self, registry: TaskRegistry) -> None:
        """The records of the last thousand left tasks are kept, but for large ones."""
        keys = [("luma", f"t{number}") for number in range(2000)]
        raw = b'{"state": "processing", "note": "%s"}' % (b"x" * 20_000)
        waiter = register(registry, *keys, LUMA)
        for key in (*keys, LUMA):
            registry.update(
                get(registry, key),
                read_record(lookup(key[0]), raw if key == LUMA else b'{"state": "processing"}', task_id=key[1]),
            )
            registry.leave(waiter, key)
        kept = [key for key in (*keys, LUMA) if registry.last_seen(key) != read_last_seen(key, None)]

        assert kept == keys[-1024:]

    def test_new_tasks_of_one_registration_share_the_tuple_of_waiters(self, registry: TaskRegistry) -> None:
        """A hundred thousand tasks with the same waiter need one tuple."""
        register(registry, LUMA, FLUX)

        assert get(registry, LUMA).waiters is get(registry, FLUX).waiters

    def test_tasks_are_not_tracked_by_the_garbage_collector(self, registry: TaskRegistry) -> None:
        """Hundreds of thousands of awaited tasks do not lengthen collections."""
        register(registry, LUMA)

        assert not gc.is_tracked(get(registry))

    def test_a_late_waiter_receives_what_is_known(self, registry: TaskRegistry) -> None:
        """A waiter that wants changes receives the task as last seen, if it was seen; others receive nothing."""
        early = register(registry, LUMA, wants_changes=True)
        registry.update(get(registry), read(LUMA, progress=50.0))
        late, other = register(registry, LUMA, wants_changes=True), register(registry, LUMA)
        registry.update(get(registry), read(LUMA, progress=50.0))

        assert early.changes == late.changes == [read(LUMA, progress=50.0).task]
        assert other.changes == []


class TestLeave:
    """`leave`."""

    def test_a_task_is_dropped_with_its_last_waiter(self, registry: TaskRegistry) -> None:
        """It is returned then, and only then: it must not be polled any more."""
        first, second = register(registry, LUMA), register(registry, LUMA, FLUX)
        task = get(registry)
        registry.health[LUMA] = TaskHealth()

        assert registry.leave(first, LUMA) is None
        assert task.waiters == (second,)
        assert registry.leave(second, LUMA) is task
        assert task.waiters == ()
        assert registry.health == {}
        assert [task.key for task in registry] == [FLUX]

    def test_a_task_that_was_dropped_starts_anew(self, registry: TaskRegistry) -> None:
        """Neither its record nor its failure counters are kept."""
        waiter = register(registry, LUMA)
        task = get(registry)
        registry.update(task, read(LUMA, progress=50.0))
        registry.health[LUMA] = TaskHealth()
        registry.leave(waiter, LUMA)
        register(registry, LUMA)

        assert get(registry) is not task
        assert get(registry).record is None
        assert registry.health == {}


class TestResolve:
    """`resolve`."""

    @pytest.mark.parametrize("outcome", [DONE, BUSY])
    def test_every_waiter_of_the_task_receives_the_outcome(self, registry: TaskRegistry, outcome: Outcome) -> None:
        """A task or an error is passed as a value, and the task is forgotten with its failure counters."""
        waiters = [register(registry, LUMA) for _ in range(3)]
        other = register(registry, FLUX)
        task = get(registry)
        registry.health[LUMA] = registry.health[FLUX] = TaskHealth()

        assert registry.resolve(task, outcome) == 3
        assert all(waiter.outcomes == [(task, outcome)] for waiter in waiters)
        assert all(waiter.outcomes[0][1] is outcome for waiter in waiters)
        assert other.outcomes == []
        assert [task.key for task in registry] == [FLUX]
        assert list(registry.health) == [FLUX]

    def test_a_waiter_may_register_again_in_response(self, registry: TaskRegistry) -> None:
        """A task that is registered from within `resolve` is a new one, and stays."""

        class Again(RecordingWaiter):
            """Registers anew when it is resolved."""

            __slots__ = ()

            def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:
                super().resolve(task, outcome)
                registry.register(self, [task.key])

        registry.register(waiter := Again(), [LUMA])
        task = get(registry)
        registry.resolve(task, BUSY)

        assert get(registry) is not task
        assert get(registry).waiters == (waiter,)
        assert waiter.outcomes == [(task, BUSY)]

    def test_all_tasks_can_be_resolved_in_a_loop(self, registry: TaskRegistry) -> None:
        """Iteration is over the tasks awaited at its start, in the order of registration."""
        keys = [("luma", f"t-{number}") for number in range(5)]
        waiter = register(registry, *keys)

        assert [registry.resolve(task, BUSY) for task in registry] == [1] * 5
        assert [task.key for task, _ in waiter.outcomes] == keys
        assert_empty(registry)

    def test_resolved_tasks_and_their_waiters_are_freed(self, registry: TaskRegistry) -> None:
        """No reference to a waiter is left, without help of the garbage collector."""
        gc.disable()
        try:
            waiters = []
            for number in range(1000):
                waiter = register(registry, ("luma", f"t-{number}"))
                waiters.append(weakref.ref(waiter))
                registry.resolve(get(registry, ("luma", f"t-{number}")), BUSY)
                del waiter
            assert sum(waiter() is not None for waiter in waiters) == 0
        finally:
            gc.enable()
        assert_empty(registry)


class TestUpdate:
    """`update`."""

    def test_only_changes_are_passed_on(self, registry: TaskRegistry) -> None:
        """The first record, another state and another progress are changes."""
        waiter = register(registry, LUMA, wants_changes=True)
        register(registry, LUMA)
        task = get(registry)
        polls = [
            (read(LUMA, TaskState.PENDING), True),
            (read(LUMA, TaskState.PENDING), False),
            (read(LUMA, TaskState.RUNNING), True),
            (read(LUMA, TaskState.RUNNING, 10.0), True),
            (read(LUMA, TaskState.RUNNING, 10.0), False),
            (read(LUMA, TaskState.SUCCEEDED, 10.0), True),
        ]
        for status, is_change in polls:
            assert registry.update(task, status) is is_change
            assert (task.record, task.state, task.progress) == (status.raw, status.state, status.progress)
            assert task.last_seen == status.task

        assert waiter.changes == [status.task for status, is_change in polls if is_change]

    def test_a_record_without_a_change_is_stored(self, registry: TaskRegistry) -> None:
        """The last record is the one that the next is compared with."""
        register(registry, LUMA, FLUX)
        task = get(registry)
        registry.update(task, read(LUMA))
        longer = read_record(lookup("luma"), b'{"id": "t-1", "trace_id": "x", "response": {"state": "processing"}}')

        assert registry.update(task, longer) is False
        assert task.last_seen.trace_id == "x"
        assert task.record == longer.raw

    def test_a_record_without_an_id_has_the_id_of_its_task(self, registry: TaskRegistry) -> None:
        """The task that is read from the record on demand has the polled id."""
        register(registry, LUMA)
        task = get(registry)
        registry.update(task, read_record(lookup("luma"), b'{"response": {"state": "processing"}}', task_id="t-1"))

        assert (task.last_seen.id, task.last_seen.state) == ("t-1", TaskState.RUNNING)


def test_failure_counters_start_at_zero() -> None:
    """Nothing has failed yet."""
    health = TaskHealth()

    assert (health.misses, health.unconfirmed, health.unreadable, health.faults, health.split_level) == (0,) * 5
    assert (health.missing_since, health.faulted_at) == (math.inf, math.inf)
    assert health.fault is None


KEYS = st.sampled_from([LUMA, FLUX, ("luma", "t-2")])


class Expected:
    """A waiter, and what it should have received."""

    def __init__(self, waiter: RecordingWaiter) -> None:
        self.waiter = waiter
        self.outcomes: list[tuple[AwaitedTask, Outcome]] = []
        self.changes: list[Task] = []


class RegistryMachine(RuleBasedStateMachine):
    """Waiters register and leave, and tasks are updated and resolved, in any order.

    The model: for each key its task, its last status, and its waiters in order.
    """

    waiters: Bundle[Expected] = Bundle("waiters")

    def __init__(self) -> None:
        super().__init__()
        self.registry = TaskRegistry()
        self.all: list[Expected] = []
        self.tasks: dict[Key, AwaitedTask] = {}
        self.present: dict[Key, list[Expected]] = {}
        self.last: dict[Key, RecordStatus] = {}
        self.health: dict[Key, TaskHealth] = {}
        self.ended: list[AwaitedTask] = []

    def teardown(self) -> None:
        """Remove every waiter: nothing may be kept then."""
        for expected in self.all:
            for key in tuple(self.present):
                self.leave(expected, key)
        assert_empty(self.registry)

    @rule(target=waiters, wants_changes=st.booleans())
    def create(self, wants_changes: bool) -> Expected:  # noqa: FBT001  # drawn
        """Create a waiter."""
        self.all.append(Expected(ChangesWaiter() if wants_changes else RecordingWaiter()))
        return self.all[-1]

    @rule(expected=waiters, keys=st.lists(KEYS, unique=True))
    def register(self, expected: Expected, keys: list[Key]) -> None:
        """Register a waiter for tasks, for the first time or again."""
        keys = [key for key in keys if expected not in self.present.get(key, [])]
        new = self.registry.register(expected.waiter, keys)
        assert [task.key for task in new] == [key for key in keys if key not in self.present]
        self.tasks.update((task.key, task) for task in new)
        for key in keys:
            self.present.setdefault(key, []).append(expected)
            if expected.waiter.wants_changes and key in self.last:
                expected.changes.append(self.last[key].task)

    @precondition(lambda self: self.present)
    @rule(
        data=st.data(),
        state=st.sampled_from([TaskState.PENDING, TaskState.RUNNING]),
        progress=st.sampled_from([None, 10.0, 20.0]),
    )
    def poll(self, data: st.DataObject, state: TaskState, progress: float | None) -> None:
        """Find a task unfinished."""
        self.update(self.draw_key(data), state, progress)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), state=st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED]))
    def finish(self, data: st.DataObject, state: TaskState) -> None:
        """Find the end of a task."""
        key = self.draw_key(data)
        self.resolve(key, self.update(key, state, None).task)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """End the waiting for a task with an error."""
        self.resolve(self.draw_key(data), BUSY)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def count_failure(self, data: st.DataObject) -> None:
        """Keep failure counters of a task, as the outcome rules do."""
        key = self.draw_key(data)
        self.health[key] = self.registry.health[key] = TaskHealth()

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def resolve_late(self, data: st.DataObject) -> None:
        """Resolve a task that is not awaited any more, whether its id is awaited anew or not."""
        assert self.registry.resolve(data.draw(st.sampled_from(self.ended)), BUSY) == 0

    @rule(expected=waiters, key=KEYS)
    def leave(self, expected: Expected, key: Key) -> None:
        """Remove a waiter from a task, registered or not."""
        present = self.present.get(key, [])
        is_last = present == [expected]
        if expected in present:
            present.remove(expected)
        task = self.tasks.get(key)
        assert self.registry.leave(expected.waiter, key) is (task if is_last else None)
        if is_last:
            self.forget(key)

    def draw_key(self, data: st.DataObject) -> Key:
        """Choose an awaited task."""
        return data.draw(st.sampled_from(sorted(self.present)))

    def update(self, key: Key, state: TaskState, progress: float | None) -> RecordStatus:
        """Store a record, in the registry and the model."""
        status, last = read(key, state, progress), self.last.get(key)
        is_change = last is None or (last.state, last.progress) != (state, progress)
        self.last[key] = status
        for expected in self.present[key]:
            if is_change and expected.waiter.wants_changes:
                expected.changes.append(status.task)
        assert self.registry.update(self.tasks[key], status) is is_change
        return status

    def resolve(self, key: Key, outcome: Outcome) -> None:
        """Resolve a task, in the registry and the model."""
        task = self.tasks[key]
        for expected in self.present[key]:
            expected.outcomes.append((task, outcome))
        assert self.registry.resolve(task, outcome) == len(self.present[key])
        self.forget(key)

    def forget(self, key: Key) -> None:
        """Remove a task from the model."""
        self.ended.append(self.tasks.pop(key))
        del self.present[key]
        self.last.pop(key, None)
        self.health.pop(key, None)

    @invariant()
    def waiters_received_what_they_should(self) -> None:
        """Every waiter received the outcomes and the changes of its tasks, each once and in order."""
        for expected in self.all:
            assert [task for task, _ in expected.waiter.outcomes] == [task for task, _ in expected.outcomes]
            assert [outcome for _, outcome in expected.waiter.outcomes] == [outcome for _, outcome in expected.outcomes]
            assert expected.waiter.changes == expected.changes

    @invariant()
    def the_awaited_tasks_are_kept(self) -> None:
        """The registry has exactly the tasks that have waiters, with these, their last record and their counters."""
        assert {task.key: task for task in self.registry} == self.tasks
        assert len(self.registry) == len(self.tasks)
        for key, task in self.tasks.items():
            assert self.registry.get(key) is task
            assert task.waiters == tuple(expected.waiter for expected in self.present[key])
            assert task.record == (self.last[key].raw if key in self.last else None)
            assert task.last_seen == (self.last[key].task if key in self.last else read_last_seen(key, None))
        assert self.registry.health == self.health
        waiters = sum(map(len, self.present.values()))
        assert repr(self.registry) == f"<TaskRegistry {len(self.tasks)} tasks, {waiters} waiters>"


TestRegistry = RegistryMachine.TestCase
