"""A TCP proxy on this machine that cuts, stalls and refuses connections."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

#: Bytes that are passed on at once.
_CHUNK = 65536


class TCPProxy:
    """A proxy in front of a server.

    Args:
        host: Host of the server.
        port: Port of the server.

    Attributes:
        port: The proxy's own port, on 127.0.0.1.
        connections: Number of connections that were accepted.
        upstream_left: Bytes to the server after which the connection is cut; None for no limit.
        downstream_left: Bytes from the server after which it is cut, likewise.
        flowing: Set while data is passed on, in both directions.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.connections = 0
        self.upstream_left: int | None = None
        self.downstream_left: int | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        await asyncio.sleep(0)

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Cut all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections, and remove the limits."""
        self.upstream_left = self.downstream_left = None
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        pair = {writer, server_writer}
        self._writers |= pair
        with contextlib.suppress(OSError):
            await asyncio.gather(
                self._pass_on(reader, server_writer, "upstream_left"),
                self._pass_on(server_reader, writer, "downstream_left"),
            )
        self._writers -= pair
        for one in pair:
            one.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: str) -> None:
        while data := await reader.read(_CHUNK):
            await self.flowing.wait()
            left = getattr(self, limit)
            writer.write(data if left is None else data[:left])
            await writer.drain()
            if left is not None:
                setattr(self, limit, left - len(data))
                if left <= len(data):
                    self.cut()
                    return
        raise ConnectionResetError  # the other direction ends too
