"""The ways to await many tasks that are compared, a module each.

Each has `opened(stage)`, an async context manager that sets up what is needed, and gives a coroutine function that
awaits every task and calls `finished` with its id when whoever waits for it would go on.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Stage(msgspec.Struct, frozen=True):
    """What a competitor is given.

    Attributes:
        url: Where the service is.
        token: What opens it.
        provider: The provider's slug.
        ids: The tasks.
        interval: Seconds between two looks at a task.
    """

    url: str
    token: str
    provider: str
    ids: list[str]
    interval: float


#: Told of each task that has ended.
Finished = Callable[[str], None]
#: Awaits every task.
Follow = Callable[[Finished], Coroutine[None, None, None]]


class Competitor(Protocol):
    """A module of this package."""

    def opened(self, stage: Stage) -> AbstractAsyncContextManager[Follow]:
        """Set up."""
