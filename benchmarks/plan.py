"""Plans the tasks of a load from a seed, identically in the client and in the service."""

from __future__ import annotations

import random
import uuid

import msgspec

TOKEN = "test-token"
PROVIDER = "luma"
#: Seconds until the end of tasks that never end during a measurement.
NEVER = 1e6


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Number and durations of the awaited tasks. Times are in seconds from the start.

    Attributes:
        tasks: Number of tasks awaited at once.
        first: Earliest end.
        last: Latest end; ends are uniformly distributed in between.
        seed: Seed of the random numbers.
    """

    tasks: int
    first: float
    last: float
    seed: int = 0


class Task(msgspec.Struct, frozen=True, gc=False):
    """A planned task.

    Attributes:
        id: The task id.
        after: Seconds from the start to its end.
    """

    id: str
    after: float


def plan_tasks(load: Load) -> list[Task]:
    """Return the tasks of a load; the same load gives the same tasks."""
    rng = random.Random(load.seed)
    return [
        Task(str(uuid.UUID(int=rng.getrandbits(128), version=4)), rng.uniform(load.first, load.last))
        for _ in range(load.tasks)
    ]
