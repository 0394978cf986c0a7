"""Kills a job at random moments and starts it again on the same journal, then counts; `nox -s kills` runs it.

The simulated service runs in this process, the job in others, in real time. After the last kill the job runs to its
end, and one more process reconciles. What must hold then: no key was submitted twice; every task that the service has
made is in the journal once, with its end, which was written once; and every other key was reported as uncertain.

`--naive` runs a job without keys and a journal, which must be found to pay twice: otherwise the runs prove nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import acetasks
from acetasks.testing.server import AceServer

WORKER = Path(__file__).with_name("worker.py")
TOKEN = "test-token"  # of the simulated service
#: Seconds of a task, and between its acceptance and the response that says so: a kill in between leaves a doubt.
TASK_SECONDS, RESPONSE_SECONDS = 0.5, 0.1
#: Maximum seconds from the first request of a job to its kill, and from the opening of its client, for every fifth.
AFTER_REQUEST, AFTER_OPENING = 0.6, 0.15
#: Seconds for which a job that was stopped goes on before it is killed.
AFTER_FREEZE = 1.5
#: Seconds by which the clock of the last runs is ahead: more than what is uncertain is waited for, and less than the
#: difference of clocks that `reconcile` allows. The history has settled when that is called.
LATER, SETTLED = 60.0, 3600.0
#: Number of keys of a run for each key by which the next one begins later.
OVERLAP = 30

#: Notes each end that is written, so that a second one for the same task is seen.
AUDIT = """
CREATE TABLE audit (task_id TEXT);
INSERT INTO audit SELECT task_id FROM entries WHERE ended_at IS NOT NULL AND task_id IS NOT NULL;
CREATE TRIGGER audit_ends AFTER UPDATE ON entries WHEN new.ended_at IS NOT NULL AND new.task_id IS NOT NULL
AND NOT (old.ended_at IS new.ended_at AND old.state IS new.state AND old.record IS new.record)
BEGIN INSERT INTO audit VALUES (new.task_id); END;
"""


class Options(argparse.Namespace):
    """The options of the command line."""

    tasks: int
    kills: int
    workers: int
    patience: float
    freeze: float
    seed: int
    naive: bool


class Kill(NamedTuple):
    """The moment at which a job is killed.

    Attributes:
        seconds: Seconds after the moment from which they count.
        is_early: Whether they count from the opening of the client, or from its first request.
        freeze: Seconds for which the process is stopped before that.
    """

    seconds: float
    is_early: bool
    freeze: float


class Run(NamedTuple):
    """The end of a job: its exit code, and what it has printed."""

    code: int | None
    lines: list[str]


async def run_worker(server: AceServer, journal: Path, kill: Kill | None, *flags: object) -> Run:
    """Run the job once, until it is killed or at its end."""
    requests = len(server.requests)
    worker = await asyncio.create_subprocess_exec(
        *map(str, (sys.executable, WORKER, server.url, TOKEN, journal, *flags)), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    lines = [(await worker.stdout.readline()).decode()]
    reading = asyncio.create_task(worker.stdout.read())
    if kill is not None:
        while not kill.is_early and len(server.requests) == requests and worker.returncode is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)  # the server has no event of it
        await asyncio.wait([reading], timeout=kill.seconds)
        with contextlib.suppress(ProcessLookupError):
            if kill.freeze:
                worker.send_signal(signal.SIGSTOP)
                await asyncio.sleep(kill.freeze)
                worker.send_signal(signal.SIGCONT)
                await asyncio.sleep(AFTER_FREEZE)
            worker.kill()
    lines += (await reading).decode().splitlines()
    return Run(await worker.wait(), lines)


async def interrupt(server: AceServer, journal: Path, options: Options, rng: random.Random) -> None:
    """Start the job and kill it, again and again; each run begins with later keys, so that all moments are met."""
    flags = ["--naive"] if options.naive else ["--patience", options.patience]
    for number in range(0, options.kills, options.workers):
        first = number * options.tasks // options.kills
        # While one process is stopped the others would end all keys, and leave none for the next round.
        rounds = options.workers if options.freeze else OVERLAP
        stop = min(options.tasks, first + max(rounds * options.tasks // options.kills, rounds))
        kills = [
            Kill(rng.uniform(0.0, AFTER_OPENING if is_early else AFTER_REQUEST), is_early, 0.0)
            for is_early in (rng.random() < 0.2 for _ in range(options.workers))
        ]
        if options.freeze:
            # One is stopped, and the others go on meanwhile.
            kills = [kill._replace(seconds=options.freeze, is_early=False) for kill in kills]
            kills[0] = Kill(rng.uniform(0.0, AFTER_REQUEST), is_early=False, freeze=options.freeze)
        await asyncio.gather(
            *(run_worker(server, journal, kill, "--first", first, "--stop", stop, *flags) for kill in kills)
        )
        if number == 0 and not options.naive:
            await add_audit(server, journal)


async def add_audit(server: AceServer, journal: Path) -> None:
    """Let the journal note every end that is written to it."""
    async with acetasks.Client(TOKEN, base_url=server.url, journal=journal):
        pass  # the first run may have been killed before the tables were created
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        connection.executescript(AUDIT)


async def find_entries(server: AceServer, journal: Path) -> list[acetasks.Entry]:
    """Return all entries of the journal."""
    async with acetasks.Client(TOKEN, base_url=server.url, journal=journal) as client:
        return [entry async for entry in client.journal.tasks()]


async def settle(server: AceServer, journal: Path, options: Options) -> tuple[dict[str, int], dict[str, int]]:
    """Let the job come to its end, reconcile, and return what was counted: figures, and faults."""
    flags = ("--stop", options.tasks, "--patience", options.patience, "--later", LATER)
    ends = await asyncio.gather(*(run_worker(server, journal, None, *flags) for _ in range(options.workers)))
    states = collections.Counter(entry.state for entry in await find_entries(server, journal))
    reported = {line.split()[1] for end in ends for line in end.lines if line.startswith("uncertain")}
    last = await run_worker(server, journal, None, "--reconcile", "--later", SETTLED)
    found: dict[str, list[str]] = json.loads(last.lines[-1]) if last.code == 0 else collections.defaultdict(list)
    entries = await find_entries(server, journal)
    with contextlib.closing(sqlite3.connect(journal)) as connection:
        written = collections.Counter(task_id for (task_id,) in connection.execute("SELECT task_id FROM audit"))

    made = collections.Counter(task.request["prompt"] for task in server.tasks.values())
    noted = collections.Counter(entry.task_id for entry in entries if entry.task_id is not None)
    ended = {entry.task_id for entry in entries if entry.ended_at is not None and entry.task_id is not None}
    uncertain = {entry.key for entry in entries if entry.task_id is None}
    figures = {
        "tasks at the service": len(server.tasks),
        "of them ended in the journal": len(ended),
        "submissions left uncertain by the kills": states["uncertain"] + states["submitting"],
        "of them adopted": len(found["adopted"]),
        "of them reported as absent": len(found["absent"]),
        "of them reported as ambiguous": len(found["ambiguous"]),
    }
    faults = {
        "last runs that failed": sum(end.code != 0 for end in (*ends, last)),
        "keys submitted twice": sum(count > 1 for count in made.values()),
        "tasks not in the journal": len(server.tasks.keys() - noted.keys()),
        "tasks in it twice": sum(count > 1 for count in noted.values()),
        "tasks in it that do not exist": len(noted.keys() - server.tasks.keys()),
        "tasks whose end was not written exactly once": sum(
            written[task_id] != 1 or task_id not in ended for task_id in server.tasks
        ),
        "keys neither with a task nor reported": len(
            {f"key-{number}" for number in range(options.tasks)} - set(made) - {*found["absent"], *found["ambiguous"]}
        ),
        "keys reported as absent that have a task": len(made.keys() & set(found["absent"])),
        "uncertain keys of which the job was not told": len((uncertain | set(found["adopted"])) - reported),
    }
    return figures, faults


async def run(options: Options) -> tuple[dict[str, int], dict[str, int]]:
    """Interrupt and restart the job, let it end, and return figures and faults."""
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory, "done.txt" if options.naive else "tasks.db")
        async with AceServer(token=TOKEN) as server:
            server.script("luma", after=TASK_SECONDS, times=None)
            server.fail("luma", action="submit", hang=RESPONSE_SECONDS, times=None)
            if not options.naive:
                await interrupt(server, journal, options, random.Random(options.seed))
                return await settle(server, journal, options)
            await asyncio.to_thread(journal.touch)
            await interrupt(server, journal, options, random.Random(options.seed))
            await run_worker(server, journal, None, "--stop", options.tasks, "--naive")
            made = collections.Counter(task.request["prompt"] for task in server.tasks.values())
            twice = sum(count > 1 for count in made.values())
            return {"tasks at the service": len(server.tasks)}, {"keys submitted twice": twice}


def main() -> None:
    """Run it, and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1, help="processes at a time, on the same keys and journal")
    parser.add_argument("--patience", type=float, default=0.0, help="seconds after which calls are cancelled")
    parser.add_argument("--freeze", type=float, default=0.0, help="seconds for which a job is stopped before its end")
    parser.add_argument("--seed", type=int, default=os.getpid(), help="of the moments of the kills")
    parser.add_argument("--naive", action="store_true", help="a job without keys and a journal, which must pay twice")
    options = parser.parse_args(namespace=Options())
    figures, faults = asyncio.run(run(options))
    for title, value in (figures | faults).items():
        print(f"{value:6d} {title}")  # noqa: T201
    if options.naive and not any(faults.values()):
        sys.exit("a job without a journal paid for nothing twice: these runs would not find a fault")
    if not options.naive and any(faults.values()):
        sys.exit("WRONG: a task was lost, or paid for twice, or a doubt was not reported")


if __name__ == "__main__":
    main()
