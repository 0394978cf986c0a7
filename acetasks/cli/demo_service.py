"""Simulated service of the demo, in a child process, so that only the client uses the parent's CPU time.

The child runs this module. It writes one JSON line with its address and tasks, and serves until its stdin closes. That
also happens if the parent is killed, so the child cannot outlive it. The child needs neither typer nor rich.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING

import msgspec

from acetasks.cli.exit_codes import CommandError, ExitCode
from acetasks.providers import lookup
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Percentage of the tasks for each provider: long and short tasks, in batches and, at useapi.net, one per request.
TASK_SHARES = {"luma": 27, "veo": 27, "pixverse": 20, "flux": 20, "useapi-pixverse": 6}
#: Providers that queue tasks, since a thousand tasks submitted at once run one after the other.
_QUEUEING_PROVIDERS = ("luma", "veo", "pixverse", "flux")
#: Longest time in the queue, in seconds of the real service.
_MAX_QUEUE_TIME = 900.0
#: Run times are lognormal around the provider's typical duration, with this sigma, up to this multiple of it.
_DURATION_SIGMA = 0.12
_MAX_DURATION_FACTOR = 1.4
_FAILURE_RATE = 0.04
_TOKEN = "a-token-of-the-demo"  # noqa: S105  # only valid in the child
#: Seconds between closing the child's stdin and killing it.
SHUTDOWN_TIMEOUT = 3.0


class DemoConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a demo.

    Attributes:
        tasks: Number of tasks, over all providers.
        seed: Seed of all random values.
        speed: Seconds of the real service per second of the demo.
    """

    tasks: int
    seed: int
    speed: float


class DemoTask(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated task and its expected end.

    Attributes:
        provider: The provider's slug.
        id: The task's id.
        outcome: Its terminal state.
        finishes_at: Time of its end, in seconds since the epoch.
    """

    provider: str
    id: str
    outcome: str
    finishes_at: float


class DemoServiceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The line that the child writes at its start: its address, token and tasks."""

    url: str
    token: str
    tasks: list[DemoTask]


def split_tasks(tasks: int) -> dict[str, int]:
    """Divide tasks among the providers by `TASK_SHARES`.

    Args:
        tasks: At least one for each provider.

    Returns:
        The number for each provider: at least 1, in total `tasks`.
    """
    counts = {provider: max(tasks * share // 100, 1) for provider, share in TASK_SHARES.items()}
    counts["luma"] += tasks - sum(counts.values())
    return counts


def sample_duration(provider: str, rng: random.Random) -> float:
    """Return a random time from submission to end, in seconds of the real service."""
    typical = lookup(provider).typical_duration
    queued = rng.uniform(0, _MAX_QUEUE_TIME) if provider in _QUEUEING_PROVIDERS else 0.0
    return queued + typical * min(rng.lognormvariate(0, _DURATION_SIGMA), _MAX_DURATION_FACTOR)


def add_tasks(server: AceServer, config: DemoConfig) -> None:
    """Submit the tasks of a demo to the simulated service, all at once and in random order."""
    rng = random.Random(config.seed)
    slugs = [provider for provider, count in split_tasks(config.tasks).items() for _ in range(count)]
    rng.shuffle(slugs)
    for provider in slugs:
        outcome = "failed" if rng.random() < _FAILURE_RATE else "succeeded"
        server.add(provider, after=sample_duration(provider, rng), outcome=outcome)


@contextlib.contextmanager
def demo_service_process(
    config: DemoConfig, *, shutdown_timeout: float = SHUTDOWN_TIMEOUT
) -> Iterator[DemoServiceInfo]:
    """Run the simulated service in a child process until the context exits.

    Args:
        config: Settings of the demo.
        shutdown_timeout: Seconds that the child has to exit before it is killed.

    Yields:
        The service's address, token and tasks.

    Raises:
        CommandError: The child did not start.
    """
    with tempfile.TemporaryFile() as stderr, _start_child(config, stderr) as child:
        assert child.stdin is not None  # noqa: S101  # for the type checker: both are pipes
        assert child.stdout is not None  # noqa: S101  # as above
        try:
            line = child.stdout.readline()
            if not line:
                child.wait()
                reason = _last_line(stderr)
                raise CommandError(f"the simulated service did not start: {reason}", code=ExitCode.FAILED)
            yield msgspec.json.decode(line, type=DemoServiceInfo)
        finally:
            try:
                child.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=shutdown_timeout)
            finally:
                # No effect on a process that has exited.
                child.kill()


def _start_child(config: DemoConfig, stderr: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", __spec__.name, msgspec.json.encode(config).decode()]
    # The child imports from the same places as this process, whatever its working directory.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109  # as the import system does
    return subprocess.Popen(  # noqa: S603  # the user's input in it is three numbers
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        # A separate process group, so that only the parent handles Ctrl-C.
        start_new_session=True,
    )


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace").strip().rpartition("\n")[2]


async def _serve(config: DemoConfig) -> None:
    """Run the child: simulate the tasks until stdin closes."""
    loop = asyncio.get_running_loop()
    epoch = time.time() - loop.time()
    async with AceServer(
        token=_TOKEN, seed=config.seed, epoch=epoch, speed=config.speed, record_requests=False
    ) as server:
        add_tasks(server, config)
        tasks = [
            DemoTask(provider=task.provider, id=task.id, outcome=task.outcome, finishes_at=epoch + task.finishes_at)
            for task in server.tasks.values()
        ]
        info = DemoServiceInfo(url=server.url, token=server.token, tasks=tasks)
        sys.stdout.buffer.write(msgspec.json.encode(info) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=DemoConfig)))
