"""The demo's simulated service, in a process of its own: so that what is measured is the client alone.

`staged` runs this very module as a child. The child writes one line of JSON, says what it holds, and serves until its
stdin closes, which happens too if the parent is killed: it cannot outlive it. Neither typer nor rich is needed here.
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
from typing import TYPE_CHECKING

import msgspec

from acetasks.cli.running import CommandError, Exit
from acetasks.providers import lookup
from acetasks.testing.server import AceServer

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How the tasks of a demo are shared out, in percent. Together they keep a client busy with every kind of call:
#: long and short work, in batches and, at useapi.net, one by one.
SHARES = {"luma": 27, "veo": 27, "pixverse": 20, "flux": 20, "useapi-pixverse": 6}
#: The systems that make their tasks wait for their turn, and for how long at most, in seconds of the real service: a
#: thousand tasks submitted at once are worked off one after the other.
_QUEUEING = ("luma", "veo", "pixverse", "flux")
_LONGEST_QUEUE = 900.0
#: Durations are drawn about the typical one: this is a lognormal's sigma, and no task takes more than the last factor.
_SIGMA = 0.12
_LONGEST_FACTOR = 1.4
_FAILURE_RATE = 0.04
_TOKEN = "a-token-of-the-demo"  # noqa: S105  # the child takes it and nobody else does
#: Seconds that the child is given to end by itself.
PATIENCE = 3.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a demo is about.

    Attributes:
        tasks: How many, over all systems.
        seed: Of everything that is drawn.
        speed: How many seconds of the real service pass in one of the demo.
    """

    tasks: int
    seed: int
    speed: float


class StagedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that the service holds, and the end that it will come to.

    Attributes:
        provider: The provider's slug.
        id: The task's id.
        outcome: The state it ends in.
        finishes_at: When, in seconds since the epoch.
    """

    provider: str
    id: str
    outcome: str
    finishes_at: float


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """What the child tells its parent: where it is, and what it holds."""

    url: str
    token: str
    tasks: list[StagedTask]


def share_out(tasks: int) -> dict[str, int]:
    """Share a number of tasks out over the systems.

    Args:
        tasks: At least one for each system.

    Returns:
        How many each gets: at least one, and all of them together.
    """
    counts = {provider: max(tasks * share // 100, 1) for provider, share in SHARES.items()}
    counts["luma"] += tasks - sum(counts.values())
    return counts


def draw_duration(provider: str, rng: random.Random) -> float:
    """Draw how long a task takes from its submission to its end, in seconds of the real service."""
    typical = lookup(provider).typical_duration
    queued = rng.uniform(0, _LONGEST_QUEUE) if provider in _QUEUEING else 0.0
    return queued + typical * min(rng.lognormvariate(0, _SIGMA), _LONGEST_FACTOR)


@contextlib.contextmanager
def staged(plan: Plan, *, patience: float = PATIENCE) -> Iterator[Handover]:
    """Run the simulated service in a child, which is gone for sure in the end.

    Args:
        plan: What it holds.
        patience: Seconds that it is given to end by itself; then it is killed.

    Yields:
        Where it is and what it holds.

    Raises:
        CommandError: It could not be started.
    """
    command = [sys.executable, "-P", "-m", __spec__.name, msgspec.json.encode(plan).decode()]
    # The child finds what this process has found, wherever it was started.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}  # noqa: PTH109  # as the import system does
    with (
        tempfile.TemporaryFile() as complaints,
        # A process group of its own: Ctrl-C is for this process to handle.
        subprocess.Popen(  # noqa: S603  # no user input but two numbers
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
        ) as child,
    ):
        assert child.stdin is not None  # noqa: S101  # for the type checker: they were asked for
        assert child.stdout is not None  # noqa: S101  # as above
        try:
            line = child.stdout.readline()
            if not line:
                child.wait()
                complaints.seek(0)
                last = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise CommandError(f"the simulated service did not start: {last}", code=Exit.FAILED)
            yield msgspec.json.decode(line, type=Handover)
        finally:
            try:
                child.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=patience)
            finally:
                # Nothing happens to one that has ended.
                child.kill()


async def _serve(plan: Plan) -> None:
    """Be the child: hold the tasks of a plan until stdin closes."""
    loop = asyncio.get_running_loop()
    epoch = time.time() - loop.time()
    rng = random.Random(plan.seed)
    async with AceServer(token=_TOKEN, seed=plan.seed, epoch=epoch, speed=plan.speed, record_requests=False) as server:
        for provider, count in share_out(plan.tasks).items():
            for _ in range(count):
                outcome = "failed" if rng.random() < _FAILURE_RATE else "succeeded"
                server.add(provider, after=draw_duration(provider, rng), outcome=outcome)
        tasks = [
            StagedTask(provider=task.provider, id=task.id, outcome=task.outcome, finishes_at=epoch + task.finishes_at)
            for task in server.tasks.values()
        ]
        handover = Handover(url=server.url, token=server.token, tasks=tasks)
        sys.stdout.buffer.write(msgspec.json.encode(handover) + b"\n")
        sys.stdout.buffer.flush()
        await asyncio.to_thread(sys.stdin.buffer.read)


if __name__ == "__main__":
    asyncio.run(_serve(msgspec.json.decode(sys.argv[1], type=Plan)))
