"""The workers of the examples, killed a few times; `nox -s workers` kills them often, and in other ways."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from postgres_support import require_postgres
from rabbitmq_support import require_rabbitmq
from service_support import require

PROGRAM = Path(__file__).with_name("kill_workers.py")


def run(engine: str, *options: str) -> tuple[int, dict[str, float]]:
    """Run the program, and return its exit code and what it has counted; skip the test if something is not there."""
    package = {"taskiq": "taskiq_aio_pika"}.get(engine, engine)
    is_installed = importlib.util.find_spec(package) is not None
    require(engine, None if is_installed else "it is not installed", "install the group `workers`")
    require_postgres()
    if engine == "taskiq":
        require_rabbitmq()
    command = [sys.executable, str(PROGRAM), "--engine", engine, "--tasks", "40", "--kills", "2", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith("|")]
    assert lines, done.stderr
    return done.returncode, {title: float(count) for count, title in lines}


@pytest.mark.parametrize("engine", ["pgqueuer", "taskiq"])
def test_every_order_is_done_and_paid_for_once(engine: str) -> None:
    """Every order has its own result, and other workers go on with the jobs of killed ones."""
    code, counts = run(engine, "--seed", "1")
    assert code == 0, counts
    assert counts["tasks at the service"] == counts["orders"] == 40
    assert counts["jobs that were under way"] > 0


def test_plain_code_pays_twice() -> None:
    """Without keys and a journal the same kills cost money, and are seen to."""
    code, counts = run("pgqueuer", "--seed", "1", "--naive")
    assert code == 0, counts
    assert counts["orders paid for twice"] > 0
