"""Lines of the board for its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from acetasks._records import escape_controls
from acetasks.cli.board.layout import Column, Content
from acetasks.cli.board.texts import STATES
from acetasks.cli.formatting import format_age, format_estimate

if TYPE_CHECKING:
    from acetasks.cli.board.layout import RowLayout
    from acetasks.cli.board.model import BoardModel, Row
    from acetasks.cli.board.texts import Canvas

_HEADS = {Column.STATE: "state", Column.PROGRESS: "done", Column.DETAIL: "result"}
_RIGHT_ALIGNED = frozenset({Column.AGE, Column.LEFT})
#: Characters of a detail that are formatted at all: a data URL has millions.
_MAX_DETAIL = 400


def measure(model: BoardModel) -> Content:
    """Return what the widths of the columns depend on."""
    several = len(model.providers) > 1
    return Content(
        longest_provider=max(map(cell_len, (*model.providers, Column.PROVIDER.value))) if several else 0,
        longest_id=model.longest_id,
        has_progress=model.has_progress,
    )


def head_line(layout: RowLayout) -> Text:
    """Return the heads of the columns."""
    cells = []
    for column, width in layout.widths.items():
        head = set_cell_size(_HEADS.get(column, column.value), width)
        cells.append(head.rstrip().rjust(width) if column in _RIGHT_ALIGNED else head)
    return Text((" " * layout.gap).join(cells), "dim")


def row_line(canvas: Canvas, model: BoardModel, row: Row, layout: RowLayout) -> Text:
    """Return the line of one task."""
    state = STATES[row.state_name]
    line = Text(no_wrap=True)
    for column, width in layout.widths.items():
        if line:
            line.append(" " * layout.gap)
        match column:
            case Column.STATE:
                line.append(set_cell_size(state.word if layout.has_long_states else state.short, width), state.style)
            case Column.PROVIDER:
                line.append(set_cell_size(canvas.crop(row.task.provider, width), width))
            case Column.ID:
                line.append(set_cell_size(escape_controls(row.task.id), width), "bold")
            case Column.PROGRESS:
                line.append_text(_progress_cell(canvas, row, width, has_bar=layout.has_bars))
            case Column.AGE:
                line.append(format_age(model.age(row)).rjust(width))
            case Column.LEFT:
                left = model.expected_left(row)
                line.append(("" if left is None else format_estimate(left)).rjust(width))
            case Column.DETAIL:
                line.append(canvas.crop(_describe_row(row), width), state.style if row.needs_attention else "dim")
    return line


def _progress_cell(canvas: Canvas, row: Row, width: int, *, has_bar: bool) -> Text:
    progress = None if row.is_over else row.task.progress
    if progress is None:
        return Text(" " * width)
    number = f"{progress:.0f}%"
    if not has_bar:
        return Text(number.rjust(width))
    bar = canvas.draw_bar(progress, 100.0, width - len("100% "))
    return Text.assemble(number.rjust(len("100%")), " ", bar)


def _describe_row(row: Row) -> str:
    """Return the result of a task, or why there is none."""
    task = row.task
    if row.error is not None:
        text = str(row.error)
    elif task.error is not None and row.is_over:
        text = f"{task.error.code}: {task.error.message}" if task.error.code else task.error.message
    elif task.artifacts and row.is_over:
        text = next((item.url for item in task.artifacts if item.role == "main"), task.artifacts[0].url)
    elif not row.is_over and not row.is_seen:
        text = "not seen yet"
    else:
        text = ""
    return escape_controls(text[:_MAX_DETAIL])
