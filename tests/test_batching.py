"""Due ids into full, bounded, fair batches, and what providers have shown to be too large a batch."""

from __future__ import annotations

import gc
import math
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from acetasks.batching import LIMIT_KEPT, Agenda, Lane, Limits

LUMA, FLUX = Lane("luma"), Lane("flux")
#: Luma's tasks that are under suspicion, more and more.
DOUBTED, ALONE = Lane("luma", 1), Lane("luma", 5)
LANES = st.sampled_from([FLUX, LUMA, DOUBTED])
#: Few different times and ranks, so that many are due at once.
TIMES = st.integers(0, 4).map(float)
RANKS = st.integers(0, 2)


class Member:
    """One who can have a turn."""

    def __init__(self, name: str = "somebody") -> None:
        self.name = name
        self.turn: object = None

    def __repr__(self) -> str:
        """Show the name."""
        return self.name


def call(names: str) -> list[Member]:
    """Make members of some names."""
    return [Member(name) for name in names.split()]


def take(agenda: Agenda[Member], lane: Lane, size: int, latest: float = math.inf) -> str:
    """Take some, and tell their names."""
    return " ".join(member.name for member in agenda.take(lane, size, latest))


class AgendaMachine(RuleBasedStateMachine):
    """An agenda beside the simplest thing that could be one: where and when each has its turn, as in a table."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda: Agenda[Member] = Agenda()
        self.members = call("a b c d e f")
        #: Lane, time, rank, and a number that grows from turn to turn and within each.
        self.turns: dict[Member, tuple[Lane, float, int, int]] = {}
        self.number = 0

    def sort(self, lane: Lane, latest: float = math.inf) -> list[Member]:
        """List those who have a turn in a lane, in order."""
        mine = [member for member, turn in self.turns.items() if turn[0] == lane and turn[1] <= latest]
        return sorted(mine, key=lambda member: self.turns[member][1:])

    def lanes(self) -> list[Lane]:
        """List the lanes that have turns."""
        return sorted({turn[0] for turn in self.turns.values()})

    @rule(lane=LANES, data=st.data(), due=TIMES, rank=RANKS)
    def add(self, lane: Lane, data: st.DataObject, due: float, rank: int) -> None:
        """Give some their turn together; a turn that one of them had before, in whatever lane, is void."""
        members = data.draw(st.lists(st.sampled_from(self.members), min_size=1, unique=True))
        self.agenda.add(lane, members, due, rank)
        for member in members:
            self.number += 1
            self.turns[member] = (lane, due, rank, self.number)

    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        """Take one off, whether it has a turn or not."""
        member = data.draw(st.sampled_from(self.members))
        self.agenda.discard(member)
        self.turns.pop(member, None)

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), size=st.integers(1, 4), latest=st.just(math.inf) | TIMES)
    def take(self, data: st.DataObject, size: int, latest: float) -> None:
        """Take a batch of a lane that has turns: the first of them, in order, up to the latest time."""
        lane = data.draw(st.sampled_from(self.lanes()))
        expected = self.sort(lane, latest)[:size]

        assert self.agenda.take(lane, size, latest) == expected
        for member in expected:
            del self.turns[member]

    @invariant()
    def counts_are_right(self) -> None:
        """The agenda's length is the number of those who have a turn, and its repr says so for each lane."""
        assert len(self.agenda) == len(self.turns)
        names = {FLUX: "flux", LUMA: "luma", DOUBTED: "luma (1/2)"}
        sizes = [f"{names[lane]}: {len(self.sort(lane))}" for lane in self.lanes()]
        assert sorted(repr(self.agenda).removeprefix("<Agenda ").removesuffix(">").split(", ")) == sorted(
            sizes or ["empty"]
        )

    @invariant()
    def first_turns_are_right(self) -> None:
        """Each lane that has turns is told with the time of its first, and no other is."""
        first = [(lane, self.turns[self.sort(lane)[0]][1]) for lane in self.lanes()]

        assert sorted((lane, due) for due, lane in self.agenda.turns()) == first

    @invariant()
    def everybody_holds_its_own_turn(self) -> None:
        """Who has a turn holds it, and nobody else holds any."""
        assert {member for member in self.members if member.turn is not None} == self.turns.keys()


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(max_examples=70)


@given(
    sizes=st.lists(st.integers(1, 70), min_size=1, max_size=12),
    room=st.integers(1, 60),
    times=st.lists(TIMES, min_size=12, max_size=12),
    leaving=st.sets(st.integers(0, 900)),
    moving=st.lists(st.tuples(st.integers(0, 900), TIMES), max_size=60),
)
def test_nobody_is_lost_or_taken_twice(
    sizes: list[int], room: int, times: list[float], leaving: set[int], moving: list[tuple[int, float]]
) -> None:
    """Whoever was given turns, of whatever sizes, is taken once at the last of its times, unless it has left."""
    agenda: Agenda[Member] = Agenda()
    members: list[Member] = []
    due: dict[Member, float] = {}
    for size, time in zip(sizes, times, strict=False):
        together = [Member() for _ in range(size)]
        agenda.add(LUMA, together, time)
        due |= dict.fromkeys(together, time)
        members += together
    for number, time in moving:
        mover = members[number % len(members)]
        agenda.add(LUMA, (mover,), time)
        due[mover] = time
    for number in leaving:
        agenda.discard(members[number % len(members)])
        due.pop(members[number % len(members)], None)

    taken: list[Member] = []
    while agenda:
        ((first, _),) = agenda.turns()
        batch = agenda.take(LUMA, room)
        assert first == due[batch[0]]
        assert len(batch) == min(room, len(due) - len(taken))
        taken += batch

    assert len(taken) == len(set(taken))
    assert set(taken) == due.keys()
    assert [due[member] for member in taken] == sorted(due.values())


@given(count=st.integers(1, 100), size=st.integers(1, 40), times=st.data())
def test_batches_are_full_and_bounded(count: int, size: int, times: st.DataObject) -> None:
    """However many are due, they come in as few batches as can be, none too large, and each once."""
    agenda: Agenda[Member] = Agenda()
    members = [Member(f"task-{number}") for number in range(count)]
    for member, due in zip(members, times.draw(st.lists(TIMES, min_size=count, max_size=count)), strict=True):
        agenda.add(FLUX, (member,), due)

    batches = []
    while agenda:
        batches.append(agenda.take(FLUX, size))

    assert len(batches) == math.ceil(count / size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert {member for batch in batches for member in batch} == set(members)


@pytest.mark.parametrize("together", [1, 7, 50, 1000])
@pytest.mark.parametrize(("count", "takes"), [(1, 1), (50, 1), (51, 2), (100, 2), (1000, 20)])
def test_a_thousand_due_ids_come_in_twenty_batches(count: int, takes: int, together: int) -> None:
    """At 50 a batch, n that are due cost exactly n/50 requests, rounded up, in whatever turns they are."""
    agenda: Agenda[Member] = Agenda()
    members = [Member() for _ in range(count)]
    for start in range(0, count, together):
        agenda.add(FLUX, members[start : start + together], 1.0)

    taken = []
    while agenda:
        taken.append(agenda.take(FLUX, 50))

    assert len(taken) == takes
    assert [member for batch in taken for member in batch] == members


def test_due_ids_come_before_riders() -> None:
    """A batch takes what is due first and fills its room with what is due next, whatever the order of adding."""
    agenda: Agenda[Member] = Agenda()
    for name, due in [("rides", 30.0), ("due", 5.0), ("later", 60.0), ("overdue", 1.0)]:
        agenda.add(LUMA, call(name), due)

    assert take(agenda, LUMA, 3) == "overdue due rides"
    assert take(agenda, LUMA, 3) == "later"


def test_ids_due_at_once_come_first_in_first_out() -> None:
    """Nobody is overtaken by one who came later and is due at the same time."""
    agenda: Agenda[Member] = Agenda()
    for names in ("c", "a e", "b"):
        agenda.add(LUMA, call(names), 1.0)

    assert [take(agenda, LUMA, 1) for _ in range(4)] == ["c", "a", "e", "b"]


def test_turns_of_the_same_time_come_up_by_rank() -> None:
    """The lowest rank comes first, the same ranks in the order given; an earlier time goes before any rank."""
    agenda: Agenda[Member] = Agenda()
    for names, due, rank in [("e", 2.0, 7), ("c d", 2.0, 3), ("b", 2.0, 0), ("f", 2.0, 7), ("a", 1.0, 9)]:
        agenda.add(LUMA, call(names), due, rank)

    assert take(agenda, LUMA, 50) == "a b c d e f"


def test_those_asked_together_have_their_next_turn_together() -> None:
    """Who was taken together and is given a turn together comes back together, in the order given, time after time."""
    agenda: Agenda[Member] = Agenda()
    agenda.add(LUMA, call("a b"), 0.0)
    agenda.add(LUMA, call("c"), 1.0)
    for now in range(5):
        together = agenda.take(LUMA, 50)
        assert [member.name for member in together] == ["a", "b", "c"]
        assert len(agenda) == 0
        agenda.add(LUMA, together, now + 5.0)
        assert list(agenda.turns()) == [(now + 5.0, LUMA)]


def test_a_turn_that_is_too_large_keeps_the_rest_in_place() -> None:
    """What of a turn does not fit into a batch is first in the next one, in order, before whoever came later."""
    agenda: Agenda[Member] = Agenda()
    members = call("a b c d e f")
    agenda.add(LUMA, members, 1.0)
    agenda.add(LUMA, call("g"), 1.0)
    agenda.add(LUMA, call("z"), 0.0)

    assert take(agenda, LUMA, 3) == "z a b"
    assert list(agenda.turns()) == [(1.0, LUMA)]
    assert len(agenda) == 5
    agenda.discard(members[3])
    assert take(agenda, LUMA, 2) == "c e"
    assert take(agenda, LUMA, 2) == "f g"


def test_who_is_taken_has_no_turn() -> None:
    """Taking ends a turn for those who are taken, and not for the rest of it."""
    agenda: Agenda[Member] = Agenda()
    first, rest = members = call("first rest")
    agenda.add(LUMA, members, 1.0)

    assert agenda.take(LUMA, 1) == [first]
    assert first.turn is None
    assert rest.turn is not None
    agenda.discard(first)
    assert agenda.take(LUMA, 1) == [rest]


def test_a_new_turn_replaces_the_old_one() -> None:
    """One that is given another turn is taken once, at the new time, be it earlier or later."""
    agenda: Agenda[Member] = Agenda()
    later, earlier = call("later earlier")
    agenda.add(LUMA, [later], 1.0)
    agenda.add(LUMA, [earlier], 9.0)
    agenda.add(LUMA, [later], 8.0)
    agenda.add(LUMA, [earlier], 2.0)

    assert list(agenda.turns()) == [(2.0, LUMA)]
    assert take(agenda, LUMA, 5) == "earlier later"
    assert len(agenda) == 0


def test_one_in_a_new_turn_leaves_its_old_place() -> None:
    """Those it was together with stay where they are, and it is with the others of its new turn."""
    agenda: Agenda[Member] = Agenda()
    a, b, c, d, e = call("a b c d e")
    agenda.add(LUMA, [a, b, c], 1.0)
    agenda.add(DOUBTED, [d], 1.0)
    agenda.add(LUMA, [e, d, b], 2.0)

    assert list(agenda.turns()) == [(1.0, LUMA)]
    assert take(agenda, LUMA, 50, 1.0) == "a c"
    assert take(agenda, LUMA, 50) == "e d b"


def test_a_void_turn_is_nobodys() -> None:
    """A turn that was replaced or given up is passed over when it comes up behind another."""
    agenda: Agenda[Member] = Agenda()
    first, moved, gone, second = call("first moved gone second")
    for member, due in [(first, 0.0), (moved, 1.0), (gone, 1.0), (second, 2.0), (moved, 3.0)]:
        agenda.add(LUMA, [member], due)
    agenda.discard(gone)

    assert take(agenda, LUMA, 2) == "first second"
    assert take(agenda, LUMA, 2) == "moved"


def test_a_turn_that_everybody_has_left_is_nobodys_first() -> None:
    """When a lane is due is told by those who are still there."""
    agenda: Agenda[Member] = Agenda()
    members = call("a b")
    agenda.add(LUMA, members, 1.0)
    agenda.add(LUMA, call("c"), 2.0)
    agenda.discard(members[0])
    assert list(agenda.turns()) == [(1.0, LUMA)]
    agenda.discard(members[1])

    assert list(agenda.turns()) == [(2.0, LUMA)]
    assert take(agenda, LUMA, 2) == "c"


def test_a_lane_that_is_left_while_the_lanes_are_gone_through_is_never_due() -> None:
    """Whoever goes through the lanes may take off the last of one that is still to come."""
    agenda: Agenda[Member] = Agenda()
    member = Member()
    agenda.add(LUMA, [member], 1.0)
    turns = agenda.turns()
    agenda.discard(member)

    assert list(turns) == [(math.inf, LUMA)]
    assert list(agenda.turns()) == []


def test_riders_can_be_left_behind() -> None:
    """Where a provider's interval must be kept, only those are taken that are due by then, that very time included."""
    agenda: Agenda[Member] = Agenda()
    for name, due in [("late", 10.5), ("due", 10.0), ("overdue", 1.0)]:
        agenda.add(LUMA, call(name), due)

    assert take(agenda, LUMA, 50, 10.0) == "overdue due"
    assert take(agenda, LUMA, 50, 10.0) == ""
    assert take(agenda, LUMA, 50, 11.0) == "late"


def test_providers_do_not_mix() -> None:
    """Taking of one provider leaves what is another's."""
    agenda: Agenda[Member] = Agenda()
    agenda.add(LUMA, call("x"), 1.0)
    agenda.add(FLUX, call("x"), 2.0)

    assert sorted(agenda.turns()) == [(1.0, LUMA), (2.0, FLUX)]
    assert take(agenda, LUMA, 50) == "x"
    assert list(agenda.turns()) == [(2.0, FLUX)]


def test_lanes_do_not_mix() -> None:
    """Ids under suspicion are asked apart from those that are not, each lane in its own turn."""
    agenda: Agenda[Member] = Agenda()
    agenda.add(LUMA, call("good"), 2.0)
    agenda.add(DOUBTED, call("doubted"), 1.0)

    assert sorted(agenda.turns()) == [(1.0, DOUBTED), (2.0, LUMA)]
    assert take(agenda, DOUBTED, 50) == "doubted"
    assert take(agenda, LUMA, 50) == "good"


def test_one_is_taken_off_whichever_lane_it_is_in() -> None:
    """Whoever takes one off need not know how much it is suspected; others stay, and a second time changes nothing."""
    agenda: Agenda[Member] = Agenda()
    members = {lane: call("x y") for lane in (LUMA, DOUBTED, ALONE, FLUX)}
    for lane, (x, y) in members.items():
        agenda.add(lane, [x, y], 1.0)
    for _ in range(2):
        for lane in (LUMA, DOUBTED, ALONE):
            agenda.discard(members[lane][0])

    assert repr(agenda) == "<Agenda luma: 1, luma (1/2): 1, luma (1/32): 1, flux: 2>"
    for lane in (LUMA, DOUBTED, ALONE):
        agenda.discard(members[lane][1])
    agenda.discard(Member("stranger"))
    assert list(agenda.turns()) == [(1.0, FLUX)]


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
    agenda: Agenda[Member] = Agenda()
    assert repr(agenda) == "<Agenda empty>"
    agenda.add(LUMA, call("x y"), 1.0)
    agenda.add(FLUX, call("x"), 1.0)
    agenda.add(ALONE, call("z"), 1.0)

    assert repr(agenda) == "<Agenda luma: 2, flux: 1, luma (1/32): 1>"
    agenda.take(FLUX, 1)
    assert repr(agenda) == "<Agenda luma: 2, luma (1/32): 1>"


class Company(list[Member]):
    """Some members, of whom one can see whether anybody still keeps them: a plain list takes no weak references."""

    __slots__ = ("__weakref__",)


#: Far more empty places than an agenda may keep, and more than it may keep for a handful of members.
MANY, FEW = 5000, 200


def count_kept(things: list[weakref.ref[object]]) -> int:
    """Count what somebody still keeps."""
    return sum(kept() is not None for kept in things)


@pytest.mark.parametrize("size", [1, 3])
def test_empty_places_of_those_who_come_and_go_do_not_pile_up(size: int) -> None:
    """Adding and discarding for ever keeps no more than a few of those who have gone."""
    agenda: Agenda[Member] = Agenda()
    agenda.add(LUMA, call("stays"), 1.0)
    watched: list[weakref.ref[object]] = []
    for number in range(MANY // size):
        members = [Member() for _ in range(size)]
        watched += map(weakref.ref, members)
        agenda.add(LUMA, members, 2.0 + number)
        for member in members:
            agenda.discard(member)
        del members, member

    assert count_kept(watched) < FEW
    assert take(agenda, LUMA, 50) == "stays"


@pytest.mark.parametrize("together", [1, 50, MANY])
def test_empty_places_of_a_mass_that_has_gone_do_not_stay(together: int) -> None:
    """When thousands leave at once, what is kept shrinks with them, however many had their turn together."""
    agenda: Agenda[Member] = Agenda()
    members = [Member(f"task-{number}") for number in range(MANY)]
    for start in range(0, MANY, together):
        agenda.add(LUMA, members[start : start + together], 1.0)
    for member in members[:-1]:
        agenda.discard(member)
    watched: list[weakref.ref[object]] = [weakref.ref(member) for member in members]
    del members, member

    assert count_kept(watched) < FEW
    assert take(agenda, LUMA, 50) == f"task-{MANY - 1}"


def test_turns_that_were_replaced_do_not_pile_up() -> None:
    """Giving the same ones a new turn for ever keeps no more than a few of their old turns."""
    agenda: Agenda[Member] = Agenda()
    same = call("a b")
    watched: list[weakref.ref[object]] = []
    for number in range(MANY):
        company = Company(same)
        watched.append(weakref.ref(company))
        agenda.add(LUMA, company, float(number))
        del company

    assert count_kept(watched) < FEW
    assert take(agenda, LUMA, 50) == "a b"


def test_cleaning_up_keeps_the_order() -> None:
    """Those who stay among many who have left come up as if nobody had been there."""
    agenda: Agenda[Member] = Agenda()
    crowd = [[Member(f"{turn}-{place}") for place in range(20)] for turn in range(40)]
    for turn, members in enumerate(crowd):
        agenda.add(LUMA, members, float(turn % 3), rank=turn % 2)
    stay = [members[7 : 13 : 1 + turn % 3] for turn, members in enumerate(crowd) if turn % 5 == 0]
    for members in crowd:
        for member in members:
            if not any(member in few for few in stay):
                agenda.discard(member)

    order = sorted(range(0, 40, 5), key=lambda turn: (turn % 3, turn % 2, turn))
    assert agenda.take(LUMA, 1000) == [member for turn in order for member in stay[turn // 5]]


def test_nothing_is_kept_of_those_who_were_taken() -> None:
    """An agenda that was emptied, by taking or discarding, keeps nobody."""
    agenda: Agenda[Member] = Agenda()
    members = [Member() for _ in range(100)]
    watched: list[weakref.ref[object]] = [weakref.ref(member) for member in members]
    agenda.add(LUMA, members[:70], 1.0)
    for member in members[70:]:
        agenda.add(LUMA, [member], 2.0)
    for member in members[50:]:
        agenda.discard(member)
    agenda.take(LUMA, 50)
    del members, member

    assert list(agenda.turns()) == []
    gc.collect()
    assert count_kept(watched) == 0
    assert repr(agenda) == "<Agenda empty>"


class TestLimits:
    """`Limits`: what providers have shown to be too large a batch."""

    def test_nothing_is_known_at_first(self) -> None:
        """Batches are full until a provider shows that they are too large."""
        limits = Limits()

        assert limits.size("luma", 50, 0.0) == 50
        assert repr(limits) == "<Limits none>"

    def test_two_answers_cut_at_the_same_number_are_a_limit(self) -> None:
        """Once may be chance; it is of that provider alone, and of no more than a full batch."""
        limits = Limits()
        limits.note_cuts("luma", [12], 0.0)
        assert limits.size("luma", 50, 0.0) == 50
        assert repr(limits) == "<Limits none>"
        limits.note_cuts("luma", [12], 5.0)

        assert limits.size("luma", 50, 5.0) == 12
        assert limits.size("luma", 10, 5.0) == 10
        assert limits.size("flux", 50, 5.0) == 50
        assert repr(limits) == "<Limits {'luma': 12}>"

    def test_one_look_with_several_cuts_is_enough(self) -> None:
        """Fifty ids that come in answers of twelve show the limit at once."""
        limits = Limits()
        limits.note_cuts("luma", [12, 12, 12, 12], 0.0)

        assert limits.size("luma", 50, 0.0) == 12

    @pytest.mark.parametrize("cuts", [[], [12], [12, 13], [12, 13, 12, 13], [49, 12, 48, 12]])
    def test_answers_cut_here_and_there_are_no_limit(self, cuts: list[int]) -> None:
        """A service that leaves out this and that has no fixed number."""
        limits = Limits()
        for cut in cuts:
            limits.note_cuts("luma", [cut], 0.0)
        limits.note_cuts("flux", [12], 0.0)

        assert limits.size("luma", 50, 0.0) == limits.size("flux", 50, 0.0) == 50

    def test_a_limit_is_forgotten_after_a_while(self) -> None:
        """It may have been chance, or may be no more; until then it holds, and each cut anew makes it hold longer."""
        limits = Limits()
        limits.note_cuts("luma", [12, 12], 0.0)
        assert limits.size("luma", 50, LIMIT_KEPT - 0.001) == 12
        assert limits.size("luma", 50, LIMIT_KEPT) == 50

        limits.note_cuts("luma", [10, 10], LIMIT_KEPT)
        limits.note_cuts("luma", [10], LIMIT_KEPT + 100.0)
        assert limits.size("luma", 50, 2 * LIMIT_KEPT + 99.0) == 10
        assert limits.size("luma", 50, 2 * LIMIT_KEPT + 100.0) == 50

    def test_a_request_refused_for_its_size_is_a_limit_at_once(self) -> None:
        """What was not too many is asked for until that is forgotten."""
        limits = Limits()
        limits.note_too_large("luma", 13, 100.0)

        assert limits.size("luma", 50, 100.0) == 13
        assert limits.size("luma", 50, 100.0 + LIMIT_KEPT) == 50

    def test_the_last_that_was_learned_counts(self) -> None:
        """A provider whose limit moves is followed."""
        limits = Limits()
        limits.note_too_large("luma", 25, 0.0)
        limits.note_cuts("luma", [20, 20], 1.0)
        assert limits.size("luma", 50, 1.0) == 20

        limits.note_too_large("luma", 5, 2.0)
        assert limits.size("luma", 50, 2.0) == 5

    @given(
        full=st.integers(1, 64),
        notes=st.lists(st.tuples(st.booleans(), st.integers(1, 64), st.floats(0, LIMIT_KEPT)), max_size=20),
    )
    def test_a_size_is_within_bounds(self, full: int, notes: list[tuple[bool, int, float]]) -> None:
        """Whatever was learned, at least one id is asked for and never more than a full batch."""
        limits, now = Limits(), 0.0
        for is_cut, number, seconds in notes:
            now += seconds
            if is_cut:
                limits.note_cuts("luma", [number], now)
            else:
                limits.note_too_large("luma", number, now)
            assert 1 <= limits.size("luma", full, now) <= full
        assert limits.size("luma", full, now + LIMIT_KEPT) == full
