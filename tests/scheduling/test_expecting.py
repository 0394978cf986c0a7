"""The scheduler with callbacks: rare polls while they are expected, and one soon when they have arrived."""

from __future__ import annotations

import random

import pytest

from acetasks import PollPolicy, RetryPolicy
from acetasks._limits import Throttle
from acetasks._scheduling import CallbackState, Changes, Durations, Scheduler, TrackedTask, build_planner
from acetasks._scheduling.tasks import PollBatch
from acetasks.providers import lookup, read_record

NONE, EXPECTED, RECEIVED = CallbackState.NONE, CallbackState.EXPECTED, CallbackState.RECEIVED
POLICY = PollPolicy(jitter=0.0, interval=5.0, callback_interval=100.0, schedule="fixed", start_rate=1e6)
#: Delay of a poll after a callback: half the linger.
LINGER = 0.025


class Scene:
    """A scheduler of exact intervals: 5 s, and 100 s while a callback is expected."""

    def __init__(self, policy: PollPolicy = POLICY) -> None:
        self.throttle = Throttle(policy, RetryPolicy())
        planner = build_planner(policy, Durations(), 0.0)
        self.scheduler = Scheduler(
            policy, throttle=self.throttle, planner=planner, rng=random.Random(1), has_callbacks=True
        )
        self.count = 0

    def expect(self, count: int = 1, now: float = 0.0, provider: str = "luma") -> list[TrackedTask]:
        """Add tasks that were submitted just now."""
        tasks = self.new_tasks(count, provider, EXPECTED)
        self.scheduler.add_expecting(tasks, now)
        return tasks

    def new_tasks(self, count: int, provider: str = "luma", callback: CallbackState = NONE) -> list[TrackedTask]:
        """Build tasks with new ids."""
        self.count += count
        ids = range(self.count - count, self.count)
        return [TrackedTask((provider, f"t{number}"), callback=callback) for number in ids]

    def next_time(self, now: float) -> float:
        """Return when the next batch is polled; later than now."""
        assert self.scheduler.next_batch(now, 8) is None
        return self.scheduler.next_poll_at

    def poll(self, now: float, changes: Changes | None = None, *, before: object = None) -> list[TrackedTask]:
        """Poll what is due, finding nothing new but the changes, and return its tasks."""
        poll = self.scheduler.next_batch(now, 8)
        assert poll is not None
        tasks = [*poll.batch.tasks]
        if callable(before):
            before()
        self.scheduler.finish(poll, now)
        self.scheduler.requeue(poll, changes or Changes(), now)
        return tasks


@pytest.fixture
def scene() -> Scene:
    """A scheduler with nothing to poll."""
    return Scene()


class TestExpected:
    """Tasks whose callback is expected."""

    def test_they_are_polled_rarely(self, scene: Scene) -> None:
        """A rare interval after they were added, and again after each poll."""
        tasks = scene.expect(3)
        for time in (100.0, 200.0, 300.0):
            assert scene.next_time(time - 100.0) == time
            assert scene.poll(time) == tasks
        assert {task.callback for task in tasks} == {EXPECTED}
        assert {task.last_polled_at for task in tasks} == {300.0}

    def test_the_rare_interval_is_never_the_shorter_one(self) -> None:
        """A setting below the usual interval would make callbacks cost polls."""
        scene = Scene(PollPolicy(jitter=0.0, interval=5.0, callback_interval=1.0))
        scene.expect()
        assert scene.next_time(0.0) == 5.0

    @pytest.mark.parametrize(("provider", "seconds"), [("flux", 60.0), ("luma", 154.0), ("useapi-pixverse", 900.0)])
    def test_without_a_setting_it_is_the_typical_duration(self, provider: str, seconds: float) -> None:
        """From one minute to fifteen."""
        scene = Scene(PollPolicy(jitter=0.0))
        scene.expect(provider=provider)
        assert scene.next_time(0.0) == pytest.approx(seconds, abs=1.0)

    def test_they_fill_no_other_batches(self, scene: Scene) -> None:
        """Nor do others fill theirs: neither costs the service a look."""
        expecting = scene.expect(3)
        others = scene.new_tasks(2)
        scene.scheduler.add(others, 0.0)
        assert scene.poll(0.05) == others
        scene.scheduler.poll_soon(expecting[0], 1.0)
        assert scene.poll(1.0 + LINGER) == expecting[:1]

    def test_they_are_polled_in_full_batches(self, scene: Scene) -> None:
        """Tasks that were submitted one by one are polled together."""
        for number in range(120):
            scene.expect(now=number * 0.001)
        assert [len(scene.poll(100.2)) for _ in range(3)] == [50, 50, 20]

    def test_a_batch_of_both_is_split(self, scene: Scene) -> None:
        """After a first poll, only the ones without a callback are polled at the usual interval."""
        expecting, others = scene.new_tasks(2, callback=EXPECTED), scene.new_tasks(2)
        scene.scheduler.add([*expecting, *others], 0.0)
        assert scene.poll(0.05) == [*expecting, *others]
        assert scene.poll(5.05) == others
        assert sorted((scene.poll(100.05), scene.poll(100.05)), key=lambda tasks: tasks == others) == [
            expecting,
            others,
        ]


class TestReceived:
    """`poll_soon`: tasks whose callback has arrived."""

    def test_callbacks_of_a_moment_share_a_poll(self, scene: Scene) -> None:
        """Until half a linger after the first; the next one begins another."""
        tasks = scene.expect(5)
        for number, time in enumerate((10.0, 10.01, 10.02, 10.025, 10.03)):
            scene.scheduler.poll_soon(tasks[number], time)
        assert scene.scheduler.next_poll_at == 10.025
        assert scene.poll(10.025) == tasks[:3]
        assert scene.next_time(10.03) == pytest.approx(10.05)
        assert scene.poll(10.05) == tasks[3:]

    def test_a_repeated_callback_changes_nothing(self, scene: Scene) -> None:
        """Its task is polled once, when the first said."""
        (task,) = scene.expect()
        for time in (10.0, 10.01, 10.02):
            scene.scheduler.poll_soon(task, time)
        assert scene.poll(10.025) == [task]
        assert scene.next_time(10.025) == pytest.approx(15.025)

    def test_an_unfinished_task_is_polled_as_usual_from_then_on(self, scene: Scene) -> None:
        """Its callback will not come again."""
        (task,) = scene.expect()
        scene.scheduler.poll_soon(task, 10.0)
        assert scene.poll(10.025) == [task]
        assert task.callback is NONE
        assert scene.poll(15.025) == [task]
        assert scene.next_time(15.025) == pytest.approx(20.025)

    def test_a_callback_during_the_poll_leads_to_another(self, scene: Scene) -> None:
        """The response may be older than the callback."""
        tasks = scene.expect(2)
        scene.poll(100.0, before=lambda: scene.scheduler.poll_soon(tasks[0], 100.0))
        assert scene.poll(100.0 + LINGER) == tasks[:1]
        assert [task.callback for task in tasks] == [NONE, EXPECTED]

    def test_a_backoff_is_kept_by_what_else_is_polled(self, scene: Scene) -> None:
        """A task whose poll has failed during a callback is polled when its backoff says."""
        (task,) = scene.expect()
        changes = Changes()
        changes.apart[0, 130.0].append(task)
        scene.poll(100.0, changes, before=lambda: scene.scheduler.poll_soon(task, 100.0))
        assert scene.next_time(100.0) == 130.0
        assert scene.poll(130.0) == [task]
        assert task.callback is NONE

    def test_a_task_that_is_not_polled_is_ignored(self, scene: Scene) -> None:
        """It has ended, or nothing awaits it."""
        (task,) = scene.expect()
        scene.scheduler.discard(task)
        scene.scheduler.poll_soon(task, 10.0)
        assert scene.next_time(10.0) == float("inf")

    def test_a_discarded_task_is_not_polled(self, scene: Scene) -> None:
        """Its poll is due soon, and dropped."""
        (task,) = scene.expect()
        scene.scheduler.poll_soon(task, 10.0)
        scene.scheduler.discard(task)
        assert scene.next_time(10.0) == float("inf")

    def test_the_limits_are_kept(self) -> None:
        """Callbacks are polled no faster than the user's rate allows."""
        scene = Scene(PollPolicy(jitter=0.0, callback_interval=100.0, max_rate=0.5, linger=0.0))
        tasks = scene.expect(2)
        scene.scheduler.poll_soon(tasks[0], 10.0)
        assert scene.poll(10.0) == tasks[:1]
        scene.scheduler.poll_soon(tasks[1], 10.5)
        assert scene.next_time(10.5) == pytest.approx(12.2)

    def test_a_minimum_interval_is_kept(self, scene: Scene) -> None:
        """useapi.net documents one, which no callback shortens."""
        (task,) = scene.new_tasks(1, "useapi-pixverse", EXPECTED)
        scene.scheduler.add([task], 0.0)
        assert scene.poll(0.05) == [task]
        scene.scheduler.poll_soon(task, 3.0)
        assert scene.next_time(3.0) == 10.05

    def test_nothing_is_held_by_a_thousand_callbacks(self, scene: Scene) -> None:
        """The batch that the tasks were in is empty and gone."""
        tasks = scene.expect(1000)
        for task in tasks:
            scene.scheduler.poll_soon(task, 10.0)
        assert sum(len(scene.poll(10.1)) for _ in range(20)) == 1000
        assert all(isinstance(task.batch, PollBatch) for task in tasks)
        assert repr(scene.scheduler) == "<Scheduler <PollQueue luma: 1000>, 0 polls in flight>"


class TestEarly:
    """`poll_early`: a poll in between."""

    def test_they_are_polled_once_and_then_rarely(self, scene: Scene) -> None:
        """The callback is still expected."""
        tasks = scene.expect(60)
        scene.scheduler.poll_early(tasks, 10.0)
        assert [len(scene.poll(10.025)) for _ in range(2)] == [50, 10]
        assert {task.callback for task in tasks} == {EXPECTED}
        assert scene.next_time(10.025) == pytest.approx(110.025)

    def test_others_are_left_alone(self, scene: Scene) -> None:
        """Tasks without a callback, and those that were discarded or are in flight."""
        (others,) = scene.new_tasks(1)
        scene.scheduler.add([others], 9.0)
        discarded, polled = scene.expect(2)
        scene.scheduler.discard(discarded)
        scene.scheduler.poll_early([others, discarded], 10.0)
        assert scene.poll(10.0) == [others]
        scene.poll(100.0, before=lambda: scene.scheduler.poll_early([polled], 100.0))
        assert scene.poll(100.0) == [others]
        assert scene.next_time(100.0) == 105.0


class TestLearning:
    """What is learned of tasks that are polled rarely."""

    def test_durations_are_learned_from_rare_polls(self) -> None:
        """A task that is found unfinished at a rare poll counts for the time since the last one."""
        durations = Durations()
        policy = PollPolicy(jitter=0.0, callback_interval=100.0)
        planner = build_planner(policy, durations, 0.0)
        task = TrackedTask(("veo", "a"), last_polled_at=0.0, callback=EXPECTED)
        status = read_record(lookup("veo"), b'{"id": "a", "created_at": 1000, "response": {"state": "processing"}}')
        planner.observe(task, lookup("veo"), status, 1100.0, 100.0)
        planner.plan_net(lookup("veo"), PollBatch([task]), 100.0)
        alive = durations.hazard("veo").counts().alive
        assert sum(seconds for _, seconds in alive) == pytest.approx(100.0)
