"""The agenda: due ids into full, bounded, fair batches."""

from __future__ import annotations

import math
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from acetasks.batching import Agenda

PROVIDERS = st.sampled_from(["flux", "luma"])
IDS = st.sampled_from("abcde")
#: Few different times, so that many ids are due at once.
TIMES = st.integers(0, 4).map(float)


class AgendaMachine(RuleBasedStateMachine):
    """An agenda beside the simplest thing that could be one: for each provider, its turns in the order given."""

    def __init__(self) -> None:
        super().__init__()
        self.agenda = Agenda()
        self.turns: dict[str, dict[str, float]] = {}

    def due_by(self, provider: str, latest: float) -> list[str]:
        """Sort a provider's ids by when they are due; the sort is stable, so that ties keep the order given."""
        turns = self.turns[provider]
        return [task_id for task_id in sorted(turns, key=turns.__getitem__) if turns[task_id] <= latest]

    @rule(provider=PROVIDERS, task_id=IDS, due=TIMES)
    def add(self, provider: str, task_id: str, due: float) -> None:
        """Give an id a turn; a turn that it had before is void."""
        self.agenda.add(provider, task_id, due)
        turns = self.turns.setdefault(provider, {})
        turns.pop(task_id, None)
        turns[task_id] = due

    @rule(provider=PROVIDERS, task_id=IDS)
    def discard(self, provider: str, task_id: str) -> None:
        """Take an id off, whether it has a turn or not."""
        self.agenda.discard(provider, task_id)
        turns = self.turns.get(provider, {})
        turns.pop(task_id, None)
        if not turns:
            self.turns.pop(provider, None)

    @precondition(lambda self: self.turns)
    @rule(data=st.data(), size=st.integers(1, 4), latest=st.just(math.inf) | TIMES)
    def take(self, data: st.DataObject, size: int, latest: float) -> None:
        """Take a batch of a provider that has turns: the first of them, in order, up to the latest time."""
        provider = data.draw(st.sampled_from(sorted(self.turns)))
        expected = self.due_by(provider, latest)[:size]

        assert self.agenda.take(provider, size, latest) == expected
        for task_id in expected:
            del self.turns[provider][task_id]
        if not self.turns[provider]:
            del self.turns[provider]

    @invariant()
    def counts_are_right(self) -> None:
        """The agenda's length is the number of ids that have a turn, and its repr says so for each provider."""
        assert len(self.agenda) == sum(map(len, self.turns.values()))
        sizes = [f"{provider}: {len(turns)}" for provider, turns in self.turns.items()]
        assert sorted(repr(self.agenda).removeprefix("<Agenda ").removesuffix(">").split(", ")) == sorted(
            sizes or ["empty"]
        )

    @invariant()
    def first_turns_are_right(self) -> None:
        """Each provider that has turns is told with the time of its first, and no other is."""
        first = {provider: min(turns.values()) for provider, turns in self.turns.items()}
        told = [(provider, due) for due, provider in self.agenda.turns()]

        assert sorted(told) == sorted(first.items())


TestAgenda = AgendaMachine.TestCase
TestAgenda.settings = settings(max_examples=200)


@given(count=st.integers(1, 400), size=st.integers(1, 60), times=st.data())
def test_batches_are_full_and_bounded(count: int, size: int, times: st.DataObject) -> None:
    """However many ids are due, they come in as few batches as can be, none too large, and each id once."""
    agenda = Agenda()
    ids = [f"task-{number}" for number in range(count)]
    for task_id, due in zip(ids, times.draw(st.lists(TIMES, min_size=count, max_size=count)), strict=True):
        agenda.add("flux", task_id, due)

    batches = []
    while agenda:
        batches.append(agenda.take("flux", size))

    assert len(batches) == math.ceil(count / size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sorted(task_id for batch in batches for task_id in batch) == sorted(ids)


@pytest.mark.parametrize(("count", "takes"), [(1, 1), (50, 1), (51, 2), (100, 2), (1000, 20)])
def test_a_thousand_due_ids_come_in_twenty_batches(count: int, takes: int) -> None:
    """At 50 ids a batch, n ids that are due cost exactly n/50 requests, rounded up."""
    agenda = Agenda()
    for number in range(count):
        agenda.add("flux", f"task-{number}", 1.0)

    taken = 0
    while agenda:
        agenda.take("flux", 50)
        taken += 1

    assert taken == takes


def test_due_ids_come_before_riders() -> None:
    """A batch takes what is due first and fills its room with what is due next, whatever the order of adding."""
    agenda = Agenda()
    for task_id, due in [("rides", 30.0), ("due", 5.0), ("later", 60.0), ("overdue", 1.0)]:
        agenda.add("luma", task_id, due)

    assert agenda.take("luma", 3) == ["overdue", "due", "rides"]
    assert agenda.take("luma", 3) == ["later"]


def test_ids_due_at_once_come_first_in_first_out() -> None:
    """Nobody is overtaken by one who came later and is due at the same time."""
    agenda = Agenda()
    for task_id in ("c", "a", "b"):
        agenda.add("luma", task_id, 1.0)

    assert [agenda.take("luma", 1) for _ in range(3)] == [["c"], ["a"], ["b"]]


def test_a_new_turn_replaces_the_old_one() -> None:
    """An id that is given another turn is taken once, at the new time, be it earlier or later."""
    agenda = Agenda()
    agenda.add("luma", "later", 1.0)
    agenda.add("luma", "earlier", 9.0)
    agenda.add("luma", "later", 8.0)
    agenda.add("luma", "earlier", 2.0)

    assert list(agenda.turns()) == [(2.0, "luma")]
    assert agenda.take("luma", 5) == ["earlier", "later"]
    assert len(agenda) == 0


def test_a_void_turn_is_nobodys() -> None:
    """A turn that was replaced or given up is passed over when it comes up behind another."""
    agenda = Agenda()
    for task_id, due in [("first", 0.0), ("moved", 1.0), ("gone", 1.0), ("second", 2.0), ("moved", 3.0)]:
        agenda.add("luma", task_id, due)
    agenda.discard("luma", "gone")

    assert agenda.take("luma", 2) == ["first", "second"]
    assert agenda.take("luma", 2) == ["moved"]


def test_riders_can_be_left_behind() -> None:
    """Where a provider's interval must be kept, only ids that are due by then are taken, that very time included."""
    agenda = Agenda()
    for task_id, due in [("late", 10.5), ("due", 10.0), ("overdue", 1.0)]:
        agenda.add("luma", task_id, due)

    assert agenda.take("luma", 50, 10.0) == ["overdue", "due"]
    assert agenda.take("luma", 50, 10.0) == []
    assert agenda.take("luma", 50, 11.0) == ["late"]


def test_providers_do_not_mix() -> None:
    """The same id under two providers is two tasks, and taking one leaves the other."""
    agenda = Agenda()
    agenda.add("luma", "x", 1.0)
    agenda.add("flux", "x", 2.0)

    assert sorted(agenda.turns()) == [(1.0, "luma"), (2.0, "flux")]
    assert agenda.take("luma", 50) == ["x"]
    assert list(agenda.turns()) == [(2.0, "flux")]


def test_repr_shows_how_much_waits() -> None:
    """The repr tells each provider's number of ids."""
    agenda = Agenda()
    assert repr(agenda) == "<Agenda empty>"
    agenda.add("luma", "x", 1.0)
    agenda.add("luma", "y", 1.0)
    agenda.add("flux", "x", 1.0)

    assert repr(agenda) == "<Agenda luma: 2, flux: 1>"


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
    agenda.add("luma", "stays", 1.0)
    watched = []
    for number in range(MANY):
        task_id = WatchedId(f"task-{number}")
        watched.append(weakref.ref(task_id))
        agenda.add("luma", task_id, 2.0 + number)
        agenda.discard("luma", task_id)
        del task_id

    assert count_kept(watched) < FEW
    assert agenda.take("luma", 50) == ["stays"]


def test_void_turns_of_a_mass_of_discarded_ids_do_not_stay() -> None:
    """When thousands leave at once, what is kept shrinks with them."""
    agenda = Agenda()
    ids = [WatchedId(f"task-{number}") for number in range(MANY)]
    for task_id in ids:
        agenda.add("luma", task_id, 1.0)
    for task_id in ids[1:]:
        agenda.discard("luma", task_id)
    watched = [weakref.ref(task_id) for task_id in ids]
    del ids, task_id

    assert count_kept(watched) < FEW
    assert agenda.take("luma", 50) == ["task-0"]


def test_void_turns_of_replaced_turns_do_not_pile_up() -> None:
    """Giving one id a new turn for ever keeps no more than a few of its old turns."""
    agenda = Agenda()
    watched = []
    for number in range(MANY):
        task_id = WatchedId("same")
        watched.append(weakref.ref(task_id))
        agenda.add("luma", task_id, float(number))
        del task_id

    assert count_kept(watched) < FEW
    assert agenda.take("luma", 50) == ["same"]


def test_nothing_is_kept_of_ids_that_were_taken() -> None:
    """An agenda that was emptied, by taking or discarding, keeps none of its ids."""
    agenda = Agenda()
    watched = []
    for number in range(100):
        task_id = WatchedId(f"task-{number}")
        watched.append(weakref.ref(task_id))
        agenda.add("luma", task_id, 1.0)
        del task_id
    for number in range(50, 100):
        agenda.discard("luma", f"task-{number}")
    agenda.take("luma", 50)

    assert count_kept(watched) == 0
    assert repr(agenda) == "<Agenda empty>"
