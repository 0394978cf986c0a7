"""Parsers of the response headers that carry a time."""

from __future__ import annotations

import datetime as dt
import email.utils
import math
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acetasks._http.headers import read_date, read_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# The example of RFC 9110 (5.6.7).
SENT = "Sun, 06 Nov 1994 08:49:37 GMT"


def imf_fixdate(moment: dt.datetime) -> str:
    """Format a date as servers do today."""
    return email.utils.format_datetime(moment, usegmt=True)


def rfc850_date(moment: dt.datetime) -> str:
    """Format a date as the obsolete RFC 850 does, with a two-digit year."""
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return f"{day}, {moment:%d}-{month}-{moment:%y} {moment:%H:%M:%S} GMT"


def asctime_date(moment: dt.datetime) -> str:
    """Format a date as ANSI C's `asctime`, without a zone."""
    day, month = DAYS[moment.weekday()][:3], MONTHS[moment.month - 1]
    return f"{day} {month} {moment.day:2} {moment:%H:%M:%S %Y}"


FORMATS = (imf_fixdate, rfc850_date, asctime_date)
# The standard library reads a two-digit year as 1969 to 2068.
MOMENTS = st.datetimes(
    dt.datetime(1970, 1, 1),  # noqa: DTZ001  # the strategy wants its bounds without a zone
    dt.datetime(2068, 12, 31),  # noqa: DTZ001  # as above
    timezones=st.just(dt.UTC),
).map(lambda moment: moment.replace(microsecond=0))


class TestReadRetryAfter:
    """`read_retry_after`: seconds, or a date relative to the response's own date."""

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7), ("007", 7)])
    def test_reads_seconds(self, text: str, seconds: float) -> None:
        """A number is in seconds, with or without a `Date`."""
        assert read_retry_after({"retry-after": text}) == seconds
        assert read_retry_after({"retry-after": text, "date": SENT}) == seconds

    @given(seconds=st.integers(0, 10**9))
    def test_reads_any_number_of_seconds(self, seconds: int) -> None:
        """Every whole number is accepted."""
        assert read_retry_after({"retry-after": str(seconds)}) == seconds

    @pytest.mark.parametrize(
        "until",
        [
            "Sun, 06 Nov 1994 08:51:37 GMT",
            "Sunday, 06-Nov-94 08:51:37 GMT",
            "Sun Nov  6 08:51:37 1994",
            "Sun, 06 Nov 1994 08:51:37 -0000",
        ],
    )
    def test_reads_the_documented_dates(self, until: str) -> None:
        """The three formats of RFC 9110 are equal, and a date without a zone is UTC."""
        assert read_retry_after({"retry-after": until, "date": SENT}) == 120

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can be set on POSIX only")
    def test_date_without_zone_is_not_local_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The time zone of the client makes no difference."""
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "UTC-9")
            time.tzset()
            seconds = read_retry_after({"retry-after": "Sun Nov  6 08:51:37 1994", "date": SENT})
        time.tzset()

        assert seconds == 120

    @pytest.mark.parametrize("write_until", FORMATS)
    @pytest.mark.parametrize("write_sent", FORMATS)
    @given(sent=MOMENTS, until=MOMENTS)
    @settings(max_examples=30)  # of each of the nine pairs of formats
    def test_date_is_relative_to_the_response_date(
        self,
        write_until: Callable[[dt.datetime], str],
        write_sent: Callable[[dt.datetime], str],
        sent: dt.datetime,
        until: dt.datetime,
    ) -> None:
        """The result is the difference of two dates in any format, and 0 for the past."""
        headers = {"retry-after": write_until(until), "date": write_sent(sent)}

        assert read_retry_after(headers) == max(0.0, (until - sent).total_seconds())

    @pytest.mark.parametrize("headers", [{}, {"date": SENT}, {"retry-after": "", "date": SENT}])
    def test_is_none_without_header(self, headers: dict[str, str]) -> None:
        """Most responses request no pause."""
        assert read_retry_after(headers) is None

    def test_date_is_relative_to_now_without_response_date(self) -> None:
        """A response without `Date` counts as sent now."""
        assert read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, epoch_now=30.0) == 90
        assert read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, epoch_now=300.0) == 0
        assert read_retry_after({"retry-after": "Sun Nov  6 08:51:37 1994", "date": SENT}, epoch_now=0.0) == 120

    def test_date_is_ignored_without_reference(self) -> None:
        """A date is ignored if neither a valid `Date` nor the time is known."""
        assert read_retry_after({"retry-after": SENT}) is None
        assert read_retry_after({"retry-after": SENT, "date": "today"}) is None

    @pytest.mark.parametrize(
        "text",
        [
            "-5",
            "1.5",
            "1e3",
            "soon",
            "²",
            "٣",
            "\x00",
            ",",
            "Sun, 06 Nov 1994",
            "Sun, 36 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 28:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +9999",
            "Sun, 06 Nov 99999999999999 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +99999999999999",
        ],
    )
    def test_ignores_invalid_values(self, text: str) -> None:
        """Values that are neither seconds nor a date are ignored, in either header."""
        assert read_retry_after({"retry-after": text, "date": SENT}) is None
        assert read_retry_after({"retry-after": SENT, "date": text}) is None

    @given(
        retry_after=st.text() | st.from_regex(r"\A\w{3}, \d+ (Jan|Nov) \d+ \d+:\d+:\d+ ([+-]\d+|GMT|\w*)\Z"),
        date=st.text() | st.just(SENT),
    )
    def test_never_fails(self, retry_after: str, date: str) -> None:
        """Any header gives a number of at least 0, or None."""
        seconds = read_retry_after({"retry-after": retry_after, "date": date})

        assert seconds is None or seconds >= 0

    def test_pause_is_finite(self) -> None:
        """A number too large for a float is no infinite pause."""
        seconds = read_retry_after({"retry-after": "9" * 400})

        assert seconds is None or math.isfinite(seconds)


class TestReadDate:
    """`read_date`: seconds since the epoch."""

    @pytest.mark.parametrize("write", FORMATS)
    @given(moment=MOMENTS)
    def test_reads_the_documented_formats(self, write: Callable[[dt.datetime], str], moment: dt.datetime) -> None:
        """Dates have a resolution of one second."""
        assert read_date(write(moment)) == moment.timestamp()

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
            ("Sun Nov  6 08:49:37 1994", 784111777.0),
            ("Sun, 06 Nov 1994 09:49:37 +0100", 784111777.0),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ],
    )
    def test_default_zone_is_utc(self, text: str, seconds: float) -> None:
        """The time zone of the client makes no difference."""
        assert read_date(text) == seconds

    @pytest.mark.parametrize("text", ["", "today", "784111777", "Sun, 06 Nov 1994", "Sun, 36 Nov 1994 08:49:37 GMT"])
    def test_ignores_invalid_dates(self, text: str) -> None:
        """An invalid or missing date is None."""
        assert read_date(text) is None

    @given(text=st.text() | st.from_regex(r"\A\w{3}, \d+ (Jan|Nov) \d+ \d+:\d+:\d+ ([+-]\d+|GMT|\w*)\Z"))
    def test_never_fails(self, text: str) -> None:
        """Any text gives a finite number, or None."""
        seconds = read_date(text)

        assert seconds is None or math.isfinite(seconds)
