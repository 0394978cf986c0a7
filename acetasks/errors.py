"""Exception classes.

All derive from `AceTasksError`. A subclass exists only where callers would handle it differently. Attributes carry the
data, so that errors can be copied (each of many waiters gets its own) and pickled.
"""

from __future__ import annotations

import copy
from http import HTTPStatus

from acetasks._records import ECHO_LIMIT
from acetasks.models import AceTasksError, Artifact, ProtocolError, Task

__all__ = [
    "APIError",
    "AceTasksError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "DownloadError",
    "LedgerError",
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


class TaskFailedError(AceTasksError):
    """Raised when the service reports that a task failed. Final: another wait ends in the same way.

    Attributes:
        task: The failed task; `task.error` has the service's error code and message.
    """

    def __init__(self, task: Task) -> None:
        reason = task.error.message if task.error else "no reason given"
        if task.error and task.error.code:
            reason = f"{task.error.code}: {reason}"
        super().__init__(f"{task.provider} task {task.id} failed: {reason[:ECHO_LIMIT]}")
        self.task = task


class TaskNotFoundError(AceTasksError):
    """Raised when the service has had no task with this id for longer than the grace period.

    Another wait helps only if the id was polled too soon after its submission; see `PollPolicy.missing_grace`.

    Attributes:
        task: A task in state `NOT_FOUND`, with the requested provider and id.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(
            f"{task.provider} task {task.id!r} not found: check the id, the provider, and that the token is the one"
            " that the task was submitted with"
        )
        self.task = task


class TaskTimeoutError(AceTasksError, TimeoutError):
    """Raised when the timeout of a wait expires. The remote task continues, and can be awaited again.

    If the last poll failed, the message says so, and `__cause__` is the error of that poll.

    Attributes:
        task: Snapshot of the first unfinished task; in state `PENDING` if no poll has returned it.
        tasks: Snapshot of every task of the wait, finished ones included, in the order given.
        timeout: The timeout, in seconds.
        pause: Seconds for which the service asked to pause, if the timeout passed before the end; else None.
    """

    def __init__(
        self,
        tasks: tuple[Task, ...],
        timeout: float,
        fault: AceTasksError | None = None,
        *,
        pause: float | None = None,
        unknown_word: str | None = None,
    ) -> None:
        unfinished = [task for task in tasks if not task.state.is_terminal] or tasks
        self.task = unfinished[0]
        self.tasks = tasks
        self.timeout = timeout
        self.pause = pause
        more = f" (and {len(unfinished) - 1} more)" if len(unfinished) > 1 else ""
        asked = f" (the service asked to pause for {pause:g} s)" if pause else ""
        failure = f" (the last poll failed: {fault})" if fault else ""
        doubt = ""
        if unknown_word is not None:
            doubt = f" (its state {unknown_word[:ECHO_LIMIT]!r} is not documented: it may have ended)"
        super().__init__(
            f"{self.task.provider} task {self.task.id}{more} was still {self.task.state.value} after {timeout:g} s"
            f"{doubt}{asked}{failure}; the remote task continues and can be awaited again"
        )
        self.__cause__ = fault


class APIError(AceTasksError):
    """Raised when the service, or a gateway before it, responds with an error.

    An error that is not in the service's own form, and a redirect, may pass: `transient` is true, and waits continue.

    Attributes:
        status: The HTTP status, or None if no request was sent.
        code: The service's error code, or None.
        message: The service's message, at most 256 characters.
        trace_id: The service's id of the request, for support requests, or None.
        task_id: The id of a task that the error names, or None. A submission may be refused after its task was
            recorded, and then this is the only trace of it.
        retry_after: Seconds to wait before the next request, at most `RetryPolicy.max_retry_after`, or None if the
            service did not say.
        provider: The provider's slug, or None if the error concerns no single provider.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        trace_id: str | None = None,
        task_id: str | None = None,
        retry_after: float | None = None,
        provider: str | None = None,
        hint: str = "",
    ) -> None:
        self.message = message[:ECHO_LIMIT]
        self.status = status
        self.code = code and code[:ECHO_LIMIT]
        self.trace_id = trace_id and trace_id[:ECHO_LIMIT]
        self.task_id = task_id and task_id[:ECHO_LIMIT]
        self.retry_after = retry_after
        self.provider = provider
        kind = " ".join(filter(None, (f"HTTP {status}" if status else "", self.code)))
        ids = ", ".join(
            f"{name} {value}" for name, value in (("task", self.task_id), ("trace id", self.trace_id)) if value
        )
        shown_ids = f" ({ids})" if ids else ""
        super().__init__(": ".join(filter(None, (provider, kind, self.message))) + shown_ids + hint)


class AuthenticationError(APIError):
    """Raised when the token is missing, wrong or expired (HTTP 401). Use another token."""


class PermissionDeniedError(APIError):
    """Raised when the token may not use this provider or its balance is used up (HTTP 402, 403).

    The service's moderation refuses the content of a submission in the same way, with the code `forbidden`.
    """


class BadRequestError(APIError):
    """Raised when the service rejects the request itself (HTTP 400, 404, 413 and the like). Final.

    Also raised for a redirect (HTTP 3xx) and for an error page of a gateway: these are transient.
    """

    @property
    def is_redirect(self) -> bool:
        """Whether the response was a redirect: of a wrong base URL, a login wall or a maintenance page."""
        return self.status is not None and HTTPStatus.MULTIPLE_CHOICES <= self.status < HTTPStatus.BAD_REQUEST


class RateLimitError(APIError):
    """Raised when the service rejects a request because there were too many (HTTP 429). Retry later."""

    transient = True


class ServiceError(APIError):
    """Raised when the service fails (HTTP 5xx). Retry later."""

    transient = True


class TransportError(AceTasksError):
    """Raised when no complete response arrived: refused, reset, truncated or timed out. Retry later.

    Attributes:
        reached: Whether the request may have reached the service; false only if it certainly did not.
        transient: False if a retry is pointless: the certificate cannot be verified, or the other side has no TLS, and
            the service has not responded since the client was opened.
        remedy: What to check, for these failures and an unknown host name; None for others. Waits end when such a
            failure has lasted for a minute.
    """

    def __init__(
        self, message: str, *, reached: bool = True, transient: bool = True, remedy: str | None = None
    ) -> None:
        super().__init__(f"{message}; {remedy}" if remedy else message)
        self.reached = reached
        self.transient = transient
        self.remedy = remedy


class SubmissionUncertainError(AceTasksError):
    """Raised when a submission was sent but no response confirms or rejects it, so it may be charged for.

    It was not retried. Check the service's task history (`Client.history`) before submitting again; with a
    journal, `Client.reconcile` does that.

    Attributes:
        provider: The provider's slug.
        path: The path of the request.
        payload: The request body, as JSON.
        key: Its key in the client's journal, or None without one.
        sent_at: When the request was sent, in seconds since the epoch, as `Task.created_at` is.
    """

    def __init__(self, message: str, *, provider: str, path: str, payload: bytes, sent_at: float) -> None:
        super().__init__(
            f"{provider}: the submission to {path} may or may not have been accepted ({message}); it was not retried,"
            f" because it could be paid for twice: look it up with client.history({provider!r}) before submitting again"
        )
        self.key: str | None = None
        self.provider = provider
        self.path = path
        self.payload = payload
        self.sent_at = sent_at


class LedgerError(AceTasksError):
    """Raised when the ledger of submissions cannot be opened, read or written; the message says what to do.

    Raised before a submission is sent, nothing was paid for.

    Attributes:
        location: The file or database.
        transient: Whether the same call may succeed later, as when another process held the file for too long.
    """

    def __init__(self, message: str, *, location: str, transient: bool = False) -> None:
        super().__init__(f"ledger {location}: {message}")
        self.location = location
        self.transient = transient


class DownloadError(AceTasksError):
    """Raised when a file of a task was not downloaded; no part of it is left under its name.

    Attributes:
        task: The task, which has ended and is not affected.
        artifact: The file.
        transient: Whether a retry may help.
        expired: Whether the URL has expired, so that the task must be retrieved again for a new one; `Client.download`
            has done that.
    """

    def __init__(
        self, message: str, *, task: Task, artifact: Artifact, transient: bool = False, expired: bool = False
    ) -> None:
        super().__init__(message)
        self.task = task
        self.artifact = artifact
        self.transient = transient
        self.expired = expired


class ClientClosedError(AceTasksError):
    """Raised when a client is used before it is opened or after it is closed, and by waits that closing it ends.

    Also raised when a client is used in another event loop or process than it was opened in.
    """


class UnknownProviderError(AceTasksError):
    """Raised when a provider name is invalid, or unknown to the service.

    Attributes:
        provider: The invalid name.
        suggestion: The most similar known name, or None.
    """

    def __init__(self, provider: object, *, suggestion: str | None = None) -> None:
        did_you_mean = f"; did you mean {suggestion!r}?" if suggestion else ""
        super().__init__(
            f"unknown provider {provider!r}{did_you_mean} (`acetasks providers` lists the known ones;"
            " `acetasks.providers.register` adds one)"
        )
        self.provider = provider
        self.suggestion = suggestion


def fresh_copy(error: AceTasksError) -> AceTasksError:
    """Copy an error with its cause and without its traceback.

    An error that is raised to many waiters must be copied for each, because every raise extends its traceback.
    """
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied
