"""What the harness counts of notes and kills, on made-up ones: that it finds what is lost, late and paid for twice."""

from __future__ import annotations

from counts import Order, find_orphans, find_wrong
from processes import Fault, Note

from acetasks.providers.table import lookup
from acetasks.testing.rules import Outcome, Rule
from acetasks.testing.scenario import Scenario


def begin(time: float, worker: str, order: str) -> Note:
    """Return the note of a worker that begins an order."""
    return Note(time, "begin", worker, order)


def test_jobs_of_a_killed_worker() -> None:
    """Each is late by the time until another begins it, or was left."""
    notes = [begin(1, "a", "soon"), begin(1, "a", "late"), begin(1, "a", "left"), begin(4, "a", "new")]
    notes += [begin(9, "b", "soon"), begin(13, "b", "late")]
    found = find_orphans(notes, [Fault(2, "a")], ended={})
    assert (sorted(found.late), found.too_late, found.left) == ([7, 11], 1, ["left"])


def test_an_order_that_had_ended() -> None:
    """What a worker had ended before it was killed is no orphan."""
    notes = [begin(1, "a", "done"), Note(1.5, "end", "a", "done")]
    assert find_orphans(notes, [Fault(2, "a")], ended={"done": 1.5}) == (0, [], 0, [])


def test_a_successor_that_is_killed_too() -> None:
    """The second kill restarts the time, but only once."""
    notes = [begin(1, "a", "once"), begin(1, "a", "again"), begin(14, "c", "once"), begin(23, "c", "again")]
    found = find_orphans(notes, [Fault(2, "a"), Fault(7, "b"), Fault(16, "b")], ended={})
    assert (sorted(found.late), found.too_late) == ([12, 21], 1)


def test_results_of_other_tasks() -> None:
    """A result must have the order's own task, and its outcome."""
    scenario = Scenario(seed=0, speed=1.0, failure_rate=0.0)
    task = scenario.add(lookup("luma"), Rule(outcome=Outcome.FAILED), now=0.0, request={"prompt": "own"})
    orders = {
        "own": Order("failed", task.id),
        "other": Order("failed", task.id),
        "none": Order("succeeded", None),
        "open": Order("open", None),
    }
    assert find_wrong(orders, {task.id: task}) == ["other", "none"]
