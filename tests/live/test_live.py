"""What only the service itself can show: `nox -s live -- --live`, with a token.

Requests that are free, and one picture of a small model that the official SDK lists.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

import acetasks

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real_clock


async def test_an_unknown_id_is_not_found(client: acetasks.Client) -> None:
    """A record of another form than `{}` would be a task that never ends."""
    task = await client.retrieve("luma", str(uuid.uuid4()))

    assert task.state is acetasks.TaskState.NOT_FOUND


async def test_an_unknown_id_is_not_found_in_a_batch(client: acetasks.Client) -> None:
    """The service leaves unknown ids out of a batch, or marks them."""
    ids = [str(uuid.uuid4()) for _ in range(3)]
    tasks = await client.retrieve_batch("flux", ids)

    assert [(task.id, task.state.value) for task in tasks] == [(task_id, "not_found") for task_id in ids]


async def test_a_page_of_the_history_is_read(client: acetasks.Client, *, live: bool) -> None:
    """Newest first, and every record has an id and a known provider; a new account has none."""
    tasks = [task async for task in client.history("flux", limit=10)]

    assert live or tasks
    assert all(task.id and task.provider == "flux" for task in tasks)
    created = [task.created_at for task in tasks if task.created_at is not None]
    assert created == sorted(created, reverse=True)


async def test_a_wrong_token_is_refused(service: tuple[str, str | None]) -> None:
    """The documented HTTP 401, with the service's own code."""
    async with acetasks.Client("not-a-token", base_url=service[1]) as client:
        with pytest.raises(acetasks.AuthenticationError) as caught:
            await client.retrieve("flux", str(uuid.uuid4()))

    assert caught.value.status == 401
    assert caught.value.code
    assert "not-a-token" not in str(caught.value)


@pytest.mark.timeout(600)
async def test_a_cheap_image_is_made_and_downloaded(client: acetasks.Client, tmp_path: Path) -> None:
    """The only one that is paid for; it is submitted once, whatever happens."""
    payload = {"action": "generate", "model": "flux-dev", "size": "1024x1024", "prompt": "a plain red square"}
    handle = await client.submit("flux", payload)
    task = await handle.wait(timeout=500)
    (path, *_) = await client.download(task, tmp_path)
    found = [past.id async for past in client.history("flux", limit=20)]

    assert task.state is acetasks.TaskState.SUCCEEDED
    assert task.created_at
    assert path.stat().st_size > 0
    assert path.read_bytes()[:4] in {b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"RIFF"}
    assert handle.id in found
