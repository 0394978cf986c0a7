"""How fast requests may leave: one bucket of allowances, which a service's "too many" makes slower for a while.

Pure state: every method is given the time. The rate follows the rule of additive increase and multiplicative
decrease (Chiu and Jain 1989), which finds what a service allows without being told, and shares it fairly with others
that follow it: halved at once, then climbing by the same step from answer to answer.
"""

from __future__ import annotations

import math

#: Seconds of its rate that may leave at once, after a time in which less has left.
BURST = 1.0
#: Seconds of full use in which a rate that was halved climbs back to where it was.
RECOVERY = 60.0
#: Requests a second that no cut goes below; the service's documents say that less than one is always borne. Longer
#: silences are for the pauses to make.
LEAST_RATE = 0.5
#: Seconds over which the rate that is really used is averaged.
_WINDOW = 1.0


class Pace:
    """The rate at which requests may leave.

    Attributes:
        rate: Requests a second.
        is_slowed: Whether the rate was cut, and is not back where it was before.
    """

    __slots__ = (
        *("_credit", "_cut_at", "_goal", "_is_full", "_is_steady", "_spent_until", "_step", "_until", "_used"),
        *("_used_at", "is_slowed", "rate"),
    )

    def __init__(self, rate: float, *, is_steady: bool = False) -> None:
        """Start with a rate, and nothing spent of it.

        Args:
            rate: Requests a second; more than 0, and infinity for no limit.
            is_steady: Whether requests leave one by one at even distances, and nothing that was not used is made up
                for later.
        """
        self.is_slowed = False
        self._is_steady = is_steady
        self._set_rate(rate)
        # The time up to which what has left is paid for by the rate.
        self._spent_until = -math.inf
        self._until = -math.inf
        self._cut_at = -math.inf
        self._goal = rate
        self._step = rate / 2 / RECOVERY
        self._is_full = False
        self._used = 0.0
        self._used_at = -math.inf

    def __repr__(self) -> str:
        """Show the rate, and whether it is less than usual."""
        return f"<Pace {self.rate:g}/s{' slowed' if self.is_slowed else ''}>"

    @property
    def free_at(self) -> float:
        """When the next request may leave, in seconds of the loop's clock; not necessarily in the future."""
        return max(self._until, self._spent_until - self._credit)

    def gathered_at(self, seconds: float) -> float:
        """Tell when the next requests may leave that wait for each other: a few at a time, and not one by one.

        As long as less was used than is allowed, nothing waits. A rate that was cut is used evenly: what it is cut to
        is a guess, and a burst of it may be too much.

        Args:
            seconds: How long the first of them is to wait for the others, at most.

        Returns:
            Seconds of the loop's clock; not before `free_at`.
        """
        if self.is_slowed or not self._is_full:
            return self.free_at
        return max(self._until, min(self.free_at + seconds, self._spent_until))

    def _set_rate(self, rate: float) -> None:
        self.rate = rate
        # The seconds by which what has left may be ahead of the rate: all but one request of a burst.
        self._credit = 0.0 if self._is_steady else max(0.0, BURST - 1.0 / rate)

    def take(self, now: float) -> None:
        """Take note of a request that leaves."""
        self._spent_until = max(self._spent_until, now) + 1.0 / self.rate
        self._is_full = self.free_at > now
        self._used = self._rate_used(now) + 1.0 / _WINDOW
        self._used_at = now

    def note_answer(self) -> bool:
        """Climb by a step: a request was answered, and nobody called it too much.

        A rate that is not used to the full does not climb: nothing says that more would be borne.

        Returns:
            Whether the rate is back where it was before it was cut.
        """
        if self._is_full:
            self._set_rate(self.rate + self._step / self.rate)
        if self.is_slowed and self.rate >= self._goal:
            self.is_slowed = False
            return True
        return False

    def note_limit(self, now: float, sent_at: float, pause: float) -> bool:
        """Halve the rate, once for all requests that were under way together, and pause.

        Args:
            now: Seconds of the loop's clock.
            sent_at: When the request left that was too much.
            pause: Seconds in which nothing is to leave.

        Returns:
            Whether the rate was as usual until now, and is no more.
        """
        self._until = max(self._until, now + pause)
        was_slowed = self.is_slowed
        # One that left at the very time of the cut, by a clock that ticks slowly, was under way too.
        if sent_at > self._cut_at:
            self._cut_at = now
            # What was allowed and not used tells nothing of what is borne.
            allowed = self.rate
            borne = min(allowed, max(self._rate_used(now), 2 * LEAST_RATE))
            if not self.is_slowed:
                self._goal = allowed
            self._set_rate(min(allowed, max(borne / 2, LEAST_RATE)))
            self.is_slowed = self.rate < self._goal
            # In time even where little of the rate was used: else one refusal after a quiet minute would cost hours.
            self._step = max(allowed - self.rate, self.rate) / RECOVERY
            # Answers to what left before the cut tell nothing of the rate after it.
            self._is_full = False
        # No burst at the end of the pause.
        self._spent_until = max(self._spent_until, self._until + self._credit)
        return self.is_slowed and not was_slowed

    def _rate_used(self, now: float) -> float:
        """Tell how many requests a second have left of late."""
        return self._used * math.exp((self._used_at - now) / _WINDOW) if self._used else 0.0
