"""Downloads of the files that simulated tasks have made, at URLs of the simulated service.

Like the hosts of the real files, it needs no token and responds to `HEAD`, to ranges and to conditional requests.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote

import msgspec

from acetasks.testing.media import build_file
from acetasks.testing.responses import RawResponse, status_phrase
from acetasks.testing.rules import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from acetasks.testing.scenario import Scenario, ScriptedTask

#: Path of all files; `/<provider>/<name>` follows.
FILES_PATH = "/files"
_PATH = re.compile(rf"{FILES_PATH}/([^/]+)/([^/]+)\.([a-z0-9]+)")
#: RFC 9110, 14.1.2: a single range of bytes. Several ranges may be ignored, and are.
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
#: Error codes of S3 and of the stores that are compatible with it.
_ERROR_CODES = {403: "AccessDenied", 404: "NoSuchKey", 416: "InvalidRange"}


class Download(msgspec.Struct, frozen=True):
    """Request for a file.

    Attributes:
        provider: The slug in its path; empty if no file can have such a path.
        stem: Its name without the suffix: a task id, which a part of the task may follow, such as `-1`.
        suffix: The suffix of its name.
    """

    provider: str
    stem: str
    suffix: str


def parse_download(method: str, raw_path: str) -> Download | None:
    """Return the request for a file, or None for any other request.

    Args:
        method: The HTTP method.
        raw_path: The path as sent, with escapes.
    """
    if method not in {"GET", "HEAD"} or not raw_path.startswith(f"{FILES_PATH}/"):
        return None
    match = _PATH.fullmatch(raw_path)
    return Download("", "", "") if match is None else Download(match[1], unquote(match[2]), match[3])


def file_error(status: int) -> RawResponse:
    """Return an error in the form of object stores, which serve the real files."""
    code = _ERROR_CODES.get(status) or status_phrase(status).replace(" ", "")
    content = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>\n'
    return RawResponse(status=status, content=content.encode(), content_type="application/xml")


class FileStore:
    """Responds to downloads.

    Args:
        scenario: The tasks.
        lifetime: Seconds from a task's end until its files are gone; None means that they stay.
    """

    def __init__(self, scenario: Scenario, *, lifetime: float | None) -> None:
        self._scenario = scenario
        self._lifetime = lifetime

    def __repr__(self) -> str:
        return f"<FileStore lifetime={self._lifetime}>"

    def find_task(self, download: Download) -> ScriptedTask | None:
        """Return the task that made a file, or None."""
        stem = download.stem
        # An id may contain hyphens, so parts are removed from the right, one after the other.
        while stem:
            task = self._scenario.find(download.provider, stem)
            if task is not None:
                return task
            stem = stem.rpartition("-")[0]
        return None

    def respond(self, download: Download, headers: Mapping[str, str], *, now: float) -> RawResponse:
        """Return the response to a download.

        Args:
            download: The request.
            headers: Its headers.
            now: The time of the request (loop time).
        """
        task = self.find_task(download)
        if task is None or task.outcome is Outcome.NOT_FOUND or self._is_expired(task, now):
            return file_error(404)
        content, media_type = build_file(download.suffix, f"{download.provider}/{download.stem}.{download.suffix}")
        etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        return _select(content, media_type, etag, headers)

    def _is_expired(self, task: ScriptedTask, now: float) -> bool:
        return self._lifetime is not None and now >= task.ends_at + self._lifetime


def _select(content: bytes, media_type: str, etag: str, headers: Mapping[str, str]) -> RawResponse:
    """Return the whole file, the requested part of it, or why there is none."""
    extra = {"ETag": etag, "Accept-Ranges": "bytes"}
    if headers.get("If-None-Match") == etag:
        return RawResponse(status=304, content=b"", content_type=media_type, headers=extra)
    # A range of another version of the file is ignored.
    match = _RANGE.fullmatch(headers.get("Range", "")) if headers.get("If-Range", etag) == etag else None
    span = None if match is None else _resolve_range(match[1], match[2], len(content))
    if span is None:
        return RawResponse(status=200, content=content, content_type=media_type, headers=extra)
    if not span:
        unsatisfied = {"Content-Range": f"bytes */{len(content)}", "Accept-Ranges": "bytes"}
        return msgspec.structs.replace(file_error(416), headers=unsatisfied)
    extra["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{len(content)}"
    part = content[span.start : span.stop]
    return RawResponse(status=206, content=part, content_type=media_type, headers=extra)


def _resolve_range(first: str, last: str, size: int) -> range | None:
    """Return the requested positions, empty if the file has none of them; None for an invalid range."""
    # 1. The last bytes.   2. From a position to the end.   3. Between two positions, which are both included.
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    if not last:
        return range(int(first), size)
    return range(int(first), min(int(last) + 1, size)) if int(first) <= int(last) else None
