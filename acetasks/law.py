"""How long the tasks of one kind take, learned from looks at them, in constant memory.

A look that finds a task unfinished tells as much as one that finds its end: so many seconds long it might have ended,
and did not. So a law counts two things for each of some 150 bins of age: ends, and the seconds in which tasks were
seen to be alive. Their quotient is the hazard: ends per second, of those that have come this far. It takes no task that
is followed from its beginning to its end, and stays right while the slow half of a burst is still under way.

Nothing here reads a clock, or knows when anybody looks; `acetasks.timetable` plans looks by what is learned here.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The first bin ends here, in seconds, and each other one 8 % later than the one before it: fine enough that the
#: narrowest service gains all that it can, and coarse enough that a few dozen ends tell something of their bins.
_FIRST_EDGE, _RATIO = 1.0, 1.08
#: Ages in seconds beyond which all are in the last bin, which has no end.
_LAST_EDGE = 86_400.0
#: Where the bins of age begin and end, in seconds: the first at 0, the last at infinity.
EDGES: tuple[float, ...] = (
    0.0,
    *itertools.takewhile(lambda edge: edge < _LAST_EDGE, (_FIRST_EDGE * _RATIO**power for power in itertools.count())),
    math.inf,
)
#: How many bins there are.
BINS = len(EDGES) - 1
#: How long each bin is, in seconds; the last is taken to be a day long.
WIDTHS: tuple[float, ...] = (*(end - start for start, end in itertools.pairwise(EDGES[:-1])), _LAST_EDGE)

#: Ends after which an older one weighs about a third of what it did: services change within hours.
MEMORY = 200
_GROWTH = 1.0 / (1.0 - 1.0 / MEMORY)
#: New ends weigh more, instead of all old ones less; past this weight all are brought back to scale.
_MOST_WEIGHT = 1e9

#: What a law believes before it has seen anything, in ends, and the standard deviation of their logarithms. It decides
#: where nothing was seen, and is outvoted by a dozen ends elsewhere, even if the typical duration is wrong ten times.
_PRIOR_ENDS, _PRIOR_SPREAD = 4.0, 0.7
#: How often bins are averaged with their neighbours: more often while ends are few. Never less than twice: where an end
#: is known to within a look only, its bin is a guess.
_LEAST_SMOOTHING, _MOST_SMOOTHING, _SMOOTHED_ENDS = 2, 5, 40.0

#: Ages past this are taken for this, in seconds: nobody awaits a task for longer than a month.
_MOST_AGE = 30 * _LAST_EDGE
#: Of a larger bunch of ends only so many are counted: they make a law forget all else anyway.
_MOST_ENDS_AT_ONCE = 10 * MEMORY
#: No hazard is greater, in ends per second, however few seconds it was seen for.
_MOST_HAZARD = 1e3

#: A bin that holds something: its number, and what it holds; small enough that no sum of such is infinite.
CountedBin = tuple[Annotated[int, msgspec.Meta(ge=0, lt=BINS)], Annotated[float, msgspec.Meta(ge=0.0, le=1e300)]]


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a law has counted, as numbers of bins and what they hold; in order, and without those that hold nothing.

    Attributes:
        evidence: How many ends were seen.
        ends: Ends, by how much each weighs now.
        alive: Seconds in which tasks were alive, likewise.
    """

    evidence: Annotated[int, msgspec.Meta(ge=0, le=10**15)] = 0
    ends: tuple[CountedBin, ...] = ()
    alive: tuple[CountedBin, ...] = ()


def bin_of(age: float) -> int:
    """Tell which bin an age is in.

    Args:
        age: Seconds, at least 0.

    Returns:
        From 0 up to, and not including, `BINS`. An age at an edge is in the bin that begins there.
    """
    return bisect.bisect_right(EDGES, age, 0, BINS) - 1


class Law:
    """How long the tasks of one kind take: ends, and seconds alive, by bins of age; the latest weigh the most.

    Attributes:
        evidence: How many ends were seen.
        reached: The last bin that a task was seen to reach: of it, and of those behind it, no more is known than that.
        version: Another number whenever enough was learned that a plan is worth making again.
    """

    __slots__ = (
        "_alive",
        "_ends",
        "_foreseen",
        "_hazards",
        "_least_news",
        "_news",
        "_weight",
        "evidence",
        "reached",
        "version",
    )

    def __init__(self, counts: Counts | None = None) -> None:
        """Start with what was counted before.

        Args:
            counts: As `counts` gave it; None starts with nothing known.
        """
        counts = counts or Counts()
        self.evidence = counts.evidence
        self.version = 0
        self._ends = _spread(counts.ends)
        self._alive = _spread(counts.alive)
        self.reached = max((number for number, _ in counts.alive), default=0)
        # What one end, or one second, weighs now.
        self._weight = 1.0
        # What has happened since the version changed: ends, and the ends that were to be expected.
        self._news = 0
        self._foreseen = 0.0
        # Of how much of it the version changes.
        self._least_news = _plan_news(self.evidence)
        self._hazards: Sequence[float] = (0.0,) * BINS

    def __repr__(self) -> str:
        """Show how many ends were seen, and at which age about half of them."""
        if not self.evidence:
            return "<Law of nothing seen>"
        counts = list(itertools.accumulate(self._ends))
        middle = EDGES[bisect.bisect_left(counts, counts[-1] / 2) + 1]
        return f"<Law of {self.evidence} ends, half of them within {middle:.3g} s>"

    def note_alive(self, young: float, old: float, count: int = 1) -> None:
        """Take note that tasks were unfinished from one age to another.

        That of a task that has ended is noted too, from the look before to its end. What is no span is passed over.

        Args:
            young: Their age in seconds when they were last seen, or when they began to be watched.
            old: Their age in seconds now; where it has ended meanwhile, its age at its end.
            count: How many tasks, at least 1.
        """
        young, old = max(young, 0.0), min(old, _MOST_AGE)
        if not young < old:  # in these words, NaN is no span either
            return
        number = bin_of(young)
        # That nothing ends where ends were expected is news as well: else a service that hangs would be asked as
        # often as if each of its tasks were to end any moment.
        self._foreseen += self._hazards[number] * (old - young) * count
        weight = self._weight * count
        while old > EDGES[number + 1]:
            self._alive[number] += weight * (EDGES[number + 1] - young)
            number += 1
            young = EDGES[number]
        self._alive[number] += weight * (old - young)
        self.reached = max(self.reached, number)
        if self._foreseen >= self._least_news:
            self._tell()

    def note_end(self, age: float, count: int = 1) -> None:
        """Take note that tasks have ended, however they did.

        Args:
            age: Seconds from their beginnings to their ends; where it is known only between which looks they ended,
                the middle is good enough. What is no age is passed over.
            count: How many tasks.
        """
        if not age < math.inf:
            return
        number = bin_of(max(age, 0.0))
        for _ in range(min(count, _MOST_ENDS_AT_ONCE)):
            self._weight *= _GROWTH
            self._ends[number] += self._weight
            self.evidence += 1
            self._news += 1
            if self._news >= self._least_news:
                self._tell()
        if self._weight > _MOST_WEIGHT:
            self._ends = [value / self._weight for value in self._ends]
            self._alive = [value / self._weight for value in self._alive]
            self._weight = 1.0

    def hazards(self, typical: float) -> list[float]:
        """Tell how likely an end is, at each age that was reached.

        Args:
            typical: The duration in seconds that is usual for the provider, more than 0; it counts where little
                was seen.

        Returns:
            Ends per second for each bin, at least 0, smoothed.
        """
        prior_ends, prior_alive = _plan_prior(typical)
        scale = 1.0 / self._weight
        ends = [value * scale + prior for value, prior in zip(self._ends, prior_ends, strict=True)]
        alive = [value * scale + prior for value, prior in zip(self._alive, prior_alive, strict=True)]
        for _ in range(self._smoothing):
            ends, alive = _smooth(ends), _smooth(alive)
        hazards = [min(e / s, _MOST_HAZARD) if s > 0.0 else 0.0 for e, s in zip(ends, alive, strict=True)]
        self._hazards = hazards
        return hazards

    def counts(self) -> Counts:
        """Give what was counted, to start another law with that tells the same."""
        scale = 1.0 / self._weight
        return Counts(self.evidence, _gather(self._ends, scale), _gather(self._alive, scale))

    @property
    def _smoothing(self) -> int:
        """How often the bins are smoothed."""
        times = round(_SMOOTHED_ENDS / max(self.evidence, 1))
        return min(max(times, _LEAST_SMOOTHING), _MOST_SMOOTHING)

    def _tell(self) -> None:
        """Change the version, and begin to count news again."""
        self.version += 1
        self._news = 0
        self._foreseen = 0.0
        self._least_news = _plan_news(self.evidence)


def _plan_news(evidence: int) -> float:
    """Plan how many ends are news: a tenth of those that are known, and of many fewer."""
    return max(1.0, min(evidence, MEMORY) / 10)


def _spread(bins: Iterable[CountedBin]) -> list[float]:
    """Put what bins hold in their places."""
    values = [0.0] * BINS
    for number, value in bins:
        values[number] = value
    return values


def _gather(values: Iterable[float], scale: float) -> tuple[CountedBin, ...]:
    """List what bins hold, without those that hold nothing."""
    return tuple((number, value * scale) for number, value in enumerate(values) if value)


def _smooth(values: Sequence[float]) -> list[float]:
    """Average each bin with its neighbours, of which each counts half."""
    before, after = (values[0], *values[:-1]), (*values[1:], values[-1])
    return [(a + 2.0 * b + c) / 4.0 for a, b, c in zip(before, values, after, strict=True)]


@functools.lru_cache(maxsize=128)
def _plan_prior(typical: float) -> tuple[list[float], list[float]]:
    """Plan what is believed of each bin before anything was seen, by a lognormal law: ends, and seconds alive."""
    scale = _PRIOR_SPREAD * math.sqrt(2.0)
    unfinished = [math.erfc(math.log(edge / typical) / scale) / 2 for edge in EDGES[1:-1]]
    spans = list(itertools.pairwise((1.0, *unfinished, 0.0)))
    ends = [_PRIOR_ENDS * (start - end) for start, end in spans]
    alive = [_PRIOR_ENDS * width * (start + end) / 2 for width, (start, end) in zip(WIDTHS, spans, strict=True)]
    return ends, alive
