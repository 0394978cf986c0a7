"""Loop per task: a polling loop for each task with one shared aiohttp session, as a careful user would write it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Setup

_ENDS = {"completed", "failed"}


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Open a session with the default settings of aiohttp."""
    url = f"{setup.url}/{setup.provider}/tasks"
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {setup.token}"}) as http:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                while True:
                    # Failed polls are repeated after the interval.
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with http.post(url, json={"id": task_id, "action": "retrieve"}) as response:
                            response.raise_for_status()
                            record = await response.json()
                        if record.get("response", {}).get("state") in _ENDS:
                            break
                    await asyncio.sleep(setup.interval)
                finished(task_id)

            await asyncio.gather(*map(wait, setup.ids))

        yield follow
