"""What stands around the records in the answers to batches, as far as it is always the same.

Where nothing is new in any of its records, an answer is then told to be as before as a whole, in a fraction of the time
that it takes to decode it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How often a frame is learned anew for as many records, before it is taken for one that is always another.
_MOST_TRIALS = 8


class _Frame(NamedTuple):
    """What stands before, between and after the records."""

    before: bytes
    between: bytes
    after: bytes

    def build(self, records: Sequence[bytes]) -> bytes:
        return self.before + self.between.join(records) + self.after


class Framing:
    """The frames of the providers that one client asks; a frame may tell how many records it has."""

    __slots__ = ("_frames", "_trials")

    def __init__(self) -> None:
        self._frames: dict[tuple[str, int], _Frame] = {}
        self._trials: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        """Show of how many there is one."""
        return f"<Framing of {len(self._frames)} sorts of answers>"

    def matches(self, provider: str, body: bytes, records: Sequence[bytes]) -> bool:
        """Tell whether an answer has just these records, in this order; no, where that is not sure.

        Args:
            provider: The provider's slug.
            body: The answer.
            records: Of all that were asked for, as they are known.
        """
        frame = self._frames.get((provider, len(records)))
        return frame is not None and body == frame.build(records)

    def learn(self, provider: str, body: bytes, records: Sequence[bytes]) -> None:
        """Learn from an answer that has just these records, as far as it is known from reading it.

        Args:
            provider: The provider's slug.
            body: The answer.
            records: Of all that were asked for; at least two.
        """
        sort = (provider, len(records))
        trials = self._trials.get(sort, 0)
        if trials >= _MOST_TRIALS:
            return
        self._trials[sort] = trials + 1
        first, second, last = body.find(records[0]), body.find(records[1]), body.rfind(records[-1])
        frame = _Frame(body[:first], body[first + len(records[0]) : second], body[last + len(records[-1]) :])
        # In another order, or with a record that was mended, they do not stand in it so.
        if frame.build(records) == body:
            self._frames[sort] = frame
