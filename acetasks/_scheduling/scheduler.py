"""The scheduler: which batch is polled next, and when.

Every awaited task is in a batch, and every batch is queued or in flight. Pure: the time and the number of free request
slots are arguments, and there is no I/O.
"""

from __future__ import annotations

import collections
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks._limits import PollBudget, RequestKind
from acetasks._scheduling.pauses import PollPauses
from acetasks._scheduling.queue import GroupOutlook, PollQueue, PullLimits
from acetasks._scheduling.tasks import CallbackState, InFlightPoll, PollBatch, PollGroup
from acetasks.providers import ProviderSpec, lookup
from acetasks.stats import WaitReason

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from acetasks._limits import Throttle
    from acetasks._scheduling.planner import IntervalPlanner, PlannedPoll
    from acetasks._scheduling.tasks import PollPriority, TrackedTask
    from acetasks.policies import PollPolicy
    from acetasks.providers import RecordStatus

#: Coalescing window, as a fraction of the poll interval: rate-limited polls are delayed by up to this much to share
#: wake-ups, since a process that wakes up for one request at a time pays several times as much CPU for each. Deferrable
#: polls may run this much early.
_COALESCE_FRACTION = 0.1
#: Seconds within which new tasks share their first due time, however many register one by one.
_GATHER_WINDOW = 0.001
#: Delay of a poll after a callback, as a fraction of `PollPolicy.linger`: callbacks that arrive meanwhile share it.
_CALLBACK_LINGER = 0.5
#: Seconds for which a slot is left free after the last poll of a provider, of which another task may be awaited next.
_SLOT_RESERVE = 1.0


class Changes:
    """Changes of the schedule after a poll. Tasks that are not in them are polled again as planned.

    Attributes:
        server_time: The service's time, in seconds since the epoch, or None if unknown.
        observed: Tasks with a new record, and the record.
        ended: Tasks that are not polled any more, of this batch or of others.
        apart: Tasks that leave their batch, by split level and the loop time at which they are due; None for the fixed
            interval.
    """

    def __init__(self, server_time: float | None = None) -> None:
        self.server_time = server_time
        self.observed: list[tuple[TrackedTask, RecordStatus]] = []
        self.ended: list[TrackedTask] = []
        self.apart: dict[tuple[int, float | None], list[TrackedTask]] = collections.defaultdict(list)


class _ProviderState(msgspec.Struct, eq=False):
    """Polls in flight and poll budget of one provider.

    Attributes:
        spec: Replaced if the provider is registered anew.
        budget: Budget of deferrable polls.
        in_flight: Number of polls in flight.
        in_flight_tasks: Number of tasks that they poll.
        finished_at: Loop time at which its last poll ended.
    """

    spec: ProviderSpec
    budget: PollBudget
    in_flight: int = 0
    in_flight_tasks: int = 0
    finished_at: float = -math.inf


class _ReadyGroup(NamedTuple):
    """A group to poll next; ordered by time, then score.

    Attributes:
        time: Loop time at which it can be polled.
        negative_score: So that the highest score is first.
        group: The group.
        deferrable: Whether a deferrable batch is the first that is due.
    """

    time: float
    negative_score: float
    group: PollGroup
    deferrable: bool


class Scheduler:
    """Schedule of all awaited tasks of one client.

    Args:
        policy: How tasks are polled.
        throttle: Limits requests.
        planner: Plans the next polls of unfinished tasks.
        rng: Source of the jitter samples.
        has_callbacks: Whether tasks may expect callbacks.

    Attributes:
        next_poll_at: Loop time at which `next_batch` should be called next; infinity for never.
        is_saturated: Whether a batch is due but has to wait for a poll in flight, as of the last `next_batch`.
    """

    def __init__(
        self,
        policy: PollPolicy,
        *,
        throttle: Throttle,
        planner: IntervalPlanner,
        rng: random.Random,
        has_callbacks: bool = False,
    ) -> None:
        self._policy = policy
        self._throttle = throttle
        self._planner = planner
        self._rng = rng
        self._queue = PollQueue()
        self._providers: dict[str, _ProviderState] = {}
        self._sequence = itertools.count()
        self._first_polls_at = -math.inf
        self._callback_polls_at = -math.inf
        self._has_callbacks = has_callbacks
        self._pauses = PollPauses()
        self.next_poll_at = math.inf
        self.is_saturated = False

    def __repr__(self) -> str:
        return f"<Scheduler {self._queue!r}, {self.in_flight} polls in flight>"

    @property
    def providers(self) -> tuple[str, ...]:
        """Slugs of the providers that were polled."""
        return tuple(self._providers)

    @property
    def in_flight(self) -> int:
        """Number of polls in flight."""
        return sum(state.in_flight for state in self._providers.values())

    def in_flight_of(self, provider: str) -> int:
        """Return the number of a provider's polls in flight."""
        state = self._providers.get(provider)
        return 0 if state is None else state.in_flight

    def find_next_poll(self, task: TrackedTask, now: float) -> tuple[float | None, WaitReason]:
        """Return when a task is polled next, and why then; no time while that depends on a poll in flight."""
        batch, spec = task.batch, lookup(task.key[0])
        # 1. It is being polled.   2. Limits hold it back.   3. It is due.   4. It expects a callback.
        # 5. It is polled as planned.
        if batch is None or batch.group is None:
            return None, WaitReason.IN_FLIGHT
        held_until, hold = self._throttle.find_hold(spec, in_flight=self.in_flight_of(spec.slug), now=now)
        if held_until > now and held_until >= batch.due:
            return (None if held_until == math.inf else held_until), hold
        if batch.due <= now:
            return now, WaitReason.QUEUED
        if batch.group.expecting:
            return batch.due, WaitReason.CALLBACK
        if batch.polled_at == -math.inf:
            return batch.due, WaitReason.FIRST_POLL
        is_learned = task.profile is not None and bool(task.profile.estimators) and task.profile.timetable.is_learned
        return batch.due, WaitReason.LEARNED if is_learned else WaitReason.INTERVAL

    def add(self, tasks: Sequence[TrackedTask], now: float) -> None:
        """Schedule the first polls of new tasks: after `PollPolicy.linger`, or at the end of their pauses."""
        due = now + self._policy.linger
        if due - self._first_polls_at > _GATHER_WINDOW:
            self._first_polls_at = due
        due = self._first_polls_at
        by_due: dict[tuple[str, float], list[TrackedTask]] = collections.defaultdict(list)
        for task in tasks:
            task.last_polled_at = now
            by_due[task.key[0], self._pauses.delay(task.key, due)].append(task)
        size = self._policy.batch_size
        for (provider, due), members in by_due.items():
            priority = self._planner.first_priority(lookup(provider), now)
            for start in range(0, len(members), size):
                batch = PollBatch(members[start : start + size])
                self._push(PollGroup(provider), batch, due, priority, next(self._sequence))

    def add_expecting(self, tasks: Sequence[TrackedTask], now: float) -> None:
        """Schedule new tasks that were submitted just now and expect a callback at their end."""
        by_provider: dict[str, list[TrackedTask]] = collections.defaultdict(list)
        for task in tasks:
            by_provider[task.key[0]].append(task)
        size = self._policy.batch_size
        for provider, members in by_provider.items():
            spec = lookup(provider)
            for start in range(0, len(members), size):
                self._push_expecting(spec, PollBatch(members[start : start + size]), next(self._sequence), now)

    def poll_soon(self, task: TrackedTask, now: float) -> None:
        """Poll a task soon after its callback, in a request with others that arrive now; once, however many arrive.

        If its poll is in flight, it is polled again after that, since the response may be older than the callback.
        """
        batch = task.batch
        if batch is None or task.callback is CallbackState.RECEIVED:
            return
        task.callback = CallbackState.RECEIVED
        if batch.group is not None:
            self._queue.discard(task)
            self._push_soon(lookup(task.key[0]), PollBatch([task], polled_at=batch.polled_at), now)

    def poll_early(self, tasks: Iterable[TrackedTask], now: float) -> None:
        """Poll tasks that expect a callback once in between; they expect it as before."""
        by_provider: dict[str, list[TrackedTask]] = collections.defaultdict(list)
        for task in tasks:
            if task.callback is CallbackState.EXPECTED and task.batch is not None and task.batch.group is not None:
                self._queue.discard(task)
                by_provider[task.key[0]].append(task)
        size = self._policy.batch_size
        for provider, members in by_provider.items():
            for start in range(0, len(members), size):
                self._push_soon(lookup(provider), PollBatch(members[start : start + size]), now)

    def suspend(self, task: TrackedTask, now: float) -> None:
        """Stop polling a task that is not awaited any more; if it is added again, its interval is kept."""
        batch = task.batch
        if batch is not None and batch.last_polled_at > -math.inf:
            interval = lookup(task.key[0]).poll_interval(self._policy.interval)
            self._pauses.remember(task.key, batch.last_polled_at + interval, now)
        self.discard(task)

    def discard(self, task: TrackedTask) -> None:
        """Stop polling a task; a poll in flight for no other task is cancelled."""
        batch = task.batch
        # 1. It is not polled.   2. It is queued.   3. It is in flight, or its poll has just returned.
        if batch is None:
            return
        if batch.group is not None:
            self._queue.discard(task)
            return
        batch.discard(task)
        if batch.poll is not None and not batch.live_count and batch.poll.cancel is not None:
            batch.poll.cancel()

    def next_batch(self, now: float, free_slots: int) -> InFlightPoll | None:
        """Take out the batch to poll now, if there is one; of several, the one with the highest score.

        Its first request is counted by the throttle. It is to be passed to `finish` when it has ended in any way.
        """
        ready = self._find_ready(now, free_slots)
        self.next_poll_at = math.inf if ready is None else ready.time
        if ready is None or ready.time > now:
            return None
        state = self._providers[ready.group.provider]
        sequence, jitter_sample = next(self._sequence), self._rng.random()
        batch = self._pop(state, ready, now)
        if self._has_callbacks:
            for task in batch.tasks:
                if task.callback is CallbackState.RECEIVED:
                    task.callback = CallbackState.NONE
        poll = batch.poll = InFlightPoll(state.spec, batch, now, sequence=sequence, jitter_sample=jitter_sample)
        state.in_flight += 1
        state.in_flight_tasks += len(batch.tasks)
        for task in batch.tasks:
            task.polls += 1
        self._pause(poll, now)
        return poll

    def finish(self, poll: InFlightPoll, now: float) -> None:
        """End a poll in flight, whether it has a result or not."""
        state = self._providers[poll.spec.slug]
        state.finished_at = now
        state.in_flight -= 1
        state.in_flight_tasks -= len(poll.batch.tasks)
        poll.batch.poll = None

    def requeue(self, poll: InFlightPoll, changes: Changes, now: float) -> None:
        """Schedule the next polls of the tasks of a poll, which was passed to `finish`."""
        spec, batch = poll.spec, poll.batch
        for task, status in changes.observed:
            self._planner.observe(task, spec, status, changes.server_time, now)
        for task in changes.ended:
            self.discard(task)
        self._pause(poll, now)
        for (split_level, due), tasks in changes.apart.items():
            # A task that was awaited anew while the poll was in flight is in another batch, and stays there.
            if members := [task for task in tasks if task.batch is batch]:
                time = max(self._planner.after_interval(spec, now) if due is None else due, now + spec.min_interval)
                priority = self._planner.first_priority(spec, poll.sent_at)
                part = PollBatch(members, polled_at=now)
                self._push(PollGroup(spec.slug, split_level), part, time, priority, poll.sequence)
        batch.prune()
        if self._has_callbacks:
            batch = self._requeue_expecting(poll, batch, now)
        if batch.tasks:
            for planned in self._planner.plan(spec, batch, now):
                self._push_planned(PollGroup(spec.slug), planned, poll.sequence, now)

    def _requeue_expecting(self, poll: InFlightPoll, batch: PollBatch, now: float) -> PollBatch:
        """Schedule the tasks of a batch that expect a callback, or got it while they were polled; return the others."""
        if all(task.callback is CallbackState.NONE for task in batch.tasks):
            return batch
        parts: dict[CallbackState, list[TrackedTask]] = collections.defaultdict(list)
        for task in batch.tasks:
            parts[task.callback].append(task)
        if received := parts[CallbackState.RECEIVED]:
            self._push_soon(poll.spec, PollBatch(received, polled_at=now), now)
        if expecting := parts[CallbackState.EXPECTED]:
            self._push_expecting(poll.spec, PollBatch(expecting), poll.sequence, now)
        return PollBatch(parts[CallbackState.NONE])

    def _push_expecting(self, spec: ProviderSpec, batch: PollBatch, sequence: int, now: float) -> None:
        planned = self._planner.plan_net(spec, batch, now)
        self._push_planned(PollGroup(spec.slug, expecting=True), planned, sequence, now)

    def _push_soon(self, spec: ProviderSpec, batch: PollBatch, now: float) -> None:
        if self._callback_polls_at <= now:
            self._callback_polls_at = now + _CALLBACK_LINGER * self._policy.linger
        due = self._callback_polls_at
        if spec.min_interval:
            due = max(self._pauses.delay(task.key, due) for task in batch.tasks)
        priority = self._planner.first_priority(spec, now)
        self._push(PollGroup(spec.slug, expecting=True), batch, due, priority, next(self._sequence))

    def _push_planned(self, group: PollGroup, planned: PlannedPoll, sequence: int, now: float) -> None:
        due, priority, batch = planned
        batch.polled_at = now
        for task in batch.tasks:
            task.last_polled_at = now
        self._push(group, batch, due, priority, sequence)

    def _push(self, group: PollGroup, batch: PollBatch, due: float, priority: PollPriority, sequence: int) -> None:
        self._queue.push(group, batch, due, priority, sequence)
        self.next_poll_at = min(self.next_poll_at, due)

    def _find_ready(self, now: float, free_slots: int) -> _ReadyGroup | None:
        """Find the group that can be polled first; of several that can be now, the one with the highest score."""
        self.is_saturated = not free_slots
        if not free_slots:
            return None
        outlooks = [(self._state_of(outlook.group.provider, now), outlook) for outlook in self._queue.outlooks(now)]
        reserved_slots = self._count_reserved_slots(outlooks, now)
        # The shortest window for all: else providers with a shorter one would always be served first.
        coalesce = min((self._coalescing_window(state.spec) for state, _ in outlooks), default=0.0)
        candidates = []
        for state, outlook in outlooks:
            if state.in_flight and free_slots <= reserved_slots:
                self.is_saturated = True
                continue
            allowed_at = self._throttle.available_at(state.spec, in_flight=state.in_flight, coalesce=coalesce)
            self.is_saturated |= allowed_at == math.inf
            time = max(self._due_within_budget(state, outlook, now), now, allowed_at)
            score = 0.0
            if len(outlooks) > 1 and time <= now:
                score = self._queue.score(outlook.group, self._size(state, outlook.group, now), now)
            candidates.append(_ReadyGroup(time, -score, outlook.group, outlook.deferrable_due < outlook.due))
        return min(candidates, default=None)

    def _count_reserved_slots(self, outlooks: Sequence[tuple[_ProviderState, GroupOutlook]], now: float) -> int:
        """Count the slots that only providers without a poll in flight may use, so that no other can delay theirs.

        There is one for each of them that has queued tasks, or had a poll until just now.
        """
        queued = {state.spec.slug for state, _ in outlooks}
        return sum(
            not state.in_flight and (slug in queued or now < state.finished_at + _SLOT_RESERVE)
            for slug, state in self._providers.items()
        )

    def _due_within_budget(self, state: _ProviderState, outlook: GroupOutlook, now: float) -> float:
        """Return when the first batch of a group is due, deferred until the poll budget allows it if it may be."""
        group, queued, due, deferrable_due, deadline = outlook
        if not group.split_level and not group.expecting:
            full_batch = state.spec.batch_size(self._policy.batch_size)
            state.budget.refill(now, max(1.0, (queued + state.in_flight_tasks) / full_batch))
            if deferrable_due <= now < due:
                return min(due, state.budget.available_at(), deadline + state.budget.deferral_limit)
        return min(due, deferrable_due)

    def _pop(self, state: _ProviderState, ready: _ReadyGroup, now: float) -> PollBatch:
        """Take the next batch of a ready group out of the queue, and count its request."""
        if not ready.group.expecting:
            state.budget.spend()
        self._throttle.acquire(state.spec, RequestKind.POLL, now)
        # Tasks that are due later fill the batch, unless the provider has a minimum interval or a callback announces
        # their ends. A batch of deferrable ones is filled with little more than what is due: the rest has a better time
        # of its own.
        due = deferrable_due = now if state.spec.min_interval or ready.group.expecting else math.inf
        if ready.deferrable:
            deferrable_due = min(due, now + self._coalescing_window(state.spec))
        limits = PullLimits(due, deferrable_due, defer_deadline=now - state.budget.deferral_limit)
        return self._queue.pop(ready.group, self._size(state, ready.group, now), now, limits)

    def _coalescing_window(self, spec: ProviderSpec) -> float:
        return _COALESCE_FRACTION * spec.poll_interval(self._policy.interval)

    def _size(self, state: _ProviderState, group: PollGroup, now: float) -> int:
        return self._throttle.batch_size(state.spec, group.split_level, now)

    def _state_of(self, provider: str, now: float) -> _ProviderState:
        state, spec = self._providers.get(provider), lookup(provider)
        if state is None:
            interval = spec.poll_interval(self._policy.interval) * (1.0 + self._policy.jitter / 2.0)
            budget = PollBudget(interval, _COALESCE_FRACTION, now)
            state = self._providers[provider] = _ProviderState(spec, budget)
        state.spec = spec
        return state

    def _pause(self, poll: InFlightPoll, now: float) -> None:
        """Keep a provider's minimum interval for each task of a poll, even if it is awaited anew."""
        if poll.spec.min_interval:
            self._pauses.enforce((task.key for task in poll.batch.tasks), now + poll.spec.min_interval, now)
