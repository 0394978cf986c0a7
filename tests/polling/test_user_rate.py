"""`PollPolicy.max_rate` at work: how the scheduler divides a rate below what the intervals need."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import statistics
from typing import TYPE_CHECKING

import msgspec
import pytest
from support import FakeService, new_poller

from acetasks import PollPolicy
from acetasks._limits import SPREAD
from acetasks._polling.awaited import ManyTasksWaiter
from acetasks.providers import ProviderSpec, lookup, register

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from acetasks._polling.poller import Poller

LUMA, FLUX, USEAPI = lookup("luma"), lookup("flux"), lookup("useapi-pixverse")


def poll_times(transport: FakeService) -> dict[str, list[float]]:
    """Return the times at which each task was polled."""
    times: dict[str, list[float]] = collections.defaultdict(list)
    for time, request in transport.sent:
        for task_id in request.ids:
            times[task_id].append(time)
    return times


@pytest.fixture
def slow_provider() -> Iterator[ProviderSpec]:
    """A provider with an interval of 30 s."""
    original = lookup("wan")
    spec = msgspec.structs.replace(original, interval=30.0)
    register(spec, replace=True)
    yield spec
    register(original, replace=True)


async def poll_tasks(
    transport: FakeService, tasks: Collection[tuple[ProviderSpec, int]], max_rate: float, seconds: float
) -> Poller:
    """Wait for some tasks of each provider, for some seconds, within a rate."""
    policy = PollPolicy(batch_size=5, jitter=0.0, max_rate=max_rate)
    poller = new_poller(transport, policy)
    for spec, count in tasks:
        poller.register(ManyTasksWaiter(), [(spec.slug, f"{spec.slug}-{number}") for number in range(count)])
    await asyncio.sleep(seconds)
    return poller


@pytest.mark.parametrize(("fast", "slow"), [(10, 150), (40, 40), (3, 150), (45, 155), (5, 300)])
async def test_requests_go_to_the_highest_priority(slow_provider: ProviderSpec, fast: int, slow: int) -> None:
    """Below the needed rate, a batch is polled in proportion to the root of its expected ends: hazard times tasks.

    No task starves.
    """
    needed = math.ceil(fast / 5) / 2.0 + math.ceil(slow / 5) / 30.0
    transport = FakeService(latency=0.1)
    poller = await poll_tasks(transport, [(FLUX, fast), (slow_provider, slow)], needed / 4, 1500.0)
    await poller.close()

    means = {}
    for spec in (FLUX, slow_provider):
        gaps = [
            later - earlier
            for task_id, times in poll_times(transport).items()
            if task_id.startswith(spec.slug)
            for earlier, later in itertools.pairwise([time for time in times if time > 300.0])
        ]
        means[spec.slug] = statistics.mean(gaps)
        assert max(gaps) <= 1.5 * means[spec.slug]
        assert means[spec.slug] > 1.2 * spec.poll_interval(None)
    expected = math.sqrt(min(slow, 5) / slow_provider.typical_duration / (min(fast, 5) / FLUX.typical_duration))
    assert means["flux"] / means["wan"] == pytest.approx(expected, rel=0.25)
    assert len(poll_times(transport)) == fast + slow
    assert all(times[-1] > 1500.0 - 1.5 * means["wan"] for times in poll_times(transport).values())


@pytest.mark.parametrize("max_rate", [0.3, 2.0])
async def test_no_window_exceeds_the_rate(slow_provider: ProviderSpec, max_rate: float) -> None:
    """Requests are evenly spaced, by a tenth more than the rate needs, so that no second has more as it arrives."""
    transport = FakeService(latency=0.7)
    poller = await poll_tasks(transport, [(FLUX, 60), (slow_provider, 60), (USEAPI, 5)], max_rate, 300.0)
    await poller.requests.poll_once(LUMA, ["a", "b"])
    await poller.close()

    gap = (1 + SPREAD) / max_rate
    for service in (LUMA.service, USEAPI.service):
        times = [time for time, request in transport.sent if request.service is service]
        assert all(later - earlier >= gap - 1e-6 for earlier, later in itertools.pairwise(times))
        if service is LUMA.service:
            assert len(times) == pytest.approx(300.0 / gap, rel=0.05)
