"""What a client gains by learning how long tasks take: it is sooner, for no more looks, and begins as if it did not."""

from __future__ import annotations

import asyncio
import functools
import math
import random
import statistics
from typing import TYPE_CHECKING, NamedTuple

import pytest

from acetasks import Client, PollPolicy
from acetasks.durations import Durations
from acetasks.testing.clock import run
from acetasks.testing.server import AceServer
from acetasks.timetable import ENOUGH

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN = "test-token"
#: How long tasks take: about so many seconds, give or take a fifth.
MEDIAN, SPREAD = 100.0, 0.2
#: Requests beyond those of full batches at every interval that looks planned by what was learned may take, as a part.
GENEROSITY = 1.5


class Planned(NamedTuple):
    """A task as it is to be: when it is submitted and waited for, and how long it takes; both in seconds."""

    begin: float
    takes: float


class Play(NamedTuple):
    """What has come of some tasks.

    Attributes:
        requests: How many there were.
        looks: Ids asked for.
        lateness: Seconds from the end of a task to the wake-up of its waiter, on average.
        asked: When which ids were asked for.
        durations: What the client has learned.
    """

    requests: int
    looks: int
    lateness: float
    asked: list[tuple[float, tuple[str, ...]]]
    durations: Durations


def plan(count: int, *, lot: int = 1, apart: float = 0.0, seed: int = 0) -> list[Planned]:
    """Plan tasks that come in lots, some time apart."""
    draw = random.Random(seed)
    return [Planned(number // lot * apart, draw.lognormvariate(math.log(MEDIAN), SPREAD)) for number in range(count)]


def play(
    schedule: str,
    tasks: Sequence[Planned],
    *,
    durations: Durations | None = None,
    interval: float = 5.0,
    batch_size: int = 50,
) -> Play:
    """Have one client wait for tasks under a schedule, on a clock of its own."""
    policy = PollPolicy(schedule=schedule, interval=interval, batch_size=batch_size)  # type: ignore[arg-type]  # the test's own
    return run(_play(policy, tasks, durations))


async def _play(policy: PollPolicy, tasks: Sequence[Planned], durations: Durations | None) -> Play:
    lateness = []
    loop = asyncio.get_running_loop()
    async with (
        AceServer(token=TOKEN) as server,
        Client(TOKEN, base_url=server.url, policy=policy, durations=durations, rng=random.Random(1)) as client,
    ):

        async def wait(number: int, task: Planned) -> None:
            await asyncio.sleep(task.begin)
            task_id = server.add("luma", after=task.takes, id=f"t{number}")
            await client.wait("luma", task_id)
            lateness.append(loop.time() - task.begin - task.takes)

        await asyncio.gather(*(wait(number, task) for number, task in enumerate(tasks)))
        asked = [(request.time, request.ids) for request in server.requests]
        return Play(server.request_count, server.ids_asked, statistics.fmean(lateness), asked, client.durations)


@functools.cache
def _learned() -> bytes:
    return play("learned", plan(200, lot=50, apart=400.0, seed=7)).durations.to_json()


def learn() -> Durations:
    """Learn from two hundred tasks, and hand it on."""
    return Durations.from_json(_learned())


class TestCost:
    """Looks come at other times, and are no more."""

    @pytest.mark.parametrize("is_known", [False, True])
    @pytest.mark.parametrize(
        ("tasks", "more"),
        [
            (plan(50, lot=50), GENEROSITY),
            (plan(200, lot=200), GENEROSITY),
            # About forty at once, and three hundred: one request serves newcomers and others.
            (plan(160, apart=2.5), 1.1),
            (plan(300, apart=0.3), 1.1),
        ],
        ids=["one lot of 50", "one lot of 200", "a trickle of 40", "a trickle of 300"],
    )
    def test_is_that_of_the_interval(self, tasks: list[Planned], more: float, is_known: bool) -> None:  # noqa: FBT001  # a column
        """Ids are asked for about as often, and requests are no more than is allowed for."""
        fixed = play("fixed", tasks)
        learned = play("learned", tasks, durations=learn() if is_known else None)

        # In a first lot of which nothing is known, what is allowed for is left over until ends are known.
        assert learned.looks <= (1.1 if is_known else 1.3) * fixed.looks
        assert learned.requests <= more * fixed.requests

    def test_is_that_of_the_interval_for_a_thousand_tasks(self) -> None:
        """Spread over time."""
        tasks = plan(1000, apart=1.0)
        fixed, learned = play("fixed", tasks), play("learned", tasks)

        assert learned.looks <= 1.05 * fixed.looks
        assert learned.requests <= 1.1 * fixed.requests

    def test_is_no_more_for_lots_with_nothing_in_between(self) -> None:
        """While nobody is waited for, no interval would have cost anything."""
        tasks = plan(200, lot=40, apart=2000.0)
        fixed, learned = play("fixed", tasks), play("learned", tasks, durations=learn())

        assert learned.looks <= 1.05 * fixed.looks
        assert learned.requests <= GENEROSITY * fixed.requests


class TestGain:
    """Ends are seen sooner, once it is known when they are."""

    @pytest.mark.parametrize("lot", [50, 100, 200])
    def test_a_lot_is_seen_sooner(self, lot: int) -> None:
        """Also than at an interval that is so much shorter that it costs as many requests."""
        tasks = plan(lot, lot=lot)
        learned = play("learned", tasks, durations=learn())
        fixed = play("fixed", tasks)
        shorter = play("fixed", tasks, interval=5.0 * fixed.requests / learned.requests)

        assert shorter.requests == pytest.approx(learned.requests, rel=0.1)
        assert learned.lateness <= 0.6 * fixed.lateness
        assert learned.lateness <= 0.75 * shorter.lateness * shorter.requests / learned.requests
        assert learned.looks < fixed.looks

    def test_later_lots_are_seen_sooner_than_the_first(self) -> None:
        """A client learns by itself, from one lot to the next."""
        one, four = plan(50, lot=50), plan(200, lot=50, apart=1.5 * MEDIAN)
        first, all_four = play("learned", one), play("learned", four)

        assert all_four.lateness < 0.9 * first.lateness

    def test_a_first_lot_is_not_seen_later(self) -> None:
        """However many were submitted together: the first ends say little of the others."""
        tasks = plan(2000, lot=2000)
        learned, fixed = play("learned", tasks), play("fixed", tasks)

        assert learned.lateness <= fixed.lateness
        assert learned.looks <= 1.3 * fixed.looks


class TestDurations:
    """What is learned can be kept, handed on and shared."""

    def test_go_from_one_client_to_the_next(self) -> None:
        """What `to_json` writes `from_json` brings back, and the next client adds to it."""
        first = (play("learned", plan(60, lot=60))).durations
        kept = Durations.from_json(first.to_json())
        assert kept.to_json() == first.to_json()
        assert kept.law("luma").evidence == 60

        second = (play("learned", plan(20, lot=20, seed=1), durations=kept)).durations
        assert second is kept
        assert kept.law("luma").evidence == 80
        assert first.law("luma").evidence == 60

    def test_plan_as_those_that_were_written_down(self) -> None:
        """Where they are read makes no difference for any look."""
        first = (play("learned", plan(60, lot=60))).durations
        kept = first.to_json()
        tasks = plan(30, lot=30, seed=1)
        plays = [play("learned", tasks, durations=Durations.from_json(kept)) for _ in range(2)]

        assert plays[0].asked == plays[1].asked
        assert plays[0].asked != (play("learned", tasks)).asked

    async def test_are_the_clients_own_unless_given(self, server: AceServer) -> None:
        """One that is made without begins with nothing, and keeps what it has learned when it is closed."""
        clients = [Client(TOKEN, base_url=server.url) for _ in range(2)]
        assert clients[0].durations is not clients[1].durations
        async with clients[0] as client:
            await client.wait("luma", server.add("luma", after=30.0))

        assert clients[0].durations.law("luma").evidence == 1
        assert clients[1].durations.to_json() == Durations().to_json()

    @pytest.mark.parametrize("schedule", ["fixed", "proportional"])
    def test_are_not_touched_by_other_schedules(self, schedule: str) -> None:
        """They are there all the same."""
        durations = learn()
        before = durations.to_json()
        played = play(schedule, plan(20, lot=20), durations=durations)

        assert played.durations is durations
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
        assert durations.law("luma").evidence == 2 * ENOUGH


class TestNothingLearned:
    """As long as nothing is known, looks are those of the fixed schedule."""

    @pytest.mark.parametrize(
        ("tasks", "batch_size"),
        [
            (plan(ENOUGH - 1, lot=ENOUGH - 1), 50),
            (plan(ENOUGH - 1, apart=7.0), 50),
            ([Planned(number % 9 * 5.0, 600.0) for number in range(120)], 50),
            ([Planned(0.0, 600.0)] * 30, 8),
        ],
        ids=["one lot", "one by one", "many that do not end", "small batches"],
    )
    def test_looks_are_exactly_those_of_the_fixed_schedule(self, tasks: list[Planned], batch_size: int) -> None:
        """At the same times for the same ids, up to the first plan that is made otherwise."""
        plays = [play(schedule, tasks, batch_size=batch_size) for schedule in ("fixed", "learned")]
        # Ends of the last of many are enough to learn from.
        until = math.inf if len(tasks) < ENOUGH else 500.0
        fixed, learned = ([(time, sorted(ids)) for time, ids in each.asked if time < until] for each in plays)

        assert learned == fixed
        assert len(fixed) > 10

    def test_a_law_with_too_few_ends_is_nothing(self) -> None:
        """Up to enough, what was handed on changes no look."""
        durations = (play("learned", plan(3, lot=3))).durations
        assert durations.law("luma").evidence == 3
        tasks = plan(ENOUGH - 4, lot=2, apart=11.0, seed=2)

        plays = [play("learned", tasks, durations=durations), play("fixed", tasks)]

        learned, fixed = ([(time, sorted(ids)) for time, ids in each.asked] for each in plays)
        assert learned == fixed
