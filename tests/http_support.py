"""Servers, token providers and requests for the tests of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import ssl
import traceback
import types
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import trustme
from aiohttp import web
from support import now

from acetasks._http.requests import build_poll, build_submission
from acetasks._http.responses import read_poll_response, read_submission
from acetasks.providers import lookup

if TYPE_CHECKING:
    from acetasks._http.requests import Response

URL = "https://api.example/luma/tasks"
SUBMIT_URL = "https://api.example/luma/videos"
LUMA = lookup("luma")
POLL = build_poll(LUMA, ["t"])
SUBMISSION = build_submission(LUMA, {"prompt": "a cat"})
READERS = {
    POLL.path: functools.partial(read_poll_response, LUMA, POLL),
    SUBMISSION.path: functools.partial(read_submission, LUMA, SUBMISSION),
}
TOKEN, NEW_TOKEN = "sesame-0123456789", "millet-9876543210"
#: The connection key of aiohttp's connection errors.
KEY = types.SimpleNamespace(host="api.example", port=443, is_ssl=True, ssl=True)
REFUSED = {"exception": aiohttp.ClientConnectorError(KEY, OSError(111, "refused"))}
#: The first delay of a transport with the fixture's random numbers and a base of one second.
FIRST_DELAY = random.Random(0).random()


def describe(case: object) -> str | None:
    """Name a test case by its fault; leave other values to pytest."""
    if not isinstance(case, dict):
        return None
    value = next(iter(case.values()))
    return type(value).__name__ if isinstance(value, Exception) else str(value)


def wall_time(loop_time: float | None = None) -> float:
    """Return seconds since the epoch for a loop time, by default now; the loop began with the year 2026."""
    return 1_767_225_600.0 + (now() if loop_time is None else loop_time)


def keep(response: Response) -> Response:
    """Return a response unchanged."""
    return response


def expose(error: BaseException) -> str:
    """Return all texts of an error's chain and the local variables of all frames outside the tests."""
    found, pending = [], [traceback.TracebackException.from_exception(error, capture_locals=True)]
    while pending:
        exception = pending.pop()
        pending += filter(None, (exception.__cause__, exception.__context__, *(exception.exceptions or ())))
        frames = [frame for frame in exception.stack if Path(__file__).parent not in Path(frame.filename).parents]
        found += [*exception.format_exception_only(), *(str(frame.locals) for frame in frames)]
    return "\n".join(found)


def chain(error: BaseException | None) -> list[type[BaseException]]:
    """Return the types of an error and of its causes and contexts."""
    return [type(error), *chain(error.__cause__ or error.__context__)] if error is not None else []


def reply(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Build a raw HTTP response."""
    return b"HTTP/1.1 %s\r\n%s\r\n%s" % (status, b"".join(b"%s\r\n" % header for header in headers), body)


GOOD = reply(b'{"task_id":"t"}', b"content-length: 15")


class PatchedResponse(aiohttp.ClientResponse):
    """A response for aioresponses 0.7.9, which does not pass all arguments that aiohttp 3.14 requires."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **({"stream_writer": types.SimpleNamespace(output_size=0)} | options))


class TokenSequence:
    """A token provider that returns one value after the other, and the last one repeatedly.

    Args:
        returns: Tokens or other values; an exception is raised.
        seconds: Duration of each call.

    Attributes:
        calls: The time of each call.
    """

    def __init__(self, *returns: object, seconds: float = 0.0) -> None:
        self.calls: list[float] = []
        self._returns = list(returns)
        self._seconds = seconds

    async def __call__(self) -> str:
        """Return the next value."""
        self.calls.append(now())
        value = self._returns.pop(0) if len(self._returns) > 1 else self._returns[0]
        await asyncio.sleep(self._seconds)
        if isinstance(value, Exception):
            raise value
        return value


class TokenGate:
    """A service that accepts some tokens and responds to polls and submissions alike.

    Args:
        accepts: The accepted tokens.
        seconds: Duration of each response.

    Attributes:
        seen: The token of each request.
        connections: The transports of all requests.
    """

    def __init__(self, *accepts: str, seconds: float = 0.0) -> None:
        self.seen: list[str] = []
        self.connections: set[asyncio.Transport] = set()
        self._accepts = accepts
        self._seconds = seconds

    async def __call__(self, request: web.Request) -> web.Response:
        """Respond to a request."""
        token = request.headers["authorization"].removeprefix("Bearer ")
        self.seen.append(token)
        self.connections.add(request.transport)
        await asyncio.sleep(self._seconds)
        if token not in self._accepts:
            return web.json_response({"error": {"code": "invalid_token", "message": "unknown token"}}, status=401)
        return web.json_response({"task_id": "t"})


class ConnectProxy:
    """A proxy that opens tunnels to one port of this machine, whatever host is requested.

    Args:
        url: A URL with the port.
        password: The required `Proxy-Authorization`, or None.

    Attributes:
        heads: The head of each request.
        passed: The bytes that clients sent through tunnels.
    """

    def __init__(self, url: str, password: str | None = None) -> None:
        self.heads: list[str] = []
        self.passed = bytearray()
        self._port = int(url.rpartition(":")[2])
        self._password = password

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if self._password and f"proxy-authorization: {self._password}\r\n" not in head:
            writer.write(reply(b"", b"content-length: 0", status=b"407 Proxy Authentication Required"))
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with contextlib.suppress(OSError):
            await asyncio.gather(self.pipe(reader, far_writer, self.passed), self.pipe(far_reader, writer))

    @staticmethod
    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: bytearray | None = None) -> None:
        """Copy one direction of a connection until it ends, and to `passed`."""
        while data := await reader.read(2**16):
            if passed is not None:
                passed += data
            writer.write(data)
        writer.close()


class Authority:
    """A certificate authority that no machine trusts by default."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    def server_context(self, name: str) -> ssl.SSLContext:
        """Build the TLS settings of a server with a certificate for `name`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(name).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Build the TLS settings of a client that trusts the authority."""
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        return context
