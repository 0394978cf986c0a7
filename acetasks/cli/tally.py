"""The demo's figures: what was sent, what came back and how late, by system. It counts, and draws nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from acetasks.cli.words import percentile
from acetasks.events import Event, RequestSent
from acetasks.models import Task, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks.cli.stage import StagedTask


class Figures:
    """The figures of one system, or of several together.

    Attributes:
        name: The provider's slug.
        tasks: How many there are.
        finished: How many have ended well.
        failed: How many have ended otherwise.
        requests: How many were sent.
        ids: How many ids they asked for: what one request for each task and look would have come to.
        lateness: Seconds from each task's end to the moment at which the caller had it.
        wrong: The tasks that the caller got in another state than the service gave them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks = 0
        self.finished = 0
        self.failed = 0
        self.requests = 0
        self.ids = 0
        self.lateness: list[float] = []
        self.wrong: list[str] = []

    @property
    def ended(self) -> int:
        """How many tasks have ended."""
        return self.finished + self.failed

    @property
    def waiting(self) -> int:
        """How many tasks have not ended, as far as the caller knows."""
        return self.tasks - self.ended

    def late(self, share: float) -> float:
        """The lateness, in seconds, that a share of the tasks did not exceed."""
        return percentile(self.lateness, share)

    def add(self, other: Figures) -> None:
        """Add the figures of another system to these."""
        self.tasks += other.tasks
        self.finished += other.finished
        self.failed += other.failed
        self.requests += other.requests
        self.ids += other.ids
        self.lateness += other.lateness
        self.wrong += other.wrong


class Tally:
    """An observer that keeps the figures of each system."""

    def __init__(self, tasks: Sequence[StagedTask]) -> None:
        """Begin with nothing asked.

        Args:
            tasks: What the service holds.
        """
        self._staged = {(task.provider, task.id): task for task in tasks}
        self.systems: dict[str, Figures] = {}
        for task in tasks:
            figures = self.systems.setdefault(task.provider, Figures(task.provider))
            figures.tasks += 1

    @property
    def total(self) -> Figures:
        """The figures of all systems together."""
        return sum_up(self.systems.values())

    def on_event(self, event: Event) -> None:
        """Count a request."""
        if isinstance(event, RequestSent):
            figures = self.systems[event.provider]
            figures.requests += 1
            figures.ids += event.ids

    def take(self, task: Task, now: float) -> None:
        """Count a task that the caller was given.

        Args:
            task: The task, in its terminal state.
            now: Seconds since the epoch.
        """
        staged = self._staged[task.provider, task.id]
        figures = self.systems[task.provider]
        if task.state is TaskState.SUCCEEDED:
            figures.finished += 1
        else:
            figures.failed += 1
        figures.lateness.append(now - staged.finishes_at)
        if task.state != staged.outcome:
            figures.wrong.append(task.id)


def sum_up(systems: Iterable[Figures]) -> Figures:
    """Add the figures of several systems."""
    total = Figures("total")
    for figures in systems:
        total.add(figures)
    return total
