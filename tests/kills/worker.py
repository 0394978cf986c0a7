"""Submits keyed tasks and awaits them, as a user's job does; it is killed at any moment and started again.

Arguments: the base URL, the token, the journal, the first and the last key, and the maximum seconds after which a call
is cancelled and repeated (0: never). Prints each key that is done or uncertain.
"""

from __future__ import annotations

import asyncio
import random
import sys

import acetasks

#: Submissions and waits at a time.
CONCURRENCY = 40
#: Seconds after which a submission without a response is uncertain.
SUBMIT_TIMEOUT = 2.0


async def work(client: acetasks.Client, key: str, patience: float) -> str:
    """Run one task to its end, and return what became of it."""
    while True:
        try:
            async with asyncio.timeout(random.uniform(0.0, patience) if patience else None):
                await client.run("luma", {"prompt": key}, key=key)
        except acetasks.SubmissionUncertainError:
            return "uncertain"
        except TimeoutError:
            patience *= 1.2  # so that it ends
            continue
        return "done"


async def main(url: str, token: str, journal: str, keys: range, patience: float) -> None:
    """Run all tasks."""
    gate = asyncio.Semaphore(CONCURRENCY)
    policy, retry = acetasks.PollPolicy(interval=0.2), acetasks.RetryPolicy(submit_timeout=SUBMIT_TIMEOUT)
    async with acetasks.Client(token, base_url=url, journal=journal, policy=policy, retry=retry) as client:

        async def one(number: int) -> None:
            async with gate:
                print(await work(client, f"key-{number}", patience), number, flush=True)  # noqa: T201

        async with asyncio.TaskGroup() as group:
            for number in keys:
                group.create_task(one(number))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(main(*arguments[:3], range(int(arguments[3]), int(arguments[4])), float(arguments[5])))
