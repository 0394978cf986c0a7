"""Model of the board: the tasks that are awaited, the requests and the failures of each provider.

An observer of the client, independent of terminals; its clocks are passed in.
"""

from __future__ import annotations

import collections
import time
from typing import TYPE_CHECKING

import msgspec

from acetasks import (
    AceTasksError,
    Event,
    OutageBegan,
    OutageEnded,
    RateCut,
    RateRestored,
    RequestAnswered,
    RequestFailed,
    RequestSent,
    Task,
    TaskChanged,
    TaskState,
    TaskSubmitted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from acetasks import Durations

#: Provider slug and task id.
Key = tuple[str, str]

#: State of a task that cannot be submitted or polled; see `Row.error`.
UNREADABLE = "unreadable"
#: Seconds over which the request rate is averaged.
RATE_WINDOW = 10.0


class Row(msgspec.Struct, kw_only=True):
    """One task of the board.

    Attributes:
        task: The task, as last seen.
        position: Its position among the arguments.
        is_seen: Whether a poll has found it.
        error: The error that ended the wait for it, other than its failure; None for no such error.
        is_over: Whether the wait for it has ended, because the task has, or for another reason.
        ended_at: Time at which that was noticed, in seconds since the epoch; None before.
        state_name: State to show and to count: a `TaskState`, or `unreadable`. A terminal state whose task was not
            delivered yet is still running, so that all parts of the board agree.
    """

    task: Task
    position: int
    is_seen: bool = False
    error: AceTasksError | None = None
    is_over: bool = False
    ended_at: float | None = None
    state_name: str = TaskState.PENDING.value

    @property
    def needs_attention(self) -> bool:
        """Whether the task, or the wait for it, has ended without all of its results."""
        return self.is_over and (self.error is not None or self.task.state is not TaskState.SUCCEEDED)


class ProviderHealth(msgspec.Struct, kw_only=True):
    """Requests and failures of one provider.

    Attributes:
        requests: Number of requests sent.
        polled_ids: Sum of the ids in them.
        failing_since: Loop time of the first failed request since the last usable response; None if the last one
            succeeded.
        failures: Number of failed requests since then.
        error: The last failure since then, or None.
        paused_until: Loop time of the next request after an outage began or the rate was cut; None if unknown.
    """

    requests: int = 0
    polled_ids: int = 0
    failing_since: float | None = None
    failures: int = 0
    error: AceTasksError | None = None
    paused_until: float | None = None

    def clear_failures(self) -> None:
        """Record a usable response."""
        self.failing_since = self.error = self.paused_until = None
        self.failures = 0


class Counts(msgspec.Struct, kw_only=True):
    """Number of tasks of one provider, or of all, in each state.

    Attributes:
        tasks: All of them.
        unsubmitted: Still to be submitted.
        pending: Not started, or not seen yet.
        running: In progress.
        succeeded: Succeeded in full.
        partial: Succeeded in part.
        failed: Failed.
        not_found: Unknown to the service.
        unreadable: The submission or the wait has ended with an error of its own.
    """

    tasks: int = 0
    unsubmitted: int = 0
    pending: int = 0
    running: int = 0
    succeeded: int = 0
    partial: int = 0
    failed: int = 0
    not_found: int = 0
    unreadable: int = 0

    @property
    def over(self) -> int:
        """Number of tasks that are not awaited any more, unless the wait has timed out."""
        return self.succeeded + self.failures

    @property
    def failures(self) -> int:
        """Number of tasks that have ended without all of their results."""
        return self.partial + self.failed + self.not_found + self.unreadable

    @classmethod
    def of(cls, numbers: Mapping[str, int]) -> Counts:
        """Return the counts of states by name."""
        return cls(tasks=sum(numbers.values()), **numbers)


class BoardModel:
    """What the board shows.

    Attributes:
        rows: The tasks by provider and id, in the order of the arguments.
        providers: Requests and failures by provider, in the order of the arguments.
        version: Changes whenever anything else does.
        started_at: Loop time of the start.
        longest_id: Characters of the longest id.
        has_progress: Whether any task has reported its progress.
        durations: Learned durations of the client, from which the expected time left is taken; None for none.
    """

    def __init__(self, keys: Iterable[Key] = (), *, wall_clock: Callable[[], float] = time.time) -> None:
        """Begin with pending tasks.

        Args:
            keys: Provider and id of each task; a repeated one counts once.
            wall_clock: Returns the seconds since the epoch.
        """
        # That of asyncio's loops; a loop with a clock of its own is given to `start`.
        self._clock, self._wall_clock = time.monotonic, wall_clock
        self.rows: dict[Key, Row] = {}
        self.providers: dict[str, ProviderHealth] = {}
        self.longest_id = 0
        self.has_progress = False
        # More tasks will be added, as of a file whose rows are being submitted.
        self._expected: dict[str, int] = {}
        self.version = 0
        self.started_at = self._clock()
        self.durations: Durations | None = None
        self._registered_at = wall_clock()
        self._sent_at: collections.deque[float] = collections.deque()
        for key in keys:
            self.add(key)

    def __repr__(self) -> str:
        return f"<BoardModel of {len(self.rows)} tasks, version {self.version}>"

    def add(self, key: Key) -> None:
        """Show another task; a known one stays as it is."""
        if key in self.rows:
            return
        provider, task_id = key
        task = Task(provider=provider, id=task_id, state=TaskState.PENDING)
        self.rows[key] = Row(task=task, position=len(self.rows))
        self.providers.setdefault(provider, ProviderHealth())
        self.longest_id = max(self.longest_id, len(task_id))
        self.version += 1

    def expect(self, provider: str, number: int) -> None:
        """Count so many tasks of a provider from the beginning, though they are added one by one."""
        self.providers.setdefault(provider, ProviderHealth())
        self._expected[provider] = number
        self.version += 1

    def start(self, *, clock: Callable[[], float], durations: Durations | None = None) -> None:
        """Begin to count the time.

        Args:
            clock: Returns the loop time.
            durations: Learned durations of the client; None if the time left is not shown.
        """
        self._clock, self.durations = clock, durations
        self.started_at, self._registered_at = clock(), self._wall_clock()

    # Changes.

    def on_event(self, event: Event) -> None:
        """Update the board by an event of the client."""
        if isinstance(event, TaskSubmitted) and event.task.id:
            self.add((event.task.provider, event.task.id))
        health = self.providers.get(event.provider)
        if health is None:
            return
        match event:
            case TaskChanged(task=task):
                self._update_task(task)
            case RequestSent(ids=ids):
                health.requests += 1
                health.polled_ids += ids
                self._sent_at.append(event.time)
            case RequestAnswered() | OutageEnded():
                health.clear_failures()
            case RequestFailed(error=error):
                health.failures += 1
                health.error = error
                if health.failing_since is None:
                    health.failing_since = event.time
            case OutageBegan(until=until) | RateCut(until=until):
                health.paused_until = until
            case RateRestored():
                health.paused_until = None
            case _:
                return
        self.version += 1

    def record_end(self, key: Key, task: Task, *, error: AceTasksError | None = None) -> None:
        """Record that a task is not awaited any more.

        Args:
            key: Provider and id under which it was awaited.
            task: The task, in a terminal state unless there is an error.
            error: The error that ended the wait, other than the failure of the task; None for none.
        """
        self.add(key)
        row = self.rows[key]
        row.task, row.error, row.is_over, row.ended_at = task, error, True, self._wall_clock()
        row.state_name = UNREADABLE if error is not None else task.state.value
        self.version += 1

    def _update_task(self, task: Task) -> None:
        row = self.rows.get((task.provider, task.id))
        if row is not None and not row.is_over:
            row.task, row.is_seen = task, True
            row.state_name = TaskState.RUNNING.value if task.state.is_terminal else task.state.value
            self.has_progress |= task.progress is not None and not task.state.is_terminal

    # Figures.

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self.started_at

    def count(self) -> tuple[Counts, dict[str, Counts]]:
        """Return the number of tasks in each state: of all, and of each provider."""
        numbers = collections.Counter((provider, row.state_name) for (provider, _), row in self.rows.items())
        total: collections.Counter[str] = collections.Counter()
        providers: dict[str, dict[str, int]] = {provider: {} for provider in self.providers}
        for (provider, name), number in numbers.items():
            total[name] += number
            providers[provider][name] = number
        for provider, expected in self._expected.items():
            unsubmitted = expected - sum(providers[provider].values())
            if unsubmitted > 0:
                providers[provider]["unsubmitted"] = unsubmitted
                total["unsubmitted"] += unsubmitted
        return Counts.of(total), {provider: Counts.of(states) for provider, states in providers.items()}

    @property
    def requests(self) -> int:
        """Number of requests sent."""
        return sum(health.requests for health in self.providers.values())

    @property
    def polled_ids(self) -> int:
        """Sum of the ids in the requests sent."""
        return sum(health.polled_ids for health in self.providers.values())

    @property
    def request_rate(self) -> float:
        """Requests a second, over the last ten seconds."""
        now = self._clock()
        while self._sent_at and self._sent_at[0] < now - RATE_WINDOW:
            self._sent_at.popleft()
        window = min(now - self.started_at, RATE_WINDOW)
        return len(self._sent_at) / window if window > 0 else 0.0

    def age(self, row: Row) -> float:
        """Return the seconds from the submission of a task until now, or until its end.

        If the service does not say when it was submitted, they count from the start of the board.
        """
        task = row.task
        created_at = self._registered_at if task.created_at is None else task.created_at
        ended_at = task.finished_at if task.state.is_terminal and task.finished_at is not None else row.ended_at
        return max((self._wall_clock() if ended_at is None else ended_at) - created_at, 0.0)

    def expected_left(self, row: Row) -> float | None:
        """Return the expected seconds until a task ends, or None if unknown or over."""
        if self.durations is None or row.is_over:
            return None
        return self.durations.expected_left(row.task, self.age(row))

    def seconds_failing(self, provider: str) -> float | None:
        """Return the seconds since the requests to a provider fail, or None if they do not."""
        since = self.providers[provider].failing_since
        return None if since is None else max(self._clock() - since, 0.0)

    def seconds_to_retry(self, provider: str) -> float | None:
        """Return the seconds until a provider that is down is polled again; None if unknown or now."""
        until = self.providers[provider].paused_until
        return None if until is None or until <= self._clock() else until - self._clock()
