"""The floor: the least that has to be done. Batches of 50 at every interval, and a look at whether each task ended.

No waiters, no tasks made of records, no failures, no limits, no fairness: nobody should use it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from competitors.rounds import ask_in_rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Stage


class _Record(msgspec.Struct, gc=False):
    id: str
    finished_at: float | None = None


class _Answer(msgspec.Struct, gc=False):
    items: list[_Record]


@contextlib.asynccontextmanager
async def opened(stage: Stage) -> AsyncIterator[Follow]:
    """Make what decodes the answers."""
    decoder = msgspec.json.Decoder(_Answer)

    async def follow(finished: Finished) -> None:
        pending = dict.fromkeys(stage.ids)

        def take_in(_: list[str], answer: bytes) -> None:
            for record in decoder.decode(answer).items:
                if record.finished_at is not None:
                    del pending[record.id]
                    finished(record.id)

        await ask_in_rounds(stage, pending, take_in)

    yield follow
