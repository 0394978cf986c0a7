"""Comparison of task ids.

Most ids are UUIDs, which are the same in upper and lower case (RFC 9562, section 4), so that a service may return one
in another case. Ids that differ only in case are told apart where both are polled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def names_id(candidates: Iterable[str], task_id: str) -> bool:
    """Return whether any of the candidates is the id, in any case."""
    return task_id.casefold() in map(str.casefold, candidates)


class PolledIds:
    """The ids of one poll, to be found in any case."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = frozenset(ids)
        self._by_folded: dict[str, str | None] | None = None

    def __repr__(self) -> str:
        return f"<PolledIds {sorted(self._ids)!r}>"

    def __contains__(self, task_id: str) -> bool:
        """Return whether an id was polled in exactly this form."""
        return task_id in self._ids

    def find(self, candidates: Sequence[str]) -> str | None:
        """Return the polled id that one of the candidates is, or None; an id that could be either of two is neither."""
        if (exact := next(filter(self._ids.__contains__, candidates), None)) is not None:
            return exact
        if self._by_folded is None:
            self._by_folded = {}
            for task_id in self._ids:
                folded = task_id.casefold()
                self._by_folded[folded] = None if folded in self._by_folded else task_id
        return next(filter(None, (self._by_folded.get(candidate.casefold()) for candidate in candidates)), None)
