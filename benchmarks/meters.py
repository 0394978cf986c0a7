"""What is measured in a process: how long its event loop is held, how much memory it takes, and on what machine.

The turns of the loop are timed where it goes to sleep and where it wakes. That costs half a microsecond a turn and
wakes nobody, so that it can run while processor time is measured; a heartbeat, which is what an application would
feel, takes more time than some of what is measured here, and so has a run of its own.
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

#: Seconds from one beat of the heart to the next.
BEAT = 0.005
_STATUS = Path("/proc/self/status")
_KIB = 1024


class Turns(selectors.DefaultSelector):
    """A selector that times the turns of its loop: from one sleep to the next, in which nothing else can happen.

    Attributes:
        wall: The length of each turn, in seconds.
        cpu: The processor time of each, in seconds of this thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self.wall = array("d")
        self.cpu = array("d")
        self._woke = time.perf_counter()
        self._woke_cpu = time.thread_time()
        self._is_asleep = False

    def clear(self) -> None:
        """Forget every turn so far, the one under way included."""
        self.wall, self.cpu = array("d"), array("d")
        self._woke, self._woke_cpu = time.perf_counter(), time.thread_time()

    def finish(self) -> None:
        """Take the turn that is under way for ended, if there is one."""
        if not self._is_asleep:
            self.wall.append(time.perf_counter() - self._woke)
            self.cpu.append(time.thread_time() - self._woke_cpu)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for something to happen."""
        self.finish()
        self._is_asleep = True
        try:
            return super().select(timeout)
        finally:
            self._woke = time.perf_counter()
            self._woke_cpu = time.thread_time()
            self._is_asleep = False


class Heart:
    """A timer that beats in a loop, and notes the gaps between its beats.

    Attributes:
        wall: By how much each gap was longer than it should, in seconds.
        cpu: How much of that may have been processor time of this thread, in seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.wall = array("d")
        self.cpu = array("d")
        self._loop = loop
        self._last = time.perf_counter()
        self._last_cpu = time.thread_time()

    def start(self) -> None:
        """Begin to beat."""
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
    """How long a loop was held, in seconds, by the clock and in processor time.

    The clock also counts what other programs took from the core meanwhile; processor time does not.

    Attributes:
        wall: The longest, by the clock.
        cpu: The longest, in processor time.
        wall_p99: What 99 of 100 timers find at most, by the clock.
        cpu_p99: Likewise, in processor time.
    """

    wall: float = 0.0
    cpu: float = 0.0
    wall_p99: float = 0.0
    cpu_p99: float = 0.0

    @classmethod
    def of_turns(cls, turns: Turns, seconds: float) -> Stalls:
        """Tell how a timer fares among the turns of a loop, wherever in so many seconds it is due."""
        return cls(
            wall=max(turns.wall, default=0.0),
            cpu=max(turns.cpu, default=0.0),
            wall_p99=delay_exceeded(turns.wall, seconds, 0.01),
            cpu_p99=delay_exceeded(turns.cpu, seconds, 0.01),
        )

    @classmethod
    def of_heart(cls, heart: Heart) -> Stalls:
        """Tell how a heart has fared."""
        return cls(
            wall=max(heart.wall, default=0.0),
            cpu=max(heart.cpu, default=0.0),
            wall_p99=quantile(heart.wall, 0.99),
            cpu_p99=quantile(heart.cpu, 0.99),
        )


def delay_exceeded(lengths: Sequence[float], seconds: float, share: float) -> float:
    """Tell the delay that a share of all timers meet or exceed, if they are due at random moments.

    Args:
        lengths: Of the times in which the loop was held, in seconds.
        seconds: In all.
        share: From 0 to 1.

    Returns:
        Seconds. Whoever is due x seconds before the end of a hold waits for x.
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
    """Tell the value that a share of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Memory:
    """The memory that a process takes beyond what it has when this begins."""

    def __init__(self) -> None:
        # Forgets the peak so far. Not every system can, and then the peak is that of the whole process.
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._began = _read_status("VmRSS") or _peak()

    def grown(self) -> int:
        """Tell by how many bytes the peak exceeds what there was at the beginning."""
        return _peak() - self._began


def _peak() -> int:
    return _read_status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _read_status(name: str) -> int | None:
    """Read a size, in bytes, of this process; None where the system does not tell."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith(f"{name}:"))
    return next((int(kib) * _KIB for kib in found), None)


def pin(core: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def choose_cores() -> tuple[int | None, int | None]:
    """Choose a core for the client and one for the service; None for any, where there is but one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return (cores[0], cores[-1]) if len(cores) > 1 else (None, None)


def name_processor() -> str:
    """Name the machine's processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
