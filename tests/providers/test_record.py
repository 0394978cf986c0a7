"""Tests of parsed records and their statuses."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ProtocolError, Task, TaskState
from acetasks.providers import RecordStatus, lookup, read_record, record

LUMA = lookup("luma")
#: Any JSON value.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["model", "action", "a"]), inner),
    max_leaves=4,
)


def read(record: object, **options: bool) -> RecordStatus:
    """Read a luma record."""
    return read_record(LUMA, msgspec.json.encode(record), **options)


@pytest.mark.parametrize("body", [b'{"id":"a"}', b'{"id":"a","created_at":7,"response":{"state":"pending"}}'])
def test_the_task_of_an_unfinished_record_is_built_on_first_use(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """Most polls find nothing new, and do not need the task."""
    built = []

    def count(**fields: object) -> Task:
        built.append(fields["id"])
        return Task(**fields)  # type: ignore[arg-type]  # fields of a task

    monkeypatch.setattr(record, "Task", count)
    status = read_record(LUMA, body)
    assert (status.id, status.state, status.progress, status.raw) == ("a", TaskState.PENDING, None, body)
    assert (status.created_at, status.kind) == (7.0 if b"7" in body else None, ("", ""))
    assert not built

    assert status.task is status.task
    assert built == ["a"]


def test_the_response_of_a_finished_record_is_decoded_at_once() -> None:
    """A finished task with a malformed response raises; the response of an unfinished task is not decoded."""
    body = b'{"id": "a", "response": {"state": "%s", "size": 1e999}}'

    assert read_record(LUMA, body % b"pending").task.state is TaskState.PENDING
    with pytest.raises(ProtocolError, match="a response"):
        read_record(LUMA, body % b"completed")


def test_the_raw_record_is_a_copy() -> None:
    """Records are kept: a view would keep the whole batch response in memory."""
    (record,) = msgspec.json.decode(b'[{"id":"a"}]', type=list[msgspec.Raw])
    status = read_record(LUMA, record)

    assert type(status.raw) is type(status.task.raw) is bytes


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
def test_created_at_is_that_of_the_task(record: dict[str, object], expected: float | None) -> None:
    """It is read without building the task."""
    status = read({"id": "a", "state": "pending", **record})

    assert status.created_at == status.task.created_at == expected


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
def test_kind_is_the_model_and_the_action_of_the_request(record: dict[str, object], expected: tuple[str, str]) -> None:
    """Values other than texts are ignored, and long texts truncated."""
    assert read(record).kind == expected


@pytest.mark.parametrize(
    ("request_body", "expected"),
    [
        (rb'{"action":"generate","model":"\ud83d"}', ("\ufffd", "generate")),
        (b'{"action":"generate","model":1e999}', ("", "")),
        (b'{"action":"generate","model":"\xff"}', ("\ufffd", "generate")),
    ],
)
def test_a_malformed_request_has_no_kind(request_body: bytes, expected: tuple[str, str]) -> None:
    """The request is not decoded with the record; a malformed one does not make the record unreadable."""
    assert read_record(LUMA, b'{"id":"a","request":%s}' % request_body).kind == expected


@given(VALUES)
def test_any_request_has_a_kind(request: object) -> None:
    """The kind of any request is two short texts."""
    assert all(isinstance(part, str) and len(part) <= 64 for part in read({"request": request}).kind)


def test_equality() -> None:
    """Two statuses are equal if their tasks are, built or not, and if they are equally certain."""
    status, other = read({"id": "a", "state": "pending"}), read({"id": "a", "state": "pending"})
    assert status.task.id == "a"

    assert status == other
    assert status != read({"id": "b", "state": "pending"})
    assert status != status.task
    assert read({"id": "a", "success": False}) != read({"id": "a", "success": False}, confirmed=True)


def test_repr() -> None:
    """The representation does not contain the record, which is long."""
    assert repr(read({"id": "a", "state": "warming_up", "progress": 5})) == (
        "RecordStatus(id='a', state='running', progress=5.0, unconfirmed=False, unknown_word='warming_up')"
    )
