"""A store in memory that passes announcements, as the processes of a database would share it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from acetasks import LedgerError, MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class AnnouncingMemoryStore(MemoryStore):
    """An `AnnouncingStore` in memory; each client that has it is a process of its own.

    Args:
        latency: Seconds of sending a group.

    Attributes:
        groups: The texts of each call of `announce` that did not fail.
        attempts: Loop times at which `announce` and `listen` were called.
        is_down: Whether both fail.
        is_deaf: Whether what is announced is received by nobody.
    """

    def __init__(self, latency: float = 0.0) -> None:
        super().__init__()
        self.latency = latency
        self.groups: list[list[str]] = []
        self.attempts: dict[str, list[float]] = {"announce": [], "listen": []}
        self.is_down = False
        self.is_deaf = False
        self._listeners: dict[asyncio.Future[None], Callable[[str], object]] = {}

    @property
    def announced(self) -> list[str]:
        """All texts that were announced."""
        return [text for group in self.groups for text in group]

    @property
    def listening(self) -> int:
        """Number of calls of `listen` that go on."""
        return len(self._listeners)

    def interrupt(self) -> None:
        """End all calls of `listen` with an error."""
        for lost in self._listeners:
            lost.set_exception(_build_error())

    async def announce(self, texts: Sequence[str]) -> None:
        """Implement `AnnouncingStore.announce`."""
        self._attempt("announce")
        await asyncio.sleep(self.latency)
        self.groups.append(list(texts))
        for receive in () if self.is_deaf else tuple(self._listeners.values()):
            for text in texts:
                receive(text)

    async def listen(self, receive: Callable[[str], object], on_listening: Callable[[], object]) -> None:
        """Implement `AnnouncingStore.listen`."""
        self._attempt("listen")
        lost = asyncio.get_running_loop().create_future()
        self._listeners[lost] = receive
        on_listening()
        try:
            await lost
        finally:
            del self._listeners[lost]

    def _attempt(self, name: str) -> None:
        self.attempts[name].append(asyncio.get_running_loop().time())
        if self.is_down:
            raise _build_error()


def _build_error() -> LedgerError:
    return LedgerError("the connection was lost", location="memory", transient=True)
