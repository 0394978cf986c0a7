"""Results: what the scheduler receives of a poll's result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from support import EXACT, IgnoringWaiter, done, record

from acetasks import PermissionDeniedError, RetryPolicy, TaskChanged, TransportError
from acetasks._http import PollResult
from acetasks._limits import Throttle
from acetasks._polling.outcomes import OutcomeRules
from acetasks._polling.registry import TaskRegistry
from acetasks._polling.results import ResultHandler
from acetasks._scheduling import InFlightPoll, PollBatch
from acetasks.events import Observers
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from acetasks import Event
    from acetasks._polling.awaited import AwaitedTask
    from acetasks._scheduling import Changes
    from acetasks.providers import RecordStatus

LUMA = lookup("luma")
GONE = read_record(LUMA, b"{}", task_id="gone")


class Handler:
    """A result handler, its registry, and a poll of some awaited luma tasks.

    Attributes:
        registry: The registry.
        waiter: Awaits all tasks.
        events: The emitted events.
        throttle: The limits.
    """

    def __init__(self, *ids: str) -> None:
        self.events: list[Event] = []
        self.registry = TaskRegistry()
        self.waiter = IgnoringWaiter()
        self.throttle = Throttle(EXACT, RetryPolicy())
        rules = OutcomeRules(EXACT, throttle=self.throttle, registry=self.registry)
        self._results = ResultHandler(self.registry, rules=rules, observers=Observers([self]))
        batch = PollBatch(self.await_tasks("luma", *ids))
        self._poll = InFlightPoll(LUMA, batch, 0.0, sequence=0, jitter_sample=0.5)

    def on_event(self, event: Event) -> None:
        """Record an event."""
        self.events.append(event)

    def await_tasks(self, provider: str, *ids: str) -> list[AwaitedTask]:
        """Register the waiter for tasks."""
        return self.registry.register(self.waiter, [(provider, task_id) for task_id in ids])

    def apply(self, result: PollResult, now: float = 1.0) -> Changes:
        """Apply a result of the poll."""
        return self._results.apply(self._poll, result, now)


def read(*records: dict[str, object]) -> dict[str, RecordStatus]:
    """Read new records."""
    statuses = (read_record(LUMA, msgspec.json.encode(raw)) for raw in records)
    return {status.id: status for status in statuses}


def test_found_tasks_are_observed() -> None:
    """The schedule learns from new records, of ended tasks too, but not from missing ones."""
    statuses = read(record("a"), done("b"))
    handler = Handler("a", "b", "gone", "same")
    for now in (1.0, 2.0, 20.0):
        changes = handler.apply(
            PollResult(statuses=statuses | {"gone": GONE}, unchanged=("same",), server_time=7.0), now
        )
        assert [(task.key[1], status) for task, status in changes.observed] == [
            (task_id, status) for task_id, status in statuses.items() if now == 1.0 or task_id == "a"
        ]

    assert changes.server_time == 7.0
    assert [task.key[1] for task in changes.ended] == ["gone"]
    assert [task.key[1] for task in handler.registry] == ["a", "same"]


def test_tasks_that_are_polled_apart_are_grouped() -> None:
    """They are grouped by split level and due time; unchanged and running tasks stay in their batch."""
    reset = TransportError("reset")
    handler = Handler("a", "b", "c", "d", "e")
    changes = handler.apply(
        PollResult(statuses=read(record("a")), unchanged=("b",), missing=["c"], errors=dict.fromkeys(("d", "e"), reset))
    )

    (failed, failed_tasks), (missing, missing_tasks) = changes.apart.items()
    assert (missing, [task.key[1] for task in missing_tasks]) == ((0, None), ["c"])
    assert (failed[0], [task.key[1] for task in failed_tasks]) == (0, ["d", "e"])
    assert failed[1] is not None
    assert failed[1] > 1.0
    assert changes.ended == []


def test_an_error_of_the_provider_ends_all_its_tasks() -> None:
    """Tasks of other batches are among the ended ones, each once; tasks of other providers are not."""
    handler = Handler("a", "b")
    handler.await_tasks("luma", "c")
    handler.await_tasks("veo", "a")
    error = PermissionDeniedError("used up", status=403)
    handler.throttle.record(LUMA, PollResult(errors={"c": error}), sent_at=-5.0, now=-5.0, jitter_sample=0.5)
    handler.throttle.record(LUMA, PollResult(errors={"a": error}), sent_at=0.0, now=0.0, jitter_sample=0.5)
    changes = handler.apply(PollResult(errors=dict.fromkeys(("a", "b"), error)))

    assert sorted(task.key for task in changes.ended) == [("luma", task_id) for task_id in "abc"]
    assert [task.key for task in handler.registry] == [("veo", "a")]


@pytest.mark.parametrize("is_awaited_anew", [False, True])
def test_tasks_that_are_not_awaited_any_more_are_passed_over(is_awaited_anew: bool) -> None:  # noqa: FBT001  # a column
    """A task that was left during the poll changes nothing; one that is awaited anew receives the result."""
    handler = Handler("a")
    handler.registry.leave(handler.waiter, ("luma", "a"))
    if is_awaited_anew:
        handler.await_tasks("luma", "a")
    changes = handler.apply(PollResult(statuses=read(done("a"))))

    assert len(changes.observed) == len(changes.ended) == is_awaited_anew
    assert len(handler.registry) == 0


def test_an_undocumented_state_that_lasts_is_reported_again() -> None:
    """It is after ten times the usual duration, in new and unchanged records alike, and once in as much time."""
    handler = Handler("a", "b")
    paused = read(record("a", state="paused"))
    handler.apply(PollResult(statuses=paused | read(record("b"))), 0.0)
    handler.events.clear()
    usual = LUMA.typical_duration
    for now in (usual, usual * 9.9, usual * 10, usual * 15, usual * 20):
        is_new = now == usual * 15
        result = PollResult(statuses=paused if is_new else {}, unchanged=("b",) if is_new else ("a", "b"))
        handler.apply(result, now)

    (task,) = paused.values()
    assert handler.events == [
        TaskChanged(time=now, provider="luma", task=task.task, unknown_word="paused", unknown_for=usual * 10)
        for now in (usual * 10, usual * 20)
    ]
