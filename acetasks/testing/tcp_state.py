"""What Linux says about TCP sockets: addresses, queues and states. Only the standard library is imported."""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Host and port.
Address = tuple[str, int]

# From linux/sockios.h; not defined by Python. Returns the number of unsent bytes of a TCP socket.
_SIOCOUTQNSD = 0x894B
_ZERO = bytes(4)  # a C int

# From netinet/tcp.h; not defined by Python. The state of a socket without a connection, usually after a reset by the
# other end.
_TCP_CLOSE = 7

# From linux/tcp.h; not defined by Python. Where `struct tcp_info` has `tcpi_bytes_acked`.
_BYTES_ACKED = slice(120, 128)


@contextlib.contextmanager
def borrow_socket(fd: int) -> Iterator[socket.socket]:
    """Use a descriptor as a socket, which its owner closes."""
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


def read_address(name: tuple[str, int]) -> Address:
    """Return an address in the form that both ends of a connection have."""
    # A dual-stack server gets IPv4 addresses in IPv6 form.
    return (name[0].removeprefix("::ffff:"), name[1])


def check_queues(fd: int) -> None:
    """Check that the kernel exposes the queues of a TCP socket.

    Raises:
        OSError: It does not.
    """
    fcntl.ioctl(fd, _SIOCOUTQNSD, _ZERO)


def is_reset(fd: int) -> bool:
    """Return whether a TCP socket has lost its connection; its unacknowledged bytes then stay so forever."""
    with contextlib.suppress(OSError), borrow_socket(fd) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    return False  # it was closed without being unregistered


def count_outgoing(fd: int) -> tuple[int, int]:
    """Return the numbers of unacknowledged and of unsent bytes of a TCP socket; a shutdown counts as one."""
    try:
        outgoing = fcntl.ioctl(fd, termios.TIOCOUTQ, _ZERO)
        unsent = fcntl.ioctl(fd, _SIOCOUTQNSD, _ZERO) if outgoing != _ZERO else _ZERO
    except OSError:
        return 0, 0  # it was closed without being unregistered
    not_sent = int.from_bytes(unsent, sys.byteorder)
    return int.from_bytes(outgoing, sys.byteorder) - not_sent, not_sent


def count_sent(fd: int) -> int:
    """Return the number of bytes that were written to a TCP socket, or -1 if it cannot be known."""
    with contextlib.suppress(OSError), borrow_socket(fd) as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.stop)
        if len(info) == _BYTES_ACKED.stop:
            return int.from_bytes(info[_BYTES_ACKED], sys.byteorder) + sum(count_outgoing(fd))
    return -1  # it was closed without being unregistered, or the kernel is older than 4.1
