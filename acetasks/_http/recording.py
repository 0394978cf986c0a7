"""Recording of a submission in the ledger, step by step as it proceeds."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger import EntryState
from acetasks.errors import AceTasksError, LedgerError, SubmissionUncertainError
from acetasks.models import Task, TaskState
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acetasks._http.delivery import Delivery
    from acetasks._http.requests import Request
    from acetasks._ledger import Entry, Ledger


class AlreadySubmittedError(Exception):
    """Raised in place of a request: its key was submitted before, and `entry` has the task."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(f"key {entry.key!r} was submitted before")
        self.entry = entry


class Recording:
    """One submission in the ledger. Without a ledger it does nothing.

    Args:
        ledger: The ledger, or None.
        key: The caller's key, or None for a new one.
        request: The submission.
        delivery: Its progress; the body must not be written long after the intent.
    """

    def __init__(self, ledger: Ledger | None, key: str | None, request: Request, delivery: Delivery) -> None:
        self._ledger = ledger
        self._delivery = delivery
        self._key = key
        self._request = request
        self._entry: Entry | None = None

    async def prepare(self, on_wait: Callable[[], Awaitable[object]]) -> None:
        """Write down the intent, or that it is sent again; called right before each attempt.

        Args:
            on_wait: Called before each wait for another call that is submitting the key.

        Raises:
            AlreadySubmittedError: The key was submitted before.
            LedgerError: The intent cannot be written.
            SubmissionUncertainError: The key was submitted before, and it is unknown whether it was accepted.
            ValueError: The key was used for another payload.
        """
        ledger, request = self._ledger, self._request
        if ledger is None:
            return
        entry = None if self._entry is None else await ledger.restamp(self._entry)
        if entry is None:
            self._entry = None
            entry = await ledger.begin(
                self._key,
                provider=request.provider,
                path=request.path,
                request=request.body,
                payload=request.payload or None,
                headers=request.headers,
                on_wait=on_wait,
            )
        if entry.state is not EntryState.SUBMITTING:
            raise AlreadySubmittedError(entry)
        self._entry = entry
        self._delivery.may_send = functools.partial(ledger.may_send, entry)

    async def accept(self, task: Task) -> None:
        """Write down the task. If that fails, it is tried again with the next write, and the log says so."""
        if self._ledger is not None and self._entry is not None:
            with contextlib.suppress(LedgerError):
                await self._ledger.accept(self._entry, task)

    async def fail(self, error: BaseException) -> None:
        """Write down that the submission was refused, or that this is uncertain, with the same care."""
        if self._ledger is None or self._entry is None:
            return
        with contextlib.suppress(LedgerError):
            if isinstance(error, SubmissionUncertainError):
                error.key = self._entry.key
                await self._ledger.abandon(self._entry)
            else:
                reason = str(error) if isinstance(error, AceTasksError) else type(error).__name__
                await self._ledger.refuse(self._entry, reason)


def read_entry(entry: Entry) -> Task:
    """Return the task of an entry that has one: at its end, or pending."""
    task_id = entry.task_id or ""
    if entry.record is None:
        return Task(provider=entry.provider, id=task_id, state=TaskState.PENDING, trace_id=entry.trace_id)
    task = read_record(lookup(entry.provider), entry.record, task_id=task_id).task
    return msgspec.structs.replace(task, state=TaskState(entry.state.value))
