"""Polling loop of the floor: polls all pending tasks in batches at every interval."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from competitors import Setup

_BATCH = 50
#: Maximum number of concurrent requests, as in acetasks.
_IN_FLIGHT = 8


async def poll_in_rounds(
    setup: Setup, pending: Collection[str], handle_response: Callable[[list[str], bytes], None]
) -> None:
    """Poll at every interval until no task is pending, with the default settings of aiohttp.

    Args:
        setup: Service and interval.
        pending: The ids to poll, read at each interval.
        handle_response: Called with the ids and the response of each batch.
    """
    url = f"{setup.url}/{setup.provider}/tasks"
    headers = {"authorization": f"Bearer {setup.token}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def poll(batches: list[list[str]]) -> None:
            for batch in batches:
                body = msgspec.json.encode({"ids": batch, "action": "retrieve_batch"})
                async with http.post(url, data=body) as response:
                    handle_response(batch, await response.read())

        clock = asyncio.get_running_loop().time
        while pending:
            next_round = clock() + setup.interval
            ids = list(pending)
            batches = [ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH)]
            await asyncio.gather(*(poll(batches[worker::_IN_FLIGHT]) for worker in range(_IN_FLIGHT)))
            await asyncio.sleep(next_round - clock())
