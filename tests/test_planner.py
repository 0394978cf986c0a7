"""The planner: when each task is asked for next, what that is worth, and what is learned of how long tasks take."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import PollPolicy
from acetasks.durations import Durations
from acetasks.entries import Batch, Entry
from acetasks.law import EDGES, bin_of
from acetasks.planner import Planner
from acetasks.providers import lookup, read_record
from acetasks.schedule import plan_at_tick, plan_next_look
from acetasks.timetable import CLOSEST, ENOUGH, Timetable, proportional_step
from acetasks.worth import Worth

if TYPE_CHECKING:
    from acetasks.law import Counts
    from acetasks.planner import Plan
    from acetasks.providers import ProviderSpec, Reading

VEO, USEAPI = lookup("veo"), lookup("useapi-pixverse")
#: What the service's clock says when the loop's says 0.
EPOCH = 1_780_000_000.0


class Scene:
    """A planner under one schedule, what it learns, and tasks that it is told of."""

    def __init__(self, schedule: str, **options: object) -> None:
        self.policy = PollPolicy(schedule=schedule, **({"interval": 5.0, "jitter": 0.0} | options))  # type: ignore[arg-type]  # the test's own
        self.durations = Durations()
        self.planner = Planner(self.policy, self.durations, 0.0)

    def meet(
        self, entry: Entry, now: float, *, spec: ProviderSpec = VEO, has_date: bool = True, **parts: object
    ) -> Reading:
        """Have a record of a task come, and kept."""
        reading = read(entry.key[1], spec, **parts)
        self.planner.meet(entry, spec, reading, EPOCH + now if has_date else None, now)
        if not reading.state.is_terminal:
            entry.record = reading.raw
        return reading

    def end(self, entry: Entry, now: float, *, has_date: bool = True, **parts: object) -> None:
        """Have the last record of a task come, which leaves the others for it."""
        entry.leave_batch()
        reading = self.meet(entry, now, has_date=has_date, state="failed", **parts)
        self.planner.note_end(entry, reading, EPOCH + now if has_date else None, now)

    def plan(self, entries: list[Entry], now: float, spec: ProviderSpec = VEO) -> list[Plan]:
        """Plan the next look at some tasks: at a batch as it is, at others as at a new one."""
        batch = entries if isinstance(entries, Batch) else Batch(entries)
        return list(self.planner.plan(spec, batch, now))

    def counts(self, model: str = "", action: str = "", provider: str = "veo") -> Counts:
        """Tell what was learned of one kind of task."""
        return self.durations.law(provider, model, action).counts()

    def learn(self, age: float, times: int = 100, model: str = "veo3") -> None:
        """Have tasks end at an age, and looks at them every second up to that."""
        for law in (self.durations.law("veo", model, ""), self.durations.law("veo")):
            law.note_alive(0.0, age, times)
            law.note_end(age, times)


def read(
    task_id: str,
    spec: ProviderSpec = VEO,
    *,
    state: str = "processing",
    model: str = "veo3",
    created: float | None = None,
    finished: float | None = None,
) -> Reading:
    """Read a record; its times are those of the loop's clock."""
    made: dict[str, object] = {"id": task_id, "request": {"model": model}, "response": {"state": state}}
    if created is not None:
        made["created_at"] = EPOCH + created
    if finished is not None:
        made["finished_at"] = EPOCH + finished
    return read_record(spec, msgspec.json.encode(made))


def come(now: float, count: int = 1, provider: str = "veo") -> list[Entry]:
    """Have some tasks wanted, as the poller does."""
    return [Entry((provider, f"t{number}"), seen_at=now) for number in range(count)]


def middle(number: int) -> float:
    """Tell the middle of a bin of ages."""
    return (EDGES[number] + EDGES[number + 1]) / 2.0


class TestFirst:
    """`plan_first`: the first look at a task."""

    def test_a_first_look_is_worth_more_than_another(self) -> None:
        """It is as if the task had been asked for an interval ago, and were as likely to end in the next."""
        planner = Scene("learned", interval=None).planner
        interval = VEO.poll_interval(None)

        assert planner.plan_first(VEO, 100.0) == Worth(1.0 / interval, 100.0 - interval)
        assert Scene("fixed", interval=7.0).planner.plan_first(VEO, 100.0) == Worth(1.0 / 7.0, 93.0)


class TestFixed:
    """The fixed schedule: the interval, whatever is known of a task."""

    def test_all_are_planned_together(self) -> None:
        """Of whatever age, and in the batch that was given."""
        scene = Scene("fixed")
        batch = Batch(come(0.0, 3))
        scene.meet(batch.entries[0], 90.0, created=-1000.0)
        scene.meet(batch.entries[1], 90.0, created=80.0, model="other")
        (plan,) = scene.plan(batch, 90.0)

        assert plan.batch is batch
        assert plan == (95.0, Worth(1.0 / VEO.typical_duration, 90.0), batch)
        assert repr(scene.planner) == "<Planner fixed, <Durations of 0 kinds, 0 ends>>"

    def test_nothing_is_learned(self) -> None:
        """Neither kinds nor ends."""
        scene = Scene("fixed")
        (entry,) = come(0.0)
        scene.meet(entry, 5.0, created=0.0)
        scene.plan([entry], 5.0)
        scene.end(entry, 10.0, finished=8.0)

        assert entry.kind is None
        assert scene.durations.to_json() == Durations().to_json()

    @given(interval=st.none() | st.floats(0.1, 60.0), jitter=st.floats(0.0, 1.0), anchor=st.floats(-1e3, 1e3))
    def test_intervals_are_jittered_and_a_minimum_is_kept(
        self, interval: float | None, jitter: float, anchor: float
    ) -> None:
        """From one look to the next pass at least the interval and what a provider asks for, and no more than that."""
        planner = Planner(PollPolicy(interval=interval, jitter=jitter), Durations(), anchor)
        for spec in (VEO, USEAPI):
            least = spec.poll_interval(interval)
            due = planner.plan_fixed(spec, 0.0)

            assert max(least, spec.min_interval) <= due <= least * (1.0 + jitter)
            assert [plan.due for plan in planner.plan(spec, Batch(come(0.0)), 0.0)] == [due]

    def test_the_ticks_are_the_clients_own(self) -> None:
        """Clients that begin at different times look at different times."""
        policy = PollPolicy(interval=10.0, jitter=0.2)
        dues = {Planner(policy, Durations(), anchor / 7).plan_fixed(VEO, 100.0) for anchor in range(20)}

        assert len(dues) > 15

    @pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
    def test_each_look_is_planned_as_if_it_were_the_first(self, jitter: float) -> None:
        """Many looks between the same two ticks are due at the same, which no other look changes."""
        planner = Planner(PollPolicy(interval=10.0, jitter=jitter), Durations(), 3.3)
        rng, now = random.Random(1), 100.0
        for _ in range(1000):
            # Mostly on by less than a tick; sometimes not at all, by much, or back.
            now += rng.choice([0.0, rng.random() / 5.0, rng.random(), 20.0 * rng.random(), -5.0 * rng.random()])

            assert planner.plan_fixed(VEO, now) == plan_next_look(now, 10.0, jitter, 3.3)

    def test_each_interval_has_ticks_of_its_own(self) -> None:
        """What is due for one provider does not decide for another."""
        planner = Planner(PollPolicy(interval=None, jitter=0.5), Durations(), 3.3)
        intervals = [spec.poll_interval(None) for spec in (VEO, USEAPI)]
        assert len(set(intervals)) == 2

        for now in (100.0, 100.0, 100.1, 107.0):
            for spec, interval in zip((VEO, USEAPI), intervals, strict=True):
                assert planner.plan_fixed(spec, now) == plan_next_look(now, interval, 0.5, 3.3)

    @given(steps=st.lists(st.floats(-3.0, 12.0), max_size=30), jitter=st.floats(0.0, 1.0), anchor=st.floats(-1e3, 1e3))
    def test_no_look_is_early_or_late(self, steps: list[float], jitter: float, anchor: float) -> None:
        """Whatever was due before, from each look to the next pass the interval and no more than its jitter."""
        planner, now = Planner(PollPolicy(interval=10.0, jitter=jitter), Durations(), anchor), 100.0
        for step in steps:
            now += step

            assert now + 10.0 - 1e-9 <= planner.plan_fixed(VEO, now) <= now + 10.0 * (1.0 + jitter) + 1e-9


class TestAges:
    """`meet`: a task's kind and age."""

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_the_age_is_from_the_services_own_times(self, schedule: str) -> None:
        """Its clock tells to the second, so that it is half a second behind on average."""
        scene = Scene(schedule)
        (entry,) = come(1000.0)
        scene.meet(entry, 1010.0, created=700.0)

        assert entry.born == 699.5
        assert entry.kind is not None

    @pytest.mark.parametrize(("created", "has_date"), [(None, True), (None, False), (700.0, False)])
    def test_without_them_it_is_from_when_it_was_first_wanted(
        self,
        created: float | None,
        has_date: bool,  # noqa: FBT001  # a column
    ) -> None:
        """Both the date of the answer and the record's own time are needed: the clocks need not agree."""
        scene = Scene("learned")
        (entry,) = come(1000.0)
        scene.meet(entry, 1010.0, created=created, has_date=has_date)

        assert entry.born == 1000.0

    def test_no_task_is_from_the_future(self) -> None:
        """Whatever the service says."""
        scene = Scene("learned")
        (entry,) = come(1000.0)
        scene.meet(entry, 1010.0, created=5000.0)

        assert entry.born == 1010.0

    def test_the_first_record_decides(self) -> None:
        """What a task is does not change while it is waited for."""
        scene = Scene("learned")
        (entry,) = come(0.0)
        scene.meet(entry, 10.0, created=0.0)
        kind, born = entry.kind, entry.born
        scene.meet(entry, 20.0, created=15.0, model="other")

        assert (entry.kind, entry.born) == (kind, born)

    def test_tasks_are_of_a_kind_by_model_and_provider(self) -> None:
        """Under the proportional schedule, by provider only."""
        for schedule, count in (("learned", 3), ("proportional", 2)):
            scene = Scene(schedule)
            kinds = set()
            for spec, model in ((VEO, "veo3"), (VEO, "veo2"), (VEO, "veo3"), (USEAPI, "veo3")):
                (entry,) = come(0.0, provider=spec.slug)
                scene.meet(entry, 5.0, spec=spec, model=model)
                kinds.add(entry.kind)
            assert len(kinds) == count


class TestProportional:
    """The proportional schedule: the interval grows with the age."""

    @pytest.mark.parametrize("age", [1.0, 30.0, 145.0, 300.0, 580.0, 5000.0])
    def test_a_look_follows_after_a_part_of_the_age(self, age: float) -> None:
        """From half the interval up to four times as long; ages are told by their bins."""
        scene = Scene("proportional")
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.0, created=1000.5 - age)
        (plan,) = scene.plan([entry], 1000.0)
        typical = VEO.typical_duration

        assert plan.due == 1000.0 + proportional_step(middle(bin_of(age)), 5.0, typical)
        assert plan.worth == Worth(1.0 / max(middle(bin_of(age)), typical), 1000.0)

    def test_nothing_is_learned(self) -> None:
        """Ends are of no use to it."""
        scene = Scene("proportional")
        (entry,) = come(0.0)
        scene.meet(entry, 5.0, created=0.0)
        scene.plan([entry], 5.0)
        scene.end(entry, 10.0, finished=8.0)

        assert repr(scene.durations) == "<Durations of 0 kinds, 0 ends>"
        assert scene.durations.to_json() == Durations().to_json()

    def test_nothing_that_is_known_counts(self) -> None:
        """What another schedule has learned changes no plan, and is handed on as it was."""
        scene, other = Scene("proportional"), Scene("proportional")
        scene.learn(100.0)
        before = scene.durations.to_json()
        plans = []
        for each in (scene, other):
            (entry,) = come(1000.0)
            each.meet(entry, 1000.0, created=900.5)
            ((due, worth, _),) = each.plan([entry], 1000.0)
            plans.append((due, worth))
            each.end(entry, 1010.0, finished=1005.0)

        assert plans[0] == plans[1]
        assert scene.durations.to_json() == before


class TestGroups:
    """Tasks of the same kind and about the same age are planned together."""

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_by_age(self, schedule: str) -> None:
        """Each group has its own plan, in the order of coming; nobody is left out."""
        scene = Scene(schedule)
        if schedule == "learned":
            scene.learn(100.0)
        entries = come(1000.0, 6)
        for entry, age in zip(entries, [150.0, 500.0, 150.1, 5.0, 500.0, 150.0], strict=True):
            scene.meet(entry, 1000.0, created=1000.5 - age)
        plans = scene.plan(entries, 1000.0)
        a, b, c, d, e, f = entries

        assert [[*plan.batch.entries] for plan in plans] == [[a, c, f], [b, e], [d]]
        if schedule == "proportional":
            assert len({plan.due for plan in plans}) == 3

    def test_those_of_which_nothing_is_known_are_one(self) -> None:
        """They are asked as before, whatever their ages and kinds, in the order given."""
        scene = Scene("learned")
        entries = come(1000.0, 5)
        ages, models = [150.0, 500.0, 150.1, 5.0, 500.0], ["veo3", "veo2", "veo3", "veo2", "other"]
        for entry, age, model in zip(entries, ages, models, strict=True):
            scene.meet(entry, 1000.0, created=1000.5 - age, model=model)

        (plan,) = scene.plan(entries, 1000.0)
        assert plan[:2] == (1005.0, Worth(1.0 / VEO.typical_duration, 1000.0))
        assert [*plan.batch.entries] == entries

    def test_those_of_which_something_is_known_have_plans_of_their_own(self) -> None:
        """The others, and those of which no record was read, are together."""
        scene = Scene("learned")
        scene.learn(100.0, model="veo3")
        entries = come(1000.0, 4)
        scene.meet(entries[1], 1000.0, created=900.5, model="veo3")
        scene.meet(entries[3], 1000.0, created=700.5, model="veo3")
        plans = scene.plan(entries, 1000.0)

        assert [[*plan.batch.entries] for plan in plans] == [[entries[1]], [entries[3]], [entries[0], entries[2]]]
        assert [plan.worth.is_spare for plan in plans] == [True, True, False]
        assert plans[-1].due == 1005.0

    def test_by_kind(self) -> None:
        """Each model has its own law."""
        scene = Scene("learned")
        scene.learn(100.0, model="veo3")
        scene.learn(20.0, model="veo2")
        entries = come(1000.0, 4)
        for entry, model in zip(entries, ["veo3", "veo2", "veo2", "veo3"], strict=True):
            scene.meet(entry, 1000.0, created=980.5, model=model)
        slow, fast = scene.plan(entries, 1000.0)

        assert [[*slow.batch.entries], [*fast.batch.entries]] == [[entries[0], entries[3]], entries[1:3]]
        assert fast.due < slow.due
        assert fast.worth.hazard > slow.worth.hazard

    def test_a_task_of_which_no_record_was_read_is_asked_after_the_interval(self) -> None:
        """It has no kind yet."""
        scene = Scene("learned")
        (entry,) = come(100.0)

        (plan,) = scene.plan([entry], 103.0)
        assert plan == (108.0, Worth(1.0 / VEO.typical_duration, 103.0), entry.batch)


class TestBatch:
    """A batch that is looked at again and again stays what it is, and what it was found to be alike in is kept."""

    @staticmethod
    def batch(scene: Scene, ages: list[float], now: float = 1000.0, models: list[str] | None = None) -> Batch:
        """Have tasks of some ages come, and their first records."""
        entries = come(now, len(ages))
        for entry, age, model in zip(entries, ages, models or ["veo3"] * len(ages), strict=True):
            scene.meet(entry, now, created=now + 0.5 - age, model=model)
        return Batch(entries)

    @pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
    @pytest.mark.parametrize("is_known", [True, False])
    def test_those_that_are_alike_stay_the_same_batch(
        self,
        schedule: str,
        is_known: bool,  # noqa: FBT001  # a column
    ) -> None:
        """At each look."""
        scene = Scene(schedule)
        if is_known:
            scene.learn(100.0)
        batch = self.batch(scene, [150.0, 150.1, 150.2])

        for now in (1000.0, 1003.0, 1050.0):
            (plan,) = scene.plan(batch, now)
            assert plan.batch is batch

    def test_those_of_which_nothing_is_known_stay_the_same_batch(self) -> None:
        """Whatever their kinds and ages."""
        scene = Scene("learned")
        known = self.batch(scene, [150.0, 500.0, 150.1], models=["veo3", "veo2", "other"])
        batch = Batch([*known.entries, *come(1000.0)])
        (plan,) = scene.plan(batch, 1000.0)

        assert plan.batch is batch

    def test_what_is_alike_is_found_once(self) -> None:
        """Who was submitted when, and what they are, is not asked again of a batch of which nothing is new."""
        scene = Scene("proportional")
        batch = self.batch(scene, [150.2, 150.0, 150.1])
        scene.plan(batch, 1000.0)
        alike = batch.alike
        assert alike is not None
        assert alike[0] is batch.entries[0].kind
        assert alike[1:] == (batch.entries[0].born, batch.entries[1].born)
        batch.entries[2].born = 0.0
        (plan,) = scene.plan(batch, 1001.0)

        assert plan.batch is batch
        assert batch.alike is alike
        for entry in batch.entries:
            entry.leave_batch()
        parts = [part.batch.entries for part in scene.plan([*batch.entries], 1001.0)]
        assert parts == [batch.entries[:2], batch.entries[2:]]

    def test_one_that_is_made_of_others_is_as_they_are(self) -> None:
        """What is known of both of them is not asked again; of others that are not alike, or unknown, it is."""
        scene = Scene("proportional")
        first, second = self.batch(scene, [150.2, 150.0]), self.batch(scene, [150.1, 150.3])
        for batch in (first, second):
            scene.plan(batch, 1000.0)
        made = Batch([*first.entries, *second.entries])

        assert made.alike == (made.entries[0].kind, made.entries[3].born, made.entries[1].born)
        assert Batch([*made.entries, *come(1000.0)]).alike is None

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    def test_one_of_mixed_kinds_is_divided(self, schedule: str) -> None:
        """Each part is a batch, in the order of coming; the whole is not alike."""
        scene = Scene(schedule)
        scene.learn(100.0, model="veo3")
        scene.learn(20.0, model="veo2")
        batch = self.batch(scene, [30.0] * 4, models=["veo3", "veo2", "veo2", "veo3"])
        if schedule == "proportional":
            batch.entries[1].kind = batch.entries[2].kind = None
        first, second = scene.plan(batch, 1000.0)

        assert first.batch.entries == (batch.entries[0], batch.entries[3])
        assert second.batch.entries == batch.entries[1:3]
        assert batch.alike is None
        assert isinstance(first.batch, Batch)
        assert first.batch is not batch
        for again in (first.batch.entries, batch.entries[1:3]):
            (plan,) = scene.plan(again, 1001.0)
            assert [*plan.batch.entries] == [*again]

    def test_one_of_different_ages_comes_together_with_time(self) -> None:
        """Three seconds are much to the young, and nothing to the old."""
        scene = Scene("proportional")
        batch = self.batch(scene, [20.0, 23.0])
        parts = scene.plan(batch, 1000.0)
        age = middle(bin_of(500.0))
        (plan,) = scene.plan(batch, 980.0 + age)

        assert [[*part.batch.entries] for part in parts] == [[batch.entries[0]], [batch.entries[1]]]
        assert plan.batch is batch


class TestNews:
    """A kind is planned anew when there is news of it, but not for each end of a rush."""

    @staticmethod
    def scene() -> tuple[Scene, Batch]:
        """Have one task at work, of a kind of which much is known."""
        scene = Scene("learned")
        scene.learn(100.0)
        batch = Batch(come(1000.0))
        scene.meet(batch.entries[0], 1000.0, created=1000.5 - middle(bin_of(300.0)))
        return scene, batch

    def prospect(self, scene: Scene, batch: Batch, now: float) -> float:
        """Tell what the task is planned by."""
        (plan,) = scene.plan(batch, now)
        return plan.worth.hazard

    def test_many_ends_in_one_moment_are_one_plan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However much news there is; it is planned by as soon as looks could be that close again."""
        scene, batch = self.scene()
        made: list[bool] = []
        refresh = Timetable.refresh

        def note(table: Timetable) -> bool:
            made.append(refresh(table))
            return made[-1]

        monkeypatch.setattr(Timetable, "refresh", note)
        scene.learn(50.0, 30)
        hazard = self.prospect(scene, batch, 1000.0)
        for part in range(10):
            scene.learn(30.0, 30)
            assert self.prospect(scene, batch, 1000.0 + part / 10.0 * CLOSEST * 5.0) == hazard

        assert sum(made) == 1
        assert self.prospect(scene, batch, 1000.0 + CLOSEST * 5.0) != hazard
        assert sum(made) == 2

    def test_news_after_quiet_is_planned_by_at_once(self) -> None:
        """Looks without news put nothing off."""
        scene, batch = self.scene()
        hazard = self.prospect(scene, batch, 1000.0)
        assert self.prospect(scene, batch, 1000.1) == hazard
        scene.learn(50.0, 30)

        assert self.prospect(scene, batch, 1000.2) != hazard


class TestLearned:
    """The learned schedule: looks where tasks are known to end, and what is learned from each."""

    def test_it_begins_as_the_fixed_one(self) -> None:
        """With nothing known there is nothing better."""
        scene = Scene("learned")
        entries = come(1000.0, 3)
        for entry, age in zip(entries, [5.0, 50.0, 5000.0], strict=True):
            scene.meet(entry, 1000.0, created=1000.5 - age)

        (plan,) = scene.plan(entries, 1000.0)
        assert plan[:2] == (1005.0, Worth(1.0 / VEO.typical_duration, 1000.0))
        assert [*plan.batch.entries] == entries

    def test_looks_are_close_where_tasks_end(self) -> None:
        """And far from each other where they do not."""
        scene = Scene("learned")
        scene.learn(100.0)
        entries = come(1000.0, 2)
        for entry, age in zip(entries, [20.0, 100.0], strict=True):
            scene.meet(entry, 1000.0, created=1000.5 - age)
        early, late = scene.plan(entries, 1000.0)

        assert late.due - 1000.0 < 5.0 < early.due - 1000.0 <= 20.0
        assert late.worth.hazard > 10 * early.worth.hazard
        assert late.worth.seen_at == 1000.0

    def test_a_kind_of_which_little_is_known_is_planned_by_its_provider(self) -> None:
        """Until enough of its own were seen."""
        scene = Scene("learned")
        scene.learn(100.0, model="other")
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.0, created=900.5, model="new")
        (plan,) = scene.plan([entry], 1000.0)

        assert plan.due < 1005.0

    def test_what_is_learned_changes_the_plan(self) -> None:
        """As soon as enough has ended, without a new planner."""
        scene = Scene("learned")
        for number in range(ENOUGH + 2):
            (entry,) = come(0.0)
            scene.meet(entry, 1.0, created=0.5)
            scene.plan([entry], 90.0)
            scene.end(entry, 110.0, created=0.5, finished=100.0 + number / 10)
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.0, created=900.5)
        (plan,) = scene.plan([entry], 1000.0)

        assert plan.due < 1005.0

    def test_a_look_in_vain_is_learned_from(self) -> None:
        """Each task was alive from the look before to this one: for its kind, and for its provider."""
        scene = Scene("learned")
        entries = come(1000.0, 2)
        for entry in entries:
            scene.meet(entry, 1005.0, created=960.5)
        scene.plan(entries, 1005.0)
        for counts in (scene.counts("veo3"), scene.counts()):
            assert sum(seconds for _, seconds in counts.alive) == pytest.approx(2 * 5.0)
            assert {number for number, _ in counts.alive} <= set(range(bin_of(40.0), bin_of(45.0) + 1))
        scene.plan(entries, 1017.0)

        assert sum(seconds for _, seconds in scene.counts("veo3").alive) == pytest.approx(2 * 17.0)
        assert scene.counts("veo3").evidence == 0

    def test_before_anybody_waited_nothing_is_known(self) -> None:
        """A task that was waited for only when it was old was not seen to be alive before that."""
        scene = Scene("learned")
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.05, created=0.5)
        scene.plan([entry], 1000.05)

        ((number, seconds),) = scene.counts("veo3").alive
        assert (number, seconds) == (bin_of(1000.0), pytest.approx(0.05))


class TestSpare:
    """`Worth.is_spare`: only looks that are planned by what was learned may wait."""

    @staticmethod
    def is_spare(scene: Scene, model: str = "veo3") -> bool:
        """Tell whether the next look at a task may wait."""
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.0, created=900.5, model=model)
        (plan,) = scene.plan([entry], 1000.0)
        assert plan.worth.seen_at == 1000.0
        return plan.worth.is_spare

    @pytest.mark.parametrize("schedule", ["fixed", "proportional"])
    def test_looks_that_are_not_learned_do_not_wait(self, schedule: str) -> None:
        """Whatever is known."""
        scene = Scene(schedule)
        scene.learn(100.0)

        assert self.is_spare(scene) is False

    @pytest.mark.parametrize("age", [1.0, 50.0, 99.0, 300.0])
    def test_they_wait_as_long_as_none_is_later_than_at_the_fixed_interval(self, age: float) -> None:
        """Or than they were planned for."""
        scene = Scene("learned", jitter=0.2)
        scene.learn(100.0)
        (entry,) = come(1000.0)
        scene.meet(entry, 1000.0, created=1000.5 - age)
        (plan,) = scene.plan([entry], 1000.0)

        assert plan.worth.latest == max(plan.due, 1000.0 + 5.0 * 1.1)

    @pytest.mark.parametrize(("ends", "is_spare"), [(0, False), (ENOUGH - 1, False), (ENOUGH, True), (100, True)])
    def test_enough_must_be_known(self, ends: int, is_spare: bool) -> None:  # noqa: FBT001  # a column
        """Until then tasks are asked for as under the fixed schedule, which waits for nothing."""
        scene = Scene("learned")
        if ends:
            scene.learn(100.0, ends)

        assert self.is_spare(scene) is is_spare

    def test_what_is_known_of_the_provider_is_enough(self) -> None:
        """A new kind is planned by it."""
        scene = Scene("learned")
        scene.learn(100.0, model="other")

        assert self.is_spare(scene, "new") is True

    def test_first_looks_and_retries_do_not_wait(self) -> None:
        """It is not known how old a task is before the first, nor whether it goes on."""
        scene = Scene("learned")
        scene.learn(100.0)
        (entry,) = come(1000.0)

        assert scene.planner.plan_first(VEO, 1000.0).is_spare is False
        ((_, worth, _),) = scene.plan([entry], 1000.0)
        assert worth.is_spare is False

    def test_of_one_batch_some_may_wait_and_others_not(self) -> None:
        """Each kind is planned by itself."""
        scene = Scene("learned")
        for age in (90.0, 100.0):
            law = scene.durations.law("veo", "known", "")
            law.note_end(age, ENOUGH)
        entries = come(1000.0, 4)
        for entry, model in zip(entries, ["known", "new", "new", "known"], strict=True):
            scene.meet(entry, 1000.0, created=900.5, model=model)
        plans = scene.plan(entries, 1000.0)

        assert [(plan.worth.is_spare, [*plan.batch.entries]) for plan in plans] == [
            (True, [entries[0], entries[3]]),
            (False, entries[1:3]),
        ]


class TestEnds:
    """`note_end`: at which age a task has ended."""

    @staticmethod
    def end_of(scene: Scene, model: str = "veo3") -> list[int]:
        """List the bins of the ends that were learned, of a kind and of its provider."""
        ends = [[number for number, _ in scene.counts(name).ends] for name in (model, "")]
        assert ends[0] == ends[1]
        return ends[0]

    def test_the_service_tells(self) -> None:
        """Its time of the end counts, as if half a second later."""
        scene = Scene("learned")
        (entry,) = come(0.0)
        scene.meet(entry, 5.0, created=0.5)
        scene.plan([entry], 80.0)
        scene.end(entry, 160.0, created=0.5, finished=120.5)

        assert self.end_of(scene) == [bin_of(120.0)]
        assert scene.counts("veo3").evidence == scene.counts().evidence == 1
        assert sum(seconds for _, seconds in scene.counts("veo3").alive) == pytest.approx(120.0, rel=0.006)

    @pytest.mark.parametrize("has_date", [True, False])
    def test_else_it_was_half_way_between_the_last_two_looks(self, has_date: bool) -> None:  # noqa: FBT001  # a column
        """A time of the end that cannot be compared with the answer's own is none."""
        scene = Scene("learned")
        (entry,) = come(0.0)
        scene.meet(entry, 5.0, has_date=False)
        scene.plan([entry], 100.0)
        scene.end(entry, 200.0, has_date=has_date, finished=None if has_date else 120.0)

        assert self.end_of(scene) == [bin_of(150.0)]
        assert sum(seconds for _, seconds in scene.counts("veo3").alive) == pytest.approx(150.0, rel=0.006)

    @pytest.mark.parametrize(("finished", "age"), [(20.0, 80.0), (500.0, 160.0)])
    def test_it_was_between_the_last_two_looks_whatever_the_service_says(self, finished: float, age: float) -> None:
        """A task that was seen at work had not ended then, and one that is seen to have ended has."""
        scene = Scene("learned")
        (entry,) = come(0.0)
        scene.meet(entry, 5.0, created=0.5)
        scene.plan([entry], 80.0)
        scene.end(entry, 160.0, created=0.5, finished=finished)

        assert self.end_of(scene) == [bin_of(age)]

    def test_one_that_had_ended_before_anybody_waited_is_not_counted(self) -> None:
        """Those who were still at work then are not seen among such; no second is counted of it either."""
        scene = Scene("learned")
        (entry,) = come(1000.0)
        scene.end(entry, 1000.05, created=0.5, finished=120.5)

        assert self.end_of(scene) == []
        assert scene.counts("veo3").alive == ()

    def test_one_that_ended_between_the_first_waiting_and_the_first_look_is_counted(self) -> None:
        """It could have been seen at work."""
        scene = Scene("learned")
        (entry,) = come(100.0)
        scene.end(entry, 200.0, created=0.5, finished=150.5)

        assert self.end_of(scene) == [bin_of(150.0)]
        assert sum(seconds for _, seconds in scene.counts("veo3").alive) == pytest.approx(50.0, rel=0.006)

    @pytest.mark.parametrize(
        ("finished", "has_date"), [(None, True), (None, False), (150.5, False)], ids=["no end", "neither", "no date"]
    )
    def test_an_end_that_is_found_at_the_first_look_needs_its_time(
        self,
        finished: float | None,
        has_date: bool,  # noqa: FBT001  # a column
    ) -> None:
        """Without it, or the service's own time beside it, it may have been before anybody waited."""
        scene = Scene("learned")
        (entry,) = come(100.0)
        scene.end(entry, 200.0, created=0.5, finished=finished, has_date=has_date)

        assert self.end_of(scene) == []
        assert scene.counts("veo3").alive == scene.counts().alive == ()

    def test_an_end_without_its_time_counts_where_the_task_was_seen_before(self) -> None:
        """It is known between which looks it was."""
        scene = Scene("learned")
        (entry,) = come(100.0)
        scene.meet(entry, 110.0, created=0.5)
        scene.plan([entry], 110.0)
        scene.end(entry, 130.0, created=0.5)

        assert self.end_of(scene) == [bin_of(120.0)]
        assert sum(seconds for _, seconds in scene.counts("veo3").alive) == pytest.approx(20.0, rel=0.006)

    def test_a_clock_that_is_a_little_off_loses_no_ends(self) -> None:
        """An end that is told a moment before anybody waited was then."""
        scene = Scene("learned")
        (entry,) = come(100.0)
        scene.end(entry, 100.05, created=0.5, finished=99.7)

        assert self.end_of(scene) == [bin_of(100.0)]


class TestBounds:
    """What holds under every schedule."""

    @pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
    @given(
        ages=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=8),
        interval=st.none() | st.floats(0.1, 60.0),
        jitter=st.floats(0.0, 1.0),
        now_and_known=st.tuples(st.floats(1e6, 1e6 + 100.0), st.none() | st.floats(0.5, 1e4)),
    )
    def test_nobody_is_left_out_and_a_minimum_is_kept(
        self,
        schedule: str,
        ages: list[float],
        interval: float | None,
        jitter: float,
        now_and_known: tuple[float, float | None],
    ) -> None:
        """Whatever was learned, every task is asked for once more: after what the provider asks for, and in time."""
        now, known = now_and_known
        for spec in (VEO, USEAPI):
            scene = Scene(schedule, interval=interval, jitter=jitter)
            if known is not None:
                scene.durations.law(spec.slug).note_alive(0.0, known, 100)
                scene.durations.law(spec.slug).note_end(known, 100)
            entries = come(now, len(ages), spec.slug)
            for entry, age in zip(entries, ages, strict=True):
                scene.meet(entry, now, spec=spec, created=now + 0.5 - age)
            plans = scene.plan(entries, now, spec)

            assert sorted(entry.key for plan in plans for entry in plan.batch.entries) == sorted(
                entry.key for entry in entries
            )
            usual = spec.poll_interval(interval)
            for plan in plans:
                assert now + spec.min_interval <= plan.due
                assert plan.due - now <= 4.0 * usual * (1.0 + jitter) + usual * jitter + 1e-6
                assert plan.worth.seen_at == now
                assert 0.0 <= plan.worth.hazard < math.inf

    @pytest.mark.parametrize("schedule", ["proportional", "learned"])
    @pytest.mark.parametrize("now", [1000.25, 1001.3, 1002.0, 1003.49])
    def test_looks_are_at_ticks(self, schedule: str, now: float) -> None:
        """Once something is known: requests leave in small bursts, and those of one moment are stretched alike."""
        both: list[list[Plan]] = []
        for jitter in (0.2, 0.0):
            scene = Scene(schedule, jitter=jitter)
            scene.learn(145.0)
            entries = come(now, 3)
            for entry, age in zip(entries, [20.0, 145.0, 400.0], strict=True):
                scene.meet(entry, now, created=now + 0.5 - age)
            both.append(scene.plan(entries, now))
        tick = 5.0 * 0.2 / 2.0

        for plan, other in zip(*both, strict=True):
            assert plan.due % tick == 0.0
            assert plan.due == plan_at_tick(now, other.due - now, 0.2, tick)
            assert -tick / 2 <= plan.due - other.due <= (other.due - now) * 0.2 + tick / 2


def test_repr_shows_the_schedule() -> None:
    """The repr tells by what is planned."""
    scene = Scene("learned")
    scene.learn(100.0, 3)

    assert repr(scene.planner) == "<Planner learned, <Durations of 2 kinds, 6 ends>>"
