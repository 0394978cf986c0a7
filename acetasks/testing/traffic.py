"""Recorded requests, callbacks and counts of a simulated service, and assertions about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.checks import check_count, choose
from acetasks.testing.requests import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from acetasks.testing.callbacks import RecordedCallback
    from acetasks.testing.faults import RecordedRequest

#: Maximum number of requests that the message of a failed assertion lists.
_LISTED = 20
#: Maximum characters of a body in such a message.
_BODY_EXCERPT = 200


class Traffic:
    """What a simulated service has received.

    Args:
        record_requests: Whether `requests` is kept; the counts always are.

    Attributes:
        requests: The requests since the start or `clear_requests`, in order; empty if not recorded.
        callbacks: The results of posted callbacks.
        request_count: Number of requests of all kinds.
        ids_asked: Number of ids in tasks calls, including duplicates.
        submissions: Number of tasks submitted over HTTP.
        connections: Number of connections opened in total.
        open_connections: Number of open connections.
        max_concurrent: Maximum number of requests in flight at once.
    """

    def __init__(self, *, record_requests: bool) -> None:
        self.requests: list[RecordedRequest] = []
        self.callbacks: list[RecordedCallback] = []
        self.request_count = 0
        self.ids_asked = 0
        self.submissions = 0
        self.connections = 0
        self.open_connections = 0
        self.max_concurrent = 0
        self._keeps_requests = record_requests
        self._concurrent = 0

    def clear_requests(self) -> None:
        """Remove recorded requests and callbacks and reset the counts; open connections, faults and scripts stay."""
        self.requests.clear()
        self.callbacks.clear()
        self.request_count = self.ids_asked = self.submissions = 0
        self.connections = self.open_connections
        self.max_concurrent = self._concurrent

    def assert_requests(
        self,
        provider: str | None = None,
        *,
        action: Action | str | None = None,
        count: int | None = None,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> list[RecordedRequest]:
        """Check how many requests have been received, and return them in order.

        Args:
            provider: Only requests to this provider; None means all.
            action: Only requests of this kind, an `Action` such as "submit" or "retrieve_batch"; None means all.
            count: The exact number.
            at_least: The minimum number.
            at_most: The maximum number.

        Raises:
            AssertionError: There are more or fewer; the message lists them.
            ValueError: No number is given, or one is negative, or there is no such action.
            RuntimeError: The server does not record its requests.
        """
        __tracebackhide__ = True
        kind = choose(Action, action)
        bounds = {"exactly": count, "at least": at_least, "at most": at_most}
        wanted = " and ".join(f"{name} {number}" for name, number in bounds.items() if number is not None)
        if not wanted:
            raise ValueError("pass count, at_least or at_most to assert_requests")
        for name, number in (("count", count), ("at_least", at_least), ("at_most", at_most)):
            check_count(name, number, minimum=0)
        found = [
            request
            for request in self._recorded()
            if (provider is None or request.provider == provider) and (kind is None or request.action is kind)
        ]
        filters = [f"provider {provider!r}"] if provider is not None else []
        filters += [f"action {kind.value!r}"] if kind is not None else []
        lowest = max(bound for bound in (count, at_least, 0) if bound is not None)
        highest = min(bound for bound in (count, at_most, len(found)) if bound is not None)
        if not lowest <= len(found) <= highest:
            of = f" of {' and '.join(filters)}" if filters else ""
            raise AssertionError(f"expected {wanted} requests{of}, got {len(found)}{_list_requests(found)}")
        return found

    def assert_submitted(
        self,
        provider: str,
        payload: Mapping[str, object] | None = None,
        *,
        path: str | None = None,
        times: int | None = None,
    ) -> list[RecordedRequest]:
        """Check that tasks have been submitted over HTTP, and return the requests that created them.

        Args:
            provider: The provider's slug.
            payload: Fields that the submitted body has, among others; None means any body.
            path: The submission path, such as `/suno/lyrics`; None means any.
            times: The exact number of such submissions; None means at least one.

        Raises:
            AssertionError: There are more or fewer; the message lists all submissions to the provider.
            ValueError: `times` is negative.
            RuntimeError: The server does not record its requests.
        """
        __tracebackhide__ = True
        check_count("times", times, minimum=0)
        accepted = [
            request
            for request in self._recorded()
            if request.provider == provider and request.action is Action.SUBMIT and request.ids
        ]
        found = [
            request for request in accepted if _has_fields(request.body, payload or {}) and path in {None, request.path}
        ]
        if len(found) != times if times is not None else not found:
            wanted = "at least one submission" if times is None else f"exactly {times} submissions"
            to = f" of {provider!r}" + (f" to {path}" if path else "") + (f" with {dict(payload)!r}" if payload else "")
            raise AssertionError(
                f"expected {wanted}{to}, got {len(found)} among {len(accepted)} submissions{_list_requests(accepted)}"
            )
        return found

    def _recorded(self) -> list[RecordedRequest]:
        if not self._keeps_requests:
            raise RuntimeError("the server does not record its requests: create it without record_requests=False")
        return self.requests

    def _count_opened(self) -> None:
        self.connections += 1
        self.open_connections += 1

    def _count_closed(self) -> None:
        self.open_connections -= 1


def _has_fields(body: object, fields: Mapping[str, object]) -> bool:
    return isinstance(body, dict) and all(key in body and body[key] == value for key, value in fields.items())


def _list_requests(requests: Iterable[RecordedRequest]) -> str:
    lines = [_describe(request) for request in requests]
    if len(lines) > _LISTED:
        lines[_LISTED:] = [f"... and {len(lines) - _LISTED} more"]
    return "".join(f"\n  {line}" for line in lines)


def _describe(request: RecordedRequest) -> str:
    body = "" if request.body is None else repr(request.body)
    excerpt = body if len(body) <= _BODY_EXCERPT else f"{body[:_BODY_EXCERPT]}..."
    status = "no response" if request.status is None else str(request.status)
    return f"{request.time:10.3f} s  {request.method} {request.path}  {status}  {excerpt}".rstrip()
