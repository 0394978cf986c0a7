"""The simulation of a fleet, with few tasks; `nox -s million` has a million, and all scenarios."""

from __future__ import annotations

import msgspec
from fleet import simulate
from jobs import Kind, Scenario
from takeover import simulate_death
from totals import add_up, measure_rate

#: Ten workers that share the 60 requests a second of one token.
FLEET = Scenario(
    name="small",
    tasks=600,
    rate=6.0,
    kinds=(Kind("luma", 0.5, 40.0), Kind("suno", 0.4, 20.0), Kind("flux", 0.1, 3.2)),
    arrivals=40.0,
)


def test_workers_alone_and_in_one_loop_do_the_same() -> None:
    """Each sends and writes the same at the same times, to the last bit, so that runs of single workers add up."""
    scenario = msgspec.structs.replace(FLEET, tasks=100)
    together = simulate(scenario, range(scenario.workers))
    assert together.results == [simulate(scenario, [worker]).results[0] for worker in range(scenario.workers)]
    assert add_up(scenario, [together]).tasks == 100


def test_a_fleet_keeps_the_limit_of_its_token() -> None:
    """With more to send than it allows for some seconds, no second has more, and all results come."""
    totals = add_up(FLEET, [simulate(FLEET, range(FLEET.workers))])
    assert totals.tasks == totals.submissions == len(totals.waits) == 600
    # Each worker sends 10/11 of its share, evenly: 5 or 6 requests in any second, and 54.5 of all on average.
    assert 54 < totals.requests.second <= 60
    assert totals.rows == 3 * totals.tasks
    assert totals.transactions.count < totals.rows
    assert 0 <= totals.waits[0] < totals.waits[-1] < 10.0
    for found in totals.lateness.values():
        assert 0 <= found.median < 4.0
        assert found.most < 25.0


def test_a_fleet_follows_what_was_handed_over() -> None:
    """With fewer requests than their intervals need, most lateness is within a round of all ids at the limit."""
    scenario = msgspec.structs.replace(FLEET, tasks=2000, workers=2, rate=1.0, arrivals=0.0, horizon=150.0)
    totals = add_up(scenario, [simulate(scenario, range(2))])
    assert totals.tasks == totals.awaiting == 2000
    assert totals.submissions == len(totals.waits) == 0
    assert totals.requests.second <= 2
    # 1,000 ids a worker are 20 requests of 50, which take 22 s.
    for found in totals.lateness.values():
        assert found.median < 11.0
        assert found.most < 3 * 22.0


def test_the_tasks_of_a_dead_worker_are_taken_over() -> None:
    """They are awaited by the others without another submission, late by the time until they are redelivered."""
    scenario = msgspec.structs.replace(FLEET, tasks=400, kinds=FLEET.kinds[:1])
    takeover = simulate_death(scenario, 5.0)
    totals = add_up(scenario, [takeover.run])
    assert takeover.redelivered > 15
    assert len(takeover.lateness) == takeover.redelivered - takeover.uncertain
    assert totals.tasks == 400 - takeover.uncertain
    # Those under way at the moment of the death are uncertain: they were sent, or waited for their turn.
    assert takeover.uncertain <= 3
    assert totals.tasks <= totals.submissions <= 400
    assert max(takeover.lateness) < 25.0
    assert totals.requests.second <= 60


def test_the_busiest_second() -> None:
    """It is any second, which excludes its end, not one of the clock."""
    rate = measure_rate([0.0, 0.6, 0.7, 1.5, 1.6], 10.0)
    assert (rate.count, rate.mean, rate.second) == (5, 0.5, 3)
    assert rate.minute == 5 / 60
