"""Selects the runs of one measurement from the results, in display order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from client import Figures, Measure
from service import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena import Result

#: Display names of the competitors, in display order.
TITLES = {
    "ours": "acetasks",
    "ours_waits": "acetasks, wait per task",
    "official": "official SDK",
    "by_hand": "loop per task",
    "floor": "floor",
    "reader": "floor, reading",
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run with figures.

    Attributes:
        competitor: Name of the competitor's module.
        measure: The measurement.
        tasks: Number of awaited tasks.
        interval: Seconds between two polls of a task.
        figures: Measurements of the client.
        counts: Counts of the service.
    """

    competitor: str
    measure: Measure
    tasks: int
    interval: float
    figures: Figures
    counts: Counts

    @property
    def title(self) -> str:
        """Display name of the competitor."""
        return TITLES[self.competitor]

    @property
    def is_stopped(self) -> bool:
        """Whether the run was stopped at its limit, so that its figures are lower bounds."""
        return self.measure in {Measure.COST, Measure.LONG, Measure.STALL} and self.figures.finished < self.tasks

    @property
    def cpu_per_poll(self) -> float:
        """CPU seconds for each polled id."""
        return self.figures.cpu / max(1, self.counts.ids)

    @property
    def cpu_share(self) -> float:
        """CPU seconds per second."""
        return self.figures.cpu / self.figures.seconds

    @property
    def request_rate(self) -> float:
        """Requests per second."""
        return self.counts.requests / self.figures.seconds

    @property
    def allocated(self) -> float:
        """Bytes for each awaited task."""
        return self.figures.allocated / self.tasks


def runs_of(results: Sequence[Result], measure: Measure) -> list[Run]:
    """Return the runs of one measurement; of several rounds, the one with the median CPU time."""
    rounds: dict[tuple[int, int], list[Run]] = {}
    for result in results:
        trial, figures = result.trial, result.figures
        if trial.measure is measure and figures is not None:
            run = Run(
                competitor=trial.competitor,
                measure=measure,
                tasks=trial.load.tasks,
                interval=trial.interval,
                figures=figures,
                counts=result.counts,
            )
            rounds.setdefault((run.tasks, list(TITLES).index(run.competitor)), []).append(run)
    ordered = (sorted(runs, key=lambda run: run.figures.cpu) for _, runs in sorted(rounds.items()))
    return [runs[(len(runs) - 1) // 2] for runs in ordered]
