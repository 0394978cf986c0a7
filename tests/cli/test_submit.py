"""`acetasks submit`: what is sent, what is printed, and how it ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from acetasks import RequestSent, TransportError
from acetasks.cli.submit import _Submission
from acetasks.events import RequestFailed, TaskSubmitted
from acetasks.models import Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from typer.testing import Result

    from acetasks.testing.server import AceServer

    Invoke = Callable[..., Awaitable[Result]]

real_clock = pytest.mark.real_clock


@real_clock
async def test_the_id_is_printed_for_other_commands(server: AceServer, invoke: Invoke) -> None:
    """Stdout has PROVIDER:ID alone, which `get` takes; the payload has the types of the arguments."""
    result = await invoke("submit", "luma", "prompt=a cat", "loop=true", "size.width=4", "--header", "x-run=7")
    assert result.exit_code == 0
    (task_id,) = server.tasks
    assert result.stdout == f"luma:{task_id}\n"
    assert result.stderr == ""
    (request,) = server.requests
    assert request.body == {"prompt": "a cat", "loop": True, "size": {"width": 4}, "async": True}
    assert request.headers["x-run"] == "7"
    assert (await invoke("get", result.stdout.strip())).exit_code == 0


@real_clock
async def test_json_of_a_submission_can_be_awaited(server: AceServer, invoke: Invoke) -> None:
    """The line has the keys of every other one, and `wait -` reads it."""
    server.script("luma", after=0)
    result = await invoke("submit", "luma", "prompt=a", "--json")
    line = json.loads(result.stdout)
    assert (line["provider"], line["state"], line["response"]) == ("luma", "pending", None)
    waited = await invoke("wait", "-", stdin=result.stdout)
    assert waited.exit_code == 0
    assert line["id"] in waited.stdout


@real_clock
async def test_wait_prints_the_result_alone(server: AceServer, invoke: Invoke) -> None:
    """The id is on stderr at once, so that it is known whatever happens later."""
    server.script("luma", after=0)
    result = await invoke("submit", "luma", "prompt=a", "--wait")
    assert result.exit_code == 0
    (task_id,) = server.tasks
    assert result.stderr.startswith(f"submitted luma:{task_id}\n")
    assert result.stdout.startswith(f"succeeded  luma  {task_id}")
    assert result.stdout.count("\n") == 1


@real_clock
async def test_download_waits_and_prints_the_path(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """The path of the file stands in place of its URL."""
    server.script("flux", after=0)
    result = await invoke("submit", "flux", "prompt=a", "--download", str(tmp_path / "new"))
    assert result.exit_code == 0
    (path,) = (tmp_path / "new").iterdir()
    assert result.stdout.rstrip().endswith(str(path))
    assert path.stat().st_size > 0


@real_clock
async def test_results_that_are_no_file_are_printed(server: AceServer, invoke: Invoke) -> None:
    """A token of a captcha is part of the line."""
    server.script("captcha", after=0)
    result = await invoke("submit", "captcha", "url=https://a.example", "--wait")
    assert result.exit_code == 0
    response = json.loads(result.stdout[result.stdout.index("{") :])
    assert response["token"]
    lines = await invoke("get", f"captcha:{next(iter(server.tasks))}", "--json")
    assert json.loads(lines.stdout)["response"] == response


@real_clock
async def test_a_key_is_submitted_once(server: AceServer, invoke: Invoke, tmp_path: Path) -> None:
    """The same key gives the same task; the journal may come from the environment."""
    journal = str(tmp_path / "tasks.db")
    first = await invoke("submit", "luma", "prompt=a", "--key", "k", "--journal", journal)
    second = await invoke("submit", "luma", "prompt=a", "--key", "k", ACETASKS_JOURNAL=journal)
    assert first.exit_code == second.exit_code == 0
    assert first.stdout == second.stdout
    assert server.submissions == 1
    other = await invoke("submit", "luma", "prompt=b", "--key", "k", "--journal", journal)
    assert other.exit_code == 2
    assert "key 'k' was used for another payload" in other.stderr
    without = await invoke("submit", "luma", "prompt=a", "--key", "k")
    assert without.exit_code == 2
    assert "--key needs a journal" in without.stderr


@real_clock
@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [(401, "invalid_token", 2), (403, "used_up", 2), (403, "forbidden", 1), (400, "bad_request", 1)],
)
async def test_a_refusal_has_its_exit_code(
    server: AceServer, invoke: Invoke, status: int, code: str, exit_code: int
) -> None:
    """A bad token and an empty balance are errors of usage; refused content is a failure of this submission."""
    server.fail("luma", status=status, code=code)
    result = await invoke("submit", "luma", "prompt=a")
    assert result.exit_code == exit_code
    assert result.stdout == ""
    assert code in result.stderr


@real_clock
async def test_an_uncertain_submission_exits_with_4(server: AceServer, invoke: Invoke) -> None:
    """It must not be repeated blindly; the error names the command to look it up with."""
    server.fail("luma", reset=True)
    result = await invoke("submit", "luma", "prompt=a")
    assert result.exit_code == 4
    assert "may or may not have been accepted" in result.stderr
    assert "acetasks history luma" in result.stderr
    assert server.submissions <= 1


@real_clock
async def test_a_failed_task_exits_with_1(server: AceServer, invoke: Invoke) -> None:
    """With --wait the exit code is that of the task."""
    server.script("luma", after=0, outcome="failed")
    result = await invoke("submit", "luma", "prompt=a", "--wait")
    assert result.exit_code == 1
    assert result.stdout.startswith("failed")


@real_clock
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["luma", "prompt"], "expected key=value"),
        (["brand-new", "a=1"], "name it with --path /brand-new/..."),
        (["luma", "a=1", "--path", "nowhere"], "path must begin with"),
        (["luma", "a=1", "--header", "Authorization=x"], "is set by the client"),
        (["luma", "a=1", "--timeout", "soon", "--wait"], "--timeout: expected a duration"),
        (["luma", "a=1", "--interval", "0", "--wait"], "error: --interval must be"),
    ],
)
async def test_wrong_arguments_exit_with_2(
    server: AceServer, invoke: Invoke, arguments: list[str], message: str
) -> None:
    """Nothing is sent."""
    result = await invoke("submit", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.request_count == 0


def test_ctrl_c_says_how_far_the_submission_has_come() -> None:
    """What is not known is not claimed."""
    submission = _Submission("luma")
    assert submission.describe() == "nothing was submitted"
    submission.on_event(RequestSent(time=0, provider="luma", ids=0))
    assert "may or may not have been accepted; look it up with: acetasks history luma" in submission.describe()
    submission.on_event(RequestFailed(time=0, provider="luma", ids=0, error=TransportError("refused", reached=False)))
    assert submission.describe() == "nothing was submitted"
    task = Task(provider="luma", id="a", state=TaskState.PENDING)
    event = TaskSubmitted(time=0, provider="luma", path="/luma/videos", task=task)
    submission.on_event(event)
    submission.tracker.on_event(event)
    assert submission.describe() == "no task was cancelled; go on with: acetasks wait luma:a"
