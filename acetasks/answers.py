"""What answers say, read from (status, headers, body) alone: records, the end of a submission, or an error.

The service's errors come in five shapes and with codes that matter more than the status. Whatever the bytes are, the
outcome is one that is documented here.
"""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING

import msgspec

from acetasks._records import DECODE_ERRORS, RecordHead, decode, excerpt, shorten
from acetasks.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    UnknownProviderError,
)
from acetasks.models import TaskState, build_decode_error
from acetasks.providers import (
    ProviderSpec,
    Reading,
    find_error_object,
    is_missing,
    read_error_code,
    read_error_message,
    read_record,
    read_text,
    suggest,
)
from acetasks.providers.heads import read_head
from acetasks.schedule import read_date

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from acetasks.models import Task
    from acetasks.wire import Request, Response

#: Error codes that decide whatever the status is (the service's error tables in its OpenAPI files).
_CODES: Mapping[str, type[APIError]] = {
    **dict.fromkeys(("invalid_token", "token_expired", "no_token"), AuthenticationError),
    **dict.fromkeys(("used_up", "forbidden", "disabled"), PermissionDeniedError),
    **dict.fromkeys(("too_many_requests", "rate_limited", "rate_limit_error"), RateLimitError),
    **dict.fromkeys(("api_error", "busy"), ServiceError),
}
_STATUSES: Mapping[int, type[APIError]] = {
    401: AuthenticationError,
    402: PermissionDeniedError,
    403: PermissionDeniedError,
    408: ServiceError,
    429: RateLimitError,
}
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_REDIRECT = 300
_NOT_FOUND = 404

#: What every answer to a submission may have, and values that say nothing.
_ENVELOPE = frozenset(
    {
        *("success", "id", "task_id", "trace_id", "state", "status", "progress", "code", "message", "detail"),
        *("items", "count", "started_at", "created_at"),
    }
)
_NOTHING: tuple[object, ...] = (None, "", [], {})

#: A token that belongs to another API: final for this provider, not for the token (400; 401 says "for the token").
_MISMATCHED = "token_mismatched"
_REDIRECT_HINT = " (redirects are not followed with the token: check the base URL)"
#: The path is none that the service has, so neither is the provider.
_NO_API = "no_api"


class _BatchAnswer(msgspec.Struct):
    items: list[msgspec.Raw] | None = None


_batch_decoder = msgspec.json.Decoder(_BatchAnswer | list[msgspec.Raw])


def read_failure(request: Request, response: Response, retry_after: float | None) -> Exception | None:
    """Tell whether an answer is an HTTP error of the request, rather than news of a task.

    Args:
        request: What was asked.
        response: What came back.
        retry_after: Seconds that the service asks to be left alone, or None.

    Returns:
        The error to raise, or None.
    """
    if response.status < _REDIRECT:
        return None
    head = _read_error_head(response.body)
    # In a batch no status speaks of any one task: it is an error, and the batch is split until the task is alone.
    if len(request.ids) == 1 and (
        response.status in request.task_statuses or (response.status == _NOT_FOUND and is_missing(head))
    ):
        return None
    error = _build_error(request.provider, head, response, retry_after)
    if error.code == _NO_API and request.ids:
        near = suggest(request.provider)
        return UnknownProviderError(request.provider, suggestion=near if near != request.provider else None)
    return error


class Look(msgspec.Struct, frozen=True):
    """What the answer to a look says.

    Attributes:
        readings: The tasks asked for that it has news of, by id, in the order of asking.
        unchanged: Those whose record is, byte for byte, the one that is known already, likewise.
        unread: How many of its records cannot be read, so that it is not known whose they are.
        today: The service's time, in seconds since the epoch, where the answer says so.
    """

    readings: dict[str, Reading]
    unchanged: tuple[str, ...] = ()
    unread: int = 0
    today: float | None = None


def read_look(
    spec: ProviderSpec,
    request: Request,
    response: Response,
    known: Sequence[bytes | None] = (),
) -> Look:
    """Read the answer to a look: of a batch, as many records as the service chose to send, in whatever order.

    Args:
        spec: The provider's row.
        request: What was asked.
        response: What came back, for which `read_failure` has found no error.
        known: The record of each task asked for as it was last read, None where it was not. Most looks bring the same
            again: in a batch, what is known is not read a second time.

    Returns:
        What it says of the tasks that were asked for; records of others are passed over.

    Raises:
        ProtocolError: The body is no JSON, or no answer to this request; it says whether asking again may help.
        APIError: The body is an error in spite of its status.
    """
    today = read_date(response.headers.get("date", ""))
    if len(request.ids) == 1:
        (task_id,) = request.ids
        head = _read_error_head(response.body)
        if response.status < _REDIRECT and head.is_flat and head.id is None and head.task_id is None:
            _raise_if_refused(spec, head, response)
        reading = read_record(spec, response.body, task_id=task_id, http_status=response.status)
        return Look({task_id: reading}, today=today)
    records = list(map(bytes, _split_batch(spec, response)))
    # 1. The usual: each in the place of the task that was asked for.
    if len(records) == len(request.ids):
        news: Iterable[tuple[int, bytes]] = enumerate(records)
        if known:
            news = itertools.compress(news, list(map(operator.ne, records, known)))
        look = read_news(spec, request, response, news)
        if look is not None:
            return look
    # 2. Another order, or more or fewer records, or one that cannot be read.
    return Look(*_read_in_any_order(spec, request.ids, records, known), today)


def read_news(
    spec: ProviderSpec, request: Request, response: Response, news: Iterable[tuple[int, bytes]]
) -> Look | None:
    """Read what is new in the answer to a batch.

    Args:
        spec: The provider's row.
        request: What was asked.
        response: What came back.
        news: What stands in the places of the tasks whose records are not the known ones.

    Returns:
        What it says of all tasks that were asked for; None if in one of the places is no record of the task that was
        asked for there, as it came.
    """
    ids = request.ids
    readings: dict[str, Reading] = {}
    for place, record in news:
        task_id = ids[place]
        try:
            reading = readings[task_id] = read_record(spec, record)
        except ProtocolError:
            return None
        # One that was mended or unwrapped may be the known one after all.
        if reading.id != task_id or reading.raw != record:
            return None
    unchanged = tuple([task_id for task_id in ids if task_id not in readings]) if readings else ids
    return Look(readings, unchanged, today=read_date(response.headers.get("date", "")))


def _read_in_any_order(
    spec: ProviderSpec, ids: Sequence[str], records: Sequence[bytes], known: Sequence[bytes | None]
) -> tuple[dict[str, Reading], tuple[str, ...], int]:
    """Read the records of a batch that are not known. Of two of one task the first counts, known or not.

    Returns:
        The readings, the ids of what is unchanged, and how many records cannot be read.
    """
    asked = set(ids)
    # Whose the known ones are that stand in other places.
    owners = dict(zip(known, ids, strict=False))
    unchanged: set[str] = set()
    readings: dict[str, Reading] = {}
    unread = 0
    for place, record in enumerate(records):
        owner = ids[place] if place < len(known) and record == known[place] else owners.get(record)
        if owner is not None:
            if owner not in readings:
                unchanged.add(owner)
            continue
        try:
            reading = read_record(spec, record)
        except ProtocolError:
            unread += 1
            continue
        if reading.id in asked and reading.id not in unchanged:
            readings.setdefault(reading.id, reading)
    found = {task_id: readings[task_id] for task_id in ids if task_id in readings}
    return found, tuple(filter(unchanged.__contains__, ids)), unread


def _split_batch(spec: ProviderSpec, response: Response) -> list[msgspec.Raw]:
    """Split the answer to a batch into raw records.

    Raises:
        ProtocolError: It is none.
        APIError: It is an error in spite of its status.
    """
    try:
        answer, _ = decode(_batch_decoder, response.body)
    except DECODE_ERRORS as error:
        # Nesting without end is in some record of it; anything else is wrong with the answer as a whole.
        raise ProtocolError(
            f"{spec.slug}: a batch answer cannot be read ({shorten(error)})",
            excerpt=excerpt(response.body),
            transient=not isinstance(error, RecursionError),
        ) from error
    items = answer if isinstance(answer, list) else answer.items
    if items is not None:
        return items
    _raise_if_refused(spec, _read_error_head(response.body), response)
    raise ProtocolError(f"{spec.slug}: a batch answer has no items", excerpt=excerpt(response.body))


def read_submission(spec: ProviderSpec, request: Request, response: Response) -> Task:
    """Read the answer to a submission.

    Args:
        spec: The provider's row.
        request: What was submitted.
        response: What came back, for which `read_failure` has found no error.

    Returns:
        The finished task, where the service answered with the result itself; else a task that has at least an id.

    Raises:
        ProtocolError: The answer has neither a result nor an id.
    """
    task = read_record(spec, response.body).task
    # 1. The end of the task. An acknowledgement may have data of its own: there it takes a file or a failure.
    is_sure = request.is_blocking or task.artifacts or task.state is TaskState.FAILED
    if task.state.is_terminal and task.state is not TaskState.NOT_FOUND and is_sure:
        return task
    # 2. An id to ask for.
    if task.id:
        if not task.state.is_terminal:
            return task
        return msgspec.structs.replace(task, state=TaskState.PENDING, finished_at=None, duration=None)
    # 3. A result that no question knows (midjourney's descriptions): without an id it can be nothing else.
    if request.is_blocking and task.state is TaskState.PENDING and _has_content(response.body):
        return msgspec.structs.replace(task, state=TaskState.SUCCEEDED)
    raise ProtocolError(f"{spec.slug}: a submission was answered without a task id", excerpt=excerpt(response.body))


def _has_content(body: bytes) -> bool:
    """Tell whether an answer says anything beside that it is one.

    Raises:
        ProtocolError: It cannot be read as a whole.
    """
    try:
        answer = msgspec.json.decode(body)
    except DECODE_ERRORS as error:
        raise build_decode_error("an answer to a submission", body, error) from error
    return any(value not in _NOTHING for key, value in answer.items() if key not in _ENVELOPE)


def _raise_if_refused(spec: ProviderSpec, head: RecordHead, response: Response) -> None:
    """Raise if an answer with a good status is none: it names no task, and its code is one of requests."""
    failure = _build_error(spec.slug, head, response, None)
    if failure.code in _CODES:
        raise failure


def _read_error_head(body: bytes) -> RecordHead:
    """Read an error body of any shape; one that is no JSON says nothing."""
    try:
        return read_head(body)[0]
    except ProtocolError:
        return RecordHead()


def _build_error(provider: str, head: RecordHead, response: Response, retry_after: float | None) -> APIError:
    """Make the error of an error body of any documented shape: by its code first, and then by the status."""
    code, message = read_text(head.code), read_text(head.error)
    if (said := find_error_object(head.error)) is not None:
        code, message = read_error_code(said) or code, read_error_message(said)
    message = message or read_text(head.detail) or read_text(head.message) or excerpt(response.body).strip()
    status = response.status
    kind = _CODES.get(code or "") or _STATUSES.get(status)
    if code == _MISMATCHED and status == _CLIENT_ERROR:
        kind = PermissionDeniedError
    return (kind or (ServiceError if status >= _SERVER_ERROR else BadRequestError))(
        message or "no message",
        provider=provider,
        status=status,
        code=code,
        trace_id=read_text(head.trace_id) or read_text(head.request_id),
        retry_after=retry_after,
        hint=_REDIRECT_HINT if _REDIRECT <= status < _CLIENT_ERROR else "",
    )
