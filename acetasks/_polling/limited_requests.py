"""Requests within the limits of a client: its slots, its rate, and the pauses that the service requests."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

import anyio

from acetasks._http import PollResult, poll_batch
from acetasks._limits import SPREAD, RequestKind
from acetasks.errors import AceTasksError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks._http import Request, Response, Transport
    from acetasks._limits import Throttle
    from acetasks._runtime import Runtime
    from acetasks.providers import ProviderSpec

T = TypeVar("T")


class LimitedRequests:
    """Sends the requests of a client within its limits, and updates the limits by their results.

    Args:
        transport: Sends a request.
        runtime: The client's settings, clock and observers.
        throttle: The limits.
        on_freed: Called when a slot is free again.

    Attributes:
        slots: Requests that may still be in flight, across all providers.
    """

    def __init__(
        self, transport: Transport, *, runtime: Runtime, throttle: Throttle, on_freed: Callable[[], object]
    ) -> None:
        self._transport = transport
        self._attempts = runtime.retry.attempts
        self._observers = runtime.observers
        self._rng = runtime.rng
        self._clock = runtime.clock
        self._throttle = throttle
        self._on_freed = on_freed
        self.slots = anyio.Semaphore(runtime.policy.max_in_flight)

    def __repr__(self) -> str:
        return f"<LimitedRequests {self.slots.value} free slots>"

    def largest_batch(self, spec: ProviderSpec) -> int:
        """Return the largest number of ids for one poll of a provider."""
        return self._throttle.largest_batch(spec, self._clock())

    async def poll_once(self, spec: ProviderSpec, ids: Sequence[str]) -> PollResult:
        """Poll some tasks once, awaited or not, within the limits on requests.

        Args:
            spec: The provider.
            ids: Without duplicates, no more than `largest_batch`.
        """
        try:
            async with self.slots:
                await self._acquire_rate_slot(spec)
                sent_at = self._clock()
                result = await self.send_poll(spec, ids, acquired_at=sent_at, attempts=self._attempts)
        finally:
            self._on_freed()
        self.record(spec, result, sent_at=sent_at, now=self._clock(), jitter_sample=self._rng.random())
        return result

    async def send(self, spec: ProviderSpec, request: Request, read: Callable[[Response], T]) -> T:
        """Send a request that is no poll of known ids, such as for a history, within the limits on requests.

        Raises:
            AceTasksError: As `Transport.send` does.
        """
        sent_at = self._clock()

        async def acquire_slot() -> None:
            nonlocal sent_at
            await self._acquire_rate_slot(spec)
            sent_at = self._clock()

        outcome = PollResult(missing=[""])  # answered
        try:
            async with self.slots:
                return await self._transport.send(request, read, acquire_slot=acquire_slot, attempts=self._attempts)
        except AceTasksError as error:
            outcome = PollResult(errors={"": error})
            raise
        except BaseException:
            outcome = PollResult()
            raise
        finally:
            self._on_freed()
            self.record(spec, outcome, sent_at=sent_at, now=self._clock(), jitter_sample=self._rng.random())

    async def send_poll(
        self,
        spec: ProviderSpec,
        ids: Sequence[str],
        known: Sequence[bytes | None] = (),
        *,
        acquired_at: float,
        attempts: int = 1,
    ) -> PollResult:
        """Send the requests of one poll, the first of which the limits have allowed at a loop time."""
        earlier_requests = itertools.count()

        async def acquire_slot() -> None:
            # A first request that had to wait for its token leaves with others: it is counted again.
            if next(earlier_requests) > 0 or self._clock() - acquired_at > SPREAD:
                await self._acquire_rate_slot(spec)

        return await poll_batch(self._transport, spec, ids, known, acquire_slot=acquire_slot, attempts=attempts)

    async def _acquire_rate_slot(self, spec: ProviderSpec) -> None:
        """Wait until the limits allow a request, and count it."""
        throttle, kind = self._throttle, RequestKind.OTHER
        with throttle.waiting(spec, kind):
            while (available_at := throttle.rate_available_at(spec, kind)) > self._clock():  # noqa: ASYNC110  # it may move
                await anyio.sleep_until(available_at)
        throttle.acquire(spec, kind, self._clock())

    def record(
        self, spec: ProviderSpec, result: PollResult, *, sent_at: float, now: float, jitter_sample: float
    ) -> None:
        """Update the limits by the result of a poll, and emit the events that follow."""
        for event in self._throttle.record(spec, result, sent_at=sent_at, now=now, jitter_sample=jitter_sample):
            self._observers(event)
