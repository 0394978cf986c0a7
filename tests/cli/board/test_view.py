"""The view of the board: order, filter and scrolling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from acetasks import ServiceError, TaskState
from acetasks.cli.board.keys import Command
from acetasks.cli.board.model import BoardModel
from acetasks.cli.board.view import BoardView

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from acetasks.cli.board.model import Row
    from tests.cli.board.conftest import Board

    MakeBoard = Callable[..., Board]


def ids(rows: Sequence[Row]) -> list[str]:
    """Return the ids of rows."""
    return [row.task.id for row in rows]


class TestOrder:
    """Rows in the order in which they matter."""

    def test_running_tasks_are_first_and_succeeded_ones_last(self, make_board: MakeBoard) -> None:
        """Running by age, pending, what needs attention, then the others, the last ended first."""
        keys = [("luma", name) for name in ("new", "old", "unseen", "failed", "unreadable", "first", "second")]
        board = make_board(*keys)
        board.end(keys[5])
        board.end(keys[3], TaskState.FAILED)
        board.clock.now += 1.0
        board.end(keys[6])
        board.model.record_end(keys[4], board.model.rows[keys[4]].task, error=ServiceError("no", status=500))
        board.change(keys[0], created_at=board.clock.now - 5.0)
        board.change(keys[1], created_at=board.clock.now - 50.0)

        assert ids(BoardView(board.model).rows) == ["old", "new", "unseen", "unreadable", "failed", "second", "first"]

    def test_the_filter_shows_what_needs_attention(self, make_board: MakeBoard) -> None:
        """The same key shows all again."""
        board = make_board(("luma", "a"), ("luma", "b"), ("luma", "c"))
        board.end(("luma", "a"))
        board.end(("luma", "b"), TaskState.PARTIAL)
        view = BoardView(board.model)
        view.apply(Command.FILTER)
        assert ids(view.rows) == ["b"]
        board.end(("luma", "c"), TaskState.NOT_FOUND)
        assert ids(view.rows) == ["b", "c"]
        view.apply(Command.FILTER)
        assert len(view.rows) == 3


class TestScrolling:
    """The rows in sight."""

    def test_keys_scroll_by_lines_and_pages(self) -> None:
        """Not before the first row, and not past the last."""
        view = BoardView(BoardModel(("luma", str(number)) for number in range(100)))
        assert ids(view.window(10)[1]) == [str(number) for number in range(10)]
        for command, top in [
            (Command.UP, 0),
            (Command.DOWN, 1),
            (Command.PAGE_DOWN, 11),
            (Command.PAGE_UP, 1),
            (Command.LAST, 90),
            (Command.PAGE_DOWN, 90),
            (Command.REDRAW, 90),
            (Command.FIRST, 0),
        ]:
            view.apply(command)
            assert view.window(10)[0] == top

    @given(
        commands=st.lists(st.sampled_from(Command), max_size=30),
        heights=st.lists(st.integers(0, 60), min_size=1, max_size=5),
        tasks=st.integers(1, 50),
    )
    def test_the_window_is_full_whatever_happens(self, commands: list[Command], heights: list[int], tasks: int) -> None:
        """As full as the number of rows allows, after any keys and at any height."""
        view = BoardView(BoardModel(("luma", str(number)) for number in range(tasks)))
        for command in commands:
            view.window(heights[0])
            view.apply(command)
        for height in heights:
            top, rows = view.window(height)
            assert len(rows) == min(height, len(view.rows))
            assert list(rows) == list(view.rows)[top : top + height]
