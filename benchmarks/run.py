"""Compare acetasks with other ways to await many tasks.

    python benchmarks/run.py                            a short selection, in less than three minutes
    python benchmarks/run.py --full                     everything, in about an hour
    python benchmarks/run.py compare --tasks 1000       CPU time, requests and delay
    python benchmarks/run.py long --tasks 10000         the same for tasks of two and a half minutes
    python benchmarks/run.py stall --tasks 1000         event loop stalls, measured with a heartbeat
    python benchmarks/run.py memory --tasks 1000        bytes for each awaited task
    python benchmarks/run.py growth --tasks 100 10000   CPU time and requests while no task ends
    python benchmarks/run.py learn                      delay of the polling schedules
    python benchmarks/run.py check                      check the service and the competitors
    python benchmarks/run.py report --out DIRECTORY     write tables and charts again from results.json

Each competitor in turn awaits the same tasks of the same service, which runs in a separate process. Only ratios within
one run are comparable; the seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from arena import Result, Trial, run_trial
from check import check
from client import Measure
from learn import study
from report import Report, describe_machine, render, write
from runs import TITLES
from trials import BRIEF, USUAL, Choice, plan_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Directories for the results and the charts of the full benchmark.
RESULTS = Path(__file__).parent / "results"
_CHARTS = Path(__file__).parents[1] / "docs" / "charts"
_MEASURES = {
    "compare": (Measure.COST,),
    "long": (Measure.LONG,),
    "stall": (Measure.STALL,),
    "memory": (Measure.MEMORY,),
    "growth": (Measure.GROWTH,),
}


def measure(trials: Sequence[Trial], earlier: Report, out: Path | None) -> Report:
    """Run every trial and print progress.

    Args:
        trials: The trials.
        earlier: Earlier results; those of the same trials are replaced.
        out: Directory to which the results are written before the first and after each trial; None for none.
    """
    keys = {_key(trial) for trial in trials}
    results = [result for result in earlier.results if _key(result.trial) not in keys]
    report = Report(machine=describe_machine(), results=results, study=earlier.study)
    if out is not None:
        _write(report, out)
    for number, trial in enumerate(trials, start=1):
        title = f"{trial.measure.value}: {trial.load.tasks:,} tasks, {TITLES[trial.competitor]}"
        print(f"[{number}/{len(trials)}] {title} ...", end=" ", flush=True, file=sys.stderr)
        result = run_trial(trial)
        print(_describe(result), file=sys.stderr)
        results.append(result)
        if out is not None:
            _write(report, out)
    return report


def _write(report: Report, directory: Path) -> None:
    """Write a report; other directories than the usual one get their own charts."""
    write(report, directory, _CHARTS if directory == RESULTS else directory)


def _key(trial: Trial) -> tuple[Measure, int, str]:
    """Return the key of the trials that are compared, and so are measured again together."""
    return trial.measure, trial.load.tasks, "" if trial.measure is not Measure.MEMORY else trial.competitor


def _read(directory: Path | None) -> Report:
    """Return the earlier report, or an empty one."""
    if directory is None or not (directory / "results.json").exists():
        return Report(machine=describe_machine(), results=[])
    return msgspec.json.decode((directory / "results.json").read_bytes(), type=Report)


def _describe(result: Result) -> str:
    """Return a result as one line."""
    figures, counts = result.figures, result.counts
    if figures is None:
        return result.fault
    share = 100 * counts.cpu / max(1e-9, counts.seconds)
    return f"{figures.cpu:.2f} s CPU, {counts.requests:,} requests, service {share:.0f} % CPU"


def read_command_line() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="?", default="all", choices=["all", *_MEASURES, "learn", "check", "report"])
    parser.add_argument("--full", action="store_true", help="all sizes and longer runs")
    parser.add_argument("--quick", action="store_false", dest="full", help="a few sizes (default)")
    parser.add_argument("--tasks", type=int, nargs="+", metavar="N", help="numbers of tasks")
    parser.add_argument("--only", nargs="+", choices=list(TITLES), metavar="NAME", help=", ".join(TITLES))
    parser.add_argument("--interval", type=float, help="seconds between two polls of a task")
    parser.add_argument("--limit", type=float, help="seconds after which a competitor is stopped")
    parser.add_argument(
        "--rounds", type=int, default=1, help="number of runs; the one with the median CPU time is shown"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the tasks")
    parser.add_argument(
        "--out", type=Path, help=f"directory for results, added to existing ones (default with --full: {RESULTS.name})"
    )
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    options = read_command_line()
    command, is_full = options.command, options.full
    if command == "report":
        directory: Path = options.out or RESULTS
        report = _read(directory)
        _write(report, directory)
        print(render(report), end="")
        return
    out = options.out or (RESULTS if command == "all" and is_full else None)
    earlier = _read(out)
    if command in {"all", "check"}:
        check(options.only or (TITLES if is_full else USUAL))
    if command == "check":
        return
    if command in {"all", "learn"}:
        earlier = msgspec.structs.replace(earlier, study=study(is_full=is_full))
    choice = Choice(
        is_full=is_full,
        tasks=options.tasks,
        only=options.only,
        interval=options.interval,
        limit=options.limit,
        seed=options.seed,
    )
    measures = () if command == "learn" else _MEASURES.get(command) or (tuple(Measure) if is_full else BRIEF)
    trials = [trial for one in measures for trial in plan_trials(one, choice)] * options.rounds
    print(render(measure(trials, earlier, out)), end="")


if __name__ == "__main__":
    main()
