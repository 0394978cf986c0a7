"""The rules of the ledger: one submission for each key, and one end for each task, whatever the store."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger.changes import (
    apply_accepted,
    build_accepted,
    build_ended,
    build_refused,
    build_saved,
    build_uncertain_error,
)
from acetasks._ledger.claims import Claims, Patience
from acetasks._ledger.entries import (
    Abandoned,
    Change,
    Entry,
    EntryState,
    Intent,
    Query,
)
from acetasks._ledger.keys import build_fingerprint, build_key, check_key, check_same
from acetasks._ledger.writer import GroupWriter
from acetasks.errors import LedgerError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from acetasks._ledger.store import Store
    from acetasks.models import Task

_logger = logging.getLogger("acetasks")

#: Seconds after which the submission of another process, without a response in the journal, counts as uncertain. An
#: acknowledgement takes a few; a blocking one may come later, and is then noted all the same.
ACKNOWLEDGED_AFTER = 60.0
#: Entries that are read at once.
_PAGE_SIZE = 500
_UNSETTLED = (EntryState.SUBMITTING, EntryState.UNCERTAIN)


class Ledger:
    """A ledger of submissions.

    The sender of a submission calls `begin` when it is that submission's turn, sends the request only if it gets an
    entry in state `SUBMITTING` for which `may_send` is true, and then calls one of `accept`, `refuse` and `abandon`.

    Args:
        store: Where the entries are kept. It is opened and closed with the ledger.
        clock: Returns the seconds since the epoch.
        longest_post: Maximum seconds from the sending of a submission to its response.
        send_within: Seconds after its stamp within which a submission must be sent.
    """

    def __init__(
        self, store: Store, *, clock: Callable[[], float], longest_post: float, send_within: float = 30.0
    ) -> None:
        self._store = store
        self._clock = clock
        self._send_within = send_within
        self._bound = send_within + longest_post
        self._writer = GroupWriter(store, self._withdraw)
        self._claims = Claims()

    def __repr__(self) -> str:
        return f"<Ledger {self._store!r} {len(self._claims)} submissions under way>"

    async def open(self) -> None:
        """Open the store.

        Raises:
            LedgerError: The store cannot be used; the message says why, and what to do.
        """
        await self._store.open()

    async def close(self) -> None:
        """Write what is queued, and close the store. What cannot be written is lost, and was logged."""
        try:
            await self._writer.close()
        finally:
            await self._store.close()

    async def flush(self) -> None:
        """Wait until everything is in the store.

        Raises:
            LedgerError: Something cannot be written. It is kept, and tried again with the next write.
        """
        await self._writer.flush()

    # Submissions.

    async def begin(
        self,
        key: str | None,
        *,
        provider: str,
        path: str,
        request: bytes,
        payload: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        on_wait: Callable[[], Awaitable[object]] | None = None,
    ) -> Entry:
        """Write down the intent to submit, unless the key was submitted before; wait while it is being submitted.

        Args:
            key: The caller's name of the submission; None makes up a new one.
            provider: The provider's slug.
            path: Path of the request.
            request: Body of the request, as JSON.
            payload: What the key names, as JSON, if that is not the whole request: a callback URL is new each time.
            headers: The headers that change what is made.
            on_wait: Called before each wait, so that the caller holds nothing that the other submission may need.

        Returns:
            An entry in state `SUBMITTING`, which the caller is to submit; any other is that of the earlier submission,
            with its task id or end.

        Raises:
            LedgerError: The intent cannot be written. Nothing was sent.
            SubmissionUncertainError: The key was submitted before, and it is unknown whether it was accepted.
            ValueError: The key was used for another payload, or is malformed.
        """
        key = build_key(self._clock()) if key is None else check_key(key)
        fingerprint = build_fingerprint(provider, path, request if payload is None else payload, headers)
        patience = Patience(self._clock, self._bound)
        while True:
            if on_wait is not None and self._claims.find(key) is not None:
                await on_wait()
            await self._claims.wait(key)
            now = self._clock()
            entry = Entry(key=key, provider=provider, path=path, fingerprint=fingerprint, request=request, sent_at=now)
            found = await self._insert(entry)
            if found is None:
                return entry
            check_same(found, entry)
            if found.task_id is not None or found.ended_at is not None:
                return found
            if (pause := patience.next_pause(found)) is None:
                raise build_uncertain_error(found, self._clock())
            if on_wait is not None:
                await on_wait()
            await asyncio.sleep(pause)

    def may_send(self, entry: Entry) -> bool:
        """Return whether the request may still be sent; if not, `restamp` the entry.

        To be called right before the request is sent: an old stamp is uncertain to other processes.
        """
        return self._clock() - entry.sent_at <= self._send_within

    async def restamp(self, entry: Entry) -> Entry | None:
        """Give an entry a new stamp, in order to send its submission, for the first time or again.

        Returns:
            The entry with its new stamp, which the caller is to submit; None if something else has changed it, so that
            it is no longer the caller's.

        Raises:
            LedgerError: The entry cannot be written.
        """
        held = self._claims.find(entry.key)
        if held is not None and entry.state is EntryState.UNCERTAIN:
            return None
        claim = held or self._claims.claim(entry.key)
        now = self._clock()
        try:
            is_done = await self._store.restamp(entry.key, entry.sent_at, now)
        except BaseException:
            if held is None:
                self._claims.free(entry.key, claim)
            raise
        if not is_done:
            self._claims.free(entry.key, claim)  # else `begin` would wait for the caller itself
            return None
        return msgspec.structs.replace(entry, sent_at=now, state=EntryState.SUBMITTING)

    async def accept(self, entry: Entry, task: Task) -> Entry:
        """Note the task of a submission; with its end, if the response had it.

        Returns:
            The entry with the task. It has another key if the service has made a second task for the key of `entry`.

        Raises:
            LedgerError: The task cannot be noted. It is kept, and tried again with the next write.
        """
        change = build_accepted(entry.key, task, self._clock())
        if await self._settle(entry, change):
            return apply_accepted(entry, change)
        # What is paid for is followed, even if it should not have been.
        _logger.error("a second task was made for key %r: %s %s", entry.key, task.provider, task.id)
        beside = msgspec.structs.replace(entry, key=build_key(self._clock()), state=EntryState.SUBMITTING)
        await self._insert(beside)
        return await self.accept(beside, task)

    async def refuse(self, entry: Entry, reason: str) -> None:
        """Note that a submission was certainly not accepted, so that its key can be used again.

        Raises:
            LedgerError: This cannot be noted. It is kept, and tried again with the next write.
        """
        await self._settle(entry, build_refused(entry, reason, self._clock()))

    async def abandon(self, entry: Entry) -> None:
        """Note that the sender does not know what became of a submission, so that nothing waits for it any longer.

        Cancellation ends only the waiting: the note is queued at once.

        Raises:
            LedgerError: This cannot be noted. It is kept, and tried again with the next write.
        """
        await self._settle(entry, Abandoned(key=entry.key, sent_at=entry.sent_at))

    def finish(self, task: Task) -> None:
        """Queue the end of a task, for every entry with its id that has none. Other tasks are ignored."""
        if (change := build_ended(task, self._clock())) is not None:
            self._writer.note_later(change)

    def save_files(self, task: Task, files: Iterable[Path], *, key: str | None = None) -> None:
        """Queue the paths of a task's files, for every entry with its id. Tasks of other journals are ignored.

        Args:
            task: The task.
            files: The paths, which are noted as absolute ones.
            key: Key of the task's entry, which names it if the task has no id.
        """
        if (change := build_saved(task, files, key)) is not None:
            self._writer.note_later(change)

    # Reading. The entries show derived states.

    async def find(self, key: str) -> Entry | None:
        """Return the entry of a key, or None if there is none.

        Raises:
            LedgerError: The store cannot be read.
        """
        await self._write_queued()
        (found,) = await self._store.find([key])
        return found and self._derive(found)

    async def unfinished(self) -> AsyncGenerator[Entry, None]:
        """Yield every entry without an end, in the order of their insertion, also uncertain ones.

        Raises:
            LedgerError: The store cannot be read.
        """
        await self._write_queued()
        async for entry in _read_pages(self._store.unfinished):
            yield self._derive(entry)

    async def tasks(
        self,
        *,
        provider: str | None = None,
        state: EntryState | str | None = None,
        since: float | None = None,
        before: float | None = None,
    ) -> AsyncGenerator[Entry, None]:
        """Yield entries in the order of their stamps; None sets no condition.

        Args:
            provider: The provider's slug.
            state: The state, such as `uncertain`.
            since: The earliest stamp, in seconds since the epoch.
            before: The stamp must be earlier.

        Raises:
            LedgerError: The store cannot be read.
            ValueError: There is no such state.
        """
        wanted = None if state is None else EntryState(state)
        states = _UNSETTLED if wanted in _UNSETTLED else None if wanted is None else (wanted,)
        query = Query(provider=provider, states=states, since=since, before=before)
        await self._write_queued()
        async for entry in _read_pages(lambda after, limit: self._store.select(query, after, limit)):
            derived = self._derive(entry)
            if wanted in {None, derived.state}:
                yield derived

    # Reconciling.

    @property
    def bound(self) -> float:
        """Seconds after its stamp at which a submission is uncertain."""
        return self._bound

    def now(self) -> float:
        """Return the time, in seconds since the epoch."""
        return self._clock()

    async def find_claimed(self, provider: str, task_ids: Iterable[str]) -> set[str]:
        """Return those of some task ids that an entry has.

        Raises:
            LedgerError: The store cannot be read.
        """
        await self._write_queued()
        return {entry.task_id for entry in await self._store.find_tasks(provider, list(task_ids)) if entry.task_id}

    async def adopt(self, entry: Entry, task: Task) -> Entry | None:
        """Note the task of an uncertain submission that was found elsewhere.

        Returns:
            The entry with the task; None if the submission has another one by now, or another entry has this one.

        Raises:
            LedgerError: The task cannot be noted.
        """
        change = msgspec.structs.replace(build_accepted(entry.key, task, self._clock()), unclaimed=True)
        return apply_accepted(entry, change) if await self._writer.note(change) else None

    async def release(self, entry: Entry) -> bool:
        """Let the key of an uncertain submission be submitted again, as after a refusal.

        For those that `reconcile` has reported as absent, and that are to be made after all. It pays twice if the
        service lists the first one later, or if its sender was stopped just before the request and goes on after this.

        Args:
            entry: The entry as `reconcile` has reported it.

        Returns:
            Whether the key was released; False if something else has changed the entry since, or this process is still
            submitting it.

        Raises:
            LedgerError: This cannot be written. It is kept, and tried again with the next write.
            ValueError: The submission is not uncertain.
        """
        if entry.state is not EntryState.UNCERTAIN:
            raise ValueError(f"only an uncertain submission can be released, and {entry.key!r} is {entry.state.value}")
        if self._claims.find(entry.key) is not None:
            return False
        await self._writer.note(build_refused(entry, "released after it was absent", self._clock()))
        (found,) = await self._store.find([entry.key])
        return found is not None and found.state is EntryState.REFUSED and found.sent_at == entry.sent_at

    # Parts.

    async def _insert(self, entry: Entry) -> Entry | None:
        """Claim a key and write the intent; return what was found. The claim stays if nothing was."""
        claim = self._claims.claim(entry.key)
        future = self._writer.begin(entry)
        try:
            found = await future
        except asyncio.CancelledError:
            # Nothing was sent, but the intent may have been written; of a cancelled future, the writer withdraws it.
            if not future.cancelled():
                self._withdraw(entry, future.exception() is None and future.result() is None)
            raise
        except BaseException:
            self._claims.free(entry.key, claim)
            raise
        if found is not None:
            self._claims.free(entry.key, claim)
        return found

    def _withdraw(self, intent: Intent, is_inserted: bool) -> None:  # noqa: FBT001  # the writer's callback
        """Refuse an intent whose caller was cancelled before it could send anything."""
        free = self._claims.build_release(intent.key)
        if is_inserted:
            refused = build_refused(intent, "cancelled before it was sent", self._clock())
            self._writer.note_later(refused, free)
        elif free is not None:
            free()

    async def _settle(self, entry: Entry, change: Change) -> bool:
        """Note what became of a submission, and free its key when that is written; return whether it applied."""
        return await self._writer.note(change, self._claims.build_release(entry.key))

    async def _write_queued(self) -> None:
        """Write what is queued, so that it can be read. A failure is not one of reading."""
        with contextlib.suppress(LedgerError):
            await self._writer.flush()

    def _derive(self, entry: Entry) -> Entry:
        if entry.is_uncertain(now=self._clock(), bound=self._bound):
            return msgspec.structs.replace(entry, state=EntryState.UNCERTAIN)
        return entry


async def _read_pages(
    read: Callable[[str | None, int], Awaitable[list[Entry]]],
) -> AsyncGenerator[Entry, None]:
    after: str | None = None
    while page := await read(after, _PAGE_SIZE):
        for entry in page:
            yield entry
        after = page[-1].key
