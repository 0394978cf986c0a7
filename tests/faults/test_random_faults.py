"""Random faults over random tasks: no task is lost or invented, and the number of requests stays bounded."""

from __future__ import annotations

import asyncio
import math
import os
import random
from typing import TYPE_CHECKING

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st

import acetasks
from acetasks.providers import lookup
from acetasks.testing import AceServer, run

if TYPE_CHECKING:
    from acetasks.testing import Fault

#: Number of examples; a higher number finds more but takes longer.
EXAMPLES = int(os.environ.get("ACETASKS_FAULT_EXAMPLES", "80"))
PROVIDERS = ("luma", "veo", "flux", "suno", "kling", "minimax", "maestro", "useapi-pixverse")
#: Maximum number of extra requests for one fault: splitting a batch of 50 down to one id, and retries.
COST = 2 * math.ceil(math.log2(50)) + 4
#: Faults that make batches smaller for the rest of a scenario.
SHRINKING = {"limit", "too large"}


def reorder(answer: object) -> object:
    """Reverse and duplicate the records, and add an unknown one."""
    if not isinstance(answer, dict) or "items" not in answer:
        return answer
    items = answer["items"]
    return {"items": [*reversed(items), {"id": "stranger", "finished_at": 1.0}, *items], "total": 1}


def spoil(answer: object) -> object:
    """Replace the first record of a batch by an unreadable one."""
    if not isinstance(answer, dict) or not answer.get("items"):
        return answer
    return msgspec.json.encode({"items": [msgspec.Raw(b'{"id": 1e999}'), *answer["items"][1:]]})


tasks = st.lists(
    st.tuples(
        st.sampled_from(PROVIDERS),
        st.fixed_dictionaries(
            {
                "after": st.floats(0, 90),
                "outcome": st.sampled_from(("succeeded", "succeeded", "failed", "partial", "not_found")),
                "visible_after": st.sampled_from((0.0, 0.0, 0.0, 3.0, 7.0)),
                "timestamps": st.booleans(),
                "undocumented_failure": st.booleans(),
            }
        ),
    ),
    min_size=1,
    max_size=60,
)

#: Transient faults: every task must still end in its true state.
effects: dict[str, dict[str, object]] = {
    "500": {"status": 500},
    "502": {"status": 502, "body": "<html>Bad Gateway</html>"},
    "503": {"status": 503, "headers": {"Retry-After": "7"}},
    "504": {"status": 504},
    "429": {"status": 429},
    "429 and a pause": {"status": 429, "headers": {"Retry-After": "12"}},
    "reset": {"reset": True},
    "half": {"truncate": 0.5},
    "hang": {"hang": math.inf},
    "slow": {"drip": 8.0},
    "very slow": {"drip": 45.0},
    "pieces": {"split": 20},
    "page": {"body": "<!doctype html>"},
    "empty": {"body": ""},
    "cut": {"body": b'{"items": [{"id": '},
    "bytes": {"body": b"\x80\x81"},
    "limit": {"limit": 3},
    "too large": {"status": 413, "when": lambda seen: len(seen.ids) > 5},
    "reversed": {"edit": reorder},
    "spoiled": {"edit": spoil},
}

faults = st.lists(
    st.tuples(
        st.sampled_from(sorted(effects)),
        st.sampled_from((None, *PROVIDERS)),
        st.integers(1, 6),
        st.sampled_from((None, 0.2, 0.6)),
    ),
    max_size=8,
)


class Meter:
    """Observer that counts requests and resolved tasks."""

    def __init__(self) -> None:
        self.requests = 0
        self.settled: list[tuple[str, str]] = []

    def on_event(self, event: acetasks.Event) -> None:
        """Count an event."""
        self.requests += isinstance(event, acetasks.RequestSent)
        if isinstance(event, acetasks.TaskSettled):
            self.settled.append((event.provider, event.task.id))


async def run_scenario(
    planned_tasks: list[tuple[str, dict[str, object]]], planned_faults: list[tuple[str, str | None, int, float | None]]
):
    """Run a scenario to its end.

    Returns:
        The true states, the reported states, the meter, the faults and the elapsed seconds.
    """
    meter = Meter()
    async with AceServer(seed=1) as server:
        truth: dict[tuple[str, str], str] = {}
        for number, (provider, task) in enumerate(planned_tasks):
            outcome = task["outcome"]
            if outcome == "partial" and not lookup(provider).artifacts:
                outcome = "succeeded"
            task_id = server.add(provider, id=f"{provider}-{number}", **(task | {"outcome": outcome}))
            truth[provider, task_id] = str(outcome)
        scripted = [
            (name, server.fail(provider, times=times, rate=rate, **effects[name]))
            for name, provider, times, rate in planned_faults
        ]
        reported: list[tuple[tuple[str, str], str]] = []
        started = asyncio.get_running_loop().time()
        async with acetasks.Client(
            server.token,
            base_url=server.url,
            useapi_token=server.token,
            useapi_base_url=server.url,
            rng=random.Random(1),
            observers=[meter],
        ) as client:
            async for task in client.as_completed(list(truth)):
                reported.append(((task.provider, task.id), str(task.state)))  # noqa: PERF401  # in order of arrival
        return truth, reported, meter, scripted, asyncio.get_running_loop().time() - started


def max_requests(truth: dict[tuple[str, str], str], scripted: list[tuple[str, Fault]], seconds: float) -> float:
    """Return the maximum number of requests: full batches at each interval, and the cost of the faults."""
    shrinks = any(fault.hits for name, fault in scripted if name in SHRINKING)
    limit = COST * sum(fault.hits for _, fault in scripted)
    for provider in {provider for provider, _ in truth}:
        spec = lookup(provider)
        count = sum(1 for other, _ in truth if other == provider)
        # Ids missing from a response cost a second request, for these ids alone.
        batches = count if shrinks else math.ceil(count / spec.batch_size(50)) + 1
        limit += (seconds / spec.poll_interval(None) + 2) * batches
    return limit


@given(planned_tasks=tasks, planned_faults=faults)
@settings(max_examples=EXAMPLES)
def test_random_faults_lose_and_invent_nothing(planned_tasks, planned_faults):
    """With transient faults every task ends once, in its true state, after a bounded number of requests."""
    truth, reported, meter, scripted, seconds = run(run_scenario(planned_tasks, planned_faults))
    note(f"{meter.requests} requests in {seconds:.1f} s; hits {[(name, fault.hits) for name, fault in scripted]}")
    assert dict(reported) == truth
    assert len(reported) == len(truth)
    assert sorted(meter.settled) == sorted(truth)
    assert meter.requests <= max_requests(truth, scripted, seconds)
