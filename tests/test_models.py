"""What users hold: a task and what it decodes on demand, its states, and the policies with their limits."""

from __future__ import annotations

import pickle
from typing import Any

import msgspec
import pytest

from acetasks import (
    Artifact,
    ArtifactKind,
    PollPolicy,
    ProtocolError,
    RetryPolicy,
    Task,
    TaskError,
    TaskState,
    normalize,
)

RECORD = {
    "id": "a-task",
    "request": {"prompt": "a lighthouse", "size": 8},
    "response": {"state": "completed", "video_url": "https://cdn.example.com/a.mp4"},
}
TASK = normalize("luma", RECORD)


# --------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("state", "value", "is_terminal"),
    [
        (TaskState.PENDING, "pending", False),
        (TaskState.RUNNING, "running", False),
        (TaskState.SUCCEEDED, "succeeded", True),
        (TaskState.PARTIAL, "partial", True),
        (TaskState.FAILED, "failed", True),
        (TaskState.NOT_FOUND, "not_found", True),
    ],
)
def test_each_state_has_its_word_and_is_the_last_or_not(state: TaskState, value: str, *, is_terminal: bool) -> None:
    """Asking again tells nothing new of any task but a pending or a running one."""
    assert (state.value, str(state), state == value) == (value, value, True)
    assert state.is_terminal is is_terminal


def test_there_are_no_other_states() -> None:
    """The list above leaves none out."""
    assert len(TaskState) == 6


# ---------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize(
    ("thing", "field"),
    [
        (TASK, "state"),
        (TASK.artifacts[0], "url"),
        (TaskError(message="m"), "message"),
        (PollPolicy(), "jitter"),
        (RetryPolicy(), "base"),
    ],
    ids=lambda it: it if isinstance(it, str) else type(it).__name__,
)
def test_what_users_hold_cannot_be_changed(thing: object, field: str) -> None:
    """One task is given to every waiter of its id, and one policy to many clients."""
    with pytest.raises(AttributeError):
        setattr(thing, field, "changed")


def test_a_task_has_defaults_for_all_that_a_record_may_lack() -> None:
    """Only who is asked, for what and how it stands is always known."""
    task = Task(provider="luma", id="a", state=TaskState.PENDING)

    assert (task.artifacts, task.error, task.progress, task.trace_id, task.raw) == ((), None, None, None, b"{}")
    assert (task.created_at, task.started_at, task.finished_at, task.duration) == (None, None, None, None)
    assert (task.request, task.response) == (None, None)


def test_tasks_are_values() -> None:
    """Two looks that saw the same are equal, can stand in a set, and go through a pickle."""
    again = normalize("luma", RECORD)

    assert again == TASK
    assert len({again, TASK}) == 1
    assert pickle.loads(pickle.dumps(TASK)) == TASK
    assert normalize("veo", RECORD) != TASK


def test_a_task_is_written_as_json() -> None:
    """States and kinds are words, and what is absent of an artifact is left out."""
    written = msgspec.json.decode(msgspec.json.encode(TASK))

    assert (written["state"], written["provider"], written["id"]) == ("succeeded", "luma", "a-task")
    assert written["artifacts"] == [{"url": "https://cdn.example.com/a.mp4", "kind": "video"}]


def test_an_artifact_is_a_main_file_unless_it_says_otherwise() -> None:
    """What a provider without a row makes is at least a file."""
    artifact = Artifact(url="u")

    assert (artifact.kind, artifact.role, artifact.width, artifact.height) == (ArtifactKind.FILE, "main", None, None)


def test_the_request_and_the_response_are_decoded_on_demand() -> None:
    """They are the record's own, and each look at them is a new object: changing one changes nothing else."""
    assert TASK.request == RECORD["request"]
    assert TASK.response == RECORD["response"]

    first = TASK.request
    assert first is not None
    first["prompt"] = "changed"
    assert TASK.request == RECORD["request"]


@pytest.mark.parametrize("record", [{"id": "a"}, {"id": "a", "request": None, "response": None}])
def test_a_request_or_response_that_is_not_there_is_none(record: dict[str, object]) -> None:
    """An absent one and a null one are the same to a caller."""
    task = normalize("luma", record)

    assert (task.request, task.response) == (None, None)


def test_a_flat_record_is_its_own_response() -> None:
    """Callbacks and digital-human's answers have no `response` of their own."""
    record = {"task_id": "a", "state": "completed", "video_url": "u", "request": {"prompt": "p"}}
    task = normalize("luma", record)

    assert task.response == record
    assert task.request == {"prompt": "p"}
    assert task.decode(dict[str, object]) == record


@pytest.mark.parametrize("section", ["request", "response"])
@pytest.mark.parametrize("value", ["text", ["a"], 5, True])
def test_a_section_that_is_no_object_is_a_protocol_error(section: str, value: object) -> None:
    """It is told of when it is asked for, with the task that it belongs to."""
    task = normalize("luma", {"id": "a-task", section: value})

    with pytest.raises(ProtocolError, match="luma task a-task"):
        getattr(task, section)


@pytest.mark.parametrize("look", ["request", "response"])
@pytest.mark.parametrize("raw", [b"", b"no JSON", b"[]", b'{"request": {"a"', b"\xff"])
def test_a_stored_record_that_was_spoilt_is_a_protocol_error(look: str, raw: bytes) -> None:
    """Tasks are stored and built anew: a record that was cut short raises the one error that is documented."""
    task = Task(provider="luma", id="a-task", state=TaskState.SUCCEEDED, raw=raw)

    with pytest.raises(ProtocolError):
        getattr(task, look)
    with pytest.raises(ProtocolError):
        task.decode(dict[str, object])


def test_decoding_gives_any_type() -> None:
    """The type is the caller's: a dict, a Struct, or one part of the response."""

    class Mine(msgspec.Struct):
        video_url: str

    assert TASK.decode(Mine) == Mine(video_url="https://cdn.example.com/a.mp4")
    assert TASK.decode(dict[str, str]) == RECORD["response"]


def test_a_misfit_names_the_task_the_type_and_the_place() -> None:
    """The error is enough to mend the type by."""
    with pytest.raises(ProtocolError, match=r"luma task a-task does not fit dict.*Expected `int`, got `str`") as caught:
        TASK.decode(dict[str, int])

    assert caught.value.excerpt.startswith('{"state":"completed"')
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_a_response_that_cannot_be_made_into_the_type_is_a_misfit_too() -> None:
    """No list goes into a set, which is the response's fault; a type that nothing can be made into is the caller's."""
    task = normalize("luma", {"id": "a-task", "response": {"state": "completed", "sizes": [[1, 2]]}})

    with pytest.raises(ProtocolError, match="luma task a-task does not fit"):
        task.decode(dict[str, set])
    with pytest.raises(TypeError, match="not supported"):
        task.decode(dict[str, "Unknown"])  # type: ignore[name-defined]  # noqa: F821  # the point of the test


def test_a_task_without_a_response_cannot_be_decoded() -> None:
    """The error says which task it is and how it stands; of an id that a service sent it repeats only so much."""
    task = normalize("luma", {"id": "x" * 1000, "response": None})

    with pytest.raises(ProtocolError, match=r"luma task x{256} has no response yet: it is pending"):
        task.decode(dict[str, object])


# ------------------------------------------------------------------------------------------------------- policies

#: These may be None.
OPTIONAL = [(PollPolicy, "interval"), (PollPolicy, "max_rate")]
POSITIVE = [*OPTIONAL, (PollPolicy, "start_rate"), (RetryPolicy, "timeout"), (RetryPolicy, "submit_timeout")]
NOT_NEGATIVE = [
    *((PollPolicy, name) for name in ("jitter", "linger", "missing_grace")),
    *((RetryPolicy, name) for name in ("base", "cap")),
]
COUNTS = [
    *((PollPolicy, name) for name in ("batch_size", "max_in_flight", "missing_polls", "unconfirmed_polls")),
    (RetryPolicy, "attempts"),
]
Policy = type[PollPolicy | RetryPolicy]


def test_the_limits_below_cover_every_number() -> None:
    """A number of a policy that no limit is tested for would be a hole."""
    fields = {(policy, field.name) for policy in (PollPolicy, RetryPolicy) for field in msgspec.structs.fields(policy)}

    assert {*POSITIVE, *NOT_NEGATIVE, *COUNTS} == fields - {(PollPolicy, "schedule")}


@pytest.mark.parametrize("schedule", ["fixed", "proportional", "learned"])
def test_a_schedule_is_one_of_those_documented(schedule: str) -> None:
    """Each is taken by its name."""
    assert PollPolicy(schedule=schedule).schedule == schedule  # type: ignore[arg-type]  # it is one of them


@pytest.mark.parametrize("schedule", ["Learned", "", "often", None, 7, ["fixed"]])
def test_another_schedule_is_refused(schedule: Any) -> None:  # the point of the test
    """The message says which there are, and shows the value."""
    with pytest.raises(
        ValueError, match=r"PollPolicy\.schedule must be one of fixed, proportional, learned, not "
    ) as caught:
        PollPolicy(schedule=schedule)

    assert repr(schedule) in str(caught.value)


@pytest.mark.parametrize(("policy", "name"), POSITIVE)
@pytest.mark.parametrize("value", [0, 0.0, -1, -0.001])
def test_a_time_or_rate_cannot_be_zero(policy: Policy, name: str, value: float) -> None:
    """An interval of nothing would be a busy loop, a time-out of nothing no request, and so would a rate of none."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be more than 0, not {value!r}"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), NOT_NEGATIVE)
def test_a_time_or_share_cannot_be_negative(policy: Policy, name: str) -> None:
    """Zero turns it off; less than that means nothing."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be at least 0, not -0\.5"):
        policy(**{name: -0.5})

    assert getattr(policy(**{name: 0}), name) == 0


@pytest.mark.parametrize(("policy", "name"), COUNTS)
@pytest.mark.parametrize("value", [0, -1])
def test_a_count_is_at_least_one(policy: Policy, name: str, value: int) -> None:
    """With none at a time nothing would ever be asked."""
    with pytest.raises(ValueError, match=rf"{policy.__name__}\.{name} must be at least 1, not {value}"):
        policy(**{name: value})

    assert getattr(policy(**{name: 1}), name) == 1


@pytest.mark.parametrize(("policy", "name"), COUNTS)
@pytest.mark.parametrize("value", [1.5, 2.0])
def test_a_count_is_a_whole_number(policy: Policy, name: str, value: float) -> None:
    """A batch of 1.5 ids would fail much later, in the middle of polling."""
    with pytest.raises((TypeError, ValueError), match=rf"{policy.__name__}\.{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), [*POSITIVE, *NOT_NEGATIVE, *COUNTS])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 10**400], ids=lambda it: str(it)[:5])
def test_a_number_is_finite(policy: Policy, name: str, value: float) -> None:
    """No clock reaches it, and NaN would slip through every comparison."""
    with pytest.raises((TypeError, ValueError), match=rf"{policy.__name__}\.{name} must be"):
        policy(**{name: value})


@pytest.mark.parametrize(("policy", "name"), [*POSITIVE, *NOT_NEGATIVE, *COUNTS])
@pytest.mark.parametrize("value", ["3", b"3", True, False, [3], None, {}], ids=repr)
def test_what_is_no_number_is_refused(policy: Policy, name: str, value: Any) -> None:  # the point of the test
    """A text from a configuration file is refused where it is given, with the number that it was meant for."""
    if value is None and (policy, name) in OPTIONAL:
        assert getattr(policy(**{name: value}), name) is None
        return
    with pytest.raises(TypeError, match=rf"{policy.__name__}\.{name} must be a .*number, not"):
        policy(**{name: value})


def test_the_policies_defaults_are_the_documented_ones() -> None:
    """Fifty ids a batch is what the service recommends; the rest is chosen to ask few and full requests."""
    assert msgspec.structs.asdict(PollPolicy()) == {
        "interval": None,
        "schedule": "learned",
        "jitter": 0.2,
        "batch_size": 50,
        "linger": 0.05,
        "max_in_flight": 8,
        "start_rate": 60.0,
        "max_rate": None,
        "missing_polls": 3,
        "missing_grace": 10.0,
        "unconfirmed_polls": 5,
    }
    assert msgspec.structs.asdict(RetryPolicy()) == {
        "attempts": 4,
        "base": 1.0,
        "cap": 16.0,
        "timeout": 30.0,
        "submit_timeout": 600.0,
    }


def test_a_policy_takes_names_only() -> None:
    """A number without a name could be any of ten."""
    with pytest.raises(TypeError):
        PollPolicy(5.0)  # type: ignore[misc]  # the point of the test
    with pytest.raises(TypeError):
        RetryPolicy(retries=5)  # type: ignore[call-arg]  # likewise
