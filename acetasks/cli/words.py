"""Numbers and foreign texts as people read them; pure."""

from __future__ import annotations

_MINUTE = 60
_HOUR = 3600


def seconds_in_words(seconds: float) -> str:
    """Say how long something took.

    Args:
        seconds: At least 0.

    Returns:
        As exact as is of interest: `0.12 s`, `3.2 s`, `154 s` as `2 min 34 s`, `1 h 05 min`.
    """
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 10:  # noqa: PLR2004  # two digits that count
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        minutes, rest = divmod(whole, _MINUTE)
        return f"{minutes} min {rest:02} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {minutes:02} min"


def clock(seconds: float) -> str:
    """Show a running time as minutes and seconds, such as `1:05`."""
    minutes, rest = divmod(int(seconds), _MINUTE)
    return f"{minutes}:{rest:02}"


def clean(text: str) -> str:
    """Put a text on one line, without what could steer a terminal: services send what they like."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def percentile(values: list[float], share: float) -> float:
    """Find the value that a share of all values does not exceed.

    Args:
        values: In any order.
        share: From 0 to 1; 0.5 asks for the median.

    Returns:
        One of the values; 0 if there are none.
    """
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
