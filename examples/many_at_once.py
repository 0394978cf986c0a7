"""Process Flux images in order of completion: `python examples/many_at_once.py ID...`.

Polling a thousand ids takes twenty requests.
"""

import asyncio
import sys

import acetasks


async def main(ids: list[str]) -> None:
    async with acetasks.Client() as client:
        async for task in client.as_completed("flux", ids, timeout=300):
            if task.state is acetasks.TaskState.SUCCEEDED:
                print(task.id, task.artifacts[0].url)
            else:
                print(task.id, task.state, task.error.message if task.error else "")


asyncio.run(main(sys.argv[1:]))
