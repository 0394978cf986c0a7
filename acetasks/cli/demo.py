"""`acetasks demo`: a thousand tasks of five systems, followed by one client in front of your eyes.

The service is simulated, and runs in a process of its own. Everything goes at the same speed-up, the intervals at
which the client asks and useapi.net's documented minimum included: so the numbers of requests are what they would be.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from acetasks import providers
from acetasks.cli.board import draw_board, draw_summary, draw_title, plain_line
from acetasks.cli.running import Exit
from acetasks.cli.stage import Handover, Plan, share_out, staged
from acetasks.cli.tally import Tally
from acetasks.client import Client
from acetasks.policies import PollPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from acetasks.cli.screen import Screen

#: A second of the demo is a minute: 15 minutes of work take 15 seconds.
SPEED = 60.0
#: Seconds that the last task may be late before something must be wrong.
_PATIENCE = 30.0
#: Seconds from one plain line to the next.
LINE_INTERVAL = 3.0


def show(screen: Screen, plan: Plan) -> Exit:
    """Run the demo.

    Args:
        screen: Where to show it.
        plan: What it is about.

    Returns:
        The exit code: failed if the caller got a task in another state than the service gave it.

    Raises:
        CommandError: The simulated service could not be started.
    """
    systems = share_out(plan.tasks)
    screen.err.print(draw_title(plan.tasks, len(systems), plan.speed), soft_wrap=True)
    with staged(plan) as handover, hurried(systems, plan.speed):
        tally = Tally(handover.tasks)
        elapsed = asyncio.run(follow(screen, handover, tally, plan.speed))
    screen.out.print(draw_summary(tally, elapsed, plan.speed))
    return Exit.FAILED if tally.total.wrong else Exit.OK


@contextlib.contextmanager
def hurried(slugs: Iterable[str], speed: float) -> Iterator[None]:
    """Let providers be asked as much faster as their tasks run; their rows are put back in the end.

    Args:
        slugs: The providers.
        speed: How many seconds of the real service pass in one of this process.
    """
    rows = [providers.lookup(slug) for slug in slugs]
    try:
        for row in rows:
            fast = msgspec.structs.replace(
                row, interval=row.poll_interval(None) / speed, min_interval=row.min_interval / speed
            )
            providers.register(fast, replace=True)
        yield
    finally:
        for row in rows:
            providers.register(row, replace=True)


async def follow(screen: Screen, handover: Handover, tally: Tally, speed: float) -> float:
    """Wait for every task, and show how it goes.

    Args:
        screen: Where to show it.
        handover: The tasks, and where they are.
        tally: Takes the figures.
        speed: How many seconds of the real service pass in one of this process.

    Returns:
        The seconds that it took.

    Raises:
        TaskTimeoutError: A task was not seen to end long after it has.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    timeout = max(task.finishes_at for task in handover.tasks) - time.time() + _PATIENCE
    async with contextlib.AsyncExitStack() as stack:
        client = Client(
            handover.token,
            base_url=handover.url,
            useapi_token=handover.token,
            useapi_base_url=handover.url,
            policy=PollPolicy(linger=PollPolicy().linger / speed),
            observers=[tally],
        )
        await stack.enter_async_context(client)
        if screen.is_live:
            await stack.enter_async_context(screen.showing(lambda: draw_board(tally, loop.time() - start)))
        else:
            await stack.enter_async_context(_telling(screen, tally))
        targets = [(task.provider, task.id) for task in handover.tasks]
        async for task in client.as_completed(targets, timeout=timeout):
            tally.take(task, time.time())
        return loop.time() - start


@contextlib.asynccontextmanager
async def _telling(screen: Screen, tally: Tally) -> AsyncIterator[None]:
    """Say every few seconds how far it is."""

    async def tell() -> None:
        while True:
            await asyncio.sleep(LINE_INTERVAL)
            screen.note(plain_line(tally, loop.time() - start))

    loop = asyncio.get_running_loop()
    start = loop.time()
    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
