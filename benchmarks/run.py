"""Measure acetasks beside the other ways to await many tasks.

    python benchmarks/run.py                            some of everything, in less than three minutes
    python benchmarks/run.py --full                     everything, in about an hour
    python benchmarks/run.py compare --tasks 1000       cost and lateness
    python benchmarks/run.py long --tasks 10000         the same, of tasks that take two and a half minutes
    python benchmarks/run.py stall --tasks 1000         what a heartbeat in the same event loop feels
    python benchmarks/run.py memory --tasks 1000        bytes for each waiting task
    python benchmarks/run.py growth --tasks 100 10000   processor time and requests while nothing ends
    python benchmarks/run.py learn                      how late the schedules are for as many looks
    python benchmarks/run.py check                      whether all of them understand the service
    python benchmarks/run.py report --out DIRECTORY     tables and charts anew, from results.json there

Each competitor in turn awaits the same tasks of the same service, which runs in a process of its own. Only what one
run shows of all of them can be compared; the seconds are the machine's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from arena import Result, Trial, hold
from check import check
from client import Measure
from learn import study
from report import Report, describe_machine, render, write
from runs import TITLES
from trials import BRIEF, USUAL, Choice, plan_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Where the results of the full benchmark are kept.
RESULTS = Path(__file__).parent / "results"
_MEASURES = {
    "compare": (Measure.COST,),
    "long": (Measure.LONG,),
    "stall": (Measure.STALL,),
    "memory": (Measure.MEMORY,),
    "growth": (Measure.GROWTH,),
}


def measure(trials: Sequence[Trial], earlier: Report, out: Path | None) -> Report:
    """Hold every trial, and tell of each.

    Args:
        trials: The trials.
        earlier: What there is already. Results of the same trials are replaced.
        out: Where to write what there is, to begin with and after each of them; None for nowhere.
    """
    sorts = {_sort(trial) for trial in trials}
    results = [result for result in earlier.results if _sort(result.trial) not in sorts]
    report = Report(machine=describe_machine(), results=results, study=earlier.study)
    if out is not None:
        write(report, out)
    for number, trial in enumerate(trials, start=1):
        title = f"{trial.measure.value}: {trial.load.tasks:,} tasks, {TITLES[trial.competitor]}"
        print(f"[{number}/{len(trials)}] {title} ...", end=" ", flush=True, file=sys.stderr)
        result = hold(trial)
        print(_tell(result), file=sys.stderr)
        results.append(result)
        if out is not None:
            write(report, out)
    return report


def _sort(trial: Trial) -> tuple[Measure, int, str]:
    """Tell what a trial is of: all that is compared is measured again together."""
    return trial.measure, trial.load.tasks, "" if trial.measure is not Measure.MEMORY else trial.competitor


def _read(directory: Path | None) -> Report:
    """Read what was measured before, if that is kept anywhere."""
    if directory is None or not (directory / "results.json").exists():
        return Report(machine=describe_machine(), results=[])
    return msgspec.json.decode((directory / "results.json").read_bytes(), type=Report)


def _tell(result: Result) -> str:
    """Tell a result in a line."""
    figures, counts = result.figures, result.counts
    if figures is None:
        return result.fault
    share = 100 * counts.cpu / max(1e-9, counts.seconds)
    return f"{figures.cpu:.2f} s CPU, {counts.requests:,} requests, service {share:.0f} % busy"


def read_command_line() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="all", choices=["all", *_MEASURES, "learn", "check", "report"])
    parser.add_argument("--full", action="store_true", help="all sizes, and for longer")
    parser.add_argument("--quick", action="store_false", dest="full", help="a few sizes, as usual")
    parser.add_argument("--tasks", type=int, nargs="+", metavar="N", help="these sizes")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), metavar="NAME", help=", ".join(TITLES))
    parser.add_argument("--interval", type=float, help="seconds between two looks at a task")
    parser.add_argument("--limit", type=float, help="seconds after which a competitor is stopped")
    parser.add_argument("--rounds", type=int, default=1, help="how often; the middle one by processor time is shown")
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument(
        "--out", type=Path, help=f"where to keep results, beside others (all of --full: {RESULTS.name})"
    )
    return parser.parse_args()


def main() -> None:
    """Do what the command line says."""
    given = read_command_line()
    command, is_full = given.command, given.full
    if command == "report":
        directory: Path = given.out or RESULTS
        report = _read(directory)
        write(report, directory)
        print(render(report), end="")
        return
    out = given.out or (RESULTS if command == "all" and is_full else None)
    earlier = _read(out)
    if command in {"all", "check"}:
        check(given.only or (TITLES if is_full else USUAL))
    if command == "check":
        return
    if command in {"all", "learn"}:
        earlier = msgspec.structs.replace(earlier, study=study(is_full=is_full))
    choice = Choice(
        is_full=is_full,
        tasks=given.tasks,
        only=given.only,
        interval=given.interval,
        limit=given.limit,
        seed=given.seed,
    )
    measures = () if command == "learn" else _MEASURES.get(command) or (tuple(Measure) if is_full else BRIEF)
    trials = [trial for one in measures for trial in plan_trials(one, choice)] * given.rounds
    print(render(measure(trials, earlier, out)), end="")


if __name__ == "__main__":
    main()
