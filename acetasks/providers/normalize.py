"""The normaliser: one record in, one `Task` out, for every provider.

There is no status field that all providers share, and most of the tempting signs are false: `success: true` is sent
while a task still runs, finished tasks may have no time of finishing, and URLs may be previews. So the state is
decided by an order of questions, numbered in `_decide`, that was held against recorded and documented payloads of
every provider. State words are looked for in fixed places only, and never in the request.
"""

from __future__ import annotations

import msgspec

from acetasks._records import excerpt, is_empty, shorten
from acetasks.errors import ProtocolError
from acetasks.models import Task, TaskState
from acetasks.providers.heads import read_head
from acetasks.providers.reading import find_error, is_missing
from acetasks.providers.spec import ProviderSpec, Word
from acetasks.providers.table import lookup
from acetasks.providers.view import Reading, RecordView, is_waiting


def normalize(provider: str, payload: object, *, http_status: int = 200) -> Task:
    """Read a task from a stored record, a callback's body or a submission's synchronous answer.

    Args:
        provider: The provider's slug, such as `luma`.
        payload: The JSON as bytes or text, or the object decoded from it.
        http_status: The status of the answer that the payload came with.

    Returns:
        The task. Its id is empty where the payload has none; an empty object is a task in the state `NOT_FOUND`.

    Raises:
        ProtocolError: The payload is no task record: malformed, not an object, a batch, or an HTTP error that says
            nothing of a task.
        UnknownProviderError: The provider's name can be none.
    """
    return read_record(lookup(provider), _to_json(payload), http_status=http_status).task


def read_record(
    spec: ProviderSpec,
    raw: bytes | msgspec.Raw,
    *,
    task_id: str = "",
    http_status: int = 200,
    confirmed: bool = False,
) -> Reading:
    """Read one record of a provider.

    Args:
        spec: The provider's row.
        raw: The record's JSON. The reading shares its memory; the record and the task that it gives are copies.
        task_id: The id that was asked, for records that do not repeat it.
        http_status: The status of the answer that the record came in.
        confirmed: Whether an unconfirmed failure has stood long enough to be final.

    Returns:
        What it says, and how sure its state is.

    Raises:
        ProtocolError: It is no task record.
    """
    head, record = read_head(raw)
    if head.items is not msgspec.UNSET and head.id is None and head.response is msgspec.UNSET:
        raise ProtocolError("this is a batch answer, not a task record; normalize each of its items")
    view = RecordView(spec, head, record, task_id)
    if http_status >= 400:  # noqa: PLR2004  # where HTTP's errors begin
        return _read_http_error(view, http_status)
    # 1. An empty object: the service knows no such task.
    if head.id is None and is_empty(view.raw):
        return view.missing()
    return _decide(view, confirmed=confirmed)


def _decide(view: RecordView, *, confirmed: bool) -> Reading:  # noqa: PLR0911  # one return for each question
    """Ask the questions that tell a record's state, in the order that matters; the first yes decides."""
    # 2. A number of 400 or more as the response's status, and nothing made: failed (fish).
    if view.has_error_status and not view.document.has_main:
        return view.failed()
    # 3. A failed word at the top or in the response, or an error object: failed, whatever else is said.
    if view.is_failed:
        return view.failed()
    # 4. A waiting word there: not done. It outranks `finished_at` and `success`.
    if view.is_waiting:
        return view.waiting()
    # 5. Items: done only when every one of them is; some failed and the rest done is partial.
    items, finished_at = view.item_words, view.finished_at
    if items:
        if any(map(is_waiting, items)):
            return view.waiting()
        failed_items = sum(Word.FAILED in words for words in items)
        if failed_items and (failed_items == len(items) or view.unknown_word is None or finished_at is not None):
            return view.failed()
    # 6. `success: false`, or a bare text as error: final only if the task is finished.
    if view.has_loose_failure:
        return view.failed() if finished_at is not None or confirmed else view.waiting(unconfirmed=True)
    # 7. Words, and all of them done.   8. A time of finishing.
    has_words = view.words or any(items)
    if (has_words and view.unknown_word is None) or finished_at is not None:
        return view.succeeded()
    # 9. A word nobody documented, or a progress short of the end: not done.
    if view.unknown_word is not None or (view.progress is not None and view.progress < 100):  # noqa: PLR2004
        return view.waiting()
    # 10. Something was made.   11. Nothing says anything.
    return view.succeeded() if view.has_result else view.waiting()


def _read_http_error(view: RecordView, http_status: int) -> Reading:
    """Read an HTTP error that speaks of the task itself, not of the request."""
    if http_status == 404 and is_missing(view.head):  # noqa: PLR2004  # HTTP's "not found"
        return view.missing()
    if http_status in view.spec.failed_statuses:
        return view.ended(TaskState.FAILED, error=find_error(view.response, view.head))
    if http_status in view.spec.task_statuses:
        reading = _decide(view, confirmed=False)
        if reading.state.is_terminal:
            return reading
    raise ProtocolError(f"an HTTP {http_status} answer says nothing of a task", excerpt=excerpt(view.raw))


def _to_json(payload: object) -> bytes:
    """Bring a payload of any sort into JSON bytes.

    Raises:
        ProtocolError: It is nothing that JSON can say.
    """
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, bytearray | memoryview | msgspec.Raw):
        return bytes(payload)
    try:
        return payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"a payload of type {type(payload).__name__} is no JSON ({shorten(error)})") from error
