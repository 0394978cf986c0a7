"""Results as they are read: the runs of one measure that have figures, in the order in which they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from client import Figures, Measure
from service import Counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arena import Result

#: The competitors, in the order in which they are shown, and what they are called.
TITLES = {
    "ours": "acetasks",
    "ours_waits": "acetasks, a wait for each",
    "official": "official SDK",
    "by_hand": "a loop for each task",
    "floor": "the floor",
    "reader": "the floor, reading",
}


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has figures.

    Attributes:
        competitor: The name of its module.
        measure: What was measured.
        tasks: How many were awaited.
        interval: Seconds between two looks at one of them.
        figures: What the client has measured.
        counts: What the service has counted.
    """

    competitor: str
    measure: Measure
    tasks: int
    interval: float
    figures: Figures
    counts: Counts

    @property
    def title(self) -> str:
        """What the competitor is called."""
        return TITLES[self.competitor]

    @property
    def is_stopped(self) -> bool:
        """Whether it was stopped at its limit, so that what it took is only a lower bound."""
        return self.measure in {Measure.COST, Measure.LONG, Measure.STALL} and self.figures.finished < self.tasks

    @property
    def cpu_per_look(self) -> float:
        """Seconds of processor time for each id asked."""
        return self.figures.cpu / max(1, self.counts.ids)

    @property
    def cpu_share(self) -> float:
        """Seconds of processor time in a second."""
        return self.figures.cpu / self.figures.seconds

    @property
    def request_rate(self) -> float:
        """Requests in a second."""
        return self.counts.requests / self.figures.seconds

    @property
    def allocated(self) -> float:
        """Bytes for each waiting task."""
        return self.figures.allocated / self.tasks


def runs_of(results: Sequence[Result], measure: Measure) -> list[Run]:
    """Choose the runs of one measure; of several rounds, the one in the middle by its processor time."""
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
