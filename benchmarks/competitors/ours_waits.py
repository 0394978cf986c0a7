"""acetasks, called as the official SDK is: a `wait` for each task, gathered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import acetasks
from competitors.ours import build_policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a client."""
    async with acetasks.Client(stage.token, base_url=stage.url, policy=build_policy(stage)) as client:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                await client.wait(stage.provider, task_id)
                finished(task_id)

            await asyncio.gather(*map(wait, stage.ids))

        yield follow
