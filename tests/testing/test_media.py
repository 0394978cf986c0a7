"""Tiny files: valid in their formats, and different for each text."""

from __future__ import annotations

import struct
import wave
import zlib
from io import BytesIO

import pytest

from acetasks.testing.media import build_file

SUFFIXES = ["bin", "jpg", "mid", "mp3", "mp4", "png", "txt", "wav"]


def boxes(content: bytes) -> dict[bytes, bytes]:
    """Return the boxes of an MP4 file or of one of its boxes."""
    found, at = {}, 0
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        found[name] = content[at + 8 : at + size]
        at += size
    assert at == len(content)
    return found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_content_depends_on_the_text_only(suffix: str) -> None:
    """A file contains its text, is the same each time, and has less than a kilobyte."""
    content, media_type = build_file(suffix, "luma/a.mp4")
    assert (content, media_type) == build_file(suffix, "luma/a.mp4")
    assert content != build_file(suffix, "luma/b.mp4")[0]
    assert b"luma/a.mp4" in content
    assert len(content) < 1000


def test_png_has_valid_chunks() -> None:
    """Every chunk of a PNG has its checksum, and the image is one grey pixel."""
    content, _ = build_file("png", "text")
    chunks, at = {}, 8
    while at < len(content):
        size, name = struct.unpack_from(">I4s", content, at)
        chunks[name] = content[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", content, at + 8 + size)[0] == zlib.crc32(name + chunks[name])
        at += size + 12
    assert list(chunks) == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
    assert zlib.decompress(chunks[b"IDAT"]) == b"\0\x80"


def test_jpeg_has_complete_segments() -> None:
    """The segments of a JPEG file follow one another up to the image's data and the end marker."""
    content, _ = build_file("jpg", "text")
    markers, at = [], 2
    while content[at + 1] != 0xDA:
        assert content[at] == 0xFF
        markers.append(content[at + 1])
        at += 2 + struct.unpack_from(">H", content, at + 2)[0]
    assert content[:2] == b"\xff\xd8"
    assert markers == [0xE0, 0xFE, 0xDB, 0xC0, 0xC4, 0xC4]
    assert content[-2:] == b"\xff\xd9"


def test_mp4_track_points_at_its_frame() -> None:
    """The only frame of an MP4 file is the JPEG image at the offset and of the size that its track says."""
    content, _ = build_file("mp4", "text")
    top = boxes(content)
    assert list(top) == [b"ftyp", b"mdat", b"moov", b"free"]
    media = boxes(boxes(boxes(top[b"moov"])[b"trak"])[b"mdia"])
    table = boxes(boxes(media[b"minf"])[b"stbl"])
    (offset,) = struct.unpack(">8xI", table[b"stco"])
    (size,) = struct.unpack(">12xI", table[b"stsz"])
    assert content[offset : offset + size] == top[b"mdat"] == build_file("jpg", "")[0]


def test_mp3_has_whole_frames_after_its_tag() -> None:
    """An MP3 file is a tag of the size that it says, and frames of 26 bytes."""
    content, _ = build_file("mp3", "text")
    size = int.from_bytes(content[6:10], "big")  # below 128 it is its own syncsafe form
    frames = content[10 + size :]
    assert content[:3] == b"ID3"
    assert [frames[at : at + 4] for at in range(0, len(frames), 26)] == [b"\xff\xf3\x10\xc0"] * 4


def test_wav_can_be_read() -> None:
    """A WAV file is a tenth of a second of silence."""
    with wave.open(BytesIO(build_file("wav", "odd")[0])) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (8000, 800)


def test_midi_track_has_its_length() -> None:
    """The track of a MIDI file has the length that it says."""
    content, _ = build_file("mid", "text" * 50)
    assert struct.unpack_from(">I", content, 18)[0] == len(content) - 22
