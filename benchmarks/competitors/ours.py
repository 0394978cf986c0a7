"""acetasks: one `as_completed` over all tasks."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import acetasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Setup
#: Maximum number of requests per second, unless the interval needs more.
_MOST_AT_ONCE = 300.0


def build_policy(setup: Setup) -> acetasks.PollPolicy:
    """Return the default policy with the given interval and a higher rate.

    The default of 60 requests per second is the documented limit of the real service; the simulated one has no limit.
    Up to 15,000 tasks can be polled within a second, and more at 1.5 times the needed rate.
    """
    default = acetasks.PollPolicy(interval=setup.interval)
    batches = len(setup.ids) / default.batch_size
    rate = max(default.start_rate, min(batches, _MOST_AT_ONCE), 1.5 * batches / setup.interval)
    return acetasks.PollPolicy(interval=setup.interval, start_rate=rate)


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Open a client."""
    async with acetasks.Client(setup.token, base_url=setup.url, policy=build_policy(setup)) as client:

        async def follow(finished: Finished) -> None:
            async for task in client.as_completed(setup.provider, setup.ids):
                finished(task.id)

        yield follow
