"""A batch under way: what a request was sent for, until it has come back and been taken in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from acetasks.entries import Batch
    from acetasks.providers import ProviderSpec


class Flight:
    """A batch under way; the batch's place until it is back.

    Its rank among others and its random number are settled when it leaves, so that they do not depend on the order in
    which answers come.

    Attributes:
        spec: The provider's row.
        batch: Who is asked for.
        sent_at: When it left, in seconds of the loop's clock.
        rank: Its rank among others.
        draw: A random number from 0 up to 1.
        wanted: How many of its entries somebody still wants.
        task: The task that brings it back, once it has begun.
    """

    __slots__ = ("batch", "draw", "rank", "sent_at", "spec", "task", "wanted")

    def __init__(self, spec: ProviderSpec, batch: Batch, sent_at: float, rank: int, draw: float) -> None:
        self.spec = spec
        self.batch = batch
        self.sent_at = sent_at
        self.rank = rank
        self.draw = draw
        self.wanted = len(batch.entries)
        self.task: asyncio.Task[None] | None = None
        batch.place = self

    def lose(self) -> None:
        """Take note that nobody wants one of its entries any more. If it is the last, the request is cancelled.

        One that has not begun yet does not begin, if nobody has come back by then.
        """
        self.wanted -= 1
        if not self.wanted and self.task is not None:
            self.task.cancel()
