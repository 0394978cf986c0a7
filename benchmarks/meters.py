"""Meters for one process: event loop stalls, memory, and a description of the machine.

The loop iterations are timed in its selector. That costs half a microsecond for each iteration and causes no wake-ups,
so it can run while CPU time is measured. A heartbeat shows what an application would notice, but takes more CPU time
than some of the measured clients, so it has separate runs.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import selectors
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

#: Seconds between two heartbeats.
BEAT = 0.005
_STATUS = Path("/proc/self/status")
_KIB = 1024


class LoopTimer(selectors.DefaultSelector):
    """Selector that times the iterations of its event loop, from one sleep to the next.

    Attributes:
        wall: Duration of each iteration in seconds.
        cpu: CPU seconds of this thread in each iteration.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wall = array("d")
        self.cpu = array("d")
        self._woke = time.perf_counter()
        self._woke_cpu = time.thread_time()
        self._is_asleep = False

    def clear(self) -> None:
        """Discard all iterations so far, including the current one."""
        self.wall, self.cpu = array("d"), array("d")
        self._woke, self._woke_cpu = time.perf_counter(), time.thread_time()

    def finish(self) -> None:
        """Record the current iteration, if there is one."""
        if not self._is_asleep:
            self.wall.append(time.perf_counter() - self._woke)
            self.cpu.append(time.thread_time() - self._woke_cpu)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events."""
        self.finish()
        self._is_asleep = True
        try:
            return super().select(timeout)
        finally:
            self._woke = time.perf_counter()
            self._woke_cpu = time.thread_time()
            self._is_asleep = False


class Heartbeat:
    """Repeating timer that records its delays.

    Attributes:
        wall: Delay of each beat in seconds.
        cpu: CPU seconds of this thread in each delay, at most the delay.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.wall = array("d")
        self.cpu = array("d")
        self._loop = loop
        self._last = time.perf_counter()
        self._last_cpu = time.thread_time()

    def start(self) -> None:
        """Start the timer."""
        self._last, self._last_cpu = time.perf_counter(), time.thread_time()
        self._loop.call_later(BEAT, self._beat)

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        late = max(0.0, now - self._last - BEAT)
        self.wall.append(late)
        self.cpu.append(min(late, cpu - self._last_cpu))
        self._last, self._last_cpu = now, cpu
        self._loop.call_later(BEAT, self._beat)


class Stalls(msgspec.Struct, frozen=True, kw_only=True):
    """Stalls of an event loop in seconds, as wall time and CPU time.

    Wall time includes time in which other programs used the core; CPU time does not.

    Attributes:
        wall: Longest stall in wall time.
        cpu: Longest stall in CPU time.
        wall_p99: 99th percentile of the delay of a timer, in wall time.
        cpu_p99: The same in CPU time.
    """

    wall: float = 0.0
    cpu: float = 0.0
    wall_p99: float = 0.0
    cpu_p99: float = 0.0

    @classmethod
    def of_timer(cls, timer: LoopTimer, seconds: float) -> Stalls:
        """Return the stalls for timers that are due at random moments within `seconds`."""
        return cls(
            wall=max(timer.wall, default=0.0),
            cpu=max(timer.cpu, default=0.0),
            wall_p99=delay_exceeded(timer.wall, seconds, 0.01),
            cpu_p99=delay_exceeded(timer.cpu, seconds, 0.01),
        )

    @classmethod
    def of_heartbeat(cls, heartbeat: Heartbeat) -> Stalls:
        """Return the stalls that a heartbeat has recorded."""
        return cls(
            wall=max(heartbeat.wall, default=0.0),
            cpu=max(heartbeat.cpu, default=0.0),
            wall_p99=quantile(heartbeat.wall, 0.99),
            cpu_p99=quantile(heartbeat.cpu, 0.99),
        )


def delay_exceeded(lengths: Sequence[float], seconds: float, share: float) -> float:
    """Return the delay that a share of timers reach or exceed, if they are due at random moments.

    Args:
        lengths: Durations in seconds during which the loop was blocked.
        seconds: Total duration.
        share: Share of the timers, from 0 to 1.

    Returns:
        The delay in seconds. A timer that is due x seconds before the end of a stall is delayed by x.
    """
    longest = sorted(lengths, reverse=True)
    held = 0.0
    for count, length in enumerate(longest, start=1):
        held += length
        delay = (held - share * seconds) / count
        if delay > 0 and (count == len(longest) or longest[count] <= delay):
            return delay
    return 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of the values; 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Memory:
    """Memory of the process beyond that at creation of the meter."""

    def __init__(self) -> None:
        # Resets the recorded peak. Where that is not supported, the peak is that of the whole process.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._began = _read_status("VmRSS") or _peak()

    def grown(self) -> int:
        """Return by how many bytes the peak exceeds the memory at the beginning."""
        return _peak() - self._began


def _peak() -> int:
    return _read_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _read_status(name: str) -> int | None:
    """Return a size of this process in bytes; None if the system does not report it."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return next((int(kib) * _KIB for kib in found), None)


def pin(core: int | None) -> None:
    """Pin this process to one core, if the system supports it."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def choose_cores() -> tuple[int | None, int | None]:
    """Return a core for the client and one for the service; None for both if there is only one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[0], cores[-1]) if len(cores) > 1 else (None, None)


def name_processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
