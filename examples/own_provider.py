"""Register a provider without a built-in specification, and run one task on it."""

import asyncio

import acetasks
from acetasks.providers import ArtifactField, ProviderSpec, register

register(
    ProviderSpec(
        slug="lantern",
        submit_paths=("/lantern/videos",),
        artifacts=(ArtifactField("data.*.video_url", acetasks.ArtifactKind.VIDEO),),
        typical_duration=5.0,  # seconds; determines the poll interval
        source="documentation of the provider",
    )
)


async def main() -> None:
    async with acetasks.Client() as client:
        task = await client.run("lantern", {"prompt": "a paper lantern"}, timeout=120)
        print(task.state, [artifact.url for artifact in task.artifacts])


asyncio.run(main())
