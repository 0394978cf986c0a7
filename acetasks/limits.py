"""How many ids each provider takes in one request, learned from answers that were cut short or refused for their size.

Pure of clocks and I/O: every method is given the time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Answers in a row that are cut short at the same number of records before that number is taken for a limit.
_CUTS_TO_LEARN = 2
#: Seconds after which a learned limit is forgotten, in case that it was chance or is no more.
LIMIT_KEPT = 600.0


class _Limit(msgspec.Struct):
    """What a provider has shown.

    Attributes:
        cut_to: The number of records at which its last short answer was cut.
        cuts: How many answers in a row were cut there.
        size: Ids to ask for at most.
        until: When that is forgotten.
    """

    cut_to: int = 0
    cuts: int = 0
    size: int = 0
    until: float = -math.inf


class Limits:
    """How many ids each provider takes in one request, as far as it has shown."""

    def __init__(self) -> None:
        self._limits: dict[str, _Limit] = {}

    def __repr__(self) -> str:
        """Show what was learned."""
        learned = {provider: limit.size for provider, limit in self._limits.items() if limit.size}
        return f"<Limits {learned or 'none'}>"

    def size(self, provider: str, full: int, now: float) -> int:
        """Tell how many ids to put into one request.

        Args:
            provider: The provider's slug.
            full: How many where nothing was learned.
            now: Seconds of the loop's clock.

        Returns:
            At least 1, and no more than `full`.
        """
        limit = self._limits.get(provider)
        return min(full, limit.size) if limit is not None and limit.size and now < limit.until else full

    def note_cuts(self, provider: str, cuts: Iterable[int], now: float) -> None:
        """Take note of answers that were cut short, though the rest of what they were asked for was there too.

        Args:
            provider: The provider's slug.
            cuts: How many records each of them had, at least 1.
            now: Seconds of the loop's clock.
        """
        for kept in cuts:
            limit = self._limits.setdefault(provider, _Limit())
            limit.cuts = limit.cuts + 1 if limit.cut_to == kept else 1
            limit.cut_to = kept
            if limit.cuts >= _CUTS_TO_LEARN:
                limit.size, limit.until = kept, now + LIMIT_KEPT

    def note_too_large(self, provider: str, fits: int, now: float) -> None:
        """Take note that a request was refused for its size, and that this many ids were not too many.

        Args:
            provider: The provider's slug.
            fits: Ids, at least 1.
            now: Seconds of the loop's clock.
        """
        limit = self._limits.setdefault(provider, _Limit())
        limit.size, limit.until = fits, now + LIMIT_KEPT
