"""Templates of suno and producer, whose main result is two songs or one.

Cited pages are those of docs.acedata.cloud's guides; "clients" are the tests of the official clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.testing.samples.song_endpoints import PRODUCER_ENDPOINTS, suno_endpoints
from acetasks.testing.snapshot import Json, Snapshot, iso_utc
from acetasks.testing.templates import PROMPT, Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.endpoints import Response, ResponseBuilder

#: Progress at which the first of suno's two songs is finished, in percent.
_FIRST_SONG_PERCENT = 60


def _song(snapshot: Snapshot, number: int, state: str) -> Json:
    """Return one suno song: with a preview while it runs, and with its cover once the work has started."""
    song_id = f"{snapshot.trace_id[:-1]}{number}"
    audio = {
        "running": f"https://audiopipe.files.example/?item_id={song_id}",
        "succeeded": snapshot.file_url("mp3", f"-{number}"),
    }
    song: Json = {
        "id": song_id,
        "title": "Lighthouse",
        "lyric": "[Verse]\nA lighthouse at dawn",
        "audio_url": audio.get(state, ""),
        "video_url": "",
        "created_at": iso_utc(snapshot.created),
        "model": snapshot.request_value("model", "chirp-v5"),
        "state": state,
        "prompt": snapshot.request_value("prompt", PROMPT),
        "style": "orchestral",
    }
    if state != "pending":
        song["image_url"] = snapshot.file_url("jpeg", f"-{number}")
        song["image_large_url"] = snapshot.file_url("jpeg", f"-{number}-large")
    if state == "succeeded":
        song["duration"] = 129.92
    return song


def _suno(first: str, second: str) -> ResponseBuilder:
    """Return a builder of two songs (suno/suno_tasks, and the stream section of suno/suno_audios)."""
    return lambda snapshot: snapshot.success(data=[_song(snapshot, 1, first), _song(snapshot, 2, second)])


def _suno_running(snapshot: Snapshot) -> Response:
    first = "running" if snapshot.progress < _FIRST_SONG_PERCENT else "succeeded"
    return _suno(first, "running")(snapshot)


def _suno_partial(snapshot: Snapshot) -> Response:
    return snapshot.failure(data=[{"id": snapshot.hex, "audio_url": snapshot.file_url("mp3", "-1")}])


def _suno_failed(snapshot: Snapshot) -> Response:
    return snapshot.failure(data=[])


def _producer(state: str) -> ResponseBuilder:
    """Return a builder of one song, with its progress as text and no `success` (producer/producer_tasks)."""

    def build(snapshot: Snapshot) -> Response:
        is_done = state == "succeeded"
        song = {
            "id": snapshot.trace_id,
            "title": "Lighthouse",
            "image_url": snapshot.file_url("png"),
            "lyric": "[Verse]\nA lighthouse at dawn",
            "audio_url": snapshot.file_url("mp3") if is_done else "",
            "video_url": None,
            "image_id": snapshot.trace_id,
            "topic": None,
            "seed": str(int(snapshot.hex[:7], 16)),
            "sound": "",
            "created_at": iso_utc(snapshot.created),
            "model": snapshot.request_value("model", "FUZZ-2.0 Pro"),
            "progress": "100%" if is_done else f"{snapshot.percent}%",
            "state": state,
            "duration": "135.2" if is_done else None,
        }
        return {"task_id": snapshot.id, "data": [song]}

    return build


def _text_error(snapshot: Snapshot) -> Response:
    """Return the error as text; the record's `finished_at` shows that it is final (clients)."""
    return {"error": snapshot.error[1] if snapshot.error[0] is None else f"{snapshot.error[0]}: {snapshot.error[1]}"}


TEMPLATES: Mapping[str, Template] = {
    "producer": Template(
        queued=_producer("pending"),
        running=_producer("running"),
        done=_producer("succeeded"),
        endpoints=PRODUCER_ENDPOINTS,
        own_failure=_text_error,
        partial=_suno_partial,
        record_type="audios",
        timestamps=("elapsed", "finished_at"),
        error=("api_error", "provider timeout"),
        own_error=(None, "provider timeout"),
        request={"action": "generate", "model": "FUZZ-2.0 Pro"},
    ),
    "suno": Template(
        queued=_suno("pending", "pending"),
        running=_suno_running,
        done=_suno("succeeded", "succeeded"),
        endpoints=suno_endpoints(_suno("succeeded", "succeeded")),
        own_failure=_suno_failed,
        partial=_suno_partial,
        error=("api_error", "upstream rejected the prompt"),
        own_error=(None, "upstream rejected the prompt"),
    ),
}
