"""Group commit: what is queued while the store writes one group is written in the next."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import TYPE_CHECKING

from acetasks._ledger.entries import Accepted
from acetasks._runtime import is_being_cancelled
from acetasks.errors import LedgerError, fresh_copy

if TYPE_CHECKING:
    from acetasks._ledger.entries import Change, Entry, Intent
    from acetasks._ledger.store import Store

_logger = logging.getLogger("acetasks")

#: Maximum number of intents or changes in a group, so that building one does not hold the loop for long.
_GROUP_SIZE = 500
#: What a store may raise: one of the user's, anything; and a cancellation of something that it awaits.
_FAILURES = (Exception, asyncio.CancelledError)

#: A change, or None to wait for the ones before; and what waits for it, or None.
_QueuedChange = tuple["Change | None", "asyncio.Future[bool] | None"]


class GroupWriter:
    """Writes intents and changes to a store, in groups and in the order in which they were queued.

    A change that cannot be written is kept, and tried again with the next group: a task that was paid for must not be
    forgotten because the disk was full for a while. An intent is not kept: its submission is not sent.

    Args:
        store: The open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._intents: list[tuple[Intent, asyncio.Future[Entry | None]]] = []
        self._changes: list[_QueuedChange] = []
        self._kept: list[_QueuedChange] = []
        self._failure: LedgerError | None = None
        self._writing: asyncio.Task[None] | None = None
        # Not the context of the call that happens to start the writing.
        self._context = contextvars.copy_context()

    def __repr__(self) -> str:
        queued = len(self._intents) + len(self._changes)
        return f"<GroupWriter {queued} queued, {len(self._kept)} to try again>"

    def begin(self, intent: Intent) -> asyncio.Future[Entry | None]:
        """Queue an intent; no other with its key may be queued. The future has the result of `Store.begin`."""
        future = asyncio.get_running_loop().create_future()
        self._intents.append((intent, future))
        self._wake()
        return future

    def note(self, change: Change) -> asyncio.Future[bool]:
        """Queue a change. The future says whether it applied; false only for what `Store.note` reports."""
        future = asyncio.get_running_loop().create_future()
        self._changes.append((change, future))
        self._wake()
        return future

    def note_later(self, change: Change) -> None:
        """Queue a change that nothing waits for."""
        self._changes.append((change, None))
        self._wake()

    async def flush(self) -> None:
        """Wait until the changes that are queued now were written, and try once more what could not be.

        Raises:
            LedgerError: Some changes still cannot be written; they are kept.
        """
        future = asyncio.get_running_loop().create_future()
        self._changes.append((None, future))
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

    async def _write(self) -> None:
        # The task starts after the callbacks that are ready now, so what they queue is in the first group.
        try:
            self._changes[:0], self._kept = self._kept, []
            while self._intents or self._changes:
                # Changes first: a key that was refused may be among the intents again.
                changes, self._changes = self._changes[:_GROUP_SIZE], self._changes[_GROUP_SIZE:]
                if changes:
                    await self._note(changes)
                intents, self._intents = self._intents[:_GROUP_SIZE], self._intents[_GROUP_SIZE:]
                if intents:
                    await self._begin(intents)
        finally:
            self._writing = None

    async def _begin(self, group: list[tuple[Intent, asyncio.Future[Entry | None]]]) -> None:
        try:
            found = await self._store.begin([intent for intent, _ in group])
        except _FAILURES as error:
            failure = _as_ledger_error(error)
            for _, future in group:
                if not future.done():
                    future.set_exception(fresh_copy(failure))
            return
        for (_, future), entry in zip(group, found, strict=True):
            if not future.done():
                future.set_result(entry)

    async def _note(self, group: list[_QueuedChange]) -> None:
        changes = [change for change, _ in group if change is not None]
        try:
            rejected = set(await self._store.note(changes) if changes else ())
        except _FAILURES as error:
            self._keep(group, _as_ledger_error(error))
            return
        if changes and self._failure is not None and not self._kept:
            _logger.warning("the ledger can be written again")
            self._failure = None
        for change, future in group:
            is_applied = not (isinstance(change, Accepted) and change.key in rejected)
            if future is not None and not future.done():
                future.set_result(is_applied)
            elif not is_applied:
                _logger.error("the ledger has another task under the key of %s", change)

    def _keep(self, group: list[_QueuedChange], failure: LedgerError) -> None:
        """Keep a group for the next attempt, and report the failure to what waits for it."""
        if self._failure is None:
            _logger.warning(
                "the ledger cannot be written (%s); changes are kept in memory, and tried again with the next", failure
            )
        self._failure = failure
        for change, future in group:
            if future is not None and not future.done():
                future.set_exception(fresh_copy(failure))
            if change is not None:
                self._kept.append((change, None))


def _as_ledger_error(error: BaseException) -> LedgerError:
    """Return the error of a store; raise it if it is the cancellation of the running task."""
    if isinstance(error, LedgerError):
        return error
    if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
        raise error
    failure = LedgerError(f"it failed unexpectedly ({type(error).__name__}: {error})", location="store")
    failure.__cause__ = error
    return failure
