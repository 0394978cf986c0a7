"""Calls in threads for which the virtual clock stands still. Only the standard library is imported."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable


class ThreadCalls:
    """The calls in threads that have not returned to one event loop.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._futures: set[asyncio.Future[Any]] = set()
        self._returned: weakref.WeakKeyDictionary[threading.Thread, int] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<ThreadCalls {len(self.find())}>"

    def add(self, future: asyncio.Future[Any]) -> None:
        """Track a call by the future of its result."""
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)

    def observe_report(self, callback: object) -> None:
        """Note that a worker of anyio reports a result, in the worker's thread."""
        worker = getattr(callback, "__self__", None)
        if isinstance(worker, threading.Thread):
            self._returned[worker] = self._returned.get(worker, 0) + 1

    def find(self) -> dict[Hashable, str]:
        """Return the calls that have not returned, as keys that differ for each call."""
        # anyio's threads do not report to the loop before they return. But each is in a list of idle workers unless it
        # is in use, and only the loop's own thread changes that list, so this is exact in that thread.
        calls: dict[Hashable, str] = dict.fromkeys(self._futures, "a call in a thread")
        for thread in threading.enumerate():
            if getattr(thread, "loop", None) is not self._loop() or getattr(thread, "stopping", True):
                continue
            if thread not in getattr(thread, "idle_workers", (thread,)):
                calls[thread, self._returned.get(thread, 0)] = f"a call in the thread {thread.name!r}"
        return calls
