"""Submit a Veo task and follow it to its end. It is sent once, whatever happens: it is paid for."""

import asyncio
import sys

import acetasks


async def main() -> None:
    request = {"action": "text2video", "model": "veo2", "prompt": "a ceramic mug turning in the morning light"}
    async with acetasks.Client() as client:
        try:
            handle = await client.submit("veo", request)
        except acetasks.SubmissionUncertainError as error:
            sys.exit(f"it may have been accepted, so look before you submit it again: {error}")
        print("submitted:", handle.id)
        async for task in handle.updates():
            print(task.state, *(artifact.url for artifact in task.artifacts))


asyncio.run(main())
