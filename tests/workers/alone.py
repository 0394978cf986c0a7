"""acetasks without an engine, beside which `measure_workers.py` measures the examples: nothing is written down.

It is given the number of tasks, and the seconds between two polls, 0 for the provider's default. It prints a line when
its client is open, begins when it reads one, and prints another when all tasks have ended.
"""

from __future__ import annotations

import asyncio
import sys

import acetasks

#: Submissions at a time: each has a connection, whose memory would count, too.
SUBMISSIONS = 50


async def run(client: acetasks.Client, gate: asyncio.Semaphore, number: int) -> None:
    """Submit a task when it is its turn, and await it."""
    async with gate:
        handle = await client.submit("luma", {"prompt": f"order-{number}"})
    await handle.wait()


async def main(count: int, interval: float) -> None:
    """Submit all tasks, and await them all at once."""
    gate = asyncio.Semaphore(SUBMISSIONS)
    async with acetasks.Client(policy=acetasks.PollPolicy(interval=interval or None)) as client:
        print("up", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(run(client, gate, number) for number in range(count)))
        print("done", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
