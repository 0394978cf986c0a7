"""Observers are told of everything and disturb nothing; the log gets only what is news."""

from __future__ import annotations

import logging

import pytest

from acetasks import (
    BadRequestError,
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
    Task,
    TaskChanged,
    TaskSettled,
    TaskState,
    TransportError,
)
from acetasks.events import Observers

SENT = RequestSent(time=1.0, provider="luma", ids=3)


def task(provider: str = "luma", task_id: str = "t-1", state: TaskState = TaskState.RUNNING) -> Task:
    """Make a task."""
    return Task(provider=provider, id=task_id, state=state)


def failed(time: float, provider: str = "luma", reason: str = "HTTP 500: busy") -> RequestFailed:
    """Make the event of a request that failed."""
    return RequestFailed(time=time, provider=provider, ids=3, error=TransportError(reason))


def answered(time: float, provider: str = "luma") -> RequestAnswered:
    """Make the event of a request that was answered."""
    return RequestAnswered(time=time, provider=provider, ids=3, status=200, seconds=0.2)


def began(time: float, provider: str = "luma", reason: str = "HTTP 500: busy") -> OutageBegan:
    """Make the event of an outage that begins."""
    return OutageBegan(time=time, provider=provider, error=TransportError(reason))


def ended(time: float, provider: str = "luma", seconds: float = 12.5) -> OutageEnded:
    """Make the event of an outage that has ended."""
    return OutageEnded(time=time, provider=provider, seconds=seconds)


def changed(word: str | None, provider: str = "luma", task_id: str = "t-1") -> TaskChanged:
    """Make the event of a task that has changed."""
    return TaskChanged(time=1.0, provider=provider, task=task(provider, task_id), unknown_word=word)


class Recorder:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.events.append(event)


class Broken:
    """Fails at every event."""

    def __repr__(self) -> str:
        return "<a broken observer>"

    def on_event(self, event: Event) -> None:
        """Fail."""
        raise LookupError(f"cannot take {type(event).__name__}")


class TestObservers:
    """`Observers`: each event to each observer, in turn."""

    def test_tells_every_observer_in_order(self) -> None:
        """All observers are told each event, the same object, in the order in which they were given."""
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

    def test_a_failing_observer_keeps_nothing_from_the_others(self, caplog: pytest.LogCaptureFixture) -> None:
        """One that fails is logged with its traceback at each event, and those before and after it are told."""
        before, after = Recorder(), Recorder()
        emit = Observers([before, Broken(), after])

        emit(SENT)
        emit(SENT)

        assert before.events == after.events == [SENT, SENT]
        assert [(record.name, record.levelno) for record in caplog.records] == [("acetasks", logging.ERROR)] * 2
        assert caplog.messages == ["observer <a broken observer> failed on RequestSent"] * 2
        assert "LookupError: cannot take RequestSent" in caplog.text

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_an_interruption_is_not_swallowed(self, interruption: type[BaseException]) -> None:
        """What is meant to end the program ends it."""

        class Interrupting:
            def on_event(self, event: Event) -> None:
                del event
                raise interruption

        with pytest.raises(interruption):
            Observers([Interrupting()])(SENT)

    def test_no_observers_are_no_trouble(self, caplog: pytest.LogCaptureFixture) -> None:
        """Without observers an event goes nowhere."""
        Observers([])(SENT)

        assert not caplog.records


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, from its lowest level on."""
    caplog.set_level(logging.DEBUG)
    return caplog


class TestLoggingObserver:
    """`LoggingObserver`: trouble once when it begins and once when it ends."""

    def test_logs_the_beginning_and_the_end_of_an_outage(self, log: pytest.LogCaptureFixture) -> None:
        """An outage is one warning with its reason, and its end one line that says how long it lasted."""
        observer = LoggingObserver()
        for event in (answered(5.0), began(10.0), ended(22.5), answered(30.0)):
            observer.on_event(event)

        assert [(record.name, record.levelno, record.getMessage()) for record in log.records] == [
            (
                "acetasks",
                logging.WARNING,
                "luma: requests keep failing, so it is only probed until it answers: HTTP 500: busy",
            ),
            ("acetasks", logging.INFO, "luma: requests succeed again, after 12.5 s"),
        ]

    def test_logs_every_outage_of_every_provider(self, log: pytest.LogCaptureFixture) -> None:
        """Each is news, whatever was logged before."""
        observer = LoggingObserver()
        for event in (began(1.0), began(1.5, "flux", "reset"), ended(3.5, "flux", 2.0), began(5.0, "flux", "refused")):
            observer.on_event(event)

        text = "{}: requests keep failing, so it is only probed until it answers: {}"
        assert log.messages == [
            text.format("luma", "HTTP 500: busy"),
            text.format("flux", "reset"),
            "flux: requests succeed again, after 2.0 s",
            text.format("flux", "refused"),
        ]

    def test_logs_a_cut_of_the_rate_and_the_recovery(self, log: pytest.LogCaptureFixture) -> None:
        """What is sent from now on is told with the service's own words, and that it is as before, too."""
        observer = LoggingObserver()
        error = RateLimitError("slow down", status=429)
        observer.on_event(RateCut(time=1.0, provider="luma", rate=3.14159, error=error))
        observer.on_event(RateRestored(time=60.0, provider="flux", rate=60.25))

        assert [(record.levelno, record.getMessage()) for record in log.records] == [
            (logging.WARNING, "luma: too many requests; at most 3.14 a second are sent now: HTTP 429: slow down"),
            (logging.INFO, "flux: up to 60.2 requests a second are sent again"),
        ]

    def test_single_failures_are_for_debugging(self, log: pytest.LogCaptureFixture) -> None:
        """Requests that are sent again are no trouble yet, however many fail; answers are not logged at all."""
        observer = LoggingObserver()
        for event in (failed(1.0), answered(2.0), failed(3.0, "flux", "reset"), failed(4.0)):
            observer.on_event(event)

        assert {record.levelno for record in log.records} == {logging.DEBUG}
        assert log.messages == [
            "luma: a request failed: HTTP 500: busy",
            "flux: a request failed: reset",
            "luma: a request failed: HTTP 500: busy",
        ]

    def test_logs_an_undocumented_word_once_for_each_provider(self, log: pytest.LogCaptureFixture) -> None:
        """A word is logged with the first task that has it, and not again for that provider."""
        observer = LoggingObserver()
        for event in (
            changed("warming_up"),
            changed("warming_up", task_id="t-2"),
            changed("cooling"),
            changed("warming_up", "flux", "t-3"),
            changed("warming_up"),
        ):
            observer.on_event(event)

        text = "{}: task {} is in a state that is not documented, '{}'; it is waited for as unfinished"
        assert {record.levelno for record in log.records} == {logging.WARNING}
        assert log.messages == [
            text.format("luma", "t-1", "warming_up"),
            text.format("luma", "t-1", "cooling"),
            text.format("flux", "t-3", "warming_up"),
        ]

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
        """What goes as it should is not logged, and neither is what is final: whoever waits for it is told."""
        LoggingObserver().on_event(event)

        assert not log.records

    def test_writes_to_the_logger_it_is_given(self, log: pytest.LogCaptureFixture) -> None:
        """A logger of the user's own takes the place of the library's."""
        LoggingObserver(logging.getLogger("mine")).on_event(began(1.0))

        assert [record.name for record in log.records] == ["mine"]

    def test_a_word_with_a_percent_sign_is_logged_as_it_is(self, log: pytest.LogCaptureFixture) -> None:
        """Foreign texts are arguments of the log, never its format."""
        observer = LoggingObserver()
        observer.on_event(changed("100%s"))
        error = ServiceError("%d of %s", status=500)
        observer.on_event(RequestFailed(time=1.0, provider="luma", ids=1, error=error))
        observer.on_event(OutageBegan(time=1.0, provider="luma", error=error))

        assert "'100%s'" in log.messages[0]
        assert [message.endswith(": HTTP 500: %d of %s") for message in log.messages[1:]] == [True, True]


def test_events_are_frozen() -> None:
    """An observer cannot change what the next one is told."""
    with pytest.raises(AttributeError):
        SENT.ids = 4
