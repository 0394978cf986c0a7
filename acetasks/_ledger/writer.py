"""Group commit: what is queued while the store writes one group is written in the next."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING, NamedTuple

from acetasks._ledger.entries import Accepted
from acetasks._ledger.store import Written
from acetasks._runtime import is_being_cancelled
from acetasks.errors import LedgerError, fresh_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks._ledger.entries import Change, Entry, Intent
    from acetasks._ledger.store import Store

_logger = logging.getLogger("acetasks")

#: Maximum number of intents and of changes in a group, so that building one does not hold the loop for long.
_GROUP_SIZE = 500
#: What a store may raise: one of the user's, anything; and a cancellation of something that it awaits.
_FAILURES = (Exception, asyncio.CancelledError)


class _QueuedIntent(NamedTuple):
    """An intent, and the future of what was found."""

    intent: Intent
    future: asyncio.Future[Entry | None]


class _QueuedChange(NamedTuple):
    """A change, or None to wait for those before; the future of whether it applied; and what to call then, if any."""

    change: Change | None
    future: asyncio.Future[bool] | None = None
    on_written: Callable[[], None] | None = None


class GroupWriter:
    """Writes intents and changes to a store, in groups and in the order in which they were queued.

    A change that cannot be written is kept, and tried again with the next group: a task that was paid for must not be
    forgotten because the disk was full for a while. An intent is not kept: its submission is not sent.

    Args:
        store: The open store.
        on_cancelled: Called for an intent after its future was cancelled, with whether it was inserted all the same.
    """

    def __init__(self, store: Store, on_cancelled: Callable[[Intent, bool], None]) -> None:
        self._store = store
        self._on_cancelled = on_cancelled
        self._intents: list[_QueuedIntent] = []
        self._changes: list[_QueuedChange] = []
        self._kept: list[Change] = []
        self._failure: LedgerError | None = None
        self._writing: asyncio.Task[None] | None = None
        # Not the context of the call that happens to start the writing.
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        queued = len(self._intents) + len(self._changes)
        return f"<GroupWriter {queued} queued, {len(self._kept)} to try again>"

    def begin(self, intent: Intent) -> asyncio.Future[Entry | None]:
        """Queue an intent; no other with its key may be queued. The future has what was found."""
        future = asyncio.get_running_loop().create_future()
        self._intents.append(_QueuedIntent(intent, future))
        self._wake()
        return future

    def note(self, change: Change, on_written: Callable[[], None] | None = None) -> asyncio.Future[bool]:
        """Queue a change, which is written even if the future is cancelled.

        Args:
            change: The change.
            on_written: Called when the change was written, or is kept for another attempt.

        Returns:
            The future of whether it applied; false only for what the store rejects.
        """
        future = asyncio.get_running_loop().create_future()
        self._changes.append(_QueuedChange(change, future, on_written))
        self._wake()
        return future

    def note_later(self, change: Change, on_written: Callable[[], None] | None = None) -> None:
        """Queue a change that nothing waits for; `on_written` as for `note`."""
        self._changes.append(_QueuedChange(change, None, on_written))
        self._wake()

    async def flush(self) -> None:
        """Wait until the changes that are queued now were written, and try once more what could not be.

        Raises:
            LedgerError: Some changes still cannot be written; they are kept.
        """
        future = asyncio.get_running_loop().create_future()
        self._changes.append(_QueuedChange(None, future))
        self._wake()
        await future
        if self._failure is not None:
            raise fresh_copy(self._failure)

    async def close(self) -> None:
        """Write what is queued, for the last time; what cannot be written is lost."""
        while self._writing is not None:
            await asyncio.wait([self._writing])
        try:
            await self.flush()
        except LedgerError as error:
            _logger.error("the ledger cannot be written (%s); %d changes are lost", error, len(self._kept))  # noqa: TRY400  # the message has what happened

    def _wake(self) -> None:
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="acetasks ledger", context=self._context)
            self._writing.add_done_callback(self._end)

    def _end(self, writing: asyncio.Task[None]) -> None:
        """Write on if something was queued at the end; keep what is queued if other code has cancelled the task."""
        self._writing = None
        # It may have been cancelled before it began, so that it could not do this itself.
        if writing.cancelled():
            changes, self._changes = self._changes, []
            intents, self._intents = self._intents, []
            self._fail(changes, intents, _build_cancelled_error())
        elif self._changes or self._intents:
            self._wake()

    async def _write(self) -> None:
        # The task starts after the callbacks that are ready now, so what they queue is in the first group.
        if self._kept:
            # Alone: what fails again must not keep a submission from being sent.
            kept, self._kept = self._kept, []
            await self._write_group([_QueuedChange(change) for change in kept], [])
        while self._intents or self._changes:
            changes, self._changes = self._changes[:_GROUP_SIZE], self._changes[_GROUP_SIZE:]
            intents, self._intents = self._intents[:_GROUP_SIZE], self._intents[_GROUP_SIZE:]
            await self._write_group(changes, intents)

    async def _write_group(self, queued: list[_QueuedChange], intents: list[_QueuedIntent]) -> None:
        changes = [change for change, _, _ in queued if change is not None]
        written = Written([], [])
        try:
            if changes or intents:
                written = await self._store.write(changes, [intent for intent, _ in intents])
        except _FAILURES as error:
            is_cancelled = isinstance(error, asyncio.CancelledError) and is_being_cancelled()
            self._fail(queued, intents, _build_cancelled_error() if is_cancelled else _as_ledger_error(error))
            if is_cancelled:
                raise
        else:
            self._pass_on(queued, intents, written)

    def _pass_on(self, queued: list[_QueuedChange], intents: list[_QueuedIntent], written: Written) -> None:
        """Pass the results of a group that was written on to what waits for them."""
        if any(change is not None for change, _, _ in queued) and self._failure is not None and not self._kept:
            _logger.warning("the ledger can be written again")
            self._failure = None
        rejected = set(written.rejected)
        for change, future, on_written in queued:
            lost = change if isinstance(change, Accepted) and change.key in rejected else None
            if future is not None and not future.done():
                future.set_result(lost is None)
            elif lost is not None:
                # Without its record, which may have signed URLs.
                _logger.error("the ledger has another task than %r under key %r", lost.task_id, lost.key)
            if on_written is not None:
                on_written()
        for (intent, found_future), found in zip(intents, written.found, strict=True):
            if found_future.done():
                self._on_cancelled(intent, found is None)
            else:
                found_future.set_result(found)

    def _fail(self, queued: list[_QueuedChange], intents: list[_QueuedIntent], failure: LedgerError) -> None:
        """Report a failure to what waits for the group, and keep its changes for the next attempt."""
        kept = [change for change, _, _ in queued if change is not None]
        if kept:
            if self._failure is None:
                _logger.warning(
                    "the ledger cannot be written (%s); changes are kept in memory, and tried again later", failure
                )
            self._failure = failure
            self._kept += kept
        for _, future, on_written in queued:
            if future is not None and not future.done():
                future.set_exception(fresh_copy(failure))
            if on_written is not None:
                on_written()
        for intent, found_future in intents:
            if found_future.done():
                self._on_cancelled(intent, False)  # noqa: FBT003  # the only argument besides the intent
            else:
                found_future.set_exception(fresh_copy(failure))


def _as_ledger_error(error: BaseException) -> LedgerError:
    """Return the error of a store."""
    if isinstance(error, LedgerError):
        return error
    failure = LedgerError(f"it failed unexpectedly ({type(error).__name__}: {error})", location="store")
    failure.__cause__ = error
    return failure


def _build_cancelled_error() -> LedgerError:
    return LedgerError(
        "the write was cancelled by other code, such as a loop over asyncio.all_tasks()",
        location="store",
        transient=True,
    )
