"""`acetasks run`: every row of a file, once, however often the command is run."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from typer.testing import Result

    from acetasks.testing.server import AceServer

    Invoke = Callable[..., Awaitable[Result]]
    Spawn = Callable[..., subprocess.Popen[bytes]]

pytestmark = pytest.mark.real_clock


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file with two rows of flux and one of luma."""
    path = tmp_path / "rows.csv"
    path.write_text("prompt,provider\na cat,\na dog,luma\na cow,\n")
    return path


async def test_each_row_is_submitted_once(server: AceServer, invoke: Invoke, rows: Path) -> None:
    """The journal lies beside the file; run again, the command prints the same results and submits nothing."""
    for provider in ("flux", "luma"):
        server.script(provider, after=0, times=None)
    first = await invoke("run", str(rows), "--provider", "flux", "--json")
    assert first.exit_code == 0
    lines = {line["row"]: line for line in map(json.loads, first.stdout.splitlines())}
    assert sorted(lines) == [1, 2, 3]
    assert [lines[row]["provider"] for row in (1, 2, 3)] == ["flux", "luma", "flux"]
    assert all(line["state"] == "succeeded" and line["key"].startswith("run-") for line in lines.values())
    assert "3 tasks in" in first.stderr
    assert rows.with_name("rows.csv.db").exists()
    with rows.open("a") as file:
        file.write("a hen,luma\n")
    second = await invoke("run", str(rows), "--provider", "flux")
    assert second.exit_code == 0
    assert server.submissions == 4
    assert sorted(line.split("  ")[3] for line in second.stdout.splitlines()) == ["row 1", "row 2", "row 3", "row 4"]
    assert all(lines[row]["id"] in second.stdout for row in (1, 2, 3))


async def test_failures_are_results(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """A refused row, an uncertain one and a failed task have a line each; the others go on."""
    server.fail("luma", status=400, code="bad_request", times=None, when=lambda sent: sent.body.get("prompt") == "bad")
    server.fail("luma", reset=True, when=lambda sent: sent.body.get("prompt") == "lost")
    server.script("luma", after=0, outcome="failed")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in ("x", "bad", "lost")))
    result = await invoke("run", str(path), "--provider", "luma", "--json", "--concurrency", "1")
    assert result.exit_code == 4
    states = {line["row"]: line["state"] for line in map(json.loads, result.stdout.splitlines())}
    assert states == {1: "failed", 2: "refused", 3: "uncertain"}
    text = await invoke("run", str(path), "--provider", "luma", "--concurrency", "1")
    assert "1 failed" in text.stderr
    assert "uncertain  luma  row 3" in text.stdout


async def test_a_bad_token_ends_the_command(server: AceServer, invoke: Invoke, rows: Path) -> None:
    """Every other row would be refused too."""
    result = await invoke("run", str(rows), "--provider", "flux", "--concurrency", "1", ACEDATACLOUD_API_TOKEN="wrong")
    assert result.exit_code == 2
    assert "invalid_token" in result.stderr
    assert "3 tasks in" in result.stderr
    assert server.submissions == 0


async def test_files_are_downloaded(server: AceServer, invoke: Invoke, rows: Path, tmp_path: Path) -> None:
    """Each line has the path of its file."""
    for provider in ("flux", "luma"):
        server.script(provider, after=0, times=None)
    result = await invoke("run", str(rows), "--provider", "flux", "--download", str(tmp_path / "files"))
    assert result.exit_code == 0
    assert sorted(line.rpartition("  ")[2] for line in result.stdout.splitlines()) == sorted(
        map(str, (tmp_path / "files").iterdir())
    )


async def test_a_timeout_says_how_to_go_on(server: AceServer, invoke: Invoke, rows: Path) -> None:
    """The timeout is for each row, and the next run waits for the same task."""
    server.script("flux", outcome="forever", times=None)
    server.script("luma", after=0)
    result = await invoke("run", str(rows), "--provider", "flux", "--timeout", "1500ms")
    assert result.exit_code == 3
    assert "1 succeeded, 2 not ended" in result.stderr or "2 not ended, 1 succeeded" in result.stderr
    assert "run the same command again to go on" in result.stderr
    await invoke("run", str(rows), "--provider", "flux", "--timeout", "500ms")
    assert server.submissions == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.csv"], "cannot read rows from missing.csv"),
        (["-"], "rows from stdin need a journal"),
        (["{rows}"], "row 1 has no provider"),
        (["{rows}", "--provider", "flux", "--path", "nowhere"], "path must begin with"),
        (["{rows}", "--provider", "flux", "--concurrency", "0"], "--concurrency"),
    ],
)
async def test_wrong_arguments_exit_with_2(
    server: AceServer, invoke: Invoke, rows: Path, arguments: list[str], message: str
) -> None:
    """Nothing is sent."""
    result = await invoke("run", *(argument.format(rows=rows) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.request_count == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_killed_run_goes_on(
    server: AceServer, environment: dict[str, str], spawn: Spawn, tmp_path: Path, number: int
) -> None:
    """The message says how, without a line for each row; no row is submitted twice."""
    path = tmp_path / "rows.csv"
    path.write_text("prompt,i\n" + "".join(f"a cat,{i}\n" for i in range(12)))
    server.script("luma", after=0)
    server.script("luma", outcome="forever", times=None)
    process = spawn("run", str(path), "--provider", "luma", "--concurrency", "4", **environment)
    line = await asyncio.to_thread(process.stdout.readline)
    assert line.startswith(b"succeeded")
    while server.submissions < 5:  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0.05)
    process.send_signal(number)
    out, err = await asyncio.to_thread(process.communicate)
    assert process.returncode == 128 + number
    assert out == b""
    word = "interrupted" if number == signal.SIGINT else "terminated"
    assert f"{word}: 1 of 12 rows have ended; run the same command again to go on".encode() in err
    assert b"Traceback" not in err
    assert b"warning" not in err
    submitted = server.submissions
    again = spawn("run", str(path), "--provider", "luma", "--concurrency", "12", "--timeout", "2s", **environment)
    await asyncio.to_thread(again.communicate)
    assert again.returncode == 3
    assert server.submissions == 12 >= submitted
