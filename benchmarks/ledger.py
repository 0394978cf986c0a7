"""What the ledger costs: processor time and stalls for each submission, and the size and speed of a large file.

Run it as `python benchmarks/ledger.py`, with `--entries 20000` for a quick round. Every submission is three durable
writes: the intent, the id and the end. `--postgres URL` measures a PostgreSQL database instead of a file, in schemas of
random names that are dropped at the end, and prints the plans of two statements.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from ledger_postgres import Database, open_database

from acetasks import Task, TaskState
from acetasks._ledger import (
    Accepted,
    Change,
    Ended,
    EntryState,
    Intent,
    Ledger,
    MemoryStore,
    Query,
    SQLiteStore,
    Store,
    Written,
    build_fingerprint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Submissions of the first part, and how many are sent at once.
_SUBMISSIONS, _GATE = 5000, 100
#: Runs of each, the best of which counts.
_RUNS = 3
#: Entries of the second part, the unfinished ones among them, and how many are written at once.
_ENTRIES, _UNFINISHED, _GROUP = 1_000_000, 1000, 250
#: Bounds of the second part: seconds to open and list a file, seconds to list those in a database, and bytes for each
#: entry of a file.
_MOST_SECONDS, _MOST_LISTING, _MOST_BYTES = 1.0, 0.1, 1024
_REQUEST = msgspec.json.encode({"prompt": "a lighthouse " * 10, "model": "x", "async": True})
_RECORD = msgspec.json.encode(
    {"id": "x" * 36, "response": {"video_url": "https://example.test/" + "y" * 60, "state": "completed"}}
)


class NoStore(MemoryStore):
    """A store that forgets everything at once, for the cost of the ledger itself."""

    async def write(self, changes: Sequence[Change], intents: Sequence[Intent]) -> Written:  # noqa: ARG002  # forgotten
        """Implement `Store.write`."""
        return Written([], [None] * len(intents))


async def _submit(ledger: Ledger, gate: asyncio.Semaphore, index: int) -> None:
    task_id = f"task-{index:032}"
    entry = await ledger.begin(f"job-{index:08}", provider="luma", path="/luma/videos", request=_REQUEST)
    await asyncio.sleep(0.05)
    await ledger.accept(entry, Task(provider="luma", id=task_id, state=TaskState.PENDING))
    gate.release()
    await asyncio.sleep(0.5)
    ledger.finish(Task(provider="luma", id=task_id, state=TaskState.SUCCEEDED, raw=_RECORD))


async def _pretend(_: Ledger, gate: asyncio.Semaphore, index: int) -> None:
    await asyncio.sleep(0.05)
    gate.release()
    await asyncio.sleep(0.5)
    Task(provider="luma", id=f"task-{index:032}", state=TaskState.SUCCEEDED, raw=_RECORD)


async def run_submissions(store: Store, *, count: int, with_ledger: bool = True) -> tuple[float, float]:
    """Submit and end tasks, and return the seconds of the clock and of the processor; without a ledger, of the rest."""
    ledger, gate = Ledger(store, clock=time.time, longest_post=600.0), asyncio.Semaphore(_GATE)
    await ledger.open()
    wall, cpu = time.perf_counter(), time.process_time()
    submit = _submit if with_ledger else _pretend
    async with asyncio.TaskGroup() as group:
        for index in range(count):
            # Not all at once: to begin thousands of tasks holds the loop up for longer than any ledger.
            await gate.acquire()
            group.create_task(submit(ledger, gate, index))
    await ledger.flush()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    await ledger.close()
    return wall, cpu


async def measure_stalls(store: Store, *, count: int, with_ledger: bool = True) -> list[float]:
    """Return the seconds of the loop's own work between two timers of a millisecond, sorted, while tasks are submitted.

    By the processor time of the loop's thread, because on a busy machine other programs make timers late.
    """
    stalls: list[float] = []
    submitting = asyncio.create_task(run_submissions(store, count=count, with_ledger=with_ledger))
    while not submitting.done():
        start = time.thread_time()
        await asyncio.sleep(0.001)
        stalls.append(time.thread_time() - start)
    await submitting
    return sorted(stalls)


def report_costs(durable: tuple[str, Callable[[str], Store]], count: int) -> None:
    """Print the cost with each store, and without a ledger."""
    print(f"{count} submissions, {_GATE} at once, three writes each; the processor time of all threads")
    print(f"{'':24}{'ms CPU each':>12}{'above none':>12}{'wall s':>8}{'stall p99 ms':>14}{'max ms':>8}")
    base = 0.0
    stores: tuple[tuple[str, Callable[[str], Store], bool], ...] = (
        ("no ledger", lambda _: NoStore(), False),
        ("ledger, no store", lambda _: NoStore(), True),
        ("memory", lambda _: MemoryStore(), True),
        (*durable, True),
    )
    for name, new_store, with_ledger in stores:
        # Apart: to watch the loop costs more than the ledger.
        runs = [
            asyncio.run(run_submissions(new_store(f"cost-{run}.db"), count=count, with_ledger=with_ledger))
            for run in range(_RUNS)
        ]
        wall, cpu = min(runs, key=lambda run: run[1])
        each = 1000 * cpu / count
        base = base or each
        stalls = asyncio.run(measure_stalls(new_store("stalls.db"), count=count, with_ledger=with_ledger))
        p99 = statistics.quantiles(stalls, n=100)[98]
        print(f"{name:24}{each:12.3f}{each - base:12.3f}{wall:8.2f}{1000 * p99:14.2f}{1000 * stalls[-1]:8.1f}")


def _build_task_id(index: int) -> str:
    return f"task-{index * 7919 % 1_000_000_007:031}"  # in no order, as the service's ids are


def _build_group(start: int, stop: int, unfinished: frozenset[int]) -> tuple[list[Intent], list[Change]]:
    fingerprint = build_fingerprint("luma", "/luma/videos", _REQUEST)
    intents = [
        Intent(
            key=f"order-{index:09}",
            provider="luma",
            path="/luma/videos",
            fingerprint=fingerprint,
            request=_REQUEST,
            sent_at=1.8e9 + index,
        )
        for index in range(start, stop)
    ]
    changes: list[Change] = []
    for index, intent in enumerate(intents, start):
        task_id = _build_task_id(index)
        changes.append(Accepted(key=intent.key, task_id=task_id))
        if index not in unfinished:
            end = Ended(
                provider="luma", task_id=task_id, state=EntryState.SUCCEEDED, ended_at=1.8e9 + index, record=_RECORD
            )
            changes.append(end)
    return intents, changes


async def fill(store: Store, entries: int) -> None:
    """Write many entries."""
    unfinished = frozenset(range(0, entries, max(1, entries // _UNFINISHED)))
    await store.open()
    for start in range(0, entries, _GROUP):
        intents, changes = _build_group(start, min(start + _GROUP, entries), unfinished)
        await store.write([], intents)
        await store.write(changes, [])
    await store.close()


async def open_and_list(store: Store) -> tuple[float, float, int]:
    """Open a store and list its unfinished entries; return the seconds of both, and the number."""
    ledger = Ledger(store, clock=time.time, longest_post=600.0)
    start = time.perf_counter()
    await ledger.open()
    opened = time.perf_counter()
    found = [entry async for entry in ledger.unfinished()]
    listed = time.perf_counter()
    await ledger.close()
    return opened - start, listed - opened, len(found)


async def look(store: Store, entries: int) -> dict[str, float]:
    """Return the seconds of other calls on a large store."""
    await store.open()
    keys = [f"order-{index * 7919 % entries:09}" for index in range(500)]
    intents, changes = _build_group(entries, entries + _GROUP, frozenset())
    seconds: dict[str, float] = {}
    for name, call in {
        "find 500 keys": store.find(keys),
        "the last 500 by time": store.select(Query(since=1.8e9 + entries - 500), None, 500),
        "500 of another provider": store.select(Query(provider="flux"), None, 500),
        f"begin {_GROUP}": store.write([], intents),
        f"accept and end {_GROUP}": store.write(changes, []),
    }.items():
        start = time.perf_counter()
        await call
        seconds[name] = time.perf_counter() - start
    await store.close()
    return seconds


def report_size(folder: Path, entries: int) -> bool:
    """Print the figures of a large file, and return whether they are within the bounds."""
    path = folder / "large.db"
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(fill(SQLiteStore(path), entries))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = path.stat().st_size / entries
    print(f"\n{entries} entries in one file, written in groups of {_GROUP}")
    print(f"  {wall:.1f} s, {1e6 * cpu / entries:.0f} us of CPU and {size:.0f} bytes each (at most {_MOST_BYTES})")
    opened, listed, count = asyncio.run(open_and_list(SQLiteStore(path)))
    print(
        f"  opened in {1000 * opened:.1f} ms, the {count} unfinished listed in {1000 * listed:.1f} ms"
        f" (at most {1000 * _MOST_SECONDS:.0f} ms together)"
    )
    for name, seconds in asyncio.run(look(SQLiteStore(path), entries)).items():
        print(f"  {name}: {1000 * seconds:.1f} ms")
    return opened + listed <= _MOST_SECONDS and size <= _MOST_BYTES


def report_database(database: Database, entries: int) -> bool:
    """Print the figures of a large database, and return whether they are within the bounds."""
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(fill(database.new_store("large"), entries))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"\n{entries} entries in one database, written in groups of {_GROUP}")
    print(f"  {wall:.1f} s, {1e6 * cpu / entries:.0f} us of the client's CPU each")
    best = 0.0
    for state in ("as written", "after VACUUM (ANALYZE), as autovacuum does"):
        if best:
            database.execute(["VACUUM (ANALYZE) acetasks_entries"], in_last=True)
        total, rows = database.measure_size()
        print(f"  {state}: {total:.0f} bytes each with all indexes and old versions, {rows:.0f} of them rows")
        runs = [asyncio.run(open_and_list(database.new_store("large"))) for _ in range(_RUNS)]
        for opened, listed, count in runs:
            print(f"    opened in {1000 * opened:.1f} ms, the {count} unfinished listed in {1000 * listed:.1f} ms")
        best = min(listed for _, listed, _ in runs)
        database.explain_all([_build_task_id(index * 7919 % entries) for index in range(_GROUP)])
    for name, seconds in asyncio.run(look(database.new_store("large"), entries)).items():
        print(f"  {name}: {1000 * seconds:.1f} ms")
    return best <= _MOST_LISTING


def main() -> int:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=_ENTRIES, help="entries of the large file")
    parser.add_argument("--submissions", type=int, default=_SUBMISSIONS, help="submissions to measure the cost of")
    parser.add_argument("--postgres", metavar="URL", help="measure a PostgreSQL database instead of a file")
    options = parser.parse_args()
    if options.postgres is not None:
        with open_database(options.postgres) as database:
            report_costs(("PostgreSQL", database.new_store), options.submissions)
            is_within = report_database(database, options.entries)
    else:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            report_costs(("SQLite, full sync", lambda name: SQLiteStore(folder / name)), options.submissions)
            is_within = report_size(folder, options.entries)
    print("within the bounds" if is_within else "NOT within the bounds")
    return 0 if is_within else 1


if __name__ == "__main__":
    sys.exit(main())
