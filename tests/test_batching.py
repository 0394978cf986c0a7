"""Due ids into full, bounded, fair batches, and what providers have shown to be too large a batch."""

from __future__ import annotations

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
IDS = st.sampled_from("abcde")
#: Few different times, so that many ids are due at once.
TIMES = st.integers(0, 4).map(float)


class AgendaMachine(RuleBasedStateMachine):
    """An agenda beside the simplest thing that could be one: for each lane, its turns in the order given."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda()
        self.turns: dict[Lane, dict[str, float]] = {}

    def due_by(self, lane: Lane, latest: float) -> list[str]:
        """Sort a lane's ids by when they are due; the sort is stable, so that ties keep the order given."""
        turns = self.turns[lane]
        return [task_id for task_id in sorted(turns, key=turns.__getitem__) if turns[task_id] <= latest]

    def drop_empty(self) -> None:
        """Forget the lanes that have no turns."""
        self.turns = {lane: turns for lane, turns in self.turns.items() if turns}

    @rule(lane=LANES, task_id=IDS, due=TIMES)
    def add(self, lane: Lane, task_id: str, due: float) -> None:
        """Give an id a turn; a turn that it had in that lane before is void."""
        self.agenda.add(lane, task_id, due)
        turns = self.turns.setdefault(lane, {})
        turns.pop(task_id, None)
        turns[task_id] = due

    @rule(provider=st.sampled_from(["flux", "luma"]), task_id=IDS)
    def discard(self, provider: str, task_id: str) -> None:
        """Take an id off in all lanes of its provider, whether it has a turn or not."""
        self.agenda.discard(provider, task_id)
        for lane, turns in self.turns.items():
            if lane.provider == provider:
                turns.pop(task_id, None)
        self.drop_empty()

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), size=st.integers(1, 4), latest=st.just(math.inf) | TIMES)
    def take(self, data: st.DataObject, size: int, latest: float) -> None:
        """Take a batch of a lane that has turns: the first of them, in order, up to the latest time."""
        lane = data.draw(st.sampled_from(sorted(self.turns)))
        expected = self.due_by(lane, latest)[:size]

        assert self.agenda.take(lane, size, latest) == expected
        for task_id in expected:
            del self.turns[lane][task_id]
        self.drop_empty()

    @invariant()
    def counts_are_right(self) -> None:
        """The agenda's length is the number of turns, and its repr says so for each lane."""
        assert len(self.agenda) == sum(map(len, self.turns.values()))
        names = {FLUX: "flux", LUMA: "luma", DOUBTED: "luma (1/2)"}
        sizes = [f"{names[lane]}: {len(turns)}" for lane, turns in self.turns.items()]
        assert sorted(repr(self.agenda).removeprefix("<Agenda ").removesuffix(">").split(", ")) == sorted(
            sizes or ["empty"]
        )

    @invariant()
    def first_turns_are_right(self) -> None:
        """Each lane that has turns is told with the time of its first, and no other is."""
        first = {lane: min(turns.values()) for lane, turns in self.turns.items()}
        told = [(lane, due) for due, lane in self.agenda.turns()]

        assert sorted(told) == sorted(first.items())


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(max_examples=70)


@given(count=st.integers(1, 100), size=st.integers(1, 40), times=st.data())
def test_batches_are_full_and_bounded(count: int, size: int, times: st.DataObject) -> None:
    """However many ids are due, they come in as few batches as can be, none too large, and each id once."""
    agenda = Agenda()
    ids = [f"task-{number}" for number in range(count)]
    for task_id, due in zip(ids, times.draw(st.lists(TIMES, min_size=count, max_size=count)), strict=True):
        agenda.add(FLUX, task_id, due)

    batches = []
    while agenda:
        batches.append(agenda.take(FLUX, size))

    assert len(batches) == math.ceil(count / size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sorted(task_id for batch in batches for task_id in batch) == sorted(ids)


@pytest.mark.parametrize(("count", "takes"), [(1, 1), (50, 1), (51, 2), (100, 2), (1000, 20)])
def test_a_thousand_due_ids_come_in_twenty_batches(count: int, takes: int) -> None:
    """At 50 ids a batch, n ids that are due cost exactly n/50 requests, rounded up."""
    agenda = Agenda()
    for number in range(count):
        agenda.add(FLUX, f"task-{number}", 1.0)

    taken = 0
    while agenda:
        agenda.take(FLUX, 50)
        taken += 1

    assert taken == takes


def test_due_ids_come_before_riders() -> None:
    """A batch takes what is due first and fills its room with what is due next, whatever the order of adding."""
    agenda = Agenda()
    for task_id, due in [("rides", 30.0), ("due", 5.0), ("later", 60.0), ("overdue", 1.0)]:
        agenda.add(LUMA, task_id, due)

    assert agenda.take(LUMA, 3) == ["overdue", "due", "rides"]
    assert agenda.take(LUMA, 3) == ["later"]


def test_ids_due_at_once_come_first_in_first_out() -> None:
    """Nobody is overtaken by one who came later and is due at the same time."""
    agenda = Agenda()
    for task_id in ("c", "a", "b"):
        agenda.add(LUMA, task_id, 1.0)

    assert [agenda.take(LUMA, 1) for _ in range(3)] == [["c"], ["a"], ["b"]]


def test_a_new_turn_replaces_the_old_one() -> None:
    """An id that is given another turn is taken once, at the new time, be it earlier or later."""
    agenda = Agenda()
    agenda.add(LUMA, "later", 1.0)
    agenda.add(LUMA, "earlier", 9.0)
    agenda.add(LUMA, "later", 8.0)
    agenda.add(LUMA, "earlier", 2.0)

    assert list(agenda.turns()) == [(2.0, LUMA)]
    assert agenda.take(LUMA, 5) == ["earlier", "later"]
    assert len(agenda) == 0


def test_a_void_turn_is_nobodys() -> None:
    """A turn that was replaced or given up is passed over when it comes up behind another."""
    agenda = Agenda()
    for task_id, due in [("first", 0.0), ("moved", 1.0), ("gone", 1.0), ("second", 2.0), ("moved", 3.0)]:
        agenda.add(LUMA, task_id, due)
    agenda.discard("luma", "gone")

    assert agenda.take(LUMA, 2) == ["first", "second"]
    assert agenda.take(LUMA, 2) == ["moved"]


def test_riders_can_be_left_behind() -> None:
    """Where a provider's interval must be kept, only ids that are due by then are taken, that very time included."""
    agenda = Agenda()
    for task_id, due in [("late", 10.5), ("due", 10.0), ("overdue", 1.0)]:
        agenda.add(LUMA, task_id, due)

    assert agenda.take(LUMA, 50, 10.0) == ["overdue", "due"]
    assert agenda.take(LUMA, 50, 10.0) == []
    assert agenda.take(LUMA, 50, 11.0) == ["late"]


def test_providers_do_not_mix() -> None:
    """The same id under two providers is two tasks, and taking one leaves the other."""
    agenda = Agenda()
    agenda.add(LUMA, "x", 1.0)
    agenda.add(FLUX, "x", 2.0)

    assert sorted(agenda.turns()) == [(1.0, LUMA), (2.0, FLUX)]
    assert agenda.take(LUMA, 50) == ["x"]
    assert list(agenda.turns()) == [(2.0, FLUX)]


def test_lanes_do_not_mix() -> None:
    """Ids under suspicion are asked apart from those that are not, each lane in its own turn."""
    agenda = Agenda()
    agenda.add(LUMA, "good", 2.0)
    agenda.add(DOUBTED, "doubted", 1.0)

    assert sorted(agenda.turns()) == [(1.0, DOUBTED), (2.0, LUMA)]
    assert agenda.take(DOUBTED, 50) == ["doubted"]
    assert agenda.take(LUMA, 50) == ["good"]


def test_an_id_is_taken_off_whichever_lane_it_is_in() -> None:
    """Whoever takes an id off need not know how much it is suspected; other ids and providers stay."""
    agenda = Agenda()
    for lane in (LUMA, DOUBTED, ALONE, FLUX):
        agenda.add(lane, "x", 1.0)
        agenda.add(lane, "y", 1.0)
    agenda.discard("luma", "x")

    assert repr(agenda) == "<Agenda luma: 1, luma (1/2): 1, luma (1/32): 1, flux: 2>"
    agenda.discard("luma", "y")
    agenda.discard("veo", "x")
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
    """The repr tells each lane's number of ids."""
    agenda = Agenda()
    assert repr(agenda) == "<Agenda empty>"
    agenda.add(LUMA, "x", 1.0)
    agenda.add(LUMA, "y", 1.0)
    agenda.add(FLUX, "x", 1.0)
    agenda.add(ALONE, "z", 1.0)

    assert repr(agenda) == "<Agenda luma: 2, flux: 1, luma (1/32): 1>"


class WatchedId(str):
    """An id of which one can see whether anybody still keeps it: a plain `str` takes no weak references."""

    __slots__ = ("__weakref__",)


#: Far more void turns than an agenda may keep, and more turns than it may keep for a handful of ids.
MANY, FEW = 5000, 200


def count_kept(ids: list[weakref.ref[WatchedId]]) -> int:
    """Count the ids that somebody still keeps."""
    return sum(kept() is not None for kept in ids)


def test_void_turns_of_discarded_ids_do_not_pile_up() -> None:
    """Adding and discarding for ever keeps no more than a few of the ids that have gone."""
    agenda = Agenda()
    agenda.add(LUMA, "stays", 1.0)
    watched = []
    for number in range(MANY):
        task_id = WatchedId(f"task-{number}")
        watched.append(weakref.ref(task_id))
        agenda.add(LUMA, task_id, 2.0 + number)
        agenda.discard("luma", task_id)
        del task_id

    assert count_kept(watched) < FEW
    assert agenda.take(LUMA, 50) == ["stays"]


def test_void_turns_of_a_mass_of_discarded_ids_do_not_stay() -> None:
    """When thousands leave at once, what is kept shrinks with them."""
    agenda = Agenda()
    ids = [WatchedId(f"task-{number}") for number in range(MANY)]
    for task_id in ids:
        agenda.add(LUMA, task_id, 1.0)
    for task_id in ids[1:]:
        agenda.discard("luma", task_id)
    watched = [weakref.ref(task_id) for task_id in ids]
    del ids, task_id

    assert count_kept(watched) < FEW
    assert agenda.take(LUMA, 50) == ["task-0"]


def test_void_turns_of_replaced_turns_do_not_pile_up() -> None:
    """Giving one id a new turn for ever keeps no more than a few of its old turns."""
    agenda = Agenda()
    watched = []
    for number in range(MANY):
        task_id = WatchedId("same")
        watched.append(weakref.ref(task_id))
        agenda.add(LUMA, task_id, float(number))
        del task_id

    assert count_kept(watched) < FEW
    assert agenda.take(LUMA, 50) == ["same"]


def test_nothing_is_kept_of_ids_that_were_taken() -> None:
    """An agenda that was emptied, by taking or discarding, keeps none of its ids."""
    agenda = Agenda()
    watched = []
    for number in range(100):
        task_id = WatchedId(f"task-{number}")
        watched.append(weakref.ref(task_id))
        agenda.add(LUMA, task_id, 1.0)
        del task_id
    for number in range(50, 100):
        agenda.discard("luma", f"task-{number}")
    agenda.take(LUMA, 50)

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
