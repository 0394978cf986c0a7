"""The poller, the only loop: asks for whatever is due, and gives every waiter the end of its task.

It runs as one plain asyncio task while somebody waits, and ends when nobody does. A turn of the loop gives waiters
whose limit has passed their due, starts a request for each batch that is due while there is room, and sleeps until
the next of either, or until something changes. The requests run in a task group; what they find is taken in by
synchronous methods, so that no two of them meet half-way.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import logging
import math
from typing import TYPE_CHECKING

import anyio

from acetasks.batching import Agenda, Lane, Limits
from acetasks.errors import AceTasksError, ClientClosedError
from acetasks.events import Event, TaskChanged, TaskSettled
from acetasks.holds import Holds
from acetasks.inquiry import Findings, inquire
from acetasks.models import PollPolicy, RetryPolicy, Task, TaskState
from acetasks.pending import Entry, Key, Outcome, Pending, Waiter
from acetasks.providers import ProviderSpec, lookup
from acetasks.verdicts import Judge, Moment, Scope, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from acetasks.transport import Transport


_logger = logging.getLogger("acetasks")

#: Pauses between looks at one task that are kept before those that are over are cleaned up.
_PAUSES_KEPT = 4096
#: Seconds that requests under way may take to end when the client is closed.
CLOSE_PATIENCE = 0.5


class _Flight:
    """A batch under way: its entries, how many of them somebody still wants, and what cancels its request.

    Its place among others and its random numbers are settled when it leaves, so that they do not depend on the order
    in which answers come.
    """

    __slots__ = ("draws", "entries", "rank", "scope", "sent_at", "spec", "wanted")

    def __init__(
        self, spec: ProviderSpec, entries: list[Entry], sent_at: float, rank: int, draws: tuple[float, float]
    ) -> None:
        self.spec = spec
        self.entries = entries
        self.sent_at = sent_at
        self.rank = rank
        self.draws = draws
        self.wanted = len(entries)
        self.scope = anyio.CancelScope()
        for entry in entries:
            entry.flight = self


class Poller:
    """Follows every task that somebody waits for."""

    def __init__(
        self,
        transport: Transport,
        *,
        policy: PollPolicy,
        retry: RetryPolicy,
        rng: random.Random,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
    ) -> None:
        """Start idle; the first waiter sets it going.

        Args:
            transport: What to send with.
            policy: How to ask.
            retry: How to ask again what failed, and hold back from a provider that does not answer.
            rng: The randomness of intervals and delays.
            clock: Seconds of the loop's clock.
            emit: Told of changes.
        """
        self._transport = transport
        self._policy = policy
        self._attempts = retry.attempts
        self._rng = rng
        self._clock = clock
        self._emit = emit
        self._pending = Pending(asyncio.get_running_loop().create_future)
        self._agenda: Agenda[Entry] = Agenda()
        self._flights: set[_Flight] = set()
        self._under_way: collections.Counter[str] = collections.Counter()
        self._ranks = itertools.count()
        self._limits = Limits()
        self._holds = Holds(policy, retry)
        self._judge = Judge(policy, self._holds, clock() + rng.random())
        self._pauses: dict[Key, float] = {}
        self._room = anyio.Semaphore(policy.max_in_flight)
        self._wake = asyncio.Event()
        # Until when the loop sleeps, and whether it does so for want of room.
        self._sleeps_until = -math.inf
        self._is_crowded = False
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Show what is waited for and what is under way."""
        under_way = self._policy.max_in_flight - self._room.value
        return f"<Poller {self._pending!r}, {self._agenda!r}, {under_way} requests under way>"

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not self._pending and self._task is None

    # What waiters call.

    def deadline(self, timeout: float | None) -> float:
        """Tell when a limit of some seconds from now passes, in seconds of the loop's clock; None is never."""
        return math.inf if timeout is None else self._clock() + timeout

    def register(
        self,
        spec: ProviderSpec,
        task_id: str,
        *,
        deadline: float = math.inf,
        on_change: Callable[[Task], None] | None = None,
    ) -> Waiter:
        """Add a waiter for a task, to be asked soon.

        Args:
            spec: The provider's row.
            task_id: The task's id.
            deadline: When the waiter's limit passes, in seconds of the loop's clock; infinity for none.
            on_change: Called with the task when it is first seen and when its state or progress changes.

        Returns:
            The waiter; its future is given a task or an error. `leave` must be called when done with it.
        """
        if self._closed:
            raise ClientClosedError("this client is closed; nothing can be waited for with it")
        waiter = self._pending.register((spec.slug, task_id), deadline=deadline, on_change=on_change)
        entry = waiter.entry
        if len(entry.waiters) == 1 and isinstance(entry.flight, _Flight):
            # It is under way already, for somebody who has left meanwhile.
            entry.flight.wanted += 1
        elif entry.turn is None and entry.flight is None:
            due = self._clock() + self._policy.linger
            due = max(due, self._pauses.get(entry.key, due))
            self._agenda.add(Lane(spec.slug), (entry,), due, next(self._ranks))
            self._wake_by(due)
        self._wake_by(deadline)
        if self._task is None:
            self._start()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter off; a task that nobody waits for any more is not asked for any more."""
        if self._pending.leave(waiter):
            self._drop(waiter.entry)

    def last_seen(self, spec: ProviderSpec, task_id: str) -> Task:
        """Tell how a task that is waited for was last seen; in the state `PENDING` if it was not."""
        entry = self._pending.get((spec.slug, task_id))
        return entry.last_seen if entry else Task(provider=spec.slug, id=task_id, state=TaskState.PENDING)

    async def look(self, spec: ProviderSpec, ids: Sequence[str]) -> Findings:
        """Ask once for some tasks, whether anybody waits for them or not, within the limits of what may be sent.

        Args:
            spec: The provider's row.
            ids: Each once, and no more than one batch.

        Returns:
            What was found.
        """
        try:
            async with self._room:
                await self._admission(spec)()
                sent_at = self._clock()
                admit = self._admission(spec, is_taken=True)
                findings = await inquire(self._transport, spec, ids, admit=admit, attempts=self._attempts)
        finally:
            self._wake.set()
        self._note_look(spec, findings, sent_at, self._clock(), self._rng.random())
        return findings

    async def close(self) -> None:
        """Give everybody who waits a `ClientClosedError`, and end what is under way."""
        self._closed = True
        self._pending.close(ClientClosedError("the client was closed while this task was waited for"))
        if self._task is not None:
            self._task.cancel()
            _, late = await asyncio.wait([self._task], timeout=CLOSE_PATIENCE)
            if late:
                _logger.warning("a request of a closed client goes on though it was cancelled: %r", self)

    # The loop.

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="acetasks poller")

    async def _run(self) -> None:
        """Poll until nobody waits; if it ends in any other way, everybody who waits is told at once."""
        try:
            async with asyncio.TaskGroup() as group:
                while self._pending or self._flights:
                    self._expire()
                    self._launch(group)
                    await self._sleep()
            await self._transport.rest()
        except BaseException as error:
            cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            died = AceTasksError(f"the poller has died, and nothing is polled any more: {cause!r}")
            died.__cause__ = cause
            for entry in self._pending:
                self._settle(entry, died)
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            for flight in tuple(self._flights):
                # It was ended before it had begun.
                self._note_return(flight)
            if self._pending and not self._closed:
                # Somebody came while the last of it was being wound up.
                self._start()

    def _expire(self) -> None:
        """Give waiters whose limit has passed their due."""
        for entry in self._pending.expire(self._clock()):
            self._drop(entry)

    def _launch(self, group: asyncio.TaskGroup) -> None:
        """Start a request for each batch that is due, the most urgent first, while there is room."""
        now = self._clock()
        while (turn := self._next_turn(now)) is not None and turn[0] <= now:
            lane = turn[1]
            spec = lookup(lane.provider)
            size = self._limits.size(lane.provider, spec.batch_size(self._policy.batch_size), now)
            size = self._holds.probe_size(spec, lane.batch_size(size))
            # Ids that are not due yet ride along in spare room, unless the provider asks for pauses between looks.
            latest = now if spec.min_interval else math.inf
            draws = (self._rng.random(), self._rng.random())
            flight = _Flight(spec, self._agenda.take(lane, size, latest), now, next(self._ranks), draws)
            self._flights.add(flight)
            self._under_way[lane.provider] += 1
            self._holds.take(spec, now)
            self._room.acquire_nowait()
            group.create_task(self._fly(flight))

    def _next_turn(self, now: float) -> tuple[float, Lane] | None:
        """Tell when the next request may start and for which lane; None while there is no room for one.

        Where several may start now, it is the turn of the one that is the latest in intervals of its own: so when not
        all can be kept, all stretch by the same factor. A provider whose requests hang cannot hold up the others: room
        is left for each that has none under way.
        """
        self._is_crowded = not self._room.value
        if self._is_crowded:
            return None
        turns = list(self._agenda.turns())
        idle = {lane.provider for _, lane in turns if not self._under_way[lane.provider]}
        best: tuple[float, float, Lane] | None = None
        for due, lane in turns:
            if lane.provider not in idle and self._room.value <= len(idle):
                self._is_crowded = True
                continue
            spec = lookup(lane.provider)
            ready = max(due, now, self._holds.until(spec, under_way=self._under_way[lane.provider]))
            self._is_crowded |= ready == math.inf
            turn = (ready, (due - now) / spec.poll_interval(self._policy.interval), lane)
            best = turn if best is None else min(best, turn)
        return None if best is None else (best[0], best[2])

    def _admission(self, spec: ProviderSpec, *, is_taken: bool = False) -> Callable[[], Awaitable[None]]:
        """Make what each request of one look awaits before it is sent.

        Args:
            spec: The provider's row.
            is_taken: Whether the first of them has been accounted for already.
        """
        is_free = is_taken

        async def admit() -> None:
            nonlocal is_free
            if is_free:
                is_free = False
                return
            while (free_at := self._holds.free_at(spec)) > self._clock():  # noqa: ASYNC110  # the time may move away
                await anyio.sleep_until(free_at)
            self._holds.take(spec, self._clock())

        return admit

    async def _sleep(self) -> None:
        """Wait for the next turn or limit, or until something changes."""
        turn = self._next_turn(self._clock())
        self._sleeps_until = min(math.inf if turn is None else turn[0], self._pending.next_deadline())
        with anyio.CancelScope(deadline=self._sleeps_until):
            await self._wake.wait()
        self._sleeps_until = -math.inf
        self._wake.clear()

    def _wake_by(self, time: float) -> None:
        """Have the loop look around before it would have slept past a time."""
        if time < self._sleeps_until:
            self._wake.set()

    async def _fly(self, flight: _Flight) -> None:
        """Bring one batch there and back."""
        findings = Findings()
        try:
            with flight.scope:
                findings = await inquire(
                    self._transport,
                    flight.spec,
                    [entry.key[1] for entry in flight.entries],
                    known={entry.task.raw: entry.key[1] for entry in flight.entries if entry.task is not None},
                    admit=self._admission(flight.spec, is_taken=True),
                )
        finally:
            self._note_return(flight)
            self._land(flight, findings)
            if self._is_crowded or not self._pending:
                self._wake.set()

    def _note_return(self, flight: _Flight) -> None:
        """Take note that a batch is under way no more."""
        self._flights.discard(flight)
        self._room.release()
        self._under_way[flight.spec.slug] -= 1
        for entry in flight.entries:
            self._pending.land(entry)

    # What a request brings back. All of it synchronous.

    def _land(self, flight: _Flight, findings: Findings) -> None:
        """Take in what a batch has found, entry by entry."""
        spec, now = flight.spec, self._clock()
        moment = self._judge.begin(spec, now, flight.draws)
        self._note_look(spec, findings, flight.sent_at, now, moment.draw)
        self._note_pauses(flight, now)
        # Those of the same lane and time have their next turn together; as a rule that is all of them.
        again: dict[tuple[int, float], list[Entry]] = {(0, moment.due): []}
        unchanged, as_before = findings.unchanged, again[0, moment.due]
        for entry in flight.entries:
            # 1. Nobody wants it any more.   2. The usual: nothing new.   3. Anything else.
            if not entry.waiters:
                continue
            if entry.trouble is None and entry.key[1] in unchanged:
                as_before.append(entry)
                continue
            verdict = self._judge_one(entry, spec, findings, moment)
            if verdict.task is not None and self._pending.note(entry, verdict.task):
                word = verdict.unknown_word
                self._emit(TaskChanged(time=now, provider=spec.slug, task=verdict.task, unknown_word=word))
            if verdict.outcome is None:
                halvings = entry.trouble.suspicion if entry.trouble else 0
                again.setdefault((halvings, max(verdict.due, now + spec.min_interval)), []).append(entry)
            else:
                self._conclude(entry, spec, verdict.scope, verdict.outcome)
        for (halvings, time), entries in again.items():
            # An outcome of more than one task may have settled some of them meanwhile.
            wanted = [entry for entry in entries if entry.waiters]
            if wanted:
                self._agenda.add(Lane(spec.slug, halvings), wanted, time, flight.rank)
                self._wake_by(time)

    def _judge_one(self, entry: Entry, spec: ProviderSpec, findings: Findings, moment: Moment) -> Verdict:
        """Tell what a look means for one of its tasks."""
        task_id = entry.key[1]
        # 1. The same record again.   2. A new one.   3. An error of its own.   4. No trace of it.   5. The request was
        # cancelled under somebody who came late: it has its first look still before it.
        if task_id in findings.unchanged:
            return self._judge.judge_unchanged(entry, spec, moment)
        if (reading := findings.readings.get(task_id)) is not None:
            return self._judge.judge_reading(entry, spec, reading, moment)
        if (error := findings.errors.get(task_id)) is not None:
            return self._judge.judge_error(entry, spec, error, moment)
        if task_id in findings.missing:
            return self._judge.judge_miss(entry, spec, moment)
        return Verdict(due=moment.now)

    def _conclude(self, entry: Entry, spec: ProviderSpec, scope: Scope, outcome: Outcome) -> None:
        """Settle a task, or whatever else its outcome is for."""
        if scope is Scope.TASK:
            self._settle(entry, outcome)
            return
        for other in self._pending:
            slug = other.key[0]
            if slug == spec.slug or (scope is Scope.TOKEN and lookup(slug).service is spec.service):
                self._settle(other, outcome)

    def _note_look(self, spec: ProviderSpec, findings: Findings, sent_at: float, now: float, draw: float) -> None:
        """Learn from a look whom to hold back from, and how much to ask for at once."""
        errors = findings.errors.values()
        is_answered = bool(
            findings.readings or findings.unchanged or findings.missing or not all(error.transient for error in errors)
        )
        for event in self._holds.note_look(spec, errors, is_answered=is_answered, sent_at=sent_at, now=now, draw=draw):
            self._emit(event)
        self._limits.note_cuts(spec.slug, findings.cuts, now)
        if findings.fits is not None:
            self._limits.note_too_large(spec.slug, findings.fits, now)

    def _note_pauses(self, flight: _Flight, now: float) -> None:
        """Remember when each id of a provider that asks for pauses may be asked again, whoever wants it then."""
        pause = flight.spec.min_interval
        if pause:
            if len(self._pauses) >= _PAUSES_KEPT:
                self._pauses = {key: until for key, until in self._pauses.items() if until > now}
            self._pauses.update((entry.key, now + pause) for entry in flight.entries)

    def _settle(self, entry: Entry, outcome: Outcome) -> None:
        """Give everybody who waits for a task its end, and stop asking for it."""
        waiters = self._pending.settle(entry, outcome)
        self._drop(entry)
        if isinstance(outcome, Task):
            self._emit(TaskSettled(time=self._clock(), provider=entry.key[0], task=outcome, waiters=waiters))

    def _drop(self, entry: Entry) -> None:
        """Stop asking for a task: leave its turn, and cancel a request that nobody wants anything of any more."""
        self._agenda.discard(entry)
        flight = entry.flight
        if isinstance(flight, _Flight):
            flight.wanted -= 1
            if not flight.wanted:
                flight.scope.cancel()
        if not self._pending:
            self._wake.set()
