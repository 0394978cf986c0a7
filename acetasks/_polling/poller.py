"""The poller: one background task that polls whatever is due while tasks are awaited.

It runs as a plain asyncio task from the first waiter to the last. Each iteration of its loop starts the polls that are
due while there are free slots, and sleeps until the next is due or something changes. Results are applied by
synchronous methods, so that no two of them interleave.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
from typing import TYPE_CHECKING, TypeVar

from acetasks._http import PollResult
from acetasks._limits import Throttle
from acetasks._polling.awaited import AwaitedTask
from acetasks._polling.inspector import Inspector
from acetasks._polling.limited_requests import LimitedRequests
from acetasks._polling.outcomes import OutcomeRules
from acetasks._polling.registry import TaskRegistry
from acetasks._polling.results import ResultHandler
from acetasks._polling.unexpected import UnexpectedErrors
from acetasks._runtime import is_being_cancelled
from acetasks._scheduling import CallbackState, Scheduler, build_planner
from acetasks.errors import AceTasksError, ClientClosedError
from acetasks.providers import lookup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from acetasks._http import Transport
    from acetasks._polling.awaited import Waiter
    from acetasks._polling.callbacks import ExpectedCallbacks
    from acetasks._runtime import Runtime
    from acetasks._scheduling import Durations, InFlightPoll, Key, TrackedTask
    from acetasks.models import Task

T = TypeVar("T")

_logger = logging.getLogger("acetasks")

#: Seconds before a timeout at which tasks that expect a callback are polled: enough for a poll and its retry.
_LAST_LOOK = 5.0
#: Seconds that requests in flight may take to end when the client is closed.
CLOSE_TIMEOUT = 0.5


class Poller:
    """Polls every awaited task of one client until it ends.

    Attributes:
        context: The context variables with which polls run, however many waiters with other ones there are: those of
            the creation of the poller.
        throttle: The limits of requests, which the client's submissions share.
        requests: Sends requests within these limits, polls of a single time too.
        inspector: Describes what is awaited, and why.
        telemetry: Follows waits; None for no telemetry.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        runtime: Runtime,
        durations: Durations,
        on_end: Callable[[Task], object] | None = None,
        callbacks: ExpectedCallbacks | None = None,
    ) -> None:
        policy, retry = runtime.policy, runtime.retry
        self.context = contextvars.copy_context()
        self._transport = transport
        self._observers = runtime.observers
        self.telemetry = runtime.telemetry
        self._clock = runtime.clock
        self._registry = TaskRegistry()
        self.throttle = Throttle(policy, retry)
        self._wake = asyncio.Event()
        self.requests = LimitedRequests(transport, runtime=runtime, throttle=self.throttle, on_freed=self._wake.set)
        planner = build_planner(policy, durations, self._clock() + runtime.rng.random())
        self._scheduler = Scheduler(
            policy, throttle=self.throttle, planner=planner, rng=runtime.rng, has_callbacks=callbacks is not None
        )
        self.inspector = Inspector(
            self._registry, scheduler=self._scheduler, throttle=self.throttle, durations=durations, runtime=runtime
        )
        rules = OutcomeRules(policy, throttle=self.throttle, registry=self._registry)
        self._callbacks = callbacks
        self._results = ResultHandler(
            self._registry, rules=rules, observers=self._observers, on_end=on_end, callbacks=callbacks
        )
        self._unexpected = UnexpectedErrors()
        self._in_flight: set[InFlightPoll] = set()
        self._sleeps_until = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Poller {self._registry!r}, {self._scheduler!r}, {self.requests.slots.value} free slots>"

    @property
    def is_idle(self) -> bool:
        """Whether nothing is awaited and nothing runs."""
        return not self._registry and self._task is None

    # Called by waiting coroutines and the client.

    def register(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Add a waiter for tasks, which are polled soon; `leave` must be called at the end.

        Args:
            waiter: Not yet registered for any of the tasks.
            keys: The tasks, with valid ids.

        Raises:
            ClientClosedError: The client is closed.
        """
        if self._closed:
            raise ClientClosedError("this client is closed: make a new one to wait for tasks")
        if new := self._registry.register(waiter, keys):
            self._schedule(new, is_patient=not waiter.wants_changes)
        if self._callbacks is not None and waiter.wants_changes:
            self._poll_often(keys)
        if self._task is None:
            self._start()

    def receive_callback(self, key: Key, token: str) -> bool:
        """Poll a task soon because of a callback with a genuine token; a repeated one has no effect.

        Returns:
            Whether it is the first one of a task that is not awaited here.
        """
        if self._callbacks is None:
            return False
        now, task = self._clock(), self._registry.get(key)
        for event in self._callbacks.restore(key[0], now):
            self._observers(event)
        is_first = self._callbacks.receive(key, token, is_awaited=task is not None)
        if is_first and task is not None:
            self._scheduler.poll_soon(task, now)
            self._wake_by(self._scheduler.next_poll_at)
        return is_first and task is None

    def schedule_last_look(
        self, timeout: float | None, keys: Callable[[], Iterable[Key]]
    ) -> asyncio.TimerHandle | None:
        """Poll tasks once more before a wait for them times out, if they are polled rarely: a callback may be lost.

        Args:
            timeout: Seconds from now; None for no timeout.
            keys: Returns the tasks.

        Returns:
            The timer, to be cancelled when the wait ends; None if there is no need of one.
        """
        if self._callbacks is None or timeout is None or timeout <= _LAST_LOOK:
            return None

        def look() -> None:
            tasks = [task for key in keys() if (task := self._registry.get(key)) is not None]
            self._scheduler.poll_early(tasks, self._clock())
            self._wake_by(self._scheduler.next_poll_at)

        return asyncio.get_running_loop().call_later(timeout - _LAST_LOOK, look)

    def leave(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Remove a waiter from tasks; a task without waiters is not polled any more."""
        now = self._clock()
        for key in keys:
            if (task := self._registry.leave(waiter, key)) is not None:
                self._scheduler.suspend(task, now)
        if not self._registry:
            self._wake.set()

    def last_seen(self, key: Key) -> Task:
        """Return a task as last seen, in an earlier wait if not in this one; pending if neither is known."""
        return self._registry.last_seen(key)

    def fault_of(self, key: Key) -> AceTasksError | None:
        """Return why the last poll of an awaited task failed; None if it did not."""
        health = self._registry.health.get(key)
        return health.fault if health else None

    def pause_of(self, provider: str) -> float | None:
        """Return the seconds of a pause that the service has requested for a provider; None if none lasts."""
        return self.throttle.requested_pause(lookup(provider), self._clock())

    async def close(self) -> None:
        """Resolve every awaited task with a `ClientClosedError`, and end the polls in flight."""
        self._closed = True
        self._resolve_all(ClientClosedError("the client was closed while this task was awaited"))
        if self._task is not None:
            self._task.cancel()
            _, late = await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT)
            if late:
                _logger.warning("a closed client still has a request in flight that ignores its cancellation: %r", self)

    def _schedule(self, tasks: Sequence[AwaitedTask], *, is_patient: bool) -> None:
        """Schedule new tasks; with a patient waiter, those that expect a callback are polled rarely."""
        now = self._clock()
        if self._callbacks is None or not is_patient:
            self._scheduler.add(tasks, now)
        else:
            soon, later = self._callbacks.sort(tasks, now)
            self._scheduler.add(soon, now)
            self._scheduler.add_expecting(later, now)
        self._wake_by(self._scheduler.next_poll_at)

    def _poll_often(self, keys: Sequence[Key]) -> None:
        """Do not wait for callbacks, because a waiter wants each change."""
        for key in keys:
            task = self._registry.get(key)
            if task is not None and task.callback is CallbackState.EXPECTED:
                self._scheduler.poll_soon(task, self._clock())
                self._wake_by(self._scheduler.next_poll_at)

    # The background task.

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="acetasks poller", context=self.context.copy())

    async def _run(self) -> None:
        """Poll until nothing is awaited; if this fails in any way, every waiter receives the error at once."""
        try:
            async with asyncio.TaskGroup() as group:
                while self._registry or self._in_flight:
                    self._start_ready(group)
                    await self._sleep_until(self._scheduler.next_poll_at)
            await self._transport.close_idle()
        except BaseException as error:
            self._resolve_all(_build_end_error(error))
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            for poll in tuple(self._in_flight):
                self._finish(poll)  # it was cancelled before it began
            if self._registry and not self._closed:
                self._start()  # a waiter came at the end

    def _start_ready(self, group: asyncio.TaskGroup) -> None:
        """Start the polls that are due, as long as there are free slots."""
        while (poll := self._scheduler.next_batch(self._clock(), self.requests.slots.value)) is not None:
            self.requests.slots.acquire_nowait()
            self._in_flight.add(poll)
            group.create_task(self._run_poll(poll))

    async def _run_poll(self, poll: InFlightPoll) -> None:
        """Run one poll; an unexpected exception in it is a fault of its own tasks, and of no others."""
        tasks = poll.batch.tasks
        try:
            await self._poll_batch(poll)
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and is_being_cancelled():
                raise
            self._retry_later(poll, tasks, error)
        else:
            self._unexpected.record_success(poll.spec.slug)
        if self._registry:
            self._wake_by(self._scheduler.next_poll_at)
        else:
            self._wake.set()  # the background task ends

    async def _poll_batch(self, poll: InFlightPoll) -> None:
        """Poll one batch, apply the result, and schedule the next polls of its tasks."""
        result = await self._request(poll)
        # Synchronous from here on, so that no two results interleave.
        now = self._clock()
        self.requests.record(poll.spec, result, sent_at=poll.sent_at, now=now, jitter_sample=poll.jitter_sample)
        changes = self._results.apply(poll, result, now)
        if self._callbacks is not None:
            self._callbacks.review(poll.spec.slug, poll.batch.tasks)
        self._scheduler.requeue(poll, changes, now)

    def _retry_later(self, poll: InFlightPoll, tasks: Sequence[TrackedTask], error: BaseException) -> None:
        """Poll the tasks of a poll that raised an exception again, after a backoff as for any transient error."""
        now = self._clock()
        # The exception may have come while its tasks were requeued: some are queued by now.
        left = [task for task in tasks if self._registry.get(task.key) is task and task.is_unscheduled]
        failure = self._unexpected.convert(poll.spec.slug, error)
        result = PollResult(errors={task.key[1]: failure for task in left})
        self.requests.record(poll.spec, result, sent_at=poll.sent_at, now=now, jitter_sample=poll.jitter_sample)
        changes = self._results.apply(poll, result, now)
        self._scheduler.requeue(poll.with_tasks(left), changes, now)

    async def _request(self, poll: InFlightPoll) -> PollResult:
        """Send the requests of a poll; they are cancelled when the last task of the batch is discarded."""
        try:
            if not poll.batch.live_count:
                return PollResult()  # they were discarded before this began
            if (current := asyncio.current_task()) is not None:
                poll.cancel = current.cancel
            tasks = poll.batch.tasks
            known = [task.record if isinstance(task, AwaitedTask) else None for task in tasks]
            ids = [task.key[1] for task in tasks]
            return await self.requests.send_poll(poll.spec, ids, known, acquired_at=poll.sent_at)
        finally:
            self._finish(poll)

    def _finish(self, poll: InFlightPoll) -> None:
        """End a poll in flight, and wake the loop if it can do more then."""
        self._in_flight.discard(poll)
        self.requests.slots.release()
        self._scheduler.finish(poll, self._clock())
        if self._scheduler.is_saturated or not self._registry:
            self._wake.set()

    def _resolve_all(self, error: AceTasksError) -> None:
        now = self._clock()
        for task in self._registry:
            self._results.resolve(task, error, now)
            self._scheduler.discard(task)

    # Sleeping between polls.

    async def _sleep_until(self, time: float) -> None:
        """Wait for a loop time, or until something changes."""
        self._sleeps_until = time
        timer = None if time == math.inf else asyncio.get_running_loop().call_at(time, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        self._sleeps_until = -math.inf
        self._wake.clear()

    def _wake_by(self, time: float) -> None:
        """Wake the loop if it would sleep past a loop time."""
        if time < self._sleeps_until:
            self._wake.set()


def _build_end_error(error: BaseException) -> AceTasksError:
    """Build the error of waits whose polls an exception has ended."""
    if isinstance(error, asyncio.CancelledError):
        ended = AceTasksError(
            "polling was cancelled by other code, such as a loop over asyncio.all_tasks(); the remote tasks continue"
            " and can be awaited again"
        )
        ended.transient = True
        return ended
    cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
    died = AceTasksError(f"the poller stopped because of an internal error, please report it: {cause!r}")
    died.__cause__ = cause
    return died
