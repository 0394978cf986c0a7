"""The courier: posts callbacks when their tasks end, and keeps a list of what became of each.

One timer serves them all, however many there are. A callback is posted once: whoever misses it has to ask.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import aiohttp
import msgspec

#: Seconds that the receiver of a callback is given.
POST_TIMEOUT = 30.0


class RecordedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one callback.

    Attributes:
        time: When it was posted, in seconds on the clock of the server's event loop.
        task_id: The task that it tells of.
        url: Where it was posted.
        status: The HTTP status of the answer, or None where none came.
        error: Why none came, or None.
    """

    time: float
    task_id: str
    url: str
    status: int | None = None
    error: str | None = None


class _Parcel(msgspec.Struct, frozen=True, order=True):
    """One callback to be posted; the number keeps the order of those that are due at once."""

    due: float
    number: int
    task_id: str
    url: str
    build: Callable[[], bytes]


class Courier:
    """Posts callbacks in the running event loop."""

    def __init__(self, note: Callable[[RecordedCallback], None]) -> None:
        """Begin with nothing to post.

        Args:
            note: Is told what became of each callback.
        """
        self._note = note
        self._parcels: list[_Parcel] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<Courier waiting={len(self._parcels)} under_way={len(self._under_way)}>"

    def take(self, due: float, *, task_id: str, url: str, build: Callable[[], bytes]) -> None:
        """Take a callback to be posted later.

        Args:
            due: When, in seconds on the loop's clock.
            task_id: The task that it tells of.
            url: Where to post it.
            build: Makes the body when it is due.
        """
        self._number += 1
        heapq.heappush(self._parcels, _Parcel(due, self._number, task_id, url, build))
        self._set_timer()

    async def close(self) -> None:
        """Post nothing more, and break off what is under way."""
        self._parcels.clear()
        self._set_timer()
        under_way = list(self._under_way)
        for delivery in under_way:
            delivery.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _set_timer(self) -> None:
        """Wake up when the next callback is due, or not at all."""
        due = self._parcels[0].due if self._parcels else None
        if self._timer is not None and self._timer.when() != due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._send_due, due)

    def _send_due(self, due: float) -> None:
        """Start every delivery whose time has come."""
        self._timer = None
        # A timer may fire a hair before its time: what it was set for is due in any case.
        due = max(due, asyncio.get_running_loop().time())
        while self._parcels and self._parcels[0].due <= due:
            delivery = asyncio.ensure_future(self._deliver(heapq.heappop(self._parcels)))
            self._under_way.add(delivery)
            delivery.add_done_callback(self._under_way.discard)
        self._set_timer()

    async def _deliver(self, parcel: _Parcel) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT))
        time = asyncio.get_running_loop().time()
        status = error = None
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                parcel.url, data=parcel.build(), headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError) as problem:
            error = str(problem) or type(problem).__name__
        self._note(RecordedCallback(time=time, task_id=parcel.task_id, url=parcel.url, status=status, error=error))
