"""Trailers: ten-minute videos and failures, on the virtual clock that the fixtures bring with them."""

import asyncio

import pytest
from trailers.studio import NoTrailerError, make_from_environment, make_trailer

import acetasks
from acetasks.testing import AceServer

pytestmark = pytest.mark.asyncio


async def test_ten_minute_veo_job(ace_server: AceServer, ace_client: acetasks.Client) -> None:
    """A video of ten minutes is awaited to its end, with one submission and few polls."""
    ace_server.script("veo", after=600)

    url = await make_trailer(ace_client, "a lighthouse")

    assert url.endswith(".mp4")
    assert 600 <= asyncio.get_running_loop().time() < 660
    ace_server.assert_submitted("veo", {"prompt": "a lighthouse"}, times=1)
    ace_server.assert_requests("veo", action="retrieve", at_least=2, at_most=150)


async def test_failing_luma_job(ace_server: AceServer, ace_client: acetasks.Client) -> None:
    """If Veo and Luma both fail, the error says so; each was tried once."""
    ace_server.script("veo", after=300, outcome="failed")
    ace_server.script("luma", after=120, outcome="failed", error=("moderated", "no lighthouses"))

    with pytest.raises(NoTrailerError):
        await make_trailer(ace_client, "a lighthouse")

    ace_server.assert_requests(action="submit", count=2)


async def test_luma_replaces_veo(ace_server: AceServer, ace_environment: dict[str, str]) -> None:
    """The script takes the service from the environment, and Luma's video if Veo's fails."""
    ace_server.script("veo", after=300, outcome="failed")
    ace_server.script("luma", after=120)

    assert (await make_from_environment("a lighthouse")).startswith(ace_environment["ACEDATACLOUD_API_BASE_URL"])


async def test_outage(ace_server: AceServer, ace_client: acetasks.Client) -> None:
    """Five minutes without the service make no difference to the result."""
    ace_server.script("veo", after=60)
    ace_server.fail("veo", action="retrieve", status=503, times=None, when=lambda request: request.time < 300)

    assert await make_trailer(ace_client, "a lighthouse")
