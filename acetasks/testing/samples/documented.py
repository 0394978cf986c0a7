"""Templates of providers whose documents show whole records: flux, luma, pixverse, veo and useapi.net's PixVerse.

The Ace Data Cloud templates follow the pages `<provider>/<provider>_tasks` of docs.acedata.cloud's guides. Records
in progress are from the official clients' tests: the documents show finished ones only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.endpoints import Endpoint, Response, absent
from acetasks.testing.samples.common import item_state
from acetasks.testing.scenario import Phase
from acetasks.testing.snapshot import Json, Snapshot, iso_utc, naive_local
from acetasks.testing.templates import PROMPT, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Progress from which a running luma task has state `processing` instead of `pending`, in percent.
_LUMA_PROCESSING_PERCENT = 20
#: Progress from which a running useapi.net job has status `progress` instead of `started`, in percent.
_USEAPI_PROGRESS_PERCENT = 50


def _flux_done(snapshot: Snapshot) -> Response:
    image = {
        "prompt": snapshot.request_value("prompt", PROMPT),
        "image_url": snapshot.file_url("png"),
        "seed": int(snapshot.hex[:7], 16),
        "timings": {"inference": round(snapshot.elapsed, 3)},
    }
    return snapshot.success(data=[image])


def _flux_video(snapshot: Snapshot) -> Response:
    """Return a video, with its price (flux/flux_generate_video)."""
    video = {
        "id": snapshot.id,
        "model": snapshot.request_value("model", "flux-3"),
        "video_url": snapshot.file_url("mp4"),
        "seconds": 5.04,
        "width": 1280,
        "height": 704,
        "fps": 24,
    }
    cost = {"amount": 2.52, "currency": "credit", "list_amount": 2.52}
    return snapshot.success(data=[video], usage={"seconds": 5.04}, cost=cost)


def _luma_done(snapshot: Snapshot) -> Response:
    return {
        "success": True,
        "task_id": snapshot.id,
        "video_id": snapshot.trace_id,
        "prompt": snapshot.request_value("prompt", PROMPT),
        "video_url": snapshot.file_url("mp4"),
        "video_height": 752,
        "video_width": 1360,
        "state": "completed",
        "thumbnail_url": snapshot.file_url("jpg"),
        "thumbnail_width": 1360,
        "thumbnail_height": 752,
    }


def _luma_running(snapshot: Snapshot) -> Response:
    return {"state": "pending" if snapshot.progress < _LUMA_PROCESSING_PERCENT else "processing"}


def _luma_failed(snapshot: Snapshot) -> Response:
    return {"state": "failed", "success": False, "error": snapshot.error_object, "trace_id": snapshot.trace_id}


def _pixverse_done(snapshot: Snapshot) -> Response:
    video = {
        "id": int(snapshot.hex[:12], 16),
        "first_frame": "",
        "video_width": 0,
        "video_height": 0,
        "prompt": snapshot.request_value("prompt", PROMPT),
        "model": snapshot.request_value("model", "v3.5"),
        "quality": "360p",
        "motion": "normal",
        "video_url": snapshot.file_url("mp4"),
        "template_id": 0,
        "template_name": "",
        "style": "",
        "aspect_ratio": "16:9",
        "duration": 5,
        "extended": 0,
        "last_frame": "",
        "seed": 0,
        "asset_id": 0,
        "asset_name": "",
    }
    return snapshot.success(data=[video])


def _pixverse_character(snapshot: Snapshot) -> Response:
    """Return a character as an asset (pixverse/pixverse_character)."""
    return {"success": True, "task_id": snapshot.id, "data": {"asset_id": int(snapshot.hex[:12], 16)}}


def _veo_done(snapshot: Snapshot) -> Response:
    """Return a video with times in UTC+8 that have no zone (veo/veo_tasks)."""
    video = {
        "id": snapshot.hex,
        "video_url": snapshot.file_url("mp4"),
        "created_at": naive_local(snapshot.started, snapshot.spec.utc_offset),
        "complete_at": naive_local(snapshot.finished, snapshot.spec.utc_offset),
        "state": "succeeded",
    }
    return snapshot.success(data=[video])


def _veo_fields(snapshot: Snapshot) -> Json:
    """Return `elapsed` until the end (clients)."""
    return {} if snapshot.phase.has_ended else {"elapsed": round(snapshot.now - snapshot.created, 3)}


def _useapi_job(snapshot: Snapshot) -> Json:
    """Return a PixVerse v1 job (useapi.net: docs/api-pixverse-v1/get-pixverse-jobid)."""
    prompt = snapshot.request_value("prompt", PROMPT)
    job: Json = {
        "jobid": snapshot.id,
        "verb": "pixverse-create_single",
        "status": _useapi_status(snapshot),
        "created": iso_utc(snapshot.created),
        "updated": iso_utc(snapshot.finished if snapshot.phase.has_ended else snapshot.now),
        "prompt": prompt,
        "discord": "ABC...secured...xyz",
        "server": "1140000000000000001",
        "channel": "1140000000000000002",
        "maxJobs": 10,
        "messageId": str(int(snapshot.hex[:15], 16)),
        "content": f"<@1140000000000000003> (prompt: {prompt})",
        "timestamp": iso_utc(snapshot.started),
        "code": 200,
    }
    if "replyUrl" in (snapshot.task.request or {}):
        job |= {"replyUrl": snapshot.request_value("replyUrl"), "replyRef": snapshot.request_value("replyRef", "")}
    if snapshot.phase is Phase.SUCCEEDED or snapshot.phase is Phase.PARTIAL:
        job |= {
            "buttons": ["U1", "U2", "U3", "U4", "V1", "V2", "V3", "V4", "ReDo"],
            "attachments": [_useapi_attachment(snapshot)],
        }
    if snapshot.phase is Phase.FAILED or snapshot.phase is Phase.PARTIAL:
        code, message = snapshot.error
        job |= {"error": message, "errorDetails": code or message}
    return job


def _useapi_status(snapshot: Snapshot) -> str:
    code = snapshot.error[0]
    if snapshot.phase is Phase.FAILED and code in {"moderated", "cancelled"}:
        return code
    if snapshot.phase is Phase.RUNNING and snapshot.progress < _USEAPI_PROGRESS_PERCENT:
        return "started"
    statuses = {Phase.QUEUED: "created", Phase.RUNNING: "progress", Phase.SUCCEEDED: "completed"}
    return statuses.get(snapshot.phase, "failed")


def _useapi_attachment(snapshot: Snapshot) -> Json:
    return {
        "url": snapshot.file_url("mp4"),
        "proxy_url": snapshot.file_url("mp4", "-proxy"),
        "width": 768,
        "height": 768,
        "content_type": "video/mp4",
        "id": str(int(snapshot.hex[15:30], 16)),
        "filename": f"{snapshot.id}.mp4",
        "size": 7_204_115,
    }


TEMPLATES: Mapping[str, Template] = {
    "flux": Template(
        running=absent,
        done=_flux_done,
        endpoints={"/flux/videos": Endpoint(done=_flux_video, ack=Snapshot.success, record_type="videos")},
        request={"action": "generate", "size": "1024x1024", "prompt": PROMPT},
    ),
    "luma": Template(
        running=_luma_running,
        done=_luma_done,
        own_failure=_luma_failed,
        timestamps=("finished_at",),
        error=("api_error", "the prompt was rejected"),
        own_error=(None, "the prompt was rejected"),
    ),
    "pixverse": Template(
        queued=item_state("pending"),
        running=item_state("processing"),
        done=_pixverse_done,
        endpoints={"/pixverse/character": Endpoint(done=_pixverse_character)},
        error=("api_error", "the generation failed"),
        own_error=(None, "the generation failed"),
    ),
    "useapi-pixverse": Template(
        full_record=_useapi_job,
        callback_field="replyUrl",
        callback_fields=(),
        ack=_useapi_job,
        error=("internal", "the generation failed"),
        not_found=(404, lambda task_id, _trace: {"error": f"Unable to locate job {task_id}", "code": 404}),
    ),
    "veo": Template(
        running=item_state("running"),
        done=_veo_done,
        extra_fields=_veo_fields,
        record_type="videos",
        error=("CONTENT_REJECTED", "the request could not be processed"),
        repeats_duplicates=True,
        request={"action": "text2video", "model": "veo2", "prompt": PROMPT},
    ),
}
