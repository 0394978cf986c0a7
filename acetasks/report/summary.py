"""Figures of the page: tasks by state, prices, and one section for each provider."""

from __future__ import annotations

import collections
import math
from typing import TYPE_CHECKING

import msgspec

from acetasks._ledger import EntryState
from acetasks.models import TaskState
from acetasks.report.durations import Distribution, build_distribution
from acetasks.report.timeline import Timeline, build_timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from acetasks.report.rows import Row

#: The states in the order in which they are shown: the good ends, the bad ones, and what goes on.
STATES = (
    *(TaskState.SUCCEEDED, TaskState.PARTIAL, TaskState.FAILED, TaskState.NOT_FOUND),
    *(EntryState.REFUSED, EntryState.UNCERTAIN),
    *(TaskState.RUNNING, TaskState.PENDING, EntryState.ACCEPTED, EntryState.SUBMITTING),
)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of several tasks.

    Attributes:
        totals: The sum and the unit of the prices in each unit.
        priced: Number of tasks with a price.
        tasks: Number of tasks.
    """

    totals: tuple[tuple[float, str], ...]
    priced: int
    tasks: int


class ProviderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one provider.

    Attributes:
        slug: Its slug.
        tasks: Number of tasks.
        states: The states that occur, and how often.
        cost: The prices.
        durations: The distribution of durations, or None if no duration is known.
    """

    slug: str
    tasks: int
    states: tuple[tuple[str, int], ...]
    cost: Cost
    durations: Distribution | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of all tasks.

    Attributes:
        tasks: Number of tasks.
        states: The states that occur, and how often.
        first: The first submission, in seconds since the epoch, or None if no time is known.
        last: The last submission.
        cost: The prices.
        providers: The figures of each provider, the one with most tasks first.
        timeline: The timeline, or None if no time is known.
    """

    tasks: int
    states: tuple[tuple[str, int], ...]
    first: float | None
    last: float | None
    cost: Cost
    providers: tuple[ProviderSummary, ...]
    timeline: Timeline | None


def build_summary(rows: Sequence[Row], *, now: float) -> Summary:
    """Return the figures of all rows.

    Args:
        rows: The rows.
        now: The time of the report, in seconds since the epoch.
    """
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.provider, []).append(row)
    by_provider = dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))
    times = [row.timing.submitted for row in rows if row.timing.submitted is not None]
    return Summary(
        tasks=len(rows),
        states=count_states(rows),
        first=min(times, default=None),
        last=max(times, default=None),
        cost=add_up(rows),
        providers=tuple(_summarize(slug, tasks) for slug, tasks in by_provider.items()),
        timeline=build_timeline(by_provider, now=now),
    )


def count_states(rows: Iterable[Row]) -> tuple[tuple[str, int], ...]:
    """Return the states that occur, in the order of `STATES`, and how often."""
    counts = collections.Counter(row.state for row in rows)
    return tuple((state.value, counts[state.value]) for state in STATES if counts[state.value])


def add_up(rows: Sequence[Row]) -> Cost:
    """Return the sum of the prices in each unit, the unit of most tasks first."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.amount is not None:
            values.setdefault(row.amount.currency, []).append(row.amount.value)
    totals = sorted(values.items(), key=lambda item: (-len(item[1]), item[0]))
    return Cost(
        totals=tuple((_add(found), currency) for currency, found in totals),
        priced=sum(map(len, values.values())),
        tasks=len(rows),
    )


def _add(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _summarize(slug: str, rows: Sequence[Row]) -> ProviderSummary:
    return ProviderSummary(
        slug=slug,
        tasks=len(rows),
        states=count_states(rows),
        cost=add_up(rows),
        durations=build_distribution(rows),
    )
