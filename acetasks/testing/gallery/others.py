"""Providers that make sounds, solve captchas or read pages.

The pages named are those of docs.acedata.cloud's guides and its OpenAPI files; "clients" are the tests of the
official clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.gallery.parts import ALL_TIMES, success_ack
from acetasks.testing.looks import Json, Look, iso_utc
from acetasks.testing.script import Phase
from acetasks.testing.shapes import PROMPT, Build, Response, Shape, absent, null

if TYPE_CHECKING:
    from collections.abc import Mapping

#: When the first of suno's two songs is finished, in percent of the work.
_FIRST_SONG_PERCENT = 60


def _captcha(look: Look) -> Json:
    """Write a captcha: flat, and an HTTP 504 when it has failed (hcaptcha/captcha_tasks)."""
    if not look.phase.has_ended:
        return {"success": True, "task_id": look.id, "status": "processing"}
    times: Json = {"started_at": look.started, "finished_at": look.finished, "elapsed": look.elapsed}
    if look.phase is Phase.FAILED:
        code, message = look.error
        return {
            "detail": message,
            "code": code,
            "success": False,
            "task_id": look.id,
            "status": "failed",
            **times,
        }
    if look.task.path.endswith("image2text"):
        result: Json = {"text": look.hex[:5]}
    elif "recognition" in look.task.path:
        result = {"solution": {"objects": [0, 4, 8]}}
    else:
        result = {"token": f"P1_{look.hex}{look.hex}"}
    return {"success": True, "task_id": look.id, "status": "ready", **times, **result}


def _captcha_missing(_task_id: str, _trace_id: str) -> Json:
    return {"success": False, "error": {"code": "not_found", "message": "task not found"}}


def _traced_ack(look: Look) -> Json:
    return {"task_id": look.id, "trace_id": look.trace_id}


def _fish_failed(look: Look) -> Response:
    """Send fish's numeric status, which is no word."""
    code, message = look.error
    status = int(code) if code is not None and code.isdecimal() else 400
    return {"status": status, "message": message, "task_id": look.id, "trace_id": look.trace_id}


def _fish_ack(look: Look) -> Json:
    return {"task_id": look.id, "started_at": look.created}


def _song(look: Look, number: int, state: str) -> Json:
    """Write one of suno's songs: a preview while it is made, its cover as soon as the work has begun."""
    song_id = f"{look.trace_id[:-1]}{number}"
    audio = {
        "running": f"https://audiopipe.files.example/?item_id={song_id}",
        "succeeded": look.url("mp3", f"-{number}"),
    }
    song: Json = {
        "id": song_id,
        "title": "Lighthouse",
        "lyric": "[Verse]\nA lighthouse at dawn",
        "audio_url": audio.get(state, ""),
        "video_url": "",
        "created_at": iso_utc(look.created),
        "model": look.told("model", "chirp-v5"),
        "state": state,
        "prompt": look.told("prompt", PROMPT),
        "style": "orchestral",
    }
    if state != "pending":
        song["image_url"] = look.url("jpeg", f"-{number}")
        song["image_large_url"] = look.url("jpeg", f"-{number}-large")
    if state == "succeeded":
        song["duration"] = 129.92
    return song


def _suno(first: str, second: str) -> Build:
    """Send two songs in the states given (suno/suno_tasks, and the stream section of suno/suno_audios)."""
    return lambda look: look.success(data=[_song(look, 1, first), _song(look, 2, second)])


def _suno_running(look: Look) -> Response:
    first = "running" if look.progress < _FIRST_SONG_PERCENT else "succeeded"
    return _suno(first, "running")(look)


def _suno_partial(look: Look) -> Response:
    return look.failure(data=[{"id": look.hex, "audio_url": look.url("mp3", "-1")}])


def _suno_failed(look: Look) -> Response:
    return look.failure(data=[])


def _producer(state: str) -> Build:
    """Send one song, its progress in words and no `success` (producer/producer_tasks)."""

    def build(look: Look) -> Response:
        is_done = state == "succeeded"
        song = {
            "id": look.trace_id,
            "title": "Lighthouse",
            "image_url": look.url("png"),
            "lyric": "[Verse]\nA lighthouse at dawn",
            "audio_url": look.url("mp3") if is_done else "",
            "video_url": None,
            "image_id": look.trace_id,
            "topic": None,
            "seed": str(int(look.hex[:7], 16)),
            "sound": "",
            "created_at": iso_utc(look.created),
            "model": look.told("model", "FUZZ-2.0 Pro"),
            "progress": "100%" if is_done else f"{look.percent}%",
            "state": state,
            "duration": "135.2" if is_done else None,
        }
        return {"task_id": look.id, "data": [song]}

    return build


def _text_error(look: Look) -> Response:
    """Send the error as a bare text; it is final because the record is stamped as finished (clients)."""
    return {"error": look.error[1] if look.error[0] is None else f"{look.error[0]}: {look.error[1]}"}


def _webextrator_done(look: Look) -> Response:
    """Send a page; its `status` is the page's own (webextrator.json)."""
    url = look.told("url", "https://example.com")
    page = {
        "kind": "render",
        "title": "Example",
        "status": 200,
        "url": url,
        "finalUrl": url,
        "elapsedMs": 530,
    }
    return {"success": True, "data": page}


ROWS: Mapping[str, Shape] = {
    "captcha": Shape(
        whole=_captcha,
        error=("timeout", "The captcha task timed out."),
        failed_status=504,
        ack=_traced_ack,
        ack_status=201,
        missing=(404, _captcha_missing),
    ),
    "fish": Shape(
        queued=null,
        running=null,
        done=lambda look: look.success(data=[{"audio_url": look.url("mp3")}]),
        failed=_fish_failed,
        kind="audios",
        nulls=True,
        error=("400", "the voice model was not found"),
        ack=_fish_ack,
    ),
    "producer": Shape(
        queued=_producer("pending"),
        running=_producer("running"),
        done=_producer("succeeded"),
        failed=_text_error,
        partial=_suno_partial,
        kind="audios",
        times=("elapsed", "finished_at"),
        stamps_failure=True,
        error=(None, "provider timeout"),
        request={"action": "generate", "model": "FUZZ-2.0 Pro"},
    ),
    "suno": Shape(
        queued=_suno("pending", "pending"),
        running=_suno_running,
        done=_suno("succeeded", "succeeded"),
        failed=_suno_failed,
        partial=_suno_partial,
        times=ALL_TIMES,
        error=(None, "upstream rejected the prompt"),
    ),
    "webextrator": Shape(
        running=absent,
        done=_webextrator_done,
        kind="render",
        times=ALL_TIMES,
        stamps_failure=True,
        ack=success_ack,
        request={"url": "https://example.com"},
    ),
}
