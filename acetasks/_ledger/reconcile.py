"""Reconciliation: looks uncertain submissions up in the history of their provider.

A submission is recognised by its request and its time. Equal requests are interchangeable, so a task can be assigned to
any of them. Each doubt is reported, and nothing is ever sent.
"""

from __future__ import annotations

import asyncio
import bisect
import collections
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from acetasks._ledger.entries import Entry, EntryState
from acetasks._records import DECODE_ERRORS, read_sections

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable

    from acetasks._ledger.ledger import Ledger
    from acetasks.models import Task

#: Seconds by which the service's clock may differ from that of the sender.
CLOCK_MARGIN = 120.0
#: Seconds after which the history is taken to list a new task. How soon it does is not documented.
SETTLE_TIME = 300.0

#: Keys of a payload that do not change what is made, and that a record need not repeat.
_IGNORED_KEYS = frozenset({"async"})
#: Larger numbers are not exact as floats.
_MAX_EXACT = 2.0**53


class History(Protocol):
    """A walk over the tasks of one provider.

    Attributes:
        is_complete: After the walk, whether it has seen every task of the time asked for.
    """

    is_complete: bool

    def tasks(self) -> AsyncGenerator[Task, None]:
        """Yield the tasks, each once."""
        ...


class HistorySource(NamedTuple):
    """The history of one provider.

    Attributes:
        walk: Begins a walk over the tasks from one time to another, in seconds since the epoch.
        settle_time: Seconds after which it lists a new task.
        reach: Seconds for which it lists a task, or None if there is no limit.
    """

    walk: Callable[[float, float], History]
    settle_time: float = SETTLE_TIME
    reach: float | None = None


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A submission that stays uncertain.

    Attributes:
        entry: Its entry.
        reason: Why.
    """

    entry: Entry
    reason: str


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of uncertain submissions.

    Attributes:
        adopted: Entries with the task that was found for them.
        absent: Entries that are not in the history, although it has had the time to list them. They stay uncertain
            until they are released (`Ledger.release`).
        ambiguous: Entries about which there is a doubt. They stay uncertain.
    """

    adopted: tuple[Entry, ...] = ()
    absent: tuple[Entry, ...] = ()
    ambiguous: tuple[Doubt, ...] = ()


class _Group:
    """Uncertain entries with equal requests, in the order of their stamps, and the tasks that may match them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.tasks: list[Task] = []
        self.doubtful: list[Task] = []

    @property
    def is_mixed(self) -> bool:
        """Whether the entries differ in path or headers, which records do not repeat."""
        return len({entry.fingerprint for entry in self.entries}) > 1


async def reconcile(
    ledger: Ledger, find_history: Callable[[str], HistorySource | None], *, provider: str | None = None
) -> Reconciliation:
    """Look uncertain submissions up, in one walk over the history of each provider.

    Args:
        ledger: The ledger.
        find_history: Returns the history of a provider, or None if it has none.
        provider: The provider's slug; None for all.

    Raises:
        LedgerError: The ledger cannot be read or written.
        AceTasksError: A history cannot be read. What was adopted before that stays adopted.
    """
    by_provider: dict[str, list[Entry]] = collections.defaultdict(list)
    async for entry in ledger.unfinished():  # not `tasks`: those are few among all
        if entry.state is not EntryState.UNCERTAIN or provider not in {None, entry.provider}:
            continue
        by_provider[entry.provider].append(entry)
    adopted: list[Entry] = []
    absent: list[Entry] = []
    ambiguous: list[Doubt] = []
    for slug, entries in by_provider.items():
        source = find_history(slug)
        if source is None:
            ambiguous += [Doubt(entry=entry, reason="the provider has no history") for entry in entries]
            continue
        found = await _Reconciler(ledger, source, slug, entries).run()
        adopted += found.adopted
        absent += found.absent
        ambiguous += found.ambiguous
    return Reconciliation(adopted=tuple(adopted), absent=tuple(absent), ambiguous=tuple(ambiguous))


class _Reconciler:
    """The reconciliation of one provider."""

    def __init__(self, ledger: Ledger, source: HistorySource, provider: str, entries: list[Entry]) -> None:
        self._ledger, self._source, self._provider, self._entries = ledger, source, provider, entries
        self._groups: dict[bytes, _Group] = collections.defaultdict(_Group)
        # For each set of keys of payloads, and those of them that a record has: the groups by the values of these.
        self._indexes: dict[tuple[frozenset[str], frozenset[str]], dict[bytes, list[_Group]]] = {}
        self._payloads: dict[frozenset[str], list[tuple[dict[str, object], _Group]]] = collections.defaultdict(list)
        for entry in entries:
            payload = _read_payload(entry.request)
            group = self._groups[_encode(payload)]
            if not group.entries:
                self._payloads[frozenset(payload)].append((payload, group))
            group.entries.append(entry)
        self._width = ledger.bound + 2 * CLOCK_MARGIN

    async def run(self) -> Reconciliation:
        """Walk over the history, and adopt what is found."""
        earliest = self._entries[0].sent_at - CLOCK_MARGIN
        walk = self._source.walk(earliest, self._entries[-1].sent_at - CLOCK_MARGIN + self._width)
        # Before the walk: what was not listed by then may be listed later.
        now = self._ledger.now()
        async for task in walk.tasks():
            self._add_candidate(task)
        # After the walk: a task in it may belong to a submission under way that has not noted its id yet.
        contested: dict[bytes, float] = {}
        async for entry in self._ledger.tasks(provider=self._provider, state=EntryState.SUBMITTING, since=earliest):
            contested.setdefault(_encode(_read_payload(entry.request)), entry.sent_at - CLOCK_MARGIN)
        await self._drop_claimed()
        pairs: list[tuple[Entry, Task]] = []
        absent: list[Entry] = []
        ambiguous: list[Doubt] = []
        for request, group in self._groups.items():
            for entry, found in self._pair(group):
                if found is not None:
                    reason = _find_contest(group, found, contested.get(request))
                elif not walk.is_complete:
                    reason = "the history cannot be read to its end"
                else:
                    reason = self._find_doubt(entry, group, now)
                if reason:
                    ambiguous.append(Doubt(entry=entry, reason=reason))
                elif found is not None:
                    pairs.append((entry, found))
                else:
                    absent.append(entry)
        results = await asyncio.gather(*(self._ledger.adopt(entry, task) for entry, task in pairs))
        adopted = [entry for entry in results if entry is not None]
        lost = [entry for (entry, _), result in zip(pairs, results, strict=True) if result is None]
        ambiguous += [Doubt(entry=entry, reason="another process has just changed the ledger") for entry in lost]
        return Reconciliation(adopted=tuple(adopted), absent=tuple(absent), ambiguous=tuple(ambiguous))

    def _add_candidate(self, task: Task) -> None:
        """Add a task of the history to the groups that it may match."""
        request = _read_request(task)
        equal: list[_Group] = []
        partly: list[_Group] = []
        for keys in self._payloads:
            shared = keys.intersection(request)
            found = self._index(keys, shared).get(_encode({key: request[key] for key in shared}), [])
            # A record may leave the callback URL out, which is the client's own and new for each submission.
            (equal if keys - shared <= {"callback_url"} else partly).extend(found)
        exact = self._groups.get(_encode(request))
        if exact is not None:
            exact.tasks.append(task)
        elif len(equal) == 1 and "callback_url" not in request.keys() - _keys_of(equal[0]):
            equal[0].tasks.append(task)
        else:
            for group in equal or partly:
                group.doubtful.append(task)

    def _index(self, keys: frozenset[str], shared: frozenset[str]) -> dict[bytes, list[_Group]]:
        """Return the groups with some keys in their payloads, by the values of the keys that a record repeats."""
        index = self._indexes.get((keys, shared))
        if index is None:
            index = self._indexes[keys, shared] = {}
            for payload, group in self._payloads[keys]:
                index.setdefault(_encode({key: payload[key] for key in shared}), []).append(group)
        return index

    async def _drop_claimed(self) -> None:
        """Drop the tasks that an entry has."""
        groups = self._groups.values()
        ids = {task.id for group in groups for task in (*group.tasks, *group.doubtful)}
        claimed = await self._ledger.find_claimed(self._provider, ids)
        for group in groups:
            group.tasks = [task for task in group.tasks if task.id not in claimed]
            group.doubtful = [task for task in group.doubtful if task.id not in claimed]

    def _pair(self, group: _Group) -> Iterable[tuple[Entry, Task | None]]:
        """Yield each entry with a task from its time, or None: as many pairs as there can be.

        All entries have times of the same width, so that the earliest task for the earliest entry is the best choice.
        """
        times = [task.created_at for task in group.tasks]
        group.doubtful += [task for task in group.tasks if task.created_at is None]
        dated = sorted((time, number) for number, time in enumerate(times) if time is not None)
        position = 0
        for entry in group.entries:
            begin = entry.sent_at - CLOCK_MARGIN
            position = max(position, bisect.bisect_left(dated, (begin, -1)))
            if position < len(dated) and dated[position][0] <= begin + self._width:
                yield entry, group.tasks[dated[position][1]]
                position += 1
            else:
                yield entry, None

    def _find_doubt(self, entry: Entry, group: _Group, now: float) -> str | None:
        """Return why a submission without a task may have been accepted, or None."""
        begin = entry.sent_at - CLOCK_MARGIN
        end = begin + self._width
        ids = [task.id for task in group.doubtful if task.created_at is None or begin <= task.created_at <= end]
        if ids:
            return f"one of these tasks may match: {', '.join(ids[:5])}"
        if self._source.reach is not None and now - begin > self._source.reach:
            return "the history does not reach back so far"
        if now - entry.sent_at < self._ledger.bound + self._source.settle_time:
            return "it is too recent: the history may list it later"
        return None


def _find_contest(group: _Group, task: Task, contested_from: float | None) -> str | None:
    """Return why a task may belong to another submission, or None."""
    if group.is_mixed:
        return "submissions that differ only in their path or headers are uncertain too"
    if contested_from is not None and (task.created_at or 0.0) >= contested_from:
        return "an equal request is being submitted"
    return None


def _keys_of(group: _Group) -> frozenset[str]:
    return frozenset(_read_payload(group.entries[0].request))


def _read_float(text: str) -> float | int:
    """Read a number so that 5 and 5.0 are the same."""
    value = float(text)
    return int(value) if abs(value) < _MAX_EXACT and value.is_integer() else value


_decoder = msgspec.json.Decoder(float_hook=_read_float)


def _read_payload(request: bytes | None) -> dict[str, object]:
    """Return the fields of a payload without those that do not matter; empty if it is no object."""
    try:
        payload = _decoder.decode(request) if request else None
    except DECODE_ERRORS:
        payload = None
    fields = payload if isinstance(payload, dict) else {}
    return {key: value for key, value in fields.items() if value is not None and key not in _IGNORED_KEYS}


def _read_request(task: Task) -> dict[str, object]:
    """Return the fields of its request that a record repeats."""
    try:
        return _read_payload(read_sections(task.raw)[0])
    except DECODE_ERRORS:
        return {}


def _encode(payload: dict[str, object]) -> bytes:
    return msgspec.json.encode(payload, order="sorted")
