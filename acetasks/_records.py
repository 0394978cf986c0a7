"""Task records decoded in one pass, as far as the responses of all services have the same structure.

Every field accepts any JSON, because providers differ and one unusual field must not make a record unreadable; the
fields are interpreted in `acetasks.providers.normalize`. The long parts (the request, the response of a finished task)
are skipped here and decoded only on demand.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TypeVar

import msgspec

T = TypeVar("T")

#: Maximum length of received text quoted in an error, in characters: enough to recognise it without flooding a log.
ECHO_LIMIT = 256

#: Exceptions that msgspec raises for a malformed body: bad JSON, bad UTF-8, numbers out of range, too deep nesting.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: JSON without anything to repair, as far as possible in one match; a string, which may lack its end; or a number that
#: Python's `json` module writes although JSON has none.
_TOKEN = re.compile(
    rb'(?P<fine>(?:[^"NI-]++|"[^"\\\x00-\x1f]*+")++)|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|-?(?:NaN|Infinity)', re.DOTALL
)

#: In a JSON string: a stretch without anything to repair, a lone surrogate, control characters, or a backslash that is
#: before no escape.
_ESCAPE = re.compile(
    rb'(?P<fine>(?:[^\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    rb"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))++)"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|(?P<control>[\x00-\x1f]++)|\\(?P<rest>[^\\\x00-\x1f]*+)"
)
#: The escape of each control character.
_CONTROL_ESCAPES = [b"\\u%04x" % code for code in range(0x20)]

#: Characters with an escape of their own; every other one is escaped by its number.
_SHORT_ESCAPES = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
#: The message of msgspec for JSON that ends too early.
_TRUNCATED = "Input data was truncated"

#: The first and the last byte of a complete response.
_BRACKETS = {(b"{", b"}"), (b"[", b"]")}

#: Maximum length of a model or action name, in characters: the names are kept for the life of a client.
_NAME_LIMIT = 64

#: Fields of a response that may be around a `{"task": {...}}` wrapper.
_ENVELOPE = frozenset({"task", "success", "task_id", "trace_id", "message"})

#: Values other than the usual object.
NonObject = list[msgspec.Raw] | str | float | bool | None
#: An error: an object with a code and a message under any of their keys, a plain text, or any other value.
ErrorValue = dict[str, object] | list[msgspec.Raw] | str | float | bool | None


class ItemHead(msgspec.Struct, gc=False):
    """The state fields of one item of a task: `response.data`, or an entry of it."""

    state: object = None
    status: object = None
    error: object = None
    progress: object = None
    percent: object = None


#: The items of a task: one, several, or any other value.
Items = ItemHead | list[ItemHead | NonObject] | str | float | bool | None


class ResponseHead(msgspec.Struct, gc=False):
    """The state fields of a `response`; its artifacts are decoded later."""

    state: object = None
    status: object = None
    success: object = None
    error: ErrorValue = None
    message: object = None
    data: Items = None
    progress: object = None
    finished_at: object = None
    task_id: object = None
    trace_id: object = None
    task: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class RecordHead(msgspec.Struct, gc=False):
    """The short fields of one task record; in a flat record, the response's fields are at the top level."""

    id: object = None
    task_id: object = None
    jobid: object = None
    trace_id: object = None
    request_id: object = None
    state: object = None
    status: object = None
    success: object = msgspec.UNSET
    error: ErrorValue = None
    error_details: object = msgspec.field(default=None, name="errorDetails")
    detail: object = None
    message: object = None
    code: object = None
    progress: object = None
    data: Items | msgspec.UnsetType = msgspec.UNSET
    created_at: object = None
    created: object = None
    started_at: object = None
    #: A null means "not ended yet", an absent field nothing.
    finished_at: object = msgspec.UNSET
    elapsed: object = None
    duration: object = None
    request: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response: ResponseHead | NonObject | msgspec.UnsetType = msgspec.UNSET
    task: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    items: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_flat(self) -> bool:
        """Whether the record is its own response, as in callbacks and responses to submissions.

        A flat record has no response, and either has a response's fields at the top or lacks a record's fields.
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
    """The fields of a request that affect the duration of the task."""

    model: object = None
    action: object = None


class _WholeResponse(msgspec.Struct, gc=False):
    response: object = None


class _Billing(msgspec.Struct, gc=False):
    """The price of a task and the amounts that it was calculated from."""

    cost: object = None
    usage: object = None


class _Sections(msgspec.Struct, gc=False):
    """The long parts of a record, left undecoded."""

    request: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    response: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


record_decoder = msgspec.json.Decoder(RecordHead)
_request_decoder = msgspec.json.Decoder(_RequestHead)
_response_decoder = msgspec.json.Decoder(_WholeResponse)
_sections_decoder = msgspec.json.Decoder(_Sections)
_billing_decoder = msgspec.json.Decoder(_Billing)
_head_decoder = msgspec.json.Decoder(ResponseHead)
_text_decoder = msgspec.json.Decoder(str)
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any_decoder = msgspec.json.Decoder()


def decode(decoder: msgspec.json.Decoder[T], raw: bytes | msgspec.Raw) -> tuple[T, bytes | msgspec.Raw]:
    """Decode JSON; what is not quite JSON, but sent by services, is repaired and decoded once more.

    Like all readers here, this raises one of `DECODE_ERRORS`.

    Returns:
        The decoded value, and the JSON that it was decoded from.
    """
    try:
        return decoder.decode(raw), raw
    except msgspec.ValidationError:
        raise  # what is before the wrong value is fine
    except (msgspec.DecodeError, UnicodeDecodeError):
        repaired = _repair(bytes(raw))
        if repaired == bytes(raw):
            raise
        return decoder.decode(repaired), repaired


def _repair(raw: bytes) -> bytes:
    """Replace what msgspec rejects although other readers of JSON do not, so that one value costs no whole body.

    1. Bytes that are not UTF-8, by U+FFFD: a message that was truncated inside a character.
    2. `NaN` and infinite numbers, by null: Python's `json` module writes them by default.
    3. In strings, a lone surrogate by U+FFFD (a prompt that was truncated inside an emoji; well-formed JSON), a control
       character by its escape, and a backslash before anything but an escape by two.
    """
    return _TOKEN.sub(_repair_token, raw.decode("utf-8", "replace").encode())


def _repair_token(token: re.Match[bytes]) -> bytes:
    if token["fine"]:
        return token[0]
    return _ESCAPE.sub(_repair_escape, token[0]) if token[0].startswith(b'"') else b"null"


def _repair_escape(escape: re.Match[bytes]) -> bytes:
    if escape["fine"]:
        return escape[0]
    if escape["lone"]:
        return rb"\ufffd"
    if escape["control"]:
        return b"".join(map(_CONTROL_ESCAPES.__getitem__, escape["control"]))
    return rb"\\" + escape["rest"]


def may_be_truncated(raw: bytes | msgspec.Raw, error: Exception) -> bool:
    """Return whether a body that cannot be decoded is incomplete, or none of the service's: the next one may differ.

    Otherwise it is complete: begun and closed like the JSON of a response, with something unreadable in it.
    """
    # A value out of range and too deep nesting are found in well-formed JSON only.
    if isinstance(error, msgspec.ValidationError | RecursionError):
        return False
    body = bytes(raw).strip()
    return str(error) == _TRUNCATED or (body[:1], body[-1:]) not in _BRACKETS


def read_sections(raw: bytes) -> tuple[bytes | None, bytes | None]:
    """Return the JSON of a record's request and response, each None if there is none.

    A flat record is its own response.
    """
    sections, _ = decode(_sections_decoder, raw)
    request = _read_section(sections.request)
    if sections.response is not msgspec.UNSET:
        response = _read_section(sections.response)
        if response is not None and response[:1] == b'"':
            response = unquote(decode(_text_decoder, response)[0]) or response
        return request, response
    return request, raw if decode(record_decoder, raw)[0].is_flat and not is_empty_object(raw) else None


def _read_section(raw: msgspec.Raw | msgspec.UnsetType) -> bytes | None:
    return None if raw is msgspec.UNSET or (found := bytes(raw)) == b"null" else found


def read_response(raw: bytes, *, is_flat: bool) -> object:
    """Decode the complete response of a record.

    Args:
        raw: One JSON object, as returned by `read_head`.
        is_flat: Whether the record is its own response.

    Returns:
        The response, of any JSON type; None if the record has none.

    Raises:
        Exception: One of `DECODE_ERRORS`.
    """
    root = decode(_any_decoder, raw)[0] if is_flat else decode(_response_decoder, raw)[0].response
    if isinstance(root, str) and (quoted := unquote(root)) is not None:
        root, _ = decode(_any_decoder, quoted)
    if isinstance(root, dict) and isinstance(wrapped := root.get("task"), dict) and root.keys() <= _ENVELOPE:
        return wrapped
    return root


def read_response_head(response: ResponseHead | NonObject | msgspec.UnsetType) -> ResponseHead | None:
    """Return the head of a response, removing quotes and a `{"task": {...}}` wrapper; None if it is not an object.

    Args:
        response: The response as it is in the record's head.

    Raises:
        Exception: One of `DECODE_ERRORS`.
    """
    if isinstance(response, str) and (quoted := unquote(response)) is not None:
        response = decode(_head_decoder, quoted)[0]
    if not isinstance(response, ResponseHead):
        return None
    has_fields = any(value is not None for value in (response.state, response.status, response.data, response.error))
    wrapped = response.task
    if wrapped is not msgspec.UNSET and bytes(memoryview(wrapped)[:1]) == b"{" and not has_fields:
        return decode(_head_decoder, wrapped)[0]
    return response


def unquote(text: str) -> bytes | None:
    """Return the JSON object that a text contains, which openai's records have as a response; None for other text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return bytes(decode(_object_decoder, text.encode())[1])
    except (*DECODE_ERRORS, UnicodeEncodeError):
        return None


def read_billing(raw: bytes) -> tuple[object, object]:
    """Read the `cost` and the `usage` of a record, from its top or else from its response.

    Args:
        raw: One JSON object, as returned by `read_head`.

    Returns:
        The two values, of any JSON type; None for each that is absent or unreadable.
    """
    try:
        found, _ = decode(_billing_decoder, raw)
        response = read_sections(raw)[1]
        if response is not None and (not found.cost or not found.usage):
            inner, _ = decode(_billing_decoder, response)
            return found.cost or inner.cost, found.usage or inner.usage
    except DECODE_ERRORS:
        return None, None
    return found.cost, found.usage


def read_kind(head: RecordHead) -> tuple[str, str]:
    """Return the model and the action of a record's request, each empty if there is none or it is unreadable."""
    if head.request is msgspec.UNSET:
        return "", ""
    try:
        request, _ = decode(_request_decoder, head.request)
    except DECODE_ERRORS:
        return "", ""
    model, action = request.model, request.action
    return (
        model[:_NAME_LIMIT] if isinstance(model, str) else "",
        action[:_NAME_LIMIT] if isinstance(action, str) else "",
    )


def is_empty_object(raw: bytes) -> bool:
    """Return whether JSON is an empty object, which services send for "no such task"."""
    return not raw.strip(b"{} \t\r\n")


def escape_controls(text: str) -> str:
    """Return a text on one line, with JSON's escape for each character that would act on a terminal or a log.

    These are line ends, control characters and invisible formatting, such as the marks that reverse the direction of
    a text. A text in JSON stays the same in meaning, because it has such characters only within its strings.
    """
    return text if text.isprintable() else "".join(map(_escape_control, text))


def _escape_control(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) == "Zs":  # the wide spaces of other scripts
        return char
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return _SHORT_ESCAPES.get(char) or re.sub("....", r"\\u\g<0>", units)


def shorten(error: Exception) -> str:
    """Return the truncated message of a decode error, which can quote received text or a very deep path."""
    return str(error)[:ECHO_LIMIT]


def excerpt(raw: bytes | msgspec.Raw) -> str:
    """Return the beginning of a received text, for an error."""
    return bytes(memoryview(raw)[: ECHO_LIMIT * 4]).decode("utf-8", "replace")[:ECHO_LIMIT]
