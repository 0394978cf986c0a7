"""Polls of one batch of tasks, continued until every id has a result.

One request is not always enough: a service may leave out records, truncate a response without notice, or reject a
batch because of one id.
"""

from __future__ import annotations

import functools
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from acetasks._http.requests import build_poll
from acetasks._http.responses import PollResponse, read_poll_response
from acetasks._limits import ErrorScope, scope_of
from acetasks.errors import AceTasksError, APIError, BadRequestError, ProtocolError, TransportError
from acetasks.models import TaskState
from acetasks.providers import ProviderSpec, RecordStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from acetasks._http.requests import Request, Response
    from acetasks._http.transport import Transport


class PollResult(msgspec.Struct):
    """The result of polling one batch; every id is in exactly one of the first four attributes.

    Attributes:
        statuses: What new records say, by id.
        unchanged: Ids whose record is byte for byte the known one.
        errors: Errors, by id.
        missing: Ids without a record, by a response to several ids that had no record of any. Only a poll of an id
            alone says that there is no such task.
        batch_works: Whether the provider answers polls of several tasks: true if a response had records of them, false
            if a single poll found a task that a response had left out, None if neither was seen.
        truncated_at: The number of records in each truncated response.
        accepted_size: The largest number of ids accepted after a larger request was rejected for its size, or None.
        server_time: The `Date` header of the last response, in seconds since the epoch, or None.
    """

    statuses: dict[str, RecordStatus] = {}
    unchanged: tuple[str, ...] = ()
    errors: dict[str, AceTasksError] = {}
    missing: list[str] = []
    batch_works: bool | None = None
    truncated_at: list[int] = []
    accepted_size: int | None = None
    server_time: float | None = None

    @property
    def is_answered(self) -> bool:
        """Whether any request got a usable response or a final error."""
        if self.statuses or self.unchanged or self.missing:
            return True
        return not all(error.transient or isinstance(error, TransportError) for error in self.errors.values())


async def poll_batch(
    transport: Transport,
    spec: ProviderSpec,
    ids: Sequence[str],
    known: Sequence[bytes | None] = (),
    *,
    acquire_slot: Callable[[], Awaitable[None]] | None = None,
    attempts: int = 1,
) -> PollResult:
    """Poll distinct ids, no more than the provider accepts in one request, with as many requests as it takes.

    `known` has the last record of each id, None if there is none, in the order of `ids`; or it is empty. For
    `acquire_slot` and `attempts` of each request see `Transport.send`.
    """
    send = functools.partial(transport.send, acquire_slot=acquire_slot, attempts=attempts)
    poll = _BatchPoll(send, spec, ids, known)
    await poll.run(ids)
    return poll.result


class _BatchPoll:
    """One `poll_batch` call, with its `result` so far."""

    def __init__(
        self,
        send: Callable[[Request, Callable[[Response], PollResponse]], Awaitable[PollResponse]],
        spec: ProviderSpec,
        ids: Sequence[str],
        known: Sequence[bytes | None],
    ) -> None:
        self._send = send
        self._spec = spec
        self._ids = ids
        self._known = known
        # A transient error ends the poll for all remaining ids: the caller decides when to poll them again.
        self._failure: AceTasksError | None = None
        self.result = PollResult()

    async def run(self, ids: Sequence[str]) -> None:
        """Poll ids, and again the ones left out of a response, until a response has none of them."""
        result = self.result
        suspect_size = 0  # of the previous response, if it may have been truncated
        while ids:
            if self._failure is not None:
                result.errors.update(dict.fromkeys(ids, self._failure))
                return
            try:
                response = await self._request(ids)
            except AceTasksError as error:
                await self._handle_error(ids, error)
                return
            result.server_time = response.server_time
            found = len(response.statuses) + len(response.unchanged)
            if not found and not response.unreadable:
                await self._check_missing(ids)
                return
            if not found:
                # The tasks of unreadable records are found by polling each id alone.
                for task_id in ids:
                    await self.run([task_id])
                return
            if suspect_size and _has_existing_task(response):
                # The service had more than it returned before.
                result.truncated_at.append(suspect_size)
            if len(ids) > 1 and result.batch_works is None:
                result.batch_works = True
            result.statuses |= response.statuses
            result.unchanged += response.unchanged
            if found == len(ids):
                return
            answered = {*response.statuses, *response.unchanged}
            ids = [task_id for task_id in ids if task_id not in answered]
            # A single id that was left out is more likely new than truncated.
            suspect_size = found if len(ids) > 1 and not response.unreadable else 0

    async def _check_missing(self, ids: Sequence[str]) -> None:
        """Record that a response had none of several ids, and poll one of them alone.

        If that finds the task, the response was not about the polled ids: some batch calls return the latest tasks
        whatever the ids are, nothing, or records without ids.
        """
        known = dict(zip(self._ids, self._known, strict=bool(self._known)))
        # A task that was seen before exists for sure.
        witness = next(filter(known.get, ids), ids[0])
        self.result.missing += [task_id for task_id in ids if task_id != witness]
        await self.run([witness])
        status = self.result.statuses.get(witness)
        if status is not None and status.state is not TaskState.NOT_FOUND:
            self.result.batch_works = False

    def _request(self, ids: Sequence[str]) -> Awaitable[PollResponse]:
        known = self._known
        if known and len(ids) < len(self._ids):
            known_by_id = dict(zip(self._ids, known, strict=True))
            known = [known_by_id[task_id] for task_id in ids]
        request = build_poll(self._spec, ids)
        return self._send(request, functools.partial(read_poll_response, self._spec, request, known=known))

    async def _handle_error(self, ids: Sequence[str], error: AceTasksError) -> None:
        """Record an error for all polled ids, or halve the batch if one of them may have caused it."""
        result = self.result
        if error.transient:
            self._failure = error
        is_rejected = isinstance(error, BadRequestError) and scope_of(error) is ErrorScope.TASK
        may_concern_one = (is_rejected or isinstance(error, ProtocolError)) and not error.transient
        if len(ids) == 1 or not may_concern_one:
            result.errors.update(dict.fromkeys(ids, error))
            return
        middle = (len(ids) + 1) // 2
        await self.run(ids[:middle])
        await self.run(ids[middle:])
        is_too_large = isinstance(error, APIError) and error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if is_too_large and result.errors.keys().isdisjoint(ids):
            result.accepted_size = min(middle, result.accepted_size or middle)


def _has_existing_task(response: PollResponse) -> bool:
    if response.unchanged:
        return True
    return any(status.state is not TaskState.NOT_FOUND for status in response.statuses.values())
