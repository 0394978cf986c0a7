"""Hazard of task completion by age, estimated in constant memory.

A poll that finds a task unfinished is as informative as one that finds its end. The estimator therefore counts two
things in each of some 150 age bins: ends, and exposure, the seconds that unfinished tasks spent in the bin. Their
quotient is the hazard, in ends per second. No task needs to be observed from beginning to end, and the estimate is
unbiased while the slow half of a burst is still running.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
import operator
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: End of the first bin in seconds, and the ratio of consecutive ends: 8 % is fine enough for the service with the least
#: spread, and coarse enough that a few dozen ends are informative.
_FIRST_EDGE, _RATIO = 1.0, 1.08
#: The last bin, which has no end, begins before this age in seconds.
_LAST_EDGE = 86_400.0
#: Edges of the age bins in seconds, from 0 to infinity.
EDGES: tuple[float, ...] = (
    0.0,
    *itertools.takewhile(lambda edge: edge < _LAST_EDGE, (_FIRST_EDGE * _RATIO**power for power in itertools.count())),
    math.inf,
)
#: Number of bins.
BINS = len(EDGES) - 1
#: Width of each bin in seconds; the last counts as one day.
WIDTHS: tuple[float, ...] = (*(end - start for start, end in itertools.pairwise(EDGES[:-1])), _LAST_EDGE)

#: Ends after which an older one has about a third of its weight: services change within hours.
MEMORY = 200
_GROWTH = 1.0 / (1.0 - 1.0 / MEMORY)
#: New ends get a larger weight instead of old ones a smaller; beyond this weight all are rescaled.
_LARGEST_WEIGHT = 1e9

#: The lognormal prior: its weight in ends, and the standard deviation of the log duration. It decides where nothing was
#: observed, and a dozen ends outweigh it even if the typical duration is wrong by a factor of ten.
_PRIOR_ENDS, _PRIOR_SPREAD = 4.0, 0.7
#: Smoothing passes over the bins: more while there are few ends. At least two, because the bin of an end is known to
#: within one poll only.
_LEAST_SMOOTHING, _MOST_SMOOTHING, _SMOOTHED_ENDS = 2, 5, 40.0

#: Ages are capped at a month, in seconds.
_LARGEST_AGE = 30 * _LAST_EDGE
#: Ends counted of one call; so many outweigh everything else already.
_MOST_ENDS_AT_ONCE = 10 * MEMORY
#: Typical durations for which a cumulative hazard is kept; one, except in an estimator without ends.
_MOST_CUMULATIVE = 64
#: Upper bound of the hazard, in ends per second, however short the exposure.
_LARGEST_HAZARD = 1e3

#: Number and content of a bin that is not empty; bounded, so that no sum is infinite.
CountedBin = tuple[Annotated[int, msgspec.Meta(ge=0, lt=BINS)], Annotated[float, msgspec.Meta(ge=0.0, le=1e300)]]


class HazardCounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Saved state of an estimator: its non-empty bins, in order.

    Attributes:
        evidence: Number of ends observed.
        ends: Weighted ends.
        alive: Weighted exposure, in seconds.
    """

    evidence: Annotated[int, msgspec.Meta(ge=0, le=10**15)] = 0
    ends: tuple[CountedBin, ...] = ()
    alive: tuple[CountedBin, ...] = ()


def bin_of(age: float) -> int:
    """Return the number of the bin of an age in seconds, at least 0; an edge belongs to the bin that begins there."""
    return bisect.bisect_right(EDGES, age, 0, BINS) - 1


class HazardEstimator:
    """Histogram of ends and exposure by age, with exponential forgetting.

    Attributes:
        evidence: Number of ends observed.
        reached: Last bin that any task was observed to reach; nothing is known of later bins.
        version: Changes whenever enough was learned to plan again.
    """

    def __init__(self, counts: HazardCounts | None = None) -> None:
        counts = counts or HazardCounts()
        self.evidence = counts.evidence
        self.reached = max((number for number, _ in counts.alive), default=0)
        self.version = 0
        self._ends = _from_bins(counts.ends)
        self._exposure = _from_bins(counts.alive)
        # The weight of one new end, and of one second.
        self._weight = 1.0
        # Ends since the last version, observed and expected, and how many of either make a new version.
        self._unplanned_ends = 0
        self._expected_ends = 0.0
        self._version_threshold = _version_threshold(self.evidence)
        self._hazards = [0.0] * BINS
        # Version and cumulative hazard at each edge, by typical duration, for `median_left`.
        self._cumulative: dict[float, tuple[int, list[float]]] = {}

    def __repr__(self) -> str:
        if not self.evidence:
            return "<HazardEstimator without ends>"
        totals = list(itertools.accumulate(self._ends))
        median = EDGES[bisect.bisect_left(totals, totals[-1] / 2) + 1]
        return f"<HazardEstimator of {self.evidence} ends, half of them within {median:.3g} s>"

    def observe_exposure(self, start: float, end: float, count: int = 1) -> None:
        """Count tasks that were unfinished from one age in seconds to another, which may be that of their end.

        An empty interval, or NaN, is ignored.
        """
        start, end = max(start, 0.0), min(end, _LARGEST_AGE)
        if not start < end:  # also false for NaN
            return
        number = bin_of(start)
        # Missing ends count too: a service that hangs would otherwise be polled as if every task were about to end.
        self._expected_ends += self._hazards[number] * (end - start) * count
        weight = self._weight * count
        while end > EDGES[number + 1]:
            self._exposure[number] += weight * (EDGES[number + 1] - start)
            number += 1
            start = EDGES[number]
        self._exposure[number] += weight * (end - start)
        self.reached = max(self.reached, number)
        if self._expected_ends >= self._version_threshold:
            self._begin_version()

    def observe_end(self, age: float, count: int = 1) -> None:
        """Count tasks that have ended at an age in seconds, successfully or not.

        The middle between two polls is exact enough. Infinity and NaN are ignored.
        """
        if not age < math.inf:
            return
        number = bin_of(max(age, 0.0))
        for _ in range(min(count, _MOST_ENDS_AT_ONCE)):
            self._weight *= _GROWTH
            self._ends[number] += self._weight
            self.evidence += 1
            self._unplanned_ends += 1
            if self._unplanned_ends >= self._version_threshold:
                self._begin_version()
        if self._weight > _LARGEST_WEIGHT:
            self._ends = [value / self._weight for value in self._ends]
            self._exposure = [value / self._weight for value in self._exposure]
            self._weight = 1.0

    def hazards(self, typical: float) -> list[float]:
        """Return the smoothed hazard of each bin, in ends per second; the prior's median is `typical` seconds.

        Ends are expected by them from now on.
        """
        self._hazards = self._smooth_hazards(typical)
        return self._hazards

    def median_left(self, age: float, typical: float) -> float:
        """Return the seconds within which half of the unfinished tasks of an age in seconds end.

        Infinity if that is more than a day after their submission. The prior is that of `hazards`.
        """
        number, cumulative = bin_of(max(age, 0.0)), self._cumulative_hazard(typical)
        if number == BINS - 1:
            return math.inf
        reached = cumulative[number] + self._share(cumulative, number) * (max(age, 0.0) - EDGES[number])
        # Of the tasks of an age, exp(-hazard) are left after a cumulative hazard.
        target = reached + math.log(2.0)
        end = bisect.bisect_right(cumulative, target) - 1
        if end >= BINS - 1:
            return math.inf
        return EDGES[end] + (target - cumulative[end]) / self._share(cumulative, end) - max(age, 0.0)

    def _cumulative_hazard(self, typical: float) -> list[float]:
        """Return the cumulative hazard at the beginning of each bin; kept until enough more was learned."""
        version, cumulative = self._cumulative.get(typical, (-1, []))
        if version != self.version:
            if len(self._cumulative) >= _MOST_CUMULATIVE:
                self._cumulative.clear()
            hazards = self._smooth_hazards(typical)[:-1]
            cumulative = [0.0, *itertools.accumulate(map(operator.mul, hazards, WIDTHS))]
            self._cumulative[typical] = self.version, cumulative
        return cumulative

    @staticmethod
    def _share(cumulative: Sequence[float], number: int) -> float:
        """Return the hazard of a bin that has an end."""
        return (cumulative[number + 1] - cumulative[number]) / WIDTHS[number]

    def _smooth_hazards(self, typical: float) -> list[float]:
        prior_ends, prior_exposure = _lognormal_prior(typical)
        scale = 1.0 / self._weight
        ends = [value * scale + prior for value, prior in zip(self._ends, prior_ends, strict=True)]
        exposure = [value * scale + prior for value, prior in zip(self._exposure, prior_exposure, strict=True)]
        passes = round(_SMOOTHED_ENDS / max(self.evidence, 1))
        for _ in range(min(max(passes, _LEAST_SMOOTHING), _MOST_SMOOTHING)):
            ends, exposure = _smooth(ends), _smooth(exposure)
        return [min(e / s, _LARGEST_HAZARD) if s > 0.0 else 0.0 for e, s in zip(ends, exposure, strict=True)]

    def counts(self) -> HazardCounts:
        """Return the state to save."""
        scale = 1.0 / self._weight
        return HazardCounts(self.evidence, _to_bins(self._ends, scale), _to_bins(self._exposure, scale))

    def _begin_version(self) -> None:
        self.version += 1
        self._unplanned_ends = 0
        self._expected_ends = 0.0
        self._version_threshold = _version_threshold(self.evidence)


def _version_threshold(evidence: int) -> float:
    """Return the number of new ends that make a new version: a tenth of the known ones, at most of `MEMORY`."""
    return max(1.0, min(evidence, MEMORY) / 10)


def _from_bins(bins: Iterable[CountedBin]) -> list[float]:
    values = [0.0] * BINS
    for number, value in bins:
        values[number] = value
    return values


def _to_bins(values: Iterable[float], scale: float) -> tuple[CountedBin, ...]:
    return tuple((number, value * scale) for number, value in enumerate(values) if value)


def _smooth(values: Sequence[float]) -> list[float]:
    """Average each bin with its neighbours, which count half."""
    before, after = (values[0], *values[:-1]), (*values[1:], values[-1])
    return [(a + 2.0 * b + c) / 4.0 for a, b, c in zip(before, values, after, strict=True)]


@functools.lru_cache(maxsize=128)
def _lognormal_prior(typical: float) -> tuple[list[float], list[float]]:
    """Return the prior ends and exposure of each bin, for a lognormal duration with this median."""
    scale = _PRIOR_SPREAD * math.sqrt(2.0)
    unfinished = [math.erfc(math.log(edge / typical) / scale) / 2 for edge in EDGES[1:-1]]
    spans = list(itertools.pairwise((1.0, *unfinished, 0.0)))
    ends = [_PRIOR_ENDS * (start - end) for start, end in spans]
    exposure = [_PRIOR_ENDS * width * (start + end) / 2 for width, (start, end) in zip(WIDTHS, spans, strict=True)]
    return ends, exposure
