"""Learned schedule: one client learns how long videos take, and the next one starts with these durations."""

import asyncio
import random

import acetasks
from acetasks.testing import AceServer, run


async def watch(server: AceServer, policy: acetasks.PollPolicy, durations: acetasks.Durations) -> None:
    """Wait for 20 groups of 50 videos, each submitted at once, and print the requests and the mean delay."""
    clock, rng = asyncio.get_running_loop().time, random.Random(0)
    requests, delay = server.request_count, 0.0
    async with acetasks.Client(server.token, base_url=server.url, policy=policy, durations=durations) as client:
        for _ in range(20):
            ends = {}
            for _ in range(50):
                seconds = rng.lognormvariate(5, 0.2)  # about two and a half minutes
                ends[server.add("veo", after=seconds)] = clock() + seconds
            async for task in client.as_completed("veo", ends):
                delay += clock() - ends[task.id]
    print(f"{policy.schedule:8} {server.request_count - requests} requests, mean delay {delay / 1000:.2f} s")


async def main() -> None:
    async with AceServer() as server:
        durations = acetasks.Durations()
        await watch(server, acetasks.PollPolicy(schedule="fixed"), durations)
        await watch(server, acetasks.PollPolicy(schedule="learned"), durations)

        saved = durations.to_json()  # could be stored in a file
        await watch(server, acetasks.PollPolicy(schedule="learned"), acetasks.Durations.from_json(saved))


run(main())
