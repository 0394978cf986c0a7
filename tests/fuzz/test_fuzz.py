"""The fuzzer finds nothing, and would find something if it were there."""

from __future__ import annotations

import json
import os
import random

import pytest

from acetasks import ProtocolError

from . import corpus, readers
from .campaign import FindingError, find_gaps, replay, run
from .readers import Case

#: Enough to reach every documented outcome; `python -m fuzz` examines a million.
INPUTS = int(os.environ.get("ACETASKS_FUZZ_INPUTS", "20000"))


@pytest.mark.timeout(30 + INPUTS // 1000)
def test_no_input_breaks_a_promise() -> None:
    """Whatever comes, each reader ends as its docstring says; and the inputs reach all that it says."""
    tally = run(INPUTS, seed=1)

    assert tally.inputs >= INPUTS
    assert find_gaps(tally) == []


def test_the_same_seed_is_the_same_campaign() -> None:
    """What a failed campaign has found is found again."""
    cases: list[list[Case]] = [[], [], []]

    for found, seed in zip(cases, (7, 7, 8), strict=True):
        run(600, seed, found.append)

    assert cases[0] == cases[1] != cases[2]


def test_an_input_that_breaks_a_promise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes alone, shrunk to what it takes, with the line that replays it."""

    def stumble(case: Case, _: object) -> None:
        if b"state" in case.body:
            raise KeyError("state")

    monkeypatch.setitem(readers.READERS, "read_record", (stumble, (ProtocolError,)))

    with pytest.raises(FindingError, match=r"(?s)read_record of provider '.*KeyError.* b'state'\n") as caught:
        run(2_000, seed=1)

    assert caught.value.case.body == b"state"
    assert Case.unpack(str(caught.value).rsplit("'", 2)[1]) == caught.value.case
    with pytest.raises(FindingError, match="KeyError"):
        replay(caught.value.case)


def test_what_is_read_in_two_ways_breaks_a_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader may not answer by the weather."""
    monkeypatch.setitem(readers.READERS, "read_record", (lambda *_: random.random(), ()))

    with pytest.raises(FindingError, match="the same input is read the same way twice"):
        replay(Case(function="read_record", provider="luma", status=200, body=b"{}"))


def test_an_empty_campaign_proves_nothing() -> None:
    """Every outcome that was not reached is named."""
    gaps = find_gaps(readers.Tally())

    assert {"normalize never ended in ProtocolError", "no task was partial", "there were no unread records"} <= {*gaps}


def test_every_value_of_a_sample_is_found() -> None:
    """What stands in a span of a sample is one JSON value, and as many spans are there as values."""
    for position in range(len(corpus.SAMPLE_ANSWERS)):
        base = corpus.take_sample(random.Random(1), position)
        for start, end in base.values:
            json.loads(base.body[start:end])
        for start, end in base.members:
            assert len(json.loads(b"{%b}" % base.body[start:end])) == 1
        assert not base.values or len(base.values) == count(json.loads(base.body))


def count(value: object) -> int:
    """Count the values within a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inner))
