"""Rows of the page: one for each task or journal entry, with what is known of it from either."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger import Entry, EntryState
from acetasks._records import DECODE_ERRORS, decode
from acetasks.errors import ProtocolError, UnknownProviderError
from acetasks.models import Task, TaskError, TaskState
from acetasks.providers import lookup, read_record
from acetasks.report.media import Media
from acetasks.report.text import check_time, shorten_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.report.media import MediaReader

#: Keys of a request that can have the text that something is made from, the usual one first.
_PROMPT_KEYS = ("prompt", "text", "lyric", "description", "style", "title", "content", "question", "url")
#: Parameters that are not shown: the prompt's own, those in other columns, and addresses that can have a secret.
_HIDDEN_PARAMETERS = frozenset({"model", "action", "async", "callback_url", "replyUrl"})
#: Maximum lengths, in characters. A page with thousands of tasks must stay small enough for a browser.
_MAX_PROMPT, _MAX_REASON, _MAX_PARAMETERS, _MAX_NAME = 5000, 2000, 1000, 100

_IN_PROGRESS = frozenset({TaskState.PENDING, TaskState.RUNNING, EntryState.SUBMITTING, EntryState.ACCEPTED})
_UNCERTAIN = TaskError(message="no response to the submission was received: it may have been accepted")
_request_decoder = msgspec.json.Decoder(dict[str, object])


class Amount(msgspec.Struct, frozen=True):
    """A price: its value, and its unit, which is empty if the record has none."""

    value: float
    currency: str


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Times of a task, in seconds since the epoch; None for what is not known.

    Attributes:
        submitted: When it was submitted.
        started: When work on it began.
        ended: When it ended.
        elapsed: Seconds from the submission to the end.
        work: Seconds of work, as the service reports them.
    """

    submitted: float | None = None
    started: float | None = None
    ended: float | None = None
    elapsed: float | None = None
    work: float | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A task as the page shows it; texts are as received.

    Attributes:
        number: Its number in the page, from 1.
        provider: The provider's slug.
        task_id: The task's id; empty if none is known.
        key: Its key in the journal, or empty.
        state: A value of `TaskState` or `EntryState`.
        kind: Model and action.
        prompt: The text that something was made from, or empty.
        parameters: The rest of the request, as JSON, or empty.
        timing: Its times.
        progress: Percentage, or None if it has ended or reports none.
        amount: Its price, or None if the record has none.
        error: Why it failed, was refused or is uncertain, or None.
        trace_id: The service's id for support requests, or empty.
        media: Its files, results first.
    """

    number: int
    provider: str
    task_id: str
    key: str
    state: str
    kind: str
    prompt: str
    parameters: str
    timing: Timing
    progress: float | None
    amount: Amount | None
    error: TaskError | None
    trace_id: str
    media: tuple[Media, ...]

    @property
    def is_in_progress(self) -> bool:
        """Whether the task has not ended."""
        return self.state in _IN_PROGRESS

    @property
    def has_result(self) -> bool:
        """Whether the task has made something."""
        return self.state in {TaskState.SUCCEEDED, TaskState.PARTIAL}


def build_row(number: int, item: Task | Entry, files: MediaReader) -> Row:
    """Return the row of a task or of a journal entry.

    Args:
        number: The row's number.
        item: The task or entry.
        files: Reads the files.
    """
    if isinstance(item, Entry):
        entry, task = item, _read_entry_task(item)
        request = _decode_request(entry.request)
    else:
        entry, task = None, item
        request = _read_request(item)
    prompt_key, prompt = _find_prompt(request)
    parameters = {name: request[name] for name in request if name != prompt_key and name not in _HIDDEN_PARAMETERS}
    error = task.error if entry is None else _find_entry_error(entry, task)
    return Row(
        number=number,
        provider=item.provider,
        task_id=task.id or "",
        key="" if entry is None else entry.key,
        state=item.state.value,
        kind=" · ".join(_read_names(request, "model", "action")),
        prompt=shorten_text(prompt, _MAX_PROMPT),
        parameters=shorten_text(_encode(parameters), _MAX_PARAMETERS) if parameters else "",
        timing=_read_timing(task, entry),
        progress=task.progress if item.state.value in _IN_PROGRESS and _is_finite(task.progress) else None,
        amount=read_amount(task.cost),
        error=error and TaskError(message=shorten_text(error.message, _MAX_REASON), code=error.code),
        trace_id=(entry and entry.trace_id) or task.trace_id or "",
        media=tuple(_read_media(task, () if entry is None else entry.files, files)),
    )


def read_amount(cost: Mapping[str, object] | None) -> Amount | None:
    """Return the price in a cost, or None if it has no number that can be added up."""
    if not cost or isinstance(cost.get("amount"), bool):
        return None
    try:
        value = msgspec.convert(cost.get("amount"), float, strict=False)
    except msgspec.ValidationError:
        return None
    currency = cost.get("currency")
    unit = currency.strip()[:_MAX_NAME] if isinstance(currency, str) else ""
    return Amount(value, unit) if math.isfinite(value) else None


def _read_entry_task(entry: Entry) -> Task:
    """Return the task of an entry, as far as its record can be read."""
    task = Task(provider=entry.provider, id=entry.task_id or "", state=TaskState.PENDING)
    if entry.record is None:
        return task
    try:
        read = read_record(lookup(entry.provider), entry.record, task_id=task.id, confirmed=True).task
    except (ProtocolError, UnknownProviderError) as error:
        return msgspec.structs.replace(task, error=TaskError(message=str(error)))
    # The record of a part of a task can have another id.
    return msgspec.structs.replace(read, id=task.id or read.id)


def _find_entry_error(entry: Entry, task: Task) -> TaskError | None:
    if entry.state is EntryState.REFUSED:
        return TaskError(message=entry.reason or "not accepted by the service")
    return _UNCERTAIN if entry.state is EntryState.UNCERTAIN else task.error


def _read_request(task: Task) -> dict[str, object]:
    try:
        return task.request or {}
    except ProtocolError:
        return {}


def _decode_request(raw: bytes) -> dict[str, object]:
    try:
        return decode(_request_decoder, raw)[0]
    except DECODE_ERRORS:
        return {}


def _find_prompt(request: dict[str, object]) -> tuple[str, str]:
    """Return the key and the text that something is made from, both empty if the request has none."""
    for key in _PROMPT_KEYS:
        value = request.get(key)
        if isinstance(value, str) and value.strip():
            return key, value.strip()
        if isinstance(value, list | dict) and value:
            return key, _encode(value)
    return "", ""


def _read_names(request: dict[str, object], *keys: str) -> list[str]:
    values = [request.get(key) for key in keys]
    return [value[:_MAX_NAME] for value in values if isinstance(value, str) and value]


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _read_timing(task: Task, entry: Entry | None) -> Timing:
    created, finished = check_time(task.created_at), check_time(task.finished_at)
    sent = check_time(None if entry is None else entry.sent_at)
    # A refusal is no end of a task.
    noted = None if entry is None or entry.state is EntryState.REFUSED else check_time(entry.ended_at)
    work = task.duration if _is_finite(task.duration) else None
    # Two times of one clock: those of the service, or else those of this machine. Without them, the reported work.
    pairs = ((created, finished), (sent, noted))
    elapsed = next((max(end - start, 0.0) for start, end in pairs if start and end), work)
    submitted = sent or created or check_time(task.started_at)
    ended = finished or noted or (submitted + elapsed if submitted and elapsed is not None else None)
    return Timing(submitted=submitted, started=check_time(task.started_at), ended=ended, elapsed=elapsed, work=work)


def _read_media(task: Task, saved: tuple[str, ...], files: MediaReader) -> list[Media]:
    main = [artifact for artifact in task.artifacts if artifact.role == "main"]
    extras = [artifact for artifact in task.artifacts if artifact.role != "main"]
    # The files of an entry are those of its results, in their order.
    if len(saved) == len(main):
        shown = [files.read_artifact(artifact, path) for artifact, path in zip(main, saved, strict=True)]
    else:
        shown = [files.read_file(path) for path in saved] + [files.read_artifact(artifact) for artifact in main]
    return shown + [files.read_artifact(artifact) for artifact in extras]


def _is_finite(value: float | None) -> bool:
    return value is not None and 0 <= value < math.inf
