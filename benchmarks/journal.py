"""What a journal costs a client: processor time and stalls of submitting and awaiting 1,000 tasks with one.

Run it as `python benchmarks/journal.py`. The simulated service runs in another process; the runs with and without a
journal alternate, and the best of each counts. A stall is the time by which a timer of a millisecond is late; on a busy
machine most of it is other programs' work, so the processor time that the loop's own thread has used meanwhile is
printed too: that is by how much the client itself has held the loop up.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import acetasks

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Starts the service, prints its URL, and serves until its input ends.
_SERVICE = """
import asyncio, sys
from acetasks.testing.server import AceServer

async def main():
    async with AceServer(token="test-token") as server:
        server.script("luma", after=1.0, times=None)
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
#: Submissions at a time.
_GATE = 50
#: Seconds for which the journal must not hold the loop up.
_LIMIT = 0.01


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run the service in another process, and yield its URL."""
    command = [sys.executable, "-c", _SERVICE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        if service.stdout is None or service.stdin is None:
            raise RuntimeError("the service has no pipes")
        yield service.stdout.readline().strip()
        service.stdin.close()


class Stalls(NamedTuple):
    """Seconds by which a timer was late, and of the loop's own work meanwhile."""

    late: list[float]
    busy: list[float]


async def watch(stalls: Stalls) -> None:
    """Watch the loop until this is cancelled."""
    while True:
        start, used = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.001)
        stalls.late.append(time.perf_counter() - start - 0.001)
        stalls.busy.append(time.thread_time() - used)


async def run(url: str, count: int, journal: Path | None, stalls: Stalls | None = None) -> float:
    """Submit and await tasks, and return the seconds of processor time, of all threads."""
    gate = asyncio.Semaphore(_GATE)

    async def one(client: acetasks.Client, number: int) -> None:
        async with gate:
            handle = await client.submit("luma", {"prompt": f"a lighthouse {number}"})
        await handle.wait()

    policy = acetasks.PollPolicy(interval=2)
    async with acetasks.Client("test-token", base_url=url, policy=policy, journal=journal) as client:
        await one(client, -1)  # what is imported and opened at first use is not counted
        watching = None if stalls is None else asyncio.create_task(watch(stalls))
        started_at = time.process_time()
        await asyncio.gather(*(one(client, number) for number in range(count)))
        if journal is not None:
            await client.journal.flush()
        seconds = time.process_time() - started_at
        if watching is not None:
            watching.cancel()
    return seconds


def describe(seconds: list[float]) -> str:
    """Return the distribution of stalls."""
    cuts = statistics.quantiles(seconds, n=1000)
    over = sum(stall > _LIMIT for stall in seconds)
    p99, p999, longest = (1000 * value for value in (cuts[989], cuts[998], max(seconds)))
    return f"{p99:6.1f} {p999:8.1f} {longest:8.1f} {over:6d} of {len(seconds)}"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    found: dict[bool, list[float]] = {False: [], True: []}
    stalls = {False: Stalls([], []), True: Stalls([], [])}
    with serve() as url, tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            for has_journal in (False, True):
                journal = Path(folder, f"{number}.db") if has_journal else None
                found[has_journal].append(asyncio.run(run(url, options.tasks, journal)))
            for has_journal in (False, True):  # apart: to watch the loop costs more than a journal
                journal = Path(folder, f"{number}-watched.db") if has_journal else None
                asyncio.run(run(url, options.tasks, journal, stalls[has_journal]))
    plain, kept = min(found[False]), min(found[True])
    print(f"{options.tasks} tasks submitted and awaited, best of {options.runs}, ms of processor time each:")
    print(f"  without a journal {1000 * plain / options.tasks:.3f}, with one {1000 * kept / options.tasks:.3f}")
    print(f"  ratio {kept / plain:.2f}")
    title = f"stalls of the loop in all {options.runs} runs, in ms"
    print(f"{title:40}{'p99':>6}{'p99.9':>9}{'max':>9}   over {1000 * _LIMIT:.0f} ms")
    for has_journal, name in ((False, "without a journal"), (True, "with one")):
        print(f"  {name:18} late               {describe(stalls[has_journal].late)}")
        print(f"  {'':18} work of the loop   {describe(stalls[has_journal].busy)}")


if __name__ == "__main__":
    main()
