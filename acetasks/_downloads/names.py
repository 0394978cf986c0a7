"""File names for artifacts, made only of the task's own identity: a hostile URL or header cannot choose one."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from acetasks.models import ArtifactKind

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from acetasks.models import Artifact, Task

#: Extensions by kind, the default one first.
_EXTENSIONS: dict[ArtifactKind, tuple[str, ...]] = {
    ArtifactKind.VIDEO: (".mp4", ".webm", ".mov", ".m4v", ".mkv", ".gif"),
    ArtifactKind.IMAGE: (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".avif", ".bmp", ".tiff"),
    ArtifactKind.AUDIO: (".mp3", ".wav", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".mp4"),
    ArtifactKind.FILE: (".bin", ".mid", ".midi", ".zip", ".json", ".txt", ".srt", ".vtt", ".pdf", ".glb", ".obj"),
}
#: Extensions of the media types whose name is not the extension.
_MEDIA_TYPES = {
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "image/jpeg": ".jpg",
    "image/svg+xml": ".svg",
    "audio/mpeg": ".mp3",
    "audio/x-wav": ".wav",
    "audio/mp4": ".m4a",
    "audio/midi": ".mid",
    "text/plain": ".txt",
}
#: Maximum characters of a task id in a name; with provider, number and role it stays below the usual 255 bytes.
_MAX_ID = 80
#: Length of the hash that keeps shortened or cleaned names apart.
_HASH_LENGTH = 10


class PlannedFile(NamedTuple):
    """An artifact to download, its position among the task's artifacts, and the file's name without extension."""

    artifact: Artifact
    position: int
    stem: str


def plan_files(task: Task, roles: Collection[str] | None) -> list[PlannedFile]:
    """Return the files to download for a task; the same for the same task, whenever it was polled.

    Args:
        task: The task.
        roles: Roles of the artifacts to include; None for all.
    """
    base = f"{_clean(task.provider)}-{_clean(task.id or f'finished {hashlib.sha256(task.raw).hexdigest()}')}"
    by_role: dict[str, list[int]] = {}
    for index, artifact in enumerate(task.artifacts):
        if roles is None or artifact.role in roles:
            by_role.setdefault(artifact.role, []).append(index)
    planned: list[PlannedFile] = []
    for role, indices in by_role.items():
        for number, index in enumerate(indices, 1):
            suffix = "" if role == "main" else f"-{_clean(role)}"
            # The first main artifact has no number, whether others follow or not.
            suffix += "" if number == 1 else f"-{number}"
            planned.append(PlannedFile(task.artifacts[index], index, base + suffix))
    return sorted(planned, key=lambda file: file.position)


def find_existing(directory: Path, file: PlannedFile) -> Path | None:
    """Return the file of an earlier download, or None."""
    names = (file.stem + extension for extension in _EXTENSIONS[file.artifact.kind])
    return next((path for name in names if (path := directory / name).is_file()), None)


def choose_extension(artifact: Artifact, media_type: str) -> str:
    """Return the extension for an artifact: the one of its media type, else of its URL, else of its kind."""
    extensions = _EXTENSIONS[artifact.kind]
    of_type = _MEDIA_TYPES.get(media_type, f".{media_type.rpartition('/')[2]}")
    of_url = "" if artifact.url.startswith("data:") else PurePosixPath(urlsplit(artifact.url).path).suffix.lower()
    return next((extension for extension in (of_type, of_url) if extension in extensions), extensions[0])


def _clean(text: str) -> str:
    """Return a text with letters, digits, `_` and `-` only; a changed one gets a hash, so that names stay distinct."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]", "_", text)[:_MAX_ID]
    if cleaned == text:
        return text
    return f"{cleaned}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:_HASH_LENGTH]}"
