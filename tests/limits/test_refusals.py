"""Refusals of tokens and providers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from acetasks import (
    AceTasksError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    TransportError,
    UnknownProviderError,
)
from acetasks._limits.refusals import CONFIRM_AFTER, FORGET_AFTER, ErrorScope, Refusals, scope_of
from acetasks.providers import lookup

if TYPE_CHECKING:
    from acetasks.providers import ProviderSpec

LUMA, FLUX, USEAPI = lookup("luma"), lookup("flux"), lookup("useapi-pixverse")
EXPIRED = AuthenticationError("expired", status=401)
USED_UP = PermissionDeniedError("used up", status=403)
REJECTED = BadRequestError("no such id", status=400)


@pytest.fixture
def refusals() -> Refusals:
    """Refusals of nothing."""
    return Refusals()


@pytest.mark.parametrize(
    ("error", "scope"),
    [
        (EXPIRED, ErrorScope.TOKEN),
        (USED_UP, ErrorScope.PROVIDER),
        (UnknownProviderError("luma"), ErrorScope.PROVIDER),
        (BadRequestError("no", status=400, code="api_not_implemented"), ErrorScope.PROVIDER),
        (BadRequestError("no", status=404, code="no_api"), ErrorScope.PROVIDER),
        (BadRequestError("no", status=405), ErrorScope.PROVIDER),
        (REJECTED, ErrorScope.TASK),
        (BadRequestError("no", status=404), ErrorScope.TASK),
        (ProtocolError("no", transient=False), ErrorScope.TASK),
        (RateLimitError("no", status=429), ErrorScope.TASK),
        (ServiceError("no", status=500), ErrorScope.TASK),
        (TransportError("no"), ErrorScope.TASK),
    ],
)
def test_scope_of_each_error(error: AceTasksError, scope: ErrorScope) -> None:
    """Only errors about the token, the provider or the form of the request concern other tasks."""
    assert scope_of(error) is scope


def test_scope_of_a_transient_error() -> None:
    """A gateway's 401 says nothing about the token."""
    error = AuthenticationError("<html>", status=401)
    error.transient = True

    assert scope_of(error) is ErrorScope.TASK


def record(
    refusals: Refusals,
    now: float,
    *errors: AceTasksError,
    spec: ProviderSpec = LUMA,
    sent_at: float | None = None,
) -> None:
    """Record a poll without latency, unless it was sent before."""
    refusals.record(spec, errors, sent_at=now if sent_at is None else sent_at, now=now)


class TestRefusals:
    """`Refusals`."""

    def test_a_repeated_refusal_is_confirmed(self, refusals: Refusals) -> None:
        """Until then the provider is polled once, after the time of the confirmation."""
        assert refusals.available_at("luma", 0) == -math.inf
        record(refusals, 10.0, EXPIRED)
        assert refusals.confirmed_scope(LUMA, EXPIRED) is None
        assert refusals.available_at("luma", 0) == 10.0 + CONFIRM_AFTER
        assert refusals.available_at("luma", 1) == math.inf
        assert refusals.available_at("flux", 1) == -math.inf
        assert repr(refusals) == "<Refusals luma>"

        record(refusals, 10.0 + CONFIRM_AFTER, EXPIRED)
        assert refusals.confirmed_scope(LUMA, EXPIRED) is ErrorScope.TOKEN
        assert refusals.confirmed_scope(FLUX, EXPIRED) is None

    def test_refusals_of_polls_in_flight_together_are_one(self, refusals: Refusals) -> None:
        """They are less than the time of the confirmation apart."""
        for now in (10.0, 10.5, 11.0, 9.9 + CONFIRM_AFTER):
            record(refusals, now, USED_UP)
            assert refusals.confirmed_scope(LUMA, USED_UP) is None

    @pytest.mark.parametrize("errors", [(), (REJECTED,)], ids=["records", "an error"])
    def test_an_answer_in_between_clears_a_refusal(self, refusals: Refusals, errors: tuple[AceTasksError, ...]) -> None:
        """The errors of single tasks are answers too."""
        record(refusals, 10.0, USED_UP)
        record(refusals, 12.0, *errors)
        assert refusals.available_at("luma", 1) == -math.inf
        assert repr(refusals) == "<Refusals none>"

        record(refusals, 20.0, USED_UP)
        assert refusals.confirmed_scope(LUMA, USED_UP) is None

    def test_an_answer_to_an_earlier_poll_does_not(self, refusals: Refusals) -> None:
        """It was sent when nothing was refused."""
        record(refusals, 10.0, USED_UP)
        record(refusals, 12.0, sent_at=9.0)
        record(refusals, 20.0, USED_UP)

        assert refusals.confirmed_scope(LUMA, USED_UP) is ErrorScope.PROVIDER

    def test_a_refusal_among_other_results_counts(self, refusals: Refusals) -> None:
        """Both halves of a batch may get different responses."""
        for now in (10.0, 20.0):
            record(refusals, now, REJECTED, USED_UP)

        assert refusals.confirmed_scope(LUMA, USED_UP) is ErrorScope.PROVIDER

    @pytest.mark.parametrize(("later", "scope"), [(FORGET_AFTER, ErrorScope.PROVIDER), (FORGET_AFTER + 1.0, None)])
    def test_an_old_refusal_is_forgotten(self, refusals: Refusals, later: float, scope: ErrorScope | None) -> None:
        """Two at random, minutes apart, are no repetition."""
        record(refusals, 10.0, USED_UP)
        record(refusals, 10.0 + later, USED_UP)

        assert refusals.confirmed_scope(LUMA, USED_UP) is scope

    @pytest.mark.parametrize(
        ("spec", "scope"), [(FLUX, ErrorScope.PROVIDER), (USEAPI, ErrorScope.TOKEN)], ids=["same token", "another"]
    )
    def test_a_token_that_another_provider_accepts(
        self, refusals: Refusals, spec: ProviderSpec, scope: ErrorScope
    ) -> None:
        """It is refused by one provider only."""
        record(refusals, 10.0, EXPIRED)
        record(refusals, 12.0, spec=spec)
        record(refusals, 20.0, EXPIRED)

        assert refusals.confirmed_scope(LUMA, EXPIRED) is scope

    def test_a_missing_token_needs_no_confirmation(self, refusals: Refusals) -> None:
        """It was found missing on this machine."""
        assert refusals.confirmed_scope(LUMA, AuthenticationError("no token")) is ErrorScope.TOKEN
