"""Due ids into full, bounded batches, those first that are worth most."""

from __future__ import annotations

import gc
import itertools
import math
import weakref
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import acetasks.batching
from acetasks.batching import Lane, Turns
from acetasks.entries import Batch, Entry
from acetasks.worth import Worth

if TYPE_CHECKING:
    from collections.abc import Sequence

LUMA, FLUX = Lane("luma"), Lane("flux")
#: Luma's tasks that are under suspicion, more and more.
DOUBTED, ALONE = Lane("luma", 1), Lane("luma", 5)
LANES = st.sampled_from([FLUX, LUMA, DOUBTED])
#: Few different times and ranks, so that many are due at once.
TIMES = st.integers(0, 4).map(float)
RANKS = st.integers(0, 2)
#: What everybody is worth where nothing else is said: those who come up together then do so in order.
SAME = Worth(0.01, 0.0)


class Member(Entry, weakref=True, eq=False, gc=True):
    """One who can have a turn."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.key[1]

    def __repr__(self) -> str:
        """Show the name."""
        return self.name


class Agenda(acetasks.batching.Agenda):
    """An agenda that makes batches of those who are added."""

    def add(self, lane: Lane, members: Sequence[Entry], due: float, rank: int = 0, *, worth: Worth) -> None:
        """Give some their turn."""
        super().add(lane, members if isinstance(members, Batch) else Batch(members), due, rank, worth=worth)


def somebody(name: str = "somebody") -> Member:
    """Make a member of a name."""
    return Member(("luma", name))


def call(names: str) -> list[Member]:
    """Make members of some names."""
    return [somebody(name) for name in names.split()]


def grab(
    agenda: Agenda,
    lane: Lane,
    size: int,
    now: float = math.inf,
    *,
    latest: float = math.inf,
    spare_latest: float = math.inf,
) -> Sequence[Member]:
    """Take some off for good."""
    taken = agenda.take(lane, size, now, latest=latest, spare_latest=spare_latest)
    for member in taken.entries:
        member.batch = None
    return list(taken.entries)


def firsts(agenda: Agenda, now: float) -> list[tuple[float, Lane]]:
    """Tell when each lane's first turn is due."""
    return [(turns.due, turns.lane) for turns in agenda.turns(now)]


def count(agenda: Agenda, lane: Lane, now: float = 0.0) -> int:
    """Tell how many of a lane have a turn."""
    return sum(turns.present for turns in agenda.turns(now) if turns.lane == lane)


def take(agenda: Agenda, lane: Lane, size: int, now: float = 100.0, latest: float = math.inf) -> str:
    """Take some, and tell their names."""
    return " ".join(member.name for member in grab(agenda, lane, size, now, latest=latest))


class Turn:
    """A turn as it should be."""

    def __init__(self, due: float, worth: Worth) -> None:
        self.due = due
        self.worth = worth
        #: Those whose order is settled, and those who have come since, with their ranks.
        self.settled: list[Member] = []
        self.parts: list[tuple[int, list[Member]]] = []

    @property
    def members(self) -> list[Member]:
        """Those who are there, in order."""
        parts = sorted(self.parts, key=lambda part: part[0])
        return [*self.settled, *(member for _, members in parts for member in members)]

    def pop(self) -> Member:
        """Take the first one off; whoever comes from now on is behind the others."""
        self.settled, self.parts = self.members, []
        return self.settled.pop(0)

    def discard(self, member: Member) -> None:
        """Take one off."""
        for members in (self.settled, *(members for _, members in self.parts)):
            if member in members:
                members.remove(member)


class AgendaMachine(RuleBasedStateMachine):
    """An agenda beside the simplest thing that could be one: the turns of each lane, those to come and those due."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda = Agenda()
        self.members = call("a b c d e f g h")
        self.now = 0.0
        self.to_come: dict[Lane, list[Turn]] = {}
        #: In the order in which they came up.
        self.due: dict[Lane, list[Turn]] = {}

    def turns(self, lane: Lane) -> list[Turn]:
        """List the turns of a lane, those due first, and the others in order."""
        to_come = sorted(
            self.to_come.get(lane, ()), key=lambda turn: (turn.due, turn.worth.is_spare, turn.worth.urgency)
        )
        return [turn for turn in (*self.due.get(lane, ()), *to_come) if turn.members]

    def lanes(self) -> list[Lane]:
        """List the lanes that have turns."""
        return [lane for lane in (FLUX, LUMA, DOUBTED) if self.turns(lane)]

    def come_up(self) -> None:
        """Have those come up that are due by now."""
        for lane in self.lanes():
            turns = self.turns(lane)
            self.to_come[lane] = [turn for turn in turns if turn.due > self.now]
            self.due[lane] = [turn for turn in turns if turn.due <= self.now]

    def best(self, lane: Lane, *, urgent_only: bool = False) -> Turn | None:
        """Find the turn that is worth most, of those that are due, or of those of them that are not to wait."""
        due = [turn for turn in self.due.get(lane, ()) if turn.members and not (urgent_only and turn.worth.is_spare)]
        return max(due, key=lambda turn: turn.worth.at(self.now), default=None)

    def idle(self) -> list[Member]:
        """List those who have no turn."""
        busy = {member for lane in self.lanes() for turn in self.turns(lane) for member in turn.members}
        return [member for member in self.members if member not in busy]

    @precondition(lambda self: self.idle())
    @rule(
        lane=LANES,
        data=st.data(),
        seconds=TIMES,
        hazard=st.sampled_from([0.01, 0.3, 0.0]),
        rank_and_spare=st.tuples(RANKS, st.booleans()),
    )
    def add(
        self, lane: Lane, data: st.DataObject, seconds: float, hazard: float, rank_and_spare: tuple[int, bool]
    ) -> None:
        """Give some who have none their turn, which is that of all who are due then, as urgent, and may wait or not."""
        members = data.draw(st.lists(st.sampled_from(self.idle()), min_size=1, unique=True))
        due = self.now + seconds
        rank, is_spare = rank_and_spare
        # No two turns are worth the same.
        worth = Worth(hazard, due - (5.25 if is_spare else 5.0), is_spare=is_spare)
        self.agenda.add(lane, members, due, rank, worth=worth)
        turns = self.to_come.setdefault(lane, [])
        turn = next((turn for turn in turns if (turn.due, turn.worth) == (due, worth)), None)
        if turn is None:
            turn = Turn(due, worth)
            turns.append(turn)
        turn.parts.append((rank, list(members)))

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        """Take one off, whether it has a turn or not; who comes in its place is another."""
        place = data.draw(st.integers(0, len(self.members) - 1))
        member = self.members[place]
        self.agenda.discard(member)
        assert member.batch is None
        for lane in self.lanes():
            for turn in self.turns(lane):
                turn.discard(member)
        self.members[place] = somebody(member.name)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @precondition(lambda self: self.lanes())
    @rule(
        data=st.data(),
        size=st.integers(1, 4),
        patience=st.just(math.inf) | TIMES,
        spare_patience=st.just(math.inf) | TIMES,
    )
    def take(self, data: st.DataObject, size: int, patience: float, spare_patience: float) -> None:
        """Take a batch of a lane: the best that is due and not to wait, the others due by what they are worth, riders.

        These are those to come, each sort up to a time, and of them they are first that are not to wait.
        """
        lane = data.draw(st.sampled_from(self.lanes()))
        self.come_up()
        expected: list[Member] = []
        if (turn := self.best(lane, urgent_only=True)) is not None:
            expected += [turn.pop() for _ in turn.members[:size]]
        while len(expected) < size and (turn := self.best(lane)) is not None:
            expected.append(turn.pop())
        for turn in sorted(self.turns(lane), key=lambda turn: turn.worth.is_spare):
            latest = self.now + (spare_patience if turn.worth.is_spare else patience)
            while turn.members and turn.due <= latest and len(expected) < size:
                expected.append(turn.pop())

        latest, spare_latest = self.now + patience, self.now + spare_patience
        taken = grab(self.agenda, lane, size, self.now, latest=latest, spare_latest=spare_latest)
        assert [*taken] == expected

    @invariant()
    def counts_are_right(self) -> None:
        """The agenda's length is the number of those who have a turn, and its repr says so for each lane."""
        assert len(self.agenda) == len(self.members) - len(self.idle())
        names = {FLUX: "flux", LUMA: "luma", DOUBTED: "luma (1/2)"}
        sizes = [f"{names[lane]}: {sum(len(turn.members) for turn in self.turns(lane))}" for lane in self.lanes()]
        assert sorted(repr(self.agenda).removeprefix("<Agenda ").removesuffix(">").split(", ")) == sorted(
            sizes or ["empty"]
        )

    @invariant()
    def first_turns_are_right(self) -> None:
        """Each lane that has turns is told with the time of its first, and no other is; and what it is worth."""
        self.come_up()
        best = {lane: self.best(lane) for lane in self.lanes()}
        dues = {
            lane: [
                min((turn.due for turn in self.turns(lane) if turn.worth.is_spare is is_spare), default=math.inf)
                for is_spare in (False, True)
            ]
            for lane in self.lanes()
        }
        told = {turns.lane: turns for turns in self.agenda.turns(self.now)}

        assert told.keys() == dues.keys()
        for lane, (due, spare_due) in dues.items():
            assert told[lane].due == (due if due > self.now else -math.inf)
            # Where somebody is due who is not to wait, it makes no difference who may.
            if due > self.now:
                assert told[lane].spare_due == (spare_due if spare_due > self.now else -math.inf)
            assert told[lane].present == sum(len(turn.members) for turn in self.turns(lane))
        for lane, turn in best.items():
            worth = self.agenda.worth(lane, 1, self.now)
            assert worth == (turn.worth.at(self.now) if turn else 0.0)

    @invariant()
    def everybody_holds_its_own_turn(self) -> None:
        """Who has a turn holds it, and nobody else holds any."""
        assert [member for member in self.members if member.batch is None] == self.idle()


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(max_examples=40, stateful_step_count=30)


@given(
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    room=st.integers(1, 60),
    times=st.lists(TIMES, min_size=13, max_size=13),
    leaving=st.sets(st.integers(0, 900)),
    moving=st.lists(st.tuples(st.integers(0, 900), TIMES), max_size=60),
)
def test_nobody_is_lost_or_taken_twice(
    sizes: list[int], room: int, times: list[float], leaving: set[int], moving: list[tuple[int, float]]
) -> None:
    """Whoever was given turns, of whatever sizes, is taken once, those due before the others, unless it has left."""
    now = times.pop()
    agenda = Agenda()
    members: list[Member] = []
    due: dict[Member, float] = {}
    for size, time in zip(sizes, times, strict=False):
        together = [somebody() for _ in range(size)]
        agenda.add(LUMA, list(together), time, worth=SAME)
        due |= dict.fromkeys(together, time)
        members += together
    for number, time in moving:
        place = number % len(members)
        agenda.discard(members[place])
        del due[members[place]]
        # Who comes in its place is another.
        members[place] = somebody()
        agenda.add(LUMA, [members[place]], time, worth=SAME)
        due[members[place]] = time
    for number in leaving:
        agenda.discard(members[number % len(members)])
        due.pop(members[number % len(members)], None)

    taken: list[Member] = []
    while agenda:
        ((first, _),) = firsts(agenda, now)
        batch = grab(agenda, LUMA, room, now)
        assert first == (-math.inf if due[batch[0]] <= now else due[batch[0]])
        assert len(batch) == min(room, len(due) - len(taken))
        taken += batch

    assert len(taken) == len(set(taken))
    assert set(taken) == due.keys()
    # All are worth the same, so that those who are due come in the order in which they came up.
    assert [due[member] for member in taken] == sorted(due.values())


@given(count=st.integers(1, 100), size=st.integers(1, 40), now=TIMES, data=st.data())
def test_batches_are_full_and_bounded(count: int, size: int, now: float, data: st.DataObject) -> None:
    """However many are due, they come in as few batches as can be, none too large, and each once."""
    agenda = Agenda()
    members = [somebody(f"task-{number}") for number in range(count)]
    hazards = st.sampled_from([0.0, 0.01, 1.0])
    for member in members:
        worth = Worth(data.draw(hazards), -data.draw(TIMES))
        agenda.add(FLUX, [member], data.draw(TIMES), worth=worth)

    batches = []
    while agenda:
        batches.append(grab(agenda, FLUX, size, now))

    assert len(batches) == math.ceil(count / size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert {member for batch in batches for member in batch} == set(members)


@pytest.mark.parametrize("together", [1, 7, 50, 1000])
@pytest.mark.parametrize(("count", "takes"), [(1, 1), (50, 1), (51, 2), (100, 2), (1000, 20)])
def test_a_thousand_due_ids_come_in_twenty_batches(count: int, takes: int, together: int) -> None:
    """At 50 a batch, n that are due cost exactly n/50 requests, rounded up, in whatever turns they are."""
    agenda = Agenda()
    members = [somebody() for _ in range(count)]
    for start in range(0, count, together):
        agenda.add(FLUX, members[start : start + together], 1.0, worth=SAME)

    taken = []
    while agenda:
        taken.append(grab(agenda, FLUX, 50))

    assert len(taken) == takes
    assert [member for batch in taken for member in batch] == members


class TestWorth:
    """`Worth`: the lateness that has built up since the last look."""

    @pytest.mark.parametrize(
        ("hazard", "seconds", "worth"), [(0.01, 0.0, 0.0), (0.01, 10.0, 0.5), (0.01, 20.0, 2.0), (0.5, 2.0, 1.0)]
    )
    def test_grows_with_the_square_of_the_time(self, hazard: float, seconds: float, worth: float) -> None:
        """At a constant hazard h, h t²/2 seconds have been waited too long on average after t seconds."""
        assert Worth(hazard, 100.0).at(100.0 + seconds) == worth

    def test_who_cannot_end_is_worth_something_all_the_same(self) -> None:
        """A hazard of nothing is no reason never to ask again."""
        assert 0.0 < Worth(0.0, 0.0).at(10.0) < 1e-6
        assert Worth(0.0, 0.0).at(20.0) > Worth(0.0, 0.0).at(10.0)
        assert Worth(0.0, 0.0).urgency == Worth(1e-300, 0.0).urgency < Worth(1e-6, 0.0).urgency

    @given(hazard=st.floats(1e-11, 1e3), factor=st.floats(1.0, 100.0))
    def test_urgency_grows_with_the_hazard(self, hazard: float, factor: float) -> None:
        """It is told from another where the hazards differ by a factor of 2, and not by the time."""
        urgency = Worth(hazard, 0.0).urgency

        assert Worth(hazard * factor, 7.0).urgency >= urgency
        assert Worth(hazard * 2.0, 0.0).urgency == urgency + 1

    @given(urgent=st.floats(1e-6, 1e3), times=st.lists(st.floats(0, 1e4), min_size=2, unique=True))
    def test_the_longer_ago_the_more_it_is_worth(self, urgent: float, times: list[float]) -> None:
        """Of those with the same hazard, the one that was asked first is worth most, whenever that is told."""
        worths = [Worth(urgent, seen_at).at(20_000.0) for seen_at in sorted(times)]

        assert worths == sorted(worths, reverse=True)


def test_those_due_come_by_what_they_are_worth() -> None:
    """The hazard and the time since the last look decide, whoever came up first; the batch is filled in that order."""
    agenda = Agenda()
    for names, due, worth in [
        ("slow1 slow2", 1.0, Worth(0.001, 0.0)),  # worth 0.05 at 10 s
        ("new", 2.0, Worth(0.2, 9.5)),  # 0.025
        ("old", 5.0, Worth(0.002, -40.0)),  # 2.5
        ("fast", 9.0, Worth(0.1, 8.0)),  # 0.2
    ]:
        agenda.add(LUMA, call(names), due, worth=worth)

    assert firsts(agenda, 10.0) == [(-math.inf, LUMA)]
    assert take(agenda, LUMA, 3, 10.0) == "old fast slow1"
    assert take(agenda, LUMA, 3, 10.0) == "slow2 new"


def test_what_is_worth_most_changes_with_the_time() -> None:
    """Who ends soon overtakes who was asked longer ago, and is overtaken once it was asked."""
    agenda = Agenda()
    slow, fast = call("slow fast")
    agenda.add(LUMA, [slow], 0.0, worth=Worth(0.001, -100.0))
    agenda.add(LUMA, [fast], 0.0, worth=Worth(0.1, 0.0))

    assert firsts(agenda, 5.0) == [(-math.inf, LUMA)]
    assert agenda.worth(LUMA, 1, 5.0) == Worth(0.001, -100.0).at(5.0)
    assert agenda.worth(LUMA, 1, 15.0) == Worth(0.1, 0.0).at(15.0)
    assert grab(agenda, LUMA, 1, 15.0) == [fast]
    agenda.add(LUMA, [fast], 20.0, worth=Worth(0.1, 15.0))
    assert grab(agenda, LUMA, 1, 24.0) == [slow]


def test_a_request_is_worth_as_many_times_its_best_as_it_asks_for() -> None:
    """Those due that fit into it count, and those to come do not; nobody due is worth nothing."""
    agenda = Agenda()
    agenda.add(LUMA, call("a b c"), 1.0, worth=Worth(0.01, 0.0))
    agenda.add(LUMA, call("d e"), 2.0, worth=Worth(0.5, 0.0))
    agenda.add(LUMA, call("f g h"), 9.0, worth=Worth(0.5, 0.0))
    assert firsts(agenda, 0.0) == [(1.0, LUMA)]
    assert agenda.worth(LUMA, 50, 0.0) == 0.0

    firsts(agenda, 4.0)
    assert agenda.worth(LUMA, 50, 4.0) == 5 * 0.5 * 16.0 / 2.0
    assert agenda.worth(LUMA, 4, 4.0) == 4 * 0.5 * 16.0 / 2.0
    assert agenda.worth(LUMA, 1, 4.0) == 0.5 * 16.0 / 2.0
    assert take(agenda, LUMA, 2, 4.0) == "d e"
    assert agenda.worth(LUMA, 50, 4.0) == pytest.approx(3 * 0.01 * 16.0 / 2.0)


def test_who_has_left_is_worth_nothing() -> None:
    """What a lane is worth is told by those who are still there."""
    agenda = Agenda()
    fast = call("fast faster")
    agenda.add(LUMA, fast, 1.0, worth=Worth(0.5, 0.0))
    agenda.add(LUMA, call("slow"), 1.0, worth=Worth(0.01, 0.0))
    firsts(agenda, 2.0)
    for member in fast:
        agenda.discard(member)

    assert agenda.worth(LUMA, 50, 2.0) == Worth(0.01, 0.0).at(2.0)
    assert take(agenda, LUMA, 50, 2.0) == "slow"


def test_due_ids_come_before_riders() -> None:
    """A batch takes what is due first and fills its room with what is due next, whatever they are worth."""
    agenda = Agenda()
    for name, due, hazard in [("rides", 30.0, 1.0), ("due", 5.0, 0.01), ("later", 60.0, 9.0), ("overdue", 1.0, 0.1)]:
        agenda.add(LUMA, call(name), due, worth=Worth(hazard, 0.0))

    assert take(agenda, LUMA, 3, 10.0) == "overdue due rides"
    assert take(agenda, LUMA, 3, 10.0) == "later"


def test_ids_due_at_once_come_first_in_first_out() -> None:
    """Nobody is overtaken by one who came later, is due at the same time and worth as much."""
    agenda = Agenda()
    for names in ("c", "a e", "b"):
        agenda.add(LUMA, call(names), 1.0, worth=SAME)

    assert [take(agenda, LUMA, 1) for _ in range(4)] == ["c", "a", "e", "b"]


@pytest.mark.parametrize("now", [0.0, 1.0, 100.0])
def test_turns_of_the_same_time_come_up_by_rank(now: float) -> None:
    """The lowest rank comes first, the same ranks in the order given; an earlier time goes before any rank."""
    agenda = Agenda()
    for names, due, rank in [("e", 2.0, 7), ("c d", 2.0, 3), ("b", 2.0, 0), ("f", 2.0, 7), ("a", 1.0, 9)]:
        agenda.add(LUMA, call(names), due, rank, worth=SAME)

    assert take(agenda, LUMA, 50, now) == "a b c d e f"


@pytest.mark.parametrize("looks", [(), (0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("ranks", list(itertools.permutations(range(3))))
def test_the_order_of_a_turn_is_not_that_of_the_answers(looks: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    """Whoever's answer comes first, the lowest rank goes first; to look at the turns meanwhile makes no difference.

    It is settled when the first of the turn is taken.
    """
    agenda = Agenda()
    names = ("a b", "c", "d e")
    for place, rank in enumerate(ranks):
        agenda.add(LUMA, call(names[rank]), 5.0, rank, worth=SAME)
        if place in looks:
            assert agenda.turns(1.0 + place) == [Turns(LUMA, 5.0, math.inf, len(agenda))]

    assert take(agenda, LUMA, 2, 5.0) == "a b"
    assert take(agenda, LUMA, 50, 5.0) == "c d e"


@pytest.mark.parametrize("is_due", [False, True])
def test_who_leaves_does_not_settle_the_order(is_due: bool) -> None:  # noqa: FBT001  # a column
    """The first of a turn may leave, and be passed over, before others come who go before the rest."""
    agenda = Agenda()
    gone, stays = call("gone stays")
    agenda.add(LUMA, [gone, stays], 5.0, 1, worth=SAME)
    agenda.discard(gone)
    assert agenda.turns(1.0) == [Turns(LUMA, 5.0, math.inf, 1)]
    agenda.add(LUMA, call("first"), 5.0, 0, worth=SAME)

    assert take(agenda, LUMA, 50, 5.0 if is_due else 1.0) == "first stays"


class TestSpare:
    """Looks that may wait have turns of their own, of which it is told apart when they are due."""

    SPARE = Worth(0.01, 0.0, is_spare=True)

    def test_it_is_told_when_the_first_of_either_is_due(self) -> None:
        """Infinity stands for none; by the time that one is due it is minus infinity."""
        agenda = Agenda()
        agenda.add(LUMA, call("a"), 5.0, worth=self.SPARE)
        assert agenda.turns(0.0) == [Turns(LUMA, math.inf, 5.0, 1)]
        agenda.add(LUMA, call("b"), 9.0, worth=SAME)
        agenda.add(FLUX, call("c"), 7.0, worth=SAME)

        assert agenda.turns(0.0) == [Turns(LUMA, 9.0, 5.0, 2), Turns(FLUX, 7.0, math.inf, 1)]
        assert agenda.turns(5.0) == [Turns(LUMA, 9.0, -math.inf, 2), Turns(FLUX, 7.0, math.inf, 1)]
        assert [turns.due for turns in agenda.turns(9.0)] == [-math.inf, -math.inf]
        assert take(agenda, LUMA, 1, 9.0) == "b"
        assert agenda.turns(9.0)[0] == Turns(LUMA, math.inf, -math.inf, 1)
        assert take(agenda, LUMA, 1, 9.0) == "a"
        assert [turns.lane for turns in agenda.turns(9.0)] == [FLUX]

    def test_it_is_told_until_when_they_may_wait(self) -> None:
        """Of those that are due the one that has waited enough before all others, however urgent it is."""
        agenda = Agenda()
        assert Worth(0.01, 0.0, is_spare=True).latest == math.inf
        agenda.add(LUMA, call("a"), 5.0, worth=Worth(0.01, 0.0, is_spare=True, latest=30.0))
        agenda.add(LUMA, call("b"), 6.0, worth=Worth(1.0, 0.0, is_spare=True, latest=20.0))
        agenda.add(LUMA, call("c"), 2.0, worth=Worth(0.1, 0.0, latest=1.0))

        assert [agenda.turns(now)[0].latest for now in (4.0, 5.0, 6.0)] == [math.inf, 30.0, 20.0]

    @pytest.mark.parametrize(
        ("overdue", "order"), [(-math.inf, "b a"), (19.9, "b a"), (20.0, "a b"), (25.0, "a b"), (40.0, "a b")]
    )
    def test_who_has_waited_enough_comes_first(self, overdue: float, order: str) -> None:
        """Whatever the others are worth; but not before those that are not to wait at all."""
        agenda = Agenda()
        agenda.add(LUMA, call("a"), 5.0, worth=Worth(1e-6, 0.0, is_spare=True, latest=20.0))
        agenda.add(LUMA, call("b"), 5.0, worth=Worth(1.0, 0.0, is_spare=True, latest=30.0))
        agenda.add(LUMA, call("c"), 5.0, worth=Worth(1e-9, 0.0))
        taken = [agenda.take(LUMA, 1, 50.0, overdue=overdue).entries[0].name for _ in range(3)]

        assert " ".join(taken) == f"c {order}"

    def test_who_may_wait_has_no_turn_with_one_who_may_not(self) -> None:
        """Though they are due at the same time and as urgent."""
        agenda = Agenda()
        waits, hurries = call("waits hurries")
        agenda.add(LUMA, [waits], 5.0, worth=self.SPARE)
        agenda.add(LUMA, [hurries], 5.0, worth=SAME)
        assert waits.batch.place is not hurries.batch.place
        agenda.discard(hurries)

        assert agenda.turns(4.0) == [Turns(LUMA, math.inf, 5.0, 1)]
        assert agenda.turns(5.0) == [Turns(LUMA, math.inf, -math.inf, 1)]
        agenda.discard(waits)
        assert agenda.turns(5.0) == []

    def test_they_are_taken_together(self) -> None:
        """One due that is not to wait, the others due by what they are worth, and those to come in the same way."""
        agenda = Agenda()
        agenda.add(LUMA, call("rides1"), 30.0, worth=self.SPARE)
        agenda.add(LUMA, call("rides2"), 40.0, worth=SAME)
        agenda.add(LUMA, call("rides3"), 40.0, worth=self.SPARE)
        agenda.add(LUMA, call("less"), 5.0, worth=Worth(0.0001, 0.0))
        agenda.add(LUMA, call("first"), 5.0, worth=Worth(0.001, 0.0))
        agenda.add(LUMA, call("more"), 6.0, worth=self.SPARE)
        agenda.add(LUMA, call("before"), 40.0, worth=Worth(1e-9, 0.0))

        assert take(agenda, LUMA, 50, 10.0) == "first more less before rides2 rides1 rides3"

    def test_one_that_is_not_to_wait_has_a_place_whoever_is_worth_more(self) -> None:
        """Also behind others as urgent who have left; the rest of the room is for those who are worth most."""
        agenda = Agenda()
        (gone,) = call("gone")
        agenda.add(LUMA, [gone], 1.0, worth=SAME)
        agenda.add(LUMA, call("one two"), 2.0, worth=SAME)
        agenda.add(LUMA, call("late"), 2.5, worth=SAME)
        agenda.add(LUMA, call("more"), 2.0, worth=Worth(1.0, 0.0, is_spare=True))
        agenda.turns(3.0)
        agenda.discard(gone)

        assert take(agenda, LUMA, 3, 3.0) == "one two more"
        assert take(agenda, LUMA, 3, 3.0) == "late"

    @pytest.mark.parametrize(
        ("latest", "spare_latest", "names"),
        [
            (10.0, 10.0, "due"),
            (20.0, 10.0, "due next"),
            (math.inf, 15.0, "due next later spare1"),
            (10.0, math.inf, "due spare1 spare2"),
            (math.inf, 14.0, "due next later"),
        ],
    )
    def test_each_sort_may_be_taken_up_to_its_own_time(self, latest: float, spare_latest: float, names: str) -> None:
        """That very time included."""
        agenda = Agenda()
        for name, due, worth in [
            ("spare1", 15.0, self.SPARE),
            ("spare2", 40.0, self.SPARE),
            ("later", 30.0, SAME),
            ("next", 20.0, SAME),
            ("due", 9.0, SAME),
        ]:
            agenda.add(LUMA, call(name), due, worth=worth)
        taken = grab(agenda, LUMA, 50, 10.0, latest=latest, spare_latest=spare_latest)

        assert [member.name for member in taken] == names.split()
        assert len(agenda) == 5 - len(taken)

    def test_all_of_a_lane_are_counted(self) -> None:
        """Those due, those to come, those who may wait; not those who have left or were taken, nor another lane's."""
        agenda = Agenda()
        members = call("a b c d e f")
        for member, due, worth in zip(members, (1.0, 1.0, 9.0, 9.0, 9.0, 0.0), (SAME, self.SPARE) * 3, strict=True):
            agenda.add(LUMA, [member], due, worth=worth)
        agenda.add(DOUBTED, call("other"), 1.0, worth=SAME)
        assert count(agenda, LUMA, 5.0) == 6
        agenda.discard(members[3])
        assert count(agenda, LUMA, 5.0) == 5
        grab(agenda, LUMA, 2, 5.0)

        assert count(agenda, LUMA, 5.0) == 3
        assert count(agenda, DOUBTED, 5.0) == 1


def test_those_asked_together_have_their_next_turn_together() -> None:
    """Who was taken together and is given a turn together comes back together, in the order given, time after time."""
    agenda = Agenda()
    agenda.add(LUMA, call("a b"), 0.0, worth=SAME)
    agenda.add(LUMA, call("c"), 1.0, worth=SAME)
    for now in range(5):
        together = grab(agenda, LUMA, 50, float(now))
        assert [member.name for member in together] == ["a", "b", "c"]
        assert len(agenda) == 0
        agenda.add(LUMA, together, now + 5.0, worth=SAME)
        assert firsts(agenda, now) == [(now + 5.0, LUMA)]


class TestTogether:
    """Those who are due at the same time and as urgent have their turn together, however they came."""

    def test_they_share_a_turn(self) -> None:
        """Thousands who come one by one are one; another time, urgency or lane is another."""
        agenda = Agenda()
        crowd = [somebody() for _ in range(1000)]
        later, urgent, doubted = others = call("later urgent doubted")
        for member in crowd:
            agenda.add(LUMA, [member], 10.0, worth=SAME)
        agenda.add(LUMA, [later], 10.001, worth=SAME)
        agenda.add(LUMA, [urgent], 10.0, worth=Worth(0.1, 0.0))
        agenda.add(DOUBTED, [doubted], 10.0, worth=SAME)

        assert len({id(member.batch.place) for member in crowd}) == 1
        assert len({id(member.batch.place) for member in (crowd[0], *others)}) == 4
        assert len(agenda) == 1003
        assert [len(grab(agenda, LUMA, 50, 10.0)) for _ in range(3)] == [50] * 3

    def test_nobody_joins_a_turn_that_has_come_up(self) -> None:
        """Who comes for a time that is over has a turn of its own, behind those who have waited for theirs."""
        agenda = Agenda()
        agenda.add(LUMA, call("first second"), 10.0, worth=SAME)
        assert firsts(agenda, 10.0) == [(-math.inf, LUMA)]
        agenda.add(LUMA, call("third"), 10.0, worth=SAME)

        assert take(agenda, LUMA, 1, 10.0, 10.0) == "first"
        assert firsts(agenda, 10.0) == [(-math.inf, LUMA)]
        assert agenda.worth(LUMA, 50, 10.0) == 2 * SAME.at(10.0)
        assert take(agenda, LUMA, 50, 10.0, 10.0) == "second third"

    def test_who_comes_when_some_of_a_turn_have_left_is_behind_the_rest(self) -> None:
        """Some of it may have ridden along before it was due."""
        agenda = Agenda()
        agenda.add(LUMA, call("a b c"), 10.0, worth=SAME)
        assert take(agenda, LUMA, 2, 1.0) == "a b"
        agenda.add(LUMA, call("d"), 10.0, worth=SAME)

        assert len(agenda) == 2
        assert firsts(agenda, 1.0) == [(10.0, LUMA)]
        assert take(agenda, LUMA, 50, 1.0) == "c d"
        agenda.add(LUMA, call("e"), 10.0, worth=SAME)
        assert firsts(agenda, 1.0) == [(10.0, LUMA)]
        assert take(agenda, LUMA, 50, 1.0) == "e"

    def test_a_list_that_is_given_stays_as_it_is(self) -> None:
        """Taking some of a turn changes nothing for whoever gave it."""
        agenda = Agenda()
        members = call("a b c")
        agenda.add(LUMA, members, 10.0, worth=SAME)
        grab(agenda, LUMA, 2)

        assert [member.name for member in members] == ["a", "b", "c"]


class TestWhole:
    """A batch that fills a request, or has it to itself, is given as it came: nothing is copied."""

    @pytest.mark.parametrize("size", [3, 4, 50])
    def test_it_is_the_very_batch(self, size: int) -> None:
        """However often it comes back, and whether there is room for more."""
        agenda = Agenda()
        batch = Batch(call("a b c"))
        for now in (1.0, 2.0, 3.0):
            agenda.add(LUMA, batch, now, worth=SAME)

            assert agenda.take(LUMA, size, now) is batch
            assert len(agenda) == 0
            assert agenda.turns(now) == []
            assert all(member.batch is batch for member in batch.entries)

    def test_those_of_a_turn_leave_one_after_the_other(self) -> None:
        """By rank, each as it came; the counts go down with them."""
        agenda = Agenda()
        last, first, second = (Batch(call(names)) for names in ("e f", "a b", "c d"))
        for batch, rank in ((last, 2), (first, 0), (second, 1)):
            agenda.add(LUMA, batch, 1.0, rank, worth=SAME)

        for left, batch in ((4, first), (2, second), (0, last)):
            assert agenda.take(LUMA, 2, 1.0) is batch
            assert len(agenda) == count(agenda, LUMA, 1.0) == left

    @pytest.mark.parametrize(
        ("size", "batches"), [(1, "a b c d e"), (2, "a,b c,d e"), (4, "a,b,c,d e"), (5, "a,b,c,d,e"), (9, "a,b,c,d,e")]
    )
    def test_where_the_size_is_another_they_are_put_together(self, size: int, batches: str) -> None:
        """From what there is, in order; what was given stays as it is."""
        agenda = Agenda()
        given = [call("a b c"), call("d e")]
        for members in given:
            agenda.add(LUMA, members, 1.0, worth=SAME)
        taken = []
        while agenda:
            taken.append(grab(agenda, LUMA, size, 1.0))

        assert [",".join(member.name for member in batch) for batch in taken] == batches.split()
        assert not any(batch is members for batch in taken for members in given)
        assert [[member.name for member in members] for members in given] == [["a", "b", "c"], ["d", "e"]]

    @pytest.mark.parametrize(("gone", "batches"), [("a", "b,c d"), ("b", "a,c d"), ("c", "a,b d"), ("d", "a,b c")])
    def test_where_one_of_the_turn_has_left_they_are_looked_through(self, gone: str, batches: str) -> None:
        """Whoever it was: its place is given to nobody, and who comes next moves up."""
        agenda = Agenda()
        given = [call("a b"), call("c d")]
        for members in given:
            agenda.add(LUMA, members, 1.0, worth=SAME)
        (left,) = [member for members in given for member in members if member.name == gone]
        agenda.discard(left)
        taken = [grab(agenda, LUMA, 2, 1.0) for _ in range(2)]

        assert [",".join(member.name for member in batch) for batch in taken] == batches.split()
        assert not any(batch is members for batch in taken for members in given)
        assert agenda.turns(1.0) == []

    def test_who_leaves_another_turn_makes_no_difference(self) -> None:
        """Each turn knows of its own."""
        agenda = Agenda()
        batch, others = Batch(call("a b")), call("c d")
        agenda.add(LUMA, batch, 1.0, worth=SAME)
        agenda.add(LUMA, others, 2.0, worth=SAME)
        agenda.discard(others[0])

        assert agenda.take(LUMA, 2, 3.0) is batch
        assert take(agenda, LUMA, 2, 3.0) == "d"

    def test_riders_are_put_together(self) -> None:
        """Also where they would fill the request, since others may have a place in it."""
        agenda = Agenda()
        agenda.add(LUMA, call("due"), 1.0, worth=SAME)
        agenda.add(LUMA, call("a b"), 9.0, worth=SAME)

        assert take(agenda, LUMA, 3, 1.0) == "due a b"
        assert len(agenda) == 0


def test_a_turn_that_is_too_large_keeps_the_rest_in_place() -> None:
    """What of a turn does not fit into a batch is first in the next one, in order, before whoever came later."""
    agenda = Agenda()
    members = call("a b c d e f")
    agenda.add(LUMA, members, 1.0, worth=SAME)
    agenda.add(LUMA, call("g"), 1.0, worth=SAME)
    agenda.add(LUMA, call("z"), 0.0, worth=SAME)

    assert take(agenda, LUMA, 3, 0.5) == "z a b"
    assert firsts(agenda, 0.5) == [(1.0, LUMA)]
    assert len(agenda) == 5
    agenda.discard(members[3])
    assert take(agenda, LUMA, 2, 1.0) == "c e"
    assert take(agenda, LUMA, 2, 1.0) == "f g"


def test_who_is_taken_has_no_turn() -> None:
    """Taking ends a turn for those who are taken, and not for the rest of it."""
    agenda = Agenda()
    first, rest = members = call("first rest")
    agenda.add(LUMA, members, 1.0, worth=SAME)

    assert grab(agenda, LUMA, 1) == [first]
    assert rest.batch is not None
    agenda.discard(first)
    assert len(agenda) == 1
    assert grab(agenda, LUMA, 1) == [rest]


def test_one_who_moves_is_taken_once() -> None:
    """One that leaves its turn and is given another is taken at the new time, be it earlier or later."""
    agenda = Agenda()
    later, earlier = call("later earlier")
    agenda.add(LUMA, [later], 1.0, worth=SAME)
    agenda.add(LUMA, [earlier], 9.0, worth=SAME)
    for member, due in ((later, 8.0), (earlier, 2.0)):
        agenda.discard(member)
        agenda.add(LUMA, (member,), due, worth=SAME)

    assert firsts(agenda, 0.0) == [(2.0, LUMA)]
    assert take(agenda, LUMA, 5) == "earlier later"
    assert len(agenda) == 0


def test_one_in_a_new_turn_leaves_its_old_place() -> None:
    """Those it was together with stay where they are, and it is with the others of its new turn."""
    agenda = Agenda()
    a, b, c, d, e = call("a b c d e")
    agenda.add(LUMA, [a, b, c], 1.0, worth=SAME)
    agenda.add(DOUBTED, [d], 1.0, worth=SAME)
    for member in (d, b):
        agenda.discard(member)
    agenda.add(LUMA, [e, d, b], 2.0, worth=SAME)

    assert firsts(agenda, 0.0) == [(1.0, LUMA)]
    assert take(agenda, LUMA, 50, 1.0, 1.0) == "a c"
    assert take(agenda, LUMA, 50, 1.0) == "e d b"


def test_a_void_turn_is_nobodys() -> None:
    """A turn that was given up is passed over when it comes up behind another."""
    agenda = Agenda()
    first, moved, gone, second = call("first moved gone second")
    for member, due in [(first, 0.0), (moved, 1.0), (gone, 1.0), (second, 2.0)]:
        agenda.add(LUMA, [member], due, worth=SAME)
    for member in (moved, gone):
        agenda.discard(member)
    agenda.add(LUMA, [moved], 3.0, worth=SAME)

    assert take(agenda, LUMA, 2) == "first second"
    assert take(agenda, LUMA, 2) == "moved"


def test_a_turn_that_everybody_has_left_is_nobodys_first() -> None:
    """When a lane is due is told by those who are still there."""
    agenda = Agenda()
    members = call("a b")
    agenda.add(LUMA, members, 1.0, worth=SAME)
    agenda.add(LUMA, call("c"), 2.0, worth=SAME)
    agenda.discard(members[0])
    assert firsts(agenda, 0.0) == [(1.0, LUMA)]
    agenda.discard(members[1])

    assert firsts(agenda, 0.0) == [(2.0, LUMA)]
    assert firsts(agenda, 1.5) == [(2.0, LUMA)]
    assert take(agenda, LUMA, 2) == "c"


def test_riders_can_be_left_behind() -> None:
    """Where a provider's interval must be kept, only those are taken that are due by then, that very time included."""
    agenda = Agenda()
    for name, due in [("late", 10.5), ("due", 10.0), ("overdue", 1.0)]:
        agenda.add(LUMA, call(name), due, worth=SAME)

    assert take(agenda, LUMA, 50, 10.0, 10.0) == "overdue due"
    assert take(agenda, LUMA, 50, 10.0, 10.0) == ""
    assert take(agenda, LUMA, 50, 11.0, 11.0) == "late"


def test_providers_do_not_mix() -> None:
    """Taking of one provider leaves what is another's."""
    agenda = Agenda()
    agenda.add(LUMA, call("x"), 1.0, worth=SAME)
    agenda.add(FLUX, call("x"), 2.0, worth=SAME)

    assert sorted(firsts(agenda, 0.0)) == [(1.0, LUMA), (2.0, FLUX)]
    assert take(agenda, LUMA, 50) == "x"
    assert firsts(agenda, 0.0) == [(2.0, FLUX)]


def test_lanes_do_not_mix() -> None:
    """Ids under suspicion are asked apart from those that are not, each lane in its own turn."""
    agenda = Agenda()
    agenda.add(LUMA, call("good"), 2.0, worth=SAME)
    agenda.add(DOUBTED, call("doubted"), 1.0, worth=SAME)

    assert sorted(firsts(agenda, 0.0)) == [(1.0, DOUBTED), (2.0, LUMA)]
    assert take(agenda, DOUBTED, 50) == "doubted"
    assert take(agenda, LUMA, 50) == "good"


def test_one_is_taken_off_whichever_lane_it_is_in() -> None:
    """Whoever takes one off need not know how much it is suspected; others stay, and a second time changes nothing."""
    agenda = Agenda()
    members = {lane: call("x y") for lane in (LUMA, DOUBTED, ALONE, FLUX)}
    for lane, (x, y) in members.items():
        agenda.add(lane, [x, y], 1.0, worth=SAME)
    for _ in range(2):
        for lane in (LUMA, DOUBTED, ALONE):
            agenda.discard(members[lane][0])

    assert repr(agenda) == "<Agenda luma: 1, luma (1/2): 1, luma (1/32): 1, flux: 2>"
    for lane in (LUMA, DOUBTED, ALONE):
        agenda.discard(members[lane][1])
    agenda.discard(somebody("stranger"))
    assert firsts(agenda, 0.0) == [(1.0, FLUX)]


@pytest.mark.parametrize(
    ("full", "sizes"), [(50, [50, 25, 12, 6, 3, 1, 1]), (12, [12, 6, 3, 1, 1, 1, 1]), (1, [1, 1, 1, 1, 1, 1, 1])]
)
def test_each_halving_halves_the_batch(full: int, sizes: list[int]) -> None:
    """The more an id is suspected, the smaller its company, until it is alone."""
    assert [Lane("luma", halvings).batch_size(full) for halvings in range(7)] == sizes


def test_lanes_are_in_order() -> None:
    """Where two turns are as urgent, the less suspected comes first."""
    assert sorted([DOUBTED, LUMA, FLUX, ALONE]) == [FLUX, LUMA, DOUBTED, ALONE]


def test_repr_shows_how_much_waits() -> None:
    """The repr tells how many each lane has."""
    agenda = Agenda()
    assert repr(agenda) == "<Agenda empty>"
    agenda.add(LUMA, call("x y"), 1.0, worth=SAME)
    agenda.add(FLUX, call("x"), 1.0, worth=SAME)
    agenda.add(ALONE, call("z"), 1.0, worth=SAME)

    assert repr(agenda) == "<Agenda luma: 2, flux: 1, luma (1/32): 1>"
    grab(agenda, FLUX, 1)
    assert repr(agenda) == "<Agenda luma: 2, luma (1/32): 1>"


#: Far more empty places than an agenda may keep, and more than it may keep for a handful of members.
MANY, FEW = 5000, 200


def count_kept(things: list[weakref.ref[object]]) -> int:
    """Count what somebody still keeps."""
    return sum(kept() is not None for kept in things)


@pytest.mark.parametrize("size", [1, 3])
def test_empty_places_of_those_who_come_and_go_do_not_pile_up(size: int) -> None:
    """Adding and discarding for ever keeps no more than a few of those who have gone."""
    agenda = Agenda()
    agenda.add(LUMA, call("stays"), 1.0, worth=SAME)
    watched: list[weakref.ref[object]] = []
    for number in range(MANY // size):
        members = [somebody() for _ in range(size)]
        watched += map(weakref.ref, members)
        agenda.add(LUMA, list(members), 2.0 + number, worth=SAME)
        for member in members:
            agenda.discard(member)
        del members, member

    assert count_kept(watched) < FEW
    assert take(agenda, LUMA, 50) == "stays"


@pytest.mark.parametrize("is_due", [False, True])
@pytest.mark.parametrize("together", [1, 50, MANY])
def test_empty_places_of_a_mass_that_has_gone_do_not_stay(together: int, is_due: bool) -> None:  # noqa: FBT001  # a column
    """When thousands leave at once, what is kept shrinks with them, however many had their turn together."""
    agenda = Agenda()
    members = [somebody(f"task-{number}") for number in range(MANY)]
    for start in range(0, MANY, together):
        agenda.add(LUMA, members[start : start + together], 1.0, worth=SAME)
    if is_due:
        firsts(agenda, 1.0)
    for member in members[:-1]:
        agenda.discard(member)
    watched: list[weakref.ref[object]] = [weakref.ref(member) for member in members]
    del members, member

    assert count_kept(watched) < FEW
    assert take(agenda, LUMA, 50) == f"task-{MANY - 1}"


@pytest.mark.parametrize("is_due", [False, True])
def test_turns_that_were_left_do_not_pile_up(is_due: bool) -> None:  # noqa: FBT001  # a column
    """Giving up one turn for another for ever keeps no more than a few of the old ones."""
    agenda = Agenda()
    same = call("a b")
    agenda.add(LUMA, list(same), 0.0, worth=SAME)
    kind = type(same[0].batch.place)

    def count_turns() -> int:
        gc.collect()
        return sum(type(thing) is kind for thing in gc.get_objects())

    before = count_turns()
    for number in range(MANY):
        for member in same:
            agenda.discard(member)
        agenda.add(LUMA, list(same), float(number), worth=SAME)
        if is_due:
            agenda.turns(float(number))

    assert count_turns() - before < FEW
    assert take(agenda, LUMA, 50, MANY) == "a b"


@pytest.mark.parametrize("is_due", [False, True])
def test_cleaning_up_keeps_the_order(is_due: bool) -> None:  # noqa: FBT001  # a column
    """Those who stay among many who have left come up as if nobody had been there."""
    agenda = Agenda()
    crowd = [[somebody(f"{turn}-{place}") for place in range(20)] for turn in range(40)]
    for turn, members in enumerate(crowd):
        agenda.add(LUMA, list(members), float(turn % 3), rank=turn % 2, worth=SAME)
    if is_due:
        firsts(agenda, 5.0)
    stay = [members[7 : 13 : 1 + turn % 3] for turn, members in enumerate(crowd) if turn % 5 == 0]
    for members in crowd:
        for member in members:
            if not any(member in few for few in stay):
                agenda.discard(member)

    order = sorted(range(0, 40, 5), key=lambda turn: (turn % 3, turn % 2, turn))
    assert grab(agenda, LUMA, 1000, 5.0) == [member for turn in order for member in stay[turn // 5]]


def test_nothing_is_kept_of_those_who_were_taken() -> None:
    """An agenda that was emptied, by taking or discarding, keeps nobody."""
    agenda = Agenda()
    members = [somebody() for _ in range(100)]
    watched: list[weakref.ref[object]] = [weakref.ref(member) for member in members]
    agenda.add(LUMA, members[:70], 1.0, worth=SAME)
    for member in members[70:]:
        agenda.add(LUMA, [member], 2.0, worth=SAME)
    for member in members[50:]:
        agenda.discard(member)
    grab(agenda, LUMA, 50)
    del members, member

    assert firsts(agenda, 5.0) == []
    gc.collect()
    assert count_kept(watched) == 0
    assert repr(agenda) == "<Agenda empty>"
