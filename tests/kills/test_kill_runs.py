"""A job that is killed and restarted, with few tasks; `nox -s kills` has many, and the naive job in full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_runs.py")


def run(*options: str) -> tuple[int, dict[str, int]]:
    """Run the program, and return its exit code and what it has counted."""
    command = [sys.executable, str(PROGRAM), "--tasks", "60", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    counts = {title: int(count) for count, title in (line.split(maxsplit=1) for line in done.stdout.splitlines())}
    assert counts, done.stderr
    return done.returncode, counts


@pytest.mark.parametrize(
    "options",
    [["--kills", "3"], ["--kills", "4", "--workers", "2", "--patience", "0.3"]],
    ids=["one", "two, cancelled"],
)
def test_nothing_is_lost_or_paid_for_twice(options: list[str]) -> None:
    """Every key ends with a task whose end is in the journal once, or is reported."""
    code, counts = run(*options)
    assert code == 0, counts
    reported = counts["of them reported as absent"] + counts["of them reported as ambiguous"]
    assert counts["tasks at the service"] == counts["of them ended in the journal"] == 60 - reported


def test_a_naive_job_pays_twice() -> None:
    """Without keys and a journal the same kills cost money, and are seen to."""
    code, counts = run("--naive", "--kills", "2")
    assert code == 0
    assert counts["keys submitted twice"] > 0
