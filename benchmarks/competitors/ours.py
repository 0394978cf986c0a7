"""acetasks: one `as_completed` over all tasks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import acetasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage
#: Requests that may leave within a second where it takes less.
_MOST_AT_ONCE = 300.0


def build_policy(stage: Stage) -> acetasks.PollPolicy:
    """Build the policy: the stage's interval, and everything else as it comes, but for the rate.

    The policy's own 60 looks a second are what the real service's documents allow; the simulated one bears any. Up to
    15,000 tasks may be asked for within a second, and more of them half as fast again as it takes.
    """
    usual = acetasks.PollPolicy(interval=stage.interval)
    batches = len(stage.ids) / usual.batch_size
    rate = max(usual.start_rate, min(batches, _MOST_AT_ONCE), 1.5 * batches / stage.interval)
    return acetasks.PollPolicy(interval=stage.interval, start_rate=rate)


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a client."""
    async with acetasks.Client(stage.token, base_url=stage.url, policy=build_policy(stage)) as client:

        async def follow(finished: Finished) -> None:
            async for task in client.as_completed(stage.provider, stage.ids):
                finished(task.id)

        yield follow
