"""Comparison of task ids."""

from __future__ import annotations

import pytest

from acetasks._http.ids import PolledIds, names_id


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [(["a-1"], True), (["x", "A-1"], True), (["a-2", "a"], False), ([], False)],
)
def test_an_id_is_named_in_any_case(candidates: list[str], expected: bool) -> None:  # noqa: FBT001  # a column
    """One of several ids is enough."""
    assert names_id(candidates, "a-1") is expected


class TestPolledIds:
    """`PolledIds`."""

    def test_exact_ids_come_first(self) -> None:
        """A later candidate in the polled form comes before an earlier one in another."""
        assert PolledIds(["a", "b"]).find(["A", "b"]) == "b"

    def test_an_id_in_another_case_is_found(self) -> None:
        """The polled form is returned, every time."""
        ids = PolledIds(["aB", "c"])

        assert [ids.find(["Ab"]), ids.find(["x", "AB"]), ids.find(["d"]), ids.find([])] == ["aB", "aB", None, None]

    def test_an_ambiguous_id_is_not_found(self) -> None:
        """Of two ids that differ in case only, a third form is neither."""
        ids = PolledIds(["ab", "AB"])

        assert (ids.find(["Ab"]), ids.find(["AB"])) == (None, "AB")

    def test_contains_is_exact(self) -> None:
        """Another case is only found by `find`."""
        ids = PolledIds(["ab"])

        assert ("ab" in ids, "AB" in ids) == (True, False)

    def test_repr_shows_the_ids(self) -> None:
        """The repr has the ids in order."""
        assert repr(PolledIds(["b", "a"])) == "<PolledIds ['a', 'b']>"
