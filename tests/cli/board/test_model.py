"""The model of the board: from events to what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import acetasks
from acetasks import ServiceError, Task, TaskState, TransportError
from acetasks.cli.board.model import BoardModel
from acetasks.events import BatchesIgnored, OutageBegan, OutageEnded, RateCut, RateRestored, TaskSubmitted
from acetasks.events import RequestAnswered as Answered
from acetasks.events import RequestFailed as Failed
from acetasks.events import RequestSent as Sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks.testing.server import AceServer
    from tests.cli.board.conftest import Board

    MakeBoard = Callable[..., Board]

A, B, C = ("luma", "a"), ("luma", "b"), ("veo", "c")


class TestTasks:
    """Rows, states and counts."""

    def test_tasks_are_counted_by_state_and_provider(self, make_board: MakeBoard) -> None:
        """A repeated task counts once, and an unseen one is pending."""
        board = make_board(A, B, C, A)
        board.change(A)
        board.end(C, TaskState.FAILED)
        total, providers = board.model.count()

        assert (total.tasks, total.pending, total.running, total.failed) == (3, 1, 1, 1)
        assert (total.over, total.failures) == (1, 1)
        assert (providers["luma"].tasks, providers["luma"].running) == (2, 1)
        assert providers["veo"].failed == 1

    def test_a_task_ends_when_it_is_delivered(self, make_board: MakeBoard) -> None:
        """So that counts, rows and results agree; later events do not bring it back."""
        board = make_board(A)
        board.change(A, TaskState.SUCCEEDED)
        assert board.model.count()[0].running == 1
        board.end(A)
        board.change(A)
        assert board.model.count()[0].succeeded == 1

    def test_a_task_that_cannot_be_polled_is_unreadable(self, make_board: MakeBoard) -> None:
        """Its state as last seen does not count."""
        board = make_board(A)
        board.change(A)
        board.model.record_end(A, board.model.rows[A].task, error=ServiceError("no", status=500))
        assert board.model.count()[0].unreadable == 1
        assert board.model.rows[A].needs_attention

    def test_tasks_join_as_they_are_submitted(self, make_board: MakeBoard) -> None:
        """Those that are still to be submitted count as a number."""
        board = make_board()
        board.model.expect("luma", 3)
        total, providers = board.model.count()
        assert (total.tasks, total.unsubmitted, providers["luma"].unsubmitted) == (3, 3, 3)
        task = Task(provider="luma", id="a", state=TaskState.PENDING)
        board.model.on_event(TaskSubmitted(time=1.0, provider="luma", task=task, path="/luma/videos"))
        board.model.record_end(("luma", "row 2"), task, error=ServiceError("no", status=500))
        total, _ = board.model.count()
        assert (total.tasks, total.unsubmitted, total.pending, total.unreadable, total.over) == (3, 1, 1, 1, 1)

    def test_ages_count_from_the_submission_to_the_end(self, make_board: MakeBoard) -> None:
        """Without a time of submission from the start of the board, and without one of the end to its delivery."""
        board = make_board(A, B)
        created = board.clock.now - 60.0
        board.change(A, created_at=created)
        board.clock.now += 5.0
        assert board.model.age(board.model.rows[A]) == 65.0
        assert board.model.age(board.model.rows[B]) == 5.0
        board.end(A, created_at=created, finished_at=created + 62.0)
        board.end(B)
        board.clock.now += 100.0
        assert board.model.age(board.model.rows[A]) == 62.0
        assert board.model.age(board.model.rows[B]) == 5.0

    def test_a_clock_that_is_slow_makes_no_negative_age(self, make_board: MakeBoard) -> None:
        """The service's time may be ahead."""
        board = make_board(A)
        board.change(A, created_at=board.clock.now + 3.0)
        assert board.model.age(board.model.rows[A]) == 0.0

    def test_the_time_left_is_expected_from_the_durations(self, make_board: MakeBoard) -> None:
        """Of a task that has ended, none is left."""
        board = make_board(A)
        typical = acetasks.providers.lookup("luma").typical_duration
        assert board.model.expected_left(board.model.rows[A]) == pytest.approx(typical, rel=0.01)
        board.clock.now += 60.0
        assert board.model.expected_left(board.model.rows[A]) < typical
        board.end(A)
        assert board.model.expected_left(board.model.rows[A]) is None


class TestRequests:
    """Requests, rates and failures."""

    def test_the_rate_is_that_of_the_last_ten_seconds(self, make_board: MakeBoard) -> None:
        """Or since the start, if that is shorter."""
        board = make_board(A, C)
        assert board.model.request_rate == 0.0
        board.clock.now += 2.0
        for provider in ("luma", "veo"):
            board.model.on_event(Sent(time=board.clock.loop(), provider=provider, ids=25))
        assert board.model.request_rate == 1.0
        board.clock.now += 8.0
        assert board.model.request_rate == 0.2
        board.clock.now += 8.0
        assert board.model.request_rate == 0.0
        assert (board.model.requests, board.model.polled_ids) == (2, 50)

    def test_failures_count_from_the_first_to_the_next_response(self, make_board: MakeBoard) -> None:
        """Of each provider apart."""
        board = make_board(A, C)
        for number in range(3):
            error = TransportError(f"refused {number}")
            board.model.on_event(Failed(time=board.clock.loop(), provider="luma", ids=1, error=error))
            board.clock.now += 4.0
        health = board.model.providers["luma"]
        assert board.model.seconds_failing("luma") == 12.0
        assert board.model.seconds_failing("veo") is None
        assert (health.failures, str(health.error)) == (3, "refused 2")
        board.model.on_event(Answered(time=board.clock.loop(), provider="luma", ids=1, status=200, seconds=0.1))
        assert board.model.seconds_failing("luma") is None
        assert (health.failures, health.error) == (0, None)

    @pytest.mark.parametrize(
        "began",
        [
            lambda time: OutageBegan(time=time, provider="luma", error=TransportError("no"), until=time + 5.0),
            lambda time: RateCut(time=time, provider="luma", error=TransportError("no"), until=time + 5.0, rate=1.0),
        ],
    )
    @pytest.mark.parametrize(
        "ended",
        [
            lambda time: OutageEnded(time=time, provider="luma", seconds=1.0),
            lambda time: RateRestored(time=time, provider="luma", rate=10.0),
        ],
    )
    def test_the_time_to_the_next_poll_is_known_at_first(
        self, make_board: MakeBoard, began: Callable[..., object], ended: Callable[..., object]
    ) -> None:
        """And not any more when it has passed, or the trouble is over."""
        board = make_board(A)
        board.model.on_event(began(board.clock.loop()))
        board.clock.now += 2.0
        assert board.model.seconds_to_retry("luma") == 3.0
        board.clock.now += 3.0
        assert board.model.seconds_to_retry("luma") is None
        board.model.on_event(began(board.clock.loop()))
        board.model.on_event(ended(board.clock.loop()))
        assert board.model.seconds_to_retry("luma") is None

    def test_the_version_changes_with_what_is_shown(self, make_board: MakeBoard) -> None:
        """Events that show nothing, and those of other providers, do not change it."""
        board = make_board(A)
        time, before = board.clock.loop(), board.model.version
        board.model.on_event(Sent(time=time, provider="suno", ids=1))
        board.model.on_event(BatchesIgnored(time=time, provider="luma", until=time))
        assert board.model.version == before
        board.model.on_event(Sent(time=time, provider="luma", ids=1))
        assert board.model.version == before + 1


async def test_a_client_feeds_the_board(server: AceServer, new_client: Callable[..., acetasks.Client]) -> None:
    """Its events bring states, requests and failures."""
    from acetasks.cli.board.model import BoardModel  # noqa: PLC0415

    key = "luma", server.add("luma", after=60)
    server.fail("luma", status=503, times=2)
    model = BoardModel([key])
    async with new_client(observers=[model]) as client:
        task = await client.wait(*key)
        model.record_end(key, task)
    assert model.count()[0].succeeded == 1
    assert model.requests == len(server.requests)
    assert model.seconds_failing("luma") is None


def test_tasks_are_counted_before_they_are_added() -> None:
    """A provider is on the board from the beginning; more tasks than expected count too."""
    model = BoardModel()
    model.expect("luma", 2)
    total, providers = model.count()
    assert (total.tasks, providers["luma"].tasks, providers["luma"].over) == (2, 2, 0)
    for task_id in "abc":
        model.add(("luma", task_id))
    assert model.count()[0].tasks == 3
