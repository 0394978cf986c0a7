"""One record under the questions of the normaliser: its words and items at hand, its long parts decoded on demand.

What a state follows from what is seen here is decided in `acetasks.providers.normalize`; here is only what a record
says, and how a task is made of it once its state is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.models import Artifact, Task, TaskError, TaskState
from acetasks.providers.reading import Document, find_error, find_error_object, read_epoch, read_progress, read_text
from acetasks.providers.spec import Word
from acetasks.records import ItemHead, RecordHead, ResponseHead

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
#: Words of a task that is not done.
WAITING = frozenset({Word.QUEUED, Word.RUNNING})


class Reading(msgspec.Struct, frozen=True, gc=False):
    """A task, and how sure the reading of its state is.

    Attributes:
        task: What the record says.
        unconfirmed: The record looks failed but does not say for sure that it is final; the task is given as
            pending, to be settled as failed if it stays so.
        unknown_word: A state word that nobody has documented, if the record has one; the task is given as running.
    """

    task: Task
    unconfirmed: bool = False
    unknown_word: str | None = None


class RecordView:
    """What one record says."""

    def __init__(self, spec: ProviderSpec, head: RecordHead, record: bytes | msgspec.Raw, task_id: str) -> None:
        self.spec = spec
        self.head = head
        self.is_flat = head.is_flat
        self.response = _response_of(head)
        self.raw = bytes(record)
        response = self.response
        self.id = (
            task_id
            or read_text(head.id)
            or read_text(head.task_id)
            or read_text(head.jobid)
            or read_text(response.task_id)
            or ""
        )
        items = response.data if isinstance(response.data, list) else [response.data]
        self.items = [item for item in items if isinstance(item, ItemHead)]
        self.unknown_word: str | None = None
        self.top_words = () if self.is_flat else self._words(head.state, head.status)
        self.response_words = self._words(response.state, response.status)
        self.item_words = [self._words(item.state, item.status) for item in self.items]
        self._document: Document | None = None

    @property
    def document(self) -> Document:
        """The response, wholly decoded at first use."""
        if self._document is None:
            unfinished = {
                index for index, words in enumerate(self.item_words) if any(word is not Word.DONE for word in words)
            }
            self._document = Document(self.spec, self.raw, unfinished)
        return self._document

    @property
    def error_object(self) -> dict[str, object] | None:
        """The error object of the response or of the record, if either says anything."""
        return find_error_object(self.response.error, self.head.error)

    @property
    def has_loose_failure(self) -> bool:
        """Whether the record looks failed without an error object: `success: false`, or a bare text as error."""
        errors = (self.response.error, self.head.error)
        return self.response.success is False or any(isinstance(e, str | list) and e for e in errors)

    @property
    def has_result(self) -> bool:
        """Whether something that was asked for is there: a file, or data where none may be expected.

        Some tasks make no file: all of a provider without places for one, and lyrics and the like of others. Their data
        is the result where it cannot be a look at unfinished work: the answer to a submission, or a callback.
        """
        if self.document.has_main:
            return True
        return (self.is_flat or not self.spec.artifacts) and self.response.success is True and bool(self.response.data)

    @property
    def numeric_status(self) -> float | None:
        """The response's `status` where it is a number: an HTTP status that fish puts there."""
        status = self.response.status
        return status if isinstance(status, int | float) and not isinstance(status, bool) else None

    @property
    def finished_at(self) -> float | None:
        """When the work ended, in seconds since the epoch, if the record says so."""
        offset = self.spec.utc_offset
        return read_epoch(self.head.finished_at, offset) or read_epoch(self.response.finished_at, offset)

    @property
    def progress(self) -> float | None:
        """In percent, if the record says so."""
        found = read_progress(self.response.progress)
        return read_progress(self.head.progress) if found is None else found

    def waiting(self) -> Reading:
        """Read the record as that of a task that is not done; its first words or signs tell whether it has begun."""
        words = [word for words in (self.top_words, self.response_words, *self.item_words) for word in words]
        begun = self.progress or read_epoch(self.head.started_at, self.spec.utc_offset)
        queued = Word.QUEUED in words and Word.RUNNING not in words and Word.DONE not in words
        running = Word.RUNNING in words or Word.DONE in words or self.unknown_word is not None
        state = TaskState.PENDING if queued or not (running or begun) else TaskState.RUNNING
        return Reading(self.build(state), unknown_word=self.unknown_word)

    def failed(self) -> Reading:
        """Read the record as that of a failed task, partial if something was made all the same."""
        made = self.document.artifacts if self.document.has_main else ()
        state = TaskState.PARTIAL if made else TaskState.FAILED
        return Reading(self.build(state, made, find_error(self.response, self.head)))

    def succeeded(self) -> Reading:
        """Read the record as that of a task that is done."""
        return Reading(self.build(TaskState.SUCCEEDED, self.document.artifacts))

    def build(self, state: TaskState, artifacts: tuple[Artifact, ...] = (), error: TaskError | None = None) -> Task:
        """Make the task; what only an ended task has is looked up only for one."""
        head, offset = self.head, self.spec.utc_offset
        created = read_epoch(head.created_at, offset) or read_epoch(head.created, offset)
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

    def _words(self, *spots: object) -> tuple[Word, ...]:
        """Look up the state words of one place; an unknown one is remembered, anything but text is no word."""
        found = []
        for spot in spots:
            if isinstance(spot, str) and (text := spot.strip().lower()):
                word = self.spec.words.get(text) or WORDS.get(text)
                if word is None:
                    self.unknown_word = self.unknown_word or text
                else:
                    found.append(word)
        return tuple(found)


def _response_of(head: RecordHead) -> ResponseHead:
    """Find what a record says in its response, or at its top where that is its own response."""
    if isinstance(head.response, ResponseHead):
        return head.response
    if not head.is_flat:
        return ResponseHead()
    return ResponseHead(
        state=head.state,
        status=head.status,
        success=None if head.success is msgspec.UNSET else head.success,
        error=head.error,
        message=head.message,
        data=None if head.data is msgspec.UNSET else head.data,
        progress=head.progress,
    )
