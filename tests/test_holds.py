"""Holds: whom to leave alone, for how long, how fast to ask the others, and what of it is news."""

from __future__ import annotations

import asyncio
import collections
import itertools
import math
import random
import statistics
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import (
    BadRequestError,
    OutageBegan,
    OutageEnded,
    PollPolicy,
    ProtocolError,
    RateCut,
    RateLimitError,
    RateRestored,
    RetryPolicy,
    ServiceError,
    TransportError,
)
from acetasks.durations import Durations
from acetasks.holds import Holds
from acetasks.pace import LEAST_RATE, RECOVERY
from acetasks.poller import Poller
from acetasks.providers import ProviderSpec, lookup, register
from acetasks.waiters import QueueWaiter
from acetasks.wire import Response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator

    from acetasks import AceTasksError, Event
    from acetasks.wire import Request

LUMA, FLUX, USEAPI = lookup("luma"), lookup("flux"), lookup("useapi-pixverse")
OUTAGE = TransportError("reset")
LIMITED = RateLimitError("slow down", status=429)
#: At a draw of 0.5 the delays are 1, 2, 4, 8, 8 s, and so on.
RETRY = RetryPolicy(attempts=3, base=2.0, cap=16.0)


def new_holds(policy: PollPolicy | None = None, retry: RetryPolicy = RETRY) -> Holds:
    """Make holds of a client that has just begun."""
    return Holds(policy or PollPolicy(), retry)


@pytest.fixture
def holds() -> Holds:
    """No holds yet."""
    return new_holds()


def note(
    holds: Holds,
    spec: ProviderSpec,
    *errors: AceTasksError,
    now: float,
    sent_at: float | None = None,
    answered: bool | None = None,
    draw: float = 0.5,
) -> list[Event]:
    """Note a look that met with some errors; one without any was answered."""
    is_answered = not errors if answered is None else answered
    sent_at = now if sent_at is None else sent_at
    return list(holds.note_look(spec, errors, is_answered=is_answered, sent_at=sent_at, now=now, draw=draw))


def fail(holds: Holds, spec: ProviderSpec, times: int, *, now: float = 0.0) -> list[Event]:
    """Note some looks in a row that failed."""
    return [event for _ in range(times) for event in note(holds, spec, OUTAGE, now=now)]


def test_nobody_is_held_at_first(holds: Holds) -> None:
    """Before any trouble every provider may be asked at any time, for full batches, however much is under way."""
    for under_way in (0, 7):
        assert holds.until(LUMA, under_way=under_way) == -math.inf
    assert holds.free_at(LUMA) == -math.inf
    assert holds.probe_size(LUMA, 50) == 50
    assert not holds.is_down("luma")
    assert not holds.has_answered_since("luma", -math.inf)


class TestRetries:
    """1. A look that failed for a passing reason is made again after a random delay that grows; others go on."""

    def test_delays_double_with_each_failure_up_to_the_cap(self, holds: Holds) -> None:
        """Failures in a row of a task make longer delays, up to the policy's cap."""
        delays = [holds.retry_at(failures, OUTAGE, 100.0, 0.5) - 100.0 for failures in (1, 2, 3, 4, 5, 1000)]

        assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

    @given(
        failures=st.integers(1, 10_000),
        draw=st.floats(0, 1, exclude_max=True),
        asked=st.none() | st.floats(0, 1000),
    )
    def test_a_delay_is_random_up_to_its_bound_and_no_less_than_asked(
        self, failures: int, draw: float, asked: float | None
    ) -> None:
        """Full jitter: from nothing to the bound, unless the service asked for more."""
        fault = ServiceError("busy", status=503, retry_after=asked)
        bound = 2.0 ** min(failures, 4)

        assert new_holds().retry_at(failures, fault, 0.0, draw) == max(bound * draw, asked or 0.0)

    @pytest.mark.parametrize("fault", [OUTAGE, ServiceError("busy", status=500), ProtocolError("no JSON")])
    def test_other_looks_go_on(self, holds: Holds, fault: AceTasksError) -> None:
        """A provider that has failed less often than the policy says is held back from nothing."""
        for _ in range(2):
            assert note(holds, LUMA, fault, now=100.0) == []

        assert not holds.is_down("luma")
        assert holds.until(LUMA, under_way=7) <= 100.0
        assert holds.probe_size(LUMA, 50) == 50

    def test_what_is_final_is_no_failure_of_the_provider(self, holds: Holds) -> None:
        """A request that was rejected was answered: it begins no outage, and ends one."""
        rejected = BadRequestError("no such id", status=400)
        for _ in range(5):
            assert note(holds, LUMA, rejected, answered=True, now=1.0) == []
        assert not holds.is_down("luma")

        fail(holds, LUMA, 3)
        assert [type(event) for event in note(holds, LUMA, rejected, answered=True, now=1.0)] == [OutageEnded]


class TestOutages:
    """2. A provider that has failed some times in a row is down, and is probed by one request at a time."""

    def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(self, holds: Holds) -> None:
        """It begins with the last of the failures that make it, and has lasted since the first of them."""
        last = ServiceError("busy", status=500)
        assert note(holds, LUMA, OUTAGE, now=10.0) == []
        assert note(holds, LUMA, OUTAGE, now=11.0) == []
        assert note(holds, LUMA, last, now=15.0) == [OutageBegan(time=15.0, provider="luma", error=last)]
        assert holds.is_down("luma")
        assert fail(holds, LUMA, 5, now=20.0) == []

        assert note(holds, LUMA, now=52.5) == [OutageEnded(time=52.5, provider="luma", seconds=42.5)]
        assert not holds.is_down("luma")
        assert note(holds, LUMA, now=60.0) == []

    @pytest.mark.parametrize("attempts", [1, 2, 7])
    def test_it_begins_after_as_many_failures_as_the_policy_says(self, attempts: int) -> None:
        """One less is no outage."""
        holds = new_holds(retry=RetryPolicy(attempts=attempts))
        assert fail(holds, LUMA, attempts - 1) == []
        assert not holds.is_down("luma")

        assert [type(event) for event in fail(holds, LUMA, 1)] == [OutageBegan]
        assert holds.is_down("luma")

    def test_an_answer_in_between_begins_the_row_anew(self, holds: Holds) -> None:
        """Every third look that fails makes no outage, and a later one has lasted since its own first failure."""
        for now in range(0, 30, 3):
            assert fail(holds, LUMA, 2, now=now) == []
            assert note(holds, LUMA, now=now + 1.0) == []
        assert [type(event) for event in fail(holds, LUMA, 3, now=100.0)] == [OutageBegan]

        assert note(holds, LUMA, now=101.0) == [OutageEnded(time=101.0, provider="luma", seconds=1.0)]

    def test_an_answer_and_a_failure_in_one_look_are_a_first_failure(self, holds: Holds) -> None:
        """What was answered of it ends the row before, and what failed begins another."""
        fail(holds, LUMA, 5, now=1.0)
        events = note(holds, LUMA, OUTAGE, answered=True, now=7.0)

        assert events == [OutageEnded(time=7.0, provider="luma", seconds=6.0)]
        assert [len(fail(holds, LUMA, 1)) for _ in range(2)] == [0, 1]

    def test_a_provider_that_is_down_is_probed_by_one_request_at_a_time(self, holds: Holds) -> None:
        """While a probe is under way, nothing more is sent; without one, the next is sent after the delay."""
        fail(holds, LUMA, 3, now=100.0)

        assert holds.until(LUMA, under_way=0) == 101.0
        assert holds.until(LUMA, under_way=1) == math.inf

    def test_probes_are_ever_further_apart_up_to_the_cap(self, holds: Holds) -> None:
        """The first delay after the beginning of an outage is the shortest, and each probe that fails doubles it."""
        fail(holds, LUMA, 2)
        delays = []
        for now in range(100, 700, 100):
            note(holds, LUMA, OUTAGE, now=now)
            delays.append(holds.until(LUMA, under_way=0) - now)

        assert delays == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

    def test_probes_ask_for_ever_fewer(self, holds: Holds) -> None:
        """It may be what is asked that fails: each probe asks for half as many, down to one; an answer ends that."""
        fail(holds, LUMA, 2)
        sizes = []
        for time in range(8):
            fail(holds, LUMA, 1, now=float(time))
            sizes.append(holds.probe_size(LUMA, 50))

        assert sizes == [25, 12, 6, 3, 1, 1, 1, 1]
        assert holds.probe_size(LUMA, 1) == 1
        note(holds, LUMA, now=10.0)
        assert holds.probe_size(LUMA, 50) == 50

    def test_what_was_under_way_together_is_one_step(self, holds: Holds) -> None:
        """Eight looks that are lost at once make an outage, and the first of its steps."""
        for _ in range(8):
            note(holds, LUMA, OUTAGE, now=10.0, sent_at=5.0)

        assert holds.until(LUMA, under_way=0) == 11.0
        assert holds.probe_size(LUMA, 50) == 25
        note(holds, LUMA, OUTAGE, now=12.0, sent_at=11.0)
        assert holds.until(LUMA, under_way=0) == 14.0

    def test_refusals_that_were_under_way_together_are_one_step(self, holds: Holds) -> None:
        """Eight looks that are too much at once pause for as long as one; the next refusal doubles that."""
        limit = RateLimitError("slow down", status=429)
        for _ in range(8):
            note(holds, LUMA, limit, now=10.0, sent_at=5.0)

        assert holds.free_at(LUMA) == 11.0
        note(holds, LUMA, limit, now=12.0, sent_at=11.5)
        assert holds.free_at(LUMA) == 14.0

    def test_other_providers_are_not_held_up(self, holds: Holds) -> None:
        """A provider that is down holds up no other, of its service or another."""
        fail(holds, LUMA, 10)

        for spec in (FLUX, USEAPI):
            assert holds.until(spec, under_way=7) == -math.inf
            assert holds.probe_size(spec, 50) == 50
            assert not holds.is_down(spec.slug)

    def test_an_answer_of_one_provider_does_not_end_the_outage_of_another(self, holds: Holds) -> None:
        """Each provider's failures are its own."""
        fail(holds, LUMA, 3)

        assert note(holds, FLUX, now=1.0) == []
        assert holds.until(LUMA, under_way=1) == math.inf

    def test_answers_are_remembered_by_their_time(self, holds: Holds) -> None:
        """Whether a provider has answered since a time is told of that provider alone; that very time is not since."""
        note(holds, LUMA, now=10.0)
        note(holds, LUMA, OUTAGE, now=12.0)

        assert holds.has_answered_since("luma", 9.9)
        assert not holds.has_answered_since("luma", 10.0)
        assert not holds.has_answered_since("flux", 9.9)

    @pytest.mark.parametrize("seed", range(5))
    def test_an_hour_of_outage_costs_as_many_probes_as_full_jitter_gives(self, seed: int) -> None:
        """With a cap of 16 s the mean delay is 8 s: 450 probes an hour, and never two at once."""
        holds, rng = new_holds(retry=RetryPolicy(attempts=4, base=1.0, cap=16.0)), random.Random(seed)
        now, probes = 0.0, 0
        for _ in range(4):
            note(holds, LUMA, OUTAGE, now=now, draw=rng.random())
        while (now := holds.until(LUMA, under_way=0)) < 3600.0:
            probes += 1
            holds.take(LUMA, now)
            assert holds.until(LUMA, under_way=1) == math.inf
            note(holds, LUMA, OUTAGE, now=now, draw=rng.random())

        assert probes == pytest.approx(450, rel=0.1)

    @given(
        looks=st.lists(
            st.tuples(st.sampled_from([LUMA, FLUX]), st.sampled_from(["answer", "fail", "refuse", "both"])),
            max_size=60,
        ),
        attempts=st.integers(1, 4),
    )
    def test_beginnings_and_ends_take_turns(self, looks: list[tuple[ProviderSpec, str]], attempts: int) -> None:
        """Whatever happens, each provider's outages begin and end in turn, and it is down in between only."""
        holds = new_holds(retry=RetryPolicy(attempts=attempts))
        rows: collections.Counter[str] = collections.Counter()
        told: dict[str, list[type]] = {"luma": [], "flux": []}
        for now, (spec, what) in enumerate(looks):
            errors = {"fail": [OUTAGE], "both": [OUTAGE], "refuse": [LIMITED]}.get(what, [])
            is_answered = what in {"answer", "both"}
            events = note(holds, spec, *errors, answered=is_answered, now=float(now))
            told[spec.slug] += [type(event) for event in events if isinstance(event, OutageBegan | OutageEnded)]
            rows[spec.slug] = (0 if is_answered else rows[spec.slug]) + (OUTAGE in errors)

            assert holds.is_down(spec.slug) is (rows[spec.slug] >= attempts)
            assert len(told[spec.slug]) % 2 == holds.is_down(spec.slug)
        for events in told.values():
            assert all(kind is (OutageEnded if turn % 2 else OutageBegan) for turn, kind in enumerate(events))


class TestPauses:
    """3. Where a service asks for a pause, nothing is asked before it is over."""

    def test_a_pause_that_a_fault_asks_for_is_its_providers(self, holds: Holds) -> None:
        """After one 503 with `Retry-After` nothing is asked of that provider, and others go on."""
        note(holds, LUMA, ServiceError("busy", status=503, retry_after=30.0), now=10.0)

        assert holds.until(LUMA, under_way=0) == holds.free_at(LUMA) == 40.0
        assert not holds.is_down("luma")
        for spec in (FLUX, USEAPI):
            assert holds.until(spec, under_way=0) == -math.inf

    def test_a_pause_that_a_rate_limit_asks_for_is_its_tokens(self, holds: Holds) -> None:
        """After a 429 with `Retry-After` nothing is asked under that token, and another service goes on."""
        note(holds, LUMA, RateLimitError("slow down", status=429, retry_after=30.0), now=10.0)

        assert holds.until(LUMA, under_way=0) == holds.until(FLUX, under_way=5) == 40.0
        assert holds.until(USEAPI, under_way=0) == -math.inf

    def test_a_pause_holds_for_probes_too(self, holds: Holds) -> None:
        """A provider that is down and asked for more than its delay is left alone for as long."""
        fail(holds, LUMA, 5)
        note(holds, LUMA, ServiceError("busy", status=503, retry_after=300.0), now=10.0)

        assert holds.until(LUMA, under_way=0) == 310.0
        note(holds, LUMA, OUTAGE, now=20.0)
        assert holds.until(LUMA, under_way=0) == 310.0

    def test_the_longest_pause_asked_for_is_kept(self, holds: Holds) -> None:
        """Of several faults of one look, and of several looks, the longest pause counts."""
        faults = [ServiceError("busy", status=503, retry_after=seconds) for seconds in (5.0, 30.0, None)]
        note(holds, LUMA, *faults, now=10.0)
        assert holds.until(LUMA, under_way=0) == 40.0

        note(holds, LUMA, faults[0], now=11.0)
        assert holds.until(LUMA, under_way=0) == 40.0

    def test_an_answer_does_not_shorten_a_pause(self, holds: Holds) -> None:
        """A request that was under way when the service asked for it may still be answered: the pause holds."""
        note(holds, LUMA, RateLimitError("slow down", status=429, retry_after=60.0), now=0.0)
        note(holds, LUMA, ServiceError("busy", status=503, retry_after=90.0), now=0.0)
        note(holds, LUMA, now=1.0)

        assert holds.until(FLUX, under_way=0) == 60.0
        assert holds.until(LUMA, under_way=0) == 90.0

    @given(
        looks=st.lists(
            st.tuples(
                st.sampled_from([LUMA, FLUX, USEAPI]),
                st.floats(0, 100),
                st.none() | st.floats(0, 100),
                st.booleans(),
                st.floats(0, 1, exclude_max=True),
            ),
            min_size=1,
        )
    )
    def test_no_pause_asked_for_is_ever_undercut(
        self, looks: list[tuple[ProviderSpec, float, float | None, bool, float]]
    ) -> None:
        """Whatever happens in between, a provider is held at least until the end of every pause it was asked for."""
        holds = new_holds()
        asked: list[tuple[object, float]] = []
        now = 0.0
        for spec, seconds, retry_after, is_limit, draw in looks:
            now += seconds
            holds.take(spec, now)
            kind = RateLimitError if is_limit else ServiceError
            note(holds, spec, kind("later", retry_after=retry_after), now=now, draw=draw)
            if retry_after is not None:
                asked.append((spec.service if is_limit else spec.slug, now + retry_after))
            note(holds, spec, now=now)

        for spec in (LUMA, FLUX, USEAPI):
            pauses = [until for whose, until in asked if whose in (spec.service, spec.slug)]
            assert holds.until(spec, under_way=0) >= max(pauses, default=-math.inf)


class TestRates:
    """4. A service that is asked too much is asked at half the rate, and then slowly faster: all under one token."""

    @staticmethod
    def use(holds: Holds, spec: ProviderSpec, start: float, count: int) -> tuple[float, list[Event]]:
        """Send requests as fast as they may leave, each answered at once."""
        now, events = start, []
        for _ in range(count):
            now = max(now, holds.free_at(spec))
            holds.take(spec, now)
            events += note(holds, spec, now=now)
        return now, events

    def test_requests_leave_at_the_rate_to_begin_with(self) -> None:
        """A burst of a second's worth, and what follows one by one; another service has a rate of its own."""
        holds = new_holds(PollPolicy(start_rate=4.0))
        for _ in range(4):
            assert holds.free_at(FLUX) <= 100.0
            holds.take(LUMA, 100.0)

        assert holds.free_at(LUMA) == holds.free_at(FLUX) == holds.until(FLUX, under_way=0) == 100.25
        assert holds.free_at(USEAPI) <= 100.0

    def test_looks_may_wait_for_others_where_the_rate_is_used_up(self) -> None:
        """As long as is said, and only under that token: before that, and elsewhere, nothing waits."""
        holds = new_holds(PollPolicy(start_rate=4.0))
        for _ in range(3):
            holds.take(LUMA, 100.0)
        assert holds.until(FLUX, under_way=0, patience=0.5) <= 100.0
        holds.take(LUMA, 100.0)

        assert holds.until(FLUX, under_way=3, patience=0.5) == 100.75
        assert holds.until(FLUX, under_way=3, patience=0.0) == holds.free_at(FLUX) == 100.25
        assert holds.until(USEAPI, under_way=0, patience=0.5) == -math.inf

    def test_looks_that_wait_for_others_wait_for_a_pause_too(self) -> None:
        """For whichever ends last; and a probe waits for no other."""
        holds = new_holds(PollPolicy(start_rate=4.0))
        for _ in range(4):
            holds.take(LUMA, 100.0)
        note(holds, FLUX, ServiceError("busy", status=503, retry_after=30.0), now=100.0)
        assert holds.until(FLUX, under_way=0, patience=0.5) == 130.0
        fail(holds, LUMA, 3, now=98.5)

        assert holds.until(LUMA, under_way=0, patience=0.5) == holds.free_at(LUMA) == 100.25
        assert holds.until(LUMA, under_way=1, patience=0.5) == math.inf

    def test_a_cut_is_told_once_and_so_is_the_recovery(self) -> None:
        """From the first refusal to the rate that it was at before, with the provider that was refused or answered."""
        holds = new_holds(PollPolicy(start_rate=4.0))
        for _ in range(4):
            holds.take(LUMA, 0.0)
        (cut,) = note(holds, LUMA, LIMITED, now=0.0)
        assert cut == RateCut(time=0.0, provider="luma", rate=cut.rate, error=LIMITED)
        assert LEAST_RATE <= cut.rate <= 2.0
        assert note(holds, FLUX, LIMITED, sent_at=0.0, now=0.1) == []

        last, (restored,) = self.use(holds, FLUX, 0.1, 400)
        assert restored == RateRestored(time=restored.time, provider="flux", rate=restored.rate)
        assert restored.rate == pytest.approx(4.0, rel=0.05)
        assert restored.time == pytest.approx(RECOVERY, rel=0.1)
        assert last > 80.0

    def test_refusals_of_requests_under_way_together_cut_once(self) -> None:
        """Whichever provider they were for: the rate is the token's."""
        holds = new_holds(PollPolicy(start_rate=8.0))
        now, _ = self.use(holds, LUMA, 0.0, 800)
        events = [
            event
            for spec in (LUMA, FLUX, LUMA, FLUX)
            for event in note(holds, spec, LIMITED, sent_at=now, now=now + 0.2, draw=0.0)
        ]

        assert [type(event) for event in events] == [RateCut]
        assert events[0].rate < 8.0
        assert repr(holds).endswith(f"{{'acedata': {events[0].rate}}}>")

    def test_a_rate_limit_is_no_outage(self, holds: Holds) -> None:
        """However often it comes, nothing is probed, and batches stay full."""
        for now in range(20):
            note(holds, LUMA, LIMITED, now=float(now))

        assert not holds.is_down("luma")
        assert holds.until(LUMA, under_way=5) < math.inf
        assert holds.probe_size(LUMA, 50) == 50

    def test_pauses_double_with_each_refusal_up_to_the_cap(self, holds: Holds) -> None:
        """Refusals in a row, of any provider under the token, make longer pauses; an answer begins the row anew."""
        pauses = []
        for now, spec in zip(range(0, 600, 100), itertools.cycle([LUMA, FLUX]), strict=False):
            note(holds, spec, LIMITED, now=float(now))
            pauses.append(holds.until(LUMA, under_way=0) - now)
        assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]

        note(holds, FLUX, now=700.0)
        note(holds, LUMA, LIMITED, now=700.0)
        assert holds.until(LUMA, under_way=0) == 701.0

    def test_an_answer_of_another_service_does_not_end_the_row(self, holds: Holds) -> None:
        """Each token's refusals are its own."""
        note(holds, LUMA, LIMITED, now=0.0)
        note(holds, USEAPI, now=10.0)
        note(holds, LUMA, LIMITED, now=10.0)

        assert holds.until(LUMA, under_way=0) == 12.0

    def test_an_answer_in_a_look_that_was_refused_too_is_no_sign_that_the_rate_is_borne(self, holds: Holds) -> None:
        """It ends an outage, and the row of refusals goes on."""
        fail(holds, LUMA, 3, now=0.0)
        note(holds, LUMA, LIMITED, now=0.0)
        events = note(holds, LUMA, LIMITED, answered=True, now=10.0)

        assert [type(event) for event in events] == [OutageEnded]
        assert holds.until(LUMA, under_way=1) == 12.0

    def test_a_look_that_met_with_both_holds_for_both(self, holds: Holds) -> None:
        """Where one look met a failure and a refusal, it is a failure of the provider and a pause of the token."""
        fail(holds, LUMA, 2)
        events = note(holds, LUMA, OUTAGE, LIMITED, now=0.0)

        assert sorted(type(event).__name__ for event in events) == ["OutageBegan", "RateCut"]
        assert holds.until(FLUX, under_way=0) == 1.0


class Desk:
    """A transport that answers every look after a while, with tasks that are at work, and keeps when it was asked."""

    def __init__(self, latency: float = 0.1) -> None:
        self.latency = latency
        self.times: list[float] = []
        self.looks: dict[str, list[float]] = collections.defaultdict(list)

    async def send(
        self,
        request: Request,
        read: Callable[[Response], object],
        *,
        admit: Callable[[], Awaitable[None]] | None = None,
        attempts: int = 1,
    ) -> object:
        """Answer a request."""
        assert attempts >= 1
        if admit is not None:
            await admit()
        now = asyncio.get_running_loop().time()
        self.times.append(now)
        for task_id in request.ids:
            self.looks[task_id].append(now)
        await asyncio.sleep(self.latency)
        records = [{"id": task_id, "response": {"state": "processing"}} for task_id in request.ids]
        body = records[0] if len(records) == 1 else {"items": records}
        return read(Response(status=200, body=msgspec.json.encode(body)))

    async def rest(self) -> None:
        """Do nothing."""


@pytest.fixture
def patient() -> Iterator[ProviderSpec]:
    """A provider whose tasks are asked for every 30 s."""
    row = lookup("wan")
    spec = msgspec.structs.replace(row, interval=30.0)
    register(spec, replace=True)
    yield spec
    register(row, replace=True)


async def follow(desk: Desk, wanted: Collection[tuple[ProviderSpec, int]], max_rate: float, seconds: float) -> Poller:
    """Wait for some tasks of each of some providers, for some seconds, within a budget."""
    poller = Poller(
        desk,
        policy=PollPolicy(batch_size=5, jitter=0.0, max_rate=max_rate),
        retry=RetryPolicy(),
        durations=Durations(),
        rng=random.Random(0),
        clock=asyncio.get_running_loop().time,
        emit=lambda _: None,
    )
    for spec, count in wanted:
        poller.register(QueueWaiter(math.inf), [(spec.slug, f"{spec.slug}-{number}") for number in range(count)])
    await asyncio.sleep(seconds)
    return poller


class TestBudget:
    """5. A budget of the user's own holds over everything."""

    def test_it_holds_over_all_providers_and_services(self) -> None:
        """Requests leave one by one at its rate, whomever they are for, and nothing is made up for."""
        holds = new_holds(PollPolicy(max_rate=0.5))
        holds.take(LUMA, 100.0)
        for spec in (LUMA, FLUX, USEAPI):
            assert holds.until(spec, under_way=0) == 102.0

        holds.take(USEAPI, 160.0)
        assert holds.free_at(FLUX) == 162.0

    def test_nothing_waits_for_others_within_it(self) -> None:
        """It lets requests leave one by one."""
        holds = new_holds(PollPolicy(max_rate=2.0))
        holds.take(LUMA, 100.0)

        assert holds.until(LUMA, under_way=0, patience=5.0) == 100.5

    def test_without_one_only_the_rates_hold(self) -> None:
        """The policy's default is none."""
        holds = new_holds(PollPolicy(start_rate=64.0))
        for _ in range(64):
            holds.take(LUMA, 0.0)
        for _ in range(63):
            holds.take(USEAPI, 0.0)

        assert holds.free_at(USEAPI) <= 0.0 < holds.free_at(LUMA)

    @pytest.mark.parametrize(("brisk", "slow"), [(10, 150), (40, 40), (3, 150), (45, 155), (5, 300)])
    async def test_what_is_left_goes_where_it_is_worth_most(self, patient: ProviderSpec, brisk: int, slow: int) -> None:
        """Where the budget is less than what is needed, each request is asked at the root of the ends that it may find.

        That is of the hazard of its tasks, times how many of them there are; and nobody starves.
        """
        needed = math.ceil(brisk / 5) / 2.0 + math.ceil(slow / 5) / 30.0
        desk = Desk()
        poller = await follow(desk, [(FLUX, brisk), (patient, slow)], needed / 4, 1500.0)
        await poller.close()

        means = {}
        for spec in (FLUX, patient):
            gaps = [
                later - earlier
                for task_id, times in desk.looks.items()
                if task_id.startswith(spec.slug)
                for earlier, later in itertools.pairwise([time for time in times if time > 300.0])
            ]
            means[spec.slug] = statistics.mean(gaps)
            assert max(gaps) <= 1.5 * means[spec.slug]
            assert means[spec.slug] > 1.2 * spec.poll_interval(None)
        foreseen = math.sqrt(min(slow, 5) / patient.typical_duration / (min(brisk, 5) / FLUX.typical_duration))
        assert means["flux"] / means["wan"] == pytest.approx(foreseen, rel=0.25)
        assert len(desk.looks) == brisk + slow
        assert all(times[-1] > 1500.0 - 1.5 * means["wan"] for times in desk.looks.values())

    @pytest.mark.parametrize("max_rate", [0.3, 2.0])
    async def test_no_window_has_more_than_the_budget(self, patient: ProviderSpec, max_rate: float) -> None:
        """In any window of T seconds no more than max_rate * T requests leave, and the one that it begins with."""
        desk = Desk(latency=0.7)
        poller = await follow(desk, [(FLUX, 60), (patient, 60), (USEAPI, 5)], max_rate, 300.0)
        await poller.look(LUMA, ["a", "b"])
        await poller.close()

        assert len(desk.times) == pytest.approx(max_rate * 300.0, rel=0.05)
        assert all(later - earlier >= 1 / max_rate - 1e-6 for earlier, later in itertools.pairwise(desk.times))


def test_repr_shows_who_is_down_and_the_rates(holds: Holds) -> None:
    """The repr names the providers that are down, and at what rates the services are asked."""
    assert repr(holds) == "<Holds down=[] rates={}>"
    fail(holds, LUMA, 3)
    holds.take(USEAPI, 0.0)
    note(holds, USEAPI, LIMITED, now=0.0)

    assert repr(holds) == "<Holds down=['luma'] rates={'useapi': 0.5}>"
    note(holds, LUMA, now=1.0)
    assert repr(holds) == "<Holds down=[] rates={'useapi': 0.5, 'acedata': 60.0}>"
