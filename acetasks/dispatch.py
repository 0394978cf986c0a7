"""Whose turn it is: which batch may leave next, when, and how many ids it takes.

A `Dispatch` brings together what is due, what each provider takes in one request, whom to hold back from, and how many
requests are under way. Pure of clocks and I/O: it is given the time and the room, and tells.
"""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING, NamedTuple

from acetasks.batching import Agenda, Lane, Worth
from acetasks.limits import Limits
from acetasks.providers import ProviderSpec, lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks.holds import Holds
    from acetasks.models import PollPolicy
    from acetasks.pending import Entry


#: By how much of an interval a look that was planned for its worth may come earlier where there is room.
_RIDE = 0.1
#: How many requests planned looks may take for each that it would take to ask in full batches at intervals: where few
#: are waited for, they cannot all be together when they are worth most.
_GENEROSITY = 1.5
#: Intervals' worth of requests that are saved at most, and those that are saved between two looks.
_SAVED_INTERVALS, _LONGEST_PAUSE = 60.0, 4.0


class Departure(NamedTuple):
    """A batch that may leave.

    Attributes:
        time: When, in seconds of the loop's clock.
        lane: Whose ids.
        is_spare: Whether it leaves only for looks that were planned for what they are worth.
    """

    time: float
    lane: Lane
    is_spare: bool


class _Allowance:
    """The requests that a provider's tasks may take, by how many it takes to ask for all of them in full batches.

    What is not used is saved for when it is worth more.
    """

    __slots__ = ("_at", "_interval", "_saved", "_share")

    def __init__(self, interval: float, now: float) -> None:
        self._interval = interval
        self._share = 0.0
        self._saved = 0.0
        self._at = now

    def advance(self, now: float, share: float) -> None:
        """Save what the time since the last call is worth; a longer one passed without anybody to ask for.

        Args:
            now: Seconds of the loop's clock.
            share: How many requests it takes, from now on, to ask for all once.
        """
        intervals = min((now - self._at) / self._interval, _LONGEST_PAUSE)
        self._saved = min(self._saved + intervals * self._share, _SAVED_INTERVALS * share)
        self._at, self._share = now, share

    def free_at(self) -> float:
        """Tell when there is a request to spend."""
        return self._at + max(0.0, 1.0 - self._saved) / self._share * self._interval

    def spend(self) -> None:
        """Spend a request, or what there is of one."""
        self._saved = max(0.0, self._saved - 1.0)


class Dispatch:
    """The agenda of one client, and what is under way of it."""

    def __init__(self, policy: PollPolicy, holds: Holds) -> None:
        """Start with nothing to do.

        Args:
            policy: How many ids to ask for at once.
            holds: Whom to hold back from.
        """
        self._policy = policy
        self._holds = holds
        self._agenda: Agenda[Entry] = Agenda()
        self._limits = Limits()
        self._under_way: collections.Counter[str] = collections.Counter()
        # Ids of each provider that are under way, and what it may spend.
        self._asked: collections.Counter[str] = collections.Counter()
        self._allowances: dict[str, _Allowance] = {}
        self._is_learning = policy.schedule == "learned"
        self.is_crowded = False

    def __repr__(self) -> str:
        """Show who has a turn, and what is under way."""
        return f"<Dispatch {self._agenda!r}, {self._under_way.total()} requests under way>"

    # Turns.

    def add(self, lane: Lane, entries: Sequence[Entry], due: float, rank: int, worth: Worth) -> None:
        """Give some their turn; see `Agenda.add`."""
        self._agenda.add(lane, entries, due, rank, worth=worth)

    def discard(self, entry: Entry) -> None:
        """Take one off that has a turn."""
        self._agenda.discard(entry)

    # Departures.

    def next(self, now: float, room: int) -> Departure | None:
        """Tell which batch may leave next; None while there is no room for one.

        Where several may leave now, it is the one that it is worth most to ask for. A provider whose requests hang
        cannot hold up the others: room is left for each that has none under way. Afterwards `is_crowded` tells whether
        some could leave earlier if there were more room, or if what is under way came back.

        Args:
            now: Seconds of the loop's clock.
            room: How many requests more may be under way.
        """
        self.is_crowded = not room
        if not room:
            return None
        turns = self._agenda.turns(now)
        idle = sum([not self._under_way[slug] for slug in {turn.lane.provider for turn in turns}])
        best: Departure | None = None
        most = 0.0
        for lane, due, spare_due in turns:
            under_way = self._under_way[lane.provider]
            if under_way and room <= idle:
                self.is_crowded = True
                continue
            spec = lookup(lane.provider)
            first_due = min(due, spare_due)
            if self._is_learning and not lane.halvings:
                allowance = self._allowance(spec, now)
                allowance.advance(now, self._share(spec, lane))
                if spare_due <= now < due:
                    # What may wait does so until the provider's allowance has a request for it.
                    first_due = min(due, allowance.free_at())
            held_until = self._holds.until(spec, under_way=under_way)
            self.is_crowded |= held_until == math.inf
            ready = max(first_due, now, held_until)
            is_sole = len(turns) == 1 or ready > now
            worth = 0.0 if is_sole else self._agenda.worth(lane, self._size(spec, lane, now), now)
            if best is None or (ready, -worth, lane) < (best.time, -most, best.lane):
                best, most = Departure(ready, lane, spare_due < due), worth
        return best

    def take(self, departure: Departure, now: float) -> list[Entry]:
        """Take off the ids of a batch that leaves.

        Args:
            departure: As `next` has told.
            now: Seconds of the loop's clock.

        Returns:
            At least one id; `note_back` must be called when the request has come back.
        """
        lane = departure.lane
        spec = lookup(lane.provider)
        if (allowance := self._allowances.get(lane.provider)) is not None:
            allowance.spend()
        # Ids that are not due yet ride along in spare room, unless the provider asks for pauses between looks. Where
        # all are planned for what they are worth, those to come have a better time of their own.
        latest = spare_latest = now if spec.min_interval else math.inf
        if departure.is_spare:
            spare_latest = min(latest, now + _RIDE * spec.poll_interval(self._policy.interval))
        self._under_way[lane.provider] += 1
        self._holds.take(spec, now)
        size = self._size(spec, lane, now)
        taken = self._agenda.take(lane, size, now, latest=latest, spare_latest=spare_latest)
        self._asked[lane.provider] += len(taken)
        return taken

    def note_back(self, provider: str, count: int) -> None:
        """Take note that a batch is under way no more.

        Args:
            provider: The provider's slug.
            count: How many ids it has.
        """
        self._under_way[provider] -= 1
        self._asked[provider] -= count

    def note_sizes(self, provider: str, cuts: Iterable[int], fits: int | None, now: float) -> None:
        """Learn from a look how many ids a provider takes in one request; see `Limits`.

        Args:
            provider: The provider's slug.
            cuts: How many records each answer had that was cut short.
            fits: How many ids were not too many, where more were refused for the size of the request; else None.
            now: Seconds of the loop's clock.
        """
        self._limits.note_cuts(provider, cuts, now)
        if fits is not None:
            self._limits.note_too_large(provider, fits, now)

    def _allowance(self, spec: ProviderSpec, now: float) -> _Allowance:
        allowance = self._allowances.get(spec.slug)
        if allowance is None:
            interval = spec.poll_interval(self._policy.interval) * (1.0 + self._policy.jitter / 2.0)
            allowance = self._allowances[spec.slug] = _Allowance(interval / _GENEROSITY, now)
        return allowance

    def _share(self, spec: ProviderSpec, lane: Lane) -> float:
        """Tell how many requests it takes to ask for all of a lane once."""
        size = spec.batch_size(self._policy.batch_size)
        return max(1.0, (self._agenda.count(lane) + self._asked[lane.provider]) / size)

    def _size(self, spec: ProviderSpec, lane: Lane, now: float) -> int:
        """Tell how many ids to ask for in one request."""
        size = self._limits.size(spec.slug, spec.batch_size(self._policy.batch_size), now)
        return self._holds.probe_size(spec, lane.batch_size(size))
