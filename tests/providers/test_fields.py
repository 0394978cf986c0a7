"""Tests of the readers of single fields."""

from __future__ import annotations

import datetime as dt
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import TaskError
from acetasks._records import RecordHead, ResponseHead
from acetasks.providers import is_missing, read_error_code, read_head, read_text
from acetasks.providers.fields import find_error, read_epoch, read_number, read_progress

#: Any JSON value.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["percent", "a"]), inner),
    max_leaves=4,
)


# ------------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *(("text", "text"), ("  text\n", "text"), (7, "7"), (0, "0"), (1.5, "1.5"), (-3, "-3")),
        *(("", None), (" \t", None), (None, None), (True, None), (False, None), ([], None), (["a"], None), ({}, None)),
    ],
)
def test_read_text(value: object, expected: str | None) -> None:
    """Ids and codes are sent as texts and as numbers; an empty text is None."""
    assert read_text(value) == expected


# ---------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((0, 0.0), (40, 40.0), (99.5, 99.5), (100, 100.0), ("100%", 100.0), ("40 %", 40.0), (" 7 ", 7.0)),
        *(({"percent": 35}, 35.0), ({"percent": "35%"}, 35.0), ({"stage": "producing"}, None), ({}, None)),
        *((0.45, 45.0), (0.29, 29.0), ("0.5", 50.0), ({"percent": 0.5}, 50.0), (1, 1.0), (1.0, 1.0), ("0.5%", 0.5)),
        *((100.1, None), (-1, None), ("101%", None), ("-1", None), ("soon", None), ("", None), ("%", None)),
        *((None, None), (True, None), (False, None), ([40], None), ({"percent": {"percent": 1}}, None)),
        *((math.nan, None), (math.inf, None), ("nan", None), ("inf", None), ("1e999", None), ("9" * 400, None)),
        *((10**400, None), (-(10**400), None), ({"percent": 10**400}, None)),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_read_progress(value: object, expected: float | None) -> None:
    """Producer sends `"100%"`, maestro an object, other providers a number, a fraction below 1; others are None."""
    assert read_progress(value) == expected


def test_a_number_has_no_upper_limit() -> None:
    """Seconds of work and times are finite numbers of at least 0."""
    assert read_number(1976.5) == 1976.5
    assert read_number("1e308") == 1e308
    assert read_number(0.45) == 0.45
    assert read_number(math.inf) is None
    assert read_number(-1) is None


@given(VALUES)
def test_read_progress_never_raises(value: object) -> None:
    """Any value gives None or a float, from 0 to 100 for a progress."""
    progress, number = read_progress(value), read_number(value)

    assert progress is None or (type(progress) is float and 0 <= progress <= 100)
    assert number is None or (type(number) is float and 0 <= number < math.inf)


# ------------------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1736304669.779, 1736304669.779),
        (1785125529, 1785125529.0),
        ("1970-01-01T00:00:01Z", 1.0),
        ("2026-07-25T17:20:01Z", 1785000001.0),
        ("2026-07-25T17:20:01.5+00:00", 1785000001.5),
        ("2026-07-25T19:20:01+02:00", 1785000001.0),
        (" 2026-07-25 17:20:01 ", 1785000001.0),
        *((None, None), (0, None), (-1, None), (True, None), ("", None), ("soon", None), ([], None), ({}, None)),
        *((math.nan, None), (math.inf, None), (10**400, None), ("2026-13-01T00:00:00Z", None), ("03:57", None)),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_read_epoch(value: object, expected: float | None) -> None:
    """Numbers are seconds since the epoch, texts are ISO 8601 and in UTC by default; 0 is not a time."""
    assert read_epoch(value) == expected


def test_a_time_without_a_zone_is_in_the_zone_of_the_provider() -> None:
    """Veo's item times are in UTC+8 without a time zone: 17:21:45 means 09:21:45 in UTC."""
    assert read_epoch("2025-07-25 17:21:45", 8.0) == read_epoch("2025-07-25T09:21:45Z") == 1753435305.0
    assert read_epoch("2025-07-25 17:21:45", -3.5) == 1753435305.0 + 11.5 * 3600
    assert read_epoch("2025-07-25T17:21:45Z", 8.0) == 1753435305.0 + 8 * 3600
    assert read_epoch(1753435305, 8.0) == 1753435305.0


@given(
    st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001  # the time zone is under test
    st.floats(-14, 14),
)
def test_the_utc_offset_shifts_a_time(moment: dt.datetime, offset: float) -> None:
    """A text without a time zone is earlier in UTC by the hours that the provider is east of it."""
    here, there = read_epoch(moment.isoformat(), 0.0), read_epoch(moment.isoformat(), offset)

    assert here is not None
    assert there == pytest.approx(here - offset * 3600, abs=1e-3)


@given(VALUES, st.sampled_from([0.0, 8.0, -3.5]))
def test_read_epoch_never_raises(value: object, offset: float) -> None:
    """Any value gives None or a finite number of seconds."""
    found = read_epoch(value, offset)

    assert found is None or (type(found) is float and math.isfinite(found))


# ----------------------------------------------------------------------------------------------------------- errors


def read_error(**record: object) -> TaskError:
    """Return the error of a record; its response is `response`, or empty."""
    head, _ = read_head(msgspec.json.encode(record))
    return find_error(head.response if isinstance(head.response, ResponseHead) else ResponseHead(), head)


def test_the_error_object_of_the_response_comes_first() -> None:
    """It is the provider's own; the other fields describe the same failure."""
    found = read_error(
        response={"error": {"code": "c", "message": "m"}, "message": "n", "status": 400, "state": "failed"},
        error={"code": "d", "message": "o"},
        detail="p",
    )

    assert found == TaskError(code="c", message="m")


def test_the_error_object_of_the_record_comes_second() -> None:
    """It precedes every text, even one in the response."""
    assert read_error(response={"error": "text"}, error={"message": "o"}) == TaskError(message="o")
    assert read_error(response={"error": {}}, error={"code": "d"}) == TaskError(code="d", message="d")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "c", "message": "m"}, TaskError(code="c", message="m")),
        ({"message": "m"}, TaskError(message="m")),
        ({"code": "c"}, TaskError(code="c", message="c")),
        ({"code": 1026, "message": " m "}, TaskError(code="1026", message="m")),
        ({"code": "CONTENT_REJECTED", "message": ""}, TaskError(code="CONTENT_REJECTED", message="CONTENT_REJECTED")),
        (
            {"type": "rate_limit", "message": "m", "http_code": "429"},
            TaskError(code="rate_limit", message="m"),
        ),
        ({"http_code": "422", "message": "m"}, TaskError(code="422", message="m")),
        ({"code": "c", "detail": "d"}, TaskError(code="c", message="d")),
        ({"code": "c", "message": {"text": "m"}}, TaskError(code="c", message="c")),
        ({"message": ["m"]}, TaskError(message="no reason given")),
    ],
    ids=repr,
)
def test_an_error_object_is_read_with_each_set_of_keys(error: dict[str, object], expected: TaskError) -> None:
    """Ace Data Cloud sends `code`, minimax's workers send `type` and `http_code`; the message is never empty."""
    assert read_error(response={"error": error}) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"response": {"error": "provider timeout"}}, TaskError(message="provider timeout")),
        ({"error": "a", "errorDetails": "b", "code": 200}, TaskError(message="a (b)")),
        ({"error": "a", "errorDetails": "a"}, TaskError(message="a")),
        ({"error": "Job has expired", "code": 410}, TaskError(code="410", message="Job has expired")),
        ({"error": "refused", "code": "forbidden"}, TaskError(code="forbidden", message="refused")),
        ({"response": {"error": "b"}, "error": "a"}, TaskError(message="b")),
        ({"response": {"error": " "}, "error": "a"}, TaskError(message="a")),
    ],
    ids=repr,
)
def test_a_plain_text_error_is_read(record: dict[str, object], expected: TaskError) -> None:
    """The service useapi adds details, and the HTTP status as a code, which is ignored if it is 200."""
    assert read_error(**record) == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"response": {"status": 400, "message": "m"}}, TaskError(code="400", message="m")),
        ({"detail": "d", "code": "timeout", "status": "failed"}, TaskError(code="timeout", message="d")),
        ({"response": {"message": "m"}, "detail": "d"}, TaskError(message="m")),
    ],
    ids=repr,
)
def test_a_message_without_an_error_is_read(record: dict[str, object], expected: TaskError) -> None:
    """Fish sends a status and a message, captcha a code and a detail."""
    assert read_error(**record) == expected


@pytest.mark.parametrize(
    ("record", "word"),
    [
        ({"status": "dead", "state": "b"}, "dead"),
        ({"state": "failed", "response": {"state": "b"}}, "failed"),
        ({"response": {"status": "rejected", "state": "b"}}, "rejected"),
        ({"response": {"state": "cancelled"}}, "cancelled"),
    ],
    ids=repr,
)
def test_a_failure_without_a_reason_contains_its_state_word(record: dict[str, object], word: str) -> None:
    """The word is the only difference between a cancelled and a failed task."""
    assert read_error(**record) == TaskError(message=f"the service gave no reason (state {word!r})")


def test_a_failure_without_any_information_has_a_default_message() -> None:
    """The message is not empty, and does not look like one of the service."""
    assert read_error(id="a") == TaskError(message="the service gave no reason")


@pytest.mark.parametrize(
    "record",
    [{"response": {"error": {"message": "x" * 5000}}}, {"error": "x" * 5000}, {"detail": "x" * 5000}],
    ids=["object", "text", "detail"],
)
def test_a_reason_is_truncated(record: dict[str, object]) -> None:
    """An error message is limited to 1024 characters."""
    assert read_error(**record).message == "x" * 1024


def test_the_code_of_an_error_object() -> None:
    """The first non-empty value of `code`, `type` and `http_code`."""
    assert read_error_code({"code": "a", "type": "b", "http_code": "c"}) == "a"
    assert read_error_code({"code": "", "type": "b", "http_code": "c"}) == "b"
    assert read_error_code({"http_code": 429}) == "429"
    assert read_error_code({"message": "m"}) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"code": "not_found", "message": "x"}}, True),
        ({"error": {"code": "no_task", "message": "x"}}, True),
        ({"error": {"code": "no_api", "message": "no such task API"}}, False),
        ({"error": {"code": "bad_request", "message": "task id is required"}}, False),
        ({"error": {"message": "Task not found"}}, True),
        ({"error": {"message": "Not Found"}}, False),
        ({"error": "Unable to locate job a"}, True),
        ({"detail": "task not found"}, True),
        ({"detail": "Not Found"}, False),
        ({"detail": "Not Found", "error": "no such job"}, True),
        ({"message": "task"}, False),
        ({}, False),
    ],
    ids=repr,
)
def test_is_missing(body: dict[str, object], expected: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """The code decides; without one, a text that contains "task" or "job"."""
    assert is_missing(msgspec.convert(body, RecordHead)) is expected
