"""What a reader sees of received text, times and prices."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks.report import text as formats


@pytest.mark.parametrize(
    ("received", "shown"),
    [
        ("a\r\nb\rc\u2028d\u2029e\x85f\x0bg", "a\nb\nc\nd\ne\nf\ng"),
        ("tab\tstays", "tab\tstays"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("\u2066\u2069\u200b\ufeff", r"\u2066\u2069\u200b\ufeff"),
        ("\x00\x1b[31m\x7f", r"\u0000\u001b[31m\u007f"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\udb40\udc41"),
        # Joiners belong to emoji and to several scripts.
        ("👩\u200d🚀 नि\u200cत्य", "👩\u200d🚀 नि\u200cत्य"),
        ("שלום", "שלום"),
    ],
)
def test_text_is_cleaned(received: str, shown: str) -> None:
    """Line ends stay, and what shows nothing or misleads is an escape."""
    assert formats.clean_text(received) == shown


@given(st.text(st.characters(categories=None), max_size=50))
def test_cleaned_text_can_be_in_a_file(received: str) -> None:
    """Whatever was received is UTF-8 without control characters, and cleaning again changes nothing."""
    shown = formats.clean_text(received)
    assert shown.encode().decode() == shown
    assert not any(ord(char) < 32 and char not in "\t\n" for char in shown)
    assert formats.clean_text(shown) == shown


def test_text_is_shortened() -> None:
    """The number of characters left out is named."""
    assert formats.shorten_text("abc", 3) == "abc"
    assert formats.shorten_text("ab " + "c" * 1500, 3) == "ab … (1,500 more characters)"


@pytest.mark.parametrize("seconds", [None, -1.0, 0.0, float("nan"), float("inf"), 1e300])
def test_odd_times_are_unknown(seconds: float | None) -> None:
    """No calendar has them."""
    assert formats.check_time(seconds) is None


def test_times_are_utc() -> None:
    """For people and for programs."""
    assert formats.check_time(1_780_000_000.5) == 1_780_000_000.5
    assert formats.format_time(1_780_000_000.9) == "2026-05-28 20:26:40"
    assert formats.format_iso_time(1_780_000_000.9) == "2026-05-28T20:26:40Z"
    assert formats.format_time(253_402_214_399.0) == "9999-12-30 23:59:59"


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        (0.4, "credit", "0.4 credits"),
        (1.0, "credit", "1 credit"),
        (1204.50001, "credit", "1,204.5 credits"),
        (0.1 + 0.2, "USD", "0.3 USD"),
        (0.0, "", "0"),
        (100.0, "", "100"),
    ],
)
def test_amounts_have_units(value: float, currency: str, shown: str) -> None:
    """Without rounding errors and superfluous zeros."""
    assert formats.format_amount(value, currency) == shown


def test_markup_is_compacted() -> None:
    """Between tags only: line ends in a text stay."""
    assert formats.compact_markup("<b>\n\n  <i>a\n b</i>\n</b> <u>") == "<b><i>a\n b</i></b> <u>"
