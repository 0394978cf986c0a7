"""Outcome rules: the meaning of each poll result for one task, and how long each sign is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import IgnoringWaiter

from acetasks import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    PollPolicy,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    ServiceError,
    Task,
    TaskState,
    TransportError,
    UnknownProviderError,
)
from acetasks._http import PollResult
from acetasks._limits import ErrorScope, Throttle
from acetasks._polling.awaited import TaskHealth
from acetasks._polling.outcomes import Decision, OutcomeRules, is_not_found
from acetasks._polling.registry import TaskRegistry
from acetasks._scheduling import InFlightPoll, PollBatch
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from acetasks import AceTasksError
    from acetasks.providers import ProviderSpec, RecordStatus

LUMA, USEAPI = lookup("luma"), lookup("useapi-pixverse")
#: With a jitter sample of 0.5, the delays after faults are 1, 2, 4, 8, 8 s, and so on.
POLICY = PollPolicy(interval=5.0, jitter=0.0, missing_polls=3, missing_grace=12.0, unconfirmed_polls=4)
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)

RESET = TransportError("reset")
LIMITED = RateLimitError("slow down", status=429)
UNREADABLE = ProtocolError("a number out of range", transient=False)
REJECTED = BadRequestError("no such id", status=400)
GONE = Task(provider="luma", id="t-1", state=TaskState.NOT_FOUND)


def of_gateway(kind: type[APIError]) -> APIError:
    """Build the error of a response that is not the service's own."""
    error = kind("<html>", status=403)
    error.transient = True
    return error


def read(state: str = "processing") -> RecordStatus:
    """Read a record of the task."""
    return read_record(LUMA, msgspec.json.encode({"id": "t-1", "response": {"state": state}}))


#: A record that may be of a failure, and one without a trace of a task.
UNCONFIRMED = read_record(LUMA, b'{"id": "t-1", "response": {"success": false, "error": "temporary"}}')
EMPTY = read_record(LUMA, b"{}", task_id="t-1")


class Polls:
    """Polls of one task, and the rules that decide what they mean.

    Attributes:
        rules: The rules.
        task: The task, as the registry has it.
    """

    def __init__(self, policy: PollPolicy = POLICY, spec: ProviderSpec = LUMA) -> None:
        self._spec = spec
        self._throttle = Throttle(policy, RETRY)
        self._registry = TaskRegistry()
        self.rules = OutcomeRules(policy, throttle=self._throttle, registry=self._registry)
        (self.task,) = self._registry.register(IgnoringWaiter(), [(spec.slug, "t-1")])

    @property
    def health(self) -> TaskHealth | None:
        """The failure counters of the task; None if there are none."""
        return self._registry.health.get(self.task.key)

    @property
    def counts(self) -> dict[str, int]:
        """The failure counters that are not zero."""
        names = ("misses", "unconfirmed", "unreadable", "faults", "split_level")
        return {name: getattr(self.health, name) for name in names if self.health and getattr(self.health, name)}

    @property
    def split_level(self) -> int:
        """The split level of the task."""
        return self.counts.get("split_level", 0)

    def set_health(self, **counters: object) -> None:
        """Set failure counters."""
        health = self._registry.health[self.task.key] = TaskHealth()
        for name, value in counters.items():
            setattr(health, name, value)

    def record(self, now: float, status: RecordStatus | None = None) -> Decision:
        """Find a new record; by default of a running task."""
        return self._decide(PollResult(statuses={"t-1": status or read()}), now)

    def unchanged(self, now: float) -> Decision:
        """Find the same record as before."""
        return self._decide(PollResult(unchanged=("t-1",)), now)

    def miss(self, now: float) -> Decision:
        """Find no record, in a poll of the task alone."""
        return self.record(now, EMPTY)

    def miss_in_batch(self, now: float, *, batch_works: bool | None = None) -> Decision:
        """Find no record in a response to several tasks."""
        return self._decide(PollResult(missing=["t-1"], batch_works=batch_works), now)

    def error(self, now: float, error: AceTasksError = RESET) -> Decision:
        """Get an error."""
        return self._decide(PollResult(errors={"t-1": error}), now)

    def refuse(self, now: float, error: AceTasksError) -> Decision:
        """Get an error that the throttle records."""
        result = PollResult(errors={"t-1": error})
        self._throttle.record(self._spec, result, sent_at=now, now=now, jitter_sample=0.5)
        return self._decide(result, now)

    def answer_other(self, now: float, provider: str = "luma") -> None:
        """Get a response for another task."""
        result = PollResult(unchanged=("other",))
        assert list(self._throttle.record(lookup(provider), result, sent_at=now, now=now, jitter_sample=0.5)) == []

    def _decide(self, result: PollResult, now: float) -> Decision:
        poll = InFlightPoll(self._spec, PollBatch([self.task]), now, sequence=0, jitter_sample=0.5)
        decision = self.rules.decide(self.task, poll, result, now)
        if decision.status is not None:
            self._registry.update(self.task, decision.status)
        return decision


@pytest.fixture
def polls() -> Polls:
    """Polls of a luma task of which nothing is known, by the policy above."""
    return Polls()


def assert_failed(decision: Decision) -> None:
    """Check that an unconfirmed failure is believed."""
    outcome = decision.outcome
    assert isinstance(outcome, Task)
    assert (outcome.state, outcome.id) == (TaskState.FAILED, "t-1")
    assert outcome.error is not None
    assert outcome.error.message == "temporary"
    assert decision.status is not None
    assert decision.status.task is outcome
    assert (decision.status.state, decision.status.unconfirmed) == (TaskState.FAILED, False)


class TestRecords:
    """A new record."""

    def test_a_running_task_is_polled_again_as_planned(self, polls: Polls) -> None:
        """It has no outcome, and its next poll time is left to the schedule."""
        status = read()
        decision = polls.record(100.0, status)

        assert decision == Decision(status=status)
        assert decision.status is status
        assert (decision.outcome, decision.apart, decision.scope) == (None, False, ErrorScope.TASK)

    @pytest.mark.parametrize("state", ["completed", "failed"])
    def test_an_ended_task_is_the_outcome(self, polls: Polls, state: str) -> None:
        """A failed task is an outcome like any other."""
        status = read(state)
        decision = polls.record(100.0, status)

        assert decision.status is status
        assert decision.outcome is status.task
        assert decision.scope is ErrorScope.TASK

    def test_an_undocumented_state_is_unfinished(self, polls: Polls) -> None:
        """The unknown word is in the status, and the task is polled again."""
        decision = polls.record(100.0, read("warming_up"))

        assert decision.status is not None
        assert (decision.status.unknown_word, decision.outcome) == ("warming_up", None)

    def test_an_unconfirmed_failure_is_believed_after_some_polls(self, polls: Polls) -> None:
        """Until enough polls in a row have found it, the task is unfinished."""
        decisions = [polls.record(now, UNCONFIRMED) for now in (0.0, 5.0, 10.0, 15.0)]

        assert [decision.outcome for decision in decisions[:3]] == [None] * 3
        assert {decision.apart for decision in decisions} == {False}
        assert_failed(decisions[3])

    def test_an_unconfirmed_failure_that_is_taken_back_does_not_count(self, polls: Polls) -> None:
        """A record of a running task resets the counter."""
        for now in range(0, 100, 20):
            for step in range(3):
                assert polls.record(now + 5.0 * step, UNCONFIRMED).outcome is None
            assert polls.record(now + 15.0).outcome is None
            assert polls.counts == {}

    def test_one_poll_is_enough_if_the_policy_says_so(self) -> None:
        """With `unconfirmed_polls=1` the first unconfirmed failure is the outcome."""
        assert_failed(Polls(PollPolicy(unconfirmed_polls=1)).record(0.0, UNCONFIRMED))

    def test_a_record_resets_all_counters(self, polls: Polls) -> None:
        """Misses, faults, unreadable records and the split level are of polls in a row."""
        polls.set_health(misses=2, unreadable=2, faults=2, split_level=2, fault=RESET)
        polls.record(0.0)

        assert polls.health is None


class TestUnchanged:
    """The same record as before."""

    def test_nothing_is_new(self, polls: Polls) -> None:
        """The task is polled again as planned."""
        polls.record(95.0)

        assert polls.unchanged(100.0) == Decision()
        assert polls.health is None

    def test_all_other_counters_are_reset(self, polls: Polls) -> None:
        """Misses, faults, unreadable records and the split level are of polls in a row; this one found the task."""
        polls.record(95.0)
        polls.set_health(misses=2, unreadable=2, faults=2, split_level=2, fault=RESET)

        assert polls.unchanged(100.0) == Decision()
        assert polls.health is None

    def test_the_grace_period_restarts(self, polls: Polls) -> None:
        """Misses before an unchanged record do not count."""
        polls.record(0.0)
        for now in (0.0, 10.0):
            polls.miss(now)
        polls.unchanged(20.0)

        assert [polls.miss(now).outcome for now in (25.0, 30.0, 36.9, 37.0)] == [None] * 3 + [GONE]

    def test_an_unconfirmed_failure_counts_on(self, polls: Polls) -> None:
        """A record that stays is found again at each poll."""
        decisions = [polls.record(0.0, UNCONFIRMED)]
        for count, now in enumerate((5.0, 10.0, 15.0), start=2):
            decisions.append(polls.unchanged(now))
            assert polls.counts == {"unconfirmed": count}

        assert [decision.outcome for decision in decisions[:3]] == [None] * 3
        assert {decision.apart for decision in decisions} == {False}
        assert_failed(decisions[3])

    def test_new_and_unchanged_records_count_alike(self, polls: Polls) -> None:
        """Whether the record was sent anew or is known makes no difference."""
        decisions = [
            polls.record(0.0, UNCONFIRMED),
            polls.unchanged(5.0),
            polls.record(10.0, UNCONFIRMED),
            polls.unchanged(15.0),
        ]

        assert [decision.outcome for decision in decisions[:3]] == [None] * 3
        assert_failed(decisions[3])

    def test_a_fault_does_not_reset_the_count_of_unconfirmed_failures(self, polls: Polls) -> None:
        """A poll that failed says nothing about the record; the next one that finds it unchanged counts on."""
        polls.record(0.0, UNCONFIRMED)
        polls.error(5.0, RESET)
        assert polls.counts == {"unconfirmed": 1, "faults": 1}

        polls.unchanged(10.0)
        assert polls.counts == {"unconfirmed": 2}
        assert polls.health is not None
        assert polls.health.fault is None

    def test_an_undocumented_state_is_reported_once(self, polls: Polls) -> None:
        """An unchanged record has no status."""
        first = polls.record(0.0, read("warming_up"))

        assert first.status is not None
        assert first.status.unknown_word == "warming_up"
        assert polls.unchanged(5.0) == Decision()


class TestUndocumentedStates:
    """For how long a task has been in a state that is not documented."""

    def test_time_is_counted_over_records_of_any_kind(self, polls: Polls) -> None:
        """Other undocumented states, unchanged records, missing ones and errors do not restart it."""
        polls.record(10.0, read("position 3"))
        polls.record(20.0, read("position 2"))
        polls.unchanged(30.0)
        polls.miss(40.0)
        polls.error(50.0, RESET)
        polls.record(60.0, read("position 1"))
        assert polls.health is not None
        assert polls.health.unknown_since == 10.0
        assert polls.counts == {}

    def test_a_documented_state_ends_it(self, polls: Polls) -> None:
        """A later undocumented state counts anew."""
        polls.record(10.0, read("paused"))
        polls.record(20.0, read("processing"))
        assert polls.health is None

        polls.record(30.0, read("paused"))
        assert polls.health is not None
        assert polls.health.unknown_since == 30.0

    def test_an_unchanged_record_resets_the_other_counters(self, polls: Polls) -> None:
        """It is a response like any other."""
        polls.record(10.0, read("paused"))
        polls.error(20.0, RESET)
        polls.unchanged(30.0)

        assert polls.counts == {}
        assert polls.health is not None
        assert (polls.health.unknown_since, polls.health.fault) == (10.0, None)


class TestMisses:
    """No record."""

    def test_a_task_is_not_found_after_the_polls_and_the_seconds(self, polls: Polls) -> None:
        """It takes three polls, and twelve seconds from the first of them; until then it is polled apart."""
        decisions = [polls.miss(now) for now in (0.0, 5.0, 10.0, 11.999, 12.0)]

        assert decisions[:4] == [Decision(apart=True)] * 4
        assert decisions[4] == Decision(status=EMPTY, outcome=GONE)

    def test_the_seconds_alone_are_not_enough(self, polls: Polls) -> None:
        """Two polls that are far apart are two polls."""
        assert polls.miss(0.0).outcome is None
        assert polls.miss(1000.0).outcome is None
        assert polls.miss(1001.0).outcome == GONE

    @pytest.mark.parametrize("batch_works", [None, True])
    def test_only_a_poll_of_the_task_alone_is_the_last(self, polls: Polls, *, batch_works: bool | None) -> None:
        """A batch may leave out tasks that exist: after it the task is polled alone at once."""
        decisions = [polls.miss_in_batch(now, batch_works=batch_works) for now in (0.0, 6.0, 12.0)]

        assert decisions == [*[Decision(apart=True)] * 2, Decision(apart=True, due=12.0, split_level=5)]
        assert polls.split_level == 5
        assert polls.miss(12.5) == Decision(status=EMPTY, outcome=GONE)

    def test_a_task_found_alone_is_not_missing(self, polls: Polls) -> None:
        """Its misses in batches do not count any more."""
        for now in (0.0, 6.0, 12.0):
            polls.miss_in_batch(now)
        assert polls.record(12.5).outcome is None

        assert polls.counts == {}

    def test_an_ignored_batch_is_no_miss(self, polls: Polls) -> None:
        """However often: the task is polled alone at once."""
        for now in (0.0, 10.0, 20.0, 30.0):
            decision = polls.miss_in_batch(now, batch_works=False)
            assert decision == Decision(apart=True, due=now, split_level=5)

        assert polls.counts == {"split_level": 5}

    def test_a_record_restarts_the_grace_period(self, polls: Polls) -> None:
        """Misses before a record do not count."""
        for now in (0.0, 10.0):
            polls.miss(now)
        polls.record(20.0)

        assert [polls.miss(now).outcome for now in (25.0, 30.0, 36.9, 37.0)] == [None] * 3 + [GONE]

    def test_a_provider_may_have_a_longer_grace_period(self) -> None:
        """The longer of the policy's and the provider's grace period counts."""
        polls = Polls(spec=msgspec.structs.replace(LUMA, missing_grace=600.0))
        for now in (0.0, 1.0, 12.0, 599.9):
            assert polls.miss(now).outcome is None

        assert polls.miss(600.0).outcome == GONE

    def test_a_miss_resets_the_faults(self, polls: Polls) -> None:
        """It is a response, so the count of faults and the split level are reset."""
        polls.set_health(faults=2, split_level=2, fault=RESET)
        polls.miss(0.0)

        assert polls.counts == {"misses": 1}
        assert polls.health is not None
        assert polls.health.fault is None


class TestErrors:
    """Errors; the tests have the numbers of the cases in the code."""

    def test_1_a_rejected_token_ends_everything_under_it(self, polls: Polls) -> None:
        """No other task can be polled with that token either, once the service has said so twice."""
        error = AuthenticationError("expired", status=401)

        assert [polls.refuse(now, error) for now in (0.0, 4.9)] == [
            Decision(apart=True, due=5.0),
            Decision(apart=True, due=9.9),
        ]
        assert polls.health is not None
        assert polls.health.fault is error
        assert polls.refuse(5.0, error) == Decision(outcome=error, scope=ErrorScope.TOKEN)

    def test_1_a_missing_token_is_final(self, polls: Polls) -> None:
        """The service was not asked, so it is not asked again."""
        error = AuthenticationError("no token")

        assert polls.refuse(0.0, error) == Decision(outcome=error, scope=ErrorScope.TOKEN)

    def test_1_a_response_in_between_shows_that_it_has_passed(self, polls: Polls) -> None:
        """The next refusal is a first one."""
        error = AuthenticationError("expired", status=401)
        polls.refuse(0.0, error)
        polls.answer_other(3.0)

        assert polls.refuse(6.0, error).outcome is None
        assert polls.refuse(11.0, error).outcome is error

    def test_1_a_token_that_another_provider_accepts_is_refused_by_one(self, polls: Polls) -> None:
        """Only the tasks of that provider cannot be polled with it."""
        error = AuthenticationError("for another API", status=401)
        polls.refuse(0.0, error)
        polls.answer_other(3.0, "flux")

        assert polls.refuse(5.0, error) == Decision(outcome=error, scope=ErrorScope.PROVIDER)

    @pytest.mark.parametrize(
        "error",
        [
            PermissionDeniedError("used up", status=403),
            UnknownProviderError("luma"),
            BadRequestError("not implemented", status=400, code="api_not_implemented"),
            BadRequestError("use GET", status=405),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_2_a_provider_error_ends_everything_of_the_provider(self, polls: Polls, error: AceTasksError) -> None:
        """No balance and no such provider concern all tasks of the provider."""
        assert polls.refuse(0.0, error) == Decision(apart=True, due=5.0)
        assert polls.refuse(5.0, error) == Decision(outcome=error, scope=ErrorScope.PROVIDER)

    def test_3_an_unreadable_record_is_final_if_it_stays(self, polls: Polls) -> None:
        """Until then the task is polled after its interval, alone, so that it spoils no batch."""
        decisions = []
        for now in (0.0, 5.0, 10.0, 15.0):
            decisions.append(polls.error(now, UNREADABLE))
            assert polls.split_level == 5

        assert decisions[:3] == [Decision(apart=True, split_level=5)] * 3
        assert (decisions[3].outcome, decisions[3].scope) == (UNREADABLE, ErrorScope.TASK)

    def test_3_a_readable_record_resets_the_count(self, polls: Polls) -> None:
        """Only consecutive unreadable records count."""
        for now in range(0, 100, 20):
            for step in range(3):
                assert polls.error(now + step, UNREADABLE).outcome is None
            polls.record(now + 15.0)
            assert polls.counts == {}

    def test_3_an_unreadable_record_resets_the_faults(self, polls: Polls) -> None:
        """It is a response; it is the fault that a timeout reports."""
        polls.error(0.0, RESET)
        polls.error(1.0, UNREADABLE)

        assert polls.counts == {"unreadable": 1, "split_level": 5}
        assert polls.health is not None
        assert polls.health.fault is UNREADABLE

    @pytest.mark.parametrize("error", [REJECTED, APIError("odd", status=418)])
    def test_4_any_other_lasting_error_is_final(self, polls: Polls, error: AceTasksError) -> None:
        """It ends the waiting for this task only."""
        assert polls.error(0.0, error) == Decision(outcome=error)

    @pytest.mark.parametrize("transient", [False, True])
    def test_4_a_connection_that_seldom_succeeds_later_is_final_after_a_minute(
        self, polls: Polls, *, transient: bool
    ) -> None:
        """Until then it is a fault like any other; then it ends the waiting for all tasks of the service."""
        error = TransportError("no certificate", reached=False, transient=transient, remedy="check it")
        decisions = [polls.error(now, error) for now in (100.0, 110.0, 159.9, 160.0)]

        assert [decision.due for decision in decisions[:3]] == [101.0, 112.0, 163.9]
        assert {(decision.outcome, decision.apart) for decision in decisions[:3]} == {(None, True)}
        assert decisions[3] == Decision(outcome=error, scope=ErrorScope.TOKEN)
        assert polls.error(1000.0, RESET).outcome is None

    def test_5_a_rate_limit_is_no_fault(self, polls: Polls) -> None:
        """The task is due at once, subject to the rate, however often; a timeout reports the error."""
        for now in range(10):
            assert polls.error(float(now), LIMITED) == Decision(apart=True, due=float(now))

        assert polls.counts == {}
        assert polls.health is not None
        assert polls.health.fault is LIMITED

    @pytest.mark.parametrize(
        "error",
        [
            RESET,
            ServiceError("busy", status=500),
            ProtocolError("no JSON"),
            *map(of_gateway, (BadRequestError, AuthenticationError, PermissionDeniedError)),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_6_a_transient_error_is_retried_after_a_backoff(self, polls: Polls, error: AceTasksError) -> None:
        """The delay grows with the consecutive faults of this task up to the cap, and there is no last attempt."""
        decisions = [polls.error(100.0, error) for _ in range(100)]

        assert [decision.due for decision in decisions[:5]] == [101.0, 102.0, 104.0, 108.0, 108.0]
        assert {(decision.outcome, decision.apart) for decision in decisions} == {(None, True)}
        assert polls.health is not None
        assert (polls.health.faults, polls.health.faulted_at, polls.health.fault) == (100, 100.0, error)

    def test_6_retry_after_is_kept(self, polls: Polls) -> None:
        """The task is not due before the requested time."""
        assert polls.error(100.0, ServiceError("busy", status=503, retry_after=90.0)).due == 190.0

    def test_6_a_record_resets_the_backoff(self, polls: Polls) -> None:
        """After it, the first delay is the shortest again."""
        for _ in range(5):
            polls.error(0.0, RESET)
        polls.record(0.0)

        assert polls.error(0.0, RESET).due == 1.0

    def test_a_rate_limit_does_not_reset_the_backoff(self, polls: Polls) -> None:
        """It says nothing about the task."""
        polls.error(0.0, RESET)
        polls.error(1.0, LIMITED)

        assert polls.error(2.0, RESET).due == 4.0
        assert polls.health is not None
        assert polls.health.fault is RESET


class TestSplitLevel:
    """Tasks whose polls keep failing while their provider answers other polls are polled in ever smaller batches."""

    def test_it_does_not_rise_in_an_outage(self, polls: Polls) -> None:
        """While the provider answers nothing, no task can be blamed."""
        assert {polls.error(float(now)).split_level for now in range(20)} == {0}

    def test_it_rises_with_each_fault_after_a_response_to_others(self, polls: Polls) -> None:
        """A full batch of 50 is halved five times, until the task is alone."""
        levels = []
        for now in range(0, 80, 10):
            levels.append(polls.error(float(now)).split_level)
            assert polls.split_level == levels[-1]
            polls.answer_other(now + 5.0)

        assert levels == [0, 1, 2, 3, 4, 5, 5, 5]

    def test_it_rises_only_if_the_response_came_between_two_faults(self, polls: Polls) -> None:
        """A response before the last fault, or of another provider, does not count."""
        polls.answer_other(1.0)
        assert polls.error(10.0).split_level == 0
        assert polls.error(20.0).split_level == 0
        polls.answer_other(25.0, "flux")
        assert polls.error(30.0).split_level == 0
        polls.answer_other(35.0)
        assert polls.error(40.0).split_level == 1
        assert polls.error(50.0).split_level == 1

    def test_a_rate_limit_does_not_change_it(self, polls: Polls) -> None:
        """A rate limit says nothing about the task, whatever is answered in between."""
        polls.error(0.0)
        for now in range(10, 60, 10):
            polls.answer_other(now - 5.0)
            assert polls.error(float(now), LIMITED).split_level == 0

        polls.error(70.0)
        assert polls.split_level == 1
        assert polls.error(80.0, LIMITED).split_level == 1

    @pytest.mark.parametrize("find", [Polls.record, Polls.miss], ids=["a record", "a miss"])
    def test_a_response_for_the_task_resets_it(self, polls: Polls, find) -> None:
        """A task that did not make its poll fail is polled in full batches again."""
        for now in range(0, 50, 10):
            polls.error(float(now))
            polls.answer_other(now + 5.0)
        assert polls.split_level == 4
        find(polls, 50.0)

        assert polls.split_level == 0
        assert polls.error(60.0).split_level == 0

    @pytest.mark.parametrize(
        ("spec", "batch_size", "most"),
        [(LUMA, 50, 5), (LUMA, 64, 6), (LUMA, 2, 1), (LUMA, 1, 0), (USEAPI, 50, 0)],
        ids=["50", "64", "2", "1", "no batches"],
    )
    def test_its_maximum_is_a_batch_of_one(self, spec: ProviderSpec, batch_size: int, most: int) -> None:
        """After so many halvings a batch is one task; without batches there is nothing to split."""
        policy = PollPolicy(batch_size=batch_size)
        polls = Polls(policy, spec)
        for now in range(0, 100, 10):
            polls.error(float(now))
            polls.answer_other(now + 5.0, spec.slug)
        assert polls.split_level == most

        unreadable = Polls(policy, spec)
        assert unreadable.error(0.0, UNREADABLE).split_level == most


SIGNS = st.sampled_from(["record", "unconfirmed", "unchanged", "miss", "unreadable", "reset", "limited"])


@given(signs=st.lists(st.tuples(SIGNS, st.floats(0.0, 20.0), st.booleans()), max_size=60))
def test_every_sign_is_believed_for_a_bounded_time(signs: list[tuple[str, float, bool]]) -> None:
    """In any order of results, no counter exceeds its bound without an outcome; transient errors have no bound."""
    polls = Polls()
    now = 0.0
    for sign, seconds, is_answered in signs:
        now += seconds
        if is_answered:
            polls.answer_other(now)
        decision = {
            "record": polls.record,
            "unconfirmed": lambda now: polls.record(now, UNCONFIRMED),
            "unchanged": polls.unchanged,
            "miss": polls.miss,
            "unreadable": lambda now: polls.error(now, UNREADABLE),
            "reset": polls.error,
            "limited": lambda now: polls.error(now, LIMITED),
        }[sign](now)

        health = polls.health or TaskHealth()
        is_missing = sign == "miss" and health.misses >= 3 and now - health.missing_since >= 12.0
        is_failed = sign in {"unconfirmed", "unchanged"} and health.unconfirmed >= 4
        is_unreadable = sign == "unreadable" and health.unreadable >= 4
        assert (decision.outcome is not None) is (is_missing or is_failed or is_unreadable)
        assert decision.scope is ErrorScope.TASK
        if decision.outcome is not None:
            return
        # A record leaves the next poll to the schedule; anything else takes the task out of its batch.
        is_record = sign in {"record", "unconfirmed", "unchanged"}
        assert decision.apart is not is_record
        assert (decision.due is not None) is (sign in {"reset", "limited"})
        assert decision.due is None or decision.due >= now
        assert max(health.unconfirmed, health.unreadable) < 4
        assert 0 <= health.split_level <= 5
        assert decision.split_level in ({0} if is_record or sign == "miss" else {health.split_level})
        assert (health.fault is None) is (is_record or sign == "miss")


class TestIsNotFound:
    """`is_not_found`."""

    @pytest.mark.parametrize(
        ("misses", "missing_for", "expected"),
        [(3, 10.0, True), (4, 11.0, True), (2, 10.0, False), (2, 1e6, False), (3, 9.9, False), (1000, 0.0, False)],
    )
    def test_needs_both_polls_and_seconds(self, misses: int, missing_for: float, expected: bool) -> None:  # noqa: FBT001  # a column
        """Neither many polls at once nor a long time with few polls is enough."""
        assert is_not_found(misses, missing_for, polls=3, grace=10.0) is expected

    @given(misses=st.integers(1, 100), missing_for=st.floats(0, 1e6))
    def test_one_miss_is_enough_without_a_grace_period(self, misses: int, missing_for: float) -> None:
        """With the shortest grace period that a policy allows, the first miss is final."""
        assert is_not_found(misses, missing_for, polls=1, grace=0)


def test_repr_shows_the_policy(polls: Polls) -> None:
    """The repr has the policy."""
    assert repr(polls.rules) == f"<OutcomeRules {POLICY!r}>"
