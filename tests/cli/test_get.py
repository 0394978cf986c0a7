"""`acetasks get`: retrieves tasks once, and prints the same lines as `wait`."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING

import pytest

from acetasks import Task, TaskError, TaskState
from acetasks.cli.report import Report
from acetasks.cli.results import TaskResult
from acetasks.cli.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from typer.testing import Result

    from acetasks.testing.server import AceServer

    Terminals = Callable[[], AbstractContextManager[tuple[io.TextIOWrapper, io.TextIOWrapper]]]
    Invoke = Callable[..., Awaitable[Result]]

pytestmark = pytest.mark.real_clock


async def test_unfinished_tasks_exit_with_0(server: AceServer, invoke: Invoke) -> None:
    """Unfinished tasks are printed in the order of the ids, with their progress if the service reports it."""
    ids = [
        server.add("midjourney", after=600, queued_for=0, progress=42),
        server.add("midjourney", after=0),
        server.add("midjourney", after=600, queued_for=300),
    ]
    result = await invoke("get", "midjourney", *ids)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[2] for line in lines] == ids
    assert lines[0].startswith("running") and "42 %" in lines[0]  # noqa: PT018  # one fact
    assert lines[1].startswith("succeeded")
    assert lines[2].startswith("pending")
    assert len(server.requests) == 1


async def test_an_unknown_id_exits_with_1(server: AceServer, invoke: Invoke) -> None:
    """An unknown id is reported as not found at once, without the grace period of `wait`."""
    result = await invoke("get", "luma", server.add("luma", after=0), "unknown-id", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["succeeded", "not_found"]


async def test_a_task_that_is_not_reported_yet_has_a_hint(server: AceServer, invoke: Invoke) -> None:
    """A queued dreamina task is pending, which an unknown id would be as well."""
    ids = [server.add("dreamina", after=900, queued_for=queued_for) for queued_for in (600, 0)]
    result = await invoke("get", "dreamina", *ids)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["pending", "running"]
    assert "dreamina has no record of 1 of these tasks" in result.stderr


async def test_an_invalid_token_exits_with_2(invoke: Invoke) -> None:
    """An invalid token prints one error line with the service's error code."""
    result = await invoke("get", "luma", "an-id", ACEDATACLOUD_API_TOKEN="wrong")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "invalid_token" in result.stderr
    assert result.stderr.count("\n") == 1


async def test_useapi_uses_its_own_base_url_and_token(server: AceServer, invoke: Invoke) -> None:
    """`--base-url` applies to useapi.net for its providers, and no token of Ace Data Cloud is needed."""
    task_id = server.add("useapi-pixverse", after=0)
    unused = "http://127.0.0.1:9"
    result = await invoke(
        "get",
        "useapi-pixverse",
        task_id,
        "--base-url",
        server.url,
        USEAPI_API_BASE_URL=unused,
        ACEDATACLOUD_API_TOKEN=None,
    )
    assert result.exit_code == 0
    assert task_id in result.stdout


async def test_an_unreadable_response_exits_with_1(invoke: Invoke, fake_service: Callable[..., Awaitable[str]]) -> None:
    """An unexpected response is a failure of the task, not a usage error."""
    url = await fake_service(lambda _: (404, {"detail": "not here"}))
    result = await invoke("get", "luma", "an-id", "--base-url", url)
    assert result.exit_code == 1


HOSTILE = "\n\x1b[2J\x9b31m\x7f\u202e"


@pytest.mark.parametrize("is_shared", [True, False], ids=["both terminals", "stderr in a file"])
def test_json_on_a_terminal_has_no_control_characters(terminals: Terminals, *, is_shared: bool) -> None:
    """They are escaped as JSON allows, so that the line stays the same for a program."""
    task = Task(provider="luma", id="a", state=TaskState.FAILED, error=TaskError(message=HOSTILE))
    with terminals() as (out, err), contextlib.redirect_stderr(err if is_shared else io.StringIO()):
        Report(Screen(), as_json=True).add(TaskResult(task))
    line = (err if is_shared else out).text
    assert line.rstrip("\n").isprintable()
    assert json.loads(line)["error"]["message"] == HOSTILE


def test_json_in_a_pipe_has_the_characters_themselves() -> None:
    """A program gets UTF-8 with no more escapes than JSON needs."""
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="ascii")) as out:
        Screen().print_json('{"a":"\u202e"}'.encode())
    assert out.buffer.getvalue() == '{"a":"\u202e"}\n'.encode()
