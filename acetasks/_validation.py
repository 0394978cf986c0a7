"""Validation of arguments, before any request is sent; each error shows the value."""

from __future__ import annotations

import datetime as dt
import math
from typing import TypeVar

T = TypeVar("T")


def check_id(task_id: object) -> str:
    """Return a task id, or raise `TypeError` or `ValueError` if it is malformed."""
    if not isinstance(task_id, str):
        raise TypeError(f"task id must be a string, got {task_id!r}")
    if not task_id or task_id != task_id.strip():
        raise ValueError(f"task id must be a non-empty string without surrounding whitespace, got {task_id!r}")
    if not task_id.isprintable():
        raise ValueError(f"task id must have printable characters only, got {task_id!r}")
    return task_id


def check_ids(ids: list[str]) -> list[str]:
    """Return a list of task ids, or raise like `check_id` for the first malformed one.

    The ids are first checked in bulk: a hundred thousand valid ones take a few milliseconds.
    """
    is_plain = set(map(type, ids)) <= {str} and all(ids) and "".join(ids).isprintable()
    if not is_plain or list(map(str.strip, ids)) != ids:
        for task_id in ids:
            check_id(task_id)
    return ids


def check_timeout(timeout: object) -> float | None:
    """Return a timeout in seconds, or None for no timeout (None, or infinity); raise if it is none, negative or NaN."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout must be at least 0 seconds, got {timeout!r}")
    try:
        seconds = float(timeout)
    except OverflowError:
        return None
    return None if seconds == math.inf else seconds


def check_time(name: str, time: object) -> float | None:
    """Return a point in time in seconds since the epoch; raise if it is no time or has no time zone."""
    if time is None:
        return None
    if isinstance(time, dt.datetime):
        if time.utcoffset() is None:
            raise ValueError(f"{name} must have a time zone, such as datetime.UTC, got {time!r}")
        return time.timestamp()
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise TypeError(f"{name} must be a datetime or seconds since the epoch, got {time!r}")
    if not math.isfinite(time):
        raise ValueError(f"{name} must be finite, got {time!r}")
    return float(time)


def check_count(name: str, count: object) -> int | None:
    """Return a maximum number, or None for none; raise if it is no integer or negative."""
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be an integer or None, got {count!r}")
    if count < 0:
        raise ValueError(f"{name} must be at least 0, got {count!r}")
    return count


def check_setting(name: str, value: T | None, kind: type[T]) -> T:
    """Return a setting, or the default one for None; raise `TypeError` if it is of another type."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__} or None, got {value!r}")
    return value
