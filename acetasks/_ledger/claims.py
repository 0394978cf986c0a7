"""Exclusive use of keys: between the calls of one process by claims, and between processes by the age of the stamp."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from acetasks._ledger.entries import EntryState

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks._ledger.entries import Entry

#: First and maximum seconds between two looks at the submission of another process.
_FIRST_LOOK, _LAST_LOOK = 0.1, 2.0
#: Minimum of it: a time of day is rounded, so that the last pause can end a little too early.
_LEAST_LOOK = 0.001


class Claim:
    """The right of one call to write and send a key.

    Attributes:
        freed: Done when the key is free again; None while nothing waits for that.
    """

    __slots__ = ("freed",)

    def __init__(self) -> None:
        self.freed: asyncio.Future[None] | None = None


class Claims:
    """The keys that this process is about to write or to send, each claimed by one call at most."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def __len__(self) -> int:
        return len(self._claims)

    def __repr__(self) -> str:
        return f"<Claims {len(self._claims)} keys>"

    async def wait(self, key: str) -> None:
        """Wait until a key is free."""
        while (claim := self._claims.get(key)) is not None:
            if claim.freed is None:
                claim.freed = asyncio.get_running_loop().create_future()
            await asyncio.wait([claim.freed])

    def find(self, key: str) -> Claim | None:
        """Return the claim of a key, or None if it is free."""
        return self._claims.get(key)

    def claim(self, key: str) -> Claim:
        """Claim a free key."""
        claim = self._claims[key] = Claim()
        return claim

    def free(self, key: str, claim: Claim) -> None:
        """Give a claim up."""
        if self._claims.get(key) is claim:
            del self._claims[key]
        if claim.freed is not None and not claim.freed.done():
            claim.freed.set_result(None)

    def build_release(self, key: str) -> Callable[[], None] | None:
        """Return a function that gives up the claim that a key has now, or None if it is free."""
        claim = self._claims.get(key)
        return None if claim is None else functools.partial(self.free, key, claim)


class Patience:
    """How long a call waits for the submission of its key by another process.

    Args:
        clock: Returns the seconds since the epoch.
        bound: Seconds after its stamp at which a submission is uncertain.
    """

    def __init__(self, clock: Callable[[], float], bound: float) -> None:
        self._clock, self._bound = clock, bound
        self._stamp, self._since, self._pause = 0.0, 0.0, 0.0

    def next_pause(self, entry: Entry) -> float | None:
        """Return the seconds until the next look at an entry without an id; None if it is uncertain."""
        loop_time = asyncio.get_running_loop().time()
        if entry.sent_at != self._stamp:
            self._stamp, self._since, self._pause = entry.sent_at, loop_time, _FIRST_LOOK
        # The stamp is another process's: one that lies in the future is not waited for any longer than a right one.
        left = self._bound - max(self._clock() - entry.sent_at, loop_time - self._since)
        if entry.state is EntryState.UNCERTAIN or left <= 0:
            return None
        pause, self._pause = min(self._pause, left), min(2 * self._pause, _LAST_LOOK)
        return max(pause, _LEAST_LOOK)
