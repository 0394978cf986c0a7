"""The error tree: what can end a wait, a look or a submission, each with its data.

Every error of this library is an `AceTasksError`. A subclass exists only where a caller would act differently. The
data stand in keyword-only attributes, so that errors can be copied and pickled across processes and each of many
waiters can be given an error of its own. This room imports no other:
everything else may raise from it.
"""

from __future__ import annotations

import copy

from acetasks._records import ECHO_LIMIT
from acetasks.models import AceTasksError, ProtocolError, Task

__all__ = [
    "TOKEN_HELP",
    "APIError",
    "AceTasksError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "PermissionDeniedError",
    "ProtocolError",
    "RateLimitError",
    "ServiceError",
    "SubmissionUncertainError",
    "TaskFailedError",
    "TaskNotFoundError",
    "TaskTimeoutError",
    "TransportError",
    "UnknownProviderError",
    "fresh_copy",
]

#: Where a user gets a token, named by the errors that miss one.
TOKEN_HELP = {
    "ACEDATACLOUD_API_TOKEN": "https://platform.acedata.cloud",
    "USEAPI_API_TOKEN": "https://useapi.net/docs/start-here/setup-useapi",
}


class TaskFailedError(AceTasksError):
    """Raised when the service reports that a task has failed. Waiting again gives the same answer.

    Attributes:
        task: The failed task; `task.error` has the service's own code and message.
    """

    def __init__(self, task: Task) -> None:
        reason = f"{task.error.code}: {task.error.message}" if task.error and task.error.code else ""
        reason = reason or (task.error.message if task.error else "no reason given")
        super().__init__(f"{task.provider} task {task.id} failed: {reason[:ECHO_LIMIT]}")
        self.task = task


class TaskNotFoundError(AceTasksError):
    """Raised when the service keeps saying that it knows no task of this id, past the grace period.

    Trying again helps only if the id was asked too soon after its submission; `PollPolicy.missing_grace` is that
    allowance.

    Attributes:
        task: A task in the state `NOT_FOUND`, with the provider and id that were asked.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(
            f"{task.provider} knows no task {task.id!r}: check the id, the provider it was submitted to and that"
            " the token is the one it was submitted with"
        )
        self.task = task


class TaskTimeoutError(AceTasksError, TimeoutError):
    """Raised when the limit of a wait passes first. The remote task goes on; waiting again helps.

    Where the last look at the task failed, that is told too, and `__cause__` is the error of that look.

    Attributes:
        task: The first unfinished task as it was last seen; in the state `PENDING` if it was never seen.
        tasks: Every task of the wait as last seen, finished ones included, in the order given.
        timeout: The limit, in seconds.
    """

    def __init__(self, tasks: tuple[Task, ...], timeout: float, fault: AceTasksError | None = None) -> None:
        unfinished = [task for task in tasks if not task.state.is_terminal] or list(tasks)
        self.task = unfinished[0]
        self.tasks = tasks
        self.timeout = timeout
        more = f" (and {len(unfinished) - 1} more)" if len(unfinished) > 1 else ""
        trouble = f" (the last look failed: {fault})" if fault else ""
        super().__init__(
            f"{self.task.provider} task {self.task.id}{more} was still {self.task.state.value} after {timeout:g} s"
            f"{trouble}; the remote task goes on and can be waited for again"
        )
        self.__cause__ = fault


class APIError(AceTasksError):
    """Raised when the service answers a request with an error.

    Attributes:
        status: The HTTP status, or None where no request was sent.
        code: The service's own error code, or None.
        message: The service's own message, at most 256 characters of it.
        trace_id: The service's id for this request, to quote to its support, or None.
        retry_after: Seconds to wait before another request, where the service said so, else None.
        provider: The provider's slug, or None where it is about none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        trace_id: str | None = None,
        retry_after: float | None = None,
        provider: str | None = None,
        hint: str = "",
    ) -> None:
        self.message = message[:ECHO_LIMIT]
        self.status = status
        self.code = code and code[:ECHO_LIMIT]
        self.trace_id = trace_id and trace_id[:ECHO_LIMIT]
        self.retry_after = retry_after
        self.provider = provider
        answer = " ".join(filter(None, (f"HTTP {status}" if status else "", self.code)))
        trace = f" (trace id {self.trace_id})" if trace_id else ""
        super().__init__(": ".join(filter(None, (provider, answer, self.message))) + trace + hint)


class AuthenticationError(APIError):
    """Raised when a token is missing, wrong or expired (HTTP 401). Trying again needs another token."""


class PermissionDeniedError(APIError):
    """Raised when the token may not use this provider, or its balance is used up (HTTP 402 and 403)."""


class BadRequestError(APIError):
    """Raised when the service rejects the request itself (HTTP 3xx, 400, 404, 413 and the like). Final."""

    @property
    def is_redirect(self) -> bool:
        """Whether it was sent elsewhere, so that it concerns the base URL and no task."""
        return self.status is not None and self.status // 100 == 3  # noqa: PLR2004  # the class of the status


class RateLimitError(APIError):
    """Raised when the service asks for fewer requests (HTTP 429). Trying again later helps."""

    transient = True


class ServiceError(APIError):
    """Raised when the service itself fails (HTTP 5xx). Trying again later helps."""

    transient = True


class TransportError(AceTasksError):
    """Raised when no complete answer came: refused, reset, cut short, timed out. Trying again later helps.

    Attributes:
        reached: Whether the request may have reached the service. False only where it surely did not.
    """

    transient = True

    def __init__(self, message: str, *, reached: bool = True) -> None:
        super().__init__(message)
        self.reached = reached


class SubmissionUncertainError(AceTasksError):
    """Raised when a submission was sent and no answer says whether it was accepted, so it may be paid for.

    It was not sent again. Look the task up in the service's history before submitting anew.

    Attributes:
        provider: The provider's slug.
        path: The path it was posted to.
        payload: The body that was sent, as JSON.
        sent_at: The client's loop time when it was sent, in seconds.
    """

    def __init__(self, message: str, *, provider: str, path: str, payload: bytes, sent_at: float) -> None:
        super().__init__(
            f"a submission to {path} may or may not have been accepted ({message}); it was not sent again, because it"
            " would be paid for twice: look for it in the provider's task history first"
        )
        self.provider = provider
        self.path = path
        self.payload = payload
        self.sent_at = sent_at


class ClientClosedError(AceTasksError):
    """Raised when a client is used where it is not open, and to those who still wait when it is closed.

    That is before it is opened, after it is closed, or in another event loop or process than it was opened in.
    """


class UnknownProviderError(AceTasksError):
    """Raised when a provider's name can be none, or the service knows no provider of that name.

    Attributes:
        provider: The name that was given.
        suggestion: The known name nearest to it, or None.
    """

    def __init__(self, provider: object, *, suggestion: str | None = None) -> None:
        did_you_mean = f"; did you mean {suggestion!r}?" if suggestion else ""
        super().__init__(
            f"unknown provider {provider!r}{did_you_mean} (`acetasks providers` lists them, and"
            " `acetasks.providers.register` adds one)"
        )
        self.provider = provider
        self.suggestion = suggestion


def fresh_copy(error: AceTasksError) -> AceTasksError:
    """Copy an error with its cause, for one of many who are given it: each raise adds to an error's traceback."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied
