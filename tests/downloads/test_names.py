"""Names of downloaded files."""

from __future__ import annotations

import hypothesis
import pytest
from download_support import new_task
from hypothesis import strategies as st

from acetasks._downloads.names import choose_extension, find_existing, plan_files
from acetasks.models import Artifact, ArtifactKind

HOSTILE_IDS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "a\\b",
    "C:\\Windows\\system32",
    "nul",
    "con.mp4",
    "a\0b",
    "a\nb",
    "a b",
    "a:b",
    "$(rm -rf)",
    "-rf",
    "~root",
    "\u202egpj.exe",
    "é" * 300,
    "x" * 10_000,
    "\ud800",
]


@pytest.mark.parametrize("task_id", HOSTILE_IDS, ids=ascii)
def test_hostile_id(task_id: str) -> None:
    """A name made from a hostile id is one plain component of at most 255 bytes, and the same each time."""
    (file,) = plan_files(new_task("https://f.example/a", id=task_id), None)
    assert file.stem == plan_files(new_task("https://g.example/b", id=task_id), None)[0].stem
    assert set(file.stem) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert file.stem.startswith("luma-")
    assert len(f".{file.stem}.01234567.part") < 255


@hypothesis.given(st.text(min_size=1), st.text(min_size=1))
def test_distinct_ids(one: str, other: str) -> None:
    """Two ids never share a name."""
    names = [plan_files(new_task("https://f.example/a", id=task_id), None)[0].stem for task_id in (one, other)]
    assert (names[0] == names[1]) == (one == other)


def test_numbers_and_roles() -> None:
    """Further files of a role have a number, and other roles than main are in the name; only asked roles count."""
    artifacts = tuple(
        Artifact(url=f"https://f.example/{role}", role=role) for role in ("main", "thumbnail", "main", "thumbnail")
    )
    task = new_task(artifacts=artifacts)
    assert [file.stem for file in plan_files(task, None)] == [
        "luma-t",
        "luma-t-thumbnail",
        "luma-t-2",
        "luma-t-thumbnail-2",
    ]
    assert [(file.stem, file.position) for file in plan_files(task, ("main",))] == [("luma-t", 0), ("luma-t-2", 2)]


def test_no_id() -> None:
    """A finished task without an id is named by a hash of its record."""
    one, other = (plan_files(new_task("https://f.example/a", id="", raw=raw), None)[0] for raw in (b"1", b"2"))
    assert one.stem != other.stem


@pytest.mark.parametrize(
    ("kind", "media_type", "url", "extension"),
    [
        ("video", "video/mp4", "https://f.example/a", ".mp4"),
        ("video", "video/webm", "https://f.example/a.mp4", ".webm"),
        ("video", "video/quicktime", "https://f.example/a", ".mov"),
        ("video", "application/octet-stream", "https://f.example/a.MOV?x=.exe", ".mov"),
        ("video", "", "https://f.example/a.exe", ".mp4"),
        ("video", "video/../../x", "https://f.example/a", ".mp4"),
        ("image", "image/jpeg", "https://f.example/a.png", ".jpg"),
        ("image", "image/webp", "https://f.example/a", ".webp"),
        ("image", "", "data:image/png;base64,AA", ".png"),
        ("audio", "audio/mpeg", "https://f.example/a", ".mp3"),
        ("audio", "audio/x-wav", "https://f.example/a", ".wav"),
        ("file", "application/octet-stream", "https://f.example/a.mid", ".mid"),
        ("file", "application/x-php", "https://f.example/a.php", ".bin"),
    ],
)
def test_extension(kind: str, media_type: str, url: str, extension: str) -> None:
    """The extension is one that the kind may have: of the media type, else of the URL, else the usual one."""
    assert choose_extension(Artifact(url=url, kind=ArtifactKind(kind)), media_type) == extension


def test_find_existing(tmp_path) -> None:
    """An earlier download is found whatever its extension; a partial file and another kind are not."""
    (file,) = plan_files(new_task("https://f.example/a"), None)
    assert find_existing(tmp_path, file) is None
    (tmp_path / ".luma-t.01234567.part").touch()
    (tmp_path / "luma-t.png").touch()
    assert find_existing(tmp_path, file) is None
    (tmp_path / "luma-t.webm").touch()
    assert find_existing(tmp_path, file) == tmp_path / "luma-t.webm"
