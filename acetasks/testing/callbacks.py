"""Callbacks: each is posted when its task ends, as scripted, and its result is recorded."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

#: Timeout of one post, in seconds.
POST_TIMEOUT = 30.0


class RecordedCallback(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one callback.

    Attributes:
        time: When it was posted (loop time).
        task_id: The id of the ended task.
        url: The URL it was posted to.
        status: The HTTP status of the response, or None if there was none.
        error: Why there was no response, or None.
    """

    time: float
    task_id: str
    url: str
    status: int | None = None
    error: str | None = None


class CallbackScript(msgspec.Struct, frozen=True, kw_only=True):
    """How callbacks are posted: the options of `AceServer.script_callbacks`.

    Attributes:
        delay: Seconds from the end of the task.
        copies: How many times each is posted, at once.
        drop_rate: Share of the tasks whose callback is never posted, from 0 to 1.
    """

    delay: float = 0.0
    copies: int = 1
    drop_rate: float = 0.0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: A number is out of range.
        """
        if not (math.isfinite(self.delay) and self.delay >= 0):
            raise ValueError(f"delay must be a finite number of at least 0, got {self.delay!r}")
        if self.copies < 1:
            raise ValueError(f"copies must be at least 1, got {self.copies!r}")
        if not 0 <= self.drop_rate <= 1:
            raise ValueError(f"drop_rate must be from 0 to 1, got {self.drop_rate!r}")


class CallbackSender:
    """Posts callbacks in the running event loop and passes each result to `record`.

    Attributes:
        script: How the callbacks of later submissions are posted.
    """

    def __init__(self, record: Callable[[RecordedCallback], None], *, seed: int = 0) -> None:
        self.script = CallbackScript()
        self._rng = random.Random(f"{seed} callbacks")
        self._record = record
        self._timers: set[asyncio.TimerHandle] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"<CallbackSender scheduled={len(self._timers)} in_flight={len(self._deliveries)}>"

    def schedule(self, due: float, *, task_id: str, url: str, build: Callable[[], bytes | None]) -> None:
        """Schedule a callback.

        Args:
            due: When the task ends (loop time).
            task_id: The id of the task that ends then.
            url: Where to post it.
            build: Returns the body, or None to post nothing; called when the callback is due.
        """

        def start() -> None:
            self._timers.remove(timer)
            body = build()
            if body is None:
                return
            for _ in range(script.copies):
                delivery = asyncio.ensure_future(self._deliver(task_id, url, body))
                self._deliveries.add(delivery)
                delivery.add_done_callback(self._deliveries.discard)

        script = self.script
        if script.drop_rate and self._rng.random() < script.drop_rate:
            return
        timer = asyncio.get_running_loop().call_at(due + script.delay, start)
        self._timers.add(timer)

    async def close(self) -> None:
        """Drop scheduled callbacks and cancel those in flight."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        deliveries = list(self._deliveries)
        for delivery in deliveries:
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _deliver(self, task_id: str, url: str, body: bytes) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=POST_TIMEOUT))
        time = asyncio.get_running_loop().time()
        status = error = None
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError) as problem:
            error = str(problem) or type(problem).__name__
        self._record(RecordedCallback(time=time, task_id=task_id, url=url, status=status, error=error))
