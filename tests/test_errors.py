"""The error tree: its shape, what each error says and carries, and that it survives copying and pickling."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import acetasks
from acetasks import (
    AceTasksError,
    APIError,
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
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

#: One of each, with every attribute set.
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
    UnknownProviderError: UnknownProviderError("lumma", suggestion="luma"),
    **{
        kind: kind("too fast", **API)  # type: ignore[arg-type]  # each takes the same
        for kind in (
            *(APIError, AuthenticationError, PermissionDeniedError, BadRequestError, RateLimitError, ServiceError),
        )
    },
}
EACH = pytest.mark.parametrize("error", ERRORS.values(), ids=lambda error: type(error).__name__)


def descendants(kind: type) -> set[type]:
    """List a class's subclasses, and theirs."""
    return {kind}.union(*map(descendants, kind.__subclasses__()))


# ----------------------------------------------------------------------------------------------------------- shape


def test_every_error_of_the_library_is_looked_at_here() -> None:
    """A new error that is not added above would not be tested for anything."""
    assert {kind for kind in descendants(AceTasksError) if kind.__module__.startswith("acetasks.")} == set(ERRORS)


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_is_public(kind: type[AceTasksError]) -> None:
    """Whatever can be raised can be caught by a name from `acetasks` itself, and says when it is raised."""
    assert getattr(acetasks, kind.__name__) is kind
    assert kind.__name__ in acetasks.__all__
    assert kind is AceTasksError or (inspect.getdoc(kind) or "").startswith("Raised when ")


def test_the_shape_of_the_tree() -> None:
    """A caller who catches a base catches what is below it, and nothing else."""
    bases = {kind: kind.__bases__ for kind in ERRORS}

    assert bases.pop(AceTasksError) == (Exception,)
    assert bases.pop(TaskTimeoutError) == (AceTasksError, TimeoutError)
    for kind in (AuthenticationError, PermissionDeniedError, BadRequestError, RateLimitError, ServiceError):
        assert bases.pop(kind) == (APIError,)
    assert set(bases.values()) == {(AceTasksError,)}


def test_a_wait_that_takes_too_long_is_a_timeout_like_any_other() -> None:
    """Code that catches the builtin TimeoutError goes on working."""
    with pytest.raises(TimeoutError):
        raise TaskTimeoutError((RUNNING,), 1.0)


@EACH
def test_only_what_may_pass_is_transient(error: AceTasksError) -> None:
    """The same request, sent later, may succeed after trouble on the way or at the service; else it never does."""
    expected = isinstance(error, RateLimitError | ServiceError | TransportError)

    assert error.transient is expected


def test_an_unreadable_answer_is_transient_unless_it_was_whole() -> None:
    """A body that was cut short may come whole the next time."""
    assert ProtocolError("unreadable").transient is True
    assert ProtocolError("unreadable", transient=False).transient is False


# -------------------------------------------------------------------------------------------- copying and pickling


def everything(error: AceTasksError) -> tuple[object, ...]:
    """List what an error consists of."""
    return type(error), str(error), error.args, vars(error)


@EACH
def test_an_error_survives_copying(error: AceTasksError) -> None:
    """Each of many waiters is given an error of its own: the same class, message and attributes."""
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert copied is not error
        assert everything(copied) == everything(error)


@EACH
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling(error: AceTasksError, protocol: int) -> None:
    """Errors cross process pools, whole, with every protocol."""
    assert everything(pickle.loads(pickle.dumps(error, protocol))) == everything(error)


@EACH
def test_an_error_keeps_notes_through_a_copy(error: AceTasksError) -> None:
    """What a caller added is part of it, and what is added to a copy is not."""
    noted = copy.copy(error)
    noted.add_note("while testing")

    assert copy.copy(noted).__notes__ == ["while testing"]
    assert pickle.loads(pickle.dumps(noted)).__notes__ == ["while testing"]
    assert not hasattr(error, "__notes__")


def test_a_fresh_copy_keeps_its_cause_and_not_its_traceback() -> None:
    """Each raise adds to an error's traceback: a thousand waiters of one error would make it endless."""
    cause = OSError("reset")
    with pytest.raises(TransportError) as caught:
        raise TransportError("lost") from cause
    copied = fresh_copy(caught.value)

    assert everything(copied) == everything(caught.value)
    assert copied.__cause__ is cause
    assert caught.value.__traceback__ is not None
    assert copied.__traceback__ is None


def test_an_error_of_ones_own_below_the_tree_survives_too() -> None:
    """A subclass with arguments of its own is rebuilt from its attributes, not by calling it."""
    copied = copy.copy(DerivedError("luma", 5))

    assert (type(copied), str(copied), copied.count) == (DerivedError, "luma has 5", 5)
    assert everything(pickle.loads(pickle.dumps(DerivedError("luma", 5)))) == everything(copied)


class DerivedError(AceTasksError):
    """An error of a user's own."""

    def __init__(self, provider: str, count: int) -> None:
        super().__init__(f"{provider} has {count}")
        self.count = count


# -------------------------------------------------------------------------------------------- messages and attributes


def test_a_failed_task_says_why() -> None:
    """The message has the provider, the id and the service's own words; the task is there for the rest."""
    error = TaskFailedError(FAILED)

    assert str(error) == "luma task a-task failed: nsfw: refused"
    assert error.task is FAILED
    assert str(TaskFailedError(with_error(TaskError(message="refused")))) == "luma task a-task failed: refused"
    assert str(TaskFailedError(with_error(None))) == "luma task a-task failed: no reason given"


def with_error(error: TaskError | None) -> Task:
    """Make a failed task of luma's."""
    return Task(provider="luma", id="a-task", state=TaskState.FAILED, error=error)


def test_a_missing_task_says_what_to_check() -> None:
    """The likely reasons are a wrong id, another provider's, or another token's."""
    error = TaskNotFoundError(MISSING)

    assert str(error).startswith("flux knows no task 'c-task': check the id")
    assert error.task is MISSING


def test_a_timeout_says_what_was_seen_last() -> None:
    """The remote task goes on: the message says so, and the error has all that the wait has seen."""
    error = TaskTimeoutError((FAILED, RUNNING), 1.5)

    assert str(error).startswith("veo task b-task was still running after 1.5 s; the remote task goes on")
    assert (error.task, error.tasks, error.timeout) == (RUNNING, (FAILED, RUNNING), 1.5)
    assert "(and 2 more) was still running" in str(TaskTimeoutError((RUNNING, RUNNING, FAILED, RUNNING), 600))
    assert TaskTimeoutError((FAILED, MISSING), 1).task is FAILED


def test_a_timeout_says_why_nothing_better_is_known() -> None:
    """Where the last look failed, that is in the message, and its error is the cause; else there is none."""
    fault = ServiceError("busy", status=500)
    error = TaskTimeoutError((RUNNING,), 600.0, fault)

    assert str(error) == (
        "veo task b-task was still running after 600 s (the last look failed: HTTP 500: busy);"
        " the remote task goes on and can be waited for again"
    )
    assert error.__cause__ is fault
    assert TaskTimeoutError((RUNNING,), 600.0).__cause__ is None
    assert "failed" not in str(TaskTimeoutError((RUNNING,), 600.0))


def test_a_timeout_keeps_its_cause_in_a_fresh_copy_only() -> None:
    """As with every exception, `copy` and `pickle` leave the cause behind; what it says is in the message."""
    error = TaskTimeoutError((RUNNING, FAILED), 600.0, ServiceError("busy", status=500))
    assert fresh_copy(error).__cause__ is error.__cause__

    for copied in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert everything(copied) == everything(error)
        assert (copied.task, copied.tasks, copied.timeout) == (RUNNING, (RUNNING, FAILED), 600.0)
        assert copied.__cause__ is None


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind is not TaskTimeoutError])
def test_an_error_may_have_the_tasks_of_a_wait(kind: type[AceTasksError]) -> None:
    """Where it ended a wait for several tasks it has all of them, through copies too; else none."""
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
def test_a_redirect_is_known_by_its_status(status: int | None, *, expected: bool) -> None:
    """It concerns the base URL and no task, unlike other bad requests."""
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
def test_an_answered_error_says_what_the_service_said(options: dict[str, object], expected: str) -> None:
    """The provider, status, code, message, the id to quote to the support, and what to do."""
    assert str(APIError("too fast", **options)) == expected  # type: ignore[arg-type]  # some of its arguments


def test_an_answered_error_carries_each_part() -> None:
    """A caller decides by the parts, not by the message."""
    error = RateLimitError("too fast", **API)  # type: ignore[arg-type]  # all of its arguments

    assert (error.message, error.status, error.code) == ("too fast", 429, "too_many")
    assert (error.trace_id, error.retry_after, error.provider) == ("t-1", 2.5, "veo")
    assert {value for name, value in vars(APIError("m")).items() if name != "message"} == {None}


def test_an_unreadable_answer_shows_its_beginning() -> None:
    """The first characters tell a login page from half a JSON."""
    error = ProtocolError("unreadable", excerpt="<html>")

    assert (str(error), error.excerpt) == ("unreadable: '<html>'", "<html>")
    assert (str(ProtocolError("unreadable")), ProtocolError("unreadable").excerpt) == ("unreadable", "")


def test_an_uncertain_submission_says_that_it_may_be_paid_for() -> None:
    """It was not sent again: what to look for, and what was sent, is in the error."""
    error = ERRORS[SubmissionUncertainError]

    assert "a submission to /suno/audios may or may not have been accepted (reset)" in str(error)
    assert "it was not sent again" in str(error)
    assert (vars(error)["provider"], vars(error)["path"]) == ("suno", "/suno/audios")
    assert (vars(error)["payload"], vars(error)["sent_at"]) == (b'{"prompt":"x"}', 12.5)


def test_an_unknown_provider_is_named_with_its_likely_meaning() -> None:
    """The message says what was given, what may have been meant, and where the known ones are listed."""
    error = UnknownProviderError("lumma", suggestion="luma")

    assert str(error).startswith("unknown provider 'lumma'; did you mean 'luma'? (`acetasks providers` lists them")
    assert (error.provider, error.suggestion) == ("lumma", "luma")
    assert "did you mean" not in str(UnknownProviderError(None))


def test_a_lost_request_says_whether_it_may_have_arrived() -> None:
    """A submission is sent again only if it surely did not."""
    assert TransportError("reset").reached is True
    assert TransportError("refused", reached=False).reached is False


# ------------------------------------------------------------------------------------------------- foreign texts

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
def test_no_more_than_so_much_of_a_foreign_text_is_repeated(error: AceTasksError) -> None:
    """A service that answers with a whole page must not flood the logs of a thousand waiters."""
    assert str(error).count("x") <= ECHO_LIMIT == 256


def test_what_is_kept_of_an_answer_is_cut_too() -> None:
    """Attributes go into logs as well."""
    assert len(APIError(LONG).message) == 256
    assert len(ProtocolError("unreadable", excerpt=LONG).excerpt) == 256
