"""The selector of the virtual clock: sockets of one loop that talk to each other, and what is under way between them.

Before time may jump, everything that one socket has sent another must have arrived. The kernel delivers over loopback
in its own time; here its queues are asked. Like the clock, this module knows the standard library and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
from dataclasses import dataclass
from time import sleep  # bound here, so that a test which patches time.sleep does not stop the loop
from typing import TYPE_CHECKING

if sys.platform == "linux":
    import fcntl
    import termios

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from _typeshed import FileDescriptorLike

#: What a selector reports.
Events = list[tuple[selectors.SelectorKey, int]]
_Address = tuple[str, int]
_Delivery = tuple[int, str]  # the inode of a socket, and what is under way from it or to it

# Real seconds. Loopback traffic is through after the first or second pause even on a busy machine; together
# they outlast a starved kernel and a retransmission (1.3 s). Counted, not timed: tests may patch clocks too.
_DELIVERY_PAUSES = tuple(2e-5 * 2**count for count in range(16))

# Real seconds. Where the kernel does not show its queues, each jump first waits this long for news: about a
# hundred times what a delivery over loopback takes.
_BLIND_PAUSE = 0.001

# From linux/sockios.h; Python has no name for it. It asks how many bytes of a TCP socket are yet to be sent.
_SIOCOUTQNSD = 0x894B
_ZERO = bytes(4)  # a C int

# From netinet/tcp.h; Python has no name for it. The state of a socket whose connection is over: as a rule, because the
# other end has reset it.
_TCP_CLOSE = 7


class VirtualSelector(selectors.DefaultSelector):
    """A selector that does not wait of its own accord: when it has nothing to report, it asks what to do."""

    def __init__(self, on_idle: Callable[[], Events]) -> None:
        super().__init__()
        self._on_idle = on_idle
        self._watch = _TcpWatch(self.get_map())
        self._given_up: frozenset[_Delivery] = frozenset()

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        """Watch a descriptor, and get to know it."""
        key = super().register(fileobj, events, data)
        self._watch.enter(key.fd)
        return key

    def select(self, timeout: float | None = None) -> Events:
        """Report what is ready, or what the owner makes of it that nothing is; the timeout is the owner's to keep."""
        self._watch.hurry()
        events = super().select(0)
        self._watch.note(events)
        if events or (timeout is not None and timeout <= 0):
            return events
        return self._on_idle()

    def select_in_real_time(self, timeout: float) -> Events:
        """Wait for events as any selector does."""
        return super().select(timeout)

    def await_deliveries(self) -> Events:
        """Wait until there are events, or none can come any more of what our sockets have sent each other."""
        if self._watch.is_blind:
            # The loop itself has one descriptor registered, by which threads wake it.
            return super().select(_BLIND_PAUSE) if len(self.get_map()) > 1 else []
        under_way = self._watch.list_deliveries()
        for pause in _DELIVERY_PAUSES:
            # What outlasted all the pauses once, such as a handshake with a dead host, is not waited for any
            # more as long as it stays the same.
            self._given_up &= under_way
            if under_way == self._given_up:
                break
            sleep(pause)
            if events := super().select(0):
                return events
            under_way = self._watch.list_deliveries()
        self._given_up = under_way
        # Something may have arrived between the last look for events and the last look at the queues.
        return super().select(0)


@dataclass(eq=False, slots=True)
class _TcpEnd:
    """One end of a TCP connection that the selector has seen."""

    fd: int
    inode: int  # tells it from a later socket with the same descriptor
    names: tuple[_Address, _Address] | None = None  # its own address and the other end's, once connected
    peer: _TcpEnd | None = None  # the other end, once that has been seen too
    is_closed: bool = False


class _TcpWatch:
    """Finds out what the kernel has yet to deliver between the TCP sockets of one selector.

    As a rule Linux has delivered over loopback before `send` returns. On a loaded machine, or behind a full
    window, it does so later, in its own time. That shows in the queues and states of a connection's two ends.
    """

    def __init__(self, registered: Mapping[FileDescriptorLike, selectors.SelectorKey]) -> None:
        self.is_blind = sys.platform != "linux"  # no other kernel is known to show its queues
        self._registered = registered
        self._listening_ports: dict[int, int] = {}  # by descriptor
        self._ends: dict[int, _TcpEnd] = {}  # those that are open, by descriptor
        self._ends_by_names: dict[tuple[_Address, _Address], _TcpEnd] = {}
        self._ends_in_use: set[_TcpEnd] = set()

    def enter(self, fd: int) -> None:
        """Get to know a descriptor that has just been registered, which need not be a TCP socket."""
        if self.is_blind:
            return
        known = self._ends.get(fd)
        inode = os.fstat(fd).st_ino
        if known is not None and known.inode != inode:
            self._forget(known)
        self._listening_ports.pop(fd, None)
        with contextlib.suppress(OSError), _borrow_socket(fd) as sock:  # an OSError says it is no socket
            if sock.type != socket.SOCK_STREAM or sock.family not in {socket.AF_INET, socket.AF_INET6}:
                return
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._listening_ports[fd] = sock.getsockname()[1]
                return
            try:
                fcntl.ioctl(fd, _SIOCOUTQNSD, _ZERO)
            except OSError:
                self.is_blind = True  # what calls itself Linux need not be all of it
            end = self._ends.setdefault(fd, _TcpEnd(fd, inode))
            end.peer = end.peer or self._find_peer(end)

    def note(self, events: Events) -> None:
        """Remember which connections are being used."""
        for key, _ in events:
            if (end := self._ends.get(key.fd)) is not None:
                self._ends_in_use.update((end, end.peer or end))

    def hurry(self) -> None:
        """Have the connections in use acknowledge what they have read.

        Otherwise it would depend on real time, up to 40 ms of it, when a full window opens again, and thereby in
        what order things happen at one virtual time.
        """
        self._ends_in_use = {end for end in self._ends_in_use if any(self._count_undelivered(end))}

    def list_deliveries(self) -> frozenset[_Delivery]:
        """List what is under way, given that no descriptor has events."""
        registered = set(self._registered)  # asking the selector's mapping about each one is slow
        for end in tuple(self._ends.values()):
            if end.fd not in registered and not _is_open(end):
                self._forget(end)
        found = ((end.inode, self._describe_delivery(end)) for end in self._ends.values())
        return frozenset(delivery for delivery in found if delivery[1])

    def _describe_delivery(self, end: _TcpEnd) -> str:
        peer = end.peer or self._find_peer(end)
        # 1. It is not connected: if somebody waits for that, the handshake is under way.
        if end.names is None:
            return "handshake" if self._is_awaited(end, selectors.EVENT_WRITE) else ""
        # 2. It is connected to a server of ours, which has not yet heard of it.
        if peer is None and self._is_listening(end.names[1][1]):
            return "connection"
        # 3. The other end is closed, and this end has not yet heard of that.
        if peer is not None and peer.is_closed and self._is_awaited(end, selectors.EVENT_READ):
            return "end"
        # 4. Bytes are on their way, or they have to be sent yet and the other end is reading.
        unacknowledged, unsent = self._count_undelivered(end)
        if unacknowledged or (unsent and peer is not None and self._is_awaited(peer, selectors.EVENT_READ)):
            return f"{unacknowledged} + {unsent} bytes"
        return ""

    def _count_undelivered(self, end: _TcpEnd) -> tuple[int, int]:
        counts = _count_outgoing(end.fd)
        if not counts[0]:
            return counts
        if end.peer is None or end.peer.is_closed:
            return (0, 0) if _is_reset(end.fd) else counts
        # The other end may have the bytes and delay saying so until it has something to send. Have it do so now.
        with contextlib.suppress(OSError), _borrow_socket(end.peer.fd) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return _count_outgoing(end.fd)

    def _is_awaited(self, end: _TcpEnd, event: int) -> bool:
        key = None if end.is_closed else self._registered.get(end.fd)
        return key is not None and bool(key.events & event)

    def _is_listening(self, port: int) -> bool:
        return any(port == other and fd in self._registered for fd, other in self._listening_ports.items())

    def _find_peer(self, end: _TcpEnd) -> _TcpEnd | None:
        if end.names is None:
            with contextlib.suppress(OSError), _borrow_socket(end.fd) as sock:  # or else it is not connected
                end.names = (_read_address(sock.getsockname()), _read_address(sock.getpeername()))
                self._ends_by_names[end.names] = end
        if end.names is not None:
            end.peer = self._ends_by_names.get((end.names[1], end.names[0]))
            if end.peer is not None:
                end.peer.peer = end
        return end.peer

    def _forget(self, end: _TcpEnd) -> None:
        end.is_closed = True
        del self._ends[end.fd]
        if end.names is not None and self._ends_by_names.get(end.names) is end:
            del self._ends_by_names[end.names]


def _is_open(end: _TcpEnd) -> bool:
    try:
        return os.fstat(end.fd).st_ino == end.inode
    except OSError:
        return False


@contextlib.contextmanager
def _borrow_socket(fd: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()  # its owner closes it


def _read_address(name: tuple[str, int]) -> _Address:
    # A server of both kinds of addresses is shown those of IPv4 in the form of IPv6.
    return (name[0].removeprefix("::ffff:"), name[1])


def _is_reset(fd: int) -> bool:
    """Tell whether a TCP socket's connection is gone: what it then counts as unacknowledged stays so for ever."""
    with contextlib.suppress(OSError), _borrow_socket(fd) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
    return False  # it was closed without being unregistered


def _count_outgoing(fd: int) -> tuple[int, int]:
    """Count a TCP socket's bytes sent but not acknowledged, and those not sent; a shutdown counts as one."""
    try:
        outgoing = fcntl.ioctl(fd, termios.TIOCOUTQ, _ZERO)
        unsent = fcntl.ioctl(fd, _SIOCOUTQNSD, _ZERO) if outgoing != _ZERO else _ZERO
    except OSError:
        return 0, 0  # it was closed without being unregistered
    not_sent = int.from_bytes(unsent, sys.byteorder)
    return int.from_bytes(outgoing, sys.byteorder) - not_sent, not_sent
