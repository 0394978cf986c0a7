"""Endpoints of suno and producer whose result is not songs: lyrics, voices, conversions and studio projects.

The shapes are those of the service's guides (the page is named like the path) and of its OpenAPI files. What is not
documented is marked as inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.endpoints import Endpoint, for_actions, quick_endpoint, result_data
from acetasks.testing.snapshot import fake_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.endpoints import Response, ResponseBuilder
    from acetasks.testing.snapshot import Json, Snapshot

#: Actions on studio projects that are answered at once; the others are tasks (suno/suno_studio_projects).
_AT_ONCE_ON_PROJECTS = frozenset({"create", "retrieve", "save", "remove_track"})

_LYRICS = "[Verse]\nA lighthouse at dawn"


def _part_id(snapshot: Snapshot, part: str) -> str:
    """Return the made-up id of a thing that the task created."""
    return fake_uuid(f"{part} of {snapshot.id}")


def _lyrics(snapshot: Snapshot) -> list[Json]:
    """Return two candidates."""
    topic = str(snapshot.request_value("prompt", "a lighthouse"))
    return [
        {"text": _LYRICS, "title": title, "status": "complete", "tags": ["folk", topic]}
        for title in ("Lighthouse", "Lamp")
    ]


def _mashup(_snapshot: Snapshot) -> Json:
    return {"text": _LYRICS, "title": "Lyrics Mashup", "tags": [], "status": "complete"}


def _uploaded_song(snapshot: Snapshot) -> Json:
    return {
        "audio_id": _part_id(snapshot, "audio"),
        "lyric": _LYRICS,
        "style": "orchestral",
        "image_url": snapshot.file_url("jpeg"),
        "image_large_url": snapshot.file_url("jpeg", "-large"),
        "audio_url": snapshot.file_url("mp3"),
        "title": "Lighthouse",
        "duration": 131.16,
    }


def _vocals(snapshot: Snapshot) -> Json:
    return {
        "id": _part_id(snapshot, "vocals"),
        "source_clip_id": snapshot.request_value("audio_id", snapshot.trace_id),
        "status": "complete",
        "vocal_audio_url": snapshot.file_url("m4a", "-vocals"),
        "vocal_start_s": snapshot.request_value("vocal_start", 0),
        "vocal_end_s": snapshot.request_value("vocal_end", 30),
    }


def _timing(_snapshot: Snapshot) -> Json:
    words = ("[Verse]\nA ", "lighthouse ", "at ", "dawn\n")
    return {
        "aligned_words": [
            {"word": word, "success": True, "start_s": 2.5 + number, "end_s": 3.25 + number, "p_align": 0.9}
            for number, word in enumerate(words)
        ]
    }


def _voice(snapshot: Snapshot) -> Json:
    return {
        "persona_id": _part_id(snapshot, "persona"),
        "name": snapshot.request_value("name", "My Voice"),
        "is_public": False,
    }


def _custom_model_blocks(body: Mapping[str, object]) -> bool | None:
    """Never block for a new model, as `async` says for a song, and always for everything else."""
    return {"create": False, "generate": None}.get(str(body.get("action")), True)


def _custom_model_ack(snapshot: Snapshot) -> Json:
    if snapshot.request_value("action") != "create":
        return {"success": True, "task_id": snapshot.id}
    return {"success": True, "task_id": snapshot.id, "data": {**_model(snapshot), "status": "queued"}}


def _model(snapshot: Snapshot) -> Json:
    return {
        "id": snapshot.request_value("id", _part_id(snapshot, "model")),
        "name": snapshot.request_value("name", "Lighthouse"),
        "status": "ready",
    }


def _custom_models(songs: ResponseBuilder) -> ResponseBuilder:
    """Return a builder of songs, or of a custom model; only the response to a new model has an id of a task."""

    def build(snapshot: Snapshot) -> Response:
        action = snapshot.request_value("action")
        if action == "generate":
            return songs(snapshot)
        model = _model(snapshot)
        if action == "create":
            return snapshot.success(data=model)
        if action == "delete":
            return {"success": True, "data": {"id": model["id"], "capacity_released": False}}
        return {"success": True, "data": [model] if action == "retrieve_batch" else model}

    return build


def _project(snapshot: Snapshot) -> Response:
    """Return a studio project, or what was made from it; the fields of the candidates are inferred."""
    action = snapshot.request_value("action", "create")
    project: Json = {"id": snapshot.request_value("id", _part_id(snapshot, "project"))}
    if action in _AT_ONCE_ON_PROJECTS:
        content: Json = {
            "title": snapshot.request_value("title", "Lighthouse"),
            "state": snapshot.request_value("state", {"tracks": [], "timing": {"bps": 2}}),
        }
        version: Json = {} if action == "create" else {"version_id": _part_id(snapshot, "version")}
        return {"success": True, "data": {**project, **version, **content}}
    audio: Json = {"audio_id": _part_id(snapshot, "audio"), "audio_url": snapshot.file_url("mp3")}
    if action == "render":
        result: Json = {"render_id": _part_id(snapshot, "render"), **audio, "duration": 131.16}
    elif action == "upload":
        result = {"candidate": audio}
    elif action in {"generate_track", "replace_section"}:
        candidates = [{"id": _part_id(snapshot, f"candidate {number}"), **audio} for number in (1, 2)]
        result = {"operation_id": _part_id(snapshot, "operation"), "candidates": candidates}
    else:
        result = {"version_id": _part_id(snapshot, "version")}
    return snapshot.success(data={**project, **result})


def suno_endpoints(songs: ResponseBuilder) -> Mapping[str, Endpoint]:
    """Return suno's endpoints by path.

    Some block whatever `async` says, and have the times of the work (observed 2026-10).

    Args:
        songs: Builds the response with finished songs.
    """
    return {
        "/suno/lyrics": quick_endpoint(result_data(_lyrics)),
        "/suno/mashup-lyrics": quick_endpoint(result_data(_mashup)),
        "/suno/style": quick_endpoint(result_data(lambda _: {"upsampled_tags": "bright strings, slow"})),
        "/suno/persona": quick_endpoint(result_data(lambda it: {"persona_id": _part_id(it, "persona")})),
        "/suno/voices": Endpoint(done=result_data(_voice)),
        "/suno/upload": Endpoint(
            done=result_data(_uploaded_song),
            # The enhanced upload is always a task.
            blocks=lambda body: False if body.get("mode") == "enhanced" else None,
        ),
        "/suno/mp4": Endpoint(done=result_data(lambda it: {"video_url": it.file_url("mp4")})),
        "/suno/mp3": Endpoint(done=result_data(lambda it: [{"file_url": it.file_url("mp3")}])),
        "/suno/wav": Endpoint(done=result_data(lambda it: [{"file_url": it.file_url("wav")}])),
        "/suno/midi": Endpoint(done=result_data(lambda it: [{"file_url": it.file_url("mid")}])),
        "/suno/vox": Endpoint(done=result_data(_vocals)),
        "/suno/timing": Endpoint(done=result_data(_timing)),
        "/suno/custom-models": Endpoint(
            done=_custom_models(songs),
            blocks=_custom_model_blocks,
            answer_has_times=True,
            ack=_custom_model_ack,
        ),
        "/suno/projects": quick_endpoint(_project, for_actions(_AT_ONCE_ON_PROJECTS)),
        # The result is inferred.
        "/suno/availability": quick_endpoint(lambda _: {"success": True, "data": {"available": True}}),
    }


PRODUCER_ENDPOINTS: Mapping[str, Endpoint] = {
    "/producer/lyrics": Endpoint(done=result_data(lambda _: {"title": "Lighthouse", "lyrics": _LYRICS})),
    "/producer/upload": Endpoint(
        done=result_data(
            lambda it: {"audio_id": _part_id(it, "audio"), "lyric": _LYRICS, "audio_url": it.file_url("mp3")}
        )
    ),
    "/producer/videos": Endpoint(done=result_data(lambda it: {"video_url": it.file_url("mp4")})),
    "/producer/wav": Endpoint(done=result_data(lambda it: [{"title": "Lighthouse", "file_url": it.file_url("wav")}])),
}
