"""Queue of the submissions of one client: for a connection, and within a limit, for their turn."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import sys
from typing import TYPE_CHECKING

import anyio

from acetasks._limits import RequestKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from acetasks._http.delivery import Delivery
    from acetasks._http.recording import Recording
    from acetasks._limits import Throttle
    from acetasks.providers import ProviderSpec, Service

#: Seconds before the limits allow a submission at which it is written down: enough for a journal, and no more, since a
#: crash in between leaves it uncertain.
PREPARATION = 0.1


class Connection:
    """One of the connections, which a submission holds during each of its attempts."""

    def __init__(self, connections: asyncio.Semaphore) -> None:
        self._connections = connections
        self.is_held = False

    def __repr__(self) -> str:
        return f"<Connection {'held' if self.is_held else 'not held'}>"

    async def acquire(self) -> None:
        """Wait for a connection, unless it is held."""
        if not self.is_held:
            await self._connections.acquire()
            self.is_held = True

    def release(self) -> None:
        """Leave the connection to another submission, if it is held."""
        if self.is_held:
            self.is_held = False
            self._connections.release()


class SubmissionQueue:
    """Submissions that wait to be sent, in the order of their calls; retries go before those that were never sent.

    Connections are counted here rather than in aiohttp's pool, where submissions that the limits have allowed would
    collect, and then leave together.

    Args:
        throttle: The limits.
        clock: Returns the loop time.
        connections: Maximum number of connections; None for no limit.
    """

    def __init__(self, throttle: Throttle, clock: Callable[[], float], connections: int | None) -> None:
        self._throttle = throttle
        self._clock = clock
        self._connections = asyncio.Semaphore(sys.maxsize if connections is None else connections)
        # Locks are taken in the order of the calls. Of those that were never sent, one at a time competes with retries.
        self._newcomers: dict[Service, asyncio.Lock] = collections.defaultdict(asyncio.Lock)
        self._turns: dict[Service, asyncio.Lock] = collections.defaultdict(asyncio.Lock)

    def __repr__(self) -> str:
        return f"<SubmissionQueue {self._connections!r}>"

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give a connection for the attempts of one submission; `prepare` acquires it, and the end releases it."""
        connection = Connection(self._connections)
        try:
            yield connection
        finally:
            connection.release()

    async def prepare(
        self, spec: ProviderSpec, recording: Recording, delivery: Delivery, connection: Connection
    ) -> None:
        """Wait until an attempt may be made, write down that it is about to be, and count it.

        While there is a limit, one submission to a service at a time does this: else a slow journal would collect
        submissions that the limits have allowed, and then they would all leave at once.

        Raises:
            Exception: As `Recording.prepare` does.
        """
        is_new = delivery.failure is None
        while not await self._try(spec, recording, delivery, connection, is_new=is_new):
            is_new = False  # it has had its turn

    async def _try(
        self, spec: ProviderSpec, recording: Recording, delivery: Delivery, connection: Connection, *, is_new: bool
    ) -> bool:
        """Do as `prepare`, once; return False if its turn was lost."""
        async with contextlib.AsyncExitStack() as turn:

            async def leave() -> None:
                connection.release()
                await turn.aclose()

            if is_new:
                await turn.enter_async_context(self._newcomers[spec.service])
            await turn.enter_async_context(self._turns[spec.service])
            await connection.acquire()
            if self._throttle.limits_submissions(spec):
                await self._sleep_until_allowed(spec, ahead=PREPARATION)
            else:
                await turn.aclose()  # several are written down in one group
            await recording.prepare(leave)
            # 1. Its key was being submitted, by a call that may itself be waiting for a turn.
            if not connection.is_held:
                return False
            was_fresh = delivery.is_fresh
            await self._sleep_until_allowed(spec)
            # 2. The service has requested a pause meanwhile.
            if was_fresh and not delivery.is_fresh:
                return False
            self._throttle.acquire(spec, RequestKind.SUBMISSION, self._clock())
            return True

    async def _sleep_until_allowed(self, spec: ProviderSpec, *, ahead: float = 0.0) -> None:
        """Wait until some seconds before the limits allow a submission."""
        throttle, kind, clock = self._throttle, RequestKind.SUBMISSION, self._clock
        with throttle.waiting(spec, kind):
            while (time := throttle.rate_available_at(spec, kind) - ahead) > clock():  # noqa: ASYNC110  # it may move
                await anyio.sleep_until(time)
