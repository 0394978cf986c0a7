"""Statistics of the demo that only the simulated service makes possible: latencies, and states that differ."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks import Task
    from acetasks.cli.demo_service import DemoTask

#: `statistics.quantiles` requires this many values in Python 3.11 and 3.12.
_MIN_VALUES = 2


class DemoStats:
    """Comparison of the delivered tasks with the simulated ones.

    Attributes:
        latencies: Seconds from the end of each task to its delivery to the caller, by provider.
        mismatches: Ids of the tasks that ended in a state other than the simulated one.
    """

    def __init__(self, tasks: Sequence[DemoTask]) -> None:
        """Begin without deliveries.

        Args:
            tasks: The tasks of the simulated service.
        """
        self._tasks = {(task.provider, task.id): task for task in tasks}
        self.latencies: dict[str, list[float]] = {task.provider: [] for task in tasks}
        self.mismatches: list[str] = []

    @property
    def all_latencies(self) -> list[float]:
        """The latencies of all providers."""
        return [latency for latencies in self.latencies.values() for latency in latencies]

    def record_end(self, task: Task, now: float) -> None:
        """Compare a task delivered to the caller.

        Args:
            task: The task, in its terminal state.
            now: Seconds since the epoch.
        """
        expected = self._tasks[task.provider, task.id]
        self.latencies[task.provider].append(now - expected.finishes_at)
        if task.state != expected.outcome:
            self.mismatches.append(task.id)


def find_percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of some values.

    Args:
        values: In any order.
        percent: From 1 to 99; 50 is the median.

    Returns:
        The percentile, interpolated between the nearest values; 0 without values.
    """
    if len(values) < _MIN_VALUES:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
