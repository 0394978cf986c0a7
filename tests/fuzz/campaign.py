"""A campaign: hypothesis draws plans, each plan becomes a batch of inputs, and each input is examined and counted.

An example costs hypothesis a millisecond and an input costs a tenth of that, so one example carries many inputs. That
leaves nothing for hypothesis to shrink: an input that breaks a promise is shrunk here, byte by byte, and told so that
it can be replayed.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import random
import sys
import time
import traceback
from typing import TYPE_CHECKING

import hypothesis
import msgspec
from hypothesis import strategies as st

from acetasks import TaskState

from . import corpus
from .corpus import BATCHED, KEYS, SAMPLE_ANSWERS, SLUGS, Base
from .mutations import OF_BYTES, OF_JSON, draw_headers, mutate
from .readers import FORMS, MADE_UP, Case, Tally, examine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Inputs that one example of hypothesis carries.
BATCH = 200
#: Inputs of a batch that are derived from one answer.
_PER_ANSWER = 25
#: Frames of Python's stack that are left where an input is examined: the same everywhere, so that an input nested to
#: the very edge of what can be decoded does the same in the suite, in a campaign and when it is replayed.
FRAMES_LEFT = 400
#: The shares of a function's inputs that are to be read with success, and of all inputs that differ.
LEAST_READ, LEAST_DISTINCT = 0.05, 0.9
#: Seconds for which a failing input is shrunk.
_SHRINK_S = 10.0

_STATUSES = (
    *(200, 200, 200, 200, 201, 202, 204, 301, 304, 399, 400, 401, 402, 403, 404, 404, 408, 409, 410, 413, 418, 429),
    *(500, 502, 503, 504, 521, 599, 0, -1, 100, 999, 2**31),
)
_NO_SLUGS = ("", "Luma", "luma!", "lu ma", "-", "../x", "l\u00fcma", "\ud800", "luma\n", "a" * 200 + "!", None, 7)
_FORMS = {
    "normalize": (*FORMS, *("bytes",) * 9, *("object",) * 4, "str"),
    "read_record": ("bytes", "raw"),
}

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=12,
)


class Plan(msgspec.Struct, frozen=True):
    """What one batch of inputs is derived from.

    Attributes:
        position: Of the first sample that inputs are derived from.
        donor: Of the first sample that parts are taken from.
        kinds: The mutations.
        drawn: An answer that hypothesis has made up.
    """

    position: int
    donor: int
    kinds: tuple[str, ...]
    drawn: bytes


class FindingError(Exception):
    """Raised when an input broke a promise.

    Attributes:
        case: The input, as small as it could be made.
    """

    def __init__(self, case: Case, fault: Exception) -> None:
        self.case = case
        frames = [frame for frame in traceback.extract_tb(fault.__traceback__) if "/fuzz/" not in frame.filename]
        place = f" at {frames[-1].filename}:{frames[-1].lineno} ({frames[-1].name})" if frames else ""
        super().__init__(
            f"{case.function} of provider {case.provider!r}, status {case.status}, form {case.form!r},"
            f" ids {case.ids!r}, flag {case.flag}: {type(fault).__name__}{place}: {str(fault)[:500]}\n"
            f"  the input, {len(case.body)} bytes: {case.body[:1_000]!r}{' ...' if len(case.body) > 1_000 else ''}\n"
            f"  python -m fuzz --replay '{case.pack()}'"
        )


#: Where answers come from, given the number of the input within its batch.
_ORIGINS: dict[str, Callable[[random.Random, Plan, int], Base]] = {
    "sample": lambda rng, plan, number: corpus.take_sample(rng, plan.position + number),
    "record": lambda rng, *_: corpus.build_one(rng),
    "batch": lambda rng, *_: corpus.build_batch(rng),
    "error": lambda rng, *_: corpus.build_error(rng),
    "drawn": lambda rng, plan, _: corpus.wrap(rng, plan.drawn),
}
#: How often each origin is taken, and the functions that its inputs are given to.
_SHARES = ("sample",) * 17 + ("record",) * 15 + ("batch",) * 8 + ("error",) * 4 + ("drawn",) * 6
_OF_ONE = {
    "normalize": 9,
    "read_record": 2,
    "read_failure": 2,
    "read_look (one)": 4,
    "read_look (batch)": 1,
    "read_submission": 3,
    "read_retry_after": 1,
}
_OF_BATCH = {"normalize": 1, "read_failure": 1, "read_look (one)": 1, "read_look (batch)": 10, "read_retry_after": 1}
_OF_ERROR = {"normalize": 2, "read_failure": 4, "read_look (one)": 2, "read_look (batch)": 2, "read_submission": 2}
_FUNCTIONS = {
    origin: [function for function, share in shares.items() for _ in range(share)]
    for origin, shares in {
        **dict.fromkeys(("sample", "record", "drawn"), _OF_ONE),
        "batch": _OF_BATCH,
        "error": _OF_ERROR,
    }.items()
}

#: Half of the mutations know where values stand: most others leave no JSON.
_kinds = st.sampled_from([*OF_JSON, *("values", "members") * 8, *OF_BYTES])
_plans = st.builds(
    Plan,
    position=st.integers(0, len(SAMPLE_ANSWERS) - 1),
    donor=st.integers(0, len(SAMPLE_ANSWERS) - 1),
    kinds=st.lists(_kinds, min_size=2, max_size=6).map(tuple),
    drawn=st.binary(max_size=200) | Json.map(lambda tree: json.dumps(tree).encode()),
)


_API_ERRORS = ("AuthenticationError", "PermissionDeniedError", "BadRequestError", "RateLimitError", "ServiceError")
#: What each function documents, and a campaign has to reach.
_OUTCOMES: dict[str, tuple[str, ...]] = {
    "normalize": ("read", "ProtocolError", "UnknownProviderError"),
    "read_record": ("read", "ProtocolError"),
    "read_failure": ("None", "UnknownProviderError", *_API_ERRORS),
    "read_look (one)": ("read", "ProtocolError", "UnknownProviderError", *_API_ERRORS),
    "read_look (batch)": ("read", "ProtocolError", "UnknownProviderError", *_API_ERRORS),
    "read_submission": ("read", "ProtocolError", *_API_ERRORS),
    "read_retry_after": ("read", "None"),
}
_NOTES = (
    *("records read of batches", "unread records", "unconfirmed failures", "unknown words"),
    *("errors in spite of a good status", "halves of characters mended"),
    *(f"Task.{part}: {end}" for part in ("request", "response", "decode") for end in ("read", "ProtocolError")),
)


def run(inputs: int, seed: int, report: Callable[[Case], object] | None = None) -> Tally:
    """Run a campaign.

    Args:
        inputs: How many inputs to examine; it ends with the batch that reaches the number.
        seed: What all of them follow from.
        report: Told of each input before it is examined, or None.

    Returns:
        What came of them.

    Raises:
        FindingError: One of them broke a promise.
    """
    tally = Tally()
    edge = find_edge()
    number = 0
    findings: list[FindingError] = []

    def use(plan: Plan) -> None:
        nonlocal number
        number += 1
        if findings:
            return
        try:
            _run_batch(derive(plan, f"{seed}/{number}", edge, BATCH), tally, report)
        except FindingError as finding:  # not for hypothesis, which would try the same plan again
            findings.append(finding)

    # Hypothesis may stop before it has drawn as many plans as it was asked for.
    while tally.inputs < inputs:
        _draw_plans(-(-(inputs - tally.inputs) // BATCH), seed + number, use)
        if findings:
            raise findings[0]
    return tally


def find_gaps(tally: Tally) -> list[str]:
    """Tell what the inputs of a campaign did not reach: it would prove nothing of that.

    Args:
        tally: Of a whole campaign.

    Returns:
        A sentence for each; none if every documented outcome was reached, and enough inputs were read.
    """
    gaps = [f"{function} never ended in {name}" for function, names in _OUTCOMES.items() for name in names
            if not tally.outcomes.get(function, {}).get(name)]  # fmt: skip
    gaps += [f"no task was {state.value}" for state in TaskState if not tally.states.get(state.value)]
    gaps += [f"there were no {what}" for what in _NOTES if not tally.notes.get(what)]
    for function, found in tally.outcomes.items():
        if "read" in _OUTCOMES[function] and found.get("read", 0) < LEAST_READ * sum(found.values()):
            gaps.append(f"{function} read only {found.get('read', 0)} inputs of {sum(found.values())}")
    if len(tally.seen) < LEAST_DISTINCT * tally.inputs:
        gaps.append(f"only {len(tally.seen)} inputs of {tally.inputs} differ")
    return gaps


def replay(case: Case) -> None:
    """Examine one input as a campaign does.

    Raises:
        FindingError: It breaks a promise.
    """
    _run_batch([case], Tally(), None)


def find_edge() -> int:
    """Find the number of levels from which on JSON cannot be decoded where inputs are examined."""
    low, high = 1, 100_000
    with _frames_left():
        while low < high:
            middle = (low + high) // 2
            try:
                msgspec.json.decode(b"[" * middle + b"]" * middle)
            except RecursionError:
                high = middle
            else:
                low = middle + 1
    return low


def _draw_plans(count: int, seed: int, use: Callable[[Plan], None]) -> None:
    """Have hypothesis draw plans."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
        print_blob=False,
        report_multiple_bugs=False,
    )
    @hypothesis.given(_plans)
    def draw(plan: Plan) -> None:
        use(plan)

    draw()


def _run_batch(cases: Iterable[Case], tally: Tally, report: Callable[[Case], object] | None) -> None:
    """Examine some inputs."""
    with _frames_left():
        for case in cases:
            if report is not None:
                report(case)
            _examine(case, tally)


def derive(plan: Plan, salt: str, edge: int, count: int) -> Iterator[Case]:
    """Derive inputs from a plan.

    Args:
        plan: What hypothesis has drawn.
        salt: What else is drawn follows from it.
        edge: As `find_edge` has found it.
        count: How many.

    Yields:
        The inputs; the same ones each time.
    """
    rng = random.Random(salt)
    origin, base = "drawn", corpus.wrap(rng, plan.drawn)
    donor = base
    for number in range(count):
        if number % _PER_ANSWER == 0:
            origin = rng.choice(_SHARES)
            base = _ORIGINS[origin](rng, plan, number)
            donor = corpus.take_sample(rng, plan.donor + number)
        function = rng.choice(_FUNCTIONS[origin])
        is_header = function == "read_retry_after"
        body = draw_headers(rng) if is_header else mutate(rng, base, donor, plan.kinds, edge)
        provider: str | int | None = base.provider
        draw = rng.random()
        if draw < 0.15:
            provider = rng.choice(SLUGS)
        elif draw < 0.17:
            provider = rng.choice(MADE_UP)
        elif draw < 0.18 and function == "normalize":
            provider = rng.choice(_NO_SLUGS)
        kept = 0.2 if function == "read_failure" else 0.7
        ids = (rng.choice(base.ids),)
        if function == "read_look (batch)":
            ids = (*base.ids, "absent")
            provider = provider if provider in BATCHED else "luma"
        yield Case(
            function=function,
            provider=provider,
            status=base.status if rng.random() < kept else rng.choice(_STATUSES),
            body=body,
            form=rng.choice(_FORMS.get(function, ("bytes",))),
            ids=ids,
            flag=rng.random() < 0.3,
        )


def _examine(case: Case, tally: Tally) -> None:
    """Examine an input, and tell of one that breaks a promise, made as small as it can be.

    Raises:
        FindingError: It does.
    """
    try:
        examine(case, tally)
    except Exception as error:  # noqa: BLE001  # whatever it is, it should not have been raised
        fault = error
    else:
        return
    case, fault = _shrink(case, fault)
    raise FindingError(case, fault) from fault


def _shrink(case: Case, fault: Exception) -> tuple[Case, Exception]:
    """Leave out ever smaller parts of an input as long as it fails in the same way."""
    deadline = time.monotonic() + _SHRINK_S
    size = len(case.body)
    while size:
        start = 0
        while start < len(case.body) and time.monotonic() < deadline:
            smaller = msgspec.structs.replace(case, body=case.body[:start] + case.body[start + size :])
            try:
                examine(smaller, Tally())
            except Exception as error:  # noqa: BLE001  # as above
                if _sort_of(error) == _sort_of(fault):
                    case, fault = smaller, error
                    continue
            start += size
        size //= 2
    return case, fault


def _sort_of(fault: Exception) -> tuple[object, ...]:
    """Tell faults apart by their type, and where and why they were raised."""
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    said = str(fault) if frame.filename.endswith("readers.py") else ""
    return type(fault), frame.filename, frame.lineno, said.split(" took ")[0]


@contextlib.contextmanager
def _frames_left() -> Iterator[None]:
    """Leave only so many frames of the stack, as if the caller stood deep in it.

    Garbage is not collected meanwhile: hypothesis has a callback for it, which would fail where no frame is left.
    """
    depth, frame = 0, inspect.currentframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    limit, collects = sys.getrecursionlimit(), gc.isenabled()
    gc.disable()
    sys.setrecursionlimit(depth + FRAMES_LEFT)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
        if collects:
            gc.enable()
