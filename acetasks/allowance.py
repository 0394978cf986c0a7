"""How many requests planned looks may take: about as many as a fixed interval would, saved for when they pay.

Pure of clocks: every method is given the time.
"""

from __future__ import annotations

import math

#: Planned looks may take some more requests than it would take to ask for all in full batches at intervals, since they
#: cannot all be together when they are worth most: half as many again for a few batches; for many, a tenth of those and
#: somewhat more than their root.
_LARGEST_EXTRA, _EXTRA, _EXTRA_ROOT = 0.5, 0.1, 1.2
#: Intervals' worth of requests that are saved at most, and those that are saved between two looks.
_SAVED_INTERVALS, _LONGEST_PAUSE = 60.0, 2.5


class Allowance:
    """The requests that a provider's tasks may take, by how many it takes to ask for all of them in full batches.

    What is not used is saved for when it is worth more.

    Attributes:
        grace: Seconds that a look may wait for it longer than it should: half an interval where one request asks for
            all, and the less the more requests it takes.
    """

    __slots__ = ("_at", "_interval", "_is_spent", "_patience", "_saved", "_share", "grace")

    def __init__(self, interval: float, patience: float, now: float) -> None:
        """Start with nothing saved.

        Args:
            interval: Mean seconds from one look at a task to the next.
            patience: For how much of it looks wait for others to leave with, once all is spent.
            now: Seconds of the loop's clock.
        """
        self._interval = interval
        self.grace = interval / 2.0
        self._patience = patience
        self._share = 0.0
        self._saved = 0.0
        self._is_spent = False
        self._at = now

    def __repr__(self) -> str:
        """Show what is saved, and how much of it comes with each interval."""
        return f"<Allowance {self._saved:.3g} requests, {self._share:.3g} more in {self._interval:g} s>"

    def advance(self, now: float, share: float) -> None:
        """Save what the time since the last call is worth; a longer one passed without anybody to ask for.

        Args:
            now: Seconds of the loop's clock.
            share: How many requests it takes, from now on, to ask for all once.
        """
        intervals = min((now - self._at) / self._interval, _LONGEST_PAUSE)
        self._saved = min(self._saved + intervals * self._share, _SAVED_INTERVALS * share)
        self._at = now
        self.grace = self._interval / (1.0 + share)
        self._share = share + min(_LARGEST_EXTRA * share, _EXTRA * share + _EXTRA_ROOT * math.sqrt(share))

    def free_at(self) -> float:
        """Tell when there are requests to spend: one, or once all were spent, a few together."""
        needed = max(1.0, self._patience * self._share) if self._is_spent else 1.0
        return self._at + max(0.0, needed - self._saved) / self._share * self._interval

    def spend(self) -> None:
        """Spend a request, or what there is of one."""
        self._saved = max(0.0, self._saved - 1.0)
        self._is_spent = self._saved < 1.0
