"""When it is worth looking: the looks that the same interval would have cost, moved to the ages at which tasks end.

Looks that are due at a fixed interval are mostly in vain: a task that takes two minutes is not done after ten seconds.
Barlow, Hunter and Proschan ("Optimum checking procedures", 1963) put a price on each look and on each second that a
failure stays unseen, and ask when to look; Keller ("Optimum checking schedules for systems subject to random failure",
1974) has the answer in plain words for looks that are dense: at a density in proportion to the square root of the
hazard. A task's end is such a failure. Here the number of looks is given, as what the interval would cost, and the
factor is chosen to match.

Pure: nothing here reads a clock; ages come in, and ages go out, in seconds.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from typing import TYPE_CHECKING

from acetasks.law import BINS, EDGES, WIDTHS, bin_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.law import Law

#: The closest and the farthest that one look follows another, in mean intervals: so that no law, however wrong, makes
#: a client hammer a service or forget a task.
CLOSEST, FARTHEST = 0.2, 4.0
#: Ends to be seen before a law is planned by.
ENOUGH = 8
#: The bounds of the proportional schedule, in intervals.
_SHORTEST_STEP, _LONGEST_STEP = 0.5, 4.0
#: Where fewer tasks than this part is left, the rest costs no looks to speak of.
_NOBODY = 1e-9
#: A hazard that is as good as none: an end in thirty thousand years.
_NO_HAZARD = 1e-12
_NO_ROOT = math.sqrt(_NO_HAZARD)
#: The middle of each bin; for the last, which has no end, its beginning.
_MIDDLES = (*((start + end) / 2 for start, end in itertools.pairwise(EDGES[:-1])), EDGES[-2])


def proportional_step(age: float, interval: float, typical: float) -> float:
    """Tell how long to wait where the interval grows in proportion to the age.

    Args:
        age: The task's age, in seconds.
        interval: Seconds from one look to the next, at the typical duration.
        typical: The duration in seconds that is usual for the provider, more than 0.

    Returns:
        Seconds, from half the interval up to four times as long.
    """
    return min(max(interval * age / typical, _SHORTEST_STEP * interval), _LONGEST_STEP * interval)


class ProportionalTimetable:
    """At which ages to look where nothing is learned, and the interval grows in proportion to the age.

    How late an end is seen is then about the same part of the time that it took.

    Attributes:
        steps: For each bin of age, seconds from a look at its middle to the next.
    """

    __slots__ = ("_interval", "_typical", "steps")

    def __init__(self, interval: float, typical: float) -> None:
        """Plan by what is known of the provider.

        Args:
            interval: Seconds from one look to the next, at the typical duration.
            typical: The duration in seconds that is usual for the provider, more than 0.
        """
        self._interval, self._typical = interval, typical
        self.steps = [proportional_step(age, interval, typical) for age in _MIDDLES]

    def __repr__(self) -> str:
        """Show the interval."""
        return f"<ProportionalTimetable every {self._interval:g} s at the age of {self._typical:g} s>"

    def prospect(self, number: int) -> float:
        """Tell how likely an end is taken to be: what has lasted long goes on to; see `Timetable.prospect`."""
        return 1.0 / max(_MIDDLES[number], self._typical)


class Timetable:
    """At which ages to look at the tasks of one law, for as many looks as a fixed interval would cost.

    With nothing learned it is the fixed interval.

    Attributes:
        law: Of the tasks.
        is_learned: Whether enough was seen to plan by it.
        steps: For each bin of age, seconds from a look at its middle to the next; another list after each plan.
    """

    __slots__ = (
        *("_bounds", "_density", "_factor", "_hazards", "_interval", "_looks", "_parent", "_planned_by", "_typical"),
        *("is_learned", "law", "steps"),
    )

    def __init__(
        self, law: Law, interval: float, typical: float, *, parent: Law | None = None, least: float = 0.0
    ) -> None:
        """Plan by what is known.

        Args:
            law: Of the tasks.
            interval: Mean seconds from one look to the next, more than 0.
            typical: The duration in seconds that is usual for the provider, more than 0.
            parent: The law of all that the provider makes, to plan by while little is known of these tasks; or None.
            least: Seconds from one look to the next that the provider asks for, at least.
        """
        self.law, self._parent = law, parent
        self._interval, self._typical = max(interval, least), typical
        # The closest and the farthest that one look follows another, in seconds.
        self._bounds = max(CLOSEST * interval, least), max(FARTHEST * interval, least)
        self._planned_by: tuple[Law, int] | None = None
        self._hazards: Sequence[float] = ()
        # Looks per second for each root of the hazard; 0 while nothing is learned.
        self._factor = 0.0
        # Looks per second in each bin, and looks up to the beginning of each.
        self._density: Sequence[float] = ()
        self._looks: Sequence[float] = ()
        self.is_learned = False
        self.steps: list[float] = []
        self.refresh()

    def __repr__(self) -> str:
        """Show the interval, and where looks are closest if anything was learned."""
        if not self.is_learned:
            return f"<Timetable every {self._interval:g} s>"
        shortest = min(self.steps)
        age = _MIDDLES[self.steps.index(shortest)]
        return f"<Timetable every {self._interval:g} s on average, every {shortest:.3g} s at the age of {age:.3g} s>"

    @property
    def closest(self) -> float:
        """The closest that one look follows another, in seconds."""
        return self._bounds[0]

    def refresh(self) -> bool:
        """Plan again if enough was learned since; call it after each batch of looks.

        Returns:
            Whether it did.
        """
        source = self.law
        if self._parent is not None and source.evidence < ENOUGH <= self._parent.evidence:
            source = self._parent
        if self._planned_by == (source, source.version):
            return False
        self._planned_by = source, source.version
        self.is_learned = source.evidence >= ENOUGH
        self._hazards = source.hazards(self._typical)
        self._density = self._plan_density(source.reached) if self.is_learned else [1.0 / self._interval] * BINS
        self._looks = [0.0, *itertools.accumulate(map(operator.mul, self._density, WIDTHS))]
        self.steps = [self._step(number, age) for number, age in enumerate(_MIDDLES)]
        return True

    def next_age(self, age: float) -> float:
        """Tell when to look again, exactly.

        Args:
            age: The task's age in seconds when it was looked at, at least 0.

        Returns:
            The age in seconds at which the next look is due.
        """
        return age + self._step(bin_of(age), age)

    def hazard(self, number: int) -> float:
        """Tell how likely an end is.

        Args:
            number: The bin's, as `bin_of` gives it.

        Returns:
            Ends per second of those that have reached the bin.
        """
        return self._hazards[number]

    def prospect(self, number: int) -> float:
        """Tell how likely an end is until the next look, for the value of that look.

        It is what the step to it was planned for. A young task's hazard may be next to nothing, but it grows while the
        task waits for its turn: by this it does not count for nothing for ever.

        Args:
            number: The bin's, as `bin_of` gives it.

        Returns:
            Ends per second of those that have reached the bin.
        """
        return (1.0 / (self._factor * self.steps[number])) ** 2 if self._factor else 1.0 / self._typical

    def _step(self, number: int, age: float) -> float:
        """Find how far it is to the age up to which there is one look more."""
        if not self.is_learned:
            return self._interval
        looks = self._looks[number] + (age - EDGES[number]) * self._density[number] + 1.0
        due = min(bisect.bisect_right(self._looks, looks, number) - 1, BINS - 1)
        step = EDGES[due] + (looks - self._looks[due]) / self._density[due] - age
        closest, farthest = self._bounds
        return min(max(step, closest), farthest)

    def _plan_density(self, reached: int) -> list[float]:
        """Plan looks per second for each bin: the hazard's root, times a factor that spends as much as is given.

        Where no task has come through yet there is nothing to stretch the interval by: the first of many that were
        submitted together may all be about to end.
        """
        closest, farthest = self._bounds
        most = 1.0 / closest
        least = [1.0 / (farthest if number < reached else self._interval) for number in range(BINS)]
        roots = [math.sqrt(hazard) for hazard in self._hazards]
        seconds = _plan_seconds(self._hazards)
        pairs = list(zip(roots, seconds, least, strict=False))  # those that somebody reaches

        def spend(factor: float) -> float:
            """Count the looks that a task costs."""
            # A plan counts them for a thousand bins: at the lower bound, as most of them are, without a call.
            return sum(
                [(low if (density := factor * root) < low else min(density, most)) * span for root, span, low in pairs]
            )

        budget = sum(seconds) / self._interval
        # What is spent grows with the factor in straight lines, which bend where a bin comes to one of its bounds.
        bends = [0.0, *sorted(bound / root for root, _, low in pairs if root > _NO_ROOT for bound in (low, most))]
        bend = bisect.bisect_left(bends, budget, key=spend)
        if 0 < bend < len(bends):
            start, end = bends[bend - 1], bends[bend]
            spent = spend(start)
            factor = start + (end - start) * (budget - spent) / (spend(end) - spent)
        else:
            factor = bends[min(bend, len(bends) - 1)]
        self._factor = factor
        return [min(max(factor * root, low), most) for root, low in zip(roots, least, strict=True)]


def _plan_seconds(hazards: Sequence[float]) -> list[float]:
    """Plan how many seconds a task spends in each bin, on average, up to where nobody is left."""
    seconds: list[float] = []
    left = 1.0
    for hazard, width in zip(hazards, WIDTHS, strict=True):
        ended = -left * math.expm1(-hazard * width)
        seconds.append(ended / hazard if hazard > _NO_HAZARD else left * width)
        left -= ended
        if left < _NOBODY:
            break
    return seconds
