"""What a look means for each task it was at: its end, or when and in what company it is asked for again.

Here stands every bound on how long something is believed: how often a task may be missing, seem failed, or have a
record that cannot be read. Pure: a `Judge` changes nothing but the trouble of the entry that it is given.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks.entries import Outcome, Trouble
from acetasks.errors import (
    AceTasksError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    UnknownProviderError,
)
from acetasks.models import TaskState
from acetasks.providers import Reading, read_record
from acetasks.schedule import is_gone

if TYPE_CHECKING:
    from acetasks.entries import Entry
    from acetasks.holds import Holds
    from acetasks.policies import PollPolicy
    from acetasks.providers import ProviderSpec


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
        reading: The record of it that is news, or None.
        outcome: The end of the waiting, or None: then it is asked for again.
        scope: Whom the outcome is for.
        due: When to ask again, in seconds of the loop's clock; None leaves it to the schedule.
    """

    reading: Reading | None = None
    outcome: Outcome | None = None
    scope: Scope = Scope.TASK
    due: float | None = None


#: Nothing is new: it is asked again when the schedule says so.
_GO_ON = Verdict()


class Moment(NamedTuple):
    """When a look came back, and what is the same for all tasks that it was at, so that they stay together.

    Attributes:
        now: Seconds of the loop's clock.
        due: When to look again at what has not been seen as it should, likewise: an interval from now.
        draw: A random number from 0 up to 1.
    """

    now: float
    due: float
    draw: float


class Judge:
    """Tells what looks mean, by a client's policy."""

    def __init__(self, policy: PollPolicy, holds: Holds) -> None:
        """Judge by a policy.

        Args:
            policy: How long what is believed.
            holds: When to ask again after a fault.
        """
        self._policy = policy
        self._holds = holds

    def __repr__(self) -> str:
        """Show by what it judges."""
        return f"<Judge by {self._policy!r}>"

    def judge_reading(self, entry: Entry, spec: ProviderSpec, reading: Reading, moment: Moment) -> Verdict:
        """Tell what a record of a task means.

        Args:
            entry: What is known of the task; its trouble is brought up to date.
            spec: The provider's row.
            reading: The record, read.
            moment: When the look came back.
        """
        if reading.state is TaskState.NOT_FOUND:
            return self.judge_miss(entry, spec, moment)
        unconfirmed = entry.trouble.unconfirmed if entry.trouble else 0
        entry.trouble = None
        if reading.unconfirmed:
            # It only seems to have failed; that is believed after it has said the same for a while.
            entry.trouble = Trouble()
            entry.trouble.unconfirmed = unconfirmed + 1
            if entry.trouble.unconfirmed >= self._policy.unconfirmed_polls:
                reading = read_record(spec, reading.raw, task_id=reading.id, confirmed=True)
        return Verdict(reading=reading, outcome=reading.task if reading.state.is_terminal else None)

    def judge_unchanged(self, entry: Entry, spec: ProviderSpec, moment: Moment) -> Verdict:
        """Tell what it means that a task's record is still the one that was read last.

        Args:
            entry: What is known of the task; its trouble is brought up to date.
            spec: The provider's row.
            moment: When the look came back.
        """
        # Only that of a task that seems to have failed means more the longer it stays.
        if entry.trouble and entry.trouble.unconfirmed and entry.record is not None:
            reading = read_record(spec, entry.record, task_id=entry.key[1])
            return self.judge_reading(entry, spec, reading, moment)
        entry.trouble = None
        return _GO_ON

    def judge_miss(self, entry: Entry, spec: ProviderSpec, moment: Moment) -> Verdict:
        """Tell what it means that the service has no trace of a task: nothing, until the grace is over.

        Args:
            entry: What is known of the task; its trouble is brought up to date.
            spec: The provider's row.
            moment: When the look came back.
        """
        trouble = entry.trouble = entry.trouble or Trouble()
        _clear_faults(trouble)
        trouble.misses += 1
        if trouble.misses == 1:
            trouble.missing_since = moment.now
        grace = max(self._policy.missing_grace, spec.missing_grace)
        if is_gone(trouble.misses, moment.now - trouble.missing_since, polls=self._policy.missing_polls, grace=grace):
            # As a service says it that says it at all.
            gone = read_record(spec, b"{}", task_id=entry.key[1])
            return Verdict(reading=gone, outcome=gone.task)
        return Verdict(due=moment.due)

    def judge_error(self, entry: Entry, spec: ProviderSpec, error: AceTasksError, moment: Moment) -> Verdict:
        """Tell what an error means for a task and others.

        Args:
            entry: What is known of the task; its trouble is brought up to date.
            spec: The provider's row.
            error: What went wrong.
            moment: When the look came back.
        """
        # 1. The token: everything under it.   2. The provider: everything of it.
        if isinstance(error, AuthenticationError):
            return Verdict(outcome=error, scope=Scope.TOKEN)
        if isinstance(error, PermissionDeniedError | UnknownProviderError) or _is_redirect(error):
            return Verdict(outcome=error, scope=Scope.PROVIDER)
        trouble = entry.trouble = entry.trouble or Trouble()
        # 3. A record that is there but cannot be read: final for its task once it has stayed so. Until then it is
        # asked for alone, so that it spoils no batch.
        if isinstance(error, ProtocolError) and not error.transient:
            _clear_faults(trouble)
            trouble.unreadable += 1
            trouble.fault = error
            trouble.suspicion = self._most_suspicion(spec)
            is_final = trouble.unreadable >= self._policy.unconfirmed_polls
            return Verdict(outcome=error if is_final else None, due=moment.due)
        # 4. Anything else that asking again does not change is final for this task.
        if not error.transient:
            return Verdict(outcome=error)
        # 5. Too many requests: as soon as the rate allows.   6. Another passing fault: after a while.
        trouble.fault = error
        if isinstance(error, RateLimitError):
            return Verdict(due=moment.now)
        if trouble.faults and self._holds.has_answered_since(spec.slug, trouble.faulted_at):
            # Its provider answers others: it may be this task that makes the looks at it fail.
            trouble.suspicion = min(trouble.suspicion + 1, self._most_suspicion(spec))
        trouble.faults += 1
        trouble.faulted_at = moment.now
        return Verdict(due=self._holds.retry_at(trouble.faults, error, moment.now, moment.draw))

    def _most_suspicion(self, spec: ProviderSpec) -> int:
        """Tell after how many halvings of a batch an id is alone."""
        return spec.batch_size(self._policy.batch_size).bit_length() - 1


def _clear_faults(trouble: Trouble) -> None:
    """Take note of a look that did not fail."""
    trouble.faults = trouble.suspicion = 0
    trouble.fault = None


def _is_redirect(error: AceTasksError) -> bool:
    return isinstance(error, BadRequestError) and error.is_redirect
