"""The soak: ten thousand tasks awaited at once on the real clock, while every 20th answer is faulty.

`python tests/soak/soak.py`; `--quick` for a small one. One client in one event loop follows all tasks by
`as_completed`; the simulated service runs in a process of its own, on another core where there are two. Both plan the
tasks from one seed, so the client's side knows the truth without asking. It needs Linux, for `/proc`.

What is promised, and how it is measured:

1. Every task ends in the state that the service gave it, not before the service ended it, and is told once: by
   `as_completed` and as a `TaskSettled`.
2. Every kind of fault has hit, and all together hit the share of the answers that was wanted.
3. Memory does not grow while tasks are polled. What the tasks themselves take is left out: until a wait is over it
   keeps the record of each that goes on, and the whole of each that has ended. And when nobody waits any more, nothing
   of the client is left.
4. The event loop is never held for more than 50 ms. A timer beats in it every 5 ms. Of each gap between two beats
   counts the processor time of the thread, to which a busy machine does not add as it does to time by the clock, and
   the time for which the thread slept in a call other than the loop's own waiting. A gap has all that was done since
   the last beat, the turns of the loop before the timer was due included, so it is no less than the longest turn. The
   soak's consumer and observer are counted, and so is all collection of garbage, of which a full one is made when every
   task was seen once; only the soak's own look at the memory, once a second, is not. Two things to know of the figure:
   on a core that shares its caches or units with a busy one the same work takes more processor time, so it may be
   several times too high. And a full collection goes through the whole program, which takes longer the larger that is:
   to measure the client and not the soak, what there is before the client is frozen (`gc.freeze`), and the report tells
   how much longer a collection would have taken with that.
5. No more than twice as many requests are sent as full batches at the interval take without faults.
6. All of it takes no more than two minutes.
7. There is no warning, no error that nobody was told of, and from `INFO` up no line in any log but of an outage or a
   rate.
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
from service import Hits, Stage, serving

import acetasks
from acetasks import TaskState
from acetasks.poller import Poller

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

#: Seconds for everything; and of them for what comes after the waiting.
LIMIT = 120.0
_WIND_UP = 8.0
#: Seconds past its limit after which the waiting, and past the limit of everything after which the run, is ended.
_GRACE, _STUCK = 2.0, 30.0
#: Seconds for which the loop may be held.
HELD = 0.05
#: How far the share of faulty answers may be off.
_SHARE_SLACK = 0.01
#: Growth while tasks are polled that is none: a share and bytes of memory, and a share and objects of one type, of
#: which there may be one for each task in all requests that are under way.
_GROWTH = 0.05
_GROWTH_BYTES = 2 * 2**20
_GROWTH_OBJECTS = 500
#: Blocks of memory that may be left in the end: some for what is made at a first use, and for what the soak noted.
_LEFT_BLOCKS = 5000
#: The share of the ids that were seen once when memory has its usual size: a few meet with several faults in a row.
_WARM = 0.99
#: Samples of the memory that it takes to compare the first and the last third.
_FEWEST_SAMPLES = 6
#: What is the same text in all tasks of a provider.
_SHARED = ("provider", "role")
#: Requests, in multiples of those without faults.
_MOST_REQUESTS = 2.0
#: What the library may log from `INFO` up.
_LOG_LINES = ("requests keep failing", "requests succeed again", "too many requests", "requests a second are sent")
#: What is told of each kind at most, and how many objects of a type are too few to tell.
_BROKEN_TOLD, _GAPS_TOLD, _FEW = 5, 5, 100
QUICK = Load(tasks=1000, share=0.1, batch=10, first=2.0, last=12.0, timeout=1.5)


class Ledger:
    """What was seen of each task, by its place in the plan; as large in the beginning as in the end.

    Attributes:
        places: The place of each id.
        yielded: How often `as_completed` yielded it.
        states: The state in which it was yielded last.
        late: Seconds from its end to then.
        settled: How often it was told to be settled.
        strangers: Ids that were told and are none.
        seen: How many tasks were seen at least once.
        kept: Bytes that all of them take, as they were last seen.
    """

    def __init__(self, planned: list[Planned]) -> None:
        """Begin with nothing seen."""
        self.places = {task.id: place for place, task in enumerate(planned)}
        self.yielded = [0] * len(planned)
        self.states: list[TaskState | None] = [None] * len(planned)
        self.late = array("d", [0.0] * len(planned))
        self.settled = [0] * len(planned)
        self.strangers: set[str] = set()
        self.seen = 0
        self.kept = 0
        self._sizes = array("l", [0] * len(planned))

    def note_look(self, task: acetasks.Task) -> None:
        """Take note of a task as it was seen."""
        place = self.places[task.id]
        # Of a task that has not ended nothing but its record is kept.
        size = _measure(task) if task.state.is_terminal else sys.getsizeof(task.raw)
        self.seen += not self._sizes[place]
        self.kept += size - self._sizes[place]
        self._sizes[place] = size

    def note_end(self, task: acetasks.Task) -> None:
        """Take note of a task that was told to be settled."""
        if task.id in self.places:
            self.settled[self.places[task.id]] += 1
        else:
            self.strangers.add(task.id)

    def note_yield(self, task: acetasks.Task, late: float) -> None:
        """Take note of a task that was yielded."""
        if task.id in self.places:
            place = self.places[task.id]
            self.yielded[place] += 1
            self.states[place] = task.state
            self.late[place] = late
        else:
            self.strangers.add(task.id)


def _measure(kept: object) -> int:
    """Count the bytes of a value and of what it holds, but for the names that all of them share."""
    if kept is None or isinstance(kept, TaskState | acetasks.ArtifactKind):
        return 0
    parts: Iterable[object] = kept if isinstance(kept, tuple) else ()
    if isinstance(kept, msgspec.Struct):
        parts = [getattr(kept, name) for name in kept.__struct_fields__ if name not in _SHARED]
    return sys.getsizeof(kept) + sum(map(_measure, parts))


class Watcher:
    """Observes the client.

    Attributes:
        sent: Requests.
        failures: Requests that failed, by how.
    """

    def __init__(self, ledger: Ledger) -> None:
        """Begin with nothing seen; what is seen of tasks goes into a ledger."""
        self.sent = 0
        self.failures: collections.Counter[str] = collections.Counter()
        self._ledger = ledger
        self._answers = self._ids = self._ends = 0

    def on_event(self, event: acetasks.Event) -> None:
        """Count an event."""
        match event:
            case acetasks.TaskChanged(task=task):
                self._ledger.note_look(task)
            case acetasks.TaskSettled(task=task):
                self._ledger.note_end(task)
                self._ends += 1
            case acetasks.RequestSent():
                self.sent += 1
            case acetasks.RequestAnswered(ids=ids):
                self._answers += 1
                self._ids += ids
            case acetasks.RequestFailed(error=error):
                self._answers += 1
                self.failures[name_failure(error)] += 1

    def tell_work(self) -> str:
        """Tell what was done since this was last asked."""
        work = f"{self._answers} answers, {self._ids} ids, {self._ends} tasks settled"
        self._answers = self._ids = self._ends = 0
        return work


def name_failure(error: acetasks.AceTasksError) -> str:
    """Name a failure by its kind."""
    if isinstance(error, acetasks.TransportError) and not error.reached:
        return "no connection"
    if isinstance(error, acetasks.APIError) and error.status is not None:
        return f"HTTP {error.status}"
    return type(error).__name__


class LogCounter(logging.Handler):
    """Counts the lines of a log.

    Attributes:
        lines: How many there were, by level and template.
    """

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.lines: collections.Counter[tuple[int, str]] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        self.lines[record.levelno, str(record.msg)] += 1


@dataclass
class Run:
    """What was seen of one soak.

    Attributes:
        load: What was soaked.
        planned: Its tasks.
        ledger: What was seen of them.
        watcher: What the client told.
        collecting: The garbage collections.
        own_garbage: Seconds of processor time that it takes to go through what there was before the client.
        samples: The memory, each second.
        warm_at: When every id had been asked once, in seconds of the loop's clock; 0 before.
        done_at: When the wait had ended.
        held: See `Heartbeat`.
        wall: See `Heartbeat`.
        gaps: See `Heartbeat.noted`.
        cpu: Seconds of the client's processor time while it waited.
        seconds: How long it waited.
        raised: What ended the wait, if it was no good end.
        left: What was left over, in words.
        troubles: Warnings, and errors that nobody was told of.
        log: The lines of the log.
        hits: What the service told in the end.
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
    held: array[float] = field(default_factory=lambda: array("d"))
    wall: array[float] = field(default_factory=lambda: array("d"))
    gaps: list[Gap] = field(default_factory=list)
    cpu: float = 0.0
    seconds: float = 0.0
    raised: str = ""
    left: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    log: LogCounter = field(default_factory=LogCounter)
    hits: Hits = field(default_factory=lambda: Hits(0, {}, 0.0))


# What is done.


def run_soak(load: Load) -> Run:
    """Run a soak.

    Args:
        load: What is soaked.

    Returns:
        What was seen of it.
    """
    began = time.monotonic()
    cores = sorted(os.sched_getaffinity(0))
    planned = plan_tasks(load)
    ledger = Ledger(planned)
    run = Run(load, planned, ledger, Watcher(ledger))
    logging.getLogger().addHandler(run.log)
    logging.getLogger("acetasks").setLevel(logging.DEBUG)
    sys.unraisablehook = lambda told: run.troubles.append(f"unraisable: {told.exc_value!r} in {told.object!r}")
    with (
        serving(load, cores[-1] if len(cores) > 1 else None) as service,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[0]})
        _run_in_loop(lambda _: warm_up(service.stage))
        before, blocks = count_all_alive(), sys.getallocatedblocks()
        run.own_garbage = freeze()
        _run_in_loop(lambda selector: soak(run, service.stage, selector, LIMIT - _WIND_UP - time.monotonic() + began))
        gc.unfreeze()
        after, left = count_all_alive(), sys.getallocatedblocks() - blocks
        run.left += [f"{count} {kind}" for kind, count in (after - before).items()]
        run.left += [f"{left} blocks of memory"] if left > _LEFT_BLOCKS else []
        run.troubles += [f"{warned.category.__name__}: {warned.message}" for warned in caught]
        run.hits = service.ask_hits()
    return run


def _run_in_loop(main: Callable[[TimedSelector], Coroutine[None, None, None]]) -> None:
    """Run a program in a loop of its own, whose selector it is told."""
    selector = TimedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(main(selector))


def freeze() -> float:
    """Keep the garbage collector from whatever there is by now, and tell how long it takes to go through it."""
    began = time.thread_time()
    gc.collect()
    seconds = time.thread_time() - began
    gc.freeze()
    return seconds


async def warm_up(stage: Stage) -> None:
    """Ask for something, so that whatever is made at the first use is there."""
    with contextlib.suppress(acetasks.AceTasksError):
        async with _build_client(stage) as client:
            await client.retrieve("luma", "stranger")


def _build_client(stage: Stage, **options: object) -> acetasks.Client:
    return acetasks.Client(TOKEN, base_url=stage.url, useapi_token=TOKEN, useapi_base_url=stage.url, **options)


async def soak(run: Run, stage: Stage, selector: TimedSelector, seconds: float) -> None:
    """Wait for every task with one client, and measure.

    Args:
        run: Is told what is seen.
        stage: Where the service is.
        selector: The loop's.
        seconds: The limit of the wait.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: run.troubles.append(f"asyncio: {context['message']}"))
    tasks, sockets = asyncio.all_tasks(), count_sockets()
    policy = acetasks.PollPolicy(interval=run.load.interval, batch_size=run.load.batch)
    retry = acetasks.RetryPolicy(timeout=run.load.timeout)
    async with _build_client(stage, policy=policy, retry=retry, observers=[run.watcher]) as client:
        with run.collecting.counted():
            heart = Heartbeat(loop, selector, run.collecting, run.watcher.tell_work)
            heart.start()
            memory = asyncio.create_task(watch_memory(run, heart))
            began, cpu = loop.time(), time.thread_time()
            await consume(run, client, stage, seconds)
            run.done_at = loop.time()
            run.cpu, run.seconds = time.thread_time() - cpu, run.done_at - began
            memory.cancel()
            await asyncio.sleep(0.2)  # for the pool to be closed, and for a beat after the end
            heart.stop()
        # While nobody waits, the client keeps nothing running.
        run.left += [f"{thing!r}" for thing in gc.get_objects() if type(thing) is Poller and not thing.is_idle]
        run.left += [repr(task) for task in asyncio.all_tasks() - tasks]
        run.left += [f"{count_sockets() - sockets} sockets"] if count_sockets() > sockets else []
    run.held, run.wall, run.gaps = heart.held, heart.wall, heart.noted


async def consume(run: Run, client: acetasks.Client, stage: Stage, seconds: float) -> None:
    """Take every task as it ends."""
    loop = asyncio.get_running_loop()
    ends = {task.id: stage.began + task.after for task in run.planned}
    wanted = [(task.provider, task.id) for task in run.planned]
    try:
        async with asyncio.timeout(seconds + _GRACE):
            async for task in client.as_completed(wanted, timeout=seconds):
                run.ledger.note_yield(task, loop.time() - ends.get(task.id, 0.0))
    except acetasks.AceTasksError as error:
        run.raised = f"{type(error).__name__}: {error}"
    except TimeoutError:
        run.raised = "nothing, and went on past its limit"


async def watch_memory(run: Run, heart: Heartbeat) -> None:
    """Take a sample each second, and note when every id has been asked once."""
    loop = asyncio.get_running_loop()
    known = _WARM * sum(task.is_known for task in run.planned)
    while True:
        with heart.excused():
            run.samples.append(take_sample(loop.time(), run.ledger.kept))
        if not run.warm_at and run.ledger.seen >= known:
            run.warm_at = loop.time()
            gc.collect()  # not excused: the longest that the client can cause, and whether it comes is chance otherwise
        await asyncio.sleep(1.0)


# What was promised. Each of these tells a figure, and what is broken.


def judge_ends(run: Run) -> tuple[str, list[str]]:
    """Compare how each task ended with what the service gave it."""
    ledger = run.ledger
    broken = [f"as_completed raised {run.raised}"] if run.raised else []
    broken += [f"there is no task {task_id}, and it was told of" for task_id in ledger.strangers]
    for place, task in enumerate(run.planned):
        name = f"{task.provider} task {task.id}"
        if ledger.yielded[place] != 1:
            broken.append(f"{name} was yielded {ledger.yielded[place]} times")
        elif ledger.states[place] is not task.state:
            broken.append(f"{name} is {task.state.value}, and was yielded as {ledger.states[place]}")
        elif task.is_known and ledger.late[place] < 0:
            broken.append(f"{name} was yielded {-ledger.late[place]:.3f} s before its end")
        if ledger.settled[place] != 1:
            broken.append(f"{name} was told to be settled {ledger.settled[place]} times")
    states = collections.Counter(state.value for state in ledger.states if state is not None)
    return f"{states.total()} of {len(run.planned)}: {tell_counts(states)}", broken


def judge_faults(run: Run) -> tuple[str, list[str]]:
    """Make sure that everything went wrong that was to."""
    share = run.hits.faulty / max(1, run.hits.requests)
    broken = [f"no request was hit by: {name}" for name, hits in run.hits.kinds.items() if run.load.share and not hits]
    if abs(share - run.load.share) > _SHARE_SLACK:
        broken.append(f"{share:.1%} of the answers were faulty, not {run.load.share:.1%}")
    return f"{len(run.hits.kinds)} kinds, {run.hits.faulty} of {run.hits.requests} answers: {share:.1%}", broken


def judge_memory(run: Run) -> tuple[str, list[str]]:
    """Compare the memory in the last third of the polling with that in the first."""
    broken = [f"left when nobody waits any more: {left}" for left in run.left]
    samples = [sample for sample in run.samples if run.warm_at and run.warm_at <= sample.at <= run.done_at]
    if len(samples) < _FEWEST_SAMPLES:
        return "not polled for long enough", [*broken, f"{len(samples)} samples after the first looks are too few"]
    early, late = samples[: len(samples) // 3], samples[-(len(samples) // 3) :]
    first, last = (statistics.median(sample.rss - sample.kept for sample in part) for part in (early, late))
    if last > first * (1 + _GROWTH) + _GROWTH_BYTES:
        broken.append(f"memory grew from {_mib(first)} to {_mib(last)} while tasks were polled")
    for kind in samples[-1].alive.keys() - {"Artifact"}:  # of which a task has more when it has ended
        few, many = (statistics.median(sample.alive[kind] for sample in part) for part in (early, late))
        if many > few * (1 + _GROWTH) + _GROWTH_OBJECTS:
            broken.append(f"{few:.0f} {kind} became {many:.0f} while tasks were polled")
    kept = _mib(samples[-1].kept)
    return f"{_mib(first)}, then {_mib(last)}, and up to {kept} of tasks; {len(run.left)} kinds left", broken


def judge_loop(run: Run) -> tuple[str, list[str]]:
    """Find the longest time for which the event loop was held."""
    broken = [f"the loop was held: {gap}" for gap in run.gaps if gap.held > HELD]
    (held_99, held_most), (wall_99, wall_most) = (
        (1000 * statistics.quantiles(gaps, n=100)[98], 1000 * max(gaps)) for gaps in (run.held, run.wall)
    )
    clock = f"by the clock {wall_most:.0f} and {wall_99:.0f} ms"
    return f"for {held_most:.0f} ms at most, p99 {held_99:.0f} ms; {clock}", broken


def judge_requests(run: Run) -> tuple[str, list[str]]:
    """Compare the requests with those that a good day takes."""
    usual = count_requests(run.load, run.planned)
    figure = f"{run.watcher.sent} requests, {run.watcher.sent / usual:.2f} times the {usual} without faults"
    return figure, [f"{figure}, are too many"] if run.watcher.sent > _MOST_REQUESTS * usual else []


def judge_quiet(run: Run) -> tuple[str, list[str]]:
    """Make sure that nothing was said that is not worth saying."""
    broken = list(run.troubles)
    levels: collections.Counter[str] = collections.Counter()
    for (level, template), count in run.log.lines.items():
        levels[logging.getLevelName(level).lower()] += count
        if level > logging.DEBUG and not any(words in template for words in _LOG_LINES):
            broken.append(f"{count} lines in the log: {template}")
    return f"{len(run.troubles)} warnings; lines in the log: {tell_counts(levels)}", broken


# What is told.


def tell_counts(counts: collections.Counter[str]) -> str:
    """List counts, the largest first."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"


def tell_run(run: Run) -> Iterable[str]:
    """Tell what was seen, line by line."""
    yield "what went wrong with answers   times"
    yield from (f"  {name:28} {hits:5}" for name, hits in run.hits.kinds.items())
    yield f"failed requests, as the client told them: {tell_counts(run.watcher.failures)}"
    yield f"waited {run.seconds:.1f} s; seconds of processor time: client {run.cpu:.1f}, service {run.hits.cpu:.1f}"
    late = sorted(late for late, task in zip(run.ledger.late, run.planned, strict=True) if task.is_known)
    yield f"ends were told {late[len(late) // 2]:.1f} s late (median), and {late[-1]:.1f} s at most"
    most = max(run.samples, key=lambda sample: sample.rss)
    alive = collections.Counter({kind: count for kind, count in most.alive.items() if count > _FEW})
    yield f"most memory {_mib(most.rss)}; alive then: {tell_counts(alive)}"
    counts, longest = run.collecting.counts, [f"{1000 * seconds:.0f}" for seconds in run.collecting.longest]
    yield f"garbage was collected {counts} times by generation, for {', '.join(longest)} ms at most"
    yield f"what there was before the client is left out; that would take {1000 * run.own_garbage:.0f} ms more"
    for gap in sorted(run.gaps, key=lambda gap: gap.held, reverse=True)[:_GAPS_TOLD]:
        yield f"  a long gap: {gap}"


def judge(run: Run, seconds: float) -> tuple[list[str], bool]:
    """Hold what was seen against what was promised.

    Args:
        run: What was seen.
        seconds: How long all of it took.

    Returns:
        Lines that tell it, and whether every promise was kept.
    """
    judged = {
        "1 tasks end as they should": judge_ends(run),
        "2 every fault has hit": judge_faults(run),
        "3 memory does not grow": judge_memory(run),
        "4 the loop is not held": judge_loop(run),
        "5 requests are bounded": judge_requests(run),
        "6 in two minutes": (f"{seconds:.0f} s", [f"it took {seconds:.0f} s"] if seconds > LIMIT else []),
        "7 nothing else is said": judge_quiet(run),
    }
    lines = []
    for promise, (figure, broken) in judged.items():
        lines.append(f"{'FAIL' if broken else 'PASS'}  {promise:28} {figure}")
        lines += [f"      {what}" for what in broken[:_BROKEN_TOLD]]
        lines += [f"      and {len(broken) - _BROKEN_TOLD} more"] if len(broken) > _BROKEN_TOLD else []
    return lines, not any(broken for _, broken in judged.values())


def _mib(size: float) -> str:
    return f"{size / 2**20:.1f} MiB"


def read_load() -> Load:
    """Read the options of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, help="tasks awaited at once; 10000 unless given")
    parser.add_argument("--share", type=float, help="share of the answers that is faulty; 0.05 unless given")
    parser.add_argument("--seed", type=int, help="of all that is drawn; a new one unless given")
    parser.add_argument("--quick", action="store_true", help="1000 tasks, in half a minute")
    options = vars(parser.parse_args())
    basis = QUICK if options.pop("quick") else Load()
    given = {name: value for name, value in options.items() if value is not None}
    return msgspec.structs.replace(basis, **({"seed": secrets.randbelow(10**6)} | given))


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Soak, print what was seen, and exit with 1 if a promise was broken."""
    began = time.monotonic()
    load, cores = read_load(), sorted(os.sched_getaffinity(0))
    say(f"{load.tasks} tasks of {load.first:g} to {load.last:g} s, looked at every {load.interval:g} s")
    say(
        f"{load.share:.1%} of the answers faulty; seed {load.seed}; client on core {cores[0]}, service on {cores[-1]}\n"
    )
    faulthandler.dump_traceback_later(LIMIT + _STUCK, exit=True)
    run = run_soak(load)
    faulthandler.cancel_dump_traceback_later()
    for line in tell_run(run):
        say(line)
    lines, is_kept = judge(run, time.monotonic() - began)
    say("\n" + "\n".join(lines))
    sys.exit(0 if is_kept else 1)


if __name__ == "__main__":
    main()
