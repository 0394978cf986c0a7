"""Planners: when each task is polled next, and at which priority, one class for each schedule of `PollPolicy`."""

from __future__ import annotations

import abc
import collections
import math
from typing import TYPE_CHECKING, NamedTuple

from acetasks._scheduling.hazard import HazardEstimator, bin_of
from acetasks._scheduling.tasks import PollBatch, PollPriority, TrackedTask
from acetasks._scheduling.ticks import nearest_tick, next_tick
from acetasks._scheduling.timetable import DurationProfile, PollTimetable, ProportionalTimetable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks._scheduling.durations import Durations
    from acetasks.policies import PollPolicy
    from acetasks.providers import ProviderSpec, RecordStatus

#: Server timestamps are truncated to seconds, so that they lag by this much on average.
_TIMESTAMP_LAG = 0.5
#: Difference between two estimates of one age, in seconds, that is no contradiction.
_AGE_TOLERANCE = 1.0
#: Limits of the interval of polls while a callback is expected, in seconds. It is the typical duration: by then some
#: tasks have ended, which shows whether callbacks arrive.
_MIN_NET_INTERVAL = 60.0
_MAX_NET_INTERVAL = 900.0


class PlannedPoll(NamedTuple):
    """Next poll of some tasks, due at a loop time."""

    due: float
    priority: PollPriority
    batch: PollBatch


class IntervalPlanner(abc.ABC):
    """Plans polls by one schedule. Pure: every method is given the loop time."""

    def __init__(self, policy: PollPolicy, durations: Durations, anchor: float) -> None:
        self._policy = policy
        self._durations = durations
        self._anchor = anchor
        # For each interval: the loop time from which on polls are due at a tick, and the tick.
        self._ticks: dict[float, tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._durations!r}>"

    def first_priority(self, spec: ProviderSpec, now: float) -> PollPriority:
        """Return the priority of a first poll: the task may have ended long ago."""
        interval = spec.poll_interval(self._policy.interval)
        return PollPriority(1.0 / interval, now - interval)

    def after_interval(self, spec: ProviderSpec, now: float) -> float:
        """Return the next poll time by the provider's fixed interval, whatever the schedule."""
        interval = spec.poll_interval(self._policy.interval)
        since, due = self._ticks.get(interval, (math.inf, -math.inf))
        # Polls that return within a while are due at one tick, as long as that is an interval from each of them.
        if not since <= now <= due - interval:
            since, due = now, next_tick(now, interval, self._policy.jitter, self._anchor)
            self._ticks[interval] = since, due
        return due

    def plan_net(self, spec: ProviderSpec, batch: PollBatch, now: float) -> PlannedPoll:
        """Plan the next poll of tasks whose end a callback is to announce, in case that it is lost."""
        interval = self._policy.callback_interval
        if interval is None:
            interval = min(max(spec.typical_duration, _MIN_NET_INTERVAL), _MAX_NET_INTERVAL)
        interval = max(interval, spec.poll_interval(self._policy.interval))
        due = next_tick(now, interval, self._policy.jitter, self._anchor)
        return PlannedPoll(due, PollPriority(1.0 / spec.typical_duration, now), batch)

    @abc.abstractmethod
    def observe(
        self, task: TrackedTask, spec: ProviderSpec, status: RecordStatus, server_time: float | None, now: float
    ) -> None:
        """Learn from a new record of a task, and update the task's profile and submission time.

        The server time is that of the response, in seconds since the epoch; None if unknown.
        """

    @abc.abstractmethod
    def plan(self, spec: ProviderSpec, batch: PollBatch, now: float) -> Sequence[PlannedPoll]:
        """Plan the next polls of a batch that has just been found unfinished; it is pruned, and not empty.

        Returns:
            One plan for each part of it that is due at another time; mostly for the batch as it is.
        """


def build_planner(policy: PollPolicy, durations: Durations, anchor: float) -> IntervalPlanner:
    """Build the planner of a policy's schedule.

    Args:
        policy: How tasks are polled.
        durations: Updated by the learned schedule, and by no other.
        anchor: Loop time of one of the client's ticks; see `ticks.next_tick`.
    """
    planners = {"fixed": FixedPlanner, "proportional": ProportionalPlanner, "learned": LearnedPlanner}
    return planners[policy.schedule](policy, durations, anchor)


class FixedPlanner(IntervalPlanner):
    """Polls each task at the provider's interval."""

    def observe(
        self, task: TrackedTask, spec: ProviderSpec, status: RecordStatus, server_time: float | None, now: float
    ) -> None:
        """Learn nothing."""

    def plan(self, spec: ProviderSpec, batch: PollBatch, now: float) -> Sequence[PlannedPoll]:
        """Plan one poll of the whole batch."""
        priority = PollPriority(1.0 / spec.typical_duration, now)
        return [PlannedPoll(self.after_interval(spec, now), priority, batch)]


class _AgePlanner(FixedPlanner):
    """Polls each task at intervals that depend on its age and on what is known of similar tasks."""

    def __init__(self, policy: PollPolicy, durations: Durations, anchor: float) -> None:
        super().__init__(policy, durations, anchor)
        self._profiles: dict[str | HazardEstimator, DurationProfile] = {}

    @abc.abstractmethod
    def _profile_of(self, spec: ProviderSpec, status: RecordStatus) -> DurationProfile:
        """Return the profile of the tasks that are similar to that of a record."""

    def observe(
        self, task: TrackedTask, spec: ProviderSpec, status: RecordStatus, server_time: float | None, now: float
    ) -> None:
        """Learn the profile and age of a task from its first record, and its duration from its last."""
        profile, is_first = task.profile, task.profile is None
        if profile is None:
            profile = task.profile = self._profile_of(spec, status)
            task.submitted_at = task.last_polled_at
            if status.created_at is not None and server_time is not None:
                task.submitted_at = min(now, now - (server_time + _TIMESTAMP_LAG - status.created_at))
        if not (status.state.is_terminal and profile.estimators):
            return
        least_age, most_age = task.last_polled_at - task.submitted_at, now - task.submitted_at
        # A task that may have ended before it was registered is no sample of tasks that were running then.
        finished_at = status.task.finished_at
        if finished_at is not None and server_time is not None:
            age = most_age - (server_time + _TIMESTAMP_LAG - finished_at)
            is_sample = not is_first or age >= least_age - _AGE_TOLERANCE
        else:
            age = (least_age + most_age) / 2.0  # between the last two polls
            is_sample = not is_first
        if is_sample:
            profile.observe_end(least_age, min(max(age, least_age), most_age))

    def plan(self, spec: ProviderSpec, batch: PollBatch, now: float) -> Sequence[PlannedPoll]:
        """Plan one poll for each profile and age in the batch."""
        plans: list[PlannedPoll] = []
        unknown: list[TrackedTask] = []
        for profile, tasks in _split_by_profile(batch.tasks, now):
            if profile is not None:
                _observe_exposure(profile, tasks, now)
            if profile is not None and profile.timetable.is_learned:
                plans.append(self._plan_by_profile(spec, profile, _part_of(batch, tasks), now))
            else:
                unknown += tasks
        if unknown:
            plans += super().plan(spec, _part_of(batch, unknown), now)
        return plans

    def plan_net(self, spec: ProviderSpec, batch: PollBatch, now: float) -> PlannedPoll:
        """Plan one poll of the whole batch, and learn that its tasks are unfinished."""
        for profile, tasks in _split_by_profile(batch.tasks, now):
            if profile is not None:
                _observe_exposure(profile, tasks, now)
        return super().plan_net(spec, batch, now)

    def _plan_by_profile(
        self, spec: ProviderSpec, profile: DurationProfile, batch: PollBatch, now: float
    ) -> PlannedPoll:
        """Plan the next poll of similar tasks of about the same age."""
        interval, jitter = spec.poll_interval(self._policy.interval), self._policy.jitter
        age_bin = bin_of(now - batch.tasks[0].submitted_at)
        tick = interval * jitter / 2.0
        due = nearest_tick(now, profile.timetable.steps[age_bin], jitter, tick, self._anchor)
        due = max(due, now + spec.min_interval)
        # Learned polls are timed better, but not more frequent: they wait for the budget, but none is later than by the
        # fixed interval.
        deferrable = bool(profile.estimators)
        deadline = max(due, now + interval * (1.0 + jitter / 2.0)) if deferrable else math.inf
        hazard = profile.timetable.expected_hazard(age_bin)
        return PlannedPoll(due, PollPriority(hazard, now, deferrable, deadline), batch)


class ProportionalPlanner(_AgePlanner):
    """Polls each task at intervals in proportion to its age."""

    def _profile_of(self, spec: ProviderSpec, status: RecordStatus) -> DurationProfile:  # noqa: ARG002  # the same for all
        profile = self._profiles.get(spec.slug)
        if profile is None:
            timetable = ProportionalTimetable(spec.poll_interval(self._policy.interval), spec.typical_duration)
            profile = self._profiles[spec.slug] = DurationProfile(timetable)
        return profile


class LearnedPlanner(_AgePlanner):
    """Polls each task at the ages at which similar tasks have ended, as often as a fixed interval would."""

    def _profile_of(self, spec: ProviderSpec, status: RecordStatus) -> DurationProfile:
        estimator = self._durations.hazard(spec.slug, *status.kind)
        profile = self._profiles.get(estimator)
        if profile is None:
            parent = self._durations.hazard(spec.slug)
            interval, typical = spec.poll_interval(self._policy.interval), spec.typical_duration
            timetable = PollTimetable(estimator, interval, typical, parent=parent, least=spec.min_interval)
            estimators = (estimator,) if estimator is parent else (estimator, parent)
            profile = self._profiles[estimator] = DurationProfile(timetable, estimators)
        return profile


def _observe_exposure(profile: DurationProfile, tasks: Sequence[TrackedTask], now: float) -> None:
    """Count similar tasks that were unfinished from their last poll until now."""
    # Tasks of a batch have mostly been together for long: the mean is that of the first and the last.
    first, last = tasks[0], tasks[-1]
    submitted_at = (first.submitted_at + last.submitted_at) / 2.0
    polled_at = (first.last_polled_at + last.last_polled_at) / 2.0
    profile.observe_exposure(polled_at - submitted_at, now - submitted_at, len(tasks), now)


def _split_by_profile(
    tasks: Sequence[TrackedTask], now: float
) -> Iterable[tuple[DurationProfile | None, Sequence[TrackedTask]]]:
    """Group tasks by profile and age bin."""
    # Mostly they are one group, which is found without a look-up for each.
    profiles = {task.profile for task in tasks}
    if len(profiles) == 1:
        (profile,) = profiles
        submissions = [task.submitted_at for task in tasks]
        if profile is None or bin_of(now - min(submissions)) == bin_of(now - max(submissions)):
            return ((profile, tasks),)
    parts: dict[tuple[DurationProfile | None, int], list[TrackedTask]] = collections.defaultdict(list)
    for task in tasks:
        age_bin = 0 if task.profile is None else bin_of(now - task.submitted_at)
        parts[task.profile, age_bin].append(task)
    return ((profile, members) for (profile, _), members in parts.items())


def _part_of(batch: PollBatch, tasks: Sequence[TrackedTask]) -> PollBatch:
    """Return the batch itself if the tasks are all of it, else a new batch of them."""
    return batch if len(tasks) == len(batch.tasks) else PollBatch(tasks)
