"""The `Transport` over HTTP: each request with its token, once or as often as it may be sent, and its answer read.

The session gives a request what the other rooms must not see, the base URL and the token; and it is the only room that
knows backoff, by which it sends again what may be sent again.
"""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, TypeVar

import anyio
import backoff

from acetasks.answers import read_failure
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
from acetasks.pool import Pool
from acetasks.schedule import plan_retry, read_retry_after

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Generator, Mapping

    import aiohttp

    from acetasks.endpoints import Endpoint, Secret
    from acetasks.policies import RetryPolicy
    from acetasks.providers import Service
    from acetasks.wire import Request, Response

T = TypeVar("T")

#: The least HTTP status that may be an error of the request: a redirect is.
_LEAST_FAILURE = 300


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
        self._pool = Pool(http, retry)
        self._is_closed = False
        self._under_way = 0
        self._scopes: set[anyio.CancelScope] = set()
        self._retry = retry
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
            await self._pool.close()

    async def close(self) -> None:
        """Break off what is being sent, and close the pool, unless it is the user's own."""
        self._is_closed = True
        for scope in self._scopes:
            scope.cancel()
        await self._pool.close()

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
            response = await self._pool.exchange(self._endpoints[request.service].base_url, request, token)
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


def _find_failure(request: Request, response: Response) -> Exception | None:
    """Find the HTTP error that an answer is, if it is one."""
    if response.status < _LEAST_FAILURE:
        return None
    # A date without the answer's own is the one thing that takes a clock other than the loop's.
    return read_failure(request, response, read_retry_after(response.headers, time.time()))


def _build_uncertain_error(request: Request, reason: str, sent_at: float) -> SubmissionUncertainError:
    """Make the error of a submission that may have been accepted."""
    return SubmissionUncertainError(
        reason, provider=request.provider, path=request.path, payload=request.body, sent_at=sent_at
    )


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
