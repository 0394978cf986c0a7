"""A user's job, which is killed at any moment and started again: submits keyed tasks, and awaits them.

It prints a line when it begins to open its client, and one for each key that is done or uncertain. With `--reconcile`
it looks uncertain submissions up instead, awaits what is unfinished, and prints what it found as JSON. With `--naive`
it uses neither keys nor a journal, and writes down what is done in a file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import time
from pathlib import Path

import acetasks

#: Submissions and waits at a time.
CONCURRENCY = 40
#: Seconds after which a submission without a response is uncertain.
SUBMIT_TIMEOUT = 2.0


class Options(argparse.Namespace):
    """The options of the command line."""

    url: str
    token: str
    journal: Path
    first: int
    stop: int
    patience: float
    later: float
    reconcile: bool
    naive: bool


async def limit(call: asyncio.Task[object], seconds: float | None) -> bool:
    """Await a call, in half of the cases cancelled by a timeout and in half directly; return whether it ended."""
    if seconds is not None and random.random() < 0.5:
        asyncio.get_running_loop().call_later(seconds, call.cancel)
        seconds = None
    try:
        async with asyncio.timeout(seconds):
            await call
    except (TimeoutError, asyncio.CancelledError):
        return False
    return True


async def work(client: acetasks.Client, key: str, patience: float) -> str:
    """Run one task to its end, and return what became of it."""
    while True:
        call = asyncio.create_task(client.run("luma", {"prompt": key}, key=key))
        try:
            if await limit(call, random.uniform(0.0, patience) if patience else None):
                return "done"
        except acetasks.SubmissionUncertainError:
            return "uncertain"
        patience *= 1.2  # so that it ends


async def work_naively(client: acetasks.Client, key: str, done: Path) -> str:
    """Run one task to its end, without a key, and write down that it is done."""
    await client.run("luma", {"prompt": key})
    with done.open("a", encoding="utf-8") as file:
        file.write(f"{key}\n")
    return "done"


async def run_all(client: acetasks.Client, options: Options) -> None:
    """Run all tasks, or naively those that were not done before."""
    gate = asyncio.Semaphore(CONCURRENCY)
    done = set(options.journal.read_text("utf-8").split()) if options.naive else set()

    async def one(key: str) -> None:
        async with gate:
            how = work_naively(client, key, options.journal) if options.naive else work(client, key, options.patience)
            print(await how, key, flush=True)  # noqa: T201

    async with asyncio.TaskGroup() as group:
        for key in (f"key-{number}" for number in range(options.first, options.stop)):
            if key not in done:
                group.create_task(one(key))


async def reconcile(client: acetasks.Client) -> None:
    """Look uncertain submissions up, and await what is unfinished."""
    found = await client.reconcile()
    await client.resume(timeout=60)
    reported = {
        "adopted": [entry.key for entry in found.adopted],
        "absent": [entry.key for entry in found.absent],
        "ambiguous": [doubt.entry.key for doubt in found.ambiguous],
    }
    print(json.dumps(reported), flush=True)  # noqa: T201


async def main(options: Options) -> None:
    """Run the job."""
    policy, retry = acetasks.PollPolicy(interval=0.2), acetasks.RetryPolicy(submit_timeout=SUBMIT_TIMEOUT)
    journal = None if options.naive else options.journal
    print("opening", os.getpid(), flush=True)  # noqa: T201
    client = acetasks.Client(options.token, base_url=options.url, journal=journal, policy=policy, retry=retry)
    async with client:
        await (reconcile(client) if options.reconcile else run_all(client, options))


def parse() -> Options:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("journal", type=Path)
    parser.add_argument("--first", type=int, default=0, help="number of the first key")
    parser.add_argument("--stop", type=int, default=0, help="number of the last key, plus one")
    parser.add_argument("--patience", type=float, default=0.0, help="maximum seconds until a call is cancelled")
    parser.add_argument("--later", type=float, default=0.0, help="seconds by which the time of day is advanced")
    parser.add_argument("--reconcile", action="store_true")
    parser.add_argument("--naive", action="store_true")
    return parser.parse_args(namespace=Options())


if __name__ == "__main__":
    given = parse()
    logging.getLogger("acetasks").disabled = True  # each cancelled call is a warning
    clock = time.time
    time.time = lambda: clock() + given.later
    with contextlib.suppress(BrokenPipeError):
        asyncio.run(main(given))
