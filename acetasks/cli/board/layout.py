"""Layout of the board: which columns a width has room for, and how wide each is. Pure."""

from __future__ import annotations

import enum

import msgspec

#: Widths from which columns are two blanks apart, not one.
_WIDE = 60
#: Width of an id's first part, by which people tell tasks apart, and the most that is shown of one.
_SHORT_ID, _MAX_ID = 8, 40
_SHORT_STATE, _LONG_STATE = 4, 10
_MAX_PROVIDER = 16
_CLOCK = 6
_PERCENT = 4
_BAR = 12
#: A result or reason needs as much room to be worth showing, and gets as much before there are bars.
_MIN_DETAIL, _GOOD_DETAIL = 14, 28


class Column(enum.Enum):
    """Columns of the rows, in the order of display."""

    STATE = "state"
    PROVIDER = "provider"
    ID = "id"
    PROGRESS = "done"
    AGE = "age"
    LEFT = "left"
    DETAIL = "result"


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What the width of columns depends on.

    Attributes:
        longest_provider: Characters of the longest provider's name; 0 if there is one provider only, which the title
            names.
        longest_id: Characters of the longest task id.
        has_progress: Whether any task reports its progress.
    """

    longest_provider: int
    longest_id: int
    has_progress: bool


class RowLayout(msgspec.Struct, frozen=True):
    """Columns of the rows.

    Attributes:
        widths: Width of each column that is shown, in the order of display.
        gap: Blanks between two columns.
    """

    widths: dict[Column, int]
    gap: int

    @property
    def width(self) -> int:
        """Width of a row."""
        return sum(self.widths.values()) + self.gap * (len(self.widths) - 1)

    @property
    def has_long_states(self) -> bool:
        """Whether states are written out."""
        return self.widths.get(Column.STATE, 0) >= _LONG_STATE

    @property
    def has_bars(self) -> bool:
        """Whether there is room for bars of the progress."""
        return self.widths.get(Column.PROGRESS, 0) > _PERCENT


def choose_columns(width: int, content: Content) -> RowLayout:
    """Choose the columns that fit into a width.

    State, provider and the beginning of the id are always there. Then, as far as there is room: the time left, the
    progress, the age, states that are written out, the complete id, the result, and bars.

    Args:
        width: Columns of the terminal.
        content: What is shown.

    Returns:
        The layout; not wider than the terminal, unless that has no room for the three columns.
    """
    gap = 2 if width >= _WIDE else 1
    widths = {Column.STATE: _SHORT_STATE, Column.ID: max(min(_SHORT_ID, content.longest_id), len(Column.ID.value))}
    if content.longest_provider:
        room = width - sum(widths.values()) - 2 * gap
        widths[Column.PROVIDER] = max(min(content.longest_provider, _MAX_PROVIDER, room), 1)
    wishes = [(Column.LEFT, _CLOCK)]
    if content.has_progress:
        wishes.append((Column.PROGRESS, _PERCENT))
    wishes += [
        (Column.AGE, _CLOCK),
        (Column.STATE, _LONG_STATE),
        (Column.ID, max(min(content.longest_id, _MAX_ID), widths[Column.ID])),
        (Column.DETAIL, _MIN_DETAIL),
        (Column.DETAIL, _GOOD_DETAIL),
    ]
    if content.has_progress:
        wishes.append((Column.PROGRESS, _PERCENT + 1 + _BAR))
    for column, wanted in wishes:
        grown = RowLayout(widths | {column: wanted}, gap)
        if grown.width <= width:
            widths = dict(grown.widths)
    if Column.DETAIL in widths:
        widths[Column.DETAIL] += width - RowLayout(widths, gap).width
    return RowLayout({column: widths[column] for column in Column if column in widths}, gap)


class FrameLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Lines of the whole board.

    Attributes:
        providers: Lines of the providers: one for each, or none.
        problems: Lines for providers that fail.
        has_head: Whether the column heads have a line.
        rows: Lines for tasks.
    """

    providers: int
    problems: int
    has_head: bool
    rows: int


#: Title, bar, totals, requests and keys.
_FIXED_LINES = 5
#: Providers take at most this fraction of the lines, and tasks get at least so many.
_PROVIDER_SHARE, _MIN_ROWS = 4, 3


def divide_lines(height: int, *, providers: int, problems: int) -> FrameLayout:
    """Divide the lines of a terminal.

    Args:
        height: Lines of the terminal.
        providers: Number of providers.
        problems: Number of providers that fail.

    Returns:
        The layout; it has no more lines than the terminal.
    """
    left = max(height - _FIXED_LINES, 0)
    shown_problems = min(problems, max(left - _MIN_ROWS, left // 2))
    left -= shown_problems
    has_head = left > _MIN_ROWS
    left -= has_head
    shown_providers = providers if 1 < providers <= height // _PROVIDER_SHARE else 0
    if left - shown_providers < _MIN_ROWS:
        shown_providers = 0
    return FrameLayout(
        providers=shown_providers, problems=shown_problems, has_head=has_head, rows=max(left - shown_providers, 0)
    )
