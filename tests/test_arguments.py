"""Plain values that callers give: the good ones pass, the others are refused with their value."""

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


class TestCheckId:
    """`check_id`: a text of some length that a service could have given."""

    @pytest.mark.parametrize(
        "task_id", ["5c231f52-1293-5d1a-ac7c-886a0ed3e9a3", "x", "user:1-pixverse-job:7", "a b", "ñ", "7"]
    )
    def test_passes_an_id_on(self, task_id: str) -> None:
        """An id comes back as it is; ids are not all UUIDs."""
        assert check_id(task_id) == task_id

    @pytest.mark.parametrize("task_id", ["", " ", " x", "x ", "x\n", "\tx", "a\x00b", "a\nb", "\ud800", "a\u200bb"])
    def test_refuses_a_text_that_can_be_none(self, task_id: str) -> None:
        """Blanks around an id, or signs that cannot be seen, are a mistake of copying; the value is shown escaped."""
        with pytest.raises(ValueError, match="a task id is a text of some length") as caught:
            check_id(task_id)

        assert repr(task_id) in str(caught.value)

    @pytest.mark.parametrize("task_id", [None, 7, b"x", ["x"], ("luma", "x")])
    def test_refuses_what_is_no_text(self, task_id: object) -> None:
        """Anything but a text is refused as such, with the value."""
        with pytest.raises(TypeError, match="a task id is a string, not ") as caught:
            check_id(task_id)

        assert repr(task_id) in str(caught.value)

    @given(task_id=st.text())
    def test_lets_through_only_what_can_be_shown(self, task_id: str) -> None:
        """An id that passes is the same when printed and stripped; any other is refused."""
        try:
            passed = check_id(task_id)
        except ValueError:
            assert not task_id.isprintable() or task_id.strip() != task_id or not task_id
        else:
            assert passed == task_id == task_id.strip()
            assert task_id.isprintable()
            assert task_id


GOOD_IDS = ["5c231f52-1293-5d1a-ac7c-886a0ed3e9a3", "x", "a b", "ñ", "x"]


class TestCheckIds:
    """`check_ids`: as `check_id`, for many at once."""

    def test_passes_ids_on(self) -> None:
        """They come back as they are: in order, and those given twice are there twice."""
        ids = [*GOOD_IDS, *map(str, range(1000))]

        assert check_ids(list(ids)) == ids
        assert check_ids([]) == []

    @pytest.mark.parametrize("place", [0, 2, 5])
    @pytest.mark.parametrize(
        "task_id", ["", " ", " x", "x ", "x\n", "a\x00b", "\ud800", "a\u200bb", "\u2028x", "x\u3000"]
    )
    def test_one_that_can_be_none_refuses_the_whole(self, task_id: str, place: int) -> None:
        """It is named, wherever it stands."""
        ids = [*GOOD_IDS[:place], task_id, *GOOD_IDS[place:]]

        with pytest.raises(ValueError, match="a task id is a text of some length") as caught:
            check_ids(ids)
        assert repr(task_id) in str(caught.value)

    @pytest.mark.parametrize("task_id", [None, 7, b"x", ["x"], {}])
    def test_one_that_is_no_text_refuses_the_whole(self, task_id: object) -> None:
        """It is named, whether it could be hashed or not."""
        with pytest.raises(TypeError, match="a task id is a string, not ") as caught:
            check_ids([*GOOD_IDS, task_id])  # type: ignore[list-item]  # that is the point

        assert repr(task_id) in str(caught.value)

    def test_a_text_of_a_kind_of_its_own_is_a_text(self) -> None:
        """An enum's member, say."""

        class Name(str):
            __slots__ = ()

        assert check_ids(["x", Name("y")]) == ["x", "y"]

    @given(ids=st.lists(st.text(max_size=3) | st.sampled_from(GOOD_IDS), max_size=6))
    def test_refuses_what_check_id_refuses(self, ids: list[str]) -> None:
        """Whatever is given, many are refused where one of them alone would be."""

        def is_refused(check: Callable[[], object]) -> bool:
            try:
                check()
            except ValueError:
                return True
            return False

        one_by_one = any(is_refused(functools.partial(check_id, task_id)) for task_id in ids)
        assert is_refused(functools.partial(check_ids, list(ids))) is one_by_one


class TestCheckTimeout:
    """`check_timeout`: a number of seconds, or no limit."""

    @pytest.mark.parametrize(
        ("timeout", "seconds"), [(None, None), (math.inf, None), (0, 0.0), (600, 600.0), (0.5, 0.5), (-0.0, 0.0)]
    )
    def test_reads_a_limit(self, timeout: float | None, seconds: float | None) -> None:
        """Infinity is no limit, and 0 is one."""
        assert check_timeout(timeout) == seconds

    @given(timeout=st.floats(min_value=0, allow_infinity=False) | st.integers(0, 10**300))
    def test_keeps_every_number_of_seconds(self, timeout: float) -> None:
        """A limit of any length is kept."""
        seconds = check_timeout(timeout)

        assert isinstance(seconds, float)
        assert seconds == pytest.approx(timeout)

    @pytest.mark.parametrize("timeout", [-1, -0.001, -math.inf, math.nan])
    def test_refuses_a_number_that_can_be_none(self, timeout: float) -> None:
        """A negative limit, or one that is not a number, is refused with its value."""
        with pytest.raises(ValueError, match="a timeout is at least 0 seconds, not ") as caught:
            check_timeout(timeout)

        assert repr(timeout) in str(caught.value)

    @pytest.mark.parametrize("timeout", ["10", b"10", True, False, [10], 10j, Fraction(1, 2)])
    def test_refuses_what_is_no_number(self, timeout: object) -> None:
        """A text is not read as a number, and a truth value is none."""
        with pytest.raises(TypeError, match="a timeout is a number of seconds or None, not ") as caught:
            check_timeout(timeout)

        assert repr(timeout) in str(caught.value)

    def test_takes_an_integer_beyond_any_clock_for_no_limit_or_refuses_it(self) -> None:
        """A whole number that no float can hold is handled like any other value, not by an arithmetic error."""
        try:
            seconds = check_timeout(10**400)
        except ValueError:
            return
        assert seconds is None
