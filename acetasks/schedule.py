"""When something is due: pure functions of times, counts and a random number, in seconds.

Nothing here reads a clock or holds state; the poller brings both.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import functools
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Ticks in the mean interval.
_TICKS = 5
#: What numbers are mixed with (Steele, Lea and Flood 2014, "SplitMix").
_MIXERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)
_WORD = 2**64


def plan_next_look(now: float, interval: float, jitter: float, anchor: float = 0.0) -> float:
    """Tell when a task is asked again: after the interval and a part of what it may be stretched by, at a tick.

    The ticks are the client's own, five in the mean interval, so that its requests leave in small bursts: a process
    that is woken up for one request at a time pays several times as much for each. Each comes a little early or late,
    as if by chance, so that clients do not ask in step.

    Args:
        now: When it was asked, in seconds of the loop's clock.
        interval: Seconds from one look to the next, at least.
        jitter: The fraction of the interval that may be added; never taken away, so that a documented minimum holds.
        anchor: When one of the ticks is, about; another time for each client.

    Returns:
        Seconds of the loop's clock.
    """
    earliest, latest = now + interval, now + interval * (1.0 + jitter)
    tick = interval * (1.0 + jitter / 2.0) / _TICKS
    wobble = min(interval * jitter / 2.0, tick)
    if wobble <= math.ulp(latest) or tick <= math.ulp(anchor):  # no time is between these
        return earliest
    number = math.floor((earliest - anchor - wobble / 2.0) / tick)
    due = earliest - 1.0
    while due < earliest:
        due = anchor + number * tick + (_scatter(number) - 0.5) * wobble
        number += 1
    return min(due, latest)


def _scatter(number: int) -> float:
    """Tell a number from 0 up to 1 that is always the same for a whole number, and as if by chance for many."""
    mixed = number * _MIXERS[0] % _WORD
    mixed = (mixed ^ mixed >> 29) * _MIXERS[1] % _WORD
    return (mixed ^ mixed >> 32) / _WORD


def plan_at_tick(now: float, step: float, jitter: float, tick: float, anchor: float = 0.0) -> float:
    """Tell when a task is asked again: at the tick that is nearest to a time from now.

    Those that are asked between the same two ticks, and for which the step is the same, stay together.

    Args:
        now: When it was asked, in seconds of the loop's clock.
        step: Seconds to the next look, about.
        jitter: The fraction of the step that may be added, as if by chance.
        tick: Seconds from one tick to the next; 0 for none. The tick is not before half of the step.
        anchor: When one of the ticks is; see `plan_next_look`.

    Returns:
        Seconds of the loop's clock.
    """
    if tick <= math.ulp(now + step):  # the times between two of which there is none are all ticks
        return now + step
    step *= 1.0 + jitter * _scatter(math.floor((now - anchor) / tick))
    due = anchor + round((now + step - anchor) / tick) * tick
    return due if due >= now + step / 2.0 else due + tick


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
    until, sent = read_date(text), read_date(headers.get("date", ""))
    since = today if sent is None else sent
    if until is None or since is None:
        return None
    return max(0.0, until - since)


@functools.lru_cache(maxsize=16)  # the answers of one second have the same
def read_date(text: str) -> float | None:
    """Read an HTTP date; one without a zone is meant in UTC, as RFC 9110 (5.6.7) has it.

    Args:
        text: Of a header.

    Returns:
        Seconds since the epoch, or None where it is none.
    """
    try:
        date = email.utils.parsedate_to_datetime(text)
        return (date.replace(tzinfo=dt.UTC) if date.tzinfo is None else date).timestamp()
    except (ValueError, OverflowError):
        return None
