"""The worker processes of a run, each in a slot in which a new one is started when it has died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from places import Place

HERE = Path(__file__).parent
#: Where the modules of a worker are: its own, what tests share, and the examples.
MODULES = (HERE, HERE.parent, HERE.parents[1] / "examples" / "workers")
#: Seconds for a worker to start on a busy machine.
PATIENCE = 60.0


class Note(NamedTuple):
    """What a worker has noted."""

    time: float
    what: str
    worker: str
    order: str


class Fault(NamedTuple):
    """A moment at which a worker was killed, or stopped for a while."""

    time: float
    worker: str


class Fleet:
    """Worker processes.

    Args:
        engine: The engine's name.
        places: The place of each slot's workers.

    Attributes:
        died: The number of workers that have ended by themselves.
    """

    def __init__(self, engine: str, places: Sequence[Place]) -> None:
        self._engine = engine
        self._places = places
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._names: dict[int, str] = {}
        self._count = 0
        self.died = 0

    def __len__(self) -> int:
        return len(self._places)

    def name(self, slot: int) -> str:
        """Return the name of the worker in a slot."""
        return self._names[slot]

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, which may have processes of their own."""
        return [process.pid for process in self._processes.values()]

    async def start(self, slot: int) -> None:
        """Start a new worker in a slot, and wait until it is up."""
        name = self._names[slot] = f"worker-{self._count}"
        self._count += 1
        place = self._places[slot]
        command = [sys.executable, str(HERE / "worker.py"), self._engine, name, *place.to_arguments()]
        with place.log.with_suffix(".err").open("ab") as errors:
            self._processes[slot] = await asyncio.create_subprocess_exec(
                *command,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, MODULES)), "WORKER_SLOT": str(slot)},
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        async with asyncio.timeout(PATIENCE):
            while not any(note.what == "up" and note.worker == name for note in read_notes(place.log)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)  # another process writes the file

    def send(self, slot: int, number: int) -> Fault:
        """Send a signal to a worker and the processes that it has started."""
        fault = Fault(time.time(), self._names[slot])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._processes[slot].pid, number)
        return fault

    async def kill(self, slot: int, number: int = signal.SIGKILL) -> Fault:
        """End a worker, and wait until it has ended."""
        fault = self.send(slot, number)
        await self._processes[slot].wait()
        return fault

    async def revive(self) -> None:
        """Start a worker in each slot whose worker has ended by itself."""
        for slot in range(len(self)):
            if self._processes[slot].returncode is not None:
                self.died += 1
                await self.start(slot)

    async def kill_all(self) -> None:
        """Kill every worker."""
        await asyncio.gather(*(self.kill(slot) for slot in self._processes))


def read_notes(log: Path) -> list[Note]:
    """Return all notes so far."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text("utf-8").splitlines())
    return [Note(float(moment), what, worker, order) for moment, what, worker, order in lines]
