"""`acetasks watch` where no board can be drawn, and its exit codes; `tests/cli/terminal` has the board."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from acetasks import errors
from acetasks.cli.board.display import Display
from acetasks.cli.board.rendering import BoardRenderer
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.screen import Screen
from acetasks.cli.tracking import TaskTracker
from acetasks.cli.watch import watch_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from typer.testing import Result

    import acetasks
    from acetasks.testing.server import AceServer
    from tests.cli.conftest import Terminal

    Terminals = Callable[[], AbstractContextManager[tuple[Terminal, Terminal]]]
    Invoke = Callable[..., Awaitable[Result]]
    NewClient = Callable[..., acetasks.Client]

real_clock = pytest.mark.real_clock


@real_clock
async def test_a_pipe_gets_each_result_once(server: AceServer, invoke: Invoke) -> None:
    """Results are on stdout, and stderr has the summary alone."""
    ids = [server.add("luma", after=0), server.add("veo", after=0)]
    result = await invoke("watch", f"luma:{ids[0]}", "-", stdin=f"veo {ids[1]}\n")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert sorted(line.split()[2] for line in lines) == sorted(ids)
    assert re.fullmatch(r"2 tasks in \S+ s: 2 succeeded\n", result.stderr)


@real_clock
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the full device of Linux")
async def test_a_full_disk_is_an_error(server: AceServer, environment: dict[str, str]) -> None:
    """One line and an exit code of its own, no traceback."""
    command = [sys.executable, "-m", "acetasks", "watch", f"luma:{server.add('luma', after=0)}"]
    full = os.open("/dev/full", os.O_WRONLY)
    variables = os.environ | environment
    process = await asyncio.create_subprocess_exec(*command, stdout=full, stderr=subprocess.PIPE, env=variables)
    os.close(full)
    _, err = await process.communicate()
    assert process.returncode == 5
    assert err == b"error: cannot write to stdout: No space left on device\n"


@real_clock
@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["luma:{failed}"], 1, "1 failed"),
        (["luma:{forever}", "--timeout", "1"], 3, "go on with: acetasks watch luma:{forever}"),
        (["luma"], 2, "no task ids after 'luma'"),
        ([], 2, "Missing argument 'TARGET'"),
    ],
)
async def test_exit_codes_are_those_of_wait(
    server: AceServer, invoke: Invoke, args: list[str], code: int, message: str
) -> None:
    """And a timeout tells how to go on watching."""
    names = {
        "failed": server.add("luma", after=0, outcome="failed"),
        "forever": server.add("luma", outcome="forever", queued_for=0),
    }
    result = await invoke("watch", *(argument.format(**names) for argument in args))
    assert result.exit_code == code
    assert message.format(**names) in result.stderr


async def test_lines_of_progress_stand_in_for_the_board(
    server: AceServer, new_client: NewClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every 30 seconds, with what fails."""
    tracker = TaskTracker([("luma", server.add("luma", after=100))])
    server.fail("luma", status=503, times=None)
    asyncio.get_running_loop().call_later(50, server.clear_faults)
    code = await watch_tasks(new_client(observers=[tracker]), tracker, Screen(), timeout=None)
    assert code == ExitCode.OK
    lines = [line for line in capsys.readouterr().err.splitlines() if "tasks ended" in line]
    assert re.fullmatch(
        r"0:30 0 of 1 tasks ended; \d+ requests, [\d.]+ per second; luma: polls fail for \d+ s, retrying.*", lines[0]
    )
    assert re.fullmatch(r"1:\d\d 0 of 1 tasks ended; \d+ requests, [\d.]+ per second", lines[-1])


async def test_a_terminal_gets_the_board_and_then_the_failures(
    server: AceServer, new_client: NewClient, terminals: Terminals
) -> None:
    """Frames are on the alternate screen, and the rest stays."""
    done = server.add("luma", after=60)
    failed = server.add("veo", after=90, outcome="failed", error=("bad", "No."))
    tracker = TaskTracker([("luma", done), ("veo", failed)])
    with terminals() as (out, err):
        code = await watch_tasks(new_client(observers=[tracker]), tracker, Screen(), timeout=None)
    assert code == ExitCode.FAILED
    assert out.text == ""
    board, rest = re.fullmatch(r"(?s)(.*)\x1b\[\?1049l(.*)", err.text).groups()
    assert "acetasks watch: 2 tasks of 2 providers" in board
    assert board.startswith("\x1b[?1049h\x1b[H\x1b[?25l") or "\x1b[?25l" in board
    assert "\x1b[?25h" in err.text
    assert failed in rest
    assert "bad: No." in rest
    assert done not in rest
    assert "1 succeeded, 1 failed" in rest


async def test_the_board_is_drawn_only_if_something_has_changed(
    server: AceServer, new_client: NewClient, terminals: Terminals
) -> None:
    """Once a second for the ages, and at most five times a second for changes."""
    tracker = TaskTracker([("luma", server.add("luma", after=60))])
    with terminals() as (_, err):
        await watch_tasks(new_client(observers=[tracker]), tracker, Screen(), timeout=None)
    frames, seconds = err.text.count("acetasks watch:"), 62
    assert seconds <= frames < 2 * seconds


@pytest.mark.parametrize("error", [errors.AuthenticationError, None])
async def test_an_error_leaves_the_terminal_as_it_was(
    server: AceServer, new_client: NewClient, terminals: Terminals, error: type[Exception] | None
) -> None:
    """A bad token, or a cancellation as by Ctrl-C: the alternate screen is left, and the summary printed."""
    tracker = TaskTracker([("luma", server.add("luma", outcome="forever"))])
    with terminals() as (_, err):
        client = new_client("wrong-token" if error else server.token, observers=[tracker])
        watching = asyncio.create_task(watch_tasks(client, tracker, Screen(), timeout=None))
        if error is None:
            await asyncio.sleep(30)
            watching.cancel()
        with pytest.raises(error or asyncio.CancelledError):
            await watching
    assert err.text.count("\x1b[?1049h") == err.text.count("\x1b[?1049l") == 1
    assert err.text.rindex("\x1b[?25h") > err.text.rindex("\x1b[?25l")
    assert re.search(r"1 task in .*: 1 not ended", err.text)


async def test_a_terminal_that_is_gone_ends_the_board(
    server: AceServer, new_client: NewClient, terminals: Terminals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in drawing is not swallowed by the task that draws."""
    tracker = TaskTracker([("luma", server.add("luma", outcome="forever"))])

    def fail(*_args: object) -> None:
        raise OSError(5, "Input/output error")

    with terminals():
        client = new_client(observers=[tracker])
        watching = asyncio.create_task(watch_tasks(client, tracker, Screen(), timeout=None))
        await asyncio.sleep(5)
        monkeypatch.setattr(BoardRenderer, "render_board", fail)
        with pytest.raises(OSError, match="Input/output"):
            await watching


async def test_work_is_cancelled_when_the_board_is_left(terminals: Terminals) -> None:
    """And an error of the work is raised."""

    async def raise_error() -> None:
        raise ZeroDivisionError

    with terminals():
        screen, tracker = Screen(), TaskTracker()
        display = Display(screen, tracker.board, BoardRenderer(screen.err), full_screen=True)
        work = asyncio.Event()
        asyncio.get_running_loop().call_later(1, display.left.set)
        assert not await display.run_until_left(work.wait())
        with pytest.raises(ZeroDivisionError):
            await display.run_until_left(raise_error())
