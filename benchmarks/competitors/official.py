"""Official SDK: its `tasks.wait` for each task, gathered, which is its way to await many tasks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Setup

# Imported by name, since it has no types and is not installed for the type checks.
sdk = importlib.import_module("acedatacloud")


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Open a client with the default settings of the SDK."""
    async with sdk.AsyncAceDataCloud(setup.token, base_url=setup.url) as client:

        async def follow(finished: Finished) -> None:
            async def wait(task_id: str) -> None:
                await client.tasks.wait(
                    task_id, service=setup.provider, poll_interval=setup.interval, max_wait=math.inf
                )
                finished(task_id)

            await asyncio.gather(*map(wait, setup.ids))

        yield follow
