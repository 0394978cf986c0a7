"""Submit a Veo task and follow it until it ends. A submission is paid for, so it is sent only once."""

import asyncio
import sys

import acetasks


async def main() -> None:
    request = {"action": "text2video", "model": "veo2", "prompt": "a ceramic mug turning in the morning light"}
    async with acetasks.Client() as client:
        try:
            handle = await client.submit("veo", request)
        except acetasks.SubmissionUncertainError as error:
            sys.exit(f"the submission may have been accepted, check before you submit again: {error}")
        print("submitted:", handle.id)
        async for task in handle.updates():
            print(task.state, *(artifact.url for artifact in task.artifacts))


asyncio.run(main())
