"""The history of a provider and look-ups by trace id, through a client of the simulated service."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from typing import TYPE_CHECKING

import pytest
from conftest import EPOCH
from support import now

import acetasks
from acetasks import PollPolicy, RateLimitError, ServiceError, TaskState, UnknownProviderError
from acetasks.providers import HistoryCall, specs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from acetasks import Client, Task
    from acetasks.testing import AceServer

LISTED = [spec.slug for spec in specs() if spec.history_call is not HistoryCall.NONE]
TRACED = [spec.slug for spec in specs() if spec.finds_traces]
TRACE = "3f1e2d4c-0000-4000-8000-000000000001"


async def ids_of(tasks: AsyncIterator[Task]) -> list[str]:
    """Return the ids of a history, in its order."""
    return [task.id async for task in tasks]


async def add_tasks(server: AceServer, count: int, provider: str = "luma", *, every: float = 1.0) -> list[str]:
    """Create tasks one after the other, and return their ids, newest first."""
    found: list[str] = []
    for _ in range(count):
        found.insert(0, server.add(provider, after=0))
        await asyncio.sleep(every)
    return found


def bodies(server: AceServer) -> list[object]:
    """Return the bodies of all requests."""
    return [request.body for request in server.requests]


class TestPages:
    """A history is read page by page."""

    @pytest.mark.parametrize("provider", LISTED)
    async def test_of_every_provider_that_lists_its_tasks(
        self, server: AceServer, client: Client, provider: str
    ) -> None:
        """All tasks, newest first, with fifty in each request and an empty page at the end."""
        expected = await add_tasks(server, 120, provider)
        tasks = [task async for task in client.history(provider)]
        assert [task.id for task in tasks] == expected
        assert {task.provider for task in tasks} == {provider}
        assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
        assert server.request_count == 4

    @pytest.mark.parametrize("provider", ["captcha", "useapi-pixverse", "face", "kickart"])
    async def test_none_of_a_provider_without_a_list(self, server: AceServer, client: Client, provider: str) -> None:
        """A provider without such a call is refused before anything is sent."""
        with pytest.raises(ValueError, match=f"'{provider}' has no call that lists its tasks"):
            client.history(provider)
        assert not server.request_count

    async def test_the_requests(self, server: AceServer, client: Client) -> None:
        """A page asks for what is wanted, and later pages for nothing newer than the first one's newest task."""
        await add_tasks(server, 60)
        tasks = client.history("luma", created_after=EPOCH + 5, created_before=EPOCH + 1000)
        assert len(await ids_of(tasks)) == 55
        start = {"action": "retrieve_batch", "limit": 50, "created_at_min": EPOCH + 5}
        assert bodies(server) == [
            start | {"offset": 0, "created_at_max": EPOCH + 1000},
            start | {"offset": 50, "created_at_max": EPOCH + 60},
            start | {"offset": 55, "created_at_max": EPOCH + 60},
        ]

    async def test_minimax_lists_by_retrieve(self, server: AceServer, client: Client) -> None:
        """A history of minimax is the action `retrieve` without an id."""
        (expected,) = await add_tasks(server, 1, "minimax")
        assert await ids_of(client.history("minimax")) == [expected]
        assert bodies(server)[0] == {"action": "retrieve", "limit": 50, "offset": 0}

    async def test_only_as_many_as_wanted(self, server: AceServer, client: Client) -> None:
        """A limit is the number of tasks, and no more of them are requested."""
        expected = await add_tasks(server, 70)
        assert await ids_of(client.history("luma", limit=0)) == []
        assert await ids_of(client.history("luma", limit=3)) == expected[:3]
        assert await ids_of(client.history("luma", limit=60)) == expected[:60]
        assert [body["limit"] for body in bodies(server)] == [3, 50, 10]

    async def test_closed_early(self, server: AceServer, client: Client) -> None:
        """A page is requested only when the tasks before are used up; closing leaves nothing running."""
        await add_tasks(server, 60)
        async with contextlib.aclosing(client.history("luma")) as history:
            async for _ in history:
                break
        await asyncio.sleep(60)
        assert server.request_count == 1
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("acetasks")]


class TestTimes:
    """The time of submission limits a history."""

    async def test_as_datetimes_and_as_seconds(self, server: AceServer, client: Client) -> None:
        """A datetime with any time zone is the same as its seconds since the epoch; both bounds are included."""
        expected = await add_tasks(server, 10)
        zone = dt.timezone(dt.timedelta(hours=8))
        after, before = (dt.datetime.fromtimestamp(EPOCH + seconds, tz=zone) for seconds in (2, 5))
        found = await ids_of(client.history("luma", created_after=after, created_before=before))
        assert found == expected[4:8]
        assert await ids_of(client.history("luma", created_after=EPOCH + 2, created_before=EPOCH + 5)) == found

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"created_after": dt.datetime(2026, 11, 1)}, ValueError, "created_after must have a time zone"),  # noqa: DTZ001  # the fault
            ({"created_before": float("nan")}, ValueError, "created_before must be finite"),
            ({"created_after": "2026-11-01"}, TypeError, "created_after must be a datetime or seconds"),
            ({"created_before": True}, TypeError, "created_before must be a datetime or seconds"),
            ({"limit": -1}, ValueError, "limit must be at least 0"),
            ({"limit": 1.5}, TypeError, "limit must be an integer"),
        ],
        ids=str,
    )
    async def test_malformed(
        self, server: AceServer, client: Client, options: dict[str, object], error: type[Exception], message: str
    ) -> None:
        """A time without a time zone, and what is no time or number, is refused at the call."""
        with pytest.raises(error, match=message):
            client.history("luma", **options)
        assert not server.request_count

    async def test_of_a_service_that_ignores_them(self, server: AceServer, client: Client) -> None:
        """Tasks outside of the times asked for are left out, and the walk ends with a page of older ones alone."""
        listed = [{"id": f"t{n}", "created_at": EPOCH - n} for n in range(200)]
        for start in range(0, 200, 50):
            server.fail(body={"items": listed[start : start + 50]})
        found = await ids_of(client.history("luma", created_after=EPOCH - 60, created_before=EPOCH - 10))
        assert found == [f"t{n}" for n in range(10, 61)]
        assert server.request_count == 3


class TestRobustness:
    """What the service does to its pages does not lose or repeat tasks."""

    @pytest.mark.parametrize("size", [1, 7, 12])
    async def test_pages_that_are_cut(self, server: AceServer, client: Client, size: int) -> None:
        """A page with fewer tasks than asked for is not the last one."""
        expected = await add_tasks(server, 30)
        server.fail(limit=size, times=None)
        assert await ids_of(client.history("luma")) == expected

    @pytest.mark.parametrize("provider", ["luma", "minimax"])
    async def test_tasks_that_arrive_meanwhile(self, server: AceServer, client: Client, provider: str) -> None:
        """Tasks submitted while pages are read neither appear nor shift the pages."""
        expected = await add_tasks(server, 120, provider)
        await asyncio.sleep(60)
        found = []
        async for task in client.history(provider):
            found.append(task.id)
            server.add(provider, after=0)
            await asyncio.sleep(1)
        assert found == expected
        assert server.request_count == 4

    async def test_tasks_that_arrive_meanwhile_in_pages_without_order(self, server: AceServer, client: Client) -> None:
        """Without an order within the pages, tasks that arrive shift them, and still none is lost or repeated."""
        expected = await add_tasks(server, 120)
        server.fail(edit=lambda body: body | {"items": sorted(body["items"], key=lambda item: item["id"])}, times=None)
        found = []
        async for task in client.history("luma"):
            found.append(task.id)
            if not len(found) % 10:
                server.add("luma", after=0)
        assert len(found) == len(set(found))
        assert set(expected) <= set(found)

    async def test_pages_that_repeat(self, server: AceServer, client: Client) -> None:
        """A service that ignores the offset does not keep the iteration going for ever."""
        server.fail(body={"items": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, times=None)
        assert await ids_of(client.history("luma")) == ["a", "b"]
        assert server.request_count == 3

    async def test_records_that_cannot_be_read(self, server: AceServer, client: Client, caplog) -> None:
        """A record that cannot be read, or has no id, is left out, and the others are yielded."""
        server.fail(body={"items": [{"id": "a"}, "nothing", {}, {"id": "b"}]})
        server.fail(body={"items": None})
        assert await ids_of(client.history("luma")) == ["a", "b"]
        assert "luma: a record of the history cannot be read" in caplog.text


class TestLimits:
    """A history keeps the client's limits and retries."""

    async def test_a_transient_error_is_retried(self, server: AceServer, client: Client) -> None:
        """A 500 is retried like a poll; when it stays, it is raised."""
        expected = await add_tasks(server, 2)
        server.fail(status=500)
        assert await ids_of(client.history("luma")) == expected
        server.fail(status=500, times=None)
        with pytest.raises(ServiceError):
            await ids_of(client.history("luma"))

    async def test_a_429_slows_down_polls(self, server: AceServer, client: Client) -> None:
        """A 429 to a history is raised, and the pause that it asks for holds for polls too."""
        server.fail(status=429, headers={"Retry-After": "20"})
        task_id = server.add("luma", after=0)
        begin = now()
        with pytest.raises(RateLimitError):
            await ids_of(client.history("luma"))
        await client.retrieve("luma", task_id)
        assert now() - begin >= 20

    async def test_the_rate(self, server: AceServer, new_client: Callable[..., Client]) -> None:
        """Pages are spaced by `max_rate`."""
        await add_tasks(server, 100)
        server.clear_requests()
        async with new_client(policy=PollPolicy(max_rate=0.5)) as client:
            await ids_of(client.history("luma"))
        times = [request.time for request in server.requests]
        assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([2.2, 2.2], abs=0.03)

    async def test_an_unknown_provider(self, client: Client) -> None:
        """A provider that the service does not have is an error."""
        with pytest.raises(UnknownProviderError):
            await ids_of(client.history("lume"))

    async def test_a_closed_client(self, new_client: Callable[..., Client]) -> None:
        """A history needs an open client."""
        with pytest.raises(acetasks.ClientClosedError):
            new_client().history("luma")


class TestTraces:
    """Some providers have a task by its trace id."""

    @pytest.mark.parametrize("provider", TRACED)
    async def test_found(self, server: AceServer, client: Client, provider: str) -> None:
        """The task has its own id."""
        task_id = server.add(provider, after=0, request={"prompt": "a cat", "trace_id": TRACE})
        task = await client.retrieve(provider, trace_id=TRACE)
        assert (task.id, task.trace_id, task.state) == (task_id, TRACE, TaskState.SUCCEEDED)
        assert bodies(server) == [{"action": "retrieve", "trace_id": TRACE}]

    @pytest.mark.parametrize("provider", TRACED)
    async def test_not_found(self, client: Client, provider: str) -> None:
        """Without such a task the result has no id; dreamina's may still be reported."""
        task = await client.retrieve(provider, trace_id=TRACE)
        state = TaskState.PENDING if provider == "dreamina" else TaskState.NOT_FOUND
        assert (task.id, task.trace_id, task.state) == ("", TRACE, state)

    async def test_another_record(self, server: AceServer, client: Client) -> None:
        """The record of another trace, as from a cache, is an error."""
        server.fail(body={"id": "t", "trace_id": "other"}, times=None)
        with pytest.raises(acetasks.ProtocolError, match=f"poll of task '{TRACE}' is the record of task 't'"):
            await client.retrieve("openai", trace_id=TRACE)

    async def test_of_other_providers(self, server: AceServer, client: Client) -> None:
        """A provider without such a call is refused before anything is sent."""
        with pytest.raises(ValueError, match="'luma' does not find tasks by trace id"):
            await client.retrieve("luma", trace_id=TRACE)
        assert not server.request_count

    @pytest.mark.parametrize("ids", [{}, {"task_id": "t", "trace_id": TRACE}], ids=["neither", "both"])
    async def test_one_id_of_either_kind(self, client: Client, ids: dict[str, str]) -> None:
        """A call has one id."""
        with pytest.raises(TypeError, match="a task id or a trace_id"):
            await client.retrieve("openai", **ids)
