"""`acetasks get`: retrieves tasks once, and prints the same lines as `wait`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typer.testing import Result

    from acetasks.testing.server import AceServer

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
