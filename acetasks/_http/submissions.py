"""Submissions: each in a task of its own, so that one that is under way is not lost with its caller.

A submission is paid for as soon as the service accepts it. If its caller is cancelled after the body was sent, the
request goes on for a while, and the log and the events tell the task's id.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING

from acetasks._http.delivery import Delivery
from acetasks._http.recording import AlreadySubmittedError, Recording, read_entry
from acetasks._http.responses import read_submission
from acetasks._http.session import build_uncertain_error
from acetasks._http.submission_queue import SubmissionQueue
from acetasks._records import ECHO_LIMIT
from acetasks._runtime import Timer, limit_time
from acetasks.errors import AceTasksError, RateLimitError, SubmissionUncertainError, TransportError
from acetasks.events import SubmissionUncertain, TaskSubmitted
from acetasks.stats import SubmissionStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from acetasks._http.requests import Request
    from acetasks._http.session import HTTPTransport
    from acetasks._http.submission_queue import Connection
    from acetasks._ledger import Ledger
    from acetasks._limits import Throttle
    from acetasks._runtime import Runtime
    from acetasks.models import Task
    from acetasks.providers import ProviderSpec

_logger = logging.getLogger("acetasks")

#: Seconds for the response to a submission whose caller has gone; an acknowledgement takes a few.
GRACE = 10.0
#: The same when the client is closed.
CLOSE_GRACE = 0.5


class Submitter:
    """Sends the submissions of one client."""

    def __init__(
        self,
        transport: HTTPTransport,
        *,
        throttle: Throttle,
        runtime: Runtime,
        ledger: Ledger | None = None,
        on_accepted: Callable[[Task, bytes, float | None], object] | None = None,
    ) -> None:
        """Create a submitter.

        `on_accepted` is called with each accepted task, the body of its request, and the loop time; None for a task
        that was submitted before, which the ledger has.
        """
        self._transport = transport
        self._ledger = ledger
        self._on_accepted = on_accepted
        self._throttle = throttle
        self._runtime = runtime
        self._sending: set[asyncio.Task[Task]] = set()
        self._abandoned: set[asyncio.Task[Task]] = set()
        self._accepted = self._uncertain = 0
        self._queue = SubmissionQueue(throttle, runtime.clock, transport.max_connections)

    def __repr__(self) -> str:
        return f"<Submitter {len(self._sending)} under way, {len(self._abandoned)} of them abandoned>"

    async def submit(
        self, spec: ProviderSpec, request: Request, *, key: str | None = None, timeout: float | None = None
    ) -> Task:
        """Send a submission, and return the task that the service accepted, within a timeout if there is one.

        A key that was submitted before is not sent again: its task is returned. If the caller is cancelled after the
        body was sent, the exception has a note of it.

        Raises:
            AceTasksError: As `Transport.send` does. When the timeout expires, it is `SubmissionUncertainError` if the
                body was sent, otherwise the error of the last attempt, or `TransportError` if there was none.
        """
        delivery = Delivery()
        recording = Recording(self._ledger, key, request, delivery)
        sending = asyncio.create_task(self._send(spec, request, delivery, recording), name="acetasks submission")
        self._sending.add(sending)
        sending.add_done_callback(self._discard)
        try:
            with contextlib.suppress(TimeoutError):
                async with limit_time(timeout):
                    await asyncio.wait([sending])  # unlike an await of the task, this does not cancel it
        except BaseException as error:
            self._abandon(sending, delivery)
            if (note := _describe_paid(request, sending, delivery)) is not None:
                error.add_note(note)
            raise
        if sending.done():
            return sending.result()
        if delivery.accepted is not None:
            return delivery.accepted  # it is being recorded
        reason = f"no response within {timeout:g} s"
        self._abandon(sending, delivery)
        if (note := _describe_paid(request, sending, delivery)) is not None:
            uncertain = build_uncertain_error(request, reason, delivery)
            uncertain.add_note(note)
            raise uncertain
        raise delivery.failure or TransportError(
            f"{spec.slug}: POST {request.path} was not sent: {reason}", reached=False
        )

    def describe(self) -> SubmissionStats:
        """Return the submissions so far."""
        return SubmissionStats(
            in_flight=len(self._sending),
            abandoned=len(self._abandoned),
            accepted=self._accepted,
            uncertain=self._uncertain,
        )

    async def drain(self) -> None:
        """Wait a moment for the responses to abandoned submissions, before the client is closed."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=CLOSE_GRACE)

    async def join(self) -> None:
        """Wait until every submission has ended, after the transport was closed; abandoned ones are cancelled."""
        for sending in self._abandoned:
            sending.cancel()
        if self._sending:
            await asyncio.wait(self._sending)

    # One submission.

    async def _send(self, spec: ProviderSpec, request: Request, delivery: Delivery, recording: Recording) -> Task:
        """Send a submission, and record and tell its end, which nothing else does if the caller has gone."""
        try:
            task = await self._exchange(spec, request, delivery, recording)
        except AlreadySubmittedError as found:
            task = read_entry(found.entry)
            self._pass_on(task, found.entry.request, None)
            return task
        except (Exception, asyncio.CancelledError) as error:
            await recording.fail(error)
            raise
        delivery.accepted = task
        self._accepted += 1
        self._pass_on(task, request.body, self._runtime.clock())
        now, is_abandoned = self._runtime.clock(), delivery.is_abandoned
        self._runtime.observers(
            TaskSubmitted(time=now, provider=spec.slug, path=request.path, task=task, abandoned=is_abandoned)
        )
        await recording.accept(task)
        return task

    def _pass_on(self, task: Task, request: bytes, time: float | None) -> None:
        if self._on_accepted is not None:
            self._on_accepted(task, request, time)

    async def _exchange(self, spec: ProviderSpec, request: Request, delivery: Delivery, recording: Recording) -> Task:
        """Send a submission, and return the task of the response."""
        try:
            with self._queue.connection() as connection:
                return await self._transport.send(
                    request,
                    functools.partial(read_submission, spec, request),
                    acquire_slot=functools.partial(self._queue.prepare, spec, recording, delivery, connection),
                    record=functools.partial(self._record, spec, connection),
                    delivery=delivery,
                )
        except SubmissionUncertainError as error:
            if delivery.may_have_arrived:  # else an earlier submission of the key is meant
                self._tell_uncertain(error)
            raise
        except AceTasksError as error:
            if delivery.is_abandoned:
                _logger.warning(
                    "%s: an abandoned submission to %s was not accepted: %s", spec.slug, request.path, error
                )
            raise
        except (Exception, asyncio.CancelledError) as error:
            converted = self._convert(error, request, delivery)
            if converted is error:
                raise
            # aiohttp's frames below a cancellation hold the request headers.
            raise converted from error if isinstance(error, Exception) else None

    def _convert(self, error: BaseException, request: Request, delivery: Delivery) -> BaseException:
        """Return what a submission ends with after a cancellation or an unexpected exception."""
        is_cancelled = isinstance(error, asyncio.CancelledError)
        # 1. It may have been sent.   2. Its caller has gone, or it is a bug.   3. Other code has cancelled it.
        if delivery.may_have_arrived:
            reason = "it was cancelled before the response came"
            if not is_cancelled:
                reason = f"its response led to an unexpected {type(error).__name__}: {str(error)[:ECHO_LIMIT]}"
            uncertain = build_uncertain_error(request, reason, delivery)
            self._tell_uncertain(uncertain)
            return uncertain
        if delivery.is_abandoned or not is_cancelled:
            return error
        name = f"{request.provider}: {request.method} {request.path}"
        return TransportError(f"{name} was cancelled by other code", reached=False)

    def _abandon(self, sending: asyncio.Task[Task], delivery: Delivery) -> None:
        """Leave a submission without its caller: it goes on for a while if it was sent, otherwise it ends."""
        if sending.done() or delivery.accepted is not None:
            return
        delivery.is_abandoned = True
        self._abandoned.add(sending)
        if delivery.may_have_arrived:
            timer = Timer(GRACE, sending.cancel)
            sending.add_done_callback(lambda _: timer.cancel())
        else:
            sending.cancel()

    def _discard(self, sending: asyncio.Task[Task]) -> None:
        self._sending.discard(sending)
        self._abandoned.discard(sending)
        if not sending.cancelled():
            sending.exception()  # asyncio logs one that was never retrieved

    def _tell_uncertain(self, error: SubmissionUncertainError) -> None:
        self._uncertain += 1
        self._runtime.observers(
            SubmissionUncertain(
                time=self._runtime.clock(),
                provider=error.provider,
                path=error.path,
                sent_at=error.sent_at,
                error=error,
            )
        )

    # The limits.

    def _record(self, spec: ProviderSpec, connection: Connection, error: AceTasksError | None, sent_at: float) -> None:
        """Update the limits after an attempt, and emit the events that follow."""
        connection.release()  # a retry may have to wait for long
        # Random numbers are drawn only if needed, so that submissions do not change when polls are sent.
        jitter_sample = self._runtime.rng.random() if isinstance(error, RateLimitError) else 0.0
        now = self._runtime.clock()
        for event in self._throttle.record_submission(
            spec, error, sent_at=sent_at, now=now, jitter_sample=jitter_sample
        ):
            self._runtime.observers(event)


def describe_submitted(provider: str, task_id: str, path: str) -> str:
    """Return the note on an exception that ends a call after its submission was accepted."""
    if not task_id:
        return f"a submission to {path} was accepted and answered with its result, which the event TaskSubmitted has"
    return (
        f"{provider} task {task_id} was submitted to {path} and may be paid for: wait for it with"
        f" client.handle({provider!r}, {task_id!r})"
    )


def _describe_paid(request: Request, sending: asyncio.Task[Task], delivery: Delivery) -> str | None:
    """Return a note of what may be paid for, or None if nothing can be."""
    # 1. The response came at the same time as the exception.
    if sending.done() and not sending.cancelled():
        if sending.exception() is None:
            task = sending.result()
            return describe_submitted(task.provider, task.id, request.path)
        return str(sending.exception()) if isinstance(sending.exception(), SubmissionUncertainError) else None
    # 2. It came just before.   3. No response yet.
    if delivery.accepted is not None:
        return describe_submitted(delivery.accepted.provider, delivery.accepted.id, request.path)
    if not delivery.may_have_arrived:
        return None
    return (
        f"{request.provider}: a submission to {request.path} was under way and may have been accepted; if the response"
        f" comes within {GRACE:g} s, the log and the event TaskSubmitted have the task's id"
    )
