"""The picture of the board in the documentation."""

from __future__ import annotations

from board_picture import PICTURE, read_lines, render_picture


def test_the_picture_shows_what_the_board_shows() -> None:
    """Where it fails, `nox -s board-picture` writes it anew; nothing in it is loaded from elsewhere."""
    svg = render_picture()
    saved = PICTURE.read_text("utf-8")

    assert read_lines(saved) == read_lines(svg)
    assert len(read_lines(saved)) == 26
    assert len(saved) < 40_000
    assert "src:" not in saved
    assert "url(h" not in saved
