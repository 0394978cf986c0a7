"""Mutations of responses: lost, changed or repeated bytes, and unexpected values."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .corpus import KEYS

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from .corpus import Base

_NUMBERS = (
    *(b"0", b"-0", b"-0.0", b"1", b"-1", b"0.1e1", b"1e400", b"-1e400", b"1e-400", b"1e308", b"1.7976931348623159e308"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"18446744073709551616"),
    *(b"-9223372036854775809", b"1" + b"0" * 30, b"1" + b"0" * 400, b"-1" + b"0" * 400, b"9" * 4299, b"9" * 4300),
    *(b"9" * 4301, b"9" * 6000, b"0." + b"0" * 400 + b"1", b"1." + b"3" * 2000, b"NaN", b"Infinity", b"-Infinity"),
    *(b"01", b"+1", b"1.", b".5", b"0x10", b"1e", b"1_000", b"400", b"404", b"504", b"200", b"100", b"1785000000000"),
    *(b"32503680000", b"-62135596800", b"253402300800", b"1e20"),
)
_WORDS = (
    *(b"true", b"false", b"null", b"True", b"nul", b"undefined", b"{}", b"[]", b"[null]", b'{"":null}', b'[""]'),
    *(b'"succeeded"', b'"FAILED"', b'" Running "', b'"archived"', b'"pending"', b'"not_found"', b'"invalid_token"'),
    *(b'"used_up"', b'"busy"', b'"no_api"', b'"rate_limited"', b'"task not found"', b'"100%"', b'"12"', b'"1e400"'),
    *(
        b'"NaN"',
        b'"-1"',
        b'"true"',
        b'"null"',
        b'"1_000"',
        b'"%s"' % (b"9" * 5000),
        b'{"percent":7}',
        b'{"message":{}}',
    ),
    *(b'{"message":"m","code":"c"}', b'{"code":1e400}', b'{"a":[{"b":null}]}', b'["a",1,null,{"state":"failed"}]'),
)
_TEXTS = (
    *(b'""', b'" "', b'"\\u0000"', b'"\x00"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\\uD83D x"'),
    *(
        b'"\\ud83d\\\\ude00"',
        b'"\\\\ud800"',
        b'"\\ud8"',
        b'"\\u12"',
        b'"\\x"',
        b'"\\"',
        b'"\xff\xfe"',
        b'"\xed\xa0\x80"',
    ),
    *(b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b'"\xf3\xa0\x80\x81\xf3\xa0\x80\x81"', b'"\xef\xbb\xbf"'),
    *(b'"\xe2\x80\xae\xe2\x80\xa8"', b'"\n"', b'"\t\r"', b'"\\/\\b\\f"', b"'a'", b'"a', b'a"', b'"%s"' % (b"x" * 300)),
    *(b'"%s"' % (b"\xf3\xa0\x80\x81" * 300), b'"%s"' % (b"\\u0007" * 400), b'"%s"' % (b"a b" * 4000)),
)
_DATES = (
    *(b'"2026-07-25T17:20:01Z"', b'"2026-13-45T00:00:00Z"', b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:60Z"'),
    *(b'"9999-12-31T23:59:59-23:59"', b'"10000-01-01"', b'"2026-02-30"', b'"2026-07-25T24:00:00"', b'"20260725"'),
    *(b'"2026-W30-6"', b'"2026-07-25T17:20:01.123456789123Z"', b'"2026-07-25T17:20:01+99:99"', b'"-2026-07-25"'),
    *(b'"2026-07-25\xc2\xa017:20"', b'"\xd9\xa2026-07-25"', b'"0000-00-00T00:00:00"', b'"P99999999999D"'),
)
_URLS = (
    *(b'"https://cdn.example/z.mp4"', b'"http://["', b'"http://[::1%25]:99999/"', b'"//"', b'"http://a\\nb"', b'":"'),
    *(b'"http://xn--\xe2\x84\x80.example"', b'"https://audiopipe.suno.ai/x"', b'"javascript:1"', b'"http://user:@:/"'),
    *(b'"http://\\u0000"', b'"https://%s.example/"' % (b"a" * 3000), b'"data:image/png;base64,AAAA"'),
)
#: Values, as valid or invalid JSON, that are hard to read.
DIFFICULT = (*_NUMBERS, *_WORDS, *_TEXTS, *_DATES, *_URLS)

_PAIRS = (
    *((b"[", b"]"), (b'{"a":', b"}"), (b'{"task":', b"}"), (b'{"response":', b"}"), (b'{"data":[', b"]}")),
    *((b'{"error":', b"}"), (b'{"items":[', b"]}"), (b"[1,", b",2]")),
)
#: Parts of long texts: single bytes, escapes, lone surrogates, and bytes whose replacement is longer.
_LONG = (b"x", b"\\n", b"\\ud800", b"\xf0\x9f\x98\x80", b"\xff", b"[", b"{", b"9", b" ", b"\\", b'","', b"a.b-c/")
_DATE_HEADERS = (
    *(b"Fri, 31 Dec 1999 23:59:59 GMT", b"Friday, 31-Dec-99 23:59:59 GMT", b"Fri Dec 31 23:59:59 1999"),
    *(b"31 Dec 1999 23:59:59 +0130", b"31 Dec 1999 23:59:59 -0000", b"31 Dec 1999 23:59"),
)
_PAUSES = (b"120", b"0", b" 7 ", b"007", *_DATE_HEADERS)
_ODD_HEADERS = (
    *(b"", b" ", b"1.5", b"-1", b"1e3", b"9" * 400, b"\xc2\xb2", b"soon", b"1_0", b"\xd9\xa3", b", , , , ,"),
    *(b"31 Dec 1999 23:59:59 +9999", b"31 Dec , 08:49:37 GMT", b"Dec 31 23.59 99", b"31 Dec 1999 23.59.59.59"),
    *(
        b"1 Jan 0001 00:00:00 +2359",
        b"31 Dec 9999 23:59:60 -2359",
        b"31 Dec 99999999999 23:59:59 GMT",
        b"1 Jan 0 0:0 Z",
    ),
)
#: A number, and what some services send in place of one; parts of texts that are not allowed in JSON.
_NUMBER = re.compile(rb"(?<=[:,\[])\s*-?\d+(?:\.\d+)?(?=\s*[,}\]])")
_NO_NUMBERS = (b"NaN", b"Infinity", b"-Infinity")
_LOOSE = (b"\x00", b"\t", b"\n", b"\x1f", rb"\q", rb"\u12", rb"\x41", b"\xff", b"\xe4\xbd", rb"\ud83d", rb"\'")
_BOMS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b" ", b"\n\n", b")]}',\n", b"data: ", b"\x1f\x8b")
_TAILS = (b"\x00", b"\n", b"}", b"]", b",", b"{}", b"\xef\xbb\xbf", b"null", b"//x")


def nest(rng: random.Random, edge: int) -> bytes:
    """Return a nested value.

    Args:
        rng: Random source.
        edge: Smallest nesting depth that cannot be decoded. The stack depth of a reader differs between calls, so that
            near this depth one call may succeed and the next one fail.
    """
    chance = rng.random()
    depth = (
        100 if chance < 0.3 else 1_000 if chance < 0.63 else 100_000 if chance < 0.65 else edge + rng.randint(-30, 6)
    )
    head, tail = rng.choice(_PAIRS)
    core = rng.choice(DIFFICULT) if rng.random() < 0.99 else _draw_text(rng, 200_000)
    return head * depth + core + (tail * depth if rng.random() < 0.9 else b"")


def draw_value(rng: random.Random, base: Base, donor: Base, edge: int) -> bytes:
    """Return a value: mostly a difficult one, or one from either response; rarely a very deep or long one."""
    chance = rng.random()
    if chance < 0.75:
        return rng.choice(DIFFICULT)
    if chance < 0.97:
        holder = base if chance < 0.85 or not donor.values else donor
        if not holder.values:
            return rng.choice(DIFFICULT)
        start, end = rng.choice(holder.values)
        return holder.body[start:end]
    if chance < 0.995:
        return nest(rng, edge)
    return _draw_text(rng, 2_000_000 if chance > 0.9999 else 100_000 if chance > 0.9985 else 20_000)


def _draw_text(rng: random.Random, size: int) -> bytes:
    """Return a text of about the given size in bytes."""
    part = rng.choice(_LONG)
    return b'"%b"' % (part * (size // len(part)))


def edit_values(rng: random.Random, base: Base, donor: Base, edge: int) -> bytes:
    """Replace one to three values, from the last to the first so that positions stay valid."""
    body = base.body
    if not base.values:
        return flip(rng, body)
    last = len(body)
    for start, end in sorted(rng.choices(base.values, k=rng.choice((1, 1, 2, 3))), reverse=True):
        if end <= last:
            body = body[:start] + _replace(rng, body[start:end], base, donor, edge) + body[end:]
            last = start
    return body


def _replace(rng: random.Random, value: bytes, base: Base, donor: Base, edge: int) -> bytes:
    """Replace a value, nest it, or change its type."""
    chance = rng.random()
    if chance < 0.8:
        return draw_value(rng, base, donor, edge)
    if chance < 0.87:
        return value[1:-1] if value[:1] == b'"' else b'"%b"' % value
    head, tail = rng.choice(_PAIRS)
    return head + value + tail


def edit_members(rng: random.Random, base: Base, donor: Base, edge: int) -> bytes:
    """Duplicate a member with another value, remove one, or insert one with a known key."""
    body = base.body
    if not base.members:
        return flip(rng, body)
    start, end = rng.choice(base.members)
    chance = rng.random()
    if chance < 0.25:
        key = body[start : body.index(b'"', start + 1) + 1]
        return body[:end] + b",%b:%b" % (key, draw_value(rng, base, donor, edge)) + body[end:]
    if chance < 0.45:
        after = end + (body[end : end + 1] == b",")
        before = start - (after == end and body[start - 1 : start] == b",")
        return body[:before] + body[after:]
    added = b'"%b":%b,' % (rng.choice(KEYS).encode(), draw_value(rng, base, donor, edge))
    return body[:start] + added + body[start:]


def wrap(rng: random.Random, base: Base, donor: Base, edge: int) -> bytes:
    """Nest the whole response, a few times or very often."""
    head, tail = rng.choice(_PAIRS)
    depth = rng.choice((1, 1, 2, 3, 10, 100)) if rng.random() < 0.97 else edge + rng.randint(-30, 6)
    core = base.body if rng.random() < 0.8 else donor.body
    return head * depth + core + tail * depth


def flip(rng: random.Random, body: bytes) -> bytes:
    """Change some bytes."""
    changed = bytearray(body or b"\x00")
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def insert(rng: random.Random, body: bytes) -> bytes:
    """Insert random bytes or a value at a random position."""
    place = rng.randint(0, len(body))
    added = rng.randbytes(rng.randint(1, 6)) if rng.random() < 0.5 else rng.choice(DIFFICULT)
    return body[:place] + added + body[place:]


def delete(rng: random.Random, body: bytes) -> bytes:
    """Remove some bytes."""
    start = rng.randint(0, len(body))
    return body[:start] + body[start + rng.choice((1, 1, 2, 10, 100)) :]


def cut(rng: random.Random, body: bytes) -> bytes:
    """Remove the end or the beginning of a response."""
    place = rng.randint(0, len(body))
    return body[:place] if rng.random() < 0.8 else body[place:]


def double(rng: random.Random, body: bytes) -> bytes:
    """Repeat a part once or often."""
    start = rng.randint(0, len(body))
    part = body[start : start + rng.choice((1, 5, 40, 400))]
    return body[:start] + part * rng.choice((2, 2, 3, 50)) + body[start + len(part) :]


def frame(rng: random.Random, body: bytes) -> bytes:
    """Add a prefix or a suffix."""
    return rng.choice(_BOMS) + body if rng.random() < 0.6 else body + rng.choice(_TAILS)


def loosen(rng: random.Random, body: bytes) -> bytes:
    """Make a response what services send although it is not JSON: it is repaired if nothing else is wrong with it."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        number = rng.choice(tuple(_NUMBER.finditer(body)) or (None,)) if rng.random() < 0.5 else None
        if number is not None:
            body = body[: number.start()] + rng.choice(_NO_NUMBERS) + body[number.end() :]
        else:
            place = body.find(b'"', rng.randint(0, len(body))) + 1
            body = body[:place] + rng.choice(_LOOSE) + body[place:]
    return body


def splice(rng: random.Random, base: Base, donor: Base, edge: int) -> bytes:
    """Join the beginning of one response and the end of another."""
    del edge
    return base.body[: rng.randint(0, len(base.body))] + donor.body[rng.randint(0, len(donor.body)) :]


#: Mutations of JSON values; at most one is applied, before all others.
OF_JSON: dict[str, Callable[[random.Random, Base, Base, int], bytes]] = {
    "values": edit_values,
    "members": edit_members,
    "wrap": wrap,
    "splice": splice,
}
#: Mutations of bytes, applied any number of times.
OF_BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "flip": flip,
    "insert": insert,
    "delete": delete,
    "cut": cut,
    "double": double,
    "frame": frame,
    "loosen": loosen,
}


def draw_headers(rng: random.Random) -> bytes:
    """Return a `Retry-After` and a `Date` header, one line each, valid or not."""
    lines = []
    for sound in (_PAUSES, _DATE_HEADERS):
        line = rng.choice(sound if rng.random() < 0.7 else _ODD_HEADERS)
        while rng.random() < 0.4:
            line = rng.choice(tuple(OF_BYTES.values()))(rng, line)
        lines.append(line)
    return b"\n".join(lines)


def mutate(rng: random.Random, base: Base, donor: Base, kinds: tuple[str, ...], edge: int) -> bytes:
    """Derive one input from a response.

    Args:
        rng: Random source.
        base: The response.
        donor: Another response to take parts from.
        kinds: The mutations to choose from.
        edge: See `nest`.

    Returns:
        The input, occasionally the unmodified response.
    """
    body = base.body
    kind = rng.choice(kinds)
    if kind in OF_JSON:
        body = OF_JSON[kind](rng, base, donor, edge)
        if rng.random() < 0.8:
            return body
        kind = rng.choice(tuple(OF_BYTES))
    elif rng.random() < 0.1:
        return body
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        body = OF_BYTES[kind](rng, body)
        kind = rng.choice(tuple(OF_BYTES))
    return body
