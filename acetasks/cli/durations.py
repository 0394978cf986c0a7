"""Durations and points in time as users write them on the command line."""

from __future__ import annotations

import datetime as dt
import re

#: Seconds of each unit.
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ms|s|min|m|h|d)")
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?|\.\d+", re.ASCII)
#: A number of at least this many digits is a time in seconds since the epoch: 9 digits begin in 1973.
_EPOCH_DIGITS = 9


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as `90`, `90s`, `10m`, `1h30m`, `2d` or `500ms`.

    Raises:
        ValueError: It is not a duration.
    """
    compact = text.strip().lower()
    if _NUMBER.fullmatch(compact):
        return float(compact)
    if not _DURATION.fullmatch(compact):
        raise ValueError(f"expected a duration such as 90, 90s, 10m or 1h30m, got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(compact))


def parse_time(text: str, *, now: dt.datetime) -> dt.datetime:
    """Return the point in time that a text means.

    Args:
        text: A duration before `now` (`2h`), `now`, `today` or `yesterday` (at 0:00), a date or date and time in ISO
            format, or seconds since the epoch. Without a time zone it is in that of `now`.
        now: The current time, with a time zone.

    Raises:
        ValueError: It is no point in time.
    """
    word = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - dt.timedelta(days=1)}
    if word in words:
        return words[word]
    if _DURATION.fullmatch(word):
        return now - dt.timedelta(seconds=parse_duration(word))
    try:
        if _NUMBER.fullmatch(word) and len(word.partition(".")[0]) >= _EPOCH_DIGITS:
            return dt.datetime.fromtimestamp(float(word), dt.UTC)
        time = dt.datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"expected a time such as yesterday, 2h or 2026-01-31, got {text!r}") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=now.tzinfo)
