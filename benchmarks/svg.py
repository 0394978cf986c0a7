"""SVG charts for light and dark backgrounds, without a library.

Line charts have two logarithmic axes; dot charts have rows and a linear axis that begins at 0. This module does not
know the meaning of the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIDTH, _HEIGHT = 760, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 40, 84, 56
#: For dot charts: left end of the axis and height of a row.
_ROWS_LEFT, _ROW = 176, 22
#: The colours c0 to c5 are distinguishable on both backgrounds and with colour vision deficiency.
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1c2127 } .title { font-size: 16px; font-weight: 600 }
.end { text-anchor: end } .mid { text-anchor: middle } .guide { stroke-dasharray: 2 5; fill: none }
.ground { fill: #fff } .faint { fill: #5d6672 } .rule { stroke: #e3e7ec } .guide { stroke: #6b7480 }
.c0 { color: #1f66d1 } .c1 { color: #0d8a72 } .c2 { color: #c2410c } .c3 { color: #8a5a00 } .c4 { color: #6b7480 }
.c5 { color: #a21caf }
@media (prefers-color-scheme: dark) {
text { fill: #e8edf2 } .ground { fill: #10151b } .faint { fill: #97a2af } .rule { stroke: #27303a }
.guide { stroke: #97a2af } .c0 { color: #6ea8ff } .c1 { color: #3fd0b4 } .c2 { color: #ff8a65 }
.c3 { color: #e5b454 } .c4 { color: #97a2af } .c5 { color: #e879f9 } }
"""
#: Marker of each series around the origin, so that series do not differ by colour alone.
_MARKS = (
    '<circle r="4.5"/>',
    '<path d="M-4-4h8v8h-8z"/>',
    '<path d="M0-5.5 5.2 4h-10.4z"/>',
    '<path d="M0-5.8 5.8 0 0 5.8-5.8 0z"/>',
    '<path d="M-5.2-4h10.4L0 5.5z"/>',
    '<path d="M-1.8-5h3.6v3.2H5v3.6H1.8V5h-3.6V1.8H-5v-3.6h3.2z"/>',
)


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """A line.

    Attributes:
        name: Label in the legend.
        colour: Index of the colour and marker.
        points: Pairs of x and y, all above 0, in the order of x.
        open_points: The x of each hollow marker, whose y is only a bound.
    """

    name: str
    colour: int
    points: list[tuple[float, float]]
    open_points: set[float] = set()


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart.

    Attributes:
        title: Title.
        note: Note below the title.
        x: Label of the x axis.
        y: Label of the y axis.
        series: The lines.
        has_guide: Whether a dotted line shows proportional growth.
    """

    title: str
    note: str
    x: str
    y: str
    series: Sequence[Series]
    has_guide: bool = False


class Dots(msgspec.Struct, frozen=True, kw_only=True):
    """A series of dots with at most one in each row.

    Attributes:
        name: Label in the legend.
        colour: Index of the colour and marker.
        values: Values by row name, at least 0.
    """

    name: str
    colour: int
    values: dict[str, float]


class DotChart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart of dots in rows.

    Attributes:
        title: Title.
        note: Note below the title.
        x: Label of the axis.
        rows: Names of the rows, from the top.
        series: The dots.
        bounds: Values marked by a dotted line.
        rule_after: Number of rows above a horizontal line; 0 for no line.
    """

    title: str
    note: str
    x: str
    rows: Sequence[str]
    series: Sequence[Dots]
    bounds: Sequence[float] = ()
    rule_after: int = 0


class _Axis:
    """Logarithmic axis between two powers of ten."""

    def __init__(self, values: Sequence[float], begin: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)) + 1e-9)
        self.high = max(math.ceil(math.log10(max(values)) - 1e-9), self.low + 1)
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        """Return the coordinate of a value."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self._begin + share * (self._end - self._begin), 1)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Yield the coordinate and the label of each power of ten."""
        for power in range(self.low, self.high + 1):
            yield self.place(10.0**power), f"{10**power:,}" if power >= 0 else f"{10.0**power:.{-power}f}"


def draw(chart: Chart) -> str:
    """Draw a chart.

    Args:
        chart: A chart with at least one point.

    Returns:
        The SVG.
    """
    points = [point for series in chart.series for point in series.points]
    x = _Axis([point[0] for point in points], _LEFT, _WIDTH - _RIGHT)
    y = _Axis([point[1] for point in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *_draw_frame(chart, _HEIGHT),
        *_draw_axes(chart, x, y),
        *_draw_legend(chart.series),
    ]
    if chart.has_guide:
        parts.append(_draw_guide(x, y, points))
    for series in chart.series:
        parts.extend(_draw_series(series, x, y))
    return "\n".join([*parts, "</svg>", ""])


def draw_dots(chart: DotChart) -> str:
    """Draw a chart of dots in rows.

    Args:
        chart: A chart with at least one row.

    Returns:
        The SVG.
    """
    bottom, right = _TOP + _ROW * len(chart.rows) + 6, _WIDTH - _RIGHT
    most = max([1.0, *chart.bounds, *(value for one in chart.series for value in one.values.values())])
    # A tick at every 0.2, or at a multiple of that so that there are at most twelve.
    tick = 0.2 * math.ceil(most / 2.4)
    end = tick * math.ceil(most / tick)
    places = {row: _TOP + _ROW * (number + 0.5) + 3 for number, row in enumerate(chart.rows)}

    def place(value: float) -> float:
        return round(_ROWS_LEFT + value / end * (right - _ROWS_LEFT), 1)

    parts = [*_draw_frame(chart, bottom + _BOTTOM), *_draw_legend(chart.series)]
    for number in range(round(end / tick) + 1):
        across = place(number * tick)
        parts.append(f'<path class="rule" d="M{across} {_TOP}V{bottom}"/>')
        parts.append(f'<text class="mid faint" x="{across}" y="{bottom + 19}">{number * tick:.1f}</text>')
    if chart.rule_after:
        parts.append(f'<path class="rule" d="M20 {_TOP + _ROW * chart.rule_after + 3}H{right}"/>')
    parts.extend(f'<path class="guide" d="M{place(bound)} {_TOP}V{bottom}"/>' for bound in chart.bounds)
    parts.extend(
        f'<text class="end" x="{_ROWS_LEFT - 12}" y="{down + 4}">{escape(row)}</text>' for row, down in places.items()
    )
    for one in chart.series:
        parts.append(f'<g class="c{one.colour}" fill="currentColor">')
        parts.extend(
            f'<g transform="translate({place(value)} {places[row]})">{_MARKS[one.colour]}</g>'
            for row, value in one.values.items()
        )
        parts.append("</g>")
    parts.append(f'<text class="mid" x="{(_ROWS_LEFT + right) / 2}" y="{bottom + 42}">{escape(chart.x)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _draw_frame(chart: Chart | DotChart, height: float) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    yield f"<title>{escape(chart.title)}</title><style>{_STYLE}</style>"
    yield f'<rect class="ground" width="{_WIDTH}" height="{height}" rx="8"/>'
    yield f'<text class="title" x="20" y="28">{escape(chart.title)}</text>'
    yield f'<text class="faint" x="20" y="47">{escape(chart.note)}</text>'


def _draw_axes(chart: Chart, x: _Axis, y: _Axis) -> Iterator[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    for place, label in x.ticks():
        yield f'<path class="rule" d="M{place} {_TOP}V{bottom}"/>'
        yield f'<text class="mid faint" x="{place}" y="{bottom + 19}">{label}</text>'
    for place, label in y.ticks():
        yield f'<path class="rule" d="M{_LEFT} {place}H{right}"/>'
        yield f'<text class="end faint" x="{_LEFT - 8}" y="{place + 4}">{label}</text>'
    yield f'<text class="mid" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 14}">{escape(chart.x)}</text>'
    middle = (_TOP + bottom) / 2
    yield f'<text class="mid" transform="translate(18 {middle}) rotate(-90)">{escape(chart.y)}</text>'


def _draw_legend(series: Sequence[Series | Dots]) -> Iterator[str]:
    place = 20.0
    for one in series:
        mark = _MARKS[one.colour]
        yield f'<g class="c{one.colour}" fill="currentColor" transform="translate({place + 6} 68)">{mark}</g>'
        yield f'<text x="{place + 17}" y="72">{escape(one.name)}</text>'
        place += 38 + 6.9 * len(one.name)


def _draw_guide(x: _Axis, y: _Axis, points: Sequence[tuple[float, float]]) -> str:
    """Draw the line of proportional growth through the last point, clipped to the chart."""
    end_x, end_y = max(points)
    low = max(10.0**x.low, end_x * 10.0**y.low / end_y)
    begin = f"{x.place(low)} {y.place(end_y * low / end_x)}"
    return f'<path class="guide" d="M{begin}L{x.place(end_x)} {y.place(end_y)}"/>'


def _draw_series(series: Series, x: _Axis, y: _Axis) -> Iterator[str]:
    places = [(x.place(across), y.place(up)) for across, up in series.points]
    path = "L".join(f"{across} {up}" for across, up in places)
    yield f'<g class="c{series.colour}" stroke="currentColor" stroke-width="2">'
    yield f'<path fill="none" d="M{path}"/>'
    for (value, _), (across, up) in zip(series.points, places, strict=True):
        fill = 'class="ground"' if value in series.open_points else 'fill="currentColor"'
        yield f'<g {fill} transform="translate({across} {up})">{_MARKS[series.colour]}</g>'
    yield "</g>"
