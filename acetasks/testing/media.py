"""Tiny valid files: one pixel or one frame, a tenth of a second of silence, with a text that makes each different.

They are built from the formats' own structures, so that no file has to be shipped. The bytes depend on the text only.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: ISO/IEC 14496-12: the identity matrix of `mvhd` and `tkhd`.
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
#: ISO/IEC 14496-1: the object type of JPEG images, of which the video has one.
_JPEG_OBJECT_TYPE = 0x6C
#: MPEG-2 Layer III at 8 kbit/s and 22,050 Hz, mono: frames of 26 bytes and 26 ms, silent without side information.
_MP3_FRAME = b"\xff\xf3\x10\xc0".ljust(26, b"\0")
_MP3_FRAMES = 4
_WAV_RATE = 8000


def build_file(suffix: str, text: str) -> tuple[bytes, str]:
    """Return the content and the media type of a file.

    Args:
        suffix: Its suffix; an unknown one makes a file that contains only the text.
        text: A text to embed, such as the file's path.
    """
    build, media_type = _FORMATS.get(suffix, (_plain, "application/octet-stream"))
    return build(text.encode()), media_type


def _plain(text: bytes) -> bytes:
    return text


def _png(text: bytes) -> bytes:
    """Return a grey pixel, with the text in a `tEXt` chunk."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0" + text),
        # Stored, not compressed: zlib's variants compress differently.
        (b"IDAT", zlib.compress(b"\0\x80", level=0)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _jpeg(text: bytes) -> bytes:
    """Return a grey pixel, with the text in a `COM` segment."""
    one_code = b"\x01" + bytes(15) + b"\0"  # a Huffman table: the code 0 for the symbol 0
    segments = (
        (0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
        (0xFE, text),
        (0xDB, b"\0" + b"\x01" * 64),
        (0xC0, struct.pack(">BHHB", 8, 1, 1, 1) + b"\x01\x11\0"),
        (0xC4, b"\0" + one_code),
        (0xC4, b"\x10" + one_code),
        (0xDA, b"\x01\x01\0\0\x3f\0"),
    )
    head = b"".join(b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return b"\xff\xd8" + head + b"\x3f" + b"\xff\xd9"


def _mp3(text: bytes) -> bytes:
    """Return silence, with the text in the title of an ID3v2.4 tag."""
    frame = b"TIT2" + _syncsafe(len(text) + 1) + b"\0\0" + b"\x03" + text
    return b"ID3\x04\0\0" + _syncsafe(len(frame)) + frame + _MP3_FRAME * _MP3_FRAMES


def _syncsafe(size: int) -> bytes:
    """Encode a size in four bytes of seven bits, as ID3v2 does."""
    return bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))


def _wav(text: bytes) -> bytes:
    """Return silence, with the text in an `ICMT` chunk."""
    silence = b"\x80" * (_WAV_RATE // 10)
    sample_format = struct.pack("<HHIIHH", 1, 1, _WAV_RATE, _WAV_RATE, 1, 8)
    chunks = _riff(b"fmt ", sample_format) + _riff(b"data", silence)
    return _riff(b"RIFF", b"WAVE" + chunks + _riff(b"LIST", b"INFO" + _riff(b"ICMT", text)))


def _riff(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _midi(text: bytes) -> bytes:
    """Return a track without notes, with the text in a text event."""
    length = bytes([0x80 | len(text) >> 7 & 0x7F, len(text) & 0x7F])
    events = b"\0\xff\x01" + length + text + b"\0\xff\x2f\0"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, 96) + b"MTrk" + struct.pack(">I", len(events)) + events


def _mp4(text: bytes) -> bytes:
    """Return a video of one second and one frame, a JPEG image, with the text in a `free` box."""
    frame = _jpeg(b"")
    head = _box(b"ftyp", b"isom\0\0\x02\0isomiso2mp41")
    duration = struct.pack(">II", 1000, 1000)  # units per second, and units
    movie = bytes(8) + duration + struct.pack(">IH10x", 0x10000, 0x100) + _MATRIX + bytes(24) + struct.pack(">I", 2)
    moov = _box(b"moov", _full_box(b"mvhd", movie), _mp4_track(duration, len(frame), offset=len(head) + 8))
    return head + _box(b"mdat", frame) + moov + _box(b"free", text)


def _mp4_track(duration: bytes, size: int, *, offset: int) -> bytes:
    """Return the track of one frame, which is at an offset in the file."""
    header = struct.pack(">8xII", 1, 0) + duration[4:] + bytes(16) + _MATRIX + struct.pack(">II", 0x10000, 0x10000)
    decoder = struct.pack(">BBBBI", 0x04, 13, _JPEG_OBJECT_TYPE, 0x11, 0)[:-1] + bytes(8)
    stream = b"\x03" + bytes([3 + len(decoder) + 3]) + b"\0\x01\0" + decoder + b"\x06\x01\x02"
    picture = struct.pack(">6xH16xHHIIIH32xHH", 1, 1, 1, 0x480000, 0x480000, 0, 1, 24, 0xFFFF)
    entry = _box(b"mp4v", picture, _full_box(b"esds", stream))
    table = _box(
        b"stbl",
        _full_box(b"stsd", struct.pack(">I", 1) + entry),
        _full_box(b"stts", struct.pack(">III", 1, 1, 1000)),
        _full_box(b"stsc", struct.pack(">IIII", 1, 1, 1, 1)),
        _full_box(b"stsz", struct.pack(">III", 0, 1, size)),
        _full_box(b"stco", struct.pack(">II", 1, offset)),
    )
    location = _box(b"dinf", _full_box(b"dref", struct.pack(">I", 1) + _full_box(b"url ", b"", flags=1)))
    information = _box(b"minf", _full_box(b"vmhd", bytes(8), flags=1), location, table)
    media = _full_box(b"mdhd", bytes(8) + duration + b"\x55\xc4\0\0")
    handler = _full_box(b"hdlr", b"\0\0\0\0vide" + bytes(13))
    return _box(b"trak", _full_box(b"tkhd", header, flags=7), _box(b"mdia", media, handler, information))


def _box(name: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return struct.pack(">I", len(data) + 8) + name + data


def _full_box(name: bytes, data: bytes, *, flags: int = 0) -> bytes:
    return _box(name, struct.pack(">I", flags), data)


_FORMATS: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "jpeg": (_jpeg, "image/jpeg"),
    "jpg": (_jpeg, "image/jpeg"),
    "mid": (_midi, "audio/midi"),
    "midi": (_midi, "audio/midi"),
    "mp3": (_mp3, "audio/mpeg"),
    "mp4": (_mp4, "video/mp4"),
    "png": (_png, "image/png"),
    "txt": (_plain, "text/plain"),
    "wav": (_wav, "audio/wav"),
}
