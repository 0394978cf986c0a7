"""Run the pytest plugin beside other plugins, and print a table: `python tests/matrix/run.py`.

Each row is a run of pytest of its own: the CPU time of the whole process, and pytest's summary with the real time. It
needs the dependency group `plugin`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROJECT = HERE.parents[1] / "examples" / "project"

_SCOPE = ["-o", "asyncio_default_fixture_loop_scope=function"]
STRICT = ["--asyncio-mode=strict", *_SCOPE]
AUTO = ["--asyncio-mode=auto", *_SCOPE]

#: What is run: a name, the directory, and pytest's arguments.
ROWS = [
    ("sample project, strict mode", PROJECT, ["--asyncio-mode=strict"]),
    ("sample project, auto mode", PROJECT, ["--asyncio-mode=auto"]),
    ("sample project, xdist", PROJECT, ["-n", "2"]),
    ("pytest-asyncio, strict mode", HERE, ["test_asyncio.py", *STRICT]),
    ("pytest-asyncio, auto mode", HERE, ["test_asyncio.py", *AUTO]),
    ("anyio's plugin beside pytest-asyncio", HERE, ["test_anyio.py", *STRICT]),
    ("anyio's plugin alone", HERE, ["test_anyio.py", "-p", "no:asyncio", "-p", "no:aiohttp"]),
    ("pytest-aiohttp, strict mode", HERE, ["test_aiohttp.py", *STRICT]),
    ("pytest-aiohttp, auto mode", HERE, ["test_aiohttp.py", *AUTO]),
    ("unittest", HERE, ["test_unittest.py", *STRICT]),
    ("freezegun and time-machine", HERE, ["test_dates.py", *STRICT]),
    ("hypothesis", HERE, ["test_hypothesis.py", *STRICT]),
    ("all of them, xdist", HERE, ["-n", "2", *STRICT]),
]

# pytest compiles what it imports, once and for all if it may keep the result.
ENV = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Run every row, and exit with 1 if one has failed."""
    failed = []
    for name, directory, arguments in ROWS:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        before = os.times()
        result = subprocess.run(command, cwd=directory, env=ENV, capture_output=True, text=True, check=False)
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        lines = result.stdout.strip().splitlines()
        summary = lines[-1].strip("= ") if lines else "nothing printed"
        print(
            f"{'ok' if result.returncode == 0 else 'FAILED':<7} {name:<38} {cpu:5.1f} s of CPU  {summary}", flush=True
        )
        if result.returncode != 0 or not re.search(r"\d+ passed", summary):
            failed.append(name)
            print(result.stdout, result.stderr, sep="\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
