"""Passes one input to one function and checks the outcome against its docstring.

A function may raise only documented errors, may take at most `SLOW_S`, must return values that satisfy the
documentation of their types, and must give the same result for the same input.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import decimal
import enum
import functools
import json
import math
import pickle
import time
import uuid
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Literal

import msgspec

import acetasks
from acetasks import (
    APIError,
    Artifact,
    ArtifactKind,
    FluxResponse,
    LumaResponse,
    PixverseResponse,
    ProtocolError,
    Task,
    TaskError,
    TaskState,
    UnknownProviderError,
    UseapiPixverseJob,
    VeoResponse,
)
from acetasks._http.headers import read_retry_after
from acetasks._http.requests import Request, Response, build_poll, build_submission
from acetasks._http.responses import PollResponse, read_failure, read_poll_response, read_submission
from acetasks._records import ECHO_LIMIT
from acetasks.errors import fresh_copy
from acetasks.providers import RecordStatus, read_record

from .corpus import SLUGS, find_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Maximum CPU seconds of one call. The longest inputs have two million bytes.
SLOW_S = 2.0
#: Size in bytes from which an input counts as long.
LONG = 100_000
#: Maximum length of an error: a quote of 256 characters, each escaped to at most ten, and the message around it.
LONGEST = 3_000
#: Slugs without a spec, which use the generic one.
MADE_UP = ("zz-made-up", "zz9.b_c-d")


class Case(msgspec.Struct, frozen=True):
    """One input.

    Attributes:
        function: The function that reads it: a key of `READERS`.
        provider: The provider's slug, or an invalid value.
        status: The HTTP status.
        body: The response body, or for `read_retry_after` two headers, one line each.
        form: Type of the payload: a key of `FORMS`.
        ids: The requested task ids.
        flag: Whether a failure is confirmed, a submission is blocking, or the retry time is known.
    """

    function: str
    provider: str | int | None
    status: int
    body: bytes
    form: str = "bytes"
    ids: tuple[str, ...] = ("a",)
    flag: bool = False

    def encode(self) -> bytes:
        """Encode the input; a non-ASCII provider is replaced by another invalid one."""
        is_plain = not isinstance(self.provider, str) or self.provider.isascii()
        return msgspec.msgpack.encode(self if is_plain else msgspec.structs.replace(self, provider="\ufffd"))

    @classmethod
    def decode(cls, packed: bytes) -> Case:
        """Decode the result of `encode`."""
        return msgspec.msgpack.decode(packed, type=cls)

    def pack(self) -> str:
        """Encode the input as compressed text for a command line."""
        return base64.b85encode(zlib.compress(self.encode(), 9)).decode()

    @classmethod
    def unpack(cls, text: str) -> Case:
        """Decode the result of `pack`."""
        return cls.decode(zlib.decompress(base64.b85decode(text)))


class CheckError(Exception):
    """Raised when an outcome is not documented."""


class Word(enum.Enum):
    """Enum type for `Task.decode`."""

    DONE = "completed"


class Exotic(msgspec.Struct):
    """Response type for `Task.decode` with many field types."""

    success: bool | None = None
    task_id: uuid.UUID | None = None
    state: Word | None = None
    status: Literal["ok", "completed"] | None = None
    finished_at: dt.datetime | float | None = None
    created_at: dt.datetime | None = None
    elapsed: dt.timedelta | None = None
    duration: decimal.Decimal | None = None
    progress: float | None = None
    error: dict[str, object] | None = None
    message: bytes | None = None
    data: list[dict[str, object]] | dict[str, object] | None = None


#: Types to decode a response into; selected by the body, so that it can be replayed.
_TYPES = (
    *(LumaResponse, VeoResponse, PixverseResponse, FluxResponse, UseapiPixverseJob, dict, list, dict[str, object]),
    *(object, str, float, Exotic, set, frozenset[object], dict[str, set[object]], msgspec.Raw, Word, dt.datetime),
    *(decimal.Decimal, tuple[int, ...], dict[str, float]),
)


class Tally(msgspec.Struct):
    """Counts of a campaign.

    Attributes:
        outcomes: Counts by function and outcome: "read", "None", or the name of an error.
        states: Counts of the states of read tasks.
        notes: Counts of other events.
        seen: Checksums of the inputs, to count distinct ones.
        slowest: CPU seconds of the slowest call.
        longest_error: Length of the longest error.
    """

    outcomes: dict[str, dict[str, int]] = {}
    states: dict[str, int] = {}
    notes: dict[str, int] = {}
    seen: set[int] = set()
    slowest: float = 0.0
    longest_error: int = 0

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return sum(sum(found.values()) for found in self.outcomes.values())

    def count(self, case: Case, outcome: str) -> None:
        """Count an input."""
        found = self.outcomes.setdefault(case.function, {})
        found[outcome] = found.get(outcome, 0) + 1
        around = (case.function, case.provider, case.status, case.form, case.ids, case.flag)
        self.seen.add(zlib.crc32(case.body, zlib.crc32(ascii(around).encode())))

    def note(self, name: str, times: int = 1) -> None:
        """Count an event."""
        self.notes[name] = self.notes.get(name, 0) + times

    def add(self, other: Tally) -> None:
        """Add the counts of another tally."""
        for function, found in other.outcomes.items():
            self.outcomes[function] = dict(Counter(self.outcomes.get(function, {})) + Counter(found))
        self.states = dict(Counter(self.states) + Counter(other.states))
        self.notes = dict(Counter(self.notes) + Counter(other.notes))
        self.seen |= other.seen
        self.slowest = max(self.slowest, other.slowest)
        self.longest_error = max(self.longest_error, other.longest_error)


def examine(case: Case, tally: Tally) -> None:
    """Pass one input to its function twice, and check the outcome.

    Args:
        case: The input.
        tally: Counts the outcome.

    Raises:
        CheckError: The outcome is not documented.
        Exception: The function raised an undocumented error.
    """
    read, documented = READERS[case.function]
    if len(case.body) >= LONG:
        tally.note(f"inputs of {LONG:,} bytes and more")
    payload = _make_payload(case)
    started = time.thread_time()
    outcome = _attempt(read, documented, case, payload)
    seconds = time.thread_time() - started
    if seconds > SLOW_S:
        raise CheckError(f"took {seconds:.1f} s")
    tally.slowest = max(tally.slowest, seconds)
    again = _attempt(read, documented, case, payload)
    if case.function == "normalize":
        is_valid = case.provider in SLUGS or case.provider in MADE_UP
        _require(isinstance(outcome, UnknownProviderError) is not is_valid, "only invalid provider names are unknown")
    if isinstance(outcome, Exception):
        check_error(outcome, again, tally)
        if isinstance(outcome, APIError) and case.status < 300:
            tally.note("errors with a success status")
        tally.count(case, type(outcome).__name__)
        return
    _require(type(again) is type(outcome) and again == outcome, "the same input gives the same result twice")
    tally.count(case, "None" if outcome is None else "read")
    if isinstance(outcome, Task):
        check_task(outcome, tally, case)
    elif isinstance(outcome, RecordStatus):
        check_status(outcome, tally, case)
    elif isinstance(outcome, PollResponse):
        check_poll_response(outcome, tally, case)


def _attempt(
    read: Callable[[Case, object], object], documented: tuple[type[Exception], ...], case: Case, payload: object
) -> object:
    """Read an input, and return documented errors as the outcome."""
    try:
        return read(case, payload)
    except documented as error:
        return error


def _require(condition: object, rule: str) -> None:
    if not condition:
        raise CheckError(f"violated: {rule}")


# ------------------------------------------------------------------------------------------------------ checks


def check_error(error: Exception, again: object, tally: Tally) -> None:
    """Check that an error is short, printable and equal to its copies."""
    text = str(error)
    text.encode()
    repr(error).encode()
    tally.longest_error = max(tally.longest_error, len(text))
    _require(0 < len(text) <= LONGEST, "an error is short")
    likeness = _likeness(error)
    _require(likeness == _likeness(again), "the same input ends in the same error twice")
    if len(text) % 4 == 0:  # a sample, since it hardly depends on the input
        _require(likeness == _likeness(pickle.loads(pickle.dumps(error))), "an error can be pickled")
        _require(likeness == _likeness(fresh_copy(error)), "an error can be copied for each waiter")
    if isinstance(error, ProtocolError):
        _require(len(error.excerpt) <= ECHO_LIMIT, "an excerpt has at most 256 characters")
        _require(isinstance(error.transient, bool), "an error has a transient flag")
    if isinstance(error, APIError):
        for text in (error.message, error.code, error.trace_id):
            _require(text is None or (isinstance(text, str) and len(text) <= ECHO_LIMIT), "quoted text is short")


def _likeness(error: object) -> tuple[object, ...]:
    return type(error), str(error), getattr(error, "__dict__", None)


def check_status(status: RecordStatus, tally: Tally, case: Case) -> None:
    """Check a status against its docstring."""
    state = status.task.state
    if status.unconfirmed:
        tally.note("unconfirmed failures")
        _require(not state.is_terminal, "an unconfirmed failure is not terminal")
        _require(not case.flag or case.function != "read_record", "a confirmed failure is final")
    if status.unknown_word is not None:
        tally.note("unknown words")
        _require(isinstance(status.unknown_word, str) and status.unknown_word, "a state word is a string")
        _require(state is not TaskState.SUCCEEDED, "an undocumented state word does not mean success")
    check_task(status.task, tally, case)


def check_poll_response(polled: PollResponse, tally: Tally, case: Case) -> None:
    """Check a parsed response: it has only requested tasks."""
    tally.note("unread records", polled.unreadable)
    tally.note("records read of batches", len(polled.statuses) if len(case.ids) > 1 else 0)
    _require(polled.unreadable >= 0, "a count is not negative")
    for task_id, status in polled.statuses.items():
        _require(task_id == status.task.id, "a status has its task id as key")
        _require(task_id in case.ids, "only requested tasks are reported")
        check_status(status, tally, case)


def check_task(task: Task, tally: Tally, case: Case) -> None:
    """Check a task against the docstring of `Task`."""
    _require(type(task.state) is TaskState, "a state is a TaskState")
    state = task.state
    tally.states[state.value] = tally.states.get(state.value, 0) + 1
    _require(task.provider == case.provider, "a task has the requested provider")
    _require(isinstance(task.id, str), "an id is a string")
    _require(not task.artifacts or state in {TaskState.SUCCEEDED, TaskState.PARTIAL}, "only results have artifacts")
    _require(state is not TaskState.PARTIAL or task.artifacts, "a partial task has artifacts")
    if state in {TaskState.FAILED, TaskState.PARTIAL}:
        _require(task.error is not None and task.error.message.strip(), "a failed task has an error")
    else:
        _require(task.error is None, "only failed tasks have an error")
    if task.error is not None:
        _check_task_error(task.error)
    _require(state.is_terminal or (task.finished_at, task.duration) == (None, None), "a running task has no end time")
    _require(task.progress is None or 0 <= task.progress <= 100, "progress is a percentage")
    _require(task.duration is None or 0 <= task.duration < math.inf, "a duration is not negative")
    for moment in (task.created_at, task.started_at, task.finished_at):
        _require(moment is None or (isinstance(moment, float) and math.isfinite(moment)), "a time is a number")
    _require(task.trace_id is None or (isinstance(task.trace_id, str) and task.trace_id), "a trace id is a string")
    _require(type(task.raw) is bytes and task.raw.lstrip()[:1] == b"{", "raw has the record")
    _check_strict_json(task)
    if rb"\ufffd" in task.raw and rb"\ufffd" not in case.body:
        tally.note("lone surrogates replaced")
    if case.form != "object" and task.raw != b"{}" and task.raw not in case.body:
        tally.note("records repaired")
    for artifact in task.artifacts:
        _check_artifact(artifact)
    _require(len({it.url for it in task.artifacts}) == len(task.artifacts), "artifact URLs are unique")
    _check_copies(task)
    _check_sections(task, tally, case)


def _check_strict_json(task: Task) -> None:
    """Check that what a task has of its record is JSON, without the constants that Python's `json` module allows."""
    for read in (task.to_dict, lambda: task.request, lambda: task.response):
        with contextlib.suppress(RecursionError, ProtocolError):
            json.dumps(read(), allow_nan=False)
    with contextlib.suppress(RecursionError):
        msgspec.json.decode(task.raw, type=msgspec.Raw)


def _check_task_error(error: TaskError) -> None:
    _require(
        isinstance(error.message, str) and len(error.message) <= 4 * ECHO_LIMIT, "an error message is a short string"
    )
    _require(error.code is None or (error.code and len(error.code) <= 4 * ECHO_LIMIT), "an error code is a short text")


def _check_artifact(artifact: Artifact) -> None:
    _require(isinstance(artifact.url, str) and artifact.url.strip(), "an artifact has a URL")
    _require(type(artifact.kind) is ArtifactKind and artifact.role, "an artifact has a kind")
    for side in (artifact.width, artifact.height):
        _require(side is None or (type(side) is int and side > 0), "a size is a number of pixels")


def _check_copies(task: Task) -> None:
    """Check that a task can be printed, compared, hashed, pickled, and encoded as JSON and MessagePack."""
    repr(task).encode()
    twin = pickle.loads(pickle.dumps(task))
    _require(twin == task and hash(twin) == hash(task), "a task can be pickled, compared and hashed")
    stored = msgspec.json.decode(msgspec.json.encode(task), type=Task)
    _require(stored == task, "a task can be stored as JSON")
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(task), type=Task)
    _require(stored == task, "a task can be stored as MessagePack")
    with contextlib.suppress(RecursionError):
        plain, restored = task.to_dict(), Task.from_json(task.to_json()).to_dict()
        if plain["response"] is None or restored["response"] is None:
            # Nesting at the limit of the stack can be read in one of the calls and not in the other.
            del plain["response"], restored["response"]
        _require(restored == plain, "a task is restored from its JSON")
    if task.state in {TaskState.FAILED, TaskState.PARTIAL}:
        _require(len(str(acetasks.TaskFailedError(task))) <= LONGEST + len(task.id), "an error is short")


def _check_sections(task: Task, tally: Tally, case: Case) -> None:
    """Check that decoding the sections raises nothing but ProtocolError."""
    target = _TYPES[zlib.crc32(case.body) % len(_TYPES)]
    accesses: tuple[tuple[str, Callable[[], object]], ...] = (
        ("Task.request", lambda: task.request),
        ("Task.response", lambda: task.response),
        ("Task.decode", lambda: task.decode(target)),
    )
    for name, access in accesses:
        try:
            found = access()
        except ProtocolError as error:
            tally.note(f"{name}: ProtocolError")
            _require(len(str(error)) <= LONGEST, f"an error of {name} is short")
            str(error).encode()
        else:
            tally.note(f"{name}: read")
            _require(name == "Task.decode" or found is None or isinstance(found, dict), f"{name} is an object or None")


# ----------------------------------------------------------------------------------------------------- functions


#: Nested beyond the encodable depth; created once, since it slows down garbage collections.
_DEEP: list[object] = functools.reduce(lambda inner, _: [inner], range(20_000), [])


def _build_cycle(body: bytes) -> object:
    """Return an object that contains itself; msgspec repeats it ten thousand times before it raises an error.

    Raises:
        ValueError: The body is so long that this would take gigabytes.
    """
    if len(body) > 1_000:
        raise ValueError("too long for a cycle")
    cycle: dict[str, object] = {"id": "a", "request": json.loads(body)}
    cycle["response"] = [cycle]
    return cycle


#: Types of payloads; those from "deep" on cannot be encoded as JSON.
FORMS: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "raw": msgspec.Raw,
    "str": lambda body: body.decode("utf-8", "surrogateescape"),
    "object": json.loads,
    "deep": lambda body: {"id": json.loads(body), "response": _DEEP},
    "cycle": _build_cycle,
    "foreign": lambda body: {"id": json.loads(body), "state": object()},
}


def _make_payload(case: Case) -> object:
    """Convert the body to the type of payload, or return bytes if that is impossible."""
    try:
        return FORMS[case.form](case.body)
    except (ValueError, RecursionError):
        return case.body


def _normalize(case: Case, payload: object) -> Task:
    return acetasks.normalize(case.provider, payload, http_status=case.status)  # type: ignore[arg-type]  # on purpose


def _read_record(case: Case, payload: object) -> RecordStatus:
    spec = find_spec(str(case.provider))
    raw = payload if isinstance(payload, msgspec.Raw) else case.body
    return read_record(spec, raw, task_id=case.ids[0], http_status=case.status, confirmed=case.flag)


@functools.lru_cache(maxsize=4096)
def _request(provider: str, ids: tuple[str, ...]) -> Request:
    return build_poll(find_spec(provider), ids)


@functools.lru_cache(maxsize=4096)
def _submission(provider: str, *, is_blocking: bool) -> Request:
    return build_submission(find_spec(provider), {"prompt": "x", "async": not is_blocking}, path="/x")


def _read_failure(case: Case, _: object) -> object:
    """Read an HTTP error, which is returned; nothing may be raised."""
    response = Response(status=case.status, body=case.body)
    retry_after = 7.5 if case.flag else None
    failure = read_failure(_request(str(case.provider), case.ids), response, retry_after)
    if failure is None:
        return None
    _require(case.status >= 300, "a success status is not a failure")
    _require(isinstance(failure, APIError | UnknownProviderError), "a failure is an error of the service")
    if isinstance(failure, APIError):
        fields = (failure.status, failure.retry_after, failure.provider)
        _require(fields == (case.status, retry_after, case.provider), "a failure has the fields of the response")
    return failure


def _exchange(case: Case, request: Request, read: Callable[[Response], object]) -> object:
    """Read a response like the client: first its HTTP status, then its body."""
    response = Response(status=case.status, body=case.body)
    failure = read_failure(request, response, None)
    return read(response) if failure is None else failure


def _read_poll_response(case: Case, _: object) -> object:
    spec, request = find_spec(str(case.provider)), _request(str(case.provider), case.ids)
    polled = _exchange(case, request, functools.partial(read_poll_response, spec, request))
    if isinstance(polled, PollResponse) and len(case.ids) > 1:
        response = Response(status=case.status, body=case.body)
        _check_known(polled, request.ids, functools.partial(read_poll_response, spec, request, response))
    return polled


def _check_known(
    polled: PollResponse, ids: Sequence[str], read_again: Callable[[Sequence[bytes | None]], PollResponse]
) -> None:
    """Check that reading the same response with known records reports nothing new."""
    _require(not polled.unchanged, "unknown records are not unchanged")
    _require(read_again([None] * len(ids)) == polled, "no known records give the same result as None for each")
    again = read_again([polled.statuses[task_id].task.raw if task_id in polled.statuses else None for task_id in ids])
    _require(again.statuses.keys().isdisjoint(again.unchanged), "unchanged records have no statuses")
    _require(again.statuses.keys() | set(again.unchanged) == polled.statuses.keys(), "known records are still reported")
    _require(
        all(polled.statuses[it] == status for it, status in again.statuses.items()), "known records keep their statuses"
    )
    _require(again.unreadable == polled.unreadable, "unreadable records are never known")


def _read_submission(case: Case, _: object) -> object:
    spec, request = find_spec(str(case.provider)), _submission(str(case.provider), is_blocking=case.flag)
    task = _exchange(case, request, functools.partial(read_submission, spec, request))
    if isinstance(task, Task):
        _require(task.state.is_terminal or task.id, "a running task has an id")
        _require(task.state is not TaskState.NOT_FOUND, "a submitted task is not NOT_FOUND")
    return task


def _read_retry_after(case: Case, _: object) -> object:
    lines = case.body.decode("utf-8", "surrogateescape").split("\n", 1)
    headers = dict(zip(("retry-after", "date"), lines, strict=False))
    seconds = read_retry_after(headers, 946_684_000.0 if case.flag else None)
    _require(seconds is None or (type(seconds) is float and 0 <= seconds < math.inf), "seconds are at least 0")
    return seconds


#: The functions under test with their documented errors.
READERS: dict[str, tuple[Callable[[Case, object], object], tuple[type[Exception], ...]]] = {
    "normalize": (_normalize, (ProtocolError, UnknownProviderError)),
    "read_record": (_read_record, (ProtocolError,)),
    "read_failure": (_read_failure, ()),
    "read_poll_response (one)": (_read_poll_response, (ProtocolError, APIError)),
    "read_poll_response (batch)": (_read_poll_response, (ProtocolError, APIError)),
    "read_submission": (_read_submission, (ProtocolError,)),
    "read_retry_after": (_read_retry_after, ()),
}
