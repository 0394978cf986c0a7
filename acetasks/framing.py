"""What stands around the records in the answers to batches, as far as it is always the same.

Where that is known, and the record of each task, what is new in an answer is found in a fraction of the time that it
takes to decode it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How often in a row a frame is learned in vain for as many records, before it is taken for one that is always another.
_MOST_TRIALS = 8
#: How much of a record, in bytes, tells where it begins; where it stands elsewhere too, what is found is no record.
_BEGINNING = 48


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
        # Of each sort the frames that were learned since one has matched.
        self._trials: dict[tuple[str, int], int] = {}

    def __repr__(self) -> str:
        """Show of how many there is one."""
        return f"<Framing of {len(self._frames)} sorts of answers>"

    def find_news(self, provider: str, body: bytes, records: Sequence[bytes]) -> list[tuple[int, bytes]] | None:
        """Find what stands in an answer in the place of known records.

        Args:
            provider: The provider's slug.
            body: The answer.
            records: Of all that were asked for, as they are known: JSON objects.

        Returns:
            What stands where something is new, with the place from 0 up; it need not be one record. Everywhere else is
            the known one, and between them something as long as it was. None where that is not sure: the answer is to
            be decoded.
        """
        sort = (provider, len(records))
        frame = self._frames.get(sort)
        if frame is None:
            return None
        if body == frame.build(records):
            self._trials.pop(sort, None)
            return []
        before, between, after = frame
        if not body.startswith(before):
            return None
        news: list[tuple[int, bytes]] = []
        at = len(before)
        for place, record in enumerate(records):
            end = at + len(record)
            if not body.startswith(record, at):
                # It ends where the next one begins, as far as that is known.
                is_last = place + 1 == len(records)
                end = len(body) - len(after) if is_last else body.find(between + records[place + 1][:_BEGINNING], at)
                found = body[at : max(at, end)]
                if found[:1] != b"{" or found[-1:] != b"}":
                    return None
                news.append((place, found))
            at = end + len(between)
        # If nothing is new, it differs between them.
        return news if news and body[at - len(between) :] == after else None

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
