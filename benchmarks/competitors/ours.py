"""acetasks: one `as_completed` over all tasks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import acetasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage

#: The load, in looks a second, up to which the policy's own `start_rate` is left as it is. It is what the real
#: service's documents allow; the simulated one bears any.
_USUAL_RATE = 45.0


def build_policy(stage: Stage) -> acetasks.PollPolicy:
    """Build the policy: the stage's interval, and everything else as it comes, unless the load needs a higher rate."""
    usual = acetasks.PollPolicy(interval=stage.interval)
    rate = len(stage.ids) / usual.batch_size / stage.interval
    if rate <= _USUAL_RATE:
        return usual
    return acetasks.PollPolicy(interval=stage.interval, start_rate=1.5 * rate)


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a client."""
    async with acetasks.Client(stage.token, base_url=stage.url, policy=build_policy(stage)) as client:

        async def follow(finished: Finished) -> None:
            async for task in client.as_completed(stage.provider, stage.ids):
                finished(task.id)

        yield follow
