"""A store in memory, for tests and for keys that need not outlive the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger.entries import (
    CHANGE_ORDER,
    Abandoned,
    Accepted,
    Change,
    Ended,
    Entry,
    EntryState,
    Intent,
    Query,
    Refused,
    Saved,
)
from acetasks._ledger.store import Written

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class MemoryStore:
    """A `Store` that keeps its entries in memory, also while it is closed."""

    def __init__(self) -> None:
        # In the order of insertion; a refused entry that is replaced keeps its place.
        self._entries: dict[str, Entry] = {}
        self._keys: dict[tuple[str, str], list[str]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._entries)} entries>"

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`."""
        ordered = sorted(changes, key=lambda change: CHANGE_ORDER.index(type(change)))
        rejected = [change.key for change in ordered if not self._apply(change) and isinstance(change, Accepted)]
        return Written(rejected, [self._insert(intent) for intent in intents])

    async def restamp(self, key: str, seen: float, now: float) -> bool:
        """Implement `Store.restamp`."""
        return self._replace(self._find_open(key, seen), sent_at=now, state=EntryState.SUBMITTING)

    async def find(self, keys: Sequence[str]) -> list[Entry | None]:
        """Implement `Store.find`."""
        return [self._entries.get(key) for key in keys]

    async def find_tasks(self, provider: str, task_ids: Sequence[str]) -> list[Entry]:
        """Implement `Store.find_tasks`."""
        return [entry for task_id in dict.fromkeys(task_ids) for entry in self._find_task(provider, task_id)]

    async def unfinished(self, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.unfinished`."""
        entries = list(self._entries.values())
        unfinished = (entry for entry in _page(entries, after) if entry.ended_at is None)
        return [entry for entry, _ in zip(unfinished, range(limit), strict=False)]

    async def select(self, query: Query, after: str | None, limit: int) -> list[Entry]:
        """Implement `Store.select`."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.sent_at)
        selected = (entry for entry in _page(entries, after) if _matches(entry, query))
        return [entry for entry, _ in zip(selected, range(limit), strict=False)]

    def _insert(self, intent: Intent) -> Entry | None:
        """Insert an intent, or return the entry that is there and stays."""
        entry = self._entries.get(intent.key)
        if entry is not None and entry.state is not EntryState.REFUSED:
            return entry
        self._entries[intent.key] = Entry(**{name: getattr(intent, name) for name in Intent.__struct_fields__})
        return None

    def _find_open(self, key: str, sent_at: float) -> list[Entry]:
        """Return the entry of a key if it has this stamp, no id and no end."""
        entry = self._entries.get(key)
        is_open = entry is not None and entry.task_id is None and entry.ended_at is None and entry.sent_at == sent_at
        return [entry] if entry is not None and is_open else []

    def _find_task(self, provider: str, task_id: str) -> list[Entry]:
        return [self._entries[key] for key in self._keys.get((provider, task_id), ())]

    def _has_task(self, key: str, task_id: str) -> bool:
        """Return whether another entry of the same provider has a task."""
        entry = self._entries.get(key)
        return entry is not None and entry.task_id != task_id and bool(self._find_task(entry.provider, task_id))

    def _replace(self, entries: list[Entry], **changes: object) -> bool:
        for entry in entries:
            self._entries[entry.key] = msgspec.structs.replace(entry, **changes)
        return bool(entries)

    def _apply(self, change: Change) -> bool:  # noqa: PLR0911  # one for each kind, and two for refusals
        """Apply a change, and return whether it holds now."""
        match change:
            case Accepted(unclaimed=True, task_id=str() as task_id) if self._has_task(change.key, task_id):
                return False
            case Accepted():
                entry = self._entries.get(change.key)
                if entry is None or entry.task_id is not None or entry.ended_at is not None:
                    return entry is not None and change.is_noted(entry.task_id, entry.record)
                if change.task_id is not None:
                    self._keys.setdefault((entry.provider, change.task_id), []).append(entry.key)
                return self._replace([entry], **_fields(change, "task_id", "trace_id", "state", "ended_at", "record"))
            case Refused():
                changes = _fields(change, "ended_at", "reason") | {"state": EntryState.REFUSED}
                return self._replace(self._find_open(change.key, change.sent_at), **changes)
            case Abandoned():
                return self._replace(self._find_open(change.key, change.sent_at), state=EntryState.UNCERTAIN)
            case Ended():
                named = self._find_task(change.provider, change.task_id)
                ending = [entry for entry in named if entry.ended_at is None]
                return self._replace(ending, **_fields(change, "state", "ended_at", "record"))
            case Saved():
                named = [] if change.task_id is None else self._find_task(change.provider, change.task_id)
                by_key = None if change.key is None else self._entries.get(change.key)
                return self._replace(named if by_key is None else [*named, by_key], files=change.files)


def _fields(change: Change, *names: str) -> dict[str, object]:
    return {name: getattr(change, name) for name in names}


def _page(entries: list[Entry], after: str | None) -> Iterable[Entry]:
    """Return the entries after the one with a key; none if there is no such entry."""
    if after is None:
        return entries
    keys = [entry.key for entry in entries]
    return entries[keys.index(after) + 1 :] if after in keys else []


def _matches(entry: Entry, query: Query) -> bool:
    return (
        (query.provider is None or entry.provider == query.provider)
        and (query.states is None or entry.state in query.states)
        and (query.since is None or entry.sent_at >= query.since)
        and (query.before is None or entry.sent_at < query.before)
    )
