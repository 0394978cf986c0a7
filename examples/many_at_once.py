"""Take Flux images as they finish: `python examples/many_at_once.py ID...`.

A thousand ids cost twenty requests a look.
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
