"""Providers that make images, beside flux, which is in `documented`.

The shapes follow the pages `<provider>_tasks` of docs.acedata.cloud's guides and the official clients' tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.gallery.parts import ALL_TIMES, bare_error, image_item, no_items, success_ack
from acetasks.testing.shapes import PROMPT, Response, Shape, absent, null, only_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.looks import Look


def _headshots_done(look: Look) -> Response:
    images = [
        {"id": f"{look.hex[:18]}{number}", "image_url": look.url("png", f"-{number}"), "template": "Portrait"}
        for number in (1, 2)
    ]
    return {"success": True, "task_id": look.id, "data": images}


def _headshots_running(look: Look) -> Response:
    return {"task_id": look.id, "status": "unknown", "data": []}


def _midjourney_done(look: Look) -> Response:
    return {
        "image_url": look.url("png", "-half"),
        "image_width": 1024,
        "image_height": 1024,
        "actions": ["upscale1", "upscale2", "upscale3", "upscale4", "reroll", "variation1", "variation2"],
        "raw_image_url": look.url("png"),
        "raw_image_width": 2048,
        "raw_image_height": 2048,
        "progress": 100,
        "image_id": str(int(look.hex[:15], 16)),
        "task_id": look.id,
        "success": True,
        "job_id": look.trace_id,
        "hold": False,
    }


def _midjourney_running(look: Look) -> Response:
    return {"task_id": look.id, "progress": look.percent}


def _openai_done(look: Look) -> Response:
    return {"created": int(look.finished), "data": [{"url": look.url("png")}], "success": True}


def _qrart_done(look: Look) -> Response:
    return {
        "image_url": look.url("png"),
        "image_width": 768,
        "image_height": 768,
        "seed": int(look.hex[:13], 16),
        "success": True,
    }


ROWS: Mapping[str, Shape] = {
    "headshots": Shape(
        running=_headshots_running,
        done=_headshots_done,
        request={"mode": "relax", "template": "portrait"},
    ),
    "midjourney": Shape(
        running=_midjourney_running,
        done=_midjourney_done,
        failed=bare_error,
        beside=lambda look: {"hold": False, "job_id": look.trace_id},
        kind="imagine",
        times=("finished_at", "duration"),
        error=(None, "the description failed"),
        request={"mode": "fast", "prompt": PROMPT, "action": "generate"},
    ),
    "nano-banana": Shape(
        queued=only_id,
        done=image_item,
        failed=bare_error,
        kind="images",
        times=ALL_TIMES,
        error=(None, "the provider rejected the task"),
        ack=success_ack,
    ),
    "openai": Shape(
        queued=null,
        running=null,
        done=_openai_done,
        kind="images",
        times=ALL_TIMES,
        stamps_failure=True,
        nulls=True,
        error=("bad_request", "size width and height must be multiples of 16"),
        request={"model": "gpt-image-1", "prompt": PROMPT, "size": "1024x1024"},
    ),
    "qrart": Shape(
        running=absent,
        done=_qrart_done,
        request={"type": "link", "content": "https://example.com", "prompt": "tacos"},
    ),
    "qwen-image": Shape(running=only_id, done=image_item, kind="images", times=ALL_TIMES, stamps_failure=True),
    "seedream": Shape(running=no_items, done=image_item, kind="images", ack=success_ack),
}
