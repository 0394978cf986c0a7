"""Shared parts of the tests of the ledger: intents, and a time of day that follows the loop time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from support import now

from acetasks import Task, TaskState
from acetasks._ledger import Accepted, Ended, Entry, EntryState, Intent, MemoryStore, build_fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks._ledger import Change, Store, Written

#: Seconds since the epoch at loop time 0.
EPOCH = 1_800_000_000.0
REQUEST = b'{"prompt":"a cat","async":true}'


def clock() -> float:
    """Return the time of day, in seconds since the epoch."""
    return EPOCH + now()


def intent(key: str, *, sent_at: float = EPOCH, request: bytes = REQUEST, provider: str = "luma") -> Intent:
    """Build an intent."""
    path = f"/{provider}/videos"
    return Intent(
        key=key,
        provider=provider,
        path=path,
        fingerprint=build_fingerprint(provider, path, request),
        request=request,
        sent_at=sent_at,
    )


def task(task_id: str, state: TaskState = TaskState.PENDING, provider: str = "luma") -> Task:
    """Build a task."""
    return Task(provider=provider, id=task_id, state=state, trace_id="trace", raw=b'{"id":"t"}')


def entry(key: str, **fields: object) -> Entry:
    """Build the entry of an intent, with some fields."""
    begun = intent(key)
    return Entry(**({name: getattr(begun, name) for name in begun.__struct_fields__} | fields))


def accepted(key: str, task_id: str | None = None) -> Accepted:
    """Build the change that gives a submission its id, `<key>-task` by default."""
    return Accepted(key=key, task_id=task_id or f"{key}-task", trace_id="trace")


def ended(task_id: str, *, provider: str = "luma", state: EntryState = EntryState.SUCCEEDED) -> Ended:
    """Build the change that ends a task."""
    return Ended(provider=provider, task_id=task_id, state=state, ended_at=EPOCH + 60, record=b'{"id":"t"}')


async def begin(store: Store, *intents: Intent) -> list[Entry | None]:
    """Insert intents, and return what was found."""
    return (await store.write([], intents)).found


async def note(store: Store, *changes: Change) -> list[str]:
    """Apply changes, and return what was rejected."""
    return (await store.write(changes, [])).rejected


class GatedStore(MemoryStore):
    """A store in memory that takes time, and fails on request.

    Args:
        latency: Seconds of a write.

    Attributes:
        groups: The kinds of changes and the keys of intents of each write, as words.
        failure: What each write raises, if it is set.
    """

    def __init__(self, latency: float = 1.0) -> None:
        super().__init__()
        self.latency = latency
        self.groups: list[str] = []
        self.failure: BaseException | None = None

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`."""
        self.groups.append(
            " ".join([*(type(change).__name__ for change in changes), *(intent.key for intent in intents)])
        )
        await asyncio.sleep(self.latency)
        if self.failure is not None:
            raise self.failure
        return await super().write(changes, intents)
