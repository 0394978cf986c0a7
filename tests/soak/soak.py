"""Soak test: ten thousand tasks awaited at once in real time, while every 20th response is faulty.

`python tests/soak/soak.py`; `--quick` runs a small one. One client in one event loop awaits all tasks with
`as_completed`. The simulated service runs in a separate process, on another core if there are two. Both plan the tasks
from one seed, so the client side knows the expected results. The test needs Linux, for `/proc`.

Checks:

1. Every task ends in the state that the service gave it, not before its end, and is reported once by `as_completed` and
   once by a `TaskSettled` event.
2. Every kind of fault has occurred, and the share of faulty responses is the requested one.
3. Memory does not grow while tasks are polled. The memory of the tasks themselves is excluded: until a wait ends it
   keeps the record of each running task and the whole of each ended task. After the wait nothing of the client is left.
4. The event loop is never blocked for more than 50 ms. A timer fires every 5 ms. For each gap between two beats the CPU
   time of the thread counts, which other programs on the machine do not increase, and the time that the thread slept
   outside the selector. A gap includes all loop iterations since the last beat, so it is at least as long as the
   longest iteration. The consumer and observer of the test are included, and so are all garbage collections, of which a
   full one is forced when every task was polled once; only the memory sample, taken once a second, is excluded. Two
   limitations: on a core that shares caches with a busy one the same work takes more CPU time, so the figure may be
   several times too high. And a full collection visits all objects of the program: to measure the client and not the
   test, objects that exist before the client are frozen (`gc.freeze`), and the report states how long their collection
   takes.
5. The number of requests is at most twice that of full batches at each interval without faults.
6. The test takes at most two minutes.
7. There are no warnings and no unhandled errors, and at level `INFO` and above the log has only lines about outages and
   rates.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import faulthandler
import gc
import logging
import os
import secrets
import statistics
import sys
import time
import warnings
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from meters import Collections, Gap, Heartbeat, Sample, TimedSelector, count_all_alive, count_sockets, take_sample
from plan import TOKEN, Load, Planned, count_requests, plan_tasks
from service import Hits, ServiceInfo, serving

import acetasks
from acetasks import TaskState
from acetasks._polling.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

#: Time limit of the test in seconds, and the part reserved for the time after the wait.
LIMIT = 120.0
_WIND_UP = 8.0
#: Seconds beyond their limits after which the wait and the test are aborted.
_GRACE, _STUCK = 2.0, 30.0
#: Maximum stall of the loop in seconds.
MAX_STALL = 0.05
#: Tolerance of the share of faulty responses.
_SHARE_SLACK = 0.01
#: Tolerated growth while tasks are polled: a share and bytes of memory, and a share and objects of one type, of which
#: there may be one for each task in all requests in flight.
_GROWTH = 0.05
_GROWTH_BYTES = 2 * 2**20
_GROWTH_OBJECTS = 500
#: Memory blocks that may be left at the end, for first uses and for the records of the test.
_LEFT_BLOCKS = 5000
#: Share of the ids that must have been polled once before memory is compared; a few meet several faults in a row.
_WARM = 0.99
#: Minimum number of memory samples for a comparison of the first and the last third.
_FEWEST_SAMPLES = 6
#: Fields with the same string in all tasks of a provider.
_SHARED = ("provider", "role")
#: Maximum number of requests, relative to a run without faults.
_MOST_REQUESTS = 2.0
#: Log lines of the library that are allowed at `INFO` and above.
_LOG_LINES = ("requests keep failing", "requests succeed again", "rate limited", "rate restored")
#: Maximum numbers of listed failures and gaps, and number of objects of a type below which it is not listed.
_FAILURES_LISTED, _GAPS_LISTED, _FEW = 5, 5, 100
QUICK = Load(tasks=1000, share=0.1, batch=10, first=2.0, last=12.0, timeout=1.5)


class Ledger:
    """Records of each task by its index in the plan, of constant size during the test.

    Attributes:
        places: Index of each id.
        yielded: Number of times `as_completed` yielded the task.
        states: State in which it was last yielded.
        late: Seconds from its end until then.
        settled: Number of `TaskSettled` events.
        unknown_ids: Reported ids that are not in the plan.
        seen: Number of tasks reported at least once.
        kept: Bytes used by all tasks.
    """

    def __init__(self, planned: list[Planned]) -> None:
        """Create an empty ledger."""
        self.places = {task.id: place for place, task in enumerate(planned)}
        self.yielded = [0] * len(planned)
        self.states: list[TaskState | None] = [None] * len(planned)
        self.late = array("d", [0.0] * len(planned))
        self.settled = [0] * len(planned)
        self.unknown_ids: set[str] = set()
        self.seen = 0
        self.kept = 0
        self._sizes = array("l", [0] * len(planned))

    def record_change(self, task: acetasks.Task) -> None:
        """Record a changed task."""
        place = self.places[task.id]
        # Of a task that has not ended only the record is kept.
        size = _measure(task) if task.state.is_terminal else sys.getsizeof(task.raw)
        self.seen += not self._sizes[place]
        self.kept += size - self._sizes[place]
        self._sizes[place] = size

    def record_settled(self, task: acetasks.Task) -> None:
        """Record a `TaskSettled` event."""
        if task.id in self.places:
            self.settled[self.places[task.id]] += 1
        else:
            self.unknown_ids.add(task.id)

    def record_yield(self, task: acetasks.Task, late: float) -> None:
        """Record a yielded task."""
        if task.id in self.places:
            place = self.places[task.id]
            self.yielded[place] += 1
            self.states[place] = task.state
            self.late[place] = late
        else:
            self.unknown_ids.add(task.id)


def _measure(kept: object) -> int:
    """Return the size of a value and its contents in bytes, without shared strings."""
    if kept is None or isinstance(kept, TaskState | acetasks.ArtifactKind):
        return 0
    parts: Iterable[object] = kept if isinstance(kept, tuple) else ()
    if isinstance(kept, msgspec.Struct):
        parts = [getattr(kept, name) for name in kept.__struct_fields__ if name not in _SHARED]
    return sys.getsizeof(kept) + sum(map(_measure, parts))


class Watcher:
    """Observer of the client.

    Attributes:
        sent: Number of requests.
        failures: Number of failed requests by kind of failure.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Create an observer that records tasks in a ledger."""
        self.sent = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self._ledger = ledger
        self._responses = self._ids = self._ends = 0

    def on_event(self, event: acetasks.Event) -> None:
        """Count an event."""
        match event:
            case acetasks.TaskChanged(task=task):
                self._ledger.record_change(task)
            case acetasks.TaskSettled(task=task):
                self._ledger.record_settled(task)
                self._ends += 1
            case acetasks.RequestSent():
                self.sent += 1
            case acetasks.RequestAnswered(ids=ids):
                self._responses += 1
                self._ids += ids
            case acetasks.RequestFailed(error=error):
                self._responses += 1
                self.failures[name_failure(error)] += 1

    def describe_work(self) -> str:
        """Return a description of the work since the last call."""
        work = f"{self._responses} responses, {self._ids} ids, {self._ends} tasks settled"
        self._responses = self._ids = self._ends = 0
        return work


def name_failure(error: acetasks.AceTasksError) -> str:
    """Return the kind of a failure."""
    if isinstance(error, acetasks.TransportError) and not error.reached:
        return "no connection"
    if isinstance(error, acetasks.APIError) and error.status is not None:
        return f"HTTP {error.status}"
    return type(error).__name__


class LogCounter(logging.Handler):
    """Counts log lines.

    Attributes:
        lines: Number of lines by level and template.
    """

    def __init__(self) -> None:
        """Create a handler without counted lines."""
        super().__init__()
        self.lines: collections.Counter[tuple[int, str]] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        self.lines[record.levelno, str(record.msg)] += 1


@dataclass
class Run:
    """Measurements of one soak test.

    Attributes:
        load: Parameters.
        planned: The planned tasks.
        ledger: Records of the tasks.
        watcher: The observer of the client.
        collecting: Statistics of garbage collections.
        own_garbage: CPU seconds of a collection of the objects that existed before the client.
        samples: Memory samples, one each second.
        warm_at: Loop time at which every id had been polled once; 0 before.
        done_at: Loop time of the end of the wait.
        stalls: See `Heartbeat`.
        wall: See `Heartbeat`.
        gaps: See `Heartbeat.listed`.
        cpu: CPU seconds of the client during the wait.
        seconds: Duration of the wait.
        raised: Error that ended the wait, or empty.
        left: Descriptions of objects that were not cleaned up.
        warnings: Warnings and unhandled errors.
        log: Counted log lines.
        hits: Counts of the service.
    """

    load: Load
    planned: list[Planned]
    ledger: Ledger
    watcher: Watcher
    collecting: Collections = field(default_factory=Collections)
    own_garbage: float = 0.0
    samples: list[Sample] = field(default_factory=list)
    warm_at: float = 0.0
    done_at: float = 0.0
    stalls: array[float] = field(default_factory=lambda: array("d"))
    wall: array[float] = field(default_factory=lambda: array("d"))
    gaps: list[Gap] = field(default_factory=list)
    cpu: float = 0.0
    seconds: float = 0.0
    raised: str = ""
    left: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    log: LogCounter = field(default_factory=LogCounter)
    hits: Hits = field(default_factory=lambda: Hits(0, {}, 0.0))


# Execution.


def run_soak(load: Load) -> Run:
    """Run a soak test.

    Args:
        load: Parameters.

    Returns:
        The measurements.
    """
    began = time.monotonic()
    cores = sorted(os.sched_getaffinity(0))
    planned = plan_tasks(load)
    ledger = Ledger(planned)
    run = Run(load, planned, ledger, Watcher(ledger))
    logging.getLogger().addHandler(run.log)
    logging.getLogger("acetasks").setLevel(logging.DEBUG)
    sys.unraisablehook = lambda info: run.warnings.append(f"unraisable: {info.exc_value!r} in {info.object!r}")
    with (
        serving(load, cores[-1] if len(cores) > 1 else None) as service,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[0]})
        _run_in_loop(lambda _: warm_up(service.info))
        before, blocks = count_all_alive(), sys.getallocatedblocks()
        run.own_garbage = freeze()
        _run_in_loop(lambda selector: soak(run, service.info, selector, LIMIT - _WIND_UP - time.monotonic() + began))
        gc.unfreeze()
        after, left = count_all_alive(), sys.getallocatedblocks() - blocks
        run.left += [f"{count} {kind}" for kind, count in (after - before).items()]
        run.left += [f"{left} memory blocks"] if left > _LEFT_BLOCKS else []
        run.warnings += [f"{warned.category.__name__}: {warned.message}" for warned in caught]
        run.hits = service.fetch_hits()
    return run


def _run_in_loop(main: Callable[[TimedSelector], Coroutine[None, None, None]]) -> None:
    """Run a coroutine function in a new loop, with the selector of the loop as its argument."""
    selector = TimedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main(selector))


def freeze() -> float:
    """Exclude all existing objects from garbage collection, and return the CPU time of a collection."""
    began = time.thread_time()
    gc.collect()
    seconds = time.thread_time() - began
    gc.freeze()
    return seconds


async def warm_up(service: ServiceInfo) -> None:
    """Send one request, so that everything created on first use exists."""
    with contextlib.suppress(acetasks.AceTasksError):
        async with _build_client(service) as client:
            await client.retrieve("luma", "stranger")


def _build_client(service: ServiceInfo, **options: object) -> acetasks.Client:
    return acetasks.Client(TOKEN, base_url=service.url, useapi_token=TOKEN, useapi_base_url=service.url, **options)


async def soak(run: Run, service: ServiceInfo, selector: TimedSelector, seconds: float) -> None:
    """Wait for all tasks with one client, and measure.

    Args:
        run: Receives the measurements.
        service: Address and start time of the service.
        selector: The selector of the loop.
        seconds: Timeout of the wait.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: run.warnings.append(f"asyncio: {context['message']}"))
    tasks, sockets = asyncio.all_tasks(), count_sockets()
    policy = acetasks.PollPolicy(interval=run.load.interval, batch_size=run.load.batch)
    retry = acetasks.RetryPolicy(timeout=run.load.timeout)
    async with _build_client(service, policy=policy, retry=retry, observers=[run.watcher]) as client:
        with run.collecting.counted():
            heart = Heartbeat(loop, selector, run.collecting, run.watcher.describe_work)
            heart.start()
            memory = asyncio.create_task(watch_memory(run, heart))
            began, cpu = loop.time(), time.thread_time()
            await consume(run, client, service, seconds)
            run.done_at = loop.time()
            run.cpu, run.seconds = time.thread_time() - cpu, run.done_at - began
            memory.cancel()
            await asyncio.sleep(0.2)  # until the connections are closed, and for a beat after the end
            heart.stop()
        # Without waiters the client has no background task.
        run.left += [f"{item!r}" for item in gc.get_objects() if type(item) is Poller and not item.is_idle]
        run.left += [repr(task) for task in asyncio.all_tasks() - tasks]
        run.left += [f"{count_sockets() - sockets} sockets"] if count_sockets() > sockets else []
    run.stalls, run.wall, run.gaps = heart.stalls, heart.wall, heart.listed


async def consume(run: Run, client: acetasks.Client, service: ServiceInfo, seconds: float) -> None:
    """Consume all tasks with `as_completed`."""
    loop = asyncio.get_running_loop()
    ends = {task.id: service.began + task.after for task in run.planned}
    wanted = [(task.provider, task.id) for task in run.planned]
    try:
        async with asyncio.timeout(seconds + _GRACE):
            async for task in client.as_completed(wanted, timeout=seconds):
                run.ledger.record_yield(task, loop.time() - ends.get(task.id, 0.0))
    except acetasks.AceTasksError as error:
        run.raised = f"{type(error).__name__}: {error}"
    except TimeoutError:
        run.raised = "nothing, and continued beyond its timeout"


async def watch_memory(run: Run, heart: Heartbeat) -> None:
    """Take a sample each second, and record when every id has been polled once."""
    loop = asyncio.get_running_loop()
    known = _WARM * sum(task.is_known for task in run.planned)
    while True:
        with heart.excluded():
            run.samples.append(take_sample(loop.time(), run.ledger.kept))
        if not run.warm_at and run.ledger.seen >= known:
            run.warm_at = loop.time()
            gc.collect()  # included: the longest collection that the client causes, otherwise left to chance
        await asyncio.sleep(1.0)


# Checks. Each returns a figure and the list of failures.


def check_ends(run: Run) -> tuple[str, list[str]]:
    """Compare the end of each task with the plan."""
    ledger = run.ledger
    failures = [f"as_completed raised {run.raised}"] if run.raised else []
    failures += [f"unknown task {task_id} was reported" for task_id in ledger.unknown_ids]
    for place, task in enumerate(run.planned):
        name = f"{task.provider} task {task.id}"
        if ledger.yielded[place] != 1:
            failures.append(f"{name} was yielded {ledger.yielded[place]} times")
        elif ledger.states[place] is not task.state:
            failures.append(f"{name} was yielded as {ledger.states[place]}, expected {task.state.value}")
        elif task.is_known and ledger.late[place] < 0:
            failures.append(f"{name} was yielded {-ledger.late[place]:.3f} s before its end")
        if ledger.settled[place] != 1:
            failures.append(f"{name} had {ledger.settled[place]} TaskSettled events")
    states = collections.Counter(state.value for state in ledger.states if state is not None)
    return f"{states.total()} of {len(run.planned)}: {format_counts(states)}", failures


def check_faults(run: Run) -> tuple[str, list[str]]:
    """Check that all faults occurred."""
    share = run.hits.faulty / max(1, run.hits.requests)
    failures = [f"fault did not occur: {name}" for name, hits in run.hits.kinds.items() if run.load.share and not hits]
    if abs(share - run.load.share) > _SHARE_SLACK:
        failures.append(f"{share:.1%} of the responses were faulty, expected {run.load.share:.1%}")
    return f"{len(run.hits.kinds)} kinds, {run.hits.faulty} of {run.hits.requests} responses: {share:.1%}", failures


def check_memory(run: Run) -> tuple[str, list[str]]:
    """Compare the memory in the last third of the polling with that in the first."""
    failures = [f"left after the wait: {left}" for left in run.left]
    samples = [sample for sample in run.samples if run.warm_at and run.warm_at <= sample.at <= run.done_at]
    if len(samples) < _FEWEST_SAMPLES:
        return "polled too briefly", [*failures, f"only {len(samples)} samples after the first polls"]
    early, late = samples[: len(samples) // 3], samples[-(len(samples) // 3) :]
    first, last = (statistics.median(sample.rss - sample.kept for sample in part) for part in (early, late))
    if last > first * (1 + _GROWTH) + _GROWTH_BYTES:
        failures.append(f"memory grew from {_mib(first)} to {_mib(last)} while tasks were polled")
    for kind in samples[-1].alive.keys() - {"Artifact"}:  # an ended task has more of them
        few, many = (statistics.median(sample.alive[kind] for sample in part) for part in (early, late))
        if many > few * (1 + _GROWTH) + _GROWTH_OBJECTS:
            failures.append(f"{few:.0f} {kind} became {many:.0f} while tasks were polled")
    kept = _mib(samples[-1].kept)
    return f"{_mib(first)}, then {_mib(last)}, and up to {kept} of tasks; {len(run.left)} kinds left", failures


def check_loop(run: Run) -> tuple[str, list[str]]:
    """Check the longest stall of the event loop."""
    failures = [f"the loop was blocked: {gap}" for gap in run.gaps if gap.stall > MAX_STALL]
    (stall_99, stall_max), (wall_99, wall_max) = (
        (1000 * statistics.quantiles(gaps, n=100)[98], 1000 * max(gaps)) for gaps in (run.stalls, run.wall)
    )
    wall = f"wall time {wall_max:.0f} and {wall_99:.0f} ms"
    return f"at most {stall_max:.0f} ms, p99 {stall_99:.0f} ms; {wall}", failures


def check_requests(run: Run) -> tuple[str, list[str]]:
    """Compare the number of requests with that of a run without faults."""
    usual = count_requests(run.load, run.planned)
    figure = f"{run.watcher.sent} requests, {run.watcher.sent / usual:.2f} times the {usual} without faults"
    return figure, [f"too many requests: {figure}"] if run.watcher.sent > _MOST_REQUESTS * usual else []


def check_output(run: Run) -> tuple[str, list[str]]:
    """Check for warnings and unexpected log lines."""
    failures = list(run.warnings)
    levels: collections.Counter[str] = collections.Counter()
    for (level, template), count in run.log.lines.items():
        levels[logging.getLevelName(level).lower()] += count
        if level > logging.DEBUG and not any(words in template for words in _LOG_LINES):
            failures.append(f"{count} log lines: {template}")
    return f"{len(run.warnings)} warnings; log lines: {format_counts(levels)}", failures


# Report.


def format_counts(counts: collections.Counter[str]) -> str:
    """Return counts as text, largest first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


def format_run(run: Run) -> Iterable[str]:
    """Yield the lines of the report."""
    yield "fault                        requests"
    yield from (f"  {name:28} {hits:5}" for name, hits in run.hits.kinds.items())
    yield f"failed requests reported by the client: {format_counts(run.watcher.failures)}"
    yield f"waited {run.seconds:.1f} s; CPU seconds: client {run.cpu:.1f}, service {run.hits.cpu:.1f}"
    late = sorted(late for late, task in zip(run.ledger.late, run.planned, strict=True) if task.is_known)
    yield f"delay of results: {late[len(late) // 2]:.1f} s (median), {late[-1]:.1f} s (maximum)"
    most = max(run.samples, key=lambda sample: sample.rss)
    alive = collections.Counter({kind: count for kind, count in most.alive.items() if count > _FEW})
    yield f"maximum memory {_mib(most.rss)}; objects then: {format_counts(alive)}"
    counts, longest = run.collecting.counts, [f"{1000 * seconds:.0f}" for seconds in run.collecting.longest]
    yield f"garbage collections by generation: {counts}, at most {', '.join(longest)} ms"
    yield f"without objects from before the client, whose collection takes {1000 * run.own_garbage:.0f} ms"
    for gap in sorted(run.gaps, key=lambda gap: gap.stall, reverse=True)[:_GAPS_LISTED]:
        yield f"  a long gap: {gap}"


def run_checks(run: Run, seconds: float) -> tuple[list[str], bool]:
    """Run all checks.

    Args:
        run: The measurements.
        seconds: Duration of the test.

    Returns:
        Lines of text, and whether all checks passed.
    """
    checked = {
        "1 tasks end as planned": check_ends(run),
        "2 all faults occurred": check_faults(run),
        "3 memory does not grow": check_memory(run),
        "4 the loop is not blocked": check_loop(run),
        "5 requests are bounded": check_requests(run),
        "6 in two minutes": (f"{seconds:.0f} s", [f"it took {seconds:.0f} s"] if seconds > LIMIT else []),
        "7 no unexpected output": check_output(run),
    }
    lines = []
    for name, (figure, failures) in checked.items():
        lines.append(f"{'FAIL' if failures else 'PASS'}  {name:28} {figure}")
        lines += [f"      {failure}" for failure in failures[:_FAILURES_LISTED]]
        lines += [f"      and {len(failures) - _FAILURES_LISTED} more"] if len(failures) > _FAILURES_LISTED else []
    return lines, not any(failures for _, failures in checked.values())


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def read_load() -> Load:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, help="tasks awaited at once (default: 10000)")
    parser.add_argument("--share", type=float, help="share of faulty responses (default: 0.05)")
    parser.add_argument("--seed", type=int, help="seed of the random numbers (default: a new one)")
    parser.add_argument("--quick", action="store_true", help="1000 tasks, in half a minute")
    options = vars(parser.parse_args())
    basis = QUICK if options.pop("quick") else Load()
    given = {name: value for name, value in options.items() if value is not None}
    return msgspec.structs.replace(basis, **({"seed": secrets.randbelow(10**6)} | given))


def print_line(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the soak test, print the report, and exit with 1 if a check failed."""
    began = time.monotonic()
    load, cores = read_load(), sorted(os.sched_getaffinity(0))
    print_line(f"{load.tasks} tasks of {load.first:g} to {load.last:g} s, polled every {load.interval:g} s")
    placement = f"client on core {cores[0]}, service on core {cores[-1]}"
    print_line(f"{load.share:.1%} of the responses faulty; seed {load.seed}; {placement}\n")
    faulthandler.dump_traceback_later(LIMIT + _STUCK, exit=True)
    run = run_soak(load)
    faulthandler.cancel_dump_traceback_later()
    for line in format_run(run):
        print_line(line)
    lines, is_passed = run_checks(run, time.monotonic() - began)
    print_line("\n" + "\n".join(lines))
    sys.exit(0 if is_passed else 1)


if __name__ == "__main__":
    main()
