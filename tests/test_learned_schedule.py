"""The learned schedule of a whole client: it notices ends sooner, for no more polls than a fixed interval."""

from __future__ import annotations

import asyncio
import functools
import math
import random
import statistics
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

from acetasks import Client, PollPolicy
from acetasks._scheduling import Durations
from acetasks._scheduling.timetable import ENOUGH
from acetasks.testing.clock import run
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Sequence

Schedule = Literal["fixed", "proportional", "learned"]

TOKEN = "test-token"
#: Durations are lognormal: the median in seconds, and the standard deviation of the logarithm.
MEDIAN, SPREAD = 100.0, 0.2
#: Requests of the learned schedule, as a multiple of those of full batches at each interval.
MOST_REQUESTS = 1.5


class PlannedTask(NamedTuple):
    """A task to be simulated: the time of its submission, from which it is awaited, and its duration, in seconds."""

    begin: float
    duration: float


class Simulation(NamedTuple):
    """Result of a simulation.

    Attributes:
        requests: Number of requests.
        polls: Number of polled ids.
        lateness: Mean seconds from the end of a task until its waiter continues.
        polled: Time and ids of each request.
        durations: What the client has learned.
    """

    requests: int
    polls: int
    lateness: float
    polled: list[tuple[float, tuple[str, ...]]]
    durations: Durations


def plan(count: int, *, burst: int = 1, gap: float = 0.0, seed: int = 0) -> list[PlannedTask]:
    """Plan tasks in bursts, some seconds apart."""
    rng = random.Random(seed)
    return [PlannedTask(number // burst * gap, rng.lognormvariate(math.log(MEDIAN), SPREAD)) for number in range(count)]


def simulate(
    schedule: Schedule,
    tasks: Sequence[PlannedTask],
    *,
    durations: Durations | None = None,
    interval: float = 5.0,
    batch_size: int = 50,
) -> Simulation:
    """Await tasks with one client, on a virtual clock."""
    policy = PollPolicy(schedule=schedule, interval=interval, batch_size=batch_size)
    return run(_simulate(policy, tasks, durations))


async def _simulate(policy: PollPolicy, tasks: Sequence[PlannedTask], durations: Durations | None) -> Simulation:
    lateness = []
    loop = asyncio.get_running_loop()
    async with (
        AceServer(token=TOKEN) as server,
        Client(TOKEN, base_url=server.url, policy=policy, durations=durations, rng=random.Random(1)) as client,
    ):

        async def wait(number: int, task: PlannedTask) -> None:
            await asyncio.sleep(task.begin)
            task_id = server.add("luma", after=task.duration, id=f"t{number}")
            await client.wait("luma", task_id)
            lateness.append(loop.time() - task.begin - task.duration)

        await asyncio.gather(*(wait(number, task) for number, task in enumerate(tasks)))
        polled = [(request.time, request.ids) for request in server.requests]
        return Simulation(server.request_count, server.ids_asked, statistics.fmean(lateness), polled, client.durations)


@functools.cache
def _learned() -> bytes:
    return simulate("learned", plan(200, burst=50, gap=400.0, seed=7)).durations.to_json()


def learn() -> Durations:
    """Return what a client learns from two hundred tasks."""
    return Durations.from_json(_learned())


class TestCost:
    """Polls are at other times than at a fixed interval, and not more."""

    @pytest.mark.parametrize("is_known", [False, True])
    @pytest.mark.parametrize(
        ("tasks", "more"),
        [
            (plan(50, burst=50), MOST_REQUESTS),
            (plan(200, burst=200), MOST_REQUESTS),
            # About 40 and 300 at a time: one request serves new tasks and others.
            (plan(160, gap=2.5), 1.1),
            (plan(300, gap=0.3), 1.1),
        ],
        ids=["burst of 50", "burst of 200", "40 at a time", "300 at a time"],
    )
    def test_is_that_of_the_interval(self, tasks: list[PlannedTask], more: float, is_known: bool) -> None:  # noqa: FBT001  # a column
        """There are about as many polls, and no more requests than the budget allows."""
        fixed = simulate("fixed", tasks)
        learned = simulate("learned", tasks, durations=learn() if is_known else None)

        # In a first burst of which nothing is known, the budget is saved until ends are known.
        assert learned.polls <= (1.1 if is_known else 1.3) * fixed.polls
        assert learned.requests <= more * fixed.requests

    def test_is_that_of_the_interval_for_a_thousand_tasks(self) -> None:
        """Spread over time."""
        tasks = plan(1000, gap=1.0)
        fixed, learned = simulate("fixed", tasks), simulate("learned", tasks)

        assert learned.polls <= 1.05 * fixed.polls
        assert learned.requests <= 1.1 * fixed.requests

    def test_is_not_saved_between_bursts(self) -> None:
        """While nothing is awaited, a fixed interval would cost nothing either."""
        tasks = plan(200, burst=40, gap=2000.0)
        fixed, learned = simulate("fixed", tasks), simulate("learned", tasks, durations=learn())

        assert learned.polls <= 1.05 * fixed.polls
        assert learned.requests <= MOST_REQUESTS * fixed.requests


class TestLateness:
    """Ends are noticed sooner, once the durations are known."""

    @pytest.mark.parametrize("burst", [50, 100, 200])
    def test_of_a_burst_is_less(self, burst: int) -> None:
        """Also than at a fixed interval that is so much shorter that it costs as many requests."""
        tasks = plan(burst, burst=burst)
        learned = simulate("learned", tasks, durations=learn())
        fixed = simulate("fixed", tasks)
        shorter = simulate("fixed", tasks, interval=5.0 * fixed.requests / learned.requests)

        assert shorter.requests == pytest.approx(learned.requests, rel=0.1)
        assert learned.lateness <= 0.6 * fixed.lateness
        assert learned.lateness <= 0.75 * shorter.lateness * shorter.requests / learned.requests
        assert learned.polls < fixed.polls

    def test_of_later_bursts_is_less_than_of_the_first(self) -> None:
        """A client learns by itself, from one burst to the next."""
        first = simulate("learned", plan(50, burst=50))
        four = simulate("learned", plan(200, burst=50, gap=1.5 * MEDIAN))

        assert four.lateness < 0.9 * first.lateness

    def test_of_a_first_burst_is_not_more(self) -> None:
        """However large it is: the first ends say little of the others."""
        tasks = plan(2000, burst=2000)
        learned, fixed = simulate("learned", tasks), simulate("fixed", tasks)

        assert learned.lateness <= fixed.lateness
        assert learned.polls <= 1.3 * fixed.polls


class TestDurations:
    """Learned durations can be saved, carried over and shared."""

    def test_are_carried_over_to_the_next_client(self) -> None:
        """Which adds its own."""
        first = simulate("learned", plan(60, burst=60)).durations
        saved = Durations.from_json(first.to_json())
        assert saved.to_json() == first.to_json()
        assert saved.hazard("luma").evidence == 60

        second = simulate("learned", plan(20, burst=20, seed=1), durations=saved).durations
        assert second is saved
        assert saved.hazard("luma").evidence == 80
        assert first.hazard("luma").evidence == 60

    def test_give_the_same_polls_each_time_they_are_loaded(self) -> None:
        """And others than a client has that knows nothing."""
        saved = simulate("learned", plan(60, burst=60)).durations.to_json()
        tasks = plan(30, burst=30, seed=1)
        one, two = (simulate("learned", tasks, durations=Durations.from_json(saved)) for _ in range(2))

        assert one.polled == two.polled
        assert one.polled != simulate("learned", tasks).polled

    async def test_are_the_clients_own_unless_given(self, server: AceServer) -> None:
        """A client without any begins with none, and keeps what it has learned when it is closed."""
        clients = [Client(TOKEN, base_url=server.url) for _ in range(2)]
        assert clients[0].durations is not clients[1].durations
        async with clients[0] as client:
            await client.wait("luma", server.add("luma", after=30.0))

        assert clients[0].durations.hazard("luma").evidence == 1
        assert clients[1].durations.to_json() == Durations().to_json()

    @pytest.mark.parametrize("schedule", ["fixed", "proportional"])
    def test_are_not_changed_by_other_schedules(self, schedule: Schedule) -> None:
        """The client still has them."""
        durations = learn()
        before = durations.to_json()
        simulation = simulate(schedule, plan(20, burst=20), durations=durations)

        assert simulation.durations is durations
        assert durations.to_json() == before

    async def test_can_be_shared(self, server: AceServer) -> None:
        """Two clients of one process learn from each other's tasks, each end once."""
        durations = Durations()
        async with (
            Client(TOKEN, base_url=server.url, durations=durations) as one,
            Client(TOKEN, base_url=server.url, durations=durations) as other,
        ):
            ids = [server.add("luma", after=60.0 + number) for number in range(2 * ENOUGH)]
            await asyncio.gather(one.wait_all("luma", ids[:ENOUGH]), other.wait_all("luma", ids[ENOUGH:]))

        assert one.durations is other.durations is durations
        assert durations.hazard("luma").evidence == 2 * ENOUGH


class TestNothingLearned:
    """As long as too little is known, polls are those of the fixed schedule."""

    @pytest.mark.parametrize(
        ("tasks", "batch_size"),
        [
            (plan(ENOUGH - 1, burst=ENOUGH - 1), 50),
            (plan(ENOUGH - 1, gap=7.0), 50),
            ([PlannedTask(number % 9 * 5.0, 600.0) for number in range(120)], 50),
            ([PlannedTask(0.0, 600.0)] * 30, 8),
        ],
        ids=["one burst", "one by one", "many that do not end", "small batches"],
    )
    def test_polls_are_exactly_those_of_the_fixed_schedule(self, tasks: list[PlannedTask], batch_size: int) -> None:
        """At the same times for the same ids, up to the first learned plan."""
        simulations = [simulate(schedule, tasks, batch_size=batch_size) for schedule in ("fixed", "learned")]
        # Of many tasks, the first ends are enough to learn from.
        until = math.inf if len(tasks) < ENOUGH else 500.0
        fixed, learned = ([(time, sorted(ids)) for time, ids in each.polled if time < until] for each in simulations)

        assert learned == fixed
        assert len(fixed) > 10

    def test_too_few_carried_over_ends_change_no_poll(self) -> None:
        """They count towards the number that is enough."""
        durations = simulate("learned", plan(3, burst=3)).durations
        assert durations.hazard("luma").evidence == 3
        tasks = plan(ENOUGH - 4, burst=2, gap=11.0, seed=2)
        simulations = [simulate("learned", tasks, durations=durations), simulate("fixed", tasks)]

        learned, fixed = ([(time, sorted(ids)) for time, ids in each.polled] for each in simulations)
        assert learned == fixed
