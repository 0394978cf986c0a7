"""Distributions of durations: quantiles, and a histogram as the geometry of an SVG."""

from __future__ import annotations

import bisect
import math
import statistics
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.report.rows import Row

#: Width and height of a histogram, in units of its drawing.
WIDTH, HEIGHT = 240, 64
_MAX_BINS = 24
#: Units between two bars.
_GAP = 1.5
#: Seconds below which durations are not told apart: the axis is logarithmic.
_SHORTEST = 0.01


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks with durations from `low` up to `high` seconds, and their two bars, one on the other.

    Attributes:
        low: The least duration.
        high: The greatest duration.
        results: Number of tasks that made something.
        failures: Number of failed tasks.
        x: Left edge of the bars.
        width: Width of the bars.
        result_height: Height of the lower bar, of the results.
        failure_height: Height of the upper bar, of the failures.
    """

    low: float
    high: float
    results: int
    failures: int
    x: float
    width: float
    result_height: float
    failure_height: float


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of the ended tasks of one provider, in seconds.

    Attributes:
        count: Number of tasks with a duration.
        low: The shortest.
        median: Half of the tasks took at most this long.
        p90: Nine tenths of the tasks took at most this long.
        high: The longest.
        median_x: Where the median is in the histogram.
        bins: The histogram, on a logarithmic axis.
    """

    count: int
    low: float
    median: float
    p90: float
    high: float
    median_x: float
    bins: tuple[Bin, ...]


def build_distribution(rows: Sequence[Row]) -> Distribution | None:
    """Return the distribution of the durations of tasks that have ended, or None if none has a duration.

    Args:
        rows: The tasks of one provider.
    """
    ended = [row for row in rows if row.has_result or row.state == "failed"]
    results = sorted(row.timing.elapsed for row in ended if row.has_result and row.timing.elapsed is not None)
    failures = sorted(row.timing.elapsed for row in ended if not row.has_result and row.timing.elapsed is not None)
    durations = sorted(results + failures)
    if not durations:
        return None
    edges = plan_edges(durations)
    median = statistics.median(durations)
    return Distribution(
        count=len(durations),
        low=durations[0],
        median=median,
        p90=durations[math.ceil(0.9 * len(durations)) - 1],
        high=durations[-1],
        median_x=round(_place(median, edges) * WIDTH, 1),
        bins=_build_bins(edges, _count(results, edges), _count(failures, edges)),
    )


def plan_edges(durations: Sequence[float]) -> list[float]:
    """Return the edges of the bins, in equal steps of a logarithmic axis: more bins for more durations.

    Args:
        durations: At least one, sorted.
    """
    low, high = max(durations[0], _SHORTEST), max(durations[-1], _SHORTEST)
    if low == high:
        return [low, high]
    # Rice's rule.
    number = min(math.ceil(2 * len(durations) ** (1 / 3)), _MAX_BINS)
    ratio = high / low
    return [low * ratio ** (index / number) for index in range(number)] + [high]


def _count(durations: Sequence[float], edges: Sequence[float]) -> list[int]:
    counts = [0] * (len(edges) - 1)
    for duration in durations:
        # The last bin has both its edges.
        index = bisect.bisect_right(edges, duration) - 1
        counts[min(max(index, 0), len(counts) - 1)] += 1
    return counts


def _place(duration: float, edges: Sequence[float]) -> float:
    """Return where a duration is on the axis, from 0 to 1."""
    if edges[0] == edges[-1]:
        return 0.5
    place = math.log(max(duration, _SHORTEST) / edges[0]) / math.log(edges[-1] / edges[0])
    return min(max(place, 0.0), 1.0)


def _build_bins(edges: Sequence[float], results: Sequence[int], failures: Sequence[int]) -> tuple[Bin, ...]:
    step = WIDTH / len(results)
    largest = max(map(sum, zip(results, failures, strict=True)))
    return tuple(
        Bin(
            low=edges[index],
            high=edges[index + 1],
            results=made,
            failures=failed,
            x=round(index * step + _GAP / 2, 1),
            width=round(step - _GAP, 1),
            result_height=round(made / largest * HEIGHT, 1),
            failure_height=round(failed / largest * HEIGHT, 1),
        )
        for index, (made, failed) in enumerate(zip(results, failures, strict=True))
    )
