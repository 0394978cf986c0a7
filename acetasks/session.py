"""HTTP: aiohttp and backoff behind the `Transport` protocol, and the only room that knows either.

The session adds to a request what the other rooms must not see, the base URL and the token. It sends again what may
be sent again, and turns every fault of aiohttp's into an error of this library's own tree.
"""

from __future__ import annotations

import functools
import itertools
import platform
import ssl
import time
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import anyio
import backoff

from acetasks._version import __version__
from acetasks.answers import read_failure
from acetasks.deadlines import Deadlines
from acetasks.errors import (
    AceTasksError,
    APIError,
    AuthenticationError,
    ClientClosedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    SubmissionUncertainError,
    TransportError,
)
from acetasks.events import Event, RequestAnswered, RequestFailed, RequestSent
from acetasks.schedule import plan_retry, read_retry_after
from acetasks.wire import Request, Response

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from acetasks.endpoints import Endpoint, Secret
    from acetasks.models import RetryPolicy
    from acetasks.providers import Service

T = TypeVar("T")

#: Connections that are kept at once. The poller has fewer requests under way; the rest is for submissions.
_POOL_SIZE = 100
#: Bytes of one answer, at most: fifty records of images sent as base64 text, and far from what exhausts memory.
BODY_LIMIT = 64 * 1024 * 1024
#: Bodies of looks that are kept as aiohttp wants them: each is some kilobytes.
_BODIES_KEPT = 500
#: The least HTTP status that may be an error of the request: a redirect is.
_LEAST_FAILURE = 300
#: Bytes that are read and unpacked at a time, about.
_READ_SIZE = 2**16
#: The headers of an answer that mean something here, in lower case.
_HEADERS_READ = ("retry-after", "date")
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


class _Sending:
    """A request that is being sent, from its first attempt to its end.

    Attributes:
        sent_at: When the attempt under way was sent, or None between attempts.
    """

    __slots__ = ("sent_at",)

    def __init__(self) -> None:
        self.sent_at: float | None = None


class Session:
    """Sends requests over a pool of connections."""

    def __init__(
        self,
        endpoints: Mapping[Service, Endpoint],
        *,
        http: aiohttp.ClientSession | None,
        retry: RetryPolicy,
        rng: random.Random,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        is_watched: bool = True,
    ) -> None:
        """Start without connections; the first request opens the pool.

        Args:
            endpoints: Where each service is.
            http: A session of the user's own, which stays open at the end, or None.
            retry: How to send again.
            rng: The randomness of the delays.
            clock: Seconds of the loop's clock.
            emit: Told of every attempt.
            is_watched: Whether anybody wants to hear of those that do not fail.
        """
        self._endpoints = endpoints
        self._http = http
        self._is_own = http is None
        # A pool of its own sends them by itself.
        self._headers = _HEADERS_SENT if http is not None else {}
        self._is_closed = False
        self._under_way = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._retry = retry
        self._deadlines, self._submit_deadlines = Deadlines(retry.timeout), Deadlines(retry.submit_timeout)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(retry.timeout, retry.submit_timeout))
        # Most looks send what an earlier one has sent.
        self._wrap = functools.lru_cache(maxsize=_BODIES_KEPT)(aiohttp.BytesPayload)
        self._rng = rng
        self._clock = clock
        self._emit = emit
        self._is_watched = is_watched

    def __repr__(self) -> str:
        """Show where requests go."""
        return f"<Session {', '.join(endpoint.base_url for endpoint in self._endpoints.values())}>"

    def check(self, service: Service) -> None:
        """Make sure that there is a token for a service, before anything is sent.

        Raises:
            AuthenticationError: There is none; the message says where to get one.
        """
        self._endpoints[service].check()

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
    ) -> T:
        """Send a request, and read its answer; see `Transport.send`."""
        self._under_way += 1
        try:
            if attempts == 1 and not request.is_submission:
                return await self._attempt(request, read, admit, _Sending())
            return await self._send_persistently(request, read, admit, attempts)
        finally:
            self._under_way -= 1

    async def _send_persistently(
        self,
        request: Request,
        read: Callable[[Response], T],
        admit: Callable[[], Awaitable[None]] | None,
        attempts: int,
    ) -> T:
        """Send a request that nobody else sends again, until it is answered or the session is closed."""
        retrying = backoff.on_exception(
            self._delays,
            AceTasksError,
            max_tries=self._retry.attempts if request.is_submission else attempts,
            # The delays have their jitter already; backoff's own would undercut a Retry-After.
            jitter=None,
            giveup=_is_final_submission if request.is_submission else _is_final_look,
            logger=None,
        )
        sending = _Sending()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                return await retrying(self._attempt)(request, read, admit, sending)
            finally:
                self._scopes.discard(scope)
        # Only `close` cancels the scope.
        if request.is_submission and sending.sent_at is not None:
            raise _build_uncertain_error(request, "the client was closed before an answer came", sending.sent_at)
        raise ClientClosedError(f"the client was closed while {request.method} {request.path} was to be sent")

    async def rest(self) -> None:
        """Close the pool until it is needed again, unless it is the user's own or a request is under way."""
        if not self._under_way:
            await self._close_pool()

    async def close(self) -> None:
        """Break off what is being sent, and close the pool, unless it is the user's own."""
        self._is_closed = True
        for scope in self._scopes:
            scope.cancel()
        await self._close_pool()

    async def _close_pool(self) -> None:
        self._wrap.cache_clear()
        if self._is_own and self._http is not None:
            pool, self._http = self._http, None
            await pool.close()

    def _delays(self) -> Generator[float, Exception, None]:
        """Yield the delay before each further attempt; backoff sends in the error of the one before."""
        error = yield 0.0
        for failures in itertools.count(1):
            retry_after = error.retry_after if isinstance(error, APIError) else None
            error = yield plan_retry(failures, self._retry.base, self._retry.cap, self._rng.random(), retry_after)

    async def _attempt(
        self,
        request: Request,
        read: Callable[[Response], T],
        admit: Callable[[], Awaitable[None]] | None,
        sending: _Sending,
    ) -> T:
        """Send a request once, or twice if its token is refused and there is another: then it was not accepted."""
        endpoint = self._endpoints[request.service]
        if admit is not None:
            await admit()
        token = await endpoint.authorize()
        try:
            return await self._send_once(request, read, token, sending)
        except AuthenticationError:
            if not await endpoint.renew(token):
                raise
        if admit is not None:
            await admit()
        return await self._send_once(request, read, await endpoint.authorize(), sending)

    async def _send_once(self, request: Request, read: Callable[[Response], T], token: Secret, sending: _Sending) -> T:
        """Send a request and read its answer, and tell the observers."""
        if self._is_closed:  # maybe meanwhile: what was awaited until now need not have let itself be cancelled
            raise ClientClosedError(f"the client was closed before {request.method} {request.path} was sent")
        sending.sent_at = started = self._clock()
        count = len(request.ids)
        if self._is_watched:
            self._emit(RequestSent(time=started, provider=request.provider, ids=count))
        try:
            response = await self._exchange(request, token)
            if (failure := _find_failure(request, response)) is not None:
                raise failure
            result = read(response)
        except AceTasksError as error:
            self._emit(RequestFailed(time=self._clock(), provider=request.provider, ids=count, error=error))
            if request.is_submission and _is_uncertain(error):
                raise _build_uncertain_error(request, str(error), started) from error
            sending.sent_at = None
            raise
        sending.sent_at = None
        if self._is_watched:
            now, status = self._clock(), response.status
            self._emit(
                RequestAnswered(time=now, provider=request.provider, ids=count, status=status, seconds=now - started)
            )
        return result

    async def _exchange(self, request: Request, token: Secret) -> Response:
        """Send a request over HTTP and take its answer whole, up to the limit."""
        if self._http is None:
            self._http = _open_pool()
        if self._http.closed:
            raise ClientClosedError(
                "the aiohttp session given to Client(http=...) is closed; keep it open while in use"
            )
        url = self._endpoints[request.service].base_url.rstrip("/") + request.path
        body = self._wrap(request.body) if request.body and request.ids else request.body or None
        deadlines = self._submit_deadlines if request.is_submission else self._deadlines
        try:
            with deadlines.set():
                async with self._http.request(
                    request.method,
                    url,
                    params=request.query or None,
                    data=body,
                    headers={"authorization": _Credentials(f"Bearer {token.reveal()}"), **self._headers},
                    allow_redirects=False,
                    raise_for_status=False,
                    read_bufsize=_READ_SIZE,  # a larger one would let a small body unpack past the limit at once
                    timeout=self._timeout,
                ) as answer:
                    headers = {name: answer.headers[name] for name in _HEADERS_READ if name in answer.headers}
                    return Response(status=answer.status, headers=headers, body=await _read_body(answer))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            fault = TransportError(f"{_name(request)} could not be sent ({_describe(error)})", reached=False)
        except TimeoutError:
            fault = TransportError(f"{_name(request)} was not answered within {deadlines.seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            fault = TransportError(f"{_name(request)} got no complete answer ({_describe(error)})")
        # Raised out here, without aiohttp's error as its cause or context: that one, and the frames it came through,
        # hold the headers of the request, and whoever prints them prints the token.
        raise fault


def _find_failure(request: Request, response: Response) -> Exception | None:
    """Find the HTTP error that an answer is, if it is one."""
    if response.status < _LEAST_FAILURE:
        return None
    # A date without the answer's own is the one thing that takes a clock other than the loop's.
    return read_failure(request, response, read_retry_after(response.headers, time.time()))


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


def _build_uncertain_error(request: Request, reason: str, sent_at: float) -> SubmissionUncertainError:
    """Make the error of a submission that may have been accepted."""
    return SubmissionUncertainError(
        reason, provider=request.provider, path=request.path, payload=request.body, sent_at=sent_at
    )


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


def _is_final_look(error: Exception) -> bool:
    """Tell whether a look that failed is not to be sent again at once.

    It is not where that cannot help, and neither where the service asked for a pause: that is for the poller to keep,
    over all that it asks.
    """
    return not (isinstance(error, AceTasksError) and error.transient) or (
        isinstance(error, APIError) and (isinstance(error, RateLimitError) or error.retry_after is not None)
    )


def _is_final_submission(error: Exception) -> bool:
    """Tell whether a submission that failed must not be sent again: always, unless it surely did not arrive."""
    return not (isinstance(error, TransportError) and not error.reached)


def _is_uncertain(error: AceTasksError) -> bool:
    """Tell whether a failed submission may have been accepted all the same.

    1. No complete answer came, but it was sent.   2. An answer came that cannot be read.
    3. A gateway answered in the service's place: no error code, or its "timeout".
    """
    if isinstance(error, TransportError):
        return error.reached
    return isinstance(error, ProtocolError) or (isinstance(error, ServiceError) and error.code in {None, "timeout"})


def _name(request: Request) -> str:
    """Name a request in an error."""
    return f"{request.provider}: {request.method} {request.path}"


def _describe(error: Exception) -> str:
    """Name a fault of aiohttp's; its text may be empty."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
