"""Tests of argument validation."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks._validation import check_id, check_ids, check_timeout

if TYPE_CHECKING:
    from collections.abc import Callable

UNTRIMMED = ["", " ", " x", "x ", "x\n", "\tx", "x\u3000", "\u2028x"]
UNPRINTABLE = ["a\x00b", "a\nb", "\ud800", "a\u200bb"]
NOT_EMPTY = "task id must be a non-empty string without surrounding whitespace, got "
PRINTABLE = "task id must have printable characters only, got "
MALFORMED = [*((task_id, NOT_EMPTY) for task_id in UNTRIMMED), *((task_id, PRINTABLE) for task_id in UNPRINTABLE)]


class TestCheckId:
    """`check_id` returns a well-formed task id, or raises."""

    @pytest.mark.parametrize(
        "task_id", ["5c231f52-1293-5d1a-ac7c-886a0ed3e9a3", "x", "user:1-pixverse-job:7", "a b", "ñ", "7"]
    )
    def test_returns_the_id_unchanged(self, task_id: str) -> None:
        """Ids need not be UUIDs."""
        assert check_id(task_id) == task_id

    @pytest.mark.parametrize(("task_id", "message"), MALFORMED)
    def test_malformed_id_raises_value_error(self, task_id: str, message: str) -> None:
        """Surrounding whitespace and unprintable characters come from copying; the message shows them escaped."""
        with pytest.raises(ValueError, match=message) as caught:
            check_id(task_id)

        assert str(caught.value) == message + repr(task_id)

    @pytest.mark.parametrize("task_id", [None, 7, b"x", ["x"], ("luma", "x")])
    def test_non_string_raises_type_error(self, task_id: object) -> None:
        """The message shows the value."""
        with pytest.raises(TypeError, match="task id must be a string, got ") as caught:
            check_id(task_id)

        assert repr(task_id) in str(caught.value)

    @given(task_id=st.text())
    def test_accepts_exactly_the_printable_trimmed_strings(self, task_id: str) -> None:
        """An accepted id is not empty, is printable, and equals itself stripped; every other string raises."""
        try:
            accepted = check_id(task_id)
        except ValueError:
            assert not task_id.isprintable() or task_id.strip() != task_id or not task_id
        else:
            assert accepted == task_id == task_id.strip()
            assert task_id.isprintable()
            assert task_id


GOOD_IDS = ["5c231f52-1293-5d1a-ac7c-886a0ed3e9a3", "x", "a b", "ñ", "x"]


class TestCheckIds:
    """`check_ids` does the same as `check_id` for a list."""

    def test_returns_the_ids_unchanged(self) -> None:
        """Order and duplicates are kept."""
        ids = [*GOOD_IDS, *map(str, range(1000))]

        assert check_ids(list(ids)) == ids
        assert check_ids([]) == []

    @pytest.mark.parametrize("position", [0, 2, 5])
    @pytest.mark.parametrize(("task_id", "message"), MALFORMED)
    def test_one_malformed_id_raises_value_error(self, task_id: str, message: str, position: int) -> None:
        """The message shows the malformed id, wherever it is in the list."""
        ids = [*GOOD_IDS[:position], task_id, *GOOD_IDS[position:]]

        with pytest.raises(ValueError, match=message) as caught:
            check_ids(ids)
        assert str(caught.value) == message + repr(task_id)

    @pytest.mark.parametrize("task_id", [None, 7, b"x", ["x"], {}])
    def test_one_non_string_raises_type_error(self, task_id: object) -> None:
        """The message shows the value, hashable or not."""
        with pytest.raises(TypeError, match="task id must be a string, got ") as caught:
            check_ids([*GOOD_IDS, task_id])  # type: ignore[list-item]  # a wrong type is intended

        assert repr(task_id) in str(caught.value)

    def test_accepts_subclasses_of_str(self) -> None:
        """A member of a string enum is an example."""

        class Name(str):
            __slots__ = ()

        assert check_ids(["x", Name("y")]) == ["x", "y"]

    @given(ids=st.lists(st.text(max_size=3) | st.sampled_from(GOOD_IDS), max_size=6))
    def test_raises_if_check_id_raises_for_any_id(self, ids: list[str]) -> None:
        """The check in bulk agrees with the check of each id."""

        def raises(check: Callable[[], object]) -> bool:
            try:
                check()
            except ValueError:
                return True
            return False

        any_raises = any(raises(functools.partial(check_id, task_id)) for task_id in ids)
        assert raises(functools.partial(check_ids, list(ids))) is any_raises


class TestCheckTimeout:
    """`check_timeout` returns seconds, None for no timeout, or raises."""

    @pytest.mark.parametrize(
        ("timeout", "seconds"), [(None, None), (math.inf, None), (0, 0.0), (600, 600.0), (0.5, 0.5), (-0.0, 0.0)]
    )
    def test_returns_seconds_or_none(self, timeout: float | None, seconds: float | None) -> None:
        """Infinity means no timeout; 0 is a timeout."""
        assert check_timeout(timeout) == seconds

    @given(timeout=st.floats(min_value=0, allow_infinity=False) | st.integers(0, 10**300))
    def test_accepts_every_finite_number(self, timeout: float) -> None:
        """There is no maximum timeout."""
        seconds = check_timeout(timeout)

        assert isinstance(seconds, float)
        assert seconds == pytest.approx(timeout)

    @pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan])
    def test_negative_number_or_nan_raises_value_error(self, timeout: float) -> None:
        """The message shows the value."""
        with pytest.raises(ValueError, match="timeout must be at least 0 seconds, got ") as caught:
            check_timeout(timeout)

        assert repr(timeout) in str(caught.value)

    @pytest.mark.parametrize("timeout", ["10", b"10", True, False, [10], 10j, Fraction(1, 2)])
    def test_non_number_raises_type_error(self, timeout: object) -> None:
        """Strings are not converted, and booleans are not accepted as numbers."""
        with pytest.raises(TypeError, match="timeout must be a number of seconds or None, got ") as caught:
            check_timeout(timeout)

        assert repr(timeout) in str(caught.value)

    def test_integer_too_large_for_a_float_means_no_timeout(self) -> None:
        """Such an integer raises no OverflowError."""
        assert check_timeout(10**400) is None
