"""Heads of responses to downloads."""

from __future__ import annotations

import pytest

from acetasks._downloads.responses import Body, find_wrong_kind, is_transient, read_head
from acetasks.models import ArtifactKind


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, Body(0, None, "", "")),
        (200, {"content-length": "5", "content-type": "Video/MP4; x=1"}, Body(0, 5, "", "video/mp4")),
        (200, {"content-length": "-5"}, Body(0, None, "", "")),
        (200, {"etag": '"a"', "last-modified": "b"}, Body(0, None, '"a"', "")),
        (200, {"etag": 'W/"a"', "last-modified": "b"}, Body(0, None, "b", "")),
        (206, {"content-range": "bytes 2-4/5"}, Body(2, 5, "", "")),
        (206, {"content-range": "bytes 2-4/*"}, Body(2, None, "", "")),
        (206, {"content-range": "bytes 4-2/5"}, None),
        (206, {"content-range": "bytes 2-5/5"}, None),
        (206, {"content-range": "bytes */5"}, None),
        (206, {"content-range": "items 2-4/5"}, None),
        (206, {}, None),
    ],
)
def test_read_head(status: int, headers: dict[str, str], body: Body | None) -> None:
    """A head has the position, the size of the whole file, a strong validator and the media type."""
    assert read_head(status, headers) == body


@pytest.mark.parametrize(
    ("kind", "media_type", "start", "is_wrong"),
    [
        ("video", "video/mp4", b"\0\0\0 ftyp", False),
        ("video", "", b"\0\0\0 ftyp", False),
        ("video", "application/octet-stream", b"\0\0\0 ftyp", False),
        ("video", "audio/mp4", b"", False),
        ("audio", "video/webm", b"", False),
        ("image", "image/svg+xml", b"<?xml version='1.0'?><svg>", False),
        ("file", "application/json", b"{}", False),
        ("file", "text/plain", b"1\n00:00", False),
        ("video", "text/html", b"<html>", True),
        ("video", "application/json", b"{}", True),
        ("video", "image/png", b"\x89PNG", True),
        ("image", "video/mp4", b"", True),
        ("video", "application/octet-stream", b"\xef\xbb\xbf \n<!DOCTYPE HTML>", True),
        ("audio", "", b"<?xml version='1.0'?><Error>", True),
        ("file", "text/html", b"<html>", True),
    ],
)
def test_wrong_kind(kind: str, media_type: str, start: bytes, is_wrong: bool) -> None:  # noqa: FBT001  # a table
    """An error page, or another kind of media, is no content of a kind."""
    assert (find_wrong_kind(ArtifactKind(kind), media_type, start) is not None) == is_wrong


@pytest.mark.parametrize(("status", "transient"), [(500, True), (503, True), (429, True), (408, True), (400, False)])
def test_transient(status: int, transient: bool) -> None:  # noqa: FBT001  # a table
    """Errors of the server and too many requests are transient."""
    assert is_transient(status) == transient
