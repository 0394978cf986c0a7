"""`acetasks demo`: output, statistics, exit codes, and the end of the service process."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from rich.console import Console
from typer.testing import CliRunner

from acetasks import Task, TaskState, providers
from acetasks.cli import demo, demo_view
from acetasks.cli.app import app
from acetasks.cli.board.model import BoardModel
from acetasks.cli.demo_service import (
    TASK_SHARES,
    DemoConfig,
    DemoServiceInfo,
    DemoTask,
    demo_service_process,
    sample_duration,
    split_tasks,
)
from acetasks.cli.demo_stats import DemoStats, find_percentile
from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.cli.screen import Screen
from acetasks.events import RequestSent

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.cli.conftest import Terminal

    Terminals = Callable[[], AbstractContextManager[tuple[Terminal, Terminal]]]
    Spawn = Callable[..., subprocess.Popen[bytes]]

#: 15 minutes of the real service take a second.
FAST = "900"
CONFIG = DemoConfig(tasks=50, seed=0, speed=900.0)


def wait_until_refused(url: str) -> None:
    """Wait until connections to an address are refused; the timeout of the test is the limit."""
    address = urlsplit(url)
    with contextlib.suppress(OSError):
        while True:
            with socket.create_connection((address.hostname, address.port), timeout=1) as connection:
                # Blocks until the service exits and closes the connection.
                connection.recv(1)


def luma_tasks(**outcomes: str) -> list[DemoTask]:
    """Return tasks of luma that end at 100 seconds."""
    return [DemoTask(provider="luma", id=id_, outcome=end, finishes_at=100.0) for id_, end in outcomes.items()]


def render(renderable: object, width: int = 80) -> str:
    """Return the text of a renderable on a terminal of this width, without colours."""
    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: PTH123, SIM115
    with console.file:
        console.print(renderable)
        return console.export_text()


def test_pipes_get_progress_lines_and_a_summary(spawn: Spawn) -> None:
    """Progress lines go to stderr, the summary to stdout, and the exit code is 0."""
    process = spawn("demo", "--tasks", "50", "--speed", FAST)
    out, err = process.communicate()
    text = out.decode()
    assert process.returncode == 0, err.decode()
    assert re.search(r"[\d,]+ requests instead of [\d,]+ \(one for each task and poll\)", text)
    assert "All 50 task states match the service" in text
    assert all(f" {provider} " in text for provider in TASK_SHARES)
    assert b"50 tasks of 5 providers" in err
    assert b"Traceback" not in err


def test_a_terminal_shows_live_progress(terminals: Terminals) -> None:
    """The board is drawn on stderr, says that failures are scripted, and the provider specs are restored."""
    with terminals() as (out, err):
        assert demo.run_demo(Screen(), CONFIG) == ExitCode.OK
    assert "acetasks demo: 50 tasks of 5 providers" in err.text
    assert "failed (as scripted)" in err.text
    assert re.search(r"[\d.]+ requests/s over the last 10 s, [\d,]+ in all", err.text)
    assert "task states match the service" in out.text
    assert not [spec for spec in providers.specs() if spec.interval]


def test_progress_lines_have_the_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A progress line has the elapsed time, the ended tasks and the request counts."""
    monkeypatch.setattr(demo, "LINE_INTERVAL", 0.1)
    assert demo.run_demo(Screen(), CONFIG) == ExitCode.OK
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"0:00 \d+ of 50 tasks ended( \(\d+ failed, as scripted\))?; [\d,]+ requests, [\d,.]+ per second",
        lines[3],
    )


def test_a_wrong_state_exits_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The summary has the number of tasks in a state other than the simulated one."""

    async def end_tasks(
        _screen: Screen, service: DemoServiceInfo, model: BoardModel, stats: DemoStats, _speed: float
    ) -> float:
        for expected in service.tasks:
            state = TaskState.PARTIAL if expected.provider == "veo" else TaskState(expected.outcome)
            task = Task(provider=expected.provider, id=expected.id, state=state)
            stats.record_end(task, expected.finishes_at)
            model.record_end((expected.provider, expected.id), task)
        return 1.0

    monkeypatch.setattr(demo, "await_tasks", end_tasks)
    assert demo.run_demo(Screen(), CONFIG) == ExitCode.FAILED
    assert "13 of 50 task states differ from the service" in capsys.readouterr().out


def test_ctrl_c_exits_with_130(spawn: Spawn) -> None:
    """Ctrl-C ends the demo with one line and no traceback."""
    process = spawn("demo", "--tasks", "50")
    assert b"50 tasks" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith(b"stopped\n")
    assert b"Traceback" not in err


@pytest.mark.parametrize("shutdown_timeout", [5.0, 0.0])
def test_the_service_process_exits_with_the_context(shutdown_timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process exits, or is killed after the shutdown timeout, also if the context raises."""
    started = []

    def start(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(ZeroDivisionError), demo_service_process(CONFIG, shutdown_timeout=shutdown_timeout) as service:
        assert len(service.tasks) == 50
        raise ZeroDivisionError
    assert started[0].returncode == (0 if shutdown_timeout else -signal.SIGKILL)
    wait_until_refused(service.url)


def test_the_service_process_exits_if_its_parent_is_killed() -> None:
    """The death of the parent closes the stdin of the process, which then exits."""
    code = """if True:
        import sys, time
        from acetasks.cli.demo_service import DemoConfig, demo_service_process
        with demo_service_process(DemoConfig(tasks=5, seed=0, speed=1.0)) as service:
            print(service.url, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        url = parent.stdout.readline().decode().strip()
        parent.kill()
    wait_until_refused(url)


def test_a_failed_start_is_reported() -> None:
    """The error has the last line of the stderr of the process."""
    with (
        pytest.raises(CommandError, match="did not start: ValueError: speed must be") as caught,
        demo_service_process(DemoConfig(tasks=5, seed=0, speed=0.0)),
    ):
        pass
    assert caught.value.code == ExitCode.FAILED


def test_the_same_seed_gives_the_same_tasks() -> None:
    """Ids and outcomes depend only on the seed."""
    with demo_service_process(CONFIG) as first, demo_service_process(CONFIG) as second:
        assert [(task.id, task.outcome) for task in first.tasks] == [(task.id, task.outcome) for task in second.tasks]


@pytest.mark.parametrize("tasks", [5, 6, 17, 50, 1000])
def test_every_provider_gets_a_task(tasks: int) -> None:
    """Every provider gets at least one task, and the counts add up to the total."""
    counts = split_tasks(tasks)
    assert sum(counts.values()) == tasks
    assert min(counts.values()) >= 1
    assert list(counts) == list(TASK_SHARES)


def test_a_thousand_tasks_are_split_by_share() -> None:
    """A thousand tasks are divided by the percentages."""
    assert split_tasks(1000) == {"luma": 270, "veo": 270, "pixverse": 200, "flux": 200, "useapi-pixverse": 60}


def test_durations_are_bounded() -> None:
    """At the default speed every task ends within 25 seconds."""
    rng = random.Random(1)
    durations = [sample_duration(provider, rng) for provider in TASK_SHARES for _ in range(1000)]
    assert 0 < min(durations) < max(durations) < 25 * demo.SPEED


def test_poll_intervals_are_shortened_and_restored() -> None:
    """Poll intervals and minimum intervals are divided by the speed, and restored if the context raises."""
    before = providers.specs()
    with pytest.raises(ZeroDivisionError), demo.shortened_intervals(["luma", "useapi-pixverse"], 10.0):
        assert providers.lookup("luma").poll_interval(None) == pytest.approx(154 / 30 / 10)
        assert providers.lookup("useapi-pixverse").poll_interval(0.1) == 1.0
        raise ZeroDivisionError
    assert providers.specs() == before


def test_stats_have_latencies_and_mismatches() -> None:
    """Latencies run from the simulated end to the delivery."""
    stats = DemoStats(luma_tasks(a="succeeded", b="failed", c="succeeded"))
    stats.record_end(Task(provider="luma", id="a", state=TaskState.SUCCEEDED), 101.0)
    stats.record_end(Task(provider="luma", id="b", state=TaskState.SUCCEEDED), 103.0)
    assert stats.latencies == {"luma": [1.0, 3.0]}
    assert stats.all_latencies == [1.0, 3.0]
    assert stats.mismatches == ["b"]


@pytest.mark.parametrize(
    ("latencies", "percent", "expected"),
    [
        ([], 50, 0.0),
        ([2.0], 95, 2.0),
        ([3.0, 1.0], 50, 2.0),
        ([float(number) for number in range(101)], 1, 1.0),
        ([float(number) for number in range(101)], 95, 95.0),
    ],
)
def test_percentiles_are_interpolated(latencies: list[float], percent: int, expected: float) -> None:
    """A percentile lies between the nearest latencies; without latencies it is 0."""
    assert find_percentile(latencies, percent) == pytest.approx(expected)


@pytest.fixture
def ended() -> tuple[BoardModel, DemoStats]:
    """Board and statistics of a thousand tasks that have all ended."""
    tasks = [
        DemoTask(provider=provider, id=f"{provider} {number}", outcome="succeeded", finishes_at=0.0)
        for provider, count in split_tasks(1000).items()
        for number in range(count)
    ]
    model, stats = BoardModel((task.provider, task.id) for task in tasks), DemoStats(tasks)
    for number, task in enumerate(tasks):
        state = TaskState.SUCCEEDED if number else TaskState.FAILED
        model.on_event(RequestSent(time=0.0, provider=task.provider, ids=50))
        model.record_end((task.provider, task.id), Task(provider=task.provider, id=task.id, state=state))
        stats.record_end(Task(provider=task.provider, id=task.id, state=TaskState.SUCCEEDED), 0.1)
    return model, stats


def test_the_summary_fits_a_small_terminal(ended: tuple[BoardModel, DemoStats]) -> None:
    """Title and summary fit into 80 columns and 24 lines, without truncation."""
    title = render(demo_view.render_title(1000, 5, 60.0))
    summary = render(demo_view.render_summary(*ended, 20.0, 60.0, width=80))
    assert (title + summary).count("\n") < 24
    assert "…" not in summary
    assert summary.splitlines()[-4:] == [
        "1,000 requests instead of 50,000 (one for each task and poll).",
        "At real speed: 0.8 requests per second. The median latency is 6.0 s (p95 6.0 s),",
        "from the end of a task to its delivery: the next poll of the task finds it.",
        "All 1,000 task states match the service (1 failed as scripted), after 20 s.",
    ]


@pytest.mark.parametrize(("width", "columns"), [(80, 6), (60, 4), (40, 2), (30, 1)])
def test_a_narrow_summary_has_fewer_columns(ended: tuple[BoardModel, DemoStats], width: int, columns: int) -> None:
    """In place of truncated figures: the text below has the sums."""
    summary = render(demo_view.render_summary(*ended, 20.0, 60.0, width=width), width)
    head = next(line for line in summary.splitlines() if line.strip())
    assert len(head.replace("latency p50", "p50").split()) == 1 + columns
    assert "…" not in summary
    assert re.search(r"^ useapi-pixverse +60", summary, re.MULTILINE)


def test_too_few_tasks_exit_with_2() -> None:
    """Fewer tasks than providers are a usage error."""
    assert CliRunner().invoke(app, ["demo", "--tasks", "4"]).exit_code == 2
