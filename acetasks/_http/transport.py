"""The protocol between polling and HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from acetasks._http.requests import Request, Response

T = TypeVar("T")


class Transport(Protocol):
    """Sends requests: over HTTP in `HTTPTransport`, in tests as needed."""

    async def send(
        self,
        request: Request,
        read: Callable[[Response], T],
        *,
        acquire_slot: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
    ) -> T:
        """Send a request and read its response.

        `read` is called with a response that is not an HTTP error of the request. If it raises an `AceTasksError`, the
        attempt has failed: a gateway's error page may have status 200. `acquire_slot` is awaited before each attempt,
        for example for a rate limit. A poll is sent up to `attempts` times; a submission is sent again only if it
        certainly did not arrive or was refused with HTTP 429.

        Raises:
            AceTasksError: `APIError` for an error of the service, `TransportError` for no complete response,
                `ProtocolError` for an unreadable one.
        """
        ...

    async def close_idle(self) -> None:
        """Close idle connections; the next request opens new ones."""
        ...
