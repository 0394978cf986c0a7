"""`acetasks demo`: one client awaits a thousand simulated tasks of five providers.

The service runs in its own process. Tasks, poll intervals and useapi.net's documented minimum interval are sped up by
the same factor, so the number of requests is the one at real speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import msgspec

from acetasks import Client, PollPolicy, providers
from acetasks.cli.demo_service import DemoConfig, DemoServiceInfo, demo_service_process, split_tasks
from acetasks.cli.demo_stats import DemoStats
from acetasks.cli.demo_view import format_progress, render_progress, render_summary, render_title
from acetasks.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from acetasks.cli.screen import Screen

#: Default speed: 15 minutes of the real service take 15 seconds.
SPEED = 60.0
#: Seconds after the end of the last task at which the demo times out.
_TIMEOUT_MARGIN = 30.0
#: Seconds between two progress lines.
LINE_INTERVAL = 3.0


def run_demo(screen: Screen, config: DemoConfig) -> ExitCode:
    """Run the demo and print its summary.

    Args:
        screen: Shows the progress and the summary.
        config: Settings of the demo.

    Returns:
        `FAILED` if the state of a task differs from the simulated one.

    Raises:
        CommandError: The simulated service did not start.
    """
    slugs = split_tasks(config.tasks)
    screen.err.print(render_title(config.tasks, len(slugs), config.speed), soft_wrap=True)
    with demo_service_process(config) as service, shortened_intervals(slugs, config.speed):
        stats = DemoStats(service.tasks)
        elapsed = asyncio.run(await_tasks(screen, service, stats, config.speed))
    screen.out.print(render_summary(stats, elapsed, config.speed))
    return ExitCode.FAILED if stats.total.mismatches else ExitCode.OK


@contextlib.contextmanager
def shortened_intervals(slugs: Iterable[str], speed: float) -> Iterator[None]:
    """Divide the poll intervals of providers by the speed until the context exits.

    Args:
        slugs: The providers.
        speed: Seconds of the real service per second of this process.
    """
    specs = [providers.lookup(slug) for slug in slugs]
    try:
        for spec in specs:
            fast = msgspec.structs.replace(
                spec, interval=spec.poll_interval(None) / speed, min_interval=spec.min_interval / speed
            )
            providers.register(fast, replace=True)
        yield
    finally:
        for spec in specs:
            providers.register(spec, replace=True)


async def await_tasks(screen: Screen, service: DemoServiceInfo, stats: DemoStats, speed: float) -> float:
    """Wait for every task and show the progress.

    Args:
        screen: Shows the progress.
        service: The simulated service.
        stats: Receives the requests and results.
        speed: Seconds of the real service per second of this process.

    Returns:
        The elapsed seconds.

    Raises:
        TaskTimeoutError: A task was not delivered within 30 seconds of the end of the last one.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    timeout = max(task.finishes_at for task in service.tasks) - time.time() + _TIMEOUT_MARGIN
    client = Client(
        service.token,
        base_url=service.url,
        useapi_token=service.token,
        useapi_base_url=service.url,
        policy=PollPolicy(linger=PollPolicy().linger / speed),
        observers=[stats],
    )
    if screen.is_live:
        display = screen.live_display(lambda: render_progress(stats, loop.time() - start))
    else:
        display = _progress_lines(screen, lambda: format_progress(stats, loop.time() - start))
    async with client, display:
        targets = [(task.provider, task.id) for task in service.tasks]
        async for task in client.as_completed(targets, timeout=timeout):
            stats.record_end(task, time.time())
        return loop.time() - start


@contextlib.asynccontextmanager
async def _progress_lines(screen: Screen, render: Callable[[], str]) -> AsyncIterator[None]:
    """Print a progress line every `LINE_INTERVAL` seconds until the context exits."""

    async def print_lines() -> None:
        while True:
            await asyncio.sleep(LINE_INTERVAL)
            screen.info(render())

    printing = asyncio.create_task(print_lines())
    try:
        yield
    finally:
        printing.cancel()
        await asyncio.wait([printing])
