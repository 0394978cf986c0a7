"""The door: aiohttp's low-level server, with connections that are counted and can all be cut at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Rounds of the event loop from accepting a connection to its being ours, with one to spare.
_ACCEPTING_ROUNDS = 5


class Door(web.Server):
    """A protocol factory for `loop.create_server`, without routing, middleware or access log."""

    def __init__(
        self,
        receive: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        opened: Callable[[], None],
        closed: Callable[[], None],
    ) -> None:
        """Put up the door in the running event loop.

        Args:
            receive: Answers a request; it is cancelled when its connection ends.
            opened: Is called when a connection is opened.
            closed: Is called when one is closed, by whichever side.
        """
        super().__init__(receive, handler_cancellation=True, access_log=None)
        self._opened = opened
        self._closed = closed
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<Door {'closing' if self._is_closing else 'open'} connections={len(self._transports)}>"

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Let a connection in, unless the door is closing: then it was accepted a moment too late."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._opened()
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """See a connection out."""
        super().connection_lost(handler, exc)
        del self._transports[handler]
        self._closed()

    async def close(self) -> None:
        """Cut every connection, and wait until the requests that were being answered have ended."""
        self._is_closing = True
        for transport in self._transports.values():
            transport.abort()
        # What the listener has just accepted is none of ours yet, and a task of asyncio's own meanwhile.
        for _ in range(_ACCEPTING_ROUNDS):
            await asyncio.sleep(0)
        while self._transports or self.connections:  # noqa: ASYNC110  # aiohttp tells nobody when a handler ends
            await asyncio.sleep(0)
