"""Which addresses may stand in a page, and what the page may load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from acetasks import Artifact, ArtifactKind
from acetasks.report import media
from acetasks.report.media import MediaReader, is_web_url

if TYPE_CHECKING:
    from pathlib import Path

PIXEL = "data:image/png;base64,iVBORw0KGgo="


def image(url: str, **fields: object) -> Artifact:
    """Build an image."""
    return Artifact(url=url, kind=ArtifactKind.IMAGE, **fields)


@pytest.fixture
def files(tmp_path: Path) -> MediaReader:
    """A reader for a page in the folder `pages`."""
    (tmp_path / "pages").mkdir()
    return MediaReader(tmp_path / "pages")


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example.com/a.png",
        "http://127.0.0.1:8080/a.png?x=1&y=%20#z",
        "HTTPS://CDN.example.com/ü.png",
        "https://[::1]:8080/a.png",
    ],
)
def test_web_addresses_are_requested(files: MediaReader, url: str) -> None:
    """They are the source of the picture, and the policy allows their scheme only."""
    found = files.read_artifact(image(url, width=640, height=480))
    assert (found.source, found.is_link, found.is_local, found.note) == (url, True, False, "")
    assert found.size == "640 × 480"  # noqa: RUF001  # the sign for sizes
    assert files.origins == {url[: url.index(":") + 1].lower()}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "javascript:alert(1)",
        " javascript:alert(1)",
        "java\nscript:alert(1)",
        "JavaScript://example.com/%0aalert(1)",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "//example.com/a.png",
        "/a.png",
        "a.png",
        "https:",
        "https://",
        "https:///a.png",
        "https:example.com",
        "https://[::1/a.png",
        "https://a.example/x y.png",
        'https://a.example/x".png',
        "https://a.example/x'.png",
        "https://a.example/<x>.png",
        "https://a.example/x\\y.png",
        "https://a.example/\u0000.png",
        "https://a.example/x.png\n",
        "blob:https://a.example/1",
        "data:text/html;base64,PHA+",
        "data:image/svg+xml,<svg onload='x'/>",
        "data:image/png;base64,###",
        "data:application/pdf;base64,AAAA",
    ],
)
def test_other_addresses_are_text(files: MediaReader, url: str) -> None:
    """They are neither a source nor a link, and the policy allows nothing for them."""
    found = files.read_artifact(image(url))
    assert (found.source, found.is_link, found.text) == ("", False, url)
    assert found.note == "not a web address"
    assert files.origins == set()
    assert not is_web_url(url)


def test_content_in_a_url_is_part_of_the_page(files: MediaReader, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a picture, not as a link; until the page would be too large."""
    monkeypatch.setattr(media, "_MAX_INLINE", 2 * len(PIXEL) + 1)
    files = MediaReader(files._directory)  # noqa: SLF001  # with the limit of this test
    shown = [files.read_artifact(image(PIXEL)) for _ in range(3)]
    assert [found.source for found in shown] == [PIXEL, PIXEL, ""]
    assert [found.is_link for found in shown] == [False] * 3
    assert shown[2].note == "too large to be part of this page"
    assert files.origins == {"data:"}


def test_a_long_address_is_shortened(files: MediaReader) -> None:
    """As a text; the link is whole."""
    url = f"https://a.example/{'x' * 1000}"
    found = files.read_artifact(image(url))
    assert found.source == url
    assert len(found.text) == 301


def test_downloaded_files_are_relative_to_the_page(files: MediaReader, tmp_path: Path) -> None:
    """Quoted, so that a name cannot be a scheme, leave the path or end the attribute."""
    for name in ("a b.png", "javascript:alert(1).png", '100%#?&".png'):
        (tmp_path / name).touch()
        found = files.read_artifact(image("https://a.example/x.png", path=str(tmp_path / name)))
        assert found.is_local
        assert found.source.startswith("../")
        assert found.text == f"../{name}"
        assert not set(found.source) & set(' :"#?&')
    assert files.origins == {"'self'", "file:"}


def test_a_file_that_is_gone_falls_back_to_the_url(files: MediaReader, tmp_path: Path) -> None:
    """Also if its path is none at all."""
    for path in (tmp_path / "gone.png", tmp_path, tmp_path / ("x" * 5000), "\0"):
        found = files.read_artifact(image("https://a.example/x.png", path=str(path)))
        assert found.source == "https://a.example/x.png"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.mp4", "video"), ("a.png", "image"), ("a.mp3", "audio"), ("a.mid", "audio"), ("a.html", "file")],
)
def test_saved_files_have_the_kind_of_their_name(files: MediaReader, tmp_path: Path, name: str, kind: str) -> None:
    """A file that is gone is named."""
    (tmp_path / name).touch()
    assert files.read_file(str(tmp_path / name)).kind == kind
    (tmp_path / name).unlink()
    gone = files.read_file(str(tmp_path / name))
    assert (gone.source, gone.note) == ("", "the file is not there any more")
