"""Where a service is and what opens it: its base URL, and its token, given or made anew when it is refused.

A token is a `Secret` from the moment it comes in, so that nothing that prints variables, structures or tracebacks
prints it; it is taken out of that only where a request's headers are written.
"""

from __future__ import annotations

import inspect
import ipaddress
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio

from acetasks.errors import TOKEN_HELP, AceTasksError, AuthenticationError, TransportError, fresh_copy

if TYPE_CHECKING:
    from typing import NoReturn
    from urllib.parse import SplitResult

#: What no base URL has, though each may be in some URL.
_NEVER = frozenset(" \\?#")

#: Gives a token when one is needed: at the first request, and again when the service has refused the last one.
TokenProvider = Callable[[], str | Awaitable[str]]


class Secret:
    """A text that no repr, comparison of structures or pickle shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        """Show that there is something, and not what."""
        return "Secret(...)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be written down."""
        raise TypeError("a secret is not pickled")

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text

    def find_flaw(self) -> str | None:
        """Say what no token has and this one does, such as a line end that would begin another header; or None."""
        if not self._text:
            return "is empty"
        if not self._text.isascii() or not self._text.isprintable() or " " in self._text:
            return "has blanks, line ends or other signs that no token has"
        return None


class Endpoint:
    """Where a service is and what opens it.

    Attributes:
        base_url: With its scheme.
    """

    __slots__ = (
        "_asked",
        "_fault",
        "_lock",
        "_patience",
        "_provider",
        "_refused",
        "_repeated",
        "_token",
        "_variable",
        "base_url",
    )

    def __init__(
        self,
        *,
        base_url: str,
        token: Secret | TokenProvider | None,
        token_variable: str,
        patience: float = 30.0,
        allow_insecure: bool = False,
    ) -> None:
        """Refuse a base URL or token that no request could safely be sent with.

        Args:
            base_url: With its scheme and maybe a path.
            token: The token, what gives it, or None if there is none.
            token_variable: The environment variable that the token may be in, named by the error that misses it.
            patience: Seconds that what gives the token may take.
            allow_insecure: Whether the token may go to another machine without TLS.

        Raises:
            ValueError: It says which, without repeating the token.
        """
        # Before the checks, whose errors' tracebacks have this endpoint: it is printed by them.
        self.base_url = base_url
        self._provider = None if token is None or isinstance(token, Secret) else token
        self._token = token if isinstance(token, Secret) else None
        self._variable = token_variable
        self._patience = patience
        # What the service has refused last, and, if the provider had nothing else to give, what it gave again.
        self._refused: Secret | None = None
        self._repeated: Secret | None = None
        # How often the provider was asked, and what came of the last time if no token did.
        self._asked = 0
        self._fault: AceTasksError | None = None
        self._lock = anyio.Lock()
        check_base_url(base_url, allow_insecure=allow_insecure)
        if self._token is not None and (flaw := self._token.find_flaw()):
            raise ValueError(f"the token for {urlsplit(base_url).hostname} {flaw}")

    def __repr__(self) -> str:
        """Show everything but the token."""
        token = "from a provider" if self._provider is not None else "given" if self._token else "none"
        return f"<Endpoint {self.base_url} token={token}>"

    def __reduce__(self) -> NoReturn:
        """Refuse to be written down, like the secret within."""
        raise TypeError("an endpoint is not pickled")

    def check(self) -> None:
        """Make sure that there is a token or something that gives one, before anything is sent.

        Raises:
            AuthenticationError: There is none; the message says where to get one.
        """
        if self._token is None and self._provider is None:
            raise self._build_missing_error()

    async def authorize(self) -> Secret:
        """Give the token to send a request with, from the provider if there is none that may still be good.

        Raises:
            AuthenticationError: There is none, or the provider gave none.
            TransportError: The provider could not be reached for now.
        """
        provider, asked = self._provider, self._asked
        if provider is not None and self._token in {None, self._refused}:
            async with self._lock:
                if self._token in {None, self._refused}:
                    self._token = await self._ask(provider, asked)
        if self._token is None:
            raise self._build_missing_error()
        return self._token

    async def renew(self, refused: Secret) -> bool:
        """Find another token than the one that the service has refused.

        However many requests are refused together, the provider is asked once.

        Args:
            refused: What the refused request was sent with.

        Returns:
            Whether there is another token now.

        Raises:
            AuthenticationError: The provider gave none.
            TransportError: The provider could not be reached for now.
        """
        provider, asked = self._provider, self._asked
        async with self._lock:
            if self._token is refused and self._repeated is not refused and provider is not None:
                self._refused = refused
                token = await self._ask(provider, asked)
                if token.reveal() == refused.reveal():
                    self._repeated = refused
                else:
                    self._token = token
            return self._token is not refused

    async def _ask(self, provider: TokenProvider, asked: int) -> Secret:
        """Ask the provider for a token, unless another has asked in vain while this one waited its turn.

        Those who wait share that failure: else each would wait for a provider that hangs, one after the other.

        Args:
            provider: What gives the token.
            asked: How often it had been asked when this one began to wait.

        Raises:
            AuthenticationError: It gave none that could be sent.
            TransportError: It could not be reached for now.
        """
        if self._fault is not None and self._asked != asked:
            raise fresh_copy(self._fault)
        self._fault = None
        try:
            return await self._call(provider)
        except AceTasksError as error:
            self._fault = fresh_copy(error)
            raise
        finally:
            self._asked += 1

    async def _call(self, provider: TokenProvider) -> Secret:
        """Call the provider once, and check what it gives."""
        whose = f"the token provider for {self.base_url}"
        try:
            with anyio.fail_after(self._patience):
                given = provider()
                token: object = await given if inspect.isawaitable(given) else given
        except AceTasksError:
            raise
        except OSError as error:  # a TimeoutError, too, is one
            reason = str(error) or type(error).__name__
            raise TransportError(f"{whose} could not be reached: {reason}", reached=False) from error
        except Exception as error:
            raise AuthenticationError(f"{whose} failed: {type(error).__name__}: {error}") from error
        secret, kind = Secret(token) if isinstance(token, str) else None, type(token).__name__
        # Not even what is no text stays in a variable: it may be the token as bytes.
        del token, given
        if secret is None:
            raise AuthenticationError(f"{whose} gave no text but {kind}")
        if flaw := secret.find_flaw():
            raise AuthenticationError(f"{whose} gave a token that {flaw}")
        return secret

    def _build_missing_error(self) -> AuthenticationError:
        return AuthenticationError(
            f"no token for {self.base_url}: pass one to Client(...) or set {self._variable};"
            f" get one at {TOKEN_HELP[self._variable]}"
        )


def check_base_url(base_url: str, *, allow_insecure: bool) -> None:
    """Refuse a base URL that is none, or that would carry the token in the clear.

    Args:
        base_url: With its scheme and maybe a path.
        allow_insecure: Whether another machine may be asked without TLS.

    Raises:
        ValueError: It says what is wrong and what to do.
    """
    parts = urlsplit(base_url)
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"the base URL of {parts.hostname} has a user name or password in it: only the token opens it")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or not base_url.isprintable()
        # A path is put after it: not even an empty query may be there.
        or not _NEVER.isdisjoint(base_url)
        or not _has_address(parts)
    ):
        raise ValueError(
            f"a base URL is like 'https://api.acedata.cloud', with its scheme and nothing after the path;"
            f" {base_url!r} is not"
        )
    if parts.scheme != "https" and not allow_insecure and not _is_loopback(parts.hostname):
        raise ValueError(
            f"the base URL {base_url!r} would send the token unencrypted to another machine: use https, or pass"
            " allow_insecure=True if the way there is safe"
        )


def _has_address(parts: SplitResult) -> bool:
    """Tell whether a URL's host can be looked up, and its port, if it names one, can be one."""
    try:
        (parts.hostname or "").encode("idna")  # as `socket.getaddrinfo` will
        port = parts.port
    except ValueError:
        return False
    return port is None or port > 0


def _is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its name alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
