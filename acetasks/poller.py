"""The poller, the only loop: asks for whatever is due, and gives every waiter the end of its task.

It runs as one plain asyncio task while somebody waits, and ends when nobody does. A turn of the loop gives waiters
whose limit has passed their due, starts a request for each batch that is due while there is room, and sleeps until
the next of either, or until something changes. The requests run in a task group; what they find is taken in by
synchronous methods, so that no two of them meet half-way.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from typing import TYPE_CHECKING

import anyio

from acetasks.arrivals import Arrivals
from acetasks.batching import Lane
from acetasks.dispatch import Dispatch
from acetasks.entries import Batch, Entry, Key, Waiter
from acetasks.errors import AceTasksError, ClientClosedError
from acetasks.flights import Flight
from acetasks.framing import Framing
from acetasks.holds import Holds
from acetasks.inquiry import Findings, inquire
from acetasks.models import Task, TaskState
from acetasks.pending import Pending
from acetasks.planner import Planner
from acetasks.providers import ProviderSpec, lookup
from acetasks.wire import Question, build_look

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence

    from acetasks.durations import Durations
    from acetasks.events import Event
    from acetasks.policies import PollPolicy, RetryPolicy
    from acetasks.transport import Transport


_logger = logging.getLogger("acetasks")

#: Seconds within which those who come have their first turn together.
_GATHERED_WITHIN = 0.001
#: Waiters that are told at once that their limit has passed, before others get their turn: a few milliseconds of work.
_EXPIRED_AT_ONCE = 500
#: Seconds that requests under way may take to end when the client is closed.
CLOSE_PATIENCE = 0.5


class Poller:
    """Follows every task that somebody waits for."""

    def __init__(
        self,
        transport: Transport,
        *,
        policy: PollPolicy,
        retry: RetryPolicy,
        durations: Durations,
        rng: random.Random,
        clock: Callable[[], float],
        emit: Callable[[Event], None],
        is_watched: bool = True,
    ) -> None:
        """Start idle; the first waiter sets it going.

        Args:
            transport: What to send with.
            policy: How to ask.
            retry: How to ask again what failed, and hold back from a provider that does not answer.
            durations: What is known of how long tasks take.
            rng: The randomness of intervals and delays.
            clock: Seconds of the loop's clock.
            emit: Told of changes.
            is_watched: Whether anybody wants to hear of each task; if not, only of those in an undocumented state.
        """
        self._transport = transport
        self._policy = policy
        self._attempts = retry.attempts
        self._rng = rng
        self._clock = clock
        self._pending = Pending()
        self._flights: set[Flight] = set()
        self._ranks = itertools.count()
        self._holds = Holds(policy, retry)
        self._planner = Planner(policy, durations, clock() + rng.random())
        self._dispatch = Dispatch(policy, self._holds)
        self._arrivals = Arrivals(
            policy,
            pending=self._pending,
            dispatch=self._dispatch,
            planner=self._planner,
            holds=self._holds,
            emit=emit,
            is_watched=is_watched,
        )
        self._framing = Framing()
        self._newcomers_due = -math.inf
        self._room = anyio.Semaphore(policy.max_in_flight)
        self._wake = asyncio.Event()
        self._sleeps_until = -math.inf
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Show what is waited for and what is under way."""
        under_way = self._policy.max_in_flight - self._room.value
        return f"<Poller {self._pending!r}, {self._dispatch!r}, {under_way} requests under way in all>"

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing runs."""
        return not self._pending and self._task is None

    # What waiters call.

    def deadline(self, timeout: float | None) -> float:
        """Tell when a limit of some seconds from now passes, in seconds of the loop's clock; None is never."""
        return math.inf if timeout is None else self._clock() + timeout

    def register(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Have a waiter wait for tasks, to be asked soon. `leave` must be called when it is done with them.

        Args:
            waiter: Who waits.
            keys: The tasks, for none of which it waits yet. The id of each has been checked.

        Raises:
            ClientClosedError: Nothing is polled any more.
        """
        if self._closed:
            raise ClientClosedError("this client is closed; nothing can be waited for with it")
        newcomers: list[Entry] = []
        for key in keys:
            entry = self._pending.register(key, waiter)
            if entry.batch is None:
                newcomers.append(entry)
            elif len(entry.waiters) == 1 and isinstance(flight := entry.batch.place, Flight):
                # It is under way already, for somebody who has left meanwhile.
                flight.wanted += 1
        if newcomers:
            self._add_newcomers(newcomers)
        if self._task is None:
            self._start()

    def _add_newcomers(self, entries: Sequence[Entry]) -> None:
        """Give entries that nobody waited for their first turns."""
        now = self._clock()
        due = now + self._policy.linger
        # Thousands who come one by one have a few turns together, and not thousands.
        if due - self._newcomers_due > _GATHERED_WITHIN:
            self._newcomers_due = due
        due = self._newcomers_due
        together: dict[tuple[str, float], list[Entry]] = {}
        for entry in entries:
            entry.seen_at = now
            free_at = max(due, self._arrivals.pause_until(entry.key))
            together.setdefault((entry.key[0], free_at), []).append(entry)
        size = self._policy.batch_size
        for (provider, free_at), alike in together.items():
            worth = self._planner.plan_first(lookup(provider), now)
            for start in range(0, len(alike), size):
                batch = Batch(alike[start : start + size])
                self._dispatch.add(Lane(provider), batch, free_at, next(self._ranks), worth)
        self._wake_by(self._dispatch.departs_at)

    def limit(self, waiter: Waiter) -> None:
        """Watch over the limit of a waiter that has registered; until it leaves."""
        self._pending.limit(waiter)
        self._wake_by(waiter.deadline)

    def leave(self, waiter: Waiter, keys: Sequence[Key]) -> None:
        """Take a waiter off tasks; one that nobody waits for any more is not asked for any more."""
        self._pending.release(waiter)
        for key in keys:
            entry = self._pending.get(key)
            if entry is not None and self._pending.leave(entry, waiter):
                self._arrivals.drop(entry)
        if not self._pending:
            self._wake.set()

    def last_seen(self, key: Key) -> Task:
        """Tell how a task that is waited for was last seen; in the state `PENDING` if it was not."""
        entry = self._pending.get(key)
        return entry.last_seen if entry else Task(provider=key[0], id=key[1], state=TaskState.PENDING)

    def fault_of(self, key: Key) -> AceTasksError | None:
        """Tell why the last look at a task that is waited for failed; None if it did not."""
        entry = self._pending.get(key)
        return entry.fault if entry else None

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
                question = Question(build_look(spec, ids))
                findings = await inquire(self._transport, spec, question, admit=admit, attempts=self._attempts)
        finally:
            self._wake.set()
        self._arrivals.note_look(spec, findings, sent_at, self._clock(), self._rng.random())
        return findings

    async def close(self) -> None:
        """Give everybody who waits a `ClientClosedError`, and end what is under way."""
        self._closed = True
        error = ClientClosedError("the client was closed while this task was waited for")
        for entry in self._pending:
            self._arrivals.settle(entry, error, self._clock())
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
                    self._pending.expire(self._clock(), _EXPIRED_AT_ONCE)
                    again = self._launch(group)
                    await self._sleep_until(min(again, self._pending.next_deadline()))
            await self._transport.rest()
        except BaseException as error:
            cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            died = AceTasksError(f"the poller has died, and nothing is polled any more: {cause!r}")
            died.__cause__ = cause
            for entry in self._pending:
                self._arrivals.settle(entry, died, self._clock())
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

    def _launch(self, group: asyncio.TaskGroup) -> float:
        """Start a request for each batch that may leave, and tell when the next may."""
        while (flight := self._depart()) is not None:
            group.create_task(self._fly(flight))
        return self._dispatch.departs_at

    def _depart(self) -> Flight | None:
        """Take the batch that is to leave now, if one may."""
        now = self._clock()
        departure = self._dispatch.next(now, self._room.value)
        if departure is None or departure.time > now:
            return None
        draw = self._rng.random()
        batch = self._dispatch.take(departure, now)
        flight = Flight(departure.spec, batch, now, next(self._ranks), draw)
        self._flights.add(flight)
        self._room.acquire_nowait()
        return flight

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

    async def _sleep_until(self, time: float) -> None:
        """Wait for a time, or until something changes."""
        self._sleeps_until = time
        alarm = None if time == math.inf else asyncio.get_running_loop().call_at(time, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._sleeps_until = -math.inf
        self._wake.clear()

    def _wake_by(self, time: float) -> None:
        """Have the loop look around before it would have slept past a time."""
        if time < self._sleeps_until:
            self._wake.set()

    async def _fly(self, flight: Flight) -> None:
        """Bring one batch there and back, and then in its place others that have been waiting for room."""
        following: Flight | None = flight
        task = asyncio.current_task()
        try:
            while following is not None:
                following.task = task
                is_news = await self._bring(following)
                following = None
                if self._room.value == 1:
                    # There was no room until now, and the loop sleeps. First it is for those who were told something:
                    # they may want to ask for more.
                    if is_news:
                        await asyncio.sleep(0)
                    following = self._depart()
        finally:
            if self._dispatch.is_crowded or not self._pending:
                self._wake.set()
            self._wake_by(self._dispatch.departs_at)

    async def _bring(self, flight: Flight) -> bool:
        """Bring one batch there and back, and tell whether anything is new."""
        findings: Findings | None = None
        try:
            if flight.wanted:
                admit = self._admission(flight.spec, is_taken=True)
                question = _ask_about(flight.spec, flight.batch)
                findings = await inquire(self._transport, flight.spec, question, framing=self._framing, admit=admit)
        finally:
            self._note_return(flight)
            findings = findings or Findings()
            self._arrivals.take_in(flight, findings, self._clock())
        return bool(findings.readings or findings.errors or findings.missing)

    def _note_return(self, flight: Flight) -> None:
        """Take note that a batch is under way no more."""
        self._flights.discard(flight)
        self._room.release()
        self._arrivals.note_back(flight)


def _ask_about(spec: ProviderSpec, batch: Batch) -> Question:
    """Ask what was asked before if nothing is new of any of a batch, and what is known of each now if something is."""
    if batch.question is None:
        request = build_look(spec, tuple([entry.key[1] for entry in batch.entries]))
        known = tuple([entry.record for entry in batch.entries])
        batch.question = Question(request, known, None not in known)
    return batch.question
