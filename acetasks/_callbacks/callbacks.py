"""Callbacks of one application: where the service can reach it, and the apps that receive them."""

from __future__ import annotations

import secrets
import urllib.parse
from typing import TYPE_CHECKING

from acetasks._callbacks.asgi import ASGIApp
from acetasks._callbacks.receiver import CallbackReceiver
from acetasks._callbacks.tokens import TokenMaker

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from aiohttp import web

    from acetasks._callbacks.receiver import ReceivedCallback

#: Default maximum size of a body: many times that of a callback with URLs.
_MAX_BYTES = 1024 * 1024
#: Least bytes of a secret, so that it cannot be guessed.
_SECRET_SIZE = 16


class Callbacks:
    """Callbacks of the service, which wake the waits for the tasks that they name.

    Pass it to `Client(callbacks=...)`, and mount one of its apps at the path of `url`. Each submission then has a
    callback URL of its own, below `url`, with a token that cannot be guessed. A callback with that token makes the
    client poll its task at once; the state is always the service's answer to that poll. Until then the task is polled
    rarely (`PollPolicy.callback_interval`), in case that the callback is lost.

    The client and the app may be in different threads of one process. One object can serve several clients. Of several
    processes with the same URL and secret, any one may receive a callback if their clients share a journal in a
    PostgreSQL database, or another `AnnouncingStore`.

    Args:
        url: Public URL below which an app is mounted, such as `https://shop.example/acetasks`. It should be HTTPS,
            so that only the service sees the tokens.
        secret: Text or bytes from which the tokens are made, 16 bytes at least. With the same secret, a client that
            resumes after a restart accepts the callbacks of earlier submissions, and one of another process those of
            this one. None makes up a new one.
        max_bytes: Maximum size of a callback's body; larger ones are refused with HTTP 413.

    Raises:
        ValueError: The URL is no absolute HTTP URL or has a query, the secret is too short, or the size is below 1.
        TypeError: An argument is of another type.
    """

    def __init__(self, url: str, *, secret: str | bytes | None = None, max_bytes: int = _MAX_BYTES) -> None:
        try:
            tokens = TokenMaker(secrets.token_bytes() if secret is None else _check_secret(secret))
        finally:
            del secret  # keeps it out of tracebacks that show local variables
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
            raise TypeError(f"max_bytes must be a whole number, got {max_bytes!r}")
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes!r}")
        self._url = _check_url(url)
        self._tokens = tokens
        self._receiver = CallbackReceiver(tokens, max_bytes=max_bytes)

    def __repr__(self) -> str:
        return f"<Callbacks {_hide_credentials(self._url)} {self.received} received, {self.refused} refused>"

    @property
    def url(self) -> str:
        """The URL below which callbacks are received, without a slash at its end."""
        return self._url

    @property
    def received(self) -> int:
        """Number of callbacks with a genuine token, repeated ones included."""
        return self._receiver.received

    @property
    def refused(self) -> int:
        """Number of requests without a genuine token, which had no effect."""
        return self._receiver.refused

    def aiohttp_app(self) -> web.Application:
        """Return an aiohttp application: `app.add_subapp("/acetasks", callbacks.aiohttp_app())`."""
        # Clients that receive no callbacks do not need aiohttp's server.
        from acetasks._callbacks.aiohttp_app import build_aiohttp_app  # noqa: PLC0415  # see above

        return build_aiohttp_app(self._receiver)

    def asgi_app(self) -> ASGIApp:
        """Return an ASGI application: `app.mount("/acetasks", callbacks.asgi_app())` in FastAPI and Starlette."""
        return ASGIApp(self._receiver)

    def receive(self, path: str, body: bytes) -> None:
        """Receive one callback, in a web framework that neither app fits. Anything that is not genuine is ignored.

        It may be called in any thread.

        Args:
            path: Path of the request, which ends as that of a callback URL.
            body: Its body, up to `max_bytes`; a longer one is ignored.
        """
        admission = self._receiver.admit(path)
        if admission is not None and len(body) <= self._receiver.max_bytes:
            self._receiver.deliver(admission, body)

    # For clients.

    def build_url(self, provider: str) -> str:
        """Return a new callback URL for one submission to a provider."""
        return f"{self._url}/{provider}/{self._tokens.make(provider)}"

    def find_token(self, provider: str, url: str) -> str | None:
        """Return the token of a callback URL that `build_url` has returned for a provider; None for any other URL."""
        base, _, token = url.rpartition("/")
        is_own = base == f"{self._url}/{provider}" and self._tokens.is_genuine(provider, token)
        return token if is_own else None

    def is_genuine(self, callback: ReceivedCallback) -> bool:
        """Return whether the token of a callback is one of a URL that `build_url` has returned for its provider."""
        return self._tokens.is_genuine(callback.provider, callback.token)

    def attach(self, receive: Callable[[ReceivedCallback], object], loop: asyncio.AbstractEventLoop) -> None:
        """Call a function in an event loop for each genuine callback from now on."""
        self._receiver.attach(receive, loop)

    def detach(self, receive: Callable[[ReceivedCallback], object]) -> None:
        """Do not call a function any more."""
        self._receiver.detach(receive)


def _check_secret(secret: object) -> bytes:
    """Return a secret as bytes; an error does not repeat it."""
    if not isinstance(secret, str | bytes):
        raise TypeError(f"secret must be text or bytes, got {type(secret).__name__}")
    encoded = secret.encode() if isinstance(secret, str) else secret
    if len(encoded) < _SECRET_SIZE:
        raise ValueError(
            f"secret must have at least {_SECRET_SIZE} bytes, got {len(encoded)}: make one with secrets.token_urlsafe()"
        )
    return encoded


def _check_url(url: object) -> str:
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, got {url!r}")
    try:
        parts = urllib.parse.urlsplit(url)
        is_http = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_http = False
    if not is_http or not url.isprintable() or " " in url:
        raise ValueError(
            f"url must be an absolute http or https URL, such as https://shop.example/acetasks, got"
            f" {_hide_credentials(url)!r}"
        )
    if "?" in url or "#" in url:
        raise ValueError(f"url must have no query and no fragment, got {_hide_credentials(url)!r}")
    return url.rstrip("/")


def _hide_credentials(url: str) -> str:
    """Return a URL, or what was given for one, without a user name and password."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2] if separator else url.rpartition("@")[2]
