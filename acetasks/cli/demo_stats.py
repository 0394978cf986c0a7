"""Statistics of the demo for each provider: tasks, requests and latencies."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from acetasks import Event, RequestSent, Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from acetasks.cli.demo_service import DemoTask

#: `statistics.quantiles` requires this many values in Python 3.11 and 3.12.
_MIN_VALUES = 2


class ProviderStats:
    """Statistics of one provider, or the total of several.

    Attributes:
        name: The provider's slug, or `total`.
        tasks: Number of tasks.
        succeeded: Number of tasks that succeeded.
        failed: Number of tasks that ended in any other state.
        requests: Number of requests sent.
        polled_ids: Sum of the ids in those requests: the number of requests without batches.
        latencies: Seconds from the end of each task to its delivery to the caller.
        mismatches: Ids of the tasks that ended in a state other than the simulated one.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks = 0
        self.succeeded = 0
        self.failed = 0
        self.requests = 0
        self.polled_ids = 0
        self.latencies: list[float] = []
        self.mismatches: list[str] = []

    @property
    def ended(self) -> int:
        """Number of tasks delivered to the caller."""
        return self.succeeded + self.failed

    @property
    def remaining(self) -> int:
        """Number of tasks not yet delivered to the caller."""
        return self.tasks - self.ended

    def latency_percentile(self, percent: int) -> float:
        """Return a percentile of the latencies, in seconds.

        Args:
            percent: From 1 to 99; 50 is the median.

        Returns:
            The percentile, interpolated between the nearest values; 0 without values.
        """
        if len(self.latencies) < _MIN_VALUES:
            return self.latencies[0] if self.latencies else 0.0
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[percent - 1]

    def add(self, other: ProviderStats) -> None:
        """Add the statistics of another provider."""
        self.tasks += other.tasks
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.requests += other.requests
        self.polled_ids += other.polled_ids
        self.latencies += other.latencies
        self.mismatches += other.mismatches


class DemoStats:
    """Observer that collects the statistics of each provider.

    Attributes:
        providers: The statistics by slug, in the order of the tasks.
    """

    def __init__(self, tasks: Sequence[DemoTask]) -> None:
        """Count the tasks of each provider.

        Args:
            tasks: The tasks of the simulated service.
        """
        self._tasks = {(task.provider, task.id): task for task in tasks}
        self.providers: dict[str, ProviderStats] = {}
        for task in tasks:
            self.providers.setdefault(task.provider, ProviderStats(task.provider)).tasks += 1

    @property
    def total(self) -> ProviderStats:
        """Statistics of all providers together."""
        total = ProviderStats("total")
        for stats in self.providers.values():
            total.add(stats)
        return total

    def on_event(self, event: Event) -> None:
        """Count a request."""
        if isinstance(event, RequestSent):
            stats = self.providers[event.provider]
            stats.requests += 1
            stats.polled_ids += event.ids

    def record_end(self, task: Task, now: float) -> None:
        """Count a task delivered to the caller.

        Args:
            task: The task, in its terminal state.
            now: Seconds since the epoch.
        """
        expected = self._tasks[task.provider, task.id]
        stats = self.providers[task.provider]
        if task.state is TaskState.SUCCEEDED:
            stats.succeeded += 1
        else:
            stats.failed += 1
        stats.latencies.append(now - expected.finishes_at)
        if task.state != expected.outcome:
            stats.mismatches.append(task.id)
