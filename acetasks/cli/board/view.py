"""What of the board is in view: the order of the rows, the filter and the scroll position."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from acetasks import TaskState
from acetasks.cli.board.keys import Command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.cli.board.model import BoardModel, Row


class BoardView:
    """Rows in the order of display, and the part of them that is shown.

    Attributes:
        only_failed: Whether only tasks that need attention are shown.
        version: Changes whenever a key has changed the view.
    """

    def __init__(self, model: BoardModel) -> None:
        self._model = model
        self._sorted: tuple[tuple[int, bool], list[Row]] | None = None
        self._top = 0
        self._page = 1
        self.only_failed = False
        self.version = 0

    @property
    def rows(self) -> Sequence[Row]:
        """All rows that the filter admits, in order."""
        state = self._model.version, self.only_failed
        if self._sorted is None or self._sorted[0] != state:
            rows = [row for row in self._model.rows.values() if row.needs_attention or not self.only_failed]
            rows.sort(key=_sort_key)
            self._sorted = state, rows
        return self._sorted[1]

    def window(self, height: int) -> tuple[int, Sequence[Row]]:
        """Return the position of the first visible row, and the rows that fit into some lines."""
        self._page = max(height, 1)
        self._scroll_to(self._top)
        return self._top, self.rows[self._top : self._top + height]

    def apply(self, command: Command) -> None:
        """Scroll or filter."""
        steps = {
            Command.UP: -1,
            Command.DOWN: 1,
            Command.PAGE_UP: -self._page,
            Command.PAGE_DOWN: self._page,
        }
        match command:
            case Command.FIRST:
                self._top = 0
            case Command.LAST:
                self._scroll_to(len(self.rows))
            case Command.FILTER:
                self.only_failed = not self.only_failed
                self._top = 0
            case _:
                self._scroll_to(self._top + steps.get(command, 0))
        self.version += 1

    def _scroll_to(self, top: int) -> None:
        """Scroll, but not past the last row."""
        self._top = max(min(top, len(self.rows) - self._page), 0)


def _sort_key(row: Row) -> tuple[int, float, int]:
    """Order rows: running, oldest first; pending; without all results; succeeded, the last ended first."""
    ended_at = row.ended_at or 0.0
    if row.needs_attention:
        return 2, -ended_at, row.position
    if row.is_over:
        return 3, -ended_at, row.position
    created_at = math.inf if row.task.created_at is None else row.task.created_at
    return (1 if row.task.state is TaskState.PENDING else 0), created_at, row.position
