"""The plot: which tasks the simulated service has, and what becomes of each and when.

A task's whole life is fixed when it is made; its phase is worked out from the time at which somebody asks, so
that a hundred thousand tasks need no timer. This room knows neither HTTP nor what records look like, and takes
times as arguments: seconds on the clock of the server's event loop.
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks.providers.spec import ProviderSpec

#: The spread of durations about the typical one, as a lognormal's sigma: two thirds lie within a fifth of it.
DURATION_SIGMA = 0.2
#: How long a task is queued before the work begins, unless scripted: a tenth of its duration, and not longer
#: than a client's grace for ids that are not readable yet: dreamina shows nothing at all of a queued task.
QUEUED_SHARE = 0.1
QUEUED_CEILING = 5.0
#: A running task never claims to be further than this, in percent, however long it takes.
RUNNING_CEILING = 99.0


class Outcome(enum.StrEnum):
    """What becomes of a scripted task."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: Part of what was asked for is made, and the rest fails.
    PARTIAL = "partial"
    #: The tasks call never knows it.
    NOT_FOUND = "not_found"
    #: It never ends.
    FOREVER = "forever"


class Phase(enum.Enum):
    """Where a scripted task stands at one moment."""

    HIDDEN = enum.auto()
    QUEUED = enum.auto()
    RUNNING = enum.auto()
    SUCCEEDED = enum.auto()
    FAILED = enum.auto()
    PARTIAL = enum.auto()

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to the task."""
        return self is Phase.SUCCEEDED or self is Phase.FAILED or self is Phase.PARTIAL


_LAST_PHASES = {
    Outcome.SUCCEEDED: Phase.SUCCEEDED,
    Outcome.FAILED: Phase.FAILED,
    Outcome.PARTIAL: Phase.PARTIAL,
}


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a task is to get. Times are in seconds, before the server's `speed` divides them.

    Attributes:
        after: From the submission to the end; None draws about the provider's typical duration.
        outcome: What becomes of it; None means succeeded, or failed at the server's failure rate.
        visible_after: From the submission until the tasks call knows it.
        queued_for: From the submission until the work begins; None means a tenth of `after`, at most 5.
        progress: What a running task's record shows, in percent; None means the share of the time passed.
        error: The code and message of a failed or partial task; None means what the provider's sample shows.
    """

    after: float | None = None
    outcome: Outcome | None = None
    visible_after: float = 0.0
    queued_for: float | None = None
    progress: float | None = None
    error: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        """Refuse times that no clock can show.

        Raises:
            ValueError: A number is negative or not finite.
        """
        for name in ("after", "visible_after", "queued_for", "progress"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number of at least 0, not {value!r}")


class ScriptedTask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One task of the simulated service. Times are in seconds on the clock of the server's event loop.

    Attributes:
        provider: The provider's slug.
        id: The task's id.
        outcome: What becomes of it.
        created: When it was submitted.
        visible_at: When the tasks call begins to know it; infinite for `NOT_FOUND`.
        starts_at: When the work on it begins.
        ends_at: When the work is planned to end, which a task that goes on forever passes by.
        progress: What its record shows while it runs, in percent; None means the share of the time passed.
        error: The code and message of its failure; None means what the provider's sample shows.
        request: What was submitted; None means what the provider's sample shows.
        path: Where it was submitted; empty for one that was added.
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

    @property
    def finishes_at(self) -> float:
        """When it ends: infinite for one that goes on forever."""
        return math.inf if self.outcome is Outcome.FOREVER else self.ends_at

    def phase_at(self, now: float) -> Phase:
        """Tell where the task stands.

        Args:
            now: The time of asking.

        Returns:
            The phase as the tasks call shows it.
        """
        if now < self.visible_at:
            return Phase.HIDDEN
        return self.true_phase_at(now)

    def true_phase_at(self, now: float) -> Phase:
        """Tell where the task stands, whether or not the tasks call knows it yet."""
        if now >= self.finishes_at:
            return _LAST_PHASES.get(self.outcome, Phase.HIDDEN)
        return Phase.QUEUED if now < self.starts_at else Phase.RUNNING

    def progress_at(self, now: float) -> float:
        """Tell how far the work is, from 0 to 99 percent, for a task that runs."""
        if self.progress is not None:
            return self.progress
        planned = self.ends_at - self.created
        share = (now - self.created) / planned if planned > 0 else 1.0
        return min(100.0 * share, RUNNING_CEILING)


class Script:
    """Every task of one server, and the rules for those to come; all that is drawn is from one seeded source."""

    def __init__(self, *, seed: int, speed: float, failure_rate: float) -> None:
        """Begin with no tasks.

        Args:
            seed: Of everything that is drawn: ids, durations, failures.
            speed: What every scripted time is divided by.
            failure_rate: The share of tasks without a scripted outcome that fail, from 0 to 1.

        Raises:
            ValueError: A number is out of its range.
        """
        if not (math.isfinite(speed) and speed > 0):
            raise ValueError(f"speed must be a finite number above 0, not {speed!r}")
        if not 0 <= failure_rate <= 1:
            raise ValueError(f"failure_rate must be from 0 to 1, not {failure_rate!r}")
        self.tasks: dict[str, ScriptedTask] = {}
        self._by_provider: dict[str, list[ScriptedTask]] = {}
        self._once: dict[str, deque[Rule]] = {}
        self._always: dict[str, Rule] = {}
        self._rng = random.Random(seed)
        self._speed = speed
        self._failure_rate = failure_rate

    def __repr__(self) -> str:
        return f"<Script tasks={len(self.tasks)} speed={self._speed:g}>"

    def add_rule(self, spec: ProviderSpec, rule: Rule, *, times: int | None) -> None:
        """Say what the next submissions to a provider get.

        Args:
            spec: The provider's row.
            rule: What they get.
            times: How many of them, after those already ruled; None means all that have no other rule.

        Raises:
            ValueError: `times` is less than 1, or the provider's tasks cannot end so.
        """
        _check(spec, rule)
        if times is None:
            self._always[spec.slug] = rule
        elif times < 1:
            raise ValueError(f"times must be at least 1, not {times!r}")
        else:
            self._once.setdefault(spec.slug, deque()).extend([rule] * times)

    def take_rule(self, provider: str) -> Rule:
        """Take the rule for a submission that has just come."""
        once = self._once.get(provider)
        return once.popleft() if once else self._always.get(provider) or Rule()

    def add(
        self,
        spec: ProviderSpec,
        rule: Rule,
        *,
        now: float,
        task_id: str | None = None,
        request: Mapping[str, object] | None = None,
        path: str = "",
    ) -> ScriptedTask:
        """Make a task and fix its life.

        Args:
            spec: The provider's row.
            rule: What it gets.
            now: The time of its submission.
            task_id: Its id; None draws one.
            request: What was submitted.
            path: Where it was submitted.

        Returns:
            The task.

        Raises:
            ValueError: There is a task of that id, or the provider's tasks cannot end so.
        """
        _check(spec, rule)
        task_id = str(uuid.UUID(int=self._rng.getrandbits(128), version=4)) if task_id is None else task_id
        if task_id in self.tasks:
            raise ValueError(f"there is a task of the id {task_id!r} already")
        after = rule.after
        if after is None:
            after = self._rng.lognormvariate(math.log(spec.typical_duration), DURATION_SIGMA)
        outcome = rule.outcome
        if outcome is None:
            fails = self._failure_rate > 0 and self._rng.random() < self._failure_rate
            outcome = Outcome.FAILED if fails else Outcome.SUCCEEDED
        queued_for = min(after * QUEUED_SHARE, QUEUED_CEILING) if rule.queued_for is None else rule.queued_for
        hidden = outcome is Outcome.NOT_FOUND
        task = ScriptedTask(
            provider=spec.slug,
            id=task_id,
            outcome=outcome,
            created=now,
            visible_at=math.inf if hidden else now + rule.visible_after / self._speed,
            starts_at=now + queued_for / self._speed,
            ends_at=now + after / self._speed,
            progress=rule.progress,
            error=rule.error,
            request=request,
            path=path,
        )
        self.tasks[task_id] = task
        self._by_provider.setdefault(spec.slug, []).append(task)
        return task

    def find(self, provider: str, task_id: str) -> ScriptedTask | None:
        """Find a task by the provider that was asked; another provider's task is unknown to it."""
        task = self.tasks.get(task_id)
        return task if task is not None and task.provider == provider else None

    def history(self, provider: str) -> Iterator[ScriptedTask]:
        """List a provider's tasks, the newest first."""
        return reversed(self._by_provider.get(provider, ()))


def _check(spec: ProviderSpec, rule: Rule) -> None:
    """Refuse a rule that no task of a provider could keep.

    Raises:
        ValueError: A part is asked for, and the provider makes nothing that has parts.
    """
    if rule.outcome is Outcome.PARTIAL and not spec.artifacts:
        raise ValueError(f"a {spec.slug} task makes no files, so none can be had in part")
