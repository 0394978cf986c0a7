"""Verdicts: what a look means for one task, and how long what is believed of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from acetasks.entries import Entry, Trouble
from acetasks.holds import Holds
from acetasks.providers import lookup, read_record
from acetasks.verdicts import Judge, Moment, Scope, Verdict

if TYPE_CHECKING:
    from acetasks import AceTasksError
    from acetasks.providers import ProviderSpec, Reading

LUMA, USEAPI = lookup("luma"), lookup("useapi-pixverse")
#: Exact intervals; at a draw of 0.5 the delays after faults are 1, 2, 4, 8, 8 s, and so on.
POLICY = PollPolicy(interval=5.0, jitter=0.0, missing_polls=3, missing_grace=12.0, unconfirmed_polls=4)
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)

RESET = TransportError("reset")
LIMITED = RateLimitError("slow down", status=429)
UNREADABLE = ProtocolError("a number out of range", transient=False)
REJECTED = BadRequestError("no such id", status=400)
GONE = Task(provider="luma", id="t-1", state=TaskState.NOT_FOUND)


@pytest.fixture
def holds() -> Holds:
    """No holds yet."""
    return Holds(POLICY, RETRY)


@pytest.fixture
def judge(holds: Holds) -> Judge:
    """A judge by the policy above."""
    return new_judge(holds)


@pytest.fixture
def entry() -> Entry:
    """A task of luma's of which nothing is known."""
    return new_entry()


def new_judge(holds: Holds, policy: PollPolicy = POLICY) -> Judge:
    """Make a judge."""
    return Judge(policy, holds)


def at(now: float) -> Moment:
    """Make the moment of a look by the policy above."""
    return Moment(now, now + 5.0, 0.5)


def new_entry(task_id: str = "t-1") -> Entry:
    """Make what is known of a task that nobody has looked at."""
    return Entry(("luma", task_id))


def reading(state: str = "processing", spec: ProviderSpec = LUMA) -> Reading:
    """Read a record of a task."""
    return read_record(spec, msgspec.json.encode({"id": "t-1", "response": {"state": state}}))


#: A record that only seems to be of a failure, and one that is no trace of a task.
LOOSE = read_record(LUMA, b'{"id": "t-1", "response": {"success": false, "error": "temporary"}}')
EMPTY = read_record(LUMA, b"{}", task_id="t-1")


def answer(holds: Holds, now: float, provider: str = "luma") -> None:
    """Have a provider answer something."""
    assert list(holds.note_look(lookup(provider), [], is_answered=True, sent_at=now, now=now, draw=0.5)) == []


def counts(entry: Entry) -> dict[str, int]:
    """List what is counted of a task."""
    names = ("misses", "unconfirmed", "unreadable", "faults", "suspicion")
    return {name: getattr(entry.trouble, name) for name in names if entry.trouble and getattr(entry.trouble, name)}


def suspicion(entry: Entry) -> int:
    """Tell how suspect a task is."""
    return counts(entry).get("suspicion", 0)


def fault(entry: Entry) -> AceTasksError | None:
    """Find the error of the last look at a task."""
    return entry.trouble.fault if entry.trouble else None


def trouble(**parts: object) -> Trouble:
    """Make what is wrong with a task."""
    made = Trouble()
    for name, value in parts.items():
        setattr(made, name, value)
    return made


def assert_failed(verdict: Verdict) -> None:
    """Check that a record that seemed to be of a failure is believed."""
    outcome = verdict.outcome
    assert isinstance(outcome, Task)
    assert (outcome.state, outcome.id) == (TaskState.FAILED, "t-1")
    assert outcome.error is not None
    assert outcome.error.message == "temporary"
    assert verdict.reading is not None
    assert verdict.reading.task is outcome
    assert (verdict.reading.state, verdict.reading.unconfirmed) == (TaskState.FAILED, False)


def keep(entry: Entry, verdict: Verdict) -> None:
    """Keep the record that a verdict brings, as the poller does."""
    if verdict.reading is not None:
        entry.record = verdict.reading.raw


class TestReadings:
    """`judge_reading`: the service has a record of the task."""

    def test_a_task_at_work_is_asked_for_again_as_the_schedule_says(self, judge: Judge, entry: Entry) -> None:
        """It has no outcome yet, and when to look again is not for the judge to say."""
        seen = reading()
        verdict = judge.judge_reading(entry, LUMA, seen, at(100.0))

        assert verdict == Verdict(reading=seen)
        assert verdict.reading is seen
        assert (verdict.outcome, verdict.due, verdict.scope) == (None, None, Scope.TASK)
        assert seen.state is TaskState.RUNNING

    @pytest.mark.parametrize("state", ["completed", "failed"])
    def test_a_task_that_has_ended_is_its_outcome(self, judge: Judge, entry: Entry, state: str) -> None:
        """A failure is an end as well: what to make of it is for whoever waits."""
        seen = reading(state)
        verdict = judge.judge_reading(entry, LUMA, seen, at(100.0))

        assert verdict.reading is seen
        assert verdict.outcome is seen.task
        assert verdict.scope is Scope.TASK

    def test_an_undocumented_word_is_passed_on(self, judge: Judge, entry: Entry) -> None:
        """Whoever watches is told of it; the task is asked for again."""
        verdict = judge.judge_reading(entry, LUMA, reading("warming_up"), at(100.0))

        assert verdict.reading is not None
        assert (verdict.reading.unknown_word, verdict.outcome) == ("warming_up", None)

    def test_a_failure_that_is_not_sure_is_believed_after_a_while(self, judge: Judge, entry: Entry) -> None:
        """Until it has said so often enough in a row, the task is waited for."""
        verdicts = [judge.judge_reading(entry, LUMA, LOOSE, at(now)) for now in (0.0, 5.0, 10.0, 15.0)]

        assert [verdict.outcome for verdict in verdicts[:3]] == [None] * 3
        assert {verdict.due for verdict in verdicts} == {None}
        assert_failed(verdicts[3])

    def test_a_failure_that_is_taken_back_is_none(self, judge: Judge, entry: Entry) -> None:
        """A record of a task at work begins the row anew."""
        for now in range(0, 100, 20):
            for step in range(3):
                assert judge.judge_reading(entry, LUMA, LOOSE, at(now + 5.0 * step)).outcome is None
            assert judge.judge_reading(entry, LUMA, reading(), at(now + 15.0)).outcome is None
            assert counts(entry) == {}

    def test_once_is_enough_where_the_policy_says_so(self, holds: Holds, entry: Entry) -> None:
        """With `unconfirmed_polls=1` the first such record is the end."""
        judge = new_judge(holds, PollPolicy(unconfirmed_polls=1))
        outcome = judge.judge_reading(entry, LUMA, LOOSE, at(0.0)).outcome

        assert isinstance(outcome, Task)
        assert outcome.state is TaskState.FAILED

    def test_a_record_ends_every_other_doubt(self, judge: Judge, entry: Entry) -> None:
        """Misses, faults, unreadable records and suspicion are of looks in a row."""
        entry.trouble = trouble(misses=2, unreadable=2, faults=2, suspicion=2, fault=RESET)
        judge.judge_reading(entry, LUMA, reading(), at(0.0))

        assert entry.trouble is None


class TestUnchanged:
    """`judge_unchanged`: the service has the same record of the task as before."""

    def test_nothing_is_news(self, judge: Judge, entry: Entry) -> None:
        """The task is asked for again as the schedule says."""
        entry.record = reading().raw

        assert judge.judge_unchanged(entry, LUMA, at(100.0)) == Verdict()
        assert entry.trouble is None

    def test_it_ends_every_doubt_but_one(self, judge: Judge, entry: Entry) -> None:
        """Misses, faults, unreadable records and suspicion are of looks in a row, and this look has found the task."""
        entry.record = reading().raw
        entry.trouble = trouble(misses=2, unreadable=2, faults=2, suspicion=2, fault=RESET)

        assert judge.judge_unchanged(entry, LUMA, at(100.0)) == Verdict()
        assert entry.trouble is None

    def test_a_task_in_between_begins_the_grace_anew(self, judge: Judge, entry: Entry) -> None:
        """A task that the service still has is not gone for having been missing before."""
        entry.record = reading().raw
        for now in (0.0, 10.0):
            judge.judge_miss(entry, LUMA, at(now))
        judge.judge_unchanged(entry, LUMA, at(20.0))

        outcomes = [judge.judge_miss(entry, LUMA, at(now)).outcome for now in (25.0, 30.0, 36.9, 37.0)]
        assert outcomes == [None] * 3 + [GONE]

    def test_a_failure_that_is_not_sure_counts_on_until_it_is_believed(self, judge: Judge, entry: Entry) -> None:
        """A record that stays says the same once more at each look."""
        first = judge.judge_reading(entry, LUMA, LOOSE, at(0.0))
        keep(entry, first)
        verdicts = []
        for count, now in enumerate((5.0, 10.0, 15.0), start=2):
            verdicts.append(judge.judge_unchanged(entry, LUMA, at(now)))
            assert counts(entry) == {"unconfirmed": count}

        assert [verdict.outcome for verdict in (first, *verdicts[:2])] == [None] * 3
        assert {verdict.due for verdict in verdicts} == {None}
        assert_failed(verdicts[2])

    def test_new_and_unchanged_records_count_alike(self, judge: Judge, entry: Entry) -> None:
        """Whether a record is read again or known makes no difference to when it is believed."""
        outcomes = []
        for now in (0.0, 5.0, 10.0, 15.0):
            is_known = now in {5.0, 15.0}
            verdict = (
                judge.judge_unchanged(entry, LUMA, at(now))
                if is_known
                else judge.judge_reading(entry, LUMA, LOOSE, at(now))
            )
            keep(entry, verdict)
            outcomes.append(verdict.outcome)

        assert outcomes[:3] == [None] * 3
        assert isinstance(outcomes[3], Task)
        assert outcomes[3].state is TaskState.FAILED

    def test_a_fault_in_between_takes_nothing_back(self, judge: Judge, entry: Entry) -> None:
        """A look that failed says nothing of the record; the next one that finds it unchanged counts on."""
        keep(entry, judge.judge_reading(entry, LUMA, LOOSE, at(0.0)))
        judge.judge_error(entry, LUMA, RESET, at(5.0))
        assert counts(entry) == {"unconfirmed": 1, "faults": 1}

        judge.judge_unchanged(entry, LUMA, at(10.0))
        assert counts(entry) == {"unconfirmed": 2}
        assert fault(entry) is None

    def test_an_undocumented_word_is_passed_on_once(self, judge: Judge, entry: Entry) -> None:
        """That the word still stands there is no news."""
        first = judge.judge_reading(entry, LUMA, reading("warming_up"), at(0.0))
        keep(entry, first)

        assert first.reading is not None
        assert first.reading.unknown_word == "warming_up"
        assert judge.judge_unchanged(entry, LUMA, at(5.0)) == Verdict()


class TestMisses:
    """`judge_miss`: the service has no trace of the task."""

    def test_it_is_gone_after_the_polls_and_the_seconds(self, judge: Judge, entry: Entry) -> None:
        """Both parts of the grace have to pass: three looks, and twelve seconds from the first of them."""
        verdicts = [judge.judge_miss(entry, LUMA, at(now)) for now in (0.0, 5.0, 10.0, 11.999, 12.0)]

        assert verdicts[:4] == [Verdict(due=now + 5.0) for now in (0.0, 5.0, 10.0, 11.999)]
        assert verdicts[4] == Verdict(reading=read_record(LUMA, b"{}", task_id="t-1"), outcome=GONE)

    def test_the_seconds_alone_are_not_enough(self, judge: Judge, entry: Entry) -> None:
        """Two looks that are far apart are two looks."""
        assert judge.judge_miss(entry, LUMA, at(0.0)).outcome is None
        assert judge.judge_miss(entry, LUMA, at(1000.0)).outcome is None
        assert judge.judge_miss(entry, LUMA, at(1001.0)).outcome == GONE

    def test_an_empty_record_is_a_miss(self, judge: Judge, entry: Entry) -> None:
        """A single look at an unknown task is answered with nothing at all."""
        outcomes = [judge.judge_reading(entry, LUMA, EMPTY, at(now)).outcome for now in (0.0, 6.0, 12.0)]

        assert outcomes == [None, None, GONE]

    def test_a_record_in_between_begins_the_grace_anew(self, judge: Judge, entry: Entry) -> None:
        """A task that the service has shown is not gone for having been missing before."""
        for now in (0.0, 10.0):
            judge.judge_miss(entry, LUMA, at(now))
        judge.judge_reading(entry, LUMA, reading(), at(20.0))

        assert [judge.judge_miss(entry, LUMA, at(now)).outcome for now in (25.0, 30.0, 36.9, 37.0)] == [None] * 3 + [
            GONE
        ]

    def test_a_provider_may_have_a_longer_grace(self, judge: Judge, entry: Entry) -> None:
        """Where the row says that tasks show late, the policy's grace is not enough."""
        spec = msgspec.structs.replace(LUMA, missing_grace=600.0)
        for now in (0.0, 1.0, 12.0, 599.9):
            assert judge.judge_miss(entry, spec, at(now)).outcome is None

        assert judge.judge_miss(entry, spec, at(600.0)).outcome == GONE

    def test_a_miss_is_an_answer(self, judge: Judge, entry: Entry) -> None:
        """It ends the row of faults, and the suspicion with it."""
        entry.trouble = trouble(faults=2, suspicion=2, fault=RESET)
        judge.judge_miss(entry, LUMA, at(0.0))

        assert counts(entry) == {"misses": 1}
        assert fault(entry) is None


class TestErrors:
    """`judge_error`: the cases by their numbers."""

    def judge_at(self, judge: Judge, entry: Entry, error: AceTasksError, now: float) -> Verdict:
        """Judge an error of a look at a task of luma's."""
        return judge.judge_error(entry, LUMA, error, at(now))

    def test_1_a_refused_token_ends_everything_under_it(self, judge: Judge, entry: Entry) -> None:
        """Nothing else under that token can be asked either."""
        error = AuthenticationError("expired", status=401)

        assert self.judge_at(judge, entry, error, 0.0) == Verdict(outcome=error, scope=Scope.TOKEN)

    @pytest.mark.parametrize(
        "error",
        [
            PermissionDeniedError("used up", status=403),
            UnknownProviderError("luma"),
            BadRequestError("moved", status=301),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_2_what_is_wrong_with_a_provider_ends_all_of_it(
        self, judge: Judge, entry: Entry, error: AceTasksError
    ) -> None:
        """No balance, no such provider, or a redirect: its other tasks would fare no better."""
        assert self.judge_at(judge, entry, error, 0.0) == Verdict(outcome=error, scope=Scope.PROVIDER)

    def test_3_an_unreadable_record_is_final_once_it_has_stayed_so(self, judge: Judge, entry: Entry) -> None:
        """Until then its task is asked for again after its interval, alone, so that it spoils no batch."""
        verdicts = []
        for now in (0.0, 5.0, 10.0, 15.0):
            verdicts.append(self.judge_at(judge, entry, UNREADABLE, now))
            assert suspicion(entry) == 5

        assert verdicts[:3] == [Verdict(due=now) for now in (5.0, 10.0, 15.0)]
        assert (verdicts[3].outcome, verdicts[3].scope) == (UNREADABLE, Scope.TASK)

    def test_3_a_record_that_can_be_read_begins_the_row_anew(self, judge: Judge, entry: Entry) -> None:
        """It may have been a fault of the moment."""
        for now in range(0, 100, 20):
            for step in range(3):
                assert self.judge_at(judge, entry, UNREADABLE, now + step).outcome is None
            judge.judge_reading(entry, LUMA, reading(), at(now + 15.0))
            assert counts(entry) == {}

    def test_3_an_unreadable_record_is_an_answer(self, judge: Judge, entry: Entry) -> None:
        """It ends the row of passing faults; whoever's limit passes now is told of it, and not of them."""
        self.judge_at(judge, entry, RESET, 0.0)
        self.judge_at(judge, entry, UNREADABLE, 1.0)

        assert counts(entry) == {"unreadable": 1, "suspicion": 5}
        assert fault(entry) is UNREADABLE

    @pytest.mark.parametrize("error", [REJECTED, APIError("odd", status=418)])
    def test_4_what_asking_again_does_not_change_is_final(
        self, judge: Judge, entry: Entry, error: AceTasksError
    ) -> None:
        """It is so for this task only."""
        assert self.judge_at(judge, entry, error, 0.0) == Verdict(outcome=error)

    def test_5_too_many_requests_are_no_fault(self, judge: Judge, entry: Entry) -> None:
        """The task is due at once, for the rate to hold it back, however often; its waiters may be told of it."""
        for now in range(10):
            assert self.judge_at(judge, entry, LIMITED, float(now)) == Verdict(due=float(now))

        assert counts(entry) == {}
        assert fault(entry) is LIMITED

    @pytest.mark.parametrize("error", [RESET, ServiceError("busy", status=500), ProtocolError("no JSON")])
    def test_6_a_passing_fault_is_asked_again_after_a_while(
        self, judge: Judge, entry: Entry, error: AceTasksError
    ) -> None:
        """The delays grow with the faults in a row of this task up to the cap, and there is no last attempt."""
        verdicts = [self.judge_at(judge, entry, error, 100.0) for _ in range(100)]

        assert [verdict.due for verdict in verdicts[:5]] == [101.0, 102.0, 104.0, 108.0, 108.0]
        assert {verdict.outcome for verdict in verdicts} == {None}
        assert entry.trouble is not None
        assert (entry.trouble.faults, entry.trouble.faulted_at, entry.trouble.fault) == (100, 100.0, error)

    def test_6_a_pause_that_was_asked_for_is_kept(self, judge: Judge, entry: Entry) -> None:
        """A task is not due before the service wants to be asked again."""
        error = ServiceError("busy", status=503, retry_after=90.0)

        assert self.judge_at(judge, entry, error, 100.0).due == 190.0

    def test_6_an_answer_begins_the_row_anew(self, judge: Judge, entry: Entry) -> None:
        """After it, the first delay is the shortest again."""
        for _ in range(5):
            self.judge_at(judge, entry, RESET, 0.0)
        judge.judge_reading(entry, LUMA, reading(), at(0.0))

        assert self.judge_at(judge, entry, RESET, 0.0).due == 1.0

    def test_a_rate_limit_in_between_ends_no_row(self, judge: Judge, entry: Entry) -> None:
        """It tells nothing of the task."""
        self.judge_at(judge, entry, RESET, 0.0)
        self.judge_at(judge, entry, LIMITED, 1.0)

        assert self.judge_at(judge, entry, RESET, 2.0).due == 4.0
        assert fault(entry) is RESET


class TestSuspicion:
    """Tasks whose looks keep failing while their provider answers others are asked for in ever smaller company."""

    @staticmethod
    def fail(judge: Judge, entry: Entry, now: float, spec: ProviderSpec = LUMA) -> int:
        """Have a look at a task fail, and tell how suspect it is then."""
        judge.judge_error(entry, spec, RESET, at(now))
        return suspicion(entry)

    def test_it_does_not_rise_while_the_provider_answers_nobody(self, judge: Judge, entry: Entry) -> None:
        """In an outage no task is to blame."""
        assert {self.fail(judge, entry, float(now)) for now in range(20)} == {0}

    def test_it_rises_with_each_fault_after_an_answer_to_others(self, judge: Judge, holds: Holds, entry: Entry) -> None:
        """One halving more each time, until the task is alone; a full batch of 50 is halved five times."""
        found = []
        for now in range(0, 80, 10):
            found.append(self.fail(judge, entry, float(now)))
            answer(holds, now + 5.0)

        assert found == [0, 1, 2, 3, 4, 5, 5, 5]

    def test_it_rises_only_for_faults_that_an_answer_stands_between(
        self, judge: Judge, holds: Holds, entry: Entry
    ) -> None:
        """An answer before the last fault, or of another provider, says nothing."""
        answer(holds, 1.0)
        assert self.fail(judge, entry, 10.0) == 0
        assert self.fail(judge, entry, 20.0) == 0
        answer(holds, 25.0, "flux")
        assert self.fail(judge, entry, 30.0) == 0
        answer(holds, 35.0)
        assert self.fail(judge, entry, 40.0) == 1
        assert self.fail(judge, entry, 50.0) == 1

    def test_a_rate_limit_does_not_raise_it(self, judge: Judge, holds: Holds, entry: Entry) -> None:
        """The rate is nobody's fault, whoever is answered in between."""
        self.fail(judge, entry, 0.0)
        for now in range(10, 60, 10):
            answer(holds, now - 5.0)
            judge.judge_error(entry, LUMA, LIMITED, at(float(now)))

        assert suspicion(entry) == 0

    @pytest.mark.parametrize("end", ["a record", "a miss"])
    def test_an_answer_about_the_task_ends_it(self, judge: Judge, holds: Holds, entry: Entry, end: str) -> None:
        """Whoever was asked for and did not make the look fail is in good company again."""
        for now in range(0, 50, 10):
            self.fail(judge, entry, float(now))
            answer(holds, now + 5.0)
        assert suspicion(entry) == 4
        if end == "a record":
            judge.judge_reading(entry, LUMA, reading(), at(50.0))
        else:
            judge.judge_miss(entry, LUMA, at(50.0))

        assert suspicion(entry) == 0
        assert self.fail(judge, entry, 60.0) == 0

    @pytest.mark.parametrize(
        ("spec", "batch_size", "most"),
        [(LUMA, 50, 5), (LUMA, 64, 6), (LUMA, 2, 1), (LUMA, 1, 0), (USEAPI, 50, 0)],
        ids=["50", "64", "2", "1", "no batches"],
    )
    def test_it_rises_no_further_than_to_be_alone(
        self, holds: Holds, spec: ProviderSpec, batch_size: int, most: int
    ) -> None:
        """After so many halvings a batch is of one; where there are no batches there is no suspicion."""
        judge = new_judge(holds, PollPolicy(batch_size=batch_size))
        entry = new_entry()
        for now in range(0, 100, 10):
            self.fail(judge, entry, float(now), spec)
            answer(holds, now + 5.0, spec.slug)
        assert suspicion(entry) == most

        unreadable = new_entry()
        judge.judge_error(unreadable, spec, UNREADABLE, at(0.0))
        assert suspicion(unreadable) == most


LOOKS = st.sampled_from(["record", "loose", "unchanged", "miss", "unreadable", "reset", "limited"])


@given(looks=st.lists(st.tuples(LOOKS, st.floats(0.0, 20.0), st.booleans()), max_size=60))
def test_every_doubt_is_bounded(looks: list[tuple[str, float, bool]]) -> None:
    """Whatever comes in whatever order, no count outgrows its bound without an outcome; passing faults have none."""
    holds = Holds(POLICY, RETRY)
    judge, entry = new_judge(holds), new_entry()
    now = 0.0
    for look, seconds, is_answered in looks:
        now += seconds
        if is_answered:
            list(holds.note_look(LUMA, [], is_answered=True, sent_at=now, now=now, draw=0.5))
        if look in {"record", "loose"}:
            verdict = judge.judge_reading(entry, LUMA, reading() if look == "record" else LOOSE, at(now))
            keep(entry, verdict)
        elif look == "unchanged":
            verdict = judge.judge_unchanged(entry, LUMA, at(now))
        elif look == "miss":
            verdict = judge.judge_miss(entry, LUMA, at(now))
        else:
            error = {"unreadable": UNREADABLE, "reset": RESET, "limited": LIMITED}[look]
            verdict = judge.judge_error(entry, LUMA, error, at(now))

        known = entry.trouble or Trouble()
        is_missing = look == "miss" and known.misses >= 3 and now - known.missing_since >= 12.0
        is_failed = look in {"loose", "unchanged"} and known.unconfirmed >= 4
        is_unreadable = look == "unreadable" and known.unreadable >= 4
        assert (verdict.outcome is not None) is (is_missing or is_failed or is_unreadable)
        assert verdict.scope is Scope.TASK
        if verdict.outcome is not None:
            return
        # An unfinished record leaves the next look to the schedule; whatever else is found has a time of its own.
        assert (verdict.due is None) is (look in {"record", "loose", "unchanged"})
        assert verdict.due is None or verdict.due >= now
        assert max(known.unconfirmed, known.unreadable) < 4
        assert 0 <= known.suspicion <= 5
        assert (known.fault is None) is (look in {"record", "loose", "unchanged", "miss"})


def test_repr_shows_the_policy(judge: Judge) -> None:
    """The repr tells by what is judged."""
    assert repr(judge) == f"<Judge by {POLICY!r}>"
