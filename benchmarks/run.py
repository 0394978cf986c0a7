"""Measure acetasks beside what a careful user writes by hand: `python benchmarks/run.py [--quick]`.

Both follow the same tasks of the same simulated service, which runs in a process of its own, in turn and in one run,
at the same interval. Only the ratios say something about the library; the seconds are the machine's.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
from service import TOKEN, Load, Stage, serving

import acetasks

INTERVAL = 1.0  # seconds between two looks at one task


class Figures(msgspec.Struct):
    """What one way of following cost, and how late it was."""

    cpu: float = 0.0
    requests: int = 0
    lateness: list[float] = []


async def follow_with_acetasks(stage: Stage, figures: Figures) -> None:
    """Follow every task with one client."""

    class Meter:
        def on_event(self, event: acetasks.Event) -> None:
            """Count requests."""
            figures.requests += isinstance(event, acetasks.RequestSent)

    policy = acetasks.PollPolicy(interval=INTERVAL)
    async with acetasks.Client(TOKEN, base_url=stage.url, policy=policy, observers=[Meter()]) as client:

        async def follow(task_id: str) -> None:
            await client.wait("luma", task_id)
            figures.lateness.append(time.time() - stage.ends[task_id])

        await asyncio.gather(*(follow(task_id) for task_id in stage.ends))


async def follow_by_hand(stage: Stage, figures: Figures) -> None:
    """Follow each task with a loop of its own."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as http:

        async def follow(task_id: str) -> None:
            while True:
                figures.requests += 1
                async with http.post(f"{stage.url}/luma/tasks", json={"id": task_id, "action": "retrieve"}) as answer:
                    record = await answer.json()
                if record.get("finished_at"):
                    break
                await asyncio.sleep(INTERVAL)
            figures.lateness.append(time.time() - stage.ends[task_id])

        await asyncio.gather(*(follow(task_id) for task_id in stage.ends))


def measure(way: Callable[[Stage, Figures], Awaitable[None]], load: Load) -> Figures:
    """Measure one way of following a load."""
    figures = Figures()

    async def main(stage: Stage) -> None:
        await way(stage, figures)

    with serving(load) as stage:
        began = time.process_time()
        asyncio.run(main(stage))
        figures.cpu = time.process_time() - began
    return figures


def main() -> None:
    """Measure, and print the figures and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="300 tasks in place of 2,000")
    tasks = 300 if parser.parse_args().quick else 2000
    load = Load(tasks=tasks, first=2.0, last=10.0)
    ours, by_hand = measure(follow_with_acetasks, load), measure(follow_by_hand, load)
    print(f"{tasks} tasks of 2 to 10 s, looked at every {INTERVAL:g} s")
    print(f"{'':24}{'CPU s':>10}{'requests':>10}{'late p50 s':>12}{'late p95 s':>12}")
    for name, figures in (("acetasks", ours), ("a loop for each task", by_hand)):
        late = statistics.quantiles(figures.lateness, n=20)
        print(f"{name:24}{figures.cpu:10.2f}{figures.requests:10}{late[9]:12.2f}{late[18]:12.2f}")
    print(f"{by_hand.cpu / ours.cpu:.1f} times less CPU, {by_hand.requests / ours.requests:.1f} times fewer requests")


if __name__ == "__main__":
    main()
