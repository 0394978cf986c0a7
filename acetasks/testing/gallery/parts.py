"""Parts that the rows of several providers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.shapes import PROMPT

if TYPE_CHECKING:
    from acetasks.testing.looks import Json, Look
    from acetasks.testing.shapes import Build, Response

#: The times that most records carry since August 2026.
ALL_TIMES = ("started_at", "finished_at", "elapsed")


def state_word(word: str) -> Build:
    """Send a state word in the response."""
    return lambda look: {"task_id": look.id, "state": word}


def item_word(word: str, *, success: bool | None = None) -> Build:
    """Send a state word in the only item, perhaps beside `success: true`, which means nothing."""
    said: Json = {} if success is None else {"success": success}
    return lambda look: {**said, "task_id": look.id, "data": [{"state": word}]}


def no_items(look: Look) -> Response:
    """Send an empty list of items beside `success: true`."""
    return {"success": True, "task_id": look.id, "data": []}


def bare_error(look: Look) -> Response:
    """Send an error object and no `success`."""
    return {"task_id": look.id, "error": look.error_object}


def video_item(prefix: str) -> Build:
    """Send one finished video with a state word (gemini, grok, sora)."""
    return lambda look: look.success(
        data=[{"id": f"{prefix}:{look.hex}", "video_url": look.url("mp4"), "state": "succeeded"}]
    )


def image_item(look: Look) -> Response:
    """Send one finished image without any word."""
    return look.success(data=[{"prompt": look.told("prompt", PROMPT), "image_url": look.url("png")}])


def success_ack(look: Look) -> Json:
    """Acknowledge a submission with `success: true`, which does not mean that anything is done."""
    return {"success": True, "task_id": look.id}
