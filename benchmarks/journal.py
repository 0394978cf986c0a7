"""What a journal costs a client: processor time of submitting and awaiting 1,000 tasks with one, as a ratio.

Run it as `python benchmarks/journal.py`. The simulated service runs in another process; the runs with and without a
journal alternate, and the best of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

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


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """Run the service in another process, and yield its URL."""
    command = [sys.executable, "-c", _SERVICE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        if service.stdout is None or service.stdin is None:
            raise RuntimeError("the service has no pipes")
        yield service.stdout.readline().strip()
        service.stdin.close()


async def run(url: str, count: int, journal: Path | None) -> tuple[float, float]:
    """Submit and await tasks; return the seconds of processor time, of all threads, and of the longest stall."""
    gate, longest = asyncio.Semaphore(_GATE), 0.0

    async def one(client: acetasks.Client, number: int) -> None:
        async with gate:
            handle = await client.submit("luma", {"prompt": f"a lighthouse {number}"})
        await handle.wait()

    async def watch() -> None:
        nonlocal longest
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            longest = max(longest, time.perf_counter() - start - 0.001)

    policy = acetasks.PollPolicy(interval=2)
    async with acetasks.Client("test-token", base_url=url, policy=policy, journal=journal) as client:
        await one(client, -1)  # what is imported and opened at first use is not counted
        watching = asyncio.create_task(watch())
        started_at = time.process_time()
        await asyncio.gather(*(one(client, number) for number in range(count)))
        if journal is not None:
            await client.journal.flush()
        seconds = time.process_time() - started_at
        watching.cancel()
    return seconds, longest


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with serve() as url, tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            for has_journal in (False, True):
                journal = Path(folder, f"{number}.db") if has_journal else None
                found[has_journal].append(asyncio.run(run(url, options.tasks, journal)))
    plain, kept = (min(seconds for seconds, _ in found[has_journal]) for has_journal in (False, True))
    print(f"{options.tasks} tasks submitted and awaited, best of {options.runs}, ms of processor time each:")
    print(f"  without a journal {1000 * plain / options.tasks:.3f}, with one {1000 * kept / options.tasks:.3f}")
    print(f"  ratio {kept / plain:.2f}")
    stalls = [1000 * min(stall for _, stall in found[has_journal]) for has_journal in (False, True)]
    print(f"  longest stall of the loop, best run: {stalls[0]:.1f} ms without, {stalls[1]:.1f} ms with")


if __name__ == "__main__":
    main()
