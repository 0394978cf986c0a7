"""Snapshots of what a client does, for monitoring and for questions about one task."""

from __future__ import annotations

import enum

import msgspec

from acetasks.models import TaskState


class RequestStats(msgspec.Struct, frozen=True, kw_only=True):
    """HTTP requests of a client since it was opened, without downloads; each attempt counts.

    Attributes:
        sent: Requests sent.
        answered: Requests with a usable response.
        failed: Requests without one, by the name of the error's type, such as `RateLimitError`.
        cancelled: Requests that ended in neither way: cancelled, or with an unexpected exception.
        retries: Attempts after the first of the same request. A poll that is due again is a new request.
        in_flight: Requests without a response yet.
    """

    sent: int = 0
    answered: int = 0
    failed: dict[str, int] = {}
    cancelled: int = 0
    retries: int = 0
    in_flight: int = 0


class SubmissionStats(msgspec.Struct, frozen=True, kw_only=True):
    """Submissions of a client since it was opened.

    Attributes:
        in_flight: Submissions without a response yet, those that wait for the rate limit included.
        abandoned: The ones of them without a caller, after it was cancelled.
        accepted: Submissions that the service accepted.
        uncertain: Submissions that may or may not have been accepted.
    """

    in_flight: int = 0
    abandoned: int = 0
    accepted: int = 0
    uncertain: int = 0


class RateStats(msgspec.Struct, frozen=True, kw_only=True):
    """Rate limit of one service.

    Attributes:
        rate: Requests per second that are sent at most.
        is_reduced: Whether the rate was cut after too many requests, and has not recovered.
    """

    rate: float
    is_reduced: bool = False


class ProviderStats(msgspec.Struct, frozen=True, kw_only=True):
    """What is awaited from one provider, and how it may be polled.

    Attributes:
        pending: Number of awaited tasks, by their state as last seen.
        circuit: State of the circuit breaker: `closed` if the provider responds, `open` if it is down, `half-open` if
            it is down and probed.
        held_until: Loop time until which a pause or an outage keeps it from being polled; None if nothing does.
            Infinity while its probe is in flight.
        batch_size: Largest number of tasks in one poll.
    """

    pending: dict[TaskState, int] = {}
    circuit: str = "closed"
    held_until: float | None = None
    batch_size: int = 1


class ClientStats(msgspec.Struct, frozen=True, kw_only=True):
    """State of a client at one time.

    Attributes:
        time: When it was read (loop time).
        waiters: Waits of all pending tasks together; a task that is awaited twice has two.
        polls_in_flight: Scheduled polls in flight.
        requests: HTTP requests.
        submissions: Submissions.
        rates: Rate limits, by service; only services that were polled or submitted to.
        max_rate: The user's own limit of requests to each service, per second (`PollPolicy.max_rate`), or None.
        providers: Providers that were polled or are awaited, by slug.
    """

    time: float
    waiters: int = 0
    polls_in_flight: int = 0
    requests: RequestStats
    submissions: SubmissionStats
    rates: dict[str, RateStats] = {}
    max_rate: float | None = None
    providers: dict[str, ProviderStats] = {}

    @property
    def pending(self) -> int:
        """Number of tasks that are awaited."""
        return sum(sum(provider.pending.values()) for provider in self.providers.values())


class WaitReason(enum.Enum):
    """Why an awaited task is polled when it is."""

    #: This client does not await it.
    NOT_AWAITED = "not awaited"
    #: It was not polled yet, and its first poll is due.
    FIRST_POLL = "first poll"
    #: A poll of it is in flight.
    IN_FLIGHT = "poll in flight"
    #: Fixed interval, or a step in proportion to the age.
    INTERVAL = "interval"
    #: Times learned from the durations of similar tasks.
    LEARNED = "learned schedule"
    #: A callback is to announce its end, or has just arrived; until then it is polled rarely.
    CALLBACK = "callback expected"
    #: The last poll failed or had no usable record, and is repeated.
    RETRY = "retry"
    #: The provider is down, and probed by one request at a time.
    OUTAGE = "outage"
    #: The service requested a pause (`Retry-After`).
    PAUSE = "requested pause"
    #: The service refused the token or the provider, which is confirmed by one more poll.
    REFUSED = "refused"
    #: The rate of the service, learned from its 429 responses, or the user's own.
    RATE_LIMIT = "rate limit"
    #: It is due, and waits for a free request slot, or for the poll budget of the learned schedule.
    QUEUED = "queued"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task is still awaited, and when it is polled next; `str()` of it is one readable text.

    Attributes:
        provider: The provider's slug.
        id: The task's id.
        reason: Why it is polled when it is.
        state: State as last seen; pending if it was never seen.
        progress: Percentage as last seen, or None.
        seen_ago: Seconds since it was last found unfinished; None if it was not polled in this wait.
        polls: Polls of it that were started in this wait.
        next_poll_in: Seconds to the next poll, 0 if that is due; None if it is not awaited, in flight, or not known.
            It may come sooner, in a batch with other tasks.
        fault: Message of the last poll's error, or None if that did not fail.
        misses: Polls in a row that found no such task.
        age: Seconds since it was submitted, or None if not known yet.
        expected_left: Seconds within which half of such tasks end, or None; see `Durations.expected_left`.
        waiters: Number of waits.
    """

    provider: str
    id: str
    reason: WaitReason
    state: TaskState = TaskState.PENDING
    progress: float | None = None
    seen_ago: float | None = None
    polls: int = 0
    next_poll_in: float | None = None
    fault: str | None = None
    misses: int = 0
    age: float | None = None
    expected_left: float | None = None
    waiters: int = 0

    @property
    def is_awaited(self) -> bool:
        """Whether this client awaits the task."""
        return self.reason is not WaitReason.NOT_AWAITED

    def __str__(self) -> str:
        name = f"{self.provider} task {self.id}"
        if not self.is_awaited:
            seen = "" if self.state is TaskState.PENDING else f"; it was last seen {self._describe_state()}"
            return f"{name} is not awaited by this client, so it is not polled{seen}"
        parts = [f"{name} is {self._describe_state()}", self._describe_polls(), self._describe_next()]
        if self.misses:
            parts.append(f"not found in the last {_count(self.misses, 'poll')}")
        if self.fault is not None:
            parts.append(f"last error: {self.fault}")
        if self.age is not None:
            parts.append(f"submitted {_seconds(self.age)} ago")
        if self.expected_left is not None:
            parts.append(f"half of such tasks end within {_seconds(self.expected_left)}")
        parts.append(_count(self.waiters, "waiter"))
        return "; ".join(parts)

    def _describe_state(self) -> str:
        progress = "" if self.progress is None else f" ({self.progress:g} %)"
        return f"{self.state.value}{progress}"

    def _describe_polls(self) -> str:
        if not self.polls:
            return "not polled yet"
        seen = "" if self.seen_ago is None else f", last seen {_seconds(self.seen_ago)} ago"
        return f"polled {_count(self.polls, 'time')}{seen}"

    def _describe_next(self) -> str:
        if self.reason is WaitReason.IN_FLIGHT:
            return "a poll is in flight"
        if self.next_poll_in is None:
            return f"next poll after the probe in flight ({self.reason.value})"
        return f"next poll in {_seconds(self.next_poll_in)} ({self.reason.value})"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s"
