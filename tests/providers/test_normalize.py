"""The normaliser: the order of its questions pinned by examples, what it must always hold as properties."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import hypothesis
import msgspec
import pytest
from hypothesis import strategies as st

from acetasks import Artifact, ArtifactKind, ProtocolError, Task, TaskError, TaskState, UnknownProviderError, normalize
from acetasks.providers import ArtifactField, ProviderSpec, lookup, read_record, specs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLUGS = tuple(spec.slug for spec in specs())
PENDING, RUNNING, SUCCEEDED, PARTIAL, FAILED, NOT_FOUND = TaskState
URL = "https://cdn.example.com/a.mp4"
QUEUED_WORDS = ("pending", "queued", "created", "submitted")
RUNNING_WORDS = (
    *("processing", "running", "started", "progress", "generating"),
    *("planning", "producing", "scripting", "rendering", "captioning", "qc"),
)
DONE_WORDS = ("succeeded", "succeed", "success", "completed", "complete", "finished", "done", "ready")
FAILED_WORDS = (
    *("failed", "failure", "fail", "error", "cancelled", "canceled", "rejected", "dead", "moderated", "expired"),
)
WAITING_WORDS = {*QUEUED_WORDS, *RUNNING_WORDS}


def state_of(record: object, slug: str = "luma", **options: int) -> TaskState:
    """Read a record and give its state only."""
    return normalize(slug, record, **options).state


def is_unconfirmed(record: object) -> bool:
    """Tell whether a luma record looks failed but may not be."""
    return read_record(lookup("luma"), json.dumps(record).encode()).unconfirmed


# ------------------------------------------------------------------------------------- the order of the questions


@pytest.mark.parametrize("body", ["{}", " { } ", "{}\r\n\r\n\r\n", "{\n\n\n\n\n\n\n\n}", '{"task": {}}'])
def test_question_1_an_empty_object_is_not_found(body: str) -> None:
    """1. Most providers answer HTTP 200 with `{}`, however it is spaced, for an id that they do not know."""
    assert state_of(body) is NOT_FOUND


def test_question_1_a_404_that_names_the_task_is_not_found() -> None:
    """1. maestro, digital-human and captcha answer an unknown id with 404, each in its own words."""
    assert state_of({"detail": "task not found"}, http_status=404) is NOT_FOUND
    assert state_of({"error": {"code": "no_task", "message": "gone"}}, http_status=404) is NOT_FOUND
    assert state_of({"error": {"code": "not_found"}, "success": False}, http_status=404) is NOT_FOUND
    assert state_of({"error": "Unable to locate job 7"}, http_status=404) is NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [{"error": {"code": "no_api", "message": "no such task API"}}, {"detail": "Not Found"}, {"error": {}}, {}],
)
def test_question_1_a_404_of_the_path_is_no_answer(body: dict[str, object]) -> None:
    """1. A wrong path must not be taken for a thousand lost tasks."""
    with pytest.raises(ProtocolError, match="HTTP 404"):
        normalize("luma", body, http_status=404)


def test_question_1_a_wrapped_record_is_unwrapped() -> None:
    """1. minimax puts the record into `task`; a `task` beside a response is a field like any other."""
    task = normalize("minimax", {"task": {"id": "a", "status": "running"}})
    assert (task.id, task.state) == ("a", RUNNING)

    task = normalize("luma", {"id": "b", "task": {"id": "a", "status": "running"}, "response": {"state": "completed"}})
    assert (task.id, task.state) == ("b", SUCCEEDED)


def test_question_1_a_record_without_response_is_its_own() -> None:
    """1. digital-human, captcha and every callback put the response's fields at the top."""
    task = normalize("luma", {"task_id": "a", "success": True, "state": "completed", "video_url": URL})

    assert (task.id, task.state) == ("a", SUCCEEDED)
    assert [artifact.url for artifact in task.artifacts] == [URL]


def test_question_2_a_numeric_status_of_an_error_is_a_failure() -> None:
    """2. fish fails with `{status: 400, message}` and neither `success` nor `error`: it was polled for ever."""
    task = normalize("fish", {"id": "a", "response": {"status": 400, "message": "no such voice"}})

    assert task.state is FAILED
    assert task.error == TaskError(code="400", message="no such voice")


def test_question_2_a_numeric_status_beside_a_result_is_none() -> None:
    """2. A number is no state word: what was made says that the task is done."""
    assert state_of({"response": {"status": 500, "video_url": URL}}) is SUCCEEDED


@pytest.mark.parametrize("status", [200, 399, True, 0, -500])
def test_question_2_other_numbers_are_no_state(status: object) -> None:
    """2. A number below 400 says nothing, nor does a boolean."""
    assert state_of({"response": {"status": status}}) is PENDING


def test_question_2_an_items_number_is_no_state() -> None:
    """2. webextrator's `data.status` is the HTTP status of the page that was rendered."""
    assert state_of({"finished_at": 5, "response": {"data": {"status": 404}}}, "webextrator") is SUCCEEDED


@pytest.mark.parametrize("spot", ["top", "response"])
def test_question_3_a_failed_word_decides(spot: str) -> None:
    """3. A failed word at the top or in the response is final, whatever `success`, times or items say."""
    word = {"state": "failed"}
    record = {"id": "a", "finished_at": 5, "response": {"success": True, "data": [{"state": "processing"}]}}
    (record if spot == "top" else record["response"]).update(word)  # type: ignore[attr-defined]  # a dict, both

    assert state_of(record) is FAILED


def test_question_3_an_error_object_beats_success() -> None:
    """3. hailuo sends `success: true` beside an error object: the error wins."""
    assert state_of({"response": {"success": True, "error": {"message": "it failed"}}}) is FAILED


def test_question_3_an_error_object_needs_no_time_of_finishing() -> None:
    """3. An error object is final without `finished_at`: tasks with one were polled to the deadline."""
    assert state_of({"response": {"success": False, "error": {"code": "api_error", "message": "no"}}}) is FAILED


def test_question_3_an_error_object_beats_a_stale_item() -> None:
    """3. A failure leaves items behind that still say processing."""
    record = {"response": {"success": False, "error": {"message": "no"}, "data": [{"state": "processing"}]}}

    assert state_of(record) is FAILED


@pytest.mark.parametrize("error", [{"code": "nsfw"}, {"type": "rejected"}, {"detail": "no"}, {"reason": "refused"}])
@pytest.mark.parametrize("rest", [{}, {"finished_at": 5}])
def test_question_3_any_error_object_that_says_something_counts(
    error: dict[str, object], rest: dict[str, object]
) -> None:
    """3. An error in a spelling that nobody foresaw is still one: passed over, it would read as pending or done."""
    assert state_of({"id": "a", **rest, "response": {"error": error}}) is FAILED


@pytest.mark.parametrize("error", [{}, None, "", [], False])
def test_question_3_an_error_that_says_nothing_is_none(error: object) -> None:
    """3. `error: {}` and `error: null` are sent with tasks that are well."""
    assert state_of({"response": {"success": True, "error": error, "state": "completed"}}) is SUCCEEDED


def test_question_3_what_was_made_before_the_failure_is_partial() -> None:
    """3. Of two songs one failed: the other is paid for and must reach the caller, with the reason."""
    data = [{"audio_url": URL}]
    task = normalize("suno", {"response": {"success": False, "data": data, "error": {"message": "second failed"}}})

    assert task.state is PARTIAL
    assert [artifact.url for artifact in task.artifacts] == [URL]
    assert task.error == TaskError(message="second failed")


def test_question_3_a_cover_alone_is_not_partial() -> None:
    """3. A cover or a thumbnail without what it belongs to is nothing that was asked for."""
    data = [{"image_url": URL}]
    task = normalize("suno", {"response": {"success": False, "data": data, "error": {"message": "no"}}})

    assert (task.state, task.artifacts) == (FAILED, ())


@pytest.mark.parametrize("spot", ["top", "response"])
@pytest.mark.parametrize("word", ["pending", "processing"])
def test_question_4_a_waiting_word_outranks_every_sign_of_the_end(spot: str, word: str) -> None:
    """4. `success: true`, a URL and even `finished_at` are sent while a task still runs."""
    response: dict[str, object] = {"success": True, "video_url": URL, "finished_at": 5}
    record: dict[str, object] = {"id": "a", "finished_at": 5, "response": response}
    (record if spot == "top" else response)["status"] = word
    (response if spot == "top" else record)["status"] = "succeeded"

    assert state_of(record) in {PENDING, RUNNING}


def test_question_5_one_waiting_item_keeps_the_task_waiting() -> None:
    """5. suno sends one song done and one running with `success: true`: done only when every item is."""
    data = [{"state": "succeeded", "audio_url": URL}, {"state": "running", "audio_url": URL + "?b"}]
    task = normalize("suno", {"finished_at": 5, "response": {"success": True, "data": data}})

    assert (task.state, task.artifacts) == (RUNNING, ())


def test_question_5_failed_items_are_a_failure() -> None:
    """5. pika says that a task has failed in its items only, beside `success: true`."""
    assert state_of({"response": {"success": True, "data": [{"state": "failed"}]}}, "pika") is FAILED


def test_question_5_some_failed_and_the_rest_done_is_partial() -> None:
    """5. Only what the finished items made is an artifact; a failed one's URL is a preview or broken."""
    data = [{"state": "failed", "audio_url": URL}, {"state": "succeeded", "audio_url": URL + "?b"}]
    task = normalize("suno", {"response": {"success": True, "data": data}})

    assert task.state is PARTIAL
    assert [artifact.url for artifact in task.artifacts] == [URL + "?b"]


def test_question_5_a_failed_item_is_never_a_success() -> None:
    """5. A word that nobody documented, beside a failed item and a time of finishing, does not make it well."""
    record = {"id": "a", "state": "archived", "finished_at": 5, "response": {"data": [{"state": "failed"}]}}

    assert state_of(record) is not SUCCEEDED


@pytest.mark.parametrize("response", [{"success": False}, {"error": "provider timeout"}, {"error": ["a", "b"]}])
def test_question_6_a_loose_failure_is_final_only_when_finished(response: dict[str, object]) -> None:
    """6. `success: false` or a bare text as error may be a passing trouble, unless the task has ended."""
    assert state_of({"id": "a", "response": response}) is PENDING
    assert is_unconfirmed({"id": "a", "response": response})

    assert state_of({"id": "a", "finished_at": 5, "response": response}) is FAILED
    assert state_of({"id": "a", "response": response | {"finished_at": 5}}) is FAILED
    assert not is_unconfirmed({"id": "a", "finished_at": 5, "response": response})


def test_question_6_a_finished_loose_failure_keeps_what_was_made() -> None:
    """6. A finished task with `success: false` and a result is partial, by the same rule as with an error object."""
    assert state_of({"finished_at": 5, "response": {"success": False, "video_url": URL}}) is PARTIAL


def test_question_6_a_loose_failure_beats_done_words() -> None:
    """6. `success: false` is asked before done words: a client's test has both, and it is a failure."""
    assert state_of({"finished_at": 5, "response": {"success": False, "state": "succeeded"}}) is FAILED


@pytest.mark.parametrize(
    "record",
    [
        {"status": "succeeded", "response": None},
        {"response": {"state": "completed"}},
        {"response": {"data": [{"state": "succeeded"}, {"state": "complete"}]}},
        {"response": {"data": {"status": "done"}}},
    ],
)
def test_question_7_done_words_alone_are_enough(record: dict[str, object]) -> None:
    """7. When there are words and all of them say done, the task is: captions and tokens come without a URL."""
    assert state_of(record) is SUCCEEDED


@pytest.mark.parametrize(
    "record",
    [
        {"finished_at": 5},
        {"finished_at": "2026-05-02T10:30:05.456Z", "response": {"kind": "render"}},
        {"response": {"finished_at": 5, "success": True}},
        {"finished_at": 5, "state": "archived"},
    ],
)
def test_question_8_a_time_of_finishing_is_enough(record: dict[str, object]) -> None:
    """8. It is stamped at the end only, so it beats a word that nobody documented."""
    assert state_of(record) is SUCCEEDED


@pytest.mark.parametrize("record", [{"status": "storyboarding"}, {"response": {"state": "new", "video_url": URL}}])
def test_question_9_an_unknown_word_is_not_done(record: dict[str, object]) -> None:
    """9. A stage that nobody documented is no end, even beside a URL; the word is reported."""
    reading = read_record(lookup("luma"), json.dumps(record).encode())

    assert reading.task.state is RUNNING
    assert reading.unknown_word in {"storyboarding", "new"}


def test_question_9_a_progress_short_of_the_end_is_not_done() -> None:
    """9. midjourney shows a preview image from the first percent on."""
    record = {"response": {"success": True, "image_url": URL, "progress": 46}}
    assert state_of(record, "midjourney") is RUNNING

    record["response"]["progress"] = 100
    assert state_of(record, "midjourney") is SUCCEEDED


def test_question_10_something_made_is_enough() -> None:
    """10. flux, pixverse and others have no word and no time of finishing: the result is the only sign."""
    assert state_of({"response": {"success": True, "data": [{"image_url": URL}]}}, "flux") is SUCCEEDED
    assert state_of({"response": {"data": [{"image_url": URL}]}}, "flux") is SUCCEEDED


def test_question_10_data_are_the_result_where_no_files_are_made() -> None:
    """10. webextrator's result is the page itself: `success: true` with data is done there, and only there."""
    record = {"response": {"success": True, "data": {"kind": "extract", "title": "A"}}}

    assert state_of(record, "webextrator") is SUCCEEDED
    assert state_of(record, "veo") is PENDING
    assert state_of({"response": {"success": True, "data": []}}, "webextrator") is PENDING
    assert state_of({"response": {"data": {"title": "A"}}}, "webextrator") is PENDING


def test_question_10_a_side_artifact_is_not_enough() -> None:
    """10. A thumbnail may be there before the video is."""
    assert state_of({"response": {"success": True, "thumbnail_url": URL}}) is PENDING


def test_question_10_a_preview_is_not_enough() -> None:
    """10. suno's `audiopipe` URLs play what is not yet finished."""
    data = [{"audio_url": "https://audiopipe.suno.ai/?item_id=a"}]

    assert state_of({"response": {"success": True, "data": data}}, "suno") is PENDING


@pytest.mark.parametrize(
    "record",
    [
        {"id": "a"},
        {"id": "a", "response": None},
        {"id": "a", "response": {}},
        {"id": "a", "response": {"task_id": "a"}},
        {"task_id": "a"},
        {"success": True, "task_id": "a"},
        {"id": "a", "response": {"success": True, "data": []}},
        {"id": "a", "response": {"success": True, "data": [{"video_url": ""}, {"video_url": None}]}},
    ],
)
@pytest.mark.parametrize("slug", ["luma", "veo", "suno", "flux"])
def test_question_11_a_record_that_says_nothing_is_pending(record: dict[str, object], slug: str) -> None:
    """11. An ack, an empty list and an empty URL are sent before anything is made, with `success: true`."""
    assert state_of(record, slug) is PENDING


# --------------------------------------------------------------------------------------------- words and their spots


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((word, PENDING) for word in QUEUED_WORDS),
        *((word, RUNNING) for word in RUNNING_WORDS),
        *((word, SUCCEEDED) for word in DONE_WORDS),
        *((word, FAILED) for word in FAILED_WORDS),
    ],
)
def test_each_documented_word_has_its_meaning(word: str, expected: TaskState) -> None:
    """A word means the same at each of its spots, in every provider that has it."""
    records = [
        {"id": "a", "status": word},
        {"id": "a", "state": word, "response": {}},
        {"id": "a", "response": {"state": word}},
        {"id": "a", "response": {"status": word}},
        {"id": "a", "response": {"data": {"status": word}}},
        {"id": "a", "response": {"data": [{"state": word}]}},
    ]

    assert [state_of(record) for record in records] == [expected] * len(records)


@pytest.mark.parametrize(
    "record",
    [
        {"request": {"state": "failed", "status": "failed"}},
        {"response": {"output": {"state": "failed"}}},
        {"response": {"data": {"content": {"status": "failed"}}}},
        {"response": {"data": [{"progress": [{"state": "failed"}]}]}},
        {"response": {"stage": "failed", "kind": "error"}},
        {"response": {"data": [["failed"], "failed", 5]}},
    ],
)
def test_words_stand_at_fixed_spots_only(record: dict[str, object]) -> None:
    """Deeper and differently named fields say other things, so a word found there would be a guess."""
    assert state_of({"id": "a", **record}) is PENDING


def test_a_word_of_a_providers_own_holds_there_only() -> None:
    """Headshots sends `unknown` for tasks in work; elsewhere nobody has documented the word."""
    body = b'{"response": {"status": "unknown"}}'

    assert read_record(lookup("headshots"), body).unknown_word is None
    assert read_record(lookup("luma"), body).unknown_word == "unknown"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"started_at": 5}, RUNNING),
        ({"started_at": None}, PENDING),
        ({"response": {"progress": 1}}, RUNNING),
        ({"response": {"progress": 0}}, PENDING),
        ({"response": {"data": [{"state": "pending"}, {"state": "succeeded"}]}}, RUNNING),
        ({"response": {"data": [{"state": "pending"}, {"state": "running"}]}}, RUNNING),
        ({"started_at": 5, "response": {"state": "queued"}}, PENDING),
    ],
)
def test_work_has_begun_when_something_says_so(record: dict[str, object], expected: TaskState) -> None:
    """A running word, a time of beginning, a progress or a finished item tell running from pending."""
    assert state_of({"id": "a", **record}) is expected


# ------------------------------------------------------------------------------------------------ the other fields


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": "a", "task_id": "b", "jobid": "c", "response": {"task_id": "d"}}, "a"),
        ({"task_id": "b", "jobid": "c", "response": {"task_id": "d"}}, "b"),
        ({"jobid": "c"}, "c"),
        ({"response": {"task_id": "d"}}, "d"),
        ({"id": 7}, "7"),
        ({"id": "", "task_id": "b"}, "b"),
        ({"_id": "x", "job_id": "x", "response": {"data": {"task_id": "x", "id": "x"}}}, ""),
    ],
)
def test_the_id_is_the_tasks_own(record: dict[str, object], expected: str) -> None:
    """The first of the known keys counts; ids within `data` are the upstream's, and `_id` is the database's."""
    assert normalize("seedance", record).id == expected


def test_the_id_that_was_asked_outranks_the_records() -> None:
    """A record that does not repeat its id, or has another, still belongs to the id that was asked."""
    assert read_record(lookup("luma"), b"{}", task_id="asked").task.id == "asked"
    assert read_record(lookup("luma"), b'{"id": "other"}', task_id="asked").task.id == "asked"


def test_the_trace_id_is_the_records_or_the_responses() -> None:
    """The request may have a trace id of the user's own: it is not the service's."""
    assert normalize("luma", {"trace_id": "a", "response": {"trace_id": "b"}}).trace_id == "a"
    assert normalize("luma", {"response": {"trace_id": "b"}}).trace_id == "b"
    assert normalize("luma", {"id": "x", "request": {"trace_id": "c"}}).trace_id is None


def test_times_are_seconds_since_the_epoch() -> None:
    """Records have had numbers since August 2026 and ISO texts before; either is read."""
    record = {"created_at": 1785000000, "started_at": "2026-07-25T17:20:01Z", "finished_at": "2026-07-25T17:20:03.5Z"}
    task = normalize("luma", record)

    assert (task.created_at, task.started_at, task.finished_at) == (1785000000.0, 1785000001.0, 1785000003.5)


def test_a_running_task_has_neither_end_nor_duration() -> None:
    """Veo sends `elapsed` while a task still runs, and others a stale `finished_at`."""
    task = normalize("veo", {"created_at": 1, "elapsed": 42, "finished_at": 9, "status": "processing"})

    assert (task.created_at, task.finished_at, task.duration) == (1.0, None, None)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"elapsed": 7.5, "created_at": 1, "finished_at": 3}, 7.5),
        ({"duration": 6, "created_at": 1, "finished_at": 3}, 6.0),
        ({"created_at": 1, "started_at": 2, "finished_at": 5}, 3.0),
        ({"created_at": 1, "finished_at": 5}, 4.0),
        ({"created_at": 9, "finished_at": 5}, None),
        ({"finished_at": 5}, None),
    ],
)
def test_the_duration_is_that_of_the_work(times: dict[str, object], expected: float | None) -> None:
    """`elapsed` counts, then midjourney's `duration`, then the times; what is before its beginning is not read."""
    assert normalize("midjourney", {**times, "response": {"progress": 100, "duration": 12}}).duration == expected


def test_the_length_of_the_media_is_no_duration() -> None:
    """In a flat record and in the response `duration` is the video's own."""
    flat = normalize("digital-human", {"state": "succeed", "video_url": URL, "duration": 17.2})
    nested = normalize("kling", {"response": {"state": "succeed", "video_url": URL, "duration": "5.1"}})

    assert (flat.duration, nested.duration) == (None, None)


def test_progress_is_the_responses_or_the_records() -> None:
    """Maestro has an object at the top, digital-human a number in the response."""
    assert normalize("maestro", {"status": "producing", "progress": {"percent": 35}}).progress == 35.0
    assert normalize("digital-human", {"progress": 10, "response": {"progress": 40}}).progress == 40.0
    assert normalize("luma", {"response": {"progress": 140}}).progress is None


def test_an_artifact_that_is_named_twice_is_given_once_as_it_was_first() -> None:
    """An image that is its own full-size file stays the main one, with its size, in its place."""
    response = {"image_url": "a", "image_width": 5, "sub_image_urls": ["b", "a"], "raw_image_url": "a", "progress": 100}
    task = normalize("midjourney", {"response": response})

    assert task.artifacts == (
        Artifact(url="a", kind=ArtifactKind.IMAGE, width=5),
        Artifact(url="b", kind=ArtifactKind.IMAGE),
    )


@pytest.mark.parametrize("size", [0, -5, "1024", 1024.5, None, True])
def test_a_size_that_is_none_is_absent(size: object) -> None:
    """Pixverse sends 0 for a size that it does not know."""
    task = normalize("luma", {"response": {"state": "completed", "video_url": URL, "video_width": size}})

    assert task.artifacts == (Artifact(url=URL, kind=ArtifactKind.VIDEO),)


@pytest.mark.parametrize("url", ["", "  ", None, 5, ["x"], {"url": "x"}])
def test_what_is_no_url_is_no_artifact(url: object) -> None:
    """Empty texts and nulls stand for what a task has not made."""
    assert normalize("luma", {"response": {"state": "completed", "video_url": url}}).artifacts == ()


def test_a_url_that_cannot_be_split_is_given_as_it_is() -> None:
    """Whether a URL is a good one is for the downloader to say; the task is done all the same."""
    data = [{"audio_url": "http://[broken"}]

    assert normalize("suno", {"response": {"data": data}}).artifacts[0].url == "http://[broken"


def test_items_that_are_no_objects_do_not_shift_the_others() -> None:
    """Which item failed is told by position: what is no item must not be counted in one place only."""
    data = [None, {"state": "failed", "audio_url": "a"}, "text", {"state": "succeeded", "audio_url": "b"}]
    task = normalize("suno", {"response": {"data": data}})

    assert [artifact.url for artifact in task.artifacts] == ["b"]


def test_a_row_of_ones_own_is_read_by_its_own_fields() -> None:
    """What a provider calls its artifacts, words and times is data: no code knows it."""
    spec = ProviderSpec(
        slug="mine", artifacts=(ArtifactField("out.*.href", ArtifactKind.FILE),), finished_path="out.*.t", words={}
    )
    task = read_record(spec, b'{"id": "a", "response": {"out": [{"href": "u", "t": 3}, {"href": "v", "t": 9}]}}').task

    assert [artifact.url for artifact in task.artifacts] == ["u", "v"]
    assert (task.provider, task.state, task.finished_at) == ("mine", SUCCEEDED, 9.0)


# ----------------------------------------------------------------------------------------------------- payloads


def test_a_payload_may_come_in_any_of_its_forms() -> None:
    """Bytes of any sort, text and decoded objects say the same."""
    record = {"id": "a", "response": {"state": "completed", "video_url": URL, "video_width": 8}}
    body = msgspec.json.encode(record)
    expected = normalize("luma", body)

    for payload in (bytearray(body), memoryview(body), msgspec.Raw(body), body.decode(), record):
        assert normalize("luma", payload) == expected
    assert expected.state is SUCCEEDED


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"   ", b"null", b"[]", b'"text"', b"5", b"true", b"[{}]", b'{"id": "a"', b'{"id": "a"} x'),
        *(b"{'id': 1}", b'{"id": NaN}', b'{"id": Infinity}', b'{"id": "\xff"}', '{"id": "\ud800"}'),
        *(None, 5, 1.5, True, [], [{}], {1, 2}, ..., {"a": ...}, {("a", "b"): 1}, "", "<html></html>"),
    ],
    ids=repr,
)
def test_what_is_no_record_is_a_protocol_error(payload: object) -> None:
    """Whatever comes in place of a record, the caller has one error to catch."""
    with pytest.raises(ProtocolError):
        normalize("luma", payload)


@pytest.mark.parametrize("body", [{"items": [], "count": 0}, {"items": [{"id": "a"}], "total": 1}])
def test_a_batch_is_no_record(body: dict[str, object]) -> None:
    """A whole batch answer, taken for a record, would be a pending task without an id."""
    with pytest.raises(ProtocolError, match="batch"):
        normalize("luma", body)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 409, 413, 429, 500, 502, 503, 504])
def test_an_http_error_is_no_record(status: int) -> None:
    """An error of the request says nothing of the task, even where its body looks like a failed one."""
    with pytest.raises(ProtocolError, match=f"HTTP {status}") as caught:
        normalize("luma", {"id": "a", "status": "failed", "error": {"message": "said"}}, http_status=status)

    assert "said" in caught.value.excerpt


def test_some_http_errors_are_the_tasks_own() -> None:
    """Captcha's 504 and useapi's 410 say that the task itself has failed; elsewhere they do not."""
    failed = {"detail": "timed out", "code": "timeout", "status": "failed", "task_id": "a"}
    assert normalize("captcha", failed, http_status=504).error == TaskError(code="timeout", message="timed out")
    assert state_of({"error": "Job has expired", "code": 410}, "useapi-pixverse", http_status=410) is FAILED

    with pytest.raises(ProtocolError):
        normalize("luma", failed, http_status=504)
    with pytest.raises(ProtocolError):
        normalize("captcha", {"task_id": "a", "status": "processing"}, http_status=504)


@pytest.mark.parametrize("name", ["Luma", "", "luma/../veo", "luma tasks", None, 5, ["luma"]])
def test_a_malformed_name_is_refused_before_anything_is_read(name: object) -> None:
    """The name becomes part of a path: it is looked at before the payload, which is no JSON here."""
    with pytest.raises(UnknownProviderError):
        normalize(name, b"no JSON")  # type: ignore[arg-type]  # the point of the test


def test_a_provider_without_a_row_is_read_by_the_usual_places() -> None:
    """The service adds providers faster than any table: video, audio and image URLs are found all the same."""
    task = normalize("brand-new", {"id": "a", "response": {"success": True, "data": [{"video_url": URL}]}})

    assert (task.provider, task.state, task.artifacts[0].url) == ("brand-new", SUCCEEDED, URL)


# --------------------------------------------------------------------------------------------- hostile payloads


@pytest.mark.parametrize("depth", [50, 900, 100_000])
@pytest.mark.parametrize("place", ['{"request": %s}', '{"response": {"data": %s}}', '{"id": %s}', '{"error": %s}'])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_nesting_without_end_is_survived(depth: int, place: str, brackets: str) -> None:
    """A body of nothing but brackets is read or refused, and never ends in a RecursionError."""
    opening, closing = ("[", "]") if brackets == "[]" else ('{"a":', "}")
    body = place % (opening * depth + "1" + closing * depth)

    assert_total("luma", body)


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", "1" + "0" * 30, "1" + "0" * 400, "-1" + "0" * 400, "1" + "0" * 5000, "1e308", "1e-999", "-0.0"],
    ids=lambda number: f"{number[:8]} of {len(number)}",
)
@pytest.mark.parametrize(
    "place",
    [
        *('{"id": %s}', '{"status": %s}', '{"progress": %s}', '{"progress": {"percent": %s}, "status": "done"}'),
        *('{"created_at": %s}', '{"started_at": %s}', '{"finished_at": %s}', '{"finished_at": 5, "elapsed": %s}'),
        *('{"finished_at": 5, "duration": %s}', '{"finished_at": 5, "created_at": %s}', '{"code": %s, "error": "x"}'),
        *('{"response": {"status": %s}}', '{"response": {"error": {"code": %s}}}', '{"response": {"message": %s}}'),
        '{"response": {"video_url": "u", "video_width": %s}}',
        '{"response": {"data": [{"status": %s, "video_url": "u", "complete_at": %s}]}}',
    ],
)
def test_numbers_out_of_all_measure_are_survived(number: str, place: str) -> None:
    """A number that no float can hold is read or refused wherever it stands, and never ends in an OverflowError."""
    for slug in ("luma", "veo", "fish"):
        assert_total(slug, place.replace("%s", number))


def test_a_bad_number_costs_nothing_where_nobody_looks() -> None:
    """What stands in the request is passed over unread; only asking for it tells that it is bad."""
    task = normalize("luma", b'{"id": "a", "request": {"seed": 1e999}, "response": {"state": "pending"}}')

    assert task.state is PENDING
    with pytest.raises(ProtocolError):
        _ = task.request


def test_invalid_utf8_costs_nothing_where_nobody_looks() -> None:
    """A mangled prompt in the request does not cost the task."""
    task = normalize("luma", b'{"id": "a", "request": {"prompt": "\xff"}, "response": {"state": "completed"}}')

    assert task.state is SUCCEEDED
    with pytest.raises(ProtocolError):
        _ = task.request


@pytest.mark.parametrize("half", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d", "\\\\\\ud83d", "\\ud83d\\u0041"])
def test_half_a_character_costs_nothing_where_nobody_looks(half: str) -> None:
    """A prompt that was cut in the middle of an emoji is echoed with half of it, which is JSON: the task is done."""
    record = json.dumps({"id": "a", "request": {"prompt": "cut: HERE"}, "response": {"state": "completed"}})
    task = normalize("luma", record.replace("HERE", half))

    assert (task.id, task.state) == ("a", SUCCEEDED)


@pytest.mark.parametrize("place", ['{"id": "%s"}', '{"response": {"state": "%s"}}', '{"%s": 1}', '{"response": "%s"}'])
@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d"])
def test_half_a_character_is_survived_anywhere(place: str, half: str) -> None:
    """Where half a character does matter, it is read or refused, and never ends in a UnicodeError."""
    assert_total("luma", place % half)


@pytest.mark.parametrize("last", ["failed", "completed"])
def test_of_a_key_that_is_there_twice_the_last_counts_everywhere(last: str) -> None:
    """The state and the artifacts are read in two passes: they must not be read from two different responses."""
    bodies = {
        "failed": '{"state": "failed"}',
        "completed": json.dumps({"state": "completed", "video_url": URL}),
    }
    first = bodies["completed" if last == "failed" else "failed"]
    task = normalize("luma", f'{{"id": "a", "response": {first}, "response": {bodies[last]}}}')

    assert task.state is (FAILED if last == "failed" else SUCCEEDED)
    assert len(task.artifacts) == (0 if last == "failed" else 1)
    assert task.response == json.loads(bodies[last])


def test_an_errors_message_is_cut() -> None:
    """A service that sends a whole page as its message must not have it kept in every task."""
    error = normalize("luma", {"response": {"error": {"message": "x" * 1_000_000}}}).error

    assert error is not None
    assert 256 <= len(error.message) <= 1024


def test_a_task_does_not_keep_its_batch_alive() -> None:
    """A `msgspec.Raw` is a view into the whole body: of a megabyte, a task keeps its own record only."""
    record = {"id": "a", "trace_id": "t", "response": {"state": "completed", "video_url": URL}}
    body = bytearray(msgspec.json.encode({"items": [record, {"id": "b", "request": "x" * 1_000_000}]}))

    class Batch(msgspec.Struct):
        items: list[msgspec.Raw]

    batch = msgspec.json.decode(body, type=Batch)
    task = normalize("luma", batch.items[0])
    unknown = normalize("luma", msgspec.Raw(b"{}"))
    del batch
    body.clear()  # raises BufferError as long as anything looks into it

    assert task.raw == msgspec.json.encode(record)
    assert (type(task.raw), task.id, task.artifacts[0].url) == (bytes, "a", URL)
    assert unknown.state is NOT_FOUND


# --------------------------------------------------------------------------------------------------- properties

#: The same examples at every run, so that a failure is one for everybody, and without the slow search for why.
PROFILE = hypothesis.settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=250,
    phases=set(hypothesis.Phase) - {hypothesis.Phase.explain},
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from([10**400, -(10**400), 1e308, 2**64, -1, 0, "", " ", "\ud800", "100%", "nan", "inf", "9" * 400]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
ABSENT = object()
URLS = (URL, URL + "?2", "https://audiopipe.suno.ai/?item_id=a", "http://[", "", None)
TIMES = (ABSENT, ABSENT, None, 0, 1785000000, 1785000100.5, "2026-07-25T17:20:01Z", "2026-07-25 17:20:01", "soon", -1)
NUMBERS = (ABSENT, ABSENT, None, 0, 46, 100, 101, "40%", {"percent": 7}, -3, 10**400)
ERRORS = (ABSENT, ABSENT, None, {}, "", "text", {"message": "m"}, {"code": "c", "message": "m"}, ["e"])
REQUESTS = (
    ABSENT,
    {"prompt": "x", "video_url": URL, "image_url": URL, "success": False},
    {"state": "failed", "status": "failed", "error": {"message": "m"}},
    {"data": [{"state": "failed", "video_url": URL}], "response": {"state": "succeeded"}, "progress": 100},
)
HEAD = {
    "id": ("a", ABSENT, 7),
    "error": (ABSENT, ABSENT, *ERRORS),
    "detail": (ABSENT, ABSENT, "task not found"),
    "code": (ABSENT, 200, 410, "timeout"),
    "progress": NUMBERS,
    "created_at": TIMES,
    "started_at": TIMES,
    "finished_at": TIMES,
    "elapsed": NUMBERS,
    "duration": NUMBERS,
    "request": REQUESTS,
}
RESPONSE = {
    "success": (True, True, ABSENT, False, None),
    "error": ERRORS,
    "message": (ABSENT, "", "said"),
    "progress": NUMBERS,
    "finished_at": TIMES,
    "task_id": (ABSENT, "b"),
    "trace_id": (ABSENT, "t"),
    "video_url": (ABSENT, ABSENT, *URLS),
    "image_url": (ABSENT, ABSENT, *URLS),
    "video_width": NUMBERS,
}
PLACES = (
    *(("state",), ("status",), ("response",), ("response", "data"), ("data",), ("response", "status")),
    *(("response", "state"), ("response", "video_url"), *((key,) for key in HEAD), *((key,) for key in RESPONSE)),
    *(("response", key) for key in RESPONSE),
)


def objects(**choices: tuple[object, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Make objects whose fields have one of some values each, or are absent."""
    drawn = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in choices.items()})
    return drawn.map(lambda made: {name: value for name, value in made.items() if value is not ABSENT})


def records_with(*words: str) -> st.SearchStrategy[dict[str, Any]]:
    """Make records whose state words are some of these: unsorted words would hardly ever agree."""
    states = {"state": (ABSENT, ABSENT, *words), "status": (ABSENT, *words, 200, 404)}
    item = objects(**states, video_url=URLS[:2], audio_url=URLS, image_url=URLS, complete_at=TIMES)
    data = st.one_of(item, st.lists(item, max_size=2), st.just({"variants": [{"output_url": URL}]}))
    response = st.builds(lambda made, data: {**made, "data": data}, objects(**states, **RESPONSE), data)
    whole = st.builds(
        lambda head, response: {**head, "response": response}, objects(**states, **HEAD), response | st.none()
    )
    return st.one_of(whole, response, objects(**states, **HEAD), st.builds(lambda record: {"task": record}, whole))


def plant(record: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    """Put a value of any sort into a record."""
    holder = record
    for key in place[:-1]:
        holder = holder[key] if isinstance(holder.get(key), dict) else holder
    holder[place[-1]] = value
    return record


sound_records = st.one_of(
    records_with(*DONE_WORDS, ""),
    records_with("succeeded", "failed", "error"),
    records_with("done", "queued", "running", "unknown"),
    records_with("", "archived"),
)
records = st.one_of(sound_records, st.builds(plant, sound_records, st.sampled_from(PLACES), anything))
slugs = st.sampled_from(SLUGS)


def encode(record: object) -> bytes:
    """Write JSON as Python does: lone surrogates and long integers included."""
    return json.dumps(record).encode()


def assert_total(slug: str, payload: object, **options: int) -> Task | None:
    """Assert that reading, and looking at what was read, ends in a task or in a ProtocolError."""
    try:
        task = normalize(slug, payload, **options)
    except ProtocolError:
        return None
    assert isinstance(task, Task)
    looks: list[Callable[[], object]] = [lambda: task.request, lambda: task.response, lambda: task.decode(dict)]
    for look in looks:
        try:
            look()
        except ProtocolError:
            continue
    return task


def read_or_skip(slug: str, record: object) -> Task:
    """Read a record, or pass this example over if it is none."""
    try:
        return normalize(slug, encode(record))
    except ProtocolError:
        hypothesis.reject()


def test_the_examples_reach_every_state() -> None:
    """Properties that only ever see pending tasks would prove nothing."""
    seen: Counter[TaskState] = Counter()

    @PROFILE
    @hypothesis.given(slugs, records)
    def look(slug: str, record: dict[str, object]) -> None:
        seen[read_or_skip(slug, record).state] += 1

    look()

    assert min(seen[state] for state in (PENDING, RUNNING, SUCCEEDED, FAILED)) >= 10
    assert seen[PARTIAL] >= 2


@PROFILE
@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever bytes a connection brings, the answer is a task or a ProtocolError."""
    assert_total("luma", body)


@PROFILE
@hypothesis.given(slugs, anything | st.dictionaries(st.text(max_size=4), anything), st.sampled_from([200, 404, 504]))
def test_any_json_is_read_or_refused(slug: str, payload: object, status: int) -> None:
    """Whatever JSON a service sends, as bytes or decoded, the answer is a task or a ProtocolError."""
    assert_total(slug, encode(payload), http_status=status)
    assert_total(slug, payload, http_status=status)


@PROFILE
@hypothesis.given(records, st.sampled_from([200, 200, 200, 201, 400, 404, 410, 429, 500, 504]))
def test_any_value_at_any_known_key_is_read_or_refused(record: dict[str, object], status: int) -> None:
    """JSON in the shape of a record, with any value anywhere, is a task or a ProtocolError for every provider."""
    for slug in SLUGS:
        assert_total(slug, encode(record), http_status=status)


@PROFILE
@hypothesis.given(slugs, records)
def test_what_a_task_has_fits_its_state(slug: str, record: dict[str, object]) -> None:
    """Artifacts come with a result, a reason with a failure, an end with the end; every number is a sane one."""
    task = read_or_skip(slug, record)

    assert not task.artifacts or task.state in {SUCCEEDED, PARTIAL}
    assert (task.state is PARTIAL) <= bool(task.artifacts)
    assert (task.error is not None) == (task.state in {FAILED, PARTIAL})
    assert task.error is None or task.error.message.strip()
    assert task.state.is_terminal or (task.finished_at, task.duration) == (None, None)
    assert task.progress is None or 0 <= task.progress <= 100
    assert task.duration is None or 0 <= task.duration < float("inf")
    for moment in (task.created_at, task.started_at, task.finished_at):
        assert moment is None or abs(moment) < float("inf")
    assert len({artifact.url for artifact in task.artifacts}) == len(task.artifacts)


@PROFILE
@hypothesis.given(slugs, records)
def test_nothing_that_waits_has_succeeded(slug: str, record: dict[str, object]) -> None:
    """No task succeeds while a word at one of the fixed spots, in any spelling, says that it waits or failed."""
    task = read_or_skip(slug, record)

    said = {word.strip().lower() for word in words_of(record) if isinstance(word, str)}
    assert task.state is not SUCCEEDED or said.isdisjoint({*WAITING_WORDS, *FAILED_WORDS})


@PROFILE
@hypothesis.given(slugs, records, st.sampled_from(REQUESTS[1:]) | anything)
def test_the_request_decides_nothing(slug: str, record: dict[str, object], request: object) -> None:
    """What was asked for may name URLs, words and errors: none of it is read as what became of it."""
    target = record.get("task") if isinstance(record.get("task"), dict) and "response" not in record else record
    hypothesis.assume(isinstance(target, dict) and target)
    before = read_or_skip(slug, record)
    target["request"] = request  # type: ignore[index]  # a dict, as assumed

    after = normalize(slug, encode(record))

    assert msgspec.structs.replace(after, raw=b"") == msgspec.structs.replace(before, raw=b"")


@PROFILE
@hypothesis.given(slugs, records)
def test_case_and_blanks_of_a_word_do_not_matter(slug: str, record: dict[str, object]) -> None:
    """`" FAILED "` is the word that `"failed"` is."""
    before = read_or_skip(slug, record)

    after = normalize(slug, encode(respell(record)))

    assert msgspec.structs.replace(after, raw=b"", error=None) == msgspec.structs.replace(before, raw=b"", error=None)


@PROFILE
@hypothesis.given(slugs, records)
def test_the_order_of_keys_does_not_matter(slug: str, record: dict[str, object]) -> None:
    """A JSON object has no order."""
    before = read_or_skip(slug, record)

    after = normalize(slug, encode(turn_round(record)))

    assert msgspec.structs.replace(after, raw=b"") == msgspec.structs.replace(before, raw=b"")


@PROFILE
@hypothesis.given(slugs, records)
def test_a_tasks_record_reads_as_the_task(slug: str, record: dict[str, object]) -> None:
    """What is stored of a task can be read again, and is the record that came."""
    task = read_or_skip(slug, record)

    assert normalize(slug, task.raw) == task
    assert b"\\ud" in encode(record) or encode(json.loads(task.raw)) in {encode(record), encode(record.get("task"))}


def test_a_record_wrapped_twice_reads_as_its_task() -> None:
    """What is stored of a task can be read again, even if a service wrapped it more than once."""
    task = normalize("minimax", {"task": {"task": {"id": "a", "status": "succeeded"}}})

    assert normalize("minimax", task.raw) == task


@PROFILE
@hypothesis.given(slugs, records, st.sampled_from([201, 202, 299, 302, 399]))
def test_a_status_below_400_decides_nothing(slug: str, record: dict[str, object], status: int) -> None:
    """A record says what it says, whether it came with 200 or 201."""
    expected = read_or_skip(slug, record)

    assert normalize(slug, encode(record), http_status=status) == expected


@PROFILE
@hypothesis.given(records, st.sampled_from([400, 401, 403, 404, 409, 410, 413, 429, 500, 502, 504]))
def test_an_http_error_never_brings_a_result(record: dict[str, object], status: int) -> None:
    """Behind an error there is at most an unknown task, or a failed one where the provider's row says so."""
    for spec in specs():
        task = assert_total(spec.slug, encode(record), http_status=status)
        allowed = {NOT_FOUND} if status == 404 else set()
        allowed |= {FAILED} if status in spec.failed_statuses else set()
        allowed |= set(TaskState) - {PENDING, RUNNING, NOT_FOUND} if status in spec.task_statuses else set()
        assert task is None or task.state in allowed


def words_of(record: dict[str, object]) -> Iterator[object]:
    """Yield what stands at the fixed spots of state words."""
    inner = record.get("task")
    if isinstance(inner, dict) and "response" not in record:
        record = inner
    response = record.get("response", record)
    for holder in (record, response, *items_of(response)):
        if isinstance(holder, dict):
            yield from (holder.get("state"), holder.get("status"))


def items_of(response: object) -> list[object]:
    """List the items of a response."""
    found = response.get("data") if isinstance(response, dict) else None
    return found if isinstance(found, list) else [found]


def respell(value: object, key: str = "") -> object:
    """Write every state word in capitals between blanks."""
    if isinstance(value, dict):
        return {name: inner if name == "request" else respell(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [respell(inner) for inner in value]
    is_ascii_word = key in {"state", "status"} and isinstance(value, str) and value.isascii()
    return f" \t{value.upper()}\n" if is_ascii_word else value


def turn_round(value: object) -> object:
    """Write the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {name: turn_round(inner) for name, inner in reversed(value.items())}
    return [turn_round(inner) for inner in value] if isinstance(value, list) else value
