"""Catalogs: the personas and voice models that tasks have created, as other clients read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec
import pytest

import acetasks

if TYPE_CHECKING:
    from acetasks.testing.server import AceServer
    from acetasks.testing.snapshot import Json

TOKEN = "test-token"


async def send(server: AceServer, method: str, path: str, *, token: str = TOKEN) -> tuple[int, Json]:
    """Send a request without a body, and return the status and the response's JSON."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as http, http.request(method, server.url + path, headers=headers) as response:
        return response.status, msgspec.json.decode(await response.read())


async def create(client: acetasks.Client, path: str, *names: str) -> None:
    """Create personas or voice models, one after the other."""
    for name in names:
        await client.run(path.split("/")[1], {"name": name, "title": name}, path=path)


class TestPersonas:
    """`GET` and `DELETE /suno/persona`."""

    async def test_personas_are_listed(self, server: AceServer, client: acetasks.Client) -> None:
        """The list has the personas and voices of succeeded tasks, newest first."""
        await create(client, "/suno/persona", "first")
        await create(client, "/suno/voices", "second")
        server.script("suno", outcome="failed")
        with pytest.raises(acetasks.ServiceError):
            await create(client, "/suno/persona", "third")
        _, body = await send(server, "GET", "/suno/persona?user_id=u")
        assert [item["name"] for item in body["items"]] == ["second", "first"]  # type: ignore[attr-defined]
        assert body["count"] == 2
        _, page = await send(server, "GET", "/suno/persona?limit=1&offset=1")
        assert ([item["name"] for item in page["items"]], page["count"]) == (["first"], 2)  # type: ignore[attr-defined]

    async def test_persona_is_deleted(self, server: AceServer, client: acetasks.Client) -> None:
        """A deleted persona is in the list no more, and cannot be deleted again."""
        await create(client, "/suno/persona", "first", "second")
        _, body = await send(server, "GET", "/suno/persona")
        path = f"/suno/persona?persona_id={body['items'][0]['persona_id']}"  # type: ignore[index]
        assert await send(server, "DELETE", path) == (200, {"success": True})
        _, left = await send(server, "GET", "/suno/persona")
        assert [item["name"] for item in left["items"]] == ["first"]  # type: ignore[attr-defined]
        status, error = await send(server, "DELETE", path)
        assert (status, error["error"]) == (404, {"code": "not_found", "message": "persona not found"})

    async def test_rejections(self, server: AceServer) -> None:
        """A wrong token and a number that is none are refused, and other paths have no such methods."""
        assert (await send(server, "GET", "/suno/persona", token="wrong"))[0] == 401
        assert (await send(server, "GET", "/suno/persona?limit=x"))[0] == 400
        assert (await send(server, "DELETE", "/fish/model"))[0] == 404
        assert (await send(server, "GET", "/suno/voices"))[0] == 404


class TestVoiceModels:
    """`GET /fish/model` and `GET /fish/model/<id>`."""

    async def test_models_are_listed(self, server: AceServer, client: acetasks.Client) -> None:
        """A page has the models newest first, and the total number."""
        await create(client, "/fish/model", "first", "second", "third")
        _, body = await send(server, "GET", "/fish/model?page_size=2&page_number=2")
        assert ([item["title"] for item in body["items"]], body["total"]) == (["first"], 3)  # type: ignore[attr-defined]

    async def test_model_is_read(self, server: AceServer, client: acetasks.Client) -> None:
        """One model is read by its id, as in the response to its creation."""
        created = await client.run("fish", {"title": "mine"}, path="/fish/model")
        model = msgspec.json.decode(created.raw)
        assert await send(server, "GET", f"/fish/model/{model['_id']}") == (200, model)
        status, error = await send(server, "GET", "/fish/model/unknown")
        assert (status, error["error"]) == (404, {"code": "not_found", "message": "model not found"})
