"""When something is due: pure functions of times, counts and a random number, in seconds.

Nothing here reads a clock or holds state; the poller brings both.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def plan_next_look(now: float, interval: float, jitter: float, draw: float, anchor: float = 0.0) -> float:
    """Tell when a task is asked again: after the interval and a random part of what it may be stretched by, at a tick.

    The ticks are the client's own, half as far apart as the interval may be stretched, so that its requests leave in
    small bursts: a process that is woken up for one request at a time pays several times as much for each.

    Args:
        now: When it was asked, in seconds of the loop's clock.
        interval: Seconds from one look to the next, at least.
        jitter: The fraction of the interval that may be added; never taken away, so that a documented minimum holds.
        draw: A random number from 0 up to 1.
        anchor: When one of the ticks is; another time for each client, so that they do not ask in step.

    Returns:
        Seconds of the loop's clock.
    """
    earliest, latest = now + interval, now + interval * (1.0 + jitter)
    tick = (latest - earliest) / 2.0
    if tick <= 0.0:
        return earliest
    due = earliest + 2.0 * tick * draw
    due = anchor + round((due - anchor) / tick) * tick
    return min(max(due, earliest), latest)


def plan_retry(failures: int, base: float, cap: float, draw: float, retry_after: float | None = None) -> float:
    """Tell how long to hold back after a failure: full jitter, and never less than the service asked for.

    Args:
        failures: How many there were in a row, at least 1.
        base: The bound of the first delay, in seconds; it doubles with each failure.
        cap: The bound of every delay, in seconds.
        draw: A random number from 0 up to 1.
        retry_after: Seconds that the service asked for, or None.

    Returns:
        Seconds.
    """
    # 2 ** 64 seconds are past any cap; more doublings would only overflow.
    bound = min(cap, base * 2.0 ** min(failures - 1, 64))
    return max(bound * draw, retry_after or 0.0)


def is_gone(misses: int, missing_for: float, *, polls: int, grace: float) -> bool:
    """Tell whether a task that the service keeps leaving out is to be called not found.

    Args:
        misses: Looks in a row without a trace of it.
        missing_for: Seconds since the first of them.
        polls: Looks that it takes, at least.
        grace: Seconds that it takes, at least.
    """
    return misses >= polls and missing_for >= grace


def read_retry_after(headers: Mapping[str, str], today: float | None = None) -> float | None:
    """Read how long a service asks to be left alone.

    Args:
        headers: Of its answer, by lower-case name. A `Retry-After` with a date counts from the answer's own `Date`,
            so that neither side's clock has to be right.
        today: The time, in seconds since the epoch, from which a date counts where the answer has no `Date`; None says
            nothing of such a date.

    Returns:
        Seconds, at least 0, or None where it does not say.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return seconds if seconds < math.inf else None
    until, sent = _read_date(text), _read_date(headers.get("date", ""))
    since = today if sent is None else sent.timestamp()
    if until is None or since is None:
        return None
    return max(0.0, until.timestamp() - since)


def _read_date(text: str) -> dt.datetime | None:
    """Read an HTTP date; one without a zone is meant in UTC, as RFC 9110 (5.6.7) has it."""
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date
