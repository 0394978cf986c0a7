"""Pending: every waiter is settled exactly once for each id or has left, and nobody else is touched."""

from __future__ import annotations

import gc
import math
import weakref
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from acetasks import ServiceError, Task, TaskState
from acetasks.entries import Batch, Entry, Trouble, Waiter
from acetasks.pending import Pending
from acetasks.providers import Reading, lookup, read_record

if TYPE_CHECKING:
    from acetasks.entries import Key, Outcome

LUMA: Key = ("luma", "t-1")
#: The same id under another provider is another task.
FLUX: Key = ("flux", "t-1")
WORDS = {TaskState.PENDING: "queued", TaskState.RUNNING: "processing", TaskState.SUCCEEDED: "completed"}


def read(key: Key, state: TaskState = TaskState.RUNNING, progress: float | None = None) -> Reading:
    """Read a record as a look would have brought it."""
    response = {"state": WORDS.get(state, "failed"), "progress": progress}
    return read_record(lookup(key[0]), msgspec.json.encode({"id": key[1], "response": response}))


def seen(key: Key, state: TaskState = TaskState.RUNNING, progress: float | None = None) -> Task:
    """Make a task as a look would have seen it."""
    return read(key, state, progress).task


def unknown(key: Key) -> Task:
    """Make a task of which nothing is known."""
    return Task(provider=key[0], id=key[1], state=TaskState.PENDING)


class Listener(Waiter):
    """A waiter that writes down what it is told."""

    __slots__ = ("__weakref__", "expired", "heard", "outcomes")

    def __init__(self, deadline: float = math.inf) -> None:
        super().__init__(deadline)
        self.outcomes: list[tuple[Entry, Outcome]] = []
        self.heard: list[Task] = []
        self.expired = 0

    def settle(self, entry: Entry, outcome: Outcome) -> None:
        """Write the outcome down."""
        self.outcomes.append((entry, outcome))

    def change(self, task: Task) -> None:
        """Write the change down."""
        self.heard.append(task)

    def expire(self) -> None:
        """Write down that the limit has passed."""
        self.expired += 1


class Follower(Listener):
    """One who also wants to be told of changes."""

    __slots__ = ()

    follows = True


@pytest.fixture
def pending() -> Pending:
    """Nobody waits yet."""
    return Pending()


def keys(pending: Pending) -> list[Key]:
    """List the ids that somebody waits for."""
    return [entry.key for entry in pending]


def register(pending: Pending, *names: Key, deadline: float = math.inf, follows: bool = False) -> Listener:
    """Have one who is new wait for some ids, with one limit for all of them."""
    waiter = Follower(deadline) if follows else Listener(deadline)
    for key in names:
        pending.register(key, waiter)
    pending.limit(waiter)
    return waiter


def find(pending: Pending, key: Key = LUMA) -> Entry:
    """Find what is known of an id that somebody waits for."""
    entry = pending.get(key)
    assert entry is not None
    return entry


def assert_empty(pending: Pending) -> None:
    """Check that nothing is kept."""
    assert len(pending) == 0
    assert list(pending) == []
    assert pending.next_deadline() == math.inf
    assert repr(pending) == "<Pending 0 ids, 0 waiters>"


class TestRegister:
    """`register`: an entry for each id, and its waiters."""

    def test_nobody_waits_at_first(self, pending: Pending) -> None:
        """A new one is empty."""
        assert_empty(pending)
        assert LUMA not in pending
        assert pending.get(LUMA) is None

    def test_two_waiters_of_one_id_share_its_entry(self, pending: Pending) -> None:
        """Whoever comes later is given the same entry, and the id is there once."""
        first, second = Listener(), Listener()
        entry = pending.register(LUMA, first)

        assert pending.register(LUMA, second) is entry is pending.get(LUMA)
        assert keys(pending) == [LUMA]
        assert LUMA in pending
        assert FLUX not in pending
        assert entry.key == LUMA
        assert entry.waiters == (first, second)
        assert repr(pending) == "<Pending 1 ids, 2 waiters>"

    def test_one_waiter_can_wait_for_many_ids(self, pending: Pending) -> None:
        """It is on each of their entries, and those whom nobody else waits for share one tuple of it."""
        waiter = register(pending, LUMA, FLUX)

        assert keys(pending) == [LUMA, FLUX]
        assert [entry.waiters for entry in pending] == [(waiter,)] * 2
        assert all(entry.waiters is waiter.alone for entry in pending)
        assert repr(pending) == "<Pending 2 ids, 2 waiters>"

    def test_nothing_is_known_of_a_new_id(self, pending: Pending) -> None:
        """An id begins without looks, trouble, a turn or a request, as a task that is pending."""
        entry = pending.register(LUMA, Listener())

        assert (entry.record, entry.state, entry.progress) == (None, TaskState.PENDING, None)
        assert entry.last_seen == unknown(LUMA)
        assert (entry.trouble, entry.fault, entry.batch, entry.kind) == (None, None, None, None)
        assert math.isnan(entry.born)
        assert math.isnan(entry.seen_at)

    def test_trouble_begins_without_counts(self) -> None:
        """No look has been in vain yet."""
        trouble = Trouble()

        assert (trouble.misses, trouble.unconfirmed, trouble.unreadable) == (0, 0, 0)
        assert (trouble.faults, trouble.suspicion) == (0, 0)
        assert (trouble.missing_since, trouble.faulted_at) == (math.inf, math.inf)
        assert trouble.fault is None

    def test_the_fault_is_that_of_the_trouble(self, pending: Pending) -> None:
        """Whoever's limit passes is told why nothing better is known, as it is then."""
        entry = pending.register(LUMA, Listener())
        entry.trouble = Trouble()
        assert entry.fault is None
        entry.trouble.fault = fault = ServiceError("busy")

        assert entry.fault is fault

    def test_nothing_is_remembered_of_an_id_that_was_dropped(self, pending: Pending) -> None:
        """Whoever comes after the last has left starts anew."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        pending.note(entry, read(LUMA, progress=50.0))
        entry.trouble = Trouble()
        pending.leave(entry, waiter)
        anew = pending.register(LUMA, Listener())

        assert anew is not entry
        assert (anew.record, anew.trouble) == (None, None)

    def test_going_through_yields_what_is_known_of_each_id(self, pending: Pending) -> None:
        """Each entry comes up once, in the order in which somebody began to wait for it."""
        first, second, _ = (pending.register(key, Listener()) for key in (FLUX, LUMA, FLUX))

        assert list(pending) == [first, second]

    def test_the_ids_can_be_settled_while_they_are_gone_through(self, pending: Pending) -> None:
        """Going through the ids is going through those that there were at its beginning."""
        waiter = register(pending, *(("luma", f"t-{number}") for number in range(5)))

        assert [pending.settle(entry, seen(entry.key)) for entry in pending] == [1] * 5
        assert [entry.key[1] for entry, _ in waiter.outcomes] == [f"t-{number}" for number in range(5)]
        assert_empty(pending)

    def test_many_entries_are_nothing_for_the_garbage_collector(self, pending: Pending) -> None:
        """Hundreds of thousands that wait cost no pause of its own."""
        entry = pending.register(LUMA, Listener())

        assert not gc.is_tracked(entry)


class TestLeave:
    """`leave`: one waiter less."""

    def test_the_last_to_leave_drops_the_id(self, pending: Pending) -> None:
        """Only the last one's leaving says that the id must no longer be asked."""
        first, second = Listener(), Listener()
        entry = pending.register(LUMA, first)
        pending.register(LUMA, second)

        assert pending.leave(entry, first) is False
        assert keys(pending) == [LUMA]
        assert entry.waiters == (second,)
        assert pending.leave(entry, second) is True
        assert entry.waiters == ()
        assert_empty(pending)

    def test_one_who_leaves_one_id_stays_on_the_others(self, pending: Pending) -> None:
        """Each id is left on its own."""
        waiter = register(pending, LUMA, FLUX)

        assert pending.leave(find(pending, LUMA), waiter) is True
        assert keys(pending) == [FLUX]
        assert find(pending, FLUX).waiters == (waiter,)

    def test_who_has_left_is_told_nothing(self, pending: Pending) -> None:
        """Neither a change nor the end."""
        leaves, stays = (register(pending, LUMA, follows=True) for _ in range(2))
        entry = find(pending)
        pending.leave(entry, leaves)
        pending.note(entry, read(LUMA))
        pending.settle(entry, seen(LUMA))

        assert (leaves.heard, leaves.outcomes) == ([], [])
        assert (len(stays.heard), len(stays.outcomes)) == (1, 1)

    def test_leaving_twice_changes_nothing(self, pending: Pending) -> None:
        """The second time tells that nothing was dropped, even if somebody else waits for the id again."""
        waiter, other = Listener(), Listener()
        entry = pending.register(LUMA, waiter)
        assert pending.leave(entry, waiter) is True
        assert pending.leave(entry, waiter) is False
        anew = pending.register(LUMA, other)

        assert pending.leave(entry, waiter) is False
        assert pending.leave(anew, waiter) is False
        assert anew.waiters == (other,)

    def test_leaving_after_the_end_drops_nothing(self, pending: Pending) -> None:
        """One who was given the outcome keeps it, and whoever waits for the id since then stays."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        done = seen(LUMA, TaskState.SUCCEEDED)
        pending.settle(entry, done)
        pending.register(LUMA, Listener())

        assert pending.leave(entry, waiter) is False
        assert waiter.outcomes == [(entry, done)]
        assert keys(pending) == [LUMA]


class TestSettle:
    """`settle`: the same outcome for every waiter of an id."""

    @pytest.mark.parametrize("outcome", [seen(LUMA, TaskState.SUCCEEDED), ServiceError("busy")])
    def test_every_waiter_of_the_id_gets_the_outcome(self, pending: Pending, outcome: Outcome) -> None:
        """A task or an error is given as a value, never raised, and the id is forgotten."""
        waiters = [register(pending, LUMA) for _ in range(3)]
        other = register(pending, FLUX)
        entry = find(pending)

        assert pending.settle(entry, outcome) == 3
        assert all(waiter.outcomes == [(entry, outcome)] for waiter in waiters)
        assert all(waiter.outcomes[0][1] is outcome for waiter in waiters)
        assert other.outcomes == []
        assert keys(pending) == [FLUX]

    def test_one_who_waits_for_many_is_told_which_of_them_it_is(self, pending: Pending) -> None:
        """Each id's outcome comes with its entry, and the others are waited for still."""
        waiter = register(pending, LUMA, FLUX)
        first, second = pending
        done = seen(FLUX, TaskState.SUCCEEDED)
        pending.settle(second, done)

        assert waiter.outcomes == [(second, done)]
        assert keys(pending) == [LUMA]
        assert first.waiters == (waiter,)

    def test_an_entry_that_nobody_waits_for_is_passed_over(self, pending: Pending) -> None:
        """There is nobody to give the outcome to, and those who wait for the id since then get none of it."""
        waiter, later = Listener(), Listener()
        entry = pending.register(LUMA, waiter)
        pending.leave(entry, waiter)
        pending.register(LUMA, later)

        assert pending.settle(entry, seen(LUMA)) == 0
        assert later.outcomes == []
        assert keys(pending) == [LUMA]

    def test_settling_twice_gives_nothing_twice(self, pending: Pending) -> None:
        """The first outcome stands."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        done = seen(LUMA, TaskState.SUCCEEDED)

        assert pending.settle(entry, done) == 1
        assert pending.settle(entry, ServiceError("busy")) == 0
        assert waiter.outcomes == [(entry, done)]
        assert_empty(pending)

    def test_who_comes_from_within_the_settling_waits_anew(self, pending: Pending) -> None:
        """The id is forgotten with those who were given its outcome, and not with one who comes in answer to it."""
        entry = pending.register(LUMA, waiter := Listener())
        pending.settle(entry, ServiceError("busy"))
        anew = pending.register(LUMA, waiter)

        assert anew is not entry
        assert anew.waiters == (waiter,)
        assert waiter.outcomes == [(entry, waiter.outcomes[0][1])]

    def test_what_was_wrong_is_forgotten_with_the_outcome(self, pending: Pending) -> None:
        """Whoever keeps the entry until it lands has its record, and no trouble that is over."""
        entry = pending.register(LUMA, Listener())
        entry.trouble = Trouble()
        pending.settle(entry, seen(LUMA))

        assert entry.trouble is None


class TestLand:
    """`keep` and `land`: an entry that nobody waits for is kept until the request that asks for it has come back."""

    @pytest.mark.parametrize("end", ["leave", "settle"])
    def test_who_comes_before_the_landing_finds_what_is_known(self, pending: Pending, end: str) -> None:
        """However everybody's waiting ended, the next one takes over the entry with its record and request."""
        waiter = Listener(10.0)
        entry = pending.register(LUMA, waiter)
        flight = Batch([entry])
        look = read(LUMA, progress=50.0)
        pending.note(entry, look)
        if end == "leave":
            assert pending.leave(entry, waiter) is True
        else:
            assert pending.settle(entry, ServiceError("busy")) == 1
        pending.keep(entry)
        assert_empty(pending)
        assert LUMA not in pending
        assert pending.get(LUMA) is None
        later = register(pending, LUMA, follows=True)

        assert find(pending) is entry
        assert (entry.record, entry.state, entry.batch) == (look.raw, look.state, flight)
        assert later.heard == [look.task]
        assert entry.waiters == (later,)
        assert later.outcomes == []
        pending.land(entry)
        assert keys(pending) == [LUMA]

    def test_who_leaves_during_a_look_leaves_the_trouble_to_the_next(self, pending: Pending) -> None:
        """A task that is in doubt stays so if somebody else comes while it is asked for."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        entry.trouble = trouble = Trouble()
        pending.leave(entry, waiter)
        pending.keep(entry)

        assert pending.register(LUMA, Listener()).trouble is trouble

    def test_who_comes_after_the_landing_starts_anew(self, pending: Pending) -> None:
        """Once the request has come back, nothing is kept of an entry that nobody waits for."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        pending.note(entry, read(LUMA, progress=50.0))
        pending.leave(entry, waiter)
        pending.keep(entry)
        pending.land(entry)
        later = pending.register(LUMA, Listener())

        assert later is not entry
        assert later.record is None

    def test_landing_takes_nobody_off(self, pending: Pending) -> None:
        """Those who wait go on waiting; only when the last one leaves is the entry dropped, and at once."""
        first, second = Listener(), Listener()
        entry = pending.register(LUMA, first)
        pending.register(LUMA, second)
        pending.leave(entry, first)
        pending.land(entry)

        assert entry.waiters == (second,)
        assert pending.get(LUMA) is entry
        assert pending.leave(entry, second) is True
        assert pending.register(LUMA, Listener()) is not entry

    def test_another_may_leave_and_come_while_it_is_under_way(self, pending: Pending) -> None:
        """The entry is the same however often it is left and taken over before the landing, and only until then."""
        waiter = Listener()
        entry = pending.register(LUMA, waiter)
        for _ in range(3):
            assert pending.leave(entry, waiter) is True
            pending.keep(entry)
            assert pending.register(LUMA, waiter) is entry
        pending.land(entry)

        assert keys(pending) == [LUMA]
        assert pending.leave(entry, waiter) is True
        assert pending.register(LUMA, waiter) is not entry

    def test_nothing_is_kept_of_what_has_landed(self, pending: Pending) -> None:
        """Thousands that are left while they are asked for leave nothing behind."""
        waiters = []
        for number in range(1000):
            waiter = Listener()
            waiters.append(weakref.ref(waiter))
            entry = pending.register(("luma", f"t-{number}"), waiter)
            pending.settle(entry, unknown(entry.key))
            pending.keep(entry)
            pending.land(entry)
            # As whoever ends an entry does: it is nothing for the garbage collector to find.
            waiter.outcomes.clear()
            del waiter, entry
        gc.collect()  # a waiter and its own tuple

        assert sum(waiter() is not None for waiter in waiters) == 0
        assert_empty(pending)


class TestNote:
    """`note`: a record as last seen, told to those who follow it."""

    def test_only_news_is_told(self, pending: Pending) -> None:
        """The first look, another state and another progress are news; the same again is none, and is kept."""
        follower = register(pending, LUMA, follows=True)
        register(pending, LUMA)
        entry = find(pending)
        looks = [
            (read(LUMA, TaskState.PENDING), True),
            (read(LUMA, TaskState.PENDING), False),
            (read(LUMA, TaskState.RUNNING), True),
            (read(LUMA, TaskState.RUNNING, 10.0), True),
            (read(LUMA, TaskState.RUNNING, 10.0), False),
            (read(LUMA, TaskState.SUCCEEDED, 10.0), True),
        ]

        for look, is_news in looks:
            assert pending.note(entry, look) is is_news
            assert (entry.record, entry.state, entry.progress) == (look.raw, look.state, look.progress)
            assert entry.last_seen == look.task
        assert follower.heard == [look.task for look, is_news in looks if is_news]

    def test_a_record_that_says_nothing_new_is_kept_all_the_same(self, pending: Pending) -> None:
        """The last record is what the next one is compared with, byte for byte."""
        entry = pending.register(LUMA, Listener())
        pending.note(entry, read(LUMA))
        longer = read_record(lookup("luma"), b'{"id": "t-1", "trace_id": "x", "response": {"state": "processing"}}')

        assert pending.note(entry, longer) is False
        assert entry.record == longer.raw
        assert entry.last_seen.trace_id == "x"

    def test_a_record_without_an_id_is_of_the_task_it_was_asked_for(self, pending: Pending) -> None:
        """The task that is read from it on demand has the id that somebody waits for."""
        entry = pending.register(LUMA, Listener())
        pending.note(entry, read_record(lookup("luma"), b'{"response": {"state": "processing"}}', task_id="t-1"))

        assert (entry.last_seen.id, entry.last_seen.state) == ("t-1", TaskState.RUNNING)

    def test_everybody_who_follows_is_told_once(self, pending: Pending) -> None:
        """Each follower of the id hears of a change once, and no follower of another id does."""
        followers = [register(pending, key, follows=True) for key in (LUMA, LUMA, FLUX)]
        pending.note(find(pending), read(LUMA))

        assert [follower.heard for follower in followers] == [[seen(LUMA)], [seen(LUMA)], []]

    def test_one_who_does_not_follow_is_told_of_no_change(self, pending: Pending) -> None:
        """Neither of what comes nor of what was known before."""
        early = register(pending, LUMA)
        pending.note(find(pending), read(LUMA))
        late = register(pending, LUMA)
        pending.note(find(pending), read(LUMA, TaskState.SUCCEEDED))

        assert (early.heard, late.heard) == ([], [])

    def test_one_who_comes_late_is_told_what_is_known(self, pending: Pending) -> None:
        """One who follows a task that was seen before hears of it at once, and of looks that change nothing not."""
        register(pending, LUMA)
        entry = find(pending)
        pending.note(entry, read(LUMA, progress=50.0))
        late = register(pending, LUMA, follows=True)
        for _ in range(2):
            pending.note(entry, read(LUMA, progress=50.0))

        assert late.heard == [seen(LUMA, progress=50.0)]


class TestExpire:
    """`limit`, `release`, `expire` and `next_deadline`: one limit for each waiter."""

    def test_a_limit_is_reached_at_its_very_time(self, pending: Pending) -> None:
        """It is told to that waiter only, once, and takes it off nothing."""
        short, long, endless = (register(pending, LUMA, deadline=deadline) for deadline in (10.0, 20.0, math.inf))

        assert pending.next_deadline() == 10.0
        pending.expire(9.999, 500)
        assert short.expired == 0
        pending.expire(10.0, 500)
        pending.expire(10.0, 500)
        assert (short.expired, long.expired, endless.expired) == (1, 0, 0)
        assert find(pending).waiters == (short, long, endless)
        assert pending.next_deadline() == 20.0

    def test_one_who_waits_for_many_has_one_limit(self, pending: Pending) -> None:
        """It is told once, whatever it waits for."""
        waiter = register(pending, LUMA, FLUX, deadline=10.0)
        pending.expire(15.0, 500)

        assert waiter.expired == 1
        assert pending.next_deadline() == math.inf

    def test_no_more_than_asked_for_are_told_at_once(self, pending: Pending) -> None:
        """The others have their turn at the next call, in the order of their limits and then of their coming."""
        waiters = [register(pending, LUMA, deadline=float(10 - number // 2)) for number in range(6)]
        told = []
        while pending.next_deadline() <= 10.0:
            before = [waiter.expired for waiter in waiters]
            pending.expire(10.0, 2)
            told.append([n for n, waiter in enumerate(waiters) if waiter.expired > before[n]])

        assert told == [[4, 5], [2, 3], [0, 1]]

    def test_there_is_no_deadline_without_limits(self, pending: Pending) -> None:
        """Infinity is for never."""
        waiter = register(pending, LUMA)
        pending.expire(1e12, 500)

        assert pending.next_deadline() == math.inf
        assert waiter.expired == 0

    def test_the_limit_of_one_who_is_done_is_void(self, pending: Pending) -> None:
        """A limit ends nothing, and wakes nobody up, once its waiter has released it; a second time changes nothing."""
        waiter = register(pending, LUMA, deadline=10.0)
        other = register(pending, FLUX, deadline=20.0)
        for _ in range(2):
            pending.release(waiter)

        assert pending.next_deadline() == 20.0
        pending.expire(15.0, 500)
        assert waiter.expired == 0
        pending.expire(20.0, 500)
        assert other.expired == 1

    def test_one_that_was_told_can_release_its_limit(self, pending: Pending) -> None:
        """Whoever leaves after its limit has passed takes off nobody else's."""
        waiter = register(pending, LUMA, deadline=10.0)
        register(pending, FLUX, deadline=20.0)
        pending.expire(10.0, 500)
        pending.release(waiter)

        assert pending.next_deadline() == 20.0

    def test_void_limits_do_not_pile_up(self, pending: Pending) -> None:
        """Waiting with a limit that is never reached, for ever, keeps no more than a few of the waiters."""
        register(pending, FLUX, deadline=1.0)
        waiters = []
        for number in range(5000):
            waiter = register(pending, LUMA, deadline=100.0 + number)
            waiters.append(weakref.ref(waiter))
            pending.leave(find(pending), waiter)
            pending.release(waiter)
            del waiter
        gc.collect()  # a waiter and its own tuple

        assert sum(waiter() is not None for waiter in waiters) < 200
        assert pending.next_deadline() == 1.0


KEYS = st.sampled_from([LUMA, FLUX, ("luma", "t-2")])
Sight = tuple[TaskState, float | None]


class Seat:
    """A waiter as it should be."""

    def __init__(self, waiter: Listener) -> None:
        self.waiter = waiter
        self.deadline = waiter.deadline
        self.expired = 0
        #: The ids that it waits for still.
        self.present: set[Key] = set()
        self.outcomes: list[tuple[Key, Outcome]] = []
        self.should_hear: list[tuple[Key, Sight]] = []


class PendingMachine(RuleBasedStateMachine):
    """Waiters come, leave, run out of time and are settled in any order, while requests come and go.

    Beside it stands the simplest model: for each id the seats of those who wait for it, the record last seen, and the
    entry that is part of a request.
    """

    seats: Bundle[Seat] = Bundle("seats")

    def __init__(self) -> None:
        super().__init__()
        self.pending = Pending()
        self.now = 0.0
        self.all_seats: list[Seat] = []
        self.present: dict[Key, list[Seat]] = {}
        self.last: dict[Key, Reading] = {}
        self.flying: dict[Key, Entry] = {}
        self.ended: list[Entry] = []

    def teardown(self) -> None:
        """Let everybody leave: nothing may be kept then."""
        for seat in self.all_seats:
            for key in tuple(seat.present):
                self.leave(seat, key)
            self.release(seat)
        assert_empty(self.pending)

    # What happens.

    @rule(target=seats, limit=st.none() | st.integers(0, 5), follows=st.booleans())
    def come(self, limit: int | None, follows: bool) -> Seat:  # noqa: FBT001  # drawn
        """Somebody comes, with or without a limit."""
        deadline = math.inf if limit is None else self.now + limit
        seat = Seat(Follower(deadline) if follows else Listener(deadline))
        self.pending.limit(seat.waiter)
        self.all_seats.append(seat)
        return seat

    @rule(seat=seats, key=KEYS)
    def register(self, seat: Seat, key: Key) -> None:
        """One of them begins to wait for an id, for the first time or again, whether its limit has passed or not."""
        if key in seat.present:
            return
        known = self.last.get(key)
        if seat.waiter.follows and known is not None:
            seat.should_hear.append((key, (known.state, known.progress)))
        entry = self.pending.register(key, seat.waiter)
        assert entry is self.flying.get(key, entry)
        assert entry.record == (known and known.raw)
        seat.present.add(key)
        self.present.setdefault(key, []).append(seat)

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
    @rule(data=st.data(), state=st.sampled_from([TaskState.SUCCEEDED, TaskState.FAILED]))
    def finish(self, data: st.DataObject, state: TaskState) -> None:
        """A look sees the task's end."""
        key = data.draw(st.sampled_from(sorted(self.present)))
        self.settle(key, self.note(key, state, None).task)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        """Something is final for everybody who waits for an id."""
        self.settle(data.draw(st.sampled_from(sorted(self.present))), ServiceError("busy"))

    @precondition(lambda self: self.ended)
    @rule(data=st.data())
    def fail_late(self, data: st.DataObject) -> None:
        """Something is final for an entry that nobody waits for any more."""
        entry = data.draw(st.sampled_from(self.ended))
        if not entry.waiters:  # it may have been taken over
            assert self.pending.settle(entry, ServiceError("busy")) == 0

    @precondition(lambda self: self.present.keys() - self.flying.keys())
    @rule(data=st.data())
    def take_off(self, data: st.DataObject) -> None:
        """A request begins to ask for an id."""
        key = data.draw(st.sampled_from(sorted(self.present.keys() - self.flying.keys())))
        self.flying[key] = find(self.pending, key)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        """The request has come back, whether anybody still waits for the id or not."""
        key = data.draw(st.sampled_from(sorted(self.flying)))
        entry = self.flying.pop(key)
        if not entry.waiters:
            self.pending.land(entry)
        self.drop_empty()

    @rule(seat=seats, key=KEYS)
    def leave(self, seat: Seat, key: Key) -> None:
        """A waiter leaves an id, which it waits for or not."""
        entry = self.pending.get(key)
        seats = self.present.get(key, [])
        assert (entry is None) is (not seats)
        if entry is None:
            return
        was_present = seat in seats
        if was_present:
            seats.remove(seat)
            seat.present.remove(key)
        assert self.pending.leave(entry, seat.waiter) is (was_present and not seats)
        if not seats:
            self.end(entry)
        self.drop_empty()

    @rule(seat=seats)
    def release(self, seat: Seat) -> None:
        """A waiter gives its limit up, for the first time or again."""
        self.pending.release(seat.waiter)
        seat.deadline = math.inf

    @rule(seconds=st.integers(1, 4))
    def pass_time(self, seconds: int) -> None:
        """Time passes, and nobody looks at the clock yet."""
        self.now += seconds

    @rule(most=st.integers(1, 3))
    def expire(self, most: int) -> None:
        """Limits have passed, and so many are told of it."""
        due = sorted((seat for seat in self.all_seats if seat.deadline <= self.now), key=lambda seat: seat.deadline)
        for seat in due[:most]:
            seat.expired += 1
            seat.deadline = math.inf
        self.pending.expire(self.now, most)

    # What should come of it.

    def note(self, key: Key, state: TaskState, progress: float | None) -> Reading:
        """Have a look noted, in both."""
        look = read(key, state, progress)
        last = self.last.get(key)
        is_news = last is None or (last.state, last.progress) != (state, progress)
        self.last[key] = look
        if is_news:
            for seat in self.present[key]:
                if seat.waiter.follows:
                    seat.should_hear.append((key, (state, progress)))
        assert self.pending.note(find(self.pending, key), look) is is_news
        return look

    def settle(self, key: Key, outcome: Outcome) -> None:
        """Have an id settled, in both."""
        entry = find(self.pending, key)
        seats = self.present.pop(key)
        for seat in seats:
            seat.present.remove(key)
            seat.outcomes.append((key, outcome))
        assert self.pending.settle(entry, outcome) == len(seats)
        self.end(entry)
        self.drop_empty()

    def end(self, entry: Entry) -> None:
        """Do as the poller does with an entry that nobody waits for any more."""
        self.ended.append(entry)
        if entry.key in self.flying:
            self.pending.keep(entry)

    def drop_empty(self) -> None:
        """Forget the ids that nobody waits for; what is known of those that are being asked for is kept."""
        self.present = {key: seats for key, seats in self.present.items() if seats}
        kept = self.present.keys() | self.flying.keys()
        self.last = {key: look for key, look in self.last.items() if key in kept}

    @invariant()
    def outcomes_are_right(self) -> None:
        """Every waiter was told exactly the ends of what it waited for, and of its limit once; no other is touched."""
        for seat in self.all_seats:
            assert [(entry.key, outcome) for entry, outcome in seat.waiter.outcomes] == seat.outcomes
            assert seat.waiter.expired == seat.expired

    @invariant()
    def changes_were_heard_once(self) -> None:
        """Each who follows heard what was known when it came, and every change since then, once."""
        for seat in self.all_seats:
            heard = [((task.provider, task.id), (task.state, task.progress)) for task in seat.waiter.heard]
            assert heard == seat.should_hear

    @invariant()
    def ids_are_right(self) -> None:
        """What is kept is exactly the ids that somebody waits for, each with those who do and the task last seen."""
        assert sorted(keys(self.pending)) == sorted(self.present)
        assert len(self.pending) == len(self.present)
        for key, seats in self.present.items():
            entry = find(self.pending, key)
            assert key in self.pending
            assert entry.waiters == tuple(seat.waiter for seat in seats)
            assert entry is self.flying.get(key, entry)
            last = self.last.get(key)
            assert entry.last_seen == (unknown(key) if last is None else last.task)
        waiters = sum(map(len, self.present.values()))
        assert repr(self.pending) == f"<Pending {len(self.present)} ids, {waiters} waiters>"

    @invariant()
    def next_deadline_is_right(self) -> None:
        """The next limit is that of one who was not told of it, nor has given it up; without one there is none."""
        assert self.pending.next_deadline() == min((seat.deadline for seat in self.all_seats), default=math.inf)


TestPending = PendingMachine.TestCase
