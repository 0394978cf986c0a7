"""The decoded response of a finished task: its artifacts, its finish time, and the reason if it has no file.

The places of files are data of the provider specs; this module finds their values.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from acetasks._records import DECODE_ERRORS, read_response
from acetasks.models import Artifact, ArtifactKind, build_decode_error
from acetasks.providers.fields import REASON_LIMIT, read_epoch
from acetasks.providers.spec import ArtifactField

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from acetasks.providers.spec import ProviderSpec

#: Maximum width or height. A larger number is not a size, and would not fit into MessagePack.
_MAX_PIXELS = 2**31 - 1

#: The type of an image sent as base64 text, as the service's image models return it.
_BASE64_TYPE = "image/png"

#: One-key paths that do not name a value: the root, every entry, and `data`, some items of which may not count.
_SPECIAL_PATHS = frozenset({"", "*", "data"})

#: Documented places of files, by kind, which are searched where a provider's own places have no requested file: new
#: models put their files there before the provider table knows it.
_USUAL_FIELDS = (
    (
        *(ArtifactField("data.*.video_url", ArtifactKind.VIDEO), ArtifactField("video_url", ArtifactKind.VIDEO)),
        ArtifactField("data.*.content.video_url", ArtifactKind.VIDEO),
        *(ArtifactField("content.video_url", ArtifactKind.VIDEO), ArtifactField("content.url", ArtifactKind.VIDEO)),
        *(ArtifactField("data.*.video_urls.*", ArtifactKind.VIDEO), ArtifactField("video_urls.*", ArtifactKind.VIDEO)),
        ArtifactField("data.variants.*.output_url", ArtifactKind.VIDEO),
    ),
    (ArtifactField("data.*.audio_url", ArtifactKind.AUDIO), ArtifactField("audio_url", ArtifactKind.AUDIO)),
    (
        *(ArtifactField("data.*.image_url", ArtifactKind.IMAGE), ArtifactField("image_url", ArtifactKind.IMAGE)),
        *(ArtifactField("data.*.image_urls.*", ArtifactKind.IMAGE), ArtifactField("image_urls.*", ArtifactKind.IMAGE)),
    ),
    (
        *(ArtifactField("data.*.file_url", ArtifactKind.FILE), ArtifactField("file_url", ArtifactKind.FILE)),
        *(ArtifactField("data.*.output_url", ArtifactKind.FILE), ArtifactField("output_url", ArtifactKind.FILE)),
        ArtifactField("data.*.url", ArtifactKind.FILE),
    ),
)

#: Results that are no file: descriptions, lyrics, voices and the like.
_TEXT_RESULTS = (
    *("descriptions", "prompts", "token", "voice_id", "data.*.text", "data.*.lyrics", "data.*.aligned_words"),
    *("data.*.persona_id", "data.*.voice_id", "data.*.element_id", "element_id"),
)

#: Keys of an item without any content.
_STATE_KEYS = frozenset({"id", "state", "status", "success"})

#: Places of the reason for which a finished task has no file, in the response and in each of its items.
_REASON_KEYS = (
    *("raiMediaFilteredReasons", "reasons", "reason", "fail_reason", "failure_reason", "block_reason"),
    *("blocked_reason", "moderation_reason", "message", "msg", "detail"),
)

#: Texts of a `message` that are no reason.
_NO_REASONS = frozenset({"ok", "success", "succeeded", "succeed", "completed", "done", "finished"})

#: Values found in a response, each with the object that contains it.
_Matches = list[tuple[object, dict[str, object] | None]]


class ResponseBody:
    """A fully decoded response: its artifacts, and the times nested in it.

    Attributes:
        artifacts: The files that the task produced, unique by URL. headshots sends one URL for several images and
            midjourney for two roles: the first one counts.
    """

    __slots__ = ("_root", "_spec", "_unfinished", "artifacts")

    def __init__(
        self, spec: ProviderSpec, raw: bytes, unfinished_items: Collection[int] = (), *, is_flat: bool = False
    ) -> None:
        """Decode the response of a record.

        Args:
            spec: The provider spec.
            raw: The record's JSON.
            unfinished_items: Positions in `data` whose artifacts do not count.
            is_flat: Whether the record is its own response.

        Raises:
            ProtocolError: The response is malformed.
        """
        self._spec = spec
        self._unfinished = unfinished_items
        try:
            # May fail although the head was read: that skipped the response, and from a less deep stack frame.
            self._root = read_response(raw, is_flat=is_flat)
        except DECODE_ERRORS as error:
            raise build_decode_error("a response", raw, error) from error
        self.artifacts = tuple(self._collect_artifacts(spec.artifacts).values())

    @property
    def has_main_artifact(self) -> bool:
        """Whether any of the requested files exists."""
        return any(artifact.role == "main" for artifact in self.artifacts)

    @property
    def finished_at(self) -> float | None:
        """The latest finish time at the provider's own path (`ProviderSpec.finished_path`)."""
        times = [read_epoch(value, self._spec.utc_offset) for value, _ in self._find(self._spec.finished_path)]
        return max(filter(None, times), default=None)

    @property
    def is_empty(self) -> bool:
        """Whether the places of requested files exist without a value, and there is no result of another kind."""
        if self.has_main_artifact or any(value for path in _TEXT_RESULTS for value, _ in self._find(path)):
            return False
        return any(field.role == "main" and self._is_blank(field.path) for field in self._spec.artifacts)

    def find_reason(self) -> str | None:
        """Return the reason for which there is no file, if the response or one of its items has one."""
        places = [self._root, *(node for node, _ in self._find("data.*"))]
        values = (place.get(key) for place in places if isinstance(place, dict) for key in _REASON_KEYS)
        for value in values:
            texts = value if isinstance(value, list) else [value]
            reason = ", ".join(text.strip() for text in texts if isinstance(text, str) and text.strip())
            if reason and reason.lower() not in _NO_REASONS:
                return reason[:REASON_LIMIT]
        return None

    def find_usual_artifacts(self) -> tuple[Artifact, ...]:
        """Return the artifacts, searching the places of other providers if the own ones have no requested file."""
        if self.has_main_artifact or not self._spec.artifacts:
            return self.artifacts
        known = {*(field.path for field in self._spec.artifacts), *self._spec.input_paths}
        main = [field for field in self._spec.artifacts if field.role == "main"]
        # An empty place means that this file is missing: one of another kind is no substitute, but perhaps an input.
        kinds = {field.kind for field in main} if any(self._is_blank(field.path) for field in main) else ArtifactKind
        for fields in _USUAL_FIELDS:
            found = self._collect_artifacts(
                [field for field in fields if field.path not in known and field.kind in kinds]
            )
            if found:
                return (*found.values(), *(artifact for artifact in self.artifacts if artifact.url not in found))
        return self.artifacts

    def _is_blank(self, path: str) -> bool:
        """Return whether a path ends at an empty value: the file's own, or that of an object or list around it."""
        nodes: list[object] = [self._root]
        for key in _split_path(path):
            if key == "*":
                nodes = [entry for node in nodes for entry in (node if isinstance(node, list) else [node])]
                if any(isinstance(node, dict) and node.keys() <= _STATE_KEYS for node in nodes):
                    return True
            else:
                nodes = [node[key] for node in nodes if isinstance(node, dict) and key in node]
            if any(not (node.strip() if isinstance(node, str) else node) for node in nodes):
                return True
        return False

    def _collect_artifacts(self, fields: Iterable[ArtifactField]) -> dict[str, Artifact]:
        """Return the artifacts of finished items by URL, in the order of the fields."""
        found: dict[str, Artifact] = {}
        parents: set[int] = set()
        for field in fields:
            for value, parent in self._find(field.path):
                if isinstance(value, str) and (url := self._usable_url(field, value)) and url not in found:
                    if id(parent) in parents and field.placeholder_host and _host(url) == field.placeholder_host:
                        continue
                    parents.add(id(parent))
                    width = height = None
                    if parent is not None and field.size_keys is not None:
                        width_key, height_key = field.size_keys
                        width, height = _read_pixels(parent.get(width_key)), _read_pixels(parent.get(height_key))
                    role = "cover" if field.cover_of and self._has_text(field.cover_of) else field.role
                    found[url] = Artifact(url=url, kind=field.kind, role=role, width=width, height=height)
        return found

    def _has_text(self, path: str) -> bool:
        return any(isinstance(value, str) and value for value, _ in self._find(path))

    def _usable_url(self, field: ArtifactField, value: str) -> str | None:
        """Return the URL for an artifact's value; None for an empty text or a preview of unfinished work."""
        if not value.strip():
            return None
        if field.is_base64:
            return f"data:{_BASE64_TYPE};base64,{value}"
        if not self._spec.preview_hosts:
            return value
        return None if _host(value).startswith(self._spec.preview_hosts) else value

    def _find(self, path: str) -> _Matches:
        """Return the values at a path, each with its parent object; empty if the path does not exist."""
        root = self._root
        if "." not in path and path not in _SPECIAL_PATHS:  # usually the value is in the response itself
            return [(root[path], root)] if isinstance(root, dict) and path in root else []
        found: _Matches = [(root, None)] if path else []
        in_data = False
        for key in _split_path(path):
            if key == "*":
                found = [match for node, parent in found for match in self._expand(node, parent, in_data=in_data)]
                in_data = False
            else:
                # The response's own `data` contains the items, some of which may not count.
                in_data = key == "data" and found[0][1] is None
                found = [
                    (node[key], node)
                    for node, _ in found
                    if isinstance(node, dict)
                    and key in node
                    and not (in_data and 0 in self._unfinished and isinstance(node[key], dict))
                ]
            if not found:
                break
        return found

    def _expand(self, node: object, parent: dict[str, object] | None, *, in_data: bool) -> _Matches:
        """Return the entries of a list, or the node itself if a provider sends one object instead of a list."""
        if not isinstance(node, list):
            return [(node, parent)]
        if in_data:  # skip non-objects, so that positions match the record's items
            items = [entry for entry in node if isinstance(entry, dict)]
            return [(entry, parent) for index, entry in enumerate(items) if index not in self._unfinished]
        return [(entry, parent) for entry in node]


def _host(url: str) -> str:
    """Return the host name of a URL; empty if it has none or is malformed."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@functools.lru_cache(maxsize=1024)
def _split_path(path: str) -> tuple[str, ...]:
    return tuple(path.split("."))


def _read_pixels(value: object) -> int | None:
    """Read a width or height; 0 is sent for "unknown" (pixverse)."""
    if type(value) is not int:  # excludes bool
        return None
    return value if 0 < value <= _MAX_PIXELS else None
