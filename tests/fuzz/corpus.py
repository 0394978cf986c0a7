"""Seed responses of the fuzzer: all samples, batches of samples, and records built from known keys."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from acetasks._records import ItemHead, RecordHead, ResponseHead
from acetasks.providers import ProviderSpec, lookup, specs
from acetasks.providers.record import WORDS

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

SAMPLES = Path(__file__).parents[1] / "samples"
SPECS = specs()
SLUGS = tuple(spec.slug for spec in SPECS)
BATCHED = frozenset(spec.slug for spec in SPECS if spec.has_batch)

HEAD_KEYS, RESPONSE_KEYS, ITEM_KEYS = (
    tuple(field.encode_name for field in msgspec.structs.fields(kind)) for kind in (RecordHead, ResponseHead, ItemHead)
)
_PATHS = {path for spec in SPECS for path in (*(field.path for field in spec.artifacts), spec.finished_path) if path}
#: All keys that the readers use.
KEYS = tuple(
    sorted({*HEAD_KEYS, *RESPONSE_KEYS, *(key for path in _PATHS for key in path.split(".") if key != "*"), "percent"})
)

_URLS = (
    *("https://cdn.example/a.mp4", "https://cdn.example/b.png?sig=x", "https://audiopipe.suno.ai/?item_id=a"),
    *("http://[", "", " ", "data:,x", None, 7, "http://xn--\u2100.example/", ["https://cdn.example/c.mp4"]),
)
_TIMES = (
    *(1785000000, 1785000100.5, 0, -1, None, "2026-07-25T17:20:01Z", "2026-07-25 17:20:01", "2026-07-25T17:20:01.5"),
    *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-13-45T99:00:00Z", "soon", 1e308, 10**400),
)
_NUMBERS = (0, 46, 100, 101, -3, 7.25, "40%", " 7 ", "1e400", "nan", True, None, {"percent": 7}, 2**64, 10**400)
_ERRORS = (
    *({}, None, "", "boom", [], ["boom"], {"message": None}, {"message": "m"}, {"code": "c", "message": "m"}),
    *({"type": "t", "detail": "d"}, {"code": 400, "message": ["x"]}, {"http_code": 10**400}),
)
_CODES = (
    *(
        "invalid_token",
        "token_mismatched",
        "used_up",
        "too_many_requests",
        "api_error",
        "no_api",
        "no_api",
        "not_found",
    ),
    *("forbidden", "busy", "no_api", "rate_limited", "timeout", 410, 200, None, "", 4e8),
)
_ANYTHING = (None, True, False, 0, 1.5, "", "text", "task not found", [], {}, ["a"], {"a": 1}, 2**63, "\ud83d")
_VALUES: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("created_at", "created", "started_at", "finished_at", "updated", "updated_at"), _TIMES),
    "complete_at": _TIMES,
    **dict.fromkeys(("progress", "elapsed", "duration"), _NUMBERS),
    "error": _ERRORS,
    "code": _CODES,
    "success": (True, True, True, False, None, "true"),
    "request": ({"prompt": "x", "video_url": "https://cdn.example/i.mp4"}, {}, None, "x", {"state": "failed"}),
}
_DONE = ("succeeded", "completed", "success", "finished", "Done ")
_STATE_WORDS: tuple[tuple[object, ...], ...] = (
    _DONE,
    _DONE,
    ("failed", "error", "cancelled"),
    ("failed", "succeeded"),
    ("pending", "queued", "running", "processing"),
    ("archived", "running", "done"),
    (*WORDS, "", "archived", 200, 404, None, ["done"]),
)

_TOKEN = re.compile(rb'(?P<key>"(?:[^"\\]|\\.)*"\s*:)|"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],:"]+', re.DOTALL)


class Base(msgspec.Struct):
    """A response to derive inputs from.

    Attributes:
        provider: The provider's slug.
        status: The HTTP status.
        body: The body.
        ids: The task ids in it, or an invented one.
        values: Start and end of each JSON value; empty if the body is not JSON.
        members: Start and end of each object member, a key with its value.
    """

    provider: str
    status: int
    body: bytes
    ids: tuple[str, ...] = ("a",)
    values: list[tuple[int, int]] = []
    members: list[tuple[int, int]] = []

    def __post_init__(self) -> None:
        """Find the values and members."""
        try:
            json.loads(self.body)
        except ValueError:
            return
        self.values, self.members = _find_spans(self.body)


def _find_spans(body: bytes) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return the start and end of all values and members of well-formed JSON."""
    values, members = [], []
    starts: list[int] = []
    keys: list[int | None] = [None]
    for token in _TOKEN.finditer(body):
        start, end = token.span()
        mark = body[start : start + 1]
        if token["key"]:
            keys[-1] = start
            continue
        if mark in b"{[":
            starts.append(start)
            keys.append(None)
            continue
        if mark == b",":
            continue
        if mark in b"}]":
            start = starts.pop()
            keys.pop()
        values.append((start, end))
        if keys[-1] is not None:
            members.append((keys[-1], end))
            keys[-1] = None
    return values, members


def _load_samples() -> tuple[tuple[str, int, bytes], ...]:
    """Return provider, status and body of every sample; the provider is empty for samples of all providers."""
    found = []
    for path in sorted(SAMPLES.glob("*/*.json")):
        sample = json.loads(path.read_bytes())
        body = sample["body"].encode() if "body" in sample else json.dumps(sample["payload"], separators=(",", ":"))
        folder = path.parent.name
        provider = "" if folder == "_any" else folder
        found.append((provider, sample["http_status"], body if isinstance(body, bytes) else body.encode()))
    return tuple(found)


SAMPLE_ANSWERS = _load_samples()
_OF_PROVIDER = {
    slug: [body for provider, status, body in SAMPLE_ANSWERS if provider == slug and status < 300] for slug in SLUGS
}


def take_sample(rng: random.Random, position: int) -> Base:
    """Return an unmodified sample."""
    provider, status, body = SAMPLE_ANSWERS[position % len(SAMPLE_ANSWERS)]
    return Base(provider or rng.choice(SLUGS), status, body, _ids_of(body) or ("a",))


def build_one(rng: random.Random) -> Base:
    """Build a record of a random provider from the keys that the readers use."""
    spec = rng.choice(SPECS)
    body = _encode(rng, _build_record(rng, spec, 1))
    return Base(spec.slug, 200, body, _ids_of(body) or ("a",))


def build_batch(rng: random.Random) -> Base:
    """Build a batch response from samples and built records."""
    spec = rng.choice([spec for spec in SPECS if spec.has_batch])
    records = [
        rng.choice(_OF_PROVIDER[spec.slug]) if rng.random() < 0.5 else _encode(rng, _build_record(rng, spec, number))
        for number in range(rng.randint(1, 5))
    ]
    found = [task_id for record in records for task_id in _ids_of(record)]
    items = b"[" + b",".join(records) + b"]"
    body = items if rng.random() < 0.2 else b'{"items":%b,"count":%d}' % (items, len(records))
    return Base(spec.slug, 200, body, tuple(dict.fromkeys((*found, "absent-1", "absent-2"))))


def build_error(rng: random.Random) -> Base:
    """Build an error response in one of the formats of the services."""
    code = "no_api" if rng.random() < 0.2 else rng.choice(_CODES)
    message = rng.choice(("a message", "task not found", "", None, 7, ["x"]))
    form = rng.choice(("object", "object", "code", "text", "detail"))
    if form == "object":
        error: dict[str, object] = {"success": False, "error": {"code": code, "message": message}, "trace_id": "t"}
    else:
        error = {"code": code, {"code": "message", "text": "error"}.get(form, form): message, "request_id": 7}
    status = rng.choice((200, 200, 400, 401, 402, 403, 404, 410, 429, 500, 504))
    return Base(rng.choice(SLUGS), status, _encode(rng, error))


def wrap(rng: random.Random, body: bytes) -> Base:
    """Return arbitrary bytes as a response of a random provider."""
    return Base(rng.choice(SLUGS), rng.choice((200, 200, 200, 404, 500)), body)


def _build_record(rng: random.Random, spec: ProviderSpec, number: int) -> dict[str, object]:
    """Build a record in one of the formats of the services."""
    words = (*rng.choice(_STATE_WORDS), *rng.sample(sorted(spec.words), min(1, len(spec.words))))
    share = rng.choice((0.1, 0.3, 0.6))
    response = _fill(rng, RESPONSE_KEYS, words, share)
    if rng.random() < 0.6:
        items = [_fill(rng, ITEM_KEYS, words, 0.5) for _ in range(rng.randint(1, 3))]
        response["data"] = rng.choice((items, items[0], [*items, "text", 7]))
    for field in spec.artifacts:
        if rng.random() < 0.7:
            _set_path(response, field.path.split("."), rng.choice(_URLS[:3] if rng.random() < share else _URLS), rng)
    if spec.finished_path:
        _set_path(response, spec.finished_path.split("."), rng.choice(_TIMES), rng)
    form = rng.choice(("record", "record", "record", "flat", "wrapped", "bare"))
    if form == "flat":
        return {**response, "task_id": f"task-{number}"}
    record = {"id": f"task-{number}", **_fill(rng, HEAD_KEYS[1:], words, share / 2)}
    if form != "bare":
        record["response"] = response
    return {"task": record} if form == "wrapped" else record


def _fill(rng: random.Random, keys: Sequence[str], words: Sequence[object], share: float) -> dict[str, object]:
    """Return a dict with values for some of the keys, mostly of the usual kind."""
    made: dict[str, object] = {}
    for key in keys:
        if rng.random() < share and key not in {"response", "task", "items", "data"}:
            usual = words if key in {"state", "status"} else _VALUES.get(key, _ANYTHING)
            made[key] = rng.choice(usual if rng.random() < 0.95 else _ANYTHING)
    return made


def _set_path(holder: object, keys: list[str], value: object, rng: random.Random) -> None:
    """Set a value at a path, with a size beside it."""
    key, rest = keys[0], keys[1:]
    if key == "*":
        for entry in holder if isinstance(holder, list) else ():
            _set_path(entry, rest, value, rng)
        return
    if not isinstance(holder, dict):
        return
    if not rest:
        holder[key] = value
        stem = key.removesuffix("_url")
        holder[f"{stem}_width"], holder["width"] = rng.choice(_NUMBERS), rng.choice(_NUMBERS)
    elif rest == ["*"]:
        holder[key] = [value, value]
    else:
        if not isinstance(holder.get(key), dict | list):
            holder[key] = [{}] if rest[0] == "*" else {}
        _set_path(holder[key], rest, value, rng)


def _encode(rng: random.Random, record: object) -> bytes:
    """Encode JSON with the standard library, which allows long integers and lone surrogates, escaped or not."""
    if rng.random() < 0.8:
        return json.dumps(record).encode()
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _ids_of(body: bytes) -> tuple[str, ...]:
    """Return the task id of a record, if any."""
    try:
        record = json.loads(body)
    except ValueError:
        return ()
    if isinstance(record, dict) and isinstance(record.get("task"), dict):
        record = record["task"]
    if not isinstance(record, dict):
        return ()
    found = record.get("id") or record.get("task_id") or record.get("jobid")
    return (found,) if isinstance(found, str) else ()


def find_spec(provider: str) -> ProviderSpec:
    """Return the spec of a provider."""
    return lookup(provider)
