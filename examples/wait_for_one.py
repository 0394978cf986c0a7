"""Wait for one Luma task: `python examples/wait_for_one.py TASK_ID`. The token is in ACEDATACLOUD_API_TOKEN."""

import asyncio
import sys

import acetasks


async def main(task_id: str) -> None:
    async with acetasks.Client() as client:
        try:
            task = await client.wait("luma", task_id, timeout=600)
        except acetasks.TaskFailedError as error:
            sys.exit(f"the task failed: {error.task.error}")
        except acetasks.TaskTimeoutError as error:
            sys.exit(f"timeout, the task is still {error.task.state}: try again later")
    print(task.state, f"after {task.duration:.0f} s of processing" if task.duration else "")
    for artifact in task.artifacts:
        print(artifact.kind, artifact.role, artifact.url)
    video = task.decode(acetasks.LumaResponse)
    print("size:", video.video_width, "x", video.video_height)


asyncio.run(main(sys.argv[1]))
