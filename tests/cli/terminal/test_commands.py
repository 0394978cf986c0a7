"""Commands in a real terminal, and in pipes of a shell: what a person sees, and how each way out leaves things."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from terminal_board import Session

    from acetasks.testing.server import AceServer

    Open = Callable[..., Session]

pytestmark = [
    pytest.mark.real_clock,
    pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs a POSIX terminal"),
]

#: The command as it is typed in a shell of the tests.
ACETASKS = f"{sys.executable} -m acetasks"


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path):
    """Runs a line of bash, and returns its exit code, stdout and stderr; `acetasks` is the command."""

    async def run(line: str, **variables: str) -> tuple[int, str, str]:
        script = f'set -o pipefail; acetasks() {{ {ACETASKS} "$@"; }}; {line}'
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", script],
            cwd=tmp_path,
            env=os.environ | environment | variables,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    return run


async def finish(session: Session) -> int:
    """Check that a session leaves its terminal as it was, and return its exit code."""
    await asyncio.to_thread(session.check_restored)
    return session.finish()


async def test_a_pipeline_submits_waits_and_downloads(server: AceServer, shell, tmp_path: Path) -> None:
    """Each command takes what the one before prints, and stdout has nothing but data."""
    server.script("flux", after=0)
    code, out, err = await shell("acetasks submit flux prompt='a cat' | acetasks wait - --json --download pictures")
    assert code == 0, err
    line = json.loads(out)
    assert line["id"] in server.tasks
    assert (tmp_path / line["artifacts"][0]["path"]).stat().st_size > 0
    assert re.fullmatch(r"1 task in \S+ s: 1 succeeded\n", err)


async def test_run_in_a_terminal_of_40_columns(server: AceServer, open_terminal: Open, tmp_path: Path) -> None:
    """The bar counts the rows, results stand above it, and Ctrl-C shows the cursor again and how to go on."""
    server.script("luma", after=0)
    server.script("luma", outcome="forever", times=None)
    path = tmp_path / "rows.csv"
    path.write_text("prompt\na\nb\nc\n")
    session = open_terminal("run", str(path), "--provider", "luma", "--concurrency", "2", columns=40)

    def use() -> None:
        session.wait_for(r"1 succeeded")
        session.wait_for(r"1 of 3")
        assert session.screen.cursor.hidden
        session.process.sendintr()

    await asyncio.to_thread(use)
    assert await finish(session) == 130
    text = session.text.replace("\n", "")
    assert "interrupted: 1 of 3 rows have ended; run the same command again to go on" in text
    assert "Traceback" not in text
    assert max(map(len, session.text.splitlines())) <= 40


async def test_submit_in_a_terminal_says_how_to_go_on(server: AceServer, open_terminal: Open) -> None:
    """SIGTERM during --wait does not lose the id."""
    server.script("luma", outcome="forever", queued_for=0)
    session = open_terminal("submit", "luma", "prompt=a", "--wait", columns=200)

    def use() -> None:
        session.wait_for(r"^submitted luma:[0-9a-f-]{36}$")
        session.wait_for(r"1 (running|pending)")
        session.process.kill(15)

    await asyncio.to_thread(use)
    assert await finish(session) == 143
    (task_id,) = server.tasks
    assert f"terminated: no task was cancelled; go on with: acetasks wait luma:{task_id}" in session.text


async def test_results_fit_80_columns(server: AceServer, open_terminal: Open) -> None:
    """A long line is broken before its URL, which has a line of its own."""
    task_id = server.add("flux", after=0)
    session = open_terminal("get", "flux", task_id)
    assert await finish(session) == 0
    lines = session.text.splitlines()
    assert lines[0].startswith(f"succeeded  flux  {task_id}")
    assert lines[1].startswith("  http://127.0.0.1")


async def test_other_commands_in_a_terminal(server: AceServer, open_terminal: Open, tmp_path: Path) -> None:
    """Each prints its results, and leaves the terminal as it was."""
    task_id = server.add("flux", after=0)
    (tmp_path / "record.json").write_text(
        '{"id": "a", "response": {"success": true, "video_url": "https://a.example/a"}}'
    )
    for arguments, text in (
        (["history", "flux", "--since", "1d"], task_id),
        (["download", "flux", task_id, str(tmp_path / "files")], "1 file in"),
        (["normalize", "luma", str(tmp_path / "record.json")], "succeeded  luma  a  https://a.example/a"),
        (["providers"], "useapi-pixverse"),
        (["submit", "flux", "prompt=a cat", "--journal", str(tmp_path / "tasks.db")], "flux:"),
        (["report", "--journal", str(tmp_path / "tasks.db"), "-o", str(tmp_path / "report.html")], "1 task in"),
        (["resume", "-h"], "Usage: acetasks resume [OPTIONS]"),
    ):
        session = open_terminal(*arguments, columns=120, lines=60)
        assert await finish(session) == 0, session.text
        assert text in session.text.replace("\n", ""), session.text


async def test_a_wrong_token_is_one_error(open_terminal: Open) -> None:
    """The error has the service's code and not the token; the terminal has no bar left."""
    variables = {"ACEDATACLOUD_API_TOKEN": "secret-but-wrong"}
    session = open_terminal("submit", "luma", "prompt=a", variables=variables, columns=200)
    assert await finish(session) == 2
    assert re.search(r"^error: luma: HTTP 401 invalid_token", session.text, re.MULTILINE)
    assert b"secret" not in session.output


async def test_without_a_network_nothing_is_claimed(shell, unused_port: int) -> None:
    """Nothing was reached: the words say so, with the reason, and `--json` as well; a submission was not made."""
    url = f"http://127.0.0.1:{unused_port}"
    code, out, err = await shell("acetasks wait luma:abc --timeout 3s --json", ACEDATACLOUD_API_BASE_URL=url)
    assert code == 3
    line = json.loads(out)
    assert (line["state"], line["error"]["code"]) == ("pending", "timeout")
    assert re.match("nothing is known after 3.0 s: no poll succeeded; the last poll failed: ", line["error"]["message"])
    assert f"luma:abc: {line['error']['message']}\n" in err
    assert "still pending" not in err
    assert "1 not ended" in err
    code, out, err = await shell("acetasks submit luma prompt=a", ACEDATACLOUD_API_BASE_URL=url)
    assert (code, out) == (1, "")
    assert re.search("^error: ", err, re.MULTILINE)
    assert "may or may not" not in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110  # evaluated on import
async def test_a_full_disk_is_an_error_of_one_line(server: AceServer, shell) -> None:
    """Behind stdout, results are lost: exit code 5. Behind stderr, only the talk is."""
    task_id = server.add("flux", after=0)
    for options in ("", "--json"):
        code, _, err = await shell(f"acetasks get flux {task_id} {options} > /dev/full")
        assert code == 5
        assert err == "error: cannot write to stdout: No space left on device\n"
    code, out, _ = await shell(f"acetasks wait flux {task_id} 2> /dev/full")
    assert code == 0
    assert task_id in out
    code, _, err = await shell("acetasks --help > /dev/full")
    assert code == 5
    assert err == "error: cannot write to stdout: No space left on device\n"


async def test_a_log_has_each_result_once(server: AceServer, shell) -> None:
    """Without a terminal, as in CI, no sequence is sent, and no result is repeated on stderr."""
    ids = [server.add("luma", after=0) for _ in range(3)]
    code, out, _ = await shell(f"acetasks wait luma {' '.join(ids)} 2>&1", FORCE_COLOR="")
    assert code == 0
    assert "\x1b" not in out
    assert all(len(re.findall(rf"\b{task_id}\b(?!\.mp4)", out)) == 1 for task_id in ids)
    assert out.count("\n") == 4


async def test_no_color_has_no_colours(server: AceServer, open_terminal: Open) -> None:
    """With `NO_COLOR` a terminal gets the same words."""
    session = open_terminal("get", "luma", server.add("luma", after=0), variables={"NO_COLOR": "1"})
    assert await finish(session) == 0
    assert b"succeeded" in session.output
    assert not re.search(rb"\x1b\[[\d;]*\b(3[0-8]|9\d)\b[\d;]*m", session.output)


@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("acetasks his", ["history"]),
        ("acetasks submit lu", ["luma"]),
        ("acetasks wait lu", ["luma"]),
        ("acetasks wait --fail", ["--fail-fast"]),
    ],
)
async def test_the_shell_completes(shell, words: str, completions: list[str]) -> None:
    """Commands, providers and options, as the script of --show-completion asks for them."""
    variables = {"_ACETASKS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    code, out, err = await shell("acetasks", **variables)
    assert code == 0, err
    assert [line for line in out.splitlines() if line in completions] == completions
