"""Seam for telemetry: what a client reports beside events, so that the library does not know OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from acetasks.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from acetasks.models import Task
    from acetasks.stats import ClientStats

    #: Provider slug and task id.
    Key = tuple[str, str]


class RequestTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a request, without token and query.

    Attributes:
        provider: The provider's slug.
        action: `submit`, `poll` or `history`.
        method: The HTTP method.
        base_url: URL of the service, to which `path` is relative.
        path: Path of the request.
        ids: The tasks that are polled.
        batch_size: Largest number of ids in a request to the provider.
        retries: Attempts of the same request before this one.
    """

    provider: str
    action: str
    method: str
    base_url: str
    path: str
    ids: tuple[str, ...]
    batch_size: int
    retries: int


class Telemetry(Observer, Protocol):
    """Observer that also follows requests and waits from their beginning to their end.

    As for every observer, its methods are called in the event loop and must return quickly; its context managers must
    not raise, and must not suppress exceptions.
    """

    def trace_request(self, request: RequestTrace) -> AbstractContextManager[Callable[[int], object]]:
        """Follow one attempt of a request; the function is called with the HTTP status of a usable response."""

    def trace_wait(self, keys: Sequence[Key]) -> AbstractContextManager[Callable[[Task], object]]:
        """Follow one wait for tasks, at least one; the function is called with each task that ends, or changes."""

    def watch(self, read_stats: Callable[[], ClientStats]) -> Callable[[], object]:
        """Read a client's state on demand, possibly in another thread, until the returned function is called."""
