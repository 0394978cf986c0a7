"""Kills a job at random moments and starts it again on the same journal, then counts; `nox -s kills` runs it.

The simulated service runs in this process, the job in others, in real time. What must hold: no key is submitted twice,
every accepted task is in the journal once and ended there, and what is uncertain is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

import acetasks
from acetasks.testing.server import AceServer

WORKER = Path(__file__).with_name("worker.py")
TOKEN = "test-token"  # of the simulated service


async def run_worker(server: AceServer, journal: Path, keys: range, options: Options, seconds: float | None) -> bool:
    """Run the job once, interrupted some seconds after its first request; return whether it came to its end."""
    requests = len(server.requests)
    arguments = [str(WORKER), server.url, TOKEN, str(journal), str(keys.start), str(keys.stop), str(options.patience)]
    # Its output is dropped: a pipe that nobody reads would stop it.
    worker = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    while seconds is not None and len(server.requests) == requests and worker.returncode is None:  # noqa: ASYNC110
        await asyncio.sleep(0.005)  # the server has no event of it
    try:
        await asyncio.wait_for(worker.wait(), seconds)
    except TimeoutError:
        if options.freeze:
            worker.send_signal(signal.SIGSTOP)
            await asyncio.sleep(options.freeze)
            worker.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.2)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.wait()
        return False
    return worker.returncode == 0


async def check(server: AceServer, journal: Path) -> dict[str, int]:
    """Compare the service's tasks with the journal."""
    made = collections.Counter(task.request["prompt"] for task in server.tasks.values())
    ids = set(server.tasks)
    noted: collections.Counter[str] = collections.Counter()
    states: collections.Counter[str] = collections.Counter()
    async with acetasks.Client(TOKEN, base_url=server.url, journal=journal) as client:
        async for entry in client.journal.tasks():
            states[entry.state] += 1
            if entry.task_id is not None:
                noted[entry.task_id] += 1
    uncertain = states["uncertain"] + states["submitting"]
    return {
        "tasks at the service": len(ids),
        "keys submitted twice": sum(count > 1 for count in made.values()),
        "tasks noted twice": sum(count > 1 for count in noted.values()),
        "tasks noted that do not exist": len(noted.keys() - ids),
        "tasks not in the journal": len(ids - noted.keys()),
        "uncertain entries": uncertain,
        "unfinished entries": states["accepted"],
        "ended entries": states["succeeded"] + states["failed"] + states["partial"],
    }


async def run(options: Options) -> tuple[dict[str, int], bool]:
    """Interrupt and restart the job, let it end, and return what is counted and whether it is right."""
    rng, tasks, kills = random.Random(options.seed), options.tasks, options.kills
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory, "tasks.db")
        async with AceServer(token=TOKEN) as server:
            server.script("luma", after=0.5, times=None)
            server.fail("luma", action="submit", hang=0.1, times=None)  # the window in which a kill leaves doubt
            for number in range(0, kills, options.workers):
                # Each run begins with other keys, so that all moments of a submission are met.
                keys = range(number * tasks // kills, tasks)
                await asyncio.gather(
                    *(run_worker(server, journal, keys, options, rng.uniform(0.0, 0.6)) for _ in range(options.workers))
                )
            ends = [run_worker(server, journal, range(tasks), options, None) for _ in range(options.workers)]
            ended = all(await asyncio.gather(*ends))
            found = await check(server, journal)
    wrong = [name for name in found if "twice" in name or "not exist" in name or name == "unfinished entries"]
    lost = found["tasks not in the journal"] > found["uncertain entries"]
    return found, ended and not lost and not any(found[name] for name in wrong)


class Options(argparse.Namespace):
    """The options of the command line."""

    tasks: int
    kills: int
    workers: int
    patience: float
    freeze: float
    seed: int


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time, on the same keys and journal")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds after which calls are cancelled")
    parser.add_argument("--freeze", type=float, default=0.0, help="seconds for which a job is stopped before its end")
    parser.add_argument("--seed", type=int, default=os.getpid())
    counts, is_right = asyncio.run(run(parser.parse_args(namespace=Options())))
    for title, value in counts.items():
        print(f"{value:6d} {title}")  # noqa: T201
    if not is_right:
        sys.exit("a task was lost or submitted twice")
