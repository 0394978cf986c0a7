"""What is measured in the client's process: how long its event loop is held, and what it keeps in memory."""

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

#: Seconds from one beat to the next.
BEAT = 0.005
#: Gaps in which the loop was held for more seconds than this are told one by one.
_NOTED = 0.02
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class TimedSelector(selectors.DefaultSelector):
    """A selector that tells how long the loop has been idle.

    Attributes:
        idle: Seconds spent waiting.
        sleeps: How often the thread went to sleep for it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.idle = 0.0
        self.sleeps = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for something to happen."""
        began, sleeps = time.perf_counter(), count_sleeps()
        try:
            return super().select(timeout)
        finally:
            self.idle += time.perf_counter() - began
            self.sleeps += count_sleeps() - sleeps


def count_sleeps() -> int:
    """Count how often the thread has left its core because it had to wait for something else."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


class Collections:
    """The garbage collections of this process.

    Attributes:
        seconds: Of processor time spent on them.
        longest: By generation, the longest.
        counts: By generation, how many there were.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest = [0.0, 0.0, 0.0]
        self.counts = [0, 0, 0]
        self._began = 0.0

    def note(self, phase: str, info: dict[str, int]) -> None:
        """Take note of the begin or end of one; `gc.callbacks` calls it."""
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
        """Count collections while the context lasts."""
        gc.callbacks.append(self.note)
        try:
            yield self
        finally:
            gc.callbacks.remove(self.note)


class _RunQueue:
    """How long this thread was ready to run and had no core; 0 where the kernel does not tell."""

    def __init__(self) -> None:
        try:
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            self._file = -1

    def read(self) -> float:
        """Tell the seconds since the thread began."""
        return int(os.pread(self._file, 96, 0).split()[1]) / 1e9 if self._file >= 0 else 0.0

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


@dataclass(frozen=True)
class Gap:
    """A long gap between two beats; times are in seconds.

    Attributes:
        at: When it ended, since the first beat.
        cpu: Processor time of the thread.
        blocked: Time in which the thread slept for something else than the loop's own waiting.
        wall: Its length.
        collecting: Processor time spent on garbage collection.
        work: What was done in it.
    """

    at: float
    cpu: float
    blocked: float
    wall: float
    collecting: float
    work: str

    @property
    def held(self) -> float:
        """How long the loop was held."""
        return self.cpu + self.blocked

    def __str__(self) -> str:
        return (
            f"{1000 * self.held:.0f} ms at {self.at:.1f} s: {1000 * self.cpu:.0f} ms of processor time,"
            f" {1000 * self.collecting:.0f} of it collecting garbage, and {1000 * self.blocked:.0f} ms blocked;"
            f" {1000 * self.wall:.0f} ms by the clock; {self.work}"
        )


class _Reading(NamedTuple):
    """What the clocks show: seconds, and a count of sleeps."""

    wall: float
    cpu: float
    idle: float
    waiting: float
    collecting: float
    sleeps: float

    def since(self, other: _Reading) -> _Reading:
        """Tell the difference to an earlier reading."""
        return _Reading(*(now - then for now, then in zip(self, other, strict=True)))


class Heartbeat:
    """A timer in the client's loop that notes how late it is, and why.

    Attributes:
        held: For each gap, how long the loop was held: processor time, and time blocked in a call.
        wall: For each gap, its length by the clock.
        noted: The gaps with much processor time.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, selector: TimedSelector, collecting: Collections, work: Callable[[], str]
    ) -> None:
        """Prepare to beat.

        Args:
            loop: The loop that is measured.
            selector: Its selector.
            collecting: The garbage collections.
            work: Tells what was done since it was last asked.
        """
        self.held = array("d")
        self.wall = array("d")
        self.noted: list[Gap] = []
        self._loop = loop
        self._selector = selector
        self._collecting = collecting
        self._work = work
        self._queue = _RunQueue()
        self._timer: asyncio.TimerHandle | None = None
        self._began = time.perf_counter()
        self._last = self._read()

    def start(self) -> None:
        """Begin to beat."""
        self._work()
        self._last = self._read()
        self._timer = self._loop.call_later(BEAT, self._beat)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._queue.close()

    @contextlib.contextmanager
    def excused(self) -> Iterator[None]:
        """Leave out what the soak itself does meanwhile."""
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
        # A thread that did not go to sleep was not blocked: what is missing then was taken by the machine's host. And
        # some of the time without a core is part of the idle time too, so this is a lower bound, which still shows
        # whoever sleeps or reads a slow file.
        blocked = max(0.0, gap.wall - gap.idle - gap.cpu - gap.waiting) if gap.sleeps else 0.0
        self.held.append(gap.cpu + blocked)
        self.wall.append(gap.wall)
        work = self._work()
        if gap.cpu + blocked > _NOTED:
            self.noted.append(Gap(now.wall - self._began, gap.cpu, blocked, gap.wall, gap.collecting, work))
        self._timer = self._loop.call_later(BEAT, self._beat)


@dataclass(frozen=True)
class Sample:
    """What the process keeps at one moment.

    Attributes:
        at: When, in seconds of the loop's clock.
        rss: Bytes of memory that it has.
        kept: Bytes of it that the tasks themselves take.
        alive: How many objects of acetasks there are, by their type.
    """

    at: float
    rss: int
    kept: int
    alive: collections.Counter[str]


def take_sample(at: float, kept: int) -> Sample:
    """Look at what the process keeps."""
    resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_SIZE
    return Sample(at, resident, kept, count_alive(gc.get_objects()))


def count_alive(objects: Iterable[object]) -> collections.Counter[str]:
    """Count those objects that are of acetasks, by their type."""
    counts: collections.Counter[str] = collections.Counter()
    for kind, count in collections.Counter(map(type, objects)).items():
        if str(kind.__module__).partition(".")[0] == "acetasks":
            counts[kind.__qualname__] += count
    return counts


def count_all_alive() -> collections.Counter[str]:
    """Count every object of acetasks that there is, by its type, after the garbage is collected.

    The collector does not know of objects that can be part of no cycle, so what it knows of is searched for them.
    """
    gc.collect()
    known = gc.get_objects()
    distinct = {id(thing): thing for thing in (*known, *gc.get_referents(*known))}
    return count_alive(distinct.values())


def count_sockets() -> int:
    """Count the sockets that the process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one through which the directory is read is gone by then
            count += str(entry.readlink()).startswith("socket:")
    return count
