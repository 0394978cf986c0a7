"""Times, counts and a random number in; when something is due out."""

from __future__ import annotations

import datetime as dt
import email.utils
import itertools
import math
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.schedule import is_gone, plan_at_tick, plan_next_look, plan_retry, read_date, read_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

DRAWS = st.floats(0, 1, exclude_max=True)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

# The example of RFC 9110 (5.6.7).
SENT = "Sun, 06 Nov 1994 08:49:37 GMT"


class TestPlanNextLook:
    """`plan_next_look`: the interval, stretched by a part of its jitter, at a tick."""

    @given(now=st.floats(0, 1e9), interval=st.floats(0.01, 1e5), jitter=st.floats(0, 5), anchor=st.floats(-1e9, 1e9))
    def test_is_never_early_and_within_the_jitter(
        self, now: float, interval: float, jitter: float, anchor: float
    ) -> None:
        """A look comes no sooner than the interval and no later than the interval with its whole jitter."""
        due = plan_next_look(now, interval, jitter, anchor)

        assert now + interval <= due <= now + interval * (1 + jitter)

    @given(now=st.floats(0, 1e9), interval=st.floats(0.01, 1e5), anchor=st.floats(-1e9, 1e9))
    def test_is_exact_without_jitter(self, now: float, interval: float, anchor: float) -> None:
        """Without jitter the ticks do not matter."""
        assert plan_next_look(now, interval, 0, anchor) == now + interval

    @given(looks=st.lists(st.floats(0, 1000), min_size=200, max_size=200), anchor=st.floats(0, 10))
    def test_looks_of_different_times_meet_at_the_same_ticks(self, looks: list[float], anchor: float) -> None:
        """Whenever they were asked, after two rounds tasks are asked again at five times in an interval, or nearly."""
        dues = set()
        for look in looks:
            due = look
            while due < 1200:
                due = plan_next_look(due, 10.0, 0.2, anchor)
            dues.add(round(due, 6))

        assert len(dues) <= 7

    def test_intervals_vary_within_the_jitter(self) -> None:
        """From tick to tick a task is asked at all sorts of intervals, of which none is short or long for ever."""
        times = [0.0]
        for _ in range(200):
            times.append(plan_next_look(times[-1], 10.0, 0.2, 3.3))
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]

        assert 10 <= min(gaps) < 10.3
        assert 11.7 < max(gaps) <= 12
        assert 10.8 < sum(gaps) / 200 < 11.3

    def test_clients_do_not_ask_in_step(self) -> None:
        """Another anchor is another time."""
        dues = {round(plan_next_look(100.0, 10.0, 0.2, anchor / 7), 3) for anchor in range(20)}

        assert len(dues) > 15


class TestPlanAtTick:
    """`plan_at_tick`: a step from now, at a tick."""

    @given(now=st.floats(0, 1e6), step=st.floats(0.1, 1e4), tick=st.floats(0.01, 1e3), anchor=st.floats(-1e6, 1e6))
    def test_is_at_a_tick_and_near_the_step(self, now: float, step: float, tick: float, anchor: float) -> None:
        """No tick is nearer, unless it is before half of the step: then it is the first that is not."""
        due = plan_at_tick(now, step, 0.0, tick, anchor)
        least = 8 * math.ulp(3e6)

        assert abs(due - anchor - round((due - anchor) / tick) * tick) <= least
        assert due >= now + step / 2
        assert abs(due - now - step) <= tick / 2 + least or due - tick < now + step / 2
        assert due <= now + step + tick

    @given(now=st.floats(0, 1e9), step=st.floats(0.1, 1e5), anchor=st.floats(-1e9, 1e9))
    def test_is_exact_without_ticks(self, now: float, step: float, anchor: float) -> None:
        """Without jitter there are no ticks."""
        assert plan_at_tick(now, step, 0.0, 0.0, anchor) == now + step

    def test_ticks_closer_than_the_clock_can_tell_are_none(self) -> None:
        """A jitter of next to nothing is no reason to fail."""
        for tick in (5e-324, 1e-300, math.ulp(100.0)):
            assert plan_at_tick(100.0, 10.0, tick, tick, -7.3) == 110.0

    @pytest.mark.parametrize(
        ("step", "tick", "anchor", "due"),
        [
            *((10.0, 1.0, 0.0, 110.0), (10.4, 1.0, 0.0, 110.0), (10.6, 1.0, 0.0, 111.0), (0.6, 1.0, 0.0, 101.0)),
            *((10.0, 1.0, 0.3, 110.3), (10.0, 1.0, 0.7, 109.7), (10.0, 1.0, -1000.3, 109.7)),
            # A tick that is too soon is passed over.
            *((0.4, 1.0, 0.0, 101.0), (3.0, 8.0, 101.0, 101.0 + 8.0), (3.0, 8.0, 101.6, 101.6)),
        ],
    )
    def test_goes_to_the_nearest_tick(self, step: float, tick: float, anchor: float, due: float) -> None:
        """Before or after the step; but never at once."""
        assert plan_at_tick(100.0, step, 0.0, tick, anchor) == pytest.approx(due)

    @given(
        now=st.floats(0, 1e6),
        step=st.floats(0.1, 1e4),
        jitter=st.floats(0, 1),
        tick=st.floats(0.01, 1e3),
        anchor=st.floats(-1e6, 1e6),
    )
    def test_is_stretched_within_the_jitter(
        self, now: float, step: float, jitter: float, tick: float, anchor: float
    ) -> None:
        """It is at the tick nearest to the step or to what it may be stretched to, or between; never before half."""
        due = plan_at_tick(now, step, jitter, tick, anchor)
        least, longest = 8 * math.ulp(3e6), step * (1 + jitter)

        assert abs(due - anchor - round((due - anchor) / tick) * tick) <= least
        assert due >= now + max(step / 2, step - tick / 2) - least
        # Only what is shorter than a tick may be put off to one that is not the nearest.
        assert (
            due <= now + (longest + tick / 2 if step >= tick else max(longest + tick / 2, longest / 2 + tick)) + least
        )

    @given(
        number=st.integers(-1000, 1000),
        parts=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
        step=st.floats(1, 1e4),
        jitter=st.floats(0, 1),
        anchor=st.floats(-1e3, 1e3),
    )
    def test_those_of_the_same_ticks_stay_together(
        self, number: int, parts: tuple[float, float], step: float, jitter: float, anchor: float
    ) -> None:
        """Whenever they are asked between the same two ticks, they are due at the same or at the next to it."""
        first, second = (plan_at_tick(anchor + number + part, step, jitter, 1.0, anchor) for part in parts)

        assert abs(first - second) <= 1.0 + 1e-6

    def test_stretches_vary_within_the_jitter(self) -> None:
        """From tick to tick a step is stretched by all sorts of parts, and the same one by the same at any time."""
        times = [100.3 + number / 2 for number in range(400)]
        dues = [plan_at_tick(now, 1000.0, 0.2, 0.5, 0.1) for now in times]
        parts = [(due - now) / 1000.0 - 1.0 for due, now in zip(dues, times, strict=True)]

        assert -0.001 <= min(parts) < 0.005
        assert 0.195 < max(parts) <= 0.201
        assert sum(parts) / 400 == pytest.approx(0.1, abs=0.01)
        assert all(sum(low <= part < low + 0.05 for part in parts) > 70 for low in (0.0, 0.05, 0.1, 0.15))
        # No part follows from the one before it.
        assert sum(abs(later - earlier) > 0.02 for earlier, later in itertools.pairwise(parts)) > 250
        assert dues == [plan_at_tick(now, 1000.0, 0.2, 0.5, 0.1) for now in times]


class TestPlanRetry:
    """`plan_retry`: full jitter under a doubling bound, and never less than the service asked for."""

    @given(failures=st.integers(1, 200), base=st.floats(0, 100), cap=st.floats(0, 1000), draw=DRAWS)
    def test_stays_within_full_jitter(self, failures: int, base: float, cap: float, draw: float) -> None:
        """A delay is between 0 and the doubled base, and at most the cap."""
        delay = plan_retry(failures, base, cap, draw)

        assert 0 <= delay <= min(cap, base * 2.0 ** (failures - 1))

    @given(
        failures=st.integers(1, 200),
        base=st.floats(0, 100),
        cap=st.floats(0, 1000),
        draw=DRAWS,
        retry_after=st.floats(0, 1e6),
    )
    def test_never_undercuts_what_the_service_asked_for(
        self, failures: int, base: float, cap: float, draw: float, retry_after: float
    ) -> None:
        """What the service asked for is kept even past the cap, and lengthens no delay that is long enough."""
        own = plan_retry(failures, base, cap, draw)

        assert plan_retry(failures, base, cap, draw, retry_after) == max(own, retry_after)

    @given(failures=st.integers(64, 10**400), draw=DRAWS)
    def test_does_not_overflow(self, failures: int, draw: float) -> None:
        """However long the trouble lasts, the delay is drawn from 0 to the cap."""
        assert plan_retry(failures, 1.0, 16.0, draw) == 16.0 * draw

    @pytest.mark.parametrize(("failures", "delay"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0)])
    def test_doubles_up_to_the_cap(self, failures: int, delay: float) -> None:
        """The service's documents advise 1, 2, 4, 8, 16 s: those are the bounds."""
        assert plan_retry(failures, 1.0, 16.0, 0.5) == delay


class TestIsGone:
    """`is_gone`: a task is given up only after enough looks and enough seconds."""

    @pytest.mark.parametrize(
        ("misses", "missing_for", "gone"),
        [(3, 10.0, True), (4, 11.0, True), (2, 10.0, False), (2, 1e6, False), (3, 9.9, False), (1000, 0.0, False)],
    )
    def test_needs_both(self, misses: int, missing_for: float, gone: bool) -> None:  # noqa: FBT001  # a column
        """Neither many looks at once nor a long time with few looks is enough."""
        assert is_gone(misses, missing_for, polls=3, grace=10.0) is gone

    @given(misses=st.integers(1, 100), missing_for=st.floats(0, 1e6))
    def test_one_miss_is_enough_without_a_grace(self, misses: int, missing_for: float) -> None:
        """With the least grace that a policy allows, the first miss decides."""
        assert is_gone(misses, missing_for, polls=1, grace=0)


def imf_fixdate(moment: dt.datetime) -> str:
    """Write the date that servers send today."""
    return email.utils.format_datetime(moment, usegmt=True)


def rfc850_date(moment: dt.datetime) -> str:
    """Write the obsolete date of RFC 850, with its two digits for the year."""
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return f"{day}, {moment:%d}-{month}-{moment:%y} {moment:%H:%M:%S} GMT"


def asctime_date(moment: dt.datetime) -> str:
    """Write the obsolete date of ANSI C's `asctime`, with no zone."""
    day, month = DAYS[moment.weekday()][:3], MONTHS[moment.month - 1]
    return f"{day} {month} {moment.day:2} {moment:%H:%M:%S %Y}"


FORMATS = (imf_fixdate, rfc850_date, asctime_date)
# Two digits are a year from 1969 to 2068 to the standard library.
MOMENTS = st.datetimes(
    dt.datetime(1970, 1, 1),  # noqa: DTZ001  # the strategy wants its bounds without a zone
    dt.datetime(2068, 12, 31),  # noqa: DTZ001  # as above
    timezones=st.just(dt.UTC),
).map(lambda moment: moment.replace(microsecond=0))


class TestReadRetryAfter:
    """`read_retry_after`: seconds, or a date against the answer's own date."""

    @pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7), ("007", 7)])
    def test_reads_seconds(self, text: str, seconds: float) -> None:
        """A number is a number of seconds, with or without a date beside it."""
        assert read_retry_after({"retry-after": text}) == seconds
        assert read_retry_after({"retry-after": text, "date": SENT}) == seconds

    @given(seconds=st.integers(0, 10**9))
    def test_reads_any_number_of_seconds(self, seconds: int) -> None:
        """Every whole number is read as it stands."""
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
        """The three formats of RFC 9110 say the same, and one without a zone is meant in UTC."""
        assert read_retry_after({"retry-after": until, "date": SENT}) == 120

    @pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process can be set on POSIX only")
    def test_a_date_without_a_zone_is_not_in_local_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the client runs makes no difference."""
        with monkeypatch.context() as patch:
            patch.setenv("TZ", "UTC-9")
            time.tzset()
            seconds = read_retry_after({"retry-after": "Sun Nov  6 08:51:37 1994", "date": SENT})
        time.tzset()

        assert seconds == 120

    @pytest.mark.parametrize("write_until", FORMATS)
    @pytest.mark.parametrize("write_sent", FORMATS)
    @given(sent=MOMENTS, until=MOMENTS)
    def test_counts_from_the_answers_own_date(
        self,
        write_until: Callable[[dt.datetime], str],
        write_sent: Callable[[dt.datetime], str],
        sent: dt.datetime,
        until: dt.datetime,
    ) -> None:
        """In any two formats, the seconds are those from the one date to the other; a date in the past is 0."""
        headers = {"retry-after": write_until(until), "date": write_sent(sent)}

        assert read_retry_after(headers) == max(0.0, (until - sent).total_seconds())

    @pytest.mark.parametrize("headers", [{}, {"date": SENT}, {"retry-after": "", "date": SENT}])
    def test_is_none_where_nothing_is_asked(self, headers: dict[str, str]) -> None:
        """Most answers ask for nothing."""
        assert read_retry_after(headers) is None

    def test_counts_from_the_time_it_is_given_where_the_answer_has_no_date(self) -> None:
        """Without a date of its own, an answer is taken for one of this very moment."""
        assert read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, today=30.0) == 90
        assert read_retry_after({"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}, today=300.0) == 0
        assert read_retry_after({"retry-after": "Sun Nov  6 08:51:37 1994", "date": SENT}, today=0.0) == 120

    def test_needs_a_date_to_count_from(self) -> None:
        """A date alone says nothing where no other time is given."""
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
    def test_takes_garbage_for_nothing(self, text: str) -> None:
        """What is neither a number of seconds nor a date is passed over, in either header."""
        assert read_retry_after({"retry-after": text, "date": SENT}) is None
        assert read_retry_after({"retry-after": SENT, "date": text}) is None

    @given(
        retry_after=st.text() | st.from_regex(r"\A\w{3}, \d+ (Jan|Nov) \d+ \d+:\d+:\d+ ([+-]\d+|GMT|\w*)\Z"),
        date=st.text() | st.just(SENT),
    )
    def test_never_fails(self, retry_after: str, date: str) -> None:
        """Whatever a service sends, the answer is a number of at least 0 or None."""
        seconds = read_retry_after({"retry-after": retry_after, "date": date})

        assert seconds is None or seconds >= 0

    def test_a_pause_has_an_end(self) -> None:
        """A number that is too large for any clock does not become a pause for ever."""
        seconds = read_retry_after({"retry-after": "9" * 400})

        assert seconds is None or math.isfinite(seconds)


class TestReadDate:
    """`read_date`: seconds since the epoch."""

    @pytest.mark.parametrize("write", FORMATS)
    @given(moment=MOMENTS)
    def test_reads_the_documented_formats(self, write: Callable[[dt.datetime], str], moment: dt.datetime) -> None:
        """To the second, which is all that they say."""
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
    def test_reads_a_zone_and_takes_none_for_utc(self, text: str, seconds: float) -> None:
        """Where the client runs makes no difference."""
        assert read_date(text) == seconds

    @pytest.mark.parametrize("text", ["", "today", "784111777", "Sun, 06 Nov 1994", "Sun, 36 Nov 1994 08:49:37 GMT"])
    def test_takes_garbage_for_nothing(self, text: str) -> None:
        """An answer without a date that can be read has none."""
        assert read_date(text) is None

    @given(text=st.text() | st.from_regex(r"\A\w{3}, \d+ (Jan|Nov) \d+ \d+:\d+:\d+ ([+-]\d+|GMT|\w*)\Z"))
    def test_never_fails(self, text: str) -> None:
        """Whatever a service sends, it is a number or None."""
        seconds = read_date(text)

        assert seconds is None or math.isfinite(seconds)
