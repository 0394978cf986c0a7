"""The poller, the only loop: asks for whatever is due, and gives every waiter the end of its task.

It runs as one plain asyncio task while somebody waits, and ends when nobody does. A turn of the loop gives waiters
whose limit has passed their due, starts a request for each batch that is due while there is room, and sleeps until
the next of either, or until something changes. The requests run in a task group; what they find is taken in by
synchronous methods, so that no two of them meet half-way.
"""

from __future__ import annotations

import asyncio
import collections
import math
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from acetasks.batching import Agenda
from acetasks.errors import (
    AceTasksError,
    AuthenticationError,
    ClientClosedError,
    PermissionDeniedError,
    ProtocolError,
    UnknownProviderError,
)
from acetasks.events import Event, TaskChanged, TaskSettled
from acetasks.holds import Holds
from acetasks.inquiry import Findings, inquire
from acetasks.models import PollPolicy, RetryPolicy, Task, TaskState
from acetasks.pending import Entry, Key, Outcome, Pending, Waiter
from acetasks.providers import ProviderSpec, Reading, lookup, read_record
from acetasks.schedule import is_gone, plan_next_look

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Sequence

    from acetasks.transport import Transport


#: Pauses between looks at one task that are kept before those that are over are cleaned up.
_PAUSES_KEPT = 4096


class _Flight:
    """A batch under way: its ids, which of them somebody still wants, and what cancels its request."""

    __slots__ = ("ids", "scope", "spec", "wanted")

    def __init__(self, spec: ProviderSpec, ids: list[str]) -> None:
        self.spec = spec
        self.ids = ids
        self.wanted = set(ids)
        self.scope = anyio.CancelScope()


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
            retry: How to hold back from a provider that does not answer.
            rng: The randomness of intervals and delays.
            clock: Seconds of the loop's clock.
            emit: Told of changes.
        """
        self._transport = transport
        self._policy = policy
        self._rng = rng
        self._clock = clock
        self._emit = emit
        self._pending = Pending(asyncio.get_running_loop().create_future)
        self._agenda = Agenda()
        self._flights: dict[Key, _Flight] = {}
        self._under_way: collections.Counter[str] = collections.Counter()
        self._holds = Holds(retry)
        self._pauses: dict[Key, float] = {}
        self._room = anyio.Semaphore(policy.max_in_flight)
        self._wake = anyio.Event()
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
        key = (spec.slug, task_id)
        if key not in self._pending:
            flight = self._flights.get(key)
            if flight is None:
                self._ask_first(key, self._clock() + self._policy.linger)
            else:
                # It is under way already, for somebody who has left meanwhile.
                flight.wanted.add(task_id)
        waiter = self._pending.register(key, deadline=deadline, on_change=on_change)
        if self._task is None:
            self._start()
        self._wake.set()
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Take a waiter off; a task that nobody waits for any more is not asked for any more."""
        if self._pending.leave(waiter):
            self._drop(waiter.key)

    async def look(self, spec: ProviderSpec, ids: Sequence[str]) -> Findings:
        """Ask once for some tasks, whether anybody waits for them or not, within the limit of requests under way.

        Args:
            spec: The provider's row.
            ids: Each once, and no more than one batch.

        Returns:
            What was found.
        """
        try:
            async with self._room:
                return await inquire(self._transport, spec, ids)
        finally:
            self._wake.set()

    async def close(self) -> None:
        """Give everybody who waits a `ClientClosedError`, and end what is under way."""
        self._closed = True
        self._pending.close(ClientClosedError("the client was closed while this task was waited for"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    # The loop.

    def _start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="acetasks poller")

    async def _run(self) -> None:
        """Poll until nobody waits; if it ends in any other way, everybody who waits is told at once."""
        try:
            async with anyio.create_task_group() as group:
                while self._pending or self._flights:
                    self._expire()
                    self._launch(group)
                    await self._sleep()
            await self._transport.rest()
        except BaseException as error:
            cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error
            died = AceTasksError(f"the poller has died, and nothing is polled any more: {cause!r}")
            died.__cause__ = cause
            self._fail_all(self._pending, died)
            if not isinstance(error, Exception):
                raise
        finally:
            self._task = None
            if self._pending and not self._closed:
                # Somebody came while the last of it was being wound up.
                self._start()

    def _expire(self) -> None:
        """Give waiters whose limit has passed their due."""
        for key in self._pending.expire(self._clock()):
            self._drop(key)

    def _launch(self, group: anyio.abc.TaskGroup) -> None:
        """Start a request for each batch that is due, the most urgent first, while there is room."""
        now = self._clock()
        while (turn := self._next_turn()) is not None and turn[0] <= now:
            provider = turn[1]
            spec = lookup(provider)
            # Ids that are not due yet ride along in spare room, unless the provider asks for pauses between looks.
            latest = now if spec.min_interval else math.inf
            flight = _Flight(spec, self._agenda.take(provider, spec.batch_size(self._policy.batch_size), latest))
            self._flights.update(((provider, task_id), flight) for task_id in flight.ids)
            self._under_way[provider] += 1
            self._room.acquire_nowait()
            group.start_soon(self._fly, flight)

    def _next_turn(self) -> tuple[float, str] | None:
        """Tell when the next request may start and for which provider; None while there is no room for one."""
        if not self._room.value:
            return None
        turns = ((max(due, self._held_until(provider)), provider) for due, provider in self._agenda.turns())
        return min(turns, default=None)

    def _held_until(self, provider: str) -> float:
        return self._holds.until(lookup(provider), under_way=self._under_way[provider])

    async def _sleep(self) -> None:
        """Wait for the next turn or limit, or until something changes."""
        turn = self._next_turn()
        until = min(math.inf if turn is None else turn[0], self._pending.next_deadline())
        with anyio.CancelScope(deadline=until):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _fly(self, flight: _Flight) -> None:
        """Bring one batch there and back."""
        findings = Findings()
        try:
            with flight.scope:
                findings = await inquire(self._transport, flight.spec, flight.ids)
        finally:
            self._room.release()
            self._under_way[flight.spec.slug] -= 1
            self._land(flight, findings)
            self._wake.set()

    # What a request brings back. All of it synchronous.

    def _land(self, flight: _Flight, findings: Findings) -> None:
        """Take in what a batch has found, id by id."""
        now = self._clock()
        provider = flight.spec.slug
        self._note_health(flight.spec, findings, now)
        self._note_pauses(flight, now)
        for task_id in flight.ids:
            key = (provider, task_id)
            self._flights.pop(key, None)
            entry = self._pending.get(key)
            if entry is None:
                continue
            # 1. A record.   2. An error of its own.   3. No trace of it.   4. The request was cancelled under somebody
            # who came late: it has its first look still before it.
            if (reading := findings.readings.get(task_id)) is not None:
                self._take_in(entry, flight.spec, reading, now)
            elif (error := findings.errors.get(task_id)) is not None:
                self._take_in_error(entry, flight.spec, error, now)
            elif task_id in findings.missing:
                self._take_in_miss(entry, flight.spec, now)
            else:
                self._ask_first(key, now)

    def _take_in(self, entry: Entry, spec: ProviderSpec, reading: Reading, now: float) -> None:
        """Settle a task that has ended, and ask again for one that has not."""
        task = reading.task
        if task.state is TaskState.NOT_FOUND:
            self._take_in_miss(entry, spec, now)
            return
        entry.misses = entry.unreadable = 0
        entry.unconfirmed = entry.unconfirmed + 1 if reading.unconfirmed else 0
        if entry.unconfirmed >= self._policy.unconfirmed_polls:
            task = read_record(spec, task.raw, task_id=task.id, confirmed=True).task
        if self._pending.note(entry, task):
            word = reading.unknown_word
            self._emit(TaskChanged(time=now, provider=spec.slug, task=task, unknown_word=word))
        if task.state.is_terminal:
            self._settle(entry.key, task)
        else:
            self._ask_again(entry, spec, now)

    def _take_in_miss(self, entry: Entry, spec: ProviderSpec, now: float) -> None:
        """Ask again for a task that the service has no trace of, until the grace is over."""
        entry.misses += 1
        if entry.misses == 1:
            entry.missing_since = now
        grace = max(self._policy.missing_grace, spec.missing_grace)
        if is_gone(entry.misses, now - entry.missing_since, polls=self._policy.missing_polls, grace=grace):
            gone = Task(provider=spec.slug, id=entry.key[1], state=TaskState.NOT_FOUND)
            self._pending.note(entry, gone)
            self._settle(entry.key, gone)
        else:
            self._ask_again(entry, spec, now)

    def _take_in_error(self, entry: Entry, spec: ProviderSpec, error: AceTasksError, now: float) -> None:
        """Settle whoever an error is final for, and ask again for the rest."""
        # 1. The token: everything under it.   2. The provider: everything of it.
        if isinstance(error, AuthenticationError):
            self._fail_all((key for key in self._pending if lookup(key[0]).service is spec.service), error)
        elif isinstance(error, PermissionDeniedError | UnknownProviderError):
            self._fail_all((key for key in self._pending if key[0] == spec.slug), error)
        # 3. A record that is there but cannot be read: final for its task once it has stayed so.
        elif isinstance(error, ProtocolError) and not error.transient:
            entry.unreadable += 1
            if entry.unreadable >= self._policy.unconfirmed_polls:
                self._settle(entry.key, error)
            else:
                self._ask_again(entry, spec, now)
        # 4. A passing fault: the task stays pending.   5. Anything else is final for this task.
        elif error.transient:
            self._ask_again(entry, spec, now)
        else:
            self._settle(entry.key, error)

    def _note_health(self, spec: ProviderSpec, findings: Findings, now: float) -> None:
        """Hold back after passing faults, or no longer after an answer."""
        faults = [error for error in findings.errors.values() if error.transient]
        if faults:
            self._holds.note_faults(spec, faults, now, self._rng.random())
        elif findings.readings or findings.missing:
            self._holds.note_answer(spec)

    def _note_pauses(self, flight: _Flight, now: float) -> None:
        """Remember when each id of a provider that asks for pauses may be asked again, whoever wants it then."""
        pause = flight.spec.min_interval
        if pause:
            if len(self._pauses) >= _PAUSES_KEPT:
                self._pauses = {key: until for key, until in self._pauses.items() if until > now}
            self._pauses.update(((flight.spec.slug, task_id), now + pause) for task_id in flight.ids)

    def _ask_first(self, key: Key, due: float) -> None:
        self._agenda.add(*key, max(due, self._pauses.get(key, due)))

    def _ask_again(self, entry: Entry, spec: ProviderSpec, now: float) -> None:
        interval = spec.poll_interval(self._policy.interval)
        due = plan_next_look(now, interval, self._policy.jitter, self._rng.random())
        self._agenda.add(spec.slug, entry.key[1], due)

    def _fail_all(self, keys: Iterable[Key], error: AceTasksError) -> None:
        for key in keys:
            self._settle(key, error)

    def _settle(self, key: Key, outcome: Outcome) -> None:
        """Give everybody who waits for a task its end, and stop asking for it."""
        waiters = self._pending.settle(key, outcome)
        self._drop(key)
        if isinstance(outcome, Task):
            self._emit(TaskSettled(time=self._clock(), provider=key[0], task=outcome, waiters=waiters))

    def _drop(self, key: Key) -> None:
        """Stop asking for a task: void its turn, and cancel a request that nobody wants anything of any more."""
        self._agenda.discard(*key)
        flight = self._flights.get(key)
        if flight is not None:
            flight.wanted.discard(key[1])
            if not flight.wanted:
                flight.scope.cancel()
        if not self._pending:
            self._wake.set()
