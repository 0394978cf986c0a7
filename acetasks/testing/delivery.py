"""Delivery of a response: at once and whole, or delayed, in pieces, truncated or reset.

Every wait ends with the connection: aiohttp then cancels the handler's task.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import math
import re
import socket
import struct
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import msgspec
from aiohttp import hdrs, web

from acetasks.testing.checks import check_count, check_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.testing.responses import RawResponse

#: Default number of pieces of a dripping body: short gaps without many timers.
DRIP_PIECES = 50
#: Statuses whose responses have no body in HTTP.
BODILESS_STATUSES = frozenset({204, 304})

#: Iterations of the event loop until a client in the same loop has read a write: one to notice it and one to read
#: it, plus one.
_READ_ITERATIONS = 3
#: `struct linger`: on, with zero seconds. Closing a socket with it resets the connection.
_LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
#: RFC 9110: the characters of a header's name (5.6.2), and those that its value must not have (5.5).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Headers that define where a body ends. Wrong values would only confuse the client's HTTP library.
_FRAMING_HEADERS = frozenset({"content-length", "transfer-encoding"})


class DeliveryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a response is sent. Times are in seconds.

    Attributes:
        headers: Headers to add or replace; None means none.
        hang: Delay before the response; infinite means no response at all, None no delay.
        reset: Whether to reset the connection: before the response or, with `truncate` or `cut`, within the body.
        truncate: Fraction of the body, from 0 to less than 1, after which the connection closes; None sends all.
        cut: Number of bytes of the body after which the connection closes; None sends all.
        drip: Duration of the body, from its first piece to its last; infinite stops after the first piece, None
            sends the body at once.
        split: Number of pieces, each written by itself; None means one, or `DRIP_PIECES` with `drip`.
    """

    headers: Mapping[str, str] | None = None
    hang: float | None = None
    reset: bool = False
    truncate: float | None = None
    cut: int | None = None
    drip: float | None = None
    split: int | None = None

    def __post_init__(self) -> None:
        """Check the values and copy the headers.

        Raises:
            TypeError: A value has the wrong type.
            ValueError: A number is out of range, or a header is invalid.
        """
        if self.headers is not None:
            _check_headers(self.headers)
            msgspec.structs.force_setattr(self, "headers", dict(self.headers))  # the caller's may change
        if not isinstance(self.reset, bool):
            raise TypeError(f"reset must be True or False, got {self.reset!r}")
        for name in ("hang", "truncate", "drip"):
            check_number(name, getattr(self, name))
        if self.hang is not None and not self.hang >= 0:
            raise ValueError(f"hang must be at least 0 seconds, or math.inf for no response, got {self.hang!r}")
        if self.truncate is not None and not 0 <= self.truncate < 1:
            raise ValueError(f"truncate must be a fraction of the body from 0 to less than 1, got {self.truncate!r}")
        check_count("cut", self.cut, minimum=0)
        if self.cut is not None and self.truncate is not None:
            raise ValueError("truncate is a fraction of the body and cut a number of bytes: pass one of them")
        if self.drip is not None and not self.drip >= 0:
            raise ValueError(
                f"drip must be at least 0 seconds, or math.inf to stop after the first piece, got {self.drip!r}"
            )
        check_count("split", self.split, minimum=2)

    @property
    def sends_nothing(self) -> bool:
        """Whether no byte of the response is sent."""
        return self.hang == math.inf or (self.reset and not self.closes_early)

    @property
    def needs_body(self) -> bool:
        """Whether the options apply to the body."""
        return self.closes_early or self.drip is not None or self.split is not None

    @property
    def closes_early(self) -> bool:
        """Whether the connection may close within the body."""
        return self.truncate is not None or self.cut is not None

    def closes_within(self, content: bytes) -> bool:
        """Whether the connection closes before the end of a body."""
        return self.truncate is not None or (self.cut is not None and self.cut < len(content))

    def pieces(self, content: bytes) -> Iterator[bytes]:
        """Yield the pieces of a body to send, none of them empty."""
        size = len(content) if self.truncate is None else int(len(content) * self.truncate)
        size = size if self.cut is None else min(size, self.cut)
        count = min(self.split or (1 if self.drip is None else DRIP_PIECES), size)
        for number in range(count):
            yield content[size * number // count : size * (number + 1) // count]


async def wait_before_response(request: web.BaseRequest, options: DeliveryOptions) -> None:
    """Wait for the delay before a response; return only if a response is to be sent."""
    if options.hang is not None:
        await sleep_until(loop_time() + options.hang)
    if options.sends_nothing:
        await _close_connection(request, reset=True)


async def send(
    request: web.BaseRequest, response: RawResponse, options: DeliveryOptions, *, date: float
) -> web.StreamResponse:
    """Send a response after the delay before it.

    Args:
        request: The request.
        response: The response.
        options: How to send it.
        date: The time of its `Date` header, in seconds since the epoch.

    Returns:
        The response for aiohttp to finish.
    """
    may_have_body = request.method != hdrs.METH_HEAD and response.status not in BODILESS_STATUSES
    if not (options.needs_body and response.content and may_have_body):
        whole = web.Response(body=response.content, status=response.status)
        _set_headers(whole, response, options, date)
        return whole
    # The length of the whole body is announced, even if less of it is sent.
    stream = web.StreamResponse(status=response.status)
    stream.content_length = len(response.content)
    _set_headers(stream, response, options, date)
    try:
        await stream.prepare(request)
        await _write(stream, response.content, options)
    except ConnectionError:  # the client has disconnected; the loop is about to report it
        await _close_connection(request)
    if options.closes_within(response.content):
        await _close_connection(request, reset=options.reset)
    await stream.write_eof()
    return stream


async def sleep_until(when: float) -> None:
    """Sleep until exactly `when` (loop time), or forever if it is infinite."""
    loop = asyncio.get_running_loop()
    wakeup = loop.create_future()
    # asyncio.sleep() takes a duration, and adding it to the current time again may be off by a rounding error.
    timer = None if math.isinf(when) else loop.call_at(when, _wake, wakeup)
    try:
        await wakeup
    finally:
        if timer is not None:
            timer.cancel()


def loop_time() -> float:
    """Return the running loop's time."""
    return asyncio.get_running_loop().time()


def _wake(wakeup: asyncio.Future[None]) -> None:
    if not wakeup.done():
        wakeup.set_result(None)


def _set_headers(stream: web.StreamResponse, response: RawResponse, options: DeliveryOptions, date: float) -> None:
    stream.headers[hdrs.CONTENT_TYPE] = response.content_type
    stream.headers.update(response.headers)
    stream.headers[hdrs.DATE] = email.utils.formatdate(date, usegmt=True)
    if options.headers:
        stream.headers.update(options.headers)
        if stream.headers.get(hdrs.CONNECTION, "").lower() == "close":
            stream.force_close()


async def _write(stream: web.StreamResponse, content: bytes, options: DeliveryOptions) -> None:
    """Write the pieces of a body at their times."""
    start, pieces = loop_time(), list(options.pieces(content))
    for number, piece in enumerate(pieces):
        # A single piece is the last one.
        fraction = number / (len(pieces) - 1) if len(pieces) > 1 else 1.0
        if options.drip is not None and fraction > 0:
            await sleep_until(start + options.drip * fraction)
        await stream.write(piece)
        # Give a client in the same loop time to read each write separately.
        for _ in range(_READ_ITERATIONS):
            await asyncio.sleep(0)
    if options.drip is not None:  # without pieces the time has not passed yet
        await sleep_until(start + options.drip)


async def _close_connection(request: web.BaseRequest, *, reset: bool = False) -> NoReturn:
    """Close a connection after the bytes written so far, and wait for the cancellation that follows."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        if reset:
            # A reset discards unsent bytes, so they are flushed first, unless the client has disconnected.
            transport.set_write_buffer_limits(high=0)
            with contextlib.suppress(ConnectionError):
                await request.writer.drain()
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()
        else:
            transport.close()
    while True:
        await asyncio.get_running_loop().create_future()


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, got {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must be strings: write {str(name)!r}: {str(value)!r}, got {name!r}: {value!r}")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers has the invalid name {name!r}")
        if _CONTROL_CHARACTER.search(value):
            raise ValueError(f"headers has a control character in {name!r}: {value!r}")
        if name.lower() in _FRAMING_HEADERS:
            raise ValueError(f"headers cannot change {name}: use truncate to send less than the announced length")
