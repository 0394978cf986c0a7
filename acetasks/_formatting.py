"""Text formatting of durations and counts, for the command line and the report page."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 3600
#: Durations from 1 s up to this many seconds keep one decimal, for two significant digits.
_ONE_DECIMAL_BELOW = 10


def format_duration(seconds: float) -> str:
    """Format a duration with two to four significant digits.

    Args:
        seconds: At least 0.

    Returns:
        For example `0.12 s`, `3.2 s`, `38 s`, `2 min 34 s`, `1 h 05 min`.
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < _ONE_DECIMAL_BELOW:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {minutes:02} min"


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number of things, such as `1 task` and `2,000 tasks`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
