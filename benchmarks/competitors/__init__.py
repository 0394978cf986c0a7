"""The compared clients, one module each.

Each module has `opened(setup)`, an async context manager that opens the client and returns a coroutine function. That
function awaits every task and calls `finished` with its id when the waiter of the task would continue.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Setup(msgspec.Struct, frozen=True):
    """Parameters of a competitor.

    Attributes:
        url: URL of the service.
        token: Token of the service.
        provider: The provider's slug.
        ids: The task ids.
        interval: Seconds between two polls of a task.
    """

    url: str
    token: str
    provider: str
    ids: list[str]
    interval: float


#: Called with the id of each ended task.
Finished = Callable[[str], None]
#: Awaits every task.
Follow = Callable[[Finished], Coroutine[None, None, None]]


class Competitor(Protocol):
    """Interface of the modules of this package."""

    def opened(self, setup: Setup) -> AbstractAsyncContextManager[Follow]:
        """Open the client."""
