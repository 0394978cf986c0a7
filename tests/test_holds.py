"""Holds: whom to leave alone, for how long, and who is held back with them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acetasks import ProtocolError, RateLimitError, RetryPolicy, ServiceError, TransportError
from acetasks.holds import Holds
from acetasks.providers import ProviderSpec, lookup

LUMA, FLUX, USEAPI = lookup("luma"), lookup("flux"), lookup("useapi-pixverse")
OUTAGE = TransportError("reset")
LIMITED = RateLimitError("slow down", status=429)


@pytest.fixture
def holds() -> Holds:
    """No holds yet; delays of 1, 2, 4, 8, 8 s at a draw of 0.5."""
    return Holds(RetryPolicy(base=2.0, cap=16.0))


def test_nobody_is_held_at_first(holds: Holds) -> None:
    """Before any trouble every provider may be asked at any time, however much is under way."""
    assert holds.until(LUMA, under_way=0) == -math.inf
    assert holds.until(LUMA, under_way=7) == -math.inf


@pytest.mark.parametrize("fault", [OUTAGE, ServiceError("busy", status=500), ProtocolError("no JSON")])
def test_an_outage_holds_its_provider_only(holds: Holds, fault: TransportError | ServiceError | ProtocolError) -> None:
    """A provider that does not answer holds up no other, of the same service or another."""
    holds.note_faults(LUMA, [fault], now=100.0, draw=0.5)

    assert holds.until(LUMA, under_way=0) == 101.0
    assert holds.until(FLUX, under_way=0) == -math.inf
    assert holds.until(USEAPI, under_way=0) == -math.inf


def test_a_rate_limit_holds_everything_under_its_token(holds: Holds) -> None:
    """The rate is the token's, so every provider of the service is held back, and none of the other service."""
    holds.note_faults(LUMA, [LIMITED], now=100.0, draw=0.5)

    assert holds.until(LUMA, under_way=0) == 101.0
    assert holds.until(FLUX, under_way=0) == 101.0
    assert holds.until(USEAPI, under_way=0) == -math.inf


def test_a_provider_that_does_not_answer_is_probed_by_one_request_at_a_time(holds: Holds) -> None:
    """While a probe is under way, nothing more is sent to a failing provider; others go on."""
    holds.note_faults(LUMA, [OUTAGE], now=100.0, draw=0.5)

    assert holds.until(LUMA, under_way=1) == math.inf
    assert holds.until(FLUX, under_way=1) == -math.inf


def test_a_rate_limit_does_not_ask_for_probes(holds: Holds) -> None:
    """After a rate limit's pause, as many requests as before may be under way."""
    holds.note_faults(LUMA, [LIMITED], now=100.0, draw=0.5)

    assert holds.until(LUMA, under_way=5) == 101.0


@pytest.mark.parametrize("fault", [OUTAGE, LIMITED])
def test_pauses_double_with_each_failure_up_to_the_cap(holds: Holds, fault: TransportError | RateLimitError) -> None:
    """Failures in a row make longer pauses, up to the policy's cap."""
    pauses = []
    for now in (0.0, 100.0, 200.0, 300.0, 400.0):
        holds.note_faults(LUMA, [fault], now=now, draw=0.5)
        pauses.append(holds.until(LUMA, under_way=0) - now)

    assert pauses == [1.0, 2.0, 4.0, 8.0, 8.0]


@pytest.mark.parametrize("fault", [OUTAGE, LIMITED])
def test_an_answer_ends_the_row_of_failures(holds: Holds, fault: TransportError | RateLimitError) -> None:
    """After an answer the next failure is a first one, and requests may be under way together again."""
    for _ in range(4):
        holds.note_faults(LUMA, [fault], now=0.0, draw=0.5)
    holds.note_answer(LUMA)
    assert holds.until(LUMA, under_way=3) == 8.0

    holds.note_faults(LUMA, [fault], now=100.0, draw=0.5)
    assert holds.until(LUMA, under_way=0) == 101.0


def test_an_answer_of_one_provider_does_not_end_the_outage_of_another(holds: Holds) -> None:
    """Each provider's failures are its own."""
    holds.note_faults(LUMA, [OUTAGE], now=0.0, draw=0.5)
    holds.note_answer(FLUX)

    assert holds.until(LUMA, under_way=1) == math.inf


def test_an_answer_does_not_shorten_a_pause_that_was_asked_for(holds: Holds) -> None:
    """A request that was under way when the service asked for a pause may still be answered: the pause holds."""
    holds.note_faults(LUMA, [RateLimitError("slow down", status=429, retry_after=60.0)], now=0.0, draw=0.5)
    holds.note_answer(LUMA)

    assert holds.until(FLUX, under_way=0) == 60.0


def test_the_longest_pause_asked_for_is_kept(holds: Holds) -> None:
    """Of several faults of one look, and of several looks, the longest pause counts."""
    faults = [ServiceError("busy", status=503, retry_after=seconds) for seconds in (5.0, 30.0, None)]
    holds.note_faults(LUMA, faults, now=10.0, draw=0.5)
    assert holds.until(LUMA, under_way=0) == 40.0

    holds.note_faults(LUMA, [OUTAGE], now=11.0, draw=0.5)
    assert holds.until(LUMA, under_way=0) == 40.0


def test_a_rate_limit_among_other_faults_is_the_tokens(holds: Holds) -> None:
    """Where one look met both an outage and a rate limit, the wider hold is taken."""
    holds.note_faults(LUMA, [OUTAGE, LIMITED], now=0.0, draw=0.5)

    assert holds.until(FLUX, under_way=0) == 1.0


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
    looks: list[tuple[ProviderSpec, float, float | None, bool, float]],
) -> None:
    """Whatever happens in between, a provider is held at least until the end of every pause it was asked for."""
    holds = Holds(RetryPolicy())
    asked: list[tuple[object, float]] = []
    for spec, now, retry_after, is_limit, draw in looks:
        kind = RateLimitError if is_limit else ServiceError
        holds.note_faults(spec, [kind("later", retry_after=retry_after)], now=now, draw=draw)
        asked.append((spec.service if is_limit else spec.slug, now + (retry_after or 0.0)))
        holds.note_answer(spec)

    for spec in (LUMA, FLUX, USEAPI):
        pauses = [until for whose, until in asked if whose in (spec.service, spec.slug)]
        assert holds.until(spec, under_way=0) >= max(pauses, default=-math.inf)


def test_repr_shows_who_is_failing(holds: Holds) -> None:
    """The repr names the providers that do not answer and the services that limit the rate."""
    assert repr(holds) == "<Holds failing=[] limited=[]>"
    holds.note_faults(LUMA, [OUTAGE], now=0.0, draw=0.5)
    holds.note_faults(USEAPI, [LIMITED], now=0.0, draw=0.5)

    assert repr(holds) == "<Holds failing=['luma'] limited=['useapi']>"
    holds.note_answer(LUMA)
    holds.note_answer(USEAPI)
    assert repr(holds) == "<Holds failing=[] limited=[]>"
