"""Formatting of durations and of text from remote services."""

from __future__ import annotations

import pytest

from acetasks.cli.formatting import format_clock, format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.00 s"),
        (0.123, "0.12 s"),
        (3.25, "3.2 s"),
        (38.4, "38 s"),
        (60.0, "1 min"),
        (154.2, "2 min 34 s"),
        (3599.4, "59 min 59 s"),
        (3900.0, "1 h 05 min"),
    ],
)
def test_durations_lose_precision_as_they_grow(seconds: float, text: str) -> None:
    """Durations below a second have hundredths; durations from an hour on have whole minutes."""
    assert format_duration(seconds) == text


def test_elapsed_time_has_minutes_and_seconds() -> None:
    """An elapsed time is shown as minutes and two-digit seconds, also from an hour on."""
    assert [format_clock(0.9), format_clock(65.0), format_clock(3600.0)] == ["0:00", "1:05", "60:00"]
