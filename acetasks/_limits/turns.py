"""Turns of the kinds of requests that wait for the same rate, so that none keeps another from being sent."""

from __future__ import annotations

import collections
import contextlib
import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How much later a kind may send for each other one whose turn it is, as a fraction of the seconds between two
#: requests: enough that the timer of the other one rings first.
STEP = 0.01


class RequestKind(enum.Enum):
    """What a request is for."""

    #: A scheduled poll.
    POLL = enum.auto()
    #: A submission.
    SUBMISSION = enum.auto()
    #: A call of the user's, such as `retrieve` or a page of a history, or a further request of a poll.
    OTHER = enum.auto()


class Turns:
    """Order in which the kinds of requests under one token are sent: first the one that was sent longest ago.

    Each kind may send at a slightly different time, and the first one takes the place. So a kind of which nothing waits
    costs the others no more than `STEP`; it is not known here whether a scheduled poll waits.
    """

    def __init__(self) -> None:
        self._kinds = list(RequestKind)
        self._waiting = collections.Counter([RequestKind.POLL])

    def __repr__(self) -> str:
        return f"<Turns {', '.join(kind.name for kind in self._kinds)}>"

    @contextlib.contextmanager
    def waiting(self, kind: RequestKind) -> Iterator[None]:
        """Let the other kinds give way to a request that waits."""
        self._waiting[kind] += 1
        try:
            yield
        finally:
            self._waiting[kind] -= 1

    def delay(self, kind: RequestKind, gap: float) -> float:
        """Return the seconds that a request must let others go first, `gap` seconds being between two requests."""
        earlier = self._kinds[: self._kinds.index(kind)]
        return sum(self._waiting[other] > 0 for other in earlier) * STEP * gap

    def record(self, kind: RequestKind) -> None:
        """Count a request that is sent: it is the turn of the other kinds."""
        self._kinds.remove(kind)
        self._kinds.append(kind)
