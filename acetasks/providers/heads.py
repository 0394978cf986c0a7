"""The head of a task record, decoded: the first step of reading any response."""

from __future__ import annotations

import msgspec

from acetasks._records import DECODE_ERRORS, RecordHead, decode, excerpt, record_decoder
from acetasks.models import ProtocolError, build_decode_error

#: Most wrappers around a record. Each is decoded to its end, so that a thousand of them would take minutes.
_MAX_WRAPPERS = 8


def read_head(raw: bytes | msgspec.Raw) -> tuple[RecordHead, bytes | msgspec.Raw]:
    """Decode the head of a record, taken out of a `{"task": {...}}` wrapper if it stands in one.

    Args:
        raw: One JSON object.

    Returns:
        The head and the JSON of the record itself, which still shares the memory of `raw`.

    Raises:
        ProtocolError: `raw` is no JSON object, or cannot be read.
    """
    wrappers = 0
    try:
        head, raw = decode(record_decoder, raw)
        # minimax and sometimes hailuo: openapi/minimax.json of the service's documents.
        while (
            (wrapped := head.task) is not msgspec.UNSET
            and head.response is msgspec.UNSET
            and bytes(memoryview(wrapped)[:1]) == b"{"
        ):
            wrappers += 1
            if wrappers > _MAX_WRAPPERS:
                raise ProtocolError("a task record is wrapped too often", excerpt=excerpt(raw), transient=False)
            head, raw = record_decoder.decode(wrapped), wrapped
    except DECODE_ERRORS as error:
        raise build_decode_error("a task record", raw, error) from error
    return head, raw
