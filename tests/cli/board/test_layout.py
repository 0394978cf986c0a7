"""The layout of the board: columns by width, lines by height."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.cli.board.layout import Column, Content, RowLayout, choose_columns, divide_lines

STATE, PROVIDER, ID, PROGRESS, AGE, LEFT, DETAIL = Column

#: A thousand tasks of five providers, one of them with the longest name of all.
SEVERAL = Content(longest_provider=15, longest_id=36, has_progress=True)
ONE = Content(longest_provider=0, longest_id=36, has_progress=False)


def rank(layout: RowLayout) -> list[int]:
    """Return how much of each column is shown, the most important one first."""
    widths = layout.widths
    shown = [int(column in widths) for column in (LEFT, PROGRESS, AGE)]
    return [widths.get(PROVIDER, 0), *shown, widths[STATE], widths[ID], int(DETAIL in widths)]


class TestColumns:
    """`choose_columns`: what fits into a width."""

    @pytest.mark.parametrize(
        ("content", "width", "expected"),
        [
            (SEVERAL, 40, {STATE: 4, PROVIDER: 15, ID: 8, LEFT: 6}),
            (SEVERAL, 80, {STATE: 10, PROVIDER: 15, ID: 8, PROGRESS: 4, AGE: 6, LEFT: 6, DETAIL: 19}),
            (SEVERAL, 118, {STATE: 10, PROVIDER: 15, ID: 36, PROGRESS: 4, AGE: 6, LEFT: 6, DETAIL: 29}),
            (SEVERAL, 200, {STATE: 10, PROVIDER: 15, ID: 36, PROGRESS: 17, AGE: 6, LEFT: 6, DETAIL: 98}),
            (ONE, 40, {STATE: 10, ID: 8, AGE: 6, LEFT: 6}),
            (ONE, 80, {STATE: 10, ID: 36, AGE: 6, LEFT: 6, DETAIL: 14}),
            (ONE, 118, {STATE: 10, ID: 36, AGE: 6, LEFT: 6, DETAIL: 52}),
            (ONE, 200, {STATE: 10, ID: 36, AGE: 6, LEFT: 6, DETAIL: 134}),
        ],
    )
    def test_a_width_has_these_columns(self, content: Content, width: int, expected: dict[Column, int]) -> None:
        """From left to right, none cut but ids, of which a part is enough."""
        layout = choose_columns(width, content)

        assert layout.widths == expected
        assert list(layout.widths) == list(expected)
        assert layout.width <= width

    @given(
        width=st.integers(16, 400),
        content=st.builds(
            Content, longest_provider=st.integers(0, 60), longest_id=st.integers(0, 256), has_progress=st.booleans()
        ),
    )
    def test_a_row_is_never_wider_than_the_terminal(self, width: int, content: Content) -> None:
        """Whatever is shown; state and id are always there, and all room is used if there is a result."""
        layout = choose_columns(width, content)

        assert layout.width <= width
        assert {STATE, ID} <= set(layout.widths)
        assert (PROVIDER in layout.widths) == bool(content.longest_provider)
        assert DETAIL not in layout.widths or layout.width == width
        assert min(layout.widths.values()) > 0

    @pytest.mark.parametrize("content", [ONE, SEVERAL], ids=["one provider", "several"])
    def test_a_wider_terminal_shows_what_is_more_important(self, content: Content) -> None:
        """Something is lost only for a more important column, or where columns are further apart."""
        layouts = [choose_columns(width, content) for width in range(16, 401)]

        for narrow, wide in itertools.pairwise(layouts):
            if narrow.gap == wide.gap:
                assert rank(narrow) <= rank(wide)

    def test_ids_of_one_letter_have_room_for_their_head(self) -> None:
        """The head of a column is never cut."""
        assert choose_columns(80, Content(longest_provider=0, longest_id=1, has_progress=False)).widths[ID] == 2


class TestLines:
    """`divide_lines`: what fits into a height."""

    def test_a_small_terminal_has_providers_and_tasks(self) -> None:
        """24 lines: five for the head and the keys, one for each provider, a head, and the rest for tasks."""
        lines = divide_lines(24, providers=5, problems=0)

        assert (lines.providers, lines.problems, lines.has_head, lines.rows) == (5, 0, True, 13)

    def test_one_provider_has_no_line_of_its_own(self) -> None:
        """The totals are its."""
        assert divide_lines(24, providers=1, problems=0).providers == 0

    def test_problems_take_lines_from_tasks(self) -> None:
        """Each failing provider has a line, as long as there are some tasks."""
        assert divide_lines(24, providers=5, problems=2).rows == 11
        assert divide_lines(24, providers=30, problems=30).problems == 16

    @given(height=st.integers(1, 100), providers=st.integers(1, 40), problems=st.integers(0, 40))
    def test_there_are_never_more_lines_than_the_terminal_has(self, height: int, providers: int, problems: int) -> None:
        """From the five lines on that are always there."""
        lines = divide_lines(height, providers=providers, problems=min(problems, providers))

        assert 5 + lines.providers + lines.problems + lines.has_head + lines.rows == max(height, 5)
