"""The simulation of a fleet, with few tasks; `nox -s million` has a million, and all scenarios."""

from __future__ import annotations

import msgspec
import pytest
from fleet import simulate
from jobs import Kind, Scenario
from takeover import simulate_death
from totals import add_up, measure_rate

# Some seconds of CPU each: much more on a busy machine.
pytestmark = pytest.mark.timeout(400)

#: Ten workers that share the 60 requests a second of one token.
FLEET = Scenario(
    name="small",
    tasks=2000,
    rate=6.0,
    kinds=(Kind("luma", 0.5, 40.0), Kind("suno", 0.4, 20.0), Kind("flux", 0.1, 3.2)),
    arrivals=40.0,
)


def test_workers_alone_and_in_one_loop_do_the_same() -> None:
    """Each sends and writes the same at the same times, to the last bit, so that runs of single workers add up."""
    scenario = msgspec.structs.replace(FLEET, tasks=200)
    together = simulate(scenario, range(scenario.workers))
    assert together.results == [simulate(scenario, [worker]).results[0] for worker in range(scenario.workers)]
    assert add_up(scenario, [together]).tasks == 200


def test_a_fleet_keeps_the_limit_of_its_token() -> None:
    """At two thirds of the limit for submissions, all results come, late by some intervals at most."""
    totals = add_up(FLEET, [simulate(FLEET, range(FLEET.workers))])
    assert totals.tasks == totals.submissions == 2000
    # A submission is sent after the write of its intent, so that two may be a little closer than planned.
    assert totals.requests.minute <= 60.0
    assert totals.requests.second <= 66
    assert totals.ids < 15 * totals.tasks
    assert totals.rows == 3 * totals.tasks
    assert totals.transactions.count < totals.rows
    for found in totals.lateness.values():
        assert 0 <= found.median < 4.0
        assert found.most < 25.0


def test_a_fleet_follows_what_was_handed_over() -> None:
    """With fewer requests than their intervals need, most lateness is within a round of all ids at the limit."""
    scenario = msgspec.structs.replace(FLEET, tasks=4000, workers=2, rate=1.0, arrivals=0.0, horizon=300.0)
    totals = add_up(scenario, [simulate(scenario, range(2))])
    assert totals.tasks == totals.awaiting == 4000
    assert totals.submissions == 0
    assert totals.requests.second <= 2
    # 2,000 ids a worker are 40 requests of 50, which take 40 s.
    for found in totals.lateness.values():
        assert found.median < 20.0
        assert found.most < 3 * 40.0


def test_the_tasks_of_a_dead_worker_are_taken_over() -> None:
    """They are awaited by the others without another submission, late by the time until they are redelivered."""
    scenario = msgspec.structs.replace(FLEET, tasks=600, kinds=FLEET.kinds[:1])
    takeover = simulate_death(scenario, 10.0)
    totals = add_up(scenario, [takeover.run])
    assert takeover.redelivered > 20
    assert len(takeover.lateness) == takeover.redelivered - takeover.uncertain
    assert totals.tasks == 600 - takeover.uncertain
    assert totals.submissions == 600
    assert takeover.uncertain <= 3  # those under way at the moment of the death
    assert max(takeover.lateness) < 25.0
    assert totals.requests.minute <= 60.0


def test_the_busiest_second() -> None:
    """It is any second, which excludes its end, not one of the clock."""
    rate = measure_rate([0.0, 0.6, 0.7, 1.5, 1.6], 10.0)
    assert (rate.count, rate.mean, rate.second) == (5, 0.5, 3)
    assert rate.minute == 5 / 60
