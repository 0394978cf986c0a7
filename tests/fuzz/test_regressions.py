"""Regression tests for findings of the fuzzer: responses that once had undocumented outcomes."""

from __future__ import annotations

import enum

import msgspec
import pytest

from acetasks import ProtocolError, Task, TaskState, normalize
from acetasks._http.requests import Response, build_poll, build_submission
from acetasks._http.responses import read_poll_response, read_submission
from acetasks._records import ECHO_LIMIT
from acetasks.providers import lookup

from .campaign import find_edge

LUMA = lookup("luma")
URL = "https://cdn.example/a.mp4"


class Quality(enum.Enum):
    """Enum type for `Task.decode`."""

    HIGH = "high"


@pytest.mark.parametrize(
    "body",
    [
        b'{"id":"a","status":"succeeded","request":%b}',
        b'{"id":"a","response":%b}',
        b'{"id":"a","response":{"video_url":"https://cdn.example/a.mp4","more":%b}}',
        b'{"state":"succeeded","data":%b}',
    ],
    ids=["request", "response", "within the response", "flat"],
)
@pytest.mark.parametrize("read", ["normalize", "poll", "batch", "submission"])
def test_nesting_near_the_limit_is_read_or_rejected(body: bytes, read: str) -> None:
    """Nesting near the decodable depth is read or raises ProtocolError, though stack depths of the decoders differ."""
    edge = find_edge()
    depths = [*range(edge - 40, edge + 10), *range(find_plain_edge() - 60, find_plain_edge() + 10)]

    for depth in depths:
        answer = body % (b"[" * depth + b"]" * depth)
        try:
            if read == "normalize":
                normalize("luma", answer)
            elif read == "poll":
                read_poll_response(LUMA, build_poll(LUMA, ["a"]), Response(status=200, body=answer))
            elif read == "batch":
                read_poll_response(LUMA, build_poll(LUMA, ["a", "b"]), Response(status=200, body=b"[%b]" % answer))
            else:
                read_submission(LUMA, build_submission(LUMA, {"async": False}), Response(status=200, body=answer))
        except ProtocolError:
            continue


def find_plain_edge() -> int:
    """Return the smallest nesting depth that cannot be decoded from this stack depth."""
    low, high = 1, 100_000
    while low < high:
        middle = (low + high) // 2
        try:
            msgspec.json.decode(b"[" * middle + b"]" * middle)
        except RecursionError:
            high = middle
        else:
            low = middle + 1
    return low


@pytest.mark.parametrize("kind", [set, frozenset[object], list[set[object]]])
def test_response_with_unhashable_items_is_rejected(kind: type[object]) -> None:
    """A response that does not fit into a set raises ProtocolError, not TypeError."""
    task = normalize("luma", {"id": "a", "response": [[["x"]]]})

    with pytest.raises(ProtocolError, match="unhashable"):
        task.decode(kind)


def test_unsupported_type_raises_type_error() -> None:
    """An unsupported target type raises TypeError."""
    task = normalize("luma", {"id": "a", "response": {"success": True}})

    with pytest.raises(TypeError, match="not supported"):
        task.decode(bytes | str)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("width", [2**31, 2**64, 10**400])
def test_oversized_dimension_is_ignored(width: int) -> None:
    """Dimensions beyond 64 bits are ignored, so that tasks can be stored as MessagePack."""
    response = {"state": "completed", "video_url": URL, "video_width": width, "video_height": 752}
    task = normalize("luma", {"id": "a", "response": response})

    assert [(artifact.width, artifact.height) for artifact in task.artifacts] == [(None, 752)]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(task), type=Task) == task


def test_running_task_has_no_end_time() -> None:
    """An acknowledgement with the state and times of a finished task counts as pending."""
    body = b'{"task_id":"a","success":true,"state":"succeeded","created_at":1785000000,"finished_at":1785000009}'

    task = read_submission(LUMA, build_submission(LUMA, {"prompt": "x"}), Response(status=200, body=body))

    assert (task.state, task.finished_at, task.duration) == (TaskState.PENDING, None, None)


@pytest.mark.parametrize(("wrappers", "is_read"), [(1, True), (8, True), (9, False), (300, False)])
def test_record_wrappers_are_limited(wrappers: int, is_read: bool) -> None:  # noqa: FBT001  # test parameter
    """A record with too many wrappers is rejected, since each wrapper is read completely."""
    body = b'{"task":' * wrappers + b'{"id":"a","status":"succeeded"}' + b"}" * wrappers

    if is_read:
        assert normalize("minimax", body).id == "a"
    else:
        with pytest.raises(ProtocolError, match="more than 8 nested") as caught:
            normalize("minimax", body)
        assert caught.value.transient is False


def test_errors_truncate_ids() -> None:
    """Errors truncate the task id, which may have any length."""
    task = normalize("luma", {"id": "x" * 100_000, "request": 5, "response": 5})

    for access in (lambda: task.request, lambda: task.response, lambda: task.decode(dict)):
        with pytest.raises(ProtocolError) as caught:
            access()
        assert len(str(caught.value)) < 3 * ECHO_LIMIT

    with pytest.raises(ProtocolError, match="no response yet") as caught:
        normalize("luma", {"id": "x" * 100_000}).decode(dict)
    assert len(str(caught.value)) < 2 * ECHO_LIMIT


def test_errors_truncate_values() -> None:
    """Errors truncate invalid enum values, which msgspec quotes completely."""
    task = normalize("luma", {"id": "a", "response": {"quality": "x" * 100_000}})

    with pytest.raises(ProtocolError, match="Invalid enum value") as caught:
        task.decode(dict[str, Quality])
    assert len(str(caught.value)) < 4 * ECHO_LIMIT


def test_errors_truncate_paths() -> None:
    """Errors truncate the path of an invalid number, which msgspec quotes completely."""
    body = b'{"id":"a","response":{"data":%b1e400%b}}' % (b'{"x":' * 800, b"}" * 800)

    with pytest.raises(ProtocolError, match=r"out of range") as caught:
        normalize("luma", body)
    assert len(str(caught.value)) < 4 * ECHO_LIMIT


def test_error_message_of_state_word_is_truncated() -> None:
    """A long state word is truncated in the error message, escapes included."""
    task = normalize("luma", {"id": "a", "state": "failed", "status": "\U000e0001" * 1_000})

    assert task.error is not None
    assert len(task.error.message) == 4 * ECHO_LIMIT


def test_first_of_two_records_counts() -> None:
    """The first of two records of a task counts, also if it is already known."""
    first, second = b'{"id":"a","state":"pending"}', b'{"id":"a","state":"running"}'
    request, answer = build_poll(LUMA, ["a", "b"]), Response(status=200, body=b"[%b,%b]" % (first, second))

    assert read_poll_response(LUMA, request, answer).statuses["a"].task.raw == first
    polled = read_poll_response(LUMA, request, answer, (first, None))
    assert (polled.statuses, polled.unchanged) == ({}, ("a",))
    polled = read_poll_response(LUMA, request, answer, (second, None))
    assert (polled.statuses["a"].task.raw, polled.unchanged) == (first, ())


def test_first_of_two_records_counts_at_any_position() -> None:
    """The first record counts, also if the known one is at another position and repeated."""
    known, changed = b'{"id":"c","state":"pending"}', b'{"id":"c","state":"running"}'
    request, answer = (
        build_poll(LUMA, ["a", "b", "c"]),
        Response(status=200, body=b"[%b,%b,%b]" % (known, changed, known)),
    )

    polled = read_poll_response(LUMA, request, answer, (None, None, known))
    assert (polled.statuses, polled.unchanged) == ({}, ("c",))
