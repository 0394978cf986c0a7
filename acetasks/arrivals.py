"""What looks bring back: each task is judged, learned from and told of, and has its next turn or its end.

All of it is synchronous, so that no two looks meet half-way. Pure of clocks and I/O: every method is given the time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from acetasks.batching import Lane
from acetasks.entries import Batch, Entry, Key, Outcome
from acetasks.events import Event, TaskChanged, TaskSettled
from acetasks.flights import Flight
from acetasks.models import Task, TaskState
from acetasks.providers import ProviderSpec, lookup
from acetasks.verdicts import Judge, Moment, Scope, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from acetasks.dispatch import Dispatch
    from acetasks.holds import Holds
    from acetasks.inquiry import Findings
    from acetasks.pending import Pending
    from acetasks.planner import Planner
    from acetasks.policies import PollPolicy
    from acetasks.providers import Reading

#: Pauses between looks at one task that are kept before those that are over are cleaned up.
_PAUSES_KEPT = 4096


class Arrivals:
    """Takes in what one client's looks have found."""

    def __init__(
        self,
        policy: PollPolicy,
        *,
        pending: Pending,
        dispatch: Dispatch,
        planner: Planner,
        holds: Holds,
        emit: Callable[[Event], None],
        is_watched: bool,
    ) -> None:
        """Take in nothing yet.

        Args:
            policy: How long what is believed.
            pending: Who waits for what.
            dispatch: Where those who are asked again have their turns.
            planner: When they are.
            holds: Whom to hold back from.
            emit: Told of changes.
            is_watched: Whether anybody wants to hear of each task; if not, only of those in an undocumented state.
        """
        self._pending = pending
        self._dispatch = dispatch
        self._planner = planner
        self._holds = holds
        self._judge = Judge(policy, holds)
        self._emit = emit
        self._is_watched = is_watched
        self._pauses: dict[Key, float] = {}

    def __repr__(self) -> str:
        """Show what is waited for."""
        return f"<Arrivals of {self._pending!r}>"

    def pause_until(self, key: Key) -> float:
        """Tell until when a task is not to be asked for, whoever wants it now, in seconds of the loop's clock."""
        return self._pauses.get(key, -math.inf) if self._pauses else -math.inf

    def note_back(self, flight: Flight) -> None:
        """Take note that a batch is under way no more.

        Args:
            flight: It.
        """
        entries = flight.batch.entries
        self._dispatch.note_back(flight.spec.slug, len(entries))
        flight.batch.place = None
        if flight.wanted < len(entries):
            for entry in entries:
                if not entry.waiters:
                    entry.batch = None
                    self._pending.land(entry)

    def take_in(self, flight: Flight, findings: Findings, now: float) -> None:
        """Take in what a batch has found.

        Args:
            flight: The batch, of which `note_back` has been told.
            findings: What it has found; nothing where it was cancelled.
            now: Seconds of the loop's clock.
        """
        spec = flight.spec
        self.note_look(spec, findings, flight.sent_at, now, flight.draw)
        self._note_pauses(flight, now)
        batch = flight.batch
        # The usual: nothing is new, nothing is wrong, and nobody has left. The batch goes on as it is.
        if batch.is_troubled or not len(findings.unchanged) == flight.wanted == len(batch.entries):
            self._judge_each(flight, findings, now)
        if batch.entries:
            for due, worth, members in self._planner.plan(spec, batch, now):
                self._dispatch.add(Lane(spec.slug), members, due, flight.rank, worth)

    def _judge_each(self, flight: Flight, findings: Findings, now: float) -> None:
        """Take in what a batch has found, entry by entry, and leave in it those that are asked again as planned."""
        spec, batch = flight.spec, flight.batch
        moment = Moment(now, max(self._planner.plan_fixed(spec, now), now + spec.min_interval), flight.draw)
        # Those who are asked in another company, or at another time.
        apart: dict[tuple[int, float], list[Entry]] = {}
        for entry in self._find_news(flight, findings):
            if not entry.waiters:
                continue
            verdict = self._judge_one(entry, spec, findings, moment)
            if verdict.reading is not None:
                self._note_reading(entry, spec, verdict.reading, findings.today, now)
            halvings = entry.trouble.suspicion if entry.trouble else 0
            # 1. It is over.   2. It is to be asked at another time or in smaller company.   3. It goes on as planned.
            if verdict.outcome is not None:
                self._conclude(entry, spec, verdict.scope, verdict.outcome, now)
            elif verdict.due is not None or halvings:
                due = moment.due if verdict.due is None else max(verdict.due, now + spec.min_interval)
                entry.leave_batch()
                apart.setdefault((halvings, due), []).append(entry)
            elif entry.trouble:
                batch.is_troubled = True
        # An outcome of more than one task may have settled some of them meanwhile.
        batch.close_ranks()
        for (halvings, due), entries in apart.items():
            if wanted := [entry for entry in entries if entry.waiters]:
                worth = self._planner.plan_first(spec, flight.sent_at)
                self._dispatch.add(Lane(spec.slug, halvings), Batch(wanted), due, flight.rank, worth)

    def _find_news(self, flight: Flight, findings: Findings) -> Iterable[Entry]:
        """Find those of a batch of which a look says more than that nothing is new, or with which something was wrong.

        One that everybody has left meanwhile need not be among them.
        """
        batch, readings, unchanged = flight.batch, findings.readings, findings.unchanged
        if not batch.is_troubled and len(readings) + len(unchanged) == len(batch.entries):
            found = [self._pending.get((flight.spec.slug, task_id)) for task_id in readings]
            return [entry for entry in found if entry is not None]
        as_before = frozenset(unchanged)
        return [entry for entry in batch.entries if entry.trouble is not None or entry.key[1] not in as_before]

    def _note_reading(
        self, entry: Entry, spec: ProviderSpec, reading: Reading, today: float | None, now: float
    ) -> None:
        """Keep what a record says, learn from it, and tell of it."""
        self._planner.meet(entry, spec, reading, today, now)
        if reading.state.is_terminal and reading.state is not TaskState.NOT_FOUND:
            self._planner.note_end(entry, reading, today, now)
        if self._pending.note(entry, reading) and (self._is_watched or reading.unknown_word is not None):
            word = reading.unknown_word
            self._emit(TaskChanged(time=now, provider=spec.slug, task=reading.task, unknown_word=word))

    def _judge_one(self, entry: Entry, spec: ProviderSpec, findings: Findings, moment: Moment) -> Verdict:
        """Tell what a look means for one of its tasks."""
        task_id = entry.key[1]
        # 1. A new record.   2. The same again.   3. An error of its own.   4. No trace of it.   5. The request was
        # cancelled under somebody who came late: it has its first look still before it.
        if (reading := findings.readings.get(task_id)) is not None:
            return self._judge.judge_reading(entry, spec, reading, moment)
        if task_id in findings.unchanged:
            return self._judge.judge_unchanged(entry, spec, moment)
        if (error := findings.errors.get(task_id)) is not None:
            return self._judge.judge_error(entry, spec, error, moment)
        if task_id in findings.missing:
            return self._judge.judge_miss(entry, spec, moment)
        return Verdict(due=moment.now)

    def _conclude(self, entry: Entry, spec: ProviderSpec, scope: Scope, outcome: Outcome, now: float) -> None:
        """Settle a task, or whatever else its outcome is for."""
        if scope is Scope.TASK:
            self.settle(entry, outcome, now)
            return
        for other in self._pending:
            slug = other.key[0]
            if slug == spec.slug or (scope is Scope.TOKEN and lookup(slug).service is spec.service):
                self.settle(other, outcome, now)

    def note_look(self, spec: ProviderSpec, findings: Findings, sent_at: float, now: float, draw: float) -> None:
        """Learn from a look whom to hold back from, and how much to ask for at once.

        Args:
            spec: The provider's row.
            findings: What it has found.
            sent_at: When it began, in seconds of the loop's clock.
            now: When it came back, likewise.
            draw: A random number from 0 up to 1.
        """
        errors = findings.errors.values()
        is_answered = bool(
            findings.unchanged or findings.readings or findings.missing or not all(error.transient for error in errors)
        )
        for event in self._holds.note_look(spec, errors, is_answered=is_answered, sent_at=sent_at, now=now, draw=draw):
            self._emit(event)
        self._dispatch.note_sizes(spec.slug, findings.cuts, findings.fits, now)

    def _note_pauses(self, flight: Flight, now: float) -> None:
        """Remember when each id of a provider that asks for pauses may be asked again, whoever wants it then."""
        pause = flight.spec.min_interval
        if pause:
            if len(self._pauses) >= _PAUSES_KEPT:
                self._pauses = {key: until for key, until in self._pauses.items() if until > now}
            self._pauses.update((entry.key, now + pause) for entry in flight.batch.entries)

    def settle(self, entry: Entry, outcome: Outcome, now: float) -> None:
        """Give everybody who waits for a task its end, and stop asking for it.

        Args:
            entry: What is known of it.
            outcome: The end.
            now: Seconds of the loop's clock.
        """
        waiters = self._pending.settle(entry, outcome)
        self.drop(entry)
        if self._is_watched and isinstance(outcome, Task):
            self._emit(TaskSettled(time=now, provider=entry.key[0], task=outcome, waiters=waiters))

    def drop(self, entry: Entry) -> None:
        """Stop asking for a task: leave its turn, or the request that it is part of."""
        if entry.batch is None:
            return
        if isinstance(flight := entry.batch.place, Flight):
            self._pending.keep(entry)
            flight.lose()
        else:
            self._dispatch.discard(entry)
            entry.leave_batch()
