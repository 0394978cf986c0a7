"""Text formatting of durations."""

from __future__ import annotations

from acetasks._formatting import format_duration

__all__ = ["format_clock", "format_duration"]

_MINUTE = 60


def format_clock(seconds: float) -> str:
    """Format an elapsed time as minutes and seconds, such as `1:05`."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes}:{rest:02}"
