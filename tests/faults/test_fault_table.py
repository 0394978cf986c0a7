"""Outcome of every fault in the table, and absence of the token from everything that is shown."""

from __future__ import annotations

import collections
import logging
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_table import (
    CANARY,
    ROWS,
    SUBMISSIONS,
    Result,
    Row,
    Submission,
    broken,
    closed,
    run_killed,
    run_row,
    write_table,
)

from acetasks import EntryState

if TYPE_CHECKING:
    from collections.abc import Iterator

RELIABILITY = Path(__file__).parents[2] / "docs" / "reliability.md"
TESTS = str(Path(__file__).parent)
#: Faults of the process itself: the restarted one does not have them, or only what they do to the service.
CLIENT_FAULTS = {broken, closed}


@pytest.fixture(scope="module")
def plain() -> Result:
    """Result of a scenario without a fault."""
    return run_row(ROWS[0], "wait")


@pytest.fixture(autouse=True)
def _all_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Capture log records of all levels."""
    caplog.set_level(logging.DEBUG)


def list_texts(result: Result, caplog: pytest.LogCaptureFixture) -> Iterator[str]:
    """Yield every text that a scenario could show, variables of tracebacks included."""
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
    """Yield an error, its causes and the variables of all frames except those of the tests."""
    seen: set[int] = set()
    chain = [error]
    while chain:
        current = chain.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        chain += [other for other in (current.__cause__, current.__context__) if other is not None]
        yield repr(current)
        for frame, line in traceback.walk_tb(current.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                yield f"{frame.f_code.co_qualname}:{line} {frame.f_locals!r}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_wait_outcome(row: Row, plain: Result, caplog: pytest.LogCaptureFixture):
    """Every way of waiting ends as expected, at the same cost, cleans up and does not show the token."""
    costs = set()
    for way in ("wait", "as_completed", "wait_all"):
        caplog.clear()
        result = run_row(row, way)
        listed = row.outcome if row.listed is None else row.listed
        assert (result.outcome, result.raised) == ((row.outcome, "") if way == "wait" else (listed, row.raised))
        assert result.requests <= plain.requests + row.extra
        assert result.seconds <= plain.seconds + row.late
        assert result.is_complete
        assert result.was_hit
        assert result.left == []
        assert [text for text in list_texts(result, caplog) if CANARY in text] == []
        check_log(result, caplog, row)
        costs.add((result.requests, round(result.seconds, 3)))
    assert len(costs) == 1, "the ways of waiting differ in cost"


def check_log(result: Result, caplog: pytest.LogCaptureFixture, row: Row) -> None:
    """Check that an outage is logged once when it begins and once when it ends, and an unexpected exception once."""
    logged = [record for record in caplog.records if record.name == "acetasks" and record.levelno > logging.DEBUG]
    began = [record for record in logged if record.levelno == logging.WARNING]
    bugs = [record for record in logged if record.levelno == logging.ERROR]
    assert len(bugs) == row.bugs
    assert len(began) <= row.outages
    assert len(logged) - len(bugs) - len(began) <= len(began)
    kinds = [type(event).__name__ for event in result.events]
    assert kinds.count("OutageBegan") - kinds.count("OutageEnded") in {0, 1}


def test_one_minute_outage_logs_two_lines(caplog: pytest.LogCaptureFixture):
    """A provider that fails for a minute logs one warning and one recovery."""
    (row,) = (row for row in ROWS if row.name == "500 for a minute")
    run_row(row, "wait")
    logged = [
        record.getMessage() for record in caplog.records if record.name == "acetasks" and record.levelno > logging.DEBUG
    ]
    assert len(logged) == 2
    assert ": requests keep failing; " in logged[0]
    assert ": requests succeed again after " in logged[1]


@pytest.mark.parametrize("row", SUBMISSIONS, ids=lambda row: row.name)
def test_submission_is_sent_once(row: Submission, caplog: pytest.LogCaptureFixture):
    """A submission is repeated only if it did not reach the service, and ends as expected, without the token."""
    result = run_row(row, "submit")
    assert result.outcome == row.outcome
    assert result.requests <= row.posts
    assert result.made == row.made
    assert result.was_hit
    assert result.left == []
    assert [text for text in list_texts(result, caplog) if CANARY in text] == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_restart_after_a_kill(row: Row):
    """A restarted process awaits what had not ended, and nothing else, with the outcome that it has without a kill."""
    result = Result()
    found = run_killed(row, result=result)
    before = {entry.key: entry for entry in found.ended}
    states = collections.Counter(str(entry.state) for entry in found.entries)
    listed = row.outcome if row.listed is None else row.listed
    assert len(found.entries) == row.count == len(before) + found.resumed
    assert [entry for entry in found.entries if entry.key in before] == found.ended, "an end was written again"
    assert found.polled.isdisjoint(entry.task_id for entry in found.ended)
    assert found.posts == 0
    assert result.was_hit
    assert result.left == []
    if row.arrange in CLIENT_FAULTS:
        return
    assert found.raised == row.raised
    for part in filter(None, listed.split(", ")):
        count, state = part.split()
        # What is not found has not ended: another token, or a later look, may find it.
        assert states["accepted" if state == "not_found" else state] == int(count)


@pytest.mark.parametrize("is_noted", [False, True], ids=["before it is noted", "then"])
@pytest.mark.parametrize("row", SUBMISSIONS, ids=lambda row: row.name)
def test_submission_is_paid_for_once_after_a_kill(row: Submission, is_noted: bool):  # noqa: FBT001  # a parameter of the test
    """The task is awaited by the restarted process, or the doubt reported; only a refused key is submitted again."""
    result = Result()
    found = run_killed(row, is_noted=is_noted, result=result)
    (entry,) = found.entries
    is_free = found.text == "refused: the key is free"
    assert result.left == []
    assert bool(found.posts) <= is_free
    assert found.made == max(row.made, entry.task_id is not None) <= 1
    # 1. It was paid for, and awaited.   2. It was refused, and the next call was refused likewise, or was not.
    # 3. It was never sent or never accepted, and nobody knows.
    if row.made:
        assert found.text in ({"adopted: succeeded"} if not is_noted else {"adopted: succeeded", "resumed: succeeded"})
        assert (entry.state, found.raised) == (EntryState.SUCCEEDED, "")
    elif is_noted and row.outcome != "SubmissionUncertainError":
        assert is_free
        assert entry.state in {EntryState.SUCCEEDED, EntryState.REFUSED}
        assert found.raised in {"", row.outcome}
    else:
        assert found.text == "reported as absent" or found.text.startswith("uncertain: `")
        assert (entry.task_id, found.raised) == (None, "SubmissionUncertainError")


def test_documented_table_is_current():
    """docs/reliability.md has the current fault table."""
    assert write_table() in RELIABILITY.read_text(encoding="utf-8")


def test_token_search_finds_the_token():
    """The search finds a token in a variable of a traceback."""
    namespace = {"canary": CANARY}
    exec(compile("def show(token): raise ValueError\n", "elsewhere.py", "exec"), namespace)  # noqa: S102  # a frame outside the tests
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # raised by this test
        namespace["show"](CANARY)
    assert any(CANARY in text for text in list_traceback_texts(caught.value))
