"""Settings and dependencies that the parts of one open client share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from acetasks.events import Observers
    from acetasks.policies import PollPolicy, RetryPolicy


class Runtime(NamedTuple):
    """Settings and dependencies of one open client; `clock` returns the loop time."""

    policy: PollPolicy
    retry: RetryPolicy
    observers: Observers
    rng: random.Random
    clock: Callable[[], float]


def is_being_cancelled() -> bool:
    """Return whether a `CancelledError` is the running task's own, and not of something cancelled that it awaited."""
    current = asyncio.current_task()
    return current is not None and current.cancelling() > 0
