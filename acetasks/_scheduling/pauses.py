"""Times before which tasks must not be polled again, kept while nothing awaits them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks._scheduling.tasks import Key

#: Number of pauses at which those that are over are dropped, and no others are added by `remember`.
_MAX_PAUSES = 4096


class PollPauses:
    """Pauses of tasks, by key: loop times until which they are not polled."""

    def __init__(self) -> None:
        self._until: dict[Key, float] = {}
        self._first_end = math.inf

    def __repr__(self) -> str:
        return f"<PollPauses {len(self._until)} tasks>"

    def delay(self, key: Key, due: float) -> float:
        """Return a due time, or the end of the task's pause if that is later."""
        return max(due, self._until.get(key, due))

    def enforce(self, keys: Iterable[Key], until: float, now: float) -> None:
        """Pause tasks, however many are paused."""
        self._drop_ended(now)
        self._until.update((key, until) for key in keys)
        self._first_end = min(self._first_end, until)

    def remember(self, key: Key, until: float, now: float) -> None:
        """Pause a task, unless too many are paused."""
        self._drop_ended(now)
        if len(self._until) < _MAX_PAUSES and until > now:
            self._until[key] = self.delay(key, until)
            self._first_end = min(self._first_end, until)

    def _drop_ended(self, now: float) -> None:
        # Only where one has ended, so that thousands can be added in one step.
        if len(self._until) >= _MAX_PAUSES and self._first_end <= now:
            self._until = {key: until for key, until in self._until.items() if until > now}
            self._first_end = min(self._until.values(), default=math.inf)
