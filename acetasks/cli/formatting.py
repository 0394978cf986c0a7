"""Text formatting of durations, times and counts."""

from __future__ import annotations

import datetime as dt

from acetasks._formatting import format_count, format_duration

__all__ = ["format_age", "format_clock", "format_count", "format_duration", "format_estimate", "format_time"]

_MINUTE = 60
_HOUR = 3600
#: Minutes, and hours, from which an age has hours and days instead.
_LONG_CLOCK, _LONG_HOURS = 100, 100
_DAY_HOURS = 24
#: Estimates below so many seconds are rounded to a multiple of so many.
_ESTIMATE_STEPS = ((20, 1), (120, 5), (600, 10), (float("inf"), 30))


def format_clock(seconds: float) -> str:
    """Format an elapsed time as minutes and seconds, such as `1:05`."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes}:{rest:02}"


def format_time(seconds: float) -> str:
    """Format a time in seconds since the epoch, in the local time zone, such as `2026-01-31 09:05:00`."""
    return dt.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def format_age(seconds: float) -> str:
    """Format an age in six characters at most, such as `1:05`, `99:59`, `12h05m`, `3d04h` or `250d`."""
    minutes = int(seconds) // _MINUTE
    if minutes < _LONG_CLOCK:
        return format_clock(seconds)
    hours, minutes = divmod(minutes, _MINUTE)
    if hours < _LONG_HOURS:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(hours, _DAY_HOURS)
    return f"{days}d{hours:02}h" if days < _LONG_HOURS else f"{days}d"


def format_estimate(seconds: float) -> str:
    """Format an estimated time in six characters at most and no more digits than it deserves, such as `~2:30`."""
    if seconds >= _LONG_CLOCK * _MINUTE:
        return f"~{round(seconds / _HOUR)}h"
    step = next(step for limit, step in _ESTIMATE_STEPS if seconds < limit)
    return f"~{format_clock(max(round(seconds / step) * step, 1))}"
