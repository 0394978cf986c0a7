"""How the simulated service writes tasks down, for every provider and in every phase; no server is needed."""

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
from acetasks.testing.gallery import GENERIC, shape_of
from acetasks.testing.script import Outcome, ScriptedTask

if TYPE_CHECKING:
    from acetasks.testing.looks import Json, Look

EPOCH = 1_780_000_000.0
TASK_ID = "7489df4c-ef03-4de0-b598-e9a590793434"
WAITING = {TaskState.PENDING, TaskState.RUNNING}

SLUGS = [spec.slug for spec in specs()]
SLUGS_WITH_FILES = [spec.slug for spec in specs() if spec.artifacts]
#: Points of a life of 100 seconds, of which the first 10 are spent in the queue.
WAITING_TIMES = {"submitted": 0.0, "queued": 5.0, "begun": 10.0, "halfway": 50.0, "late": 80.0, "nearly": 99.9}


def look_at(
    slug: str,
    at: float = 100.0,
    outcome: Outcome = Outcome.SUCCEEDED,
    *,
    error: tuple[str, str] | None = None,
    spec: ProviderSpec | None = None,
) -> Look:
    """Look at a task of 100 seconds at one moment of its life."""
    task = ScriptedTask(
        provider=slug,
        id=TASK_ID,
        outcome=outcome,
        created=1000.0,
        visible_at=1000.0,
        starts_at=1010.0,
        ends_at=1100.0,
        error=error,
    )
    return shape_of(slug).look(spec or lookup(slug), task, now=1000.0 + at, epoch=EPOCH)


def record_of(slug: str, at: float = 100.0, outcome: Outcome = Outcome.SUCCEEDED) -> Json:
    """Write the record of a task of 100 seconds at one moment of its life."""
    return shape_of(slug).record(look_at(slug, at, outcome))


@pytest.mark.parametrize("at", WAITING_TIMES.values(), ids=WAITING_TIMES.keys())
@pytest.mark.parametrize("slug", SLUGS)
def test_task_that_is_not_done_reads_as_waiting(slug: str, at: float) -> None:
    """A record in progress is read as pending or running; only dreamina sends nothing while a task is queued."""
    record = record_of(slug, at)
    task = normalize(slug, record)
    if slug == "dreamina" and at < 10.0:
        assert (record, task.state) == ({}, TaskState.NOT_FOUND)
    else:
        assert task.state in WAITING
        assert task.id == TASK_ID
        assert task.artifacts == ()


@pytest.mark.parametrize("slug", SLUGS)
def test_finished_task_reads_as_succeeded(slug: str) -> None:
    """A finished record is read as succeeded, with a file wherever the provider makes files."""
    task = normalize(slug, record_of(slug))
    assert (task.state, task.id, task.error) == (TaskState.SUCCEEDED, TASK_ID, None)
    assert any(artifact.role == "main" for artifact in task.artifacts) is bool(lookup(slug).artifacts)


@pytest.mark.parametrize("slug", SLUGS)
def test_failed_task_reads_as_failed(slug: str) -> None:
    """A failed record is read as failed at once, with a message."""
    task = normalize(slug, record_of(slug, outcome=Outcome.FAILED))
    assert (task.state, task.id, task.artifacts) == (TaskState.FAILED, TASK_ID, ())
    assert task.error is not None
    assert task.error.message


@pytest.mark.parametrize("slug", SLUGS)
def test_scripted_error_is_shown(slug: str) -> None:
    """A code and message that the script gives can be read from the record, whatever the provider's own form."""
    look = look_at(slug, outcome=Outcome.FAILED, error=("451", "the harbour is closed"))
    task = normalize(slug, shape_of(slug).record(look))
    assert task.state is TaskState.FAILED
    assert task.error is not None
    assert "the harbour is closed" in task.error.message
    assert "451" in f"{task.error.code} {task.error.message}"


@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_task_done_in_part_reads_as_partial(slug: str) -> None:
    """A partial record is read as partial, with a file and an error."""
    task = normalize(slug, record_of(slug, outcome=Outcome.PARTIAL))
    assert (task.state, task.id) == (TaskState.PARTIAL, TASK_ID)
    assert task.artifacts
    assert task.error is not None


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.PARTIAL])
@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_other_forms_say_the_same(slug: str, outcome: Outcome) -> None:
    """What is sent alone, to a blocking submission or in a callback is read as the record in a batch is."""
    shape, look = shape_of(slug), look_at(slug, outcome=outcome)
    task = normalize(slug, shape.record(look))
    for body in (shape.single(look), shape.single(look, has_action=False), shape.response(look)):
        read = normalize(slug, body)
        assert (read.state, read.artifacts) == (task.state, task.artifacts)
    told = normalize(slug, shape.callback(look))
    assert (told.id, told.state, told.artifacts) == (TASK_ID, task.state, task.artifacts)


@pytest.mark.parametrize("slug", SLUGS)
def test_record_depends_on_nothing_but_the_task_and_the_time(slug: str) -> None:
    """Two looks at one moment give the same record, byte for byte, so that every run is the same."""
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
def test_providers_differ_while_they_work(slug: str, at: float, response: object) -> None:
    """Each provider has its own way to say that a task is not done."""
    assert record_of(slug, at).get("response", msgspec.UNSET) == response


def test_openai_sends_nulls_until_the_end() -> None:
    """A record of openai has `finished_at: null` beside `response: null` while the task is not done."""
    assert record_of("openai", 50.0)["finished_at"] is None
    assert record_of("openai")["finished_at"] == EPOCH + 1100.0


def test_suno_mixes_states_and_sends_previews() -> None:
    """Of suno's two songs the first is done before the second, which has a preview meanwhile."""
    early, late = (record_of("suno", at)["response"]["data"] for at in (50.0, 80.0))  # type: ignore[index]
    assert [song["state"] for song in early] == ["running", "running"]
    assert [song["state"] for song in late] == ["succeeded", "running"]
    assert [song["audio_url"].startswith("https://audiopipe.") for song in late] == [False, True]


def test_digital_human_claims_success_while_it_works() -> None:
    """digital-human sends `success: true` and a word from the start, at the top and in the response."""
    record = record_of("digital-human", 50.0)
    assert record["status"] == "processing"
    assert record["response"] == {"success": True, "task_id": TASK_ID, "state": "processing", "progress": 50}


def test_minimax_is_wrapped_only_where_it_is_asked_for_alone() -> None:
    """A record of minimax is wrapped in `task` if it is sent alone; in a batch it stands flat."""
    look = look_at("minimax", 50.0)
    record = shape_of("minimax").record(look)
    assert record["status"] == "running"
    assert shape_of("minimax").single(look) == {"task": record}


def test_useapi_job_goes_through_its_words() -> None:
    """A useapi.net job is created, started, in progress and completed."""
    words = [record_of("useapi-pixverse", at)["status"] for at in (5.0, 20.0, 60.0, 100.0)]
    assert words == ["created", "started", "progress", "completed"]


def test_useapi_job_can_be_moderated() -> None:
    """A scripted code that is one of useapi.net's words for a failure becomes the job's status."""
    look = look_at("useapi-pixverse", outcome=Outcome.FAILED, error=("moderated", "not this prompt"))
    assert shape_of("useapi-pixverse").record(look)["status"] == "moderated"


@pytest.mark.parametrize(
    ("slug", "times"),
    [
        ("kling", {"started_at": EPOCH + 1010.0, "finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
        ("luma", {"finished_at": EPOCH + 1100.0}),
        ("midjourney", {"finished_at": EPOCH + 1100.0, "duration": 90.0}),
        ("producer", {"finished_at": EPOCH + 1100.0, "elapsed": 90.0}),
        ("pixverse", {}),
        ("flux", {}),
        ("veo", {}),
    ],
)
def test_finished_record_has_its_own_times(slug: str, times: Json) -> None:
    """Providers differ in which times a finished record carries; all tell when it was submitted."""
    record = record_of(slug, at=500.0)
    names = ("started_at", "finished_at", "elapsed", "duration")
    assert {name: record[name] for name in names if name in record} == times
    assert record["created_at"] == EPOCH + 1000.0


def test_failure_is_stamped_by_some_only() -> None:
    """A failed record of openai has a time of finishing, one of veo has none."""
    assert record_of("openai", outcome=Outcome.FAILED)["finished_at"] == EPOCH + 1100.0
    assert "finished_at" not in record_of("veo", outcome=Outcome.FAILED)


def test_veo_tells_the_end_in_another_zone() -> None:
    """The times of veo's items are in UTC+8 without saying so, to the second; the row in the table knows."""
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
def test_documented_responses_are_whole(slug: str, kind: type[msgspec.Struct]) -> None:
    """The documented systems' finished responses have a value for each field of their type but the error's."""
    decoded = normalize(slug, record_of(slug)).decode(kind)
    missing = {name for name in kind.__struct_fields__ if getattr(decoded, name) is None}
    assert missing <= {"error", "error_details"}


def test_captcha_answers_by_what_was_submitted() -> None:
    """A captcha's result is a token, a text or a solution, after the path it was submitted to."""
    look = look_at("captcha")
    results = {}
    for path in ("/captcha/token/turnstile", "/captcha/recognition/image2text", "/captcha/recognition/hcaptcha"):
        task = msgspec.structs.replace(look.task, path=path)
        record = shape_of("captcha").record(msgspec.structs.replace(look, task=task))
        results[path] = record.keys() & {"token", "text", "solution"}
    assert list(results.values()) == [{"token"}, {"text"}, {"solution"}]


def test_request_is_repeated() -> None:
    """A record repeats what was submitted, and where nothing was, the provider's sample."""
    look = look_at("luma")
    asked = msgspec.structs.replace(look, task=msgspec.structs.replace(look.task, request={"prompt": "a fog"}))
    record = shape_of("luma").record(asked)
    assert record["request"] == {"prompt": "a fog"}
    assert record["response"]["prompt"] == "a fog"  # type: ignore[index]
    assert record_of("luma")["request"] == {"action": "generate", "prompt": "a lighthouse at dawn"}


NEWCOMERS = [
    ArtifactField("result.files.*.href", ArtifactKind.FILE),
    ArtifactField("image_url", ArtifactKind.IMAGE),
    ArtifactField("urls.*", ArtifactKind.AUDIO),
    ArtifactField("data.*.b64_json", ArtifactKind.IMAGE),
    ArtifactField("cover", ArtifactKind.IMAGE, role="cover"),
]


@pytest.mark.parametrize("field", NEWCOMERS, ids=lambda field: field.path)
def test_provider_without_a_shape_gets_its_files(field: ArtifactField) -> None:
    """The generic shape puts a file where the row of a provider registered later says that files stand."""
    spec = ProviderSpec(slug="newcomer", artifacts=(field,))
    task = read_generic(spec)
    assert task.state is TaskState.SUCCEEDED
    assert [(artifact.kind, artifact.role) for artifact in task.artifacts] == [(field.kind, field.role)]


@pytest.mark.parametrize("slug", SLUGS_WITH_FILES)
def test_generic_shape_serves_every_row(slug: str) -> None:
    """Every row of the table could do without a shape of its own."""
    spec = lookup(slug)
    assert read_generic(spec).state is TaskState.SUCCEEDED
    assert read_generic(spec).artifacts
    assert read_generic(spec, at=5.0).state in WAITING
    assert read_generic(spec, at=50.0).state in WAITING
    assert read_generic(spec, outcome=Outcome.FAILED).state is TaskState.FAILED
    assert read_generic(spec, outcome=Outcome.PARTIAL).state is TaskState.PARTIAL


def read_generic(spec: ProviderSpec, at: float = 100.0, outcome: Outcome = Outcome.SUCCEEDED) -> Task:
    """Write a task down in the generic shape and read it by a row."""
    look = look_at("no-such-slug", at, outcome, spec=spec)
    assert shape_of("no-such-slug") is GENERIC
    return read_record(spec, msgspec.json.encode(GENERIC.record(look))).task
