"""Wait for tasks of several providers: `python examples/mixed_providers.py luma:ID veo:ID ...`."""

import asyncio
import sys

import acetasks


async def main(pairs: list[tuple[str, str]]) -> None:
    async with acetasks.Client() as client:
        tasks = await client.wait_all(pairs, timeout=1800, return_failed=True)
    for task in tasks:
        print(f"{task.provider:16} {task.id}  {task.state}")


def split(argument: str) -> tuple[str, str]:
    provider, _, task_id = argument.partition(":")
    return provider, task_id


asyncio.run(main([split(argument) for argument in sys.argv[1:]]))
