"""The rules of the ledger: one submission for each key, and one end for each task, whatever the store."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger.entries import (
    Abandoned,
    Accepted,
    Change,
    Ended,
    Entry,
    EntryState,
    Intent,
    Query,
    Refused,
    build_fingerprint,
)
from acetasks._ledger.writer import GroupWriter
from acetasks._records import ECHO_LIMIT
from acetasks.errors import LedgerError, SubmissionUncertainError
from acetasks.models import TaskState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping

    from acetasks._ledger.store import Store
    from acetasks.models import Task

_logger = logging.getLogger("acetasks")

#: Seconds after which the submission of another process, without a response in the journal, counts as uncertain. An
#: acknowledgement takes a few; a blocking one may come later, and is then noted all the same.
ACKNOWLEDGED_AFTER = 60.0
#: Entries that are read at once.
_PAGE_SIZE = 500
#: First and maximum seconds between two looks at the submission of another process.
_FIRST_LOOK, _LAST_LOOK = 0.1, 2.0
#: Minimum of it: a time of day is rounded, so that the last pause can end a little too early.
_LEAST_LOOK = 0.001
#: The ends. A task that is not found is none: with another token, or a little later, it may be.
_ENDS = frozenset({TaskState.SUCCEEDED, TaskState.PARTIAL, TaskState.FAILED})
_UNSETTLED = (EntryState.SUBMITTING, EntryState.UNCERTAIN)


class _Claim:
    """The right of one call to write and send a key.

    Attributes:
        freed: Done when the key is free again; None while nothing waits for that.
    """

    __slots__ = ("freed",)

    def __init__(self) -> None:
        self.freed: asyncio.Future[None] | None = None


class _Patience:
    """How long `Ledger.begin` waits for the submission of another process.

    Args:
        clock: Returns the seconds since the epoch.
        bound: Seconds after its stamp at which a submission is uncertain.
    """

    def __init__(self, clock: Callable[[], float], bound: float) -> None:
        self._clock, self._bound = clock, bound
        self._stamp, self._since, self._pause = 0.0, 0.0, 0.0

    def next_pause(self, entry: Entry) -> float | None:
        """Return the seconds until the next look at an entry without an id; None if it is uncertain."""
        loop_time = asyncio.get_running_loop().time()
        if entry.sent_at != self._stamp:
            self._stamp, self._since, self._pause = entry.sent_at, loop_time, _FIRST_LOOK
        # The stamp is another process's: one that lies in the future is not waited for any longer than a right one.
        left = self._bound - max(self._clock() - entry.sent_at, loop_time - self._since)
        if entry.state is EntryState.UNCERTAIN or left <= 0:
            return None
        pause, self._pause = min(self._pause, left), min(2 * self._pause, _LAST_LOOK)
        return max(pause, _LEAST_LOOK)


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
        # Keys that this process is about to write or to send.
        self._claims: dict[str, _Claim] = {}

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
        self, key: str | None, *, provider: str, path: str, request: bytes, headers: Mapping[str, str] | None = None
    ) -> Entry:
        """Write down the intent to submit, unless the key was submitted before; wait while it is being submitted.

        Args:
            key: The caller's name of the submission; None makes up a new one.
            provider: The provider's slug.
            path: Path of the request.
            request: Body of the request, as JSON.
            headers: The headers that change what is made.

        Returns:
            An entry in state `SUBMITTING`, which the caller is to submit; any other is that of the earlier submission,
            with its task id or end.

        Raises:
            LedgerError: The intent cannot be written. Nothing was sent.
            SubmissionUncertainError: The key was submitted before, and nobody knows whether it was accepted.
            ValueError: The key was used for another payload, or is malformed.
        """
        key = self._new_key() if key is None else _check_key(key)
        fingerprint = build_fingerprint(provider, path, request, headers)
        patience = _Patience(self._clock, self._bound)
        while True:
            await self._wait_for_claim(key)
            now = self._clock()
            entry = Entry(key=key, provider=provider, path=path, fingerprint=fingerprint, request=request, sent_at=now)
            found = await self._insert(entry)
            if found is None:
                return entry
            _check_same(found, entry)
            if found.task_id is not None or found.ended_at is not None:
                return found
            if (pause := patience.next_pause(found)) is None:
                raise self._build_uncertain(found)
            await asyncio.sleep(pause)

    def may_send(self, entry: Entry) -> bool:
        """Return whether the request may still be sent; if not, `restamp` the entry.

        To be called right before the request is sent: an old stamp is uncertain to other processes.
        """
        return self._clock() - entry.sent_at <= self._send_within

    async def restamp(self, entry: Entry) -> Entry | None:
        """Give an entry a new stamp, in order to send its submission, for the first time or again.

        Returns:
            The entry with its new stamp, which the caller is to submit; None if something else has changed it.

        Raises:
            LedgerError: The entry cannot be written.
        """
        held = self._claims.get(entry.key)
        if held is not None and entry.state is EntryState.UNCERTAIN:
            return None
        claim = held or self._claims.setdefault(entry.key, _Claim())
        now, is_done = self._clock(), False
        try:
            is_done = await self._store.restamp(entry.key, entry.sent_at, now)
        finally:
            if not is_done and held is None:
                self._free(entry.key, claim)
        return msgspec.structs.replace(entry, sent_at=now, state=EntryState.SUBMITTING) if is_done else None

    async def accept(self, entry: Entry, task: Task) -> Entry:
        """Note the task of a submission; with its end, if the response had it.

        Returns:
            The entry with the task. It has another key if the service has made a second task for the key of `entry`.

        Raises:
            LedgerError: The task cannot be noted. It is kept, and tried again with the next write.
        """
        change = self._build_accepted(entry.key, task)
        if await self._settle(entry, change):
            return _apply(entry, change)
        # What is paid for is followed, even if it should not have been.
        _logger.error("a second task was made for key %r: %s %s", entry.key, task.provider, task.id)
        beside = msgspec.structs.replace(entry, key=self._new_key(), state=EntryState.SUBMITTING)
        await self._insert(beside)
        return await self.accept(beside, task)

    async def refuse(self, entry: Entry, reason: str) -> None:
        """Note that a submission was certainly not accepted, so that its key can be used again.

        Raises:
            LedgerError: This cannot be noted. It is kept, and tried again with the next write.
        """
        await self._settle(entry, self._build_refused(entry, reason))

    async def abandon(self, entry: Entry) -> None:
        """Note that the sender does not know what became of a submission, so that nothing waits for it any longer.

        Cancellation ends only the waiting: the note is queued at once.

        Raises:
            LedgerError: This cannot be noted. It is kept, and tried again with the next write.
        """
        await self._settle(entry, Abandoned(key=entry.key, sent_at=entry.sent_at))

    def finish(self, task: Task) -> None:
        """Queue the end of a task, for every entry with its id that has none. Other tasks are ignored."""
        if task.state in _ENDS and task.id:
            self._writer.note_later(
                Ended(
                    provider=task.provider,
                    task_id=task.id,
                    state=EntryState(task.state.value),
                    ended_at=self._clock(),
                    record=task.raw,
                )
            )

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
        change = msgspec.structs.replace(self._build_accepted(entry.key, task), unclaimed=True)
        return _apply(entry, change) if await self._writer.note(change) else None

    # Parts.

    async def _wait_for_claim(self, key: str) -> None:
        """Wait until no other call of this process writes or sends a key."""
        while (claim := self._claims.get(key)) is not None:
            if claim.freed is None:
                claim.freed = asyncio.get_running_loop().create_future()
            await asyncio.wait([claim.freed])

    async def _insert(self, entry: Entry) -> Entry | None:
        """Claim a key and write the intent; return what was found. The claim stays if nothing was."""
        claim = self._claims[entry.key] = _Claim()
        future = self._writer.begin(entry)
        try:
            found = await future
        except asyncio.CancelledError:
            # Nothing was sent, but the intent may have been written. If the future is cancelled, the writer tells.
            if not future.cancelled():
                self._withdraw(entry, future.exception() is None and future.result() is None)
            raise
        except BaseException:
            self._free(entry.key, claim)
            raise
        if found is not None:
            self._free(entry.key, claim)
        return found

    def _withdraw(self, intent: Intent, is_inserted: bool) -> None:  # noqa: FBT001  # the writer's callback
        """Refuse an intent whose caller was cancelled before it could send anything."""
        free = functools.partial(self._free, intent.key, self._claims[intent.key])
        if is_inserted:
            self._writer.note_later(self._build_refused(intent, "cancelled before it was sent"), free)
        else:
            free()

    async def _settle(self, entry: Entry, change: Change) -> bool:
        """Note what became of a submission, and free its key when that is written; return whether it applied."""
        claim = self._claims.get(entry.key)
        free = None if claim is None else functools.partial(self._free, entry.key, claim)
        return await self._writer.note(change, free)

    def _free(self, key: str, claim: _Claim) -> None:
        if self._claims.get(key) is claim:
            del self._claims[key]
        if claim.freed is not None and not claim.freed.done():
            claim.freed.set_result(None)

    async def _write_queued(self) -> None:
        """Write what is queued, so that it can be read. A failure is not one of reading."""
        with contextlib.suppress(LedgerError):
            await self._writer.flush()

    def _derive(self, entry: Entry) -> Entry:
        if entry.is_uncertain(now=self._clock(), bound=self._bound):
            return msgspec.structs.replace(entry, state=EntryState.UNCERTAIN)
        return entry

    def _new_key(self) -> str:
        """Return a new key. Keys of one process are in the order of time, which keeps the index of a store compact."""
        return f"{int(self._clock() * 1000):012x}-{secrets.token_hex(10)}"

    def _build_accepted(self, key: str, task: Task) -> Accepted:
        is_end = task.state in _ENDS
        return Accepted(
            key=key,
            task_id=task.id or None,
            trace_id=task.trace_id,
            state=EntryState(task.state.value) if is_end else EntryState.ACCEPTED,
            ended_at=self._clock() if is_end else None,
            record=task.raw if is_end else None,
        )

    def _build_refused(self, intent: Intent, reason: str) -> Refused:
        return Refused(key=intent.key, sent_at=intent.sent_at, ended_at=self._clock(), reason=reason[:ECHO_LIMIT])

    def _build_uncertain(self, entry: Entry) -> SubmissionUncertainError:
        age = self._clock() - entry.sent_at
        error = SubmissionUncertainError(
            f"key {entry.key!r} was submitted {age:.0f} s ago, and no response was noted",
            provider=entry.provider,
            path=entry.path,
            payload=entry.request,
            sent_at=entry.sent_at,
        )
        error.key = entry.key
        return error


async def _read_pages(
    read: Callable[[str | None, int], Awaitable[list[Entry]]],
) -> AsyncGenerator[Entry, None]:
    after: str | None = None
    while page := await read(after, _PAGE_SIZE):
        for entry in page:
            yield entry
        after = page[-1].key


def _apply(entry: Entry, change: Accepted) -> Entry:
    fields = msgspec.structs.asdict(change)
    del fields["unclaimed"]
    return msgspec.structs.replace(entry, **fields)


def _check_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"key must be a string or None, got {key!r}")
    if not key or key != key.strip() or not key.isprintable() or len(key) > ECHO_LIMIT:
        raise ValueError(
            f"key must have 1 to {ECHO_LIMIT} printable characters and no whitespace around them, got {key!r}"
        )
    return key


def _check_same(entry: Entry, intent: Intent) -> None:
    if entry.fingerprint != intent.fingerprint:
        raise ValueError(
            f"key {entry.key!r} was used for another payload ({entry.provider} {entry.path}): a key names one"
            " submission; use another one"
        )
