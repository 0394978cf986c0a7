"""Checks that the benchmark service responds like the documented service, and that every competitor can use it.

Its records are compared with the documented sample and with those of `AceServer`, and every competitor awaits a few
tasks.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import msgspec
from arena import Trial, run_trial
from client import Measure
from plan import PROVIDER, TOKEN, Load
from records import PENDING, PROCESSING, QUEUED, write_end, write_head

import acetasks
from acetasks.testing import AceServer

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAMPLE = Path(__file__).parents[1] / "tests" / "samples" / PROVIDER / "succeeded_documented_1.json"
#: Task durations in seconds that show a queued, a pending, a processing and a completed task.
_DURATIONS = {"queued": 1e6, "pending": 10.0, "processing": 2.0, "completed": 0.0}
_STATES = {"queued": "pending", "pending": "pending", "processing": "running", "completed": "succeeded"}


class CheckError(Exception):
    """Raised when a record or a competitor is not as expected."""


def check(competitors: Iterable[str]) -> None:
    """Check the records, and each competitor.

    Args:
        competitors: Names of the competitors' modules.

    Raises:
        CheckError: A record or a competitor is not as expected.
    """
    end = write_end("a", 2.0)
    records = {"queued": QUEUED, "pending": PENDING, "processing": PROCESSING, "completed": end}
    sample = msgspec.json.decode(_SAMPLE.read_bytes(), type=dict[str, object])["payload"]
    simulated = asyncio.run(_fetch_simulated())
    for name, rest in records.items():
        record: object = msgspec.json.decode(write_head("a", 1.0) + rest)
        if _shape(record) != _shape(simulated[name]):
            raise CheckError(
                f"{name} record: expected {_shape(simulated[name])} as from AceServer, got {_shape(record)}"
            )
        state = acetasks.normalize(PROVIDER, record).state.value
        if state != _STATES[name]:
            raise CheckError(f"{name} record: expected state {_STATES[name]}, got {state}")
        if name == "completed" and _shape(record) != _shape(sample):
            raise CheckError(f"{name} record: expected {_shape(sample)} as documented, got {_shape(record)}")
        print(f"{name:12} same as from AceServer, read as {state}")
    for name in competitors:
        load = Load(tasks=60, first=0.1, last=1.5)
        result = run_trial(Trial(competitor=name, measure=Measure.COST, load=load, interval=1.0, limit=10.0))
        if result.figures is None:
            print(f"{name:12} {result.fault}")
        elif result.figures.finished < load.tasks or result.counts.refused:
            raise CheckError(f"{name}: {result.figures.finished} of {load.tasks} tasks, {result.counts!r}")
        elif result.figures.lateness.p50 < 0:
            raise CheckError(f"{name}: tasks reported before their end")
        else:
            print(f"{name:12} awaited every task in {result.counts.requests} requests")


async def _fetch_simulated() -> dict[str, object]:
    """Return a record of each state from `AceServer`."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with AceServer(token=TOKEN) as server, aiohttp.ClientSession(headers=headers) as http:
        for name, after in _DURATIONS.items():
            # Tasks that are not queued start at once.
            server.add(PROVIDER, id=name, after=after, queued_for=None if name == "queued" else 0.0)
        await asyncio.sleep(_DURATIONS["processing"] * 0.3)
        body = {"ids": list(_DURATIONS), "action": "retrieve_batch"}
        async with http.post(f"{server.url}/{PROVIDER}/tasks", json=body) as response:
            items = (await response.json())["items"]
    return {item["id"]: item for item in items}


def _shape(value: object) -> object:
    """Return the parts of a record that all tasks share: keys, types and state words."""
    if isinstance(value, dict):
        return {key: entry if key in {"state", "success"} else _shape(entry) for key, entry in sorted(value.items())}
    return type(value).__name__
