"""Floor, reading: the floor plus the parsing of changed records by acetasks.

It shows how much of the cost of acetasks beyond the floor is parsing. There are no waiters, learned durations or error
handling.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from acetasks.providers import lookup, read_record
from competitors.rounds import poll_in_rounds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import acetasks
    from competitors import Finished, Follow, Setup


class _Response(msgspec.Struct, gc=False):
    items: list[msgspec.Raw]


@contextlib.asynccontextmanager
async def opened(setup: Setup) -> AsyncIterator[Follow]:
    """Create the decoder."""
    decoder = msgspec.json.Decoder(_Response)
    spec = lookup(setup.provider)

    async def follow(finished: Finished) -> None:
        # The last record of each task.
        pending = dict.fromkeys(setup.ids, b"")
        ended: list[acetasks.Task] = []

        def handle_response(ids: list[str], response: bytes) -> None:
            # The service responds in the order of the ids.
            for task_id, record in zip(ids, map(bytes, decoder.decode(response).items), strict=True):
                if pending[task_id] == record:
                    continue
                pending[task_id] = record
                status = read_record(spec, record)
                if status.state.is_terminal:
                    del pending[task_id]
                    ended.append(status.task)
                    finished(status.id)

        await poll_in_rounds(setup, pending, handle_response)

    yield follow
