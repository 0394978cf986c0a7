"""A reading: what it tells at once, and what it works out when it is asked."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ProtocolError, Task, TaskState
from acetasks.providers import Reading, lookup, read_record, view

LUMA = lookup("luma")
#: Any value that JSON can have.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["model", "action", "a"]), inner),
    max_leaves=4,
)


def read(record: object, **options: bool) -> Reading:
    """Read a record of luma's."""
    return read_record(LUMA, msgspec.json.encode(record), **options)


@pytest.mark.parametrize("body", [b'{"id":"a"}', b'{"id":"a","created_at":7,"response":{"state":"pending"}}'])
def test_the_task_of_an_unfinished_record_is_built_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    """Most looks find nothing new, and what they would have built would be thrown away."""
    built = []

    def count(**fields: object) -> Task:
        built.append(fields["id"])
        return Task(**fields)  # type: ignore[arg-type]  # a task's own fields

    monkeypatch.setattr(view, "Task", count)
    reading = read_record(LUMA, body)
    assert (reading.id, reading.state, reading.progress, reading.raw) == ("a", TaskState.PENDING, None, body)
    assert (reading.created_at, reading.kind) == (7.0 if b"7" in body else None, ("", ""))
    assert not built

    assert reading.task is reading.task
    assert built == ["a"]


def test_an_unreadable_response_is_told_when_the_record_is_read() -> None:
    """Of a finished task its artifacts are wanted, so that it is unreadable; of another its response is not decoded."""
    body = b'{"id": "a", "response": {"state": "%s", "size": 1e999}}'

    assert read_record(LUMA, body % b"pending").task.state is TaskState.PENDING
    with pytest.raises(ProtocolError, match="a response cannot be read"):
        read_record(LUMA, body % b"completed")


def test_the_record_of_a_reading_is_a_copy() -> None:
    """Readings are dropped, but records are kept: a view of one would hold its batch of fifty in memory."""
    (record,) = msgspec.json.decode(b'[{"id":"a"}]', type=list[msgspec.Raw])
    reading = read_record(LUMA, record)

    assert type(reading.raw) is type(reading.task.raw) is bytes


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({}, None),
        ({"created_at": 1753434121.5}, 1753434121.5),
        ({"created_at": None, "created": 5}, 5.0),
        ({"created_at": "2026-05-02T10:30:05Z"}, 1777717805.0),
        ({"created_at": "soon"}, None),
        ({"created_at": -1}, None),
    ],
)
def test_a_reading_tells_when_its_task_was_submitted(record: dict[str, object], expected: float | None) -> None:
    """It is the task's own time, found without the task."""
    reading = read({"id": "a", "state": "pending", **record})

    assert reading.created_at == reading.task.created_at == expected


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"request": {"model": "ray-2", "action": "generate", "prompt": "a"}}, ("ray-2", "generate")),
        ({"request": {"model": "ray-2"}}, ("ray-2", "")),
        ({"request": {"action": "extend", "model": 3}}, ("", "extend")),
        ({"request": {"model": "m" * 65, "action": "a" * 64}}, ("m" * 64, "a" * 64)),
        ({"task": {"request": {"model": "hailuo-02"}}}, ("hailuo-02", "")),
        ({"model": "ray-2", "response": {"model": "ray-2"}}, ("", "")),
        ({"request": {}}, ("", "")),
        ({"request": None}, ("", "")),
        ({"request": ["model"]}, ("", "")),
    ],
)
def test_a_reading_tells_what_was_asked_for(record: dict[str, object], expected: tuple[str, str]) -> None:
    """The model and the action of the request, as far as they are texts: how long a task takes depends on both."""
    assert read(record).kind == expected


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (rb'{"action":"generate","model":"\ud83d"}', ("\ufffd", "generate")),
        (b'{"action":"generate","model":1e999}', ("", "")),
        (b'{"action":"generate","model":"\xff"}', ("", "")),
    ],
)
def test_a_request_that_is_no_good_json_is_no_kind(request_body: bytes, expected: tuple[str, str]) -> None:
    """A request was echoed, not read, before: what is wrong with it shows here, and must cost no record."""
    assert read_record(LUMA, b'{"id":"a","request":%s}' % request_body).kind == expected


@given(VALUES)
def test_any_request_has_a_kind(request: object) -> None:
    """Two short texts, whatever was submitted."""
    assert all(isinstance(part, str) and len(part) <= 64 for part in read({"request": request}).kind)


def test_readings_are_equal_when_they_say_the_same() -> None:
    """Whether their tasks have been asked for makes no difference."""
    reading, other = read({"id": "a", "state": "pending"}), read({"id": "a", "state": "pending"})
    assert reading.task.id == "a"

    assert reading == other
    assert reading != read({"id": "b", "state": "pending"})
    assert reading != reading.task
    assert read({"id": "a", "success": False}) != read({"id": "a", "success": False}, confirmed=True)


def test_a_reading_shows_what_it_tells() -> None:
    """Not the record, which is long."""
    assert repr(read({"id": "a", "state": "warming_up", "progress": 5})) == (
        "Reading(id='a', state='running', progress=5.0, unconfirmed=False, unknown_word='warming_up')"
    )
