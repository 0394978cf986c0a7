"""Long campaign in several processes: `python -m fuzz`, with `tests` on the path.

It prints a table, and fails if an input violates a documented property, crashes or hangs a process, or if the inputs do
not reach every documented outcome.
"""

# ruff: noqa: T201 - prints its results
from __future__ import annotations

import argparse
import os
import platform
import secrets
import time

import msgspec

from .campaign import FindingError, find_gaps, replay
from .processes import run_all
from .readers import Case, Tally


def _report(tally: Tally, seconds: float) -> None:
    """Print the results."""
    print(f"{'function':<20}{'inputs':>10}  outcomes")
    for function, found in sorted(tally.outcomes.items()):
        total = sum(found.values())
        shares = ", ".join(
            f"{name} {count:,}" + (f" ({count / total:.0%})" if name == "read" else "")
            for name, count in sorted(found.items(), key=lambda item: -item[1])
        )
        print(f"{function:<20}{total:>10,}  {shares}")
    read = sum(found.get("read", 0) for found in tally.outcomes.values())
    print(f"{'total':<20}{tally.inputs:>10,}  read {read:,} ({read / max(tally.inputs, 1):.0%})")
    print("tasks read:", ", ".join(f"{state} {count:,}" for state, count in sorted(tally.states.items())))
    print("other counts:", ", ".join(f"{name} {count:,}" for name, count in sorted(tally.notes.items())))
    print(f"{len(tally.seen):,} distinct inputs; longest error {tally.longest_error:,} characters;", end=" ")
    print(f"slowest call {tally.slowest:.3f} CPU seconds; total {seconds:.0f} s")


def main() -> None:
    """Run a campaign, or replay one input.

    Raises:
        SystemExit: The campaign failed.
    """
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=int(os.environ.get("ACETASKS_FUZZ_INPUTS", "1000000")))
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="seed (default: random)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--replay", metavar="TEXT", help="run the input that a failed campaign printed")
    options = parser.parse_args()
    if options.replay:
        try:
            replay(Case.unpack(options.replay))
        except FindingError as finding:
            raise SystemExit(str(finding)) from finding
        print("the input passes all checks")
        return
    print(f"{options.inputs:,} inputs, seed {options.seed}, {options.jobs} processes,", end=" ")
    print(f"Python {platform.python_version()}, msgspec {msgspec.__version__}", flush=True)
    started = time.monotonic()
    tally = run_all(options.inputs, options.seed, options.jobs)
    _report(tally, time.monotonic() - started)
    gaps = find_gaps(tally)
    if tally.inputs < options.inputs:
        gaps.append(f"only {tally.inputs} inputs were run")
    if gaps:
        raise SystemExit("the campaign has gaps:\n  " + "\n  ".join(gaps))


if __name__ == "__main__":
    main()
