"""The faults: what goes wrong, with which requests and how often, as a test's author has scripted it.

An `Effect` is what happens to a request, a `Fault` is an effect with the requests that it is for, and `Faults` are
those of one server, of which each request is hit by one at most. This room decides and rewrites; how bytes then leave
is in `delivery`.
"""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from acetasks.providers.table import lookup
from acetasks.testing.answers import build_page, build_refusal
from acetasks.testing.checks import check_count, check_number
from acetasks.testing.delivery import BODILESS_STATUSES, Letter, Manner
from acetasks.testing.desk import Action

if TYPE_CHECKING:
    from acetasks.providers.spec import Service
    from acetasks.testing.reception import RecordedRequest

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")

#: Says which requests are hit.
When = Callable[["RecordedRequest"], bool]
#: Changes the decoded JSON of an answer.
Edit = Callable[[object], object]

#: Characters of a body that a repr shows.
_TOLD_BODY = 40
_LEAST_STATUS = 200  # anything below is no answer yet
_LAST_STATUS = 599
_FIRST_ERROR = 400
_BATCHES = frozenset({Action.RETRIEVE_BATCH, Action.HISTORY})


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a request that is hit.

    Attributes:
        status: The HTTP status of the answer; None means that of the real answer, or 200 with a body.
        body: What is sent instead of the real answer, as bytes, text, or anything to be encoded as JSON; None means
            nothing of the kind.
        edit: Changes the decoded JSON of the real answer; None means that it stays.
        limit: How many records a batch answer has at most; None means all.
        manner: How the answer leaves.
    """

    status: int | None = None
    body: object = None
    edit: Edit | None = None
    limit: int | None = None
    manner: Manner = Manner()

    def __post_init__(self) -> None:
        """Refuse what no answer can be, and what would not be seen.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A number is out of its range, or two values contradict each other.
        """
        # 1. Each value by itself.
        check_count("status", self.status, least=_LEAST_STATUS)
        if self.status is not None and self.status > _LAST_STATUS:
            raise ValueError(f"status must be at most {_LAST_STATUS}, not {self.status!r}")
        check_count("limit", self.limit, least=0)
        _check_function("edit", self.edit)
        if self.body is not None:
            msgspec.structs.force_setattr(self, "body", _encode_body(self.body))
        # 2. Nothing at all.
        if self.manner == Manner() and (self.status, self.body, self.edit, self.limit) == (None,) * 4:
            raise ValueError("a fault needs something that goes wrong: give status, body, hang, reset or another")
        # 3. What replaces the real answer leaves nothing of it to change.
        if self.body is not None and self.edit is not None:
            raise ValueError("edit changes the real answer and body replaces it: give one of them")
        if self.limit is not None and self.replaces:
            raise ValueError("limit cuts the real answer, and status or body replaces it: leave limit out")
        if self.status in BODILESS_STATUSES and (self.body or self.edit):
            raise ValueError(f"an answer of status {self.status} has no body: leave body and edit out")
        # 4. What happens to an answer that nobody gets would not be seen; nor to a body that there is not.
        if self.manner.is_silent and (unseen := self._name_unseen()):
            never = self.manner.hang == math.inf
            reason = "hang=math.inf never answers" if never else "reset sends nothing without truncate"
            raise ValueError(f"{unseen} would not be seen, because {reason}: leave {unseen} out")
        if self.manner.needs_body and self._is_bodiless:
            raise ValueError("truncate, drip and split need a body, which this answer has not: give body as well")

    @property
    def replaces(self) -> bool:
        """Whether the request is answered without being processed."""
        return self.edit is None and (self.status is not None or self.body is not None)

    @property
    def _is_bodiless(self) -> bool:
        if self.status in BODILESS_STATUSES or self.body == b"":
            return True
        return self.replaces and self.body is None and self.status is not None and self.status < _FIRST_ERROR

    def _name_unseen(self) -> str:
        """Name what an answer that is not sent cannot show; empty if there is nothing of the kind."""
        named = {
            "edit": self.edit,
            "limit": self.limit,
            "headers": self.manner.headers,
            "truncate": self.manner.truncate,
            "drip": self.manner.drip,
            "split": self.manner.split,
            "reset": True if self.manner.reset and self.manner.hang == math.inf else None,
        }
        return " and ".join(name for name, value in named.items() if value is not None)

    def concerns(self, action: Action | None) -> bool:
        """Tell whether the effect can show on a request for this."""
        return self.limit is None or action in _BATCHES

    def replace(self, service: Service, trace_id: str) -> Letter:
        """Write what is sent instead of the real answer.

        Args:
            service: The service that is asked.
            trace_id: The id of the request, for an error of the service's.

        Returns:
            The answer.
        """
        status = 200 if self.status is None else self.status
        # 1. What was given.   2. Nothing, where there is no error.   3. A gateway's word.   4. The service's.
        if isinstance(self.body, bytes):
            return Letter(status=status, content=self.body)
        if status < _FIRST_ERROR:
            return Letter(status=status, content=b"")
        page = build_page(status)
        if page is not None:
            return Letter(status=status, content=page.encode(), content_type="text/html")
        answer = build_refusal(service, status).answer(service, trace_id)
        return Letter(status=status, content=msgspec.json.encode(answer.body))

    def rewrite(self, letter: Letter) -> Letter:
        """Change the real answer.

        Args:
            letter: The real answer.

        Returns:
            What is sent.
        """
        if self.edit is None:
            return letter
        edited = self.edit(msgspec.json.decode(letter.content))
        if edited is None:
            raise TypeError("edit returned None: return the changed answer, or b'null' for a body of null")
        status = letter.status if self.status is None else self.status
        content = bytes(edited) if isinstance(edited, bytes | bytearray | memoryview) else msgspec.json.encode(edited)
        return Letter(status=status, content=content)


class Fault:
    """Something that goes wrong with some requests; `AceServer.fail` scripts one.

    Attributes:
        hits: How many requests it has hit.
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
        """Script a fault; tests have `AceServer.fail` do so.

        Args:
            effect: What happens to a request that is hit.
            provider: The slug of the provider whose requests are hit; None means every request.
            times: How many requests are hit; None means all until it is stopped.
            rate: The share of those requests that is hit; None means all.
            when: Says which of those requests are hit; None means all.
            rng: Where the share is drawn from.

        Raises:
            TypeError: A value is of the wrong kind.
            ValueError: A number is out of its range.
            UnknownProviderError: The provider's name can be none.
        """
        check_count("times", times, least=1)
        check_number("rate", rate)
        if rate is not None and not 0 < rate <= 1:
            raise ValueError(f"rate must be a share above 0 and up to 1, not {rate!r}")
        _check_function("when", when)
        self.hits = 0
        self._effect = effect
        self._provider = None if provider is None else lookup(provider).slug
        self._times = times
        self._rate = rate
        self._when = when
        self._rng = rng
        self._is_stopped = False

    def __repr__(self) -> str:
        """Tell whom it hits and with what, how often it has, and whether it still does."""
        effect, manner = self._effect, self._effect.manner
        told: dict[str, object] = {
            "status": effect.status,
            "body": None if effect.body is None else _excerpt(effect.body),
            "edit": _name_function(effect.edit),
            "limit": effect.limit,
            "headers": manner.headers,
            "hang": manner.hang,
            "reset": manner.reset or None,
            "truncate": manner.truncate,
            "drip": manner.drip,
            "split": manner.split,
            "rate": self._rate,
            "when": _name_function(self._when),
            "times": self._times,
        }
        words = [
            self._provider or "everywhere",
            *(f"{key}={value}" for key, value in told.items() if value is not None),
        ]
        state = " stopped" if self._is_stopped else " used up" if self.is_over else ""
        return f"<Fault {' '.join(words)} hits={self.hits}{state}>"

    @property
    def effect(self) -> Effect:
        """What happens to a request that is hit."""
        return self._effect

    def rewrite(self, letter: Letter) -> Letter:
        """Change the real answer to a request that is hit; the server asks.

        Args:
            letter: The real answer.

        Returns:
            What is sent.

        Raises:
            FaultyFunctionError: The `edit` has raised something, or returned nothing that can be sent.
        """
        return _call(self, "edit", self._effect.rewrite, letter)

    @property
    def is_over(self) -> bool:
        """Whether it hits nothing more: it was stopped, or has hit as many requests as it was to."""
        return self._is_stopped or (self._times is not None and self.hits >= self._times)

    def stop(self) -> None:
        """Hit nothing more; a request that is hit already goes on as scripted."""
        self._is_stopped = True

    def strike(self, request: RecordedRequest) -> bool:
        """Decide whether a request is hit, and count it if it is; the server asks.

        Args:
            request: The request, as far as it was understood.

        Returns:
            Whether it is hit.
        """
        # Chance comes last: a request that is not for this fault must draw nothing.
        if self.is_over or (self._provider is not None and request.provider != self._provider):
            return False
        if not self._effect.concerns(request.action) or (self._when is not None and not self._when(request)):
            return False
        if self._rate is not None and self._rng.random() >= self._rate:
            return False
        self.hits += 1
        return True


class FaultyFunctionError(Exception):
    """Raised when a function that a fault was given has raised something; never leaves the server.

    Attributes:
        cause: What was raised.
    """

    def __init__(self, fault: Fault, name: str, cause: BaseException) -> None:
        super().__init__(f"{name} of {fault!r} raised {type(cause).__name__}: {cause}")
        self.cause = cause


class Faults:
    """The faults of one server, in the order in which they were scripted."""

    def __init__(self, *, seed: int) -> None:
        """Begin with none.

        Args:
            seed: Of all that is drawn.
        """
        self._faults: list[Fault] = []
        self._seed = seed
        self._number = 0

    def __repr__(self) -> str:
        return f"<Faults {self._faults!r}>"

    def add(
        self, effect: Effect, *, provider: str | None, times: int | None, rate: float | None, when: When | None
    ) -> Fault:
        """Script a fault, to be tried after those that there are.

        Args:
            effect: What happens to a request that is hit.
            provider: As for `Fault`.
            times: As for `Fault`.
            rate: As for `Fault`.
            when: As for `Fault`.

        Returns:
            The fault.

        Raises:
            TypeError: As for `Fault`.
            ValueError: As for `Fault`.
            UnknownProviderError: As for `Fault`.
        """
        # Each draws by itself, so that none changes whom another hits, and no two hit and spare the same requests.
        rng = random.Random(f"fault {self._number} of {self._seed}")
        fault = Fault(effect, provider=provider, times=times, rate=rate, when=when, rng=rng)
        self._number += 1
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Stop and forget them all."""
        for fault in self._faults:
            fault.stop()
        self._faults.clear()

    def choose(self, request: RecordedRequest) -> Fault | None:
        """Choose the fault that hits a request, and count the hit.

        Args:
            request: The request, as far as it was understood.

        Returns:
            The first that hits it, or None.

        Raises:
            FaultyFunctionError: The `when` of one has raised something.
        """
        if not self._faults:
            return None
        self._faults = [fault for fault in self._faults if not fault.is_over]
        # A `when` may script or clear faults: those that there are now are asked.
        return next((fault for fault in tuple(self._faults) if _call(fault, "when", fault.strike, request)), None)


def _call(fault: Fault, name: str, function: Callable[[_Argument], _Result], argument: _Argument) -> _Result:
    """Call what calls a function of the author's.

    Raises:
        FaultyFunctionError: It has raised something.
    """
    try:
        return function(argument)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # `pytest.fail` and `pytest.skip` raise no Exception
        error.add_note(f"raised by {name} of {fault!r}, when the simulated service called it")
        raise FaultyFunctionError(fault, name, error) from error


def _encode_body(body: object) -> bytes:
    """Encode what is sent instead of an answer.

    Raises:
        TypeError: It is nothing that can be sent.
    """
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError) as error:
        raise TypeError(f"body must be bytes, text, or what JSON can say, not {body!r}: {error}") from error


def _check_function(name: str, function: object) -> None:
    """Refuse what cannot be called, or would have to be awaited; None is nothing to refuse.

    Raises:
        TypeError: It cannot be called, or is a coroutine function.
    """
    if function is None:
        return
    if not callable(function):
        raise TypeError(f"{name} must be a function, not {function!r}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} must be a plain function, not the coroutine function {function!r}: it is not awaited")


def _excerpt(content: object) -> str:
    text = repr(content)
    return text if len(text) <= _TOLD_BODY else f"{text[:_TOLD_BODY]}..."


def _name_function(function: object) -> str | None:
    return None if function is None else getattr(function, "__qualname__", None) or repr(function)
