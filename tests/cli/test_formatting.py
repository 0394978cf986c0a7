"""Formatting of durations and of text from remote services."""

from __future__ import annotations

import pytest

from acetasks.cli.formatting import format_age, format_clock, format_count, format_duration, format_estimate


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


def test_counts_have_a_plural() -> None:
    """Also an irregular one."""
    assert format_count(1, "task") == "1 task"
    assert format_count(2000, "task") == "2,000 tasks"
    assert format_count(0, "entry", "entries") == "0 entries"


def test_ages_have_six_characters_at_most() -> None:
    """Minutes and seconds up to 100 minutes, then hours, then days."""
    ages = {0.9: "0:00", 5999.0: "99:59", 6000.0: "1h40m", 359_999.0: "99h59m", 360_000.0: "4d04h", 9e6: "104d"}
    assert {seconds: format_age(seconds) for seconds in ages} == ages


def test_estimates_have_no_more_digits_than_they_deserve() -> None:
    """The longer, the coarser; never nothing."""
    estimates = {0.0: "~0:01", 7.4: "~0:07", 33.0: "~0:35", 154.0: "~2:30", 3590.0: "~60:00", 7200.0: "~2h"}
    assert {seconds: format_estimate(seconds) for seconds in estimates} == estimates
