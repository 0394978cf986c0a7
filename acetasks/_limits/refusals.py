"""Errors that end all waits of a token or a provider, believed once the service has repeated them."""

from __future__ import annotations

import enum
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from acetasks.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    PermissionDeniedError,
    UnknownProviderError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from acetasks.errors import AceTasksError
    from acetasks.providers import ProviderSpec, Service

#: Seconds between the first such error and the one that ends the waits: a node that has not read its tokens yet after a
#: deployment, or a balance that is just being topped up, refuses for a moment, and a wait of minutes is worth a few
#: seconds more. One that really is refused ends this much later.
CONFIRM_AFTER = 5.0
#: Seconds after which an error that was not repeated is forgotten: two at random are no repetition.
FORGET_AFTER = 60.0

#: Error codes about the provider, whatever the task is (the service's OpenAPI files).
_PROVIDER_CODES = frozenset({"api_not_implemented", "no_api"})
#: HTTP statuses about the form of the request, which is the same for every task.
_PROVIDER_STATUSES = frozenset(
    {HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_ACCEPTABLE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
)


class ErrorScope(enum.Enum):
    """The tasks that an error concerns."""

    TASK = enum.auto()  # the polled one
    PROVIDER = enum.auto()  # all of the provider
    TOKEN = enum.auto()  # all under the token


def scope_of(error: AceTasksError) -> ErrorScope:
    """Return which tasks could not be polled either because of an error; a transient one is about no more than one."""
    if error.transient:
        return ErrorScope.TASK
    if isinstance(error, AuthenticationError):
        return ErrorScope.TOKEN
    is_of_provider = isinstance(error, PermissionDeniedError | UnknownProviderError) or (
        isinstance(error, BadRequestError) and (error.code in _PROVIDER_CODES or error.status in _PROVIDER_STATUSES)
    )
    return ErrorScope.PROVIDER if is_of_provider else ErrorScope.TASK


class _Refusal(msgspec.Struct):
    """The first and the last refusal of a provider between two answers."""

    first_at: float
    last_at: float


class Refusals:
    """The refusals of all providers that no later answer contradicts."""

    def __init__(self) -> None:
        self._refusals: dict[str, _Refusal] = {}
        # When the latest poll was sent that each service has answered.
        self._answered: dict[Service, float] = {}

    def __repr__(self) -> str:
        return f"<Refusals {', '.join(self._refusals) or 'none'}>"

    def available_at(self, provider: str, in_flight: int) -> float:
        """Return when a refused provider may be polled again, one poll at a time; minus infinity if it is not."""
        if (refusal := self._refusals.get(provider)) is None:
            return -math.inf
        return math.inf if in_flight else refusal.first_at + CONFIRM_AFTER

    def record(self, spec: ProviderSpec, errors: Iterable[AceTasksError], *, sent_at: float, now: float) -> None:
        """Record the errors of an answered poll; one that was sent after a refusal and has none clears it."""
        refusal = self._refusals.get(spec.slug)
        if all(scope_of(error) is ErrorScope.TASK for error in errors):
            self._answered[spec.service] = max(sent_at, self._answered.get(spec.service, -math.inf))
            if refusal is not None and sent_at > refusal.last_at:
                del self._refusals[spec.slug]
        elif refusal is None or now - refusal.last_at > FORGET_AFTER:
            self._refusals[spec.slug] = _Refusal(now, now)
        else:
            refusal.last_at = now

    def confirmed_scope(self, spec: ProviderSpec, error: AceTasksError) -> ErrorScope | None:
        """Return which waits a recorded error of a provider or token ends; None if it is the first."""
        scope, refusal = scope_of(error), self._refusals.get(spec.slug)
        if isinstance(error, APIError) and error.status is None:
            return scope  # of this machine, such as a missing token
        if refusal is None or refusal.last_at - refusal.first_at < CONFIRM_AFTER:
            return None
        # A token that another provider accepts is only refused by this one.
        is_accepted = self._answered.get(spec.service, -math.inf) >= refusal.first_at
        return ErrorScope.PROVIDER if is_accepted else scope
