"""Client process: runs one competitor with its own memory, imports and garbage collector.

The first argument is the job. The process prints `ready` once everything is imported and set up, reads the start time
from stdin, and prints its figures at the end. At the time limit the run is stopped.
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
from competitors import Competitor, Setup
from meters import Heartbeat, LoopTimer, Memory, Stalls, pin, quantile
from plan import PROVIDER, TOKEN, Load, plan_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping


class Measure(enum.StrEnum):
    """Kind of measurement."""

    #: CPU time, requests, delay and memory.
    COST = "cost"
    #: The same for tasks with the durations of the documented samples.
    LONG = "long"
    #: Event loop stalls, measured with a heartbeat.
    STALL = "stall"
    #: CPU time while no task ends.
    GROWTH = "growth"
    #: Memory allocated by Python while no task ends.
    MEMORY = "memory"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of the client process. Times are in seconds from the start.

    Attributes:
        competitor: Name of the competitor's module.
        measure: The measurement.
        load: The awaited tasks.
        url: URL of the service.
        interval: Seconds between two polls of a task.
        limit: Time at which the run is stopped.
        since: Time from which growth is measured.
        core: The CPU core to run on; None for any.
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
    """Delays from the ends of tasks until their waiters continue, in seconds.

    Attributes:
        p50: Median.
        p95: 95th percentile.
        p99: 99th percentile.
    """

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one run.

    Attributes:
        finished: Number of tasks that were awaited to their end.
        seconds: Time from the start to the last end, or to the limit.
        cpu: CPU seconds of the process, without setup and imports.
        lateness: Delays of all ended tasks; for tasks that were not yet reported, the delay so far.
        stalls: Stalls of the event loop.
        peak_memory: Peak memory in bytes beyond that after setup.
        allocated: Bytes allocated by Python at the end beyond those after setup; 0 if not traced.
    """

    finished: int
    seconds: float
    cpu: float
    lateness: Lateness
    stalls: Stalls
    peak_memory: int
    allocated: int = 0


class Recorder:
    """Measures one run from its start to its end or limit."""

    def __init__(self, job: Job, timer: LoopTimer, ends: Mapping[str, float]) -> None:
        """Start to measure.

        Args:
            job: The parameters.
            timer: Times the iterations of the loop.
            ends: End of each task on the monotonic clock.
        """
        self._job = job
        self._timer = timer
        self._ends = ends
        self._lateness = array("d")
        self._waiting = dict.fromkeys(ends)
        self._heartbeat = Heartbeat(asyncio.get_running_loop())
        gc.collect()
        # Modules and the measuring code are left out of later garbage collections.
        gc.freeze()
        self._memory = Memory()
        if job.measure is Measure.MEMORY:
            tracemalloc.start()
        elif job.measure is Measure.STALL:
            self._heartbeat.start()
        timer.clear()
        self._began = time.monotonic()
        self._cpu = time.process_time()

    def finished(self, task_id: str) -> None:
        """Record a task that was awaited to its end."""
        self._lateness.append(time.monotonic() - self._ends[task_id])
        del self._waiting[task_id]

    def restart(self) -> None:
        """Restart the measurement of CPU time."""
        self._timer.clear()
        self._began, self._cpu = time.monotonic(), time.process_time()

    def stop(self) -> NoReturn:
        """Print the figures and exit without cleanup."""
        now, cpu = time.monotonic(), time.process_time() - self._cpu
        self._timer.finish()
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
            stalls=Stalls.of_heartbeat(self._heartbeat)
            if is_stall
            else Stalls.of_timer(self._timer, now - self._began),
            peak_memory=self._memory.grown(),
            allocated=allocated,
        )
        sys.stdout.buffer.write(msgspec.json.encode(figures) + b"\n")
        sys.stdout.buffer.flush()
        os._exit(0)


async def run(job: Job, competitor: Competitor, timer: LoopTimer) -> None:
    """Run a competitor."""
    planned = plan_tasks(job.load)
    setup = Setup(job.url, TOKEN, PROVIDER, [task.id for task in planned], job.interval)
    async with competitor.opened(setup) as follow:
        sys.stdout.buffer.write(b"ready\n")
        sys.stdout.buffer.flush()
        start = float(sys.stdin.readline())
        ends = {task.id: start + task.after for task in planned}
        time.sleep(max(0.0, start - time.monotonic()))  # noqa: ASYNC251  # nothing else has to run
        recorder = Recorder(job, timer, ends)
        # A signal arrives even if the event loop is blocked.
        signal.signal(signal.SIGALRM, lambda *_: recorder.stop())
        signal.setitimer(signal.ITIMER_REAL, start + job.limit - time.monotonic())
        if job.measure is Measure.GROWTH:
            asyncio.get_running_loop().call_later(job.since, recorder.restart)
        await follow(recorder.finished)
        recorder.stop()


def main() -> None:
    """Run the client process."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    pin(job.core)
    try:
        competitor = cast("Competitor", importlib.import_module(f"competitors.{job.competitor}"))
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed")
        return
    timer = LoopTimer()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(timer)) as runner:
        runner.run(run(job, competitor, timer))


if __name__ == "__main__":
    main()
