"""Whose turn it is: which batch may leave next, when, and how many ids it takes.

A `Dispatch` brings together what is due, what each provider takes in one request, whom to hold back from, and how many
requests are under way. Pure of clocks and I/O: it is given the time and the room, and tells.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from acetasks.allowance import Allowance
from acetasks.batching import Agenda, Lane
from acetasks.limits import Limits
from acetasks.providers import ProviderSpec, lookup

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.entries import Batch, Entry
    from acetasks.holds import Holds
    from acetasks.policies import PollPolicy
    from acetasks.worth import Worth


#: For how much of an interval looks that are held up wait for others to leave with: a process that is woken up for one
#: request at a time pays several times as much for each. And by how much of it one that was planned for its worth may
#: come earlier where there is room.
_PATIENCE = 0.1


class Departure(NamedTuple):
    """A batch that may leave.

    Attributes:
        time: When, in seconds of the loop's clock.
        spec: The provider's row.
        lane: Whose ids.
        is_spare: Whether it leaves only for looks that were planned for what they are worth.
    """

    time: float
    spec: ProviderSpec
    lane: Lane
    is_spare: bool


class _Traffic:
    """The requests of one provider.

    Attributes:
        spec: Its row.
        size: Ids in one request, at most, by the policy.
        patience: Seconds that looks which are held up wait for others to leave with.
        allowance: Of the looks that are planned for their worth; None where none are.
        under_way: Requests under way.
        asked: The ids that they have.
    """

    __slots__ = ("allowance", "asked", "patience", "size", "spec", "under_way")

    def __init__(self, spec: ProviderSpec, policy: PollPolicy) -> None:
        self.allowance: Allowance | None = None
        self.under_way = 0
        self.asked = 0
        self.follow(spec, policy)

    def follow(self, spec: ProviderSpec, policy: PollPolicy) -> None:
        """Go by a row, which may be another than before."""
        self.spec = spec
        self.size = spec.batch_size(policy.batch_size)
        self.patience = _PATIENCE * spec.poll_interval(policy.interval)


class Dispatch:
    """The agenda of one client, and what is under way of it.

    Attributes:
        departs_at: When the next batch may leave, in seconds of the loop's clock, as `next` has last told or earlier,
            for who has come since; infinity for never.
        is_crowded: Whether some could leave earlier if there were more room, or if what is under way came back; as of
            the last call of `next`.
    """

    def __init__(self, policy: PollPolicy, holds: Holds) -> None:
        """Start with nothing to do.

        Args:
            policy: How many ids to ask for at once.
            holds: Whom to hold back from.
        """
        self._policy = policy
        self._holds = holds
        self._agenda = Agenda()
        self._limits = Limits()
        self._traffic: dict[str, _Traffic] = {}
        self._is_learning = policy.schedule == "learned"
        self.departs_at = math.inf
        self.is_crowded = False

    def __repr__(self) -> str:
        """Show who has a turn, and what is under way."""
        under_way = sum(traffic.under_way for traffic in self._traffic.values())
        return f"<Dispatch {self._agenda!r}, {under_way} requests under way>"

    # Turns.

    def add(self, lane: Lane, batch: Batch, due: float, rank: int, worth: Worth) -> None:
        """Give some their turn; see `Agenda.add`."""
        self._agenda.add(lane, batch, due, rank, worth=worth)
        self.departs_at = min(self.departs_at, due)

    def discard(self, entry: Entry) -> None:
        """Take one off that has a turn."""
        self._agenda.discard(entry)

    # Departures.

    def next(self, now: float, room: int) -> Departure | None:
        """Tell which batch may leave next; None while there is no room for one.

        Where several may leave now, it is the one that it is worth most to ask for. A provider whose requests hang
        cannot hold up the others: room is left for each that has none under way.

        Args:
            now: Seconds of the loop's clock.
            room: How many requests more may be under way.
        """
        self.is_crowded = not room
        self.departs_at = math.inf
        if not room:
            return None
        lanes = [(self._traffic_of(turns.lane.provider), turns) for turns in self._agenda.turns(now)]
        is_sole = len(lanes) == 1
        # Providers that have something to ask and no request under way.
        idle = 0 if is_sole else len({turns.lane.provider for traffic, turns in lanes if not traffic.under_way})
        # The same for all whom a rate holds up: else those who have less patience would always be before the others.
        patience = min([traffic.patience for traffic, _ in lanes], default=0.0)
        best: Departure | None = None
        most = 0.0
        for traffic, (lane, due, spare_due, present, latest) in lanes:
            if traffic.under_way and room <= idle:
                self.is_crowded = True
                continue
            first_due = min(due, spare_due)
            if self._is_learning and not lane.halvings:
                allowance = self._allowance_of(traffic, now)
                allowance.advance(now, max(1.0, (present + traffic.asked) / traffic.size))
                if spare_due <= now < due:
                    # What may wait does so until the provider's allowance has a request for it, or it is too late.
                    first_due = min(due, allowance.free_at(), latest + allowance.grace)
            held_until = self._holds.until(traffic.spec, under_way=traffic.under_way, patience=patience)
            self.is_crowded |= held_until == math.inf
            ready = max(first_due, now, held_until)
            worth = 0.0
            if not is_sole and ready <= now:
                worth = self._agenda.worth(lane, self._size(traffic, lane, now), now)
            if best is None or (ready, -worth, lane) < (best.time, -most, best.lane):
                best, most = Departure(ready, traffic.spec, lane, spare_due < due), worth
        if best is not None:
            self.departs_at = best.time
        return best

    def take(self, departure: Departure, now: float) -> Batch:
        """Take off the ids of a batch that leaves.

        Args:
            departure: As `next` has told.
            now: Seconds of the loop's clock.

        Returns:
            At least one entry; `note_back` must be called when the request has come back.
        """
        lane = departure.lane
        traffic = self._traffic_of(lane.provider)
        overdue = -math.inf
        if traffic.allowance is not None:
            traffic.allowance.spend()
            overdue = now - traffic.allowance.grace
        # Ids that are not due yet ride along in spare room, unless the provider asks for pauses between looks. Where
        # all are planned for what they are worth, those to come have a better time of their own.
        latest = spare_latest = now if traffic.spec.min_interval else math.inf
        if departure.is_spare:
            spare_latest = min(latest, now + traffic.patience)
        traffic.under_way += 1
        self._holds.take(traffic.spec, now)
        size = self._size(traffic, lane, now)
        batch = self._agenda.take(lane, size, now, latest=latest, spare_latest=spare_latest, overdue=overdue)
        traffic.asked += len(batch.entries)
        return batch

    def note_back(self, provider: str, count: int) -> None:
        """Take note that a batch is under way no more.

        Args:
            provider: The provider's slug.
            count: How many ids it has.
        """
        traffic = self._traffic[provider]
        traffic.under_way -= 1
        traffic.asked -= count

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

    def _traffic_of(self, provider: str) -> _Traffic:
        spec, traffic = lookup(provider), self._traffic.get(provider)
        if traffic is None:
            traffic = self._traffic[provider] = _Traffic(spec, self._policy)
        elif traffic.spec is not spec:
            traffic.follow(spec, self._policy)
        return traffic

    def _allowance_of(self, traffic: _Traffic, now: float) -> Allowance:
        allowance = traffic.allowance
        if allowance is None:
            interval = traffic.spec.poll_interval(self._policy.interval) * (1.0 + self._policy.jitter / 2.0)
            allowance = traffic.allowance = Allowance(interval, _PATIENCE, now)
        return allowance

    def _size(self, traffic: _Traffic, lane: Lane, now: float) -> int:
        """Tell how many ids to ask for in one request."""
        size = self._limits.size(lane.provider, traffic.size, now)
        return self._holds.probe_size(traffic.spec, lane.batch_size(size))
