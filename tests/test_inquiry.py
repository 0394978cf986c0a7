"""One look at some tasks, to the end: every id gets one finding, at few requests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    TaskState,
    TransportError,
)
from acetasks.answers import read_failure
from acetasks.inquiry import Findings, inquire
from acetasks.providers import lookup
from acetasks.wire import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from acetasks import AceTasksError
    from acetasks.wire import Request

LUMA = lookup("luma")
FIFTY = [f"t-{number}" for number in range(50)]
TOO_LARGE = BadRequestError("request too large", status=413, code="request_too_large")
REJECTED = BadRequestError("no such id", status=400, code="bad_request")


def record(task_id: str, **fields: object) -> bytes:
    """Write the record of a task that waits for its turn."""
    return msgspec.json.encode({"id": task_id, "created_at": 1787600000.0} | fields)


def unreadable(task_id: str) -> bytes:
    """Write a record that is whole and cannot be read: its progress is no number that a machine can hold."""
    return b'{"id":"%s","progress":1e999}' % task_id.encode()


def batch(records: Sequence[bytes]) -> bytes:
    """Write a batch answer."""
    return b'{"items":[' + b",".join(records) + b'],"count":%d}' % len(records)


class Desk:
    """A transport with a service behind it, that answers from a table of records.

    Args:
        records: By id.
        cut: Records in one answer, at most.
        culprits: Ids for which the whole request is rejected.
        rejection: With what.
    """

    def __init__(
        self,
        records: dict[str, bytes],
        *,
        cut: int | None = None,
        culprits: Collection[str] = (),
        rejection: AceTasksError = REJECTED,
    ) -> None:
        self.records = records
        self.cut = cut
        self.culprits = set(culprits)
        self.rejection = rejection
        self.requests: list[tuple[str, ...]] = []

    async def send(self, request: Request) -> Response:
        """Answer a request."""
        self.requests.append(request.ids)
        if not self.culprits.isdisjoint(request.ids):
            raise self.rejection
        if len(request.ids) == 1:
            return Response(status=200, body=self.records.get(request.ids[0], b"{}"))
        return Response(status=200, body=batch(self.choose(request.ids)))

    def choose(self, ids: Sequence[str]) -> list[bytes]:
        """Choose the records of a batch answer."""
        return [self.records[task_id] for task_id in ids if task_id in self.records][: self.cut]


def full_desk(ids: Sequence[str] = FIFTY, **options: object) -> Desk:
    """Make a service that has a record of every id."""
    return Desk({task_id: record(task_id) for task_id in ids}, **options)


def assert_partition(findings: Findings, ids: Sequence[str]) -> None:
    """Check that every id is in exactly one part, and nothing else is in any; readings are of their ids."""
    assert sorted([*findings.readings, *findings.errors, *findings.missing]) == sorted(ids)
    assert all(task_id == reading.task.id for task_id, reading in findings.readings.items())
    assert {reading.task.provider for reading in findings.readings.values()} <= {LUMA.slug}


class TestAnswers:
    """What the service has a record of is read."""

    async def test_nothing_is_asked_for_no_ids(self) -> None:
        """Without ids there is no request."""
        desk = full_desk()

        assert await inquire(desk, LUMA, []) == Findings()
        assert desk.requests == []

    async def test_a_full_batch_costs_one_request(self) -> None:
        """Fifty ids that the service knows are one request."""
        desk = full_desk()
        findings = await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY)]
        assert list(findings.readings) == FIFTY
        assert {reading.task.state for reading in findings.readings.values()} == {TaskState.PENDING}
        assert_partition(findings, FIFTY)

    async def test_one_id_is_asked_for_alone(self) -> None:
        """A single answer is the record itself, and its id is the one that was asked."""
        desk = Desk({"t-1": b'{"response":{"video_url":"https://cdn.example.com/1.mp4"}}'})
        findings = await inquire(desk, LUMA, ["t-1"])

        assert desk.requests == [("t-1",)]
        assert findings.readings["t-1"].task.state is TaskState.SUCCEEDED
        assert_partition(findings, ["t-1"])

    async def test_records_are_matched_by_id(self) -> None:
        """The order of an answer, records twice in it and records that nobody asked for make no difference."""

        class Jumbled(Desk):
            def choose(self, ids: Sequence[str]) -> list[bytes]:
                known = [record(task_id, trace_id=f"trace of {task_id}") for task_id in reversed(ids)]
                return [
                    record("stranger"),
                    *known,
                    *known,
                    record("t-1", trace_id="a later one"),
                    b'{"count":1}',
                    b"{}",
                ]

        desk = Jumbled({})
        findings = await inquire(desk, LUMA, ["t-1", "t-2", "t-3"])

        assert len(desk.requests) == 1
        assert_partition(findings, ["t-1", "t-2", "t-3"])
        assert {reading.task.trace_id for reading in findings.readings.values()} == {
            "trace of t-1",
            "trace of t-2",
            "trace of t-3",
        }

    async def test_findings_are_not_shared(self) -> None:
        """Each look has findings of its own."""
        first = await inquire(full_desk(), LUMA, ["t-1"])
        await inquire(full_desk(), LUMA, ["t-2"])

        assert list(first.readings) == ["t-1"]


class TestLeftOut:
    """Ids that an answer leaves out are asked again, until an answer brings none of them."""

    async def test_unknown_ids_are_missing(self) -> None:
        """Where the service knows none of the ids, one request says so."""
        desk = Desk({})
        findings = await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY)]
        assert findings.missing == FIFTY
        assert_partition(findings, FIFTY)

    async def test_unknown_ids_among_known_ones_are_asked_once_more(self) -> None:
        """They might have been cut off: only an answer that brings none of them makes them missing."""
        desk = full_desk(FIFTY[:40])
        findings = await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY), tuple(FIFTY[40:])]
        assert findings.missing == FIFTY[40:]
        assert_partition(findings, FIFTY)

    async def test_one_unknown_id_is_asked_for_alone(self) -> None:
        """The last one left gets the service's own word, which is an empty object."""
        desk = full_desk(FIFTY[:49])
        findings = await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY), ("t-49",)]
        assert findings.readings["t-49"].task.state is TaskState.NOT_FOUND
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize(
        ("count", "cut", "requests"), [(50, 12, 5), (50, 10, 5), (50, 49, 2), (50, 1, 50), (13, 12, 2), (12, 12, 1)]
    )
    async def test_a_cut_answer_loses_nobody(self, count: int, cut: int, requests: int) -> None:
        """A service that answers with k records at most is asked n/k times, rounded up, and every id is read."""
        ids = FIFTY[:count]
        desk = full_desk(cut=cut)
        findings = await inquire(desk, LUMA, ids)

        assert len(desk.requests) == requests == math.ceil(count / cut)
        assert sorted(findings.readings) == sorted(ids)
        assert_partition(findings, ids)

    async def test_ids_are_never_asked_again_once_they_are_read(self) -> None:
        """Each further request is for those alone that are still to be found."""
        desk = full_desk(cut=12)
        await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY[start:]) for start in range(0, 50, 12)]


class TestRejections:
    """A batch that is rejected is halved until the culprit is alone."""

    @pytest.mark.parametrize("culprit", range(50))
    async def test_one_bad_id_costs_at_most_twelve_requests_more(self, culprit: int) -> None:
        """Wherever in a batch of 50 it stands, it alone gets the error and the others are read."""
        bad = FIFTY[culprit]
        desk = full_desk(culprits=[bad])
        findings = await inquire(desk, LUMA, FIFTY)

        assert len(desk.requests) <= 1 + 12
        assert findings.errors == {bad: REJECTED}
        assert len(findings.readings) == 49
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize("count", [0, 2, 3, 25, 49, 50])
    async def test_several_bad_ids_are_all_found(self, count: int) -> None:
        """Each culprit gets the error and everybody else is read, at no more than twice as many requests as ids."""
        bad = FIFTY[::-1][: count * 2 : 2] if count <= 25 else FIFTY[:count]
        desk = full_desk(culprits=bad)
        findings = await inquire(desk, LUMA, FIFTY)

        assert sorted(findings.errors) == sorted(bad)
        assert len(findings.readings) == 50 - count
        assert len(desk.requests) <= 2 * len(FIFTY) - 1
        assert_partition(findings, FIFTY)

    async def test_a_batch_that_is_too_large_is_halved_until_it_fits(self) -> None:
        """HTTP 413 costs nobody a finding: the halves are asked."""

        class Small(Desk):
            async def send(self, request: Request) -> Response:
                if len(request.ids) > 15:
                    self.requests.append(request.ids)
                    raise TOO_LARGE
                return await super().send(request)

        desk = Small({task_id: record(task_id) for task_id in FIFTY})
        findings = await inquire(desk, LUMA, FIFTY)

        assert sorted(findings.readings) == sorted(FIFTY)
        assert [len(ids) for ids in desk.requests] == [50, 25, 12, 13, 25, 12, 13]
        assert_partition(findings, FIFTY)

    async def test_a_rejected_single_id_gets_the_error(self) -> None:
        """Alone, an id is its own culprit."""
        desk = full_desk(culprits=["t-1"])
        findings = await inquire(desk, LUMA, ["t-1"])

        assert desk.requests == [("t-1",)]
        assert findings.errors == {"t-1": REJECTED}

    @pytest.mark.parametrize("unknown", [["d-3"], ["d-3", "d-4"], ["d-0", "d-9"]])
    async def test_a_404_that_names_a_task_sinks_no_batch(self, unknown: list[str]) -> None:
        """Where the whole batch is answered 404 for an unknown id, the others are read and it is not found."""
        spec = lookup("digital-human")
        body = b'{"error":{"code":"no_task","message":"task not found"},"trace_id":"x"}'
        ids = [f"d-{number}" for number in range(10)]

        class Strict(Desk):
            async def send(self, request: Request) -> Response:
                if not set(unknown).isdisjoint(request.ids):
                    self.requests.append(request.ids)
                    # As a transport does: an answer that `read_failure` takes for an error is raised.
                    response = Response(status=404, body=body)
                    if (failure := read_failure(request, response, None)) is not None:
                        raise failure
                    return response
                return await super().send(request)

        findings = await inquire(Strict({task_id: record(task_id) for task_id in ids}), spec, ids)

        assert findings.errors == {}
        found = {task_id for task_id, reading in findings.readings.items() if reading.task.state is TaskState.PENDING}
        assert found == set(ids) - set(unknown)


class TestErrors:
    """What is wrong with a request concerns all of its ids, and what is wrong with a record its own id only."""

    @pytest.mark.parametrize(
        "error",
        [
            AuthenticationError("no token", status=401),
            PermissionDeniedError("used up", status=403),
            RateLimitError("slow down", status=429),
            ServiceError("busy", status=500),
            APIError("odd", status=418),
            TransportError("reset"),
            ProtocolError("too large"),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("count", [1, 50])
    async def test_other_errors_are_given_to_every_id(self, error: AceTasksError, count: int) -> None:
        """They are not the fault of an id, so nothing is asked again."""
        ids = FIFTY[:count]
        desk = full_desk(culprits=ids, rejection=error)
        findings = await inquire(desk, LUMA, ids)

        assert desk.requests == [tuple(ids)]
        assert list(findings.errors) == ids
        assert all(given is error for given in findings.errors.values())
        assert_partition(findings, ids)

    async def test_an_error_later_on_leaves_what_was_read(self) -> None:
        """Where the second request fails, the findings of the first stay."""
        error = TransportError("reset")

        class Tiring(Desk):
            async def send(self, request: Request) -> Response:
                if self.requests:
                    self.requests.append(request.ids)
                    raise error
                return await super().send(request)

        desk = Tiring({task_id: record(task_id) for task_id in FIFTY}, cut=20)
        findings = await inquire(desk, LUMA, FIFTY)

        assert list(findings.readings) == FIFTY[:20]
        assert findings.errors == dict.fromkeys(FIFTY[20:], error)
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b'{"items":', b"null", b'{"count":0}'])
    async def test_a_batch_that_cannot_be_read_is_everybodys_error(self, body: bytes) -> None:
        """No id can be told from such an answer."""

        class Odd:
            async def send(self, request: Request) -> Response:
                del request
                return Response(status=200, body=body)

        findings = await inquire(Odd(), LUMA, FIFTY)

        assert list(findings.errors) == FIFTY
        assert all(isinstance(error, ProtocolError) for error in findings.errors.values())
        assert all(error.transient for error in findings.errors.values())
        assert_partition(findings, FIFTY)

    async def test_an_unreadable_record_is_its_own_ids_problem(self) -> None:
        """The others of its batch are read, and its id gets the error when it is asked for alone."""
        desk = full_desk()
        desk.records["t-7"] = unreadable("t-7")
        findings = await inquire(desk, LUMA, FIFTY)

        assert desk.requests == [tuple(FIFTY), ("t-7",)]
        assert isinstance(findings.errors["t-7"], ProtocolError)
        assert findings.errors["t-7"].transient is False
        assert len(findings.readings) == 49
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize("bad", [["t-7", "t-8"], ["t-0", "t-25", "t-49"], FIFTY])
    async def test_unreadable_records_are_not_missing(self, bad: list[str]) -> None:
        """The service has a record of each of them, so none of their tasks may come to be called not found."""
        desk = full_desk()
        desk.records.update((task_id, unreadable(task_id)) for task_id in bad)
        findings = await inquire(desk, LUMA, FIFTY)

        assert sorted(findings.errors) == sorted(bad)
        assert findings.missing == []
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"id":"t-7","progress":1e999}', id="a number out of range"),
            pytest.param(b'{"id":"t-7","progress":1' + b"0" * 400 + b"}", id="a number without end"),
            pytest.param(b'{"id":"t-7","created_at":1' + b"0" * 400 + b"}", id="a time without end"),
            pytest.param(b'{"id":"t-7","status":"\xff"}', id="a text that is no UTF-8"),
            pytest.param(b'{"id":"t-7","response":{"x":1e999}}', id="a response that cannot be read"),
            pytest.param(b'{"id":"t-7","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="nesting without end"),
            pytest.param(b"null", id="nothing"),
            pytest.param(b"[]", id="a list"),
            pytest.param(b'"t-7"', id="a text"),
        ],
    )
    async def test_whatever_a_record_is_the_others_are_read(self, body: bytes) -> None:
        """However odd one record of an answer is, it sinks no other, and every id has its finding."""
        desk = full_desk()
        desk.records["t-7"] = body
        findings = await inquire(desk, LUMA, FIFTY)

        assert set(FIFTY) - {"t-7"} <= findings.readings.keys()
        assert_partition(findings, FIFTY)


class Moody:
    """A transport that answers each request in its own way, chosen by a draw."""

    def __init__(self, draw: Callable[[Sequence[str]], Response | AceTasksError]) -> None:
        self.draw = draw
        self.requests: list[tuple[str, ...]] = []

    async def send(self, request: Request) -> Response:
        """Answer somehow."""
        self.requests.append(request.ids)
        assert len(request.ids) == len(set(request.ids))
        answer = self.draw(request.ids)
        if isinstance(answer, Response):
            return answer
        raise answer


@given(count=st.integers(1, 12), data=st.data())
async def test_every_id_gets_exactly_one_finding(count: int, data: st.DataObject) -> None:
    """Whatever a service answers, an inquiry ends, and every id is a reading, an error or missing."""
    ids = FIFTY[:count]

    def draw(asked: Sequence[str]) -> Response | AceTasksError:
        mood = data.draw(st.sampled_from(["answer"] * 6 + ["reject", "fail", "garble"]))
        if mood == "reject":
            return REJECTED
        if mood == "fail":
            return TransportError("reset")
        if mood == "garble":
            return Response(status=200, body=data.draw(st.binary(max_size=20)))
        known = st.sampled_from([*asked, "stranger"])
        odd = st.sampled_from([b"null", b"{}", b"7", b'{"items":[]}', b'{"id":[]}'])
        records = data.draw(st.lists(known.map(record) | known.map(unreadable) | odd, max_size=2 * count))
        if len(asked) == 1:
            return Response(status=200, body=records[0] if records else b"{}")
        return Response(status=200, body=batch(records))

    desk = Moody(draw)
    findings = await inquire(desk, LUMA, ids)

    assert_partition(findings, ids)
    # Each request finds an id, ends its row, or halves it.
    assert len(desk.requests) <= 2 * count - 1


@given(
    known=st.sets(st.sampled_from(FIFTY)),
    bad=st.sets(st.sampled_from(FIFTY), max_size=3),
    cut=st.integers(1, 50),
)
async def test_findings_are_true(known: set[str], bad: set[str], cut: int) -> None:
    """Ids that are known are read however answers are cut, unknown ones are not, and culprits get their error."""
    desk = full_desk(sorted(known), cut=cut, culprits=bad)
    findings = await inquire(desk, LUMA, FIFTY)

    assert_partition(findings, FIFTY)
    assert findings.errors.keys() == bad
    read = {task_id for task_id, reading in findings.readings.items() if reading.task.state is TaskState.PENDING}
    assert read == known - bad
