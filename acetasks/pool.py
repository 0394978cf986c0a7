"""Exchanges over HTTP: a request goes out with the token, and its answer comes back whole.

This is the only room that knows aiohttp. It turns every fault of it into an error of this library's own tree.
"""

from __future__ import annotations

import functools
import platform
import ssl
from typing import TYPE_CHECKING

import aiohttp

from acetasks._version import __version__
from acetasks.deadlines import Deadlines
from acetasks.errors import ClientClosedError, ProtocolError, TransportError
from acetasks.wire import Request, Response

if TYPE_CHECKING:
    from acetasks.endpoints import Secret
    from acetasks.policies import RetryPolicy

#: Connections that are kept at once. The poller has fewer requests under way; the rest is for submissions.
_POOL_SIZE = 100
#: Bytes of one answer, at most: fifty records of images sent as base64 text, and far from what exhausts memory.
BODY_LIMIT = 64 * 1024 * 1024
#: Bodies of looks that are kept as aiohttp wants them: each is some kilobytes.
_BODIES_KEPT = 500
#: Bytes that are read and unpacked at a time, about.
_READ_SIZE = 2**16
#: The headers of every request, beside the one with the token.
_HEADERS_SENT = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"acetasks/{__version__} aiohttp/{aiohttp.__version__} Python/{platform.python_version()}",
}


class _Credentials(str):
    """The header with the token, which aiohttp keeps in its variables: a cancelled request's traceback has them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'Bearer ...'"


class Pool:
    """A pool of connections, which is opened by the first request and may be closed in between."""

    def __init__(self, http: aiohttp.ClientSession | None, retry: RetryPolicy) -> None:
        """Start without connections.

        Args:
            http: A session of the user's own, which stays open, or None.
            retry: How long an exchange may take.
        """
        self._http = http
        self._is_own = http is None
        # A pool of its own sends them by itself.
        self._headers = _HEADERS_SENT if http is not None else {}
        self._deadlines, self._submit_deadlines = Deadlines(retry.timeout), Deadlines(retry.submit_timeout)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(retry.timeout, retry.submit_timeout))
        # Most looks send what an earlier one has sent.
        self._wrap = functools.lru_cache(maxsize=_BODIES_KEPT)(aiohttp.BytesPayload)

    def __repr__(self) -> str:
        """Show whose it is, and whether it is open."""
        state = "closed" if self._http is None or self._http.closed else "open"
        return f"<Pool {'of its own' if self._is_own else 'of the user'}, {state}>"

    async def close(self) -> None:
        """Close the connections until they are needed again, unless they are the user's own."""
        self._wrap.cache_clear()
        if self._is_own and self._http is not None:
            pool, self._http = self._http, None
            await pool.close()

    async def exchange(self, base_url: str, request: Request, token: Secret) -> Response:
        """Send a request and take its answer whole, whatever its status.

        Args:
            base_url: Where its service is.
            request: What to send.
            token: What opens the service.

        Returns:
            The answer.

        Raises:
            TransportError: There is none, or no complete one within the limit; it says whether it may have arrived.
            ProtocolError: The answer is larger than `BODY_LIMIT`.
            ClientClosedError: The user's own session is closed.
        """
        if self._http is None:
            self._http = _open_pool()
        if self._http.closed:
            raise ClientClosedError(
                "the aiohttp session given to Client(http=...) is closed; keep it open while in use"
            )
        url = base_url.rstrip("/") + request.path
        data = self._wrap(request.body) if request.body and request.ids else request.body or None
        deadlines = self._submit_deadlines if request.is_submission else self._deadlines
        try:
            with deadlines.set():
                answer = await self._http.request(
                    request.method,
                    url,
                    params=request.query or None,
                    data=data,
                    headers={"authorization": _Credentials(f"Bearer {token.reveal()}"), **self._headers},
                    allow_redirects=False,
                    raise_for_status=False,
                    read_bufsize=_READ_SIZE,  # a larger one would let a small body unpack past the limit at once
                    timeout=self._timeout,
                )
                try:
                    body = await _read_body(answer)
                finally:
                    answer.release()
                return Response(status=answer.status, headers=answer.headers, body=body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            fault = TransportError(f"{_name(request)} could not be sent ({_describe(error)})", reached=False)
        except TimeoutError:
            fault = TransportError(f"{_name(request)} was not answered within {deadlines.seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            fault = TransportError(f"{_name(request)} got no complete answer ({_describe(error)})")
        # Raised out here, without aiohttp's error as its cause or context: that one, and the frames it came through,
        # hold the headers of the request, and whoever prints them prints the token.
        raise fault


def check_pool(http: aiohttp.ClientSession, *, allow_insecure: bool) -> None:
    """Refuse a session of the user's own that would give the token away.

    Args:
        http: The session.
        allow_insecure: Whether it may do without checking certificates.

    Raises:
        ValueError: It checks no certificates or not whose they are, or it sends credentials of its own.
    """
    # There is no public way to ask a connector; without the attribute, it checks them as aiohttp does by default.
    tls = getattr(http.connector, "_ssl", True)
    is_checked = tls is not False
    if isinstance(tls, ssl.SSLContext):
        is_checked = tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname
    if not is_checked and not allow_insecure:
        raise ValueError(
            "the aiohttp session given as http checks no certificates, or not whose they are, so that anybody on the"
            " way could read the token: give its connector ssl=True or a context that checks both, or pass"
            " allow_insecure=True if the way is safe"
        )
    if http.auth is not None:
        raise ValueError("the aiohttp session given as http has an auth of its own: the client sends its token instead")


def _open_pool() -> aiohttp.ClientSession:
    """Open a pool of connections that keeps no cookies: nothing but the token tells the service who asks."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_POOL_SIZE), cookie_jar=aiohttp.DummyCookieJar(), headers=_HEADERS_SENT
    )


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Read a body, and stop reading where it grows past the limit.

    Raises:
        ProtocolError: It did.
    """
    chunks: list[bytes] = []
    size = 0
    while not answer.content.at_eof():
        chunk = await answer.content.readany()
        size += len(chunk)
        if size > BODY_LIMIT:
            answer.close()
            chunks.clear()  # they would live as long as the error's traceback
            raise ProtocolError(f"an answer is larger than {BODY_LIMIT} bytes and was not read to its end")
        chunks.append(chunk)
    return b"".join(chunks)


def _name(request: Request) -> str:
    """Name a request in an error."""
    return f"{request.provider}: {request.method} {request.path}"


def _describe(error: Exception) -> str:
    """Name a fault of aiohttp's; its text may be empty."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
