"""Events that a client emits, and the observers that receive them.

Events are immutable. They carry no token, and no signed URL except those in a task. Observers are called synchronously
in the event loop, so they must return quickly. An exception in an observer is logged and does not affect the client.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import TYPE_CHECKING, Protocol

import msgspec

from acetasks._records import ECHO_LIMIT
from acetasks.errors import AceTasksError
from acetasks.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

_logger = logging.getLogger("acetasks")

#: The part of a state in which it differs from others of its kind, such as a position in a queue.
_NUMBER = re.compile(r"\d+")
#: Undocumented states that one client logs. A provider has a few; many more are no words, but texts made for each task.
_MAX_WORDS = 256


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of all events.

    Attributes:
        time: When the event happened (loop time).
        provider: The provider's slug.
    """

    time: float
    provider: str


class RequestSent(Event, frozen=True, kw_only=True):
    """A request is being sent; once per attempt.

    Attributes:
        ids: Number of tasks requested; 0 for a submission.
    """

    ids: int


class RequestAnswered(Event, frozen=True, kw_only=True):
    """A request got a usable response.

    Attributes:
        ids: Number of tasks requested; 0 for a submission.
        status: The HTTP status.
        seconds: Time from sending to the last byte of the response.
    """

    ids: int
    status: int
    seconds: float


class RequestFailed(Event, frozen=True, kw_only=True):
    """A request got no usable response; once per attempt.

    Attributes:
        ids: Number of tasks requested; 0 for a submission.
        error: Reason of the failure.
    """

    ids: int
    error: AceTasksError


class TaskChanged(Event, frozen=True, kw_only=True):
    """A task was polled for the first time, or its state or progress changed (the final state included).

    Also emitted, rarely, while a task stays in an undocumented state for ten times its provider's usual duration.

    Attributes:
        task: The task after the change.
        unknown_word: The undocumented state word in its record, or None.
        unknown_for: Seconds that the state has been undocumented, if the event is about that; otherwise 0.
    """

    task: Task
    unknown_word: str | None = None
    unknown_for: float = 0.0


class TaskSubmitted(Event, frozen=True, kw_only=True):
    """A submission was accepted, and may be paid for.

    Attributes:
        path: The path of the request.
        task: The task as in the response: to be polled, or the result itself.
        abandoned: Whether the caller had gone before the response came, so that nothing else has the id.
    """

    path: str
    task: Task
    abandoned: bool = False

    @property
    def id(self) -> str:
        """The task's id; empty if the response was the result itself, without an id."""
        return self.task.id


class SubmissionUncertain(Event, frozen=True, kw_only=True):
    """A submission may or may not have been accepted, and is not sent again.

    Attributes:
        path: The path of the request.
        sent_at: When it was sent, in seconds since the epoch.
        error: The error that the caller gets, unless it has gone; it has the payload.
    """

    path: str
    sent_at: float
    error: AceTasksError


class TaskSettled(Event, frozen=True, kw_only=True):
    """The final task was delivered to all its waiters.

    Attributes:
        task: The task, in a terminal state.
        waiters: Number of waiters.
    """

    task: Task
    waiters: int


class OutageBegan(Event, frozen=True, kw_only=True):
    """A provider counts as down: it has failed several times in a row, or requested a pause longer than any backoff.

    It is now probed by one request at a time.

    Attributes:
        error: The last failure.
        until: When the first probe may be sent (loop time).
    """

    error: AceTasksError
    until: float


class OutageEnded(Event, frozen=True, kw_only=True):
    """A provider that was down has responded.

    Attributes:
        seconds: Time from the first failure to the response.
    """

    seconds: float


class RateCut(Event, frozen=True, kw_only=True):
    """The request rate is cut because the service reported too many requests.

    Emitted once until the rate is restored, and again for each long pause that the service requests.

    Attributes:
        rate: The new limit, in requests a second under this token.
        error: The service's response.
        until: When the provider is polled again (loop time); other providers under the token wait a minute at most.
    """

    rate: float
    error: AceTasksError
    until: float


class RateRestored(Event, frozen=True, kw_only=True):
    """The request rate is back at its value before the cut.

    Attributes:
        rate: The limit, in requests a second under this token.
    """

    rate: float


class BatchesIgnored(Event, frozen=True, kw_only=True):
    """A provider does not answer for the tasks of a batch, which single polls find: it is polled for one at a time.

    Attributes:
        until: When batches are tried again (loop time).
    """

    until: float


class CallbacksMissing(Event, frozen=True, kw_only=True):
    """Several tasks of a provider in a row have ended without their callbacks: its tasks are polled as without any."""


class CallbacksRestored(Event, frozen=True, kw_only=True):
    """A callback has arrived from a provider whose callbacks were missing; they are relied on again."""


class DownloadProgress(Event, frozen=True, kw_only=True):
    """A file is being downloaded: twice a second at most, and when it is complete.

    Attributes:
        task_id: Id of the task that made the file.
        path: The file's path, without its extension until it is complete.
        done: Bytes so far.
        total: Bytes in total, or None if unknown.
        is_complete: Whether the file is complete, under its name.
    """

    task_id: str
    path: str
    done: int
    total: int | None
    is_complete: bool = False


class Observer(Protocol):
    """Receives client events, for example for metrics or a progress display."""

    def on_event(self, event: Event) -> None:
        """Handle one event."""


class LoggingObserver:
    """Logs outages, rate cuts, ignored batches, missing callbacks and undocumented states.

    An undocumented state is logged once per provider, and once more if a task stays in it for very long; states that
    differ in a number, such as "position 17", are one. Also logged is each submission that is uncertain, or was
    accepted after its caller had gone. Every client has such an observer, with the logger `acetasks`. Single transient
    failures and accepted submissions are logged at `DEBUG`.
    """

    def __init__(self, logger: logging.Logger = _logger) -> None:
        self._logger = logger
        self._logged_words: set[tuple[str, str, bool]] = set()

    def on_event(self, event: Event) -> None:
        """Log the event if it is notable."""
        match event:
            # A final error is raised to its caller, so only transient ones are logged.
            case RequestFailed(error=error) if error.transient:
                self._logger.debug("%s: request failed: %s", event.provider, error)
            case TaskSubmitted() | SubmissionUncertain():
                self._log_submission(event)
            case OutageBegan() | OutageEnded() | RateCut() | RateRestored() | BatchesIgnored():
                self._log_limits(event)
            case CallbacksMissing():
                self._logger.warning(
                    "%s: tasks end without their callbacks, so they are polled as without; check that the service can"
                    " reach the URL of Client(callbacks=...)",
                    event.provider,
                )
            case CallbacksRestored():
                self._logger.info("%s: callbacks arrive again", event.provider)
            case TaskChanged(unknown_word=str(word), unknown_for=seconds) if self._is_new(
                event.provider, word, seconds
            ):
                lasting = f" for {seconds:.0f} s and may have ended" if seconds else ""
                self._logger.warning(
                    "%s: task %s has the undocumented state %r%s; treating it as unfinished",
                    event.provider,
                    event.task.id,
                    word[:ECHO_LIMIT],
                    lasting,
                )

    def _log_submission(self, event: TaskSubmitted | SubmissionUncertain) -> None:
        match event:
            case TaskSubmitted(path=path, id=task_id, abandoned=abandoned):
                self._logger.log(
                    logging.WARNING if abandoned else logging.DEBUG,
                    "%s: task %s was submitted to %s%s",
                    event.provider,
                    task_id or "without an id",
                    path,
                    ", after its caller had gone; it may be paid for" if abandoned else "",
                )
            case SubmissionUncertain(error=error):
                self._logger.warning("%s", error)

    def _log_limits(self, event: OutageBegan | OutageEnded | RateCut | RateRestored | BatchesIgnored) -> None:
        match event:
            case OutageBegan(error=error, until=until):
                self._logger.warning(
                    "%s: requests keep failing; sending one probe at a time until one succeeds, first in %.1f s: %s",
                    event.provider,
                    until - event.time,
                    error,
                )
            case OutageEnded(seconds=seconds):
                self._logger.info("%s: requests succeed again after %.1f s", event.provider, seconds)
            case RateCut(rate=rate, error=error, until=until):
                self._logger.warning(
                    "%s: rate limited; cut to %.3g requests/s after a pause of %.1f s: %s",
                    event.provider,
                    rate,
                    until - event.time,
                    error,
                )
            case RateRestored(rate=rate):
                self._logger.info("%s: rate restored to %.3g requests/s", event.provider, rate)
            case BatchesIgnored(until=until):
                self._logger.warning(
                    "%s: a request for several tasks is not answered with their records, though they exist; sending"
                    " one request per task for %.0f s",
                    event.provider,
                    until - event.time,
                )

    def _is_new(self, provider: str, word: str, seconds: float) -> bool:
        """Return whether an undocumented state, or that it lasts, is to be logged, and remember it."""
        logged = (provider, _NUMBER.sub("#", word[:ECHO_LIMIT]), seconds > 0)
        if logged in self._logged_words or len(self._logged_words) >= _MAX_WORDS:
            return False
        self._logged_words.add(logged)
        return True


#: Events that the log uses whatever their content.
_LOGGED_EVENTS = frozenset(
    {
        *(RequestFailed, TaskSubmitted, SubmissionUncertain),
        *(OutageBegan, OutageEnded, RateCut, RateRestored, BatchesIgnored),
        *(CallbacksMissing, CallbacksRestored),
    }
)


class Observers:
    """Calls each observer of one client for each event: the log, then the user's observers."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        own = tuple(observers)
        for observer in own:
            # A class has the method too, but no instance to call it on.
            if isinstance(observer, type) or not callable(getattr(observer, "on_event", None)):
                raise TypeError(f"an observer must be an object with a method on_event(event), got {observer!r}")
        self._has_own = bool(own)
        self._observers = (LoggingObserver(), *own)

    def __call__(self, event: Event) -> None:
        """Pass an event to every observer; an exception in one is logged with its traceback."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except (Exception, asyncio.CancelledError):  # the latter of a future that the observer has read
                _logger.exception("observer %r failed on %s", observer, type(event).__name__)

    def wants(self, event_type: type[Event]) -> bool:
        """Return whether any observer uses all events of a type, so that frequent events are built only if needed.

        The log ignores `RequestSent`, `RequestAnswered` and `TaskSettled`, and each `TaskChanged` without an
        undocumented state word.
        """
        return self._has_own or event_type in _LOGGED_EVENTS
