"""`acetasks report`, and `acetasks wait --report`: a page of the tasks, also if something went wrong."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING

import pytest

import acetasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from typer.testing import Result

    from acetasks.testing.server import AceServer

    Invoke = Callable[..., Awaitable[Result]]

pytestmark = pytest.mark.real_clock


async def test_journal_becomes_a_page(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """Without a token; it names the number of tasks and the file."""
    async with acetasks.Client(server.token, base_url=server.url, journal=tmp_path / "tasks.db") as client:
        await client.submit("luma", {"prompt": "a lighthouse"})
    target = tmp_path / "out.html"
    result = await invoke(
        "report", "--journal", str(tmp_path / "tasks.db"), "-o", str(target), ACEDATACLOUD_API_TOKEN=None
    )
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"1 task in {target}\n"
    assert "a lighthouse" in target.read_text("utf-8")


async def test_missing_journal_exits_with_2(invoke: Invoke, tmp_path: Path) -> None:
    """As of other commands; neither the journal nor the page is created."""
    result = await invoke("report", "--journal", str(tmp_path / "tasks.db"), "-o", str(tmp_path / "out.html"))
    assert result.exit_code == 2
    assert "error: there is no journal" in result.stderr
    assert os.listdir(tmp_path) == []  # noqa: PTH208  # a path would be a blocking call to the linter


async def test_malformed_journal_exits_with_2(invoke: Invoke, tmp_path: Path) -> None:
    """As any other wrong argument."""
    result = await invoke("report", "--journal", " ", "-o", str(tmp_path / "out.html"))
    assert result.exit_code == 2
    assert "--journal: journal must be the path of a file" in result.stderr


async def test_wait_writes_every_task(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """Those that succeeded, failed, were not found, timed out, or could not be polled."""
    ids = [
        server.add("luma", after=0, id="good"),
        server.add("luma", after=0, id="bad", outcome="failed", error=("moderated", "no lighthouses")),
        server.add("luma", after=900, id="slow"),
        server.add("luma", after=900, id="refused"),
    ]
    server.fail("luma", status=400, times=None, when=lambda request: "refused" in request.ids)
    target = tmp_path / "out.html"
    result = await invoke("wait", "luma", *ids, "--timeout", "1", "--report", str(target))
    assert result.exit_code == 3
    assert "4 tasks in " in result.stderr
    text = target.read_text("utf-8")
    rows = dict(zip(ids, text.split('<tr role="row" id="t')[1:], strict=True))
    assert 'data-state="succeeded"' in rows["good"]
    assert "moderated: no lighthouses" in rows["bad"]
    assert 'data-state="running"' in rows["slow"] or 'data-state="pending"' in rows["slow"]
    assert "HTTP 400" in rows["refused"]


@pytest.mark.parametrize("command", [("wait", "luma", "an-id", "--report"), ("report", "--journal", "x.db", "-o")])
async def test_unusable_target_is_found_before_waiting(
    server: AceServer, invoke: Invoke, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """No request is sent."""
    result = await invoke(*command, str(tmp_path / "missing" / "out.html"))
    assert result.exit_code == 2
    assert "there is no folder" in result.stderr
    assert server.requests == []


async def test_missing_jinja2_is_found_before_waiting(
    server: AceServer, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the command that installs it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    result = await invoke("wait", "luma", server.add("luma"), "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 2
    assert "python -m pip install jinja2\n" in result.stderr
    assert server.requests == []


async def test_page_that_cannot_be_written_exits_with_5(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """The tasks were printed before."""
    (tmp_path / "out.html").mkdir()
    result = await invoke("wait", "luma", server.add("luma", after=0), "--report", str(tmp_path / "out.html"))
    assert result.exit_code == 5
    assert result.stdout.startswith("succeeded")
    assert "cannot write" in result.stderr
