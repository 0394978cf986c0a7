"""Submissions within the limits of a client."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import anyio

from acetasks._http.responses import read_submission
from acetasks.errors import RateLimitError

if TYPE_CHECKING:
    from acetasks._http.requests import Request
    from acetasks._http.session import HTTPTransport
    from acetasks._limits import Throttle
    from acetasks._runtime import Runtime
    from acetasks.errors import AceTasksError
    from acetasks.models import Task
    from acetasks.providers import ProviderSpec


class Submitter:
    """Sends the submissions of one client."""

    def __init__(self, transport: HTTPTransport, *, throttle: Throttle, runtime: Runtime) -> None:
        self._transport = transport
        self._throttle = throttle
        self._runtime = runtime

    async def submit(self, spec: ProviderSpec, request: Request) -> Task:
        """Send a submission, and return the task that the service accepted.

        Raises:
            AceTasksError: As `Transport.send` does.
        """
        return await self._transport.send(
            request,
            functools.partial(read_submission, spec, request),
            acquire_slot=functools.partial(self._acquire_rate_slot, spec),
            record=functools.partial(self._record, spec),
        )

    async def _acquire_rate_slot(self, spec: ProviderSpec) -> None:
        available_at = self._throttle.reserve_submission(spec, self._runtime.clock())
        if available_at > self._runtime.clock():
            await anyio.sleep_until(available_at)

    def _record(self, spec: ProviderSpec, error: AceTasksError | None, sent_at: float) -> None:
        """Update the limits after an attempt, and emit the events that follow."""
        # Random numbers are drawn only if needed, so that submissions do not change when polls are sent.
        jitter_sample = self._runtime.rng.random() if isinstance(error, RateLimitError) else 0.0
        now = self._runtime.clock()
        for event in self._throttle.record_submission(
            spec, error, sent_at=sent_at, now=now, jitter_sample=jitter_sample
        ):
            self._runtime.observers(event)
