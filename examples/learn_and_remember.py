"""Ask when it is worth asking: what one client has learned of how long videos take is the next one's from the start."""

import asyncio
import random

import acetasks
from acetasks.testing import AceServer, run


async def watch(server: AceServer, policy: acetasks.PollPolicy, durations: acetasks.Durations) -> None:
    """Wait for 20 lots of 50 videos, each lot submitted at once, and tell what it took."""
    clock, draw = asyncio.get_running_loop().time, random.Random(0)
    requests, late = server.request_count, 0.0
    async with acetasks.Client(server.token, base_url=server.url, policy=policy, durations=durations) as client:
        for _ in range(20):
            ends = {}
            for _ in range(50):
                seconds = draw.lognormvariate(5, 0.2)  # about two and a half minutes
                ends[server.add("veo", after=seconds)] = clock() + seconds
            async for task in client.as_completed("veo", ends):
                late += clock() - ends[task.id]
    print(f"{policy.schedule:8} {server.request_count - requests} requests, {late / 1000:.2f} s late on average")


async def main() -> None:
    async with AceServer() as server:
        durations = acetasks.Durations()
        await watch(server, acetasks.PollPolicy(schedule="fixed"), durations)
        await watch(server, acetasks.PollPolicy(schedule="learned"), durations)

        saved = durations.to_json()  # for a file
        await watch(server, acetasks.PollPolicy(schedule="learned"), acetasks.Durations.from_json(saved))


run(main())
