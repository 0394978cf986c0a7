"""The loose shape of a record: read in one pass, whatever its fields hold, and split without decoding."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ProtocolError
from acetasks._records import ItemHead, RecordHead, ResponseHead, excerpt, read_sections
from acetasks.providers.heads import read_head

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
#: Every field of a record, as it is spelt in JSON.
KEYS = [field.encode_name for field in msgspec.structs.fields(RecordHead)]
RESPONSE_KEYS = [field.encode_name for field in msgspec.structs.fields(ResponseHead)]


def head_of(record: object) -> RecordHead:
    """Read the head of a record that stands in no wrapper."""
    return read_head(msgspec.json.encode(record))[0]


# ----------------------------------------------------------------------------------------------------------- heads


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.dictionaries(st.sampled_from(RESPONSE_KEYS), VALUES))
def test_any_value_may_stand_in_any_field(record: dict[str, object], response: dict[str, object]) -> None:
    """One odd field must never cost a record."""
    head, raw = read_head(json.dumps(record).encode())
    assert isinstance(head, RecordHead)
    assert json.loads(bytes(raw)) == (
        record["task"] if "response" not in record and is_object(record, "task") else record
    )

    assert isinstance(head_of({"response": response}).response, ResponseHead)


def is_object(record: dict[str, object], key: str) -> bool:
    """Tell whether an object stands at a key."""
    return isinstance(record.get(key), dict)


def test_a_head_has_what_the_record_says() -> None:
    """Fields that are not there are None, or unset where it matters that they are not."""
    head = head_of({"id": "a", "errorDetails": "d", "response": {"state": "s", "data": [{"status": 1}, 2, "x", [3]]}})

    assert (head.id, head.error_details, head.task_id, head.state) == ("a", "d", None, None)
    assert (head.success, head.data, head.task, head.items) == (msgspec.UNSET,) * 4
    assert isinstance(head.response, ResponseHead)
    assert head.response.state == "s"
    assert isinstance(head.response.data, list)
    assert head.response.data[:3] == [ItemHead(status=1), 2, "x"]


def test_data_may_be_one_object() -> None:
    """Seedance and dreamina make one thing and send no list."""
    head = head_of({"response": {"data": {"status": "done", "state": None}}})

    assert isinstance(head.response, ResponseHead)
    assert head.response.data == ItemHead(status="done")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"a"', b"5", b'{"id"', b"{} {}", b'{"id": "\xff"}', b"<html>"])
def test_what_is_no_object_is_a_protocol_error(body: bytes) -> None:
    """The error shows the beginning of what came."""
    with pytest.raises(ProtocolError, match="a task record cannot be read") as caught:
        read_head(body)

    assert caught.value.excerpt == body.decode("utf-8", "replace")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("body", [b'{"id": "a"', b'{"id": "a", "resp', b"<html>", b"", b'{"id": "\xff'])
def test_what_may_have_been_cut_short_is_transient(body: bytes) -> None:
    """Half a body may come whole the next time."""
    with pytest.raises(ProtocolError) as caught:
        read_head(body)

    assert caught.value.transient is True


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"id": 1e999}', b'{"id": ' + b"[" * 9999 + b"]" * 9999 + b"}"])
def test_what_came_whole_and_cannot_be_read_is_not_transient(body: bytes) -> None:
    """Asking again would bring the same, for ever."""
    with pytest.raises(ProtocolError) as caught:
        read_head(body)

    assert caught.value.transient is False


def test_a_wrapper_is_taken_off() -> None:
    """Minimax wraps its record; the JSON of the record itself is given with the head."""
    head, raw = read_head(b'{"task": {"id": "a", "n": [1, 2]}}')

    assert head.id == "a"
    assert bytes(raw) == b'{"id": "a", "n": [1, 2]}'


@pytest.mark.parametrize("task", ["text", None, 5, [{"id": "a"}]])
def test_only_an_object_is_a_wrapped_record(task: object) -> None:
    """A field that happens to have the name is left alone."""
    assert head_of({"id": "b", "task": task}).id == "b"


def test_a_task_beside_a_response_is_no_wrapper() -> None:
    """A record with a response is whole."""
    assert head_of({"id": "b", "task": {"id": "a"}, "response": None}).id == "b"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        *(({"success": True}, True), ({"success": None}, True), ({"data": []}, True), ({"data": None}, True)),
        *(({"state": "x"}, True), ({"status": 5}, True), ({"error": "x"}, True), ({"error": {"code": "x"}}, True)),
        *(({"audio_url": "x"}, True), ({"task_id": "a", "audio_url": "x"}, True), ({"id": "a", "status": "x"}, True)),
        *(({"id": "a"}, False), ({"request": {}}, False), ({"id": "a", "state": None}, False)),
        *(({"id": "a", "error": {}}, False), ({"id": "a", "error": ""}, False), ({"id": "a", "error": None}, False)),
        *(({"success": True, "response": None}, False), ({"state": "x", "response": {}}, False)),
    ],
    ids=str,
)
def test_a_record_is_flat_if_it_has_a_responses_fields_and_no_response(
    record: dict[str, object],
    expected: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """A flat record is its own response, told by a response's fields or by the lack of a record's."""
    assert head_of(record).is_flat is expected


# -------------------------------------------------------------------------------------------------------- sections


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", (None, None)),
        (b'{"id": "a"}', (None, None)),
        (b'{"request": {"a" : 1}, "response": [ 2 ]}', (b'{"a" : 1}', b"[ 2 ]")),
        (b'{"request": null, "response": null}', (None, None)),
        (b'{"state": "done", "request": 5}', (b"5", b'{"state": "done", "request": 5}')),
        (b'{"response": 1, "response": 2}', (None, b"2")),
        (b'{"request": {"response": 1}, "id": "a"}', (b'{"response": 1}', None)),
    ],
)
def test_a_record_is_split_without_being_decoded(body: bytes, expected: tuple[bytes | None, bytes | None]) -> None:
    """Each section is the JSON that was sent, byte for byte; a flat record is its own response."""
    assert read_sections(body) == expected


# -------------------------------------------------------------------------------------------------------- excerpts


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", ""),
        (b"short", "short"),
        (b"x" * 5000, "x" * 256),
        ("ä".encode() * 5000, "ä" * 256),
        ("😀".encode() * 5000, "😀" * 256),
        (b"\xff\xfe<html>", "\ufffd\ufffd<html>"),
        (msgspec.Raw(b'{"a": 1}'), '{"a": 1}'),
    ],
    ids=["empty", "short", "long", "two bytes", "four bytes", "no text", "raw"],
)
def test_an_excerpt_is_a_text_of_256_characters_at_most(raw: bytes | msgspec.Raw, expected: str) -> None:
    """It is cut by characters, so that none of them is cut in two."""
    assert excerpt(raw) == expected
