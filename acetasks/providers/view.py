"""One record under the questions of the normaliser: its words and items at hand, its long parts decoded on demand.

What a state follows from what is seen here is decided in `acetasks.providers.normalize`; here is only what a record
says, and how a task is made of it once its state is known.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec

from acetasks._records import ItemHead, RecordHead, ResponseHead, read_kind
from acetasks.models import Artifact, Task, TaskError, TaskState
from acetasks.providers.reading import Document, find_error, find_error_object, read_epoch, read_progress, read_text
from acetasks.providers.spec import Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.providers.spec import ProviderSpec

#: State words of every provider, in lower case: the documents' own lists (a provider's row may add its own).
WORDS: Mapping[str, Word] = {
    **dict.fromkeys(("pending", "queued", "created", "submitted"), Word.QUEUED),
    **dict.fromkeys(("processing", "running", "started", "progress", "generating"), Word.RUNNING),
    # maestro's stages
    **dict.fromkeys(("planning", "producing", "scripting", "rendering", "captioning", "qc"), Word.RUNNING),
    **dict.fromkeys(
        ("succeeded", "succeed", "success", "completed", "complete", "finished", "done", "ready"), Word.DONE
    ),
    **dict.fromkeys(
        ("failed", "failure", "fail", "error", "cancelled", "canceled", "rejected", "dead", "moderated", "expired"),
        Word.FAILED,
    ),
}
#: Looking a member up in its class takes longer than all else that is asked of a word.
_QUEUED, _RUNNING, _DONE, _FAILED = Word
#: What a record without a response says in it.
_NO_RESPONSE = ResponseHead()


class Reading(msgspec.Struct, gc=False, eq=False):
    """What a record says, and how sure the reading of its state is.

    Most looks find a task as they found it before, and then nobody asks for more than the first four attributes: so
    the task of an unfinished record is built at first use. A finished one's is there from the start, because its
    response may turn out to be unreadable. To be dropped soon: it holds the whole answer that the record came in.

    Attributes:
        id: The task's id; empty where the record has none.
        state: Where the task stands.
        progress: In percent from 0 to 100, where the service says so.
        raw: The record, as JSON.
        unconfirmed: The record looks failed but does not say for sure that it is final; the task is given as
            pending, to be settled as failed if it stays so.
        unknown_word: A state word that nobody has documented, if the record has one; the task is given as running.
    """

    _view: RecordView
    id: str
    state: TaskState
    progress: float | None
    raw: bytes
    unconfirmed: bool = False
    unknown_word: str | None = None
    _task: Task | None = None

    @property
    def task(self) -> Task:
        """What the record says, in full."""
        if self._task is None:
            self._task = self._view.build(self.state)
        return self._task

    @property
    def created_at(self) -> float | None:
        """When the task was submitted, in seconds since the epoch, where the service says so."""
        return self._view.created_at

    @property
    def kind(self) -> tuple[str, str]:
        """The model and the action that the record's request names, cut short; empty texts where it names none."""
        return read_kind(self._view.head)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Reading):
            return NotImplemented
        return (self.task, self.unconfirmed, self.unknown_word) == (other.task, other.unconfirmed, other.unknown_word)

    __hash__ = None  # type: ignore[assignment]  # it changes when its task is asked for

    def __repr__(self) -> str:
        return (
            f"Reading(id={self.id!r}, state={self.state.value!r}, progress={self.progress!r}, "
            f"unconfirmed={self.unconfirmed!r}, unknown_word={self.unknown_word!r})"
        )


class RecordView:
    """What one record says."""

    __slots__ = (
        *("_document", "head", "id", "is_flat", "item_words", "raw", "response", "spec", "unknown_word"),
        "words",
    )

    def __init__(self, spec: ProviderSpec, head: RecordHead, record: bytes | msgspec.Raw, task_id: str) -> None:
        self.spec = spec
        self.head = head
        self.raw = bytes(record)
        self._document: Document | None = None
        self.unknown_word: str | None = None
        if isinstance(head.response, ResponseHead):
            self.is_flat = False
            self.response = response = head.response
        else:
            self.is_flat = head.is_flat
            self.response = response = _flat_response(head) if self.is_flat else _NO_RESPONSE
        self.id = (
            task_id
            or read_text(head.id)
            or read_text(head.task_id)
            or read_text(head.jobid)
            or read_text(response.task_id)
            or ""
        )
        #: The words at the top and in the response; a flat record has them in one place.
        self.words = () if self.is_flat else self._words(head.state, head.status)
        self.words += self._words(response.state, response.status)
        self.item_words: list[tuple[Word, ...]] = []
        if response.data is not None:
            items = response.data if isinstance(response.data, list) else [response.data]
            self.item_words = [self._words(item.state, item.status) for item in items if isinstance(item, ItemHead)]

    @property
    def document(self) -> Document:
        """The response, wholly decoded at first use."""
        if self._document is None:
            unfinished = {index for index, words in enumerate(self.item_words) if words.count(_DONE) < len(words)}
            self._document = Document(self.spec, self.raw, unfinished, is_flat=self.is_flat)
        return self._document

    @property
    def is_failed(self) -> bool:
        """Whether the record says for sure that the task has failed: in a word, or with an error object."""
        if _FAILED in self.words:
            return True
        error, top_error = self.response.error, self.head.error
        return bool(error or top_error) and find_error_object(error, top_error) is not None

    @property
    def is_waiting(self) -> bool:
        """Whether a word at the top or in the response says that the task is not done."""
        return is_waiting(self.words)

    @property
    def has_loose_failure(self) -> bool:
        """Whether the record looks failed without an error object: `success: false`, or a bare text as error."""
        return self.response.success is False or _is_loose(self.response.error) or _is_loose(self.head.error)

    @property
    def has_result(self) -> bool:
        """Whether something that was asked for is there: a file, or data where none may be expected.

        Some tasks make no file: all of a provider without places for one, and lyrics and the like of others. Their data
        is the result where it cannot be a look at unfinished work: the answer to a submission, or a callback.
        """
        response = self.head.response
        if (response is None or response is msgspec.UNSET) and not self.is_flat:
            return False  # as of most tasks at first: there is nothing to decode
        if self.document.has_main:
            return True
        return (self.is_flat or not self.spec.artifacts) and self.response.success is True and bool(self.response.data)

    @property
    def has_error_status(self) -> bool:
        """Whether the response's `status` is a number that HTTP has for errors: fish puts one there."""
        status = self.response.status
        if status is None or isinstance(status, str | bool) or not isinstance(status, int | float):
            return False
        return status >= 400  # noqa: PLR2004  # where HTTP's errors begin

    @property
    def created_at(self) -> float | None:
        """When the task was submitted, in seconds since the epoch, if the record says so."""
        offset = self.spec.utc_offset
        return read_epoch(self.head.created_at, offset) or read_epoch(self.head.created, offset)

    @property
    def finished_at(self) -> float | None:
        """When the work ended, in seconds since the epoch, if the record says so."""
        offset = self.spec.utc_offset
        return read_epoch(self.head.finished_at, offset) or read_epoch(self.response.finished_at, offset)

    @property
    def progress(self) -> float | None:
        """In percent, if the record says so."""
        found, top = self.response.progress, self.head.progress
        if found is None and top is None:  # as in most records
            return None
        progress = read_progress(found)
        return read_progress(top) if progress is None else progress

    def missing(self) -> Reading:
        """Read the record as the service's word that it knows no such task."""
        return Reading(self, self.id, TaskState.NOT_FOUND, self.progress, self.raw)

    def waiting(self, *, unconfirmed: bool = False) -> Reading:
        """Read the record as that of a task that is not done; its first words or signs tell whether it has begun."""
        words = self.words
        if self.item_words:
            words += tuple(itertools.chain.from_iterable(self.item_words))
        progress = self.progress
        # 1. Nothing but words of waiting in line.   2. A word of work.   3. Another sign of it.
        if _QUEUED in words and _RUNNING not in words and _DONE not in words:
            state = TaskState.PENDING
        elif _RUNNING in words or _DONE in words or self.unknown_word is not None:
            state = TaskState.RUNNING
        else:
            begun = progress or read_epoch(self.head.started_at, self.spec.utc_offset)
            state = TaskState.RUNNING if begun else TaskState.PENDING
        return Reading(self, self.id, state, progress, self.raw, unconfirmed, self.unknown_word)

    def failed(self) -> Reading:
        """Read the record as that of a failed task, partial if something was made all the same."""
        made = self.document.artifacts if self.document.has_main else ()
        return self.ended(TaskState.PARTIAL if made else TaskState.FAILED, made, find_error(self.response, self.head))

    def succeeded(self) -> Reading:
        """Read the record as that of a task that is done."""
        return self.ended(TaskState.SUCCEEDED, self.document.artifacts)

    def ended(self, state: TaskState, artifacts: tuple[Artifact, ...] = (), error: TaskError | None = None) -> Reading:
        """Read the record as that of a task that has ended so."""
        task = self.build(state, artifacts, error)
        return Reading(self, self.id, state, task.progress, self.raw, _task=task)

    def build(self, state: TaskState, artifacts: tuple[Artifact, ...] = (), error: TaskError | None = None) -> Task:
        """Make the task; what only an ended task has is looked up only for one."""
        head, offset = self.head, self.spec.utc_offset
        created = self.created_at
        started = read_epoch(head.started_at, offset)
        finished = duration = None
        if state.is_terminal and state is not TaskState.NOT_FOUND:
            finished = self.finished_at or self.document.finished_at
            # At the top of a flat record `duration` is the length of the media.
            duration = read_progress(head.elapsed, most=None) or (
                None if self.is_flat else read_progress(head.duration, most=None)
            )
            begun = started or created
            if duration is None and finished is not None and begun is not None and finished >= begun:
                duration = finished - begun
        return Task(
            provider=self.spec.slug,
            id=self.id,
            state=state,
            artifacts=artifacts,
            error=error,
            progress=self.progress,
            created_at=created,
            started_at=started,
            finished_at=finished,
            duration=duration,
            trace_id=read_text(head.trace_id) or read_text(self.response.trace_id),
            raw=self.raw,
        )

    def _words(self, state: object, status: object) -> tuple[Word, ...]:
        """Look up the state words of one place; an unknown one is remembered, anything but text is no word."""
        found: tuple[Word, ...] = ()
        if state is None and status is None:  # as at the top of most records
            return found
        for spot in (state, status):
            if isinstance(spot, str) and (text := spot.strip().lower()):
                word = self.spec.words.get(text) or WORDS.get(text)
                if word is not None:
                    found += (word,)
                elif self.unknown_word is None:
                    self.unknown_word = text
        return found


def is_waiting(words: tuple[Word, ...]) -> bool:
    """Tell whether one of these words says that the task, or this part of it, is not done."""
    return _QUEUED in words or _RUNNING in words


def _is_loose(error: object) -> bool:
    """Tell whether an error says something, but not as an object."""
    return bool(error) and isinstance(error, str | list)


def _flat_response(head: RecordHead) -> ResponseHead:
    """Put together what a flat record says in its response's place."""
    return ResponseHead(
        state=head.state,
        status=head.status,
        success=None if head.success is msgspec.UNSET else head.success,
        error=head.error,
        message=head.message,
        data=None if head.data is msgspec.UNSET else head.data,
        progress=head.progress,
    )
