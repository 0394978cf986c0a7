"""Scripted faults: which requests they hit, and how often.

`Fault` and `RecordedRequest` refer to each other, so both are defined here. The effects are in `effects`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import msgspec

from acetasks.providers.table import lookup
from acetasks.testing.checks import check_count, check_function, check_number
from acetasks.testing.requests import Action

if TYPE_CHECKING:
    from acetasks.testing.effects import Effect
    from acetasks.testing.responses import RawResponse

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

#: Selects the requests to hit.
When = Callable[["RecordedRequest"], bool]

#: Maximum characters of a body in a repr.
_BODY_EXCERPT = 40


class Fault:
    """Scripted fault, created by `AceServer.fail`.

    Faults are tried in the order of their creation, and a request is hit by at most one: the first that matches. A hit
    request is processed as usual - a submission creates its task - unless `status` or `body` replaces the response.
    All other options change how the response is sent and can be combined: the delay comes first, then the headers,
    the body in its pieces, and the cut. Times are in seconds and are not divided by the server's `speed`.

    An exception raised by `when` or `edit` gets an immediate response of status 500 that names it, and is raised again
    by `AceServer.stop` or at the end of `async with`.

    The options of `AceServer.fail`:
        provider: Slug of the provider whose requests are hit; None means every request, including those with an
            unknown path or a wrong token.
        status: HTTP status, from 200 to 599, sent without processing the request. Without `body`, the response is
            the service's documented error: `bad_request` (400), `invalid_token` (401), that of the payment protocol
            x402 (402), `forbidden` (403), `no_api` (404), `request_too_large` (413), `too_many_requests` (429),
            `api_error` (500), `timeout` (504); for 502 and 503 a gateway's HTML page; for other statuses the code of
            400 or 500; below 400 no body. A download gets the error of an object store. With `edit` the request is
            processed and its response gets this status.
        code: Code of the service's error in place of that one, such as `used_up` (403) or `disabled` (400 or 403).
        headers: Headers to add or replace, such as `Retry-After` or `Date`.
        body: Response sent without processing the request: bytes and text unchanged, other values as JSON. The status
            is 200 and the type `application/json` unless given.
        edit: Takes the decoded JSON of the real response and returns what is sent instead, or bytes to send unchanged:
            for duplicate, unknown, reordered or unreadable records.
        limit: Maximum number of records in the response to a batch or history; other requests are not hit.
        hang: Delay before the response; `math.inf` means no response until the client disconnects.
        reset: Whether the connection is reset: before any byte or, with `truncate` or `cut`, after that part.
        truncate: Fraction of the body, from 0 to less than 1, after which the connection closes, although the full
            length was announced.
        cut: The same as a number of bytes; a shorter body is sent as usual.
        drip: Duration of the body, in 50 pieces or as many as `split`: the first at once, the last at the end. With
            `math.inf` only the first piece is sent.
        split: Number of writes of the body, at least one byte each; characters may be split too.
        action: Kind of the requests to hit, an `Action` such as "submit" or "download"; None means all but downloads.
        times: Number of requests to hit; None means no maximum. The default is 1, or None with `rate`.
        rate: Share of the matching requests to hit, above 0 and up to 1; drawn separately from tasks and other
            faults. None means all.
        when: Takes a matching `RecordedRequest` and returns whether to hit it. A submission has no ids yet.

    Attributes:
        hits: Number of requests hit so far.
    """

    def __init__(
        self,
        effect: Effect,
        *,
        provider: str | None,
        times: int | None,
        rate: float | None,
        when: When | None,
        rng: random.Random,
    ) -> None:
        check_count("times", times, minimum=1)
        check_number("rate", rate)
        if rate is not None and not 0 < rate <= 1:
            raise ValueError(f"rate must be a share above 0 and up to 1, got {rate!r}")
        check_function("when", when)
        self.hits = 0
        self._effect = effect
        self._provider = None if provider is None else lookup(provider).slug
        self._times = times
        self._rate = rate
        self._when = when
        self._rng = rng
        self._is_stopped = False

    def __repr__(self) -> str:
        effect, delivery = self._effect, self._effect.delivery
        options: dict[str, object] = {
            "action": effect.action,
            "status": effect.status,
            "code": effect.code,
            "body": None if effect.body is None else _excerpt(effect.body),
            "edit": _function_name(effect.edit),
            "limit": effect.limit,
            "headers": delivery.headers,
            "hang": delivery.hang,
            "reset": delivery.reset or None,
            "truncate": delivery.truncate,
            "cut": delivery.cut,
            "drip": delivery.drip,
            "split": delivery.split,
            "rate": self._rate,
            "when": _function_name(self._when),
            "times": self._times,
        }
        shown = "".join(f" {key}={value}" for key, value in options.items() if value is not None)
        state = " stopped" if self._is_stopped else " used up" if self.is_over else ""
        return f"<Fault {self._provider or 'everywhere'}{shown} hits={self.hits}{state}>"

    @property
    def effect(self) -> Effect:
        """The effect on a request that is hit."""
        return self._effect

    @property
    def is_over(self) -> bool:
        """Whether no more requests are hit: the fault was stopped or has reached its number of hits."""
        return self._is_stopped or (self._times is not None and self.hits >= self._times)

    def stop(self) -> None:
        """Hit no more requests; those already hit are not affected."""
        self._is_stopped = True

    def strike(self, request: RecordedRequest) -> bool:
        """Return whether a parsed request is hit, and count the hit; called by the server."""
        # The rate comes last: a request that does not match must not draw a number.
        if self.is_over or (self._provider is not None and request.provider != self._provider):
            return False
        if not self._effect.applies_to(request.action) or (self._when is not None and not self._when(request)):
            return False
        if self._rate is not None and self._rng.random() >= self._rate:
            return False
        self.hits += 1
        return True

    def rewrite(self, response: RawResponse) -> RawResponse:
        """Return the changed response to a request that is hit; called by the server.

        Raises:
            FaultFunctionError: `edit` raised an exception or returned a value that cannot be sent.
        """
        return _call(self, "edit", self._effect.edited, response)


class RecordedRequest(msgspec.Struct, kw_only=True):
    """One request received by the server.

    Attributes:
        time: When it was received (loop time).
        method: Its HTTP method.
        path: Its path.
        headers: Its headers, with the token; names are looked up in any case.
        body: Its decoded JSON, or None if it has no body that can be read.
        provider: The slug of its provider; empty for an unknown path.
        action: Its kind, or None if it was rejected before that was parsed.
        ids: The requested ids, the id of the submitted task once it exists, or that of the task that made a file.
        fault: The fault that hit it, or None.
        status: The HTTP status of the response, or None while there is none.
    """

    time: float
    method: str
    path: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    body: object = None
    provider: str = ""
    action: Action | None = None
    ids: tuple[str, ...] = ()
    fault: Fault | None = None
    status: int | None = None

    def __repr__(self) -> str:
        # Without the headers: a failed assertion prints this, and one of them is the token.
        content = "" if self.body is None else f" body={_excerpt(self.body)}"
        return f"<RecordedRequest {self.method} {self.path} at={self.time:g} status={self.status}{content}>"


class FaultFunctionError(Exception):
    """Raised when the `when` or `edit` function of a fault raises; never leaves the server.

    Attributes:
        cause: The exception that the function raised.
    """

    def __init__(self, fault: Fault, name: str, cause: BaseException) -> None:
        super().__init__(f"{name} of {fault!r} raised {type(cause).__name__}: {cause}")
        self.cause = cause


class FaultList:
    """Faults of one server, in the order of their creation; `seed` is the seed of their rates."""

    def __init__(self, *, seed: int) -> None:
        self._faults: list[Fault] = []
        self._seed = seed
        self._created = 0

    def __repr__(self) -> str:
        return f"<FaultList {self._faults!r}>"

    def add(
        self, effect: Effect, *, provider: str | None, times: int | None, rate: float | None, when: When | None
    ) -> Fault:
        """Add a fault.

        Raises:
            TypeError: A value has the wrong type.
            ValueError: A number is out of range.
            UnknownProviderError: The provider name is invalid.
        """
        # Each fault has its own generator, so no fault changes which requests another one hits.
        rng = random.Random(f"fault {self._created} of {self._seed}")
        fault = Fault(effect, provider=provider, times=times, rate=rate, when=when, rng=rng)
        self._created += 1
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Stop and remove all faults."""
        for fault in self._faults:
            fault.stop()
        self._faults.clear()

    def reset(self) -> None:
        """Stop and remove all faults, and draw the same random numbers for the next ones."""
        self.clear()
        self._created = 0

    def choose(self, request: RecordedRequest) -> Fault | None:
        """Return the first fault that hits a parsed request, and count the hit.

        Raises:
            FaultFunctionError: A `when` function raised an exception.
        """
        if not self._faults:
            return None
        self._faults = [fault for fault in self._faults if not fault.is_over]
        # A `when` function may add or clear faults, so a copy is iterated.
        return next((fault for fault in tuple(self._faults) if _call(fault, "when", fault.strike, request)), None)


def _call(fault: Fault, name: str, function: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
    """Call a function that calls the fault's function of this name, and wrap an exception that it raises."""
    try:
        return function(argument)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # `pytest.fail` and `pytest.skip` do not raise an Exception
        error.add_note(f"raised by {name} of {fault!r}, called by the simulated service")
        raise FaultFunctionError(fault, name, error) from error


def _excerpt(content: object) -> str:
    text = repr(content)
    return text if len(text) <= _BODY_EXCERPT else f"{text[:_BODY_EXCERPT]}..."


def _function_name(function: object) -> str | None:
    return None if function is None else getattr(function, "__qualname__", None) or repr(function)
