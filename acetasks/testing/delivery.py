"""The delivery: how the bytes of an answer leave, at once and whole, or late, in pieces, cut short or not at all.

What is answered and whom it concerns is decided elsewhere. All waiting is on the event loop's clock, and every way
to wait ends when the connection does: aiohttp cancels a request's task then.
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

#: Pieces that a body drips in unless told otherwise: enough that no two come close together, and not many timers.
DRIP_PIECES = 50
JSON_TYPE = "application/json"

#: Statuses whose answers HTTP gives no body.
BODILESS_STATUSES = frozenset({204, 304})

#: Rounds of the event loop from a write to its having been read by a client in the same loop: one to see that
#: something has come and one to read it, with one to spare.
_READING_ROUNDS = 3
#: `struct linger`: on, with no seconds. A socket that is closed so resets its connection instead of ending it.
_LINGER_NOT = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
#: What a header's name is made of (RFC 9110, 5.6.2), and what may not be in its value (5.5).
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUES = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Headers that tell where a body ends. A lie in them would only confuse the client's own HTTP library.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it leaves.

    Attributes:
        status: The HTTP status.
        content: The body.
        content_type: What the body is said to be.
    """

    status: int
    content: bytes
    content_type: str = JSON_TYPE


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How an answer is to leave. Times are in seconds on the event loop's clock.

    Attributes:
        headers: Headers that are added to the answer's, or replace them; None means none.
        hang: The silence before the answer; infinite for no answer at all, None for no silence.
        reset: Whether the connection is reset in place of an orderly end: before the answer or, with `truncate`, in
            the middle of it.
        truncate: The share of the body, from 0 to less than 1, after which the connection is cut; None means it is not.
        drip: How long the body takes to come, its first piece at once and its last at the end; infinite for a body
            that stops coming after its first piece, None for one that comes at once.
        split: In how many pieces, and writes, the body comes; None means one, or `DRIP_PIECES` with `drip`.
    """

    headers: Mapping[str, str] | None = None
    hang: float | None = None
    reset: bool = False
    truncate: float | None = None
    drip: float | None = None
    split: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no answer can leave like.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A number is out of its range, or a header can be none.
        """
        if self.headers is not None:
            _check_headers(self.headers)
            msgspec.structs.force_setattr(self, "headers", dict(self.headers))  # the caller's may change
        if not isinstance(self.reset, bool):
            raise TypeError(f"reset must be True or False, not {self.reset!r}")
        for name in ("hang", "truncate", "drip"):
            check_number(name, getattr(self, name))
        if self.hang is not None and not self.hang >= 0:
            raise ValueError(f"hang must be at least 0 seconds, or math.inf to never answer, not {self.hang!r}")
        if self.truncate is not None and not 0 <= self.truncate < 1:
            raise ValueError(
                f"truncate must be a share of the body from 0 to less than 1, not {self.truncate!r}:"
                " an answer that is not cut needs none"
            )
        if self.drip is not None and not self.drip >= 0:
            raise ValueError(
                f"drip must be at least 0 seconds, or math.inf to stop after the first piece, not {self.drip!r}"
            )
        check_count("split", self.split, least=2)

    @property
    def is_silent(self) -> bool:
        """Whether not a byte of the answer leaves."""
        return self.hang == math.inf or (self.reset and self.truncate is None)

    @property
    def needs_body(self) -> bool:
        """Whether there has to be a body to do this to."""
        return self.truncate is not None or self.drip is not None or self.split is not None

    def cut_up(self, content: bytes) -> Iterator[bytes]:
        """Cut what is sent of a body into the pieces in which it is sent, none of them empty."""
        size = len(content) if self.truncate is None else int(len(content) * self.truncate)
        pieces = self.split or (1 if self.drip is None else DRIP_PIECES)
        pieces = min(pieces, size)
        for number in range(pieces):
            yield content[size * number // pieces : size * (number + 1) // pieces]


async def hold(request: web.BaseRequest, manner: Manner) -> None:
    """Let the time before an answer pass; come back only if there is to be one.

    Args:
        request: What is answered.
        manner: How.
    """
    if manner.hang is not None:
        await sleep_until(_now() + manner.hang)
    if manner.is_silent:
        await _cut(request, resets=True)


async def send(request: web.BaseRequest, letter: Letter, manner: Manner, *, today: float) -> web.StreamResponse:
    """Send an answer after the time before it.

    Args:
        request: What is answered.
        letter: The answer.
        manner: How it is to leave.
        today: The time that the answer is dated with, in seconds since the epoch.

    Returns:
        What is left to aiohttp to send, if anything.
    """
    # 1. At once: all that is usual. A body that HTTP does not allow is left out there.
    has_body = letter.content and request.method != hdrs.METH_HEAD and letter.status not in BODILESS_STATUSES
    if not (manner.needs_body and has_body):
        whole = web.Response(body=letter.content, status=letter.status)
        _put_headers(whole, letter, manner, today)
        return whole
    # 2. In pieces, with the length of the whole announced.
    response = web.StreamResponse(status=letter.status)
    response.content_length = len(letter.content)
    _put_headers(response, letter, manner, today)
    try:
        await response.prepare(request)
        await _write(response, letter.content, manner)
    except ConnectionError:  # the client has left, and the loop is about to say so
        await _cut(request)
    # 3. Cut off where the pieces end.
    if manner.truncate is not None:
        await _cut(request, resets=manner.reset)
    await response.write_eof()
    return response


async def sleep_until(when: float) -> None:
    """Sleep until a time on the loop's clock, to the last digit, or for good if it is infinite."""
    loop = asyncio.get_running_loop()
    woken = loop.create_future()
    # asyncio.sleep() takes a duration: added to the time again, that need not come out at the same number.
    timer = None if math.isinf(when) else loop.call_at(when, _wake, woken)
    try:
        await woken
    finally:
        if timer is not None:
            timer.cancel()


def _put_headers(response: web.StreamResponse, letter: Letter, manner: Manner, today: float) -> None:
    response.headers[hdrs.CONTENT_TYPE] = letter.content_type
    response.headers[hdrs.DATE] = email.utils.formatdate(today, usegmt=True)
    if manner.headers:
        response.headers.update(manner.headers)
        if response.headers.get(hdrs.CONNECTION, "").lower() == "close":
            response.force_close()


async def _write(response: web.StreamResponse, content: bytes, manner: Manner) -> None:
    """Write a body, or as much of it as is to be sent."""
    begun, pieces = _now(), list(manner.cut_up(content))
    for number, piece in enumerate(pieces):
        # A body of one piece has all come when that has.
        share = number / (len(pieces) - 1) if len(pieces) > 1 else 1.0
        if manner.drip is not None and share > 0:
            await sleep_until(begun + manner.drip * share)
        await response.write(piece)
        await _let_read()
    if manner.drip is not None:  # with nothing to send there was nothing to wait for
        await sleep_until(begun + manner.drip)


async def _cut(request: web.BaseRequest, *, resets: bool = False) -> NoReturn:
    """End a connection after what has been written, and wait for the cancellation that comes with its end."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        if resets:
            # A reset throws away what has not been sent yet. Where the client has left, there is nobody to send it.
            transport.set_write_buffer_limits(high=0)
            with contextlib.suppress(ConnectionError):
                await request.writer.drain()
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            transport.abort()
        else:
            transport.close()
    while True:
        await asyncio.get_running_loop().create_future()


async def _let_read() -> None:
    """Let a client in the same loop read what has been written, so that it sees each write by itself."""
    for _ in range(_READING_ROUNDS):
        await asyncio.sleep(0)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def _check_headers(headers: object) -> None:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of names to values, not {headers!r}")
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"headers must be strings: write {str(name)!r}: {str(value)!r}, not {name!r}: {value!r}")
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers has the name {name!r}, which can be none in HTTP")
        if _NOT_IN_VALUES.search(value):
            raise ValueError(f"headers has a control character in {name!r}: {value!r}")
        if name.lower() in _FRAMING:
            raise ValueError(f"headers cannot change {name}: use truncate to send less than is announced")
