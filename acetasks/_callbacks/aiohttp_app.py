"""aiohttp application that receives callbacks, to be added to another one."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from acetasks._callbacks.receiver import BODY_TIMEOUT

if TYPE_CHECKING:
    from acetasks._callbacks.receiver import CallbackReceiver


def build_aiohttp_app(receiver: CallbackReceiver) -> web.Application:
    """Build the application: it serves every path below the one that it is added at."""
    app = web.Application()
    app.router.add_route(hdrs.METH_ANY, "/{path:.*}", functools.partial(_handle, receiver))
    return app


async def _handle(receiver: CallbackReceiver, request: web.Request) -> web.Response:
    if request.method != hdrs.METH_POST:
        raise web.HTTPMethodNotAllowed(request.method, [hdrs.METH_POST])
    admission = receiver.admit(request.path)
    # Every other request gets the response of a genuine one, so that nothing can be learned from it.
    if admission is None:
        return web.Response(status=204)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await _read_body(request, receiver.max_bytes)
    except TimeoutError:
        raise web.HTTPRequestTimeout from None
    except (ConnectionError, web.RequestPayloadError):  # the sender has gone, or the encoding is wrong
        raise web.HTTPBadRequest from None
    receiver.deliver(admission, body)
    return web.Response(status=204)


async def _read_body(request: web.Request, max_bytes: int) -> bytes:
    """Return the body; the limit of the whole application is not the one of callbacks.

    Raises:
        HTTPRequestEntityTooLarge: It is too large.
    """
    too_large = web.HTTPRequestEntityTooLarge(max_bytes, request.content_length or max_bytes)
    if (request.content_length or 0) > max_bytes:
        raise too_large
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise too_large
    return bytes(body)
