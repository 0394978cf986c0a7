"""Addresses that may be requested."""

from __future__ import annotations

import socket

import pytest

from acetasks._downloads.addresses import AddressGuard, RefusedAddressError, is_public

PRIVATE = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",  # noqa: S104  # an address to refuse
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "2002:7f00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address: str) -> None:
    """Loopback, private, link-local, shared, reserved and multicast addresses are not public, nor embedded ones."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    """Other addresses are public."""
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://f.example/a", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("//f.example/a", "scheme"),
        ("", "scheme"),
        ("https:///a", "host"),
        ("https://f.example\\@evil.example/", "host"),
        ("https://f.exa\nmple/", "host"),
        ("https://user:password@f.example/a", "credentials"),
        ("https://f.example:99999/a", "malformed"),
        ("https://[::1/a", "malformed"),
        ("http://127.0.0.1/a", "private"),
        ("http://[::1]/a", "private"),
        ("https://169.254.169.254/latest/meta-data", "private"),
        ("https://127.0.0.1:8080/a", "private"),
    ],
)
def test_refused_url(url: str, reason: str) -> None:
    """A URL of another scheme, without a host, with credentials or with a private address is refused."""
    guard = AddressGuard(allowed=[("127.0.0.1", 8000)], allow_private=False)
    with pytest.raises(RefusedAddressError, match=reason):
        guard.check(url)


@pytest.mark.parametrize("url", ["https://f.example/a", "http://1.1.1.1/a", "http://127.0.0.1:8000/a"])
def test_allowed_url(url: str) -> None:
    """Public addresses, host names and the allowed origin pass."""
    AddressGuard(allowed=[("127.0.0.1", 8000)], allow_private=False).check(url)


def test_all_private_allowed() -> None:
    """With `allow_private` every address passes."""
    AddressGuard(allowed=[], allow_private=True).check("http://10.0.0.1/a")


async def test_resolved_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name with a private address among others is refused when it is resolved, unless its origin is allowed."""
    addresses = ["1.1.1.1", "10.0.0.1"]

    def resolve(_host: str, port: int, *_args: object, **_options: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    guard = AddressGuard(allowed=[("internal.example", 80)], allow_private=False)
    with pytest.raises(RefusedAddressError, match=r"rebound\.example \(10\.0\.0\.1\) is a private address"):
        await guard.resolve("rebound.example", 80)
    assert len(await guard.resolve("internal.example", 80)) == 2
    with pytest.raises(RefusedAddressError):
        await guard.resolve("internal.example", 81)
    addresses.remove("10.0.0.1")
    assert len(await guard.resolve("rebound.example", 80)) == 1
    await guard.close()
