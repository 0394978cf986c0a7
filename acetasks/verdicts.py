"""What a look means for each task it was at: its end, or when and in what company it is asked for again.

Here stands every bound on how long something is believed: how often a task may be missing, seem failed, or have a
record that cannot be read. Pure: a `Judge` changes nothing but the counts of the entry that it is given.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import (
    AceTasksError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    UnknownProviderError,
)
from acetasks.models import Task, TaskState
from acetasks.pending import Outcome
from acetasks.providers import read_record
from acetasks.schedule import is_gone, plan_next_look

if TYPE_CHECKING:
    import random

    from acetasks.holds import Holds
    from acetasks.models import PollPolicy
    from acetasks.pending import Entry
    from acetasks.providers import ProviderSpec, Reading


class Scope(enum.Enum):
    """Whom an outcome is for."""

    TASK = enum.auto()
    #: Every task of its provider.
    PROVIDER = enum.auto()
    #: Every task under its token.
    TOKEN = enum.auto()


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a look means for one task.

    Attributes:
        task: The task as it was seen, or None if it was not.
        unknown_word: The state word of it that nobody has documented, or None.
        outcome: The end of the waiting, or None: then it is asked for again.
        scope: Whom the outcome is for.
        due: When to ask again, in seconds of the loop's clock.
    """

    task: Task | None = None
    unknown_word: str | None = None
    outcome: Outcome | None = None
    scope: Scope = Scope.TASK
    due: float = 0.0


class Judge:
    """Tells what looks mean, by a client's policy."""

    def __init__(self, policy: PollPolicy, holds: Holds, rng: random.Random) -> None:
        """Judge by a policy.

        Args:
            policy: How long what is believed, and when to ask again.
            holds: When to ask again after a fault.
            rng: The randomness of intervals.
        """
        self._policy = policy
        self._holds = holds
        self._rng = rng

    def __repr__(self) -> str:
        """Show by what it judges."""
        return f"<Judge by {self._policy!r}>"

    def judge_reading(self, entry: Entry, spec: ProviderSpec, reading: Reading, now: float) -> Verdict:
        """Tell what a record of a task means.

        Args:
            entry: What is known of the task; its counts are brought up to date.
            spec: The provider's row.
            reading: The record, read.
            now: Seconds of the loop's clock.
        """
        task = reading.task
        if task.state is TaskState.NOT_FOUND:
            return self.judge_miss(entry, spec, now)
        entry.misses = entry.unreadable = 0
        self._clear(entry)
        # A record that only seems to be of a failure is believed after it has said the same for a while.
        entry.unconfirmed = entry.unconfirmed + 1 if reading.unconfirmed else 0
        if entry.unconfirmed >= self._policy.unconfirmed_polls:
            task = read_record(spec, task.raw, task_id=task.id, confirmed=True).task
        return Verdict(
            task=task,
            unknown_word=reading.unknown_word,
            outcome=task if task.state.is_terminal else None,
            due=self._next_look(spec, now),
        )

    def judge_miss(self, entry: Entry, spec: ProviderSpec, now: float) -> Verdict:
        """Tell what it means that the service has no trace of a task: nothing, until the grace is over.

        Args:
            entry: What is known of the task; its counts are brought up to date.
            spec: The provider's row.
            now: Seconds of the loop's clock.
        """
        self._clear(entry)
        entry.misses += 1
        if entry.misses == 1:
            entry.missing_since = now
        grace = max(self._policy.missing_grace, spec.missing_grace)
        if is_gone(entry.misses, now - entry.missing_since, polls=self._policy.missing_polls, grace=grace):
            gone = Task(provider=spec.slug, id=entry.key[1], state=TaskState.NOT_FOUND)
            return Verdict(task=gone, outcome=gone)
        return Verdict(due=self._next_look(spec, now))

    def judge_error(self, entry: Entry, spec: ProviderSpec, error: AceTasksError, now: float, draw: float) -> Verdict:
        """Tell what an error means for a task and others.

        Args:
            entry: What is known of the task; its counts are brought up to date.
            spec: The provider's row.
            error: What went wrong.
            now: Seconds of the loop's clock.
            draw: A random number from 0 up to 1, the same for all tasks of a look.
        """
        # 1. The token: everything under it.   2. The provider: everything of it.
        if isinstance(error, AuthenticationError):
            return Verdict(outcome=error, scope=Scope.TOKEN)
        if isinstance(error, PermissionDeniedError | UnknownProviderError) or _is_redirect(error):
            return Verdict(outcome=error, scope=Scope.PROVIDER)
        # 3. A record that is there but cannot be read: final for its task once it has stayed so. Until then it is
        # asked for alone, so that it spoils no batch.
        if isinstance(error, ProtocolError) and not error.transient:
            self._clear(entry)
            entry.unreadable += 1
            entry.fault = error
            entry.suspicion = self._most_suspicion(spec)
            is_final = entry.unreadable >= self._policy.unconfirmed_polls
            return Verdict(outcome=error if is_final else None, due=self._next_look(spec, now))
        # 4. Anything else that asking again does not change is final for this task.
        if not error.transient:
            return Verdict(outcome=error)
        # 5. Too many requests: as soon as the rate allows.   6. Another passing fault: after a while.
        entry.fault = error
        if isinstance(error, RateLimitError):
            return Verdict(due=now)
        if entry.faults and self._holds.has_answered_since(spec.slug, entry.faulted_at):
            # Its provider answers others: it may be this task that makes the looks at it fail.
            entry.suspicion = min(entry.suspicion + 1, self._most_suspicion(spec))
        entry.faults += 1
        entry.faulted_at = now
        return Verdict(due=self._holds.retry_at(entry.faults, error, now, draw))

    def _next_look(self, spec: ProviderSpec, now: float) -> float:
        interval = spec.poll_interval(self._policy.interval)
        return plan_next_look(now, interval, self._policy.jitter, self._rng.random())

    def _most_suspicion(self, spec: ProviderSpec) -> int:
        """Tell after how many halvings of a batch an id is alone."""
        return spec.batch_size(self._policy.batch_size).bit_length() - 1

    @staticmethod
    def _clear(entry: Entry) -> None:
        """Take note of a look that did not fail."""
        entry.faults = entry.suspicion = 0
        entry.fault = None


def _is_redirect(error: AceTasksError) -> bool:
    return isinstance(error, BadRequestError) and error.is_redirect
