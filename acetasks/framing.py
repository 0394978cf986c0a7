"""What stands around the records in the answers to batches, as far as it is always the same.

Where nothing is new in any of its records, an answer is then told to be as before as a whole; and where a few are new,
they are found between those that are known. Either takes a fraction of what it takes to decode it.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from acetasks.records import DECODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Sequence

#: How often a frame is learned anew for as many records, before it is taken for one that is always another.
_MOST_TRIALS = 8
#: By how many bytes of its beginning a record that is new is found, and by no more than half of what was known of it:
#: what is news of a task stands behind its id.
_KEY = 64

_raw_decoder = msgspec.json.Decoder(msgspec.Raw)


class _Frame(NamedTuple):
    """What stands before, between and after the records."""

    before: bytes
    between: bytes
    after: bytes

    def build(self, records: Sequence[bytes]) -> bytes:
        return self.before + self.between.join(records) + self.after

    def split(self, body: bytes, known: Sequence[bytes]) -> list[bytes] | None:
        """Split an answer where its records begin as the known ones do; None where one does not."""
        before, between, after = self
        if not (body.startswith(before) and body.endswith(after)):
            return None
        start, end, gap = len(before), len(body) - len(after), len(between)
        records: list[bytes] = []
        for record, following in itertools.zip_longest(known, known[1:]):
            stop = start + len(record)
            is_last = following is None
            if body.startswith(record, start) and (stop == end if is_last else body.startswith(between, stop)):
                records.append(record)
            else:
                stop = end if is_last else body.find(between + following[: min(_KEY, len(following) // 2)], start, end)
                if stop < 0 or not _is_whole(new := body[start:stop]):
                    return None
                records.append(new)
            start = stop + gap
        return records


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

    def split(self, provider: str, body: bytes, known: Sequence[bytes]) -> list[bytes] | None:
        """Split an answer into its records, if it has as many as are known, in the same order, most of them unchanged.

        Args:
            provider: The provider's slug.
            body: The answer.
            known: The records of all that were asked for, as they are known.

        Returns:
            Its records, of which those that have not changed are the very ones that are known; None where that is not
            sure.
        """
        frame = self._frames.get((provider, len(known)))
        return None if frame is None else frame.split(body, known)

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


def _is_whole(record: bytes) -> bool:
    """Tell whether a record is one piece of JSON, so that nothing else can have been meant where it stands."""
    try:
        _raw_decoder.decode(record)
    except DECODE_ERRORS:
        return False
    return True
