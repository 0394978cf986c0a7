"""Announcements between the processes that share a store: sent in groups, and received for as long as it is open."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from acetasks._ledger.store import AnnouncingStore

_logger = logging.getLogger("acetasks")

#: First and maximum seconds until another attempt after a failure; each is twice the one before.
_FIRST_PAUSE, _LAST_PAUSE = 0.1, 30.0
#: Maximum number of texts that wait to be sent; the oldest are dropped first.
_MAX_QUEUED = 1000


class _Pauses:
    """Pauses between attempts, which become longer with each failure that follows soon on the one before."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE
        self._resumed_at = asyncio.get_running_loop().time()

    async def wait(self) -> None:
        """Wait until the next attempt, after one that has failed just now."""
        clock = asyncio.get_running_loop().time
        if clock() - self._resumed_at > _LAST_PAUSE:
            self._next = _FIRST_PAUSE
        await asyncio.sleep(self._next)
        self._next = min(2 * self._next, _LAST_PAUSE)
        self._resumed_at = clock()


class Announcements:
    """Announcements of one process. Any failure of the store delays or loses them, and raises nothing.

    Args:
        store: An open store.
        receive: Called with each text that another process has announced, or this one.
    """

    def __init__(self, store: AnnouncingStore, receive: Callable[[str], object]) -> None:
        self._store = store
        self._receive = receive
        self._queue: list[str] = []
        self._is_queued = asyncio.Event()
        self._is_interrupted = False
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        state = "interrupted" if self._is_interrupted else "open" if self._tasks else "closed"
        return f"<Announcements {state}, {len(self._queue)} queued>"

    def open(self) -> None:
        """Send and receive from now on, in the running loop."""
        self._tasks = [_start(self._listen()), _start(self._send())]

    async def close(self) -> None:
        """Send and receive nothing any more; what is queued is dropped."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def announce(self, text: str) -> None:
        """Queue a text, which is sent together with those of the same moment."""
        self._queue.append(text)
        if len(self._queue) > _MAX_QUEUED:
            del self._queue[0]
        self._is_queued.set()

    async def _send(self) -> None:
        pauses = _Pauses()
        while await self._is_queued.wait():
            self._is_queued.clear()
            texts, self._queue = self._queue, []
            try:
                await self._store.announce(texts)
            except Exception as error:  # noqa: BLE001  # the store may be the user's
                _logger.debug("%d announcements are sent again later: %s", len(texts), error)
                self._queue = [*texts, *self._queue][-_MAX_QUEUED:]
                self._is_queued.set()
                await pauses.wait()

    async def _listen(self) -> None:
        pauses = _Pauses()
        while True:
            try:
                await self._store.listen(self._receive, self._note_listening)
            except Exception as error:  # noqa: BLE001  # as above
                self._note_interrupted(error)
            await pauses.wait()

    def _note_listening(self) -> None:
        if self._is_interrupted:
            _logger.info("announcements of other processes are received again")
        self._is_interrupted = False

    def _note_interrupted(self, error: Exception) -> None:
        if not self._is_interrupted:
            _logger.warning(
                "announcements of other processes are not received (%s); nothing is lost, and receiving is tried again",
                error,
            )
        self._is_interrupted = True


def _start(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
    return asyncio.create_task(work, name="acetasks announcements")
