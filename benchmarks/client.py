"""One competitor in a process of its own: its memory, its imports and its garbage are nobody else's.

What it is to do stands in its first argument. It says `ready` when everything is imported and set up, is told on
stdin when the tasks' time begins, and prints its figures. At its limit it is stopped wherever it is.
"""

from __future__ import annotations

import asyncio
import enum
import gc
import importlib
import os
import signal
import sys
import time
import tracemalloc
from array import array
from typing import TYPE_CHECKING, NoReturn, cast

import msgspec
from competitors import Competitor, Stage
from meters import Heart, Memory, Stalls, Turns, pin, quantile
from plan import PROVIDER, TOKEN, Load, plan_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping


class Measure(enum.StrEnum):
    """What a run is for."""

    #: All that is measured without disturbing it.
    COST = "cost"
    #: The same, of tasks that take as long as the documents show.
    LONG = "long"
    #: What a heartbeat in the same loop feels.
    STALL = "stall"
    #: Processor time while nothing ends.
    GROWTH = "growth"
    #: What Python allocates while nothing ends.
    MEMORY = "memory"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the client is started with. Times are in seconds from the start.

    Attributes:
        competitor: The name of its module.
        measure: What the run is for.
        load: What it awaits.
        url: Where the service is.
        interval: Seconds between two looks at a task.
        limit: When it is stopped.
        since: From when on the growth is measured.
        core: The processor core to run on; None for any.
    """

    competitor: str
    measure: Measure
    load: Load
    url: str
    interval: float
    limit: float
    since: float = 0.0
    core: int | None = None


class Lateness(msgspec.Struct, frozen=True):
    """How long after the ends of the tasks their waiters went on, in seconds.

    Attributes:
        p50: The median.
        p95: What 95 of 100 did not exceed.
        p99: What 99 of 100 did not exceed.
    """

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has shown.

    Attributes:
        finished: Tasks that were awaited to their end.
        seconds: From the start to the last end, or to the limit.
        cpu: Seconds of processor time of the process, set-up and imports not included.
        lateness: Of all tasks that had ended; of those whose waiters were still waiting, what it was by then.
        stalls: Of its event loop.
        peak_memory: Bytes of memory that the process took beyond what it had when it was set up.
        allocated: Bytes that Python had allocated at the end, beyond what it had when it was set up; 0 if not traced.
    """

    finished: int
    seconds: float
    cpu: float
    lateness: Lateness
    stalls: Stalls
    peak_memory: int
    allocated: int = 0


class Course:
    """One run, from the start to its end or limit."""

    def __init__(self, job: Job, turns: Turns, ends: Mapping[str, float]) -> None:
        """Begin to measure.

        Args:
            job: What is measured.
            turns: The turns of the loop.
            ends: When each task ends, on the monotonic clock.
        """
        self._job = job
        self._turns = turns
        self._ends = ends
        self._lateness = array("d")
        self._waiting = dict.fromkeys(ends)
        self._heart = Heart(asyncio.get_running_loop())
        gc.collect()
        # Modules and the measuring itself are not for the garbage collector to go through again, at anybody's cost.
        gc.freeze()
        self._memory = Memory()
        if job.measure is Measure.MEMORY:
            tracemalloc.start()
        elif job.measure is Measure.STALL:
            self._heart.start()
        turns.clear()
        self._began = time.monotonic()
        self._cpu = time.process_time()

    def finished(self, task_id: str) -> None:
        """Take note of a task that was awaited to its end."""
        self._lateness.append(time.monotonic() - self._ends[task_id])
        del self._waiting[task_id]

    def restart(self) -> None:
        """Measure processor time from here on."""
        self._turns.clear()
        self._began, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> NoReturn:
        """Print the figures, and end the process without tidying up."""
        now, cpu = time.monotonic(), time.process_time() - self._cpu
        self._turns.finish()
        allocated = 0
        if tracemalloc.is_tracing():
            gc.collect()
            allocated = tracemalloc.get_traced_memory()[0]
        overdue = [now - end for end in map(self._ends.__getitem__, self._waiting) if end < now]
        lateness = [*self._lateness, *overdue]
        is_stall = self._job.measure is Measure.STALL
        figures = Figures(
            finished=len(self._lateness),
            seconds=now - self._began,
            cpu=cpu,
            lateness=Lateness(*(quantile(lateness, share) for share in (0.5, 0.95, 0.99))),
            stalls=Stalls.of_heart(self._heart) if is_stall else Stalls.of_turns(self._turns, now - self._began),
            peak_memory=self._memory.grown(),
            allocated=allocated,
        )
        sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
        sys.stdout.buffer.flush()
        os._exit(0)


async def run(job: Job, competitor: Competitor, turns: Turns) -> None:
    """Run a competitor over a load."""
    planned = plan_tasks(job.load)
    stage = Stage(job.url, TOKEN, PROVIDER, [task.id for task in planned], job.interval)
    async with competitor.opened(stage) as follow:
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.buffer.flush()
        start = float(sys.stdin.readline())
        ends = {task.id: start + task.after for task in planned}
        time.sleep(max(0.0, start - time.monotonic()))  # noqa: ASYNC251  # nothing else is to run
        course = Course(job, turns, ends)
        # A signal comes through even where the loop is held for good.
        signal.signal(signal.SIGALRM, lambda *_: course.stop())
        signal.setitimer(signal.ITIMER_REAL, start + job.limit - time.monotonic())
        if job.measure is Measure.GROWTH:
            asyncio.get_running_loop().call_later(job.since, course.restart)
        await follow(course.finished)
        course.stop()


def main() -> None:
    """Be the client."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    pin(job.core)
    try:
        competitor = cast("Competitor", importlib.import_module(f"competitors.{job.competitor}"))
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed")
        return
    turns = Turns()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(turns)) as runner:
        runner.run(run(job, competitor, turns))


if __name__ == "__main__":
    main()
