"""What is awaited: the tasks of one load, planned from a seed by the client and by the service, each for itself."""

from __future__ import annotations

import random
import uuid

import msgspec

TOKEN = "test-token"
PROVIDER = "luma"
#: For tasks that are not to end while anything is measured: seconds.
NEVER = 1e6


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much is awaited. Times are in seconds from the start.

    Attributes:
        tasks: How many are awaited at once.
        first: When the first of them ends.
        last: When the last does; the others end evenly in between.
        seed: Of all that is drawn.
    """

    tasks: int
    first: float
    last: float
    seed: int = 0


class Task(msgspec.Struct, frozen=True, gc=False):
    """A task as it is to be.

    Attributes:
        id: Its id.
        after: Seconds from the start to its end.
    """

    id: str
    after: float


def plan_tasks(load: Load) -> list[Task]:
    """Plan every task of a load; the same load gives the same tasks."""
    draw = random.Random(load.seed)
    return [
        Task(str(uuid.UUID(int=draw.getrandbits(128), version=4)), draw.uniform(load.first, load.last))
        for _ in range(load.tasks)
    ]
