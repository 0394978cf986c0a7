"""The end of a submission, for each way in which it may end."""

from __future__ import annotations

from pathlib import Path

import pytest
from ending_table import ENDINGS, Ending, measure, write_ending_table
from fault_table import CANARY

from acetasks.testing import run

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.name)
def test_nothing_paid_is_lost(ending: Ending):
    """The error, its note, the events, the warnings and the cost are the expected ones; no task is left running."""
    result = run(measure(ending))
    assert (result.raised, result.note) == (ending.raised, ending.note)
    assert (result.listed_events, result.warns) == (ending.events, ending.warns)
    assert (result.posts, result.made) == (ending.posts, ending.made)
    assert result.left == []
    assert [text for text in result.texts if CANARY in text] == []


def test_documented_ending_table_is_current():
    """docs/reliability.md has the current table."""
    assert write_ending_table() in RELIABILITY.read_text(encoding="utf-8")
