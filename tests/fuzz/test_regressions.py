"""What the fuzzer has found, one test each: answers that once ended in what no docstring names."""

from __future__ import annotations

import enum

import msgspec
import pytest

from acetasks import ProtocolError, Task, TaskState, normalize
from acetasks._records import ECHO_LIMIT
from acetasks.answers import read_look, read_submission
from acetasks.providers import lookup
from acetasks.wire import Response, build_look, build_submission

from .campaign import find_edge

LUMA = lookup("luma")
URL = "https://cdn.example/a.mp4"


class Quality(enum.Enum):
    """An enum that a response may be decoded into."""

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
@pytest.mark.parametrize("read", ["normalize", "look", "batch", "submission"])
def test_nesting_at_the_edge_is_read_or_refused(body: bytes, read: str) -> None:
    """A record is decoded from several depths of the stack: one of them may be too deep where the first was not."""
    edge = find_edge()
    depths = [*range(edge - 40, edge + 10), *range(find_plain_edge() - 60, find_plain_edge() + 10)]

    for depth in depths:
        answer = body % (b"[" * depth + b"]" * depth)
        try:
            if read == "normalize":
                normalize("luma", answer)
            elif read == "look":
                read_look(LUMA, build_look(LUMA, ["a"]), Response(status=200, body=answer))
            elif read == "batch":
                read_look(LUMA, build_look(LUMA, ["a", "b"]), Response(status=200, body=b"[%b]" % answer))
            else:
                read_submission(LUMA, build_submission(LUMA, {"async": False}), Response(status=200, body=answer))
        except ProtocolError:
            continue


def find_plain_edge() -> int:
    """Find the number of levels from which on JSON cannot be decoded from here."""
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
def test_a_response_that_fits_no_set_is_refused(kind: type[object]) -> None:
    """A list cannot be in a set, which is the response's fault and not the type's."""
    task = normalize("luma", {"id": "a", "response": [[["x"]]]})

    with pytest.raises(ProtocolError, match="unhashable"):
        task.decode(kind)


def test_a_type_that_cannot_be_decoded_is_the_callers_fault() -> None:
    """A TypeError about the type itself stays one."""
    task = normalize("luma", {"id": "a", "response": {"success": True}})

    with pytest.raises(TypeError, match="not supported"):
        task.decode(bytes | str)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("width", [2**31, 2**64, 10**400])
def test_a_size_beyond_all_screens_is_unknown(width: int) -> None:
    """A task can be stored as MessagePack, whose numbers end at 64 bits."""
    response = {"state": "completed", "video_url": URL, "video_width": width, "video_height": 752}
    task = normalize("luma", {"id": "a", "response": response})

    assert [(artifact.width, artifact.height) for artifact in task.artifacts] == [(None, 752)]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(task), type=Task) == task


def test_a_task_that_goes_on_has_no_end() -> None:
    """An acknowledgement in the words of a finished task is none, and neither are its times."""
    body = b'{"task_id":"a","success":true,"state":"succeeded","created_at":1785000000,"finished_at":1785000009}'

    task = read_submission(LUMA, build_submission(LUMA, {"prompt": "x"}), Response(status=200, body=body))

    assert (task.state, task.finished_at, task.duration) == (TaskState.PENDING, None, None)


@pytest.mark.parametrize(("wrappers", "is_read"), [(1, True), (8, True), (9, False), (300, False)])
def test_a_record_may_be_wrapped_a_few_times(wrappers: int, is_read: bool) -> None:  # noqa: FBT001  # a case's column
    """Each wrapper is read to its end, so that a chain of them around a long record would take minutes."""
    body = b'{"task":' * wrappers + b'{"id":"a","status":"succeeded"}' + b"}" * wrappers

    if is_read:
        assert normalize("minimax", body).id == "a"
    else:
        with pytest.raises(ProtocolError, match="wrapped too often") as caught:
            normalize("minimax", body)
        assert caught.value.transient is False


def test_an_error_repeats_no_long_id() -> None:
    """The id that a service has sent may have any length."""
    task = normalize("luma", {"id": "x" * 100_000, "request": 5, "response": 5})

    for look in (lambda: task.request, lambda: task.response, lambda: task.decode(dict)):
        with pytest.raises(ProtocolError) as caught:
            look()
        assert len(str(caught.value)) < 3 * ECHO_LIMIT

    with pytest.raises(ProtocolError, match="no response yet") as caught:
        normalize("luma", {"id": "x" * 100_000}).decode(dict)
    assert len(str(caught.value)) < 2 * ECHO_LIMIT


def test_an_error_repeats_no_long_value() -> None:
    """Where a text is in no enum, msgspec repeats the whole of it."""
    task = normalize("luma", {"id": "a", "response": {"quality": "x" * 100_000}})

    with pytest.raises(ProtocolError, match="Invalid enum value") as caught:
        task.decode(dict[str, Quality])
    assert len(str(caught.value)) < 4 * ECHO_LIMIT


def test_an_error_repeats_no_long_path() -> None:
    """Msgspec names every level above a number that it cannot read."""
    body = b'{"id":"a","response":{"data":%b1e400%b}}' % (b'{"x":' * 800, b"}" * 800)

    with pytest.raises(ProtocolError, match=r"out of range") as caught:
        normalize("luma", body)
    assert len(str(caught.value)) < 4 * ECHO_LIMIT


def test_a_long_state_word_is_no_long_reason() -> None:
    """A word that takes ten characters for each one to be shown is cut like every other reason."""
    task = normalize("luma", {"id": "a", "state": "failed", "status": "\U000e0001" * 1_000})

    assert task.error is not None
    assert len(task.error.message) == 4 * ECHO_LIMIT


def test_of_two_records_of_one_task_the_first_counts() -> None:
    """Also to who knows the first: else each look would bring the other one of the two as news."""
    first, second = b'{"id":"a","state":"pending"}', b'{"id":"a","state":"running"}'
    request, answer = build_look(LUMA, ["a", "b"]), Response(status=200, body=b"[%b,%b]" % (first, second))

    assert read_look(LUMA, request, answer).readings["a"].task.raw == first
    look = read_look(LUMA, request, answer, (first, None))
    assert (look.readings, look.unchanged) == ({}, ("a",))
    look = read_look(LUMA, request, answer, (second, None))
    assert (look.readings["a"].task.raw, look.unchanged) == (first, ())


def test_of_two_records_of_one_task_the_first_counts_wherever_they_stand() -> None:
    """The known one may stand in another's place before the changed one, and in its own after it."""
    known, changed = b'{"id":"c","state":"pending"}', b'{"id":"c","state":"running"}'
    request, answer = (
        build_look(LUMA, ["a", "b", "c"]),
        Response(status=200, body=b"[%b,%b,%b]" % (known, changed, known)),
    )

    look = read_look(LUMA, request, answer, (None, None, known))
    assert (look.readings, look.unchanged) == ({}, ("c",))
