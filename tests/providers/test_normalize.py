"""Tests of the normaliser: examples of each rule, and properties of all records."""

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
QUEUED_WORDS = ("pending", "queued", "created", "submitted", "in_queue", "not_start")
RUNNING_WORDS = (
    *("processing", "running", "started", "progress", "generating", "in_progress"),
    *("planning", "producing", "scripting", "rendering", "captioning", "qc"),
)
DONE_WORDS = ("succeeded", "succeed", "success", "completed", "complete", "finished", "done", "ready")
FAILED_WORDS = (
    *("failed", "failure", "fail", "error", "cancelled", "canceled", "rejected", "dead", "moderated", "expired"),
    *("aborted", "abort", "timeout", "timed_out", "timedout", "terminated", "interrupted", "stopped", "errored"),
    *("exception", "blocked", "banned", "nsfw", "deleted", "refunded"),
)
UNFINISHED_WORDS = {*QUEUED_WORDS, *RUNNING_WORDS}


def read_state(record: object, slug: str = "luma", **options: int) -> TaskState:
    """Read a record and return its state."""
    return normalize(slug, record, **options).state


def is_unconfirmed(record: object) -> bool:
    """Return whether a luma record is an unconfirmed failure."""
    return read_record(lookup("luma"), json.dumps(record).encode()).unconfirmed


# ------------------------------------------------------------------------------------------- the order of the rules


@pytest.mark.parametrize(
    "body", [None, "null", b" null\n", "{}", " { } ", "{}\r\n\r\n\r\n", "{\n\n\n\n\n\n\n\n}", '{"task": {}}']
)
def test_rule_1_an_empty_object_is_not_found(body: object) -> None:
    """1. Most providers return HTTP 200 with `{}` or null, with any whitespace, for an unknown id."""
    assert read_state(body) is NOT_FOUND


def test_rule_1_a_404_about_the_task_is_not_found() -> None:
    """1. maestro, digital-human and captcha return 404 for an unknown id, each with a different body."""
    assert read_state({"detail": "task not found"}, http_status=404) is NOT_FOUND
    assert read_state({"error": {"code": "no_task", "message": "gone"}}, http_status=404) is NOT_FOUND
    assert read_state({"error": {"code": "not_found"}, "success": False}, http_status=404) is NOT_FOUND
    assert read_state({"error": "Unable to locate job 7"}, http_status=404) is NOT_FOUND


@pytest.mark.parametrize(
    "body",
    [{"error": {"code": "no_api", "message": "no such task API"}}, {"detail": "Not Found"}, {"error": {}}, {}],
)
def test_rule_1_a_404_about_the_path_is_an_error(body: dict[str, object]) -> None:
    """1. A wrong path must not turn a thousand tasks into missing ones."""
    with pytest.raises(ProtocolError, match="HTTP 404"):
        normalize("luma", body, http_status=404)


def test_rule_1_a_wrapped_record_is_unwrapped() -> None:
    """1. minimax wraps the record in `task`; a `task` beside a response is an ordinary field."""
    task = normalize("minimax", {"task": {"id": "a", "status": "running"}})
    assert (task.id, task.state) == ("a", RUNNING)

    task = normalize("luma", {"id": "b", "task": {"id": "a", "status": "running"}, "response": {"state": "completed"}})
    assert (task.id, task.state) == ("b", SUCCEEDED)


def test_rule_1_a_flat_record_is_its_own_response() -> None:
    """1. digital-human, captcha and every callback send the fields of the response at the top."""
    task = normalize("luma", {"task_id": "a", "success": True, "state": "completed", "video_url": URL})

    assert (task.id, task.state) == ("a", SUCCEEDED)
    assert [artifact.url for artifact in task.artifacts] == [URL]


def test_rule_2_a_numeric_error_status_is_a_failure() -> None:
    """2. fish fails with `{status: 400, message}` and neither `success` nor `error`."""
    task = normalize("fish", {"id": "a", "response": {"status": 400, "message": "no such voice"}})

    assert task.state is FAILED
    assert task.error == TaskError(code="400", message="no such voice")


def test_rule_2_a_numeric_error_status_beside_a_result_is_ignored() -> None:
    """2. A number is not a state word: the result shows that the task is done."""
    assert read_state({"response": {"status": 500, "video_url": URL}}) is SUCCEEDED


@pytest.mark.parametrize("status", [200, 399, True, 0, -500])
def test_rule_2_other_numbers_are_ignored(status: object) -> None:
    """2. A number below 400 and a boolean have no meaning."""
    assert read_state({"response": {"status": status}}) is PENDING


def test_rule_2_the_numeric_status_of_an_item_is_ignored() -> None:
    """2. webextrator's `data.status` is the HTTP status of the rendered page."""
    assert read_state({"finished_at": 5, "response": {"data": {"status": 404}}}, "webextrator") is SUCCEEDED


@pytest.mark.parametrize("place", ["top", "response"])
def test_rule_3_a_failed_word_decides(place: str) -> None:
    """3. A failed word at the top or in the response is final, despite `success`, times and items."""
    word = {"state": "failed"}
    record = {"id": "a", "finished_at": 5, "response": {"success": True, "data": [{"state": "processing"}]}}
    (record if place == "top" else record["response"]).update(word)  # type: ignore[attr-defined]  # both are dicts

    assert read_state(record) is FAILED


def test_rule_3_an_error_object_overrides_success() -> None:
    """3. hailuo sends `success: true` beside an error object: the error counts."""
    assert read_state({"response": {"success": True, "error": {"message": "it failed"}}}) is FAILED


def test_rule_3_an_error_object_needs_no_finish_time() -> None:
    """3. An error object is final without `finished_at`."""
    assert read_state({"response": {"success": False, "error": {"code": "api_error", "message": "no"}}}) is FAILED


def test_rule_3_an_error_object_overrides_a_stale_item() -> None:
    """3. After a failure, items may still have the state `processing`."""
    record = {"response": {"success": False, "error": {"message": "no"}, "data": [{"state": "processing"}]}}

    assert read_state(record) is FAILED


@pytest.mark.parametrize("error", [{"code": "nsfw"}, {"type": "rejected"}, {"detail": "no"}, {"reason": "refused"}])
@pytest.mark.parametrize("rest", [{}, {"finished_at": 5}])
def test_rule_3_any_error_object_with_a_value_counts(error: dict[str, object], rest: dict[str, object]) -> None:
    """3. An error object with unknown keys is an error; if ignored, the task would be pending or succeeded."""
    assert read_state({"id": "a", **rest, "response": {"error": error}}) is FAILED


@pytest.mark.parametrize("error", [{}, None, "", [], False])
def test_rule_3_an_empty_error_is_ignored(error: object) -> None:
    """3. `error: {}` and `error: null` are sent with successful tasks."""
    assert read_state({"response": {"success": True, "error": error, "state": "completed"}}) is SUCCEEDED


def test_rule_3_a_failure_with_a_result_is_partial() -> None:
    """3. If one of two songs failed, the other one is returned together with the error, because it is paid for."""
    data = [{"audio_url": URL}]
    task = normalize("suno", {"response": {"success": False, "data": data, "error": {"message": "second failed"}}})

    assert task.state is PARTIAL
    assert [artifact.url for artifact in task.artifacts] == [URL]
    assert task.error == TaskError(message="second failed")


def test_rule_3_a_cover_alone_is_not_a_result() -> None:
    """3. A cover or a thumbnail without its main file is not a requested file."""
    data = [{"image_url": URL}]
    task = normalize("suno", {"response": {"success": False, "data": data, "error": {"message": "no"}}})

    assert (task.state, task.artifacts) == (FAILED, ())


@pytest.mark.parametrize("failure", [{"error": {"code": "moderated"}}, {"state": "failed"}])
def test_rule_3_a_failure_overrides_an_unfinished_word(failure: dict[str, object]) -> None:
    """3. A record that is still marked as processing but has an error, or a failed word elsewhere, has failed."""
    assert read_state({"id": "a", "status": "processing", "response": failure}) is FAILED


@pytest.mark.parametrize("place", ["top", "response"])
@pytest.mark.parametrize("word", ["pending", "processing"])
def test_rule_4_an_unfinished_word_overrides_every_sign_of_the_end(place: str, word: str) -> None:
    """4. `success: true`, a URL and even `finished_at` are sent while a task still runs."""
    response: dict[str, object] = {"success": True, "video_url": URL, "finished_at": 5}
    record: dict[str, object] = {"id": "a", "finished_at": 5, "response": response}
    (record if place == "top" else response)["status"] = word
    (response if place == "top" else record)["status"] = "succeeded"

    assert read_state(record) in {PENDING, RUNNING}


def test_rule_5_one_unfinished_item_makes_the_task_unfinished() -> None:
    """5. suno sends one finished and one running song with `success: true`: the task is done when every item is."""
    data = [{"state": "succeeded", "audio_url": URL}, {"state": "running", "audio_url": URL + "?b"}]
    task = normalize("suno", {"finished_at": 5, "response": {"success": True, "data": data}})

    assert (task.state, task.artifacts) == (RUNNING, ())


def test_rule_5_failed_items_are_a_failure() -> None:
    """5. pika reports a failure only in the items, beside `success: true`."""
    assert read_state({"response": {"success": True, "data": [{"state": "failed"}]}}, "pika") is FAILED


def test_rule_5_failed_and_done_items_are_partial() -> None:
    """5. Only the files of finished items are artifacts; the URL of a failed item is a preview or broken."""
    data = [{"state": "failed", "audio_url": URL}, {"state": "succeeded", "audio_url": URL + "?b"}]
    task = normalize("suno", {"response": {"success": True, "data": data}})

    assert task.state is PARTIAL
    assert [artifact.url for artifact in task.artifacts] == [URL + "?b"]


def test_rule_5_a_failed_item_is_never_a_success() -> None:
    """5. A failed item with an undocumented word and a finish time is not a success."""
    record = {"id": "a", "state": "archived", "finished_at": 5, "response": {"data": [{"state": "failed"}]}}

    assert read_state(record) is not SUCCEEDED


@pytest.mark.parametrize("response", [{"success": False}, {"error": "provider timeout"}, {"error": ["a", "b"]}])
def test_rule_6_an_ambiguous_failure_is_final_only_when_finished(response: dict[str, object]) -> None:
    """6. `success: false` or a plain text as error may be temporary, unless the task has ended."""
    assert read_state({"id": "a", "response": response}) is PENDING
    assert is_unconfirmed({"id": "a", "response": response})

    assert read_state({"id": "a", "finished_at": 5, "response": response}) is FAILED
    assert read_state({"id": "a", "response": response | {"finished_at": 5}}) is FAILED
    assert not is_unconfirmed({"id": "a", "finished_at": 5, "response": response})


def test_rule_6_a_finished_ambiguous_failure_with_a_result_is_partial() -> None:
    """6. A finished task with `success: false` and a result is partial, as with an error object."""
    assert read_state({"finished_at": 5, "response": {"success": False, "video_url": URL}}) is PARTIAL


@pytest.mark.parametrize("response", [{"success": False}, {"error": "provider timeout"}])
@pytest.mark.parametrize("slug", ["qwen-image", "luma"])
def test_rule_6_a_null_finish_time_means_that_the_task_goes_on(response: dict[str, object], slug: str) -> None:
    """6. Qwen-image sends `success: false` from the start, with `finished_at: null` until the end."""
    body = json.dumps({"id": "a", "finished_at": None, "response": response}).encode()

    for confirmed in (False, True):
        status = read_record(lookup(slug), body, confirmed=confirmed)
        assert (status.state, status.unconfirmed) == (PENDING, False)
    assert read_state({"id": "a", "finished_at": None, "response": {"error": {"code": "c"}}}, slug) is FAILED


def test_rule_6_an_ambiguous_failure_overrides_done_words() -> None:
    """6. `success: false` is checked before done words: the official client's test has both for a failed task."""
    assert read_state({"finished_at": 5, "response": {"success": False, "state": "succeeded"}}) is FAILED


@pytest.mark.parametrize(
    "record",
    [
        {"status": "succeeded", "response": None},
        {"response": {"state": "completed"}},
        {"response": {"data": [{"state": "succeeded"}, {"state": "complete"}]}},
        {"response": {"data": {"status": "done"}}},
    ],
)
def test_rule_7_done_words_are_enough(record: dict[str, object]) -> None:
    """7. Only done words mean success: captions and tokens have no URL."""
    assert read_state(record) is SUCCEEDED


@pytest.mark.parametrize(
    "record",
    [
        {"finished_at": 5},
        {"finished_at": "2026-05-02T10:30:05.456Z", "response": {"kind": "render"}},
        {"response": {"finished_at": 5, "success": True}},
    ],
)
def test_rule_8_a_finish_time_is_enough(record: dict[str, object]) -> None:
    """8. The finish time is set only at the end."""
    assert read_state(record) is SUCCEEDED


@pytest.mark.parametrize("word", ["archived", "completed_with_errors", "out_of_credit"])
@pytest.mark.parametrize("place", ["top", "response"])
def test_rule_8_a_finish_time_beside_an_undocumented_word_needs_a_result(word: str, place: str) -> None:
    """8. The finish time means that the task ended, not that it ended well: a requested file shows that."""
    response: dict[str, object] = {"task_id": "a", "thumbnail_url": URL + "?thumbnail"}
    record: dict[str, object] = {"id": "a", "finished_at": 5, "response": response}
    (record if place == "top" else response)["state"] = word.upper()

    task = normalize("luma", record)
    assert (task.state, task.artifacts) == (FAILED, ())
    assert task.error == TaskError(message=f"the service gave no reason (state {word!r})") or (
        task.error is not None and word.upper() in task.error.message
    )

    response["message"] = "out of luck"
    error = normalize("luma", record).error
    assert error == TaskError(message=f"out of luck (state {word!r})")

    response["video_url"] = URL
    assert normalize("luma", record).state is SUCCEEDED

    del record["finished_at"]
    assert normalize("luma", record).state is RUNNING


def test_rule_8_an_undocumented_word_of_a_provider_without_files_needs_data() -> None:
    """8. The result of a page's extraction is its data."""
    record = {"id": "a", "finished_at": 5, "response": {"success": True, "state": "archived", "data": {"title": "A"}}}
    assert read_state(record, "webextrator") is SUCCEEDED

    record["response"] = {"state": "archived"}
    assert read_state(record, "webextrator") is FAILED


def test_rule_7_a_done_word_overrides_an_undocumented_word() -> None:
    """7. A known final word decides, whatever word is elsewhere."""
    response = {"video_url": URL, "state": "archived"}

    assert read_state({"id": "a", "status": "completed", "response": response}) is SUCCEEDED
    assert read_state({"id": "a", "status": "aborted", "response": response}) is PARTIAL


@pytest.mark.parametrize(
    ("slug", "response"),
    [
        ("suno", {"state": "complete", "data": []}),
        ("suno", {"data": None}),
        ("veo", {"success": True, "data": [{"id": "v", "state": "succeeded", "video_url": ""}]}),
        ("veo", {"success": True, "data": [{"id": "v", "state": "succeeded", "video_url": None}]}),
        ("veo", {"success": True, "data": [{"id": "v", "state": "succeeded"}]}),
        ("veo", {"success": True, "data": {}}),
        ("kling", {"state": "succeed", "video_url": " "}),
        ("minimax", {"status": "succeeded", "content": None}),
        ("midjourney", {"progress": 100, "image_url": "", "sub_image_urls": []}),
        ("maestro", {"data": {"variants": []}}),
        ("digital-human", {"state": "succeed", "video_url": None, "text": "the script"}),
        ("brand-new", {"success": True, "data": []}),
    ],
)
@pytest.mark.parametrize("is_flat", [True, False])
def test_rule_7_done_without_a_file_is_a_failure(slug: str, response: dict[str, object], *, is_flat: bool) -> None:
    """7. If the places of the requested files are empty, the output was moderated or lost: there is nothing to use."""
    record = {"task_id": "a", **response} if is_flat else {"id": "a", "response": response}
    task = normalize(slug, {**record, "finished_at": 5})

    assert (task.state, task.artifacts) == (FAILED, ())
    assert task.error == TaskError(
        code="no_result", message="the task is done, but the service returned no file and no reason"
    )


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ({"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["blocked", "violence"]}, "blocked, violence"),
        ({"message": "content policy"}, "content policy"),
        ({"message": "success", "fail_reason": "a face"}, "a face"),
    ],
)
@pytest.mark.parametrize("place", ["response", "item"])
def test_rule_7_a_missing_file_has_the_reason_of_the_service(
    reason: dict[str, object], expected: str, place: str
) -> None:
    """7. The reason is beside the empty places or in the item."""
    item: dict[str, object] = {"state": "succeeded", "video_url": None}
    response: dict[str, object] = {"success": True, "data": [item]}
    (response if place == "response" else item).update(reason)

    assert normalize("veo", {"id": "a", "response": response}).error == TaskError(code="no_result", message=expected)


@pytest.mark.parametrize(
    ("slug", "response"),
    [
        ("suno", {"data": [{"text": "la la", "title": "A", "status": "complete"}]}),
        ("suno", {"data": {"persona_id": "p", "image_url": ""}}),
        ("producer", {"data": {"lyrics": "la la"}}),
        ("midjourney", {"image_url": None, "descriptions": ["a boat"]}),
        ("fish", {"state": "trained", "title": "Narrator"}),
        ("digital-human", {"state": "succeed", "voice_id": "v"}),
        ("kling", {"data": {"voice_id": "v", "video_url": None}}),
        ("captcha", {"token": "P1"}),
        ("captcha", {"data": []}),
        ("webextrator", {"data": None}),
        ("luma", {"success": True, "task_id": "a"}),
    ],
)
def test_rule_7_a_task_that_makes_no_file_succeeds_without_one(slug: str, response: dict[str, object]) -> None:
    """7. Lyrics, descriptions, voices, tokens and pages are results; a place that is absent is not an empty one."""
    task = normalize(slug, {"id": "a", "finished_at": 5, "response": response})

    assert (task.state, task.artifacts, task.error) == (SUCCEEDED, (), None)


def test_rule_5_an_error_of_an_item_is_its_failure() -> None:
    """5. Nano-banana's items have no words: one of two images that failed has an error."""
    data = [{"image_url": URL}, {"error": {"code": "unsafe", "message": "refused"}}]
    task = normalize("nano-banana", {"id": "a", "finished_at": 5, "response": {"success": True, "data": data}})

    assert [artifact.url for artifact in task.artifacts] == [URL]
    assert (task.state, task.error) == (PARTIAL, TaskError(code="unsafe", message="refused"))
    assert read_state({"response": {"data": [{"image_url": URL, "error": {}}]}}, "nano-banana") is SUCCEEDED


@pytest.mark.parametrize("record", [{"status": "storyboarding"}, {"response": {"state": "new", "video_url": URL}}])
def test_rule_9_an_unknown_word_is_not_done(record: dict[str, object]) -> None:
    """9. An undocumented word means running, even beside a URL; the word is reported."""
    status = read_record(lookup("luma"), json.dumps(record).encode())

    assert status.task.state is RUNNING
    assert status.unknown_word in {"storyboarding", "new"}


def test_rule_9_a_progress_below_100_is_not_done() -> None:
    """9. midjourney sends a preview image from 1 % on."""
    record = {"response": {"success": True, "image_url": URL, "progress": 46}}
    assert read_state(record, "midjourney") is RUNNING

    record["response"]["progress"] = 100
    assert read_state(record, "midjourney") is SUCCEEDED


def test_rule_10_a_result_is_enough() -> None:
    """10. flux, pixverse and others send neither a word nor a finish time: the result is the only sign."""
    assert read_state({"response": {"success": True, "data": [{"image_url": URL}]}}, "flux") is SUCCEEDED
    assert read_state({"response": {"data": [{"image_url": URL}]}}, "flux") is SUCCEEDED


def test_rule_10_data_are_the_result_of_a_provider_without_files() -> None:
    """10. webextrator's result is the page itself: only there, `success: true` with data means success."""
    record = {"response": {"success": True, "data": {"kind": "extract", "title": "A"}}}

    assert read_state(record, "webextrator") is SUCCEEDED
    assert read_state(record, "veo") is PENDING
    assert read_state({"response": {"success": True, "data": []}}, "webextrator") is PENDING
    assert read_state({"response": {"data": {"title": "A"}}}, "webextrator") is PENDING


def test_rule_10_a_side_artifact_is_not_enough() -> None:
    """10. A thumbnail may exist before the video does."""
    assert read_state({"response": {"success": True, "thumbnail_url": URL}}) is PENDING


def test_rule_10_a_preview_is_not_enough() -> None:
    """10. suno's `audiopipe` URLs stream unfinished songs."""
    data = [{"audio_url": "https://audiopipe.suno.ai/?item_id=a"}]

    assert read_state({"response": {"success": True, "data": data}}, "suno") is PENDING


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
def test_rule_11_a_record_without_any_sign_is_pending(record: dict[str, object], slug: str) -> None:
    """11. Acknowledgements, empty lists and empty URLs are sent before there is a result, with `success: true`."""
    assert read_state(record, slug) is PENDING


# ------------------------------------------------------------------------------------------- the places of files

VIDEO, IMAGE, AUDIO, FILE = ArtifactKind


@pytest.mark.parametrize(
    ("slug", "response", "expected"),
    [
        # Places of models that are newer than the first documents.
        ("kling", {"data": [{"id": "x", "state": "succeed", "duration": 5.041, "video_url": URL}]}, VIDEO),
        ("kling", {"data": [{"image_url": URL}]}, IMAGE),
        ("kling", {"data": {"video_url": URL}}, VIDEO),
        ("wan", {"data": {"model": "wan3.0-video", "status": "succeeded", "video_url": URL}}, VIDEO),
        ("flux", {"data": [{"id": "x", "model": "flux-3", "video_url": URL, "seconds": 5.04}]}, VIDEO),
        ("seedance", {"data": [{"id": "x", "status": "succeeded", "content": {"video_url": URL}}]}, VIDEO),
        ("seedance", {"data": [{"video_url": URL}]}, VIDEO),
        ("seedance", {"data": {"content": {"video_url": URL}}}, VIDEO),
        ("minimax", {"data": [{"state": "succeeded", "video_url": URL}]}, VIDEO),
        ("minimax", {"task": {"status": "succeeded", "content": {"url": URL}}}, VIDEO),
        ("nano-banana", {"image_url": URL}, IMAGE),
        ("suno", {"data": {"video_url": URL}}, VIDEO),
        ("suno", {"data": {"vocal_audio_url": URL}}, AUDIO),
        ("suno", {"data": [{"vocal_audio_url": URL}]}, AUDIO),
        ("suno", {"data": {"midi_url": URL}}, FILE),
        ("producer", {"data": {"file_url": URL}}, AUDIO),
        # Usual places that the specs do not have.
        ("luma", {"data": [{"video_url": URL}]}, VIDEO),
        ("luma", {"data": {"content": {"video_url": URL}}}, VIDEO),
        ("veo", {"video_url": URL}, VIDEO),
        ("veo", {"data": [{"image_url": URL}]}, IMAGE),
        ("pixverse", {"content": {"url": URL}}, VIDEO),
        ("seedream", {"data": [{"url": URL}]}, FILE),
        ("luma", {"data": [{"video_url": URL, "image_url": URL + "?cover"}]}, VIDEO),
        ("gemini", {"data": [{"audio_url": URL}]}, AUDIO),
        ("qrart", {"data": [{"image_urls": [URL]}]}, IMAGE),
        ("brand-new", {"video_urls": [URL]}, VIDEO),
    ],
)
@pytest.mark.parametrize("rest", [{}, {"finished_at": 5}, {"status": "completed"}])
def test_a_file_is_found_wherever_a_model_has_it(
    slug: str, response: dict[str, object], expected: ArtifactKind, rest: dict[str, object]
) -> None:
    """A file is a result, with or without another sign of the end: otherwise a wait would never end, or end empty."""
    task = normalize(slug, {"id": "a", "request": {}, **rest, "response": {"success": True, **response}})

    assert task.state is SUCCEEDED
    assert [(it.url, it.kind) for it in task.artifacts if it.role == "main"] == [(URL, expected)]


def test_the_video_url_of_a_suno_song_is_not_a_file() -> None:
    """Every song has one, but the file exists only after a call of /suno/mp4, whose response has no song."""
    song, video = "https://cdn1.suno.ai/a.mp3", "https://cdn1.suno.ai/a.mp4"
    songs = [{"state": "succeeded", "audio_url": song, "video_url": video}]
    for data, expected in ((songs, [song]), ({"video_url": video}, [video]), ([{"video_url": video}], [video])):
        task = normalize("suno", {"id": "a", "finished_at": 5, "response": {"success": True, "data": data}})
        assert [artifact.url for artifact in task.artifacts] == expected

    songs[0]["video_url"] = URL
    assert len(normalize("suno", {"id": "a", "finished_at": 5, "response": {"data": songs}}).artifacts) == 2


def test_the_size_of_a_flux_video_is_read() -> None:
    """The keys of its size are `width` and `height`."""
    data = [{"video_url": URL, "width": 1280, "height": 704, "fps": 24}]
    task = normalize("flux", {"id": "a", "response": {"success": True, "data": data}})

    assert task.artifacts == (Artifact(url=URL, kind=VIDEO, width=1280, height=704),)


@pytest.mark.parametrize("place", [("thumbnail_url",), ("data", "thumbnail_url")])
def test_the_thumbnail_of_a_wan_video_is_an_extra_file(place: tuple[str, ...]) -> None:
    """It is no result without the video."""
    response: dict[str, Any] = {"success": True, "data": {}}
    insert(response, place, "t")
    assert read_state({"id": "a", "response": response}, "wan") is PENDING

    response["video_url"] = URL
    task = normalize("wan", {"id": "a", "response": response})
    assert [(it.url, it.role) for it in task.artifacts] == [(URL, "main"), ("t", "thumbnail")]


@pytest.mark.parametrize(
    ("slug", "response"),
    [
        ("dreamina", {"success": True, "data": {"image_url": URL, "audio_url": URL}}),
        ("kling", {"success": True, "source_video_url": URL}),
        ("webextrator", {"success": True, "data": [], "video_url": URL}),
        ("pika", {"success": True, "data": [{"image_url": URL}]}),
        ("luma", {"video_url_of_input": URL, "success": True}),
        ("luma", {"data": [{"video_url": URL}]}),
    ],
)
def test_an_input_or_an_extra_file_is_not_a_result(slug: str, response: dict[str, object]) -> None:
    """The usual places do not include those of inputs, nor those that the spec has; they need `success: true`."""
    assert read_state({"id": "a", "response": response}, slug) is PENDING


def test_a_file_of_another_kind_does_not_replace_a_missing_one() -> None:
    """If the place of the video is empty, an image beside it is a cover or an input."""
    data = [{"state": "succeeded", "video_url": "", "image_url": URL}]

    assert normalize("veo", {"id": "a", "response": {"success": True, "data": data}}).error is not None


def test_a_failed_task_has_no_files_of_usual_places() -> None:
    """A partial result is claimed only for a file in the provider's own place: another one may be an input."""
    response = {"success": False, "data": [{"image_url": URL}], "error": {"code": "c", "message": "m"}}

    assert read_state({"id": "a", "response": response}, "luma") is FAILED


# -------------------------------------------------------------------------------------------- responses in a text


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({"success": False, "error": {"code": "a", "message": "m"}}, FAILED),
        ({"success": True, "data": [{"url": URL}]}, SUCCEEDED),
        ({"state": "processing"}, RUNNING),
        ({}, PENDING),
    ],
)
def test_a_response_inside_a_text_is_read(response: dict[str, object], expected: TaskState) -> None:
    """Openai's records may have the response as JSON in a text."""
    task = normalize("openai", {"id": "a", "response": json.dumps(response)})

    assert task.state is expected
    assert [artifact.url for artifact in task.artifacts] == ([URL] if expected is SUCCEEDED else [])
    assert task.response == response
    assert task.decode(dict[str, object]) == response
    assert normalize("openai", task.raw) == task


@pytest.mark.parametrize("text", ["", "text", "[]", "5", "{", "{oops}", '{"a": 1} x', "{" * 5000])
def test_another_text_as_a_response_has_no_meaning(text: str) -> None:
    """A text that is not a JSON object says nothing about the task."""
    assert read_state({"id": "a", "response": text}) is PENDING


@pytest.mark.parametrize("response", ['{"progress": 1e999}', {"task": {"progress": [[1], 2], "data": 1, "error": 7}}])
def test_a_hidden_response_is_read_or_rejected(response: object) -> None:
    """A response in a text or a wrapper is decoded by the same rules as any other."""
    assert_total("luma", {"id": "a", "response": response})


def test_a_wrapped_response_is_unwrapped() -> None:
    """Minimax's wrapper may be inside a response; a `task` beside other fields is an ordinary one."""
    assert read_state({"id": "a", "finished_at": 2, "response": {"task": {"status": "failed"}}}, "minimax") is FAILED
    assert read_state({"id": "a", "response": {"task": {"status": "running"}}}, "minimax") is RUNNING
    assert read_state({"id": "a", "response": {"state": "completed", "task": {"status": "failed"}}}) is SUCCEEDED


# ------------------------------------------------------------------------------------------- words and their places


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
    """A word has the same meaning in each of its places, for every provider."""
    records = [
        {"id": "a", "status": word},
        {"id": "a", "state": word, "response": {}},
        {"id": "a", "response": {"state": word}},
        {"id": "a", "response": {"status": word}},
        {"id": "a", "response": {"data": {"status": word}}},
        {"id": "a", "response": {"data": [{"state": word}]}},
    ]

    assert [read_state(record) for record in records] == [expected] * len(records)


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
def test_words_are_read_in_fixed_places_only(record: dict[str, object]) -> None:
    """A word in a deeper or differently named field is not a state."""
    assert read_state({"id": "a", **record}) is PENDING


@pytest.mark.parametrize(
    ("word", "expected"),
    [("timed-out", FAILED), ("Timed Out", FAILED), ("IN-PROGRESS", RUNNING), ("not start", PENDING)],
)
def test_hyphens_and_spaces_of_a_word_are_underscores(word: str, expected: TaskState) -> None:
    """Services spell the same word differently."""
    assert read_state({"id": "a", "status": word}) is expected


def test_a_provider_specific_word_applies_to_that_provider_only() -> None:
    """Headshots sends `unknown` for running tasks; for other providers the word is undocumented."""
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
def test_a_sign_of_work_means_running(record: dict[str, object], expected: TaskState) -> None:
    """A running word, a start time, a progress or a finished item distinguish running from pending."""
    assert read_state({"id": "a", **record}) is expected


# ------------------------------------------------------------------------------------------------- the other fields


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
def test_the_id_is_read_from_the_first_known_key(record: dict[str, object], expected: str) -> None:
    """Ids in `data` belong to the upstream service, and `_id` to the database."""
    assert normalize("seedance", record).id == expected


def test_the_requested_id_overrides_the_id_of_the_record() -> None:
    """A record with another id or without one belongs to the requested id."""
    assert read_record(lookup("luma"), b"{}", task_id="asked").task.id == "asked"
    assert read_record(lookup("luma"), b'{"id": "other"}', task_id="asked").task.id == "asked"


def test_the_trace_id_is_read_from_the_record_or_the_response() -> None:
    """A trace id in the request is the user's, not the service's."""
    assert normalize("luma", {"trace_id": "a", "response": {"trace_id": "b"}}).trace_id == "a"
    assert normalize("luma", {"response": {"trace_id": "b"}}).trace_id == "b"
    assert normalize("luma", {"id": "x", "request": {"trace_id": "c"}}).trace_id is None


def test_times_are_seconds_since_the_epoch() -> None:
    """Times are numbers since August 2026 and were ISO texts before; both are read."""
    record = {"created_at": 1785000000, "started_at": "2026-07-25T17:20:01Z", "finished_at": "2026-07-25T17:20:03.5Z"}
    task = normalize("luma", record)

    assert (task.created_at, task.started_at, task.finished_at) == (1785000000.0, 1785000001.0, 1785000003.5)


def test_a_running_task_has_no_finish_time_and_no_duration() -> None:
    """Veo sends `elapsed` while a task still runs, and other providers a stale `finished_at`."""
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
    """The order is `elapsed`, then midjourney's `duration`, then the times; a finish before the start is ignored."""
    assert normalize("midjourney", {**times, "response": {"progress": 100, "duration": 12}}).duration == expected


def test_the_length_of_the_media_is_not_the_duration() -> None:
    """In a flat record and in the response, `duration` is the length of the video."""
    flat = normalize("digital-human", {"state": "succeed", "video_url": URL, "duration": 17.2})
    nested = normalize("kling", {"response": {"state": "succeed", "video_url": URL, "duration": "5.1"}})

    assert (flat.duration, nested.duration) == (None, None)


def test_the_progress_is_read_from_the_response_or_the_record() -> None:
    """Maestro sends an object at the top, digital-human a number in the response."""
    assert normalize("maestro", {"status": "producing", "progress": {"percent": 35}}).progress == 35.0
    assert normalize("digital-human", {"progress": 10, "response": {"progress": 40}}).progress == 40.0
    assert normalize("luma", {"response": {"progress": 140}}).progress is None


def test_the_first_of_two_artifacts_with_one_url_counts() -> None:
    """An image that is also its own full-size file is the main artifact, with its size and position."""
    response = {"image_url": "a", "image_width": 5, "sub_image_urls": ["b", "a"], "raw_image_url": "a", "progress": 100}
    task = normalize("midjourney", {"response": response})

    assert task.artifacts == (
        Artifact(url="a", kind=ArtifactKind.IMAGE, width=5),
        Artifact(url="b", kind=ArtifactKind.IMAGE),
    )


@pytest.mark.parametrize("size", [0, -5, "1024", 1024.5, None, True])
def test_an_invalid_size_is_absent(size: object) -> None:
    """Pixverse sends 0 for an unknown size."""
    task = normalize("luma", {"response": {"state": "completed", "video_url": URL, "video_width": size}})

    assert task.artifacts == (Artifact(url=URL, kind=ArtifactKind.VIDEO),)


@pytest.mark.parametrize("url", ["", "  ", None, 5, ["x"], {"url": "x"}])
def test_an_empty_or_invalid_url_is_not_an_artifact(url: object) -> None:
    """Empty texts and nulls mean that the file does not exist yet."""
    assert normalize("luma", {"response": {"state": "completed", "video_url": url}}).artifacts == ()


def test_a_malformed_url_is_returned_unchanged() -> None:
    """URLs are not validated: the task is done in any case."""
    data = [{"audio_url": "http://[broken"}]

    assert normalize("suno", {"response": {"data": data}}).artifacts[0].url == "http://[broken"


def test_items_that_are_not_objects_do_not_shift_positions() -> None:
    """Failed items are identified by position, so state words and files must be counted alike."""
    data = [None, {"state": "failed", "audio_url": "a"}, "text", {"state": "succeeded", "audio_url": "b"}]
    task = normalize("suno", {"response": {"data": data}})

    assert [artifact.url for artifact in task.artifacts] == ["b"]


def test_a_record_is_read_by_the_fields_of_its_spec() -> None:
    """Artifact fields, words and time paths are data of the spec."""
    spec = ProviderSpec(
        slug="mine", artifacts=(ArtifactField("out.*.href", ArtifactKind.FILE),), finished_path="out.*.t", words={}
    )
    task = read_record(spec, b'{"id": "a", "response": {"out": [{"href": "u", "t": 3}, {"href": "v", "t": 9}]}}').task

    assert [artifact.url for artifact in task.artifacts] == ["u", "v"]
    assert (task.provider, task.state, task.finished_at) == ("mine", SUCCEEDED, 9.0)


# --------------------------------------------------------------------------------------------------------- payloads


def test_a_payload_can_be_of_any_supported_type() -> None:
    """Bytes of any type, text and decoded objects give the same task."""
    record = {"id": "a", "response": {"state": "completed", "video_url": URL, "video_width": 8}}
    body = msgspec.json.encode(record)
    expected = normalize("luma", body)

    for payload in (bytearray(body), memoryview(body), msgspec.Raw(body), body.decode(), record):
        assert normalize("luma", payload) == expected
    assert expected.state is SUCCEEDED


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"   ", b"nul", b"[]", b'"text"', b"5", b"true", b"[{}]", b'{"id": "a"', b'{"id": "a"} x'),
        *(b"{'id': 1}", b'{"id": nan}', b'{"id": undefined}', b'{"id": "\xff}', '{"id": "\ud800"}'),
        *(5, 1.5, True, [], [{}], {1, 2}, ..., {"a": ...}, {("a", "b"): 1}, "", "<html></html>"),
    ],
    ids=repr,
)
def test_a_payload_that_is_not_a_record_is_a_protocol_error(payload: object) -> None:
    """Any payload that is not a record raises the same type of error."""
    with pytest.raises(ProtocolError):
        normalize("luma", payload)


@pytest.mark.parametrize("body", [{"items": [], "count": 0}, {"items": [{"id": "a"}], "total": 1}])
def test_a_batch_is_a_protocol_error(body: dict[str, object]) -> None:
    """A batch response read as a record would be a pending task without an id."""
    with pytest.raises(ProtocolError, match="batch"):
        normalize("luma", body)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 409, 413, 429, 500, 502, 503, 504])
def test_an_http_error_is_a_protocol_error(status: int) -> None:
    """An error of the request says nothing about the task, even if its body looks like a failed one."""
    with pytest.raises(ProtocolError, match=f"HTTP {status}") as caught:
        normalize("luma", {"id": "a", "status": "failed", "error": {"message": "said"}}, http_status=status)

    assert "said" in caught.value.excerpt


def test_some_http_errors_are_failures_of_the_task() -> None:
    """Captcha's 504 and useapi's 410 mean that the task itself has failed; for other providers they do not."""
    failed = {"detail": "timed out", "code": "timeout", "status": "failed", "task_id": "a"}
    assert normalize("captcha", failed, http_status=504).error == TaskError(code="timeout", message="timed out")
    assert read_state({"error": "Job has expired", "code": 410}, "useapi-pixverse", http_status=410) is FAILED

    with pytest.raises(ProtocolError):
        normalize("luma", failed, http_status=504)
    with pytest.raises(ProtocolError):
        normalize("captcha", {"task_id": "a", "status": "processing"}, http_status=504)


@pytest.mark.parametrize("name", ["Luma", "", "luma/../veo", "luma tasks", None, 5, ["luma"]])
def test_an_invalid_provider_name_is_rejected_before_reading(name: object) -> None:
    """The name becomes part of a path. It is checked before the payload, which is not JSON here."""
    with pytest.raises(UnknownProviderError):
        normalize(name, b"no JSON")  # type: ignore[arg-type]  # deliberately wrong


def test_an_unknown_provider_is_read_by_the_generic_spec() -> None:
    """Video, audio and image URLs of providers that are not in the table are found."""
    task = normalize("brand-new", {"id": "a", "response": {"success": True, "data": [{"video_url": URL}]}})

    assert (task.provider, task.state, task.artifacts[0].url) == ("brand-new", SUCCEEDED, URL)


# ------------------------------------------------------------------------------------------------- hostile payloads


@pytest.mark.parametrize("depth", [50, 900, 100_000])
@pytest.mark.parametrize("place", ['{"request": %s}', '{"response": {"data": %s}}', '{"id": %s}', '{"error": %s}'])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_deep_nesting_raises_no_recursion_error(depth: int, place: str, brackets: str) -> None:
    """A body of nested brackets is read or rejected."""
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
def test_numbers_out_of_range_raise_no_overflow_error(number: str, place: str) -> None:
    """A number that no float can represent is read or rejected in every place."""
    for slug in ("luma", "veo", "fish"):
        assert_total(slug, place.replace("%s", number))


def test_a_number_out_of_range_in_the_request_is_ignored() -> None:
    """The request is not decoded until `Task.request` is read."""
    task = normalize("luma", b'{"id": "a", "request": {"seed": 1e999}, "response": {"state": "pending"}}')

    assert task.state is PENDING
    with pytest.raises(ProtocolError):
        _ = task.request


@pytest.mark.parametrize(
    ("record", "state"),
    [
        ({"id": "a", "finished_at": None, "response": {"data": [{"url": URL}]}}, PENDING),
        ({"id": "a", "finished_at": None, "response": {"success": True, "data": [{"url": URL}]}}, PENDING),
        ({"id": "a", "finished_at": None, "response": {"state": "completed", "data": [{"url": URL}]}}, SUCCEEDED),
        ({"id": "a", "finished_at": None, "response": {"data": [{"url": URL, "state": "succeeded"}]}}, SUCCEEDED),
        ({"id": "a", "finished_at": None, "response": {"progress": 100, "data": [{"url": URL}]}}, SUCCEEDED),
        ({"id": "a", "finished_at": None, "response": {"finished_at": 5, "data": [{"url": URL}]}}, SUCCEEDED),
        ({"id": "a", "response": {"data": [{"url": URL}]}}, SUCCEEDED),
        ({"finished_at": None, "success": True, "data": [{"url": URL}]}, SUCCEEDED),
    ],
)
def test_a_file_beside_an_open_finish_time_is_a_preview(record: dict[str, object], state: TaskState) -> None:
    """A null says that the task goes on, unless another sign says that it is done, or the response is the result."""
    assert normalize("openai", record).state is state


def test_the_slowest_item_decides_the_progress() -> None:
    """A task is done when all its items are; the progress of an item alone does not decide the state."""
    items = [{"progress": "80%", "audio_url": URL}, {"progress": 0.3}, {"progress": "soon"}]

    assert normalize("producer", {"id": "a", "response": {"data": items}}).progress == 30.0
    assert normalize("producer", {"id": "a", "response": {"progress": 7, "data": items}}).progress == 7.0
    assert normalize("producer", {"id": "a", "response": {"success": True, "data": items}}).state is SUCCEEDED


def test_invalid_utf8_in_the_request_is_ignored() -> None:
    """A malformed prompt in the request does not make the task unreadable."""
    task = normalize("luma", b'{"id": "a", "request": {"prompt": "\xff"}, "response": {"state": "completed"}}')

    assert task.state is SUCCEEDED
    assert task.request == {"prompt": "\ufffd"}


@pytest.mark.parametrize("lone", ["\\ud83d", "\\uDE00", "\\ude00\\ud83d", "\\\\\\ud83d", "\\ud83d\\u0041"])
def test_a_lone_surrogate_in_the_request_is_ignored(lone: str) -> None:
    """A prompt truncated inside an emoji is echoed with a lone surrogate, which is valid JSON."""
    record = json.dumps({"id": "a", "request": {"prompt": "cut: HERE"}, "response": {"state": "completed"}})
    task = normalize("luma", record.replace("HERE", lone))

    assert (task.id, task.state) == ("a", SUCCEEDED)


@pytest.mark.parametrize("place", ['{"id": "%s"}', '{"response": {"state": "%s"}}', '{"%s": 1}', '{"response": "%s"}'])
@pytest.mark.parametrize("lone", ["\\ud83d", "\\ude00", "\\ude00\\ud83d"])
def test_a_lone_surrogate_raises_no_unicode_error(place: str, lone: str) -> None:
    """A lone surrogate in any other place is read or rejected."""
    assert_total("luma", place % lone)


@pytest.mark.parametrize("last", ["failed", "completed"])
def test_the_last_of_two_equal_keys_counts(last: str) -> None:
    """The state and the artifacts are read in two passes, which must use the same response."""
    bodies = {
        "failed": '{"state": "failed"}',
        "completed": json.dumps({"state": "completed", "video_url": URL}),
    }
    first = bodies["completed" if last == "failed" else "failed"]
    task = normalize("luma", f'{{"id": "a", "response": {first}, "response": {bodies[last]}}}')

    assert task.state is (FAILED if last == "failed" else SUCCEEDED)
    assert len(task.artifacts) == (0 if last == "failed" else 1)
    assert task.response == json.loads(bodies[last])


@pytest.mark.parametrize(
    "record",
    [
        {"response": {"error": {"message": "x" * 1_000_000}}},
        {"finished_at": 5, "message": "x" * 1_000_000, "response": {"success": True, "data": []}},
        {"finished_at": 5, "message": 10**1100, "response": {"success": True, "data": []}},
        {"finished_at": 5, "response": {"success": True, "data": [], "message": "x" * 1_000_000}},
        {"finished_at": 5, "response": {"status": "\a" * 1000}},
    ],
)
def test_an_error_message_is_truncated(record: dict[str, object]) -> None:
    """A whole page, or a number of a thousand digits, is not kept as the reason of a failure."""
    error = normalize("veo", json.dumps(record)).error

    assert error is not None
    assert 256 <= len(error.message) <= 1024


def test_a_task_does_not_keep_its_batch_in_memory() -> None:
    """A `msgspec.Raw` references the whole body: a task copies its own record out of it."""
    record = {"id": "a", "trace_id": "t", "response": {"state": "completed", "video_url": URL}}
    body = bytearray(msgspec.json.encode({"items": [record, {"id": "b", "request": "x" * 1_000_000}]}))

    class Batch(msgspec.Struct):
        items: list[msgspec.Raw]

    batch = msgspec.json.decode(body, type=Batch)
    task = normalize("luma", batch.items[0])
    unknown = normalize("luma", msgspec.Raw(b"{}"))
    del batch
    body.clear()  # raises BufferError while the buffer is referenced

    assert task.raw == msgspec.json.encode(record)
    assert (type(task.raw), task.id, task.artifacts[0].url) == (bytes, "a", URL)
    assert unknown.state is NOT_FOUND


# ------------------------------------------------------------------------------------------------------- properties

#: The same examples in every run, so that failures are reproducible; without the slow `explain` phase.
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
    """Generate objects whose fields have one of the given values each, or are absent."""
    fields = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in choices.items()})
    return fields.map(lambda drawn: {name: value for name, value in drawn.items() if value is not ABSENT})


def records_with(*words: str) -> st.SearchStrategy[dict[str, Any]]:
    """Generate records with some of these state words: words of all kinds would rarely agree."""
    states = {"state": (ABSENT, ABSENT, *words), "status": (ABSENT, *words, 200, 404)}
    item = objects(**states, video_url=URLS[:2], audio_url=URLS, image_url=URLS, complete_at=TIMES)
    data = st.one_of(item, st.lists(item, max_size=2), st.just({"variants": [{"output_url": URL}]}))
    response = st.builds(lambda fields, data: {**fields, "data": data}, objects(**states, **RESPONSE), data)
    whole = st.builds(
        lambda head, response: {**head, "response": response}, objects(**states, **HEAD), response | st.none()
    )
    return st.one_of(whole, response, objects(**states, **HEAD), st.builds(lambda record: {"task": record}, whole))


def insert(record: dict[str, Any], place: tuple[str, ...], value: object) -> dict[str, Any]:
    """Insert a value into a record."""
    parent = record
    for key in place[:-1]:
        parent = parent[key] if isinstance(parent.get(key), dict) else parent
    parent[place[-1]] = value
    return record


valid_records = st.one_of(
    records_with(*DONE_WORDS, ""),
    records_with("succeeded", "failed", "error"),
    records_with("done", "queued", "running", "unknown"),
    records_with("", "archived"),
)
records = st.one_of(valid_records, st.builds(insert, valid_records, st.sampled_from(PLACES), anything))
slugs = st.sampled_from(SLUGS)


def encode(record: object) -> bytes:
    """Encode JSON as Python does, including lone surrogates and long integers."""
    return json.dumps(record).encode()


def assert_total(slug: str, payload: object, **options: int) -> Task | None:
    """Assert that reading a payload, and the sections of the task, returns or raises `ProtocolError`."""
    try:
        task = normalize(slug, payload, **options)
    except ProtocolError:
        return None
    assert isinstance(task, Task)
    readers: list[Callable[[], object]] = [lambda: task.request, lambda: task.response, lambda: task.decode(dict)]
    for read in readers:
        try:
            read()
        except ProtocolError:
            continue
    return task


def read_or_skip(slug: str, record: object) -> Task:
    """Read a record, or reject the example if it is not one."""
    try:
        return normalize(slug, encode(record))
    except ProtocolError:
        hypothesis.reject()


def test_the_examples_reach_every_state() -> None:
    """The properties would be worthless if the examples were all pending tasks."""
    seen: Counter[TaskState] = Counter()

    @hypothesis.settings(PROFILE, max_examples=1000)  # the rarest state has about 6 % of the examples
    @hypothesis.given(slugs, records)
    def count(slug: str, record: dict[str, object]) -> None:
        seen[read_or_skip(slug, record).state] += 1

    count()

    assert min(seen[state] for state in (PENDING, RUNNING, SUCCEEDED, FAILED)) >= 10
    assert seen[PARTIAL] >= 2


@PROFILE
@hypothesis.given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(body: bytes) -> None:
    """Any bytes give a task or a `ProtocolError`."""
    assert_total("luma", body)


@PROFILE
@hypothesis.given(slugs, anything | st.dictionaries(st.text(max_size=4), anything), st.sampled_from([200, 404, 504]))
def test_any_json_is_read_or_rejected(slug: str, payload: object, status: int) -> None:
    """Any JSON, encoded or decoded, gives a task or a `ProtocolError`."""
    assert_total(slug, encode(payload), http_status=status)
    assert_total(slug, payload, http_status=status)


@PROFILE
@hypothesis.given(records, st.sampled_from([200, 200, 200, 201, 400, 404, 410, 429, 500, 504]))
def test_any_value_at_any_known_key_is_read_or_rejected(record: dict[str, object], status: int) -> None:
    """JSON with the structure of a record and any value in it gives a task or a `ProtocolError`."""
    for slug in SLUGS:
        assert_total(slug, encode(record), http_status=status)


@PROFILE
@hypothesis.given(slugs, records)
def test_the_fields_of_a_task_fit_its_state(slug: str, record: dict[str, object]) -> None:
    """Artifacts require a result, an error a failure, a finish time the end; every number is in range."""
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
def test_a_task_with_an_unfinished_or_failed_word_has_not_succeeded(slug: str, record: dict[str, object]) -> None:
    """No task succeeds with an unfinished or failed word in one of the fixed places, in any spelling."""
    task = read_or_skip(slug, record)

    words = {word.strip().lower() for word in words_of(record) if isinstance(word, str)}
    assert task.state is not SUCCEEDED or words.isdisjoint({*UNFINISHED_WORDS, *FAILED_WORDS})


@PROFILE
@hypothesis.given(slugs, records, st.sampled_from(REQUESTS[1:]) | anything)
def test_the_request_does_not_affect_the_task(slug: str, record: dict[str, object], request: object) -> None:
    """URLs, words and errors in the request are not read as the result."""
    target = record.get("task") if isinstance(record.get("task"), dict) and "response" not in record else record
    hypothesis.assume(isinstance(target, dict) and target)
    before = read_or_skip(slug, record)
    target["request"] = request  # type: ignore[index]  # a dict, as assumed

    after = normalize(slug, encode(record))

    assert msgspec.structs.replace(after, raw=b"") == msgspec.structs.replace(before, raw=b"")


@PROFILE
@hypothesis.given(slugs, records)
def test_case_and_surrounding_whitespace_of_a_word_are_ignored(slug: str, record: dict[str, object]) -> None:
    """`" FAILED "` is the same word as `"failed"`."""
    before = read_or_skip(slug, record)

    after = normalize(slug, encode(respell(record)))

    assert msgspec.structs.replace(after, raw=b"", error=None) == msgspec.structs.replace(before, raw=b"", error=None)


@PROFILE
@hypothesis.given(slugs, records)
def test_the_order_of_keys_is_ignored(slug: str, record: dict[str, object]) -> None:
    """A JSON object is unordered."""
    before = read_or_skip(slug, record)

    after = normalize(slug, encode(reverse_keys(record)))

    assert msgspec.structs.replace(after, raw=b"") == msgspec.structs.replace(before, raw=b"")


@PROFILE
@hypothesis.given(slugs, records)
def test_the_record_of_a_task_reads_as_the_same_task(slug: str, record: dict[str, object]) -> None:
    """A stored record can be read again, and is the record that was sent."""
    task = read_or_skip(slug, record)

    assert normalize(slug, task.raw) == task
    assert b"\\ud" in encode(record) or encode(json.loads(task.raw)) in {encode(record), encode(record.get("task"))}


def test_a_record_wrapped_twice_reads_as_the_same_task() -> None:
    """A stored record can be read again even if the service wrapped it more than once."""
    task = normalize("minimax", {"task": {"task": {"id": "a", "status": "succeeded"}}})

    assert normalize("minimax", task.raw) == task


@PROFILE
@hypothesis.given(slugs, records, st.sampled_from([201, 202, 299, 302, 399]))
def test_an_http_status_below_400_is_ignored(slug: str, record: dict[str, object], status: int) -> None:
    """A record is read in the same way with status 200 and 201."""
    expected = read_or_skip(slug, record)

    assert normalize(slug, encode(record), http_status=status) == expected


@PROFILE
@hypothesis.given(records, st.sampled_from([400, 401, 403, 404, 409, 410, 413, 429, 500, 502, 504]))
def test_an_http_error_never_has_a_result(record: dict[str, object], status: int) -> None:
    """An HTTP error gives at most an unknown task, or an ended one if the provider spec allows it."""
    for spec in specs():
        task = assert_total(spec.slug, encode(record), http_status=status)
        allowed = {NOT_FOUND} if status == 404 else set()
        allowed |= {FAILED} if status in spec.failed_statuses else set()
        allowed |= set(TaskState) - {PENDING, RUNNING, NOT_FOUND} if status in spec.task_statuses else set()
        assert task is None or task.state in allowed


def words_of(record: dict[str, object]) -> Iterator[object]:
    """Yield the values in the fixed places of state words."""
    inner = record.get("task")
    if isinstance(inner, dict) and "response" not in record:
        record = inner
    response = record.get("response", record)
    for parent in (record, response, *items_of(response)):
        if isinstance(parent, dict):
            yield from (parent.get("state"), parent.get("status"))


def items_of(response: object) -> list[object]:
    """Return the items of a response."""
    found = response.get("data") if isinstance(response, dict) else None
    return found if isinstance(found, list) else [found]


def respell(value: object, key: str = "") -> object:
    """Return a copy with every state word in upper case and surrounded by whitespace."""
    if isinstance(value, dict):
        return {name: inner if name == "request" else respell(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [respell(inner) for inner in value]
    is_ascii_word = key in {"state", "status"} and isinstance(value, str) and value.isascii()
    return f" \t{value.upper()}\n" if is_ascii_word else value


def reverse_keys(value: object) -> object:
    """Return a copy with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {name: reverse_keys(inner) for name, inner in reversed(value.items())}
    return [reverse_keys(inner) for inner in value] if isinstance(value, list) else value
