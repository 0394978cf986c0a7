"""Whether workers with one token keep its limit together: requests of four processes, as the service counts them.

Run it as `python benchmarks/shares.py`; it takes some six minutes. Each of four worker processes submits its part of
the tasks at once and awaits them, within its share of 60 requests a second. The simulated service, in one more process,
notes when each request arrives. The most in any second, and the longest time between two polls of a task, are printed
for workers with a share and without, and for small batches, with which the share is used up.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import collections
import contextlib
import itertools
import random
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec

import acetasks
from acetasks.providers import lookup
from acetasks.testing import AceServer
from acetasks.testing.requests import Action

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TOKEN = "test-token"  # of the simulated service
#: What the service documents for one token, in requests per second, and the bounds that are checked.
_LIMIT, _MOST_INTERVALS = 60, 1.3
_WORKERS, _TASKS = 4, 2000
#: Seconds that a task takes.
_DURATIONS = 20.0, 30.0
_POLLS = {Action.RETRIEVE, Action.RETRIEVE_BATCH}


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What the workers do.

    Attributes:
        name: For the table.
        policy: Settings of each client.
        providers: Providers of the tasks, in turn.
        is_checked: Whether the limit and the intervals must be kept.
    """

    name: str
    policy: acetasks.PollPolicy
    providers: tuple[str, ...] = ("luma", "flux")
    is_checked: bool = True


_SHARE = acetasks.PollPolicy(schedule="fixed", max_rate=_LIMIT // _WORKERS)
_CASES = (
    Case(name="without shares", policy=acetasks.PollPolicy(schedule="fixed"), is_checked=False),
    Case(name="a share each", policy=_SHARE),
    Case(
        name="a share each, batches of 6",
        policy=msgspec.structs.replace(_SHARE, batch_size=6),
        providers=("luma",),
    ),
    Case(name="a share each, learned", policy=acetasks.PollPolicy(max_rate=_LIMIT // _WORKERS), is_checked=False),
)


class Job(msgspec.Struct, frozen=True):
    """Parameters of a worker process."""

    url: str
    case: Case
    tasks: int
    seed: int


class Arrival(msgspec.Struct, frozen=True):
    """A request as it arrived: its time in seconds, its provider, whether it was a poll, and the polled ids."""

    time: float
    provider: str
    is_poll: bool
    ids: tuple[str, ...]


async def serve() -> None:
    """Serve until the input ends, and print the arrivals."""
    rng = random.Random(0)
    async with AceServer(token=_TOKEN) as server:
        for _ in range(_TASKS):
            for provider in ("luma", "flux"):
                server.script(provider, after=rng.uniform(*_DURATIONS))
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        arrivals = [
            Arrival(seen.time, seen.provider, seen.action in _POLLS, tuple(seen.ids)) for seen in server.requests
        ]
    sys.stdout.buffer.write(msgspec.json.encode(arrivals))


async def work(job: Job) -> None:
    """Submit tasks at once, and await them."""
    providers = itertools.cycle(job.case.providers)
    async with (
        acetasks.Client(_TOKEN, base_url=job.url, policy=job.case.policy, rng=random.Random(job.seed)) as client,
        asyncio.TaskGroup() as group,
    ):
        for provider, _ in zip(providers, range(job.tasks), strict=False):
            group.create_task(client.run(provider, {"prompt": "a cat"}))


@contextlib.contextmanager
def start(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start this program as another process, which is killed at the end if it still runs."""
    command = [sys.executable, __file__, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def run(case: Case, tasks: int) -> list[Arrival]:
    """Let the workers do their parts, and return all arrivals in order.

    Raises:
        RuntimeError: A worker has failed; its own output says why.
    """
    with start("--serve") as service, contextlib.ExitStack() as stack:
        if service.stdout is None:
            raise RuntimeError("the service has no output")
        url = service.stdout.readline().strip()
        jobs = [Job(url, case, tasks // _WORKERS, number) for number in range(_WORKERS)]
        workers = [stack.enter_context(start("--work", msgspec.json.encode(job).decode())) for job in jobs]
        codes = [worker.wait() for worker in workers]
        if any(codes):
            raise RuntimeError("a worker has failed")
        output, _ = service.communicate()
    return sorted(msgspec.json.decode(output, type=list[Arrival]), key=lambda arrival: arrival.time)


def count_most(times: Sequence[float]) -> int:
    """Return the largest number of arrivals in any second, of sorted times."""
    return max(bisect.bisect_left(times, time + 1.0) - index for index, time in enumerate(times))


def measure_gaps(arrivals: Sequence[Arrival], policy: acetasks.PollPolicy) -> list[float]:
    """Return the times between two polls of a task, in multiples of the longest interval, jitter included; sorted."""
    polls: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for arrival in arrivals:
        if arrival.is_poll:
            for task_id in arrival.ids:
                polls[arrival.provider, task_id].append(arrival.time)
    return sorted(
        (later - earlier) / (lookup(provider).poll_interval(None) * (1.0 + policy.jitter))
        for (provider, _), times in polls.items()
        for earlier, later in itertools.pairwise(times)
    )


def report(case: Case, arrivals: Sequence[Arrival]) -> bool:
    """Print a row of the table, and return whether the bounds are kept."""
    times = [arrival.time for arrival in arrivals]
    most, gaps = count_most(times), measure_gaps(arrivals, case.policy)
    seconds, polls = times[-1] - times[0], sum(arrival.is_poll for arrival in arrivals)
    p99 = statistics.quantiles(gaps, n=100)[98]
    print(
        f"| {case.name} | {len(times) - polls:,} + {polls:,} | {seconds:.0f} s | {most} | {p99:.2f} | {gaps[-1]:.2f} |",
        flush=True,
    )
    return not case.is_checked or (most <= _LIMIT and gaps[-1] <= _MOST_INTERVALS)


def main() -> int:
    """Run every case, or be one of the other processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=_TASKS, help="tasks of all workers together")
    parser.add_argument("--only", default="", help="run only the cases with this text in their names")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
        return 0
    if options.work is not None:
        asyncio.run(work(msgspec.json.decode(options.work, type=Job)))
        return 0
    print(f"{_WORKERS} workers, {options.tasks:,} tasks")
    print("| workers | submissions + polls | time | most in a second | gap p99 | longest |")
    print("|---|---:|---:|---:|---:|---:|")
    kept = [report(case, run(case, options.tasks)) for case in _CASES if options.only in case.name]
    print("within the bounds" if all(kept) else "NOT within the bounds")
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
