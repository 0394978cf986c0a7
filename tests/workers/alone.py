"""acetasks without an engine, beside which `measure_workers.py` measures the examples: nothing is written down.

It is given the number of tasks. It prints a line when its client is open, begins when it reads one, and prints another
when all tasks have ended.
"""

from __future__ import annotations

import asyncio
import sys

import acetasks


async def main(count: int) -> None:
    """Submit and await all tasks at once."""
    async with acetasks.Client() as client:
        print("up", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(client.run("luma", {"prompt": f"order-{number}"}) for number in range(count)))
        print("done", flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
