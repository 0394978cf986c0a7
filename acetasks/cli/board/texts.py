"""Texts of the board: states, and texts that are shortened to fit. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.progress_bar import ProgressBar
from rich.text import Text

from acetasks import TaskState
from acetasks.cli.board.model import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console


class StateText(msgspec.Struct, frozen=True):
    """Words and style of a state, in the order of the totals."""

    word: str
    short: str
    style: str


#: States by `Row.state_name`.
STATES = {
    TaskState.RUNNING.value: StateText("running", "run", "cyan"),
    TaskState.PENDING.value: StateText("pending", "wait", "dim"),
    TaskState.SUCCEEDED.value: StateText("succeeded", "done", "green"),
    TaskState.PARTIAL.value: StateText("partial", "part", "magenta"),
    TaskState.FAILED.value: StateText("failed", "fail", "red"),
    TaskState.NOT_FOUND.value: StateText("not found", "lost", "red"),
    UNREADABLE: StateText("error", "err", "red"),
    "unsubmitted": StateText("not submitted", "new", "dim"),
}


class Canvas:
    """The characters and colours that a console has.

    Args:
        console: The console.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._ellipsis = ">" if console.options.ascii_only else "…"

    def crop(self, text: str, width: int) -> str:
        """Shorten a text to a width, and show that it is shortened."""
        if cell_len(text) <= width:
            return text
        return set_cell_size(text, width - 1) + self._ellipsis if width > 1 else set_cell_size(text, max(width, 0))

    def draw_bar(self, completed: float, total: float, width: int) -> Text:
        """Return a bar of a width."""
        bar = ProgressBar(
            total, completed, width=width, style="bright_black", complete_style="blue", finished_style="green"
        )
        segments = self._console.render(bar, self._console.options.update(width=width))
        text = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        # Without colours the rest of the bar is not drawn.
        text.pad_right(width - text.cell_len)
        return text


def first_that_fits(variants: Iterable[str], width: int) -> str:
    """Return the first text that fits into a width, or else the last."""
    last = ""
    for last in variants:
        if cell_len(last) <= width:
            break
    return last
