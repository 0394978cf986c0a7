"""A web application under test, with the client of pytest-aiohttp."""

import aiohttp
import pytest
from aiohttp import web

import acetasks

pytestmark = pytest.mark.asyncio


async def make_video(request):
    """Await a video, and respond with its URL."""
    async with acetasks.Client() as client:
        task = await client.run("veo", await request.json())
    return web.json_response({"url": task.artifacts[0].url})


async def test_application(ace_environment, ace_server, aiohttp_client):
    """The application gets its video after ten minutes, and the test's client waits as long."""
    app = web.Application()
    app.router.add_post("/videos", make_video)
    # aiohttp's default limit of 300 s passes on the virtual clock too.
    client = await aiohttp_client(app, timeout=aiohttp.ClientTimeout(total=3600))
    ace_server.script("veo", after=600)
    response = await client.post("/videos", json={"prompt": "a lighthouse"})
    assert (await response.json())["url"].startswith(ace_environment["ACEDATACLOUD_API_BASE_URL"])
    ace_server.assert_submitted("veo", {"prompt": "a lighthouse"}, times=1)
