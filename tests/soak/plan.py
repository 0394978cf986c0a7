"""Plans the tasks of the soak test from a seed, identically in the client and in the service."""

from __future__ import annotations

import math
import random
import uuid

import msgspec

from acetasks import TaskState
from acetasks.providers import lookup
from acetasks.testing import Outcome

TOKEN = "test-token"
#: Requests per second at the start, from which the interval follows; the service documents a limit of 60.
_RATE = 40.0
#: Polls and seconds after which a missing id counts as not found: the defaults of `PollPolicy`.
_MISSING_POLLS, _MISSING_GRACE = 3, 10.0
#: Relative frequency of each outcome. All providers support all of them.
_OUTCOMES = {Outcome.SUCCEEDED: 80, Outcome.FAILED: 12, Outcome.PARTIAL: 7, Outcome.NOT_FOUND: 1}
#: Relative frequency of each provider with a batch endpoint.
_PROVIDERS = {"luma": 30, "veo": 20, "flux": 25, "pixverse": 25}
#: The provider without a batch endpoint, and its maximum number of tasks, since each takes a request.
_ONE_BY_ONE = "useapi-pixverse"
_MOST_ONE_BY_ONE = 40


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of a soak test.

    Attributes:
        tasks: Number of tasks awaited at once.
        share: Share of faulty responses, from 0 to 1.
        seed: Seed of the random numbers.
        batch: Maximum number of ids in one request.
        first: Seconds until the first task ends.
        last: Seconds until the last task ends.
        timeout: Request timeout of the client in seconds.
    """

    tasks: int = 10_000
    share: float = 0.05
    seed: int = 0
    batch: int = 50
    first: float = 5.0
    last: float = 60.0
    timeout: float = 3.0

    @property
    def interval(self) -> float:
        """Seconds between two polls of one task."""
        return max(1.0, self.tasks / self.batch / _RATE)


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A planned task. The garbage collector does not track it, so that the plan causes no stalls.

    Attributes:
        provider: The provider's slug.
        id: The task id.
        after: Seconds until it ends.
        outcome: Its outcome.
    """

    provider: str
    id: str
    after: float
    outcome: Outcome

    @property
    def state(self) -> TaskState:
        """The state that the client has to report at its end."""
        return TaskState(self.outcome.value)

    @property
    def is_known(self) -> bool:
        """Whether the service knows it."""
        return self.outcome is not Outcome.NOT_FOUND


def plan_tasks(load: Load) -> list[Planned]:
    """Return the tasks of a load; the same load gives the same tasks."""
    rng = random.Random(load.seed)
    one_by_one = max(1, min(_MOST_ONE_BY_ONE, load.tasks // 50))
    batched = rng.choices(tuple(_PROVIDERS), tuple(_PROVIDERS.values()), k=load.tasks - one_by_one)
    planned = [
        Planned(
            provider,
            str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            rng.uniform(load.first, load.last),
            rng.choices(tuple(_OUTCOMES), tuple(_OUTCOMES.values()))[0],
        )
        for provider in [*batched, *[_ONE_BY_ONE] * one_by_one]
    ]
    rng.shuffle(planned)
    return planned


def count_requests(load: Load, planned: list[Planned]) -> int:
    """Return the number of requests for full batches at each interval, without faults."""
    polls: dict[str, int] = {}
    for task in planned:
        interval = lookup(task.provider).poll_interval(load.interval)
        if task.outcome is Outcome.NOT_FOUND:
            count = max(_MISSING_POLLS, 1 + math.ceil(_MISSING_GRACE / interval))
        else:
            count = 1 + math.ceil(task.after / interval)
        polls[task.provider] = polls.get(task.provider, 0) + count
    return sum(math.ceil(count / lookup(provider).batch_size(load.batch)) for provider, count in polls.items())
