"""Text of the page: what a reader sees of received text, times, sizes and prices."""

from __future__ import annotations

import datetime as dt
import re

from acetasks._records import escape_controls

#: Line ends of any kind, which all become the one that HTML keeps.
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
#: Characters that show nothing, or make other text look different from what it is: control characters, the marks that
#: reverse the direction of text, tags, and lone surrogates, which no file can contain. Joiners are kept: emoji and
#: several scripts need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
#: Line ends between tags. In an escaped text no tag can begin or end.
_BETWEEN_TAGS = re.compile(r">\s*\n\s*<")
#: The first and last second that a `datetime` can have, with a day to spare for any time zone.
_FIRST_TIME, _LAST_TIME = 0.0, 253_402_214_400.0


def clean_text(text: str) -> str:
    """Return a text with its line ends, and with JSON's escape for each character that shows nothing or misleads."""
    return _UNSAFE.sub(lambda match: escape_controls(match[0]), _LINE_END.sub("\n", text))


def shorten_text(text: str, limit: int) -> str:
    """Return a text of at most `limit` characters, and how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()} … ({len(text) - limit:,} more characters)"


def check_time(seconds: float | None) -> float | None:
    """Return a time in seconds since the epoch, or None for one that no calendar has."""
    return seconds if seconds is not None and _FIRST_TIME < seconds < _LAST_TIME else None


def format_time(seconds: float) -> str:
    """Format a time in seconds since the epoch, as UTC to the second."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"


def format_iso_time(seconds: float) -> str:
    """Format a time in seconds since the epoch for programs."""
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def format_amount(value: float, currency: str) -> str:
    """Format a price, such as `1,204.5 credits`.

    Args:
        value: The price.
        currency: Its unit, or empty if none is known.
    """
    number = f"{value:,.4f}".rstrip("0").rstrip(".")
    unit = "credits" if currency == "credit" and number != "1" else currency
    return f"{number} {unit}".rstrip()


def compact_markup(markup: str) -> str:
    """Remove the line ends between tags, each of which would be a node in the page.

    Args:
        markup: Markup with escaped texts; it keeps its type.
    """
    return type(markup)(_BETWEEN_TAGS.sub("><", markup))
