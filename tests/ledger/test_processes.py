"""Real processes on one file, which are killed: nothing is submitted twice, and every id is in the ledger."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from ledger_support import EPOCH, REQUEST

from acetasks import SubmissionUncertainError
from acetasks._ledger import EntryState, Ledger, SQLiteStore
from acetasks.testing import clock as virtual

if TYPE_CHECKING:
    from pathlib import Path

    from acetasks._ledger import Entry

KEYS, WORKERS, ROUNDS = 120, 2, 2

#: Submits keys to a service that writes down what it charges for. Arguments: the ledger, the service's list, the keys.
WORKER = """
import asyncio, os, sys, time
from acetasks import SubmissionUncertainError, Task, TaskState
from acetasks._ledger import EntryState, Ledger, SQLiteStore

charged = os.open(sys.argv[2], os.O_CREAT | os.O_APPEND | os.O_WRONLY)

async def submit(ledger, gate, key):
    async with gate:
        try:
            entry = await ledger.begin(key, provider="luma", path="/luma/videos", request=b"{}")
        except SubmissionUncertainError:
            print("uncertain", key, flush=True)
            return
        if entry.state is EntryState.SUBMITTING:
            if not ledger.may_send(entry) and (entry := await ledger.restamp(entry)) is None:
                return
            os.write(charged, f"{key}\\n".encode())
            await asyncio.sleep(0.005)
            entry = await ledger.accept(entry, Task(provider="luma", id=f"{key}-task", state=TaskState.PENDING))
        ledger.finish(Task(provider="luma", id=entry.task_id, state=TaskState.SUCCEEDED))
        print("done", key, flush=True)

async def main():
    ledger = Ledger(SQLiteStore(sys.argv[1]), clock=time.time, longest_post=0.5, send_within=0.5)
    await ledger.open()
    gate = asyncio.Semaphore(8)
    await asyncio.gather(*(submit(ledger, gate, f"key-{index}") for index in range(int(sys.argv[3]))))
    await ledger.close()

asyncio.run(main())
"""


def start(folder: Path, script: str = WORKER) -> subprocess.Popen[str]:
    """Start a worker."""
    command = [sys.executable, "-c", script, str(folder / "tasks.db"), str(folder / "charged"), str(KEYS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_after(worker: subprocess.Popen[str], lines: int) -> None:
    """Kill a worker after some lines of its output, in the midst of what follows."""
    assert worker.stdout is not None
    for _ in range(lines):
        worker.stdout.readline()
    worker.send_signal(signal.SIGKILL)
    worker.stdout.close()
    worker.wait()


def read_entries(path: Path) -> list[Entry]:
    """Return all entries of a file, a day later."""

    async def main() -> list[Entry]:
        ledger = Ledger(SQLiteStore(path), clock=lambda: EPOCH + 86400, longest_post=0.5, send_within=0.5)
        await ledger.open()
        try:
            return [entry async for entry in ledger.tasks()]
        finally:
            await ledger.close()

    return virtual.run(main())


def test_killed_workers_submit_each_key_once(tmp_path: Path) -> None:
    """Two workers with the same keys are killed again and again; no key is charged for twice, and no id is lost."""
    rng = random.Random(17)
    for _ in range(ROUNDS):
        workers = [start(tmp_path) for _ in range(WORKERS)]
        killers = [
            threading.Thread(target=kill_after, args=(worker, rng.randrange(1, KEYS // 3))) for worker in workers
        ]
        for killer in killers:
            killer.start()
        for killer in killers:
            killer.join()
    last = start(tmp_path)
    output, _ = last.communicate()
    assert last.returncode == 0

    charged = collections.Counter((tmp_path / "charged").read_text("utf-8").split())
    entries = {entry.key: entry for entry in read_entries(tmp_path / "tasks.db")}
    uncertain = {key for key, entry in entries.items() if entry.state is EntryState.UNCERTAIN}
    succeeded = {key for key, entry in entries.items() if entry.state is EntryState.SUCCEEDED}
    assert max(charged.values()) == 1
    assert uncertain | succeeded == {f"key-{index}" for index in range(KEYS)}
    assert succeeded <= set(charged)
    assert {entries[key].task_id for key in succeeded} == {f"{key}-task" for key in succeeded}
    assert uncertain == {line.split()[1] for line in output.splitlines() if line.startswith("uncertain")}


def test_killed_between_the_intent_and_the_id(tmp_path: Path) -> None:
    """The intent is in the file: its key is uncertain after the bound, and is not submitted again."""
    script = WORKER.replace("await asyncio.sleep(0.005)", "print('sent', flush=True); await asyncio.sleep(600)")
    worker = start(tmp_path, script)
    kill_after(worker, 1)
    (first, *_) = (tmp_path / "charged").read_text("utf-8").split()

    async def main() -> None:
        stamp = 0.0
        store = SQLiteStore(tmp_path / "tasks.db")
        ledger = Ledger(store, clock=lambda: stamp, longest_post=0.5, send_within=0.5)
        await ledger.open()
        found = await ledger.find(first)
        assert found is not None
        assert (found.state, found.task_id, found.request) == (EntryState.SUBMITTING, None, b"{}")
        stamp = found.sent_at + 1
        with pytest.raises(SubmissionUncertainError, match=f"key '{first}' was submitted 1 s ago"):
            await ledger.begin(first, provider="luma", path="/luma/videos", request=b"{}")
        with pytest.raises(ValueError, match="another payload"):
            await ledger.begin(first, provider="luma", path="/luma/videos", request=REQUEST)
        await ledger.close()

    virtual.run(main())
