"""Tests of record decoding: heads, sections and excerpts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ProtocolError, normalize
from acetasks._records import (
    ItemHead,
    RecordHead,
    ResponseHead,
    escape_controls,
    excerpt,
    read_billing,
    read_sections,
)
from acetasks.providers import read_head

if TYPE_CHECKING:
    import re

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
#: Every key of a record.
KEYS = [field.encode_name for field in msgspec.structs.fields(RecordHead)]
RESPONSE_KEYS = [field.encode_name for field in msgspec.structs.fields(ResponseHead)]


def head_of(record: object) -> RecordHead:
    """Return the head of a record without a wrapper."""
    return read_head(msgspec.json.encode(record))[0]


# ------------------------------------------------------------------------------------------------------------ heads


@given(st.dictionaries(st.sampled_from(KEYS), VALUES), st.dictionaries(st.sampled_from(RESPONSE_KEYS), VALUES))
def test_any_field_accepts_any_value(record: dict[str, object], response: dict[str, object]) -> None:
    """One unusual field does not make a record unreadable."""
    head, raw = read_head(json.dumps(record).encode())
    assert isinstance(head, RecordHead)
    assert json.loads(bytes(raw)) == (
        record["task"] if "response" not in record and is_object(record, "task") else record
    )

    assert isinstance(head_of({"response": response}).response, ResponseHead)


def is_object(record: dict[str, object], key: str) -> bool:
    """Return whether the value at a key is an object."""
    return isinstance(record.get(key), dict)


def test_a_head_contains_the_fields_of_the_record() -> None:
    """Missing fields are None, or unset if the difference matters."""
    head = head_of({"id": "a", "errorDetails": "d", "response": {"state": "s", "data": [{"status": 1}, 2, "x", [3]]}})

    assert (head.id, head.error_details, head.task_id, head.state) == ("a", "d", None, None)
    assert (head.success, head.data, head.task, head.items) == (msgspec.UNSET,) * 4
    assert isinstance(head.response, ResponseHead)
    assert head.response.state == "s"
    assert isinstance(head.response.data, list)
    assert head.response.data[:3] == [ItemHead(status=1), 2, "x"]


def test_data_can_be_one_object() -> None:
    """Seedance and dreamina send one object instead of a list."""
    head = head_of({"response": {"data": {"status": "done", "state": None}}})

    assert isinstance(head.response, ResponseHead)
    assert head.response.data == ItemHead(status="done")


@pytest.mark.parametrize("body", [b"", b"[]", b"nullx", b'"a"', b"5", b'{"id"', b"{} {}", b'{"id": x}', b"<html>"])
def test_a_body_that_is_not_an_object_is_a_protocol_error(body: bytes) -> None:
    """The error contains the beginning of the body."""
    with pytest.raises(ProtocolError, match="a task record") as caught:
        read_head(body)

    assert caught.value.excerpt == body.decode("utf-8", "replace")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("body", [b'{"id": "a"', b'{"id": "a", "resp', b"<html>", b"", b'{"id": "\xff'])
def test_the_error_of_a_truncated_body_is_transient(body: bytes) -> None:
    """The next response may be complete."""
    with pytest.raises(ProtocolError) as caught:
        read_head(body)

    assert caught.value.transient is True


@pytest.mark.parametrize(
    "body", [b"[]", b"7", b'{"id": 1e999}', b'{"id": x}', b" {} {}\n", b'{"id": ' + b"[" * 9999 + b"]" * 9999 + b"}"]
)
def test_the_error_of_a_complete_body_is_not_transient(body: bytes) -> None:
    """The next response would be the same."""
    with pytest.raises(ProtocolError) as caught:
        read_head(body)

    assert caught.value.transient is False


@pytest.mark.parametrize("body", [b"null", b" null\r\n"])
def test_null_is_an_empty_object(body: bytes) -> None:
    """Some services send null instead of `{}` for an unknown id."""
    head, raw = read_head(body)

    assert (head.id, head.is_flat, bytes(raw)) == (None, True, b"{}")


def test_a_wrapper_is_removed() -> None:
    """Minimax wraps its records; the JSON of the record itself is returned with the head."""
    head, raw = read_head(b'{"task": {"id": "a", "n": [1, 2]}}')

    assert head.id == "a"
    assert bytes(raw) == b'{"id": "a", "n": [1, 2]}'


@pytest.mark.parametrize("task", ["text", None, 5, [{"id": "a"}]])
def test_only_an_object_is_a_wrapped_record(task: object) -> None:
    """A `task` of any other type is an ordinary field."""
    assert head_of({"id": "b", "task": task}).id == "b"


def test_a_task_beside_a_response_is_not_a_wrapped_record() -> None:
    """A record with a response is not a wrapper."""
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
def test_is_flat(
    record: dict[str, object],
    expected: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """A flat record has no response, and has the fields of one or lacks those of a record."""
    assert head_of(record).is_flat is expected


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        *((b"NaN", b"null"), (b"Infinity", b"null"), (b"-Infinity", b"null"), (b"[NaN,{}]", b"[null,{}]")),
        *((b'"a\tb\n"', rb'"a\u0009b\u000a"'), (b'"\x00"', rb'"\u0000"'), (b'"\xff"', '"\ufffd"'.encode())),
        *((rb'"a\qb"', rb'"a\\qb"'), (rb'"\u12"', rb'"\\u12"'), (rb'"C:\dir\x"', rb'"C:\\dir\\x"')),
        *((rb'"\q\\q\""', rb'"\\q\\q\""'), (b'"NaN \t"', rb'"NaN \u0009"'), (b'"\\\n"', rb'"\\\u000a"')),
        *((rb'"\ud83d"', rb'"\ufffd"'), (rb'"\ud83d\ude00 \q"', rb'"\ud83d\ude00 \\q"')),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "form", [b'{"id": %b}', b'{"id": "a",\n\t"error": {"x": %b}}', b'{"task": {"id": "a", "detail": %b}}']
)
def test_what_is_not_quite_json_is_repaired(form: bytes, sent: bytes, read: bytes) -> None:
    """NaN, infinite numbers, control characters, invalid escapes and bytes are read, and returned as strict JSON."""
    raw = bytes(read_head(form % sent)[1])

    assert raw == (form % read if b"task" not in form else b'{"id": "a", "detail": %b}' % read)
    assert json.loads(raw) is not None


@pytest.mark.parametrize(
    "value", [b"undefined", b"nan", b"NaNo", b"1NaN", b"Infinity1", b"'a'", b'"a" NaN', b"+1", b"1,"]
)
def test_only_that_is_repaired(value: bytes) -> None:
    """Any other malformed value stays an error."""
    with pytest.raises(ProtocolError, match="malformed"):
        read_head(b'{"id": "a", "cost": %b}' % value)


def test_repair_takes_linear_time() -> None:
    """A long text without an end, full of escaped quotes, is read once."""
    with pytest.raises(ProtocolError):
        read_head(b'{"id": NaN, "x": "' + rb"\"" * 500_000)


@pytest.mark.parametrize(("body", "most"), [(b'"",' * 1000, 0), (b'[{"a":"b"},' * 1000 + b"NaN,{}]", 3)])
def test_only_what_needs_it_is_repaired(body: bytes, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large body only the odd values are handled one by one; one with a value of a wrong type is not at all."""
    tokens: list[bytes] = []

    def repair(token: re.Match[bytes]) -> bytes:
        tokens.append(token[0])
        return token[0]

    monkeypatch.setattr("acetasks._records._repair_token", repair)
    with pytest.raises(ProtocolError):
        read_head(body)
    assert len(tokens) <= most


def test_valid_escapes_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long text full of valid escapes, with one invalid, is repaired in a few steps."""
    steps: list[bytes] = []

    def repair(escape: re.Match[bytes]) -> bytes:
        steps.append(escape[0])
        return escape[0]

    monkeypatch.setattr("acetasks._records._repair_escape", repair)
    with pytest.raises(ProtocolError):
        read_head(b'{"id": "%b"}' % (rb"\"\u00e9\ud83d\ude00 " * 1000 + rb"\q"))
    assert len(steps) <= 3


def test_all_of_a_repaired_task_is_strict_json() -> None:
    """A web service can pass on what was read from a record with NaN, and the progress is unknown."""
    record = b'{"id":"a","progress":NaN,"elapsed":Infinity,"cost":{"amount":NaN},"request":{"p":"\t"},"response":%b}'
    for response in (
        b'{"state":"completed","n":[NaN],"usage":{"n":-Infinity}}',
        b'"{\\"state\\":\\"completed\\",\\"n\\":NaN}"',
    ):
        task = normalize("luma", record % response)

        assert (task.state.value, task.progress, task.duration) == ("succeeded", None, None)
        for value in (task.to_dict(), task.request, task.response, json.loads(task.raw)):
            assert json.dumps(value, allow_nan=False)


# --------------------------------------------------------------------------------------------------------- sections


def test_a_response_inside_a_text_is_a_section() -> None:
    """Openai's records have a response encoded twice; other texts are kept."""
    inner = '{"success": true}'

    assert read_sections(json.dumps({"id": "a", "response": inner}).encode()) == (None, inner.encode())
    assert read_sections(b'{"response": "{oops"}') == (None, b'"{oops"')
    assert read_sections(b'{"response": "text"}') == (None, b'"text"')


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"id": "a"}, (None, None)),
        ({"id": "a", "cost": 2, "response": {"cost": 3, "usage": {"n": 1}}}, (2, {"n": 1})),
        ({"id": "a", "response": {"cost": {"amount": 1}}}, ({"amount": 1}, None)),
        ({"success": True, "usage": {"n": 1}}, (None, {"n": 1})),
        ({"id": "a", "response": '{"cost": 4}'}, (4, None)),
        ({"id": "a", "cost": 2, "response": ["x"]}, (None, None)),
    ],
    ids=str,
)
def test_read_billing(record: dict[str, object], expected: tuple[object, object]) -> None:
    """The top of the record comes before its response."""
    assert read_billing(json.dumps(record).encode()) == expected


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
def test_sections_are_returned_unchanged(body: bytes, expected: tuple[bytes | None, bytes | None]) -> None:
    """Each section is the JSON as sent; a flat record is its own response."""
    assert read_sections(body) == expected


# --------------------------------------------------------------------------------------------------------- excerpts


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
    ids=["empty", "short", "long", "two bytes", "four bytes", "not text", "raw"],
)
def test_an_excerpt_has_at_most_256_characters(raw: bytes | msgspec.Raw, expected: str) -> None:
    """It is truncated between characters, not bytes."""
    assert excerpt(raw) == expected


# ---------------------------------------------------------------------------------------------------------- escapes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ä 猫 😀", "plain ä 猫 😀"),
        ("全角\u3000空格\u00a0", "全角\u3000空格\u00a0"),
        (r"a\nb", r"a\nb"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x1b[2J\x00\x7f", r"\u001b[2J\u0000\u007f"),
        ("\x9b31m\x85", r"\u009b31m\u0085"),
        ("\u202agpj\u202e\u2066\u2069", r"\u202agpj\u202e\u2066\u2069"),
        ("\u200e\u200f\u2028\u2029\ufeff", r"\u200e\u200f\u2028\u2029\ufeff"),
        ("\U000e0041", r"\udb40\udc41"),
        ("\ud83d", r"\ud83d"),
    ],
    ids=["plain", "wide spaces", "escaped", "lines", "C0", "C1", "bidi", "marks", "tag", "lone surrogate"],
)
def test_characters_that_act_on_a_terminal_are_escaped(text: str, expected: str) -> None:
    """Line ends, control characters and invisible formatting are escaped as in JSON; other characters stay."""
    assert escape_controls(text) == expected


@given(VALUES)
def test_escapes_do_not_change_the_meaning_of_json(value: object) -> None:
    """JSON stays valid, and equal to what it was."""
    escaped = escape_controls(json.dumps(value, ensure_ascii=False))
    assert json.loads(escaped) == value
    assert escape_controls(escaped) == escaped
