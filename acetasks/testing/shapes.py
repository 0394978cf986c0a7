"""The clothes: how a scripted task is written down as a record, given the shape of its provider.

A `Shape` is a row of the table in `acetasks.testing.gallery`: it says what stands in the `response` in each
phase, which times the record carries, and how the provider's tasks call departs from the usual. This room
knows what shapes have in common and no provider by name; nothing here does I/O or reads a clock.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from acetasks.models import ArtifactKind
from acetasks.testing.looks import Json, Look, fake_hex, fake_uuid
from acetasks.testing.script import Phase

if TYPE_CHECKING:
    from acetasks.providers.spec import ArtifactField, ProviderSpec
    from acetasks.testing.script import ScriptedTask

#: What a phase's builder may answer: a response, `null`, or UNSET for a record without the key.
Response = Json | None | msgspec.UnsetType

#: Whose tasks they all are: the keys of an account that does not exist.
_APPLICATION_ID = "5d2f7a41-9c3b-4e60-8a17-0c6de1b7f924"
_CREDENTIAL_ID = "b1c96e0d-47fa-4a35-9d82-7f3e5a08c61b"
_USER_ID = "e07d4b93-2a58-4c1f-b6d9-84a1f35c7e20"

PROMPT = "a lighthouse at dawn"
#: Endings of made-up files.
SUFFIXES = {
    ArtifactKind.VIDEO: "mp4",
    ArtifactKind.IMAGE: "png",
    ArtifactKind.AUDIO: "mp3",
    ArtifactKind.FILE: "bin",
}
#: A transparent image of one pixel, for rows that send the bytes themselves.
PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

#: How an id that is not there is answered: an HTTP status, and the body for that id and a trace id.
Missing = tuple[int, Callable[[str, str], Json]]
#: Writes the response of one phase.
Build = Callable[[Look], Response]
#: Writes a record, or a part of one.
Dress = Callable[[Look], Json]


def absent(_look: Look) -> Response:
    """Leave the `response` out."""
    return msgspec.UNSET


def null(_look: Look) -> Response:
    """Send `response: null`."""
    return None


def only_id(look: Look) -> Response:
    """Send a response that has nothing but the id."""
    return {"task_id": look.id}


def only_success(look: Look) -> Response:
    """Send `success: true` and the ids, which does not mean that anything is done."""
    return look.success()


def plain_failure(look: Look) -> Response:
    """Send `success: false` with an error object."""
    return look.failure()


def generic_done(look: Look) -> Response:
    """Send a file where the provider's row says that one stands: a video where that can be."""
    response = look.success()
    fields = [field for field in look.spec.artifacts if field.role == "main"] or list(look.spec.artifacts)
    if fields:
        field = next((field for field in fields if field.kind is ArtifactKind.VIDEO), fields[0])
        _place(response, field, look)
    return response


def usual_ack(look: Look) -> Json:
    """Acknowledge a submission with nothing but the id, as most do."""
    return {"task_id": look.id}


def empty_object(_task_id: str, _trace_id: str) -> Json:
    """Answer for an id that is not there, as most do."""
    return {}


def _nothing(_look: Look) -> Json:
    return {}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How one provider writes its tasks down, as data.

    Attributes:
        queued: The response of a task whose work has not begun.
        running: The response of a task that is worked on.
        done: The response of a task that has succeeded.
        failed: The response of a task that has failed.
        partial: The response of a task of which a part was made; None adds the error to what `done` sends.
        beside: Keys of the record beside the usual ones.
        whole: The whole record, where it has nothing of the usual form.
        kind: The record's `type`; empty for a record without.
        times: Which of `started_at`, `finished_at`, `elapsed` and `duration` the record carries.
        stamps_failure: Whether a failed task carries them too.
        nulls: Whether `finished_at` is `null` until the end, not absent.
        is_silent: Whether nothing at all is sent of a queued task.
        error: The code and message of a failure where none is scripted.
        request: What was submitted, for tasks that were added.
        callback_field: The key of a submission that names where to post the callback.
        signs_callbacks: Whether a callback's body always tells the ids and how it went.
        ack: The answer to a submission that does not block.
        ack_status: Its HTTP status.
        failed_status: The HTTP status of a failed task's own record.
        missing: How an unknown id is answered.
        envelope: A key that a single record is wrapped in; empty for none.
        flattens: Whether a request without an action gets the response alone.
        total: The key of a batch answer that counts, and whether it counts all that there are.
        newest_first: Whether a batch is sorted by age; else it comes in the reverse of the order asked.
        repeats: Whether an id asked twice is answered twice.
    """

    queued: Build = absent
    running: Build = only_success
    done: Build = generic_done
    failed: Build = plain_failure
    partial: Build | None = None
    beside: Dress = _nothing
    whole: Dress | None = None
    kind: str = ""
    times: tuple[str, ...] = ()
    stamps_failure: bool = False
    nulls: bool = False
    is_silent: bool = False
    error: tuple[str | None, str] = ("api_error", "the generation failed")
    request: Json = msgspec.field(default_factory=lambda: {"action": "generate", "prompt": PROMPT})
    callback_field: str = "callback_url"
    signs_callbacks: bool = True
    ack: Dress = usual_ack
    ack_status: int = 200
    failed_status: int = 200
    missing: Missing = (200, empty_object)
    envelope: str = ""
    flattens: bool = False
    total: tuple[str, bool] = ("count", False)
    newest_first: bool = False
    repeats: bool = False

    def look(self, spec: ProviderSpec, task: ScriptedTask, *, now: float, epoch: float) -> Look:
        """Look at a task, hidden or not.

        Args:
            spec: The provider's row.
            task: The task.
            now: The time on the server's clock.
            epoch: What that clock's zero is, in seconds since the epoch.

        Returns:
            What a record can be written from.
        """
        return Look(
            spec=spec,
            task=task,
            phase=task.true_phase_at(now),
            now=epoch + now,
            created=epoch + task.created,
            started=epoch + min(task.starts_at, task.ends_at),
            finished=epoch + task.ends_at,
            progress=task.progress_at(now),
            error=task.error or self.error,
            is_explicit=task.error is not None,
            hex=fake_hex(task.id),
        )

    def record(self, look: Look) -> Json:
        """Write a task down as the tasks call sends it.

        Returns:
            The record; empty while the provider sends nothing of the task.
        """
        if self.is_silent and look.phase is Phase.QUEUED:
            return {}
        if self.whole is not None:
            return self.whole(look)
        record: Json = {
            "_id": look.hex[:24],
            "id": look.id,
            "api_id": _api_id(look.spec.slug),
            "application_id": _APPLICATION_ID,
            "created_at": look.created,
            "credential_id": _CREDENTIAL_ID,
            "request": self._request(look),
            "trace_id": look.trace_id,
            "user_id": _USER_ID,
        }
        if self.kind:
            record["type"] = self.kind
        self._stamp(record, look)
        record.update(self.beside(look))
        response = self.build(look)
        if response is not msgspec.UNSET:
            record["response"] = response
        return record

    def single(self, look: Look, *, has_action: bool = True) -> Json:
        """Write a task down as the answer to a question for it alone.

        Args:
            look: The look at it.
            has_action: Whether the request named an action.

        Returns:
            The record, flat or wrapped where the provider does so.
        """
        if self.flattens and not has_action:
            response = self.build(look)
            return response if isinstance(response, dict) else {}
        record = self.record(look)
        return {self.envelope: record} if self.envelope and record else record

    def response(self, look: Look) -> Json:
        """Write down what a submission that blocks returns, and what a callback carries.

        Args:
            look: The look at the task, which has ended.

        Returns:
            The response; of a failed task the one form that is documented for both (concepts/async-tasks).
        """
        if self.whole is not None:
            return self.whole(look)
        response = look.failure() if look.phase is Phase.FAILED else self.build(look)
        return response if isinstance(response, dict) else {}

    def callback(self, look: Look) -> Json:
        """Write down a callback's body: the response, with the ids and how it went."""
        response = self.response(look)
        if not self.signs_callbacks:
            return response
        return {"task_id": look.id, "trace_id": look.trace_id, "success": look.phase is Phase.SUCCEEDED, **response}

    def build(self, look: Look) -> Response:
        """Build the response for the phase that a task is in."""
        # 1. Not done.   2. Done or failed.   3. In part: as documented, or as most would send it.
        if look.phase is Phase.QUEUED:
            return self.queued(look)
        if look.phase is Phase.RUNNING:
            return self.running(look)
        if look.phase is Phase.SUCCEEDED:
            return self.done(look)
        if look.phase is Phase.FAILED:
            return self.failed(look)
        if self.partial is not None:
            return self.partial(look)
        done = self.done(look)
        return {**(done if isinstance(done, dict) else {}), "success": False, "error": look.error_object}

    def _request(self, look: Look) -> Mapping[str, object]:
        return self.request if look.task.request is None else look.task.request

    def _stamp(self, record: Json, look: Look) -> None:
        """Put the times into a record that it carries in this phase."""
        is_stamped = look.phase.has_ended and (look.phase is not Phase.FAILED or self.stamps_failure)
        if self.nulls and not is_stamped:
            record["finished_at"] = None
        for name in self.times:
            if name == "started_at":
                if look.phase is not Phase.QUEUED:
                    record[name] = look.started
            elif is_stamped:
                record[name] = look.finished if name == "finished_at" else look.elapsed


@functools.cache
def _api_id(slug: str) -> str:
    return fake_uuid(f"api {slug}")


def _place(response: Json, field: ArtifactField, look: Look) -> None:
    """Put a made-up file into a response where a provider's row says that files stand."""
    *keys, last = field.path.split(".")
    url: object = PIXEL_PNG if last == "b64_json" else look.url(SUFFIXES[field.kind])
    # Written from the inside out; `*` stands for a list of one.
    value: object = [url] if last == "*" else {last: url}
    for key in reversed(keys):
        value = [value] if key == "*" else {key: value}
    if isinstance(value, dict):
        response.update(value)
