"""HTTP listener of the simulated service: aiohttp's low-level server, whose connections can all be aborted at once."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Connections that may wait to be accepted. A thousand clients may connect at once; with the default of 100 the
#: rest would retry a second later.
BACKLOG = 1024
#: Iterations of the event loop from accepting a connection to `connection_made`, plus one.
_ACCEPT_ITERATIONS = 5


class Listener(web.Server):
    """Listening socket and connections of a server, without middleware or access log.

    Args:
        handle: Responds to a request; cancelled when the connection ends.
        on_open: Called for each opened connection.
        on_close: Called for each closed connection.
    """

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        on_open: Callable[[], None],
        on_close: Callable[[], None],
    ) -> None:
        super().__init__(handle, handler_cancellation=True, access_log=None)
        self._on_open = on_open
        self._on_close = on_close
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}
        self._server: asyncio.Server | None = None
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<Listener {'closing' if self._is_closing else 'open'} connections={len(self._transports)}>"

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Register a connection; abort it if it was accepted during the close."""
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._on_open()
        if self._is_closing:
            transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        """Remove a closed connection."""
        super().connection_lost(handler, exc)
        del self._transports[handler]
        self._on_close()

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Start to listen.

        Returns:
            The actual host and port.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(self, host, port, backlog=BACKLOG)
        actual_host, actual_port = self._server.sockets[0].getsockname()[:2]
        return actual_host, actual_port

    def stop_accepting(self) -> None:
        """Accept no more connections.

        asyncio loses a connection that is accepted while the listening socket closes, so this comes first.
        """
        for sock in self._server.sockets if self._server else ():
            with contextlib.suppress(NotImplementedError):  # a proactor loop has no readers
                asyncio.get_running_loop().remove_reader(sock)

    async def close(self) -> None:
        """Abort every connection, wait for the request handlers to end, and close the listening socket."""
        self._is_closing = True
        try:
            for transport in self._transports.values():
                transport.abort()
            # A connection accepted just now is not registered yet: asyncio is still setting it up in a task.
            for _ in range(_ACCEPT_ITERATIONS):
                await asyncio.sleep(0)
            while self._transports or self.connections:  # noqa: ASYNC110  # aiohttp does not signal a handler's end
                await asyncio.sleep(0)
        finally:
            if self._server is not None:
                self._server.close()
        if self._server is not None:
            await self._server.wait_closed()
