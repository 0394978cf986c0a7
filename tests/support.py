"""Shared test doubles: a transport in memory, records, and the loop time."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import msgspec

from acetasks import PollPolicy, RetryPolicy
from acetasks._http import Request, Response
from acetasks._http.headers import read_retry_after
from acetasks._http.responses import read_failure
from acetasks._polling.awaited import Waiter
from acetasks._polling.poller import Poller
from acetasks._runtime import Runtime
from acetasks._scheduling import Durations
from acetasks.events import Observers

if TYPE_CHECKING:
    from collections.abc import Callable

    import acetasks
    from acetasks._polling.awaited import AwaitedTask, Outcome

#: Polls at exact times.
EXACT = PollPolicy(interval=5, jitter=0)


def now() -> float:
    """Return the loop time."""
    return asyncio.get_running_loop().time()


def hold_up(seconds: float) -> None:
    """Let time pass on the virtual clock within one step of the loop, as blocking code does, or a process stopped."""
    asyncio.get_running_loop()._set_time(now() + seconds)  # noqa: SLF001  # a virtual clock has no other way to be late


def record(task_id: str, state: str = "processing", progress: float | None = None) -> dict[str, object]:
    """Build a record as luma sends it."""
    return {"id": task_id, "response": {"state": state, "progress": progress}}


def done(task_id: str) -> dict[str, object]:
    """Build the record of a finished task."""
    return record(task_id, "completed")


def until(time: float, then: object, before: Callable[[str], object] = record) -> Callable[[str], object]:
    """Build an answer that changes at a loop time: `before` until then, `then` (a value or function) after it."""

    def answer(task_id: str) -> object:
        if now() < time:
            return before(task_id)
        return then(task_id) if callable(then) else then

    return answer


class FakeTransport:
    """A transport that takes responses from `respond`, and reads them as `HTTPTransport` does.

    Args:
        respond: Returns the response to a request, or raises an error; subclasses may override the method instead.
        latency: Seconds from a request to its response.

    Attributes:
        sent: Loop time and request of every attempt.
        attempts: The `attempts` argument of each request.
        max_in_flight: Largest number of requests in flight.
        cancelled: Number of requests that were cancelled.
        idle_closes: Number of calls of `close_idle`.
    """

    def __init__(self, respond: Callable[[Request], Response] | None = None, *, latency: float = 0.0) -> None:
        self._respond = respond
        self.latency = latency
        self.sent: list[tuple[float, Request]] = []
        self.attempts: list[int] = []
        self.in_flight = self.max_in_flight = self.cancelled = self.idle_closes = 0

    @property
    def requests(self) -> list[Request]:
        """All requests sent."""
        return [request for _, request in self.sent]

    @property
    def times(self) -> list[float]:
        """Loop times of the requests."""
        return [round(time, 6) for time, _ in self.sent]

    @property
    def batches(self) -> list[tuple[str, ...]]:
        """The ids of each request."""
        return [request.ids for request in self.requests]

    def respond(self, request: Request) -> Response:
        """Return the response to a request, or raise an error."""
        assert self._respond is not None
        return self._respond(request)

    async def send(self, request: Request, read, *, acquire_slot=None, attempts: int = 1) -> object:
        """Implement `Transport.send`."""
        assert attempts >= 1
        if acquire_slot is not None:
            await acquire_slot()
        self.sent.append((now(), request))
        self.attempts.append(attempts)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        response = self.respond(request)
        failure = read_failure(request, response, read_retry_after(response.headers))
        if failure is not None:
            raise failure
        return read(response)

    async def close_idle(self) -> None:
        """Implement `Transport.close_idle`."""
        self.idle_closes += 1


class FakeService(FakeTransport):
    """A transport that answers each id by a function.

    Args:
        answer: Returns the record of an id, None where it has none, or an error to raise.
        latency: Seconds from a request to its response.
    """

    def __init__(self, answer: Callable[[str], object] = record, *, latency: float = 0.0) -> None:
        super().__init__(latency=latency)
        self.answer = answer

    def respond(self, request: Request) -> Response:
        """Answer each id of a request."""
        answers = []
        for task_id in request.ids:
            answer = self.answer(task_id)
            if isinstance(answer, Exception):
                raise answer
            if answer is not None:
                answers.append(answer)
        if len(request.ids) == 1:
            body: object = answers[0] if answers else {}
        else:
            body = {"items": answers, "count": len(answers)}
        return Response(status=200, body=body if isinstance(body, bytes) else msgspec.json.encode(body))


class IgnoringWaiter(Waiter):
    """A waiter that ignores outcomes."""

    __slots__ = ()

    def resolve(self, task: AwaitedTask, outcome: Outcome) -> None:
        """Do nothing."""


def new_runtime(
    policy: PollPolicy = EXACT,
    retry: RetryPolicy | None = None,
    *,
    on_event: Callable[[acetasks.Event], object] | None = None,
) -> Runtime:
    """Build the runtime of a client in the running loop."""
    observers = Observers([_Recorder(on_event)] if on_event is not None else [])
    return Runtime(policy, retry or RetryPolicy(), observers, random.Random(0), asyncio.get_running_loop().time)


def new_poller(
    transport: FakeTransport,
    policy: PollPolicy = EXACT,
    retry: RetryPolicy | None = None,
    *,
    durations: Durations | None = None,
    on_event: Callable[[acetasks.Event], object] | None = None,
) -> Poller:
    """Build a poller over a transport."""
    runtime = new_runtime(policy, retry, on_event=on_event)
    return Poller(transport, runtime=runtime, durations=durations or Durations())


class _Recorder:
    """An observer that calls a function."""

    def __init__(self, on_event: Callable[[acetasks.Event], object]) -> None:
        self.on_event = on_event
