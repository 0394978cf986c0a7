"""Test code that waits for ten-minute videos, without a network and in milliseconds."""

import asyncio

import acetasks
from acetasks.testing import AceServer, run


async def make_trailer(client: acetasks.Client) -> str:
    """Code under test: submit two videos, and use the second if the first fails."""
    first = await client.submit("luma", {"prompt": "a lighthouse"})
    second = await client.submit("veo", {"prompt": "a lighthouse"})
    try:
        task = await first.wait()
    except acetasks.TaskFailedError:
        task = await second.wait()
    return task.artifacts[0].url


async def test_takes_the_second_video_if_the_first_fails() -> None:
    """If the first video fails after ten minutes, the second one is used."""
    async with AceServer() as server, acetasks.Client(server.token, base_url=server.url) as client:
        server.script("luma", after=600, outcome="failed", error=("moderated", "no lighthouses"))
        server.script("veo", after=900)
        assert (await make_trailer(client)).endswith(".mp4")
    print(f"{asyncio.get_running_loop().time():.0f} seconds of virtual time")


run(test_takes_the_second_video_if_the_first_fails())
