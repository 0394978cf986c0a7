"""Timeline of tasks: a bar for each, in one band for each provider, as the geometry of an SVG."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from acetasks.report.rows import Row

#: Width of a band, in units of its drawing, and the least of a bar: two pixels or so.
WIDTH, _MIN_BAR = 1000, 2.0
#: Height of a lane in pixels, and least and greatest height of a band, which many lanes share.
_LANE_HEIGHT, _MIN_HEIGHT, _MAX_HEIGHT = 8, 16, 128
#: Share of a lane that its bars fill while lanes are thick enough to be told apart.
_FILL = 0.8
#: Least seconds of the axis: a batch of tasks can end in the moment in which it was submitted.
_LEAST_SPAN = 1.0
#: Times at the axis.
_TICKS = 5


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a band.

    Attributes:
        row: Number of its row.
        state: Its state.
        lane: Its lane, from 0.
        x: Left edge.
        width: Width.
    """

    row: int
    state: str
    lane: int
    x: float
    width: float


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks of one provider.

    Attributes:
        provider: The provider's slug.
        lanes: Number of lanes: the greatest number of tasks at one time.
        height: Height in pixels.
        fill: Height of a bar, in lanes.
        first: The first submission, in seconds since the epoch.
        last: The last end, or the time of the report for a task in progress.
        bars: The bars, in the order of their submission.
    """

    provider: str
    lanes: int
    height: int
    fill: float
    first: float
    last: float
    bars: tuple[Bar, ...]


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """All tasks with known times.

    Attributes:
        ticks: Times at equal distances of the axis, in seconds since the epoch, the first and last included.
        bands: One for each provider.
        missing: Number of tasks without a time.
    """

    ticks: tuple[float, ...]
    bands: tuple[Band, ...]
    missing: int


def build_timeline(rows: Mapping[str, Sequence[Row]], *, now: float) -> Timeline | None:
    """Return the timeline, or None if no task has a time.

    Args:
        rows: The rows of each provider.
        now: The end of tasks in progress, in seconds since the epoch.
    """
    spans = {provider: _build_spans(tasks, now) for provider, tasks in rows.items()}
    times = [time for found in spans.values() for start, end, _ in found for time in (start, end)]
    if not times:
        return None
    first = min(times)
    last = max(*times, first + _LEAST_SPAN)
    ticks = tuple(first + (last - first) * index / (_TICKS - 1) for index in range(_TICKS))
    bands = tuple(_build_band(provider, found, first, last) for provider, found in spans.items() if found)
    return Timeline(ticks=ticks, bands=bands, missing=sum(map(len, rows.values())) - len(times) // 2)


#: Start, end and row of a task.
_Span = tuple[float, float, "Row"]


def _build_spans(rows: Sequence[Row], now: float) -> list[_Span]:
    spans = []
    for row in rows:
        start = row.timing.submitted
        if start is None:
            continue
        # Times of two clocks can contradict each other.
        end = row.timing.ended or (now if row.is_in_progress else start)
        spans.append((start, max(start, end), row))
    return sorted(spans, key=lambda span: (span[0], span[2].number))


def _build_band(provider: str, spans: Sequence[_Span], first: float, last: float) -> Band:
    scale = WIDTH / (last - first)
    # The free lanes, and the ends of the others, the earliest first.
    free: list[int] = []
    ends: list[tuple[float, int]] = []
    bars = []
    for start, end, row in spans:
        while ends and ends[0][0] <= start:
            heapq.heappush(free, heapq.heappop(ends)[1])
        lane = heapq.heappop(free) if free else len(ends)
        width = max((end - start) * scale, _MIN_BAR)
        x = min((start - first) * scale, WIDTH - width)
        heapq.heappush(ends, (max(end, start + _MIN_BAR / scale), lane))
        bars.append(Bar(row=row.number, state=row.state, lane=lane, x=round(x, 1), width=round(width, 1)))
    lanes = max(bar.lane for bar in bars) + 1
    return Band(
        provider=provider,
        lanes=lanes,
        height=min(max(lanes * _LANE_HEIGHT, _MIN_HEIGHT), _MAX_HEIGHT),
        fill=_FILL if lanes * _LANE_HEIGHT <= _MAX_HEIGHT else 1.0,
        first=spans[0][0],
        last=max(end for _, end, _ in spans),
        bars=tuple(bars),
    )
