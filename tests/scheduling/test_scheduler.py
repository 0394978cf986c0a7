"""The scheduler: which batch is polled next and when, what it contains, and what follows from its result."""

from __future__ import annotations

import math
import random
import weakref
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import AceTasksError, PollPolicy, RateLimitError, RetryPolicy, TransportError
from acetasks._limits import Throttle
from acetasks._limits.batch_size import LIMIT_TTL
from acetasks._scheduling.planner import PlannedPoll
from acetasks._scheduling.scheduler import Changes, Scheduler
from acetasks._scheduling.tasks import InFlightPoll, PollBatch, PollGroup, PollPriority, TrackedTask
from acetasks.providers import lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks.providers import ProviderSpec, RecordStatus

#: With a jitter sample of 0.5 the delays after failures are 1, 2, 4, 8, 8 s, and so on.
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)
#: Three providers of one service, and one of another, which has a minimum interval and no batches.
LUMA, FLUX, VEO, USEAPI = (PollGroup(slug) for slug in ("luma", "flux", "veo", "useapi-pixverse"))
#: Luma's tasks whose polls keep failing.
SPLIT = PollGroup("luma", 2)
SOME = PollPriority(0.01, 0.0)
DEFERRABLE = PollPriority(0.01, 0.0, deferrable=True)
#: Least seconds between two polls of one task of useapi's.
MIN_INTERVAL = lookup("useapi-pixverse").min_interval


class Result(msgspec.Struct):
    """The result of a poll, for the throttle."""

    errors: dict[str, AceTasksError] = {}
    is_answered: bool = True
    truncated_at: list[int] = []
    accepted_size: int | None = None
    batch_works: bool | None = None


class WatchedId(str):
    """An id of which a test can see whether anything still refers to it."""

    __slots__ = ("__weakref__",)


class ScriptedPlanner:
    """A planner that plans as it is told, and records what it observes."""

    def __init__(self) -> None:
        self.first: Callable[[float], PollPriority] = lambda now: PollPriority(0.01, now)
        self.next: Callable[[PollBatch, float], Sequence[PlannedPoll]]
        self.next = lambda batch, now: [PlannedPoll(now + 5.0, PollPriority(0.01, now), batch)]
        self.observed: list[tuple[TrackedTask, RecordStatus, float | None, float]] = []

    def first_priority(self, spec: ProviderSpec, now: float) -> PollPriority:
        """Return the priority of a first poll."""
        assert spec.slug
        return self.first(now)

    def after_interval(self, spec: ProviderSpec, now: float) -> float:
        """Return the next poll time after 7 s."""
        assert spec.slug
        return now + 7.0

    def observe(
        self, task: TrackedTask, spec: ProviderSpec, status: RecordStatus, server_time: float | None, now: float
    ) -> None:
        """Record a call."""
        assert spec.slug == task.key[0]
        self.observed.append((task, status, server_time, now))

    def plan(self, spec: ProviderSpec, batch: PollBatch, now: float) -> Sequence[PlannedPoll]:
        """Return the plan of a batch."""
        assert all(task.key[0] == spec.slug and task.batch is batch for task in batch.tasks)
        return self.next(batch, now)


class Scene:
    """A scheduler with a throttle and a scripted planner."""

    def __init__(self, policy: PollPolicy | None = None) -> None:
        self.policy = policy or PollPolicy(start_rate=1e6)
        self.throttle = Throttle(self.policy, RETRY)
        self.planner = ScriptedPlanner()
        self.scheduler = Scheduler(self.policy, throttle=self.throttle, planner=self.planner, rng=random.Random(1))
        self.count = 0

    def new_tasks(self, group: PollGroup, count: int = 1) -> list[TrackedTask]:
        """Build tasks with new ids."""
        self.count += count
        return [TrackedTask((group.provider, f"t{number}")) for number in range(self.count - count, self.count)]

    def queue(
        self, group: PollGroup, count: int = 1, *, due: float = 0.0, priority: PollPriority = SOME
    ) -> list[TrackedTask]:
        """Queue tasks for a time and at a priority, as after a poll."""
        tasks = self.new_tasks(group, count)
        self.queue_again(group, PollBatch(tasks), due, priority)
        return tasks

    def queue_again(self, group: PollGroup, batch: PollBatch, due: float, priority: PollPriority) -> None:
        """Queue a batch for a time and at a priority."""
        spec = lookup(group.provider)
        poll = InFlightPoll(spec, batch, -1e6, sequence=self.count, jitter_sample=0.5)
        changes = Changes()
        planner = self.planner
        before = planner.first, planner.next
        planner.first = lambda _: priority
        planner.next = lambda batch, _: [PlannedPoll(due, priority, batch)]
        if group.split_level:
            changes.apart[group.split_level, due] = [*batch.tasks]
        self.scheduler.requeue(poll, changes, -1e6)
        planner.first, planner.next = before

    def next_time(self, now: float, free_slots: int = 8) -> float:
        """Return when the next batch is polled; later than now."""
        assert self.scheduler.next_batch(now, free_slots) is None
        assert self.scheduler.next_poll_at > now
        return self.scheduler.next_poll_at

    def poll(self, now: float, free_slots: int = 8) -> InFlightPoll:
        """Start the poll that is due now."""
        poll = self.scheduler.next_batch(now, free_slots)
        assert poll is not None
        assert (poll.sent_at, poll.batch.poll) == (now, poll)
        return poll

    def poll_slug(self, now: float, free_slots: int = 8) -> str:
        """Start the poll that is due now, and return its provider."""
        return self.poll(now, free_slots).spec.slug

    def poll_and_finish(self, now: float) -> list[TrackedTask]:
        """Poll a batch for the last time, and return its tasks."""
        poll = self.poll(now)
        self.scheduler.finish(poll, now)
        return [*poll.batch.tasks]

    def record(self, provider: str, result: Result, now: float, times: int = 1) -> None:
        """Record the result of polls in the throttle."""
        for _ in range(times):
            self.throttle.record(lookup(provider), result, sent_at=now, now=now, jitter_sample=0.5)

    def fail(self, provider: str, now: float, times: int = 1) -> None:
        """Record failed polls in the throttle."""
        self.record(provider, Result({"t": TransportError("reset")}, is_answered=False), now, times)

    def rate_limit(self, provider: str, now: float, retry_after: float) -> None:
        """Record a 429 response in the throttle."""
        error = RateLimitError("slow down", status=429, retry_after=retry_after)
        self.record(provider, Result({"t": error}, is_answered=False), now)


@pytest.fixture
def scene() -> Scene:
    """A scheduler with nothing to poll."""
    return Scene()


class TestFirstPolls:
    """`add`: the first polls of new tasks."""

    def test_they_are_due_after_the_linger(self) -> None:
        """At the planner's priority for a first poll; the next poll time is known at once."""
        scene = Scene(PollPolicy(linger=0.5))
        tasks = scene.new_tasks(LUMA, 3)
        scene.scheduler.add(tasks, 10.0)

        assert scene.scheduler.next_poll_at == 10.5
        assert scene.next_time(10.4) == 10.5
        poll = scene.poll(10.5)
        assert [*poll.batch.tasks] == tasks
        assert poll.batch.priority == PollPriority(0.01, 10.0)
        assert [task.last_polled_at for task in tasks] == [10.0] * 3

    def test_tasks_that_are_added_one_by_one_share_a_poll(self, scene: Scene) -> None:
        """Within a millisecond they have the same due time; within the linger, later ones fill the request."""
        tasks = [task for _ in range(60) for task in scene.new_tasks(LUMA)]
        for number, task in enumerate(tasks):
            scene.scheduler.add([task], 10.0 + number * 1e-5)

        assert scene.scheduler.next_poll_at == 10.05
        assert [len(scene.poll(10.05).batch.tasks) for _ in range(2)] == [50, 10]
        scene.scheduler.add(scene.new_tasks(LUMA), 10.002)
        assert scene.next_time(10.05) == pytest.approx(10.052)

    def test_they_are_split_into_batches_and_providers(self, scene: Scene) -> None:
        """In the order given."""
        luma, flux = scene.new_tasks(LUMA, 120), scene.new_tasks(FLUX, 2)
        scene.scheduler.add([*flux, *luma], 0.0)
        polls = [scene.poll(1.0) for _ in range(4)]

        assert [task for poll in polls for task in poll.batch.tasks if poll.spec.slug == "luma"] == luma
        assert sorted((poll.spec.slug, len(poll.batch.tasks)) for poll in polls) == [
            ("flux", 2),
            *[("luma", 20), ("luma", 50), ("luma", 50)],
        ]


class TestNextPollTime:
    """When the next batch is polled."""

    def test_it_is_kept_until_the_next_call(self, scene: Scene) -> None:
        """A batch that is queued meanwhile may make it earlier, but not later."""
        assert scene.scheduler.next_poll_at == math.inf
        for group, due, earliest in [(LUMA, 5.0, 5.0), (LUMA, 3.0, 3.0), (FLUX, 4.0, 3.0)]:
            scene.queue(group, due=due)
            assert scene.scheduler.next_poll_at == earliest

        assert len(scene.poll(3.0).batch.tasks) == 2
        assert scene.next_time(3.0) == 4.0
        assert scene.next_time(3.0, free_slots=0) == math.inf

    def test_nothing_is_polled_where_nothing_is_queued(self, scene: Scene) -> None:
        """There are free slots, and no use for them."""
        assert scene.next_time(0.0) == math.inf
        assert scene.scheduler.is_saturated is False

    @pytest.mark.parametrize("now", [10.0, 12.0])
    def test_a_batch_is_polled_when_it_is_due(self, scene: Scene, now: float) -> None:
        """Not before, and at once if that is over."""
        scene.queue(LUMA, due=10.0)

        assert scene.next_time(3.0) == 10.0
        assert scene.poll_slug(now) == "luma"

    def test_the_first_due_batch_is_the_next(self, scene: Scene) -> None:
        """Whatever the priority of later ones."""
        scene.queue(LUMA, 50, due=9.0, priority=PollPriority(1.0, -100.0))
        scene.queue(FLUX, due=8.0, priority=PollPriority(1e-6, 0.0))

        assert scene.next_time(0.0) == 8.0

    def test_discarded_tasks_are_not_scheduled(self, scene: Scene) -> None:
        """A discarded task does not affect the next poll time."""
        (task,) = scene.queue(LUMA, due=5.0)
        scene.queue(FLUX, due=9.0)
        scene.scheduler.discard(task)

        assert scene.next_time(0.0) == 9.0

    def test_the_users_rate_delays_all_providers(self) -> None:
        """A request of one provider counts for the others."""
        scene = Scene(PollPolicy(max_rate=0.5))
        for group in (LUMA, FLUX):
            scene.queue(group, due=1.0)
        first = scene.poll_slug(1.0)

        assert scene.next_time(1.0) == pytest.approx(3.2)
        assert {first, scene.poll_slug(3.3)} == {"luma", "flux"}

    def test_a_rate_limit_delays_its_service_only(self, scene: Scene) -> None:
        """A 429 response concerns all providers under the same token."""
        for group in (LUMA, FLUX, USEAPI):
            scene.queue(group, due=1.0)
        scene.rate_limit("luma", 1.0, 30.0)

        assert scene.poll_slug(1.0) == "useapi-pixverse"
        assert scene.next_time(1.0) >= 31.0

    @pytest.mark.parametrize(("interval", "later", "count"), [(5.0, 0.5, 9), (2.5, 0.25, 5), (20.0, 0.9375, 16)])
    def test_polls_are_coalesced_where_the_rate_is_used_up(self, interval: float, later: float, count: int) -> None:
        """They wait for each other for a tenth of their interval, but not longer than until a whole burst is free."""
        scene = Scene(PollPolicy(interval=interval, start_rate=16.0))
        scene.queue(LUMA, 5000)
        bursts: list[tuple[float, int]] = []
        now = 100.0
        while len(bursts) < 4:
            sent = 0
            while scene.scheduler.next_batch(now, 1000) is not None:
                sent += 1
            bursts.append((now, sent))
            now = scene.scheduler.next_poll_at

        period = 0.0625 + later
        assert bursts == [(100.0, 16), *((100.0 + number * period, count) for number in (1, 2, 3))]

    def test_the_shortest_coalescing_window_holds_for_all(self) -> None:
        """That of the provider with the shortest interval."""
        scene = Scene(PollPolicy(start_rate=16.0))
        for group in (FLUX, VEO):
            scene.queue(group, 5000)
        while scene.scheduler.next_batch(100.0, 1000) is not None:
            pass

        assert scene.scheduler.next_poll_at == 100.0 + 0.0625 + lookup("flux").poll_interval(None) / 10.0


class TestScore:
    """Of the batches that can be polled now, the one with the highest score is."""

    @pytest.mark.parametrize(
        ("flux", "luma", "best"),
        [
            # The score of a task is h t²/2, and that of a request as much for each of its tasks.
            ((10, PollPriority(0.01, 0.0)), (10, PollPriority(0.02, 0.0)), "luma"),
            ((10, PollPriority(0.01, 0.0)), (1, PollPriority(0.05, 0.0)), "flux"),
            ((10, PollPriority(0.01, 0.0)), (1, PollPriority(0.2, 0.0)), "luma"),
            ((10, PollPriority(0.01, 0.0)), (1, PollPriority(0.01, -300.0)), "luma"),
            # Only as many as fit into it count.
            ((500, PollPriority(0.01, 0.0)), (50, PollPriority(0.011, 0.0)), "luma"),
        ],
    )
    def test_it_decides_among_providers(
        self, scene: Scene, flux: tuple[int, PollPriority], luma: tuple[int, PollPriority], best: str
    ) -> None:
        """Not the due times."""
        scene.queue(FLUX, flux[0], due=1.0, priority=flux[1])
        scene.queue(LUMA, luma[0], due=60.0, priority=luma[1])

        assert scene.poll_slug(100.0) == best

    def test_no_task_starves(self, scene: Scene) -> None:
        """However small its hazard, its score grows until it is the highest."""
        scene.queue(FLUX, priority=PollPriority(1e-5, 0.0))
        scene.queue(LUMA, 50, priority=PollPriority(0.3, 0.0))
        now = 2.0
        while (poll := scene.poll(now)).spec.slug == "luma":
            scene.scheduler.finish(poll, now)
            scene.queue_again(LUMA, poll.batch, now, PollPriority(0.3, now))
            now += 2.0
            assert now < 4200.0

        # 50 * 0.3 * 2² / 2 = 1e-5 * t² / 2
        assert now == pytest.approx(math.sqrt(50 * 0.3 * 4.0 / 1e-5), abs=2.0)

    def test_at_equal_scores_tasks_that_are_not_split_come_first(self, scene: Scene) -> None:
        """By the order of groups."""
        scene.queue(SPLIT)
        tasks = scene.queue(LUMA)

        assert [*scene.poll(10.0).batch.tasks] == tasks

    def test_a_short_interval_gives_no_precedence_where_the_rate_is_used_up(self) -> None:
        """The coalescing window is the same for all providers."""
        scene = Scene(PollPolicy(start_rate=60.0))
        assert lookup("flux").poll_interval(None) < lookup("veo").poll_interval(None)
        scene.queue(FLUX, 4200)
        scene.queue(VEO, 4500, priority=PollPriority(1.0, 0.0))
        polled: list[str] = []
        now = 1.0
        while len(polled) < 100:
            poll = scene.scheduler.next_batch(now, 8)
            if poll is None:
                now = scene.scheduler.next_poll_at
            else:
                polled.append(poll.spec.slug)
                scene.scheduler.finish(poll, now)

        assert polled == ["veo"] * 90 + ["flux"] * 10

    @pytest.mark.parametrize("apart", [False, True])
    def test_ties_are_broken_by_the_sequence_of_polls(self, scene: Scene, apart: bool) -> None:  # noqa: FBT001  # a column
        """Of two polls whose tasks are due next at the same time, the one sent first comes first again."""
        for _ in range(2):
            scene.queue(LUMA, 50)
        first, second = polls = [scene.poll(1.0) for _ in range(2)]
        tasks = [poll.batch.tasks for poll in polls]
        for poll in (second, first):
            scene.scheduler.finish(poll, 2.0)
            changes = Changes()
            if apart:
                changes.apart[0, 7.0] = [*poll.batch.tasks]
            scene.scheduler.requeue(poll, changes, 2.0)

        assert [scene.poll(7.0).batch.tasks for _ in range(2)] == tasks


class TestSlots:
    """One slot is left free for each idle provider."""

    def test_nothing_is_polled_without_a_free_slot(self, scene: Scene) -> None:
        """The scheduler is saturated: it can do more once a poll has ended."""
        scene.queue(LUMA)

        assert scene.next_time(5.0, free_slots=0) == math.inf
        assert scene.scheduler.is_saturated is True
        assert scene.poll_slug(5.0, free_slots=1) == "luma"
        assert scene.scheduler.is_saturated is False

    def test_a_busy_provider_leaves_slots_for_the_others(self, scene: Scene) -> None:
        """Its requests may hang without holding up the others, which are not due yet."""
        scene.queue(LUMA, 1000, priority=PollPriority(1.0, -1000.0))
        for group in (FLUX, VEO):
            scene.queue(group, due=100.0)
        polls = []
        while (poll := scene.scheduler.next_batch(5.0, 6 - len(polls))) is not None:
            assert scene.scheduler.is_saturated is False
            polls.append(poll)

        assert [poll.spec.slug for poll in polls] == ["luma"] * 4
        assert scene.scheduler.is_saturated is True
        assert scene.next_time(5.0, free_slots=2) == 100.0
        assert [scene.poll_slug(100.0, free_slots) for free_slots in (2, 1)] == ["flux", "veo"]
        scene.scheduler.finish(polls[0], 100.0)
        assert scene.poll_slug(100.0, free_slots=1) == "luma"

    def test_slots_are_shared_among_more_providers(self, scene: Scene) -> None:
        """Each has a first poll before any has a second."""
        for slug in ("luma", "flux", "veo", "suno", "kling"):
            scene.queue(PollGroup(slug), 200)

        assert len({scene.poll_slug(5.0, free_slots) for free_slots in (3, 2, 1)}) == 3

    def test_the_groups_of_a_provider_share_its_slots(self, scene: Scene) -> None:
        """Split tasks are no provider of their own."""
        for group in (LUMA, SPLIT):
            scene.queue(group, 200)
        scene.queue(FLUX, due=100.0)
        scene.poll(5.0)

        assert scene.next_time(5.0, free_slots=1) == 100.0
        assert scene.scheduler.is_saturated is True

    def test_a_provider_keeps_its_slot_for_a_second(self, scene: Scene) -> None:
        """After its last poll its waiters may await another task."""
        scene.queue(FLUX)
        scene.poll_and_finish(5.0)
        scene.queue(LUMA, 1000)
        scene.poll(5.9, free_slots=2)
        assert scene.next_time(5.9, free_slots=1) == math.inf
        assert scene.scheduler.is_saturated is True

        assert scene.poll_slug(6.0, free_slots=1) == "luma"


class TestBatchSize:
    """How many tasks are polled in one request."""

    def test_future_tasks_fill_a_request(self, scene: Scene) -> None:
        """In order of due time; they cost nothing."""
        due = scene.queue(LUMA, 20, due=5.0)
        later = scene.queue(LUMA, 20, due=60.0)
        soon = scene.queue(LUMA, 20, due=6.0)

        assert scene.poll_and_finish(5.0) == [*due, *soon, *later[:10]]
        assert scene.next_time(5.0) == 60.0
        assert scene.poll_and_finish(60.0) == later[10:]

    def test_a_minimum_interval_is_not_cut_short_by_that(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tasks of such a provider are not polled before they are due, even if it takes batches."""
        spec = msgspec.structs.replace(lookup("luma"), min_interval=3.0)
        monkeypatch.setattr("acetasks._scheduling.scheduler.lookup", lambda _: spec)
        tasks = [scene.queue(LUMA, due=due) for due in (5.0, 6.0)]

        assert [*scene.poll(5.0).batch.tasks] == tasks[0]
        assert scene.next_time(5.0) == 6.0
        assert [*scene.poll(6.0).batch.tasks] == tasks[1]

    def test_a_batch_that_fills_a_request_is_polled_as_it_is(self, scene: Scene) -> None:
        """The same object, without its discarded tasks."""
        whole, lacking = scene.queue(LUMA, 50), scene.queue(LUMA, 50, due=1.0)
        batches = [tasks[0].batch for tasks in (whole, lacking)]
        scene.scheduler.discard(lacking.pop(7))

        assert [scene.poll(5.0).batch for _ in range(2)] == batches
        assert [*batches[1].tasks] == lacking

    @pytest.mark.parametrize(("batch_size", "sizes"), [(50, [50, 50, 20]), (7, [7, 7, 7]), (1, [1, 1, 1])])
    def test_the_policy_bounds_it(self, batch_size: int, sizes: list[int]) -> None:
        """A request has at most that many tasks."""
        scene = Scene(PollPolicy(batch_size=batch_size))
        scene.queue(LUMA, 120)

        assert [len(scene.poll(5.0).batch.tasks) for _ in sizes] == sizes

    def test_a_provider_without_batches_is_polled_one_by_one(self, scene: Scene) -> None:
        """Whatever the policy."""
        tasks = scene.queue(USEAPI, 2)

        assert [scene.poll_and_finish(5.0) for _ in range(2)] == [tasks[:1], tasks[1:]]

    def test_the_spec_bounds_it(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is registered anew counts at once."""
        scene.queue(LUMA, 70)
        assert len(scene.poll(5.0).batch.tasks) == 50
        spec = msgspec.structs.replace(lookup("luma"), batch_limit=9)
        monkeypatch.setattr("acetasks._scheduling.scheduler.lookup", lambda _: spec)

        poll = scene.poll(5.0)
        assert (len(poll.batch.tasks), poll.spec) == (9, spec)

    def test_each_split_level_halves_it(self, scene: Scene) -> None:
        """Split tasks are polled apart from the others."""
        scene.queue(SPLIT, 30)

        assert [len(scene.poll(5.0).batch.tasks) for _ in range(3)] == [12, 12, 6]

    def test_truncated_responses_bound_it_for_a_while(self, scene: Scene) -> None:
        """After two of the same size, for that provider only."""
        scene.queue(LUMA, 200)
        for now, truncated_at, size in [(5.0, [12], 50), (5.0, [12], 12), (5.0 + LIMIT_TTL, [], 50)]:
            scene.record("luma", Result(truncated_at=truncated_at), now)
            assert len(scene.poll_and_finish(now)) == size
            scene.queue(FLUX, 50)
            assert len(scene.poll_and_finish(now)) == 50

    def test_a_smaller_request_has_a_lower_score(self, scene: Scene) -> None:
        """A learned limit makes a provider's requests less urgent."""
        for group, hazard in ((LUMA, 0.02), (FLUX, 0.01)):
            scene.queue(group, 100, priority=PollPriority(hazard, 0.0))
        poll = scene.poll(10.0)
        assert poll.spec.slug == "luma"
        scene.scheduler.finish(poll, 10.0)
        scene.record("luma", Result(accepted_size=24), 10.0)

        assert scene.poll_slug(10.0) == "flux"


class TestPollBudget:
    """Deferrable polls wait until their provider's budget has a request for them."""

    @pytest.fixture
    def scene(self) -> Scene:
        """A scheduler with an interval of 15 s, which adds a request each 10 s: half as many again are allowed."""
        return Scene(PollPolicy(interval=15.0, jitter=0.0, start_rate=1e6))

    @staticmethod
    def begin(scene: Scene, count: int = 1, group: PollGroup = LUMA, *, now: float = 0.0) -> list[TrackedTask]:
        """Queue deferrable tasks; from now on the budget saves requests."""
        tasks = scene.queue(group, count, due=now, priority=DEFERRABLE)
        scene.next_time(now)
        return tasks

    @staticmethod
    def poll_at_once(scene: Scene, now: float) -> int:
        """Count the polls that are allowed now, where every task is due again at once."""
        count = 0
        while (poll := scene.scheduler.next_batch(now, 8)) is not None:
            scene.scheduler.finish(poll, now)
            scene.queue_again(PollGroup(poll.spec.slug), poll.batch, now, DEFERRABLE)
            count += 1
            assert count < 1000
        return count

    @pytest.mark.parametrize(
        ("count", "due"),
        [(1, 10.0), (50, 10.0), (75, 10.0 / 1.5), (100, 5.0), (200, 2.5), (1000, 0.5481141), (5000, 15.0 / 122.0)],
    )
    def test_it_is_a_request_for_each_full_batch_in_each_interval(self, scene: Scene, count: int, due: float) -> None:
        """And half as many again, or fewer where they are many."""
        scene.queue(LUMA, count, priority=DEFERRABLE)

        for now in (0.0, due / 2.0):
            assert scene.next_time(now) == pytest.approx(due)
        assert scene.poll(due + 1e-6)

    @pytest.mark.parametrize(
        ("count", "deadline", "due"),
        [
            # The deadline may be missed by an interval, divided by one more than the requests that poll all tasks.
            (1, -3.0, 4.5),
            (50, -3.0, 4.5),
            (100, -3.0, 2.0),
            (1000, -0.5, 15.0 / 21.0 - 0.5),
            # The budget has a request earlier.
            (1, 3.0, 10.0),
            (100, 1.0, 5.0),
        ],
    )
    def test_no_poll_is_deferred_for_ever(self, scene: Scene, count: int, deadline: float, due: float) -> None:
        """It is sent some time after its deadline, whatever the budget."""
        scene.queue(LUMA, count, priority=PollPriority(0.01, -30.0, deferrable=True, defer_deadline=deadline))

        for now in (0.0, due - 0.01):
            assert scene.next_time(now) == pytest.approx(due)
        assert scene.poll(due + 1e-6)

    def test_an_overdue_task_is_polled_first(self, scene: Scene) -> None:
        """Though the score of the others is higher."""
        scene.queue(LUMA, 999, priority=PollPriority(1.0, -30.0, deferrable=True, defer_deadline=90.0))
        (last,) = scene.queue(LUMA, priority=PollPriority(1e-6, -30.0, deferrable=True, defer_deadline=-0.5))
        assert scene.next_time(0.0) == pytest.approx(15.0 / 21.0 - 0.5)

        assert last in scene.poll(0.3).batch.tasks

    @pytest.mark.parametrize(("jitter", "due"), [(0.0, 10.0), (0.2, 11.0), (1.0, 15.0)])
    def test_the_interval_includes_the_mean_jitter(self, jitter: float, due: float) -> None:
        """Which is never subtracted from the interval."""
        scene = Scene(PollPolicy(interval=15.0, jitter=jitter))
        scene.queue(LUMA, priority=DEFERRABLE)

        assert scene.next_time(0.0) == pytest.approx(due)

    def test_a_full_batch_is_that_of_the_policy(self) -> None:
        """Smaller batches are more requests."""
        scene = Scene(PollPolicy(interval=15.0, jitter=0.0, batch_size=10))
        scene.queue(LUMA, 40, priority=DEFERRABLE)

        assert scene.next_time(0.0) == pytest.approx(2.5)

    def test_a_poll_is_not_deferred_before_it_is_due(self, scene: Scene) -> None:
        """What was saved by then counts."""
        self.begin(scene)
        scene.poll_and_finish(10.0)
        scene.queue(LUMA, due=17.0, priority=DEFERRABLE)

        assert scene.next_time(10.0) == 17.0

    def test_saved_requests_are_spent_at_once(self, scene: Scene) -> None:
        """Three intervals' worth are three polls in a row, and the next is deferred again."""
        self.begin(scene)

        assert self.poll_at_once(scene, 30.0) == 3
        assert scene.next_time(30.0) == 40.0

    def test_other_polls_are_not_deferred(self, scene: Scene) -> None:
        """They do not depend on the budget; deferrable ones share their requests, and are not sent for that alone."""
        tasks = self.begin(scene, 3)
        other = scene.queue(LUMA, due=4.0)
        for now in (0.0, 3.9):
            assert scene.next_time(now) == 4.0

        assert {*scene.poll(4.0).batch.tasks} == {*tasks, *other}
        assert scene.next_time(4.0) == math.inf

    def test_a_poll_that_is_due_later_than_the_budget_fills_the_request(self, scene: Scene) -> None:
        """The deferred tasks come first."""
        tasks = self.begin(scene, 3)
        other = scene.queue(LUMA, due=12.0)

        assert scene.next_time(0.0) == 10.0
        assert scene.poll_and_finish(10.0) == [*tasks, *other]

    def test_a_task_that_is_not_deferrable_has_a_place_in_the_request_that_it_triggers(self, scene: Scene) -> None:
        """Whatever the score of the deferrable ones."""
        self.begin(scene, 200)
        (task,) = scene.queue(LUMA, due=1.0, priority=PollPriority(0.01, 0.5))

        assert task in scene.poll(1.0).batch.tasks
        assert scene.next_time(1.0) > 1.0

    def test_other_polls_spend_the_budget(self, scene: Scene) -> None:
        """Deferrable ones have what they leave; where nothing is left they leave nothing, and make no debt."""
        scene.queue(LUMA, due=25.0, priority=DEFERRABLE)
        assert scene.next_time(0.0) == 25.0
        # Two requests and a half are saved by then.
        for count, due in ((2, 30.0), (1, 35.0)):
            for _ in range(count):
                scene.queue(LUMA, due=25.0)
                scene.poll_and_finish(25.0)
            scene.queue(LUMA, due=25.0, priority=DEFERRABLE)
            assert scene.next_time(25.0) == pytest.approx(due)

    @pytest.mark.parametrize("deferrable", [False, True])
    def test_future_tasks_share_a_deferred_request_only_if_they_are_nearly_due(
        self,
        scene: Scene,
        deferrable: bool,  # noqa: FBT001  # a column
    ) -> None:
        """Within a tenth of the interval; any other request has room for all."""
        first = scene.queue(LUMA, due=0.0, priority=DEFERRABLE if deferrable else SOME)
        soon = scene.queue(LUMA, due=11.5, priority=DEFERRABLE)
        later = scene.queue(LUMA, due=11.6, priority=DEFERRABLE)
        other = scene.queue(LUMA, due=40.0)
        if deferrable:
            assert scene.next_time(0.0) == 10.0

        assert scene.poll_and_finish(10.0) == [*first, *other, *soon, *([] if deferrable else later)]

    def test_each_provider_has_its_own(self, scene: Scene) -> None:
        """Requests that one provider saves are not spent by another, and its deferred polls delay no other's."""
        self.begin(scene)
        scene.queue(FLUX, due=5.0)
        assert scene.next_time(0.0) == 5.0
        assert scene.poll_slug(5.0) == "flux"
        scene.queue(VEO, due=30.0, priority=DEFERRABLE)

        assert self.poll_at_once(scene, 30.0) == 3
        assert scene.next_time(30.0) == 40.0

    def test_it_is_no_way_around_the_throttle(self, scene: Scene) -> None:
        """A pause delays deferrable polls too."""
        self.begin(scene)
        scene.rate_limit("luma", 0.0, 30.0)

        assert scene.next_time(20.0) >= 30.0

    @given(count=st.integers(1, 220), step=st.sampled_from([0.3, 1.0, 7.0]), jitter=st.sampled_from([0.0, 0.2]))
    def test_deferrable_polls_cost_no_more_than_the_budget(self, count: int, step: float, jitter: float) -> None:
        """Over any time, though every task is due again at once; and full batches are polled."""
        scene = Scene(PollPolicy(interval=15.0, jitter=jitter, start_rate=1e6))
        scene.queue(LUMA, count, priority=DEFERRABLE)
        now, polls = 0.0, 0
        while now < 200.0:
            polls += self.poll_at_once(scene, now)
            now += step

        expected = max(1.0, count / 50) * 200.0 / (10.0 * (1.0 + jitter / 2.0))
        assert expected * 0.9 - 2.0 <= polls <= expected + 1.0

    def test_savings_are_those_of_the_tasks_of_the_time(self, scene: Scene) -> None:
        """Tasks that come later add nothing for the time before."""
        self.begin(scene)
        scene.queue(LUMA, 199, due=5.0, priority=DEFERRABLE)

        # Half a request was saved for the one task; two hundred add one in 2.5 s.
        assert scene.next_time(5.0) == pytest.approx(6.25)

    def test_tasks_in_flight_count_with_the_queued_ones(self, scene: Scene) -> None:
        """Until their poll has ended; by their number, so that small requests are no full batches."""
        for _ in range(4):
            scene.queue(LUMA, 3)
            scene.poll(0.0)
        self.begin(scene, 5)
        assert scene.next_time(0.0) == pytest.approx(10.0)
        scene.queue(LUMA, 133)
        polls = [scene.poll(0.0) for _ in range(3)]
        scene.queue(LUMA, 50, priority=DEFERRABLE)

        # In flight are 12 and 138 tasks.
        assert scene.next_time(0.0) == pytest.approx(2.5)
        for poll in polls[:2]:
            scene.scheduler.finish(poll, 0.0)
        assert scene.next_time(0.0) == pytest.approx(5.0)

    def test_split_tasks_are_not_deferred(self, scene: Scene) -> None:
        """Their polls are retries."""
        scene.queue(SPLIT, priority=DEFERRABLE)

        assert scene.poll(0.0)

    def test_it_saves_from_the_first_task_on(self, scene: Scene) -> None:
        """The time until the first deferrable poll counts."""
        scene.queue(LUMA)
        poll = scene.poll(0.0)
        scene.scheduler.finish(poll, 0.0)
        scene.queue_again(LUMA, poll.batch, 30.0, DEFERRABLE)
        assert scene.next_time(0.0) == 30.0

        assert self.poll_at_once(scene, 30.0) == 3


class TestProbes:
    """A provider that is down is polled by one request at a time, with fewer tasks each time."""

    def test_each_probe_has_half_as_many_tasks(self, scene: Scene) -> None:
        """They may be what makes it fail."""
        scene.queue(LUMA, 200)
        sizes, now = [], 5.0
        scene.fail("luma", now, times=3)
        for _ in range(6):
            now = scene.next_time(now)
            sizes.append(len(scene.poll_and_finish(now)))
            now += 0.1
            scene.fail("luma", now)

        assert sizes == [25, 12, 6, 3, 1, 1]

    def test_nothing_is_polled_while_a_probe_is_in_flight(self, scene: Scene) -> None:
        """But other providers are."""
        scene.queue(LUMA, 200)
        scene.fail("luma", 5.0, times=3)
        now = scene.next_time(5.0)
        probe = scene.poll(now)
        assert scene.next_time(now) == math.inf
        assert scene.scheduler.is_saturated is True
        scene.queue(FLUX)
        assert scene.poll_slug(now) == "flux"
        assert scene.next_time(now) == math.inf
        scene.scheduler.finish(probe, now)
        scene.fail("luma", now + 0.1)

        assert now + 0.1 < scene.next_time(now + 0.1) < math.inf
        assert scene.scheduler.is_saturated is False


class TestDiscard:
    """`discard`: tasks that are not polled any more."""

    def test_the_last_task_cancels_its_poll(self, scene: Scene) -> None:
        """Once; and not before."""
        cancelled = []
        tasks = scene.queue(LUMA, 3)
        poll = scene.poll(5.0)
        poll.cancel = lambda: cancelled.append(True)
        for task, count in zip([tasks[1], tasks[0], tasks[0], tasks[2], tasks[2]], [0, 0, 0, 1, 1], strict=True):
            scene.scheduler.discard(task)
            assert len(cancelled) == count

        assert poll.batch.live_count == 0
        scene.scheduler.finish(poll, 6.0)
        scene.scheduler.requeue(poll, Changes(), 6.0)
        assert scene.next_time(6.0) == math.inf

    def test_a_poll_that_has_not_begun_is_not_cancelled(self, scene: Scene) -> None:
        """It has no `cancel` yet; nor is one that has ended."""
        (task,) = scene.queue(LUMA)
        poll = scene.poll(5.0)
        scene.scheduler.discard(task)
        assert (poll.batch.live_count, task.batch) == (0, None)

        tasks = scene.queue(LUMA, 2)
        poll = scene.poll(5.0)
        poll.cancel = lambda: pytest.fail("it has ended")
        scene.scheduler.finish(poll, 6.0)
        for task in tasks:
            scene.scheduler.discard(task)

    def test_a_task_that_is_discarded_in_flight_is_not_queued_again(self, scene: Scene) -> None:
        """The others are, in the same batch."""
        first, second, third = scene.queue(LUMA, 3)
        poll = scene.poll(5.0)
        scene.scheduler.discard(second)
        scene.scheduler.finish(poll, 6.0)
        changes = Changes()
        changes.apart[1, 8.0] = [second]
        scene.scheduler.requeue(poll, changes, 6.0)

        assert scene.next_time(6.0) == 11.0
        assert scene.poll(11.0).batch is poll.batch
        assert [*poll.batch.tasks] == [first, third]

    def test_tasks_in_flight_are_counted_until_their_poll_ends(self) -> None:
        """Discarded or not: the number goes back to what it was."""
        scene = Scene(PollPolicy(interval=15.0, jitter=0.0))
        tasks = scene.queue(LUMA, 50)
        poll = scene.poll(0.0)
        for task in tasks[1:]:
            scene.scheduler.discard(task)
        scene.scheduler.finish(poll, 0.0)
        scene.queue(LUMA, 100, priority=DEFERRABLE)

        assert scene.next_time(0.0) == pytest.approx(5.0)


class TestRequeue:
    """`requeue`: what the result of a poll means for the schedule."""

    @staticmethod
    def fly(scene: Scene, count: int = 3, group: PollGroup = LUMA) -> tuple[InFlightPoll, list[TrackedTask]]:
        """Poll some tasks from 4 s to 5 s."""
        tasks = scene.queue(group, count)
        poll = scene.poll(4.0)
        return poll, tasks

    @staticmethod
    def land(scene: Scene, poll: InFlightPoll, changes: Changes | None = None) -> None:
        """Apply the result of a poll at 5 s."""
        scene.scheduler.finish(poll, 5.0)
        assert poll.batch.poll is None
        scene.scheduler.requeue(poll, changes or Changes(), 5.0)

    def test_unchanged_tasks_stay_together(self, scene: Scene) -> None:
        """In one batch, due as planned; each was polled now."""
        poll, tasks = self.fly(scene)
        batch = poll.batch
        for now in (5.0, 10.0, 15.0):
            scene.scheduler.finish(poll, now)
            scene.scheduler.requeue(poll, Changes(), now)
            assert [task.last_polled_at for task in tasks] == [now] * 3
            assert scene.next_time(now) == now + 5.0
            poll = scene.poll(now + 5.0)
            assert poll.batch is batch

    def test_each_planned_part_is_due_at_its_own_time(self, scene: Scene) -> None:
        """And at its own priority."""
        poll, tasks = self.fly(scene)
        scene.planner.next = lambda batch, now: [
            PlannedPoll(now + 20.0, PollPriority(0.5, now), PollBatch(batch.tasks[:1])),
            PlannedPoll(now + 10.0, PollPriority(0.2, now), PollBatch(batch.tasks[1:])),
        ]
        self.land(scene, poll)

        for task, due in zip(tasks, (25.0, 15.0, 15.0), strict=True):
            assert task.batch is not None
            assert task.batch.due == due
        assert scene.next_time(5.0) == 15.0

    def test_new_records_are_observed(self, scene: Scene) -> None:
        """With the service's time, and before the task's next poll is planned or the task is discarded."""
        poll, tasks = self.fly(scene)
        changes = Changes(1e9)
        statuses: list[RecordStatus] = [object(), object()]  # type: ignore[list-item]  # passed on as they are
        changes.observed += zip(tasks, statuses, strict=False)
        changes.ended.append(tasks[1])
        self.land(scene, poll, changes)

        assert scene.planner.observed == [(tasks[0], statuses[0], 1e9, 5.0), (tasks[1], statuses[1], 1e9, 5.0)]
        assert [*scene.poll(10.0).batch.tasks] == [tasks[0], tasks[2]]

    def test_ended_tasks_are_discarded_wherever_they_are(self, scene: Scene) -> None:
        """In this batch, queued, or in another poll, which is cancelled with its last task."""
        poll, tasks = self.fly(scene)
        (flying,), cancelled = scene.queue(FLUX), []
        scene.poll(4.0).cancel = lambda: cancelled.append(True)
        (queued,) = scene.queue(VEO, due=7.0)
        changes = Changes()
        changes.ended += [tasks[0], queued, flying]
        self.land(scene, poll, changes)

        assert cancelled == [True]
        assert scene.next_time(5.0) == 10.0
        assert [*scene.poll(10.0).batch.tasks] == tasks[1:]

    def test_tasks_that_go_apart_are_due_at_their_own_time(self, scene: Scene) -> None:
        """At the priority of a first poll, since the poll was sent; without a time, after the fixed interval."""
        poll, tasks = self.fly(scene, 4)
        changes = Changes()
        changes.apart[0, 6.5] = [tasks[1]]
        changes.apart[2, None] = [tasks[3]]
        changes.apart[0, None] = [tasks[0]]
        self.land(scene, poll, changes)

        batches = [task.batch for task in tasks]
        assert [batch and batch.due for batch in batches] == [12.0, 6.5, 10.0, 12.0]
        assert [batch and batch.group for batch in batches] == [LUMA, LUMA, LUMA, SPLIT]
        assert all(batch and batch.priority == PollPriority(0.01, 4.0) for batch in (batches[1], batches[3]))
        assert scene.next_time(5.0) == 6.5
        assert [*scene.poll(6.5).batch.tasks] == [tasks[1], tasks[2], tasks[0]]
        assert scene.next_time(6.5) == 12.0
        assert [*scene.poll(12.0).batch.tasks] == [tasks[3]]

    def test_where_all_tasks_go_apart_nothing_else_is_planned(self, scene: Scene) -> None:
        """There is no batch to plan for."""
        poll, tasks = self.fly(scene)
        scene.planner.next = lambda *_: pytest.fail("nothing is left")
        changes = Changes()
        changes.apart[1, 9.0] = tasks
        self.land(scene, poll, changes)

        assert scene.next_time(5.0) == 9.0

    def test_a_task_that_is_awaited_anew_in_flight_stays_in_its_new_batch(self, scene: Scene) -> None:
        """Whatever the result of the old poll, unless it has ended."""
        poll, tasks = self.fly(scene, 4)
        for task in tasks[:3]:
            scene.scheduler.discard(task)
        scene.scheduler.add(tasks[:3], 4.5)
        anew = tasks[0].batch
        changes = Changes()
        changes.apart[1, 20.0] = [tasks[0]]
        changes.ended.append(tasks[1])
        self.land(scene, poll, changes)

        assert tasks[0].batch is tasks[2].batch is anew is not poll.batch
        assert [*poll.batch.tasks] == [tasks[3]]
        assert scene.next_time(4.5) == 4.55
        assert [*scene.poll(5.0).batch.tasks] == [tasks[0], tasks[2], tasks[3]]

    def test_sequence_and_jitter_sample_are_those_of_the_sending(self) -> None:
        """They do not depend on the order of responses; equal seeds give equal samples."""
        samples = []
        for _ in range(2):
            scene = Scene()
            scene.queue(LUMA, 150)
            polls = [scene.poll(1.0) for _ in range(3)]
            samples.append([poll.jitter_sample for poll in polls])
            assert [poll.sequence for poll in polls] == sorted({poll.sequence for poll in polls})

        assert samples[0] == samples[1]
        assert len({*samples[0]}) == 3
        assert all(0.0 <= sample < 1.0 for sample in samples[0])


class TestMinInterval:
    """A provider's minimum interval is kept for each task, even if it is awaited anew."""

    @staticmethod
    def await_anew(scene: Scene, task: TrackedTask, now: float) -> float:
        """Discard a task, add it again, and return when it is due."""
        scene.scheduler.discard(task)
        again = TrackedTask(task.key)
        scene.scheduler.add([again], now)
        assert again.batch is not None
        return again.batch.due

    def test_while_its_poll_is_in_flight(self, scene: Scene) -> None:
        """The interval begins when the poll is sent."""
        (task,) = scene.queue(USEAPI)
        scene.poll(5.0)

        assert self.await_anew(scene, task, 6.0) == 5.0 + MIN_INTERVAL

    def test_after_its_poll_has_returned(self, scene: Scene) -> None:
        """The interval begins anew; once it is over, it delays nothing."""
        first, second = scene.queue(USEAPI), scene.queue(USEAPI)
        for _ in range(2):
            poll = scene.poll(5.0)
            scene.scheduler.finish(poll, 8.0)
            changes = Changes()
            changes.ended += poll.batch.tasks
            scene.scheduler.requeue(poll, changes, 8.0)

        assert self.await_anew(scene, first[0], 9.0) == 8.0 + MIN_INTERVAL
        assert self.await_anew(scene, second[0], 8.0 + MIN_INTERVAL) == 8.0 + MIN_INTERVAL + 0.05

    def test_other_tasks_are_not_delayed(self, scene: Scene) -> None:
        """Neither of that provider, nor of one without a minimum interval."""
        scene.queue(USEAPI)
        (luma,) = scene.queue(LUMA)
        for _ in range(2):
            scene.poll(5.0)

        assert self.await_anew(scene, luma, 6.0) == 6.05
        assert self.await_anew(scene, TrackedTask(("useapi-pixverse", "other")), 6.0) == 6.05

    def test_a_retry_keeps_it(self, scene: Scene) -> None:
        """However soon it is due."""
        (task,) = scene.queue(USEAPI)
        poll = scene.poll(5.0)
        scene.scheduler.finish(poll, 6.0)
        changes = Changes()
        changes.apart[0, 7.0] = [task]
        scene.scheduler.requeue(poll, changes, 6.0)

        assert scene.next_time(7.0) == 6.0 + MIN_INTERVAL

    def test_thousands_are_kept_and_dropped_when_they_are_over(self, scene: Scene) -> None:
        """Nothing grows with the number of tasks that were ever polled."""
        tasks = [TrackedTask(("useapi-pixverse", WatchedId(f"t{number}"))) for number in range(4200)]
        scene.scheduler.add(tasks, 0.0)
        for number in range(4200):
            poll = scene.poll(5.0 + number / 100.0)
            scene.scheduler.finish(poll, poll.sent_at)
            changes = Changes()
            changes.ended += poll.batch.tasks
            scene.scheduler.requeue(poll, changes, poll.sent_at)
        now = poll.sent_at
        watched = [weakref.ref(task.key[1]) for task in tasks]
        names = [str(task.key[1]) for task in tasks]
        del tasks, poll, changes

        assert sum(ref() is not None for ref in watched) < 4096
        for number, name in enumerate(names):
            task = TrackedTask(("useapi-pixverse", name))
            scene.scheduler.add([task], now)
            assert task.batch is not None
            assert task.batch.due == max(now + 0.05, 5.0 + number / 100.0 + MIN_INTERVAL)


class TestSuspended:
    """The interval of a task is kept if it is awaited anew, for providers without a minimum interval too."""

    POLICY = PollPolicy(interval=20.0, start_rate=1e6)

    @staticmethod
    def await_anew(scene: Scene, task: TrackedTask, now: float) -> float:
        """Suspend a task, add it again, and return when it is due."""
        scene.scheduler.suspend(task, now)
        again = TrackedTask(task.key)
        scene.scheduler.add([again], now)
        assert again.batch is not None
        return again.batch.due

    @pytest.mark.parametrize(("has_begun", "due"), [(True, 25.0), (False, 6.05)])
    def test_while_its_poll_is_in_flight(self, has_begun: bool, due: float) -> None:  # noqa: FBT001  # a column
        """The interval begins when the request is sent, if one is."""
        scene = Scene(self.POLICY)
        (task,) = scene.queue(LUMA)
        poll = scene.poll(5.0)
        poll.cancel = (lambda: None) if has_begun else None

        assert self.await_anew(scene, task, 6.0) == due

    @pytest.mark.parametrize("is_apart", [False, True])
    def test_after_its_poll_has_returned(self, is_apart: bool) -> None:  # noqa: FBT001  # a column
        """The interval begins with the response, planned or apart; once it is over, it delays nothing."""
        scene = Scene(self.POLICY)
        tasks = scene.queue(LUMA, 3)
        poll = scene.poll(5.0)
        scene.scheduler.finish(poll, 8.0)
        changes = Changes()
        if is_apart:
            changes.apart[1, 9.0] += tasks
        scene.scheduler.requeue(poll, changes, 8.0)

        assert self.await_anew(scene, tasks[0], 9.0) == 28.0
        assert self.await_anew(scene, tasks[1], 27.99) == pytest.approx(28.04)
        assert self.await_anew(scene, tasks[2], 40.0) == 40.05

    def test_it_is_kept_if_the_task_is_left_again_before_its_poll(self) -> None:
        """A task that was added, but not polled, has the pause of its last poll."""
        scene = Scene(self.POLICY)
        tasks = scene.queue(LUMA)
        poll = scene.poll(5.0)
        scene.scheduler.finish(poll, 8.0)
        scene.scheduler.requeue(poll, Changes(), 8.0)
        for now in (9.0, 10.0, 11.0):
            scene.scheduler.suspend(tasks[0], now)
            tasks = [TrackedTask(tasks[0].key)]
            scene.scheduler.add(tasks, now)
            assert tasks[0].batch is not None
            assert tasks[0].batch.due == 28.0

    def test_tasks_that_were_not_polled_or_have_ended_are_not_delayed(self) -> None:
        """Only a task that a poll has found unfinished is."""
        scene = Scene(self.POLICY)
        (ended,) = scene.queue(LUMA)
        poll = scene.poll(5.0)
        scene.scheduler.finish(poll, 8.0)
        changes = Changes()
        changes.ended.append(ended)
        scene.scheduler.requeue(poll, changes, 8.0)
        (new,) = scene.new_tasks(LUMA)
        scene.scheduler.add([new], 8.0)

        assert self.await_anew(scene, ended, 9.0) == 9.05
        assert self.await_anew(scene, new, 9.0) == 9.05

    def test_thousands_are_kept_and_others_are_not(self) -> None:
        """The number is bounded; when their intervals are over, others are kept."""
        scene = Scene(self.POLICY)
        for now in (100.0, 200.0):
            tasks = scene.new_tasks(LUMA, 5000)
            for start in range(0, 5000, 50):
                scene.queue_again(LUMA, PollBatch(tasks[start : start + 50]), now, SOME)
            for _ in range(100):
                poll = scene.poll(now)
                scene.scheduler.finish(poll, now)
                scene.scheduler.requeue(poll, Changes(), now)
            for task in tasks:
                scene.scheduler.suspend(task, now + 1.0)
            again = [TrackedTask(task.key) for task in tasks]
            scene.scheduler.add(again, now + 1.0)
            due = [task.batch.due for task in again if task.batch is not None]
            assert (due.count(now + 20.0), due.count(now + 1.05)) == (4096, 904)
            for task in again:
                scene.scheduler.discard(task)


@given(
    batches=st.lists(
        st.tuples(
            st.sampled_from([LUMA, SPLIT, FLUX, VEO, USEAPI]),
            st.integers(1, 70),
            st.integers(0, 20).map(float),
            st.sampled_from([0.0, 0.001, 0.1, 2.0]),
        ),
        max_size=12,
    ),
    slots=st.integers(1, 6),
    latency=st.integers(0, 3),
)
def test_every_task_is_polled_once_within_the_slots(
    batches: list[tuple[PollGroup, int, float, float]], slots: int, latency: int
) -> None:
    """Each in a request of its group, and none before one of its tasks is due."""
    scene = Scene()
    due: dict[TrackedTask, float] = {}
    groups: dict[TrackedTask, PollGroup] = {}
    for group, count, time, hazard in batches:
        for task in scene.queue(group, count, due=time, priority=PollPriority(hazard, -1.0)):
            due[task], groups[task] = time, group
    in_flight: list[tuple[float, int, InFlightPoll]] = []
    now = 0.0
    while groups or in_flight:
        poll = scene.scheduler.next_batch(now, slots - len(in_flight))
        if poll is not None:
            tasks = poll.batch.tasks
            (group,) = {groups.pop(task) for task in tasks}
            assert group.provider == poll.spec.slug
            assert 1 <= len(tasks) <= max(1, poll.spec.batch_size(50) >> group.split_level)
            assert min(due[task] for task in tasks) <= now
            assert not poll.spec.min_interval or max(due[task] for task in tasks) <= now
            in_flight.append((now + latency, poll.sequence, poll))
            assert len(in_flight) <= slots
            continue
        next_poll_at, saturated = scene.scheduler.next_poll_at, scene.scheduler.is_saturated
        # A batch that could be polled with more free slots is polled once a poll has ended.
        assert next_poll_at < math.inf or saturated or not groups
        if next_poll_at < min(in_flight, default=(math.inf,))[0]:
            now = next_poll_at
        else:
            returned = min(in_flight)
            now = returned[0]
            in_flight.remove(returned)
            scene.scheduler.finish(returned[2], now)


def test_repr_shows_the_queue_and_the_polls_in_flight(scene: Scene) -> None:
    """By group, and by number."""
    assert repr(scene.scheduler) == "<Scheduler <PollQueue empty>, 0 polls in flight>"
    scene.queue(LUMA, 70)
    poll = scene.poll(5.0)
    assert repr(scene.scheduler) == "<Scheduler <PollQueue luma: 20>, 1 polls in flight>"
    scene.scheduler.finish(poll, 6.0)

    assert repr(scene.scheduler) == "<Scheduler <PollQueue luma: 20>, 0 polls in flight>"
