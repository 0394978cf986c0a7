"""One input, given to one function, and the outcome held against that function's docstring.

A function may raise what its docstring names and nothing else; it takes no longer than `SLOW_S`; what it returns keeps
the promises of the types; and the same input is read the same way twice.
"""

from __future__ import annotations

import base64
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
from acetasks._records import ECHO_LIMIT
from acetasks.answers import Look, read_failure, read_look, read_submission
from acetasks.errors import fresh_copy
from acetasks.providers import Reading, read_record
from acetasks.schedule import read_retry_after
from acetasks.wire import Request, Response, build_look, build_submission

from .corpus import SLUGS, find_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Seconds of the processor's time that one call may take. The longest inputs have two million bytes.
SLOW_S = 2.0
#: Bytes from which on an input counts as a long one.
LONG = 100_000
#: Characters that an error may have: an echo of 256, each of which may be escaped to ten, and what is said around it.
LONGEST = 3_000
#: Slugs without a row, which get the generic one.
MADE_UP = ("zz-made-up", "zz9.b_c-d")


class Case(msgspec.Struct, frozen=True):
    """One input.

    Attributes:
        function: Which function reads it: a key of `READERS`.
        provider: The provider's slug, or what a caller may take for one.
        status: The HTTP status of the answer.
        body: The answer, or for `read_retry_after` two headers, a line each.
        form: What sort of object a payload is handed over as: a key of `FORMS`.
        ids: The tasks that were asked for.
        flag: Whether a failure is confirmed, a submission waits for its result, or the time of a pause is known.
    """

    function: str
    provider: str | int | None
    status: int
    body: bytes
    form: str = "bytes"
    ids: tuple[str, ...] = ("a",)
    flag: bool = False

    def encode(self) -> bytes:
        """Write the input as bytes; a provider's name that is half a character becomes another that can be none."""
        is_plain = not isinstance(self.provider, str) or self.provider.isascii()
        return msgspec.msgpack.encode(self if is_plain else msgspec.structs.replace(self, provider="\ufffd"))

    @classmethod
    def decode(cls, packed: bytes) -> Case:
        """Read what `encode` wrote."""
        return msgspec.msgpack.decode(packed, type=cls)

    def pack(self) -> str:
        """Write the input as a text for a command line; a very deep or long body shrinks to a few lines."""
        return base64.b85encode(zlib.compress(self.encode(), 9)).decode()

    @classmethod
    def unpack(cls, text: str) -> Case:
        """Read what `pack` wrote."""
        return cls.decode(zlib.decompress(base64.b85decode(text)))


class BrokenPromiseError(Exception):
    """Raised when an outcome is none that is documented."""


class Word(enum.Enum):
    """An enum for `Task.decode`."""

    DONE = "completed"


class Exotic(msgspec.Struct):
    """A response of all sorts of types, as a user may write one for `Task.decode`."""

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


#: Types that a response is decoded into; which one is taken follows from the body, so that it can be replayed.
_TYPES = (
    *(LumaResponse, VeoResponse, PixverseResponse, FluxResponse, UseapiPixverseJob, dict, list, dict[str, object]),
    *(object, str, float, Exotic, set, frozenset[object], dict[str, set[object]], msgspec.Raw, Word, dt.datetime),
    *(decimal.Decimal, tuple[int, ...], dict[str, float]),
)


class Tally(msgspec.Struct):
    """What came of the inputs.

    Attributes:
        outcomes: By function and outcome: "read", "None", or the name of an error.
        states: Of the tasks that were read.
        notes: How often something happened that is worth knowing to have happened.
        seen: Checksums of the inputs, which tell how many of them differ.
        slowest: Seconds that the slowest call took.
        longest_error: Characters of the longest error.
    """

    outcomes: dict[str, dict[str, int]] = {}
    states: dict[str, int] = {}
    notes: dict[str, int] = {}
    seen: set[int] = set()
    slowest: float = 0.0
    longest_error: int = 0

    @property
    def inputs(self) -> int:
        """How many inputs were given to a function."""
        return sum(sum(found.values()) for found in self.outcomes.values())

    def count(self, case: Case, outcome: str) -> None:
        """Count an input."""
        found = self.outcomes.setdefault(case.function, {})
        found[outcome] = found.get(outcome, 0) + 1
        around = (case.function, case.provider, case.status, case.form, case.ids, case.flag)
        self.seen.add(zlib.crc32(case.body, zlib.crc32(ascii(around).encode())))

    def note(self, what: str, times: int = 1) -> None:
        """Count something that happened."""
        self.notes[what] = self.notes.get(what, 0) + times

    def add(self, other: Tally) -> None:
        """Add the counts of another tally to this one's."""
        for function, found in other.outcomes.items():
            self.outcomes[function] = dict(Counter(self.outcomes.get(function, {})) + Counter(found))
        self.states = dict(Counter(self.states) + Counter(other.states))
        self.notes = dict(Counter(self.notes) + Counter(other.notes))
        self.seen |= other.seen
        self.slowest = max(self.slowest, other.slowest)
        self.longest_error = max(self.longest_error, other.longest_error)


def examine(case: Case, tally: Tally) -> None:
    """Give one input to its function, twice, and look at what comes of it.

    Args:
        case: The input.
        tally: Where the outcome is counted.

    Raises:
        BrokenPromiseError: The function, or what it returned, does not do what it documents.
        Exception: Whatever the function should not have raised.
    """
    read, documented = READERS[case.function]
    if len(case.body) >= LONG:
        tally.note(f"inputs of {LONG:,} bytes and more")
    payload = _make_payload(case)
    started = time.thread_time()
    outcome = _attempt(read, documented, case, payload)
    seconds = time.thread_time() - started
    if seconds > SLOW_S:
        raise BrokenPromiseError(f"took {seconds:.1f} s")
    tally.slowest = max(tally.slowest, seconds)
    again = _attempt(read, documented, case, payload)
    if case.function == "normalize":
        can_be_one = case.provider in SLUGS or case.provider in MADE_UP
        _require(isinstance(outcome, UnknownProviderError) is not can_be_one, "a provider is unknown if it can be none")
    if isinstance(outcome, Exception):
        check_error(outcome, again, tally)
        if isinstance(outcome, APIError) and case.status < 300:
            tally.note("errors in spite of a good status")
        tally.count(case, type(outcome).__name__)
        return
    _require(type(again) is type(outcome) and again == outcome, "the same input is read the same way twice")
    tally.count(case, "None" if outcome is None else "read")
    if isinstance(outcome, Task):
        check_task(outcome, tally, case)
    elif isinstance(outcome, Reading):
        check_reading(outcome, tally, case)
    elif isinstance(outcome, Look):
        check_look(outcome, tally, case)


def _attempt(
    read: Callable[[Case, object], object], documented: tuple[type[Exception], ...], case: Case, payload: object
) -> object:
    """Read an input; what is documented to be raised is an outcome like any other."""
    try:
        return read(case, payload)
    except documented as error:
        return error


def _require(condition: object, promise: str) -> None:
    if not condition:
        raise BrokenPromiseError(f"broken: {promise}")


# ------------------------------------------------------------------------------------------------------ promises


def check_error(error: Exception, again: object, tally: Tally) -> None:
    """Hold an error against what all errors promise: short, printable, and the same when it is copied."""
    text = str(error)
    text.encode()
    repr(error).encode()
    tally.longest_error = max(tally.longest_error, len(text))
    _require(0 < len(text) <= LONGEST, "an error repeats little of what came")
    likeness = _likeness(error)
    _require(likeness == _likeness(again), "the same input ends in the same error twice")
    if len(text) % 4 == 0:  # some of them will do: it depends on the kind of error, hardly on the input
        _require(likeness == _likeness(pickle.loads(pickle.dumps(error))), "an error can be pickled")
        _require(likeness == _likeness(fresh_copy(error)), "each waiter can have an error of its own")
    if isinstance(error, ProtocolError):
        _require(len(error.excerpt) <= ECHO_LIMIT, "an excerpt has at most 256 characters")
        _require(isinstance(error.transient, bool), "an error says whether asking again may help")
    if isinstance(error, APIError):
        for said in (error.message, error.code, error.trace_id):
            _require(said is None or (isinstance(said, str) and len(said) <= ECHO_LIMIT), "an echo is a short text")


def _likeness(error: object) -> tuple[object, ...]:
    return type(error), str(error), getattr(error, "__dict__", None)


def check_reading(reading: Reading, tally: Tally, case: Case) -> None:
    """Hold a reading against its docstring."""
    state = reading.task.state
    if reading.unconfirmed:
        tally.note("unconfirmed failures")
        _require(not state.is_terminal, "an unconfirmed failure is given as a task that is not done")
        _require(not case.flag or case.function != "read_record", "a confirmed failure is final")
    if reading.unknown_word is not None:
        tally.note("unknown words")
        _require(isinstance(reading.unknown_word, str) and reading.unknown_word, "a word is a text")
        _require(state is not TaskState.SUCCEEDED, "no task is done by an undocumented word alone")
    check_task(reading.task, tally, case)


def check_look(look: Look, tally: Tally, case: Case) -> None:
    """Hold a look against its docstring: it has news of the tasks that were asked for, and of no others."""
    tally.note("unread records", look.unread)
    tally.note("records read of batches", len(look.readings) if len(case.ids) > 1 else 0)
    _require(look.unread >= 0, "a count is none below zero")
    for task_id, reading in look.readings.items():
        _require(task_id == reading.task.id, "a reading stands under its id")
        _require(task_id in case.ids, "a look is about the tasks that were asked for")
        check_reading(reading, tally, case)


def check_task(task: Task, tally: Tally, case: Case) -> None:
    """Hold a task against the docstring of `Task`."""
    _require(type(task.state) is TaskState, "a state is a TaskState")
    state = task.state
    tally.states[state.value] = tally.states.get(state.value, 0) + 1
    _require(task.provider == case.provider, "a task is of the provider that was asked")
    _require(isinstance(task.id, str), "an id is a text")
    _require(not task.artifacts or state in {TaskState.SUCCEEDED, TaskState.PARTIAL}, "artifacts come with a result")
    _require(state is not TaskState.PARTIAL or task.artifacts, "a partial task has made something")
    if state in {TaskState.FAILED, TaskState.PARTIAL}:
        _require(task.error is not None and task.error.message.strip(), "a failed task has a reason")
    else:
        _require(task.error is None, "only a failed task has a reason")
    if task.error is not None:
        _check_task_error(task.error)
    _require(state.is_terminal or (task.finished_at, task.duration) == (None, None), "what goes on has no end")
    _require(task.progress is None or 0 <= task.progress <= 100, "a progress is in percent")
    _require(task.duration is None or 0 <= task.duration < math.inf, "work takes no less than no time")
    for moment in (task.created_at, task.started_at, task.finished_at):
        _require(moment is None or (isinstance(moment, float) and math.isfinite(moment)), "a time is a number")
    _require(task.trace_id is None or (isinstance(task.trace_id, str) and task.trace_id), "a trace id is a text")
    _require(type(task.raw) is bytes and task.raw.lstrip()[:1] == b"{", "the record is kept")
    if rb"\ufffd" in task.raw and rb"\ufffd" not in case.body:
        tally.note("halves of characters mended")
    for artifact in task.artifacts:
        _check_artifact(artifact)
    _require(len({it.url for it in task.artifacts}) == len(task.artifacts), "no file is named twice")
    _check_copies(task)
    _check_sections(task, tally, case)


def _check_task_error(error: TaskError) -> None:
    _require(
        isinstance(error.message, str) and len(error.message) <= 4 * ECHO_LIMIT, "a reason is a text within reason"
    )
    _require(error.code is None or (error.code and len(error.code) <= 4 * ECHO_LIMIT), "a code is a text within reason")


def _check_artifact(artifact: Artifact) -> None:
    _require(isinstance(artifact.url, str) and artifact.url.strip(), "an artifact has a URL")
    _require(type(artifact.kind) is ArtifactKind and artifact.role, "an artifact is of some kind")
    for side in (artifact.width, artifact.height):
        _require(side is None or (type(side) is int and side > 0), "a size is a number of pixels")


def _check_copies(task: Task) -> None:
    """Make sure that a task can be shown, compared, hashed, pickled, and sent on as JSON and as MessagePack."""
    repr(task).encode()
    twin = pickle.loads(pickle.dumps(task))
    _require(twin == task and hash(twin) == hash(task), "a task can be pickled, compared and hashed")
    stored = msgspec.json.decode(msgspec.json.encode(task), type=Task)
    _require(stored == task, "a task can be stored as JSON")
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(task), type=Task)
    _require(stored == task, "a task can be stored as MessagePack")
    if task.state in {TaskState.FAILED, TaskState.PARTIAL}:
        _require(len(str(acetasks.TaskFailedError(task))) <= LONGEST + len(task.id), "an error repeats little")


def _check_sections(task: Task, tally: Tally, case: Case) -> None:
    """Decode the long parts, which raise a ProtocolError or nothing."""
    target = _TYPES[zlib.crc32(case.body) % len(_TYPES)]
    looks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("Task.request", lambda: task.request),
        ("Task.response", lambda: task.response),
        ("Task.decode", lambda: task.decode(target)),
    )
    for name, look in looks:
        try:
            found = look()
        except ProtocolError as error:
            tally.note(f"{name}: ProtocolError")
            _require(len(str(error)) <= LONGEST, f"an error of {name} repeats little of what came")
            str(error).encode()
        else:
            tally.note(f"{name}: read")
            _require(name == "Task.decode" or found is None or isinstance(found, dict), f"{name} is an object or None")


# ----------------------------------------------------------------------------------------------------- functions


#: Deeper than anything can be written; made once, because it takes the collector of garbage long to walk it.
_DEEP: list[object] = functools.reduce(lambda inner, _: [inner], range(20_000), [])


def _tie_ring(body: bytes) -> object:
    """Make an object that contains itself: msgspec writes it ten thousand times over before it gives up.

    Raises:
        ValueError: Of that body it would take gigabytes.
    """
    if len(body) > 1_000:
        raise ValueError("too long for a ring")
    ring: dict[str, object] = {"id": "a", "request": json.loads(body)}
    ring["response"] = [ring]
    return ring


#: The sorts of objects that a payload is handed over as; those from "deep" on are none that JSON can say.
FORMS: dict[str, Callable[[bytes], object]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "raw": msgspec.Raw,
    "str": lambda body: body.decode("utf-8", "surrogateescape"),
    "object": json.loads,
    "deep": lambda body: {"id": json.loads(body), "response": _DEEP},
    "cycle": _tie_ring,
    "foreign": lambda body: {"id": json.loads(body), "state": object()},
}


def _make_payload(case: Case) -> object:
    """Bring the body into the form in which it is handed over; one that has no such form stays bytes."""
    try:
        return FORMS[case.form](case.body)
    except (ValueError, RecursionError):
        return case.body


def _normalize(case: Case, payload: object) -> Task:
    return acetasks.normalize(case.provider, payload, http_status=case.status)  # type: ignore[arg-type]  # on purpose


def _read_record(case: Case, payload: object) -> Reading:
    spec = find_spec(str(case.provider))
    raw = payload if isinstance(payload, msgspec.Raw) else case.body
    return read_record(spec, raw, task_id=case.ids[0], http_status=case.status, confirmed=case.flag)


@functools.lru_cache(maxsize=4096)
def _request(provider: str, ids: tuple[str, ...]) -> Request:
    return build_look(find_spec(provider), ids)


@functools.lru_cache(maxsize=4096)
def _submission(provider: str, *, is_blocking: bool) -> Request:
    return build_submission(find_spec(provider), {"prompt": "x", "async": not is_blocking}, path="/x")


def _read_failure(case: Case, _: object) -> object:
    """Read an HTTP error; it is returned, and nothing at all may be raised."""
    response = Response(status=case.status, body=case.body)
    retry_after = 7.5 if case.flag else None
    failure = read_failure(_request(str(case.provider), case.ids), response, retry_after)
    if failure is None:
        return None
    _require(case.status >= 300, "a good status is no failure")
    _require(isinstance(failure, APIError | UnknownProviderError), "a failure is an error of the service's")
    if isinstance(failure, APIError):
        told = (failure.status, failure.retry_after, failure.provider)
        _require(told == (case.status, retry_after, case.provider), "a failure says which answer it is")
    return failure


def _exchange(case: Case, request: Request, read: Callable[[Response], object]) -> object:
    """Read an answer as the session does: first whether it is an HTTP error, and only then what it says."""
    response = Response(status=case.status, body=case.body)
    failure = read_failure(request, response, None)
    return read(response) if failure is None else failure


def _read_look(case: Case, _: object) -> object:
    spec, request = find_spec(str(case.provider)), _request(str(case.provider), case.ids)
    look = _exchange(case, request, functools.partial(read_look, spec, request))
    if isinstance(look, Look) and len(case.ids) > 1:
        response = Response(status=case.status, body=case.body)
        _check_known(look, request.ids, functools.partial(read_look, spec, request, response))
    return look


def _check_known(look: Look, ids: Sequence[str], look_again: Callable[[Sequence[bytes | None]], Look]) -> None:
    """Make sure that the same answer again, to who knows what it says, brings no other news."""
    _require(not look.unchanged, "what is not known cannot be unchanged")
    _require(look_again([None] * len(ids)) == look, "to know nothing of each is to know nothing")
    again = look_again([look.readings[task_id].task.raw if task_id in look.readings else None for task_id in ids])
    _require(again.readings.keys().isdisjoint(again.unchanged), "what is unchanged is no news")
    _require(again.readings.keys() | set(again.unchanged) == look.readings.keys(), "what is known is still there")
    _require(all(look.readings[it] == reading for it, reading in again.readings.items()), "what is known is no news")
    _require(again.unread == look.unread, "what cannot be read is not known")


def _read_submission(case: Case, _: object) -> object:
    spec, request = find_spec(str(case.provider)), _submission(str(case.provider), is_blocking=case.flag)
    task = _exchange(case, request, functools.partial(read_submission, spec, request))
    if isinstance(task, Task):
        _require(task.state.is_terminal or task.id, "a task that goes on has an id to ask for")
        _require(task.state is not TaskState.NOT_FOUND, "what was just submitted is somewhere")
    return task


def _read_retry_after(case: Case, _: object) -> object:
    lines = case.body.decode("utf-8", "surrogateescape").split("\n", 1)
    headers = dict(zip(("retry-after", "date"), lines, strict=False))
    seconds = read_retry_after(headers, 946_684_000.0 if case.flag else None)
    _require(seconds is None or (type(seconds) is float and 0 <= seconds < math.inf), "seconds are at least 0")
    return seconds


#: The functions under test, each with what its docstring lets it raise.
READERS: dict[str, tuple[Callable[[Case, object], object], tuple[type[Exception], ...]]] = {
    "normalize": (_normalize, (ProtocolError, UnknownProviderError)),
    "read_record": (_read_record, (ProtocolError,)),
    "read_failure": (_read_failure, ()),
    "read_look (one)": (_read_look, (ProtocolError, APIError)),
    "read_look (batch)": (_read_look, (ProtocolError, APIError)),
    "read_submission": (_read_submission, (ProtocolError,)),
    "read_retry_after": (_read_retry_after, ()),
}
