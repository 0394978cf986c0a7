"""What the head of a response to a download says: whether its body is the file, the rest of it, or something else."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from acetasks.models import ArtifactKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.ASCII)
#: Media types that say nothing.
_UNSPECIFIC = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/x-download"})
#: A container of video may hold sound alone, and the other way round.
_ACCEPTED = {
    ArtifactKind.VIDEO: ("video/", "audio/", "image/gif", "application/mp4", "application/ogg"),
    ArtifactKind.AUDIO: ("audio/", "video/", "application/mp4", "application/ogg"),
    ArtifactKind.IMAGE: ("image/",),
}
_PAGES = ("<!doctype html", "<html", "<?xml", "<error")
#: Statuses of a URL that has expired, or never was one.
EXPIRED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class Body(NamedTuple):
    """The body that follows a response's head.

    Attributes:
        start: Position of its first byte in the file.
        total: Bytes of the whole file, or None if unknown.
        validator: Identifies this version of the file in `If-Range`; empty if there is none.
        media_type: In lower case, without parameters.
    """

    start: int
    total: int | None
    validator: str
    media_type: str


def read_head(status: int, headers: Mapping[str, str]) -> Body | None:
    """Read the head of a response with status 200 or 206; None if the range in it is malformed."""
    validator = headers.get("etag", "")
    if not validator or validator.startswith("W/"):
        validator = headers.get("last-modified", "")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if status == HTTPStatus.OK:
        length = headers.get("content-length", "")
        return Body(0, int(length) if length.isascii() and length.isdigit() else None, validator, media_type)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    start, end, total = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    is_possible = start <= end and (total is None or end < total)
    return Body(start, total, validator, media_type) if is_possible else None


def is_transient(status: int) -> bool:
    """Return whether the same request may succeed later."""
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT


def find_wrong_kind(kind: ArtifactKind, media_type: str, first_bytes: bytes) -> str | None:
    """Return what the content is, if it cannot be of a kind: an error page, or another kind of media; else None."""
    is_media = kind in _ACCEPTED
    if media_type == "text/html" or (is_media and media_type not in _UNSPECIFIC):
        accepted = _ACCEPTED.get(kind, ())
        if not media_type.startswith(accepted) or not accepted:
            return media_type
    start = first_bytes.lstrip(b"\xef\xbb\xbf \t\r\n")[:32].decode("latin-1").lower()
    if is_media and media_type != "image/svg+xml" and start.startswith(_PAGES):
        return "a web page or an error message"
    return None
