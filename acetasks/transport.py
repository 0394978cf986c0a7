"""The seam between asking and HTTP: anything that can send a request and bring its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from acetasks.wire import Request, Response


class Transport(Protocol):
    """Sends requests: over HTTP in `acetasks.session`, or in a test as the test sees fit."""

    async def send(self, request: Request) -> Response:
        """Send a request and wait for the answer, trying again where that is safe and may help.

        Args:
            request: What to send.

        Returns:
            An answer that is no HTTP error of the request.

        Raises:
            AceTasksError: No such answer came: `APIError` for an error of the service's own, `TransportError` where
                no complete answer came.
        """
        ...

    async def rest(self) -> None:
        """Give up idle connections: nobody waits for anything, and it may be long before somebody does."""
        ...
