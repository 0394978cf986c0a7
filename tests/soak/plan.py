"""What is soaked: the tasks, planned from one seed by the client and by the service, each for itself."""

from __future__ import annotations

import math
import random
import uuid

import msgspec

from acetasks import TaskState
from acetasks.providers import lookup
from acetasks.testing import Outcome

TOKEN = "test-token"
#: Requests a second that the load begins with, for intervals that the service bears: its documents allow 60.
_RATE = 40.0
#: Looks and seconds after which an id that is never shown counts as not found: the defaults of `PollPolicy`.
_MISSING_POLLS, _MISSING_GRACE = 3, 10.0
#: How often each outcome comes. Every provider's tasks can end in each.
_OUTCOMES = {Outcome.SUCCEEDED: 80, Outcome.FAILED: 12, Outcome.PARTIAL: 7, Outcome.NOT_FOUND: 1}
#: How often each provider comes that answers batches.
_PROVIDERS = {"luma": 30, "veo": 20, "flux": 25, "pixverse": 25}
#: The provider that is asked one by one, and the tasks of it: each takes a request of its own.
_ONE_BY_ONE = "useapi-pixverse"
_MOST_ONE_BY_ONE = 40


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """How much is soaked.

    Attributes:
        tasks: How many are awaited at once.
        share: Of the service's answers that are faulty, from 0 to 1.
        seed: Of all that is drawn.
        batch: Ids in one request, at most.
        first: Seconds until the first task ends.
        last: Seconds until the last one does.
        timeout: Seconds that the client gives a request.
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
        """Seconds between two looks at one task."""
        return max(1.0, self.tasks / self.batch / _RATE)


class Planned(msgspec.Struct, frozen=True, gc=False):
    """A task as it is to be. The garbage collector passes over it, so that the soak's own plan holds nobody up.

    Attributes:
        provider: The provider's slug.
        id: Its id.
        after: Seconds until it ends.
        outcome: What becomes of it.
    """

    provider: str
    id: str
    after: float
    outcome: Outcome

    @property
    def state(self) -> TaskState:
        """The state that the client has to tell at its end."""
        return TaskState(self.outcome.value)

    @property
    def is_known(self) -> bool:
        """Whether the service knows it."""
        return self.outcome is not Outcome.NOT_FOUND


def plan_tasks(load: Load) -> list[Planned]:
    """Plan every task of a load; the same load gives the same tasks."""
    draw = random.Random(load.seed)
    one_by_one = max(1, min(_MOST_ONE_BY_ONE, load.tasks // 50))
    batched = draw.choices(tuple(_PROVIDERS), tuple(_PROVIDERS.values()), k=load.tasks - one_by_one)
    planned = [
        Planned(
            provider,
            str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            draw.uniform(load.first, load.last),
            draw.choices(tuple(_OUTCOMES), tuple(_OUTCOMES.values()))[0],
        )
        for provider in [*batched, *[_ONE_BY_ONE] * one_by_one]
    ]
    draw.shuffle(planned)
    return planned


def count_requests(load: Load, planned: list[Planned]) -> int:
    """Count the requests that full batches at the interval take where nothing goes wrong."""
    looks: dict[str, int] = {}
    for task in planned:
        interval = lookup(task.provider).poll_interval(load.interval)
        if task.outcome is Outcome.NOT_FOUND:
            count = max(_MISSING_POLLS, 1 + math.ceil(_MISSING_GRACE / interval))
        else:
            count = 1 + math.ceil(task.after / interval)
        looks[task.provider] = looks.get(task.provider, 0) + count
    return sum(math.ceil(count / lookup(provider).batch_size(load.batch)) for provider, count in looks.items())
