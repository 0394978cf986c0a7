"""Response builders shared by several providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.templates import PROMPT

if TYPE_CHECKING:
    from acetasks.testing.endpoints import Response, ResponseBuilder
    from acetasks.testing.snapshot import Json, Snapshot


def response_state(state: str) -> ResponseBuilder:
    """Return a builder of a response with a state."""
    return lambda snapshot: {"task_id": snapshot.id, "state": state}


def item_state(state: str, *, success: bool | None = None) -> ResponseBuilder:
    """Return a builder of a response with a state in its only item and, if given, a meaningless `success`."""
    extra: Json = {} if success is None else {"success": success}
    return lambda snapshot: {**extra, "task_id": snapshot.id, "data": [{"state": state}]}


def empty_items(snapshot: Snapshot) -> Response:
    """Return `success: true` and an empty list of items."""
    return {"success": True, "task_id": snapshot.id, "data": []}


def bare_error(snapshot: Snapshot) -> Response:
    """Return an error object without `success`."""
    return {"task_id": snapshot.id, "error": snapshot.error_object}


def video_item(prefix: str) -> ResponseBuilder:
    """Return a builder of a response with one finished video and its state (gemini, grok, sora)."""
    return lambda snapshot: snapshot.success(
        data=[{"id": f"{prefix}:{snapshot.hex}", "video_url": snapshot.file_url("mp4"), "state": "succeeded"}]
    )


def image_item(snapshot: Snapshot) -> Response:
    """Return one finished image without a state."""
    return snapshot.success(
        data=[{"prompt": snapshot.request_value("prompt", PROMPT), "image_url": snapshot.file_url("png")}]
    )


def success_ack(snapshot: Snapshot) -> Json:
    """Return an acknowledgement with `success: true`, which does not mean that the task has ended."""
    return {"success": True, "task_id": snapshot.id}
