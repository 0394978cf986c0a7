"""Templates: the records of simulated tasks, for every provider in every phase."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from acetasks.models import ArtifactKind, Task, TaskState
from acetasks.providers import (
    ArtifactField,
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    ProviderSpec,
    UseapiPixverseJob,
    VeoResponse,
    lookup,
    normalize,
    read_record,
    specs,
)
from acetasks.testing.rules import Outcome
from acetasks.testing.samples import GENERIC, template_for
from acetasks.testing.scenario import ScriptedTask

if TYPE_CHECKING:
    from acetasks.testing.snapshot import Json, Snapshot

EPOCH = 1_780_000_000.0
TASK_ID = "7489df4c-ef03-4de0-b598-e9a590793434"
UNFINISHED = {TaskState.PENDING, TaskState.RUNNING}
TIMESTAMPS = ("started_at", "finished_at", "elapsed", "duration")

SLUGS = [spec.slug for spec in specs()]
SLUGS_WITH_FILES = [spec.slug for spec in specs() if spec.artifacts]
#: Ages of a task of 100 seconds that is queued for the first 10.
UNFINISHED_AGES = {"submitted": 0.0, "queued": 5.0, "started": 10.0, "halfway": 50.0, "late": 80.0, "nearly": 99.9}


def snapshot_of(
    slug: str,
    at: float = 100.0,
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    error: tuple[str, str] | None = None,
    spec: ProviderSpec | None = None,
    timestamps: bool = True,
    undocumented_failure: bool = False,
) -> Snapshot:
    """Return the snapshot of a task of 100 seconds at an age."""
    task = ScriptedTask(
        provider=slug,
        id=TASK_ID,
        outcome=outcome,
        created=1000.0,
        visible_at=1000.0,
        starts_at=1010.0,
        ends_at=1100.0,
        error=error,
        timestamps=timestamps,
        undocumented_failure=undocumented_failure,
    )
    return template_for(slug).snapshot(spec or lookup(slug), task, now=1000.0 + at, epoch=EPOCH)


def record_of(slug: str, at: float = 100.0, outcome: Outcome = Outcome.SUCCEEDED, **options: bool) -> Json:
    """Return the record of a task of 100 seconds at an age."""
    return template_for(slug).record(snapshot_of(slug, at, outcome, **options))


@pytest.mark.parametrize("at", UNFINISHED_AGES.values(), ids=UNFINISHED_AGES.keys())
@pytest.mark.parametrize("slug", SLUGS)
def test_unfinished_record_is_pending_or_running(slug: str, at: float) -> None:
    """An unfinished record is normalized to pending or running; dreamina alone hides queued tasks."""
    record = record_of(slug, at)
    task = normalize(slug, record)
    if slug == "dreamina" and at < 10.0:
        assert (record, task.state) == ({}, TaskState.NOT_FOUND)
    else:
        assert task.state in UNFINISHED
        assert task.id == TASK_ID
        assert task.artifacts == ()


@pytest.mark.parametrize("timestamps", [True, False])
@pytest.mark.parametrize("slug", SLUGS)
def test_finished_record_is_succeeded(slug: str, *, timestamps: bool) -> None:
    """A finished record is normalized to succeeded, with a main artifact if the provider generates files."""
    task = normalize(slug, record_of(slug, timestamps=timestamps))
    assert (task.state, task.id, task.error) == (TaskState.SUCCEEDED, TASK_ID, None)
    assert any(artifact.role == "main" for artifact in task.artifacts) is bool(lookup(slug).artifacts)


@pytest.mark.parametrize("undocumented_failure", [False, True])
@pytest.mark.parametrize("slug", SLUGS)
def test_failed_record_is_failed(slug: str, *, undocumented_failure: bool) -> None:
    """A failed record is normalized to failed, with a message, in the documented form and in the provider's own."""
    task = normalize(slug, record_of(slug, outcome=Outcome.FAILED, undocumented_failure=undocumented_failure))
    assert (task.state, task.id, task.artifacts) == (TaskState.FAILED, TASK_ID, ())
    assert task.error is not None
    assert task.error.message


@pytest.mark.parametrize("undocumented_failure", [False, True])
@pytest.mark.parametrize("slug", SLUGS)
def test_scripted_error_is_in_the_record(slug: str, *, undocumented_failure: bool) -> None:
    """A scripted code and message can be read from the record in every provider's format."""
    error = ("451", "the harbour is closed")
    snapshot = snapshot_of(slug, outcome=Outcome.FAILED, error=error, undocumented_failure=undocumented_failure)
    task = normalize(slug, template_for(slug).record(snapshot))
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert "the harbour is closed" in task.error.message
    assert "451" in f"{task.error.code} {task.error.message}"


@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_partial_record_is_partial(slug: str) -> None:
    """A partial record is normalized to partial, with an artifact and an error."""
    task = normalize(slug, record_of(slug, outcome=Outcome.PARTIAL))
    assert (task.state, task.id) == (TaskState.PARTIAL, TASK_ID)
    assert task.artifacts
    assert task.error is not None


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.PARTIAL])
@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_all_formats_of_a_task_agree(slug: str, outcome: Outcome) -> None:
    """A single record, a blocking submission's response and a callback are normalized like the record in a batch."""
    template, snapshot = template_for(slug), snapshot_of(slug, outcome=outcome)
    task = normalize(slug, template.record(snapshot))
    for body in (
        template.single_record(snapshot),
        template.single_record(snapshot, has_action=False),
        template.final_response(snapshot),
    ):
        read = normalize(slug, body)
        assert (read.state, read.artifacts) == (task.state, task.artifacts)
    callback = normalize(slug, template.callback_body(snapshot))
    assert (callback.id, callback.state, callback.artifacts) == (TASK_ID, task.state, task.artifacts)


@pytest.mark.parametrize("slug", SLUGS)
def test_record_depends_on_task_and_time_only(slug: str) -> None:
    """Two records of one task at one time are equal byte for byte."""
    first, second = (msgspec.json.encode(record_of(slug, at=50.0)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("slug", "at", "response"),
    [
        ("luma", 5.0, msgspec.UNSET),
        ("luma", 15.0, {"state": "pending"}),
        ("luma", 50.0, {"state": "processing"}),
        ("veo", 5.0, msgspec.UNSET),
        ("veo", 50.0, {"task_id": TASK_ID, "data": [{"state": "running"}]}),
        ("flux", 5.0, msgspec.UNSET),
        ("flux", 99.0, msgspec.UNSET),
        ("pixverse", 5.0, {"task_id": TASK_ID, "data": [{"state": "pending"}]}),
        ("pixverse", 50.0, {"task_id": TASK_ID, "data": [{"state": "processing"}]}),
        ("kling", 50.0, {"task_id": TASK_ID}),
        ("hailuo", 50.0, {"success": True, "task_id": TASK_ID, "data": [{"state": "processing"}]}),
        ("wan", 50.0, {"success": True, "state": "processing"}),
        ("midjourney", 50.0, {"task_id": TASK_ID, "progress": 50}),
        ("openai", 50.0, None),
        ("fish", 50.0, None),
    ],
)
def test_unfinished_responses_differ_by_provider(slug: str, at: float, response: object) -> None:
    """Each provider has its own response for an unfinished task."""
    assert record_of(slug, at).get("response", msgspec.UNSET) == response


def test_openai_finished_at_is_null_until_the_end() -> None:
    """An openai record has `finished_at: null` beside `response: null` until the task ends."""
    assert record_of("openai", 50.0)["finished_at"] is None
    assert record_of("openai")["finished_at"] == EPOCH + 1100.0


def test_suno_songs_have_separate_states_and_previews() -> None:
    """The first of suno's two songs ends before the second, which has a preview in the meantime."""
    early, late = (record_of("suno", at)["response"]["data"] for at in (50.0, 80.0))  # type: ignore[index]
    assert [song["state"] for song in early] == ["running", "running"]
    assert [song["state"] for song in late] == ["succeeded", "running"]
    assert [song["audio_url"].startswith("https://audiopipe.") for song in late] == [False, True]


def test_running_digital_human_has_success() -> None:
    """digital-human sends `success: true` and a status from the start, in the record and in the response."""
    record = record_of("digital-human", 50.0)
    assert record["status"] == "processing"
    assert record["response"] == {"success": True, "task_id": TASK_ID, "state": "processing", "progress": 50}


def test_single_minimax_record_is_wrapped() -> None:
    """A single minimax record is wrapped in `task`; in a batch it is not."""
    snapshot = snapshot_of("minimax", 50.0)
    record = template_for("minimax").record(snapshot)
    assert record["status"] == "running"
    assert template_for("minimax").single_record(snapshot) == {"task": record}


def test_useapi_job_statuses() -> None:
    """A useapi.net job is created, started, in progress and completed."""
    statuses = [record_of("useapi-pixverse", at)["status"] for at in (5.0, 20.0, 60.0, 100.0)]
    assert statuses == ["created", "started", "progress", "completed"]


def test_useapi_failure_status_can_be_scripted() -> None:
    """A scripted code that is one of useapi.net's failure statuses becomes the job's status."""
    snapshot = snapshot_of("useapi-pixverse", outcome=Outcome.FAILED, error=("moderated", "not this prompt"))
    assert template_for("useapi-pixverse").record(snapshot)["status"] == "moderated"


@pytest.mark.parametrize(
    ("slug", "times"),
    [
        ("kling", {"started_at": EPOCH + 1010.0, "finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
        ("luma", {"finished_at": EPOCH + 1100.0}),
        ("midjourney", {"finished_at": EPOCH + 1100.0, "duration": 90.0}),
        ("producer", {"finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
        ("digital-human", {"finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
        ("pixverse", {"started_at": EPOCH + 1010.0, "finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
    ],
)
def test_timestamps_of_finished_records(slug: str, times: Json) -> None:
    """Providers differ in the timestamps of a finished record; all have the submission time."""
    record = record_of(slug, at=500.0)
    assert {name: record[name] for name in TIMESTAMPS if name in record} == times
    assert record["created_at"] == EPOCH + 1000.0


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.PARTIAL])
@pytest.mark.parametrize("slug", [slug for slug in SLUGS_WITH_FILES if slug not in {"minimax", "useapi-pixverse"}])
def test_finished_at_is_stamped_at_every_end(slug: str, outcome: Outcome) -> None:
    """A record has `finished_at` once the task has ended in whatever way, and not before, unless without timestamps."""
    assert record_of(slug, outcome=outcome)["finished_at"] == EPOCH + 1100.0
    assert record_of(slug, at=50.0, outcome=outcome).get("finished_at") is None
    old = record_of(slug, outcome=outcome, timestamps=False)
    assert not old.keys() & set(TIMESTAMPS)
    assert normalize(slug, old).state == outcome


def test_unknown_times_are_null_or_absent() -> None:
    """Until they are known, openai's `finished_at` and maestro's two times are null, and others are absent."""
    unknown = {slug: {name: it for name, it in record_of(slug, at=5.0).items() if name in TIMESTAMPS} for slug in SLUGS}
    shown = {slug: times for slug, times in unknown.items() if times}
    assert shown.pop("veo") == {"elapsed": 5.0}
    assert shown == {"openai": {"finished_at": None}, "maestro": {"started_at": None, "finished_at": None}}


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if slug not in {"captcha", "minimax", "useapi-pixverse"}])
def test_documented_failure(slug: str) -> None:
    """By default a failed record has `success: false`, a code and a message (concepts/async-tasks)."""
    response = record_of(slug, outcome=Outcome.FAILED)["response"]
    assert isinstance(response, dict)
    assert response["success"] is False
    assert response["error"].keys() == {"code", "message"}


@pytest.mark.parametrize(
    ("slug", "response"),
    [
        ("kling", {"success": False, "error": {"message": "the model did not detect a person"}}),
        ("suno", {"success": False, "error": {"message": "upstream rejected the prompt"}, "data": []}),
        ("midjourney", {"error": {"message": "the description failed"}}),
        ("nano-banana", {"error": {"message": "the provider rejected the task"}}),
        ("producer", {"error": "provider timeout"}),
        ("fish", {"status": 400, "message": "the voice model was not found"}),
        ("hailuo", {"success": False, "data": [{"state": "processing"}]}),
        ("happyhorse", {"success": False, "data": [{"id": snapshot_of("happyhorse").hex, "state": "error"}]}),
        ("pika", {"success": True, "data": [{"state": "failed"}]}),
        ("wan", {"state": "failed", "error": {"message": "the input video could not be decoded"}}),
    ],
)
def test_undocumented_failures_differ_by_provider(slug: str, response: Json) -> None:
    """The provider's own form of a failure can be chosen."""
    record = record_of(slug, outcome=Outcome.FAILED, undocumented_failure=True)
    assert isinstance(record["response"], dict)
    assert response.items() <= record["response"].items()


def test_undocumented_maestro_failure_is_a_status() -> None:
    """A failed maestro record may have no response, only its status."""
    record = record_of("maestro", outcome=Outcome.FAILED, undocumented_failure=True)
    assert (record["status"], "response" in record) == ("failed", False)


def test_veo_times_are_in_another_zone() -> None:
    """The times of veo's items are in UTC+8 without a zone, to the second; the provider spec has the offset."""
    record = record_of("veo")
    (video,) = record["response"]["data"]  # type: ignore[index]
    assert video["complete_at"] == "2026-05-29 04:45:00"
    assert normalize("veo", record).finished_at == EPOCH + 1100.0


@pytest.mark.parametrize(
    ("slug", "kind"),
    [
        ("luma", LumaResponse),
        ("veo", VeoResponse),
        ("pixverse", PixverseResponse),
        ("flux", FluxResponse),
        ("useapi-pixverse", UseapiPixverseJob),
    ],
)
def test_documented_responses_are_complete(slug: str, kind: type[msgspec.Struct]) -> None:
    """The finished responses of the documented providers have every field of their type except the error."""
    decoded = normalize(slug, record_of(slug)).decode(kind)
    missing = {name for name in kind.__struct_fields__ if getattr(decoded, name) is None}
    assert missing <= {"error", "error_details"}


def test_captcha_result_depends_on_the_submission_path() -> None:
    """A captcha's result is a token, a text or a solution, depending on the submission path."""
    snapshot = snapshot_of("captcha")
    results = {}
    for path in ("/captcha/token/turnstile", "/captcha/recognition/image2text", "/captcha/recognition/hcaptcha"):
        task = msgspec.structs.replace(snapshot.task, path=path)
        record = template_for("captcha").record(msgspec.structs.replace(snapshot, task=task))
        results[path] = record.keys() & {"token", "text", "solution"}
    assert list(results.values()) == [{"token"}, {"text"}, {"solution"}]


def test_record_contains_the_request() -> None:
    """A record contains the submitted body or, without one, that of the provider's sample."""
    snapshot = snapshot_of("luma")
    submitted = msgspec.structs.replace(
        snapshot, task=msgspec.structs.replace(snapshot.task, request={"prompt": "a fog"})
    )
    record = template_for("luma").record(submitted)
    assert record["request"] == {"prompt": "a fog"}
    assert record["response"]["prompt"] == "a fog"  # type: ignore[index]
    assert record_of("luma")["request"] == {"action": "generate", "prompt": "a lighthouse at dawn"}


ARTIFACT_FIELDS = [
    ArtifactField("result.files.*.href", ArtifactKind.FILE),
    ArtifactField("image_url", ArtifactKind.IMAGE),
    ArtifactField("urls.*", ArtifactKind.AUDIO),
    ArtifactField("data.*.b64_json", ArtifactKind.IMAGE),
    ArtifactField("cover", ArtifactKind.IMAGE, role="cover"),
]


@pytest.mark.parametrize("field", ARTIFACT_FIELDS, ids=lambda field: field.path)
def test_generic_template_has_the_artifacts_of_the_spec(field: ArtifactField) -> None:
    """The generic template has a file at the artifact field of a provider registered later."""
    spec = ProviderSpec(slug="unlisted", artifacts=(field,))
    task = read_generic(spec)
    assert task.state is TaskState.SUCCEEDED
    assert [(artifact.kind, artifact.role) for artifact in task.artifacts] == [(field.kind, field.role)]


@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_generic_template_works_for_every_provider(slug: str) -> None:
    """The generic template is normalized correctly with the spec of every provider."""
    spec = lookup(slug)
    assert read_generic(spec).state is TaskState.SUCCEEDED
    assert read_generic(spec).artifacts
    assert read_generic(spec, at=5.0).state in UNFINISHED
    assert read_generic(spec, at=50.0).state in UNFINISHED
    assert read_generic(spec, outcome=Outcome.FAILED).state is TaskState.FAILED
    assert read_generic(spec, outcome=Outcome.PARTIAL).state is TaskState.PARTIAL


def read_generic(spec: ProviderSpec, at: float = 100.0, outcome: Outcome = Outcome.SUCCEEDED) -> Task:
    """Return the task normalized from a record of the generic template."""
    snapshot = snapshot_of("no-such-slug", at, outcome, spec=spec)
    assert template_for("no-such-slug") is GENERIC
    return read_record(spec, msgspec.json.encode(GENERIC.record(snapshot))).task
