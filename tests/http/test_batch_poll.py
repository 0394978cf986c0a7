"""Polls of one batch, with as many requests as needed."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import FakeTransport

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
from acetasks._http.batch_poll import PollResult, poll_batch
from acetasks._http.requests import Response
from acetasks._http.responses import PollResponse
from acetasks.providers import lookup, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from acetasks import AceTasksError
    from acetasks._http.requests import Request

LUMA = lookup("luma")
FIFTY = [f"t-{number}" for number in range(50)]
TOO_LARGE = BadRequestError("request too large", status=413, code="request_too_large")
REJECTED = BadRequestError("no such id", status=400, code="bad_request")


def unreadable(task_id: str) -> bytes:
    """Build a complete record that cannot be read, because its progress exceeds a float."""
    return b'{"id":"%s","progress":1e999}' % task_id.encode()


def batch(records: Sequence[bytes]) -> bytes:
    """Build the body of a batch response."""
    return b'{"items":[' + b",".join(records) + b'],"count":%d}' % len(records)


def record(task_id: str, **fields: object) -> bytes:
    """Build the record of a pending task."""
    return msgspec.json.encode({"id": task_id, "created_at": 1787600000.0} | fields)


class RecordService(FakeTransport):
    """A service that responds from a table of records.

    Args:
        records: By id.
        truncate_at: Maximum number of records in one response.
        bad_ids: Ids that cause the whole request to fail.
        error: The error of such a request.
    """

    def __init__(
        self,
        records: dict[str, bytes],
        *,
        truncate_at: int | None = None,
        bad_ids: Collection[str] = (),
        error: Exception = REJECTED,
    ) -> None:
        super().__init__()
        self.records = records
        self.truncate_at = truncate_at
        self.bad_ids = set(bad_ids)
        self.error = error

    def respond(self, request: Request) -> Response:
        """Return the records of the request, or raise its error."""
        if not self.bad_ids.isdisjoint(request.ids):
            raise self.error
        if len(request.ids) == 1:
            return Response(status=200, body=self.records.get(request.ids[0], b"{}"))
        return Response(status=200, body=batch(self.choose(request.ids)))

    def choose(self, ids: Sequence[str]) -> list[bytes]:
        """Return the records of a batch response."""
        return [self.records[task_id] for task_id in ids if task_id in self.records][: self.truncate_at]


class SmallService(RecordService):
    """A service that has a record of every id and rejects requests for more than `limit` ids as too large."""

    def __init__(self, limit: int, ids: Sequence[str] = FIFTY, **options: object) -> None:
        super().__init__({task_id: record(task_id) for task_id in ids}, **options)
        self.limit = limit

    def respond(self, request: Request) -> Response:
        """Return the records of the request, or reject it for its size."""
        if len(request.ids) > self.limit:
            raise TOO_LARGE
        return super().respond(request)


def full_service(ids: Sequence[str] = FIFTY, **options: object) -> RecordService:
    """Build a service that has a record of every id."""
    return RecordService({task_id: record(task_id) for task_id in ids}, **options)


def assert_partition(result: PollResult, ids: Sequence[str]) -> None:
    """Check that every id is in exactly one part of the result, and each status belongs to its id."""
    found = [*result.statuses, *result.unchanged]
    assert sorted([*found, *result.errors, *result.missing]) == sorted(ids)
    assert all(task_id == status.task.id for task_id, status in result.statuses.items())
    assert {status.task.provider for status in result.statuses.values()} <= {LUMA.slug}


def known_records(known: Iterable[str], ids: Sequence[str] = FIFTY) -> list[bytes | None]:
    """Build the known records of some ids, with None for the others."""
    known = set(known)
    return [record(task_id) if task_id in known else None for task_id in ids]


async def poll(
    transport: FakeTransport, ids: Sequence[str], known: Sequence[bytes | None] = (), **options: object
) -> PollResult:
    """Poll luma tasks."""
    return await poll_batch(transport, LUMA, ids, known, **options)


class TestRecords:
    """Records that the service has."""

    async def test_full_batch_takes_one_request(self) -> None:
        """Fifty known ids take one request."""
        service = full_service()
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY)]
        assert list(result.statuses) == FIFTY
        assert {status.task.state for status in result.statuses.values()} == {TaskState.PENDING}
        assert_partition(result, FIFTY)

    async def test_single_id(self) -> None:
        """The response to a poll of one id is the record, even without an id."""
        service = RecordService({"t-1": b'{"response":{"video_url":"https://cdn.example.com/1.mp4"}}'})
        result = await poll(service, ["t-1"])

        assert service.batches == [("t-1",)]
        assert result.statuses["t-1"].task.state is TaskState.SUCCEEDED
        assert_partition(result, ["t-1"])

    async def test_records_are_matched_by_id(self) -> None:
        """Order, repeated records and foreign records make no difference."""

        class Jumbled(RecordService):
            def choose(self, ids: Sequence[str]) -> list[bytes]:
                known = [record(task_id, trace_id=f"trace of {task_id}") for task_id in reversed(ids)]
                return [
                    record("foreign"),
                    *known,
                    *known,
                    record("t-1", trace_id="a later one"),
                    b'{"count":1}',
                    b"{}",
                ]

        service = Jumbled({})
        result = await poll(service, ["t-1", "t-2", "t-3"])

        assert len(service.batches) == 1
        assert_partition(result, ["t-1", "t-2", "t-3"])
        assert {status.task.trace_id for status in result.statuses.values()} == {
            "trace of t-1",
            "trace of t-2",
            "trace of t-3",
        }

    async def test_results_are_not_shared(self) -> None:
        """Each poll has its own result."""
        first = await poll(full_service(), ["t-1"])
        await poll(full_service(), ["t-2"])
        await poll(full_service(), FIFTY, known=known_records(FIFTY))

        assert list(first.statuses) == ["t-1"]
        assert set(first.unchanged) == set()


class TestResult:
    """Attributes of the whole result."""

    @pytest.mark.parametrize("known", [(), known_records(FIFTY)], ids=["new", "unchanged"])
    async def test_server_time_is_of_the_last_response(self, known: Sequence[bytes | None]) -> None:
        """It is read from the `Date` header, whether any record has changed or not."""
        service = full_service(truncate_at=30)
        respond = service.respond

        def respond_with_date(request: Request) -> Response:
            date = f"Tue, 25 Aug 2026 12:00:0{len(service.requests)} GMT"
            return Response(status=200, headers={"date": date}, body=respond(request).body)

        result = await poll(FakeTransport(respond_with_date), FIFTY[:30], known[:30])
        assert result.server_time == 1787659200.0
        service.respond = respond_with_date
        result = await poll(service, FIFTY, known)
        assert result.server_time == 1787659202.0

    @pytest.mark.parametrize(
        ("result", "is_answered"),
        [
            (PollResult(), False),
            (PollResult(statuses={"a": read_record(LUMA, record("a"))}), True),
            (PollResult(unchanged=("a",)), True),
            (PollResult(missing=["a"]), True),
            (PollResult(errors={"a": REJECTED}), True),
            (PollResult(errors={"a": TransportError("reset")}), False),
            (PollResult(errors={"a": TransportError("bad certificate", transient=False)}), False),
            (PollResult(errors={"a": TransportError("reset"), "b": REJECTED}), True),
            (PollResult(unchanged=("a",), errors={"b": TransportError("reset")}), True),
        ],
    )
    def test_is_answered_by_any_other_error(self, result: PollResult, is_answered: bool) -> None:  # noqa: FBT001  # a column
        """Any record, missing id or final error shows that the service works, if it came in a response."""
        assert result.is_answered is is_answered


class TestLeftOut:
    """Ids that a response leaves out are polled again, until a response has none of them."""

    async def test_unknown_ids_are_missing(self) -> None:
        """If a response has none of the ids, one of them is polled alone, to see whether that is true."""
        service = RecordService({})
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), ("t-0",)]
        assert result.missing == FIFTY[1:]
        assert result.statuses["t-0"].state is TaskState.NOT_FOUND
        assert result.batch_works is None
        assert_partition(result, FIFTY)

    async def test_unknown_ids_among_known_ones_are_polled_once_more(self) -> None:
        """They may have been truncated, so a second request decides, and one for one of them."""
        service = full_service(FIFTY[:40])
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), tuple(FIFTY[40:]), ("t-40",)]
        assert result.missing == FIFTY[41:]
        assert result.batch_works is True
        assert_partition(result, FIFTY)

    async def test_last_unknown_id_is_polled_alone(self) -> None:
        """The response to the last unknown id alone is an empty object."""
        service = full_service(FIFTY[:49])
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), ("t-49",)]
        assert result.statuses["t-49"].task.state is TaskState.NOT_FOUND
        assert_partition(result, FIFTY)

    @pytest.mark.parametrize(
        ("count", "truncate_at", "batches"),
        [(50, 12, 5), (50, 10, 5), (50, 49, 2), (50, 1, 50), (13, 12, 2), (12, 12, 1)],
    )
    async def test_truncated_responses_lose_no_task(self, count: int, truncate_at: int, batches: int) -> None:
        """With k records in a response, n ids take n/k requests, rounded up."""
        ids = FIFTY[:count]
        service = full_service(truncate_at=truncate_at)
        result = await poll(service, ids)

        assert len(service.batches) == batches == math.ceil(count / truncate_at)
        assert sorted(result.statuses) == sorted(ids)
        # A response that leaves out a single id may be complete: that id may be new.
        assert result.truncated_at == [truncate_at for polled in service.batches if len(polled) - truncate_at > 1]
        assert_partition(result, ids)

    @pytest.mark.parametrize("known", [1, 2, 40, 48, 49])
    async def test_unknown_ids_are_not_a_truncation(self, known: int) -> None:
        """If none of the missing ids is found later, the response was complete."""
        service = full_service(FIFTY[:known])
        result = await poll(service, FIFTY)

        assert sum(status.state is not TaskState.NOT_FOUND for status in result.statuses.values()) == known
        assert result.truncated_at == []

    async def test_only_truncated_responses_count(self) -> None:
        """Of three responses with 12, 12 and 6 of 30 known ids, two were truncated."""
        service = full_service(FIFTY[:30], truncate_at=12)
        result = await poll(service, FIFTY)

        assert result.truncated_at == [12, 12]
        assert sorted(result.missing) == sorted(FIFTY[31:])

    async def test_unreadable_records_are_not_a_truncation(self) -> None:
        """The size of a response with unreadable records is not certain."""
        service = full_service(FIFTY[:4], truncate_at=2)
        service.records["t-1"] = unreadable("t-1")
        result = await poll(service, FIFTY[:4])

        assert list(result.statuses) == ["t-0", "t-2", "t-3"]
        assert list(result.errors) == ["t-1"]
        assert result.truncated_at == []

    async def test_found_ids_are_not_polled_again(self) -> None:
        """Each further request has only the missing ids."""
        service = full_service(truncate_at=12)
        await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY[start:]) for start in range(0, 50, 12)]


class ForgetfulService(RecordService):
    """A service that finds tasks one by one, and answers a batch with `records_of_batch` whatever the ids are."""

    def __init__(self, records_of_batch: Sequence[bytes]) -> None:
        super().__init__({task_id: record(task_id) for task_id in FIFTY})
        self.records_of_batch = records_of_batch

    def choose(self, ids: Sequence[str]) -> Sequence[bytes]:  # noqa: ARG002  # the fault
        """Return the same records."""
        return self.records_of_batch


class TestIgnoredBatch:
    """A response to a batch that is not about its tasks, which a poll of one of them shows."""

    @pytest.mark.parametrize(
        "records",
        [[], [record("stranger")] * 12, [record(None), record(None)], [b"{}"]],
        ids=["always empty", "strangers", "without ids", "empty records"],
    )
    async def test_it_says_nothing_of_the_tasks(self, records: list[bytes]) -> None:
        """The task that was polled alone has its record, and the others are to be polled alone."""
        service = ForgetfulService(records)
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), ("t-0",)]
        assert list(result.statuses) == ["t-0"]
        assert result.missing == FIFTY[1:]
        assert result.batch_works is False
        assert_partition(result, FIFTY)

    async def test_a_history_may_have_some_of_the_tasks(self) -> None:
        """They are read; the others are not in the next response either."""
        service = ForgetfulService([record(task_id) for task_id in FIFTY[:12]])
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), tuple(FIFTY[12:]), ("t-12",)]
        assert list(result.statuses) == FIFTY[:13]
        assert result.batch_works is False
        assert result.truncated_at == []

    async def test_a_task_that_was_seen_before_is_polled(self) -> None:
        """The others may not exist."""
        service = ForgetfulService([])
        await poll(service, FIFTY, known=known_records(["t-17", "t-30"]))

        assert service.batches == [tuple(FIFTY), ("t-17",)]

    async def test_a_failed_poll_shows_nothing(self) -> None:
        """The error is that of the one task."""
        service = ForgetfulService([])

        def respond(request: Request) -> Response:
            if len(request.ids) == 1:
                raise TransportError("reset")
            return Response(status=200, body=batch([]))

        service.respond = respond
        result = await poll(service, FIFTY)

        assert (list(result.errors), result.missing, result.batch_works) == (["t-0"], FIFTY[1:], None)
        assert_partition(result, FIFTY)


class TestKnownRecords:
    """Records that are already known are unchanged."""

    async def test_full_batch_of_known_records_takes_one_request(self) -> None:
        """If nothing has changed, nothing is parsed and no second request is sent."""
        service = full_service()
        result = await poll(service, FIFTY, known=known_records(FIFTY))

        assert service.batches == [tuple(FIFTY)]
        assert set(result.unchanged) == set(FIFTY)
        assert result.statuses == {}
        assert_partition(result, FIFTY)

    async def test_known_records_are_not_parsed(self) -> None:
        """A known record is not an error even if it is unreadable."""
        service = full_service()
        service.records["t-7"] = unreadable("t-7")
        known = [unreadable("t-7") if task_id == "t-7" else None for task_id in FIFTY]
        result = await poll(service, FIFTY, known=known)

        assert service.batches == [tuple(FIFTY)]
        assert set(result.unchanged) == {"t-7"}
        assert result.errors == {}
        assert_partition(result, FIFTY)

    async def test_changed_records_are_parsed(self) -> None:
        """Only changed records have a status."""
        service = full_service()
        for task_id in ("t-3", "t-4"):
            service.records[task_id] = record(task_id, progress=50)
        result = await poll(service, FIFTY, known=known_records(FIFTY))

        assert sorted(result.statuses) == ["t-3", "t-4"]
        assert set(result.unchanged) == set(FIFTY) - {"t-3", "t-4"}
        assert_partition(result, FIFTY)

    async def test_missing_id_is_not_unchanged(self) -> None:
        """The service has no record of it any more, whatever was known."""
        service = full_service(FIFTY[:40])
        result = await poll(service, FIFTY, known=known_records(FIFTY))

        assert service.batches == [tuple(FIFTY), tuple(FIFTY[40:]), ("t-40",)]
        assert set(result.unchanged) == set(FIFTY[:40])
        assert result.missing == FIFTY[41:]
        assert_partition(result, FIFTY)

    @pytest.mark.parametrize(("count", "truncate_at", "batches"), [(50, 12, 5), (50, 49, 2), (50, 1, 50), (13, 12, 2)])
    @pytest.mark.parametrize("share", [1, 2, 3])
    async def test_truncation_is_detected_with_unchanged_records(
        self, count: int, truncate_at: int, batches: int, share: int
    ) -> None:
        """Truncation is detected whether all, every second or every third record is known."""
        ids = FIFTY[:count]
        known = ids[::share]
        service = full_service(truncate_at=truncate_at)
        result = await poll(service, ids, known=known_records(known, ids))

        assert len(service.batches) == batches
        assert result.truncated_at == [truncate_at for polled in service.batches if len(polled) - truncate_at > 1]
        # A poll of one id never compares records.
        assert set(result.unchanged) == set(known) - {ids[-1] if len(service.batches[-1]) == 1 else ""}
        assert_partition(result, ids)

    async def test_unchanged_records_alone_show_a_truncation(self) -> None:
        """Unchanged records in a later response count like changed ones."""
        result = await poll(full_service(FIFTY[:24], truncate_at=12), FIFTY, known=known_records(FIFTY[12:24]))

        assert list(result.statuses) == [*FIFTY[:12], "t-24"]
        assert set(result.unchanged) == set(FIFTY[12:24])
        assert result.truncated_at == [12]
        assert result.missing == FIFTY[25:]

    async def test_halves_of_a_rejected_batch_use_known_records(self) -> None:
        """Every request of a poll compares with known records, except those for one id."""
        service = full_service(bad_ids=["t-7"])
        result = await poll(service, FIFTY, known=known_records(FIFTY))

        assert result.errors == {"t-7": REJECTED}
        assert result.statuses.keys() == {polled[0] for polled in service.batches if len(polled) == 1} - {"t-7"}
        assert len(result.statuses) <= 2
        assert_partition(result, FIFTY)

    async def test_known_records_match_in_any_order(self) -> None:
        """In another order nothing is parsed and no further request is sent."""

        class Reversed(RecordService):
            def choose(self, ids: Sequence[str]) -> list[bytes]:
                return super().choose(ids)[::-1]

        service = Reversed({task_id: record(task_id) for task_id in FIFTY}, truncate_at=30)
        service.records["t-7"] = unreadable("t-7")
        known = [service.records[task_id] for task_id in FIFTY]
        result = await poll(service, FIFTY, known=known)

        assert service.batches == [tuple(FIFTY), tuple(FIFTY[30:])]
        assert set(result.unchanged) == set(FIFTY)
        assert_partition(result, FIFTY)

    async def test_known_records_stay_with_their_ids(self) -> None:
        """In halves and repeated polls, no known record is compared for another id."""
        service = full_service(bad_ids=["t-20"], truncate_at=7)
        service.records["t-3"] = record("t-3", progress=50)
        service.records["t-40"] = record("t-40", progress=50)
        known = known_records(FIFTY[1:])
        result = await poll(service, FIFTY, known=known)

        alone = {polled[0] for polled in service.batches if len(polled) == 1}
        assert result.errors == {"t-20": REJECTED}
        assert result.statuses.keys() | {"t-20"} == {"t-0", "t-3", "t-40", "t-20"} | alone
        assert result.statuses["t-40"].progress == 50
        assert_partition(result, FIFTY)

    async def test_known_records_must_match_the_ids(self) -> None:
        """Known records of another number are refused."""
        with pytest.raises(ValueError, match="zip"):
            await poll(full_service(truncate_at=20), FIFTY, known=known_records(FIFTY)[1:])

    async def test_unchanged_records_survive_a_later_error(self) -> None:
        """If a later request fails, the result of the first one stays."""
        error = TransportError("reset")
        service = full_service(truncate_at=20)
        first = service.respond

        def respond(request: Request) -> Response:
            if len(service.batches) > 1:
                raise error
            return first(request)

        service.respond = respond
        result = await poll(service, FIFTY, known=known_records(FIFTY))

        assert set(result.unchanged) == set(FIFTY[:20])
        assert result.errors == dict.fromkeys(FIFTY[20:], error)
        assert_partition(result, FIFTY)


class TestRejections:
    """A rejected batch is halved until the bad id is alone."""

    async def test_one_bad_id_takes_few_requests(self) -> None:
        """At any position among n ids, it takes at most 2 * log2(n) more requests: 12 for 50."""
        assert 2 * math.ceil(math.log2(50)) == 12
        statuses = {f"t-{number}": read_record(LUMA, record(f"t-{number}")) for number in range(64)}

        class Quick(RecordService):
            """Has parsed its records before: there are a hundred thousand in its responses."""

            async def send(self, request: Request, *_: object, **__: object) -> PollResponse:
                self.requests.append(request)
                if not self.bad_ids.isdisjoint(request.ids):
                    raise REJECTED
                return PollResponse({task_id: statuses[task_id] for task_id in request.ids})

        for count in range(1, 65):
            ids = list(statuses)[:count]
            for bad in ids:
                service = Quick({}, bad_ids=[bad])
                result = await poll(service, ids)

                assert len(service.batches) <= 1 + 2 * math.ceil(math.log2(count))
                assert result.errors == {bad: REJECTED}
                assert_partition(result, ids)

    @pytest.mark.parametrize("bad", [0, 24, 25, 49])
    async def test_other_ids_of_a_rejected_batch_are_read(self, bad: int) -> None:
        """Only the bad id has the error, and the batch size is not affected."""
        service = full_service(bad_ids=[FIFTY[bad]])
        result = await poll(service, FIFTY)

        assert result.errors == {FIFTY[bad]: REJECTED}
        assert len(result.statuses) == 49
        assert (result.truncated_at, result.accepted_size) == ([], None)
        assert_partition(result, FIFTY)

    @pytest.mark.parametrize("count", [0, 2, 3, 25, 49, 50])
    async def test_several_bad_ids_are_all_found(self, count: int) -> None:
        """Each bad id has the error, in no more requests than for each alone."""
        bad = FIFTY[::-1][: count * 2 : 2] if count <= 25 else FIFTY[:count]
        service = full_service(bad_ids=bad)
        result = await poll(service, FIFTY)

        assert sorted(result.errors) == sorted(bad)
        assert len(result.statuses) == 50 - count
        assert len(service.batches) <= 1 + min(12 * count, 98)
        assert_partition(result, FIFTY)

    async def test_too_large_batch_is_halved_until_accepted(self) -> None:
        """HTTP 413 loses no task."""
        service = SmallService(15, FIFTY)
        result = await poll(service, FIFTY)

        assert sorted(result.statuses) == sorted(FIFTY)
        assert [len(ids) for ids in service.batches] == [50, 25, 13, 12, 25, 13, 12]
        assert result.accepted_size == 13
        assert_partition(result, FIFTY)

    @pytest.mark.parametrize(("limit", "accepted_size"), [(49, 25), (25, 25), (24, 13), (1, 1), (50, None)])
    async def test_accepted_size_is_the_largest_accepted_part(self, limit: int, accepted_size: int | None) -> None:
        """The result has the largest part accepted after a rejection for size."""
        result = await poll(SmallService(limit), FIFTY)

        assert result.accepted_size == accepted_size
        assert result.errors == {}
        assert_partition(result, FIFTY)

    async def test_too_large_single_task_sets_no_accepted_size(self) -> None:
        """If one id alone is rejected for its size, it may have been the only cause."""
        service = full_service(bad_ids=["t-7"], error=TOO_LARGE)
        result = await poll(service, FIFTY)

        assert result.errors == {"t-7": TOO_LARGE}
        assert result.accepted_size is None

    async def test_failed_part_sets_no_accepted_size(self) -> None:
        """Only a part that was answered was certainly not too large."""
        error = TransportError("reset")
        result = await poll(SmallService(25, bad_ids=["t-0", "t-49"], error=error), FIFTY)

        assert set(result.errors.values()) == {error}
        assert result.accepted_size is None

    async def test_transient_rejection_is_not_split(self) -> None:
        """A redirect or the page of a gateway concerns no single id, so all ids have the error at once."""
        moved = BadRequestError("moved", status=301)
        moved.transient = True
        service = full_service(bad_ids=["t-7"], error=moved)
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY)]
        assert result.errors == dict.fromkeys(FIFTY, moved)
        assert not result.is_answered

    async def test_rejected_single_id_has_the_error(self) -> None:
        """A single id is not split."""
        service = full_service(bad_ids=["t-1"])
        result = await poll(service, ["t-1"])

        assert service.batches == [("t-1",)]
        assert result.errors == {"t-1": REJECTED}

    @pytest.mark.parametrize("unknown", [["d-3"], ["d-3", "d-4"], ["d-0", "d-9"]])
    async def test_404_for_one_task_does_not_fail_the_batch(self, unknown: list[str]) -> None:
        """If a whole batch gets 404 for an unknown id, the other ids are read."""
        spec = lookup("digital-human")
        body = b'{"error":{"code":"no_task","message":"task not found"},"trace_id":"x"}'
        ids = [f"d-{number}" for number in range(10)]

        class Strict(RecordService):
            def respond(self, request: Request) -> Response:
                if not set(unknown).isdisjoint(request.ids):
                    return Response(status=404, body=body)
                return super().respond(request)

        result = await poll_batch(Strict({task_id: record(task_id) for task_id in ids}), spec, ids)

        assert result.errors == {}
        found = {task_id for task_id, status in result.statuses.items() if status.task.state is TaskState.PENDING}
        assert found == set(ids) - set(unknown)


class TestErrors:
    """Errors of requests concern all ids, errors of records one id."""

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
    async def test_other_errors_concern_every_id(self, error: AceTasksError, count: int) -> None:
        """They are not caused by an id, so no further request is sent."""
        ids = FIFTY[:count]
        service = full_service(bad_ids=ids, error=error)
        result = await poll(service, ids)

        assert service.batches == [tuple(ids)]
        assert list(result.errors) == ids
        assert all(given is error for given in result.errors.values())
        assert_partition(result, ids)

    async def test_later_error_keeps_the_records(self) -> None:
        """If the second request fails, the statuses of the first stay."""
        error = TransportError("reset")

        class Tiring(RecordService):
            def respond(self, request: Request) -> Response:
                if len(self.batches) > 1:
                    raise error
                return super().respond(request)

        service = Tiring({task_id: record(task_id) for task_id in FIFTY}, truncate_at=20)
        result = await poll(service, FIFTY)

        assert list(result.statuses) == FIFTY[:20]
        assert result.errors == dict.fromkeys(FIFTY[20:], error)
        assert_partition(result, FIFTY)

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
    async def test_transient_error_ends_the_poll(self, error: AceTasksError) -> None:
        """After a transient error no request is sent, and all remaining ids have that error."""

        class Limited(RecordService):
            def respond(self, request: Request) -> Response:
                if len(self.batches) == 2:
                    raise error
                return super().respond(request)

        service = Limited({task_id: record(task_id) for task_id in FIFTY[:4]}, bad_ids=["t-0"])
        result = await poll(service, FIFTY[:4])

        assert service.batches == [tuple(FIFTY[:4]), ("t-0", "t-1")]
        assert result.errors == dict.fromkeys(FIFTY[:4], error)
        assert_partition(result, FIFTY[:4])

    async def test_rejection_with_retry_after_is_split(self) -> None:
        """A proxy may add `Retry-After` to anything; the batch is halved all the same."""
        error = BadRequestError("no such id", status=400, retry_after=5.0)
        result = await poll(full_service(bad_ids=["t-7"], error=error), FIFTY)

        assert result.errors == {"t-7": error}

    @pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b'{"items":', b'{"count":0}'])
    async def test_unreadable_batch_concerns_every_id(self, body: bytes) -> None:
        """No id can be read from such a response."""

        class Odd(FakeTransport):
            def respond(self, request: Request) -> Response:
                del request
                return Response(status=200, body=body)

        result = await poll(Odd(), FIFTY)

        assert list(result.errors) == FIFTY
        assert all(isinstance(error, ProtocolError) for error in result.errors.values())
        assert all(error.transient for error in result.errors.values())
        assert_partition(result, FIFTY)

    async def test_unreadable_record_concerns_its_own_id(self) -> None:
        """The others are read, and its id has the error when it is polled alone."""
        service = full_service()
        service.records["t-7"] = unreadable("t-7")
        result = await poll(service, FIFTY)

        assert service.batches == [tuple(FIFTY), ("t-7",)]
        assert isinstance(result.errors["t-7"], ProtocolError)
        assert result.errors["t-7"].transient is False
        assert len(result.statuses) == 49
        assert_partition(result, FIFTY)

    async def test_malformed_record_is_found_by_halving(self) -> None:
        """It makes the response to its batch malformed; the others are read in few more requests."""
        service = full_service()
        service.records["t-7"] = b'{"id":"t-7","x":undefined}'
        result = await poll(service, FIFTY)

        assert result.errors.keys() == {"t-7"}
        assert result.errors["t-7"].transient is False
        assert len(result.statuses) == 49
        assert len(service.batches) == 13
        assert_partition(result, FIFTY)

    async def test_record_above_the_size_limit_is_found_by_halving(self) -> None:
        """Smaller batches without it are below the limit."""
        error = ProtocolError("the response is larger than 64 bytes", transient=False)
        result = await poll(full_service(bad_ids=["t-7"], error=error), FIFTY)

        assert result.errors == {"t-7": error}
        assert len(result.statuses) == 49

    @pytest.mark.parametrize("bad", [["t-7", "t-8"], ["t-0", "t-25", "t-49"], FIFTY])
    async def test_unreadable_records_are_not_missing(self, bad: list[str]) -> None:
        """The service has records of these tasks, so they must not count as missing."""
        service = full_service()
        service.records.update((task_id, unreadable(task_id)) for task_id in bad)
        result = await poll(service, FIFTY)

        assert sorted(result.errors) == sorted(bad)
        assert result.missing == []
        assert_partition(result, FIFTY)

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b'{"id":"t-7","progress":1e999}', id="a number out of range"),
            pytest.param(b'{"id":"t-7","progress":1' + b"0" * 400 + b"}", id="a number without end"),
            pytest.param(b'{"id":"t-7","created_at":1' + b"0" * 400 + b"}", id="a time without end"),
            pytest.param(b'{"id":"t-7","status":"\xff"}', id="a text that is no UTF-8"),
            pytest.param(b'{"id":"t-7","response":{"x":1e999}}', id="a response that cannot be read"),
            pytest.param(b'{"id":"t-7","x":undefined}', id="malformed JSON"),
            pytest.param(b'{"id":"t-7","x":NaN}', id="NaN"),
            pytest.param(b'{"id":"t-7","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="nesting without end"),
            pytest.param(b"null", id="nothing"),
            pytest.param(b"[]", id="a list"),
            pytest.param(b'"t-7"', id="a text"),
        ],
    )
    async def test_odd_record_does_not_affect_others(self, body: bytes) -> None:
        """However odd one record is, all others are read and every id has a result."""
        service = full_service()
        service.records["t-7"] = body
        result = await poll(service, FIFTY)

        assert set(FIFTY) - {"t-7"} <= result.statuses.keys()
        assert_partition(result, FIFTY)


class TestSending:
    """The arguments of each request."""

    async def test_each_request_acquires_a_slot(self) -> None:
        """No request is sent before it has a slot."""
        service = full_service(truncate_at=20, bad_ids=["t-7"])
        sent_before: list[int] = []

        async def acquire_slot() -> None:
            await asyncio.sleep(1.0)
            sent_before.append(len(service.batches))

        began = asyncio.get_running_loop().time()
        await poll(service, FIFTY, acquire_slot=acquire_slot)

        assert len(service.batches) > 10
        assert sent_before == list(range(len(service.batches)))
        assert asyncio.get_running_loop().time() - began == len(service.batches)

    @pytest.mark.parametrize("options", [{}, {"attempts": 4}])
    async def test_each_request_has_the_given_attempts(self, options: dict[str, int]) -> None:
        """The default is one attempt."""
        service = full_service(truncate_at=20)
        await poll(service, FIFTY, **options)

        assert service.attempts == [options.get("attempts", 1)] * 3

    async def test_other_exceptions_propagate(self) -> None:
        """An exception from outside this library ends the poll."""
        service = full_service(bad_ids=["t-7"], error=KeyError("bug"))
        with pytest.raises(KeyError):
            await poll(service, FIFTY)


class RandomService(FakeTransport):
    """A service with drawn responses."""

    def __init__(self, draw: Callable[[Sequence[str]], Response | AceTasksError]) -> None:
        super().__init__()
        self.draw = draw

    def respond(self, request: Request) -> Response:
        """Answer somehow."""
        assert len(request.ids) == len(set(request.ids))
        respond = self.draw(request.ids)
        if isinstance(respond, Response):
            return respond
        raise respond


@given(count=st.integers(1, 12), data=st.data())
async def test_every_id_has_exactly_one_result(count: int, data: st.DataObject) -> None:
    """Whatever the responses, a poll ends, with every id in exactly one part of the result."""
    ids = FIFTY[:count]
    has_known = data.draw(st.sets(st.sampled_from(ids)))

    def draw(polled: Sequence[str]) -> Response | AceTasksError:
        kind = data.draw(st.sampled_from(["records"] * 6 + ["reject", "fail", "garble"]))
        if kind == "reject":
            return REJECTED
        if kind == "fail":
            return TransportError("reset")
        if kind == "garble":
            return Response(status=200, body=data.draw(st.binary(max_size=20)))
        known = st.sampled_from([*polled, "foreign"])
        odd = st.sampled_from([b"null", b"{}", b"7", b'{"items":[]}', b'{"id":[]}'])
        records = data.draw(st.lists(known.map(record) | known.map(unreadable) | odd, max_size=2 * count))
        if len(polled) == 1:
            return Response(status=200, body=records[0] if records else b"{}")
        return Response(status=200, body=batch(records))

    service = RandomService(draw)
    result = await poll(service, ids, known=known_records(has_known, ids))

    assert_partition(result, ids)
    assert has_known.issuperset(result.unchanged)
    # Each request finds an id, or ends or halves its part.
    assert len(service.batches) <= 2 * count - 1


@given(
    known=st.sets(st.sampled_from(FIFTY)),
    bad=st.sets(st.sampled_from(FIFTY), max_size=3),
    has_known=st.sets(st.sampled_from(FIFTY)),
    truncate_at=st.integers(1, 50),
)
async def test_results_are_correct(known: set[str], bad: set[str], has_known: set[str], truncate_at: int) -> None:
    """Known ids are found however truncated, unknown ones are not, and bad ids have the error."""
    service = full_service(sorted(known), truncate_at=truncate_at, bad_ids=bad)
    result = await poll(service, FIFTY, known=known_records(has_known))

    assert_partition(result, FIFTY)
    assert result.errors.keys() == bad
    read = {task_id for task_id, status in result.statuses.items() if status.task.state is TaskState.PENDING}
    assert read | set(result.unchanged) == known - bad
    # Known records are parsed only in polls of one id.
    assert has_known.issuperset(result.unchanged)
    assert read & has_known <= {polled[0] for polled in service.batches if len(polled) == 1}
