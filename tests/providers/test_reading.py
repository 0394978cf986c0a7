"""The values of a record, in the spellings that services use: each is read, or is None."""

from __future__ import annotations

import datetime as dt
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import Artifact, ArtifactKind, ProtocolError, TaskError
from acetasks._records import RecordHead, ResponseHead
from acetasks.providers import ArtifactField, ProviderSpec
from acetasks.providers.heads import read_head
from acetasks.providers.reading import (
    Document,
    find_error,
    is_missing,
    read_epoch,
    read_error_code,
    read_progress,
    read_text,
)

#: Any value that JSON can have.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["percent", "a"]), inner),
    max_leaves=4,
)
FILE = ArtifactKind.FILE


# ---------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("text", "text"), ("  text\n", "text"), (7, "7"), (0, "0"), (1.5, "1.5"), (-3, "-3")),
        *(("", None), (" \t", None), (None, None), (True, None), (False, None), ([], None), (["a"], None), ({}, None)),
    ],
)
def test_a_text_is_read(value: object, expected: str | None) -> None:
    """Ids and codes come as texts and as numbers; what is empty says nothing."""
    assert read_text(value) == expected


# ------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0, 0.0), (40, 40.0), (99.5, 99.5), (100, 100.0), ("100%", 100.0), ("40 %", 40.0), (" 7 ", 7.0)),
        *(({"percent": 35}, 35.0), ({"percent": "35%"}, 35.0), ({"stage": "producing"}, None), ({}, None)),
        *((100.1, None), (-1, None), ("101%", None), ("-1", None), ("soon", None), ("", None), ("%", None)),
        *((None, None), (True, None), (False, None), ([40], None), ({"percent": {"percent": 1}}, None)),
        *((math.nan, None), (math.inf, None), ("nan", None), ("inf", None), ("1e999", None), ("9" * 400, None)),
        *((10**400, None), (-(10**400), None), ({"percent": 10**400}, None)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_progress_is_read(value: object, expected: float | None) -> None:
    """Producer sends `"100%"`, maestro an object, others a number; what is no percentage is none."""
    assert read_progress(value) == expected


def test_a_number_may_have_another_limit_or_none() -> None:
    """Seconds of work are read by the same rules, without an upper end."""
    assert read_progress(1976.5, most=None) == 1976.5
    assert read_progress(1e308, most=None) == 1e308
    assert read_progress(math.inf, most=None) is None
    assert read_progress(7, most=5.0) is None
    assert read_progress(5, most=5.0) == 5.0


@given(VALUES, st.none() | st.floats(0, 1e6))
def test_reading_a_number_never_fails(value: object, most: float | None) -> None:
    """Whatever stands there, the answer is None or a float from 0 to the limit."""
    found = read_progress(value, most=most)

    assert found is None or (type(found) is float and 0 <= found < math.inf)
    assert found is None or most is None or found <= most


# --------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1736304669.779, 1736304669.779),
        (1785125529, 1785125529.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("2026-07-25T17:20:01Z", 1785000001.0),
        ("2026-07-25T17:20:01.5+00:00", 1785000001.5),
        ("2026-07-25T19:20:01+02:00", 1785000001.0),
        (" 2026-07-25 17:20:01 ", 1785000001.0),
        *((None, None), (0, None), (-1, None), (True, None), ("", None), ("soon", None), ([], None), ({}, None)),
        *((math.nan, None), (math.inf, None), (10**400, None), ("2026-13-01T00:00:00Z", None), ("03:57", None)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_time_is_read(value: object, expected: float | None) -> None:
    """Numbers are seconds since the epoch, texts are ISO 8601 and in UTC if they do not say where; 0 is no time."""
    assert read_epoch(value) == expected


def test_a_time_without_a_zone_is_meant_where_the_provider_is() -> None:
    """Veo's items are in UTC+8 without saying so: 17:21:45 there is 09:21:45 in UTC."""
    assert read_epoch("2025-07-25 17:21:45", 8.0) == read_epoch("2025-07-25T09:21:45Z") == 1753435305.0
    assert read_epoch("2025-07-25 17:21:45", -3.5) == 1753435305.0 + 11.5 * 3600
    assert read_epoch("2025-07-25T17:21:45Z", 8.0) == 1753435305.0 + 8 * 3600
    assert read_epoch(1753435305, 8.0) == 1753435305.0


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001  # the zone is what is tested
    st.floats(-14, 14),
)
def test_a_zone_moves_a_time_by_its_hours(moment: dt.datetime, offset: float) -> None:
    """A text without a zone is as many hours earlier as the provider is east."""
    here, there = read_epoch(moment.isoformat(), 0.0), read_epoch(moment.isoformat(), offset)

    assert here is not None
    assert there == pytest.approx(here - offset * 3600, abs=1e-3)


@given(VALUES, st.sampled_from([0.0, 8.0, -3.5]))
def test_reading_a_time_never_fails(value: object, offset: float) -> None:
    """Whatever stands there, the answer is None or a finite number of seconds."""
    found = read_epoch(value, offset)

    assert found is None or (type(found) is float and math.isfinite(found))


# -------------------------------------------------------------------------------------------------------- errors


def error_of(**record: object) -> TaskError:
    """Find the error of a record; its response is what `response` has, or nothing."""
    head, _ = read_head(msgspec.json.encode(record))
    return find_error(head.response if isinstance(head.response, ResponseHead) else ResponseHead(), head)


def test_the_error_object_of_the_response_comes_first() -> None:
    """It is the provider's own; what else is said is about the same failure in other words."""
    found = error_of(
        response={"error": {"code": "c", "message": "m"}, "message": "n", "status": 400, "state": "failed"},
        error={"code": "d", "message": "o"},
        detail="p",
    )

    assert found == TaskError(code="c", message="m")


def test_the_error_object_of_the_record_comes_second() -> None:
    """It counts before any text, even one in the response."""
    assert error_of(response={"error": "text"}, error={"message": "o"}) == TaskError(message="o")
    assert error_of(response={"error": {}}, error={"code": "d"}) == TaskError(code="d", message="d")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "c", "message": "m"}, TaskError(code="c", message="m")),
        ({"message": "m"}, TaskError(message="m")),
        ({"code": "c"}, TaskError(code="c", message="c")),
        ({"code": 1026, "message": " m "}, TaskError(code="1026", message="m")),
        ({"code": "CONTENT_REJECTED", "message": ""}, TaskError(code="CONTENT_REJECTED", message="CONTENT_REJECTED")),
        (
            {"type": "rate_limit", "message": "m", "http_code": "429"},
            TaskError(code="rate_limit", message="m"),
        ),
        ({"http_code": "422", "message": "m"}, TaskError(code="422", message="m")),
        ({"code": "c", "detail": "d"}, TaskError(code="c", message="d")),
        ({"code": "c", "message": {"text": "m"}}, TaskError(code="c", message="c")),
        ({"message": ["m"]}, TaskError(message="no reason given")),
    ],
    ids=repr,
)
def test_an_error_object_is_read_in_each_of_its_spellings(error: dict[str, object], expected: TaskError) -> None:
    """Ace Data Cloud has `code`, minimax's workers have `type` and `http_code`; a message is never missing."""
    assert error_of(response={"error": error}) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"response": {"error": "provider timeout"}}, TaskError(message="provider timeout")),
        ({"error": "a", "errorDetails": "b", "code": 200}, TaskError(message="a (b)")),
        ({"error": "a", "errorDetails": "a"}, TaskError(message="a")),
        ({"error": "Job has expired", "code": 410}, TaskError(code="410", message="Job has expired")),
        ({"error": "refused", "code": "forbidden"}, TaskError(code="forbidden", message="refused")),
        ({"response": {"error": "b"}, "error": "a"}, TaskError(message="b")),
        ({"response": {"error": " "}, "error": "a"}, TaskError(message="a")),
    ],
    ids=repr,
)
def test_an_error_that_is_a_text_is_read(record: dict[str, object], expected: TaskError) -> None:
    """useapi adds details and the HTTP status as a code, which is 200 for failed jobs and then none."""  # noqa: D403  # the service's name
    assert error_of(**record) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"response": {"status": 400, "message": "m"}}, TaskError(code="400", message="m")),
        ({"detail": "d", "code": "timeout", "status": "failed"}, TaskError(code="timeout", message="d")),
        ({"response": {"message": "m"}, "detail": "d"}, TaskError(message="m")),
    ],
    ids=repr,
)
def test_a_message_without_an_error_is_read(record: dict[str, object], expected: TaskError) -> None:
    """Fish has a status and a message, captcha a code and a detail."""
    assert error_of(**record) == expected


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"status": "dead", "state": "b"}, "dead"),
        ({"state": "failed", "response": {"state": "b"}}, "failed"),
        ({"response": {"status": "rejected", "state": "b"}}, "rejected"),
        ({"response": {"state": "cancelled"}}, "cancelled"),
    ],
    ids=repr,
)
def test_a_failure_without_a_reason_names_its_word(record: dict[str, object], word: str) -> None:
    """A word tells a cancelled task from a failed one, where nothing else does."""
    assert error_of(**record) == TaskError(message=f"the service gave no reason (state {word!r})")


def test_a_failure_without_anything_says_so() -> None:
    """The message is never empty, and never pretends to be the service's."""
    assert error_of(id="a") == TaskError(message="the service gave no reason")


@pytest.mark.parametrize(
    "record",
    [{"response": {"error": {"message": "x" * 5000}}}, {"error": "x" * 5000}, {"detail": "x" * 5000}],
    ids=["object", "text", "detail"],
)
def test_a_reason_is_cut(record: dict[str, object]) -> None:
    """A thousand characters of a reason are enough to read, and little enough to keep."""
    assert error_of(**record).message == "x" * 1024


def test_the_code_of_an_error_object() -> None:
    """The first of `code`, `type` and `http_code` that says something."""
    assert read_error_code({"code": "a", "type": "b", "http_code": "c"}) == "a"
    assert read_error_code({"code": "", "type": "b", "http_code": "c"}) == "b"
    assert read_error_code({"http_code": 429}) == "429"
    assert read_error_code({"message": "m"}) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"code": "not_found", "message": "x"}}, True),
        ({"error": {"code": "no_task", "message": "x"}}, True),
        ({"error": {"code": "no_api", "message": "no such task API"}}, False),
        ({"error": {"code": "bad_request", "message": "task id is required"}}, False),
        ({"error": {"message": "Task not found"}}, True),
        ({"error": {"message": "Not Found"}}, False),
        ({"error": "Unable to locate job a"}, True),
        ({"detail": "task not found"}, True),
        ({"detail": "Not Found"}, False),
        ({"detail": "Not Found", "error": "no such job"}, True),
        ({"message": "task"}, False),
        ({}, False),
    ],
    ids=repr,
)
def test_a_404_means_the_task_if_it_says_so(body: dict[str, object], expected: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """The code decides; without one, a text that names the task or the job does."""
    assert is_missing(msgspec.convert(body, RecordHead)) is expected


# ----------------------------------------------------------------------------------------------------- documents


def document(response: object, *fields: ArtifactField, unfinished: tuple[int, ...] = (), **spec: object) -> Document:
    """Read a response by a row of the test's own."""
    row = ProviderSpec(slug="mine", artifacts=fields, **spec)  # type: ignore[arg-type]  # fields of a row
    return Document(row, msgspec.json.encode({"response": response}), set(unfinished))


def urls(response: object, path: str, unfinished: tuple[int, ...] = ()) -> list[str]:
    """List the URLs that stand at a path."""
    return [found.url for found in document(response, ArtifactField(path, FILE), unfinished=unfinished).artifacts]


@pytest.mark.parametrize(
    ("path", "response", "expected"),
    [
        ("url", {"url": "a"}, ["a"]),
        ("data.url", {"data": {"url": "a"}}, ["a"]),
        ("data.content.url", {"data": {"content": {"url": "a"}}}, ["a"]),
        ("data.*.url", {"data": [{"url": "a"}, {"url": "b"}]}, ["a", "b"]),
        ("data.*.url", {"data": {"url": "a"}}, ["a"]),
        ("urls.*", {"urls": ["a", "b"]}, ["a", "b"]),
        ("urls.*", {"urls": "a"}, ["a"]),
        ("data.variants.*.url", {"data": {"variants": [{"url": "a"}, {"url": "b"}]}}, ["a", "b"]),
        ("data.url", {"data": [{"url": "a"}]}, []),
        ("data.*.url", {"data": None}, []),
        ("data.*.url", {"data": [None, "a", ["b"], {"url": "c"}]}, ["c"]),
        ("url", {}, []),
        ("url", None, []),
        ("url", "text", []),
    ],
)
def test_a_path_leads_to_what_it_names(path: str, response: object, expected: list[str]) -> None:
    """A star is every entry of a list, or the one object that stands in its place; a wrong path leads nowhere."""
    assert urls(response, path) == expected


def test_an_unfinished_items_files_do_not_count() -> None:
    """They are previews, or broken; the positions are those of the objects in the list."""
    data = [None, {"url": "a"}, {"url": "b"}, "text", {"url": "c"}]

    assert urls({"data": data}, "data.*.url", unfinished=(1,)) == ["a", "c"]
    assert urls({"data": {"url": "a"}}, "data.*.url", unfinished=(0,)) == []
    assert urls({"data": {"url": "a"}}, "data.url", unfinished=(0,)) == []
    assert urls({"data": {"content": {"url": "a"}}}, "data.content.url", unfinished=(0,)) == []
    assert urls({"url": "a", "data": {"url": "b"}}, "url", unfinished=(0,)) == ["a"]


def test_only_the_responses_own_data_has_items() -> None:
    """A list of the same name further down is no list of items."""
    assert urls({"out": {"data": [{"url": "a"}]}}, "out.data.*.url", unfinished=(0,)) == ["a"]


def test_sizes_stand_beside_the_url() -> None:
    """Each artifact has the prefix of its own width and height; without one it has no size."""
    response = {"url": "a", "video_width": 8, "video_height": 6, "width": 4, "height": 0, "thumb": "b", "plain": "c"}
    found = document(
        response,
        ArtifactField("url", FILE, size="video"),
        ArtifactField("thumb", FILE, role="thumbnail", size=""),
        ArtifactField("plain", FILE),
    ).artifacts

    assert found == (
        Artifact(url="a", kind=FILE, width=8, height=6),
        Artifact(url="b", kind=FILE, role="thumbnail", width=4),
        Artifact(url="c", kind=FILE),
    )


def test_only_a_main_artifact_is_what_was_asked_for() -> None:
    """A thumbnail alone does not make a task done."""
    thumbnail = ArtifactField("thumb", FILE, role="thumbnail")

    assert document({"url": "a"}, ArtifactField("url", FILE), thumbnail).has_main
    assert not document({"thumb": "a"}, ArtifactField("url", FILE), thumbnail).has_main


def test_a_preview_is_known_by_its_host() -> None:
    """The beginning of the host name counts, not that of the URL, nor a like name elsewhere in it."""
    field = ArtifactField("data.*.url", FILE)
    found = [
        "https://pipe.a.example/x",
        "https://cdn.example/pipe.",
        "http://a.pipe.example",
        "HTTPS://PIPE.A.EXAMPLE/y",
    ]
    response = {"data": [{"url": url} for url in found]}

    assert [it.url for it in document(response, field, preview_hosts=("pipe.",)).artifacts] == found[1:3]
    assert [it.url for it in document(response, field).artifacts] == found


def test_a_file_sent_as_text_becomes_a_data_url() -> None:
    """OpenAI's images may come as base64 in `b64_json`: users can treat them like any other URL."""
    [found] = document({"data": [{"b64_json": "aGk="}]}, ArtifactField("data.*.b64_json", ArtifactKind.IMAGE)).artifacts

    assert found == Artifact(url="data:image/png;base64,aGk=", kind=ArtifactKind.IMAGE)


def test_the_end_stands_where_the_row_says() -> None:
    """The end of the work is the latest of its items', in the provider's own zone."""
    data = [{"end": "2025-07-25 17:21:45"}, {"end": "2025-07-25 17:20:00"}, {"end": None}]
    found = document({"data": data}, finished_path="data.*.end", utc_offset=8.0)

    assert found.finished_at == 1753435305.0


def test_a_time_that_is_not_there_is_none() -> None:
    """A row may name a place that a record does not have."""
    assert document({"data": []}, finished_path="data.*.end").finished_at is None


def test_a_response_that_cannot_be_decoded_is_a_protocol_error() -> None:
    """What was skipped while the record's head was read may turn out to be bad when it is needed."""
    with pytest.raises(ProtocolError, match="a response cannot be read"):
        Document(ProviderSpec(slug="mine"), b'{"response": {"a": 1e999}}', set())


def test_a_flat_record_is_its_own_response() -> None:
    """A callback's artifacts stand at its top; those of a response that is none are not looked for."""
    row = ProviderSpec(slug="mine", artifacts=(ArtifactField("url", FILE),))

    assert [found.url for found in Document(row, b'{"url": "a"}', is_flat=True).artifacts] == ["a"]
    assert Document(row, b'{"url": "a"}').artifacts == ()
