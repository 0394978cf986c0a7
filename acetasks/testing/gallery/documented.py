"""The five systems whose documents show whole records: flux, luma, pixverse, veo and useapi.net's PixVerse.

The Ace Data Cloud rows follow the pages `<provider>/<provider>_tasks` of docs.acedata.cloud's guides. What a
record in progress looks like is from the official clients' tests: the documents show finished ones only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.gallery.parts import item_word
from acetasks.testing.looks import Json, Look, iso_utc, naive_local
from acetasks.testing.script import Phase
from acetasks.testing.shapes import PROMPT, Response, Shape, absent

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Below this a running luma task still says `pending`, in percent.
_LUMA_PENDING_PERCENT = 20
#: Below this a running useapi.net job says `started`, and from then on `progress`, in percent.
_USEAPI_STARTED_PERCENT = 50


def _flux_done(look: Look) -> Response:
    image = {
        "prompt": look.told("prompt", PROMPT),
        "image_url": look.url("png"),
        "seed": int(look.hex[:7], 16),
        "timings": {"inference": round(look.elapsed, 3)},
    }
    return look.success(data=[image])


def _luma_done(look: Look) -> Response:
    return {
        "success": True,
        "task_id": look.id,
        "video_id": look.trace_id,
        "prompt": look.told("prompt", PROMPT),
        "video_url": look.url("mp4"),
        "video_height": 752,
        "video_width": 1360,
        "state": "completed",
        "thumbnail_url": look.url("jpg"),
        "thumbnail_width": 1360,
        "thumbnail_height": 752,
    }


def _luma_running(look: Look) -> Response:
    return {"state": "pending" if look.progress < _LUMA_PENDING_PERCENT else "processing"}


def _luma_failed(look: Look) -> Response:
    return {"state": "failed", "success": False, "error": look.error_object, "trace_id": look.trace_id}


def _pixverse_done(look: Look) -> Response:
    video = {
        "id": int(look.hex[:12], 16),
        "first_frame": "",
        "video_width": 0,
        "video_height": 0,
        "prompt": look.told("prompt", PROMPT),
        "model": look.told("model", "v3.5"),
        "quality": "360p",
        "motion": "normal",
        "video_url": look.url("mp4"),
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
    return look.success(data=[video])


def _veo_done(look: Look) -> Response:
    """Send a video with times in UTC+8 that do not say so (veo/veo_tasks)."""
    video = {
        "id": look.hex,
        "video_url": look.url("mp4"),
        "created_at": naive_local(look.started, look.spec.utc_offset),
        "complete_at": naive_local(look.finished, look.spec.utc_offset),
        "state": "succeeded",
    }
    return look.success(data=[video])


def _veo_elapsed(look: Look) -> Json:
    """Send `elapsed` while nothing is there yet (clients)."""
    return {} if look.phase.has_ended else {"elapsed": round(look.now - look.created, 3)}


def _useapi_job(look: Look) -> Json:
    """Write a PixVerse v1 job (useapi.net: docs/api-pixverse-v1/get-pixverse-jobid)."""
    words = {Phase.QUEUED: "created", Phase.RUNNING: "progress", Phase.SUCCEEDED: "completed"}
    word = words.get(look.phase, "failed")
    if look.phase is Phase.RUNNING and look.progress < _USEAPI_STARTED_PERCENT:
        word = "started"
    code, message = look.error
    if look.phase is Phase.FAILED and code in {"moderated", "cancelled"}:
        word = code
    prompt = look.told("prompt", PROMPT)
    job: Json = {
        "jobid": look.id,
        "verb": "pixverse-create_single",
        "status": word,
        "created": iso_utc(look.created),
        "updated": iso_utc(look.finished if look.phase.has_ended else look.now),
        "prompt": prompt,
        "discord": "ABC...secured...xyz",
        "server": "1140000000000000001",
        "channel": "1140000000000000002",
        "maxJobs": 10,
        "messageId": str(int(look.hex[:15], 16)),
        "content": f"<@1140000000000000003> (prompt: {prompt})",
        "timestamp": iso_utc(look.started),
        "code": 200,
    }
    if "replyUrl" in (look.task.request or {}):
        job |= {"replyUrl": look.told("replyUrl"), "replyRef": look.told("replyRef", "")}
    if look.phase is Phase.SUCCEEDED or look.phase is Phase.PARTIAL:
        job["buttons"] = ["U1", "U2", "U3", "U4", "V1", "V2", "V3", "V4", "ReDo"]
        job["attachments"] = [
            {
                "url": look.url("mp4"),
                "proxy_url": look.url("mp4", "-proxy"),
                "width": 768,
                "height": 768,
                "content_type": "video/mp4",
                "id": str(int(look.hex[15:30], 16)),
                "filename": f"{look.id}.mp4",
                "size": 7_204_115,
            }
        ]
    if look.phase is Phase.FAILED or look.phase is Phase.PARTIAL:
        job |= {"error": message, "errorDetails": code or message}
    return job


ROWS: Mapping[str, Shape] = {
    "flux": Shape(
        running=absent,
        done=_flux_done,
        request={"action": "generate", "size": "1024x1024", "prompt": PROMPT},
    ),
    "luma": Shape(
        running=_luma_running,
        done=_luma_done,
        failed=_luma_failed,
        times=("finished_at",),
        error=(None, "the prompt was rejected"),
    ),
    "pixverse": Shape(
        queued=item_word("pending"),
        running=item_word("processing"),
        done=_pixverse_done,
        error=(None, "the generation failed"),
    ),
    "useapi-pixverse": Shape(
        whole=_useapi_job,
        callback_field="replyUrl",
        signs_callbacks=False,
        ack=_useapi_job,
        error=("internal", "the generation failed"),
        missing=(404, lambda task_id, _trace: {"error": f"Unable to locate job {task_id}", "code": 404}),
    ),
    "veo": Shape(
        running=item_word("running"),
        done=_veo_done,
        beside=_veo_elapsed,
        kind="videos",
        error=("CONTENT_REJECTED", "the request could not be processed"),
        repeats=True,
        request={"action": "text2video", "model": "veo2", "prompt": PROMPT},
    ),
}
