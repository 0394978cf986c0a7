"""Requests to a simulated service, for its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from acetasks.providers import TasksCall, lookup
from acetasks.testing.snapshot import Json

if TYPE_CHECKING:
    from io import BytesIO

    import aiohttp

    from acetasks.testing.server import AceServer

EPOCH = 1_780_000_000.0
TOKEN = "test-token"


class Response(msgspec.Struct):
    """HTTP response."""

    status: int
    body: Json


class Caller:
    """Sends requests to a server over one pool of connections, with its token by default."""

    def __init__(self, server: AceServer, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.http = http

    async def send(
        self,
        path: str,
        body: object = None,
        *,
        method: str = "POST",
        token: str | None = TOKEN,
        data: bytes | BytesIO | None = None,
    ) -> Response:
        """Send a request with a JSON body or raw data."""
        content = msgspec.json.encode(body) if data is None and body is not None else data
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.http.request(method, self.server.url + path, data=content, headers=headers) as response:
            return Response(response.status, msgspec.json.decode(await response.read()))

    async def retrieve(self, slug: str, task_id: str) -> Response:
        """Send the provider's tasks call for one task."""
        spec = lookup(slug)
        if spec.tasks_call is TasksCall.QUERY:
            return await self.send(f"{spec.path}?{spec.id_field}={task_id}", method="GET")
        action = {} if spec.tasks_call is TasksCall.BARE else {"action": "retrieve"}
        return await self.send(spec.path, {spec.id_field: task_id, **action})

    async def batch(self, slug: str, ids: list[str], **more: object) -> Json:
        """Send the tasks call for several tasks."""
        spec = lookup(slug)
        response = await self.send(spec.path, {spec.ids_field: ids, "action": "retrieve_batch", **more})
        assert response.status == 200
        return response.body

    async def history(self, slug: str, **more: object) -> Json:
        """Send the tasks call for a provider's latest tasks."""
        response = await self.send(f"/{slug}/tasks", {"action": "retrieve_batch", **more})
        assert response.status == 200
        return response.body


def ids_in(body: Json) -> list[object]:
    """Return the ids of a batch response, in its order."""
    items = body["items"]
    assert isinstance(items, list)
    return [item["id"] for item in items]
