"""The seam between asking and HTTP: anything that can send a request and bring what its answer says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acetasks.wire import Request, Response

T = TypeVar("T")


class Transport(Protocol):
    """Sends requests: over HTTP in `acetasks.session`, or in a test as the test sees fit."""

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
    ) -> T:
        """Send a request, and read its answer.

        An answer that cannot be read is a failure like any other: a gateway's page may come with status 200.

        Args:
            request: What to send.
            read: Reads an answer that is no HTTP error of the request; it raises an `AceTasksError` if it cannot.
            admit: Awaited before each attempt to send, until the attempt is allowed; None allows all.
            attempts: How often a look is sent at most, where sending it again may help. A submission is sent again
                only if it surely did not arrive.

        Returns:
            What `read` has made of the answer.

        Raises:
            AceTasksError: There is none: `APIError` for an error of the service's own, `TransportError` where no
                complete answer came, `ProtocolError` for one that cannot be read.
        """
        ...

    async def rest(self) -> None:
        """Give up idle connections: nobody waits for anything, and it may be long before somebody does."""
        ...
