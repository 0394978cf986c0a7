"""Entries: each is in one batch at a time, and what is known of a batch goes on with it."""

from __future__ import annotations

import math

import pytest

from acetasks.entries import Batch, Entry, Trouble

ALIKE = object()


def come(count: int, *, seen_at: float = 1.0) -> list[Entry]:
    """Make some entries."""
    return [Entry(("luma", f"t{number}"), seen_at=seen_at) for number in range(count)]


class TestBatch:
    """Those that are asked for together."""

    def test_it_has_its_entries(self) -> None:
        """In the order given; and of nothing else anything is known."""
        entries = come(3)
        batch = Batch(iter(entries))

        assert batch.entries == tuple(entries)
        assert all(entry.batch is batch for entry in entries)
        assert (batch.place, batch.question, batch.alike, batch.is_troubled) == (None, None, None, False)
        assert math.isnan(batch.seen_at)

    def test_an_entry_is_in_the_last_that_was_made_of_it(self) -> None:
        """The others keep theirs."""
        first, second, third = come(3)
        old = Batch([first, second])
        new = Batch([second, third])

        assert first.batch is old
        assert second.batch is third.batch is new

    def test_it_is_known_when_it_was_looked_at_last(self) -> None:
        """With its batch, where that knows; else by itself."""
        entry, *_ = come(1, seen_at=1.0)
        assert entry.looked_at == 1.0
        batch = Batch([entry])
        assert entry.looked_at == 1.0
        batch.seen_at = 7.0
        assert (entry.looked_at, entry.seen_at) == (7.0, 1.0)
        entry.leave_batch()
        assert (entry.looked_at, entry.seen_at) == (7.0, 7.0)

    @pytest.mark.parametrize("moves", [lambda entry: entry.leave_batch(), lambda entry: Batch([entry])])
    def test_who_leaves_remembers_when_it_was_looked_at_with_the_others(self, moves) -> None:
        """Where all were; else its own time stays."""
        first, second = come(2)
        together = Batch([first, second])
        together.seen_at = 7.0
        moves(first)

        assert (first.seen_at, second.seen_at) == (7.0, 1.0)
        assert first.batch is not together
        assert second.batch is together
        apart = Batch([second])
        apart.seen_at = math.nan
        moves(second)
        assert second.seen_at == 7.0

    def test_leaving_none_changes_nothing(self) -> None:
        """An entry that is in no batch stays as it is."""
        (entry,) = come(1)
        entry.leave_batch()

        assert (entry.batch, entry.seen_at) == (None, 1.0)

    def test_it_goes_on_without_those_that_have_left(self) -> None:
        """In order, and to be asked anew."""
        first, second, third, fourth = entries = come(4)
        batch = Batch(entries)
        batch.question = object()  # type: ignore[assignment]  # whatever was asked
        batch.seen_at = 5.0
        first.leave_batch()
        Batch([third])
        batch.close_ranks()

        assert batch.entries == (second, fourth)
        assert batch.question is None
        assert batch.seen_at == 5.0

    def test_it_is_in_trouble_if_any_of_its_entries_is(self) -> None:
        """As it is made, and once it has gone on without some."""
        first, second = come(2)
        second.trouble = Trouble()
        batch = Batch([first, second])
        assert batch.is_troubled is True
        second.leave_batch()
        batch.close_ranks()
        assert batch.is_troubled is False

    @pytest.mark.parametrize(
        ("alike", "expected"),
        [
            ([(ALIKE, 1.0, 2.0), (ALIKE, 0.0, 1.5)], (ALIKE, 0.0, 2.0)),
            ([(ALIKE, 1.0, 2.0), (ALIKE, 1.5, 3.0)], (ALIKE, 1.0, 3.0)),
            ([(ALIKE, 1.0, 2.0), (object(), 1.0, 2.0)], None),
            ([(ALIKE, 1.0, 2.0), None], None),
            ([None, (ALIKE, 1.0, 2.0)], None),
        ],
        ids=["sooner", "later", "of another kind", "and unknown ones", "unknown ones first"],
    )
    def test_one_that_is_made_of_others_is_as_they_are(
        self, alike: list[tuple[object, float, float] | None], expected: tuple[object, float, float] | None
    ) -> None:
        """What they are planned alike with, where it is the same, and from the first to the last of their times."""
        parts = [Batch(come(2)) for _ in alike]
        for part, known in zip(parts, alike, strict=True):
            part.alike = known
        entries = [entry for part in parts for entry in part.entries]

        assert Batch(entries).alike == expected
        assert Batch([*entries[1:], *come(1)]).alike is None
