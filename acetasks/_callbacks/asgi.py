"""ASGI app that receives callbacks, for FastAPI, Starlette, Django and the like; it needs no framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from acetasks._callbacks.receiver import BODY_TIMEOUT

if TYPE_CHECKING:
    from acetasks._callbacks.receiver import CallbackReceiver

#: Digits of a content length that are read: Python refuses to convert thousands.
_MAX_DIGITS = 20
#: The connection and its messages, as ASGI has them.
Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class _DisconnectedError(Exception):
    """Raised when the sender of a request has gone."""


class ASGIApp:
    """ASGI 3 application that receives callbacks, below any path; `Callbacks.asgi_app` creates it."""

    def __init__(self, receiver: CallbackReceiver) -> None:
        self._receiver = receiver

    def __repr__(self) -> str:
        return f"<ASGIApp {self._receiver!r}>"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one connection, as ASGI 3 defines it."""
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            status = await self._receive(scope, receive)
            if status is not None:
                await _respond(send, status)

    async def _receive(self, scope: Message, receive: Receive) -> HTTPStatus | None:
        """Receive one callback; return the status of the response, or None if the sender has gone."""
        if scope["method"] != "POST":
            return HTTPStatus.METHOD_NOT_ALLOWED
        admission = self._receiver.admit(str(scope["path"]))
        # Every other request gets the response of a genuine one, so that nothing can be learned from it.
        if admission is None:
            return HTTPStatus.NO_CONTENT
        try:
            async with asyncio.timeout(BODY_TIMEOUT):
                body = await self._read_body(scope, receive)
        except TimeoutError:
            return HTTPStatus.REQUEST_TIMEOUT
        except _DisconnectedError:
            return None
        if body is None:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        self._receiver.deliver(admission, body)
        return HTTPStatus.NO_CONTENT

    async def _read_body(self, scope: Message, receive: Receive) -> bytes | None:
        """Return the body, or None if it is too large."""
        if _content_length(scope["headers"]) > self._receiver.max_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _DisconnectedError
            chunk = message.get("body", b"")
            if isinstance(chunk, bytes):
                body += chunk
            if len(body) > self._receiver.max_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)


def _content_length(headers: object) -> int:
    """Return the announced size of a body; 0 if it is not announced, as in chunked transfer, or malformed."""
    if isinstance(headers, Iterable):
        for name, value in headers:
            if name.lower() == b"content-length" and value.isdigit():
                return int(value[:_MAX_DIGITS])
    return 0


async def _respond(send: Send, status: HTTPStatus) -> None:
    headers = [(b"allow", b"POST")] if status is HTTPStatus.METHOD_NOT_ALLOWED else []
    if status is not HTTPStatus.NO_CONTENT:  # which has no such header
        headers.append((b"content-length", b"0"))
    await send({"type": "http.response.start", "status": status.value, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
