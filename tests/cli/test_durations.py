"""Durations and points in time as users write them."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.cli.durations import parse_duration, parse_time

#: A Saturday in a time zone of its own.
NOW = dt.datetime(2026, 1, 31, 15, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("90", 90), ("90s", 90), ("10m", 600), ("10min", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172_800)),
        *(("500ms", 0.5), ("0", 0), (" 3s ", 3), ("1H", 3600), (".5s", 0.5)),
    ],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    """A number alone is in seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "nan", "inf", "-1", "10x", "m", "1h 30m", "ten", "1e3", "\uff11\uff10"])
def test_other_texts_are_no_durations(text: str) -> None:
    """The error shows the text and what is expected."""
    with pytest.raises(ValueError, match="expected a duration such as 90, 90s, 10m or 1h30m, got"):
        parse_duration(text)


@given(st.integers(0, 100), st.integers(0, 59), st.integers(0, 59))
def test_parts_of_a_duration_are_added(hours: int, minutes: int, seconds: int) -> None:
    """Each part counts with its unit."""
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("now", "2026-01-31T15:30:00+02:00"),
        ("today", "2026-01-31T00:00:00+02:00"),
        ("Yesterday", "2026-01-30T00:00:00+02:00"),
        ("2h", "2026-01-31T13:30:00+02:00"),
        ("1d12h", "2026-01-30T03:30:00+02:00"),
        ("2026-01-01", "2026-01-01T00:00:00+02:00"),
        ("2026-01-01T10:00", "2026-01-01T10:00:00+02:00"),
        ("2026-01-01 10:00", "2026-01-01T10:00:00+02:00"),
        ("2026-01-01T10:00Z", "2026-01-01T10:00:00+00:00"),
        ("1769866200", "2026-01-31T13:30:00+00:00"),
    ],
)
def test_times_are_relative_or_absolute(text: str, time: str) -> None:
    """Without a time zone, a time is in that of the current one."""
    assert parse_time(text, now=NOW) == dt.datetime.fromisoformat(time)


@pytest.mark.parametrize("text", ["", "tomorrow?", "2026-13-01", "10", "99999999999999999999"])
def test_other_texts_are_no_times(text: str) -> None:
    """A short number is not taken for seconds since the epoch."""
    with pytest.raises(ValueError, match="expected a time such as yesterday, 2h or 2026-01-31, got"):
        parse_time(text, now=NOW)
