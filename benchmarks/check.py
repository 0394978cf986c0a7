"""Makes sure that the lean service says what the documented one does, and that every competitor understands it.

Its records are held against the documented sample and against those of `AceServer`, and every competitor awaits a
few tasks of it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from arena import Trial, hold
from client import Measure
from plan import PROVIDER, TOKEN, Load
from records import PENDING, PROCESSING, QUEUED, write_end, write_head

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAMPLE = Path(__file__).parents[1] / "tests" / "samples" / PROVIDER / "succeeded_documented_1.json"
#: Seconds of work of a task that is to be seen queued, pending and processing, and of one that is done.
_LIVES = {"queued": 1e6, "pending": 10.0, "processing": 2.0, "completed": 0.0}
_STATES = {"queued": "pending", "pending": "pending", "processing": "running", "completed": "succeeded"}


class CheckError(Exception):
    """Raised when something is not as it should be."""


def check(competitors: Iterable[str]) -> None:
    """Check the records, and each competitor.

    Args:
        competitors: The names of their modules.

    Raises:
        CheckError: It says what is wrong.
    """
    end = write_end("a", 2.0)
    records = {"queued": QUEUED, "pending": PENDING, "processing": PROCESSING, "completed": end}
    sample = msgspec.json.decode(_SAMPLE.read_bytes(), type=dict[str, object])["payload"]
    simulated = asyncio.run(_ask_simulated())
    for name, rest in records.items():
        record: object = msgspec.json.decode(write_head("a", 1.0) + rest)
        if _shape(record) != _shape(simulated[name]):
            raise CheckError(f"a {name} record is {_shape(record)}, and AceServer's is {_shape(simulated[name])}")
        state = acetasks.normalize(PROVIDER, record).state.value
        if state != _STATES[name]:
            raise CheckError(f"a {name} record is read as {state}")
        if name == "completed" and _shape(record) != _shape(sample):
            raise CheckError(f"a {name} record is {_shape(record)}, and the documented one {_shape(sample)}")
        print(f"{name:12} as AceServer's and read as {state}")
    for name in competitors:
        load = Load(tasks=60, first=0.1, last=1.5)
        result = hold(Trial(competitor=name, measure=Measure.COST, load=load, interval=1.0, limit=10.0))
        if result.figures is None:
            print(f"{name:12} {result.fault}")
        elif result.figures.finished < load.tasks or result.counts.refused:
            raise CheckError(f"{name}: {result.figures.finished} of {load.tasks} tasks, {result.counts!r}")
        elif result.figures.lateness.p50 < 0:
            raise CheckError(f"{name} tells of tasks before they end")
        else:
            print(f"{name:12} awaits every task, in {result.counts.requests} requests")


async def _ask_simulated() -> dict[str, object]:
    """Ask the simulated service for a record of each kind."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with AceServer(token=TOKEN) as server, aiohttp.ClientSession(headers=headers) as http:
        for name, after in _LIVES.items():
            # What is not queued is at work at once.
            server.add(PROVIDER, id=name, after=after, queued_for=None if name == "queued" else 0.0)
        await asyncio.sleep(_LIVES["processing"] * 0.3)
        body = {"ids": list(_LIVES), "action": "retrieve_batch"}
        async with http.post(f"{server.url}/{PROVIDER}/tasks", json=body) as answer:
            items = (await answer.json())["items"]
    return {item["id"]: item for item in items}


def _shape(value: object) -> object:
    """Tell what of a record is the same for all tasks: its keys and types, and the words of its state."""
    if isinstance(value, dict):
        return {key: entry if key in {"state", "success"} else _shape(entry) for key, entry in sorted(value.items())}
    return type(value).__name__
