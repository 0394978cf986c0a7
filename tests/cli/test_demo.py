"""`acetasks demo`: it ends well, counts right, and leaves no process behind."""

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
from acetasks.cli import board, demo
from acetasks.cli.app import app
from acetasks.cli.running import CommandError, Exit
from acetasks.cli.screen import Screen
from acetasks.cli.stage import SHARES, Plan, StagedTask, draw_duration, share_out, staged
from acetasks.cli.tally import Tally
from acetasks.events import RequestAnswered, RequestSent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.cli.conftest import Terminal

    Terminals = Callable[[], AbstractContextManager[tuple[Terminal, Terminal]]]
    Spawn = Callable[..., subprocess.Popen[bytes]]

#: 15 minutes of work take a second.
FAST = "900"
PLAN = Plan(tasks=50, seed=0, speed=900.0)


def wait_until_refused(url: str) -> None:
    """Wait until nobody listens at an address any more; the test's own limit ends it otherwise."""
    address = urlsplit(url)
    with contextlib.suppress(OSError):
        while True:
            with socket.create_connection((address.hostname, address.port), timeout=1) as connection:
                # The service cuts it when it ends; until then there is nothing to read.
                connection.recv(1)


def staged_tasks(**outcomes: str) -> list[StagedTask]:
    """Hold tasks of luma that ended at 100 seconds."""
    return [StagedTask(provider="luma", id=id_, outcome=end, finishes_at=100.0) for id_, end in outcomes.items()]


def printed(renderable: object, width: int = 80) -> str:
    """Print something as on a terminal of a width, without colour."""
    console = Console(width=width, file=open(os.devnull, "w"), record=True)  # noqa: PTH123, SIM115
    with console.file:
        console.print(renderable)
        return console.export_text()


def test_the_real_command_shows_a_summary_and_ends_with_0(spawn: Spawn) -> None:
    """In pipes: plain lines on stderr, the summary on stdout."""
    process = spawn("demo", "--tasks", "50", "--speed", FAST)
    out, err = process.communicate()
    text = out.decode()
    assert process.returncode == 0, err.decode()
    assert re.search(r"[\d,]+ requests instead of [\d,]+ \(one for each task and look\)", text)
    assert "all 50 states as the service gave them" in text
    assert all(f" {provider} " in text for provider in SHARES)
    assert b"50 tasks of 5 systems" in err
    assert b"Traceback" not in err


def test_a_terminal_shows_the_board(terminals: Terminals) -> None:
    """A row for each system and a line of requests, redrawn in place."""
    with terminals() as (out, err):
        assert demo.show(Screen(), PLAN) == Exit.OK
    assert "waiting" in err.text
    assert re.search(r"\d+ requests, [\d,]+ a second, for [\d,]+ ids asked", err.text)
    assert "as the service gave them" in out.text
    assert not [row for row in providers.specs() if row.interval]


def test_plain_lines_say_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every few seconds."""
    monkeypatch.setattr(demo, "LINE_INTERVAL", 0.1)
    assert demo.show(Screen(), PLAN) == Exit.OK
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"0:00 \d+ of 50 tasks ended \(\d+ failed\); [\d,]+ requests, [\d,]+ a second, for [\d,]+ ids asked", lines[3]
    )


def test_a_wrong_state_makes_it_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In red, and in so many words."""

    async def follow(_screen: Screen, handover: object, tally: Tally, _speed: float) -> float:
        for task in handover.tasks:
            wrong = TaskState.PARTIAL if task.provider == "veo" else TaskState(task.outcome)
            tally.take(Task(provider=task.provider, id=task.id, state=wrong), task.finishes_at)
        return 1.0

    monkeypatch.setattr(demo, "follow", follow)
    assert demo.show(Screen(), PLAN) == Exit.FAILED
    assert "13 of 50 states differ from what the service gave" in capsys.readouterr().out


def test_ctrl_c_stops_it(spawn: Spawn) -> None:
    """With the code that shells have for it."""
    process = spawn("demo", "--tasks", "50")
    assert b"50 tasks" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.endswith(b"stopped\n")
    assert b"Traceback" not in err


@pytest.mark.parametrize("patience", [5.0, 0.0])
def test_the_service_is_gone_in_the_end(patience: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends by itself, or is killed if it takes too long; after an error too."""
    started = []

    def start(*args: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **options))
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(ZeroDivisionError), staged(PLAN, patience=patience) as handover:
        assert len(handover.tasks) == 50
        raise ZeroDivisionError
    assert started[0].returncode == (0 if patience else -signal.SIGKILL)
    wait_until_refused(handover.url)


def test_the_service_does_not_outlive_a_parent_that_is_killed() -> None:
    """Its stdin closes, whatever became of the parent."""
    code = """if True:
        import sys, time
        from acetasks.cli.stage import Plan, staged
        with staged(Plan(tasks=5, seed=0, speed=1.0)) as handover:
            print(handover.url, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        url = parent.stdout.readline().decode().strip()
        parent.kill()
    wait_until_refused(url)


def test_a_service_that_does_not_start_is_explained() -> None:
    """With the last line of its own complaint."""
    with (
        pytest.raises(CommandError, match="did not start: ValueError: speed must be") as caught,
        staged(Plan(tasks=5, seed=0, speed=0.0)),
    ):
        pass
    assert caught.value.code == Exit.FAILED


def test_the_same_seed_gives_the_same_tasks() -> None:
    """All but the time at which they were made."""
    with staged(PLAN) as first, staged(PLAN) as second:
        assert [(task.id, task.outcome) for task in first.tasks] == [(task.id, task.outcome) for task in second.tasks]


@pytest.mark.parametrize("tasks", [5, 6, 17, 50, 1000])
def test_tasks_are_shared_out_whole(tasks: int) -> None:
    """Every system has one, and none is lost."""
    counts = share_out(tasks)
    assert sum(counts.values()) == tasks
    assert min(counts.values()) >= 1
    assert list(counts) == list(SHARES)


def test_a_thousand_tasks_are_shared_out_as_planned() -> None:
    """Mostly videos in batches, and some that are asked for one by one."""
    assert share_out(1000) == {"luma": 270, "veo": 270, "pixverse": 200, "flux": 200, "useapi-pixverse": 60}


def test_no_duration_is_longer_than_the_demo() -> None:
    """At its speed, all is over within 25 seconds."""
    rng = random.Random(1)
    durations = [draw_duration(provider, rng) for provider in SHARES for _ in range(1000)]
    assert 0 < min(durations) < max(durations) < 25 * demo.SPEED


def test_rows_are_hurried_and_put_back() -> None:
    """The documented minimum too, and also after an error."""
    before = providers.specs()
    with pytest.raises(ZeroDivisionError), demo.hurried(["luma", "useapi-pixverse"], 10.0):
        assert providers.lookup("luma").poll_interval(None) == pytest.approx(154 / 30 / 10)
        assert providers.lookup("useapi-pixverse").poll_interval(0.1) == 1.0
        raise ZeroDivisionError
    assert providers.specs() == before


def test_the_tally_counts_requests_and_lateness() -> None:
    """By system; only what was sent counts."""
    tally = Tally([*staged_tasks(a="succeeded", b="failed", c="succeeded"), *staged_tasks()])
    tally.on_event(RequestSent(time=0.0, provider="luma", ids=3))
    tally.on_event(RequestSent(time=0.0, provider="luma", ids=2))
    tally.on_event(RequestAnswered(time=0.0, provider="luma", ids=3, status=200, seconds=0.1))
    tally.take(Task(provider="luma", id="a", state=TaskState.SUCCEEDED), 101.0)
    tally.take(Task(provider="luma", id="b", state=TaskState.SUCCEEDED), 103.0)
    figures = tally.total
    assert (figures.requests, figures.ids) == (2, 5)
    assert (figures.finished, figures.failed, figures.waiting) == (2, 0, 1)
    assert figures.late(0.0) == 1.0
    assert figures.late(0.95) == 3.0
    assert figures.wrong == ["b"]


@pytest.fixture
def tally() -> Iterator[Tally]:
    """The figures of a thousand tasks, all of them ended."""
    tasks = [
        StagedTask(provider=provider, id=f"{provider} {number}", outcome="succeeded", finishes_at=0.0)
        for provider, count in share_out(1000).items()
        for number in range(count)
    ]
    tally = Tally(tasks)
    for task in tasks:
        tally.on_event(RequestSent(time=0.0, provider=task.provider, ids=50))
        tally.take(Task(provider=task.provider, id=task.id, state=TaskState.SUCCEEDED), 0.1)
    return tally


def test_board_and_summary_fit_a_small_terminal(tally: Tally) -> None:
    """80 columns and 24 lines, with nothing wrapped or cut off."""
    title = printed(board.draw_title(1000, 5, 60.0))
    shown = printed(board.draw_board(tally, 20.0))
    summary = printed(board.draw_summary(tally, 20.0, 60.0))
    assert (title + shown).count("\n") < 24
    assert (title + summary).count("\n") < 24
    assert "…" not in shown + summary
    assert summary.splitlines()[-3:] == [
        "1,000 requests instead of 50,000 (one for each task and look).",
        "At real speed: 0.8 requests a second, results 6.0 s late (p95 6.0 s).",
        "all 1,000 states as the service gave them, in 20 s.",
    ]


def test_a_board_at_the_start_divides_by_nothing(tally: Tally) -> None:
    """No time has passed, so there is no rate."""
    assert "0 a second" in board.plain_line(tally, 0.0)


def test_too_few_tasks_make_it_2() -> None:
    """Every system is to have one."""
    assert CliRunner().invoke(app, ["demo", "--tasks", "4"]).exit_code == 2
