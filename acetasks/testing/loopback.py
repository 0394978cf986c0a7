"""Selector of the virtual clock, which detects undelivered data between sockets of one loop.

Time may jump only after all data that one socket sent to another has arrived. The kernel delivers over loopback with
some delay, so its queues are inspected. Like the clock, this module needs only the standard library.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import sys
from dataclasses import dataclass
from time import sleep  # bound here, so that a test that patches time.sleep does not break the loop
from typing import TYPE_CHECKING

from acetasks.testing.tcp_state import (
    Address,
    borrow_socket,
    check_queues,
    count_outgoing,
    count_sent,
    is_reset,
    read_address,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from _typeshed import FileDescriptorLike

#: Result of a selector.
Events = list[tuple[selectors.SelectorKey, int]]
_Delivery = tuple[int, str]  # the inode of a socket, and the undelivered data from it or to it

# Real seconds. Loopback traffic arrives within the first or second pause even on a busy machine; the total of 1.3 s
# allows for a starved kernel and a retransmission. Counted, not timed: tests may patch clocks.
_DELIVERY_PAUSES = tuple(2e-5 * 2**count for count in range(16))

# Real seconds. If the kernel does not expose its queues, each jump first waits this long for events: about a hundred
# times the duration of a delivery over loopback.
_BLIND_PAUSE = 0.001


class VirtualSelector(selectors.DefaultSelector):
    """Selector that never waits.

    Args:
        on_idle: Called when there are no events; its result is returned.
        on_iteration: Called instead when the loop has callbacks to run, with whether there are events.
    """

    def __init__(self, on_idle: Callable[[], Events], on_iteration: Callable[..., None]) -> None:
        super().__init__()
        self._on_idle = on_idle
        self._on_iteration = on_iteration
        self._watch = _TcpWatch(self.get_map())
        self._ignored: frozenset[_Delivery] = frozenset()

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        """Register a descriptor and track its TCP connection."""
        key = super().register(fileobj, events, data)
        self._watch.add(key.fd)
        return key

    def select(self, timeout: float | None = None) -> Events:
        """Return the events, or those of `on_idle`, which implements the timeout."""
        self._watch.acknowledge_reads()
        events = super().select(0)
        self._watch.mark_in_use(events)
        if events or (timeout is not None and timeout <= 0):
            self._on_iteration(has_events=bool(events))
        else:
            events = self._on_idle()
            self._watch.mark_in_use(events)
        return events

    def select_in_real_time(self, timeout: float) -> Events:
        """Wait for events like an ordinary selector."""
        return super().select(timeout)

    def list_unanswered(self) -> dict[Hashable, str]:
        """Return descriptions of the connections to the outside on which this loop awaits a response."""
        return self._watch.list_unanswered()

    def take_foreign_reads(self) -> bool:
        """Return whether data have come from outside the loop since the last call."""
        has_read, self._watch.has_foreign_reads = self._watch.has_foreign_reads, False
        return has_read

    def await_deliveries(self) -> Events:
        """Wait until there are events or all data between sockets of this loop has been delivered."""
        if self._watch.is_blind:
            # The loop registers one descriptor itself, with which threads wake it.
            return super().select(_BLIND_PAUSE) if len(self.get_map()) > 1 else []
        undelivered = self._watch.list_deliveries()
        for pause in _DELIVERY_PAUSES:
            # A delivery that outlasted all pauses once, such as a handshake with a dead host, is ignored as long as it
            # does not change.
            self._ignored &= undelivered
            if undelivered == self._ignored:
                break
            sleep(pause)
            if events := super().select(0):
                return events
            undelivered = self._watch.list_deliveries()
        self._ignored = undelivered
        # Data may have arrived between the last check for events and the last check of the queues.
        return super().select(0)


@dataclass(eq=False, slots=True)
class _TcpEnd:
    """One end of a TCP connection that was registered with the selector."""

    fd: int
    inode: int  # distinguishes it from a later socket with the same descriptor
    names: tuple[Address, Address] | None = None  # its own address and that of its peer, once connected
    peer: _TcpEnd | None = None  # the other end, once it has been registered too
    is_closed: bool = False
    answered_bytes: int = -1  # bytes sent before the last data from the peer; a new connection may await a greeting


class _TcpWatch:
    """Undelivered data between the TCP sockets of one selector.

    Linux usually delivers over loopback before `send` returns. On a loaded machine, or behind a full window, it
    delivers later, which shows in the queues and states of a connection's two ends.
    """

    def __init__(self, registered: Mapping[FileDescriptorLike, selectors.SelectorKey]) -> None:
        self.is_blind = sys.platform != "linux"  # no other kernel is known to expose its queues
        self._registered = registered
        self._listening_ports: dict[int, int] = {}  # by descriptor
        self._ends: dict[int, _TcpEnd] = {}  # open ends by descriptor
        self._ends_by_names: dict[tuple[Address, Address], _TcpEnd] = {}
        self._ends_in_use: set[_TcpEnd] = set()
        self.has_foreign_reads = False

    def add(self, fd: int) -> None:
        """Track a newly registered descriptor if it is a TCP socket."""
        if self.is_blind:
            return
        known = self._ends.get(fd)
        inode = os.fstat(fd).st_ino
        if known is not None and known.inode != inode:
            self._forget(known)
        self._listening_ports.pop(fd, None)
        with contextlib.suppress(OSError), borrow_socket(fd) as sock:  # OSError: not a socket
            if sock.type != socket.SOCK_STREAM or sock.family not in {socket.AF_INET, socket.AF_INET6}:
                return
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._listening_ports[fd] = sock.getsockname()[1]
                return
            try:
                check_queues(fd)
            except OSError:
                self.is_blind = True  # some systems that report Linux lack this call
            end = self._ends.setdefault(fd, _TcpEnd(fd, inode))
            end.peer = end.peer or self._find_peer(end)

    def mark_in_use(self, events: Events) -> None:
        """Mark the connections with events as in use."""
        for key, mask in events:
            if (end := self._ends.get(key.fd)) is None:
                continue
            self._ends_in_use.update((end, end.peer or end))
            if end.peer is None and mask & selectors.EVENT_READ:
                end.answered_bytes = count_sent(end.fd)
                self.has_foreign_reads = True

    def acknowledge_reads(self) -> None:
        """Make the connections in use acknowledge the data they have read.

        Otherwise a full window would open again after up to 40 ms of real time, and the order of events at one virtual
        time would depend on that.
        """
        self._ends_in_use = {end for end in self._ends_in_use if any(self._count_undelivered(end))}

    def list_deliveries(self) -> frozenset[_Delivery]:
        """Return the undelivered data, given that no descriptor has events."""
        registered = set(self._registered)  # lookups in the selector's mapping are slow
        for end in tuple(self._ends.values()):
            if end.fd not in registered and not _is_open(end):
                self._forget(end)
        found = ((end.inode, self._describe_delivery(end)) for end in self._ends.values())
        return frozenset(delivery for delivery in found if delivery[1])

    def list_unanswered(self) -> dict[Hashable, str]:
        """Return descriptions of the unanswered connections that were opened to others than sockets of this loop."""
        found: dict[Hashable, str] = {}
        for end in self._ends.values():
            if end.peer is not None or self._find_peer(end) is not None:
                continue
            # 1. Not connected: the handshake may be in progress.
            if end.names is None:
                if self._is_awaited(end, selectors.EVENT_WRITE):
                    found[end.inode] = "a connection that is being opened"
                continue
            # 2. A connection from outside, or to this loop: what follows is not this loop's to await.
            if self._is_listening(end.names[0][1]) or self._is_listening(end.names[1][1]):
                continue
            # 3. Nothing has come since the last bytes were sent, and some task is reading.
            sent = count_sent(end.fd)
            if sent > end.answered_bytes and self._is_awaited(end, selectors.EVENT_READ):
                host, port = end.names[1]
                found[end.inode, sent] = f"a response from {host}:{port}"
        return found

    def _describe_delivery(self, end: _TcpEnd) -> str:
        peer = end.peer or self._find_peer(end)
        # 1. Not connected: if the socket is waiting to write, the handshake is in progress.
        if end.names is None:
            return "handshake" if self._is_awaited(end, selectors.EVENT_WRITE) else ""
        # 2. Connected to a server of this loop that has not accepted the connection yet.
        if peer is None and self._is_listening(end.names[1][1]):
            return "connection"
        # 3. The other end is closed, and this end has not been notified yet.
        if peer is not None and peer.is_closed and self._is_awaited(end, selectors.EVENT_READ):
            return "end"
        # 4. Bytes are unacknowledged, or they are unsent and the other end is reading.
        unacknowledged, unsent = self._count_undelivered(end)
        if unacknowledged or (unsent and peer is not None and self._is_awaited(peer, selectors.EVENT_READ)):
            return f"{unacknowledged} + {unsent} bytes"
        return ""

    def _count_undelivered(self, end: _TcpEnd) -> tuple[int, int]:
        counts = count_outgoing(end.fd)
        if not counts[0]:
            return counts
        if end.peer is None or end.peer.is_closed:
            return (0, 0) if is_reset(end.fd) else counts
        # The other end may have the bytes and delay the acknowledgement until it sends data; request it now.
        with contextlib.suppress(OSError), borrow_socket(end.peer.fd) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return count_outgoing(end.fd)

    def _is_awaited(self, end: _TcpEnd, event: int) -> bool:
        key = None if end.is_closed else self._registered.get(end.fd)
        return key is not None and bool(key.events & event)

    def _is_listening(self, port: int) -> bool:
        return any(port == other and fd in self._registered for fd, other in self._listening_ports.items())

    def _find_peer(self, end: _TcpEnd) -> _TcpEnd | None:
        if end.names is None:
            with (
                contextlib.suppress(OSError),
                borrow_socket(end.fd) as sock,
            ):  # OSError: not connected
                end.names = (read_address(sock.getsockname()), read_address(sock.getpeername()))
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
