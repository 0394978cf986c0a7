"""What stays of a board on the terminal when it has gone: the tasks without all of their results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from acetasks.cli.task_lines import format_task_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.cli.board.model import BoardModel

#: Failed tasks that are listed one by one.
_MAX_FAILURES = 20


def render_failures(model: BoardModel, width: int | None) -> Iterator[Text]:
    """Yield a line for each task that has ended without all of its results, in the order of the arguments.

    Args:
        model: The board.
        width: As for `format_task_line`.
    """
    failed = [row for row in model.rows.values() if row.needs_attention]
    for row in failed[:_MAX_FAILURES]:
        yield format_task_line(row.task, row.error, width=width)
    if len(failed) > _MAX_FAILURES:
        yield Text(f"and {len(failed) - _MAX_FAILURES:,} more", "dim")
