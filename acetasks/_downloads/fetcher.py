"""Fetches one artifact into a partial file: follows redirects, resumes after a cut, and verifies what arrives."""

from __future__ import annotations

import base64
import binascii
import itertools
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import aiohttp
import anyio

from acetasks._downloads.addresses import RefusedAddressError
from acetasks._downloads.responses import EXPIRED, Body, find_wrong_kind, is_transient, read_head
from acetasks._http import find_proxy
from acetasks._limits.backoff import full_jitter
from acetasks._records import ECHO_LIMIT

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from acetasks._downloads.addresses import AddressGuard
    from acetasks._downloads.partial_file import PartialFile
    from acetasks.models import Artifact
    from acetasks.policies import DownloadPolicy

_CHUNK_SIZE = 256 * 1024
_MAX_REDIRECTS = 5
#: Backoff after the first failure and at most, in seconds.
_BASE, _CAP = 0.5, 16.0


class FetchError(Exception):
    """Raised when an artifact cannot be fetched.

    Attributes:
        transient: Whether the same request may succeed later.
        expired: Whether a new URL may help.
    """

    def __init__(self, reason: str, *, transient: bool = False, expired: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient
        self.expired = expired


class Fetched(NamedTuple):
    """The bytes of a complete file on their way into it, and its media type."""

    size: int
    media_type: str


class Fetcher:
    """Fetches artifacts over one aiohttp session, without a token or cookies."""

    def __init__(self, policy: DownloadPolicy, *, guard: AddressGuard, rng: random.Random) -> None:
        self._policy = policy
        self._guard = guard
        self._rng = rng
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        if self._http is not None:
            http, self._http = self._http, None
            await http.close()

    async def fetch(
        self, artifact: Artifact, file: PartialFile, on_progress: Callable[[int, int | None], None]
    ) -> Fetched:
        """Write an artifact to an empty file; `on_progress` receives the bytes so far and in total, if known.

        A transient failure is retried, `attempts` times in a row without a new byte; a retry resumes where it was cut.

        Raises:
            FetchError: It cannot be fetched.
            OSError: The file cannot be written.
        """
        if artifact.url.startswith("data:"):
            return await _write_data_url(artifact, file)
        transfer = _Transfer(self._open_session(), self._policy, self._guard, artifact, file=file, report=on_progress)
        failures, farthest = 0, 0
        while True:
            try:
                return await transfer.run()
            except FetchError as error:
                failures = 0 if file.size > farthest else failures + 1
                farthest = max(farthest, file.size)
                if not error.transient or failures >= self._policy.attempts:
                    raise
            await anyio.sleep(full_jitter(max(1, failures), _BASE, _CAP, self._rng.random(), 0.0))

    def _open_session(self) -> aiohttp.ClientSession:
        if self._http is None or self._http.closed:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=self._guard, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._policy.timeout, sock_read=self._policy.timeout
                ),
            )
        return self._http


class _Transfer:
    """One artifact on its way into a file, over as many requests as it takes."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        policy: DownloadPolicy,
        guard: AddressGuard,
        artifact: Artifact,
        *,
        file: PartialFile,
        report: Callable[[int, int | None], None],
    ) -> None:
        self._http = http
        self._policy = policy
        self._guard = guard
        self._artifact = artifact
        self._file = file
        self._report = report
        self._total: int | None = None
        self._validator = ""

    async def run(self) -> Fetched:
        """Fetch what is missing; raises `FetchError` or `OSError`."""
        try:
            body = await self._request()
        except RefusedAddressError as error:
            raise FetchError(f"its URL was refused: {error}") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise FetchError("its URL is malformed") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(refused := error.__cause__, RefusedAddressError):
                raise FetchError(f"its URL was refused: {refused}") from error
            raise FetchError(f"the connection failed ({_describe(error)})", transient=True) from error
        size = self._file.size
        if not size:
            raise FetchError("the file is empty", transient=True)
        if body.total is not None and size != body.total:
            await self._file.restart()
            raise FetchError(f"{size} bytes arrived instead of {body.total}", transient=True)
        return Fetched(size, body.media_type)

    async def _request(self) -> Body:
        """Send requests until one is not a redirect, and write its body."""
        url = self._artifact.url
        for _ in range(_MAX_REDIRECTS + 1):
            self._guard.check(url)
            async with self._get(url) as response:
                location = response.headers.get("location", "")
                if not (HTTPStatus.MULTIPLE_CHOICES <= response.status < HTTPStatus.BAD_REQUEST and location):
                    return await self._receive(response)
            if urlsplit(target := urljoin(url, location)).scheme == "http" and url.startswith("https:"):
                raise FetchError("it redirects from https to http")
            url = target
        raise FetchError(f"there are more than {_MAX_REDIRECTS} redirects")

    def _get(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """Request a URL from the first missing byte on, through the environment's proxy if there is one."""
        try:
            proxy = find_proxy(url)
        except ValueError as error:
            raise FetchError(str(error)) from error
        headers = {"accept": "*/*", "accept-encoding": "identity"}
        if self._file.size:
            headers["range"] = f"bytes={self._file.size}-"
            if self._validator:
                headers["if-range"] = self._validator
        if proxy is None:
            return self._http.get(url, headers=headers, allow_redirects=False)
        has_tunnel = url.lower().startswith("https:")  # otherwise the proxy reads the headers of the request itself
        return self._http.get(
            url,
            headers=headers if has_tunnel else headers | proxy.headers,
            allow_redirects=False,
            proxy=proxy.url,
            proxy_headers=proxy.headers if has_tunnel else None,
        )

    async def _receive(self, response: aiohttp.ClientResponse) -> Body:
        """Write the body of a response at its place in the file."""
        body = await self._read_head(response)
        if body.start == 0 and self._file.size:
            await self._file.restart()  # the file has changed, or the server knows no ranges
        self._total, self._validator = body.total, body.validator
        if body.total is not None and body.total > self._policy.max_bytes:
            raise FetchError(f"it has {body.total} bytes, more than max_bytes={self._policy.max_bytes}")
        async for chunk in response.content.iter_chunked(_CHUNK_SIZE):
            if not self._file.size and (found := find_wrong_kind(self._artifact.kind, body.media_type, chunk)):
                raise FetchError(f"it should be {self._artifact.kind.value}, but the content is {found}")
            if self._file.size + len(chunk) > self._policy.max_bytes:
                raise FetchError(f"it has more than max_bytes={self._policy.max_bytes} bytes")
            await self._file.write(chunk)
            self._report(self._file.size, body.total)
        return body

    async def _read_head(self, response: aiohttp.ClientResponse) -> Body:
        status = response.status
        if status in EXPIRED:
            raise FetchError(f"the file server answered HTTP {status}, so the URL has expired", expired=True)
        if is_transient(status):
            raise FetchError(f"the file server answered HTTP {status}", transient=True)
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}:
            raise FetchError(f"the file server answered HTTP {status}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise FetchError("the file server sends it compressed, against the request")
        body = read_head(status, response.headers)
        is_continued = body is not None and body.start == self._file.size
        has_changed = body is not None and self._total is not None and body.total not in {None, self._total}
        if body is None or (status == HTTPStatus.PARTIAL_CONTENT and (has_changed or not is_continued)):
            await self._file.restart()
            raise FetchError(f"the file server answered HTTP {status} with a wrong range", transient=True)
        return body


async def _write_data_url(artifact: Artifact, file: PartialFile) -> Fetched:
    """Write the content of a `data:` URL (RFC 2397)."""
    head, comma, data = artifact.url.removeprefix("data:").partition(",")
    media_type, *parameters = head.lower().split(";")
    if not comma:
        raise FetchError("its data: URL is malformed")
    content = unquote_to_bytes(data)
    if parameters[-1:] == ["base64"]:
        try:
            content = base64.b64decode(b"".join(content.split()) + b"==", validate=False)
        except binascii.Error as error:
            raise FetchError("its data: URL is malformed") from error
    if not content:
        raise FetchError("the file is empty")
    for start in itertools.count(0, _CHUNK_SIZE):
        if start >= len(content):
            break
        await file.write(content[start : start + _CHUNK_SIZE])
    return Fetched(len(content), media_type)


def _describe(error: Exception) -> str:
    # The text of aiohttp's errors may contain the signed URL.
    text = type(error).__name__
    cause = getattr(error, "os_error", None)
    return f"{text}: {cause}"[:ECHO_LIMIT] if cause is not None else text
