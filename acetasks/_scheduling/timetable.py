"""Poll timetables: seconds to the next poll for each age of a task; and profiles, by which similar tasks share one.

Barlow, Hunter and Proschan ("Optimum checking procedures", 1963) minimize the total cost of checks and of the time that
a failure stays undetected. Keller ("Optimum checking schedules for systems subject to random failure", 1974) solves it
for dense checks: at a density proportional to the square root of the hazard. The end of a task is such a failure. Here
the number of polls is given, as many as the fixed interval costs, and the factor is chosen to match.
"""

from __future__ import annotations

import bisect
import itertools
import math
import operator
from typing import TYPE_CHECKING

from acetasks._scheduling.hazard import BINS, EDGES, WIDTHS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks._scheduling.hazard import HazardEstimator

#: Bounds of the time between two polls, in mean intervals: no estimate, however wrong, makes a client overload a
#: service or neglect a task.
CLOSEST, FARTHEST = 0.2, 4.0
#: Ends that are needed to plan by an estimate.
ENOUGH = 8
#: Bounds of the proportional schedule, in intervals.
_SHORTEST_STEP, _LONGEST_STEP = 0.5, 4.0
#: Once a smaller fraction of tasks is left, the polls of the rest are negligible.
_NEGLIGIBLE_FRACTION = 1e-9
#: A negligible hazard: one end in thirty thousand years.
_NEGLIGIBLE_HAZARD = 1e-12
_NEGLIGIBLE_ROOT = math.sqrt(_NEGLIGIBLE_HAZARD)
#: Middle of each bin; of the last, which has no end, the beginning.
_MIDDLES = (*((start + end) / 2 for start, end in itertools.pairwise(EDGES[:-1])), EDGES[-2])


def proportional_step(age: float, interval: float, typical: float) -> float:
    """Return the seconds to the next poll, in proportion to the age: `interval` at the `typical` duration."""
    return min(max(interval * age / typical, _SHORTEST_STEP * interval), _LONGEST_STEP * interval)


class ProportionalTimetable:
    """Timetable whose interval grows in proportion to the age, so that the relative delay is about constant.

    Attributes:
        steps: Seconds from a poll in each bin to the next.
        is_learned: True: it has nothing to learn.
        closest: Least seconds between two polls.
    """

    def __init__(self, interval: float, typical: float) -> None:
        self._interval, self._typical = interval, typical
        self.is_learned = True
        self.closest = _SHORTEST_STEP * interval
        self.steps: Sequence[float] = [proportional_step(age, interval, typical) for age in _MIDDLES]

    def __repr__(self) -> str:
        return f"<ProportionalTimetable every {self._interval:g} s at the age of {self._typical:g} s>"

    def refresh(self) -> bool:
        """Return False: nothing changes."""
        return False

    def expected_hazard(self, age_bin: int) -> float:
        """Return the hazard assumed until the next poll: the longer a task has run, the longer it will."""
        return 1.0 / max(_MIDDLES[age_bin], self._typical)


class PollTimetable:
    """Timetable that costs as many polls as a fixed interval, placed by the learned hazard; at first it is fixed.

    Attributes:
        steps: Seconds from a poll in each bin to the next; replaced by each new plan.
        is_learned: Whether there are enough ends to plan by.
        closest: Least seconds between two polls.
        estimator: The hazard of these tasks.
    """

    def __init__(
        self,
        estimator: HazardEstimator,
        interval: float,
        typical: float,
        *,
        parent: HazardEstimator | None = None,
        least: float = 0.0,
    ) -> None:
        """Plan by what is known.

        Args:
            estimator: The hazard of these tasks.
            interval: Mean seconds between two polls, more than 0.
            typical: The provider's typical duration in seconds, more than 0.
            parent: The hazard of all tasks of the provider, used until these have enough ends; None for no other.
            least: The provider's minimum interval, in seconds.
        """
        self.estimator, self._parent = estimator, parent
        self._interval, self._typical = max(interval, least), typical
        self.closest, self._farthest = max(CLOSEST * interval, least), max(FARTHEST * interval, least)
        self._planned_by: tuple[HazardEstimator, int] | None = None
        # Polls per second for each root of the hazard; 0 until enough was learned.
        self._factor = 0.0
        self.is_learned = False
        self.steps: Sequence[float] = ()
        self.refresh()

    def __repr__(self) -> str:
        if not self.is_learned:
            return f"<PollTimetable every {self._interval:g} s>"
        shortest = min(self.steps)
        age = _MIDDLES[self.steps.index(shortest)]
        return (
            f"<PollTimetable every {self._interval:g} s on average, every {shortest:.3g} s at the age of {age:.3g} s>"
        )

    def refresh(self) -> bool:
        """Plan again if enough was learned since the last plan, and return whether it was."""
        source = self.estimator
        if self._parent is not None and source.evidence < ENOUGH <= self._parent.evidence:
            source = self._parent
        if self._planned_by == (source, source.version):
            return False
        self._planned_by = source, source.version
        self.is_learned = source.evidence >= ENOUGH
        hazards = source.hazards(self._typical)  # even if not learned: the estimator compares later ends with them
        self.steps = self._plan_steps(hazards, source.reached) if self.is_learned else [self._interval] * BINS
        return True

    def expected_hazard(self, age_bin: int) -> float:
        """Return the hazard until the next poll, in ends per second: the one that the step to it was planned for.

        The present hazard of a young task may be almost 0 but rises while the task waits; this keeps young tasks from
        starving.
        """
        return (1.0 / (self._factor * self.steps[age_bin])) ** 2 if self._factor else 1.0 / self._typical

    def _plan_steps(self, hazards: Sequence[float], reached: int) -> list[float]:
        """Return the time from each bin's middle to the age before which one more poll is planned."""
        density = self._plan_density(hazards, reached)
        # Polls planned before the beginning of each bin.
        polls = [0.0, *itertools.accumulate(map(operator.mul, density, WIDTHS))]
        steps = []
        for number, age in enumerate(_MIDDLES):
            target = polls[number] + (age - EDGES[number]) * density[number] + 1.0
            due = min(bisect.bisect_right(polls, target, number) - 1, BINS - 1)
            step = EDGES[due] + (target - polls[due]) / density[due] - age
            steps.append(min(max(step, self.closest), self._farthest))
        return steps

    def _plan_density(self, hazards: Sequence[float], reached: int) -> list[float]:
        """Return the polls per second for each bin: the root of the hazard, times a factor that meets the budget.

        The interval is not stretched beyond the last bin that any task has reached: all tasks of a burst may be about
        to end there.
        """
        most = 1.0 / self.closest
        least = [1.0 / (self._farthest if number < reached else self._interval) for number in range(BINS)]
        roots = [math.sqrt(hazard) for hazard in hazards]
        seconds = _expected_seconds(hazards)
        bins = list(zip(roots, seconds, least, strict=False))  # without the bins that no task reaches

        def cost(factor: float) -> float:
            """Return the expected polls of one task; inlined, because a plan computes them for a thousand bins."""
            return sum(
                [(low if (density := factor * root) < low else min(density, most)) * span for root, span, low in bins]
            )

        budget = sum(seconds) / self._interval
        # The cost is piecewise linear in the factor, with a bend where a bin meets one of its bounds.
        bends = [
            0.0,
            *sorted(bound / root for root, _, low in bins if root > _NEGLIGIBLE_ROOT for bound in (low, most)),
        ]
        bend = bisect.bisect_left(bends, budget, key=cost)
        factor = bends[min(bend, len(bends) - 1)]
        if 0 < bend < len(bends):
            start, end = bends[bend - 1], bends[bend]
            factor = start + (end - start) * (budget - cost(start)) / (cost(end) - cost(start))
        self._factor = factor
        return [min(max(factor * root, low), most) for root, low in zip(roots, least, strict=True)]


class DurationProfile:
    """Timetable shared by similar tasks, and the estimators that learn from them.

    Attributes:
        timetable: At which ages to poll.
        estimators: The estimator of these tasks, and that of all tasks of their provider; empty if nothing is learned.
    """

    def __init__(
        self, timetable: PollTimetable | ProportionalTimetable, estimators: tuple[HazardEstimator, ...] = ()
    ) -> None:
        self.timetable = timetable
        self.estimators = estimators
        self._replan_at = -math.inf

    def __repr__(self) -> str:
        return f"<DurationProfile {self.timetable!r}>"

    def observe_exposure(self, start_age: float, end_age: float, count: int, now: float) -> None:
        """Count tasks that were unfinished from one age in seconds to another; plan again if enough was learned."""
        for estimator in self.estimators:
            estimator.observe_exposure(start_age, end_age, count)
        # A plan costs as much CPU as several requests, too much for each of hundreds of ends in a second.
        if self.estimators and now >= self._replan_at and self.timetable.refresh():
            self._replan_at = now + self.timetable.closest

    def observe_end(self, last_polled_age: float, age: float) -> None:
        """Count a task that has ended at an age, after it was last found unfinished at another, in seconds."""
        for estimator in self.estimators:
            estimator.observe_exposure(last_polled_age, age)
            estimator.observe_end(age)


def _expected_seconds(hazards: Sequence[float]) -> list[float]:
    """Return the mean seconds that a task spends in each bin, up to the last that is reached."""
    seconds: list[float] = []
    left = 1.0
    for hazard, width in zip(hazards, WIDTHS, strict=True):
        ended = -left * math.expm1(-hazard * width)
        seconds.append(ended / hazard if hazard > _NEGLIGIBLE_HAZARD else left * width)
        left -= ended
        if left < _NEGLIGIBLE_FRACTION:
            break
    return seconds
