"""Checks of arguments given by a test's author; error messages name the argument. None is always accepted."""

from __future__ import annotations

import enum
import inspect
from typing import TypeVar

_Choice = TypeVar("_Choice", bound=enum.StrEnum)


def choose(kind: type[_Choice], value: str | None) -> _Choice | None:
    """Return the member of an enumeration that a value names; None stays None.

    Raises:
        ValueError: There is no such member.
    """
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        choices = ", ".join(repr(member.value) for member in kind)
        raise ValueError(f"{value!r} is not a valid {kind.__name__}: choose one of {choices}") from None


def check_number(name: str, value: object) -> None:
    """Check that an argument is a number.

    Raises:
        TypeError: `value` is not a number.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise TypeError(f"{name} must be a number, got {value!r}")


def check_count(name: str, value: object, *, minimum: int) -> None:
    """Check that an argument is an integer of at least `minimum`.

    Raises:
        TypeError: `value` is not an integer.
        ValueError: `value` is below `minimum`.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value!r}")


def check_function(name: str, function: object) -> None:
    """Check that an argument is a plain function.

    Raises:
        TypeError: `function` is not callable, or is a coroutine function.
    """
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{name} must be a function, got {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} must be a plain function, got {function!r}: coroutine functions are not awaited")
