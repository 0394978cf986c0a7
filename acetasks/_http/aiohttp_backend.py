"""The adapter to aiohttp: sends one request, and maps every error of it to one of this library's."""

from __future__ import annotations

import asyncio
import platform
import ssl
from typing import TYPE_CHECKING

import aiohttp

from acetasks._http.requests import Request, Response
from acetasks._records import ECHO_LIMIT
from acetasks._version import __version__
from acetasks.errors import AceTasksError, ClientClosedError, ProtocolError, TransportError

if TYPE_CHECKING:
    from acetasks._http.auth import Secret
    from acetasks._http.proxies import Proxy
    from acetasks.policies import RetryPolicy

#: Maximum number of connections. Polls use fewer; the rest is for submissions.
_POOL_SIZE = 100
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


class _Credentials(str):
    """A header with credentials. aiohttp keeps it in variables, which the traceback of a cancelled request shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(f"{self.partition(' ')[0]} ...")


class AiohttpBackend:
    """HTTP client over an `aiohttp.ClientSession`: the user's, which it never closes, or one that it opens itself."""

    def __init__(self, http: aiohttp.ClientSession | None, retry: RetryPolicy) -> None:
        self._http = http
        self._is_own = http is None
        self._retry = retry
        # A submission may take long to be answered, but not to be connected.
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(retry.timeout, retry.submit_timeout))

    def __repr__(self) -> str:
        state = "closed" if self._http is None or self._http.closed else "open"
        return f"<AiohttpBackend {'own' if self._is_own else 'given'} session, {state}>"

    async def close(self) -> None:
        """Close the session until the next request, unless it is the user's."""
        if self._is_own and self._http is not None:
            http, self._http = self._http, None
            await http.close()

    async def send(self, base_url: str, request: Request, token: Secret, proxy: Proxy | None = None) -> Response:
        """Send a request, through a proxy if there is one, and read the complete response, whatever its status.

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
            async with asyncio.timeout(seconds):
                return await self._send(base_url, request, token, proxy)
        except AceTasksError:
            raise
        except (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError, aiohttp.ConnectionTimeoutError) as error:
            failure = TransportError(f"{name} could not be sent ({_describe(error)})", reached=False)
        except TimeoutError:
            failure = TransportError(f"{name} got no complete response within {seconds:g} s")
        except Exception as error:  # noqa: BLE001  # resolvers, tracers, middlewares and threads raise any
            failure = TransportError(f"{name} got no complete response ({_describe(error)})")
        # Raised outside the handlers, so that the original error is neither cause nor context: it and the frames of its
        # traceback hold the request headers, and printing them would print the token.
        raise failure

    async def _send(self, base_url: str, request: Request, token: Secret, proxy: Proxy | None) -> Response:
        """Send a request; raises the errors of aiohttp and everything that it calls."""
        headers = _GET_HEADERS if request.method == "GET" else _HEADERS
        # Over TLS a proxy sees only the request for a tunnel, otherwise only the request itself.
        has_tunnel = base_url.lower().startswith("https:")
        http = self._open_session()
        response = await http.request(
            request.method,
            base_url.rstrip("/") + request.path,
            params=request.query or None,
            data=request.body or None,
            headers={
                # With its `trust_env` aiohttp reads a netrc file, and refuses a header beside that.
                **({} if http.trust_env else _build_authorization(token)),
                **headers,
                **request.headers,
                **({} if has_tunnel else _build_proxy_headers(proxy)),
            },
            proxy=proxy.url if proxy is not None else None,
            proxy_headers=_build_proxy_headers(proxy) if has_tunnel else None,
            allow_redirects=False,
            raise_for_status=False,
            read_bufsize=_READ_SIZE,  # with a larger one, a small body could decompress beyond the limit at once
            timeout=self._timeout,
            middlewares=_middlewares_with(http, token) if http.trust_env else None,
        )
        try:
            body = await _read_body(response)
        finally:
            response.release()
        return Response(status=response.status, headers=response.headers, body=body)

    def _open_session(self) -> aiohttp.ClientSession:
        """Return the session, opening one if there is none; it keeps no cookies that could identify the user."""
        if self._http is None:
            connector = aiohttp.TCPConnector(limit=_POOL_SIZE)
            self._http = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        if self._http.closed:
            raise ClientClosedError(
                "the aiohttp session given to Client(http=...) is closed; keep it open while in use"
            )
        return self._http


def check_session(http: aiohttp.ClientSession, *, allow_insecure: bool) -> None:
    """Raise `ValueError` if a user's own session would expose the token, sends other credentials or reads no bodies.

    With `allow_insecure` it need not verify certificates.
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


def _build_authorization(token: Secret) -> dict[str, str]:
    return {"authorization": _Credentials(f"Bearer {token.reveal()}")}


def _middlewares_with(http: aiohttp.ClientSession, token: Secret) -> tuple[aiohttp.ClientMiddlewareType, ...]:
    """Return a session's middlewares and a last one that sets the token, in place of credentials from a netrc file."""

    async def authorize(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.headers.update(_build_authorization(token))
        return await handler(request)

    # A session has no public attribute for them, and middlewares of a request replace its own.
    return (*getattr(http, "_middlewares", ()), authorize)


def _build_proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    if proxy is None or proxy.credentials is None:
        return {}
    return {"proxy-authorization": _Credentials(proxy.credentials.reveal())}


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while not response.content.at_eof():
        chunk = await response.content.readany()
        size += len(chunk)
        if size > BODY_LIMIT:
            response.close()
            chunks.clear()  # the error's traceback would keep them alive
            raise ProtocolError(f"the response is larger than {BODY_LIMIT} bytes; the rest was not read")
        chunks.append(chunk)
    return b"".join(chunks)


def _describe(error: Exception) -> str:
    text = str(error)[:ECHO_LIMIT]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
