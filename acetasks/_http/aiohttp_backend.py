"""The adapter to aiohttp: sends one request, and maps every error of it to one of this library's."""

from __future__ import annotations

import contextlib
import itertools
import platform
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp

from acetasks._http.auth import Credentials
from acetasks._http.delivery import Delivery, TrackedBody
from acetasks._http.proxies import has_http_proxy, mask_credentials
from acetasks._http.requests import Request, Response
from acetasks._records import ECHO_LIMIT
from acetasks._runtime import limit_time
from acetasks._version import __version__
from acetasks.errors import AceTasksError, ClientClosedError, ProtocolError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks._http.auth import Secret
    from acetasks._http.proxies import Proxy
    from acetasks.policies import RetryPolicy

#: Maximum number of connections for polls, and of ones for submissions.
POOL_SIZE = 100
#: Maximum bytes of one body: enough for fifty records with images as base64, too little to exhaust memory.
BODY_LIMIT = 64 * 1024 * 1024
#: Approximate number of bytes that are read and decompressed at once.
_READ_SIZE = 2**16
#: The headers of every request, besides the token.
_HEADERS = {
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"acetasks/{__version__} aiohttp/{aiohttp.__version__} Python/{platform.python_version()}",
}
#: The headers of a GET: caches store its responses, and a stale one would keep a finished task unfinished.
_GET_HEADERS = _HEADERS | {"cache-control": "no-cache"}
#: The headers of a submission, whose connection is not used again.
_SUBMISSION_HEADERS = _HEADERS | {"connection": "close"}
#: Distinguishes the submissions of this process.
_serial_numbers = itertools.count(1)

#: Reasons of OpenSSL for a handshake with what is no TLS, such as a plain HTTP server; versions differ.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL"})
#: Results of a name resolution that mean that there is no such name; some systems lack the second.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
#: Errors before a request is sent.
_UNSENT = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError)


class AiohttpBackend:
    """HTTP client over an `aiohttp.ClientSession`: the user's, which it never closes, or its own.

    A submission has a connection of its own. The server, a proxy or a NAT may have dropped one that was idle, and then
    nothing would tell whether the submission arrived. Its own sessions are two, since a connector closes either every
    connection or none; in the user's session `_separate_connection` does it.
    """

    def __init__(self, http: aiohttp.ClientSession | None, retry: RetryPolicy) -> None:
        self._http = http
        self._submit_http = http
        self._is_own = http is None
        self._retry = retry
        # A submission may take long to be answered, but not to be connected.
        # Base URLs that have answered, whatever it was: their certificates, TLS and host names have worked.
        self._answered: set[str] = set()
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(retry.timeout, retry.submit_timeout))

    def __repr__(self) -> str:
        state = "closed" if self._http is None or self._http.closed else "open"
        return f"<AiohttpBackend {'own' if self._is_own else 'given'} session, {state}>"

    @property
    def max_connections(self) -> int | None:
        """Maximum number of connections for submissions; None for no limit, which a session of the user's may have."""
        connector = None if self._submit_http is None else self._submit_http.connector
        return POOL_SIZE if self._is_own or connector is None else connector.limit or None

    async def close(self) -> None:
        """Close the sessions until the next request, unless it is the user's."""
        if not self._is_own:
            return
        sessions, self._http, self._submit_http = (self._http, self._submit_http), None, None
        async with contextlib.AsyncExitStack() as stack:  # each is closed, even if the caller gives up meanwhile
            for http in filter(None, sessions):
                stack.push_async_callback(http.close)

    async def send(
        self,
        base_url: str,
        request: Request,
        token: Secret,
        *,
        proxy: Proxy | None = None,
        delivery: Delivery | None = None,
    ) -> Response:
        """Send a request, through a proxy if there is one, and read the complete response, whatever its status.

        `delivery` is told how far the request comes, and decides what is certain about a failure.

        Raises:
            TransportError: There was no complete response in time; `reached` is False if nothing was sent.
            ProtocolError: The body is larger than `BODY_LIMIT`.
            ClientClosedError: The user's own session is closed.
        """
        seconds = self._retry.submit_timeout if request.is_submission else self._retry.timeout
        name = f"{request.provider}: {request.method} {request.path}"
        if proxy is not None:
            name += f" through the proxy {proxy.url}"
        try:
            async with limit_time(seconds):
                return await self._send(base_url, request, token, proxy, delivery)
        except AceTasksError:
            raise
        except Exception as error:  # noqa: BLE001  # resolvers, tracers, middlewares and threads raise any
            is_timeout = isinstance(error, TimeoutError) and not isinstance(error, _UNSENT)
            reason = f"within {seconds:g} s" if is_timeout else f"({_describe(error, token, proxy)})"
            failure = self._build_failure(name, reason, error, base_url, delivery)
        # Raised outside the handlers, so that the original error is neither cause nor context: it and the frames of its
        # traceback hold the request headers, and printing them would print the token.
        raise failure

    def _build_failure(
        self, name: str, reason: str, error: Exception, base_url: str, delivery: Delivery | None
    ) -> TransportError:
        """Build the error of a request that has this name, for a reason with the text of another error or a limit."""
        is_unsent = isinstance(error, _UNSENT)
        if is_unsent:  # but a middleware of the user's may have sent the request before
            reached = delivery is not None and delivery.is_written
        else:
            reached = delivery is None or delivery.may_have_arrived
        remedy, is_final = _find_remedy(error) if is_unsent and base_url not in self._answered else (None, False)
        outcome = "got no complete response" if reached else "could not be sent"
        return TransportError(f"{name} {outcome} {reason}", reached=reached, transient=not is_final, remedy=remedy)

    async def _send(
        self, base_url: str, request: Request, token: Secret, proxy: Proxy | None, delivery: Delivery | None
    ) -> Response:
        """Send a request; raises the errors of aiohttp and everything that it calls."""
        headers = _GET_HEADERS if request.method == "GET" else _HEADERS
        headers = _SUBMISSION_HEADERS if request.is_submission else headers
        # Over TLS a proxy sees only the request for a tunnel, otherwise only the request itself.
        has_tunnel = base_url.lower().startswith("https:")
        proxy_headers = {} if proxy is None else proxy.headers
        http = self._open_session(is_submission=request.is_submission)
        response = await http.request(
            request.method,
            base_url.rstrip("/") + request.path,
            params=request.query or None,
            data=TrackedBody(request.body, delivery) if delivery is not None else request.body or None,
            headers={
                # With its `trust_env` aiohttp reads a netrc file, and refuses a header beside that.
                **({} if http.trust_env else _build_authorization(token)),
                **headers,
                **request.headers,
                **({} if has_tunnel else proxy_headers),
            },
            proxy=proxy.url if proxy is not None else None,
            proxy_headers=proxy_headers if has_tunnel else None,
            allow_redirects=False,
            raise_for_status=False,
            read_bufsize=_READ_SIZE,  # with a larger one, a small body could decompress beyond the limit at once
            timeout=self._timeout,
            middlewares=self._list_middlewares(http, request, token, delivery),
        )
        self._answered.add(base_url)
        try:
            body = await _read_body(response)
        finally:
            if request.is_submission:
                response.close()
            response.release()
        return Response(status=response.status, headers=response.headers, body=body)

    def _open_session(self, *, is_submission: bool) -> aiohttp.ClientSession:
        """Return the session, opening one if there is none; it keeps no cookies that could identify the user."""
        http = self._submit_http if is_submission else self._http
        if http is None:
            connector = aiohttp.TCPConnector(limit=POOL_SIZE, force_close=is_submission)
            http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            if is_submission:
                self._submit_http = http
            else:
                self._http = http
        if http.closed:
            raise ClientClosedError(
                "the aiohttp session given to Client(http=...) is closed; keep it open while in use"
            )
        return http

    def _list_middlewares(
        self, http: aiohttp.ClientSession, request: Request, token: Secret, delivery: Delivery | None
    ) -> list[aiohttp.ClientMiddlewareType] | None:
        """Return the session's middlewares and the ones that a request needs after them; None for only the former."""
        needed: list[aiohttp.ClientMiddlewareType] = []
        if http.trust_env:
            needed.append(_build_authorizer(token))
        if request.is_submission and not self._is_own:
            needed.append(_separate_connection)
        if delivery is not None:
            needed.append(delivery.track)
        # A session has no public attribute for them, and middlewares of a request replace its own.
        return [*getattr(http, "_middlewares", ()), *needed] if needed else None


def check_session(http: aiohttp.ClientSession, *, base_urls: Iterable[str] = (), allow_insecure: bool) -> None:
    """Raise `ValueError` if a user's own session would expose the token, sends other credentials or reads no bodies.

    With `allow_insecure` it need not verify certificates, and a proxy may see the requests to a base URL without TLS.
    """
    # A connector has no public attribute for it; without this one, it verifies as aiohttp does by default.
    tls = getattr(http.connector, "_ssl", True)
    verifies = tls is not False
    if isinstance(tls, ssl.SSLContext):
        verifies = tls.verify_mode is ssl.CERT_REQUIRED and tls.check_hostname
    if not verifies and not allow_insecure:
        raise ValueError(
            "the aiohttp session given as http does not verify certificates and host names, so the token could be"
            " intercepted: create its connector with ssl=True or a context that verifies both, or pass"
            " allow_insecure=True if the network is trusted"
        )
    if http.auth is not None:
        raise ValueError("the aiohttp session given as http has its own auth; remove it, the client sends the token")
    if not http.auto_decompress:
        raise ValueError(
            "the aiohttp session given as http has auto_decompress=False, so compressed responses could not be read:"
            " create it without that argument"
        )
    if exposed := None if allow_insecure else next((url for url in base_urls if _has_open_proxy(http, url)), None):
        raise ValueError(
            f"the aiohttp session given as http would send the token unencrypted to a proxy, on the way to {exposed!r}:"
            " add the host to NO_PROXY, use a session without a proxy, or pass allow_insecure=True if the proxy is"
            " trusted"
        )


def _has_open_proxy(http: aiohttp.ClientSession, base_url: str) -> bool:
    """Return whether a session sends requests to a base URL without TLS through its own or the environment's proxy."""
    # A session has no public attribute for its proxy.
    has_proxy = getattr(http, "_default_proxy", None) is not None or (http.trust_env and has_http_proxy(base_url))
    return has_proxy and base_url.lower().startswith("http:")


def _build_authorization(token: Secret) -> dict[str, str]:
    return {"authorization": Credentials(f"Bearer {token.reveal()}")}


def _build_authorizer(token: Secret) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sets the token, in place of credentials from a netrc file."""

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.update(_build_authorization(token))
        return await handler(request)

    return authorize


async def _separate_connection(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request over a new connection, as a middleware of a session whose connector keeps connections.

    A connector uses a connection again for the same host, TLS settings, proxy and headers for the proxy. The latter are
    never the same: without a tunnel they are sent nowhere, otherwise the proxy sees one more.
    """
    headers = request.proxy_headers.copy() if request.proxy_headers else type(request.headers)()
    headers["x-connection-id"] = str(next(_serial_numbers))
    request.proxy_headers = headers
    return await handler(request)


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while not response.content.at_eof():
        chunk = await response.content.readany()
        size += len(chunk)
        if size > BODY_LIMIT:
            response.close()
            chunks.clear()  # the error's traceback would keep them alive
            # Not transient: the poll of a batch is halved, and that of a single task would bring the same again.
            message = f"the response is larger than {BODY_LIMIT} bytes; the rest was not read"
            raise ProtocolError(message, transient=False)
        chunks.append(chunk)
    return b"".join(chunks)


def _find_remedy(error: Exception) -> tuple[str | None, bool]:
    """Return what to check if a connection seldom succeeds later, else None, and whether a retry is pointless."""
    reason = getattr(error, "os_error", None)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            "if a proxy on the way inspects TLS, or this machine lacks CA certificates, set SSL_CERT_FILE to a file"
            " with the missing one; otherwise check the base URL and the proxy"
        ), True
    if isinstance(reason, ssl.SSLError) and reason.reason in _NO_TLS:
        return "what answers does not speak TLS: check the scheme and port of the base URL, and the proxy", True
    if isinstance(error, aiohttp.ClientConnectorDNSError) and getattr(reason, "errno", None) in _NO_SUCH_NAME:
        return "there is no such host: check the base URL, the proxy, and the network of this machine", False
    return None, False


def _describe(error: Exception, token: Secret, proxy: Proxy | None) -> str:
    """Return the type and text of an error, which may quote a malformed response that repeats the request's headers."""
    text = mask_credentials(str(error), token, proxy)[:ECHO_LIMIT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
