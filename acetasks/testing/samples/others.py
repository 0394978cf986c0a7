"""Templates of audio providers, captcha solvers and web page extractors.

Cited pages are those of docs.acedata.cloud's guides and its OpenAPI files; "clients" are the tests of the
official clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.samples.common import ALL_TIMESTAMPS
from acetasks.testing.scenario import Phase
from acetasks.testing.snapshot import Json, Snapshot, iso_utc
from acetasks.testing.templates import PROMPT, Response, ResponseBuilder, Template, absent, null

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Progress at which the first of suno's two songs is finished, in percent.
_FIRST_SONG_PERCENT = 60


def _captcha(snapshot: Snapshot) -> Json:
    """Return a captcha record: without `response`; a failure has HTTP status 504 (hcaptcha/captcha_tasks)."""
    if not snapshot.phase.has_ended:
        return {"success": True, "task_id": snapshot.id, "status": "processing"}
    times: Json = {"started_at": snapshot.started, "finished_at": snapshot.finished, "elapsed": snapshot.elapsed}
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
    """Return the id and the time, as text (fish/fish_tts)."""
    return {"task_id": snapshot.id, "started_at": iso_utc(snapshot.created)}


def _fish_callback(snapshot: Snapshot) -> Json:
    """Return the id and the file alone (fish/fish_tts)."""
    return {"task_id": snapshot.id, "audio_url": snapshot.file_url("mp3")}


def _song(snapshot: Snapshot, number: int, state: str) -> Json:
    """Return one suno song: with a preview while it runs, and with its cover once the work has started."""
    song_id = f"{snapshot.trace_id[:-1]}{number}"
    audio = {
        "running": f"https://audiopipe.files.example/?item_id={song_id}",
        "succeeded": snapshot.file_url("mp3", f"-{number}"),
    }
    song: Json = {
        "id": song_id,
        "title": "Lighthouse",
        "lyric": "[Verse]\nA lighthouse at dawn",
        "audio_url": audio.get(state, ""),
        "video_url": "",
        "created_at": iso_utc(snapshot.created),
        "model": snapshot.request_value("model", "chirp-v5"),
        "state": state,
        "prompt": snapshot.request_value("prompt", PROMPT),
        "style": "orchestral",
    }
    if state != "pending":
        song["image_url"] = snapshot.file_url("jpeg", f"-{number}")
        song["image_large_url"] = snapshot.file_url("jpeg", f"-{number}-large")
    if state == "succeeded":
        song["duration"] = 129.92
    return song


def _suno(first: str, second: str) -> ResponseBuilder:
    """Return a builder of two songs (suno/suno_tasks, and the stream section of suno/suno_audios)."""
    return lambda snapshot: snapshot.success(data=[_song(snapshot, 1, first), _song(snapshot, 2, second)])


def _suno_running(snapshot: Snapshot) -> Response:
    first = "running" if snapshot.progress < _FIRST_SONG_PERCENT else "succeeded"
    return _suno(first, "running")(snapshot)


def _suno_partial(snapshot: Snapshot) -> Response:
    return snapshot.failure(data=[{"id": snapshot.hex, "audio_url": snapshot.file_url("mp3", "-1")}])


def _suno_failed(snapshot: Snapshot) -> Response:
    return snapshot.failure(data=[])


def _producer(state: str) -> ResponseBuilder:
    """Return a builder of one song, with its progress as text and no `success` (producer/producer_tasks)."""

    def build(snapshot: Snapshot) -> Response:
        is_done = state == "succeeded"
        song = {
            "id": snapshot.trace_id,
            "title": "Lighthouse",
            "image_url": snapshot.file_url("png"),
            "lyric": "[Verse]\nA lighthouse at dawn",
            "audio_url": snapshot.file_url("mp3") if is_done else "",
            "video_url": None,
            "image_id": snapshot.trace_id,
            "topic": None,
            "seed": str(int(snapshot.hex[:7], 16)),
            "sound": "",
            "created_at": iso_utc(snapshot.created),
            "model": snapshot.request_value("model", "FUZZ-2.0 Pro"),
            "progress": "100%" if is_done else f"{snapshot.percent}%",
            "state": state,
            "duration": "135.2" if is_done else None,
        }
        return {"task_id": snapshot.id, "data": [song]}

    return build


def _text_error(snapshot: Snapshot) -> Response:
    """Return the error as text; the record's `finished_at` shows that it is final (clients)."""
    return {"error": snapshot.error[1] if snapshot.error[0] is None else f"{snapshot.error[0]}: {snapshot.error[1]}"}


def _webextrator_done(snapshot: Snapshot) -> Response:
    """Return a page; its `status` is that of the page (webextrator.json)."""
    url = snapshot.request_value("url", "https://example.com")
    page = {
        "kind": "render",
        "title": "Example",
        "status": 200,
        "url": url,
        "finalUrl": url,
        "elapsedMs": 530,
    }
    return {"success": True, "data": page}


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
        failed=_fish_failed,
        record_type="audios",
        null_finished_at=True,
        error=("400", "the voice model was not found"),
        callback=_fish_callback,
        ack=_fish_ack,
    ),
    "producer": Template(
        queued=_producer("pending"),
        running=_producer("running"),
        done=_producer("succeeded"),
        failed=_text_error,
        partial=_suno_partial,
        record_type="audios",
        timestamps=("elapsed", "finished_at"),
        timestamps_on_failure=True,
        error=(None, "provider timeout"),
        request={"action": "generate", "model": "FUZZ-2.0 Pro"},
    ),
    "suno": Template(
        queued=_suno("pending", "pending"),
        running=_suno_running,
        done=_suno("succeeded", "succeeded"),
        failed=_suno_failed,
        partial=_suno_partial,
        timestamps=ALL_TIMESTAMPS,
        error=(None, "upstream rejected the prompt"),
    ),
    "webextrator": Template(
        running=absent,
        done=_webextrator_done,
        record_type="render",
        timestamps=ALL_TIMESTAMPS,
        timestamps_on_failure=True,
        ack=lambda snapshot: snapshot.success(),
        request={"url": "https://example.com"},
    ),
}
