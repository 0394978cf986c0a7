"""Run the pytest plugin beside other plugins, and print a table: `python tests/matrix/run.py`.

Each row is a run of pytest of its own. It needs the dependency group `plugin`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "examples" / "project"

#: What is run: a name, the directory, and pytest's arguments.
ROWS = [
    ("sample project, strict mode", PROJECT, ["--asyncio-mode=strict"]),
    ("sample project, auto mode", PROJECT, ["--asyncio-mode=auto"]),
    ("sample project, xdist", PROJECT, ["-n", "2"]),
    ("pytest-asyncio, strict mode", HERE, ["test_asyncio.py", "--asyncio-mode=strict"]),
    ("pytest-asyncio, auto mode", HERE, ["test_asyncio.py", "--asyncio-mode=auto"]),
    ("anyio's plugin beside pytest-asyncio", HERE, ["test_anyio.py"]),
    ("anyio's plugin alone", HERE, ["test_anyio.py", "-p", "no:asyncio", "-p", "no:aiohttp"]),
    ("pytest-aiohttp, strict mode", HERE, ["test_aiohttp.py", "--asyncio-mode=strict"]),
    ("pytest-aiohttp, auto mode", HERE, ["test_aiohttp.py", "--asyncio-mode=auto"]),
    ("unittest", HERE, ["test_unittest.py"]),
    ("freezegun and time-machine", HERE, ["test_dates.py"]),
    ("hypothesis", HERE, ["test_hypothesis.py"]),
    ("all of them, xdist", HERE, ["-n", "2"]),
]


def main() -> None:
    """Run every row, and exit with 1 if one has failed."""
    failed = []
    for name, directory, arguments in ROWS:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
        lines = result.stdout.strip().splitlines()
        summary = lines[-1].strip("= ") if lines else "nothing printed"
        print(f"{'ok' if result.returncode == 0 else 'FAILED':<7} {name:<38} {summary}")
        if result.returncode != 0 or not re.search(r"\d+ passed", summary):
            failed.append(name)
            print(result.stdout, result.stderr, sep="\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
