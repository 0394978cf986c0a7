"""Parsers of the response headers that carry a time."""

from __future__ import annotations

import datetime as dt
import email.utils
import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_retry_after(headers: Mapping[str, str], epoch_now: float | None = None) -> float | None:
    """Return the seconds that a service requests to pause with `Retry-After`; None if it has no valid one.

    A date is relative to the response's own `Date`, so that neither side's clock has to be right. Without `Date` it is
    relative to `epoch_now`, in seconds since the epoch.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return seconds if seconds < math.inf else None
    until, sent = read_date(text), read_date(headers.get("date", ""))
    since = epoch_now if sent is None else sent
    if until is None or since is None:
        return None
    return max(0.0, until - since)


@functools.lru_cache(maxsize=16)  # all responses of one second have the same date
def read_date(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None; without a zone it is UTC (RFC 9110, 5.6.7)."""
    try:
        date = email.utils.parsedate_to_datetime(text)
        return (date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date).timestamp()
    except (ValueError, OverflowError):
        return None
