"""Simulates a million tasks over ten workers, on the virtual clock.

    python benchmarks/million.py                       every scenario, with a million tasks: hours of CPU
    python benchmarks/million.py --tasks 20000         the same with fewer
    python benchmarks/million.py --only "one token"    one scenario
    python benchmarks/million.py --workers 2           two of the ten workers, at the full size
    python benchmarks/million.py --only death          a worker of ten dies, in one loop with the others; 20,000 tasks

Each worker is a process with one client and a journal, and is simulated by itself, at the same virtual times; the sums
over all are exact, because workers share only the limit of their token, of which each keeps to its share. Clients,
journals and schedules are the real ones. The service is simulated in the same loop in place of aiohttp, so that there
is no HTTP, and the database by a store in memory that takes 3 ms for a transaction and 0.1 ms for each row.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import gc
import math
import multiprocessing
import time
from typing import TYPE_CHECKING

import msgspec
from fleet import simulate
from jobs import Kind, Scenario
from meters import quantile
from takeover import simulate_death
from totals import add_up

from acetasks.providers import lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet import Run

#: Requests a second that the service allows for a token.
LIMIT = 60.0
WORKERS = 10
#: Tasks of the scenario in which a worker dies, if no other number is given: it cannot be divided among processes.
_TASKS_OF_DEATH = 20_000


def _build_kinds(**shares: float) -> tuple[Kind, ...]:
    names = {name: name.replace("_", "-") for name in shares}
    return tuple(Kind(names[name], share, lookup(names[name]).typical_duration) for name, share in shares.items())


#: What a shop of everything submits: videos, songs and images. maestro has no batch call.
MIX = _build_kinds(
    luma=0.25, kling=0.15, veo=0.15, suno=0.15, flux=0.1, nano_banana=0.1, midjourney=0.099, maestro=0.001
)
#: Videos, whose tasks are handed over.
VIDEOS = _build_kinds(luma=0.4, kling=0.3, veo=0.3)

#: Submissions are sure of half the token's requests only: they take turns with polls.
_ONE_TOKEN = Scenario(name="one token", tasks=1_000_000, rate=LIMIT / WORKERS, kinds=MIX, arrivals=25.0)
_HANDED_OVER = Scenario(
    name="handed over, one token", tasks=1_000_000, rate=LIMIT / WORKERS, kinds=VIDEOS, horizon=3600.0
)
SCENARIOS = (
    _ONE_TOKEN,
    msgspec.structs.replace(_ONE_TOKEN, name="ten tokens", rate=LIMIT, arrivals=250.0),
    msgspec.structs.replace(
        _ONE_TOKEN, name="luma", workers=1, rate=LIMIT, kinds=_build_kinds(luma=1.0), arrivals=100_000 / 3600
    ),
    _HANDED_OVER,
    msgspec.structs.replace(_HANDED_OVER, name="handed over, ten tokens", rate=LIMIT),
)


def describe(scenario: Scenario) -> str:
    """Return what a scenario is."""
    start = f"{scenario.arrivals:g}/s arrive" if scenario.arrivals else f"end within {scenario.horizon:g} s"
    return (
        f"{scenario.name}: {scenario.tasks:,} tasks {start}, {scenario.workers} workers of {scenario.rate:g} requests/s"
    )


def run_apart(scenario: Scenario, workers: Sequence[int], processes: int) -> list[Run]:
    """Simulate workers of a scenario, each in a process of its own, some at once."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(processes, context, max_tasks_per_child=1) as pool:
        return list(pool.map(functools.partial(_simulate_one, scenario), workers))


def _simulate_one(scenario: Scenario, worker: int) -> Run:
    gc.freeze()  # imported modules are left out of garbage collections
    return simulate(scenario, [worker])


def report(scenario: Scenario, workers: int, processes: int) -> None:
    """Simulate the first workers of a scenario, and print what they did."""
    simulated = range(min(scenario.workers, workers))
    started = time.perf_counter()
    totals = add_up(scenario, run_apart(scenario, simulated, processes))
    part = "" if len(simulated) == scenario.workers else f"; the first {len(simulated)} of them"
    print(f"{describe(scenario)}{part} ({time.perf_counter() - started:.0f} s)")
    print(*totals.lines(), sep="\n", flush=True)


def report_death(scenario: Scenario) -> None:
    """Simulate a fleet whose first worker dies in mid-run, and one in which none does, and print both."""
    dies_at = scenario.tasks / scenario.arrivals / 2
    for when in (math.inf, dies_at):
        takeover = simulate_death(scenario, when)
        print(f"{describe(scenario)}; " + ("none dies" if when == math.inf else f"one dies after {when:g} s"))
        print(*add_up(scenario, [takeover.run]).lines(), sep="\n", flush=True)
        if late := sorted(takeover.lateness):
            print(
                f"  redelivered: {takeover.redelivered}, of which {takeover.uncertain} are uncertain; lateness of the"
                f" others: median {quantile(late, 0.5):.2f}, p99 {quantile(late, 0.99):.2f}, most {late[-1]:.2f} s"
            )


def main() -> None:
    """Run the scenarios and print what they did."""
    names = [*(scenario.name for scenario in SCENARIOS), "death"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, help="tasks of each scenario")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--arrivals", type=float, help="tasks a second that arrive, in scenarios in which any do")
    parser.add_argument("--workers", type=int, help="simulate only so many of the workers, and add up those")
    parser.add_argument("--processes", type=int, default=2, help="workers that are simulated at once")
    options = parser.parse_args()
    for scenario in SCENARIOS:
        if scenario.name in options.only:
            arrivals = scenario.arrivals and (options.arrivals or scenario.arrivals)
            tasks = options.tasks or scenario.tasks
            planned = msgspec.structs.replace(scenario, tasks=tasks, arrivals=arrivals)
            report(planned, options.workers or scenario.workers, options.processes)
    if "death" in options.only:
        report_death(msgspec.structs.replace(_ONE_TOKEN, tasks=options.tasks or _TASKS_OF_DEATH))


if __name__ == "__main__":
    main()
