"""The checks: numbers that a test's author gives, refused by the name of their argument where they make no sense."""

from __future__ import annotations


def check_number(name: str, value: object) -> None:
    """Refuse what is no number; None is nothing to refuse.

    Args:
        name: What the argument is called.
        value: What it is.

    Raises:
        TypeError: It is something else.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{name} must be a number, not {value!r}")


def check_count(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number of at least so much; None is nothing to refuse.

    Args:
        name: What the argument is called.
        value: What it is.
        least: The least that it may be.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is less.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value!r}")
