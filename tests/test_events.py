"""Tests of the events, the observers and the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from acetasks import (
    BadRequestError,
    BatchesIgnored,
    Event,
    LoggingObserver,
    OutageBegan,
    OutageEnded,
    RateCut,
    RateLimitError,
    RateRestored,
    RequestAnswered,
    RequestFailed,
    RequestSent,
    ServiceError,
    SubmissionUncertain,
    SubmissionUncertainError,
    Task,
    TaskChanged,
    TaskSettled,
    TaskState,
    TaskSubmitted,
    TransportError,
)
from acetasks.events import Observers

#: The log line of the start of an outage.
LOST = "{}: requests keep failing; sending one probe at a time until one succeeds, first in 7.5 s: {}"
SENT = RequestSent(time=1.0, provider="luma", ids=3)


def task(provider: str = "luma", task_id: str = "t-1", state: TaskState = TaskState.RUNNING) -> Task:
    """Return a task."""
    return Task(provider=provider, id=task_id, state=state)


def failed(time: float, provider: str = "luma", reason: str = "HTTP 500: busy") -> RequestFailed:
    """Return the event of a failed request."""
    return RequestFailed(time=time, provider=provider, ids=3, error=TransportError(reason))


def answered(time: float, provider: str = "luma") -> RequestAnswered:
    """Return the event of a successful request."""
    return RequestAnswered(time=time, provider=provider, ids=3, status=200, seconds=0.2)


def began(time: float, provider: str = "luma", reason: str = "HTTP 500: busy") -> OutageBegan:
    """Return the event of the start of an outage."""
    return OutageBegan(time=time, provider=provider, error=TransportError(reason), until=time + 7.5)


def ended(time: float, provider: str = "luma", seconds: float = 12.5) -> OutageEnded:
    """Return the event of the end of an outage."""
    return OutageEnded(time=time, provider=provider, seconds=seconds)


def changed(word: str | None, provider: str = "luma", task_id: str = "t-1", *, unknown_for: float = 0.0) -> TaskChanged:
    """Return the event of a changed task."""
    return TaskChanged(
        time=1.0, provider=provider, task=task(provider, task_id), unknown_word=word, unknown_for=unknown_for
    )


class Recorder:
    """Observer that records all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Record the event."""
        self.events.append(event)


class Broken:
    """Observer that raises at every event."""

    def __repr__(self) -> str:
        return "<a broken observer>"

    def on_event(self, event: Event) -> None:
        """Raise."""
        raise LookupError(f"cannot take {type(event).__name__}")


class TestObservers:
    """`Observers` passes each event to each observer."""

    def test_calls_every_observer_in_order(self) -> None:
        """Each event is passed, as the same object, to the observers in the order given."""
        order: list[tuple[str, Event]] = []

        class Named(Recorder):
            def __init__(self, name: str) -> None:
                super().__init__()
                self.name = name

            def on_event(self, event: Event) -> None:
                order.append((self.name, event))

        emit = Observers(Named(name) for name in "ab")
        emit(SENT)
        emit(failed(2.0))

        assert [(name, type(event)) for name, event in order] == [
            ("a", RequestSent),
            ("b", RequestSent),
            ("a", RequestFailed),
            ("b", RequestFailed),
        ]
        assert order[0][1] is order[1][1] is SENT

    def test_exception_in_an_observer_does_not_affect_the_others(self, caplog: pytest.LogCaptureFixture) -> None:
        """Each exception is logged with its traceback; the observers before and after get every event."""
        before, after = Recorder(), Recorder()
        emit = Observers([before, Broken(), after])

        emit(SENT)
        emit(SENT)

        assert before.events == after.events == [SENT, SENT]
        assert [(record.name, record.levelno) for record in caplog.records] == [("acetasks", logging.ERROR)] * 2
        assert caplog.messages == ["observer <a broken observer> failed on RequestSent"] * 2
        assert "LookupError: cannot take RequestSent" in caplog.text

    async def test_cancelled_error_of_an_observer_is_an_exception_like_any_other(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An observer may read the result of a future that was cancelled; it cannot be cancelled itself."""
        future = asyncio.get_running_loop().create_future()
        future.cancel()

        class Reader:
            def on_event(self, event: Event) -> None:
                del event
                future.result()

        Observers([Reader()])(SENT)

        assert len(caplog.records) == 1
        assert "CancelledError" in caplog.text

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_keyboard_interrupt_and_system_exit_propagate(self, interruption: type[BaseException]) -> None:
        """Exceptions that end the program are not caught."""

        class Interrupting:
            def on_event(self, event: Event) -> None:
                del event
                raise interruption

        with pytest.raises(interruption):
            Observers([Interrupting()])(SENT)

    def test_works_without_observers(self, caplog: pytest.LogCaptureFixture) -> None:
        """An event without observers is discarded."""
        Observers([])(SENT)

        assert not caplog.records

    @pytest.mark.parametrize(
        "kind",
        [
            *(RequestFailed, TaskSubmitted, SubmissionUncertain),
            *(OutageBegan, OutageEnded, RateCut, RateRestored, BatchesIgnored),
        ],
    )
    def test_wants_logged_events_without_observers(self, kind: type[Event]) -> None:
        """The log uses all events of these types."""
        assert Observers().wants(kind)

    @pytest.mark.parametrize("kind", [RequestSent, RequestAnswered, TaskChanged, TaskSettled])
    def test_wants_frequent_events_only_with_an_observer(self, kind: type[Event]) -> None:
        """Without a user's observer, frequent events need not be built."""
        assert not Observers().wants(kind)
        assert Observers([Recorder()]).wants(kind)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log at level DEBUG."""
    caplog.set_level(logging.DEBUG)
    return caplog


class TestLoggingObserver:
    """`LoggingObserver` logs notable events only."""

    def test_logs_ignored_batches(self, log: pytest.LogCaptureFixture) -> None:
        """A warning says what is done about it, and for how long."""
        LoggingObserver().on_event(BatchesIgnored(time=5.0, provider="luma", until=605.0))

        text = (
            "luma: a request for several tasks is not answered with their records, though they exist; sending one"
            " request per task for 600 s"
        )
        assert log.record_tuples == [("acetasks", logging.WARNING, text)]

    def test_logs_start_and_end_of_an_outage(self, log: pytest.LogCaptureFixture) -> None:
        """The start is a warning with the error, the end an INFO line with the duration."""
        observer = LoggingObserver()
        for event in (answered(5.0), began(10.0), ended(22.5), answered(30.0)):
            observer.on_event(event)

        assert [(record.name, record.levelno, record.getMessage()) for record in log.records] == [
            (
                "acetasks",
                logging.WARNING,
                LOST.format("luma", "HTTP 500: busy"),
            ),
            ("acetasks", logging.INFO, "luma: requests succeed again after 12.5 s"),
        ]

    def test_logs_every_outage_of_every_provider(self, log: pytest.LogCaptureFixture) -> None:
        """Outages of other providers, and later outages, are logged too."""
        observer = LoggingObserver()
        for event in (began(1.0), began(1.5, "flux", "reset"), ended(3.5, "flux", 2.0), began(5.0, "flux", "refused")):
            observer.on_event(event)

        assert log.messages == [
            LOST.format("luma", "HTTP 500: busy"),
            LOST.format("flux", "reset"),
            "flux: requests succeed again after 2.0 s",
            LOST.format("flux", "refused"),
        ]

    def test_logs_rate_cut_and_recovery(self, log: pytest.LogCaptureFixture) -> None:
        """The cut is a warning with the new rate and the error, the recovery an INFO line."""
        observer = LoggingObserver()
        error = RateLimitError("slow down", status=429)
        observer.on_event(RateCut(time=1.0, provider="luma", rate=3.14159, error=error, until=301.0))
        observer.on_event(RateRestored(time=60.0, provider="flux", rate=60.25))

        assert [(record.levelno, record.getMessage()) for record in log.records] == [
            (
                logging.WARNING,
                "luma: rate limited; cut to 3.14 requests/s after a pause of 300.0 s: HTTP 429: slow down",
            ),
            (logging.INFO, "flux: rate restored to 60.2 requests/s"),
        ]

    def test_logs_single_transient_failures_at_debug(self, log: pytest.LogCaptureFixture) -> None:
        """Every transient failure is a DEBUG line; successful requests are not logged."""
        observer = LoggingObserver()
        for event in (failed(1.0), answered(2.0), failed(3.0, "flux", "reset"), failed(4.0)):
            observer.on_event(event)

        assert {record.levelno for record in log.records} == {logging.DEBUG}
        assert log.messages == [
            "luma: request failed: HTTP 500: busy",
            "flux: request failed: reset",
            "luma: request failed: HTTP 500: busy",
        ]

    def test_logs_submissions_that_nothing_else_tells(self, log: pytest.LogCaptureFixture) -> None:
        """Uncertain and abandoned ones are warnings, others DEBUG lines."""
        observer = LoggingObserver()
        common = {"time": 1.0, "provider": "luma", "path": "/luma/videos"}
        error = SubmissionUncertainError("reset", provider="luma", path="/luma/videos", payload=b"{}", sent_at=2.0)
        for event in (
            TaskSubmitted(**common, task=task()),
            TaskSubmitted(**common, task=task(), abandoned=True),
            TaskSubmitted(**common, task=task(task_id=""), abandoned=True),
            SubmissionUncertain(**common, sent_at=2.0, error=error),
        ):
            observer.on_event(event)

        text = "luma: task {} was submitted to /luma/videos{}"
        assert [(record.levelno, record.getMessage()) for record in log.records] == [
            (logging.DEBUG, text.format("t-1", "")),
            (logging.WARNING, text.format("t-1", ", after its caller had gone; it may be paid for")),
            (logging.WARNING, text.format("without an id", ", after its caller had gone; it may be paid for")),
            (logging.WARNING, str(error)),
        ]

    def test_submitted_task_has_its_id(self) -> None:
        """The event names the task."""
        event = TaskSubmitted(time=1.0, provider="luma", path="/luma/videos", task=task())
        assert event.id == event.task.id == "t-1"

    def test_logs_undocumented_state_once_per_provider(self, log: pytest.LogCaptureFixture) -> None:
        """Only the first task of a provider with the state is logged."""
        observer = LoggingObserver()
        for event in (
            changed("warming_up"),
            changed("warming_up", task_id="t-2"),
            changed("cooling"),
            changed("warming_up", "flux", "t-3"),
            changed("warming_up"),
        ):
            observer.on_event(event)

        text = "{}: task {} has the undocumented state '{}'; treating it as unfinished"
        assert {record.levelno for record in log.records} == {logging.WARNING}
        assert log.messages == [
            text.format("luma", "t-1", "warming_up"),
            text.format("luma", "t-1", "cooling"),
            text.format("flux", "t-3", "warming_up"),
        ]

    def test_states_that_differ_in_a_number_are_logged_once(self, log: pytest.LogCaptureFixture) -> None:
        """A position in a queue is not a word of its own for each task; text of any length is cut off."""
        observer = LoggingObserver()
        for position in range(200):
            observer.on_event(changed(f"position {position} in the line"))
        observer.on_event(changed("in the line"))
        observer.on_event(changed("x" * 1000))

        assert [message.partition("state ")[2].partition(";")[0] for message in log.messages] == [
            "'position 0 in the line'",
            "'in the line'",
            repr("x" * 256),
        ]

    def test_a_lasting_state_is_logged_again_once(self, log: pytest.LogCaptureFixture) -> None:
        """The second warning says that the task may have ended."""
        observer = LoggingObserver()
        for seconds in (0.0, 470.4, 0.0, 941.0, 470.0):
            observer.on_event(changed("paused", unknown_for=seconds))

        text = "luma: task t-1 has the undocumented state 'paused'{}; treating it as unfinished"
        assert log.messages == [text.format(""), text.format(" for 470 s and may have ended")]

    def test_number_of_logged_states_is_bounded(self, log: pytest.LogCaptureFixture) -> None:
        """A service that sends another text for each task fills neither the memory nor the log."""
        observer = LoggingObserver()
        for number in range(1000):
            observer.on_event(changed("".join(chr(ord("a") + int(digit)) for digit in str(number))))

        assert len(log.messages) == 256

    @pytest.mark.parametrize(
        "event",
        [
            SENT,
            answered(1.0),
            changed(None),
            TaskSettled(time=1.0, provider="luma", task=task(state=TaskState.FAILED), waiters=2),
            Event(time=1.0, provider="luma"),
            RequestFailed(time=1.0, provider="luma", ids=1, error=BadRequestError("no such id", status=400)),
        ],
        ids=lambda event: type(event).__name__,
    )
    def test_logs_nothing_else(self, log: pytest.LogCaptureFixture, event: Event) -> None:
        """Normal events are not logged, nor are final errors, which are raised to their callers."""
        LoggingObserver().on_event(event)

        assert not log.records

    def test_uses_the_given_logger(self, log: pytest.LogCaptureFixture) -> None:
        """A user's logger replaces the default one."""
        LoggingObserver(logging.getLogger("mine")).on_event(began(1.0))

        assert [record.name for record in log.records] == ["mine"]

    def test_percent_signs_in_service_text_are_logged_verbatim(self, log: pytest.LogCaptureFixture) -> None:
        """Text from a service is never a format string."""
        observer = LoggingObserver()
        observer.on_event(changed("100%s"))
        error = ServiceError("%d of %s", status=500)
        observer.on_event(RequestFailed(time=1.0, provider="luma", ids=1, error=error))
        observer.on_event(OutageBegan(time=1.0, provider="luma", error=error, until=2.0))

        assert "'100%s'" in log.messages[0]
        assert [message.endswith(": HTTP 500: %d of %s") for message in log.messages[1:]] == [True, True]


def test_events_are_immutable() -> None:
    """An observer cannot change an event for the next observer."""
    with pytest.raises(AttributeError):
        SENT.ids = 4
