"""Random scripts of faults over random tasks: nothing is lost, nothing invented, and requests stay bounded."""

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

#: More of them find more; the suite has time for these.
EXAMPLES = int(os.environ.get("ACETASKS_FAULT_EXAMPLES", "80"))
PROVIDERS = ("luma", "veo", "flux", "suno", "kling", "minimax", "maestro", "useapi-pixverse")
#: Requests that one fault may cost beyond itself: a batch of 50 that is split until one id is alone, and its retries.
COST = 2 * math.ceil(math.log2(50)) + 4
#: What makes full batches smaller for the rest of a scene.
SHRINKING = {"limit", "too large"}


def reorder(answer: object) -> object:
    """Answer in another order, with duplicates and a stranger."""
    if not isinstance(answer, dict) or "items" not in answer:
        return answer
    items = answer["items"]
    return {"items": [*reversed(items), {"id": "stranger", "finished_at": 1.0}, *items], "total": 1}


def spoil(answer: object) -> object:
    """Make the first record of a batch one that cannot be read."""
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
            }
        ),
    ),
    min_size=1,
    max_size=60,
)

#: Faults that pass: after any of them, every task must still end as the service has it.
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
    """Counts requests, and how often each task was settled."""

    def __init__(self) -> None:
        self.requests = 0
        self.settled: list[tuple[str, str]] = []

    def on_event(self, event: acetasks.Event) -> None:
        """Count an event."""
        self.requests += isinstance(event, acetasks.RequestSent)
        if isinstance(event, acetasks.TaskSettled):
            self.settled.append((event.provider, event.task.id))


async def play(script: list[tuple[str, dict[str, object]]], wrongs: list[tuple[str, str | None, int, float | None]]):
    """Play a scene to its end.

    Returns:
        The true states, the states as they were given, the meter, the faults and the seconds.
    """
    meter = Meter()
    async with AceServer(seed=1) as server:
        truth: dict[tuple[str, str], str] = {}
        for number, (provider, task) in enumerate(script):
            outcome = task["outcome"]
            if outcome == "partial" and not lookup(provider).artifacts:
                outcome = "succeeded"
            task_id = server.add(provider, id=f"{provider}-{number}", **(task | {"outcome": outcome}))
            truth[provider, task_id] = str(outcome)
        scripted = [
            (name, server.fail(provider, times=times, rate=rate, **effects[name]))
            for name, provider, times, rate in wrongs
        ]
        given_states: list[tuple[tuple[str, str], str]] = []
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
                given_states.append(((task.provider, task.id), str(task.state)))  # noqa: PERF401  # as they come
        return truth, given_states, meter, scripted, asyncio.get_running_loop().time() - started


def most_requests(truth: dict[tuple[str, str], str], scripted: list[tuple[str, Fault]], seconds: float) -> float:
    """Tell how many requests a scene may take at most: full batches at each interval, and what the faults cost."""
    shrinks = any(fault.hits for name, fault in scripted if name in SHRINKING)
    most = COST * sum(fault.hits for _, fault in scripted)
    for provider in {provider for provider, _ in truth}:
        spec = lookup(provider)
        count = sum(1 for other, _ in truth if other == provider)
        # Ids that show no trace cost a second request, which asks for nothing else.
        batches = count if shrinks else math.ceil(count / spec.batch_size(50)) + 1
        most += (seconds / spec.poll_interval(None) + 2) * batches
    return most


@given(script=tasks, wrongs=faults)
@settings(max_examples=EXAMPLES)
def test_random_faults_lose_and_invent_nothing(script, wrongs):
    """Whatever passing faults come, every task ends once, as the service has it, for a bounded number of requests."""
    truth, given_states, meter, scripted, seconds = run(play(script, wrongs))
    note(f"{meter.requests} requests in {seconds:.1f} s; hits {[(name, fault.hits) for name, fault in scripted]}")
    assert dict(given_states) == truth
    assert len(given_states) == len(truth)
    assert sorted(meter.settled) == sorted(truth)
    assert meter.requests <= most_requests(truth, scripted, seconds)
