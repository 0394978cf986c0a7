"""What it is worth to ask for a task now, by how likely it is to have ended since it was last asked for."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

#: A thousandth of an end per year: less is no hazard that anybody could tell from none.
_LEAST_HAZARD = 1e-11


class Worth(NamedTuple):
    """What it is worth to ask for a task: the lateness that has built up since the last look at it.

    A task that ends at a constant hazard h has, t seconds after a look, waited h t²/2 seconds too long on average. To
    ask always where that is most spreads any number of looks so that all waiting together is the least: each task is
    asked at a rate that grows with the square root of its hazard (Barlow, Hunter and Proschan 1963).

    Attributes:
        hazard: How many of such tasks end in a second, of those that have not ended.
        seen_at: When it was last asked for, in seconds of the loop's clock.
        is_spare: Whether the look may wait, at will, for others to come along.
        latest: Until when it may, about, in seconds of the loop's clock.
    """

    hazard: float
    seen_at: float
    is_spare: bool = False
    latest: float = math.inf

    @property
    def urgency(self) -> int:
        """The hazard, roughly: its power of 2."""
        return _round_hazard(self.hazard)

    def at(self, now: float) -> float:
        """Tell the worth, in seconds of waiting.

        Args:
            now: Seconds of the loop's clock.
        """
        return max(self.hazard, _LEAST_HAZARD) * (now - self.seen_at) ** 2 / 2.0


@functools.lru_cache(maxsize=1024)  # a client has some dozens of hazards, for one of which each batch has its turn
def _round_hazard(hazard: float) -> int:
    return round(math.log2(max(hazard, _LEAST_HAZARD)))
