"""The official SDK: its `tasks.wait` for each task, gathered, which is the way that it has for many."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage

# By name, since it has no types, and the checks do without it.
sdk = importlib.import_module("acedatacloud")


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a client with the SDK's own settings."""
    async with sdk.AsyncAceDataCloud(stage.token, base_url=stage.url) as client:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                await client.tasks.wait(
                    task_id, service=stage.provider, poll_interval=stage.interval, max_wait=math.inf
                )
                finished(task_id)

            await asyncio.gather(*map(wait, stage.ids))

        yield follow
