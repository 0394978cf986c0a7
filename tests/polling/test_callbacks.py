"""Expected callbacks: which arriving ones lead to a poll, and when they are relied on no more."""

from __future__ import annotations

import math

import pytest

from acetasks import CallbacksMissing, CallbacksRestored, PollPolicy, Task, TaskState
from acetasks._polling.awaited import AwaitedTask
from acetasks._polling.callbacks import ExpectedCallbacks
from acetasks._scheduling import CallbackState

A, B = ("luma", "a"), ("luma", "b")


@pytest.fixture
def expected() -> ExpectedCallbacks:
    """No callbacks so far; luma's interval is 5 s."""
    return ExpectedCallbacks(PollPolicy(interval=5.0))


def end(expected: ExpectedCallbacks, key: tuple[str, str], state: TaskState = TaskState.SUCCEEDED, **fields: object):
    """Let a task end that was found by a rare poll, and return the events."""
    task = AwaitedTask(key, **({"callback": CallbackState.EXPECTED} | fields))
    return expected.finish(task, Task(provider=key[0], id=key[1], state=state), 50.0)


class TestReceive:
    """`receive`: whether a genuine callback leads to a poll."""

    def test_the_first_callback_of_a_task_does(self, expected: ExpectedCallbacks) -> None:
        """Repeated ones do not."""
        expected.expect(A, "token", 1.0)
        assert [expected.receive(A, "token", is_awaited=True) for _ in range(3)] == [True, False, False]

    def test_one_with_the_token_of_another_submission_does_not(self, expected: ExpectedCallbacks) -> None:
        """And it does not use up the right one."""
        expected.expect(A, "token", 1.0)
        assert expected.receive(A, "other", is_awaited=True) is False
        assert expected.receive(A, "token", is_awaited=True) is True

    def test_a_task_of_another_process_takes_the_first_token(self, expected: ExpectedCallbacks) -> None:
        """If it is awaited; the others lead to nothing."""
        results = [expected.receive(A, token, is_awaited=True) for token in ("one", "two", "one", "three")]
        assert results == [True, False, False, False]

    def test_that_of_an_unknown_task_is_remembered(self, expected: ExpectedCallbacks) -> None:
        """Until the response to its submission says that it is the client's; only the first one is new."""
        assert [expected.receive(A, "token", is_awaited=False) for _ in range(3)] == [True, False, False]
        expected.expect(A, "token", 1.0)
        soon, later = expected.sort([AwaitedTask(A)], 1.0)
        assert ([task.key for task in soon], later) == ([A], [])
        assert expected.receive(A, "token", is_awaited=True) is False

    def test_an_early_callback_is_that_of_its_token_and_id(self, expected: ExpectedCallbacks) -> None:
        """One with the token and another id is none."""
        expected.receive(B, "token", is_awaited=False)
        expected.expect(A, "token", 1.0)
        assert expected.receive(A, "token", is_awaited=True) is True

    def test_a_flood_of_unknown_ones_is_not_kept(self, expected: ExpectedCallbacks) -> None:
        """Neither many ids with one token, nor many tokens; the latest are kept."""
        for number in range(12_000):
            expected.receive(("luma", f"x{number}"), "token", is_awaited=False)
            expected.receive(("luma", f"y{number}"), f"token {number}", is_awaited=False)
        assert len(expected._unknown) == 10_000  # noqa: SLF001  # nothing else shows what is kept
        expected.expect(("luma", "y11999"), "token 11999", 1.0)
        assert expected.receive(("luma", "y11999"), "token 11999", is_awaited=True) is False

    def test_the_oldest_of_very_many_is_forgotten(self, expected: ExpectedCallbacks) -> None:
        """A task that is never awaited does not stay forever; a forgotten one is polled as usual."""
        for number in range(100_001):
            expected.expect(("luma", str(number)), "token", 0.0)
        soon, later = expected.sort([AwaitedTask(("luma", number)) for number in ("0", "1")], 0.0)
        assert [task.key[1] for task in (*soon, *later)] == ["0", "1"]
        assert repr(expected) == "<ExpectedCallbacks 100000 tasks, missing=[]>"


class TestSort:
    """`sort`: which new tasks are polled soon."""

    def test_one_that_was_submitted_just_now_is_not(self, expected: ExpectedCallbacks) -> None:
        """For an interval; then its callback may have been lost."""
        expected.expect(A, "token", 10.0)
        for now, is_later in ((10.0, True), (14.9, True), (15.0, False)):
            task = AwaitedTask(A)
            soon, later = expected.sort([task], now)
            assert ((soon, later) == ([], [task])) is is_later
            assert task.callback is CallbackState.EXPECTED

    def test_all_others_are(self, expected: ExpectedCallbacks) -> None:
        """Without a callback, with one that has arrived, or submitted by another process."""
        expected.expect(A, "token", 10.0)
        expected.receive(A, "token", is_awaited=False)
        expected.expect(B, "token")
        tasks = [AwaitedTask(key) for key in (A, B, ("luma", "c"))]
        assert expected.sort(tasks, 10.0) == (tasks, [])
        states = [task.callback for task in tasks]
        assert states == [CallbackState.NONE, CallbackState.EXPECTED, CallbackState.NONE]


class TestMissing:
    """Ends without callbacks."""

    def miss(self, expected: ExpectedCallbacks, count: int, provider: str = "luma") -> list[object]:
        """Let tasks end without their callbacks, and return the events."""
        events = []
        for number in range(count):
            expected.expect((provider, f"m{number}"), "token", 1.0)
            events += end(expected, (provider, f"m{number}"))
        return events

    def test_three_in_a_row_are_told_once(self, expected: ExpectedCallbacks) -> None:
        """Each provider by itself, until a callback arrives."""
        assert self.miss(expected, 2) == []
        assert self.miss(expected, 2, "veo") == []
        assert self.miss(expected, 5) == [CallbacksMissing(time=50.0, provider="luma")]
        assert repr(expected) == "<ExpectedCallbacks 0 tasks, missing=['luma']>"
        assert expected.restore("veo", 60.0) == []
        assert expected.restore("luma", 60.0) == [CallbacksRestored(time=60.0, provider="luma")]
        assert expected.restore("luma", 61.0) == []

    def test_a_late_or_lost_one_among_others_does_not_count(self, expected: ExpectedCallbacks) -> None:
        """Another callback of the provider has arrived since the task was submitted."""
        expected.restore("luma", 1.0)
        assert self.miss(expected, 5) == []
        expected.restore("veo", 2.0)
        expected.restore("luma", 0.9)
        assert self.miss(expected, 3) == [CallbacksMissing(time=50.0, provider="luma")]

    def test_then_none_is_expected(self, expected: ExpectedCallbacks) -> None:
        """Neither by new tasks nor by those that were just polled."""
        self.miss(expected, 3)
        expected.expect(A, "token", 10.0)
        new, polled, received = AwaitedTask(A), AwaitedTask(B), AwaitedTask(("luma", "c"))
        polled.callback, received.callback = CallbackState.EXPECTED, CallbackState.RECEIVED
        assert expected.sort([new], 10.0) == ([new], [])
        expected.review("veo", [polled])
        assert polled.callback is CallbackState.EXPECTED
        expected.review("luma", [polled, received])
        states = [task.callback for task in (new, polled, received)]
        assert states == [CallbackState.NONE, CallbackState.NONE, CallbackState.RECEIVED]

    @pytest.mark.parametrize("case", ["received", "not found", "polled often", "another process", "unknown"])
    def test_other_ends_do_not_count(self, expected: ExpectedCallbacks, case: str) -> None:
        """The callback came, or there may be a better reason that it did not."""
        for number in range(5):
            key = ("luma", str(number))
            if case != "unknown":
                expected.expect(key, "token", -math.inf if case == "another process" else 1.0)
            if case == "received":
                expected.receive(key, "token", is_awaited=True)
            state = TaskState.NOT_FOUND if case == "not found" else TaskState.SUCCEEDED
            fields = {"callback": CallbackState.NONE} if case == "polled often" else {}
            assert end(expected, key, state, **fields) == []
        assert repr(expected) == "<ExpectedCallbacks 0 tasks, missing=[]>"
