"""The transport over HTTP: adds base URL and token, sends, retries, and emits events."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import backoff
import msgspec

from acetasks._http.aiohttp_backend import AiohttpBackend
from acetasks._http.auth import Secret
from acetasks._http.delivery import Delivery
from acetasks._http.headers import read_retry_after
from acetasks._http.proxies import mask_credentials
from acetasks._http.responses import read_failure
from acetasks._limits.backoff import full_jitter
from acetasks._tracing import RequestTrace
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
from acetasks.events import RequestAnswered, RequestFailed, RequestSent
from acetasks.providers import lookup
from acetasks.stats import RequestStats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    import aiohttp

    from acetasks._http.auth import Endpoint
    from acetasks._http.proxies import Proxy
    from acetasks._http.requests import Request, Response
    from acetasks._runtime import Runtime
    from acetasks.providers import Service

T = TypeVar("T")

_logger = logging.getLogger("acetasks")


@dataclasses.dataclass(slots=True)
class _Call(Generic[T]):
    """The arguments of one `send` call."""

    request: Request
    read: Callable[[Response], T]
    acquire_slot: Callable[[], Awaitable[None]] | None
    record: Callable[[AceTasksError | None, float], None] | None
    delivery: Delivery
    attempts: int = 0

    def is_final(self, error: BaseException) -> bool:
        """Return whether not to retry a failed submission."""
        # An abandoned one has nobody to pay for it.
        return self.delivery.is_abandoned or _is_final_submission(error)


class HTTPTransport:
    """Sends requests over HTTP, in the user's own session `http` if there is one; implements `Transport`.

    Services without a proxy in `proxies` are reached as the session does.
    """

    def __init__(
        self,
        endpoints: Mapping[Service, Endpoint],
        *,
        http: aiohttp.ClientSession | None,
        runtime: Runtime,
        proxies: Mapping[Service, Proxy | None] | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._proxies = proxies or {}
        self._runtime = runtime
        self._backend = AiohttpBackend(http, runtime.retry)
        self._is_closed = False
        self._in_flight = 0
        self._sent = self._answered = self._retries = self._open = 0
        self._failed: dict[str, int] = {}
        self._has_met_cache = False
        self._scopes: set[anyio.CancelScope] = set()

    def __repr__(self) -> str:
        return f"<HTTPTransport {', '.join(endpoint.base_url for endpoint in self._endpoints.values())}>"

    @property
    def max_connections(self) -> int | None:
        """Maximum number of connections for submissions; None for no limit."""
        return self._backend.max_connections

    def check(self, service: Service) -> None:
        """Raise `AuthenticationError` if there is no token for a service."""
        self._endpoints[service].check()

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        acquire_slot: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
        record: Callable[[AceTasksError | None, float], None] | None = None,
        delivery: Delivery | None = None,
    ) -> T:
        """Send a request and read its response; see `Transport.send`.

        `record` is called after each attempt with its error, None if it has none, and the loop time at which it began.
        The caller sees in `delivery` how far a submission has come.
        """
        call = _Call(request, read, acquire_slot, record, delivery or Delivery())
        self._in_flight += 1
        try:
            if attempts == 1 and not request.is_submission:
                return await self._attempt(call)
            return await self._retry(call, attempts)
        finally:
            self._in_flight -= 1

    def describe(self) -> RequestStats:
        """Return the requests so far."""
        failed = self._failed.copy()
        cancelled = max(0, self._sent - self._open - self._answered - sum(failed.values()))
        return RequestStats(
            sent=self._sent,
            answered=self._answered,
            failed=failed,
            cancelled=cancelled,
            retries=self._retries,
            in_flight=self._open,
        )

    async def close_idle(self) -> None:
        """Close all connections until the next request, unless one is in flight or they are the user's."""
        if not self._in_flight:
            await self._backend.close()

    async def close(self) -> None:
        """Abort retried requests, refuse new ones, and close the connections unless they are the user's."""
        self._is_closed = True
        for scope in self._scopes:
            scope.cancel()
        await self._backend.close()

    async def _retry(self, call: _Call[T], attempts: int) -> T:
        request = call.request
        self._check_open(request)  # nothing would cancel the scope
        # backoff's own jitter is off: it would undercut a Retry-After.
        retries = backoff.aretry_context(
            AceTasksError,
            self._delays,
            max_tries=self._runtime.retry.attempts if request.is_submission else attempts,
            jitter=None,
            giveup=call.is_final if request.is_submission else _is_final_poll,
            logger=None,
        )
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async for attempt in retries:
                    with attempt:
                        result = await self._attempt(call)
                return result  # type: ignore[possibly-undefined]  # without a result the last attempt raises
            finally:
                self._scopes.discard(scope)
        # Only `close` cancels the scope.
        if request.is_submission and call.delivery.may_have_arrived:
            raise build_uncertain_error(request, "the client was closed before the response came", call.delivery)
        raise ClientClosedError(f"the client was closed before {request.method} {request.path} was answered")

    def _delays(self) -> Generator[float, Exception, None]:
        """Yield the delay before each further attempt; backoff sends in the previous error."""
        retry, rng = self._runtime.retry, self._runtime.rng
        error = yield 0.0  # primes the generator
        for failures in itertools.count(1):
            retry_after = error.retry_after if isinstance(error, APIError) else None
            error = yield full_jitter(failures, retry.base, retry.cap, rng.random(), retry_after)

    async def _attempt(self, call: _Call[T]) -> T:
        """Send a request once, or a second time if its token is refused and there is a new one.

        The service accepted nothing with the refused token, so a submission may be repeated too.
        """
        endpoint = self._endpoints[call.request.service]
        token = await self._prepare(call, endpoint)
        try:
            return await self._send_once(call, endpoint.base_url, token)
        except AuthenticationError:
            if call.delivery.is_abandoned or not await endpoint.renew(token):
                raise
        return await self._send_once(call, endpoint.base_url, await self._prepare(call, endpoint))

    async def _prepare(self, call: _Call[T], endpoint: Endpoint) -> Secret:
        """Wait until a request may be sent, and return the token for it."""
        token = await endpoint.authorize()
        if call.acquire_slot is not None:
            await call.acquire_slot()
            # Requests that wait for a token now would all leave with its arrival, beyond their rate.
            token = endpoint.latest or token
        return token

    async def _send_once(self, call: _Call[T], base_url: str, token: Secret) -> T:
        """Send a request, read its response and emit events."""
        request, clock, observers = call.request, self._runtime.clock, self._runtime.observers
        provider, count = request.provider, len(request.ids)
        self._check_open(request)  # an awaited callback may have ignored its cancellation
        delivery, sent_at = call.delivery, clock()
        delivery.begin(self._runtime.wall_clock())
        if observers.wants(RequestSent):
            observers(RequestSent(time=sent_at, provider=provider, ids=count))
        exchange = self._exchange if self._runtime.telemetry is None else self._trace_exchange
        self._begin(call)
        try:
            result, status = await exchange(call, base_url, token)
        except AceTasksError as error:
            self._failed[type(error).__name__] = self._failed.get(type(error).__name__, 0) + 1
            observers(RequestFailed(time=clock(), provider=provider, ids=count, error=error))
            if call.record is not None:
                call.record(error, sent_at)
            if request.is_submission and _is_uncertain(error):
                raise build_uncertain_error(request, str(error), delivery) from error
            delivery.end(error)
            raise
        finally:
            self._open -= 1
        self._answered += 1
        delivery.end()
        if call.record is not None:
            call.record(None, sent_at)
        if observers.wants(RequestAnswered):
            now = clock()
            observers(RequestAnswered(time=now, provider=provider, ids=count, status=status, seconds=now - sent_at))
        return result

    def _check_open(self, request: Request) -> None:
        if self._is_closed:
            raise ClientClosedError(f"the client was closed before {request.method} {request.path} was sent")

    def _begin(self, call: _Call[T]) -> None:
        """Count an attempt that begins."""
        self._sent += 1
        self._open += 1
        self._retries += call.attempts > 0
        call.attempts += 1

    async def _trace_exchange(self, call: _Call[T], base_url: str, token: Secret) -> tuple[T, int]:
        """Do as `_exchange`, followed by the telemetry."""
        request, telemetry = call.request, self._runtime.telemetry
        if telemetry is None:
            return await self._exchange(call, base_url, token)
        trace = RequestTrace(
            provider=request.provider,
            action="submit" if request.is_submission else "poll" if request.ids else "history",
            method=request.method,
            base_url=base_url,
            path=request.path,
            ids=request.ids,
            batch_size=lookup(request.provider).batch_size(self._runtime.policy.batch_size),
            retries=call.attempts - 1,
        )
        with telemetry.trace_request(trace) as note_status:
            result, status = await self._exchange(call, base_url, token)
            note_status(status)
        return result, status

    async def _exchange(self, call: _Call[T], base_url: str, token: Secret) -> tuple[T, int]:
        """Send a request, and return its result and HTTP status.

        An error of the service, or of a debugging proxy, may repeat the headers and the body of the request: it is
        read from a response in which credentials and the token of the callback URL are masked.
        """
        proxy = self._proxies.get(call.request.service)
        delivery = call.delivery if call.request.is_submission else None
        response = await self._backend.send(base_url, call.request, token, proxy=proxy, delivery=delivery)
        self._check_age(call.request.provider, response)
        try:
            return self._read(call, response), response.status
        except Exception:
            text = mask_credentials(response.body.decode("latin-1"), token, proxy)
            if call.request.callback_url:
                text = Secret(call.request.callback_url.rpartition("/")[2]).mask(text)
            body = text.encode("latin-1")
            if body == response.body:
                raise
            response = msgspec.structs.replace(response, body=body)
        # Not in the handler: the first error has the credentials, and would be the context of this one.
        return self._read(call, response), response.status

    def _read(self, call: _Call[T], response: Response) -> T:
        """Read the result of a response, or raise the error that it is."""
        failure = read_failure(call.request, response, self._read_pause(response))
        if failure is not None:
            raise failure
        return call.read(response)

    def _check_age(self, provider: str, response: Response) -> None:
        """Log the first response that a cache on the way had stored, by its `Age` header (RFC 9111, 5.1)."""
        age = response.headers.get("age", "").strip()
        if age.strip("0") and age.isascii() and age.isdigit() and not self._has_met_cache:
            self._has_met_cache = True
            _logger.warning(
                "%s: a response is %.10s s old, it is from a cache on the way: the ends of tasks may be noticed late;"
                " exclude the service from the cache",
                provider,
                age,
            )

    def _read_pause(self, response: Response) -> float | None:
        """Return the seconds that a response requests to pause, at most the user's maximum, or None."""
        # The wall clock is needed only for a Retry-After date in a response without a date of its own.
        pause = read_retry_after(response.headers, self._runtime.wall_clock())
        return None if pause is None else min(pause, self._runtime.retry.max_retry_after)


def build_uncertain_error(request: Request, reason: str, delivery: Delivery) -> SubmissionUncertainError:
    """Build the error of a submission that may have been accepted."""
    return SubmissionUncertainError(
        reason,
        provider=request.provider,
        path=request.path,
        payload=request.body,
        sent_at=delivery.sent_at or 0.0,
    )


def _is_final_poll(error: BaseException) -> bool:
    """Return whether not to retry a failed poll at once."""
    # 1. It cannot help.   2. The service requested a pause; the throttle keeps it for all requests.
    if not (isinstance(error, AceTasksError) and error.transient):
        return True
    return isinstance(error, RateLimitError) or (isinstance(error, APIError) and error.retry_after is not None)


def _is_final_submission(error: BaseException) -> bool:
    """Return whether not to retry a failed submission: always, unless it was certainly not accepted and may be."""
    # 1. There were too many requests.   2. It did not arrive, and may arrive later.
    if isinstance(error, RateLimitError):
        return False
    return not (isinstance(error, TransportError) and error.transient and not error.reached)


def _is_uncertain(error: AceTasksError) -> bool:
    """Return whether a failed submission may have been accepted.

    1. It was sent without a complete response.   2. The response cannot be read.
    3. A gateway responded instead of the service: there is no error code, or "timeout".
    """
    if isinstance(error, TransportError):
        return error.reached
    return isinstance(error, ProtocolError) or (isinstance(error, ServiceError) and error.code in {None, "timeout"})
