"""How long `import acetasks` takes, as a ratio to importing aiohttp and msgspec, which it needs.

Run it as `python benchmarks/imports.py`. Each run is a process of its own, which imports what is installed and keeps
its bytecode, as a user's does. The three programs alternate, the time of an empty one is subtracted, and the best of
each counts.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys

_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
_PROGRAMS = {"nothing": "pass", "aiohttp and msgspec": "import aiohttp, msgspec", "acetasks": "import acetasks"}


def measure(program: str) -> float:
    """Return the seconds of processor time of a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-P", "-c", program], check=True, env=_ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15, help="runs of each program")
    runs = parser.parse_args().runs
    best = dict.fromkeys(_PROGRAMS, float("inf"))
    for _ in range(runs + 1):  # the first writes the bytecode
        for name, program in _PROGRAMS.items():
            best[name] = min(best[name], measure(program))
    needed, own = (best[name] - best["nothing"] for name in ("aiohttp and msgspec", "acetasks"))
    print(f"import aiohttp, msgspec: {needed * 1000:.0f} ms; import acetasks: {own * 1000:.0f} ms")
    print(f"ratio {own / needed:.2f}")


if __name__ == "__main__":
    main()
