"""acetasks, used like the official SDK: a `wait` for each task, gathered."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import acetasks
from competitors.ours import build_policy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Setup


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Open a client."""
    async with acetasks.Client(setup.token, base_url=setup.url, policy=build_policy(setup)) as client:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                await client.wait(setup.provider, task_id)
                finished(task_id)

            await asyncio.gather(*map(wait, setup.ids))

        yield follow
