"""The loose shape of a task record: what the answers of all services have in common, decoded in one pass.

Records are decoded into these Structs before any decision is taken. Every field takes any JSON, because providers
differ and one odd field must never cost a record; what a field means is decided in `acetasks.providers.normalize`.
The long parts (the request, the response of a finished task) are skipped here and decoded only when asked for.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: How much of a foreign text an error repeats, in characters: enough to recognise it, too little to flood a log.
ECHO_LIMIT = 256

#: What a malformed body can make msgspec raise: bad JSON, bad UTF-8, numbers out of range, nesting without end.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: An escape of a JSON string: a pair that makes one character, half of such a pair, or any other.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)

#: The name of a model or an action is shorter, in characters; what is longer must not be kept for each sort of task.
_LONGEST_KIND = 64

#: What may stand where an object is usual.
Loose = list[msgspec.Raw] | str | float | bool | None
#: An error: an object with a code and a message in one of their spellings, or a bare text.
LooseError = dict[str, object] | list[msgspec.Raw] | str | float | bool | None


class ItemHead(msgspec.Struct, gc=False):
    """One of the things that a task makes: an entry of `response.data`, or that object itself."""

    state: object = None
    status: object = None


#: What a task made: one thing, several, or anything else that a service thinks fit to send.
Items = ItemHead | list[ItemHead | Loose] | str | float | bool | None


class ResponseHead(msgspec.Struct, gc=False):
    """What a `response` says of the state; its artifacts are decoded later."""

    state: object = None
    status: object = None
    success: object = None
    error: LooseError = None
    message: object = None
    data: Items = None
    progress: object = None
    finished_at: object = None
    task_id: object = None
    trace_id: object = None


class RecordHead(msgspec.Struct, gc=False):
    """One task record, or a flat one in which the response's fields stand at the top."""

    id: object = None
    task_id: object = None
    jobid: object = None
    trace_id: object = None
    request_id: object = None
    state: object = None
    status: object = None
    success: object = msgspec.UNSET
    error: LooseError = None
    error_details: object = msgspec.field(default=None, name="errorDetails")
    detail: object = None
    message: object = None
    code: object = None
    progress: object = None
    data: Items | msgspec.UnsetType = msgspec.UNSET
    created_at: object = None
    created: object = None
    started_at: object = None
    finished_at: object = None
    elapsed: object = None
    duration: object = None
    request: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response: ResponseHead | Loose | msgspec.UnsetType = msgspec.UNSET
    task: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_flat(self) -> bool:
        """Whether the record is its own response, as callbacks and answers to submissions are.

        It has no response, but fields of one at the top; or it has nothing that a record has.
        """
        if self.response is not msgspec.UNSET:
            return False
        return (
            (self.id is None and self.request is msgspec.UNSET)
            or self.success is not msgspec.UNSET
            or self.data is not msgspec.UNSET
            or self.state is not None
            or self.status is not None
            or bool(self.error)
        )


class _RequestHead(msgspec.Struct, gc=False):
    """What a request says of the sort of task that it asked for."""

    model: object = None
    action: object = None


class _WholeResponse(msgspec.Struct, gc=False):
    """The response of a record, decoded as it is."""

    response: object = None


class _Sections(msgspec.Struct, gc=False):
    """The long parts of a record, left undecoded."""

    request: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


record_decoder = msgspec.json.Decoder(RecordHead)
_request_decoder = msgspec.json.Decoder(_RequestHead)
_response_decoder = msgspec.json.Decoder(_WholeResponse)
_sections_decoder = msgspec.json.Decoder(_Sections)


def decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> tuple[T, bytes | msgspec.Raw]:
    """Decode JSON, mended if half a character stands in it.

    An echoed prompt that was cut inside an emoji ends in half of a surrogate pair. That is well-formed JSON, but
    no text, and msgspec refuses the whole body for it.

    Args:
        decoder: Of the type that is wanted.
        raw: The JSON.

    Returns:
        What was decoded, and the JSON it was decoded from, in which each such half is a replacement character.

    Raises:
        Exception: One of `DECODE_ERRORS`.
    """
    try:
        return decoder.decode(raw), raw
    except msgspec.DecodeError:
        mended = _ESCAPE.sub(_mend, bytes(raw))
        if mended == bytes(raw):
            raise
        return decoder.decode(mended), mended


def _mend(escape: re.Match[bytes]) -> bytes:
    return rb"\ufffd" if escape["half"] else escape[0]


def read_sections(raw: bytes) -> tuple[bytes | None, bytes | None]:
    """Split a record into the JSON of its request and of its response.

    Args:
        raw: One JSON object, as `read_head` returns it.

    Returns:
        The request and the response, None where the record has none. A flat record is its own response.

    Raises:
        Exception: One of `DECODE_ERRORS`.
    """
    sections = _sections_decoder.decode(raw)
    request = _section(sections.request)
    if sections.response is not msgspec.UNSET:
        return request, _section(sections.response)
    return request, raw if record_decoder.decode(raw).is_flat and not is_empty(raw) else None


def _section(raw: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    return None if raw is msgspec.UNSET or (found := bytes(raw)) == b"null" else found


def read_response(raw: bytes, *, is_flat: bool) -> object:
    """Decode the response of a record, of which nothing but JSON is known.

    Args:
        raw: One JSON object, as `read_head` returns it.
        is_flat: Whether the record is its own response.

    Returns:
        The response, None where the record has none.

    Raises:
        Exception: One of `DECODE_ERRORS`.
    """
    return msgspec.json.decode(raw) if is_flat else _response_decoder.decode(raw).response


def read_kind(head: RecordHead) -> tuple[str, str]:
    """Read what sort of task was asked for.

    Args:
        head: The record's.

    Returns:
        The model and the action that its request names, at most 64 characters of each; an empty text where it names
        none, or nothing that can be read.
    """
    if head.request is msgspec.UNSET:
        return "", ""
    try:
        request, _ = decode(_request_decoder, head.request)
    except DECODE_ERRORS:
        return "", ""
    model, action = request.model, request.action
    return (
        model[:_LONGEST_KIND] if isinstance(model, str) else "",
        action[:_LONGEST_KIND] if isinstance(action, str) else "",
    )


def is_empty(raw: bytes) -> bool:
    """Tell whether JSON is an empty object, which is sent for "no such task"."""
    return not raw.strip(b"{} \t\r\n")


def shorten(error: Exception) -> str:
    """Tell an error of msgspec's, cut: it repeats a text that is in no enum, and the path to a place thousands deep."""
    return str(error)[:ECHO_LIMIT]


def excerpt(raw: bytes | msgspec.Raw) -> str:
    """Show the beginning of a foreign text, for an error."""
    return bytes(memoryview(raw)[: ECHO_LIMIT * 4]).decode("utf-8", "replace")[:ECHO_LIMIT]
