"""Readers of responses: task records, the outcome of a submission, or an error.

Each reader depends only on the request and the response. Any bytes lead to a documented result.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from acetasks._http.error_bodies import build_error, is_of_service, raise_for_code, read_error_head
from acetasks._http.headers import read_date
from acetasks._http.ids import PolledIds, names_id
from acetasks._records import DECODE_ERRORS, ECHO_LIMIT, decode, excerpt, may_be_truncated, shorten
from acetasks.errors import ProtocolError, UnknownProviderError
from acetasks.models import NO_RESULT, TaskState, build_decode_error
from acetasks.providers import ProviderSpec, RecordStatus, is_missing, read_record, read_text, suggest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks._http.requests import Request, Response
    from acetasks.errors import AceTasksError
    from acetasks.models import Task

#: Fields that any response to a submission may have.
_ENVELOPE = frozenset(
    {
        *("success", "id", "task_id", "trace_id", "state", "status", "progress", "code", "message", "detail"),
        *("items", "count", "started_at", "created_at", "finished_at", "elapsed", "cost", "usage"),
    }
)
#: Keys of a task id in a place or spelling that is not documented.
_ID_KEYS = frozenset({"task_id", "taskId", "job_id", "jobId", "jobid", "request_id"})
_EMPTY: tuple[object, ...] = (None, "", [], {})

#: The service has no such path, hence no such provider.
_NO_API = "no_api"


#: Records, or anything else.
_Other = list[msgspec.Raw] | dict[str, msgspec.Raw] | str | float | bool | None


class _BatchBody(msgspec.Struct):
    items: list[msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    #: Undocumented places of the records, which official plugins read too.
    tasks: _Other = None
    data: _Other = None


_batch_decoder = msgspec.json.Decoder(_BatchBody | list[msgspec.Raw] | None)
_any_decoder = msgspec.json.Decoder()
_object_decoder = msgspec.json.Decoder(dict[str, object])


def read_failure(request: Request, response: Response, retry_after: float | None) -> AceTasksError | None:
    """Return the error of a response that is an HTTP error of the request and not of a task, else None."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    head = read_error_head(response.body)
    # A batch with such a status is split until the task is alone.
    if len(request.ids) == 1 and (
        (response.status in request.task_statuses and (is_of_service(head) or head.id or head.task_id))
        or (response.status == HTTPStatus.NOT_FOUND and is_missing(head))
    ):
        return None
    error = build_error(request.provider, head, response, retry_after)
    if error.code == _NO_API and not request.is_submission:
        suggestion = suggest(request.provider)
        return UnknownProviderError(request.provider, suggestion=suggestion if suggestion != request.provider else None)
    return error


class PollResponse(msgspec.Struct, frozen=True):
    """The content of the response to one poll request.

    Attributes:
        statuses: New records of polled tasks, by id, in the order of the request.
        unchanged: Ids with a record that is byte for byte the known one, in the order of the request.
        unreadable: Number of records that cannot be read, so that their ids are unknown.
        server_time: The `Date` header, in seconds since the epoch, or None.
    """

    statuses: dict[str, RecordStatus]
    unchanged: tuple[str, ...] = ()
    unreadable: int = 0
    server_time: float | None = None


def read_poll_response(
    spec: ProviderSpec, request: Request, response: Response, known: Sequence[bytes | None] = ()
) -> PollResponse:
    """Read the response to a poll, for which `read_failure` has found no error.

    The service may return any subset of a batch, in any order. Records of other tasks are ignored. Most polls find
    nothing new, so a record of a batch that is identical to the `known` one of its id is not read again.

    Raises:
        ProtocolError: The body is not JSON or does not match the request.
        APIError: The body is an error in spite of its status.
    """
    server_time = read_date(response.headers.get("date", ""))
    if len(request.ids) == 1:
        return PollResponse(_read_single(spec, request.ids[0], response), server_time=server_time)
    records = list(map(bytes, split_batch(spec, request, response)))
    if known and records == list(known):  # the usual case
        return PollResponse({}, request.ids, server_time=server_time)
    return PollResponse(*_read_changed(spec, request.ids, records, known), server_time)


def read_traced(spec: ProviderSpec, trace_id: str, response: Response) -> Task:
    """Read the response to a look-up by a trace id; without a task, it is `NOT_FOUND` and has no id.

    Raises:
        ProtocolError: The body is no record, or that of a task with another trace id.
        APIError: The body is an error in spite of its status.
    """
    status = _read_single(spec, trace_id, response)[trace_id]
    if status.state is TaskState.NOT_FOUND:
        return msgspec.structs.replace(status.task, id="", trace_id=trace_id)
    task = read_record(spec, response.body, http_status=response.status).task
    if not task.id:
        raise ProtocolError(f"{spec.slug}: the record of trace {trace_id!r} has no task id", transient=False)
    return task


def _read_single(spec: ProviderSpec, task_id: str, response: Response) -> dict[str, RecordStatus]:
    """Read the response to a poll of one task: its body is the record."""
    status = read_record(spec, response.body, task_id=task_id, http_status=response.status)
    head = read_error_head(status.raw)  # not of the body, which may have been repaired
    names_task = head.id is not None or head.task_id is not None
    if response.status < HTTPStatus.MULTIPLE_CHOICES and head.is_flat and not names_task:
        raise_for_code(spec.slug, head, response)
    ids = status.named_ids
    # A cache or a gateway may answer with the record of another request. A record without an id is of the polled task.
    if ids and not names_id(ids, task_id) and not names_id(_read_all_ids(status.raw), task_id):
        other = ids[0][:ECHO_LIMIT]
        # Without an excerpt: the record of another task may have signed URLs.
        raise ProtocolError(f"{spec.slug}: the response to a poll of task {task_id!r} is the record of task {other!r}")
    return {task_id: status}


def _read_all_ids(record: bytes) -> list[str]:
    """Return each text or number at the top of a record or of its response under a key that ends in `id`."""
    try:
        fields = decode(_object_decoder, record)[0]
    except DECODE_ERRORS:
        return []
    response = fields.get("response")
    places = [fields, response] if isinstance(response, dict) else [fields]
    values = [value for place in places for key, value in place.items() if key.lower().endswith("id")]
    return list(filter(None, map(read_text, values)))


def _read_changed(
    spec: ProviderSpec, ids: Sequence[str], records: Sequence[bytes], known: Sequence[bytes | None]
) -> tuple[dict[str, RecordStatus], tuple[str, ...], int]:
    """Return the new statuses, the unchanged ids and the number of unreadable records of a batch.

    The first of several records of one task counts.
    """
    polled = PolledIds(ids)
    known_ids = dict(zip(known, ids, strict=bool(known)))
    unchanged: set[str] = set()
    statuses: dict[str, RecordStatus] = {}
    unreadable = 0
    for index, record in enumerate(records):
        # The same position first: records without an id may be equal for several tasks.
        is_known_here = index < len(known) and record == known[index]
        known_id = ids[index] if is_known_here else known_ids.get(record)
        if known_id is not None:
            if known_id not in statuses:
                unchanged.add(known_id)
            continue
        try:
            status = read_record(spec, record)
        except ProtocolError:
            unreadable += 1
            continue
        if status.id not in polled:
            task_id = polled.find(status.named_ids or (status.id,))
            if task_id is None:
                continue
            status = read_record(spec, record, task_id=task_id)
        if status.id not in unchanged:
            statuses.setdefault(status.id, status)
    ordered = {task_id: statuses[task_id] for task_id in ids if task_id in statuses}
    return ordered, tuple(filter(unchanged.__contains__, ids)), unreadable


def split_batch(spec: ProviderSpec, request: Request, response: Response) -> list[msgspec.Raw]:
    """Split the response to a batch into undecoded records, or raise as `read_poll_response` does."""
    try:
        body, _ = decode(_batch_decoder, response.body)
    except DECODE_ERRORS as error:
        raise ProtocolError(
            f"{spec.slug}: the response to a batch cannot be read ({shorten(error)})",
            excerpt=excerpt(response.body),
            transient=not _is_fault_of_one(request, response.body, error),
        ) from error
    if not isinstance(body, _BatchBody):
        return body or []  # null is sent for "none of them", as for an unknown id
    if (items := body.items) is not msgspec.UNSET:
        return items or []
    raise_for_code(spec.slug, read_error_head(response.body), response)
    for others in (body.tasks, body.data):
        if others and isinstance(others, list):  # an empty one may be anything: it must not count as "none of them"
            return others
    raise ProtocolError(f"{spec.slug}: the response to a batch has no items", excerpt=excerpt(response.body))


def _is_fault_of_one(request: Request, body: bytes, error: Exception) -> bool:
    """Return whether a batch cannot be read because of one record, which halving the batch finds.

    1. It is nested too deeply.   2. The response is complete and has malformed JSON in it. A page or message of a
    gateway is neither, even if it has braces around it: it names none of the polled tasks.
    """
    if isinstance(error, RecursionError):
        return True
    if isinstance(error, msgspec.ValidationError) or may_be_truncated(body, error):
        return False
    return any(task_id.encode() in body for task_id in request.ids)


def read_submission(spec: ProviderSpec, request: Request, response: Response) -> Task:
    """Return the finished task if a submission's response is the result, else a task with an id to poll.

    `read_failure` has found no error in the response. `ProtocolError` means that it has neither a result nor an id.
    """
    status = read_record(spec, response.body)
    task = status.task
    # 1. The end of the task. An acknowledgement may have a word and data too: there only a file, a failure, a result
    # with a finish time, or a result without an id is an end.
    if task.state.is_terminal and task.state is not TaskState.NOT_FOUND:
        is_failed = task.error is not None and task.error.code != NO_RESULT
        if request.is_blocking or task.artifacts or is_failed or _has_ended(status, response.body):
            return task
    # 2. An id to poll.
    if task.id:
        if not task.state.is_terminal:
            return task
        return msgspec.structs.replace(task, state=TaskState.PENDING, error=None, finished_at=None, duration=None)
    # 3. A result without a state (midjourney's descriptions): without an id the response can be nothing else.
    if task.state is TaskState.PENDING and _has_content(response.body, is_blocking=request.is_blocking):
        return msgspec.structs.replace(task, state=TaskState.SUCCEEDED)
    raise ProtocolError(f"{spec.slug}: the response to a submission has no task id", excerpt=excerpt(response.body))


def _has_ended(status: RecordStatus, body: bytes) -> bool:
    """Return whether the response to an asynchronous submission is its result."""
    if status.finished_at is not None or status.has_own_done_word:  # no acknowledgement has one
        return _has_content(body, is_blocking=True)
    return not status.id and _has_content(body, is_blocking=False)


def _has_content(body: bytes, *, is_blocking: bool) -> bool:
    """Return whether a response has a result beside envelope fields; raise `ProtocolError` if it cannot be read.

    In the response to an asynchronous submission, the result must be marked as a success and contain no task id.
    """
    try:
        fields, _ = decode(_any_decoder, body)
    except DECODE_ERRORS as error:
        raise build_decode_error("the response to a submission", body, error) from error
    if not is_blocking:
        if not isinstance(fields, dict):
            return False
        data = fields.get("data")
        places = [fields, *(data if isinstance(data, list) else [data])]
        has_id = any(isinstance(place, dict) and not _ID_KEYS.isdisjoint(place) for place in places)
        if has_id or fields.get("success") is not True:
            return False
    return any(value not in _EMPTY for key, value in fields.items() if key not in _ENVELOPE)
