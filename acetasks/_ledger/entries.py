"""Entries of the ledger as plain data: what is submitted, what becomes of it, and what is asked for.

Times are in seconds since the epoch, because an entry outlives the process that wrote it.
"""

from __future__ import annotations

import enum

import msgspec


class EntryState(enum.StrEnum):
    """State of a submission in the ledger."""

    #: The request is about to be sent or under way. Too old a stamp makes it uncertain, see `Entry.is_uncertain`.
    SUBMITTING = "submitting"
    #: The sender has no response that confirms or rejects it: it may be charged for.
    UNCERTAIN = "uncertain"
    #: Certainly not accepted, so never charged for; its key can be used again.
    REFUSED = "refused"
    #: The service has given it an id, and it has not been seen to end.
    ACCEPTED = "accepted"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A submission, as it is written down before its request is sent.

    Attributes:
        key: Names the submission; the same key is never paid for twice.
        provider: The provider's slug.
        path: Path of the request.
        fingerprint: Hash of what is submitted, see `keys.build_fingerprint`.
        request: Body of the request, as JSON.
        sent_at: The stamp: when the request was about to be sent.
    """

    key: str
    provider: str
    path: str
    fingerprint: bytes
    request: bytes
    sent_at: float


class Entry(Intent, frozen=True, kw_only=True):
    """A submission and what became of it.

    Attributes:
        state: Its state, as stored.
        task_id: The task's id; None if the service has given none, or none is known.
        trace_id: The service's id for support requests, or None.
        reason: Why the submission was refused, or None.
        ended_at: When the end was written down, or the refusal; None before that.
        record: The task's last record as received, as JSON; None before the end.
        files: Paths of the files of the task that were downloaded last, in the order of its artifacts.
    """

    state: EntryState = EntryState.SUBMITTING
    task_id: str | None = None
    trace_id: str | None = None
    reason: str | None = None
    ended_at: float | None = None
    record: bytes | None = None
    files: tuple[str, ...] = ()

    def is_uncertain(self, *, now: float, bound: float) -> bool:
        """Return whether it is unknown if the service has accepted the submission.

        Args:
            now: The time.
            bound: Seconds after the stamp at which the response to a request must have arrived.
        """
        if self.state is EntryState.SUBMITTING:
            return now - self.sent_at >= bound
        return self.state is EntryState.UNCERTAIN


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The service has accepted a submission. Applies unless its entry has a task id or has ended.

    Attributes:
        key: Key of the entry.
        task_id: The task's id; None if the result came with the response, without an id.
        trace_id: The service's id for support requests, or None.
        state: `ACCEPTED`, or the end if it came with the response.
        ended_at: When the end was noted, or None.
        record: The record of the end, or None.
        unclaimed: Whether the change applies only if no entry of the provider has the task.
    """

    key: str
    task_id: str | None
    trace_id: str | None = None
    state: EntryState = EntryState.ACCEPTED
    ended_at: float | None = None
    record: bytes | None = None
    unclaimed: bool = False

    def is_noted(self, task_id: object, record: object) -> bool:
        """Return whether an entry with this task id and record has the same task: the id, or the result without one."""
        return task_id == self.task_id and (task_id is not None or record == self.record)


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A submission was certainly not accepted. Applies if its entry has this stamp, no id and no end."""

    key: str
    sent_at: float
    ended_at: float
    reason: str


class Abandoned(msgspec.Struct, frozen=True, kw_only=True):
    """A sender does not know what became of its request. Applies if the entry has this stamp, no id and no end."""

    key: str
    sent_at: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A task has ended. Applies to the entries with its provider and id that have not ended."""

    provider: str
    task_id: str
    state: EntryState
    ended_at: float
    record: bytes


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """Files of a task were downloaded; these replace the ones noted before.

    Applies to the entries with its provider and id, or to the one with a key.

    Attributes:
        provider: The provider's slug.
        task_id: The task's id; None if the key names the entry.
        key: Key of the entry of a task without an id; None if the id names it.
        files: Paths of the files.
    """

    provider: str
    task_id: str | None
    key: str | None = None
    files: tuple[str, ...]


Change = Accepted | Refused | Abandoned | Ended | Saved
#: The order in which a store applies the changes of one call.
CHANGE_ORDER: tuple[type[Change], ...] = (Accepted, Refused, Abandoned, Ended, Saved)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions on entries, all of which must hold; None sets no condition.

    Attributes:
        provider: The provider's slug.
        states: The states as stored.
        since: The earliest stamp.
        before: The stamp must be earlier.
    """

    provider: str | None = None
    states: tuple[EntryState, ...] | None = None
    since: float | None = None
    before: float | None = None
