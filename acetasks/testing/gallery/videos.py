"""Providers that make videos, beside those in `documented`.

The pages named are those of docs.acedata.cloud's guides and its OpenAPI files; "clients" are the tests of the
official clients, which show most of what is sent while a task is not done and when it has failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.testing.gallery.parts import ALL_TIMES, item_word, state_word, success_ack, video_item
from acetasks.testing.script import Phase
from acetasks.testing.shapes import PROMPT, Build, Response, Shape, absent, only_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.looks import Json, Look

#: Below this maestro plans, and from then on it produces, in percent.
_MAESTRO_PLANNING_PERCENT = 30


def _digital_human(look: Look) -> Response:
    if look.phase is Phase.FAILED:
        return look.failure(state="failed")
    if not look.phase.has_ended:
        return {"success": True, "task_id": look.id, "state": "processing", "progress": look.percent}
    return look.success(
        state="succeed",
        progress=100,
        video_url=look.url("mp4"),
        duration=17.2,
        width=1280,
        height=720,
        engine="latentsync",
    )


def _digital_human_missing(_task_id: str, trace_id: str) -> Json:
    return {"error": {"code": "no_task", "message": "task not found"}, "trace_id": trace_id}


def _digital_human_words(look: Look) -> Json:
    word = "failed" if look.phase is Phase.FAILED else "succeed" if look.phase.has_ended else "processing"
    return {"status": word}


def _dreamina(word: str) -> Build:
    """Send one object that repeats the inputs, which are not what was made (dreamina/dreamina_tasks)."""

    def build(look: Look) -> Response:
        made: Json = {"video_url": look.url("mp4")} if word == "done" else {}
        repeated = {key: look.told(key, f"https://files.example/inputs/{key}") for key in ("image_url", "audio_url")}
        return look.success(data={"task_id": look.hex, "status": word, **made, **repeated})

    return build


def _hailuo_done(look: Look) -> Response:
    video = {
        "id": look.hex[:26],
        "model": "minimax-t2v",
        "prompt": look.told("prompt", PROMPT),
        "first_image_url": None,
        "video_url": look.url("mp4"),
        "state": "succeeded",
    }
    return look.success(data=[video])


def _happyhorse_done(look: Look) -> Response:
    video = {
        "id": look.trace_id,
        "video_url": look.url("mp4"),
        "state": "succeeded",
        "duration": 5,
        "resolution": "720P",
        "ratio": "16:9",
    }
    return look.success(data=[video])


def _happyhorse_failed(look: Look) -> Response:
    """Send nothing but an item's word, unless an error has to be shown."""
    said: Json = {"error": look.error_object} if look.is_explicit else {}
    return {"success": False, "task_id": look.id, "data": [{"id": look.hex, "state": "error"}], **said}


def _kling_done(look: Look) -> Response:
    return {
        "success": True,
        "video_id": look.trace_id,
        "video_url": look.url("mp4"),
        "duration": "5.1",
        "state": "succeed",
        "task_id": look.id,
    }


def _maestro_done(look: Look) -> Response:
    variants = [
        {
            "lang": lang,
            "aspect": "9:16",
            "kind": "video",
            "title": PROMPT,
            "output_url": look.url("mp4", f"-{lang}"),
        }
        for lang in ("zh-cn", "en")
    ]
    project = {"tarball_url": look.url("tar.gz"), "outputs": [variant["output_url"] for variant in variants]}
    return {
        "success": True,
        "data": {
            "variants": variants,
            "project": project,
            "percent": 100,
            "stage": "producing",
            "progress": [],
        },
    }


def _maestro_failed(look: Look) -> Response:
    """Send no response at all: the word at the top is enough, unless an error has to be shown."""
    return {"success": False, "error": look.error_object} if look.is_explicit else msgspec.UNSET


def _maestro_words(look: Look) -> Json:
    """Send the word at the top: maestro names the stage that the work is in (maestro/maestro_tasks)."""
    if look.phase is Phase.QUEUED:
        return {"status": "queued"}
    if look.phase is Phase.FAILED:
        return {"status": "failed"}
    if look.phase.has_ended:
        return {"status": "succeeded", "progress": {"percent": 100, "stage": "producing", "message": "done"}}
    stage = "planning" if look.percent < _MAESTRO_PLANNING_PERCENT else "producing"
    return {
        "status": stage,
        "progress": {"percent": look.percent, "stage": stage, "message": f"{stage} scene 1"},
    }


def _minimax(look: Look) -> Json:
    """Write a minimax task: flat, with a word, wrapped in `task` if asked for alone (minimax.json)."""
    word = {Phase.QUEUED: "queued", Phase.RUNNING: "running", Phase.FAILED: "failed"}.get(look.phase, "succeeded")
    record: Json = {
        "id": look.id,
        "model": look.told("model", "MiniMax-H3"),
        "status": word,
        "created_at": int(look.created),
        "task_type": "generation",
        "modality": "video",
    }
    if look.phase is Phase.SUCCEEDED or look.phase is Phase.PARTIAL:
        record |= {
            "updated_at": int(look.finished),
            "content": {"url": look.url("mp4")},
            "resolution": "2K",
            "duration": 5,
            "usage": {"total_seconds": 5, "input_seconds": 0, "output_seconds": 5, "input_image_count": 1},
            "ratio": "adaptive",
        }
    if look.phase is Phase.FAILED or look.phase is Phase.PARTIAL:
        record["error"] = look.error_object
    return record


def _pika_done(look: Look) -> Response:
    video = {
        "id": look.trace_id,
        "prompt": None,
        "video_url": look.url("mp4"),
        "image_url": look.url("jpg"),
        "duration": 5,
        "state": "succeeded",
    }
    return look.success(data=[video])


def _pika_failed(look: Look) -> Response:
    """Send `success: true` and a failed item or, where an error has to be shown, that and a stale item."""
    if look.is_explicit:
        return {"success": False, "data": [{"state": "pending"}], "error": look.error_object}
    return {"success": True, "data": [{"state": "failed"}]}


def _seedance(word: str) -> Build:
    """Send one object, with the upstream's own id (seedance/seedance_tasks)."""

    def build(look: Look) -> Response:
        made: Json = {"video_url": look.url("mp4"), "last_frame_url": None} if word == "succeeded" else {}
        model = look.told("model", "doubao-seedance-1-0-pro-250528")
        return look.success(data={"task_id": f"cgt-{look.hex[:12]}", "status": word, **made, "model": model})

    return build


def _wan_running(_look: Look) -> Response:
    return {"success": True, "state": "processing"}


def _wan_done(look: Look) -> Response:
    return {"success": True, "video_url": look.url("mp4"), "state": "completed", "task_id": look.id}


def _wan_failed(look: Look) -> Response:
    return {"state": "failed", "error": look.error_object}


ROWS: Mapping[str, Shape] = {
    "digital-human": Shape(
        queued=_digital_human,
        running=_digital_human,
        done=_digital_human,
        failed=_digital_human,
        beside=_digital_human_words,
        times=("elapsed",),
        error=(None, "the face could not be tracked"),
        request={"video_url": "https://files.example/inputs/face.mp4", "text": "hello"},
        flattens=True,
        missing=(404, _digital_human_missing),
    ),
    "dreamina": Shape(
        running=_dreamina("processing"),
        done=_dreamina("done"),
        times=ALL_TIMES,
        stamps_failure=True,
        is_silent=True,
        request={
            "model": "omnihuman-1.5",
            "image_url": "https://files.example/inputs/face.jpg",
            "audio_url": "https://files.example/inputs/voice.wav",
        },
    ),
    "gemini": Shape(running=item_word("processing", success=True), done=video_item("omni-flash"), kind="videos"),
    "grok": Shape(
        running=item_word("processing", success=True),
        done=video_item("grok-imagine-video"),
        kind="videos",
        times=("finished_at",),
        stamps_failure=True,
    ),
    "hailuo": Shape(
        queued=item_word("queued", success=True),
        running=item_word("processing", success=True),
        done=_hailuo_done,
        failed=lambda look: look.failure(data=[{"state": "processing"}]),
        error=(None, "the generation failed"),
    ),
    "happyhorse": Shape(
        queued=item_word("pending"),
        running=lambda _look: {"data": []},
        beside=lambda look: {"state": "processing"} if look.phase is Phase.RUNNING else {},
        done=_happyhorse_done,
        failed=_happyhorse_failed,
        kind="videos",
    ),
    "kling": Shape(
        running=only_id,
        done=_kling_done,
        kind="videos",
        times=ALL_TIMES,
        error=(None, "the model did not detect a person"),
        newest_first=True,
        request={"action": "text2video", "model": "kling-v1", "prompt": PROMPT},
    ),
    "maestro": Shape(
        running=absent,
        done=_maestro_done,
        failed=_maestro_failed,
        beside=_maestro_words,
        times=ALL_TIMES,
        total=("count", True),
        missing=(404, lambda _id, _trace: {"detail": "task not found"}),
        request={"prompt": PROMPT, "langs": ["zh-cn", "en"], "aspect": "9:16", "duration": 20},
    ),
    "minimax": Shape(
        whole=_minimax,
        envelope="task",
        total=("total", True),
        request={"model": "MiniMax-H3", "prompt": PROMPT},
    ),
    "pika": Shape(
        queued=only_id,
        running=item_word("processing", success=True),
        done=_pika_done,
        failed=_pika_failed,
        request={"action": "generate", "prompt": PROMPT, "model": "2.0"},
    ),
    "seedance": Shape(
        queued=_seedance("queued"),
        running=_seedance("running"),
        done=_seedance("succeeded"),
        kind="videos",
        times=ALL_TIMES,
        request={"model": "doubao-seedance-1-0-pro-250528", "content": [{"type": "text", "text": PROMPT}]},
    ),
    "sora": Shape(
        ack=success_ack,
        queued=item_word("pending"),
        running=item_word("processing"),
        done=video_item("sora-2"),
        kind="videos",
        request={"model": "sora-2", "prompt": PROMPT, "duration": 15, "orientation": "landscape"},
    ),
    "wan": Shape(
        queued=state_word("queued"),
        running=_wan_running,
        done=_wan_done,
        failed=_wan_failed,
        kind="videos",
        times=ALL_TIMES,
        error=(None, "the input video could not be decoded"),
        request={"action": "text2video", "model": "wan2.6-t2v", "prompt": PROMPT, "duration": 5},
    ),
}
