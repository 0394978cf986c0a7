"""Readers of single record fields: texts, times, progress and errors, in every spelling that services use.

Each function takes one value of any JSON type and never raises: an unreadable value is None. The state is determined
in `acetasks.providers.normalize`.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from typing import TYPE_CHECKING

from acetasks._records import ECHO_LIMIT, RecordHead, ResponseHead
from acetasks.models import TaskError

if TYPE_CHECKING:
    from collections.abc import Iterable


#: The lowest HTTP status that is an error; a plain int, which compares faster than an `HTTPStatus`.
MIN_ERROR_STATUS = 400

#: The progress of a finished task, in percent.
MAX_PROGRESS = 100.0

#: Error codes for an unknown task (digital-human, captcha).
_MISSING_CODES = frozenset({"not_found", "no_task"})

#: A task or job in prose, but not in a path such as `/luma/tasks`.
_TASK = re.compile(r"(?<![/\w])(?:task|job)s?\b", re.IGNORECASE)

#: Maximum length of an error message or code kept in a task, in characters.
REASON_LIMIT = 4 * ECHO_LIMIT


def read_text(value: object) -> str | None:
    """Read a text without surrounding whitespace; a number becomes its digits, an empty text None."""
    if isinstance(value, str):
        return value.strip() or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def read_reason(value: object) -> str | None:
    """Read a text as by `read_text`, as much of it as the reason of a failure has."""
    return _truncate(read_text(value))


def read_progress(value: object) -> float | None:
    """Read a progress in percent.

    A number between 0 and 1, both excluded, is a fraction, as in the official SDK: no provider documents one, but a
    bar that stays at 0 would be read as a fault. A 1 is one percent, as it may be documented to be.

    Args:
        value: A number, a text such as `"100%"`, or maestro's `{percent: ...}`.

    Returns:
        The percentage, from 0 to 100, or None if `value` is not a valid one.
    """
    if value is None:  # in most records
        return None
    if isinstance(value, dict):
        value = value.get("percent")
    if isinstance(value, str) and value.strip().endswith("%"):
        number = read_number(value.strip().removesuffix("%"))
    else:
        number = read_number(value)
        if number is not None and 0 < number < 1:
            number = round(number * MAX_PROGRESS, 6)
    return number if number is not None and number <= MAX_PROGRESS else None


def read_number(value: object) -> float | None:
    """Read a finite number of at least 0, from a number or a text; None if `value` is not a valid one."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if 0 <= number < math.inf else None


def read_epoch(value: object, utc_offset: float = 0.0) -> float | None:
    """Read a point in time.

    Args:
        value: Seconds since the epoch, or an ISO 8601 text (used in records before August 2026).
        utc_offset: Hours east of UTC, for a text without a time zone.

    Returns:
        Seconds since the epoch, or None.
    """
    if value is None or (isinstance(value, float) and 0.0 < value < math.inf):  # in most records
        return value
    if not isinstance(value, str):
        return read_number(value) or None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=utc_offset)))
        return moment.timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def find_error_object(*errors: object) -> dict[str, object] | None:
    """Return the first error object with a value; `{}` and objects of nulls are sent for "no error"."""
    for error in errors:
        if error and isinstance(error, dict) and any(value is not None for value in error.values()):
            return error
    return None


def find_error(
    response: ResponseHead, head: RecordHead, *, item_errors: Iterable[object] = (), word: str | None = None
) -> TaskError:
    """Return the reason of a failure, from the first place that has one.

    Args:
        response: The head of the response.
        head: The head of the record.
        item_errors: The `error` of each item of the response.
        word: The undocumented state word that the task ended with, which becomes a part of the message.
    """
    found = _find_reason(response, head, item_errors)
    if word is None or (found is not None and repr(word) in found.message):
        return found or TaskError(message="the service gave no reason")
    suffix = f" (state {repr(word[:ECHO_LIMIT])[:ECHO_LIMIT]})"  # escaped, a text may be several times as long
    message = "the service gave no reason" if found is None else found.message[: REASON_LIMIT - len(suffix)]
    return TaskError(code=None if found is None else found.code, message=message + suffix)


def _find_reason(response: ResponseHead, head: RecordHead, item_errors: Iterable[object]) -> TaskError | None:
    """Return the reason of a failure, or None if the record has none and no state word at its top."""
    # 1. An error object: in the response, at the top, in an item.   2. A plain text (useapi adds `errorDetails`).
    if (error := find_error_object(response.error, head.error, *item_errors)) is not None:
        return TaskError(
            code=_truncate(read_error_code(error)),
            message=_truncate(read_error_message(error)) or "no reason given",
        )
    if text := read_text(response.error) or read_text(head.error):
        details = read_text(head.error_details)
        message = f"{text} ({details})" if details and details != text else text
        return TaskError(code=_read_failure_code(head.code), message=message[:REASON_LIMIT])
    # 3. fish's `{status: 400, message}`, captcha's `{code, detail}`.   4. Only a state word, or nothing.
    if text := read_text(response.message) or read_detail(head.detail):
        status = None if isinstance(response.status, str) else _read_failure_code(response.status)
        return TaskError(code=status or _read_failure_code(head.code), message=text[:REASON_LIMIT])
    word = next(filter(None, map(read_text, (head.status, head.state, response.status, response.state))), None)
    if word is None:
        return None
    return TaskError(message=f"the service gave no reason (state {word[:REASON_LIMIT]!r})"[:REASON_LIMIT])


def read_error_code(error: dict[str, object]) -> str | None:
    """Return the code of an error object, under any of its known keys."""
    return next(filter(None, (read_text(error.get(key)) for key in ("code", "type", "http_code"))), None)


def read_detail(value: object) -> str | None:
    """Read the `detail` of an error body: a text, or an object with one (`{"detail": {"detail": "text"}}`)."""
    return read_error_message(value) if isinstance(value, dict) else read_text(value)


def read_error_message(error: dict[str, object]) -> str | None:
    """Return the message of an error object: under a known key, or else the first text in it."""
    keys = ("message", "detail", *error)
    return next(filter(None, (read_text(error.get(key)) for key in keys)), None)


def is_missing(head: RecordHead) -> bool:
    """Return whether the body of a 404 response is about the task, not the path."""
    texts = [read_detail(head.detail)]
    if (error := find_error_object(head.error)) is not None:
        if code := read_text(error.get("code")):
            return code.lower() in _MISSING_CODES
        texts.append(read_text(error.get("message")))
    else:
        texts.append(read_text(head.error))
    return any(_TASK.search(text) for text in texts if text)


def _read_failure_code(value: object) -> str | None:
    """Read an error code or HTTP status; a number below 400 is None, because useapi sends 200 with failed jobs."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value < MIN_ERROR_STATUS:
        return None
    return _truncate(read_text(value))


def _truncate(text: str | None) -> str | None:
    return text and text[:REASON_LIMIT]
