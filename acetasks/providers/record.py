"""A parsed record: state words and items read at once, the long parts decoded on demand.

The state is determined in `acetasks.providers.normalize`. This module only provides the facts of a record, and builds
the task once its state is known.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from acetasks._records import (
    DECODE_ERRORS,
    ItemHead,
    RecordHead,
    ResponseHead,
    read_kind,
    read_response_head,
)
from acetasks.models import NO_RESULT, Artifact, Task, TaskError, TaskState, build_decode_error
from acetasks.providers.body import ResponseBody
from acetasks.providers.fields import (
    MIN_ERROR_STATUS,
    find_error,
    find_error_object,
    read_epoch,
    read_number,
    read_progress,
    read_reason,
    read_text,
)
from acetasks.providers.spec import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.providers.spec import ProviderSpec

#: State words common to all providers, in lower case and with underscores; a provider spec may add its own.
WORDS: Mapping[str, Word] = {
    **dict.fromkeys(("pending", "queued", "created", "submitted", "in_queue", "not_start"), Word.QUEUED),
    **dict.fromkeys(("processing", "running", "started", "progress", "generating", "in_progress"), Word.RUNNING),
    # maestro's stages
    **dict.fromkeys(("planning", "producing", "scripting", "rendering", "captioning", "qc"), Word.RUNNING),
    **dict.fromkeys(
        ("succeeded", "succeed", "success", "completed", "complete", "finished", "done", "ready"), Word.DONE
    ),
    **dict.fromkeys(
        ("failed", "failure", "fail", "error", "cancelled", "canceled", "rejected", "dead", "moderated", "expired"),
        Word.FAILED,
    ),
    # not documented, but common among the services behind the providers
    **dict.fromkeys(("aborted", "abort", "timeout", "timed_out", "timedout", "terminated", "interrupted"), Word.FAILED),
    **dict.fromkeys(("stopped", "errored", "exception", "blocked", "banned", "nsfw"), Word.FAILED),
    **dict.fromkeys(("deleted", "refunded"), Word.FAILED),
}
#: Module constants, because an enum member's attribute lookup costs more than the rest of a word check.
_QUEUED, _RUNNING, _DONE, _FAILED = Word
#: The response of a record that has none.
_NO_RESPONSE = ResponseHead()


class RecordStatus(msgspec.Struct, gc=False, eq=False):
    """The state read from a record, and how certain it is.

    Most polls find an unchanged task and use only the first four attributes, so the task of an unfinished record is
    built on first use. The task of a finished record is built at once, because its response may be unreadable.
    Short-lived: it keeps the whole response body that contained the record in memory.

    Attributes:
        id: The task's id; empty if the record has none.
        state: The task's state.
        progress: In percent from 0 to 100, or None if unknown.
        raw: The record, as JSON.
        unconfirmed: The record looks failed, but not certainly for good; the state is unfinished, and becomes failed
            if the record stays like this.
        unknown_word: An undocumented state word in the record, or None; the state is then running.
    """

    _record: ParsedRecord
    id: str
    state: TaskState
    progress: float | None
    raw: bytes
    unconfirmed: bool = False
    unknown_word: str | None = None
    _task: Task | None = None

    @property
    def task(self) -> Task:
        """The complete task."""
        if self._task is None:
            self._task = self._record.build_task(self.state)
        return self._task

    @property
    def named_ids(self) -> tuple[str, ...]:
        """The task ids at the top of the record, which may be several, such as a model's own beside the service's."""
        head = self._record.head
        return tuple(filter(None, map(read_text, (head.id, head.task_id, head.jobid))))

    @property
    def created_at(self) -> float | None:
        """The submission time in seconds since the epoch, or None if unknown."""
        return self._record.created_at

    @property
    def finished_at(self) -> float | None:
        """The time in `finished_at`, in seconds since the epoch, or None if there is none."""
        return self._record.finished_at

    @property
    def has_own_done_word(self) -> bool:
        """Whether a state word that is documented for this provider only means that the task is done."""
        return self._record.has_own_done_word

    @property
    def kind(self) -> tuple[str, str]:
        """The model and the action named in the record's request, truncated; empty texts if it names none."""
        return read_kind(self._record.head)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RecordStatus):
            return NotImplemented
        return (self.task, self.unconfirmed, self.unknown_word) == (other.task, other.unconfirmed, other.unknown_word)

    __hash__ = None  # type: ignore[assignment]  # mutable: the task is built on first use

    def __repr__(self) -> str:
        return (
            f"RecordStatus(id={self.id!r}, state={self.state.value!r}, progress={self.progress!r}, "
            f"unconfirmed={self.unconfirmed!r}, unknown_word={self.unknown_word!r})"
        )


class ParsedRecord:
    """The facts of one record, and the statuses that can be built from it.

    Attributes:
        spec: The provider spec.
        head: The record's head.
        raw: The record, as JSON.
        id: The task's id; empty if unknown.
        is_flat: Whether the record is its own response.
        response: The head of the response.
        words: The state words at the top and in the response, which are one place in a flat record.
        items: The items of the response.
        item_words: The state words of each item of the response; a failed word for an error object.
        unknown_word: The first undocumented state word, or None.
    """

    __slots__ = (
        *("_body", "head", "id", "is_flat", "item_words", "items", "raw", "response", "spec"),
        *("unknown_word", "words"),
    )

    def __init__(self, spec: ProviderSpec, head: RecordHead, record: bytes | msgspec.Raw, task_id: str) -> None:
        self.spec = spec
        self.head = head
        self.raw = bytes(record)
        self._body: ResponseBody | None = None
        self.unknown_word: str | None = None
        if (found := self._read_response()) is not None:
            self.is_flat = False
            self.response = response = found
        else:
            self.is_flat = head.is_flat
            self.response = response = _build_flat_response(head) if self.is_flat else _NO_RESPONSE
        self.id = (
            task_id
            or read_text(head.id)
            or read_text(head.task_id)
            or read_text(head.jobid)
            or read_text(response.task_id)
            or ""
        )
        self.words = () if self.is_flat else self._read_words(head.state, head.status)
        self.words += self._read_words(response.state, response.status)
        self.items: list[ItemHead] = []
        self.item_words: list[tuple[Word, ...]] = []
        if response.data is not None:
            data = response.data if isinstance(response.data, list) else [response.data]
            self.items = [item for item in data if isinstance(item, ItemHead)]
            self.item_words = [self._read_item_words(item) for item in self.items]

    @property
    def body(self) -> ResponseBody:
        """The complete response, decoded on first use."""
        if self._body is None:
            unfinished = {index for index, words in enumerate(self.item_words) if words.count(_DONE) < len(words)}
            self._body = ResponseBody(self.spec, self.raw, unfinished, is_flat=self.is_flat)
        return self._body

    @property
    def is_failed(self) -> bool:
        """Whether the task has certainly failed: there is a failed word or an error object."""
        if _FAILED in self.words:
            return True
        error, top_error = self.response.error, self.head.error
        return bool(error or top_error) and find_error_object(error, top_error) is not None

    @property
    def is_unfinished(self) -> bool:
        """Whether a word at the top or in the response means that the task is not done."""
        return is_unfinished(self.words)

    @property
    def has_ambiguous_failure(self) -> bool:
        """Whether the record looks failed without an error object: `success: false`, or an error in plain text."""
        return (
            self.response.success is False or _is_plain_error(self.response.error) or _is_plain_error(self.head.error)
        )

    @property
    def has_result(self) -> bool:
        """Whether there is a result: a requested file, or data if no file is expected.

        Some tasks produce no file: all those of a provider without artifact fields, and for example lyrics. Their data
        are the result unless they could belong to unfinished work, so only in a flat record (the response to a
        submission, or a callback) or if the provider has no artifact fields.
        """
        response = self.head.response
        if (response is None or response is msgspec.UNSET) and not self.is_flat:
            return False  # usual for a new task: nothing to decode
        if self.body.has_main_artifact:
            return True
        if self.response.success is True and any(it.role == "main" for it in self.body.find_usual_artifacts()):
            return True
        return (self.is_flat or not self.spec.artifacts) and self.response.success is True and bool(self.response.data)

    @property
    def has_made_something(self) -> bool:
        """Whether there is a requested file; for a provider without files, data of a successful task."""
        if not self.spec.artifacts:
            return self.response.success is True and bool(self.response.data)
        return any(artifact.role == "main" for artifact in self.body.find_usual_artifacts())

    @property
    def has_done_word(self) -> bool:
        """Whether a word at the top or in the response means that the task is done."""
        return _DONE in self.words

    @property
    def has_own_done_word(self) -> bool:
        """Whether the response's state is a word of the provider's own for a task that is done."""
        return isinstance(self.response.state, str) and self.spec.words.get(self.response.state) is Word.DONE

    @property
    def is_open(self) -> bool:
        """Whether the record says that the task has no finish time yet, by a null."""
        return self.head.finished_at is None

    @property
    def has_error_status(self) -> bool:
        """Whether the response's `status` is the number of an HTTP error, as in fish's records."""
        status = self.response.status
        if status is None or isinstance(status, str | bool) or not isinstance(status, int | float):
            return False
        return status >= MIN_ERROR_STATUS

    @property
    def created_at(self) -> float | None:
        """The submission time in seconds since the epoch, or None if unknown."""
        offset = self.spec.utc_offset
        return read_epoch(self.head.created_at, offset) or read_epoch(self.head.created, offset)

    @property
    def finished_at(self) -> float | None:
        """The finish time in seconds since the epoch, or None if unknown."""
        offset = self.spec.utc_offset
        top = self.head.finished_at
        return (read_epoch(top, offset) if top is not msgspec.UNSET else None) or read_epoch(
            self.response.finished_at, offset
        )

    @property
    def progress(self) -> float | None:
        """In percent, or None if unknown: that of the task, else that of the item which is furthest behind."""
        if (progress := self.stated_progress) is not None or not self.items:
            return progress
        # producer has `"45%"` in each song; maestro has a `percent` in its `data`.
        found = [read_progress(item.progress if item.percent is None else item.percent) for item in self.items]
        return min((progress for progress in found if progress is not None), default=None)

    @property
    def stated_progress(self) -> float | None:
        """The progress at the top or in the response, in percent, or None if there is none."""
        found, top = self.response.progress, self.head.progress
        if found is None and top is None:  # in most records
            return None
        progress = read_progress(found)
        return read_progress(top) if progress is None else progress

    def missing_status(self) -> RecordStatus:
        """Return the status of a task that the service does not know."""
        return RecordStatus(self, self.id, TaskState.NOT_FOUND, self.progress, self.raw)

    def unfinished_status(self, *, unconfirmed: bool = False) -> RecordStatus:
        """Return the status of a task that is not done: running if there is a sign of work, else pending."""
        words = self.words
        if self.item_words:
            words += tuple(itertools.chain.from_iterable(self.item_words))
        progress = self.progress
        # 1. Only queued words.   2. A word that implies work.   3. Another sign of work.
        if _QUEUED in words and _RUNNING not in words and _DONE not in words:
            state = TaskState.PENDING
        elif _RUNNING in words or _DONE in words or self.unknown_word is not None:
            state = TaskState.RUNNING
        else:
            has_started = progress or read_epoch(self.head.started_at, self.spec.utc_offset)
            state = TaskState.RUNNING if has_started else TaskState.PENDING
        return RecordStatus(self, self.id, state, progress, self.raw, unconfirmed, self.unknown_word)

    def failed_status(self, *, word: str | None = None) -> RecordStatus:
        """Return the status of a failed task; it is partial if a requested file exists.

        Args:
            word: The undocumented state word that the task ended with, which becomes a part of the error.
        """
        artifacts = self.body.artifacts if self.body.has_main_artifact else ()
        state = TaskState.PARTIAL if artifacts else TaskState.FAILED
        error = find_error(self.response, self.head, item_errors=[item.error for item in self.items], word=word)
        return self.terminal_status(state, artifacts, error)

    def succeeded_status(self) -> RecordStatus:
        """Return the status of a task that is done: failed if the places of its files are empty."""
        artifacts = self.body.find_usual_artifacts()
        if self.spec.artifacts and not any(it.role == "main" for it in artifacts) and self.body.is_empty:
            reason = self.body.find_reason() or read_reason(self.head.message) or read_reason(self.head.detail)
            message = reason or "the task is done, but the service returned no file and no reason"
            return self.terminal_status(TaskState.FAILED, error=TaskError(code=NO_RESULT, message=message))
        return self.terminal_status(TaskState.SUCCEEDED, artifacts)

    def terminal_status(
        self, state: TaskState, artifacts: tuple[Artifact, ...] = (), error: TaskError | None = None
    ) -> RecordStatus:
        """Return the status of a task that has ended."""
        task = self.build_task(state, artifacts, error)
        return RecordStatus(self, self.id, state, task.progress, self.raw, _task=task)

    def build_task(
        self, state: TaskState, artifacts: tuple[Artifact, ...] = (), error: TaskError | None = None
    ) -> Task:
        """Build the task; the finish time and the duration are read for an ended task only."""
        created_at = self.created_at
        started_at = read_epoch(self.head.started_at, self.spec.utc_offset)
        finished_at = duration = None
        if state.is_terminal and state is not TaskState.NOT_FOUND:
            finished_at = self.finished_at or self.body.finished_at
            duration = self._read_duration(started_at or created_at, finished_at)
        return Task(
            provider=self.spec.slug,
            id=self.id,
            state=state,
            artifacts=artifacts,
            error=error,
            progress=self.progress,
            created_at=created_at,
            started_at=started_at,
            finished_at=finished_at,
            duration=duration,
            trace_id=read_text(self.head.trace_id) or read_text(self.response.trace_id),
            raw=self.raw,
        )

    def _read_duration(self, started_at: float | None, finished_at: float | None) -> float | None:
        """Return the seconds of work: as sent by the service, else the difference of the two times."""
        head = self.head
        # At the top of a flat record, `duration` is the length of the media.
        duration = read_number(head.elapsed) or (None if self.is_flat else read_number(head.duration))
        if duration is None and finished_at is not None and started_at is not None and finished_at >= started_at:
            duration = finished_at - started_at
        return duration

    def _read_response(self) -> ResponseHead | None:
        """Return the head of the record's own response, or None if it has none.

        Raises:
            ProtocolError: The response is an object inside a text or a wrapper, and malformed.
        """
        if self.head.response is msgspec.UNSET:  # usual for a new task, and for a flat record
            return None
        try:
            return read_response_head(self.head.response)
        except DECODE_ERRORS as error:
            raise build_decode_error("a response", self.raw, error) from error

    def _read_item_words(self, item: ItemHead) -> tuple[Word, ...]:
        """Return the state words of one item; an error object counts as a failed word."""
        words = self._read_words(item.state, item.status)
        if item.error and _FAILED not in words and find_error_object(item.error) is not None:
            words += (_FAILED,)
        return words

    def _read_words(self, state: object, status: object) -> tuple[Word, ...]:
        """Return the state words of one place, ignoring non-texts; store the first unknown word."""
        found: tuple[Word, ...] = ()
        if state is None and status is None:  # at the top of most records
            return found
        for value in (state, status):
            if isinstance(value, str) and (text := value.strip().lower()):
                word = self.spec.words.get(text) or WORDS.get(text)
                if word is None:  # in another spelling
                    word = WORDS.get(text.replace("-", "_").replace(" ", "_"))
                if word is not None:
                    found += (word,)
                elif self.unknown_word is None:
                    self.unknown_word = text
        return found


def is_unfinished(words: tuple[Word, ...]) -> bool:
    """Return whether any of these words means that the task, or one of its items, is not done."""
    return _QUEUED in words or _RUNNING in words


def _is_plain_error(error: object) -> bool:
    """Return whether an error is not empty and not an object."""
    return bool(error) and isinstance(error, str | list)


def _build_flat_response(head: RecordHead) -> ResponseHead:
    """Build the response head of a flat record from its top-level fields."""
    return ResponseHead(
        state=head.state,
        status=head.status,
        success=None if head.success is msgspec.UNSET else head.success,
        error=head.error,
        message=head.message,
        data=None if head.data is msgspec.UNSET else head.data,
        progress=head.progress,
    )
