"""How far a submission has come on its way to the service.

A submission whose body was not written cannot have been accepted, so it may be sent again. Everything else about it is
paid for, perhaps.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import aiohttp

from acetasks.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter

    from acetasks.errors import AceTasksError
    from acetasks.models import Task


class _Stage(enum.Enum):
    """What is known of an attempt: nothing, that aiohttp connects, or that the body was written."""

    UNKNOWN = enum.auto()
    CONNECTING = enum.auto()
    WRITTEN = enum.auto()


class Delivery:
    """Progress of one submission, shared by the transport and its backend.

    Attributes:
        accepted: The task that the service has accepted, or None.
        sent_at: When the current attempt began, in seconds since the epoch. None before, between and after attempts
            that certainly were not accepted.
        failure: The error of the last attempt, which certainly was not accepted; None if there was none.
        may_send: Returns whether the body may still be written, or None if it always may.
        is_abandoned: Whether the caller has gone, so that it must not be sent any more, by another attempt or at all.
    """

    def __init__(self) -> None:
        self.accepted: Task | None = None
        self.sent_at: float | None = None
        self.failure: AceTasksError | None = None
        self.may_send: Callable[[], bool] | None = None
        self.is_abandoned = False
        self._stage = _Stage.UNKNOWN

    def __repr__(self) -> str:
        return f"<Delivery {'not under way' if self.sent_at is None else self._stage.name.lower()}>"

    @property
    def is_written(self) -> bool:
        """Whether the body, or a part of it, was written."""
        return self._stage is _Stage.WRITTEN

    @property
    def may_have_arrived(self) -> bool:
        """Whether the service may have accepted the submission."""
        return self.sent_at is not None and self._stage is not _Stage.CONNECTING

    @property
    def is_fresh(self) -> bool:
        """Whether the body may still be written."""
        return self.may_send is None or self.may_send()

    def begin(self, sent_at: float) -> None:
        """Begin an attempt, at a time since the epoch."""
        self.sent_at, self._stage = sent_at, _Stage.UNKNOWN

    def end(self, failure: AceTasksError | None = None) -> None:
        """End an attempt that was accepted, or certainly was not because of an error."""
        self.sent_at, self.failure = None, failure

    async def track(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request, as the last middleware; from here on it is known whether the body is written.

        That is so unless another middleware has replaced the body. One may also call this again, for an own retry.
        """
        self._check()
        if self._stage is _Stage.UNKNOWN and isinstance(request.body, TrackedBody):
            self._stage = _Stage.CONNECTING
        return await handler(request)

    def write(self) -> None:
        """Record that the body is being written."""
        # Between the end of the caller and that of the request, asyncio may still run the task that writes.
        self._check()
        self._stage = _Stage.WRITTEN

    def _check(self) -> None:
        if self.is_abandoned:
            raise TransportError("the submission was not sent, because its caller has gone", reached=False)
        if not self.is_fresh:
            raise TransportError("the submission was not sent, because it came too late to do so", reached=False)


class TrackedBody(aiohttp.BytesPayload):
    """Body of a submission, which records when it is written. The headers leave with it or before it."""

    def __init__(self, body: bytes, delivery: Delivery) -> None:
        super().__init__(body)
        self._delivery = delivery

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the body."""
        self._delivery.write()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body, up to a length."""
        self._delivery.write()
        await super().write_with_length(writer, content_length)
