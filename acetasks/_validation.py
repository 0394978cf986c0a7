"""Plain values that callers give, checked before anything is sent: a refusal names the value and says what to give."""

from __future__ import annotations

import math


def check_id(task_id: object) -> str:
    """Refuse an id that the service could only fail to find.

    Raises:
        TypeError: It is no text.
        ValueError: It is empty, or has blanks around it or signs that cannot be printed.
    """
    if not isinstance(task_id, str):
        raise TypeError(f"a task id is a string, not {task_id!r}")
    if not task_id or task_id != task_id.strip() or not task_id.isprintable():
        raise ValueError(f"a task id is a text of some length without blanks around it, not {task_id!r}")
    return task_id


def check_ids(ids: list[str]) -> list[str]:
    """Refuse ids as `check_id` does, a hundred thousand of them in a few milliseconds.

    Raises:
        TypeError: One is no text.
        ValueError: One is empty, or has blanks around it or signs that cannot be printed.
    """
    is_plain = set(map(type, ids)) <= {str} and all(ids) and "".join(ids).isprintable()
    if not is_plain or list(map(str.strip, ids)) != ids:
        for task_id in ids:
            check_id(task_id)
    return ids


def check_timeout(timeout: object) -> float | None:
    """Refuse a limit that can be none; infinity is no limit.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative or not a number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"a timeout is a number of seconds or None, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"a timeout is at least 0 seconds, not {timeout!r}")
    try:
        seconds = float(timeout)
    except OverflowError:
        return None
    return None if seconds == math.inf else seconds
