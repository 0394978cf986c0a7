"""Proxies of the environment (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), for the client's own connections.

aiohttp's `trust_env` is not used: it starts a thread for each request, and takes other credentials from a netrc file.
"""

from __future__ import annotations

import base64
import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from acetasks._http.auth import Credentials, Secret, has_valid_address, is_loopback

if TYPE_CHECKING:
    from typing import NoReturn

_PORTS = {"http": 80, "https": 443}


class Proxy:
    """A proxy: its URL without a user name and password, and the header with them, or None."""

    __slots__ = ("credentials", "url")

    def __init__(self, url: str, credentials: Secret | None = None) -> None:
        self.url = url
        self.credentials = credentials

    def __repr__(self) -> str:
        return f"<Proxy {self.url}>"

    @property
    def headers(self) -> dict[str, str]:
        """The header with the credentials, if there are any."""
        return {} if self.credentials is None else {"proxy-authorization": Credentials(self.credentials.reveal())}

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Proxy cannot be pickled or copied")


def mask_credentials(text: str, token: Secret, proxy: Proxy | None) -> str:
    """Return a received text without the credentials of a request; see `Secret.mask`."""
    text = token.mask(text)
    return text if proxy is None or proxy.credentials is None else proxy.credentials.mask(text)


def find_proxy(base_url: str) -> Proxy | None:
    """Return the proxy that the environment names for a base URL, or None for a direct connection.

    Names in lower case take precedence. This machine is always reached directly: over plain HTTP a proxy would see the
    token, and to a proxy `localhost` is another machine.

    Raises:
        ValueError: The proxy is not supported, or no URL; the message does not repeat it.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if is_loopback(host) or _is_excluded(host, parts.port or _PORTS[parts.scheme]):
        return None
    for scheme in (parts.scheme, "all"):
        if url := getproxies().get(scheme):
            proxy = _read_proxy(url)
            del url  # it may contain a password, and a traceback may show it
            if isinstance(proxy, str):
                raise ValueError(f"the proxy in {scheme.upper()}_PROXY {proxy}")
            return proxy
    return None


def has_http_proxy(base_url: str) -> bool:
    """Return whether the environment names a proxy for a base URL without TLS, as aiohttp's `trust_env` reads it."""
    return "http" in getproxies() and not proxy_bypass(urlsplit(base_url).hostname or "")


def _is_excluded(host: str, port: int) -> bool:
    """Return whether `NO_PROXY` has a host: its name, a parent domain, its address, a network of it, or `*`."""
    entries = [entry.strip() for entry in getproxies().get("no", "").split(",")]
    return "*" in entries or any(_contains(entry, host) for entry in entries) or bool(proxy_bypass(f"{host}:{port}"))


def _contains(network: str, address: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _read_proxy(url: str) -> Proxy | str:
    """Return the proxy of a URL, whose scheme is http if it has none, or what is wrong with it."""
    if url.lower().startswith("socks"):
        return (
            "is a SOCKS proxy, which is not supported: use an HTTP proxy, or pass an aiohttp session with a connector"
            " for SOCKS as Client(http=...)"
        )
    flaw = "must be like 'http://proxy.example:3128'; special characters of a password must be percent-encoded"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        return flaw
    if parts.scheme not in _PORTS or not parts.hostname or not has_valid_address(parts) or not url.isprintable():
        return flaw
    user_info, _, address = parts.netloc.rpartition("@")
    if " " in address or "\\" in address:
        return flaw
    user, _, password = user_info.partition(":")
    encoded = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return Proxy(f"{parts.scheme}://{address}", Secret(f"Basic {encoded}") if user_info else None)
