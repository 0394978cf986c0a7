"""What a careful user writes: a loop for each task, over one shared aiohttp session."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage

_ENDS = {"completed", "failed"}


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a session with aiohttp's own settings."""
    url = f"{stage.url}/{stage.provider}/tasks"
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {stage.token}"}) as http:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                while True:
                    # What fails is asked again at the next turn.
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with http.post(url, json={"id": task_id, "action": "retrieve"}) as answer:
                            answer.raise_for_status()
                            record = await answer.json()
                        if record.get("response", {}).get("state") in _ENDS:
                            break
                    await asyncio.sleep(stage.interval)
                finished(task_id)

            await asyncio.gather(*map(wait, stage.ids))

        yield follow
