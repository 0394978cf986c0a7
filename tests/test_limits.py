"""What providers have shown to be too large a batch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.limits import LIMIT_KEPT, Limits


class TestLimits:
    """`Limits`: what providers have shown to be too large a batch."""

    def test_nothing_is_known_at_first(self) -> None:
        """Batches are full until a provider shows that they are too large."""
        limits = Limits()

        assert limits.size("luma", 50, 0.0) == 50
        assert repr(limits) == "<Limits none>"

    def test_two_answers_cut_at_the_same_number_are_a_limit(self) -> None:
        """Once may be chance; it is of that provider alone, and of no more than a full batch."""
        limits = Limits()
        limits.note_cuts("luma", [12], 0.0)
        assert limits.size("luma", 50, 0.0) == 50
        assert repr(limits) == "<Limits none>"
        limits.note_cuts("luma", [12], 5.0)

        assert limits.size("luma", 50, 5.0) == 12
        assert limits.size("luma", 10, 5.0) == 10
        assert limits.size("flux", 50, 5.0) == 50
        assert repr(limits) == "<Limits {'luma': 12}>"

    def test_one_look_with_several_cuts_is_enough(self) -> None:
        """Fifty ids that come in answers of twelve show the limit at once."""
        limits = Limits()
        limits.note_cuts("luma", [12, 12, 12, 12], 0.0)

        assert limits.size("luma", 50, 0.0) == 12

    @pytest.mark.parametrize("cuts", [[], [12], [12, 13], [12, 13, 12, 13], [49, 12, 48, 12]])
    def test_answers_cut_here_and_there_are_no_limit(self, cuts: list[int]) -> None:
        """A service that leaves out this and that has no fixed number."""
        limits = Limits()
        for cut in cuts:
            limits.note_cuts("luma", [cut], 0.0)
        limits.note_cuts("flux", [12], 0.0)

        assert limits.size("luma", 50, 0.0) == limits.size("flux", 50, 0.0) == 50

    def test_a_limit_is_forgotten_after_a_while(self) -> None:
        """It may have been chance, or may be no more; until then it holds, and each cut anew makes it hold longer."""
        limits = Limits()
        limits.note_cuts("luma", [12, 12], 0.0)
        assert limits.size("luma", 50, LIMIT_KEPT - 0.001) == 12
        assert limits.size("luma", 50, LIMIT_KEPT) == 50

        limits.note_cuts("luma", [10, 10], LIMIT_KEPT)
        limits.note_cuts("luma", [10], LIMIT_KEPT + 100.0)
        assert limits.size("luma", 50, 2 * LIMIT_KEPT + 99.0) == 10
        assert limits.size("luma", 50, 2 * LIMIT_KEPT + 100.0) == 50

    def test_a_request_refused_for_its_size_is_a_limit_at_once(self) -> None:
        """What was not too many is asked for until that is forgotten."""
        limits = Limits()
        limits.note_too_large("luma", 13, 100.0)

        assert limits.size("luma", 50, 100.0) == 13
        assert limits.size("luma", 50, 100.0 + LIMIT_KEPT) == 50

    def test_the_last_that_was_learned_counts(self) -> None:
        """A provider whose limit moves is followed."""
        limits = Limits()
        limits.note_too_large("luma", 25, 0.0)
        limits.note_cuts("luma", [20, 20], 1.0)
        assert limits.size("luma", 50, 1.0) == 20

        limits.note_too_large("luma", 5, 2.0)
        assert limits.size("luma", 50, 2.0) == 5

    @given(
        full=st.integers(1, 64),
        notes=st.lists(st.tuples(st.booleans(), st.integers(1, 64), st.floats(0, LIMIT_KEPT)), max_size=20),
    )
    def test_a_size_is_within_bounds(self, full: int, notes: list[tuple[bool, int, float]]) -> None:
        """Whatever was learned, at least one id is asked for and never more than a full batch."""
        limits, now = Limits(), 0.0
        for is_cut, number, seconds in notes:
            now += seconds
            if is_cut:
                limits.note_cuts("luma", [number], now)
            else:
                limits.note_too_large("luma", number, now)
            assert 1 <= limits.size("luma", full, now) <= full
        assert limits.size("luma", full, now + LIMIT_KEPT) == full
