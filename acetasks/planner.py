"""When each task is asked for next, by the schedule that the policy chooses, and what asking is worth.

A `Planner` knows how old a task is, from the service's own times, and how long others of its kind took. Under the
schedule that learns, it brings up to date what is known of that from every look. Pure of clocks and I/O.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, NamedTuple

from acetasks.entries import Batch, Entry
from acetasks.law import Law, bin_of
from acetasks.schedule import plan_at_tick, plan_next_look
from acetasks.timetable import ProportionalTimetable, Timetable
from acetasks.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks.durations import Durations
    from acetasks.policies import PollPolicy
    from acetasks.providers import ProviderSpec, Reading

#: The service's clock is known to the second: half of that is what a time of its is behind on average.
_HALF_A_SECOND = 0.5
#: An age that is told differently by so many seconds is the same.
_TOLERANCE = 1.0


class _Kind:
    """Tasks that are planned alike.

    Attributes:
        timetable: When they are worth a look.
        laws: What is learned from them: that of their kind, and that of all that their provider makes.
        fresh_until: When they may be planned anew, in seconds of the loop's clock.
    """

    __slots__ = ("fresh_until", "laws", "timetable")

    def __init__(self, timetable: Timetable | ProportionalTimetable, laws: tuple[Law, ...]) -> None:
        self.timetable = timetable
        self.laws = laws
        self.fresh_until = -math.inf

    @property
    def is_known(self) -> bool:
        """Whether there is anything to plan by."""
        return not isinstance(self.timetable, Timetable) or self.timetable.is_learned


class Plan(NamedTuple):
    """The next look at some tasks.

    Attributes:
        due: When, in seconds of the loop's clock.
        worth: What it is worth to ask for them.
        batch: They.
    """

    due: float
    worth: Worth
    batch: Batch


class Planner:
    """Plans the looks of one client."""

    def __init__(self, policy: PollPolicy, durations: Durations, anchor: float) -> None:
        """Plan by a policy.

        Args:
            policy: How to ask.
            durations: What is known of how long tasks take; brought up to date under the schedule that learns.
            anchor: When one of the client's ticks is; see `plan_next_look`.
        """
        self._policy = policy
        self._durations = durations
        self._anchor = anchor
        self._kinds: dict[object, _Kind] = {}
        # Of each interval, from when on looks are due when.
        self._ticks: dict[float, tuple[float, float]] = {}

    def __repr__(self) -> str:
        """Show by what it plans."""
        return f"<Planner {self._policy.schedule}, {self._durations!r}>"

    def plan_first(self, spec: ProviderSpec, now: float) -> Worth:
        """Tell what the first look at a task is worth: it may have ended long ago, or is seen to be there.

        Args:
            spec: The provider's row.
            now: When somebody began to wait for it, in seconds of the loop's clock.
        """
        interval = spec.poll_interval(self._policy.interval)
        return Worth(1.0 / interval, now - interval)

    def plan_fixed(self, spec: ProviderSpec, now: float) -> float:
        """Tell when to ask again after the provider's interval, in seconds of the loop's clock.

        Args:
            spec: The provider's row.
            now: Seconds of the loop's clock.
        """
        interval = spec.poll_interval(self._policy.interval)
        since, due = self._ticks.get(interval, (math.inf, -math.inf))
        # Many that come back within a while are due at the same time: as long as that is an interval from each of them.
        if not since <= now <= due - interval:
            since, due = now, plan_next_look(now, interval, self._policy.jitter, self._anchor)
            self._ticks[interval] = since, due
        return due

    def plan(self, spec: ProviderSpec, batch: Batch, now: float) -> Sequence[Plan]:
        """Plan the next look at tasks of one provider that have just been seen unfinished.

        Args:
            spec: The provider's row.
            batch: They.
            now: Seconds of the loop's clock.

        Returns:
            A plan for each part of them that is due at another time; mostly it is the batch as it is.
        """
        hazard = 1.0 / spec.typical_duration
        if self._policy.schedule == "fixed":
            return [Plan(self.plan_fixed(spec, now), Worth(hazard, now), batch)]
        plans: list[Plan] = []
        unknown: Sequence[Entry] = ()
        for kind, members in _alike(batch, now):
            if isinstance(kind, _Kind):
                _note_alive(kind, members, batch.seen_at, now)
                if kind.is_known:
                    part = batch if members is batch.entries else Batch(members)
                    part.seen_at = now
                    plans.append(self._plan_known(spec, kind, part, now))
                    continue
            unknown = [*unknown, *members] if unknown else members
        if unknown:
            # If it is all of them, in their own order.
            rest = batch if len(unknown) == len(batch.entries) else Batch(unknown)
            rest.seen_at = now
            plans.append(Plan(self.plan_fixed(spec, now), Worth(hazard, now), rest))
        return plans

    def _plan_known(self, spec: ProviderSpec, kind: _Kind, batch: Batch, now: float) -> Plan:
        """Plan the next look at tasks that are alike and about as old, by what is known of their kind."""
        interval, jitter = spec.poll_interval(self._policy.interval), self._policy.jitter
        age_bin = bin_of(now - batch.entries[0].born)
        tick = interval * jitter / 2.0
        due = max(plan_at_tick(now, kind.timetable.steps[age_bin], jitter, tick, self._anchor), now + spec.min_interval)
        # What is learned is when to look, not to look more often: such looks may wait for the allowance, as long as
        # none is later than after the fixed interval.
        is_spare = bool(kind.laws)
        latest = max(due, now + interval * (1.0 + jitter / 2.0)) if is_spare else math.inf
        return Plan(due, Worth(kind.timetable.prospect(age_bin), now, is_spare, latest), batch)

    def meet(self, entry: Entry, spec: ProviderSpec, reading: Reading, today: float | None, now: float) -> None:
        """Take note of a record of a task, which tells its kind and age.

        Args:
            entry: What is known of the task; brought up to date.
            spec: The provider's row.
            reading: The record, read.
            today: The service's time, in seconds since the epoch, where it says so.
            now: Seconds of the loop's clock.
        """
        if entry.kind is not None or self._policy.schedule == "fixed":
            return
        entry.born = entry.looked_at
        created = reading.created_at
        if created is not None and today is not None:
            entry.born = min(now, now - (today + _HALF_A_SECOND - created))
        entry.kind = self._kind_of(spec, reading)

    def note_end(self, entry: Entry, reading: Reading, today: float | None, now: float) -> None:
        """Learn from the end of a task.

        Args:
            entry: What was known of it before; `meet` has been told of this record.
            reading: Its last record, read.
            today: The service's time, in seconds since the epoch, where it says so.
            now: Seconds of the loop's clock.
        """
        kind = entry.kind
        if not isinstance(kind, _Kind) or not kind.laws:
            return
        young, old = entry.looked_at - entry.born, now - entry.born
        # Where the service does not tell, it was half-way between the last look and this one.
        age = (young + old) / 2.0
        finished = reading.task.finished_at
        if finished is not None and today is not None:
            age = old - (today + _HALF_A_SECOND - finished)
        if entry.record is None and (finished is None or today is None or age < young - _TOLERANCE):
            # It was over, or may have been, before anybody waited: that tells nothing of those still at work then.
            return
        age = min(max(age, young), old)
        for law in kind.laws:
            law.note_alive(young, age)
            law.note_end(age)

    def _kind_of(self, spec: ProviderSpec, reading: Reading) -> _Kind:
        """Find what a record's task is planned alike with."""
        interval, typical = spec.poll_interval(self._policy.interval), spec.typical_duration
        if self._policy.schedule == "proportional":
            kind = self._kinds.get(spec.slug)
            if kind is None:
                kind = self._kinds[spec.slug] = _Kind(ProportionalTimetable(interval, typical), ())
            return kind
        law = self._durations.law(spec.slug, *reading.kind)
        kind = self._kinds.get(law)
        if kind is None:
            parent = self._durations.law(spec.slug)
            timetable = Timetable(law, interval, typical, parent=parent, least=spec.min_interval)
            kind = self._kinds[law] = _Kind(timetable, (law,) if law is parent else (law, parent))
        return kind


def _alike(batch: Batch, now: float) -> Iterable[tuple[object, Sequence[Entry]]]:
    """Divide a batch into those of the same kind, whose ages are in the same bin; mostly it is the batch as it is."""
    if batch.alike is None:
        _compare(batch)
    # 1. The usual: they were submitted together, and are all alike.   2. They are not, or were together with others.
    entries = batch.entries
    if batch.alike is not None:
        kind, first, last = batch.alike
        if bin_of(now - first) == bin_of(now - last):
            return ((kind, entries),)
    parts: dict[tuple[object, int], list[Entry]] = collections.defaultdict(list)
    for entry in entries:
        parts[entry.kind, bin_of(now - entry.born)].append(entry)
    if len(parts) == 1:
        _compare(batch)
        return ((entries[0].kind, entries),)
    return ((kind, members) for (kind, _), members in parts.items())


def _compare(batch: Batch) -> None:
    """See whether the entries of a batch are all of one kind, and when their tasks were submitted."""
    entries = batch.entries
    kind = entries[0].kind
    births = [entry.born for entry in entries]
    is_alike = kind is not None and [entry.kind for entry in entries].count(kind) == len(entries)
    batch.alike = (kind, min(births), max(births)) if is_alike else None


def _note_alive(kind: _Kind, entries: Sequence[Entry], seen_at: float, now: float) -> None:
    """Learn that tasks of one kind and about the same age have not ended, and plan anew if that is news.

    Args:
        kind: Theirs.
        entries: They.
        seen_at: When all of them were looked at last, in seconds of the loop's clock; NaN where each has its own time.
        now: Likewise, that of this look.
    """
    # Those of a batch have mostly been together for long: the ends of the list stand for all of it.
    first, last = entries[0], entries[-1]
    if math.isnan(seen_at):
        seen_at = (first.seen_at + last.seen_at) / 2.0
    born = (first.born + last.born) / 2.0
    for law in kind.laws:
        law.note_alive(seen_at - born, now - born, len(entries))
    # A plan takes as long as several requests: where hundreds end in a second, not each dozen of them is news.
    if isinstance(kind.timetable, Timetable) and now >= kind.fresh_until and kind.timetable.refresh():
        kind.fresh_until = now + kind.timetable.closest
