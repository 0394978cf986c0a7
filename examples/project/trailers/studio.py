"""Makes a trailer: with Veo, or with Luma if Veo fails."""

import acetasks


class NoTrailerError(Exception):
    """Raised when no provider has made a trailer."""


async def make_trailer(client: acetasks.Client, prompt: str) -> str:
    """Return the URL of a video."""
    for provider in ("veo", "luma"):
        try:
            task = await client.run(provider, {"action": "generate", "prompt": prompt}, timeout=1800)
        except acetasks.TaskFailedError:
            continue
        return task.artifacts[0].url
    raise NoTrailerError(prompt)


async def make_from_environment(prompt: str) -> str:
    """Return the URL of a video, with the token and the address from the environment, as a script does."""
    async with acetasks.Client() as client:
        return await make_trailer(client, prompt)
