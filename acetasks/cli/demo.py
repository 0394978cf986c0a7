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
from acetasks.cli.board.display import show_bars, show_board
from acetasks.cli.board.model import BoardModel
from acetasks.cli.board.rendering import BoardRenderer
from acetasks.cli.demo_service import DemoConfig, DemoServiceInfo, demo_service_process, split_tasks
from acetasks.cli.demo_stats import DemoStats
from acetasks.cli.demo_view import FAILED_NOTE, render_summary, render_title
from acetasks.cli.exit_codes import ExitCode
from acetasks.cli.runner import run_async

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
        model = BoardModel((task.provider, task.id) for task in service.tasks)
        stats = DemoStats(service.tasks)
        elapsed = run_async(await_tasks(screen, service, model, stats, config.speed))
    if elapsed is None:
        screen.info("the demo has stopped")
        return ExitCode.INTERRUPTED
    screen.out.print(render_summary(model, stats, elapsed, config.speed, width=screen.out.width))
    return ExitCode.FAILED if stats.mismatches else ExitCode.OK


@contextlib.contextmanager
def shortened_intervals(slugs: Iterable[str], speed: float) -> Iterator[None]:
    """Divide the poll intervals and usual durations of providers by the speed until the context exits.

    Args:
        slugs: The providers.
        speed: Seconds of the real service per second of this process.
    """
    specs = [providers.lookup(slug) for slug in slugs]
    try:
        for spec in specs:
            fast = msgspec.structs.replace(
                spec,
                interval=spec.poll_interval(None) / speed,
                min_interval=spec.min_interval / speed,
                typical_duration=spec.typical_duration / speed,
            )
            providers.register(fast, replace=True)
        yield
    finally:
        for spec in specs:
            providers.register(spec, replace=True)


async def await_tasks(
    screen: Screen, service: DemoServiceInfo, model: BoardModel, stats: DemoStats, speed: float
) -> float | None:
    """Wait for every task and show the board.

    Args:
        screen: Shows the board.
        service: The simulated service.
        model: The board.
        stats: Receives the results.
        speed: Seconds of the real service per second of this process.

    Returns:
        The elapsed seconds; None if the user has left the board before the end.

    Raises:
        TaskTimeoutError: A task was not delivered within 30 seconds of the end of the last one.
    """
    timeout = max(task.finishes_at for task in service.tasks) - time.time() + _TIMEOUT_MARGIN
    client = _build_client(service, model, speed)
    model.start(clock=asyncio.get_running_loop().time, durations=client.durations)
    renderer = BoardRenderer(screen.err, title="acetasks demo", failed_note=FAILED_NOTE)

    async def await_all() -> None:
        async for task in client.as_completed(model.rows, timeout=timeout):
            stats.record_end(task, time.time())
            model.record_end((task.provider, task.id), task)

    async with client:
        if not screen.is_live:
            async with show_bars(screen, model, renderer, line_interval=LINE_INTERVAL):
                await await_all()
        elif not await show_board(screen, model, renderer, await_all()):
            return None
        return model.elapsed


def _build_client(service: DemoServiceInfo, model: BoardModel, speed: float) -> Client:
    return Client(
        service.token,
        base_url=service.url,
        useapi_token=service.token,
        useapi_base_url=service.url,
        policy=PollPolicy(linger=PollPolicy().linger / speed),
        observers=[model],
    )
