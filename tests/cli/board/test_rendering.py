"""What the board looks like, at every width."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.text import Text

from acetasks import RateLimitError, ServiceError, TaskState, TransportError
from acetasks.cli.board.rendering import BoardRenderer
from acetasks.cli.board.summary import render_failures
from acetasks.cli.board.view import BoardView
from acetasks.events import OutageBegan
from acetasks.events import RequestFailed as Failed
from acetasks.events import RequestSent as Sent
from acetasks.models import Artifact, TaskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.board.conftest import Board

    MakeBoard = Callable[..., Board]

PROVIDERS = ("luma", "veo", "flux", "pixverse", "useapi-pixverse")
ID = "7489df4c-ef03-4de0-b598-e9a5907934{:02}"
UTF8, ASCII = "utf-8", "ascii"


def draw(renderable: object, width: int, *, encoding: str = UTF8) -> list[str]:
    """Return the lines of something that is drawn without colours."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
    Console(width=width, height=24, file=stream, _environ={}, color_system=None).print(renderable)
    return stream.buffer.getvalue().decode(encoding).splitlines()


def renderer(encoding: str = UTF8, **options: str) -> BoardRenderer:
    """Return a renderer for a terminal with an encoding."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return BoardRenderer(Console(file=stream, _environ={}, color_system=None), **options)


@pytest.fixture
def board(make_board: MakeBoard) -> Board:
    """Twenty tasks of five providers, in every state, one of them down."""
    keys = [(PROVIDERS[number % 5], ID.format(number)) for number in range(20)]
    board = make_board(*keys)
    for key in keys[:16]:
        board.change(key, created_at=board.clock.now - 75.0, progress=30.0)
    board.end(keys[0], artifacts=(Artifact(url="https://files.example/luma/video.mp4"),))
    board.end(keys[1], TaskState.FAILED, error=TaskError(message="No people, please.", code="moderated"))
    board.model.record_end(keys[2], board.model.rows[keys[2]].task, error=ServiceError("broken\x1b[2J", status=500))
    board.clock.now += 4.0
    board.model.on_event(Sent(time=board.clock.loop(), provider="luma", ids=4))
    error = TransportError("luma: POST /luma/tasks could not be sent (connection refused)")
    board.model.on_event(Failed(time=board.clock.loop() - 12.0, provider="luma", ids=4, error=error))
    board.model.on_event(OutageBegan(time=board.clock.loop(), provider="luma", error=error, until=109.0))
    return board


def draw_board(board: Board, width: int, *, height: int = 24, encoding: str = UTF8) -> list[str]:
    """Return the lines of a board."""
    frame = renderer(encoding, title="acetasks watch").render_board(
        board.model, BoardView(board.model), ConsoleDimensions(width, height)
    )
    return draw(frame, width, encoding=encoding)


class TestBoard:
    """`render_board`: the whole screen."""

    @pytest.mark.parametrize("width", [40, 80, 118, 200])
    def test_it_fills_the_terminal_and_no_more(self, board: Board, width: int) -> None:
        """24 lines, none wider than the terminal, whatever the service sends."""
        lines = draw_board(board, width)

        assert len(lines) == 24
        assert max(map(cell_len, lines)) == width
        assert "\x1b" not in "".join(lines)

    @pytest.mark.parametrize("width", [40, 80, 118, 200])
    def test_what_matters_is_at_every_width(self, board: Board, width: int) -> None:
        """Totals, rate, the failing provider since when, complete names, and the time left of each task."""
        lines = draw_board(board, width)
        text = "\n".join(lines)

        assert re.search(r"^(acetasks watch: )?20 tasks of 5 providers +0:04$", lines[0])
        assert re.search(r"1 succeeded|1 done", lines[2])
        assert re.search(r"13 run", lines[2])
        assert lines[3].startswith("0.2 requests/s")
        assert lines[4].startswith(
            "luma: unreachable 12 s, next in 5 s" if width == 40 else "luma: unreachable for 12 s, retrying in 5 s"
        )
        assert all(re.search(rf"^{provider} .* of +4( |$)", text, re.MULTILINE) for provider in PROVIDERS)
        assert re.search(rf"^run(ning)? +useapi-pixverse +{ID[:8]}.* ~\d+:\d\d", text, re.MULTILINE)
        assert re.search(r"^1-12 of 20 .*q", lines[-1])

    def test_wide_terminals_show_ids_results_and_reasons(self, board: Board) -> None:
        """In full; 80 columns show their beginnings."""
        wide, narrow = "\n".join(draw_board(board, 200, height=40)), "\n".join(draw_board(board, 80, height=40))

        assert f"{ID.format(1)}   30% " in wide or f"{ID.format(6)}   30% " in wide
        assert "https://files.example/luma/video.mp4" in wide
        assert "moderated: No people, please." in wide
        assert r"broken\u001b[2J" in wide
        assert "connection refused" in wide
        assert "https://files.ex" in narrow
        assert "moderated: No" in narrow

    def test_one_provider_is_in_the_title(self, make_board: MakeBoard) -> None:
        """And in no column."""
        lines = draw_board(make_board(("luma", "a")), 80)

        assert lines[0].startswith("acetasks watch: 1 task of luma ")
        assert draw_board(make_board(("luma", "a")), 18)[0] == "1 task        0:00"
        assert "provider" not in "".join(lines)
        assert re.search(r"^pending +a +0:00 +~2:3\d  not seen yet$", "\n".join(lines), re.MULTILINE)

    @pytest.mark.parametrize("height", [1, 3, 5, 8, 12, 60])
    def test_any_height_is_drawn(self, board: Board, height: int) -> None:
        """With the lines that are always there at least."""
        assert len(draw_board(board, 80, height=height)) in (height, max(height, 5))

    def test_an_ascii_terminal_gets_ascii(self, board: Board) -> None:
        """Bars and cut texts have other characters."""
        lines = draw_board(board, 60, encoding=ASCII)

        assert "-----" in lines[1]
        assert "".join(lines).isascii()

    def test_held_warnings_are_counted(self, board: Board) -> None:
        """They are printed when the board has been left."""
        size = ConsoleDimensions(80, 24)
        frame = renderer().render_board(board.model, BoardView(board.model), size, held_messages=2)

        assert draw(frame, 80)[-1].rstrip().endswith("warnings at the end: 2")


class TestBars:
    """`render_bars`: the board without its tasks."""

    @pytest.mark.parametrize("width", [40, 80, 118, 200])
    def test_a_provider_has_a_line(self, board: Board, width: int) -> None:
        """Then the totals with the time, and what fails; nothing is wrapped."""
        lines = draw(renderer().render_bars(board.model, width), width)

        assert len(lines) == 7
        assert lines[0].startswith("luma ")
        assert "━━━" in lines[0]
        assert lines[5].startswith("0:04  13 run")
        assert lines[6].startswith("luma: unreachable ")
        assert max(map(cell_len, lines)) <= width

    def test_failures_are_counted_where_there_is_room(self, board: Board) -> None:
        """Beside the bar of their provider."""
        assert draw(renderer().render_bars(board.model, 80), 80)[1].endswith("1 of 4  1 failed")

    def test_tasks_that_are_not_submitted_are_counted(self, make_board: MakeBoard) -> None:
        """Their provider has a bar from the beginning."""
        board = make_board()
        board.model.expect("luma", 12)
        bar, totals = draw(renderer().render_bars(board.model, 80), 80)
        assert bar.startswith("luma ") and bar.endswith(" 0 of 12")  # noqa: PT018  # one fact
        assert totals == "0:00  12 not submitted"


class TestLines:
    """Single lines and phrases."""

    def test_a_line_has_what_the_board_has(self, board: Board) -> None:
        """For where nothing can be drawn."""
        assert renderer(failed_note="as scripted").format_line(board.model) == (
            "0:04 3 of 20 tasks ended (2 failed, as scripted); 1 request, 0.2 per second;"
            " luma: unreachable for 12 s, retrying in 5 s"
        )

    def test_scripted_failures_say_so(self, board: Board) -> None:
        """So that nobody takes them for failures of acetasks."""
        frame = renderer(failed_note="as scripted").render_bars(board.model, 118)
        assert "1 failed (as scripted)" in draw(frame, 118)[5]

    @pytest.mark.parametrize(
        ("error", "phrase"),
        [
            (TransportError("no"), "veo: unreachable for 3 s, retrying: no"),
            (RateLimitError("slow down", status=429), "veo: rate limited for 3 s, retrying: "),
            (ServiceError("<html>oops</html>", status=503), "veo: polls fail for 3 s, retrying: HTTP 503"),
        ],
    )
    def test_a_failure_has_a_phrase(self, make_board: MakeBoard, error: Exception, phrase: str) -> None:
        """What fails, since when, and the reason without a gateway's page."""
        board = make_board(("veo", "a"))
        board.model.on_event(Failed(time=board.clock.loop(), provider="veo", ids=1, error=error))
        board.clock.now += 3.0
        (line,) = [line for line in draw_board(board, 118) if line.startswith("veo:")]
        assert line.startswith(phrase)
        assert "<" not in line

    def test_failures_are_listed_with_their_reasons(self, make_board: MakeBoard) -> None:
        """The first twenty, in the order of the arguments."""
        keys = [("luma", str(number)) for number in range(23)]
        board = make_board(*keys)
        for key in reversed(keys):
            board.end(key, TaskState.FAILED, error=TaskError(message="No."))
        board.end(keys[1])
        lines = [line.plain for line in render_failures(board.model, None)]

        assert len(lines) == 21
        assert isinstance(lines[0], str)
        assert re.fullmatch(r"failed +luma  0 .*No\.", lines[0])
        assert re.fullmatch(r"failed +luma  2 .*No\.", lines[1])
        assert lines[-1] == "and 2 more"
        assert not list(render_failures(make_board(*keys).model, None))
        assert isinstance(next(iter(render_failures(board.model, None))), Text)

    def test_a_reason_has_a_line_of_its_own_on_a_narrow_terminal(self, make_board: MakeBoard) -> None:
        """As in the results of `acetasks wait`."""
        board = make_board(("luma", "a"))
        board.end(("luma", "a"), TaskState.FAILED, error=TaskError(message="No people, please."))
        assert [line.plain for line in render_failures(board.model, 30)] == ["failed     luma  a\n  No people, please."]
