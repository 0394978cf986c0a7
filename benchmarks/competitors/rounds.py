"""Asking for all that is pending in batches, time after time: what the floor does, whatever it makes of the answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from competitors import Stage

_BATCH = 50
#: Requests under way at once, as many as acetasks has.
_LANES = 8


async def ask_in_rounds(stage: Stage, pending: Collection[str], take_in: Callable[[list[str], bytes], None]) -> None:
    """Ask at every interval until nothing is pending, in a session with aiohttp's own settings.

    Args:
        stage: Where and how often.
        pending: The ids to ask for, as they are at each interval.
        take_in: Given the ids of each batch and the answer.
    """
    url = f"{stage.url}/{stage.provider}/tasks"
    headers = {"authorization": f"Bearer {stage.token}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def ask(batches: list[list[str]]) -> None:
            for batch in batches:
                body = msgspec.json.encode({"ids": batch, "action": "retrieve_batch"})
                async with http.post(url, data=body) as answer:
                    take_in(batch, await answer.read())

        clock = asyncio.get_running_loop().time
        while pending:
            again = clock() + stage.interval
            ids = list(pending)
            batches = [ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH)]
            await asyncio.gather(*(ask(batches[lane::_LANES]) for lane in range(_LANES)))
            await asyncio.sleep(again - clock())
