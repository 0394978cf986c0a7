"""Settings and dependencies that the parts of one open client share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from acetasks.events import Observers
    from acetasks.policies import PollPolicy, RetryPolicy


def read_wall_clock() -> float:
    """Return the seconds since the epoch; nothing else in the library reads the machine's clock."""
    return time.time()


class Runtime(NamedTuple):
    """Settings and dependencies of one open client.

    `clock` returns the loop time. `wall_clock` returns the seconds since the epoch, for what is compared with times of
    the service; nothing waits on it.
    """

    policy: PollPolicy
    retry: RetryPolicy
    observers: Observers
    rng: random.Random
    clock: Callable[[], float]
    wall_clock: Callable[[], float] = read_wall_clock


def is_being_cancelled() -> bool:
    """Return whether a `CancelledError` is the running task's own, and not of something cancelled that it awaited."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
