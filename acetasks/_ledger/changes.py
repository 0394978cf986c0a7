"""Changes and errors built from tasks and entries, with the time at which they are noted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger.entries import Accepted, Ended, Entry, EntryState, Intent, Refused, Saved
from acetasks._records import ECHO_LIMIT
from acetasks.errors import SubmissionUncertainError
from acetasks.models import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from acetasks.models import Task

#: The ends. A task that is not found is none: with another token, or a little later, it may be.
_ENDS = frozenset({TaskState.SUCCEEDED, TaskState.PARTIAL, TaskState.FAILED})


def build_accepted(key: str, task: Task, now: float) -> Accepted:
    """Return the change that gives an entry its task; with its end, if the response had it."""
    is_end = task.state in _ENDS
    return Accepted(
        key=key,
        task_id=task.id or None,
        trace_id=task.trace_id and _escape(task.trace_id),
        state=EntryState(task.state.value) if is_end else EntryState.ACCEPTED,
        ended_at=now if is_end else None,
        record=task.raw if is_end else None,
    )


def build_refused(intent: Intent, reason: str, now: float) -> Refused:
    """Return the change of a submission that was certainly not accepted."""
    return Refused(key=intent.key, sent_at=intent.sent_at, ended_at=now, reason=reason[:ECHO_LIMIT])


def build_ended(task: Task, now: float) -> Ended | None:
    """Return the change that ends the entries of a task; None if it has no id or has not ended."""
    if task.state not in _ENDS or not task.id:
        return None
    return Ended(
        provider=task.provider, task_id=task.id, state=EntryState(task.state.value), ended_at=now, record=task.raw
    )


def build_saved(task: Task, files: Iterable[Path], key: str | None) -> Saved | None:
    """Return the change that notes the files of a task, by its id, or else by the key; None if there is neither."""
    if not task.id and key is None:
        return None
    paths = tuple(_escape(os.path.abspath(path)) for path in files)  # noqa: PTH100  # resolve() would do I/O
    return Saved(provider=task.provider, task_id=task.id or None, key=None if task.id else key, files=paths)


def apply_accepted(entry: Entry, change: Accepted) -> Entry:
    """Return an entry with its task."""
    fields = msgspec.structs.asdict(change)
    del fields["unclaimed"]
    return msgspec.structs.replace(entry, **fields)


def _escape(text: str) -> str:
    """Escape what databases do not store as text: null characters, and bytes of a file name that are no UTF-8."""
    return text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()


def build_uncertain_error(entry: Entry, now: float) -> SubmissionUncertainError:
    """Build the error for a call with the key of an uncertain entry."""
    error = SubmissionUncertainError(
        f"key {entry.key!r} was submitted {now - entry.sent_at:.0f} s ago, and no response was noted",
        provider=entry.provider,
        path=entry.path,
        payload=entry.request,
        sent_at=entry.sent_at,
    )
    error.key = entry.key
    return error
