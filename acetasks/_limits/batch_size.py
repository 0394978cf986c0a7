"""Largest accepted batch of each provider, learned from truncated, refused and unanswered requests."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Consecutive responses truncated at the same number of records before that number counts as the provider's limit.
_TRUNCATIONS_TO_LEARN = 2
#: Consecutive polls that found tasks which a batch had left out before the provider is polled for one task at a time.
#: One may be chance: a task can become visible between the two requests.
_IGNORED_TO_LEARN = 2
#: Seconds after which a learned limit is forgotten: it may have been chance, or may have been lifted.
LIMIT_TTL = 600.0


class _LearnedLimit(msgspec.Struct):
    """Batch limit of one provider: `size` counts before `expires_at`."""

    #: Number of records in the last truncated response, and consecutive responses truncated at that number.
    truncated_at: int = 0
    truncations: int = 0
    #: Consecutive polls in which a batch was ignored, and when the last of them ended.
    ignored: int = 0
    ignored_at: float = -math.inf
    size: int = 0
    expires_at: float = -math.inf


class BatchSizeLimiter:
    """Learned batch limits of all providers, by slug."""

    def __init__(self) -> None:
        self._limits: dict[str, _LearnedLimit] = {}

    def __repr__(self) -> str:
        learned = {provider: limit.size for provider, limit in self._limits.items() if limit.size}
        return f"<BatchSizeLimiter {learned or 'none'}>"

    def size(self, provider: str, full: int, now: float) -> int:
        """Return the largest batch to request: at least 1, and `full` where no limit is known."""
        limit = self._limits.get(provider)
        return min(full, limit.size) if limit is not None and now < limit.expires_at else full

    def record_truncated(self, provider: str, counts: Iterable[int], now: float) -> None:
        """Learn from truncated responses, by the number of records in each; the missing records did exist."""
        for count in counts:
            limit = self._limits.setdefault(provider, _LearnedLimit())
            limit.truncations = limit.truncations + 1 if limit.truncated_at == count else 1
            limit.truncated_at = count
            if limit.truncations >= _TRUNCATIONS_TO_LEARN:
                limit.size, limit.expires_at = count, now + LIMIT_TTL

    def record_too_large(self, provider: str, accepted: int, now: float) -> None:
        """Learn from a request refused for its size that a number of ids, at least 1, was accepted."""
        limit = self._limits.setdefault(provider, _LearnedLimit())
        limit.size, limit.expires_at = accepted, now + LIMIT_TTL

    def record_answered(self, provider: str) -> None:
        """Learn that a response had records of the tasks of a batch."""
        if (limit := self._limits.get(provider)) is not None:
            limit.ignored = 0

    def record_ignored(self, provider: str, sent_at: float, now: float) -> bool:
        """Learn that a single poll found a task that the response to a batch had left out.

        Polls in flight together count once. After the limit was forgotten, one such poll is enough to learn it again.

        Returns:
            Whether the provider has just been found to ignore batches.
        """
        limit = self._limits.setdefault(provider, _LearnedLimit())
        if sent_at <= limit.ignored_at:
            return False
        limit.ignored += 1
        limit.ignored_at = now
        if limit.ignored >= _IGNORED_TO_LEARN:
            limit.size, limit.expires_at = 1, now + LIMIT_TTL
        return limit.ignored == _IGNORED_TO_LEARN
