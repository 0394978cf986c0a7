"""Tests of tasks, their states and artifacts, and of decoding a task's record."""

from __future__ import annotations

import json
import pickle

import msgspec
import pydantic
import pytest

from acetasks import (
    Artifact,
    ArtifactKind,
    LumaResponse,
    ProtocolError,
    Task,
    TaskError,
    TaskState,
    normalize,
)

RECORD = {
    "id": "a-task",
    "request": {"prompt": "a lighthouse", "size": 8},
    "response": {"state": "completed", "video_url": "https://cdn.example.com/a.mp4"},
}
TASK = normalize("luma", RECORD)


# --------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("state", "value", "is_terminal"),
    [
        (TaskState.PENDING, "pending", False),
        (TaskState.RUNNING, "running", False),
        (TaskState.SUCCEEDED, "succeeded", True),
        (TaskState.PARTIAL, "partial", True),
        (TaskState.FAILED, "failed", True),
        (TaskState.NOT_FOUND, "not_found", True),
    ],
)
def test_state_has_a_value_and_is_terminal_or_not(state: TaskState, value: str, *, is_terminal: bool) -> None:
    """Only pending and running tasks are not terminal."""
    assert (state.value, str(state), state == value) == (value, value, True)
    assert state.is_terminal is is_terminal


def test_there_are_six_states() -> None:
    """The parameters above include every state."""
    assert len(TaskState) == 6


# ---------------------------------------------------------------------------------------------------------- tasks


@pytest.mark.parametrize(
    ("thing", "field"),
    [
        (TASK, "state"),
        (TASK.artifacts[0], "url"),
        (TaskError(message="m"), "message"),
    ],
    ids=lambda it: it if isinstance(it, str) else type(it).__name__,
)
def test_tasks_artifacts_and_errors_are_immutable(thing: object, field: str) -> None:
    """All waiters of an id share one task object."""
    with pytest.raises(AttributeError):
        setattr(thing, field, "changed")


def test_task_fields_that_a_record_may_lack_have_defaults() -> None:
    """Only the provider, the id and the state are required."""
    task = Task(provider="luma", id="a", state=TaskState.PENDING)

    assert (task.artifacts, task.error, task.progress, task.trace_id, task.raw) == ((), None, None, None, b"{}")
    assert (task.created_at, task.started_at, task.finished_at, task.duration) == (None, None, None, None)
    assert (task.request, task.response) == (None, None)


def test_equal_tasks_compare_hash_and_pickle_equal() -> None:
    """Two tasks read from the same record are equal, have one hash, and survive pickling."""
    again = normalize("luma", RECORD)

    assert again == TASK
    assert len({again, TASK}) == 1
    assert pickle.loads(pickle.dumps(TASK)) == TASK
    assert normalize("veo", RECORD) != TASK


def test_task_encodes_to_json() -> None:
    """States and kinds are encoded as strings, and unset fields of an artifact are omitted."""
    written = msgspec.json.decode(msgspec.json.encode(TASK))

    assert (written["state"], written["provider"], written["id"]) == ("succeeded", "luma", "a-task")
    assert written["artifacts"] == [{"url": "https://cdn.example.com/a.mp4", "kind": "video"}]


def test_cost_and_usage_are_read_from_the_record() -> None:
    """They are in the response, or at the top; an empty one is absent, and a plain number is the amount."""
    cost, usage = {"amount": 0.4, "currency": "credit", "list_amount": 0.5}, {"seconds": 5}
    task = normalize("wan", {"id": "a", "response": {"cost": cost, "usage": usage}})
    assert (task.cost, task.usage) == (cost, usage)

    task = normalize("wan", {"id": "a", "cost": 2.5, "usage": {}})
    assert (task.cost, task.usage) == ({"amount": 2.5}, None)
    assert (TASK.cost, TASK.usage) == (None, None)


@pytest.mark.parametrize("raw", [b"", b"no JSON", b'{"cost": 1e999}', b'{"cost": ["a"], "usage": true}'])
def test_unreadable_cost_and_usage_are_absent(raw: bytes) -> None:
    """Billing data of an unknown form does not make a task unusable."""
    task = Task(provider="luma", id="a", state=TaskState.SUCCEEDED, raw=raw)

    assert (task.cost, task.usage) == (None, None)


def test_task_converts_to_plain_values() -> None:
    """The values are those of JSON, with every field but the record."""
    response = {"video_url": "u", "state": "failed", "error": {"code": "c", "message": "m"}, "cost": {"amount": 1}}
    task = normalize("luma", {"id": "a", "created_at": 1, "finished_at": 3.5, "response": response})
    plain = task.to_dict()

    assert json.loads(json.dumps(plain)) == plain
    assert type(plain["state"]) is str
    assert plain == {
        "provider": "luma",
        "id": "a",
        "state": "partial",
        "artifacts": [{"url": "u", "kind": "video", "role": "main", "width": None, "height": None, "path": None}],
        "error": {"message": "m", "code": "c"},
        "progress": None,
        "created_at": 1.0,
        "started_at": None,
        "finished_at": 3.5,
        "duration": 2.5,
        "trace_id": None,
        "cost": {"amount": 1},
        "usage": None,
        "response": response,
    }
    assert dict(task) == plain
    assert Task(provider="luma", id="a", state=TaskState.PENDING).to_dict()["error"] is None


@pytest.mark.parametrize("response", [{"video_url": "u", "cost": {"amount": 1}}, ["a"], "a", None])
def test_task_is_restored_from_its_json(response: object) -> None:
    """All values are the same, with the response of any type and what the response has of the price."""
    task = normalize("luma", {"id": "a", "finished_at": 3.5, "usage": {"seconds": 5}, "response": response})
    line = task.to_json()
    restored = Task.from_json(line)

    assert b"\n" not in line
    assert json.loads(line) == task.to_dict() == restored.to_dict()
    assert restored == Task.from_json(line.decode()) == Task.from_json(restored.to_json())
    assert msgspec.structs.replace(restored, raw=task.raw) == task


def test_response_of_a_restored_task_is_decoded() -> None:
    """A service that stores lines of JSON needs no records for the typed responses."""
    restored = Task.from_json(TASK.to_json())

    assert restored.decode(LumaResponse) == TASK.decode(LumaResponse)
    assert restored.request is None


@pytest.mark.parametrize("data", ["", "[]", "{}", '{"provider": "luma", "id": "a", "state": "unknown"}', b"\xff"])
def test_json_that_is_no_task_is_refused(data: str | bytes) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(ProtocolError, match="the JSON of a task cannot be read"):
        Task.from_json(data)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": TaskState.RUNNING, "progress": 40.0}, "<Task luma a running, 40 %>"),
        ({"state": TaskState.SUCCEEDED, "artifacts": (Artifact(url="u"),)}, "<Task luma a succeeded, 1 file>"),
        ({"state": TaskState.PARTIAL, "artifacts": (Artifact(url="u"),) * 2}, "<Task luma a partial, 2 files>"),
        (
            {"state": TaskState.FAILED, "error": TaskError(message="no\nmore", code="used_up")},
            r"<Task luma a failed, used_up: no\nmore>",
        ),
        ({"state": TaskState.FAILED, "error": TaskError(message="no")}, "<Task luma a failed, no>"),
    ],
)
def test_repr_is_one_short_line(fields: dict[str, object], text: str) -> None:
    """It has neither the record nor the URLs, which may be signed."""
    assert repr(Task(provider="luma", id="a", raw=b'{"key": 1}', **fields)) == text


def test_notebook_shows_the_main_files() -> None:
    """Each kind has its element; text of the service is escaped, and a script is no address."""
    artifacts = (
        Artifact(url="https://f.example/a.mp4?a=1&b=2", kind=ArtifactKind.VIDEO),
        Artifact(url='https://f.example/"><script>.png', kind=ArtifactKind.IMAGE),
        Artifact(url="http://f.example/a.mp3", kind=ArtifactKind.AUDIO),
        Artifact(url="javascript:alert(1)"),
        Artifact(url="https://f.example/cover.png", kind=ArtifactKind.IMAGE, role="cover"),
    )
    shown = Task(provider="suno", id="<a>", state=TaskState.SUCCEEDED, artifacts=artifacts)._repr_html_()

    assert shown.startswith("<div>suno &lt;a&gt; succeeded, 5 files</div>")
    assert [part in shown for part in ("<video", "<img", "<audio", "<code>javascript:")] == [True] * 4
    assert "?a=1&amp;b=2" in shown
    assert ("<script" in shown, "cover" in shown, "href" in shown) == (False, False, False)


def test_artifact_defaults_to_a_main_file() -> None:
    """Artifacts of an unknown provider have no better kind."""
    artifact = Artifact(url="u")

    assert (artifact.kind, artifact.role, artifact.width, artifact.height) == (ArtifactKind.FILE, "main", None, None)


def test_request_and_response_are_decoded_at_each_access() -> None:
    """Each access returns a new object, so changing one does not affect the task."""
    assert TASK.request == RECORD["request"]
    assert TASK.response == RECORD["response"]

    first = TASK.request
    assert first is not None
    first["prompt"] = "changed"
    assert TASK.request == RECORD["request"]


@pytest.mark.parametrize("record", [{"id": "a"}, {"id": "a", "request": None, "response": None}])
def test_missing_request_and_response_are_none(record: dict[str, object]) -> None:
    """An absent section and a null section both decode to None."""
    task = normalize("luma", record)

    assert (task.request, task.response) == (None, None)


def test_flat_record_is_its_own_response() -> None:
    """Callbacks and the records of digital-human have no `response` field."""
    record = {"task_id": "a", "state": "completed", "video_url": "u", "request": {"prompt": "p"}}
    task = normalize("luma", record)

    assert task.response == record
    assert task.request == {"prompt": "p"}
    assert task.decode(dict[str, object]) == record


@pytest.mark.parametrize("section", ["request", "response"])
@pytest.mark.parametrize("value", ["text", ["a"], 5, True])
def test_section_that_is_not_an_object_raises_on_access(section: str, value: object) -> None:
    """The error names the section and the task."""
    task = normalize("luma", {"id": "a-task", section: value})

    with pytest.raises(ProtocolError, match=f"the {section} of luma task a-task does not fit"):
        getattr(task, section)


@pytest.mark.parametrize("section", ["request", "response"])
@pytest.mark.parametrize("raw", [b"", b"no JSON", b"[]", b'{"request": {"a"', b"\xff"])
def test_corrupt_stored_record_raises_protocol_error(section: str, raw: bytes) -> None:
    """A stored task whose record was truncated raises only the documented error."""
    task = Task(provider="luma", id="a-task", state=TaskState.SUCCEEDED, raw=raw)

    with pytest.raises(ProtocolError):
        getattr(task, section)
    with pytest.raises(ProtocolError):
        task.decode(dict[str, object])


def test_decode_returns_the_requested_type() -> None:
    """The type may be a dict or a Struct with some of the response's fields."""

    class Mine(msgspec.Struct):
        video_url: str

    assert TASK.decode(Mine) == Mine(video_url="https://cdn.example.com/a.mp4")
    assert TASK.decode(dict[str, str]) == RECORD["response"]


def test_decode_error_names_the_task_the_type_and_the_cause() -> None:
    """The error says which value has an unexpected type."""
    with pytest.raises(
        ProtocolError, match=r"the response of luma task a-task does not fit dict.*Expected `int`, got `str`"
    ) as caught:
        TASK.decode(dict[str, int])

    assert caught.value.excerpt.startswith('{"state":"completed"')
    assert isinstance(caught.value.__cause__, msgspec.ValidationError)


def test_unhashable_data_and_unsupported_types_raise_different_errors() -> None:
    """A list as a set's item is an error in the data; a type that msgspec does not support is the caller's error."""
    task = normalize("luma", {"id": "a-task", "response": {"state": "completed", "sizes": [[1, 2]]}})

    with pytest.raises(ProtocolError, match="luma task a-task does not fit"):
        task.decode(dict[str, set])
    with pytest.raises(TypeError, match="not supported"):
        task.decode(dict[str, "Unknown"])  # type: ignore[name-defined]  # noqa: F821  # the point of the test


def test_decode_without_a_response_raises() -> None:
    """The error has the state and the id, the id cut to 256 characters."""
    task = normalize("luma", {"id": "x" * 1000, "response": None})

    with pytest.raises(ProtocolError, match=r"luma task x{256} has no response yet: it is pending"):
        task.decode(dict[str, object])


# ------------------------------------------------------------------------------------------------ pydantic, FastAPI


class Job(pydantic.BaseModel):
    """A model of a web service, with tasks."""

    task: Task
    others: list[Task] = []


def test_pydantic_writes_and_reads_tasks() -> None:
    """A model may have tasks: it writes them as `to_dict` does, and reads tasks and their plain values."""
    job = Job(task=TASK, others=[TASK])

    assert job.task is TASK
    assert job.model_dump() == {"task": TASK.to_dict(), "others": [TASK.to_dict()]}
    assert json.loads(job.model_dump_json()) == job.model_dump()
    for read in (Job.model_validate_json(job.model_dump_json()), Job.model_validate(job.model_dump())):
        assert read.task.to_dict() == TASK.to_dict()


@pytest.mark.parametrize("value", [7, {}, {"provider": object()}, {"id": 2**70, "provider": 1}])
def test_pydantic_refuses_what_is_no_task(value: object) -> None:
    """It is an error of validation, as for any field."""
    with pytest.raises(pydantic.ValidationError):
        Job.model_validate({"task": value})


def test_json_schema_has_the_keys_of_the_plain_values() -> None:
    """OpenAPI documents have no references to schemas that they do not contain, and no docstrings."""
    for mode in ("validation", "serialization"):
        schema = pydantic.TypeAdapter(Task).json_schema(mode=mode)

        assert set(schema["properties"]) == set(TASK.to_dict())
        assert schema["required"] == ["provider", "id", "state"]
        assert schema["properties"]["artifacts"]["items"]["properties"]["url"] == {"type": "string"}
        assert "$ref" not in json.dumps(schema)
        assert json.dumps(schema).count("description") == 1
