"""Templates of text to speech, captcha solvers and web page extractors.

Cited pages are those of docs.acedata.cloud's guides and its OpenAPI files; "clients" are the tests of the
official clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.endpoints import Endpoint, Response, absent, always
from acetasks.testing.scenario import Phase
from acetasks.testing.snapshot import Json, Snapshot, iso_utc
from acetasks.testing.templates import Template, null

if TYPE_CHECKING:
    from collections.abc import Mapping


def _captcha(snapshot: Snapshot) -> Json:
    """Return a captcha record: without `response`; a failure has HTTP status 504 (hcaptcha/captcha_tasks)."""
    if not snapshot.phase.has_ended:
        return {"success": True, "task_id": snapshot.id, "status": "processing"}
    times = snapshot.times()
    if snapshot.phase is Phase.FAILED:
        code, message = snapshot.error
        return {
            "detail": message,
            "code": code,
            "success": False,
            "task_id": snapshot.id,
            "status": "failed",
            **times,
        }
    if snapshot.task.path.endswith("image2text"):
        result: Json = {"text": snapshot.hex[:5]}
    elif "recognition" in snapshot.task.path:
        result = {"solution": {"objects": [0, 4, 8]}}
    else:
        result = {"token": f"P1_{snapshot.hex}{snapshot.hex}"}
    return {"success": True, "task_id": snapshot.id, "status": "ready", **times, **result}


def _captcha_not_found(_task_id: str, _trace_id: str) -> Json:
    return {"success": False, "error": {"code": "not_found", "message": "task not found"}}


def _captcha_ack(snapshot: Snapshot) -> Json:
    return {"task_id": snapshot.id, "trace_id": snapshot.trace_id}


def _fish_failed(snapshot: Snapshot) -> Response:
    """Return the error with fish's numeric status."""
    code, message = snapshot.error
    status = int(code) if code is not None and code.isdecimal() else 400
    return {"status": status, "message": message, "task_id": snapshot.id, "trace_id": snapshot.trace_id}


def _fish_ack(snapshot: Snapshot) -> Json:
    return {"task_id": snapshot.id, "started_at": iso_utc(snapshot.created)}


def _fish_answer(snapshot: Snapshot) -> Response:
    """Return the URL and nothing else (fish/fish_tts)."""
    return {"audio_url": snapshot.file_url("mp3")}


def _fish_model(snapshot: Snapshot) -> Response:
    """Return a voice model as the upstream does, with neither an id of a task nor `success` (fish/fish_model)."""
    return {
        "_id": snapshot.hex,
        "type": "tts",
        "title": snapshot.request_value("title", "Lighthouse keeper"),
        "description": snapshot.request_value("description", ""),
        "cover_image": snapshot.request_value("cover_image", ""),
        "train_mode": "fast",
        "state": "trained",
        "tags": [],
        "samples": [],
        "created_at": iso_utc(snapshot.created),
        "updated_at": iso_utc(snapshot.finished),
        "languages": ["en"],
        "visibility": snapshot.request_value("visibility", "private"),
    }


def _rendered_page(snapshot: Snapshot) -> Json:
    """Return a page; its `status` is that of the page (webextrator.json)."""
    url = snapshot.request_value("url", "https://example.com")
    page = {
        "kind": "render",
        "title": "Example",
        "status": 200,
        "url": url,
        "finalUrl": url,
        "html": "<html><title>Example</title></html>",
        "elapsedMs": 530,
    }
    return snapshot.success(data=page)


def _extracted_page(snapshot: Snapshot) -> Response:
    """Return the content of a page (webextrator.json)."""
    url = snapshot.request_value("url", "https://example.com")
    page = {
        "kind": "extract",
        "title": "Example",
        "url": url,
        "contentType": "article",
        "description": "An example.",
        "siteName": "Example",
        "markdown": "# Example\n\nAn example.",
    }
    return snapshot.success(data=page)


def _page_answer(snapshot: Snapshot) -> Response:
    """Return the page with the times of the work, which the record has beside the response."""
    return {**_rendered_page(snapshot), **snapshot.times()}


TEMPLATES: Mapping[str, Template] = {
    "captcha": Template(
        full_record=_captcha,
        error=("timeout", "The captcha task timed out."),
        failed_status=504,
        ack=_captcha_ack,
        ack_status=201,
        not_found=(404, _captcha_not_found),
    ),
    "fish": Template(
        queued=null,
        running=null,
        done=lambda snapshot: snapshot.success(data=[{"audio_url": snapshot.file_url("mp3")}]),
        own_failure=_fish_failed,
        record_type="audios",
        error=("bad_request", "the voice model was not found"),
        own_error=("400", "the voice model was not found"),
        answer=_fish_answer,
        ack=_fish_ack,
        endpoints={"/fish/model": Endpoint(done=_fish_model, blocks=always)},
        callback_fields=("task_id",),
    ),
    "webextrator": Template(
        running=absent,
        done=_rendered_page,
        answer=_page_answer,
        endpoints={
            "/webextrator/extract": Endpoint(done=_extracted_page, answer_has_times=True, record_type="extract")
        },
        record_type="render",
        ack=Snapshot.success,
        request={"url": "https://example.com"},
    ),
}
