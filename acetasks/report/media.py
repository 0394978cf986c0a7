"""Addresses of files: which may stand in the page, and what the page may load."""

from __future__ import annotations

import mimetypes
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import msgspec

from acetasks.models import ArtifactKind

if TYPE_CHECKING:
    from acetasks.models import Artifact

#: The only URLs that the page requests or links to. Every other scheme is shown as text: `javascript:` runs code, and
#: `file:` reads the reader's disk.
_WEB_URL = re.compile(r"https?://[^\s\x00-\x20\"'<>\\^`{|}]+", re.IGNORECASE)
#: The file itself, as base64 text.
_DATA_URL = re.compile(r"data:(?:image|video|audio)/[\w.+-]+;base64,[A-Za-z0-9+/]+={0,2}", re.IGNORECASE | re.ASCII)
#: Characters of all data URLs in one page: browsers become slow with pages of more than a hundred megabytes.
_MAX_INLINE = 32_000_000
#: Characters shown of an address.
_SHOWN = 300


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a task, as the page shows it.

    Attributes:
        kind: `video`, `image`, `audio` or `file`.
        role: `main` for a result, else what it is to the result.
        text: The address, shortened.
        source: The URL or relative path to show it from; empty if it must not be requested.
        is_local: Whether it is on this machine's disk, so that showing it makes no request.
        is_link: Whether the source can be followed.
        size: Width and height, or empty.
        note: Why it is not shown, or empty.
    """

    kind: str
    role: str
    text: str
    source: str = ""
    is_local: bool = False
    is_link: bool = False
    size: str = ""
    note: str = ""


class MediaReader:
    """Reads the files of tasks for one page.

    Args:
        directory: The folder that the page will be in.

    Attributes:
        origins: What the page may load media from, as sources of a content security policy.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()
        self._inline_left = _MAX_INLINE
        self.origins: set[str] = set()

    def __repr__(self) -> str:
        return f"<MediaReader {self._directory} {sorted(self.origins)}>"

    def read_artifact(self, artifact: Artifact, path: str | None = None) -> Media:
        """Return an artifact: its downloaded file if that exists, otherwise its URL.

        Args:
            artifact: The artifact.
            path: Its file if the artifact itself has none.
        """
        path = artifact.path or path
        has_size = artifact.width is not None and artifact.height is not None
        size = f"{artifact.width} × {artifact.height}" if has_size else ""  # noqa: RUF001  # the sign for sizes
        source = None if path is None else self._find_file(path)
        if source is not None:
            return _build_local(artifact.kind.value, artifact.role, source, size=size)
        return self._read_url(artifact, size)

    def read_file(self, path: str) -> Media:
        """Return a file that belongs to no artifact."""
        media_type = mimetypes.guess_type(path)[0] or ""
        kind = media_type.partition("/")[0]
        kind = kind if kind in {"video", "image", "audio"} else ArtifactKind.FILE
        source = self._find_file(path)
        if source is None:
            return Media(kind=kind, role="main", text=_shorten(Path(path).name), note="the file is not there any more")
        return _build_local(kind, "main", source)

    def _find_file(self, path: str) -> str | None:
        """Return the URL of a file relative to the page, or None if it does not exist."""
        file = Path(path).absolute()
        try:
            if not file.is_file():
                return None
            relative = os.path.relpath(file, self._directory)
        except OSError:  # a name that is too long, or a folder that cannot be entered
            return None
        except ValueError:  # another drive of Windows
            self.origins.add("file:")
            return file.as_uri()
        self.origins |= {"'self'", "file:"}
        # Quoting leaves no colon, so that no name can be taken for a scheme.
        return quote(relative.replace(os.sep, "/"), errors="surrogateescape")

    def _read_url(self, artifact: Artifact, size: str) -> Media:
        url, kind, role, text = artifact.url, artifact.kind.value, artifact.role, _shorten(artifact.url)
        if is_web_url(url):
            if artifact.kind is not ArtifactKind.FILE:
                self.origins.add(f"{urlsplit(url).scheme.lower()}:")
            return Media(kind=kind, role=role, text=text, source=url, is_link=True, size=size)
        if _DATA_URL.fullmatch(url):
            if len(url) > self._inline_left:
                return Media(kind=kind, role=role, text=text, size=size, note="too large to be part of this page")
            self._inline_left -= len(url)
            self.origins.add("data:")
            return Media(kind=kind, role=role, text=text, source=url, is_local=True, size=size)
        return Media(kind=kind, role=role, text=text, size=size, note="not a web address")


def is_web_url(url: str) -> bool:
    """Return whether a URL is one that a page may request: HTTP or HTTPS, with a host."""
    if not _WEB_URL.fullmatch(url):
        return False
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:  # a malformed IPv6 address
        return False


def _build_local(kind: str, role: str, source: str, *, size: str = "") -> Media:
    # The text is as relative as the source: a page that is passed on names no folders of its writer.
    text = unquote(source, errors="backslashreplace")
    return Media(kind=kind, role=role, text=_shorten(text), source=source, is_local=True, is_link=True, size=size)


def _shorten(address: str) -> str:
    return address if len(address) <= _SHOWN else f"{address[:_SHOWN]}…"
