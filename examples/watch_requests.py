"""Count the requests of a client with an observer: `python examples/watch_requests.py ID...` (Pixverse ids)."""

import asyncio
import sys
from collections import Counter

import acetasks


class Meter:
    """Observer that counts requests and polled tasks."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def on_event(self, event: acetasks.Event) -> None:
        if isinstance(event, acetasks.RequestSent):
            self.counts.update(requests=1, polls=event.ids)


async def main(ids: list[str]) -> None:
    meter = Meter()
    async with acetasks.Client(observers=[meter]) as client:
        tasks = await client.wait_all("pixverse", ids, return_failed=True)
    print(f"{len(tasks)} tasks, {meter.counts['polls']} polls in {meter.counts['requests']} requests")


asyncio.run(main(sys.argv[1:]))
