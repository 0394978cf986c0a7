"""Scripted tasks of the simulated service: their outcomes and their timing.

The timeline of a task is fixed when the task is created, and its phase is computed from the time of a request, so
100,000 tasks need no timers. Times are loop times.
"""

from __future__ import annotations

import enum
import math
import random
import uuid
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from acetasks.testing.rules import Outcome, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.providers.spec import ProviderSpec

#: Sigma of the lognormal distribution of durations: two thirds lie within 20 % of the typical duration.
DURATION_SIGMA = 0.2
#: Default time in the queue: a tenth of the duration, at most 5 s. The maximum is below the time for which a client
#: tolerates unknown ids, because dreamina does not show queued tasks.
QUEUED_FRACTION = 0.1
MAX_QUEUED = 5.0
#: Maximum progress of a running task, in percent.
MAX_RUNNING_PROGRESS = 99.0


class Phase(enum.Enum):
    """Phase of a scripted task at one time."""

    HIDDEN = enum.auto()
    QUEUED = enum.auto()
    RUNNING = enum.auto()
    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    PARTIAL = enum.auto()

    @property
    def has_ended(self) -> bool:
        """Whether the phase is final."""
        return self in _FINAL_PHASES.values()


_FINAL_PHASES = {
    Outcome.SUCCEEDED: Phase.SUCCEEDED,
    Outcome.FAILED: Phase.FAILED,
    Outcome.PARTIAL: Phase.PARTIAL,
}


class ScriptedTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One task of the simulated service. Times are loop times.

    Attributes:
        provider: The provider's slug.
        id: The task's id.
        outcome: The task's outcome.
        created: When it was submitted.
        visible_at: When it becomes visible to the tasks call; infinite for `NOT_FOUND`.
        starts_at: When the work starts.
        ends_at: When the work is planned to end; a `FOREVER` task passes it.
        progress: Progress shown while running, in percent; None means the elapsed share of the duration.
        error: Code and message of the failure; None means those of the provider's sample.
        request: The submitted body; None means that of the provider's sample.
        path: The path it was submitted to; empty for the provider's main one.
        timestamps: Whether the record has the times of the work.
        undocumented_failure: Whether the record of the failed task has the provider's own form of a failure.
        has_scripted_end: Whether it ends after a time that the test has set.
    """

    provider: str
    id: str
    outcome: Outcome
    created: float
    visible_at: float
    starts_at: float
    ends_at: float
    progress: float | None = None
    error: tuple[str, str] | None = None
    request: Mapping[str, object] | None = None
    path: str = ""
    timestamps: bool = True
    undocumented_failure: bool = False
    has_scripted_end: bool = False

    @property
    def finishes_at(self) -> float:
        """When the task ends; infinite for `FOREVER`."""
        return math.inf if self.outcome is Outcome.FOREVER else self.ends_at

    def phase_at(self, now: float) -> Phase:
        """Return the phase as the tasks call shows it."""
        return Phase.HIDDEN if now < self.visible_at else self.true_phase_at(now)

    def true_phase_at(self, now: float) -> Phase:
        """Return the phase regardless of the task's visibility."""
        if now >= self.finishes_at:
            return _FINAL_PHASES.get(self.outcome, Phase.HIDDEN)
        return Phase.QUEUED if now < self.starts_at else Phase.RUNNING

    def progress_at(self, now: float) -> float:
        """Return the progress of a running task, in percent."""
        if self.progress is not None:
            return self.progress
        planned = self.ends_at - self.created
        fraction = (now - self.created) / planned if planned > 0 else 1.0
        return min(100.0 * fraction, MAX_RUNNING_PROGRESS)


class Scenario:
    """All tasks of one server and the rules for future submissions.

    Args:
        seed: Seed of ids, durations and failures.
        speed: Divisor of every scripted time.
        failure_rate: Share of tasks without a scripted outcome that fail, from 0 to 1.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(self, *, seed: int, speed: float, failure_rate: float) -> None:
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be a finite number above 0, got {speed!r}")
        if not 0 <= failure_rate <= 1:
            raise ValueError(f"failure_rate must be from 0 to 1, got {failure_rate!r}")
        self.tasks: dict[str, ScriptedTask] = {}
        self._by_provider: dict[str, list[ScriptedTask]] = {}
        self._next_rules: dict[str, deque[Rule]] = {}
        self._default_rules: dict[str, Rule] = {}
        self._seed = seed
        self._rng = random.Random(seed)
        self._speed = speed
        self._failure_rate = failure_rate

    def __repr__(self) -> str:
        return f"<Scenario tasks={len(self.tasks)} speed={self._speed:g}>"

    def add_rule(self, spec: ProviderSpec, rule: Rule, *, times: int | None) -> None:
        """Set the rule for the next `times` submissions to a provider; None sets the provider's default.

        Raises:
            ValueError: `times` is below 1, or the outcome is impossible for the provider.
        """
        _check_outcome(spec, rule)
        if times is None:
            self._default_rules[spec.slug] = rule
        elif times < 1:
            raise ValueError(f"times must be at least 1, got {times!r}")
        else:
            self._next_rules.setdefault(spec.slug, deque()).extend([rule] * times)

    def pop_rule(self, provider: str) -> Rule:
        """Remove and return the rule for the current submission."""
        queued = self._next_rules.get(provider)
        return queued.popleft() if queued else self._default_rules.get(provider) or Rule()

    def add(
        self,
        spec: ProviderSpec,
        rule: Rule,
        *,
        now: float,
        task_id: str | None = None,
        request: Mapping[str, object] | None = None,
        path: str = "",
        typical_duration: float | None = None,
    ) -> ScriptedTask:
        """Create a task submitted at `now`; `typical_duration` is that of the path, if it has its own.

        Raises:
            ValueError: `task_id` is taken, or the outcome is impossible for the provider.
        """
        _check_outcome(spec, rule)
        if task_id in self.tasks:
            raise ValueError(f"task id {task_id!r} is already in use")
        duration = self._draw_duration(typical_duration or spec.typical_duration) if rule.after is None else rule.after
        outcome = self._draw_outcome() if rule.outcome is None else rule.outcome
        queued_for = min(duration * QUEUED_FRACTION, MAX_QUEUED) if rule.queued_for is None else rule.queued_for
        task = ScriptedTask(
            provider=spec.slug,
            id=self._draw_id() if task_id is None else task_id,
            outcome=outcome,
            created=now,
            visible_at=math.inf if outcome is Outcome.NOT_FOUND else now + rule.visible_after / self._speed,
            starts_at=now + queued_for / self._speed,
            ends_at=now + duration / self._speed,
            progress=rule.progress,
            error=rule.error,
            request=request,
            path=path,
            timestamps=rule.timestamps,
            undocumented_failure=rule.undocumented_failure,
            has_scripted_end=rule.after is not None and outcome in _FINAL_PHASES,
        )
        self.tasks[task.id] = task
        self._by_provider.setdefault(spec.slug, []).append(task)
        return task

    def clear(self) -> None:
        """Remove all tasks and rules, and draw the same random numbers again."""
        self.tasks.clear()
        self._by_provider.clear()
        self.clear_rules()
        self._rng.seed(self._seed)

    def clear_rules(self) -> None:
        """Remove all rules for future submissions."""
        self._next_rules.clear()
        self._default_rules.clear()

    def remove(self, task: ScriptedTask) -> None:
        """Remove a task, whose id is unknown from then on."""
        del self.tasks[task.id]
        self._by_provider[task.provider].remove(task)

    def find(self, provider: str, task_id: str) -> ScriptedTask | None:
        """Return a provider's task, or None for an id that is unknown or belongs to another provider."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.provider == provider else None

    def history(self, provider: str) -> Iterator[ScriptedTask]:
        """Return a provider's tasks, newest first."""
        return reversed(self._by_provider.get(provider, ()))

    def _draw_id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _draw_duration(self, typical: float) -> float:
        return self._rng.lognormvariate(math.log(typical), DURATION_SIGMA)

    def _draw_outcome(self) -> Outcome:
        # Without a failure rate no number is drawn, so that durations do not depend on it.
        fails = self._failure_rate > 0 and self._rng.random() < self._failure_rate
        return Outcome.FAILED if fails else Outcome.SUCCEEDED


def _check_outcome(spec: ProviderSpec, rule: Rule) -> None:
    if rule.outcome is Outcome.PARTIAL and not spec.artifacts:
        raise ValueError(f"outcome 'partial' is impossible for provider {spec.slug!r}: its tasks have no files")
