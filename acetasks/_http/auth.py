"""Base URLs and tokens of the services, with renewal of refused tokens.

A token is wrapped in a `Secret` as soon as it arrives, so that no repr, serialisation or traceback shows it. It is
unwrapped only where request headers are written.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from acetasks._runtime import is_being_cancelled
from acetasks.errors import AceTasksError, AuthenticationError, TransportError, fresh_copy

if TYPE_CHECKING:
    from typing import NoReturn
    from urllib.parse import SplitResult

#: Characters that are not allowed in a base URL, though some are in URLs.
_FORBIDDEN = frozenset(" \\?#")

#: Pages to get a token from, by environment variable.
_TOKEN_PAGES = {
    "ACEDATACLOUD_API_TOKEN": "https://platform.acedata.cloud",
    "USEAPI_API_TOKEN": "https://useapi.net/docs/start-here/setup-useapi",
}

#: Texts that no token can be, with what they are, their usual origin and the remedy.
_PLACEHOLDERS = (
    (
        re.compile("[\"'`].*|.*[\"'`]"),
        "has quotes around it, as `docker run --env-file` keeps them: remove the quotes",
    ),
    (
        re.compile(r".*\$[{(].*|\$\w+|%\w+%"),
        "is the name of a variable that was not expanded, as in a file that no shell reads: set the value itself",
    ),
    (
        re.compile(r"<.*>|.*\{.*\}.*"),
        "is a placeholder, as in an example or a template that was not filled in: replace it with a token",
    ),
)

#: What replaces a secret in a text, and the minimum length of one that is replaced: a shorter one is no real token, and
#: would also be found by chance.
_MASK, _MIN_MASKED = "[masked]", 8

#: Returns a token: for the first request, and again when the service has refused the last one.
TokenProvider = Callable[[], str | Awaitable[str]]


class Credentials(str):
    """A header with credentials. aiohttp keeps it in variables, which the traceback of a cancelled request shows."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(f"{self.partition(' ')[0]} ...")


class Secret:
    """A text that is hidden from reprs, comparison and serialisation."""

    __slots__ = ("_echo", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._echo: re.Pattern[str] | None = None

    def __repr__(self) -> str:
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")

    def reveal(self) -> str:
        """Return the text."""
        return self._text

    def mask(self, text: str) -> str:
        """Return a received text without this one in it: as it is, or escaped as in JSON or in a URL.

        Of a header value such as `Basic ...`, the part after the scheme is replaced wherever it stands.
        """
        value = self._text.rpartition(" ")[2]
        if len(value) < _MIN_MASKED:
            return text
        if self._echo is None:
            self._echo = re.compile("".join(map(_match_char, value)))
        return self._echo.sub(_MASK, text)

    def find_flaw(self) -> str | None:
        """Return why the text cannot be a token, such as a line break that would begin another header, or None."""
        if not self._text:
            return "is empty"
        for pattern, flaw in _PLACEHOLDERS:
            if pattern.fullmatch(self._text):
                return flaw
        if not self._text.isascii() or not self._text.isprintable() or " " in self._text:
            return "contains whitespace, control or non-ASCII characters"
        return None


def _match_char(char: str) -> str:
    """Return a pattern for a character of ASCII as it is, after backslashes, or by its number, escaped once or more."""
    plain, number = re.escape(char), f"{ord(char):02x}"
    # Each alternative begins with a literal character, for a fast search in large bodies.
    return rf"(?:{plain}|\\\\*(?:{plain}|u00(?i:{number}))|%(?:25)*(?i:{number}))"


class Endpoint:
    """Base URL and token of one service.

    Args:
        base_url: With its scheme and optionally a path.
        token: The token, a provider of tokens, or None.
        token_variable: The environment variable that the error about a missing token names.
        timeout: Seconds for one call of the token provider.
        allow_insecure: Whether the token may be sent to another machine without TLS.

    Raises:
        ValueError: The base URL or the token is not usable; the message does not repeat the token.
    """

    # Without a `__dict__`, `vars` and serialisers cannot reach the token.
    __slots__ = (
        *("_calls", "_failure", "_lock", "_provider", "_refused", "_repeated", "_timeout", "_token", "_variable"),
        "base_url",
    )

    def __init__(
        self,
        *,
        base_url: str,
        token: Secret | TokenProvider | None,
        token_variable: str,
        timeout: float = 30.0,
        allow_insecure: bool = False,
    ) -> None:
        # Set before the checks: the traceback of a failed one shows the repr of this object.
        self.base_url = base_url
        self._provider = None if token is None or isinstance(token, Secret) else token
        self._token = token if isinstance(token, Secret) else None
        self._variable = token_variable
        self._timeout = timeout
        # The token that the service refused last, and the same one if the provider has returned it once more.
        self._refused: Secret | None = None
        self._repeated: Secret | None = None
        # The number of provider calls, and the error of the last one if it failed.
        self._calls = 0
        self._failure: AceTasksError | None = None
        self._lock = anyio.Lock()
        check_base_url(base_url, allow_insecure=allow_insecure)
        if self._token is not None and (flaw := self._token.find_flaw()):
            raise ValueError(f"the token for {urlsplit(base_url).hostname} {flaw}")

    def __repr__(self) -> str:
        token = "from a provider" if self._provider is not None else "given" if self._token else "none"
        return f"<Endpoint {self.base_url} token={token}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Endpoint cannot be pickled or copied")

    def check(self) -> None:
        """Raise `AuthenticationError` if there is neither a token nor a provider; the message says how to get one."""
        if self._token is None and self._provider is None:
            raise self._build_missing_error()

    @property
    def latest(self) -> Secret | None:
        """The latest token, which the service may have refused; None before the first."""
        return self._token

    async def authorize(self) -> Secret:
        """Return the current token, or a new one of the token provider.

        Raises:
            AuthenticationError: There is no token, or the provider returned none.
            TransportError: The provider could not be reached, or was cancelled; trying again later helps.
        """
        provider, calls = self._provider, self._calls
        if provider is not None and self._token in {None, self._refused}:
            async with self._lock:
                if self._token in {None, self._refused}:
                    self._token = await self._request_token(provider, calls)
        if self._token is None:
            raise self._build_missing_error()
        return self._token

    async def renew(self, refused: Secret) -> bool:
        """Replace a token that the service has refused, and return whether there is another one now.

        The provider is called once for all requests that were refused with the same token. Raises as `authorize` does.
        """
        provider, calls = self._provider, self._calls
        async with self._lock:
            if self._token is refused and self._repeated is not refused and provider is not None:
                self._refused = refused
                token = await self._request_token(provider, calls)
                if token.reveal() == refused.reveal():
                    self._repeated = refused
                else:
                    self._token = token
            return self._token is not refused

    async def _request_token(self, provider: TokenProvider, calls: int) -> Secret:
        """Call the provider, unless a call has failed since the caller read `calls` and began to wait for the lock.

        Concurrent callers share that failure: otherwise each would wait for a hanging provider, one after the other.
        """
        if self._failure is not None and self._calls != calls:
            raise fresh_copy(self._failure)
        self._failure = None
        try:
            return await self._call(provider)
        except AceTasksError as error:
            self._failure = fresh_copy(error)
            raise
        finally:
            self._calls += 1

    async def _call(self, provider: TokenProvider) -> Secret:
        """Call the provider once and check its result."""
        name = f"the token provider for {self.base_url}"
        try:
            with anyio.fail_after(self._timeout):
                returned = provider()
                token: object = await returned if inspect.isawaitable(returned) else returned
        except AceTasksError:
            raise
        except asyncio.CancelledError as error:
            if is_being_cancelled():
                raise
            raise TransportError(f"{name} was cancelled by other code", reached=False) from error
        except OSError as error:  # includes TimeoutError
            reason = str(error) or type(error).__name__
            raise TransportError(f"{name} could not be reached: {reason}", reached=False) from error
        except Exception as error:
            raise AuthenticationError(f"{name} failed: {type(error).__name__}: {error}") from error
        secret, type_name = Secret(token) if isinstance(token, str) else None, type(token).__name__
        # A traceback must not show the result of any type: it may be the token as bytes.
        del token, returned
        if secret is None:
            raise AuthenticationError(f"{name} must return a str, got {type_name}")
        if flaw := secret.find_flaw():
            raise AuthenticationError(f"{name} returned a token that {flaw}")
        return secret

    def _build_missing_error(self) -> AuthenticationError:
        return AuthenticationError(
            f"no token for {self.base_url}: pass one to Client(...) or set {self._variable};"
            f" get one at {_TOKEN_PAGES[self._variable]}"
        )


def check_base_url(base_url: str, *, allow_insecure: bool) -> None:
    """Raise `ValueError` for an invalid base URL, or one that would send the token to another machine without TLS."""
    parts = urlsplit(base_url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the base URL of {parts.hostname} contains a user name or password; only the token is used")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not base_url.isprintable()
        # The path of a request is appended: not even an empty query is allowed.
        or not _FORBIDDEN.isdisjoint(base_url)
        or not has_valid_address(parts)
    ):
        raise ValueError(
            "base URL must be like 'https://api.acedata.cloud', with a scheme and nothing after the path,"
            f" got {base_url!r}"
        )
    if parts.scheme != "https" and not allow_insecure and not is_loopback(parts.hostname):
        raise ValueError(
            f"the base URL {base_url!r} would send the token unencrypted to another machine: use https, or pass"
            " allow_insecure=True if the network is trusted"
        )


def has_valid_address(parts: SplitResult) -> bool:
    """Return whether the host of a URL can be resolved and its port, if any, is valid."""
    try:
        (parts.hostname or "").encode("idna")  # as `socket.getaddrinfo` will
        port = parts.port
    except ValueError:
        return False
    return port is None or port > 0


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, by its name alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
