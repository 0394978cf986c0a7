"""Decoding of a record's head, the first step of reading any response."""

from __future__ import annotations

import msgspec

from acetasks._records import DECODE_ERRORS, RecordHead, decode, excerpt, record_decoder
from acetasks.models import ProtocolError, build_decode_error

#: Maximum number of wrappers around a record. Decoding is quadratic in it: a thousand would take minutes.
_MAX_WRAPPERS = 8

#: Maximum length of a body that may be `null`, with whitespace around it.
_LONGEST_NULL = 16


def read_head(raw: bytes | msgspec.Raw) -> tuple[RecordHead, bytes | msgspec.Raw]:
    """Decode the head of a record, removing `{"task": {...}}` wrappers.

    Args:
        raw: One JSON object; `null` is read as an empty one.

    Returns:
        The head and the JSON of the record itself, which still shares the memory of `raw`.

    Raises:
        ProtocolError: `raw` is not a JSON object or cannot be decoded.
    """
    wrappers = 0
    if len(view := memoryview(raw)) <= _LONGEST_NULL and bytes(view).strip() == b"null":
        raw = b"{}"  # both are sent for an unknown id
    try:
        head, raw = decode(record_decoder, raw)
        # Sent by minimax and sometimes by hailuo (openapi: minimax).
        while (
            (wrapped := head.task) is not msgspec.UNSET
            and head.response is msgspec.UNSET
            and bytes(memoryview(wrapped)[:1]) == b"{"
        ):
            wrappers += 1
            if wrappers > _MAX_WRAPPERS:
                message = f"task record has more than {_MAX_WRAPPERS} nested 'task' wrappers"
                raise ProtocolError(message, excerpt=excerpt(raw), transient=False)
            head, raw = decode(record_decoder, wrapped)
    except DECODE_ERRORS as error:
        raise build_decode_error("a task record", raw, error) from error
    return head, raw
