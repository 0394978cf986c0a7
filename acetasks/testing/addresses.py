"""Addresses that code on a virtual clock must not connect to.

Like the clock, this module imports only the standard library.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

#: Top-level domains without public hosts: RFC 6761, RFC 6762, RFC 8375 and ICANN's `internal`.
_LOCAL_DOMAINS = frozenset({"arpa", "example", "internal", "invalid", "local", "localhost", "test"})

#: The event loops of the open simulated services, by port.
_service_loops: dict[int, asyncio.AbstractEventLoop] = {}


def register_service(port: int, loop: asyncio.AbstractEventLoop) -> None:
    """Remember the event loop of a simulated service that has been started."""
    _service_loops[port] = loop


def unregister_service(port: int) -> None:
    """Forget a simulated service that has been stopped."""
    _service_loops.pop(port, None)


def find_problem(
    host: object, port: object, *, loop: asyncio.AbstractEventLoop, allowed_hosts: Collection[str] | None
) -> str | None:
    """Return why code in a loop must not connect to an address, or None.

    Args:
        host: A name or an IP address.
        port: The port, or whatever was passed in its place.
        loop: The event loop of the code.
        allowed_hosts: Public hosts that may be used; None allows all.
    """
    other = _service_loops.get(port) if isinstance(port, int) and _is_loopback(host) else None
    if other is not None and other is not loop and not other.is_running():
        return idle_service_message(f"the AceServer at port {port}")
    if allowed_hosts is not None and isinstance(host, str) and host not in allowed_hosts and is_public(host):
        return (
            f"the code under test connects to the real host {host!r}: pass base_url=server.url to the client, use the"
            f" fixture ace_environment, or allow it with @pytest.mark.acetasks_virtual_clock(allow_hosts=[{host!r}])"
        )
    return None


def idle_service_message(service: str) -> str:
    """Return the message about a simulated service whose event loop does not run."""
    return (
        f"{service} cannot respond: it was started in another event loop, which is not running now; start it in the"
        " loop of the test (a fixture of function scope), or run the test in the loop of the fixture"
        ' (such as @pytest.mark.asyncio(loop_scope="session"))'
    )


def is_public(host: str) -> bool:
    """Return whether a name or an IP address is of the public internet.

    Names without a dot, such as those of containers, and names of local domains are not.
    """
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_global
    except ValueError:
        labels = host.rstrip(".").lower().split(".")
        return len(labels) > 1 and labels[-1] not in _LOCAL_DOMAINS


def _is_loopback(host: object) -> bool:
    return isinstance(host, str) and (host in {"localhost", "::1"} or host.startswith("127."))
