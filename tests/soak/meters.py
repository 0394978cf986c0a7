"""Meters for the client process: event loop stalls and memory."""

from __future__ import annotations

import collections
import contextlib
import gc
import os
import resource
import selectors
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator

#: Seconds between two heartbeats.
BEAT = 0.005
#: Gaps with a stall of more than this number of seconds are listed in the report.
_LISTED = 0.02
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class TimedSelector(selectors.DefaultSelector):
    """Selector that measures the idle time of its loop.

    Attributes:
        idle: Seconds spent waiting.
        sleeps: Number of times the thread went to sleep.
    """

    def __init__(self) -> None:
        super().__init__()
        self.idle = 0.0
        self.sleeps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for events."""
        began, sleeps = time.perf_counter(), count_sleeps()
        try:
            return super().select(timeout)
        finally:
            self.idle += time.perf_counter() - began
            self.sleeps += count_sleeps() - sleeps


def count_sleeps() -> int:
    """Return the number of voluntary context switches of the thread."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Collections:
    """Statistics of garbage collections.

    Attributes:
        seconds: CPU seconds spent on them.
        longest: Longest collection by generation.
        counts: Number of collections by generation.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest = [0.0, 0.0, 0.0]
        self.counts = [0, 0, 0]
        self._began = 0.0

    def record(self, phase: str, info: dict[str, int]) -> None:
        """Record the start or end of a collection; called from `gc.callbacks`."""
        if phase == "start":
            self._began = time.thread_time()
            return
        seconds = time.thread_time() - self._began
        self.seconds += seconds
        generation = info["generation"]
        self.counts[generation] += 1
        self.longest[generation] = max(self.longest[generation], seconds)

    @contextlib.contextmanager
    def counted(self) -> Iterator[Collections]:
        """Count collections while the context is open."""
        gc.callbacks.append(self.record)
        try:
            yield self
        finally:
            gc.callbacks.remove(self.record)


class _RunQueue:
    """Time that this thread was ready to run without a core; 0 if the kernel does not report it."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._file = -1

    def read(self) -> float:
        """Return the seconds since the start of the thread."""
        return int(os.pread(self._file, 96, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(frozen=True)
class Gap:
    """A long gap between two heartbeats. Times are in seconds.

    Attributes:
        at: End of the gap, since the first beat.
        cpu: CPU time of the thread.
        blocked: Time that the thread slept outside the selector.
        wall: Length of the gap.
        collecting: CPU time of garbage collections.
        work: Description of the work done in the gap.
    """

    at: float
    cpu: float
    blocked: float
    wall: float
    collecting: float
    work: str

    @property
    def stall(self) -> float:
        """Time for which the loop was blocked."""
        return self.cpu + self.blocked

    def __str__(self) -> str:
        return (
            f"{1000 * self.stall:.0f} ms at {self.at:.1f} s: {1000 * self.cpu:.0f} ms of CPU time,"
            f" {1000 * self.collecting:.0f} of it garbage collection, and {1000 * self.blocked:.0f} ms blocked;"
            f" {1000 * self.wall:.0f} ms of wall time; {self.work}"
        )


class _Reading(NamedTuple):
    """Values of the clocks in seconds, and a count of sleeps."""

    wall: float
    cpu: float
    idle: float
    waiting: float
    collecting: float
    sleeps: float

    def since(self, other: _Reading) -> _Reading:
        """Return the difference to an earlier reading."""
        return _Reading(*(now - then for now, then in zip(self, other, strict=True)))


class Heartbeat:
    """Repeating timer in the client's loop that records its delays and their causes.

    Attributes:
        stalls: Stall in each gap: CPU time, and time blocked in a call.
        wall: Length of each gap.
        listed: The gaps with a long stall.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, selector: TimedSelector, collecting: Collections, work: Callable[[], str]
    ) -> None:
        """Set up the timer.

        Args:
            loop: The measured loop.
            selector: The selector of the loop.
            collecting: Statistics of garbage collections.
            work: Returns a description of the work since its last call.
        """
        self.stalls = array("d")
        self.wall = array("d")
        self.listed: list[Gap] = []
        self._loop = loop
        self._selector = selector
        self._collecting = collecting
        self._work = work
        self._queue = _RunQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.perf_counter()
        self._last = self._read()

    def start(self) -> None:
        """Start the timer."""
        self._work()
        self._last = self._read()
        self._timer = self._loop.call_later(BEAT, self._beat)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.close()

    @contextlib.contextmanager
    def excluded(self) -> Iterator[None]:
        """Exclude the work done in this context."""
        before = self._read()
        yield
        spent = self._read().since(before)
        self._last = _Reading(*(last + part for last, part in zip(self._last, spent, strict=True)))

    def _read(self) -> _Reading:
        return _Reading(
            time.perf_counter(),
            time.thread_time(),
            self._selector.idle,
            self._queue.read(),
            self._collecting.seconds,
            count_sleeps() - self._selector.sleeps,
        )

    def _beat(self) -> None:
        now = self._read()
        gap = now.since(self._last)
        self._last = now
        # A thread that did not sleep was not blocked: the missing time was taken by the host of the machine. Some of
        # the time without a core is also idle time, so this is a lower bound. It still shows blocking sleeps and slow
        # file reads.
        blocked = max(0.0, gap.wall - gap.idle - gap.cpu - gap.waiting) if gap.sleeps else 0.0
        self.stalls.append(gap.cpu + blocked)
        self.wall.append(gap.wall)
        work = self._work()
        if gap.cpu + blocked > _LISTED:
            self.listed.append(Gap(now.wall - self._began, gap.cpu, blocked, gap.wall, gap.collecting, work))
        self._timer = self._loop.call_later(BEAT, self._beat)


@dataclass(frozen=True)
class Sample:
    """Memory of the process at one moment.

    Attributes:
        at: Loop time.
        rss: Resident memory in bytes.
        kept: Bytes used by the tasks themselves.
        alive: Number of acetasks objects by type.
    """

    at: float
    rss: int
    kept: int
    alive: collections.Counter[str]


def take_sample(at: float, kept: int) -> Sample:
    """Return a sample of the memory of the process."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_SIZE
    return Sample(at, resident, kept, count_alive(gc.get_objects()))


def count_alive(objects: Iterable[object]) -> collections.Counter[str]:
    """Count the objects of acetasks by type."""
    counts: collections.Counter[str] = collections.Counter()
    for kind, count in collections.Counter(map(type, objects)).items():
        if str(kind.__module__).partition(".")[0] == "acetasks":
            counts[kind.__qualname__] += count
    return counts


def count_all_alive() -> collections.Counter[str]:
    """Count all objects of acetasks by type, after a garbage collection.

    The collector does not track objects that cannot be part of a cycle, so they are found through tracked objects.
    """
    gc.collect()
    known = gc.get_objects()
    distinct = {id(item): item for item in (*known, *gc.get_referents(*known))}
    return count_alive(distinct.values())


def count_sockets() -> int:
    """Count the open sockets of the process."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor used to read the directory is already closed
            count += str(entry.readlink()).startswith("socket:")
    return count
