"""The floor with acetasks' reader: what is new of a task is read, and whoever is told of its end has it whole.

It shows how much of what acetasks takes beyond the floor is reading. Nobody waits here either, nothing is learned, and
nothing may fail.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers import lookup, read_record
from competitors.rounds import ask_in_rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import acetasks
    from competitors import Finished, Follow, Stage


class _Answer(msgspec.Struct, gc=False):
    items: list[msgspec.Raw]


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Make what decodes and reads the answers."""
    decoder = msgspec.json.Decoder(_Answer)
    spec = lookup(stage.provider)

    async def follow(finished: Finished) -> None:
        # Each with its record as it was last read.
        pending = dict.fromkeys(stage.ids, b"")
        ended: list[acetasks.Task] = []

        def take_in(ids: list[str], answer: bytes) -> None:
            # The service answers in the order of asking.
            for task_id, record in zip(ids, map(bytes, decoder.decode(answer).items), strict=True):
                if pending[task_id] == record:
                    continue
                pending[task_id] = record
                reading = read_record(spec, record)
                if reading.state.is_terminal:
                    del pending[task_id]
                    ended.append(reading.task)
                    finished(reading.id)

        await ask_in_rounds(stage, pending, take_in)

    yield follow
