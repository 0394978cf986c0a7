"""HTTP: aiohttp and backoff behind the `Transport` protocol, and the only room that knows either.

The session adds to a request what the other rooms must not see, the base URL and the token. It sends again what may
be sent again, and turns every fault of aiohttp's into an error of this library's own tree.
"""

from __future__ import annotations

import itertools
import platform
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import backoff

from acetasks._version import __version__
from acetasks.answers import read_failure
from acetasks.errors import (
    TOKEN_HELP,
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

    from acetasks.models import RetryPolicy
    from acetasks.providers import Service

#: Connections that are kept at once. The poller has fewer requests under way; the rest is for submissions.
_POOL_SIZE = 100
#: Bytes of one answer, at most: fifty records of images sent as base64 text, and far from what exhausts memory.
BODY_LIMIT = 64 * 1024 * 1024
#: The headers of an answer that mean something here, in lower case.
_HEADERS_READ = ("retry-after", "date")
_USER_AGENT = f"acetasks/{__version__} aiohttp/{aiohttp.__version__} Python/{platform.python_version()}"


class Endpoint:
    """Where a service is and what opens it.

    A plain class, because tools that print a structure field by field would print the token.

    Attributes:
        base_url: With its scheme.
        token: The bearer token, or None if there is none. It is in no repr.
        token_variable: The environment variable that the token may be in, named by the error that misses it.
    """

    __slots__ = ("base_url", "token", "token_variable")

    def __init__(self, *, base_url: str, token: str | None, token_variable: str) -> None:
        """Refuse a base URL or token that no request could be sent with.

        Raises:
            ValueError: It says which, without repeating the token.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(
                f"a base URL is like 'https://api.acedata.cloud', with its scheme and nothing after the path;"
                f" {base_url!r} is not"
            )
        if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
            raise ValueError(f"the token for {parts.hostname} has blanks, line ends or other signs that no token has")
        self.base_url = base_url
        self.token = token
        self.token_variable = token_variable

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"Endpoint(base_url={self.base_url!r}, token={'...' if self.token else None})"


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
    ) -> None:
        """Start without connections; the first request opens the pool.

        Args:
            endpoints: Where each service is.
            http: A session of the user's own, which stays open at the end, or None.
            retry: How to send again.
            rng: The randomness of the delays.
            clock: Seconds of the loop's clock.
            emit: Told of every attempt.
        """
        self._endpoints = endpoints
        self._http = http
        self._is_own = http is None
        self._under_way = 0
        self._retry = retry
        self._rng = rng
        self._clock = clock
        self._emit = emit
        self._send_look = self._retrying(_is_final_look)
        self._send_submission = self._retrying(_is_final_submission)

    def __repr__(self) -> str:
        """Show where requests go."""
        return f"<Session {', '.join(endpoint.base_url for endpoint in self._endpoints.values())}>"

    def check(self, service: Service) -> None:
        """Make sure that there is a token for a service, before anything is sent.

        Raises:
            AuthenticationError: There is none; the message says where to get one.
        """
        endpoint = self._endpoints[service]
        if not endpoint.token:
            raise AuthenticationError(
                f"no token for {endpoint.base_url}: pass one to Client(...) or set {endpoint.token_variable};"
                f" get one at {TOKEN_HELP[endpoint.token_variable]}"
            )

    async def send(self, request: Request) -> Response:
        """Send a request; see `Transport.send`. A submission is sent again only if it surely did not arrive."""
        self.check(request.service)
        return await (self._send_submission if request.is_submission else self._send_look)(request)

    async def rest(self) -> None:
        """Close the pool until it is needed again, unless it is the user's own or a request is under way."""
        if not self._under_way:
            await self.close()

    async def close(self) -> None:
        """Close the pool, unless it is the user's own."""
        if self._is_own and self._http is not None:
            pool, self._http = self._http, None
            await pool.close()

    def _retrying(self, is_final: Callable[[Exception], bool]) -> Callable[[Request], Awaitable[Response]]:
        """Wrap `_send_once` so that it is tried again after errors that are not final."""
        return backoff.on_exception(
            self._delays,
            AceTasksError,
            max_tries=self._retry.attempts,
            # The delays have their jitter already; backoff's own would undercut a Retry-After.
            jitter=None,
            giveup=is_final,
            logger=None,
        )(self._send_once)

    def _delays(self) -> Generator[float, Exception, None]:
        """Yield the delay before each further attempt; backoff sends in the error of the one before."""
        error = yield 0.0
        for failures in itertools.count(1):
            retry_after = error.retry_after if isinstance(error, APIError) else None
            error = yield plan_retry(failures, self._retry.base, self._retry.cap, self._rng.random(), retry_after)

    async def _send_once(self, request: Request) -> Response:
        """Send a request once, and tell the observers."""
        started = self._clock()
        count = len(request.ids)
        self._emit(RequestSent(time=started, provider=request.provider, ids=count))
        try:
            response = await self._exchange(request)
            failure = read_failure(request, response, read_retry_after(response.headers))
            if failure is not None:
                raise failure
        except AceTasksError as error:
            self._emit(RequestFailed(time=self._clock(), provider=request.provider, ids=count, error=error))
            if request.is_submission and _is_uncertain(error):
                raise SubmissionUncertainError(
                    str(error), provider=request.provider, path=request.path, payload=request.body, sent_at=started
                ) from error
            raise
        now = self._clock()
        self._emit(
            RequestAnswered(
                time=now, provider=request.provider, ids=count, status=response.status, seconds=now - started
            )
        )
        return response

    async def _exchange(self, request: Request) -> Response:
        """Send a request over HTTP and read its answer whole, up to the limit."""
        if self._http is None:
            self._http = _open_pool()
        if self._http.closed:
            raise ClientClosedError(
                "the aiohttp session given to Client(http=...) is closed; keep it open while in use"
            )
        endpoint = self._endpoints[request.service]
        where = f"{request.provider}: {request.method} {request.path}"
        seconds = self._retry.submit_timeout if request.is_submission else self._retry.timeout
        self._under_way += 1
        try:
            async with self._http.request(
                request.method,
                endpoint.base_url.rstrip("/") + request.path,
                params=request.query or None,
                data=request.body or None,
                headers={
                    "accept": "application/json",
                    "authorization": f"Bearer {endpoint.token}",
                    "content-type": "application/json",
                    "user-agent": _USER_AGENT,
                },
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=min(seconds, self._retry.timeout)),
            ) as answer:
                headers = {name: answer.headers[name] for name in _HEADERS_READ if name in answer.headers}
                return Response(status=answer.status, headers=headers, body=await _read_body(answer))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TransportError(f"{where} could not be sent ({_describe(error)})", reached=False) from error
        except TimeoutError as error:
            raise TransportError(f"{where} was not answered within {seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"{where} got no complete answer ({_describe(error)})") from error
        finally:
            self._under_way -= 1


def _open_pool() -> aiohttp.ClientSession:
    """Open a pool of connections that keeps no cookies: nothing but the token tells the service who asks."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_POOL_SIZE), cookie_jar=aiohttp.DummyCookieJar())


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Read a body, and stop reading where it grows past the limit.

    Raises:
        ProtocolError: It did.
    """
    chunks = []
    size = 0
    async for chunk in answer.content.iter_any():
        size += len(chunk)
        if size > BODY_LIMIT:
            answer.close()
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


def _describe(error: Exception) -> str:
    """Name a fault of aiohttp's; its text may be empty."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
