"""What a client tells its observers: frozen records of what it did and saw, and the observer that logs.

Events carry no token and no signed URL beyond the tasks themselves. Observers are called synchronously, in the event
loop, and should return quickly; one that fails is logged and does not disturb the client.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from acetasks.errors import AceTasksError
from acetasks.models import Task

if TYPE_CHECKING:
    from collections.abc import Iterable

_logger = logging.getLogger("acetasks")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Anything that a client tells.

    Attributes:
        time: When it happened, in seconds of the event loop's clock.
        provider: The provider's slug.
    """

    time: float
    provider: str


class RequestSent(Event, frozen=True, kw_only=True):
    """A request leaves; once for each attempt.

    Attributes:
        ids: How many tasks it asks for; 0 for a submission.
    """

    ids: int


class RequestAnswered(Event, frozen=True, kw_only=True):
    """A request got an answer that could be used.

    Attributes:
        ids: How many tasks it asked for; 0 for a submission.
        status: The HTTP status.
        seconds: From sending to the last byte.
    """

    ids: int
    status: int
    seconds: float


class RequestFailed(Event, frozen=True, kw_only=True):
    """A request got no answer that could be used; once for each attempt.

    Attributes:
        ids: How many tasks it asked for; 0 for a submission.
        error: What went wrong.
    """

    ids: int
    error: AceTasksError


class TaskChanged(Event, frozen=True, kw_only=True):
    """A task was seen for the first time, or its state or progress has changed, its last state included.

    Attributes:
        task: As it was seen.
        unknown_word: The state word that nobody has documented, if it has one.
    """

    task: Task
    unknown_word: str | None = None


class TaskSettled(Event, frozen=True, kw_only=True):
    """Everybody who waited for a task was given its end.

    Attributes:
        task: In its terminal state.
        waiters: How many waited.
    """

    task: Task
    waiters: int


class OutageBegan(Event, frozen=True, kw_only=True):
    """A provider has failed several times in a row: from now on it is probed by one request at a time.

    Attributes:
        error: The last failure.
    """

    error: AceTasksError


class OutageEnded(Event, frozen=True, kw_only=True):
    """A provider that was down has answered.

    Attributes:
        seconds: From its first failure to the answer.
    """

    seconds: float


class RateCut(Event, frozen=True, kw_only=True):
    """A service was asked too much, and its usual rate is cut; told once until the rate is back.

    Attributes:
        rate: Requests a second under this token from now on.
        error: The service's answer.
    """

    rate: float
    error: AceTasksError


class RateRestored(Event, frozen=True, kw_only=True):
    """A rate that was cut has climbed back to where it was.

    Attributes:
        rate: Requests a second under this token.
    """

    rate: float


class Observer(Protocol):
    """Whoever wants to know: a progress display, metrics, a log."""

    def on_event(self, event: Event) -> None:
        """Take note of one event."""


class LoggingObserver:
    """Logs trouble once when it begins and once when it ends, and each undocumented state word once.

    Every client has one, on the logger `acetasks`. Single failures, which are sent again, are logged as `DEBUG`.
    """

    def __init__(self, logger: logging.Logger = _logger) -> None:
        self._logger = logger
        self._known_words: set[tuple[str, str]] = set()

    def on_event(self, event: Event) -> None:
        """Log the event if it is news."""
        match event:
            # A final error is its caller's to see.
            case RequestFailed(error=error) if error.transient:
                self._logger.debug("%s: a request failed: %s", event.provider, error)
            case OutageBegan(error=error):
                self._logger.warning(
                    "%s: requests keep failing, so it is only probed until it answers: %s", event.provider, error
                )
            case OutageEnded(seconds=seconds):
                self._logger.info("%s: requests succeed again, after %.1f s", event.provider, seconds)
            case RateCut(rate=rate, error=error):
                self._logger.warning(
                    "%s: too many requests; at most %.3g a second are sent now: %s", event.provider, rate, error
                )
            case RateRestored(rate=rate):
                self._logger.info("%s: up to %.3g requests a second are sent again", event.provider, rate)
            case TaskChanged(unknown_word=str(word)) if (event.provider, word) not in self._known_words:
                self._known_words.add((event.provider, word))
                self._logger.warning(
                    "%s: task %s is in a state that is not documented, %r; it is waited for as unfinished",
                    event.provider,
                    event.task.id,
                    word,
                )


#: Events that the log uses, whatever is in them.
_RARE_EVENTS = frozenset({RequestFailed, OutageBegan, OutageEnded, RateCut, RateRestored})


class Observers:
    """The observers of one client, called in turn for each event."""

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        """Add the log to some observers.

        Args:
            observers: The user's own observers.
        """
        own = tuple(observers)
        self._has_own = bool(own)
        self._observers = (LoggingObserver(), *own)

    def __call__(self, event: Event) -> None:
        """Pass an event to every observer; one that fails is logged, with its traceback."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception:
                _logger.exception("observer %r failed on %s", observer, type(event).__name__)

    def wants(self, kind: type[Event]) -> bool:
        """Return whether any observer uses every event of a kind, so that frequent ones are built only if needed.

        The log uses no `RequestSent`, `RequestAnswered` or `TaskSettled`, and of `TaskChanged` only the ones with an
        undocumented state word.
        """
        return self._has_own or kind in _RARE_EVENTS
