"""Templates of image providers, except flux, which is in `documented`.

The templates follow the pages `<provider>_tasks` of docs.acedata.cloud's guides and the official clients' tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.endpoints import Response, absent
from acetasks.testing.samples.common import bare_error, empty_items, image_item, success_ack
from acetasks.testing.samples.image_endpoints import FACE_ENDPOINTS, MIDJOURNEY_ENDPOINTS, changed_face
from acetasks.testing.templates import PROMPT, Template, null, only_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.snapshot import Snapshot


def _headshots_done(snapshot: Snapshot) -> Response:
    images = [
        {
            "id": f"{snapshot.hex[:18]}{number}",
            "image_url": snapshot.file_url("png", f"-{number}"),
            "template": "Portrait",
        }
        for number in (1, 2)
    ]
    return {"success": True, "task_id": snapshot.id, "data": images}


def _headshots_running(snapshot: Snapshot) -> Response:
    return {"task_id": snapshot.id, "status": "unknown", "data": []}


def _midjourney_done(snapshot: Snapshot) -> Response:
    return {
        "image_url": snapshot.file_url("png", "-half"),
        "image_width": 1024,
        "image_height": 1024,
        "actions": ["upscale1", "upscale2", "upscale3", "upscale4", "reroll", "variation1", "variation2"],
        "raw_image_url": snapshot.file_url("png"),
        "raw_image_width": 2048,
        "raw_image_height": 2048,
        "progress": 100,
        "image_id": str(int(snapshot.hex[:15], 16)),
        "task_id": snapshot.id,
        "success": True,
        "job_id": snapshot.trace_id,
        "hold": False,
    }


def _midjourney_running(snapshot: Snapshot) -> Response:
    return {"task_id": snapshot.id, "progress": snapshot.percent}


def _openai_done(snapshot: Snapshot) -> Response:
    return {"created": int(snapshot.finished), "data": [{"url": snapshot.file_url("png")}], "success": True}


def _qrart_done(snapshot: Snapshot) -> Response:
    return {
        "image_url": snapshot.file_url("png"),
        "image_width": 768,
        "image_height": 768,
        "seed": int(snapshot.hex[:13], 16),
        "success": True,
    }


TEMPLATES: Mapping[str, Template] = {
    "face": Template(
        done=changed_face,
        endpoints=FACE_ENDPOINTS,
        request={"image_url": "https://files.example/inputs/face.jpg"},
        callback_fields=("success", "task_id"),
    ),
    "headshots": Template(
        running=_headshots_running,
        done=_headshots_done,
        request={"mode": "relax", "template": "portrait"},
    ),
    "midjourney": Template(
        running=_midjourney_running,
        done=_midjourney_done,
        endpoints=MIDJOURNEY_ENDPOINTS,
        own_failure=bare_error,
        extra_fields=lambda snapshot: {"hold": False, "job_id": snapshot.trace_id},
        record_type="imagine",
        timestamps=("finished_at", "duration"),
        error=("api_error", "the description failed"),
        own_error=(None, "the description failed"),
        request={"mode": "fast", "prompt": PROMPT, "action": "generate"},
    ),
    "nano-banana": Template(
        queued=only_id,
        done=image_item,
        own_failure=bare_error,
        record_type="images",
        error=("api_error", "the provider rejected the task"),
        own_error=(None, "the provider rejected the task"),
        ack=success_ack,
    ),
    "openai": Template(
        queued=null,
        running=null,
        done=_openai_done,
        record_type="images",
        null_timestamps=("finished_at",),
        error=("bad_request", "size width and height must be multiples of 16"),
        request={"model": "gpt-image-1", "prompt": PROMPT, "size": "1024x1024"},
    ),
    "qrart": Template(
        running=absent,
        done=_qrart_done,
        request={"type": "link", "content": "https://example.com", "prompt": "tacos"},
    ),
    "qwen-image": Template(running=only_id, done=image_item, record_type="images"),
    "seedream": Template(running=empty_items, done=image_item, record_type="images", ack=success_ack),
}
