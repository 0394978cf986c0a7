"""Floor: the minimal work of a client. It polls batches of 50 at every interval and checks for ended tasks.

It has no waiters, task objects, error handling, rate limits or fairness, and is not meant for use.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from competitors.rounds import poll_in_rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from competitors import Finished, Follow, Setup


class _Record(msgspec.Struct, gc=False):
    id: str
    finished_at: float | None = None


class _Response(msgspec.Struct, gc=False):
    items: list[_Record]


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Create the decoder."""
    decoder = msgspec.json.Decoder(_Response)

    async def follow(finished: Finished) -> None:
        pending = dict.fromkeys(setup.ids)

        def handle_response(_: list[str], response: bytes) -> None:
            for record in decoder.decode(response).items:
                if record.finished_at is not None:
                    del pending[record.id]
                    finished(record.id)

        await poll_in_rounds(setup, pending, handle_response)

    yield follow
