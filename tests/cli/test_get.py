"""`acetasks get`: one look, with the same lines as `wait` has."""

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


async def test_unfinished_tasks_are_no_failures(server: AceServer, invoke: Invoke) -> None:
    """They are printed in the order given, with their progress where the service says it."""
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


async def test_an_unknown_id_makes_it_1(server: AceServer, invoke: Invoke) -> None:
    """At one look there is no grace."""
    result = await invoke("get", "luma", server.add("luma", after=0), "nobody-knows-this", "--json")
    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["succeeded", "not_found"]


async def test_a_wrong_token_makes_it_2(invoke: Invoke) -> None:
    """As for `wait`."""
    result = await invoke("get", "luma", "an-id", ACEDATACLOUD_API_TOKEN="wrong")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "invalid_token" in result.stderr
    assert result.stderr.count("\n") == 1


async def test_useapi_has_its_own_address_and_token(server: AceServer, invoke: Invoke) -> None:
    """`--base-url` is that of the provider's service."""
    task_id = server.add("useapi-pixverse", after=0)
    away = "http://127.0.0.1:9"
    result = await invoke(
        "get",
        "useapi-pixverse",
        task_id,
        "--base-url",
        server.url,
        USEAPI_API_BASE_URL=away,
        ACEDATACLOUD_API_TOKEN=None,
    )
    assert result.exit_code == 0
    assert task_id in result.stdout


async def test_a_service_that_makes_no_sense_makes_it_1(
    invoke: Invoke, answering: Callable[..., Awaitable[str]]
) -> None:
    """The task could not be asked for, which is no wrong use."""
    url = await answering(lambda _: (404, {"detail": "not here"}))
    result = await invoke("get", "luma", "an-id", "--base-url", url)
    assert result.exit_code == 1
