"""Tests of the exception classes: hierarchy, messages, attributes, copying and pickling."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import acetasks
from acetasks import (
    AceTasksError,
    APIError,
    Artifact,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    DownloadError,
    LedgerError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    SubmissionUncertainError,
    Task,
    TaskError,
    TaskFailedError,
    TaskNotFoundError,
    TaskState,
    TaskTimeoutError,
    TransportError,
    UnknownProviderError,
)
from acetasks._records import ECHO_LIMIT
from acetasks.errors import fresh_copy

REASON = TaskError(code="nsfw", message="refused")
FAILED = Task(provider="luma", id="a-task", state=TaskState.FAILED, error=REASON, raw=b'{"a":1}')
RUNNING = Task(provider="veo", id="b-task", state=TaskState.RUNNING)
MISSING = Task(provider="flux", id="c-task", state=TaskState.NOT_FOUND)
API = {
    "status": 429,
    "code": "too_many",
    "trace_id": "t-1",
    "retry_after": 2.5,
    "provider": "veo",
    "hint": "; slow down",
}

#: One instance of each class, with every attribute set.
ERRORS: dict[type[AceTasksError], AceTasksError] = {
    AceTasksError: AceTasksError("anything"),
    TaskFailedError: TaskFailedError(FAILED),
    TaskNotFoundError: TaskNotFoundError(MISSING),
    TaskTimeoutError: TaskTimeoutError((FAILED, RUNNING), 1.5, RateLimitError("too fast")),
    TransportError: TransportError("refused", reached=False),
    ProtocolError: ProtocolError("unreadable", excerpt="<html>", transient=False),
    SubmissionUncertainError: SubmissionUncertainError(
        "reset", provider="suno", path="/suno/audios", payload=b'{"prompt":"x"}', sent_at=12.5
    ),
    ClientClosedError: ClientClosedError("the client is closed"),
    DownloadError: DownloadError("no file", task=FAILED, artifact=Artifact(url="u"), expired=True),
    LedgerError: LedgerError("the disk is full", location="tasks.db"),
    UnknownProviderError: UnknownProviderError("lumma", suggestion="luma"),
    **{
        kind: kind("too fast", **API)  # type: ignore[arg-type]  # all have the same arguments
        for kind in (
            *(APIError, AuthenticationError, PermissionDeniedError, BadRequestError, RateLimitError, ServiceError),
        )
    },
}
EACH = pytest.mark.parametrize("error", ERRORS.values(), ids=lambda error: type(error).__name__)


def descendants(kind: type) -> set[type]:
    """Return a class and all its direct and indirect subclasses."""
    return {kind}.union(*map(descendants, kind.__subclasses__()))


# ----------------------------------------------------------------------------------------------------------- shape


def test_errors_above_include_every_class() -> None:
    """A class missing from ERRORS would not be tested."""
    assert {kind for kind in descendants(AceTasksError) if kind.__module__.startswith("acetasks.")} == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_public(kind: type[AceTasksError]) -> None:
    """Every class is exported from `acetasks`, and its docstring says when it is raised."""
    assert getattr(acetasks, kind.__name__) is kind
    assert kind.__name__ in acetasks.__all__
    assert kind is AceTasksError or (inspect.getdoc(kind) or "").startswith("Raised when ")


def test_base_classes() -> None:
    """Every class derives from the documented base class."""
    bases = {kind: kind.__bases__ for kind in ERRORS}

    assert bases.pop(AceTasksError) == (Exception,)
    assert bases.pop(TaskTimeoutError) == (AceTasksError, TimeoutError)
    for kind in (AuthenticationError, PermissionDeniedError, BadRequestError, RateLimitError, ServiceError):
        assert bases.pop(kind) == (APIError,)
    assert set(bases.values()) == {(AceTasksError,)}


def test_task_timeout_is_a_timeout_error() -> None:
    """`except TimeoutError` catches it."""
    with pytest.raises(TimeoutError):
        raise TaskTimeoutError((RUNNING,), 1.0)


@EACH
def test_only_rate_limit_service_and_transport_errors_are_transient(error: AceTasksError) -> None:
    """Repeating the request cannot help after any other error."""
    expected = isinstance(error, RateLimitError | ServiceError | TransportError)

    assert error.transient is expected


def test_protocol_error_is_transient_by_default() -> None:
    """A truncated response may be complete at the next attempt."""
    assert ProtocolError("unreadable").transient is True
    assert ProtocolError("unreadable", transient=False).transient is False


# -------------------------------------------------------------------------------------------- copying and pickling


def parts_of(error: AceTasksError) -> tuple[object, ...]:
    """Return all parts of an error."""
    return type(error), str(error), error.args, vars(error)


@EACH
def test_copies_have_the_same_parts(error: AceTasksError) -> None:
    """A copy has the same class, message and attributes."""
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert copied is not error
        assert parts_of(copied) == parts_of(error)


@EACH
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_errors_have_the_same_parts(error: AceTasksError, protocol: int) -> None:
    """Every pickle protocol keeps the class, message and attributes."""
    assert parts_of(pickle.loads(pickle.dumps(error, protocol))) == parts_of(error)


@EACH
def test_copies_keep_notes(error: AceTasksError) -> None:
    """A copy has the notes of the original; notes added to the copy do not change the original."""
    noted = copy.copy(error)
    noted.add_note("while testing")

    assert copy.copy(noted).__notes__ == ["while testing"]
    assert pickle.loads(pickle.dumps(noted)).__notes__ == ["while testing"]
    assert not hasattr(error, "__notes__")


def test_fresh_copy_keeps_the_cause_and_drops_the_traceback() -> None:
    """The traceback would grow with each waiter that the error is raised to."""
    cause = OSError("reset")
    with pytest.raises(TransportError) as caught:
        raise TransportError("lost") from cause
    copied = fresh_copy(caught.value)

    assert parts_of(copied) == parts_of(caught.value)
    assert copied.__cause__ is cause
    assert caught.value.__traceback__ is not None
    assert copied.__traceback__ is None


def test_user_defined_subclasses_can_be_copied_and_pickled() -> None:
    """A subclass is rebuilt from its attributes, without a call of its `__init__`."""
    copied = copy.copy(DerivedError("luma", 5))

    assert (type(copied), str(copied), copied.count) == (DerivedError, "luma has 5", 5)
    assert parts_of(pickle.loads(pickle.dumps(DerivedError("luma", 5)))) == parts_of(copied)


class DerivedError(AceTasksError):
    """An error class of a user."""

    def __init__(self, provider: str, count: int) -> None:
        super().__init__(f"{provider} has {count}")
        self.count = count


# -------------------------------------------------------------------------------------------- messages and attributes


def test_task_failed_message() -> None:
    """The message has the provider, the id, and the service's code and message."""
    error = TaskFailedError(FAILED)

    assert str(error) == "luma task a-task failed: nsfw: refused"
    assert error.task is FAILED
    assert str(TaskFailedError(with_error(TaskError(message="refused")))) == "luma task a-task failed: refused"
    assert str(TaskFailedError(with_error(None))) == "luma task a-task failed: no reason given"


def with_error(error: TaskError | None) -> Task:
    """Return a failed luma task."""
    return Task(provider="luma", id="a-task", state=TaskState.FAILED, error=error)


def test_task_not_found_message() -> None:
    """The message names the likely causes: a wrong id, provider or token."""
    error = TaskNotFoundError(MISSING)

    assert str(error).startswith("flux task 'c-task' not found: check the id, the provider")
    assert error.task is MISSING


def test_task_timeout_message() -> None:
    """The message has the last state, and says that the remote task continues; the attributes have all tasks."""
    error = TaskTimeoutError((FAILED, RUNNING), 1.5)

    assert str(error).startswith("veo task b-task was still running after 1.5 s; the remote task continues")
    assert (error.task, error.tasks, error.timeout) == (RUNNING, (FAILED, RUNNING), 1.5)
    assert "(and 2 more) was still running" in str(TaskTimeoutError((RUNNING, RUNNING, FAILED, RUNNING), 600))
    assert TaskTimeoutError((FAILED, MISSING), 1).task is FAILED


def test_task_timeout_after_a_failed_poll_has_its_error() -> None:
    """The error of a failed last poll is in the message and is the cause."""
    fault = ServiceError("busy", status=500)
    error = TaskTimeoutError((RUNNING,), 600.0, fault)

    assert str(error) == (
        "veo task b-task was still running after 600 s (the last poll failed: HTTP 500: busy);"
        " the remote task continues and can be awaited again"
    )
    assert error.__cause__ is fault
    assert TaskTimeoutError((RUNNING,), 600.0).__cause__ is None
    assert "failed" not in str(TaskTimeoutError((RUNNING,), 600.0))


def test_task_timeout_in_an_undocumented_state_says_so() -> None:
    """The task may have ended in a state that this library does not know."""
    error = TaskTimeoutError((RUNNING,), 600.0, unknown_word="paused")

    assert str(error) == (
        "veo task b-task was still running after 600 s (its state 'paused' is not documented: it may have ended);"
        " the remote task continues and can be awaited again"
    )
    assert len(str(TaskTimeoutError((RUNNING,), 600.0, unknown_word="x" * 1000))) < 500


def test_task_timeout_in_a_requested_pause_names_it() -> None:
    """A pause that lasts longer than the wait is the reason why the task was not polled."""
    error = TaskTimeoutError((RUNNING,), 60.0, pause=300.0)

    assert str(error) == (
        "veo task b-task was still running after 60 s (the service asked to pause for 300 s);"
        " the remote task continues and can be awaited again"
    )
    assert error.pause == 300.0
    assert TaskTimeoutError((RUNNING,), 60.0).pause is None


def test_only_a_fresh_copy_keeps_the_cause_of_a_timeout() -> None:
    """`copy` and `pickle` drop the cause, as for every exception; the message keeps its text."""
    error = TaskTimeoutError((RUNNING, FAILED), 600.0, ServiceError("busy", status=500))
    assert fresh_copy(error).__cause__ is error.__cause__

    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert parts_of(copied) == parts_of(error)
        assert (copied.task, copied.tasks, copied.timeout) == (RUNNING, (RUNNING, FAILED), 600.0)
        assert copied.__cause__ is None


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind is not TaskTimeoutError])
def test_tasks_attribute_survives_copies(kind: type[AceTasksError]) -> None:
    """`tasks` is empty unless set, and copies keep it."""
    error = fresh_copy(ERRORS[kind])
    assert error.tasks == ()
    error.tasks = (FAILED, RUNNING)

    for copied in (copy.copy(error), fresh_copy(error), pickle.loads(pickle.dumps(error))):
        assert copied.tasks == (FAILED, RUNNING)
    assert ERRORS[kind].tasks == ()


@pytest.mark.parametrize(
    ("status", "expected"),
    [(None, False), (200, False), (300, True), (301, True), (399, True), (400, False), (413, False)],
)
def test_is_redirect_for_status_3xx(status: int | None, *, expected: bool) -> None:
    """A redirect is an error of the base URL, not of a task."""
    assert BadRequestError("elsewhere", status=status).is_redirect is expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "too fast"),
        ({"status": 429}, "HTTP 429: too fast"),
        ({"code": "too_many"}, "too_many: too fast"),
        ({"status": 429, "code": "too_many"}, "HTTP 429 too_many: too fast"),
        ({"trace_id": "t-1"}, "too fast (trace id t-1)"),
        ({"hint": "; slow down"}, "too fast; slow down"),
        ({"provider": "veo"}, "veo: too fast"),
        (API, "veo: HTTP 429 too_many: too fast (trace id t-1); slow down"),
    ],
    ids=str,
)
def test_api_error_message(options: dict[str, object], expected: str) -> None:
    """The message has the provider, status, code, service message, trace id and hint that are set."""
    assert str(APIError("too fast", **options)) == expected  # type: ignore[arg-type]  # keyword arguments of APIError


def test_api_error_attributes() -> None:
    """Every part of the message is an attribute too; attributes that are not set are None."""
    error = RateLimitError("too fast", **API)  # type: ignore[arg-type]  # keyword arguments of APIError

    assert (error.message, error.status, error.code) == ("too fast", 429, "too_many")
    assert (error.trace_id, error.retry_after, error.provider) == ("t-1", 2.5, "veo")
    assert {value for name, value in vars(APIError("m")).items() if name != "message"} == {None}


def test_protocol_error_shows_an_excerpt() -> None:
    """The excerpt of the response is in the message and an attribute."""
    error = ProtocolError("unreadable", excerpt="<html>")

    assert (str(error), error.excerpt) == ("unreadable: '<html>'", "<html>")
    assert (str(ProtocolError("unreadable")), ProtocolError("unreadable").excerpt) == ("unreadable", "")


def test_submission_uncertain_message_and_attributes() -> None:
    """The message says what to check before another submission; the attributes have the request."""
    error = ERRORS[SubmissionUncertainError]

    assert str(error).startswith("suno: the submission to /suno/audios may or may not have been accepted (reset);")
    assert "it was not retried" in str(error)
    assert str(error).endswith(f"look it up with client.history({error.provider!r}) before submitting again")
    assert (vars(error)["provider"], vars(error)["path"]) == ("suno", "/suno/audios")
    assert (vars(error)["payload"], vars(error)["sent_at"]) == (b'{"prompt":"x"}', 12.5)


def test_unknown_provider_message() -> None:
    """The message has the name, a suggestion, and where the known names are listed."""
    error = UnknownProviderError("lumma", suggestion="luma")

    assert str(error).startswith("unknown provider 'lumma'; did you mean 'luma'? (`acetasks providers` lists the known")
    assert (error.provider, error.suggestion) == ("lumma", "luma")
    assert "did you mean" not in str(UnknownProviderError(None))


def test_transport_error_reached_is_true_by_default() -> None:
    """A submission is retried only if `reached` is false."""
    assert TransportError("reset").reached is True
    assert TransportError("refused", reached=False).reached is False


# ------------------------------------------------------------------------------------------------- text from services

LONG = "x" * 100_000


@pytest.mark.parametrize(
    "error",
    [
        TaskFailedError(with_error(TaskError(message=LONG))),
        TaskFailedError(with_error(TaskError(message="m", code=LONG))),
        APIError(LONG),
        APIError("m", code=LONG),
        APIError("m", trace_id=LONG),
        ProtocolError("unreadable", excerpt=LONG),
    ],
    ids=["task's message", "task's code", "API message", "API code", "trace id", "excerpt"],
)
def test_messages_are_cut_at_256_characters_of_text_from_the_service(error: AceTasksError) -> None:
    """A response of any length cannot flood the log."""
    assert str(error).count("x") <= ECHO_LIMIT == 256


HOSTILE = "x\r\nCRITICAL:root:forged \x1b[2J\x9b31m\u202e\u2028"
SAFE = r"x\r\nCRITICAL:root:forged \u001b[2J\u009b31m\u202e\u2028"


@pytest.mark.parametrize(
    "error",
    [
        AceTasksError(HOSTILE),
        TaskFailedError(with_error(TaskError(message=HOSTILE))),
        TaskFailedError(with_error(TaskError(message="m", code=HOSTILE))),
        TaskNotFoundError(Task(provider=HOSTILE, id="c-task", state=TaskState.NOT_FOUND)),
        TaskTimeoutError((Task(provider="luma", id=HOSTILE, state=TaskState.RUNNING),), 1.0),
        TaskTimeoutError((RUNNING,), 1.0, ServiceError(HOSTILE, status=500)),
        TransportError(HOSTILE),
        SubmissionUncertainError(HOSTILE, provider="suno", path="/suno/audios", payload=b"", sent_at=0.0),
        *(kind(HOSTILE) for kind in (APIError, RateLimitError, ServiceError, BadRequestError, AuthenticationError)),
        APIError("m", code=HOSTILE),
        APIError("m", trace_id=HOSTILE),
        ClientClosedError(HOSTILE),
    ],
    ids=lambda error: type(error).__name__,
)
def test_messages_have_no_line_ends_escapes_or_direction_marks(error: AceTasksError) -> None:
    """Text from a service can forge no line of a log and controls no terminal."""
    assert SAFE in str(error)
    assert str(error).isprintable()
    assert repr(error).isprintable()
    assert str(pickle.loads(pickle.dumps(error))) == str(copy.copy(error)) == str(error)


def test_excerpts_and_invalid_names_are_quoted() -> None:
    """The two texts that are shown in quotes are escaped as in Python."""
    for error in (ProtocolError("unreadable", excerpt=HOSTILE), UnknownProviderError(HOSTILE)):
        assert repr(HOSTILE) in str(error)
        assert str(error).isprintable()


def test_attributes_are_as_received() -> None:
    """Only the text of an error is escaped."""
    assert APIError(HOSTILE, code=HOSTILE, trace_id=HOSTILE).message == HOSTILE
    assert ProtocolError("unreadable", excerpt=HOSTILE).excerpt == HOSTILE
    error = TaskFailedError(with_error(TaskError(message=HOSTILE)))
    assert error.task.error == TaskError(message=HOSTILE)


def test_attributes_are_cut_at_256_characters_of_text_from_the_service() -> None:
    """Attributes are logged too."""
    assert len(APIError(LONG).message) == 256
    assert len(ProtocolError("unreadable", excerpt=LONG).excerpt) == 256


def test_escapes_do_not_make_a_text_endless() -> None:
    """A received text whose every character needs an escape is cut."""
    assert len(str(AceTasksError("\U000e0001" * 256))) == 2000
