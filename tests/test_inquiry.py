"""One look at some tasks, to the end: every id gets one finding, at few requests."""

from __future__ import annotations

import asyncio
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
from acetasks.answers import Look, read_failure, read_look
from acetasks.framing import Framing
from acetasks.inquiry import Findings, _read, inquire
from acetasks.providers import lookup, read_record
from acetasks.schedule import read_retry_after
from acetasks.wire import Question, Response, build_look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from acetasks import AceTasksError
    from acetasks.providers import ProviderSpec
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


class Transport:
    """A transport that admits each request, asks `answer`, and reads what it says as the real one does."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, ...]] = []
        self.attempts: list[int] = []

    def answer(self, request: Request) -> Response:
        """Answer a request."""
        raise NotImplementedError

    async def send(
        self,
        request: Request,
        read: Callable[[Response], object],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
    ) -> object:
        """Send a request."""
        if admit is not None:
            await admit()
        self.requests.append(request.ids)
        self.attempts.append(attempts)
        response = self.answer(request)
        failure = read_failure(request, response, read_retry_after(response.headers))
        if failure is not None:
            raise failure
        return read(response)

    async def rest(self) -> None:
        """Do nothing."""


class Desk(Transport):
    """A service that answers from a table of records.

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
        super().__init__()
        self.records = records
        self.cut = cut
        self.culprits = set(culprits)
        self.rejection = rejection

    def answer(self, request: Request) -> Response:
        """Answer a request, or reject it."""
        if not self.culprits.isdisjoint(request.ids):
            raise self.rejection
        if len(request.ids) == 1:
            return Response(status=200, body=self.records.get(request.ids[0], b"{}"))
        return Response(status=200, body=batch(self.choose(request.ids)))

    def choose(self, ids: Sequence[str]) -> list[bytes]:
        """Choose the records of a batch answer."""
        return [self.records[task_id] for task_id in ids if task_id in self.records][: self.cut]


class Small(Desk):
    """A service that knows every id, and refuses requests for more than some as too large."""

    def __init__(self, most: int, ids: Sequence[str] = FIFTY, **options: object) -> None:
        super().__init__({task_id: record(task_id) for task_id in ids}, **options)
        self.most = most

    def answer(self, request: Request) -> Response:
        """Answer a request, or refuse it for its size."""
        if len(request.ids) > self.most:
            raise TOO_LARGE
        return super().answer(request)


def full_desk(ids: Sequence[str] = FIFTY, **options: object) -> Desk:
    """Make a service that has a record of every id."""
    return Desk({task_id: record(task_id) for task_id in ids}, **options)


def assert_partition(findings: Findings, ids: Sequence[str]) -> None:
    """Check that every id is in exactly one part, and nothing else is in any; readings are of their ids."""
    found = [*findings.readings, *findings.unchanged]
    assert sorted([*found, *findings.errors, *findings.missing]) == sorted(ids)
    assert all(task_id == reading.task.id for task_id, reading in findings.readings.items())
    assert {reading.task.provider for reading in findings.readings.values()} <= {LUMA.slug}


def remember(known: Iterable[str], ids: Sequence[str] = FIFTY) -> list[bytes | None]:
    """Know the records of some of the ids that are asked for."""
    known = set(known)
    return [record(task_id) if task_id in known else None for task_id in ids]


async def ask(
    transport: Transport,
    ids: Sequence[str],
    *,
    known: Sequence[bytes | None] = (),
    framing: Framing | None = None,
    spec: ProviderSpec = LUMA,
    admit: Callable[[], Awaitable[None]] | None = None,
    attempts: int = 1,
) -> Findings:
    """Look at some tasks."""
    question = Question(build_look(spec, ids), known, bool(known) and None not in known)
    return await inquire(transport, spec, question, framing=framing, admit=admit, attempts=attempts)


class TestAnswers:
    """What the service has a record of is read."""

    async def test_a_full_batch_costs_one_request(self) -> None:
        """Fifty ids that the service knows are one request."""
        desk = full_desk()
        findings = await ask(desk, FIFTY)

        assert desk.requests == [tuple(FIFTY)]
        assert list(findings.readings) == FIFTY
        assert {reading.task.state for reading in findings.readings.values()} == {TaskState.PENDING}
        assert_partition(findings, FIFTY)

    async def test_one_id_is_asked_for_alone(self) -> None:
        """A single answer is the record itself, and its id is the one that was asked."""
        desk = Desk({"t-1": b'{"response":{"video_url":"https://cdn.example.com/1.mp4"}}'})
        findings = await ask(desk, ["t-1"])

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
        findings = await ask(desk, ["t-1", "t-2", "t-3"])

        assert len(desk.requests) == 1
        assert_partition(findings, ["t-1", "t-2", "t-3"])
        assert {reading.task.trace_id for reading in findings.readings.values()} == {
            "trace of t-1",
            "trace of t-2",
            "trace of t-3",
        }

    async def test_findings_are_not_shared(self) -> None:
        """Each look has findings of its own."""
        first = await ask(full_desk(), ["t-1"])
        await ask(full_desk(), ["t-2"])
        await ask(full_desk(), FIFTY, known=remember(FIFTY))

        assert list(first.readings) == ["t-1"]
        assert set(first.unchanged) == set()


class TestLeftOut:
    """Ids that an answer leaves out are asked again, until an answer brings none of them."""

    async def test_unknown_ids_are_missing(self) -> None:
        """Where the service knows none of the ids, one request says so."""
        desk = Desk({})
        findings = await ask(desk, FIFTY)

        assert desk.requests == [tuple(FIFTY)]
        assert findings.missing == FIFTY
        assert_partition(findings, FIFTY)

    async def test_unknown_ids_among_known_ones_are_asked_once_more(self) -> None:
        """They might have been cut off: only an answer that brings none of them makes them missing."""
        desk = full_desk(FIFTY[:40])
        findings = await ask(desk, FIFTY)

        assert desk.requests == [tuple(FIFTY), tuple(FIFTY[40:])]
        assert findings.missing == FIFTY[40:]
        assert_partition(findings, FIFTY)

    async def test_one_unknown_id_is_asked_for_alone(self) -> None:
        """The last one left gets the service's own word, which is an empty object."""
        desk = full_desk(FIFTY[:49])
        findings = await ask(desk, FIFTY)

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
        findings = await ask(desk, ids)

        assert len(desk.requests) == requests == math.ceil(count / cut)
        assert sorted(findings.readings) == sorted(ids)
        # An answer that leaves out one id only tells nothing: that one may be new.
        assert findings.cuts == [cut for asked in desk.requests if len(asked) - cut > 1]
        assert_partition(findings, ids)

    @pytest.mark.parametrize("known", [1, 2, 40, 48, 49])
    async def test_answers_without_ids_that_are_unknown_are_not_cut(self, known: int) -> None:
        """Where the service has nothing more of what was left out, the answer was whole, however few it leaves out."""
        desk = full_desk(FIFTY[:known])
        findings = await ask(desk, FIFTY)

        assert len(findings.readings) in {known, 50}
        assert findings.cuts == []

    async def test_only_answers_that_were_cut_short_count_as_cut(self) -> None:
        """Of 30 known ids in answers of 12, two were cut; the third was not, though it leaves out 20."""
        desk = full_desk(FIFTY[:30], cut=12)
        findings = await ask(desk, FIFTY)

        assert findings.cuts == [12, 12]
        assert sorted(findings.missing) == sorted(FIFTY[30:])

    async def test_records_that_cannot_be_read_make_no_cut(self) -> None:
        """Of an answer with such records it is not known how many of the ids were in it."""
        desk = full_desk(FIFTY[:4], cut=2)
        desk.records["t-1"] = unreadable("t-1")
        findings = await ask(desk, FIFTY[:4])

        assert list(findings.readings) == ["t-0", "t-2", "t-3"]
        assert list(findings.errors) == ["t-1"]
        assert findings.cuts == []

    async def test_ids_are_never_asked_again_once_they_are_read(self) -> None:
        """Each further request is for those alone that are still to be found."""
        desk = full_desk(cut=12)
        await ask(desk, FIFTY)

        assert desk.requests == [tuple(FIFTY[start:]) for start in range(0, 50, 12)]


class TestKnown:
    """Records that are known already come back as unchanged, and are found like any other."""

    async def test_a_full_batch_of_known_records_costs_one_request(self) -> None:
        """Where nothing has changed, nothing is read and nothing asked again."""
        desk = full_desk()
        findings = await ask(desk, FIFTY, known=remember(FIFTY))

        assert desk.requests == [tuple(FIFTY)]
        assert set(findings.unchanged) == set(FIFTY)
        assert findings.readings == {}
        assert_partition(findings, FIFTY)

    async def test_known_records_are_not_read(self) -> None:
        """One that could not be read makes no error where it is known."""
        desk = full_desk()
        desk.records["t-7"] = unreadable("t-7")
        known = [unreadable("t-7") if task_id == "t-7" else None for task_id in FIFTY]
        findings = await ask(desk, FIFTY, known=known)

        assert desk.requests == [tuple(FIFTY)]
        assert set(findings.unchanged) == {"t-7"}
        assert findings.errors == {}
        assert_partition(findings, FIFTY)

    async def test_what_has_changed_is_read(self) -> None:
        """Only the records that are other than before are news."""
        desk = full_desk()
        for task_id in ("t-3", "t-4"):
            desk.records[task_id] = record(task_id, progress=50)
        findings = await ask(desk, FIFTY, known=remember(FIFTY))

        assert sorted(findings.readings) == ["t-3", "t-4"]
        assert set(findings.unchanged) == set(FIFTY) - {"t-3", "t-4"}
        assert_partition(findings, FIFTY)

    async def test_one_that_is_left_out_is_not_unchanged(self) -> None:
        """The service has no record of it any more, whatever was known of it."""
        desk = full_desk(FIFTY[:40])
        findings = await ask(desk, FIFTY, known=remember(FIFTY))

        assert desk.requests == [tuple(FIFTY), tuple(FIFTY[40:])]
        assert set(findings.unchanged) == set(FIFTY[:40])
        assert findings.missing == FIFTY[40:]
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize(("count", "cut", "requests"), [(50, 12, 5), (50, 49, 2), (50, 1, 50), (13, 12, 2)])
    @pytest.mark.parametrize("share", [1, 2, 3])
    async def test_a_cut_answer_is_noticed_by_unchanged_records(
        self, count: int, cut: int, requests: int, share: int
    ) -> None:
        """Whether all, every second or every third is known, an answer is as short as it is."""
        ids = FIFTY[:count]
        known = ids[::share]
        desk = full_desk(cut=cut)
        findings = await ask(desk, ids, known=remember(known, ids))

        assert len(desk.requests) == requests
        assert findings.cuts == [cut for asked in desk.requests if len(asked) - cut > 1]
        # One that is asked for alone is read, known or not.
        assert set(findings.unchanged) == set(known) - {ids[-1] if len(desk.requests[-1]) == 1 else ""}
        assert_partition(findings, ids)

    async def test_only_unchanged_records_in_a_later_answer_show_a_cut(self) -> None:
        """That there was more shows by what is known as well as by news."""
        findings = await ask(full_desk(FIFTY[:24], cut=12), FIFTY, known=remember(FIFTY[12:24]))

        assert list(findings.readings) == FIFTY[:12]
        assert set(findings.unchanged) == set(FIFTY[12:24])
        assert findings.cuts == [12]
        assert findings.missing == FIFTY[24:]

    async def test_the_halves_of_a_rejected_batch_have_known_records(self) -> None:
        """What is known is known in every request of a look; whoever is asked for alone is read."""
        desk = full_desk(culprits=["t-7"])
        findings = await ask(desk, FIFTY, known=remember(FIFTY))

        assert findings.errors == {"t-7": REJECTED}
        assert findings.readings.keys() == {asked[0] for asked in desk.requests if len(asked) == 1} - {"t-7"}
        assert len(findings.readings) <= 2
        assert_partition(findings, FIFTY)

    async def test_known_records_are_found_in_any_order(self) -> None:
        """A service may answer as it likes: nothing is read, and nothing asked again."""

        class Reversed(Desk):
            def choose(self, ids: Sequence[str]) -> list[bytes]:
                return super().choose(ids)[::-1]

        desk = Reversed({task_id: record(task_id) for task_id in FIFTY}, cut=30)
        desk.records["t-7"] = unreadable("t-7")
        known = [desk.records[task_id] for task_id in FIFTY]
        findings = await ask(desk, FIFTY, known=known)

        assert desk.requests == [tuple(FIFTY), tuple(FIFTY[30:])]
        assert set(findings.unchanged) == set(FIFTY)
        assert_partition(findings, FIFTY)

    async def test_each_id_keeps_its_own_record_however_a_batch_is_divided(self) -> None:
        """In the halves, and in what an answer left out, what is known of an id is not taken for another's."""
        desk = full_desk(culprits=["t-20"], cut=7)
        desk.records["t-3"] = record("t-3", progress=50)
        desk.records["t-40"] = record("t-40", progress=50)
        known = remember(FIFTY[1:])
        findings = await ask(desk, FIFTY, known=known)

        alone = {asked[0] for asked in desk.requests if len(asked) == 1}
        assert findings.errors == {"t-20": REJECTED}
        assert findings.readings.keys() | {"t-20"} == {"t-0", "t-3", "t-40", "t-20"} | alone
        assert findings.readings["t-40"].progress == 50
        assert_partition(findings, FIFTY)

    async def test_what_is_known_must_be_of_the_ids(self) -> None:
        """A list of another length is nobody's, and no record may be taken for that of another."""
        with pytest.raises(ValueError, match="zip"):
            await ask(full_desk(cut=20), FIFTY, known=remember(FIFTY)[1:])

    async def test_unchanged_records_stay_found_in_trouble(self) -> None:
        """Where a later request fails, what the first one found stays."""
        error = TransportError("reset")
        desk = full_desk(cut=20)
        first = desk.answer

        def answer(request: Request) -> Response:
            if len(desk.requests) > 1:
                raise error
            return first(request)

        desk.answer = answer
        findings = await ask(desk, FIFTY, known=remember(FIFTY))

        assert set(findings.unchanged) == set(FIFTY[:20])
        assert findings.errors == dict.fromkeys(FIFTY[20:], error)
        assert_partition(findings, FIFTY)


class TestWholes:
    """Of an answer only what is new is read, once it is known how the provider frames its answers."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Count the ids of the answers that are read in their parts."""
        reads: list[int] = []

        def read(spec: ProviderSpec, request: Request, *rest: object) -> Look:
            reads.append(len(request.ids))
            return read_look(spec, request, *rest)

        monkeypatch.setattr("acetasks.inquiry.read_look", read)
        return reads

    async def test_the_second_answer_is_not_split(self, reads: list[int]) -> None:
        """And it says the same."""
        desk, framing = full_desk(), Framing()
        first, second = [await ask(desk, FIFTY, known=remember(FIFTY), framing=framing) for _ in range(2)]

        assert reads == [50]
        assert set(first.unchanged) == set(second.unchanged) == set(FIFTY)
        assert (first.readings, second.readings) == ({}, {})

    async def test_the_look_is_the_same(self, reads: list[int]) -> None:
        """The service's time is read either way."""
        desk, framing = full_desk(), Framing()
        request = build_look(LUMA, FIFTY)
        headers = {"date": "Tue, 25 Aug 2026 12:00:00 GMT"}
        response = msgspec.structs.replace(desk.answer(request), headers=headers)
        known = remember(FIFTY)
        looks = [_read(LUMA, Question(request, known, is_known=True), framing, response) for _ in range(2)]

        assert reads == [50]
        assert looks == [read_look(LUMA, request, response, known)] * 2
        assert looks[1].today is not None

    @pytest.mark.parametrize("places", [[0], [7], [49], [0, 2, 49], range(0, 50, 2)])
    async def test_news_alone_is_read(self, reads: list[int], places: Sequence[int]) -> None:
        """Wherever it is, also where it is as long as what was known; and what follows is told as a whole again."""
        desk, framing = full_desk(), Framing()
        known = remember(FIFTY)
        await ask(desk, FIFTY, known=known, framing=framing)
        news = [FIFTY[place] for place in places]
        for task_id in news:
            desk.records[task_id] = record(task_id).replace(b"1787600000", b"1787600001")
        findings = await ask(desk, FIFTY, known=known, framing=framing)

        assert list(findings.readings) == news
        assert all(reading.raw == desk.records[task_id] for task_id, reading in findings.readings.items())
        assert_partition(findings, FIFTY)
        for place in places:
            known[place] = desk.records[FIFTY[place]]
        findings = await ask(desk, FIFTY, known=known, framing=framing)
        assert set(findings.unchanged) == set(FIFTY)
        assert reads == [50]

    @pytest.mark.parametrize(
        "odd",
        [
            record("t-99"),
            record("t-7") + b"," + record("t-7"),
            record("t-7")[:-1] + b',"cut":"\\ud83d"}',
            b'{"task":' + record("t-7").replace(b"1787600000", b"1787600001") + b"}",
            b"{}",
        ],
        ids=["of another task", "twice", "cut inside a character", "wrapped", "empty"],
    )
    async def test_what_is_no_plain_record_is_left_to_the_whole(self, reads: list[int], odd: bytes) -> None:
        """It is read as it is without a frame, and so are its neighbours."""
        desk, framing = full_desk(), Framing()
        known = remember(FIFTY)
        await ask(desk, FIFTY, known=known, framing=framing)
        desk.records["t-7"] = odd
        findings = await ask(desk, FIFTY, known=known, framing=framing)

        assert reads[:2] == [50, 50]
        assert findings == await ask(desk, FIFTY, known=known)
        assert_partition(findings, FIFTY)

    async def test_a_mended_record_is_known_again(self, reads: list[int]) -> None:
        """As it was mended, so that it is news but once."""
        desk, framing = full_desk(), Framing()
        known = remember(FIFTY)
        await ask(desk, FIFTY, known=known, framing=framing)
        desk.records["t-7"] = record("t-7")[:-1] + b',"cut":"\\ud83d"}'
        known[7] = (await ask(desk, FIFTY, known=known, framing=framing)).readings["t-7"].raw
        findings = await ask(desk, FIFTY, known=known, framing=framing)

        assert findings.readings == {}
        assert set(findings.unchanged) == set(FIFTY)
        assert reads == [50] * 3

    async def test_one_that_is_left_out_is_noticed(self, reads: list[int]) -> None:
        """The others say no longer what all of them did."""
        desk, framing = full_desk(), Framing()
        await ask(desk, FIFTY, known=remember(FIFTY), framing=framing)
        del desk.records["t-3"]
        findings = await ask(desk, FIFTY, known=remember(FIFTY), framing=framing)

        assert set(findings.unchanged) == {*FIFTY} - {"t-3"}
        assert findings.readings["t-3"].state is TaskState.NOT_FOUND
        assert_partition(findings, FIFTY)
        assert reads == [50, 50, 1]

    async def test_where_one_is_not_known_all_is_read(self, reads: list[int]) -> None:
        """Nothing is told of it yet."""
        framing = Framing()
        for _ in range(3):
            findings = await ask(full_desk(), FIFTY, known=remember(FIFTY[1:]), framing=framing)
            assert list(findings.readings) == ["t-0"]

        assert reads == [50] * 3

    async def test_without_framing_all_is_read(self, reads: list[int]) -> None:
        """It is for the caller to keep."""
        for _ in range(3):
            await ask(full_desk(), FIFTY, known=remember(FIFTY))

        assert reads == [50] * 3

    async def test_one_id_alone_is_read(self, reads: list[int]) -> None:
        """Its answer is the record itself."""
        framing = Framing()
        for _ in range(3):
            findings = await ask(full_desk(), ["t-1"], known=[record("t-1")], framing=framing)
            assert list(findings.readings) == ["t-1"]

        assert reads == [1] * 3

    async def test_a_service_with_an_order_of_its_own_is_read(self, reads: list[int]) -> None:
        """It says the same, in its parts."""

        class Backwards(Desk):
            def choose(self, ids: Sequence[str]) -> list[bytes]:
                return super().choose(ids)[::-1]

        desk, framing = Backwards({task_id: record(task_id) for task_id in FIFTY}), Framing()
        for _ in range(12):
            findings = await ask(desk, FIFTY, known=remember(FIFTY), framing=framing)
            assert (findings.readings, set(findings.unchanged)) == ({}, set(FIFTY))

        assert reads == [50] * 12


class TestRejections:
    """A batch that is rejected is halved until the culprit is alone."""

    async def test_one_bad_id_costs_few_requests(self) -> None:
        """Wherever it stands among n ids, it costs at most 2 * log2(n) requests more, rounded up: 12 for 50."""
        assert 2 * math.ceil(math.log2(50)) == 12
        readings = {f"t-{number}": read_record(LUMA, record(f"t-{number}")) for number in range(64)}

        class Quick(Desk):
            """Has read its answers before, for there are a hundred thousand records in them."""

            async def send(self, request: Request, *_: object, **__: object) -> Look:
                self.requests.append(request.ids)
                if not self.culprits.isdisjoint(request.ids):
                    raise REJECTED
                return Look({task_id: readings[task_id] for task_id in request.ids})

        for count in range(1, 65):
            ids = list(readings)[:count]
            for culprit in ids:
                desk = Quick({}, culprits=[culprit])
                findings = await ask(desk, ids)

                assert len(desk.requests) <= 1 + 2 * math.ceil(math.log2(count))
                assert findings.errors == {culprit: REJECTED}
                assert_partition(findings, ids)

    @pytest.mark.parametrize("culprit", [0, 24, 25, 49])
    async def test_the_others_of_a_bad_id_are_read(self, culprit: int) -> None:
        """It alone gets the error, and it says nothing of how many may be asked for at once."""
        desk = full_desk(culprits=[FIFTY[culprit]])
        findings = await ask(desk, FIFTY)

        assert findings.errors == {FIFTY[culprit]: REJECTED}
        assert len(findings.readings) == 49
        assert (findings.cuts, findings.fits) == ([], None)
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize("count", [0, 2, 3, 25, 49, 50])
    async def test_several_bad_ids_are_all_found(self, count: int) -> None:
        """Each culprit gets the error and everybody else is read, at no more requests than for each culprit alone."""
        bad = FIFTY[::-1][: count * 2 : 2] if count <= 25 else FIFTY[:count]
        desk = full_desk(culprits=bad)
        findings = await ask(desk, FIFTY)

        assert sorted(findings.errors) == sorted(bad)
        assert len(findings.readings) == 50 - count
        assert len(desk.requests) <= 1 + min(12 * count, 98)
        assert_partition(findings, FIFTY)

    async def test_a_batch_that_is_too_large_is_halved_until_it_fits(self) -> None:
        """HTTP 413 costs nobody a finding: the halves are asked."""
        desk = Small(15, FIFTY)
        findings = await ask(desk, FIFTY)

        assert sorted(findings.readings) == sorted(FIFTY)
        assert [len(ids) for ids in desk.requests] == [50, 25, 13, 12, 25, 13, 12]
        assert findings.fits == 13
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize(("most", "fits"), [(49, 25), (25, 25), (24, 13), (1, 1), (50, None)])
    async def test_what_was_not_too_large_is_told(self, most: int, fits: int | None) -> None:
        """The largest share of a request that was refused for its size and then was not."""
        findings = await ask(Small(most), FIFTY)

        assert findings.fits == fits
        assert findings.errors == {}
        assert_partition(findings, FIFTY)

    async def test_a_task_that_is_too_large_alone_says_nothing_of_others(self) -> None:
        """Where one id is refused for its size even alone, it may have been the only reason."""
        desk = full_desk(culprits=["t-7"], rejection=TOO_LARGE)
        findings = await ask(desk, FIFTY)

        assert findings.errors == {"t-7": TOO_LARGE}
        assert findings.fits is None

    async def test_a_share_that_fails_does_not_show_what_fits(self) -> None:
        """Only a share that was answered was surely not too large."""
        error = TransportError("reset")
        findings = await ask(Small(25, culprits=["t-0", "t-49"], rejection=error), FIFTY)

        assert set(findings.errors.values()) == {error}
        assert findings.fits is None

    async def test_a_redirect_is_not_split(self) -> None:
        """It concerns the base URL, so it is everybody's at once."""
        moved = BadRequestError("moved", status=301)
        desk = full_desk(culprits=["t-7"], rejection=moved)
        findings = await ask(desk, FIFTY)

        assert desk.requests == [tuple(FIFTY)]
        assert findings.errors == dict.fromkeys(FIFTY, moved)

    async def test_a_rejected_single_id_gets_the_error(self) -> None:
        """Alone, an id is its own culprit."""
        desk = full_desk(culprits=["t-1"])
        findings = await ask(desk, ["t-1"])

        assert desk.requests == [("t-1",)]
        assert findings.errors == {"t-1": REJECTED}

    @pytest.mark.parametrize("unknown", [["d-3"], ["d-3", "d-4"], ["d-0", "d-9"]])
    async def test_a_404_that_names_a_task_sinks_no_batch(self, unknown: list[str]) -> None:
        """Where the whole batch is answered 404 for an unknown id, the others are read and it is not found."""
        spec = lookup("digital-human")
        body = b'{"error":{"code":"no_task","message":"task not found"},"trace_id":"x"}'
        ids = [f"d-{number}" for number in range(10)]

        class Strict(Desk):
            def answer(self, request: Request) -> Response:
                if not set(unknown).isdisjoint(request.ids):
                    return Response(status=404, body=body)
                return super().answer(request)

        findings = await ask(Strict({task_id: record(task_id) for task_id in ids}), ids, spec=spec)

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
        findings = await ask(desk, ids)

        assert desk.requests == [tuple(ids)]
        assert list(findings.errors) == ids
        assert all(given is error for given in findings.errors.values())
        assert_partition(findings, ids)

    async def test_an_error_later_on_leaves_what_was_read(self) -> None:
        """Where the second request fails, the findings of the first stay."""
        error = TransportError("reset")

        class Tiring(Desk):
            def answer(self, request: Request) -> Response:
                if len(self.requests) > 1:
                    raise error
                return super().answer(request)

        desk = Tiring({task_id: record(task_id) for task_id in FIFTY}, cut=20)
        findings = await ask(desk, FIFTY)

        assert list(findings.readings) == FIFTY[:20]
        assert findings.errors == dict.fromkeys(FIFTY[20:], error)
        assert_partition(findings, FIFTY)

    @pytest.mark.parametrize(
        "error",
        [
            RateLimitError("slow down", status=429),
            ServiceError("busy", status=503, retry_after=5.0),
            ServiceError("busy", status=503),
            TransportError("reset"),
        ],
        ids=["429", "503 with a pause", "503", "reset"],
    )
    async def test_a_look_ends_in_trouble(self, error: AceTasksError) -> None:
        """After a passing fault nothing more is sent of a look, and what was not asked has that error."""

        class Limited(Desk):
            def answer(self, request: Request) -> Response:
                if len(self.requests) == 2:
                    raise error
                return super().answer(request)

        desk = Limited({task_id: record(task_id) for task_id in FIFTY[:4]}, culprits=["t-0"])
        findings = await ask(desk, FIFTY[:4])

        assert desk.requests == [tuple(FIFTY[:4]), ("t-0", "t-1")]
        assert findings.errors == dict.fromkeys(FIFTY[:4], error)
        assert_partition(findings, FIFTY[:4])

    async def test_a_pause_asked_for_with_a_rejection_does_not_end_the_look(self) -> None:
        """A proxy may send `Retry-After` with anything: a rejected batch is halved all the same."""
        rejection = BadRequestError("no such id", status=400, retry_after=5.0)
        findings = await ask(full_desk(culprits=["t-7"], rejection=rejection), FIFTY)

        assert findings.errors == {"t-7": rejection}

    @pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b'{"items":', b"null", b'{"count":0}'])
    async def test_a_batch_that_cannot_be_read_is_everybodys_error(self, body: bytes) -> None:
        """No id can be told from such an answer."""

        class Odd(Transport):
            def answer(self, request: Request) -> Response:
                del request
                return Response(status=200, body=body)

        findings = await ask(Odd(), FIFTY)

        assert list(findings.errors) == FIFTY
        assert all(isinstance(error, ProtocolError) for error in findings.errors.values())
        assert all(error.transient for error in findings.errors.values())
        assert_partition(findings, FIFTY)

    async def test_an_unreadable_record_is_its_own_ids_problem(self) -> None:
        """The others of its batch are read, and its id gets the error when it is asked for alone."""
        desk = full_desk()
        desk.records["t-7"] = unreadable("t-7")
        findings = await ask(desk, FIFTY)

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
        findings = await ask(desk, FIFTY)

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
        findings = await ask(desk, FIFTY)

        assert set(FIFTY) - {"t-7"} <= findings.readings.keys()
        assert_partition(findings, FIFTY)


class TestSending:
    """What each request of a look is sent with."""

    async def test_each_request_is_admitted_first(self) -> None:
        """However many requests a look takes, none is sent before it is allowed."""
        desk = full_desk(cut=20, culprits=["t-7"])
        admitted: list[int] = []

        async def admit() -> None:
            await asyncio.sleep(1.0)
            admitted.append(len(desk.requests))

        began = asyncio.get_running_loop().time()
        await ask(desk, FIFTY, admit=admit)

        assert len(desk.requests) > 10
        assert admitted == list(range(len(desk.requests)))
        assert asyncio.get_running_loop().time() - began == len(desk.requests)

    @pytest.mark.parametrize("options", [{}, {"attempts": 4}])
    async def test_each_request_has_as_many_attempts(self, options: dict[str, int]) -> None:
        """One unless the caller says otherwise."""
        desk = full_desk(cut=20)
        await ask(desk, FIFTY, **options)

        assert desk.attempts == [options.get("attempts", 1)] * 3

    async def test_a_bug_is_no_finding(self) -> None:
        """What is no error of this library's ends the look."""
        desk = full_desk(culprits=["t-7"], rejection=KeyError("bug"))
        with pytest.raises(KeyError):
            await ask(desk, FIFTY)


class Moody(Transport):
    """A service that answers each request in its own way, chosen by a draw."""

    def __init__(self, draw: Callable[[Sequence[str]], Response | AceTasksError]) -> None:
        super().__init__()
        self.draw = draw

    def answer(self, request: Request) -> Response:
        """Answer somehow."""
        assert len(request.ids) == len(set(request.ids))
        answer = self.draw(request.ids)
        if isinstance(answer, Response):
            return answer
        raise answer


@given(count=st.integers(1, 12), data=st.data())
async def test_every_id_gets_exactly_one_finding(count: int, data: st.DataObject) -> None:
    """Whatever a service answers, an inquiry ends, and every id is a reading, unchanged, an error or missing."""
    ids = FIFTY[:count]
    remembered = data.draw(st.sets(st.sampled_from(ids)))

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
    findings = await ask(desk, ids, known=remember(remembered, ids))

    assert_partition(findings, ids)
    assert remembered.issuperset(findings.unchanged)
    # Each request finds an id, ends its row, or halves it.
    assert len(desk.requests) <= 2 * count - 1


@given(
    known=st.sets(st.sampled_from(FIFTY)),
    bad=st.sets(st.sampled_from(FIFTY), max_size=3),
    remembered=st.sets(st.sampled_from(FIFTY)),
    cut=st.integers(1, 50),
)
async def test_findings_are_true(known: set[str], bad: set[str], remembered: set[str], cut: int) -> None:
    """Ids that are known are found however answers are cut, unknown ones are not, and culprits get their error."""
    desk = full_desk(sorted(known), cut=cut, culprits=bad)
    findings = await ask(desk, FIFTY, known=remember(remembered))

    assert_partition(findings, FIFTY)
    assert findings.errors.keys() == bad
    read = {task_id for task_id, reading in findings.readings.items() if reading.task.state is TaskState.PENDING}
    assert read | set(findings.unchanged) == known - bad
    # Only those that were asked for alone are read though their record is remembered.
    assert remembered.issuperset(findings.unchanged)
    assert read & remembered <= {asked[0] for asked in desk.requests if len(asked) == 1}
