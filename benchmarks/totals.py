"""Sums of the workers of a fleet in one scenario, and their text."""

from __future__ import annotations

import itertools
from array import array
from typing import TYPE_CHECKING

import msgspec
from meters import quantile

from acetasks.providers import lookup

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fleet import Run
    from jobs import Scenario

#: Seconds by which the times of requests that are exactly a second apart may differ.
_ROUNDING = 1e-6


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often something happened, in all workers together.

    Attributes:
        count: How often.
        mean: Mean number a second.
        minute: Largest mean number a second in any minute.
        second: Largest number in any second.
    """

    count: int
    mean: float
    minute: float
    second: int


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the end of a provider's tasks until their waiters continued, and what that took.

    Attributes:
        tasks: Number of tasks.
        interval: Seconds between two polls of one task, as the provider has them.
        ids: Polled ids for each task.
        median: Median of the seconds.
        p99: 99th percentile.
        most: The longest.
    """

    tasks: int
    interval: float
    ids: float
    median: float
    p99: float
    most: float


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers did in one scenario.

    Attributes:
        tasks: Number of tasks whose results were delivered.
        seconds: Virtual seconds from the start to the last result.
        requests: Polls and submissions.
        polls: Number of polls.
        submissions: Number of submissions.
        ids: Number of polled ids, repeated ones included.
        waits: Seconds from the arrival of each task until its submission was sent, in order.
        lateness: By provider.
        transactions: Transactions of the journals.
        rows: Number of rows in them.
        largest: Largest number of rows in a transaction.
        awaiting: Sum of the largest numbers of tasks that each worker awaited at once.
        cpu: CPU seconds without the service.
        service_cpu: CPU seconds of the service.
        memory: Sum of the bytes by which the processes have grown; 0 if not measured.
    """

    tasks: int
    seconds: float
    requests: Rate
    polls: int
    submissions: int
    ids: int
    waits: array[float]
    lateness: dict[str, Lateness]
    transactions: Rate
    rows: int
    largest: int
    awaiting: int
    cpu: float
    service_cpu: float
    memory: int

    def lines(self) -> Iterator[str]:
        """Yield the lines of a report."""
        yield f"  {self.tasks:,} results in {self.seconds:,.0f} s, {self.awaiting:,} tasks awaited at once"
        yield f"  requests: {self.submissions:,} submissions, {self.polls:,} polls; {_describe(self.requests)}"
        if self.waits:
            yield (
                f"  submissions wait: median {quantile(self.waits, 0.5):.2f}, p99 {quantile(self.waits, 0.99):.2f},"
                f" most {self.waits[-1]:.2f} s"
            )
        fill = self.ids / self.polls
        yield f"  ids polled: {self.ids:,}, {self.ids / self.tasks:.1f} a task, {fill:.1f} a poll"
        rows, each = self.rows / self.seconds, self.rows / max(1, self.transactions.count)
        yield f"  database: {self.transactions.count:,} transactions; {_describe(self.transactions)}"
        yield f"            {self.rows:,} rows, {rows:.1f}/s, {each:.2f} a transaction, at most {self.largest}"
        yield (
            f"  CPU: {1000 * self.cpu / self.tasks:.2f} ms a task, {1e6 * self.cpu / self.ids:.0f} us a polled id,"
            f" without {1000 * self.service_cpu / self.tasks:.2f} ms of the service"
        )
        if self.memory:
            yield f"  memory: {self.memory / self.awaiting / 1024:.1f} KiB for each awaited task"
        yield f"  {'lateness':16}{'tasks':>9}{'interval':>10}{'ids a task':>12}{'median':>9}{'p99':>9}{'most':>9} s"
        for provider, found in self.lateness.items():
            yield (
                f"  {provider:16}{found.tasks:9,}{found.interval:10.1f}{found.ids:12.1f}"
                f"{found.median:9.2f}{found.p99:9.2f}{found.most:9.2f}"
            )


def add_up(scenario: Scenario, runs: Sequence[Run]) -> Totals:
    """Return the sums of all workers."""
    results = [result for run in runs for result in run.results]
    seconds = max(result.finished_at for result in results)
    polls, submissions = sum(len(one.polls) for one in results), sum(len(one.submissions) for one in results)
    requests = merge(itertools.chain.from_iterable((one.polls, one.submissions) for one in results))
    lateness = {}
    for kind in scenario.kinds:
        late = merge(one.lateness[kind.provider] for one in results)
        if late:
            ids = sum(one.ids.get(kind.provider, 0) for one in results)
            lateness[kind.provider] = _describe_lateness(kind.provider, late, ids)
    return Totals(
        tasks=sum(found.tasks for found in lateness.values()),
        seconds=seconds,
        requests=measure_rate(requests, seconds),
        polls=polls,
        submissions=submissions,
        ids=sum(sum(one.ids.values()) for one in results),
        waits=merge(one.waits for one in results),
        lateness=lateness,
        transactions=measure_rate(merge(one.transactions for one in results), seconds),
        rows=sum(one.rows for one in results),
        largest=max(one.largest for one in results),
        awaiting=sum(one.awaiting for one in results),
        cpu=sum(run.cpu for run in runs),
        service_cpu=sum(run.service_cpu for run in runs),
        memory=sum(run.memory for run in runs),
    )


def merge(parts: Iterable[array[float]]) -> array[float]:
    """Return all values in order."""
    return array("d", sorted(itertools.chain.from_iterable(parts)))


def measure_rate(times: Sequence[float], seconds: float) -> Rate:
    """Return how often something happened at ordered times, within some seconds."""
    return Rate(
        count=len(times),
        mean=len(times) / seconds,
        minute=_count_most(times, 60.0) / 60.0,
        second=_count_most(times, 1.0),
    )


def _count_most(times: Sequence[float], window: float) -> int:
    """Return the largest number of ordered times in any window that excludes its end."""
    first = most = 0
    for count, when in enumerate(times, start=1):
        while times[first] <= when - window + _ROUNDING:
            first += 1
        most = max(most, count - first)
    return most


def _describe(rate: Rate) -> str:
    return f"{rate.mean:.1f}/s, {rate.minute:.1f}/s in the busiest minute, {rate.second} in the busiest second"


def _describe_lateness(provider: str, late: Sequence[float], ids: int) -> Lateness:
    return Lateness(
        tasks=len(late),
        interval=lookup(provider).poll_interval(None),
        ids=ids / len(late),
        median=quantile(late, 0.5),
        p99=quantile(late, 0.99),
        most=late[-1],
    )
