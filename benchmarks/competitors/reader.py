"""The floor with acetasks' reader: what is new of a task is read, and whoever is told of its end has it whole.

Of all that acetasks does this is what no client can leave out. Nobody waits here either, nothing is learned, and
nothing may fail.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import acetasks
    from competitors import Finished, Follow, Stage

_BATCH = 50
#: Requests under way at once, as many as acetasks has.
_LANES = 8


class _Answer(msgspec.Struct, gc=False):
    items: list[msgspec.Raw]


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Open a session with aiohttp's own settings."""
    url = f"{stage.url}/{stage.provider}/tasks"
    spec = lookup(stage.provider)
    decoder = msgspec.json.Decoder(_Answer)
    headers = {"authorization": f"Bearer {stage.token}", "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def follow(finished: Finished) -> None:
            # Each with its record as it was last read.
            pending = dict.fromkeys(stage.ids, b"")
            ended: list[acetasks.Task] = []

            async def ask(batches: list[list[str]]) -> None:
                for batch in batches:
                    body = msgspec.json.encode({"ids": batch, "action": "retrieve_batch"})
                    async with http.post(url, data=body) as answer:
                        records = map(bytes, decoder.decode(await answer.read()).items)
                    # The service answers in the order of asking.
                    for task_id, record in zip(batch, records, strict=True):
                        if pending[task_id] == record:
                            continue
                        pending[task_id] = record
                        reading = read_record(spec, record)
                        if reading.state.is_terminal:
                            del pending[task_id]
                            ended.append(reading.task)
                            finished(reading.id)

            clock = asyncio.get_running_loop().time
            while pending:
                again = clock() + stage.interval
                ids = list(pending)
                batches = [ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH)]
                await asyncio.gather(*(ask(batches[lane::_LANES]) for lane in range(_LANES)))
                await asyncio.sleep(again - clock())

        yield follow
