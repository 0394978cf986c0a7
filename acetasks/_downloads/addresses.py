"""Which addresses may be requested: an artifact's URL and its redirects must not reach into a private network."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp.abc import ResolveResult

_DEFAULT_PORTS = {"http": 80, "https": 443}
#: The well-known prefix of NAT64, behind which an IPv4 address is embedded (RFC 6052).
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

#: Host and port.
Origin = tuple[str, int]


class RefusedAddressError(ValueError):
    """Raised for a URL that must not be requested."""


def read_origin(url: str) -> Origin:
    """Return the host and port of an absolute http or https URL.

    Raises:
        RefusedAddressError: The URL has another scheme, no host, credentials or an invalid port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise RefusedAddressError(f"it is malformed ({error})") from error
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        raise RefusedAddressError(f"its scheme is {scheme[:20]!r}, and only http, https and data are downloaded")
    if not parts.hostname or not url.isprintable() or "\\" in parts.netloc:
        raise RefusedAddressError("it has no valid host")
    if "@" in parts.netloc:
        raise RefusedAddressError("it has credentials in it")
    return parts.hostname.lower(), port if port is not None else _DEFAULT_PORTS[scheme]


def is_public(address: str) -> bool:
    """Return whether an IP address is public, as is the IPv4 address embedded in it, if any."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in _NAT64 else None
        if (embedded := ip.ipv4_mapped or ip.sixtofour or nat64) is not None:
            return embedded.is_global and not embedded.is_multicast
    return ip.is_global and not ip.is_multicast


class AddressGuard(AbstractResolver):
    """Resolver of host names that refuses private addresses; literal addresses are refused by `check`.

    Args:
        allowed: Origins that may have private addresses.
        allow_private: Whether all origins may.
    """

    def __init__(self, *, allowed: Collection[Origin], allow_private: bool) -> None:
        self._allowed = frozenset(allowed)
        self._allow_private = allow_private
        self._resolver: AbstractResolver | None = None

    def check(self, url: str) -> None:
        """Check a URL before it is requested; its host name is checked when it is resolved.

        Raises:
            RefusedAddressError: It must not be requested.
        """
        origin = read_origin(url)
        if self._may_be_private(origin):
            return
        try:
            is_private = not is_public(origin[0])
        except ValueError:
            return  # a host name
        if is_private:
            raise RefusedAddressError(_describe_private(origin[0], origin[0]))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve a host name, and refuse it if any of its addresses is private."""
        if self._resolver is None:
            self._resolver = aiohttp.ThreadedResolver()
        found = await self._resolver.resolve(host, port, family)
        if not self._may_be_private((host.lower(), port)):
            for result in found:
                if not is_public(result["host"]):
                    raise RefusedAddressError(_describe_private(host, result["host"]))
        return found

    async def close(self) -> None:
        """Close the resolver."""
        if self._resolver is not None:
            await self._resolver.close()

    def _may_be_private(self, origin: Origin) -> bool:
        return self._allow_private or origin in self._allowed


def _describe_private(host: str, address: str) -> str:
    resolved = "" if host == address else f" ({address})"
    return f"{host}{resolved} is a private address; DownloadPolicy(allow_private=True) allows those"
