"""The live board in a real terminal: sizes, keys, every way out, and trouble."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from terminal_board import Session

    from acetasks.testing.server import AceServer

    Open = Callable[..., Session]

pytestmark = [pytest.mark.real_clock, pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")]

#: A task that never ends is pending at first.
UNFINISHED = "(running|pending)"
PROVIDERS = ("luma", "veo", "flux", "pixverse", "useapi-pixverse")


def endless(server: AceServer, count: int, providers: tuple[str, ...] = ("luma",)) -> list[str]:
    """Add tasks that never end, and return their targets."""
    names = [providers[number % len(providers)] for number in range(count)]
    return [f"{name}:{server.add(name, outcome='forever', queued_for=0)}" for name in names]


async def test_a_thousand_tasks_are_scrolled_and_left_with_q(server: AceServer, open_terminal: Open) -> None:
    """The board fills 24 lines of 80 columns, scrolls by keys, and `q` leaves the terminal as it was."""
    session = open_terminal("watch", *endless(server, 1000))

    def use() -> None:
        session.wait_for(r"^acetasks watch: 1,000 tasks of luma +0:\d\d$")
        session.wait_for(rf"^{UNFINISHED} +[0-9a-f-]{{36}} +\d:\d\d +~\d+:\d\d$")
        session.wait_for(r"^1-18 of 1,000   q quit")
        assert session.screen.is_alternate
        assert session.screen.cursor.hidden
        session.process.send("\x1b[6~")
        session.wait_for(r"^19-36 of 1,000")
        session.process.send("G")
        session.wait_for(r"^983-1,000 of 1,000")
        session.process.send("f")
        session.wait_for(r"^0 of 0   q quit .*f all tasks")
        session.process.send("q")
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 130
    assert re.search(r"^1,000 tasks in \S+ s: 1,000 not ended$", session.text, re.MULTILINE)
    assert "no task was cancelled; run the command again to go on" in session.text
    assert "q quit" not in session.text


async def test_forty_columns_show_five_providers_in_full(server: AceServer, open_terminal: Open) -> None:
    """Names are complete, the columns that do not fit are left out, and SIGTERM leaves the terminal as it was."""
    session = open_terminal("watch", *endless(server, 1000, PROVIDERS), columns=40)

    def use() -> None:
        session.wait_for(r"^1,000 tasks of 5 providers +0:\d\d$")
        session.wait_for(r"^useapi-pixverse +\S+ +0 of 200$")
        session.wait_for(r"^stat provider +id +left$")
        session.wait_for(r"^(run |wait) luma +[0-9a-f]{8} +~\d+:\d\d$")
        session.wait_for(r"^1-\d+ of 1,000  q j/k f$")
        assert "…" not in session.text
        session.process.kill(signal.SIGTERM)
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 143
    text = session.text.replace("\n", "")
    assert re.search(r"1,000 tasks in \S+ s: 1,000 not ended", text)
    assert "terminated: no task was cancelled; run the command again to go on" in text


async def test_ctrl_c_restores_the_terminal_and_tells_how_to_go_on(server: AceServer, open_terminal: Open) -> None:
    """The command to go on names the unfinished tasks."""
    done, (waiting,) = server.add("luma", after=0), endless(server, 1)
    session = open_terminal("watch", f"luma:{done}", waiting)

    def use() -> None:
        session.wait_for(rf"^1 {UNFINISHED}  1 succeeded$")
        session.process.sendintr()
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 130
    assert re.search(r"^2 tasks in \S+ s: 1 succeeded, 1 not ended$", session.text, re.MULTILINE)
    text = session.text.replace("\n", "")
    assert f"interrupted: no task was cancelled; go on with: acetasks watch {waiting}" in text


async def test_the_summary_stays_when_all_have_ended(server: AceServer, open_terminal: Open) -> None:
    """It has the failures with their reasons, and the exit code is that of `wait`."""
    done = server.add("luma", after=0)
    failed = server.add("veo", after=0, outcome="failed", error=("bad_prompt", "No."))
    session = open_terminal("watch", f"luma:{done}", f"veo:{failed}", columns=200)

    def use() -> None:
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 1
    assert re.search(rf"^failed +veo +{failed} .*bad_prompt: No\.$", session.text, re.MULTILINE)
    assert re.search(r"^2 tasks in \S+ s: .*1 failed", session.text, re.MULTILINE)
    assert done not in session.text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with job control")
async def test_ctrl_z_gives_the_terminal_back_and_fg_shows_the_board_again(
    server: AceServer, open_terminal: Open
) -> None:
    """A stopped process leaves the shell a clean terminal."""
    (target,) = endless(server, 1)
    command = f"{sys.executable} -m acetasks watch {target}"
    session = open_terminal("--norc", "--noprofile", "-i", command=["bash"], variables={"PS1": "ready> "}, columns=200)

    def use() -> None:
        session.wait_for(r"^ready> $|^ready>$")
        session.process.sendline(command)
        session.wait_for(rf"^1 {UNFINISHED}$")
        session.process.send("\x1a")
        session.wait_for(r"Stopped .*watch")
        assert not session.screen.is_alternate
        assert not session.screen.cursor.hidden
        session.process.sendline("fg")
        session.wait_for(rf"^1 {UNFINISHED}$")
        session.process.send("q")
        session.wait_for(r"^1 task in \S+ s: 1 not ended")
        session.process.sendline("exit")

    await asyncio.to_thread(use)
    assert await asyncio.to_thread(session.finish) == 130


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with job control")
async def test_a_process_in_the_background_draws_nothing(server: AceServer, open_terminal: Open) -> None:
    """The terminal belongs to the shell: results are printed as to a pipe."""
    task_id = server.add("luma", after=0)
    command = f"{sys.executable} -m acetasks watch luma:{task_id} &"
    session = open_terminal("--norc", "--noprofile", "-i", command=["bash"], variables={"PS1": "ready> "}, columns=200)

    def use() -> None:
        session.wait_for(r"^ready> $|^ready>$")
        session.process.sendline(command)
        session.wait_for(rf"^(ready> )?succeeded  luma  {task_id}")
        session.wait_for(r"^1 task in \S+ s: 1 succeeded")
        session.process.sendline("exit")

    await asyncio.to_thread(use)
    assert await asyncio.to_thread(session.finish) == 0
    assert b"\x1b[?1049h" not in session.output
    assert b"\x1b[?25l" not in session.output


async def test_the_demo_is_on_the_board_and_ends_with_q(open_terminal: Open) -> None:
    """Its failed tasks are said to be scripted."""
    session = open_terminal("demo", "--tasks", "500", "--speed", "100")

    def use() -> None:
        session.wait_for(r"^acetasks demo: 500 tasks of 5 providers")
        session.wait_for(r"\d+ failed \(as scripted\)")
        session.process.send("q")
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 130
    assert session.text.rstrip().endswith("the demo has stopped")


async def test_a_wrong_token_ends_the_board_with_the_error(server: AceServer, open_terminal: Open) -> None:
    """The error stays on the terminal, and the token does not."""
    variables = {"ACEDATACLOUD_API_TOKEN": "secret-but-wrong"}
    session = open_terminal("watch", *endless(server, 3), variables=variables, columns=120)

    def use() -> None:
        session.wait_for(r"luma: polls fail for \d+ s, retrying.*: HTTP 401|^error: .*401")
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 2
    assert re.search(r"^error: .*invalid_token", session.text, re.MULTILINE)
    assert b"secret" not in session.output


async def test_a_service_that_is_unreachable_is_named_with_the_time_it_has_been(
    open_terminal: Open, unused_port: int
) -> None:
    """The board does not go on counting as if nothing had happened."""
    session = open_terminal("watch", "luma", "a", "b", "--base-url", f"http://127.0.0.1:{unused_port}")

    def use() -> None:
        session.wait_for(r"^luma: unreachable for \d+ s, retrying")
        session.wait_for(r"^pending +a +\d:\d\d .*not seen yet$")
        session.wait_for(r"warnings at the end: 1$")
        session.process.send("q")
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 130
    assert "warning: luma: requests keep failing" in session.text.replace("\n", "")


async def test_no_color_has_no_colours(server: AceServer, open_terminal: Open) -> None:
    """With `NO_COLOR` the board has the same words, without the sequences that set a colour."""
    session = open_terminal("watch", f"luma:{server.add('luma', after=0)}", variables={"NO_COLOR": "1"})

    await asyncio.to_thread(session.check_restored)
    assert session.finish() == 0
    assert b"1 succeeded" in session.output
    assert not re.search(rb"\x1b\[[\d;]*\b(3[0-8]|9\d)\b[\d;]*m", session.output)


async def test_a_dumb_terminal_gets_plain_lines(server: AceServer, open_terminal: Open) -> None:
    """No sequence at all is sent to it, and each result is printed once."""
    task_id = server.add("luma", after=0)
    session = open_terminal("watch", f"luma:{task_id}", variables={"TERM": "dumb"}, columns=200)

    await asyncio.to_thread(session.check_restored)
    assert session.finish() == 0
    assert b"\x1b" not in session.output
    assert session.text.count(task_id + " ") == 1
    assert "s: 1 succeeded" in session.text


async def test_wait_shows_bars_and_keeps_the_results(server: AceServer, open_terminal: Open) -> None:
    """The bars of `wait` give way to the summary; SIGTERM shows the cursor again."""
    done, waiting = server.add("luma", after=0), server.add("luma", outcome="forever", queued_for=0)
    session = open_terminal("wait", "luma", done, waiting, columns=200)

    def use() -> None:
        session.wait_for(r"^luma  \S+  1 of 2$")
        session.wait_for(rf"^\d+:\d\d  1 {UNFINISHED}  1 succeeded$")
        assert session.screen.cursor.hidden
        session.process.kill(signal.SIGTERM)
        session.check_restored()

    await asyncio.to_thread(use)
    assert session.finish() == 143
    assert session.text.startswith(f"succeeded  luma  {done}")
    assert "━" not in session.text
    assert re.search(r"^2 tasks in \S+ s: 1 succeeded, 1 not ended$", session.text, re.MULTILINE)
