"""Every fault of the table: what comes of it, and that nothing of it shows the token."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_table import CANARY, ROWS, SUBMISSIONS, Result, Row, Submission, play, write_table

if TYPE_CHECKING:
    from collections.abc import Iterator

README = Path(__file__).parents[2] / "README.md"
TESTS = str(Path(__file__).parent)


@pytest.fixture(scope="module")
def plain() -> Result:
    """What comes of a scene in which nothing goes wrong."""
    return play(ROWS[0], "wait")


@pytest.fixture(autouse=True)
def _all_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Log all that anybody has to say."""
    caplog.set_level(logging.DEBUG)


def list_texts(result: Result, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """List all that a program could show of a scene, variables of tracebacks included."""
    for error in result.errors:
        yield from (repr(error), str(error), repr(vars(error)))
        yield from list_traceback_texts(error)
    yield from map(repr, result.events)
    for event in result.events:
        if (error := getattr(event, "error", None)) is not None:
            yield from list_traceback_texts(error)
    yield from result.reprs
    for record in caplog.records:
        yield repr(vars(record))
        yield caplog.handler.format(record)
        if record.exc_info and record.exc_info[1]:
            yield from list_traceback_texts(record.exc_info[1])


def list_traceback_texts(error: BaseException) -> Iterator[str]:
    """Write down an error and whatever it came of, with the variables of every frame but the tests' own."""
    seen: set[int] = set()
    chain = [error]
    while chain:
        one = chain.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        chain += [other for other in (one.__cause__, one.__context__) if other is not None]
        yield repr(one)
        for frame, line in traceback.walk_tb(one.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                yield f"{frame.f_code.co_qualname}:{line} {frame.f_locals!r}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_wait_survives_or_reports(row: Row, plain: Result, caplog: pytest.LogCaptureFixture):
    """Each way of waiting gives what the row says, at its price, leaves nothing behind and shows no token."""
    costs = set()
    for way in ("wait", "as_completed", "wait_all"):
        caplog.clear()
        result = play(row, way)
        listed = row.outcome if row.listed is None else row.listed
        assert (result.outcome, result.raised) == ((row.outcome, "") if way == "wait" else (listed, row.raised))
        assert result.requests <= plain.requests + row.extra
        assert result.seconds <= plain.seconds + row.late
        assert result.is_complete
        assert result.was_hit
        assert result.left == []
        assert [text for text in list_texts(result, caplog) if CANARY in text] == []
        check_log(result, caplog, row.outages)
        costs.add((result.requests, round(result.seconds, 3)))
    assert len(costs) == 1, "the ways of waiting differ in what they cost"


def check_log(result: Result, caplog: pytest.LogCaptureFixture, outages: int) -> None:
    """Hold what is logged against the promise: a line when trouble begins to last, and one when it is over."""
    told = [record for record in caplog.records if record.name == "acetasks" and record.levelno > logging.DEBUG]
    began = [record for record in told if record.levelno == logging.WARNING]
    assert len(began) <= outages
    assert len(told) - len(began) <= len(began)
    kinds = [type(event).__name__ for event in result.events]
    assert kinds.count("OutageBegan") - kinds.count("OutageEnded") in {0, 1}


def test_an_outage_of_a_minute_is_logged_in_two_lines(caplog: pytest.LogCaptureFixture):
    """A provider that fails for a minute is one warning and one word that it is back."""
    (row,) = (row for row in ROWS if row.name == "500 for a minute")
    play(row, "wait")
    told = [
        record.getMessage() for record in caplog.records if record.name == "acetasks" and record.levelno > logging.DEBUG
    ]
    assert [text.split(",")[0].split(":")[1] for text in told] == [" requests keep failing", " requests succeed again"]


@pytest.mark.parametrize("row", SUBMISSIONS, ids=lambda row: row.name)
def test_a_submission_is_paid_for_once(row: Submission, caplog: pytest.LogCaptureFixture):
    """A submission is sent once unless it surely did not arrive, and ends as the row says, without the token."""
    result = play(row, "submit")
    assert result.outcome == row.outcome
    assert result.requests <= row.posts
    assert result.made == row.made
    assert result.was_hit
    assert result.left == []
    assert [text for text in list_texts(result, caplog) if CANARY in text] == []


def test_the_readme_quotes_the_table():
    """README's reliability page shows what comes of every fault today."""
    assert write_table() in README.read_text(encoding="utf-8")


def test_the_search_for_the_token_finds_it():
    """The check of what is shown sees a token in a variable of a traceback."""
    namespace = {"canary": CANARY}
    exec(compile("def show(token): raise ValueError\n", "elsewhere.py", "exec"), namespace)  # noqa: S102  # no test's frame
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the test's own
        namespace["show"](CANARY)
    assert any(CANARY in text for text in list_traceback_texts(caught.value))
