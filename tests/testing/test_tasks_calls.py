"""Tasks calls of the simulated service, in all forms that the documents and official clients know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from server_support import EPOCH, Caller, Response, ids_in
from support import now

from acetasks.models import TaskState
from acetasks.providers import normalize, specs

if TYPE_CHECKING:
    from acetasks.testing.server import AceServer

BY_TRACE = ["dreamina", "midjourney", "openai", "veo", "webextrator"]
WITH_HISTORY = [spec.slug for spec in specs() if spec.has_batch]


def trace_of(record: Response) -> str:
    """Return the trace id in a record."""
    assert isinstance(record.body["trace_id"], str)
    return record.body["trace_id"]


def message_of(response: Response) -> str:
    """Return the message of a rejection."""
    assert response.status == 400
    assert isinstance(response.body["error"], dict)
    return response.body["error"]["message"]


class TestTraces:
    """Look-ups by the id of the submission request."""

    @pytest.mark.parametrize("slug", BY_TRACE)
    async def test_task_is_found_by_its_trace(self, server: AceServer, caller: Caller, slug: str) -> None:
        """A trace id finds the same record as the id, alone and in a batch."""
        first, second, _ = (server.add(slug, after=0) for _ in range(3))
        records = [await caller.retrieve(slug, task_id) for task_id in (first, second)]
        traces = [trace_of(record) for record in records]
        assert await caller.send(f"/{slug}/tasks", {"action": "retrieve", "trace_id": traces[0]}) == records[0]
        batch = await caller.history(slug, trace_ids=traces)
        assert sorted(map(str, ids_in(batch))) == sorted([first, second])

    @pytest.mark.parametrize("slug", BY_TRACE)
    async def test_unknown_trace(self, server: AceServer, caller: Caller, slug: str) -> None:
        """An unknown trace id gets the response to an unknown id, and no items, never other tasks."""
        server.add(slug, after=0)
        assert await caller.send(f"/{slug}/tasks", {"action": "retrieve", "trace_id": "x"}) == Response(200, {})
        assert await caller.history(slug, trace_ids=["x"]) == {"items": [], "count": 0}

    async def test_submitted_trace_id(self, server: AceServer, caller: Caller) -> None:
        """A `trace_id` in the submission is that of the task; of several tasks the newest is retrieved."""
        ids = [server.add("openai", request={"prompt": "a fog", "trace_id": "mine"}) for _ in range(2)]
        response = await caller.send("/openai/tasks", {"action": "retrieve", "trace_id": "mine"})
        assert (response.body["id"], response.body["trace_id"]) == (ids[1], "mine")
        assert ids_in(await caller.history("openai", trace_ids=["mine"])) == ids[::-1]

    async def test_trace_takes_precedence_over_the_id(self, server: AceServer, caller: Caller) -> None:
        """With an id and a trace id, a single task is the one of the trace, and a batch has both, each once."""
        first, second = server.add("veo"), server.add("veo")
        trace = trace_of(await caller.retrieve("veo", second))
        response = await caller.send("/veo/tasks", {"action": "retrieve", "id": first, "trace_id": trace})
        assert response.body["id"] == second
        assert ids_in(await caller.batch("veo", [first, second], trace_ids=[trace])) == [second, first]
        assert ids_in(await caller.batch("veo", [first], trace_ids=[trace])) == [first, second]

    async def test_trace_of_an_invisible_task(self, server: AceServer, caller: Caller) -> None:
        """A task that is not visible yet is not found by its trace either."""
        server.add("veo", visible_after=10, request={"trace_id": "mine"})
        assert (await caller.send("/veo/tasks", {"action": "retrieve", "trace_id": "mine"})).body == {}
        assert await caller.history("veo", trace_ids=["mine"]) == {"items": [], "count": 0}

    async def test_undocumented_trace_is_refused(self, server: AceServer, caller: Caller) -> None:
        """A provider that does not document traces refuses them, instead of listing other tasks."""
        server.add("luma")
        one = await caller.send("/luma/tasks", {"action": "retrieve", "trace_id": "x"})
        many = await caller.send("/luma/tasks", {"action": "retrieve_batch", "trace_ids": ["x"]})
        assert message_of(one) == "id is required to retrieve a task"
        assert message_of(many) == "trace_ids is not documented for a history of luma"

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"action": "retrieve"}, "id or trace_id is required to retrieve a task"),
            ({"action": "retrieve", "trace_id": 5}, "trace_id must be a string"),
            ({"action": "retrieve", "trace_id": ""}, "trace_id must be a string"),
            ({"action": "retrieve_batch", "trace_ids": "x"}, "trace_ids must be a list of strings"),
        ],
    )
    async def test_invalid_trace(self, caller: Caller, body: object, message: str) -> None:
        """A trace id is a string."""
        assert message_of(await caller.send("/veo/tasks", body)) == message


class TestFilters:
    """Histories and batches that are narrowed down."""

    @pytest.mark.parametrize("slug", WITH_HISTORY)
    async def test_times_are_those_of_the_records(self, server: AceServer, caller: Caller, slug: str) -> None:
        """Every record's time of creation is the epoch plus the loop time, and selects its task."""
        await asyncio.sleep(25)
        old = server.add(slug, after=0)
        await asyncio.sleep(50)
        new = server.add(slug, after=0)
        tasks = {task_id: normalize(slug, (await caller.retrieve(slug, task_id)).body) for task_id in (old, new)}
        assert [tasks[old].created_at, tasks[new].created_at] == [EPOCH + now() - 50, EPOCH + now()]
        assert ids_in(await caller.history(slug, created_at_min=tasks[new].created_at)) == [new]
        assert ids_in(await caller.history(slug, created_at_max=tasks[old].created_at)) == [old]

    @pytest.mark.parametrize("key", ["application_id", "user_id", "type"])
    async def test_field_of_the_record(self, server: AceServer, caller: Caller, key: str) -> None:
        """A filter by a field of the record finds the tasks with that value, and no other."""
        ids = [server.add("openai") for _ in range(2)]
        value = (await caller.retrieve("openai", ids[0])).body[key]
        assert ids_in(await caller.history("openai", **{key: value})) == ids[::-1]
        assert await caller.history("openai", **{key: "another"}) == {"items": [], "count": 0}

    async def test_filters_narrow_a_batch(self, server: AceServer, caller: Caller) -> None:
        """A batch by ids is narrowed down too."""
        task_id = server.add("veo")
        assert ids_in(await caller.batch("veo", [task_id], type="videos")) == [task_id]
        assert ids_in(await caller.batch("veo", [task_id], type="images")) == []
        assert ids_in(await caller.batch("veo", [task_id], created_at_min=EPOCH + now() + 1)) == []

    async def test_offset_counts_matching_tasks(self, server: AceServer, caller: Caller) -> None:
        """`limit` and `offset` count the tasks that pass the other filters."""
        ids = []
        for _ in range(6):
            ids.append(server.add("luma"))
            await asyncio.sleep(1)
        response = await caller.history("luma", created_at_max=EPOCH + now() - 3, limit=2, offset=1)
        assert ids_in(response) == [ids[2], ids[1]]

    @pytest.mark.parametrize("key", ["id", "status", "page", "trace_id"])
    async def test_undocumented_filter_is_refused(self, server: AceServer, caller: Caller, key: str) -> None:
        """A history with an undocumented key is refused, since it might list tasks that were not asked for."""
        server.add("luma")
        response = await caller.send("/luma/tasks", {"action": "retrieve_batch", key: "x"})
        assert message_of(response) == f"{key} is not documented for a history of luma"

    async def test_null_is_no_filter(self, server: AceServer, caller: Caller) -> None:
        """A key with the value null is ignored."""
        task_id = server.add("luma")
        assert ids_in(await caller.history("luma", ids=None, status=None, type=None, limit=None)) == [task_id]

    async def test_filter_must_be_a_string(self, caller: Caller) -> None:
        """A filter by a field is a string."""
        response = await caller.send("/openai/tasks", {"action": "retrieve_batch", "user_id": 7})
        assert message_of(response) == "user_id must be a string"

    async def test_maestro_lists_twenty(self, server: AceServer, caller: Caller) -> None:
        """A history of maestro has 20 tasks by default; others have 12."""
        for slug in ("maestro", "openai"):
            for _ in range(25):
                server.add(slug)
        assert [len(ids_in(await caller.history(slug))) for slug in ("maestro", "openai")] == [20, 12]


class TestActions:
    """Actions that only some providers have, and other ways to write the usual ones."""

    async def test_midjourney_accepts_task_id(self, server: AceServer, caller: Caller) -> None:
        """Midjourney accepts `task_id` beside `id`, as its two documented examples do."""
        task_id = server.add("midjourney", after=0)
        response = await caller.send("/midjourney/tasks", {"action": "retrieve", "task_id": task_id})
        assert response == await caller.retrieve("midjourney", task_id)

    async def test_maestro_needs_no_action(self, server: AceServer, caller: Caller) -> None:
        """A request to maestro without an action retrieves the whole record."""
        task_id = server.add("maestro", after=0)
        response = await caller.send("/maestro/tasks", {"id": task_id})
        assert response == await caller.retrieve("maestro", task_id)

    @pytest.mark.parametrize("options", [{}, {"limit": 5}, {"id": None}])
    async def test_minimax_lists_without_an_id(
        self, server: AceServer, caller: Caller, options: dict[str, object]
    ) -> None:
        """`retrieve` of minimax without an id lists the history."""
        ids = [server.add("minimax") for _ in range(2)]
        response = await caller.send("/minimax/tasks", {"action": "retrieve", **options})
        assert (ids_in(response.body), response.body["total"]) == (ids[::-1], 2)

    @pytest.mark.parametrize("slug", ["digital-human", "minimax", "qwen-image", "wan"])
    async def test_delete(self, server: AceServer, caller: Caller, slug: str) -> None:
        """A deleted task is returned once more, and is unknown from then on."""
        task_id, other = server.add(slug, after=0), server.add(slug)
        before = await caller.retrieve(slug, task_id)
        key = "task_id" if slug == "digital-human" else "id"
        assert await caller.send(f"/{slug}/tasks", {"action": "delete", key: task_id}) == before
        after = await caller.retrieve(slug, task_id)
        assert normalize(slug, after.body, http_status=after.status).state is TaskState.NOT_FOUND
        assert await caller.send(f"/{slug}/tasks", {"action": "delete", key: task_id}) == after
        assert ids_in(await caller.history(slug)) == [other]
        assert list(server.tasks) == [other]

    async def test_delete_is_refused_elsewhere(self, server: AceServer, caller: Caller) -> None:
        """A provider that documents no `delete` refuses it."""
        task_id = server.add("luma")
        response = await caller.send("/luma/tasks", {"action": "delete", "id": task_id})
        assert message_of(response) == "action is invalid."
        assert list(server.tasks) == [task_id]

    async def test_delete_is_recorded(self, server: AceServer, caller: Caller) -> None:
        """A `delete` is recorded with its action and id."""
        await caller.send("/wan/tasks", {"action": "delete", "id": "x"})
        (request,) = server.requests
        assert (request.action, request.ids) == ("delete", ("x",))

    async def test_deleted_task_posts_no_callback(self, server: AceServer, caller: Caller) -> None:
        """The callback of a task that is deleted before its end is not posted."""
        server.script("wan", after=10)
        ack = await caller.send("/wan/videos", {"callback_url": "http://127.0.0.1:1/"})
        await caller.send("/wan/tasks", {"action": "delete", "id": ack.body["task_id"]})
        await asyncio.sleep(20)
        assert server.callbacks == []
