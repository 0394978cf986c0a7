"""Figures and charts: sums, quantiles, histograms, and the timeline."""

from __future__ import annotations

import itertools
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import EntryState, Task, TaskState
from acetasks.report import durations, timeline
from acetasks.report.durations import build_distribution, plan_edges
from acetasks.report.media import MediaReader
from acetasks.report.rows import Amount, Row, build_row
from acetasks.report.summary import STATES, add_up, build_summary
from acetasks.report.timeline import build_timeline

EPOCH = 1_780_000_000.0


def row(number: int = 1, *, start: float | None = 0.0, took: float | None = 10.0, **fields: object) -> Row:
    """Build the row of a task that was submitted at `start` and took some seconds."""
    state = fields.pop("state", TaskState.SUCCEEDED)
    amount = fields.pop("amount", None)
    created = None if start is None else EPOCH + start
    finished = None if created is None or took is None else created + took
    fields = {"provider": "luma", "id": str(number)} | fields
    task = Task(state=state, created_at=created, finished_at=finished, **fields)
    built = build_row(number, task, MediaReader.__new__(MediaReader))
    return msgspec.structs.replace(built, amount=amount)


class TestDistribution:
    """Durations of one provider."""

    def test_figures(self) -> None:
        """Median, nine tenths and extremes of all that ended, failures included."""
        rows = [row(took=float(took)) for took in range(1, 10)] + [row(took=100.0, state=TaskState.FAILED)]
        found = build_distribution(rows)
        assert (found.count, found.low, found.median, found.p90, found.high) == (10, 1.0, 5.5, 9.0, 100.0)
        assert sum(bin_.results for bin_ in found.bins) == 9
        assert [bin_.failures for bin_ in found.bins] == [0] * (len(found.bins) - 1) + [1]

    def test_unfinished_tasks_have_no_duration(self) -> None:
        """Nor does a task without times, or one that was not found."""
        rows = [row(state=TaskState.RUNNING), row(start=None), row(state=TaskState.NOT_FOUND)]
        assert build_distribution(rows) is None

    def test_equal_durations_have_one_bin(self) -> None:
        """In the middle of the axis."""
        found = build_distribution([row(), row()])
        assert [(bin_.low, bin_.high, bin_.results) for bin_ in found.bins] == [(10.0, 10.0, 2)]
        assert found.median_x == durations.WIDTH / 2

    def test_the_highest_bin_fills_the_height(self) -> None:
        """The bars of failures stand on those of results."""
        rows = [row(took=10.0), row(took=10.0, state=TaskState.FAILED), row(took=1000.0)]
        first, *_, last = build_distribution(rows).bins
        assert (first.result_height, first.failure_height) == (durations.HEIGHT / 2, durations.HEIGHT / 2)
        assert last.result_height == durations.HEIGHT / 2

    @given(st.lists(st.floats(0, 1e7), min_size=1, max_size=300))
    def test_every_task_is_in_a_bin(self, took: list[float]) -> None:
        """Whatever the durations are; the bins follow each other within the drawing."""
        found = build_distribution([row(took=seconds) for seconds in took])
        assert sum(bin_.results for bin_ in found.bins) == len(took)
        assert 1 <= len(found.bins) <= 24
        assert found.bins[0].x >= 0
        assert found.bins[-1].x + found.bins[-1].width <= durations.WIDTH
        assert found.low <= found.median <= found.high
        assert found.median <= found.p90 <= found.high
        assert 0 <= found.median_x <= durations.WIDTH

    @given(st.lists(st.floats(0, 1e7), min_size=2, max_size=100).map(sorted))
    def test_edges_ascend(self, took: list[float]) -> None:
        """In equal steps of a logarithmic axis."""
        edges = plan_edges(took)
        assert edges == sorted(edges)
        assert edges[-1] == max(took[-1], 0.01)
        if edges[-1] > edges[0] * 1.001:
            steps = [math.log(high / low) for low, high in itertools.pairwise(edges)]
            assert max(steps) == pytest.approx(min(steps), rel=1e-3)


class TestTimeline:
    """Bars in bands and lanes."""

    def test_a_lane_is_used_again(self) -> None:
        """As soon as its task has ended; a band has as many lanes as tasks run at a time."""
        rows = [row(1, start=0, took=10), row(2, start=5, took=10), row(3, start=10, took=10), row(4, start=12, took=8)]
        (band,) = build_timeline({"luma": rows}, now=EPOCH + 20).bands
        assert [(bar.lane, bar.x, bar.width) for bar in band.bars] == [
            (0, 0.0, 500.0),
            (1, 250.0, 500.0),
            (0, 500.0, 500.0),
            (2, 600.0, 400.0),
        ]
        assert (band.lanes, band.first, band.last) == (3, EPOCH, EPOCH + 20)

    def test_tasks_in_progress_reach_the_report(self) -> None:
        """Others without an end have the least width."""
        rows = [row(1, took=None, state=TaskState.RUNNING), row(2, took=None, state=TaskState.FAILED)]
        (band,) = build_timeline({"luma": rows}, now=EPOCH + 100).bands
        assert [bar.width for bar in band.bars] == [1000.0, 2.0]

    def test_tasks_without_times_are_counted(self) -> None:
        """A provider without any has no band; without any time there is no timeline."""
        found = build_timeline({"luma": [row()], "wan": [row(start=None), row(start=None)]}, now=EPOCH)
        assert ([band.provider for band in found.bands], found.missing) == (["luma"], 2)
        assert build_timeline({"wan": [row(start=None)]}, now=EPOCH) is None

    def test_ticks_are_at_equal_distances(self) -> None:
        """From the first submission to the last end."""
        found = build_timeline({"luma": [row(took=100)]}, now=EPOCH + 999)
        assert found.ticks == tuple(EPOCH + seconds for seconds in (0, 25, 50, 75, 100))

    @given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e5)), min_size=1, max_size=100))
    def test_bars_do_not_overlap(self, spans: list[tuple[float, float]]) -> None:
        """In any lane, to the rounding of a drawing; and they stay within it."""
        rows = [row(number, start=start, took=took) for number, (start, took) in enumerate(spans)]
        (band,) = build_timeline({"luma": rows}, now=EPOCH).bands
        lanes: dict[int, float] = {}
        for bar in band.bars:
            assert bar.width >= 2
            assert 0 <= bar.x <= bar.x + bar.width <= timeline.WIDTH + 0.2
            # At the right edge, bars are shifted into the drawing.
            if bar.x + bar.width < timeline.WIDTH - 0.2:
                assert bar.x >= lanes.get(bar.lane, 0) - 0.2
            lanes[bar.lane] = bar.x + bar.width
        assert set(lanes) == set(range(band.lanes))


class TestSummary:
    """Figures of all tasks."""

    def test_costs_are_added_by_unit(self) -> None:
        """Without rounding errors; tasks without a price are counted too."""
        rows = [row(amount=Amount(0.1, "credit")) for _ in range(10)] + [row(amount=Amount(2.0, "USD")), row()]
        cost = add_up(rows)
        assert (cost.totals, cost.priced, cost.tasks) == (((1.0, "credit"), (2.0, "USD")), 11, 12)

    def test_huge_costs_do_not_fail(self) -> None:
        """A sum beyond all numbers is infinite."""
        assert add_up([row(amount=Amount(1.7e308, "")), row(amount=Amount(1.7e308, ""))]).totals == ((math.inf, ""),)

    def test_providers_are_in_the_order_of_their_tasks(self) -> None:
        """The one with most tasks first, and otherwise by name; each with its states."""
        slugs = ("wan", "luma", "veo", "veo")
        rows = [row(number, provider=slug, start=number) for number, slug in enumerate(slugs)]
        found = build_summary(rows, now=EPOCH + 60)
        assert [(provider.slug, provider.tasks) for provider in found.providers] == [
            ("veo", 2),
            ("luma", 1),
            ("wan", 1),
        ]
        assert (found.tasks, found.states, found.first, found.last) == (4, (("succeeded", 4),), EPOCH, EPOCH + 3)

    def test_every_state_has_a_place(self) -> None:
        """A row in a state that the list lacks would be counted nowhere."""
        assert set(map(str, STATES)) == {*map(str, TaskState), *map(str, EntryState)}

    def test_no_task_is_a_summary(self) -> None:
        """Of nothing."""
        found = build_summary([], now=EPOCH)
        assert (found.tasks, found.states, found.first, found.timeline, found.providers) == (0, (), None, None, ())
