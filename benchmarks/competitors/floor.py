"""The floor: the least that has to be done. Batches of 50 at every interval, and a look at whether each task ended.

No waiters, no tasks made of records, no failures, no limits, no fairness: nobody should use it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage

_BATCH = 50
#: Requests under way at once, as many as acetasks has.
_LANES = 8


class _Record(msgspec.Struct, gc=False):
    id: str
    finished_at: float | None = None


class _Answer(msgspec.Struct, gc=False):
    items: list[_Record]


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a session with aiohttp's own settings."""
    url = f"{stage.url}/{stage.provider}/tasks"
    decoder = msgspec.json.Decoder(_Answer)
    headers = {"authorization": f"Bearer {stage.token}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def follow(finished: Finished) -> None:
            pending = dict.fromkeys(stage.ids)

            async def ask(batches: list[list[str]]) -> None:
                for batch in batches:
                    body = msgspec.json.encode({"ids": batch, "action": "retrieve_batch"})
                    async with http.post(url, data=body) as answer:
                        records = decoder.decode(await answer.read()).items
                    for record in records:
                        if record.finished_at is not None:
                            del pending[record.id]
                            finished(record.id)

            clock = asyncio.get_running_loop().time
            while pending:
                again = clock() + stage.interval
                ids = list(pending)
                batches = [ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH)]
                await asyncio.gather(*(ask(batches[lane::_LANES]) for lane in range(_LANES)))
                await asyncio.sleep(again - clock())

        yield follow
