"""Rendering of the board: the whole screen, the bars alone, and one line for where nothing can be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Group
from rich.text import Text

from acetasks import RateLimitError, TaskState, TransportError
from acetasks._records import escape_controls
from acetasks.cli.board.layout import choose_columns, divide_lines
from acetasks.cli.board.rows import head_line, measure, row_line
from acetasks.cli.board.texts import STATES, Canvas, first_that_fits
from acetasks.cli.formatting import format_clock, format_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleDimensions, RenderableType

    from acetasks.cli.board.model import BoardModel, Counts
    from acetasks.cli.board.view import BoardView


#: Bounds of a bar's width.
_MIN_BAR, _MAX_BAR = 6, 48
_KEYS = "q quit   j/k scroll   space/b page   f failed only"
_SHORT_KEYS = "q quit  j/k scroll  f failed"
_UNFILTERED_KEYS, _SHORT_UNFILTERED_KEYS = _KEYS.replace("failed only", "all tasks"), "q quit  j/k scroll  f all"


class BoardRenderer:
    """Renders a board for one console.

    Args:
        console: Its encoding and colours decide how bars are drawn.
        title: What is shown, such as the command.
        failed_note: Explains the failed tasks where they are expected, such as "as scripted"; empty for nothing.
    """

    def __init__(self, console: Console, *, title: str = "", failed_note: str = "") -> None:
        self._title, self._failed_note = title, failed_note
        self._canvas = Canvas(console)

    def render_board(
        self, model: BoardModel, view: BoardView, size: ConsoleDimensions, held_messages: int = 0
    ) -> RenderableType:
        """Return the board in the size of a terminal.

        Args:
            model: The board.
            view: What of it is in view.
            size: Width and height of the terminal.
            held_messages: Number of warnings that are printed when the board has been left.
        """
        width, failing = size.width, _find_failing(model)
        lines = divide_lines(size.height, providers=len(model.providers), problems=len(failing))
        total, providers = model.count()
        layout = choose_columns(width, measure(model))
        top, rows = view.window(lines.rows)
        content = [
            self._title_line(model, width),
            self._bar_line("", total, width),
            self._totals_line(total, width),
            self._requests_line(model, width),
            *self._problem_lines(model, failing[: lines.problems], width),
            *(self._provider_lines(providers, width) if lines.providers else ()),
            *([head_line(layout)] if lines.has_head else ()),
            *(row_line(self._canvas, model, row, layout) for row in rows),
        ]
        blank = size.height - len(content) - 1
        content += [Text()] * blank
        content.append(_keys_line(view, top, len(rows), width, held_messages))
        return Group(*content)

    def render_bars(self, model: BoardModel, width: int) -> RenderableType:
        """Return the board without its tasks: a bar for each provider, the totals and what fails."""
        total, providers = model.count()
        clock = format_clock(model.elapsed)
        return Group(
            *self._provider_lines(providers, width),
            self._totals_line(total, width, clock),
            *self._problem_lines(model, _find_failing(model), width),
        )

    def format_line(self, model: BoardModel) -> str:
        """Return the board as one line, for output without a terminal."""
        total, _ = model.count()
        failed = f" ({total.failures:,} failed{self._parenthesis(', ')})" if total.failures else ""
        ended = f"{format_clock(model.elapsed)} {total.over:,} of {total.tasks:,} tasks ended{failed}"
        counted = format_count(model.requests, "request")
        failures = [_describe_failure(model, provider)[0] for provider in _find_failing(model)]
        return "; ".join([ended, f"{counted}, {model.request_rate:.1f} per second", *failures])

    # Lines of the head.

    def _title_line(self, model: BoardModel, width: int) -> Text:
        clock, providers = format_clock(model.elapsed), list(model.providers)
        owner = providers[0] if len(providers) == 1 else f"{len(providers)} providers"
        tasks = format_count(len(model.rows), "task")
        names = [f"{self._title}: {tasks} of {owner}", f"{tasks} of {owner}", tasks]
        name = self._canvas.crop(first_that_fits(names, width - len(clock) - 2), width - len(clock) - 2)
        return Text.assemble((set_cell_size(name, max(width - len(clock), 0)), "bold"), clock)

    def _totals_line(self, total: Counts, width: int, clock: str = "") -> Text:
        """Return the number of tasks in each state that any is in, after the time if it is not in the title."""
        found = [(getattr(total, name), text, name) for name, text in STATES.items() if getattr(total, name)]
        variants = []
        for is_short, note in ((False, self._parenthesis(" ")), (False, ""), (True, "")):
            parts: list[tuple[str, str]] = [("  ", ""), (clock, "")] if clock else []
            for count, text, name in found:
                suffix = note if name == TaskState.FAILED else ""
                word = f"{count:,} {text.short if is_short else text.word}{suffix}"
                parts += [("  ", ""), (word, text.style)]
            variants.append(Text.assemble(*parts[1:]))
        return _crop_text(next((text for text in variants if text.cell_len <= width), variants[-1]), width)

    def _requests_line(self, model: BoardModel, width: int) -> Text:
        rate, requests = f"{model.request_rate:.1f}", f"{model.requests:,}"
        tasks = round(model.polled_ids / model.requests) if model.requests else 0
        mean = f", {format_count(tasks, 'task')} in each" if tasks else ""
        variants = [
            f"{rate} requests/s over the last 10 s, {requests} in all{mean}",
            f"{rate} requests/s, {requests} in all",
            f"{rate} requests/s",
        ]
        return Text(first_that_fits(variants, width), "dim")

    def _provider_lines(self, providers: dict[str, Counts], width: int) -> Iterator[Text]:
        longest = min(max(map(cell_len, providers), default=0), width // 2)
        ended = max((len(f"{counts.tasks:,}") for counts in providers.values()), default=0)
        for provider, counts in providers.items():
            name = set_cell_size(self._canvas.crop(provider, longest), longest)
            yield self._bar_line(name, counts, width, digits=ended)

    def _bar_line(self, name: str, counts: Counts, width: int, *, digits: int = 0) -> Text:
        """Return a name, a bar, the number of ended tasks, and that of failures if there is room.

        Args:
            name: Padded; empty for none, and then without failures.
            counts: What is counted.
            width: Width of the line.
            digits: Width of the largest number of tasks in a line below or above.
        """
        tasks = f"{counts.tasks:,}".rjust(digits)
        ended = f"{counts.over:,}".rjust(len(tasks)) + f" of {tasks}"
        failures = f"{counts.failures:,} failed" if counts.failures and name else ""
        head = f"{name}  " if name else ""
        room = width - cell_len(head) - len(ended) - 2
        bar = min(room - len("  9,999 failed"), _MAX_BAR) if name else room
        if bar < _MIN_BAR:
            bar, failures = min(room, _MAX_BAR), ""
        line = Text(head, no_wrap=True)
        if bar >= _MIN_BAR:
            line.append_text(self._canvas.draw_bar(counts.over, counts.tasks, bar)).append("  ")
        line.append(ended)
        if failures:
            line.append("  ").append(failures, "red")
        return _crop_text(line, width)

    def _problem_lines(self, model: BoardModel, failing: Sequence[str], width: int) -> Iterator[Text]:
        for provider in failing:
            variants, error = _describe_failure(model, provider), model.providers[provider].error
            line = first_that_fits(variants, width)
            if error is not None and cell_len(line) + len(": ...") < width:
                # The page of a gateway says no more than the status before it.
                reason = str(error).removeprefix(f"{provider}: ").partition(": <")[0]
                line += f": {escape_controls(reason)}"
            yield Text(self._canvas.crop(line, width), "yellow")

    # Texts.

    def _parenthesis(self, before: str) -> str:
        if not self._failed_note:
            return ""
        return f"{before}({self._failed_note})" if before == " " else f"{before}{self._failed_note}"


def _find_failing(model: BoardModel) -> list[str]:
    """Return the providers owner last request has failed, or that are paused."""
    return [
        provider
        for provider, health in model.providers.items()
        if health.failing_since is not None or model.seconds_to_retry(provider) is not None
    ]


def _describe_failure(model: BoardModel, provider: str) -> tuple[str, str]:
    """Return in one phrase, and in a shorter one, what fails, since when, and when it is tried again."""
    match model.providers[provider].error:
        case RateLimitError():
            what = "rate limited"
        case TransportError():
            what = "unreachable"
        case _:
            what = "polls fail"
    failing, retry = model.seconds_failing(provider), model.seconds_to_retry(provider)
    since = "" if failing is None else f"{failing:.0f} s"
    again = "" if retry is None else f" in {retry:.0f} s"
    long = f"{provider}: {what}{f' for {since}' if since else ''}, retrying{again}"
    return long, f"{provider}: {what} {since}{f', next{again}' if again else ''}"


def _keys_line(view: BoardView, top: int, shown: int, width: int, held_messages: int) -> Text:
    rows = len(view.rows)
    part = f"{top + 1:,}-{top + shown:,} of {rows:,}" if shown else f"0 of {rows:,}"
    keys, short = (_UNFILTERED_KEYS, _SHORT_UNFILTERED_KEYS) if view.only_failed else (_KEYS, _SHORT_KEYS)
    warned = f"   warnings at the end: {held_messages}" if held_messages else ""
    variants = [f"{part}   {keys}{warned}", f"{part}  {short}{warned}", f"{part}  {short}", f"{part}  q j/k f"]
    return Text(set_cell_size(first_that_fits(variants, width), width), "reverse")


def _crop_text(text: Text, width: int) -> Text:
    text.truncate(width, overflow="crop")
    return text
