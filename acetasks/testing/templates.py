"""Serialises simulated tasks in each provider's response format.

A `Template` is data: the response in each phase, the timestamps of the record, and the provider's deviations from
the standard tasks call. The templates of the providers are in `acetasks.testing.samples`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from acetasks.models import ArtifactKind
from acetasks.testing.endpoints import Endpoint, RecordBuilder, Response, ResponseBuilder, absent
from acetasks.testing.scenario import Phase
from acetasks.testing.snapshot import FILES_URL, Json, Snapshot, fake_hex, fake_uuid

if TYPE_CHECKING:
    from acetasks.providers.spec import ArtifactField, ProviderSpec
    from acetasks.testing.scenario import ScriptedTask

#: Response to an unknown id: an HTTP status and a function from task id and trace id to the body.
NotFound = tuple[int, Callable[[str, str], Json]]

#: Made-up ids of the account that owns all tasks.
_APPLICATION_ID = "5d2f7a41-9c3b-4e60-8a17-0c6de1b7f924"
_CREDENTIAL_ID = "b1c96e0d-47fa-4a35-9d82-7f3e5a08c61b"
_USER_ID = "e07d4b93-2a58-4c1f-b6d9-84a1f35c7e20"

PROMPT = "a lighthouse at dawn"
#: File suffixes of made-up artifacts.
SUFFIXES = {
    ArtifactKind.VIDEO: "mp4",
    ArtifactKind.IMAGE: "png",
    ArtifactKind.AUDIO: "mp3",
    ArtifactKind.FILE: "bin",
}
#: A transparent image of one pixel, for providers that send file contents.
PIXEL_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def null(_snapshot: Snapshot) -> Response:
    """Return `response: null`."""
    return None


def only_id(snapshot: Snapshot) -> Json:
    """Return only the task id."""
    return {"task_id": snapshot.id}


def only_success(snapshot: Snapshot) -> Response:
    """Return `success: true` and the ids, which does not mean that the task has ended."""
    return snapshot.success()


def plain_failure(snapshot: Snapshot) -> Response:
    """Return `success: false` with an error object."""
    return snapshot.failure()


def generic_done(snapshot: Snapshot) -> Response:
    """Return a file at an artifact field of the provider spec, a video if possible."""
    response = snapshot.success()
    fields = [field for field in snapshot.spec.artifacts if field.role == "main"] or list(snapshot.spec.artifacts)
    if fields:
        field = next((field for field in fields if field.kind is ArtifactKind.VIDEO), fields[0])
        _add_artifact(response, field, snapshot)
    return response


def empty_object(_task_id: str, _trace_id: str) -> Json:
    """Return the usual body for an unknown id."""
    return {}


def _no_fields(_snapshot: Snapshot) -> Json:
    return {}


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """Response format of one provider.

    Attributes:
        queued: The response of a queued task.
        running: The response of a running task.
        done: The response of a succeeded task.
        answer: The response to a blocking submission and in a callback of a succeeded task; None means that of `done`.
        own_failure: The response of a failed task in the provider's own form, as observed; see `Rule`.
        partial: The response of a partial task; None adds the error to the response of `done`.
        endpoints: The submission paths whose tasks have another result than those of the main path.
        extra_fields: Additional fields of the record.
        full_record: The whole record, for a provider with its own format.
        record_type: The record's `type`; empty means no such field.
        timestamps: Those of `started_at`, `finished_at`, `elapsed` and `duration` that the record has: `started_at`
            once the work has started, the others when the task has ended, in whatever way.
        null_timestamps: Those that are `null` until then instead of absent.
        hides_queued: Whether a queued task is not shown at all.
        error: The default code and message of a failure.
        own_error: Those in the provider's own form; None means `error`.
        request: The default submitted body.
        callback_field: The field of a submission with the callback URL.
        callback_fields: Fields that a callback body always has.
        ack: The response to a submission that does not block.
        ack_status: The HTTP status of `ack`.
        failed_status: The HTTP status of a failed task's own record.
        not_found: The response to an unknown id.
        envelope: The field that wraps a single record; empty means none.
        bare_without_action: Whether a request without an action gets the response instead of the record.
        count_field: The field of a batch response with the number of tasks.
        counts_all: Whether that is the number of all tasks, not of those in the response.
        newest_first: Whether a batch is sorted by age; otherwise it is in reverse order of the request.
        repeats_duplicates: Whether an id that is requested twice is sent twice.
    """

    queued: ResponseBuilder = absent
    running: ResponseBuilder = only_success
    done: ResponseBuilder = generic_done
    answer: ResponseBuilder | None = None
    own_failure: ResponseBuilder = plain_failure
    partial: ResponseBuilder | None = None
    endpoints: Mapping[str, Endpoint] = {}
    extra_fields: RecordBuilder = _no_fields
    full_record: RecordBuilder | None = None
    record_type: str = ""
    timestamps: tuple[str, ...] = ("started_at", "finished_at", "elapsed")
    null_timestamps: tuple[str, ...] = ()
    hides_queued: bool = False
    error: tuple[str, str] = ("api_error", "the generation failed")
    own_error: tuple[str | None, str] | None = None
    request: Json = msgspec.field(default_factory=lambda: {"action": "generate", "prompt": PROMPT})
    callback_field: str = "callback_url"
    callback_fields: tuple[str, ...] = ("task_id", "trace_id", "success")
    ack: RecordBuilder = only_id
    ack_status: int = 200
    failed_status: int = 200
    not_found: NotFound = (200, empty_object)
    envelope: str = ""
    bare_without_action: bool = False
    count_field: str = "count"
    counts_all: bool = False
    newest_first: bool = False
    repeats_duplicates: bool = False

    def snapshot(
        self, spec: ProviderSpec, task: ScriptedTask, *, now: float, epoch: float, files_url: str = FILES_URL
    ) -> Snapshot:
        """Return a snapshot of a task, regardless of its visibility.

        Args:
            spec: The provider spec.
            task: The task.
            now: The time of the snapshot (loop time).
            epoch: The loop's time zero, in seconds since the epoch.
            files_url: The URL that those of all files begin with.
        """
        return Snapshot(
            spec=spec,
            task=task,
            phase=task.true_phase_at(now),
            now=epoch + now,
            created=epoch + task.created,
            started=epoch + min(task.starts_at, task.ends_at),
            finished=epoch + task.ends_at,
            progress=task.progress_at(now),
            error=task.error or (self.own_error if task.undocumented_failure else None) or self.error,
            has_scripted_error=task.error is not None,
            hex=fake_hex(task.id),
            files_url=files_url,
        )

    def record(self, snapshot: Snapshot) -> Json:
        """Return the record as the tasks call sends it; empty while the provider hides the task."""
        if self.hides_queued and snapshot.phase is Phase.QUEUED:
            return {}
        if self.full_record is not None:
            return self.full_record(snapshot)
        record: Json = {
            "_id": snapshot.hex[:24],
            "id": snapshot.id,
            "api_id": _api_id(snapshot.spec.slug),
            "application_id": _APPLICATION_ID,
            "created_at": snapshot.created,
            "credential_id": _CREDENTIAL_ID,
            "request": self.request if snapshot.task.request is None else snapshot.task.request,
            "trace_id": snapshot.trace_id,
            "user_id": _USER_ID,
        }
        endpoint = self.endpoints.get(snapshot.task.path)
        if record_type := (endpoint and endpoint.record_type) or self.record_type:
            record["type"] = record_type
        self._add_timestamps(record, snapshot)
        record.update(self.extra_fields(snapshot))
        response = self.phase_response(snapshot)
        if response is not msgspec.UNSET:
            record["response"] = response
        return record

    def single_record(self, snapshot: Snapshot, *, has_action: bool = True) -> Json:
        """Return the body of the response for one id, bare or wrapped as the provider does.

        Args:
            snapshot: The task's snapshot.
            has_action: Whether the request had an action.
        """
        if self.bare_without_action and not has_action:
            response = self.phase_response(snapshot)
            return response if isinstance(response, dict) else {}
        record = self.record(snapshot)
        return {self.envelope: record} if self.envelope and record else record

    def typical_duration(self, path: str) -> float | None:
        """Return the typical duration of a submission to `path`, or None for that of the provider."""
        endpoint = self.endpoints.get(path)
        return None if endpoint is None else endpoint.typical_duration

    def blocks(self, spec: ProviderSpec, path: str, body: Mapping[str, object]) -> bool:
        """Return whether a submission is answered with the result of its task, not with an acknowledgement."""
        if body.get(self.callback_field) or not spec.accepts_async:
            return False
        endpoint = self.endpoints.get(path)
        blocks = None if endpoint is None else endpoint.blocks(body)
        return body.get("async") is not True if blocks is None else blocks

    def acknowledgement(self, snapshot: Snapshot) -> Json:
        """Return the response to a submission that does not block."""
        endpoint = self.endpoints.get(snapshot.task.path)
        return ((endpoint and endpoint.ack) or self.ack)(snapshot)

    def final_response(self, snapshot: Snapshot) -> Json:
        """Return the response to a blocking submission or in a callback, for a task that has ended.

        A failure has the one form that is documented for callbacks (concepts/async-tasks); the response to a blocking
        submission is an HTTP error instead.
        """
        if self.full_record is not None:
            return self.full_record(snapshot)
        if snapshot.phase is Phase.FAILED:
            return snapshot.failure()
        if snapshot.phase is Phase.SUCCEEDED and (endpoint := self.endpoints.get(snapshot.task.path)) is not None:
            return endpoint.answer(snapshot)
        build = self.answer if self.answer is not None and snapshot.phase is Phase.SUCCEEDED else self.phase_response
        response = build(snapshot)
        return response if isinstance(response, dict) else {}

    def callback_body(self, snapshot: Snapshot) -> Json:
        """Return the body of a callback."""
        fields = {
            "task_id": snapshot.id,
            "trace_id": snapshot.trace_id,
            "success": snapshot.phase is Phase.SUCCEEDED,
        }
        return {**{name: fields[name] for name in self.callback_fields}, **self.final_response(snapshot)}

    def phase_response(self, snapshot: Snapshot) -> Response:
        """Return the response for the task's phase."""
        endpoint = self.endpoints.get(snapshot.task.path)
        # 1. Not ended.   2. Succeeded or failed.   3. Partial: as documented, or in the most usual form.
        if snapshot.phase is Phase.QUEUED:
            return (endpoint.unfinished if endpoint else self.queued)(snapshot)
        if snapshot.phase is Phase.RUNNING:
            return (endpoint.unfinished if endpoint else self.running)(snapshot)
        done = endpoint.done if endpoint else self.done
        if snapshot.phase is Phase.SUCCEEDED:
            return done(snapshot)
        if snapshot.phase is Phase.FAILED:
            return (self.own_failure if snapshot.task.undocumented_failure else plain_failure)(snapshot)
        if self.partial is not None and endpoint is None:
            return self.partial(snapshot)
        result = done(snapshot)
        return {**(result if isinstance(result, dict) else {}), "success": False, "error": snapshot.error_object}

    def _add_timestamps(self, record: Json, snapshot: Snapshot) -> None:
        if not snapshot.task.timestamps:
            return
        record.update(dict.fromkeys(self.null_timestamps))
        for name in self.timestamps:
            if name == "started_at":
                if snapshot.phase is not Phase.QUEUED:
                    record[name] = snapshot.started
            elif snapshot.phase.has_ended:
                record[name] = snapshot.finished if name == "finished_at" else snapshot.elapsed


@functools.cache
def _api_id(slug: str) -> str:
    return fake_uuid(f"api {slug}")


def _add_artifact(response: Json, field: ArtifactField, snapshot: Snapshot) -> None:
    """Add a made-up file to a response, at the path of an artifact field."""
    *keys, last = field.path.split(".")
    url: object = PIXEL_PNG if last == "b64_json" else snapshot.file_url(SUFFIXES[field.kind])
    # Built from the inside out; `*` stands for a list of one item.
    value: object = [url] if last == "*" else {last: url}
    for key in reversed(keys):
        value = [value] if key == "*" else {key: value}
    if isinstance(value, dict):
        response.update(value)
