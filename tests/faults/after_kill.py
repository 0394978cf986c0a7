"""What a process that is restarted after `kill -9` finds and does, on the virtual clock.

The killed process is a client whose journal is cut off at the moment of the kill, so that nothing that it does
afterwards is in it; then its calls are cancelled and its connections closed, as the kernel would close them. The
restarted process is a new client on the same journal.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import acetasks
from acetasks._ledger import Accepted, Intent, Query, build_fingerprint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from fault_table import Scenario

    from acetasks._ledger import Change, Written

#: Seconds since the epoch at loop time 0, for the service and the client.
EPOCH = 1_780_000_000.0
#: Seconds after which a process that waits is killed, and timeout of the waits.
KILLED_AT, LIMIT = 25.0, 300.0
#: Seconds after which a process that was killed during a submission is restarted.
RESTARTED_AFTER = 600.0
KEY, PAYLOAD = "order-1", {"prompt": "a cat"}


class MortalStore:
    """The journal as a process sees it until it is killed.

    Args:
        inner: The journal.
        until_change: Whether the process is killed just before it notes what became of a submission.

    Attributes:
        is_dead: Whether the process was killed.
    """

    def __init__(self, inner: acetasks.MemoryStore, *, until_change: bool = False) -> None:
        self._inner = inner
        self._until_change = until_change
        self.is_dead = False

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:
        """Implement `Store.write`."""
        self.is_dead = self.is_dead or (self._until_change and bool(changes))
        return await self._alive.write(changes, intents)

    async def restamp(self, key: str, seen: float, now: float) -> bool:
        """Implement `Store.restamp`."""
        return await self._alive.restamp(key, seen, now)

    async def find(self, keys: Sequence[str]) -> list[acetasks.Entry | None]:
        """Implement `Store.find`."""
        return await self._alive.find(keys)

    async def find_tasks(self, provider: str, task_ids: Sequence[str]) -> list[acetasks.Entry]:
        """Implement `Store.find_tasks`."""
        return await self._alive.find_tasks(provider, task_ids)

    async def unfinished(self, after: str | None, limit: int) -> list[acetasks.Entry]:
        """Implement `Store.unfinished`."""
        return await self._alive.unfinished(after, limit)

    async def select(self, query: Query, after: str | None, limit: int) -> list[acetasks.Entry]:
        """Implement `Store.select`."""
        return await self._alive.select(query, after, limit)

    @property
    def _alive(self) -> acetasks.MemoryStore:
        if self.is_dead:
            raise acetasks.LedgerError("the process was killed", location="journal")
        return self._inner


@dataclass
class AfterKill:
    """What the restarted process found and did.

    Attributes:
        text: The cell of the table.
        ended: Entries that had ended before the kill.
        entries: All entries at the end.
        resumed: Number of tasks that the restarted process awaited.
        raised: Type of the error that its wait ended with, or empty.
        posts: Number of submissions that it sent.
        polled: The ids that it polled.
        made: Number of tasks that the service has created from submissions.
    """

    text: str = ""
    ended: list[acetasks.Entry] = field(default_factory=list)
    entries: list[acetasks.Entry] = field(default_factory=list)
    resumed: int = 0
    raised: str = ""
    posts: int = 0
    polled: set[str] = field(default_factory=set)
    made: int = 0


@contextlib.asynccontextmanager
async def killed(
    new_client: Callable[..., acetasks.Client], store: MortalStore
) -> AsyncIterator[tuple[acetasks.Client, list[asyncio.Task[object]]]]:
    """Give a client, and a list for its calls; they are killed at the end of the block."""
    client = await new_client(journal=store).__aenter__()
    calls: list[asyncio.Task[object]] = []
    try:
        yield client, calls
    finally:
        store.is_dead = True
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await client.close()


async def note_submitted(store: acetasks.MemoryStore, provider: str, ids: Sequence[str]) -> None:
    """Let a journal have tasks as `submit` leaves them."""
    path = f"/{provider}/videos"
    for task_id in ids:
        request = b'{"prompt":"a cat","async":true}'
        fingerprint = build_fingerprint(provider, path, request)
        intent = Intent(
            key=f"key of {task_id}",
            provider=provider,
            path=path,
            fingerprint=fingerprint,
            request=request,
            sent_at=time.time(),
        )
        await store.write([], [intent])
        await store.write([Accepted(key=intent.key, task_id=task_id)], [])


async def list_entries(store: acetasks.MemoryStore) -> list[acetasks.Entry]:
    """Return all entries of a journal."""
    return await store.select(Query(), None, 1000)


async def kill_waits(scenario: Scenario, new_client: Callable[..., acetasks.Client]) -> AfterKill:
    """Kill a process that waits for tasks, when half of them have ended without a fault, and restart it at once."""
    journal = acetasks.MemoryStore()
    await note_submitted(journal, scenario.provider, scenario.ids)
    async with killed(new_client, MortalStore(journal)) as (scenario.client, calls):
        waits = scenario.client.wait_all(scenario.provider, scenario.ids, timeout=LIMIT, return_failed=True)
        calls.append(asyncio.create_task(waits))
        await asyncio.wait(calls, timeout=KILLED_AT)
    ended = [entry for entry in await list_entries(journal) if entry.ended_at is not None]
    found, requests = AfterKill(ended=ended), len(scenario.server.requests)
    async with new_client(journal=journal) as scenario.client:
        found.resumed = len([handle async for handle in scenario.client.pending()])
        try:
            tasks = await scenario.client.resume(timeout=LIMIT)
        except acetasks.AceTasksError as error:
            found.raised = type(error).__name__
            tasks = [task for task in error.tasks if task.state.is_terminal]
    states = collections.Counter(str(task.state) for task in tasks)
    parts = [", ".join(f"{count} {state}" for state, count in sorted(states.items()))] if states else []
    parts += [f"`{found.raised}`"] if found.raised else []
    found.text = f"{found.resumed} resumed" + (": " if parts else "") + ", then ".join(parts)
    await complete(found, scenario, journal, requests)
    return found


async def kill_submission(
    scenario: Scenario, new_client: Callable[..., acetasks.Client], *, is_noted: bool
) -> AfterKill:
    """Kill a process before or after it notes what became of a submission, and restart it ten minutes later.

    The restarted process reconciles, resumes what it finds, and submits with the same key again.
    """
    journal = acetasks.MemoryStore()
    async with killed(new_client, MortalStore(journal, until_change=not is_noted)) as (scenario.client, calls):
        calls.append(asyncio.create_task(scenario.client.submit(scenario.provider, PAYLOAD, key=KEY)))
        await asyncio.wait(calls)
    await asyncio.sleep(RESTARTED_AFTER)
    found, requests = AfterKill(), len(scenario.server.requests)
    async with new_client(journal=journal) as scenario.client:
        found.text = await recover(scenario.client)
        try:
            await scenario.client.run(scenario.provider, PAYLOAD, key=KEY)
        except acetasks.AceTasksError as error:
            found.raised = type(error).__name__
    await complete(found, scenario, journal, requests)
    return found


async def recover(client: acetasks.Client) -> str:
    """Do what a restarted process does, and return what became of the submission."""
    found = await client.journal.find(KEY)
    assert found is not None
    if found.state is acetasks.EntryState.REFUSED:
        return "refused: the key is free"
    try:
        report = await client.reconcile()
        tasks = await client.resume(timeout=LIMIT)
    except acetasks.AceTasksError as error:
        return f"{found.state}: `{type(error).__name__}`"
    if found.state is acetasks.EntryState.ACCEPTED:
        return f"resumed: {', '.join(task.state for task in tasks)}"
    kinds = [*(f"adopted: {entry.state}" for entry in report.adopted), *("reported as absent" for _ in report.absent)]
    return ", ".join([*kinds, *(f"ambiguous: {doubt.reason}" for doubt in report.ambiguous)])


async def complete(found: AfterKill, scenario: Scenario, journal: acetasks.MemoryStore, requests: int) -> None:
    """Add what the restarted process has sent, and what is in the journal then."""
    later = scenario.server.requests[requests:]
    found.posts = sum(request.action == "submit" for request in later)
    found.polled = {task_id for request in later for task_id in request.ids}
    found.entries = await list_entries(journal)
    found.made = scenario.server.submissions
