"""Normaliser: converts one record of any provider into a `Task`.

The providers share no status field, and most of the obvious signs mislead: `success: true` is sent while a task still
runs, finished tasks may lack a finish time, and URLs may be previews. So the state follows from an ordered list of
rules, numbered in `_decide` and `_decide_success`, which was checked against recorded and documented payloads of every
provider. State words are read in fixed places only, and never in the request.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from acetasks._records import excerpt, is_empty_object, shorten
from acetasks.errors import ProtocolError
from acetasks.models import Task, TaskState
from acetasks.providers.fields import MAX_PROGRESS, MIN_ERROR_STATUS, find_error, is_missing
from acetasks.providers.heads import read_head
from acetasks.providers.record import ParsedRecord, RecordStatus, is_unfinished
from acetasks.providers.spec import ProviderSpec, Word
from acetasks.providers.table import lookup


def normalize(provider: str, payload: object, *, http_status: int = 200) -> Task:
    """Read a task from a stored record, a callback body or the synchronous response to a submission.

    Args:
        provider: The provider's slug, such as `luma`.
        payload: The JSON as bytes or text, or the decoded object.
        http_status: The HTTP status of the response that contained the payload.

    Returns:
        The task. Its id is empty if the payload has none; an empty object is a task in the state `NOT_FOUND`.

    Raises:
        ProtocolError: The payload is not a task record: malformed, not an object, a batch, or an HTTP error that does
            not describe a task.
        UnknownProviderError: The provider name is not a valid slug.
    """
    return read_record(lookup(provider), _to_json(payload), http_status=http_status).task


def read_record(
    spec: ProviderSpec,
    raw: bytes | msgspec.Raw,
    *,
    task_id: str = "",
    http_status: int = 200,
    confirmed: bool = False,
) -> RecordStatus:
    """Read one record of a provider.

    Args:
        spec: The provider spec.
        raw: The record's JSON. The result shares its memory; its `raw` and `task` are copies.
        task_id: The requested id, for records that do not repeat it.
        http_status: The HTTP status of the response that contained the record.
        confirmed: Whether an unconfirmed failure has lasted long enough to be final.

    Returns:
        The state of the task and how certain it is.

    Raises:
        ProtocolError: `raw` is not a task record.
    """
    head, record_json = read_head(raw)
    if head.items is not msgspec.UNSET and head.id is None and head.response is msgspec.UNSET:
        message = "payload is a batch response, not a task record; normalize each of its items"
        raise ProtocolError(message, excerpt=excerpt(raw), transient=False)
    record = ParsedRecord(spec, head, record_json, task_id)
    if http_status >= MIN_ERROR_STATUS:
        return _read_http_error(record, http_status)
    # 1. An empty object: the service does not know the task.
    if head.id is None and is_empty_object(record.raw):
        return record.missing_status()
    return _decide(record, confirmed=confirmed)


def _decide(record: ParsedRecord, *, confirmed: bool) -> RecordStatus:  # noqa: PLR0911  # one return for each rule
    """Determine the state of a record: the first rule that matches decides."""
    # 2. The response's status is a number of 400 or more and there is no result: failed (fish).
    if record.has_error_status and not record.body.has_main_artifact:
        return record.failed_status()
    # 3. A failed word at the top or in the response, or an error object: failed, despite all other fields.
    if record.is_failed:
        return record.failed_status()
    # 4. An unfinished word there: not done. It overrides `finished_at` and `success`.
    if record.is_unfinished:
        return record.unfinished_status()
    # 5. Items: done only if all of them are; partial if some failed and the rest are done.
    items = record.item_words
    if items:
        if any(map(is_unfinished, items)):
            return record.unfinished_status()
        failed_items = sum(Word.FAILED in words for words in items)
        is_known = record.unknown_word is None or record.finished_at is not None
        if failed_items and (failed_items == len(items) or is_known):
            return record.failed_status()
    # 6. `success: false`, or an error that is plain text: final only if the task is finished.
    if record.has_ambiguous_failure:
        return _decide_ambiguous_failure(record, confirmed=confirmed)
    return _decide_success(record)


def _decide_ambiguous_failure(record: ParsedRecord, *, confirmed: bool) -> RecordStatus:
    """Determine the state of a record that looks failed: with `finished_at: null` the task goes on."""
    if record.finished_at is not None or (confirmed and not record.is_open):
        return record.failed_status()
    return record.unfinished_status(unconfirmed=not record.is_open)


def _decide_success(record: ParsedRecord) -> RecordStatus:
    """Determine the state of a record without any sign of a failure or of unfinished work."""
    # 7. A done word, or only done items.   8. A finish time; beside an undocumented word only with a result.
    has_words = record.words or any(record.item_words)
    if record.has_done_word or (has_words and record.unknown_word is None):
        return record.succeeded_status()
    if record.finished_at is not None:
        if record.unknown_word is None or record.has_made_something:
            return record.succeeded_status()
        return record.failed_status(word=record.unknown_word)
    # 9. An undocumented word, or a progress below 100 %: not done.
    progress = record.stated_progress
    if record.unknown_word is not None or (progress is not None and progress < MAX_PROGRESS):
        return record.unfinished_status()
    # 10. A result, but `finished_at: null`: a preview (openai, flux). The worker sets the time when the task has ended.
    if record.is_open and not record.is_flat and progress is None:
        return record.unfinished_status()
    # 11. A result.   12. No sign at all: not done.
    return record.succeeded_status() if record.has_result else record.unfinished_status()


def _read_http_error(record: ParsedRecord, http_status: int) -> RecordStatus:
    """Read an HTTP error that describes the task itself, not the request."""
    if http_status == HTTPStatus.NOT_FOUND and is_missing(record.head):
        return record.missing_status()
    if http_status in record.spec.failed_statuses:
        return record.terminal_status(TaskState.FAILED, error=find_error(record.response, record.head))
    if http_status in record.spec.task_statuses:
        status = _decide(record, confirmed=False)
        if status.state.is_terminal:
            return status
    message = f"HTTP {http_status} response of {record.spec.slug} does not describe a task"
    raise ProtocolError(message, excerpt=excerpt(record.raw))


def _to_json(payload: object) -> bytes:
    """Encode a payload of any type as JSON.

    Raises:
        ProtocolError: The payload cannot be represented as JSON.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, bytearray | memoryview | msgspec.Raw):
        return bytes(payload)
    try:
        return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"payload of type {type(payload).__name__} cannot be encoded as JSON ({shorten(error)})"
        raise ProtocolError(message) from error
