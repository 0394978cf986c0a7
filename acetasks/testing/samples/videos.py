"""Templates of video providers, except those in `documented`.

Cited pages are those of docs.acedata.cloud's guides and its OpenAPI files; "clients" are the tests of the
official clients, which show most responses of running and failed tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.testing.endpoints import Endpoint, Response, ResponseBuilder, absent, quick_endpoint, result_data
from acetasks.testing.samples.common import item_state, response_state, success_ack, video_item
from acetasks.testing.scenario import Phase
from acetasks.testing.snapshot import Snapshot
from acetasks.testing.templates import PROMPT, Template, only_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.snapshot import Json

#: Progress from which maestro is in stage `producing` instead of `planning`, in percent.
_MAESTRO_PRODUCING_PERCENT = 30


def _digital_human(snapshot: Snapshot) -> Response:
    if snapshot.phase is Phase.FAILED:
        return snapshot.failure(state="failed")
    if not snapshot.phase.has_ended:
        return {"success": True, "task_id": snapshot.id, "state": "processing", "progress": snapshot.percent}
    return snapshot.success(
        state="succeed",
        progress=100,
        video_url=snapshot.file_url("mp4"),
        duration=17.2,
        width=1280,
        height=720,
        engine="latentsync",
    )


def _digital_human_voice(snapshot: Snapshot) -> Response:
    """Return a cloned voice (digital-human/digital_human_voices)."""
    return snapshot.success(voice_id=snapshot.hex[:12], state="succeed")


def _digital_human_not_found(_task_id: str, trace_id: str) -> Json:
    return {"error": {"code": "no_task", "message": "task not found"}, "trace_id": trace_id}


def _digital_human_fields(snapshot: Snapshot) -> Json:
    status = "failed" if snapshot.phase is Phase.FAILED else "succeed" if snapshot.phase.has_ended else "processing"
    return {"status": status}


def _dreamina(status: str) -> ResponseBuilder:
    """Return a builder of one object, which repeats the input files (dreamina/dreamina_tasks)."""

    def build(snapshot: Snapshot) -> Response:
        outputs: Json = {"video_url": snapshot.file_url("mp4")} if status == "done" else {}
        inputs = {
            key: snapshot.request_value(key, f"https://files.example/inputs/{key}")
            for key in ("image_url", "audio_url")
        }
        return snapshot.success(data={"task_id": snapshot.hex, "status": status, **outputs, **inputs})

    return build


def _hailuo_done(snapshot: Snapshot) -> Response:
    video = {
        "id": snapshot.hex[:26],
        "model": "minimax-t2v",
        "prompt": snapshot.request_value("prompt", PROMPT),
        "first_image_url": None,
        "video_url": snapshot.file_url("mp4"),
        "state": "succeeded",
    }
    return snapshot.success(data=[video])


def _happyhorse_done(snapshot: Snapshot) -> Response:
    video = {
        "id": snapshot.trace_id,
        "video_url": snapshot.file_url("mp4"),
        "state": "succeeded",
        "duration": 5,
        "resolution": "720P",
        "ratio": "16:9",
    }
    return snapshot.success(data=[video])


def _happyhorse_failed(snapshot: Snapshot) -> Response:
    """Return only an item with its state, and the error if it was scripted."""
    extra: Json = {"error": snapshot.error_object} if snapshot.has_scripted_error else {}
    return {"success": False, "task_id": snapshot.id, "data": [{"id": snapshot.hex, "state": "error"}], **extra}


def _kling_done(snapshot: Snapshot) -> Response:
    return {
        "success": True,
        "video_id": snapshot.trace_id,
        "video_url": snapshot.file_url("mp4"),
        "duration": "5.1",
        "state": "succeed",
        "task_id": snapshot.id,
    }


def _kling_native(file: str, suffix: str) -> ResponseBuilder:
    """Return a builder of one file in a list of items, with its price (kling/kling_goods_studio)."""

    def build(snapshot: Snapshot) -> Response:
        item = {"id": snapshot.id, file: snapshot.file_url(suffix), "state": "succeed"}
        return snapshot.success(data=[item], usage={"seconds": 15})

    return build


def _kling_asset(kind: str) -> ResponseBuilder:
    """Return a builder of a new voice or element, or of a list of them; their fields are inferred."""

    def asset(snapshot: Snapshot) -> object:
        created = {f"{kind}_id": snapshot.hex[:18], f"{kind}_name": snapshot.request_value(f"{kind}_name", "Keeper")}
        return created if snapshot.request_value("action") == "create" else [created]

    return result_data(asset)


#: Videos and images of goods, and the assets that videos refer to; the latter block whatever `async` says.
_KLING_ENDPOINTS = {
    "/kling/goods-studio": Endpoint(done=_kling_native("video_url", "mp4"), unfinished=only_id),
    "/kling/video-commerce": Endpoint(done=_kling_native("video_url", "mp4"), unfinished=only_id),
    "/kling/apparel": Endpoint(done=_kling_native("video_url", "mp4"), unfinished=only_id),
    "/kling/virtual-try-on": Endpoint(done=_kling_native("image_url", "png"), unfinished=only_id),
    "/kling/elements": quick_endpoint(_kling_asset("element")),
    "/kling/voices": quick_endpoint(_kling_asset("voice")),
}


def _maestro_done(snapshot: Snapshot) -> Response:
    variants = [
        {
            "lang": lang,
            "aspect": "9:16",
            "kind": "video",
            "title": PROMPT,
            "output_url": snapshot.file_url("mp4", f"-{lang}"),
        }
        for lang in ("zh-cn", "en")
    ]
    project = {"tarball_url": snapshot.file_url("tar.gz"), "outputs": [variant["output_url"] for variant in variants]}
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


def _maestro_failed(snapshot: Snapshot) -> Response:
    """Return no response unless the error was scripted: the record's `status` shows the failure."""
    return {"success": False, "error": snapshot.error_object} if snapshot.has_scripted_error else msgspec.UNSET


def _maestro_not_found(_task_id: str, trace_id: str) -> Json:
    """Return the error of maestro/maestro_tasks; an official client's test has `{"detail": ...}`."""
    return {"error": {"code": "not_found", "message": "task not found"}, "trace_id": trace_id}


def _maestro_fields(snapshot: Snapshot) -> Json:
    """Return the record's `status`, which names the stage of the work (maestro/maestro_tasks)."""
    if snapshot.phase is Phase.QUEUED:
        return {"status": "queued"}
    if snapshot.phase is Phase.FAILED:
        return {"status": "failed"}
    if snapshot.phase.has_ended:
        return {"status": "succeeded", "progress": {"percent": 100, "stage": "producing", "message": "done"}}
    stage = "planning" if snapshot.percent < _MAESTRO_PRODUCING_PERCENT else "producing"
    return {
        "status": stage,
        "progress": {"percent": snapshot.percent, "stage": stage, "message": f"{stage} scene 1"},
    }


def _minimax(snapshot: Snapshot) -> Json:
    """Return a minimax record: without `response`; a single record is wrapped in `task` (minimax.json)."""
    status = {Phase.QUEUED: "queued", Phase.RUNNING: "running", Phase.FAILED: "failed"}.get(snapshot.phase, "succeeded")
    record: Json = {
        "id": snapshot.id,
        "model": snapshot.request_value("model", "MiniMax-H3"),
        "status": status,
        "created_at": int(snapshot.created),
        "task_type": "generation",
        "modality": "video",
    }
    if snapshot.phase is Phase.SUCCEEDED or snapshot.phase is Phase.PARTIAL:
        record |= {
            "updated_at": int(snapshot.finished),
            "content": {"url": snapshot.file_url("mp4")},
            "resolution": "2K",
            "duration": 5,
            "usage": {"total_seconds": 5, "input_seconds": 0, "output_seconds": 5, "input_image_count": 1},
            "ratio": "adaptive",
        }
    if snapshot.phase is Phase.FAILED or snapshot.phase is Phase.PARTIAL:
        record["error"] = snapshot.error_object
    return record


def _pika_done(snapshot: Snapshot) -> Response:
    video = {
        "id": snapshot.trace_id,
        "prompt": None,
        "video_url": snapshot.file_url("mp4"),
        "image_url": snapshot.file_url("jpg"),
        "duration": 5,
        "state": "succeeded",
    }
    return snapshot.success(data=[video])


def _pika_failed(snapshot: Snapshot) -> Response:
    """Return `success: true` and a failed item or, if the error was scripted, the error and a stale item."""
    if snapshot.has_scripted_error:
        return {"success": False, "data": [{"state": "pending"}], "error": snapshot.error_object}
    return {"success": True, "data": [{"state": "failed"}]}


def _seedance(status: str) -> ResponseBuilder:
    """Return a builder of one object with the upstream's own id (seedance/seedance_tasks)."""

    def build(snapshot: Snapshot) -> Response:
        outputs: Json = {"video_url": snapshot.file_url("mp4"), "last_frame_url": None} if status == "succeeded" else {}
        model = snapshot.request_value("model", "doubao-seedance-1-0-pro-250528")
        return snapshot.success(
            data={"task_id": f"cgt-{snapshot.hex[:12]}", "status": status, **outputs, "model": model}
        )

    return build


def _wan_running(_snapshot: Snapshot) -> Response:
    return {"success": True, "state": "processing"}


def _wan_done(snapshot: Snapshot) -> Response:
    return {"success": True, "video_url": snapshot.file_url("mp4"), "state": "completed", "task_id": snapshot.id}


def _wan_failed(snapshot: Snapshot) -> Response:
    return {"state": "failed", "error": snapshot.error_object}


TEMPLATES: Mapping[str, Template] = {
    "digital-human": Template(
        queued=_digital_human,
        running=_digital_human,
        done=_digital_human,
        endpoints={
            "/digital-human/voices": Endpoint(
                done=_digital_human_voice, unfinished=_digital_human, record_type="voices"
            )
        },
        own_failure=_digital_human,
        extra_fields=_digital_human_fields,
        timestamps=("finished_at", "elapsed"),
        error=("api_error", "the face could not be tracked"),
        own_error=(None, "the face could not be tracked"),
        request={"video_url": "https://files.example/inputs/face.mp4", "text": "hello"},
        bare_without_action=True,
        not_found=(404, _digital_human_not_found),
    ),
    "dreamina": Template(
        running=_dreamina("processing"),
        done=_dreamina("done"),
        hides_queued=True,
        request={
            "model": "omnihuman-1.5",
            "image_url": "https://files.example/inputs/face.jpg",
            "audio_url": "https://files.example/inputs/voice.wav",
        },
    ),
    "gemini": Template(
        running=item_state("processing", success=True), done=video_item("omni-flash"), record_type="videos"
    ),
    "grok": Template(
        running=item_state("processing", success=True),
        done=video_item("grok-imagine-video"),
        record_type="videos",
    ),
    "hailuo": Template(
        queued=item_state("queued", success=True),
        running=item_state("processing", success=True),
        done=_hailuo_done,
        own_failure=lambda snapshot: snapshot.failure(data=[{"state": "processing"}]),
        error=("api_error", "the generation failed"),
        own_error=(None, "the generation failed"),
    ),
    "happyhorse": Template(
        queued=item_state("pending"),
        running=lambda _snapshot: {"data": []},
        extra_fields=lambda snapshot: {"state": "processing"} if snapshot.phase is Phase.RUNNING else {},
        done=_happyhorse_done,
        own_failure=_happyhorse_failed,
        record_type="videos",
    ),
    "kling": Template(
        running=only_id,
        done=_kling_done,
        endpoints=_KLING_ENDPOINTS,
        record_type="videos",
        error=("api_error", "the model did not detect a person"),
        own_error=(None, "the model did not detect a person"),
        newest_first=True,
        request={"action": "text2video", "model": "kling-v1", "prompt": PROMPT},
    ),
    "maestro": Template(
        running=absent,
        done=_maestro_done,
        own_failure=_maestro_failed,
        ack=Snapshot.success,
        extra_fields=_maestro_fields,
        null_timestamps=("started_at", "finished_at"),
        counts_all=True,
        not_found=(404, _maestro_not_found),
        request={"prompt": PROMPT, "langs": ["zh-cn", "en"], "aspect": "9:16", "duration": 20},
    ),
    "minimax": Template(
        full_record=_minimax,
        envelope="task",
        count_field="total",
        counts_all=True,
        request={"model": "MiniMax-H3", "prompt": PROMPT},
    ),
    "pika": Template(
        queued=only_id,
        running=item_state("processing", success=True),
        done=_pika_done,
        own_failure=_pika_failed,
        request={"action": "generate", "prompt": PROMPT, "model": "2.0"},
    ),
    "seedance": Template(
        queued=_seedance("queued"),
        running=_seedance("running"),
        done=_seedance("succeeded"),
        record_type="videos",
        request={"model": "doubao-seedance-1-0-pro-250528", "content": [{"type": "text", "text": PROMPT}]},
    ),
    "sora": Template(
        ack=success_ack,
        queued=item_state("pending"),
        running=item_state("processing"),
        done=video_item("sora-2"),
        record_type="videos",
        request={"model": "sora-2", "prompt": PROMPT, "duration": 15, "orientation": "landscape"},
    ),
    "wan": Template(
        queued=response_state("queued"),
        running=_wan_running,
        done=_wan_done,
        own_failure=_wan_failed,
        record_type="videos",
        error=("api_error", "the input video could not be decoded"),
        own_error=(None, "the input video could not be decoded"),
        request={"action": "text2video", "model": "wan2.6-t2v", "prompt": PROMPT, "duration": 5},
    ),
}
