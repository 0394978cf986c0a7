"""The scheduler's data: priorities, batches and polls in flight."""

from __future__ import annotations

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._scheduling.tasks import InFlightPoll, PollBatch, PollGroup, PollPriority, TrackedTask
from acetasks.providers import lookup


def new_tasks(count: int) -> list[TrackedTask]:
    """Build tasks."""
    return [TrackedTask(("luma", f"t{number}")) for number in range(count)]


class TestPollPriority:
    """The delay that has built up since the last poll."""

    @pytest.mark.parametrize(
        ("hazard", "seconds", "score"), [(0.01, 0.0, 0.0), (0.01, 10.0, 0.5), (0.01, 20.0, 2.0), (0.5, 2.0, 1.0)]
    )
    def test_score_grows_with_the_square_of_the_time(self, hazard: float, seconds: float, score: float) -> None:
        """At a constant hazard h, the expected delay is h t²/2 after t seconds."""
        assert PollPriority(hazard, 100.0).score(100.0 + seconds) == score

    def test_a_hazard_of_zero_has_a_score(self) -> None:
        """Such a task is polled too, if rarely."""
        zero = PollPriority(0.0, 0.0)

        assert 0.0 < zero.score(10.0) < min(zero.score(20.0), 1e-6)
        assert zero.urgency == PollPriority(1e-300, 0.0).urgency < PollPriority(1e-6, 0.0).urgency

    @given(hazard=st.floats(1e-11, 1e3), factor=st.floats(1.0, 100.0))
    def test_urgency_is_the_power_of_two_of_the_hazard(self, hazard: float, factor: float) -> None:
        """Whatever the time of the last poll."""
        urgency = PollPriority(hazard, 0.0).urgency

        assert PollPriority(hazard * factor, 7.0).urgency >= urgency
        assert PollPriority(hazard * 2.0, 0.0).urgency == urgency + 1

    @given(hazard=st.floats(1e-6, 1e3), times=st.lists(st.floats(0, 1e4), min_size=2, unique=True))
    def test_of_equal_hazards_the_oldest_poll_has_the_highest_score(self, hazard: float, times: list[float]) -> None:
        """At any later time."""
        scores = [PollPriority(hazard, time).score(20_000.0) for time in sorted(times)]

        assert scores == sorted(scores, reverse=True)


class TestPollBatch:
    """Tasks that are polled together."""

    def test_tasks_refer_to_their_last_batch(self) -> None:
        """A task moves to the last batch that was made of it; pruning drops it from the other."""
        first, second, third = new_tasks(3)
        old = PollBatch([first, second])
        new = PollBatch(task for task in (second, third))

        assert (first.batch, second.batch, third.batch) == (old, new, new)
        old.prune()
        assert (old.tasks, old.live_count) == ((first,), 1)
        assert (new.tasks, new.live_count) == ((second, third), 2)

    def test_a_discarded_task_leaves_a_hole(self) -> None:
        """Pruning closes it; without holes the tuple of tasks stays the same object."""
        first, second, third = new_tasks(3)
        batch = PollBatch([first, second, third])
        batch.discard(second)
        assert second.batch is None
        assert (batch.tasks, batch.live_count) == ((first, second, third), 2)
        batch.prune()
        tasks = batch.tasks
        batch.prune()

        assert batch.tasks is tasks
        assert tasks == (first, third)

    def test_it_is_neither_queued_nor_in_flight_at_first(self) -> None:
        """The repr shows its state and size."""
        batch = PollBatch(new_tasks(3))
        assert (batch.group, batch.poll) == (None, None)
        assert repr(batch) == "<PollBatch of 3, idle>"
        batch.group, batch.due = PollGroup("luma"), 7.5
        assert repr(batch) == "<PollBatch of 3, due at 7.5>"
        batch.poll = InFlightPoll(lookup("luma"), batch, 5.0, sequence=3, jitter_sample=0.25)
        assert repr(batch) == "<PollBatch of 3, in flight>"
        assert repr(batch.poll) == "<InFlightPoll luma, 3 tasks>"
        assert batch.poll.cancel is None


def test_tasks_are_not_tracked_by_the_garbage_collector() -> None:
    """Hundreds of thousands of tasks do not slow it down."""
    (task,) = new_tasks(1)

    assert not gc.is_tracked(task)


def test_groups_are_ordered_by_provider_and_split_level() -> None:
    """At equal scores, tasks that are not split are polled first."""
    expecting = PollGroup("luma", expecting=True)
    groups = [PollGroup("luma", 5), expecting, PollGroup("luma"), PollGroup("flux"), PollGroup("luma", 1)]

    assert sorted(groups) == [PollGroup("flux"), PollGroup("luma"), expecting, *groups[-1:], groups[0]]
