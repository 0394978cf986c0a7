"""A small campaign finds no failures, and the fuzzer detects deliberate ones."""

from __future__ import annotations

import json
import os
import random

import pytest

from acetasks import ProtocolError

from . import corpus, readers
from .campaign import FindingError, find_gaps, replay, run
from .readers import Case

#: Enough inputs to reach every documented outcome; `python -m fuzz` runs a million.
INPUTS = int(os.environ.get("ACETASKS_FUZZ_INPUTS", "20000"))


@pytest.mark.timeout(120 + INPUTS // 500)
def test_no_input_fails() -> None:
    """Every reader ends as documented for every input, and the inputs reach every documented outcome."""
    tally = run(INPUTS, seed=1)

    assert tally.inputs >= INPUTS
    assert find_gaps(tally) == []


def test_same_seed_gives_same_inputs() -> None:
    """The same seed gives the same inputs."""
    cases: list[list[Case]] = [[], [], []]

    for found, seed in zip(cases, (7, 7, 8), strict=True):
        run(600, seed, found.append)

    assert cases[0] == cases[1] != cases[2]


def test_failing_input_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failing input is shrunk and reported with the command that replays it."""

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


def test_inconsistent_reader_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader with random results fails a check."""
    monkeypatch.setitem(readers.READERS, "read_record", (lambda *_: random.random(), ()))

    with pytest.raises(FindingError, match="the same input gives the same result twice"):
        replay(Case(function="read_record", provider="luma", status=200, body=b"{}"))


def test_empty_campaign_has_gaps() -> None:
    """Every outcome that was not reached is reported."""
    gaps = find_gaps(readers.Tally())

    assert {"normalize never ended in ProtocolError", "no task was partial", "there were no unread records"} <= {*gaps}


def test_spans_cover_all_values() -> None:
    """Each span of a sample is one JSON value, and there are as many spans as values."""
    for position in range(len(corpus.SAMPLE_ANSWERS)):
        base = corpus.take_sample(random.Random(1), position)
        for start, end in base.values:
            json.loads(base.body[start:end])
        for start, end in base.members:
            assert len(json.loads(b"{%b}" % base.body[start:end])) == 1
        assert not base.values or len(base.values) == count(json.loads(base.body))


def count(value: object) -> int:
    """Count the JSON values in a value, itself included."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inner))
