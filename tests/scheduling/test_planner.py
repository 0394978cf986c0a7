"""The planners: when each task is polled next and at which priority, and what is learned of durations."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import PollPolicy
from acetasks._scheduling.durations import Durations
from acetasks._scheduling.hazard import EDGES, MEMORY, bin_of
from acetasks._scheduling.planner import PlannedPoll, build_planner
from acetasks._scheduling.tasks import PollBatch, PollPriority, TrackedTask
from acetasks._scheduling.ticks import nearest_tick, next_tick
from acetasks._scheduling.timetable import CLOSEST, ENOUGH, PollTimetable, proportional_step
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks._scheduling.hazard import HazardCounts
    from acetasks.providers import ProviderSpec

Schedule = Literal["fixed", "proportional", "learned"]

VEO, USEAPI = lookup("veo"), lookup("useapi-pixverse")
#: The service's time at loop time 0.
EPOCH = 1_780_000_000.0
#: The weight of what was observed before the last end.
OLDER = 1.0 - 1.0 / MEMORY
#: The priority of tasks of which nothing is known, polled at 1000 s.
UNKNOWN = PollPriority(1.0 / VEO.typical_duration, 1000.0)


class Scene:
    """A planner of one schedule, and what it learns."""

    def __init__(self, schedule: Schedule, *, interval: float | None = 5.0, jitter: float = 0.0) -> None:
        self.durations = Durations()
        self.planner = build_planner(
            PollPolicy(schedule=schedule, interval=interval, jitter=jitter), self.durations, 0.0
        )

    def observe(
        self,
        task: TrackedTask,
        now: float,
        *,
        spec: ProviderSpec = VEO,
        state: str = "processing",
        model: str = "veo3",
        created: float | None = None,
        finished: float | None = None,
        has_date: bool = True,
    ) -> None:
        """Observe a new record of a task; its times are loop times."""
        record: dict[str, object] = {"id": task.key[1], "request": {"model": model}, "response": {"state": state}}
        record |= {} if created is None else {"created_at": EPOCH + created}
        record |= {} if finished is None else {"finished_at": EPOCH + finished}
        status = read_record(spec, msgspec.json.encode(record))
        self.planner.observe(task, spec, status, EPOCH + now if has_date else None, now)

    def plan(
        self, tasks: Sequence[TrackedTask] | PollBatch, now: float, spec: ProviderSpec = VEO
    ) -> Sequence[PlannedPoll]:
        """Plan the next polls of tasks that were found unfinished, as the scheduler does."""
        plans = self.planner.plan(spec, tasks if isinstance(tasks, PollBatch) else PollBatch(tasks), now)
        for plan in plans:
            for task in plan.batch.tasks:
                task.last_polled_at = now
        return plans

    def running(self, ages: Sequence[float], now: float = 1000.0, *, models: Sequence[str] = ()) -> list[TrackedTask]:
        """Build tasks of some ages, of which the first record was observed now."""
        tasks = new_tasks(len(ages), now)
        for task, age, model in zip(tasks, ages, models or ["veo3"] * len(ages), strict=True):
            self.observe(task, now, created=now + 0.5 - age, model=model)
        return tasks

    def learn(self, age: float, times: int = 100, model: str = "veo3", provider: str = "veo") -> None:
        """Observe tasks that end at an age."""
        for estimator in (self.durations.hazard(provider, model, ""), self.durations.hazard(provider)):
            estimator.observe_exposure(0.0, age, times)
            estimator.observe_end(age, times)

    def counts(self, model: str = "") -> HazardCounts:
        """Return what was learned of a model, or of the provider."""
        return self.durations.hazard("veo", model, "").counts()

    def exposure(self, model: str = "veo3") -> float:
        """Return the seconds for which tasks were observed, of a model as of its provider."""
        seconds = [sum(value for _, value in self.counts(name).alive) for name in (model, "")]
        assert seconds[0] == seconds[1]
        return seconds[0]

    def ends(self, model: str = "veo3") -> list[int]:
        """Return the bins in which tasks have ended, of a model as of its provider."""
        ends = [[number for number, _ in self.counts(name).ends] for name in (model, "")]
        assert ends[0] == ends[1]
        return ends[0]


def new_tasks(count: int, now: float = 0.0, provider: str = "veo") -> list[TrackedTask]:
    """Build tasks that are registered now."""
    return [TrackedTask((provider, f"t{number}"), last_polled_at=now) for number in range(count)]


def tasks_of(plans: Sequence[PlannedPoll]) -> list[list[TrackedTask]]:
    """Return the tasks of each plan."""
    return [[*plan.batch.tasks] for plan in plans]


def middle(number: int) -> float:
    """Return the middle of an age bin."""
    return (EDGES[number] + EDGES[number + 1]) / 2.0


@pytest.mark.parametrize(("schedule", "interval"), [("learned", None), ("proportional", 2.0), ("fixed", 7.0)])
def test_a_first_poll_has_a_higher_priority_than_later_ones(schedule: Schedule, interval: float | None) -> None:
    """As if the task had been polled an interval ago, and were as likely to end in the next; it is not deferrable."""
    expected = VEO.poll_interval(interval)

    priority = Scene(schedule, interval=interval).planner.first_priority(VEO, 100.0)
    assert priority == PollPriority(1.0 / expected, 100.0 - expected)


class TestFixed:
    """The fixed schedule: the provider's interval."""

    def test_a_batch_is_planned_as_it_is(self) -> None:
        """Whatever the ages and models of its tasks."""
        scene = Scene("fixed")
        batch = PollBatch(scene.running([5.0, 90.0, 1000.0], models=["veo3", "other", "veo3"]))
        (plan,) = scene.plan(batch, 1000.0)

        assert plan == (1005.0, UNKNOWN, batch)
        assert repr(scene.planner) == "<FixedPlanner <Durations of 0 profiles, 0 ends>>"

    @given(interval=st.none() | st.floats(0.1, 60.0), jitter=st.floats(0.0, 1.0), anchor=st.floats(-1e3, 1e3))
    def test_intervals_are_jittered_and_a_minimum_is_kept(
        self, interval: float | None, jitter: float, anchor: float
    ) -> None:
        """The jitter is never subtracted."""
        planner = build_planner(PollPolicy(schedule="fixed", interval=interval, jitter=jitter), Durations(), anchor)
        for spec in (VEO, USEAPI):
            least = spec.poll_interval(interval)
            due = planner.after_interval(spec, 0.0)

            assert max(least, spec.min_interval) <= due <= least * (1.0 + jitter)
            assert [plan.due for plan in planner.plan(spec, PollBatch(new_tasks(1)), 0.0)] == [due]

    def test_each_client_has_its_own_ticks(self) -> None:
        """Clients that begin at different times poll at different times."""
        policy = PollPolicy(interval=10.0, jitter=0.2)
        planners = [build_planner(policy, Durations(), anchor / 7) for anchor in range(20)]

        assert len({planner.after_interval(VEO, 100.0) for planner in planners}) > 15

    @pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
    def test_polls_are_due_at_the_next_tick(self, jitter: float) -> None:
        """Of their provider's interval, whatever was planned before."""
        planner = build_planner(PollPolicy(jitter=jitter), Durations(), 3.3)
        assert VEO.poll_interval(None) != USEAPI.poll_interval(None)
        rng, now = random.Random(1), 100.0
        for _ in range(1000):
            # Mostly by less than a tick; sometimes not at all, by much, or back.
            now += rng.choice([0.0, rng.random() / 5.0, rng.random(), 20.0 * rng.random(), -5.0 * rng.random()])

            for spec in (VEO, USEAPI):
                assert planner.after_interval(spec, now) == next_tick(now, spec.poll_interval(None), jitter, 3.3)

    @given(steps=st.lists(st.floats(-3.0, 12.0), max_size=30), jitter=st.floats(0.0, 1.0), anchor=st.floats(-1e3, 1e3))
    def test_no_poll_is_early_or_late(self, steps: list[float], jitter: float, anchor: float) -> None:
        """Between two polls is the interval and no more than its jitter, whatever was planned before."""
        planner, now = build_planner(PollPolicy(interval=10.0, jitter=jitter), Durations(), anchor), 100.0
        for step in steps:
            now += step

            assert now + 10.0 - 1e-9 <= planner.after_interval(VEO, now) <= now + 10.0 * (1.0 + jitter) + 1e-9


@pytest.mark.parametrize("schedule", ["fixed", "proportional"])
def test_other_schedules_neither_learn_nor_use_what_is_known(schedule: Schedule) -> None:
    """Learned durations change no plan, and are carried over as they are."""
    plans = []
    for ends in (0, 100):
        scene = Scene(schedule)
        if ends:
            scene.learn(100.0, ends)
        before = scene.durations.to_json()
        tasks = scene.running([100.0])
        ((due, priority, _),) = scene.plan(tasks, 1000.0)
        plans.append((due, priority))
        scene.observe(tasks[0], 1010.0, state="failed", finished=1005.0)

        assert priority.deferrable is False
        assert scene.durations.to_json() == before
    assert plans[0] == plans[1]


class TestAges:
    """`observe`: a task's profile and age, from its first record."""

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_the_age_is_from_the_services_times(self, schedule: Schedule) -> None:
        """Its timestamps are truncated to seconds, so that they lag by half a second on average."""
        scene = Scene(schedule)
        (task,) = new_tasks(1, 1000.0)
        scene.observe(task, 1010.0, created=700.0)

        assert task.submitted_at == 699.5
        assert task.profile is not None

    @pytest.mark.parametrize(("created", "has_date"), [(None, True), (None, False), (700.0, False)])
    def test_without_them_it_is_from_the_registration(
        self,
        created: float | None,
        has_date: bool,  # noqa: FBT001  # a column
    ) -> None:
        """Both the response's date and the record's time are needed: the clocks need not agree."""
        scene = Scene("learned")
        (task,) = new_tasks(1, 1000.0)
        scene.observe(task, 1010.0, created=created, has_date=has_date)

        assert task.submitted_at == 1000.0

    def test_no_task_is_submitted_in_the_future(self) -> None:
        """Whatever the service says."""
        scene = Scene("learned")
        (task,) = new_tasks(1, 1000.0)
        scene.observe(task, 1010.0, created=5000.0)

        assert task.submitted_at == 1010.0

    def test_the_first_record_decides(self) -> None:
        """Later ones change neither profile nor age."""
        scene = Scene("learned")
        (task,) = new_tasks(1)
        scene.observe(task, 10.0, created=0.0)
        before = task.profile, task.submitted_at
        scene.observe(task, 20.0, created=15.0, model="other")

        assert (task.profile, task.submitted_at) == before

    @pytest.mark.parametrize(("schedule", "count"), [("learned", 3), ("proportional", 2)])
    def test_profiles_are_by_provider_and_model(self, schedule: Schedule, count: int) -> None:
        """Under the proportional schedule, by provider only."""
        scene = Scene(schedule)
        profiles = set()
        for spec, model in ((VEO, "veo3"), (VEO, "veo2"), (VEO, "veo3"), (USEAPI, "veo3")):
            (task,) = new_tasks(1, provider=spec.slug)
            scene.observe(task, 5.0, spec=spec, model=model)
            profiles.add(task.profile)

        assert len(profiles) == count
        assert all(repr(profile).startswith("<DurationProfile <P") for profile in profiles)


class TestProportional:
    """The proportional schedule: the interval grows with the age."""

    @pytest.mark.parametrize("age", [1.0, 30.0, 145.0, 300.0, 580.0, 5000.0])
    def test_a_poll_follows_after_a_fraction_of_the_age(self, age: float) -> None:
        """From half the interval up to four times as long; ages are distinguished by their bins."""
        scene = Scene("proportional")
        (plan,) = scene.plan(scene.running([age]), 1000.0)
        binned, typical = middle(bin_of(age)), VEO.typical_duration

        assert plan.due == 1000.0 + proportional_step(binned, 5.0, typical)
        assert plan.priority == PollPriority(1.0 / max(binned, typical), 1000.0)


class TestParts:
    """Tasks of the same profile and about the same age are planned together."""

    @pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
    @pytest.mark.parametrize("ends", [0, 100])
    def test_similar_tasks_stay_in_one_batch(self, schedule: Schedule, ends: int) -> None:
        """The same object, poll after poll."""
        scene = Scene(schedule)
        if ends:
            scene.learn(100.0, ends)
        batch = PollBatch(scene.running([150.0, 150.1, 150.2]))

        for now in (1000.0, 1003.0, 1050.0):
            (plan,) = scene.plan(batch, now)
            assert plan.batch is batch

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_different_ages_are_planned_apart(self, schedule: Schedule) -> None:
        """Each part in the order of the batch, at its own time."""
        scene = Scene(schedule)
        scene.learn(100.0)
        a, b, c, d, e, f = tasks = scene.running([150.0, 500.0, 150.1, 5.0, 500.0, 150.0])
        plans = scene.plan(tasks, 1000.0)

        assert tasks_of(plans) == [[a, c, f], [b, e], [d]]
        assert all(task.batch is plan.batch for plan in plans for task in plan.batch.tasks)
        if schedule == "proportional":
            assert len({plan.due for plan in plans}) == 3

    def test_different_ages_come_together_with_time(self) -> None:
        """Three seconds are much of twenty, and little of five hundred."""
        scene = Scene("proportional")
        batch = PollBatch(scene.running([20.0, 23.0]))
        assert tasks_of(scene.plan(batch, 1000.0)) == [[batch.tasks[0]], [batch.tasks[1]]]

        batch = PollBatch(batch.tasks)
        (plan,) = scene.plan(batch, 980.0 + middle(bin_of(500.0)))
        assert plan.batch is batch

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_different_profiles_are_planned_apart(self, schedule: Schedule) -> None:
        """Each part is due by what is known of its own; those without a record yet are one too."""
        scene = Scene(schedule)
        scene.learn(100.0, model="veo3")
        scene.learn(20.0, model="veo2")
        tasks = [*scene.running([20.0] * 4, models=["veo3", "veo2", "veo2", "veo3"]), *new_tasks(2, 1000.0)]
        a, b, c, d, e, f = tasks
        plans = scene.plan(tasks, 1000.0)

        if schedule == "proportional":
            assert tasks_of(plans) == [[a, b, c, d], [e, f]]
        else:
            slow, fast, _ = plans
            assert tasks_of(plans) == [[a, d], [b, c], [e, f]]
            assert fast.due < slow.due
            assert fast.priority.hazard > slow.priority.hazard
        assert plans[-1][:2] == (1005.0, UNKNOWN)

    @pytest.mark.parametrize("is_read", [True, False])
    def test_tasks_of_which_nothing_is_known_are_one_part(self, is_read: bool) -> None:  # noqa: FBT001  # a column
        """They are polled at the fixed interval in the batch as it is, whatever their ages and models."""
        scene = Scene("learned")
        tasks = new_tasks(3, 1000.0)
        if is_read:
            tasks += scene.running([150.0, 500.0, 150.1, 5.0], models=["veo3", "veo2", "veo3", "other"])
        batch = PollBatch(tasks)
        (plan,) = scene.plan(batch, 1000.0)

        assert plan == (1005.0, UNKNOWN, batch)

    def test_tasks_of_which_something_is_known_leave_them(self) -> None:
        """Only those are deferrable."""
        scene = Scene("learned")
        scene.durations.hazard("veo", "known", "").observe_end(100.0, ENOUGH)
        tasks = scene.running([100.0] * 4, models=["known", "new", "other", "known"])
        plans = scene.plan(tasks, 1000.0)

        assert tasks_of(plans) == [[tasks[0], tasks[3]], tasks[1:3]]
        assert [plan.priority.deferrable for plan in plans] == [True, False]
        assert plans[1][:2] == (1005.0, UNKNOWN)


class TestLearned:
    """The learned schedule: polls at the ages at which similar tasks have ended."""

    def test_polls_are_frequent_at_the_ages_at_which_tasks_end(self) -> None:
        """And rare at others."""
        scene = Scene("learned")
        scene.learn(100.0)
        early, late = scene.plan(scene.running([20.0, 100.0]), 1000.0)

        assert late.due - 1000.0 < 5.0 < early.due - 1000.0 <= 20.0
        assert late.priority.hazard > 10 * early.priority.hazard
        assert late.priority.last_polled_at == 1000.0

    @pytest.mark.parametrize(("ends", "is_learned"), [(ENOUGH - 1, False), (ENOUGH, True), (100, True)])
    @pytest.mark.parametrize("model", ["veo3", "new"])
    def test_enough_must_be_known(self, ends: int, is_learned: bool, model: str) -> None:  # noqa: FBT001  # a column
        """Of the model, or of its provider if the model is new; until then the schedule is the fixed one."""
        scene = Scene("learned")
        scene.learn(100.0, ends)
        (plan,) = scene.plan(scene.running([100.0], models=[model]), 1000.0)

        assert plan.priority.deferrable is is_learned
        assert (plan.due < 1005.0) is is_learned
        assert is_learned or plan[:2] == (1005.0, UNKNOWN)

    def test_what_is_learned_changes_the_plan(self) -> None:
        """As soon as enough tasks have ended, with the same planner."""
        scene = Scene("learned")
        for number in range(ENOUGH + 2):
            (task,) = new_tasks(1)
            scene.observe(task, 1.0, created=0.5)
            scene.plan([task], 90.0)
            scene.observe(task, 110.0, state="failed", finished=100.0 + number / 10)

        (plan,) = scene.plan(scene.running([100.0]), 1000.0)
        assert plan.due < 1005.0

    @pytest.mark.parametrize("age", [1.0, 50.0, 99.0, 300.0])
    def test_polls_are_deferrable_until_the_fixed_interval_is_over(self, age: float) -> None:
        """Or until they are due, if that is later."""
        scene = Scene("learned", jitter=0.2)
        scene.learn(100.0)
        (plan,) = scene.plan(scene.running([age]), 1000.0)

        assert plan.priority.deferrable is True
        assert plan.priority.defer_deadline == max(plan.due, 1000.0 + 5.0 * 1.1)

    def test_polls_that_find_a_task_unfinished_are_observed(self) -> None:
        """From the poll before to this one, for the model and its provider; from the registration at first."""
        scene = Scene("learned")
        tasks = new_tasks(2, 1000.0)
        for task in tasks:
            scene.observe(task, 1005.0, created=960.5)
        batch = PollBatch(tasks)
        scene.plan(batch, 1005.0)
        assert scene.exposure() == pytest.approx(2 * 5.0)
        assert {number for number, _ in scene.counts().alive} <= set(range(bin_of(40.0), bin_of(45.0) + 1))
        scene.plan(batch, 1017.0)

        assert scene.exposure() == pytest.approx(2 * 17.0)
        assert scene.counts().evidence == 0


class TestNews:
    """A profile is planned again when enough was learned, but not for each end of a rush."""

    @pytest.fixture
    def scene(self) -> Scene:
        """A planner to which much is known."""
        scene = Scene("learned")
        scene.learn(100.0)
        return scene

    @staticmethod
    def batch(scene: Scene) -> PollBatch:
        """Build a batch whose age stays in one bin."""
        return PollBatch(scene.running([middle(bin_of(300.0))]))

    @staticmethod
    def hazard(scene: Scene, batch: PollBatch, now: float) -> float:
        """Return the hazard by which a batch is planned."""
        (plan,) = scene.plan(batch, now)
        return plan.priority.hazard

    def test_many_ends_at_once_are_one_plan(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next is made once polls could be that close again."""
        refreshed: list[bool] = []
        refresh = PollTimetable.refresh

        def record(table: PollTimetable) -> bool:
            refreshed.append(refresh(table))
            return refreshed[-1]

        batch = self.batch(scene)
        monkeypatch.setattr(PollTimetable, "refresh", record)
        scene.learn(50.0, 30)
        hazard = self.hazard(scene, batch, 1000.0)
        for part in range(10):
            scene.learn(30.0, 30)
            assert self.hazard(scene, batch, 1000.0 + part / 10.0 * CLOSEST * 5.0) == hazard

        assert sum(refreshed) == 1
        assert self.hazard(scene, batch, 1000.0 + CLOSEST * 5.0) != hazard
        assert sum(refreshed) == 2

    def test_the_first_news_for_a_while_is_planned_by_at_once(self, scene: Scene) -> None:
        """Polls without news delay nothing."""
        batch = self.batch(scene)
        hazard = self.hazard(scene, batch, 1000.0)
        assert self.hazard(scene, batch, 1000.1) == hazard
        scene.learn(50.0, 30)

        assert self.hazard(scene, batch, 1000.2) != hazard


class TestEnds:
    """`observe`: the age at which a task has ended, from its last record."""

    @pytest.mark.parametrize(
        ("finished", "age"),
        [
            (120.5, 120.0),
            # It ended between the last two polls, whatever the service says.
            (20.0, 80.0),
            (500.0, 160.0),
            # The service does not say: half-way between them.
            (None, 120.0),
        ],
    )
    def test_it_is_that_of_the_services_time(self, finished: float | None, age: float) -> None:
        """The task was observed until then."""
        scene = Scene("learned")
        (task,) = new_tasks(1)
        scene.observe(task, 5.0, created=0.5)
        scene.plan([task], 80.0)
        scene.observe(task, 160.0, state="failed", finished=finished)

        assert scene.ends() == [bin_of(age)]
        assert scene.counts("veo3").evidence == scene.counts().evidence == 1
        assert scene.exposure() == pytest.approx(age * OLDER)

    def test_a_time_without_the_date_of_the_response_is_none(self) -> None:
        """The clocks need not agree."""
        scene = Scene("learned")
        (task,) = new_tasks(1)
        scene.observe(task, 5.0, has_date=False)
        scene.plan([task], 100.0)
        scene.observe(task, 200.0, state="failed", finished=120.0, has_date=False)

        assert scene.ends() == [bin_of(150.0)]

    @pytest.mark.parametrize(
        ("finished", "has_date"),
        [(60.5, True), (None, True), (None, False), (150.5, False)],
        ids=["before", "no time", "neither", "no date"],
    )
    def test_an_end_that_may_be_older_than_the_registration_is_not_learned(
        self,
        finished: float | None,
        has_date: bool,  # noqa: FBT001  # a column
    ) -> None:
        """It says nothing of the tasks that were running then; no exposure is learned either."""
        scene = Scene("learned")
        (task,) = new_tasks(1, 100.0)
        scene.observe(task, 200.0, state="failed", created=0.5, finished=finished, has_date=has_date)

        assert scene.ends() == []
        assert scene.exposure() == 0.0

    @pytest.mark.parametrize(("finished", "age"), [(150.5, 150.0), (99.7, 100.0)])
    def test_an_end_between_registration_and_first_poll_is_learned(self, finished: float, age: float) -> None:
        """Also if the clocks differ a little."""
        scene = Scene("learned")
        (task,) = new_tasks(1, 100.0)
        scene.observe(task, 200.0, state="failed", created=0.5, finished=finished)

        assert scene.ends() == [bin_of(age)]
        assert scene.exposure() == pytest.approx((age - 100.0) * OLDER)


class TestBounds:
    """What holds under every schedule."""

    @pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
    @given(
        ages=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=8),
        interval=st.none() | st.floats(0.1, 60.0),
        jitter=st.floats(0.0, 1.0),
        now=st.floats(1e6, 1e6 + 100.0),
        known=st.none() | st.floats(0.5, 1e4),
    )
    def test_every_task_is_polled_again_in_time(
        self,
        schedule: Schedule,
        *,
        ages: list[float],
        interval: float | None,
        jitter: float,
        now: float,
        known: float | None,
    ) -> None:
        """Once, after the provider's minimum interval, whatever was learned."""
        for spec in (VEO, USEAPI):
            scene = Scene(schedule, interval=interval, jitter=jitter)
            if known is not None:
                scene.learn(known, provider=spec.slug)
            tasks = new_tasks(len(ages), now, spec.slug)
            for task, age in zip(tasks, ages, strict=True):
                scene.observe(task, now, spec=spec, created=now + 0.5 - age)
            plans = scene.plan(tasks, now, spec)

            assert sorted(task.key for plan in plans for task in plan.batch.tasks) == [task.key for task in tasks]
            usual = spec.poll_interval(interval)
            for plan in plans:
                assert now + spec.min_interval <= plan.due
                assert plan.due - now <= 4.0 * usual * (1.0 + jitter) + usual * jitter + 1e-6
                assert plan.priority.last_polled_at == now
                assert 0.0 <= plan.priority.hazard < math.inf

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    @pytest.mark.parametrize("now", [1000.25, 1001.3, 1002.0, 1003.49])
    def test_polls_are_at_ticks(self, schedule: Schedule, now: float) -> None:
        """So that requests are sent in small bursts; those planned at one time are jittered alike."""
        both = []
        for jitter in (0.2, 0.0):
            scene = Scene(schedule, jitter=jitter)
            scene.learn(145.0)
            both.append(scene.plan(scene.running([20.0, 145.0, 400.0], now), now))
        tick = 5.0 * 0.2 / 2.0

        for plan, exact in zip(*both, strict=True):
            assert plan.due % tick == 0.0
            assert plan.due == nearest_tick(now, exact.due - now, 0.2, tick)
            assert -tick / 2 <= plan.due - exact.due <= (exact.due - now) * 0.2 + tick / 2
