"""Pending: every waiter is settled exactly once or has left, and nobody else is touched."""

from __future__ import annotations

import asyncio
import math
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from acetasks import ClientClosedError, ServiceError, Task, TaskState
from acetasks.pending import Pending, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

    from acetasks import AceTasksError
    from acetasks.pending import Entry, Key, Outcome, Waiter

LUMA: Key = ("luma", "t-1")
#: The same id under another provider is another task.
FLUX: Key = ("flux", "t-1")


def seen(key: Key, state: TaskState = TaskState.RUNNING, progress: float | None = None) -> Task:
    """Make a task as a look would have seen it."""
    return Task(provider=key[0], id=key[1], state=state, progress=progress)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that is never run: nothing here needs it to be."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pending(loop: asyncio.AbstractEventLoop) -> Pending:
    """Nobody waits yet."""
    return Pending(loop.create_future)


def keys(pending: Pending) -> list[Key]:
    """List the ids that somebody waits for."""
    return [entry.key for entry in pending]


def assert_empty(pending: Pending) -> None:
    """Check that nothing is kept."""
    assert len(pending) == 0
    assert list(pending) == []
    assert pending.next_deadline() == math.inf
    assert repr(pending) == "<Pending 0 ids, 0 waiters>"


class TestRegister:
    """`register`: a future for each waiter."""

    def test_nobody_waits_at_first(self, pending: Pending) -> None:
        """A new one is empty."""
        assert_empty(pending)
        assert LUMA not in pending
        assert pending.get(LUMA) is None

    def test_two_waiters_of_one_id_share_its_entry(self, pending: Pending) -> None:
        """Each waiter has a future of its own, and the id is there once."""
        first, second = pending.register(LUMA), pending.register(LUMA)

        assert first.future is not second.future
        assert not first.future.done()
        assert keys(pending) == [LUMA]
        assert LUMA in pending
        assert FLUX not in pending
        entry = pending.get(LUMA)
        assert entry is not None
        assert entry.key == first.key == second.key == LUMA
        assert entry.waiters == [first, second]
        assert first.entry is second.entry is entry
        assert repr(pending) == "<Pending 1 ids, 2 waiters>"

    def test_nothing_is_known_of_a_new_id(self, pending: Pending) -> None:
        """An id begins without looks, trouble, a turn or a request, as a task that is pending."""
        entry = pending.register(LUMA).entry

        assert entry.task is None
        assert entry.last_seen == seen(LUMA, TaskState.PENDING)
        assert (entry.trouble, entry.turn, entry.flight) == (None, None, None)

    def test_trouble_begins_without_counts(self) -> None:
        """No look has been in vain yet."""
        trouble = Trouble()

        assert (trouble.misses, trouble.unconfirmed, trouble.unreadable) == (0, 0, 0)
        assert (trouble.faults, trouble.suspicion) == (0, 0)
        assert (trouble.missing_since, trouble.faulted_at) == (math.inf, math.inf)
        assert trouble.fault is None

    def test_nothing_is_remembered_of_an_id_that_was_dropped(self, pending: Pending) -> None:
        """Whoever comes after the last has left starts anew."""
        waiter = pending.register(LUMA)
        entry = pending.get(LUMA)
        assert entry is not None
        pending.note(entry, seen(LUMA, progress=50.0))
        entry.trouble = Trouble()
        pending.leave(waiter)
        anew = pending.register(LUMA).entry

        assert anew is not entry
        assert (anew.task, anew.trouble) == (None, None)

    def test_going_through_yields_what_is_known_of_each_id(self, pending: Pending) -> None:
        """Each entry comes up once, in the order in which somebody began to wait for it."""
        first, second, _ = (pending.register(key) for key in (FLUX, LUMA, FLUX))

        assert list(pending) == [first.entry, second.entry]

    def test_the_ids_can_be_settled_while_they_are_gone_through(self, pending: Pending) -> None:
        """Going through the ids is going through those that there were at its beginning."""
        for number in range(5):
            pending.register(("luma", f"t-{number}"))

        assert [pending.settle(entry, seen(entry.key)) for entry in pending] == [1] * 5
        assert_empty(pending)


class TestLeave:
    """`leave`: one waiter less."""

    def test_the_last_to_leave_drops_the_id(self, pending: Pending) -> None:
        """Only the last one's leaving says that the id must no longer be asked."""
        first, second = pending.register(LUMA), pending.register(LUMA)

        assert pending.leave(first) is False
        assert keys(pending) == [LUMA]
        assert not second.future.done()
        assert pending.leave(second) is True
        assert_empty(pending)

    def test_the_future_of_one_who_leaves_is_cancelled(self, pending: Pending) -> None:
        """Nobody can wait for it by mistake."""
        waiter = pending.register(LUMA)
        pending.leave(waiter)

        assert waiter.future.cancelled()

    def test_leaving_twice_changes_nothing(self, pending: Pending) -> None:
        """The second time tells that nothing was dropped, even if somebody else waits for the id again."""
        waiter = pending.register(LUMA)
        assert pending.leave(waiter) is True
        assert pending.leave(waiter) is False
        other = pending.register(LUMA)

        assert pending.leave(waiter) is False
        assert not other.future.done()

    def test_leaving_after_the_end_drops_nothing(self, pending: Pending) -> None:
        """One who was given the outcome keeps it, and whoever waits for the id since then stays."""
        waiter = pending.register(LUMA)
        done = seen(LUMA, TaskState.SUCCEEDED)
        pending.settle(waiter.entry, done)
        pending.register(LUMA)

        assert pending.leave(waiter) is False
        assert waiter.future.result() is done
        assert keys(pending) == [LUMA]


class TestSettle:
    """`settle`: the same outcome for every waiter of an id."""

    @pytest.mark.parametrize("outcome", [seen(LUMA, TaskState.SUCCEEDED), ServiceError("busy")])
    def test_every_waiter_of_the_id_gets_the_outcome(self, pending: Pending, outcome: Outcome) -> None:
        """A task or an error is given as a result, never as an exception, and the id is forgotten."""
        waiters = [pending.register(LUMA) for _ in range(3)]
        other = pending.register(FLUX)

        assert pending.settle(waiters[0].entry, outcome) == 3
        assert all(waiter.future.result() is outcome for waiter in waiters)
        assert not other.future.done()
        assert keys(pending) == [FLUX]

    def test_an_entry_that_nobody_waits_for_is_passed_over(self, pending: Pending) -> None:
        """There is nobody to give the outcome to, and those who wait for the id since then get none of it."""
        waiter = pending.register(LUMA)
        pending.leave(waiter)
        later = pending.register(LUMA)

        assert pending.settle(waiter.entry, seen(LUMA)) == 0
        assert not later.future.done()
        assert keys(pending) == [LUMA]

    def test_settling_twice_gives_nothing_twice(self, pending: Pending) -> None:
        """The first outcome stands."""
        waiter = pending.register(LUMA)
        done = seen(LUMA, TaskState.SUCCEEDED)

        assert pending.settle(waiter.entry, done) == 1
        assert pending.settle(waiter.entry, ServiceError("busy")) == 0
        assert waiter.future.result() is done
        assert_empty(pending)

    def test_one_who_was_cancelled_and_has_not_left_is_given_nothing(self, pending: Pending) -> None:
        """A cancelled future stays cancelled, and the others get theirs."""
        cancelled, other = pending.register(LUMA), pending.register(LUMA)
        cancelled.future.cancel()
        pending.settle(other.entry, seen(LUMA))

        assert cancelled.future.cancelled()
        assert other.future.result() == seen(LUMA)
        assert pending.leave(cancelled) is False
        assert_empty(pending)


class TestLand:
    """`land`: an entry that nobody waits for is kept until the request that asks for it has come back."""

    @pytest.mark.parametrize("end", ["leave", "expire", "settle"])
    def test_who_comes_before_the_landing_finds_what_is_known(self, pending: Pending, end: str) -> None:
        """However everybody's waiting ended, the next one takes over the entry with its task, trouble and request."""
        waiter = pending.register(LUMA, deadline=10.0)
        entry = waiter.entry
        entry.flight = flight = object()
        look = seen(LUMA, progress=50.0)
        pending.note(entry, look)
        entry.trouble = trouble = Trouble()
        if end == "leave":
            assert pending.leave(waiter) is True
        elif end == "expire":
            assert pending.expire(10.0) == [entry]
        else:
            assert pending.settle(entry, ServiceError("busy")) == 1
        assert_empty(pending)
        assert LUMA not in pending
        assert pending.get(LUMA) is None
        heard: list[Task] = []
        later = pending.register(LUMA, on_change=heard.append)

        assert later.entry is entry is pending.get(LUMA)
        assert (entry.task, entry.trouble, entry.flight) == (look, trouble, flight)
        assert heard == [look]
        assert entry.waiters == [later]
        assert not later.future.done()
        pending.land(entry)
        assert entry.flight is None
        assert keys(pending) == [LUMA]

    def test_who_comes_after_the_landing_starts_anew(self, pending: Pending) -> None:
        """Once the request has come back, nothing is kept of an entry that nobody waits for."""
        waiter = pending.register(LUMA)
        waiter.entry.flight = object()
        pending.note(waiter.entry, seen(LUMA, progress=50.0))
        pending.leave(waiter)
        pending.land(waiter.entry)
        later = pending.register(LUMA)

        assert waiter.entry.flight is None
        assert later.entry is not waiter.entry
        assert later.entry.task is None

    def test_landing_takes_nobody_off(self, pending: Pending) -> None:
        """Those who wait go on waiting; only when the last one leaves is the entry dropped, and at once."""
        first, second = pending.register(LUMA), pending.register(LUMA)
        entry = first.entry
        entry.flight = object()
        pending.leave(first)
        pending.land(entry)

        assert entry.waiters == [second]
        assert pending.get(LUMA) is entry
        assert pending.leave(second) is True
        assert pending.register(LUMA).entry is not entry

    def test_another_may_leave_and_come_while_it_is_under_way(self, pending: Pending) -> None:
        """The entry is the same however often it is left and taken over before the landing, and only until then."""
        entry = pending.register(LUMA).entry
        entry.flight = object()
        for _ in range(3):
            (waiter,) = entry.waiters
            assert pending.leave(waiter) is True
            assert pending.register(LUMA).entry is entry
        pending.land(entry)

        assert keys(pending) == [LUMA]
        (last,) = entry.waiters
        pending.leave(last)
        assert pending.register(LUMA).entry is not entry

    def test_nothing_is_kept_of_what_has_landed(self, pending: Pending) -> None:
        """Thousands that are left while they are asked for leave nothing behind."""
        futures = []
        for number in range(1000):
            waiter = pending.register(("luma", f"t-{number}"))
            futures.append(weakref.ref(waiter.future))
            entry = waiter.entry
            entry.flight = object()
            pending.settle(entry, seen(entry.key))
            pending.land(entry)
            del waiter, entry

        assert sum(future() is not None for future in futures) == 0
        assert_empty(pending)


class TestNote:
    """`note`: a task as last seen, told to those who follow it."""

    def test_only_news_is_told(self, pending: Pending) -> None:
        """The first look, another state and another progress are news; the same again is none, and is kept."""
        heard: list[Task] = []
        pending.register(LUMA, on_change=heard.append)
        pending.register(LUMA)
        entry = pending.get(LUMA)
        assert entry is not None
        looks = [
            (seen(LUMA, TaskState.PENDING), True),
            (seen(LUMA, TaskState.PENDING), False),
            (seen(LUMA, TaskState.RUNNING), True),
            (seen(LUMA, TaskState.RUNNING, 10.0), True),
            (seen(LUMA, TaskState.RUNNING, 10.0), False),
            (seen(LUMA, TaskState.SUCCEEDED, 10.0), True),
        ]

        for look, is_news in looks:
            assert pending.note(entry, look) is is_news
            assert entry.task is look
            assert entry.last_seen is look
        assert heard == [look for look, is_news in looks if is_news]

    def test_everybody_who_follows_is_told_once(self, pending: Pending) -> None:
        """Each follower of the id hears of a change once, and no follower of another id does."""
        heard: list[list[Task]] = [[], [], []]
        for key, ears in zip((LUMA, LUMA, FLUX), heard, strict=True):
            pending.register(key, on_change=ears.append)
        entry = pending.get(LUMA)
        assert entry is not None
        pending.note(entry, seen(LUMA))

        assert heard == [[seen(LUMA)], [seen(LUMA)], []]

    def test_one_who_has_left_hears_nothing(self, pending: Pending) -> None:
        """Leaving ends the following."""
        heard: list[Task] = []
        waiter = pending.register(LUMA, on_change=heard.append)
        pending.register(LUMA)
        pending.leave(waiter)
        entry = pending.get(LUMA)
        assert entry is not None
        pending.note(entry, seen(LUMA))

        assert heard == []

    def test_one_who_comes_late_is_told_what_is_known(self, pending: Pending) -> None:
        """To one who follows a task that was seen before, the next look at it is the first, changed or not."""
        pending.register(LUMA)
        entry = pending.get(LUMA)
        assert entry is not None
        pending.note(entry, seen(LUMA, progress=50.0))
        heard: list[Task] = []
        pending.register(LUMA, on_change=heard.append)
        for _ in range(2):
            pending.note(entry, seen(LUMA, progress=50.0))

        assert heard == [seen(LUMA, progress=50.0)]


class TestExpire:
    """`expire` and `next_deadline`: limits of single waiters."""

    def test_one_whose_limit_has_passed_is_given_the_task_as_last_seen(self, pending: Pending) -> None:
        """The limit is reached at its very time, and ends the waiting of that waiter only."""
        short = pending.register(LUMA, deadline=10.0)
        long = pending.register(LUMA, deadline=20.0)
        endless = pending.register(LUMA)
        entry = pending.get(LUMA)
        assert entry is not None
        look = seen(LUMA, progress=50.0)
        pending.note(entry, look)

        assert pending.next_deadline() == 10.0
        assert pending.expire(9.999) == []
        assert not short.future.done()
        assert pending.expire(10.0) == []
        assert short.future.result() is look
        assert not long.future.done()
        assert not endless.future.done()
        assert pending.next_deadline() == 20.0

    def test_a_task_that_was_never_seen_is_pending(self, pending: Pending) -> None:
        """What one gets who waited for nothing is a task of which nothing is known."""
        waiter = pending.register(LUMA, deadline=10.0)
        pending.expire(10.0)

        assert waiter.future.result() == seen(LUMA, TaskState.PENDING)

    def test_one_whose_limit_has_passed_is_told_of_the_last_looks_fault(self, pending: Pending) -> None:
        """Why nothing better is known of the task is the fault as it is at that time, each waiter's own."""
        first, second, third = (pending.register(LUMA, deadline=deadline) for deadline in (10.0, 20.0, 30.0))
        other = pending.register(FLUX, deadline=20.0)
        entry = pending.get(LUMA)
        assert entry is not None
        pending.expire(10.0)
        entry.trouble = Trouble()
        entry.trouble.fault = fault = ServiceError("busy")
        pending.expire(20.0)
        entry.trouble.fault = None
        pending.expire(30.0)

        assert first.fault is None
        assert second.fault is fault
        assert third.fault is None
        assert other.fault is None

    @pytest.mark.parametrize("end", ["leave", "settle"])
    def test_who_is_done_before_the_limit_has_no_fault(self, pending: Pending, end: str) -> None:
        """An outcome says all that there is to say."""
        waiter = pending.register(LUMA, deadline=10.0)
        entry = pending.get(LUMA)
        assert entry is not None
        entry.trouble = Trouble()
        entry.trouble.fault = ServiceError("busy")
        if end == "leave":
            pending.leave(waiter)
        else:
            pending.settle(waiter.entry, seen(LUMA, TaskState.SUCCEEDED))
        pending.expire(15.0)

        assert waiter.fault is None

    def test_ids_that_nobody_waits_for_any_more_are_told(self, pending: Pending) -> None:
        """An id is dropped with its last waiter, and told once, however many of its limits pass together."""
        entries = [pending.register(key, deadline=10.0).entry for key in (LUMA, LUMA, FLUX)]
        stays = pending.register(FLUX, deadline=30.0)

        assert pending.expire(15.0) == [entries[0]]
        assert keys(pending) == [FLUX]
        assert not stays.future.done()
        assert pending.expire(15.0) == []

    def test_there_is_no_deadline_without_limits(self, pending: Pending) -> None:
        """Infinity is for never."""
        pending.register(LUMA)

        assert pending.next_deadline() == math.inf
        assert pending.expire(1e12) == []

    @pytest.mark.parametrize("end", ["leave", "settle", "cancel"])
    def test_the_limit_of_one_who_is_done_is_void(self, pending: Pending, end: str) -> None:
        """A limit ends nothing, and wakes nobody up, once its waiter has left or has an outcome."""
        waiter = pending.register(LUMA, deadline=10.0)
        pending.register(FLUX, deadline=20.0)
        if end == "leave":
            pending.leave(waiter)
        elif end == "settle":
            pending.settle(waiter.entry, seen(LUMA))
        else:
            waiter.future.cancel()
        later = pending.register(LUMA)

        assert pending.next_deadline() == 20.0
        assert pending.expire(15.0) == []
        assert not later.future.done()

    @pytest.mark.parametrize("end", ["leave", "settle"])
    def test_void_limits_do_not_pile_up(self, pending: Pending, end: str) -> None:
        """Waiting with a limit that is never reached, for ever, keeps no more than a few of the waiters."""
        pending.register(FLUX, deadline=1.0)
        futures = []
        for number in range(5000):
            waiter = pending.register(LUMA, deadline=100.0 + number)
            futures.append(weakref.ref(waiter.future))
            if end == "leave":
                pending.leave(waiter)
            else:
                pending.settle(waiter.entry, seen(LUMA))
            del waiter

        assert sum(future() is not None for future in futures) < 200
        assert pending.next_deadline() == 1.0


class TestClose:
    """`close`: the same error for everybody."""

    def test_everybody_gets_the_error(self, pending: Pending) -> None:
        """Whoever waits, for whatever, is given the error as a result."""
        waiters = [pending.register(key, deadline=10.0) for key in (LUMA, LUMA, FLUX)]
        error = ClientClosedError("closed")
        pending.close(error)

        assert all(waiter.future.result() is error for waiter in waiters)
        assert_empty(pending)


KEYS = st.sampled_from([LUMA, FLUX, ("luma", "t-2")])
Sight = tuple[TaskState, float | None]


class Seat:
    """A waiter as it should be."""

    def __init__(self, waiter: Waiter, key: Key, deadline: float, heard: list[Task], known: Task | None) -> None:
        self.waiter = waiter
        self.key = key
        self.deadline = deadline
        self.heard = heard
        self.known = known
        #: `waits`, then `has an outcome` or `is cancelled`; the latter stays on its id until it leaves.
        self.status = "waits"
        self.outcome: Outcome | None = None
        self.should_hear: list[Sight] = []


class PendingMachine(RuleBasedStateMachine):
    """Waiters come, are cancelled, leave, run out of time and are settled in any order, while requests come and go.

    Beside it stands the simplest model: for each id the seats of those who wait for it, the task last seen, and the
    entry that is part of a request.
    """

    seats: Bundle[Seat] = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.pending = Pending(self.loop.create_future)
        self.now = 0.0
        self.all_seats: list[Seat] = []
        self.present: dict[Key, list[Seat]] = {}
        self.last: dict[Key, Task] = {}
        self.flying: dict[Key, Entry] = {}

    def teardown(self) -> None:
        """Let everybody leave: nothing may be kept then."""
        for seat in self.all_seats:
            self.leave(seat)
        self.loop.close()
        assert_empty(self.pending)

    # What happens.

    @rule(target=seats, key=KEYS, limit=st.none() | st.integers(0, 5))
    def register(self, key: Key, limit: int | None) -> Seat:
        """Somebody begins to wait."""
        deadline = math.inf if limit is None else self.now + limit
        heard: list[Task] = []
        waiter = self.pending.register(key, deadline=deadline, on_change=heard.append)
        assert waiter.entry is self.flying.get(key, waiter.entry)
        known = self.last.get(key)
        assert (waiter.entry.task, heard) == (known, [] if known is None else [known])
        seat = Seat(waiter, key, deadline, heard, known)
        self.all_seats.append(seat)
        self.present.setdefault(key, []).append(seat)
        return seat

    @precondition(lambda self: self.present)
    @rule(
        data=st.data(),
        state=st.sampled_from([TaskState.PENDING, TaskState.RUNNING]),
        progress=st.sampled_from([None, 10.0, 20.0]),
    )
    def look(self, data: st.DataObject, state: TaskState, progress: float | None) -> None:
        """A look sees the task unfinished."""
        self.note(data.draw(st.sampled_from(sorted(self.present))), state, progress)

    @precondition(lambda self: self.present)
    @rule(data=st.data(), state=st.sampled_from([state for state in TaskState if state.is_terminal]))
    def finish(self, data: st.DataObject, state: TaskState) -> None:
        """A look sees the task's end."""
        key = data.draw(st.sampled_from(sorted(self.present)))
        self.settle(key, self.note(key, state, None))

    @rule(seat=seats)
    def fail(self, seat: Seat) -> None:
        """Something is final for whoever waits with one who may have left, or have its outcome, long since."""
        entry = seat.waiter.entry
        seats = self.present.get(seat.key, [])
        if any(other.waiter.entry is entry for other in seats):
            self.settle(seat.key, ServiceError("busy"))
        else:
            assert self.pending.settle(entry, ServiceError("busy")) == 0

    @precondition(lambda self: self.present.keys() - self.flying.keys())
    @rule(data=st.data())
    def take_off(self, data: st.DataObject) -> None:
        """A request begins to ask for an id."""
        key = data.draw(st.sampled_from(sorted(self.present.keys() - self.flying.keys())))
        entry = self.pending.get(key)
        assert entry is not None
        entry.flight = object()
        self.flying[key] = entry

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        """The request has come back, whether anybody still waits for the id or not."""
        key = data.draw(st.sampled_from(sorted(self.flying)))
        entry = self.flying.pop(key)
        self.pending.land(entry)
        assert entry.flight is None
        self.drop_empty()

    @rule(seat=seats)
    def cancel(self, seat: Seat) -> None:
        """The awaiting task is cancelled, and its future with it, before it comes to leave."""
        assert seat.waiter.future.cancel() is (seat.status == "waits")
        if seat.status == "waits":
            seat.status = "is cancelled"

    @rule(seat=seats)
    def leave(self, seat: Seat) -> None:
        """A waiter leaves, for the first time or again, with or without an outcome."""
        seats = self.present.get(seat.key, [])
        was_present = seat in seats
        if was_present:
            seats.remove(seat)

        assert self.pending.leave(seat.waiter) is (was_present and not seats)
        if was_present and seat.status == "waits":
            seat.status = "is cancelled"
        self.drop_empty()

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        """Time passes, and nobody looks at the clock yet."""
        self.now += seconds

    @rule()
    def expire(self) -> None:
        """Limits have passed."""
        before = set(self.present)
        dropped = self.pending.expire(self.now)

        for key, seats in self.present.items():
            entry = self.pending.get(key)
            for seat in [seat for seat in seats if seat.deadline <= self.now]:
                if seat.status == "waits":
                    self.give(seat, self.last.get(key) or seen(key, TaskState.PENDING))
                    seats.remove(seat)
                elif entry is None or seat.waiter not in entry.waiters:
                    # One who was cancelled, and is on the way out, may be taken off or left to leave.
                    seats.remove(seat)
        self.drop_empty()
        assert sorted(entry.key for entry in dropped) == sorted(before - set(self.present))
        assert not any(entry.waiters for entry in dropped)

    @rule()
    def close(self) -> None:
        """The client is closed."""
        error = ClientClosedError("closed")
        for key in list(self.present):
            for seat in self.present[key]:
                self.give(seat, error)
            self.present[key].clear()
        self.drop_empty()
        self.pending.close(error)

    # What should come of it.

    def note(self, key: Key, state: TaskState, progress: float | None) -> Task:
        """Have a look noted, in both."""
        look = seen(key, state, progress)
        last = self.last.get(key)
        is_news = last is None or (last.state, last.progress) != (state, progress)
        self.last[key] = look
        if is_news:
            for seat in self.present[key]:
                seat.should_hear.append((state, progress))
        entry = self.pending.get(key)
        assert entry is not None
        assert self.pending.note(entry, look) is is_news
        return look

    def settle(self, key: Key, outcome: Task | AceTasksError) -> None:
        """Have an id settled, in both."""
        entry = self.pending.get(key)
        assert entry is not None
        seats = self.present.pop(key)
        for seat in seats:
            self.give(seat, outcome)
        self.drop_empty()
        assert self.pending.settle(entry, outcome) == len(seats)

    @staticmethod
    def give(seat: Seat, outcome: Outcome) -> None:
        """Give a waiter its outcome, unless it was cancelled."""
        if seat.status == "waits":
            seat.status = "has an outcome"
            seat.outcome = outcome

    def drop_empty(self) -> None:
        """Forget the ids that nobody waits for; what is known of those that are being asked for is kept."""
        self.present = {key: seats for key, seats in self.present.items() if seats}
        kept = self.present.keys() | self.flying.keys()
        self.last = {key: task for key, task in self.last.items() if key in kept}

    @invariant()
    def futures_are_right(self) -> None:
        """Every waiter waits, has exactly the outcome that it was given, or was cancelled; no other is touched."""
        for seat in self.all_seats:
            future = seat.waiter.future
            assert future.done() is (seat.status != "waits")
            assert future.cancelled() is (seat.status == "is cancelled")
            if seat.status == "has an outcome":
                assert future.result() == seat.outcome

    @invariant()
    def changes_were_heard_once(self) -> None:
        """Each waiter heard every change since it came, once; it may have been told first what was known then."""
        for seat in self.all_seats:
            heard = [(task.state, task.progress) for task in seat.heard]
            if seat.known is not None and len(heard) > len(seat.should_hear):
                assert heard.pop(0) == (seat.known.state, seat.known.progress)
            assert heard == seat.should_hear

    @invariant()
    def ids_are_right(self) -> None:
        """What is kept is exactly the ids that somebody waits for, each with those who do and the task last seen."""
        assert sorted(entry.key for entry in self.pending) == sorted(self.present)
        assert len(self.pending) == len(self.present)
        for key, seats in self.present.items():
            entry = self.pending.get(key)
            assert key in self.pending
            assert entry is not None
            assert entry.waiters == [seat.waiter for seat in seats]
            assert all(seat.waiter.entry is entry for seat in seats)
            assert entry is self.flying.get(key, entry)
            assert entry.last_seen == self.last.get(key, seen(key, TaskState.PENDING))
        waiters = sum(map(len, self.present.values()))
        assert repr(self.pending) == f"<Pending {len(self.present)} ids, {waiters} waiters>"

    @invariant()
    def next_deadline_is_right(self) -> None:
        """The next limit is that of one who waits; with nobody waiting there is none."""
        deadlines = [seat.deadline for seat in self.all_seats if seat.status == "waits"]
        assert self.pending.next_deadline() == min(deadlines, default=math.inf)


TestPending = PendingMachine.TestCase
