"""What a simulated fleet has to do: scenarios, and the tasks of each worker, planned from a seed."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from wire import write_id

from acetasks.testing.scenario import DURATION_SIGMA

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds since when the tasks that are handed over run at most.
_OLDEST = 600.0


class Kind(NamedTuple):
    """Tasks of one provider: their share, and the median of their seconds, the provider's typical ones."""

    provider: str
    share: float
    seconds: float


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet has to do.

    Attributes:
        name: Name in the report.
        tasks: Number of tasks.
        workers: Number of workers, each with one client.
        rate: Requests a second that each worker may send.
        kinds: The tasks, whose shares sum to 1.
        arrivals: Tasks a second that arrive at all workers, to be submitted and awaited; 0 if they were submitted
            elsewhere, and all are awaited from the start.
        horizon: Seconds within which tasks that were submitted elsewhere end, evenly; 0 for others.
    """

    name: str
    tasks: int
    workers: int = 10
    rate: float
    kinds: tuple[Kind, ...]
    arrivals: float = 0.0
    horizon: float = 0.0


class Job(NamedTuple):
    """A task to be submitted and awaited: its number, provider, seconds from its submission to its end, and arrival."""

    number: int
    provider: str
    seconds: float
    arrives_at: float

    @property
    def key(self) -> str:
        """Its key in the journal."""
        return f"job-{self.number:08}"


def plan_jobs(scenario: Scenario, worker: int) -> Iterator[Job]:
    """Yield the jobs of one worker in the order of arrival; the same worker has the same jobs."""
    rng = random.Random(f"{scenario.name} {worker}")
    shares = [kind.share for kind in scenario.kinds]
    now = 0.0
    for number in range(worker, scenario.tasks, scenario.workers):
        now += rng.expovariate(scenario.arrivals / scenario.workers)
        (kind,) = rng.choices(scenario.kinds, shares)
        yield Job(number, kind.provider, rng.lognormvariate(math.log(kind.seconds), DURATION_SIGMA), now)


def plan_ids(scenario: Scenario, worker: int) -> list[tuple[str, str]]:
    """Return the providers and ids of the tasks that are handed over to one worker."""
    rng = random.Random(f"{scenario.name} {worker}")
    numbers = range(worker, scenario.tasks, scenario.workers)
    kinds = rng.choices(scenario.kinds, [kind.share for kind in scenario.kinds], k=len(numbers))
    return [
        (kind.provider, write_id(number, -rng.uniform(0, _OLDEST), rng.uniform(0, scenario.horizon)))
        for number, kind in zip(numbers, kinds, strict=True)
    ]
