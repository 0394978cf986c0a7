"""Typed responses of the five documented systems, for `Task.decode`.

Fields have defaults, because providers omit fields without a value; unknown fields are ignored. The fields are those
of the services' own samples.
"""

from __future__ import annotations

import msgspec


class LumaResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a luma task (guides: luma/luma_tasks). Sizes are in pixels."""

    success: bool | None = None
    task_id: str | None = None
    video_id: str | None = None
    prompt: str | None = None
    state: str | None = None
    video_url: str | None = None
    video_width: int | None = None
    video_height: int | None = None
    thumbnail_url: str | None = None
    thumbnail_width: int | None = None
    thumbnail_height: int | None = None


class VeoVideo(msgspec.Struct, frozen=True, kw_only=True):
    """One video of a veo task. Its two times are in UTC+8, without a time zone."""

    id: str | None = None
    video_url: str | None = None
    state: str | None = None
    created_at: str | None = None
    complete_at: str | None = None


class VeoResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a veo task (guides: veo/veo_tasks)."""

    success: bool | None = None
    task_id: str | None = None
    trace_id: str | None = None
    data: list[VeoVideo] | None = []


class PixverseVideo(msgspec.Struct, frozen=True, kw_only=True):
    """One video of a pixverse task. `duration` is that of the video in seconds; a size of 0 pixels means unknown."""

    id: int | None = None
    video_url: str | None = None
    video_width: int | None = None
    video_height: int | None = None
    first_frame: str | None = None
    last_frame: str | None = None
    prompt: str | None = None
    model: str | None = None
    quality: str | None = None
    motion: str | None = None
    style: str | None = None
    aspect_ratio: str | None = None
    duration: float | None = None
    seed: int | None = None


class PixverseResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a pixverse task (guides: pixverse/pixverse_tasks)."""

    success: bool | None = None
    task_id: str | None = None
    trace_id: str | None = None
    data: list[PixverseVideo] | None = []


class FluxImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of a flux task. `timings` are in seconds, per step or in total."""

    image_url: str | None = None
    prompt: str | None = None
    seed: int | None = None
    timings: dict[str, float] | float | None = None


class FluxResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The response of a flux task (guides: flux/flux_tasks)."""

    success: bool | None = None
    task_id: str | None = None
    trace_id: str | None = None
    data: list[FluxImage] | None = []


class UseapiAttachment(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a useapi.net job. Sizes are in pixels and bytes."""

    url: str | None = None
    proxy_url: str | None = None
    width: int | None = None
    height: int | None = None
    content_type: str | None = None
    id: str | None = None
    filename: str | None = None
    size: int | None = None


class UseapiPixverseJob(msgspec.Struct, frozen=True, kw_only=True):
    """A PixVerse v1 job of useapi.net (docs/api-pixverse-v1/get-pixverse-jobid). Times are ISO 8601 in UTC."""

    jobid: str
    status: str | None = None
    verb: str | None = None
    created: str | None = None
    updated: str | None = None
    prompt: str | None = None
    content: str | None = None
    attachments: list[UseapiAttachment] | None = []
    error: str | None = None
    error_details: str | None = msgspec.field(default=None, name="errorDetails")
    code: int | None = None
