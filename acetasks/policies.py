"""The policies that steer a client: how tasks are polled, and how failed requests are retried."""

from __future__ import annotations

import math
import sys
from typing import Literal

import msgspec

#: The ways to choose when a task is asked again; see `PollPolicy.schedule`.
SCHEDULES = ("fixed", "proportional", "learned")


class PollPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a client asks. Times are in seconds of the event loop's clock.

    Attributes:
        interval: From one look at a task to the next; None takes each provider's own. A provider's documented
            minimum is kept either way.
        schedule: When a task is asked again. `fixed`: after the interval. `proportional`: after a part of its age, such
            that it is the interval when it is as old as usual tasks of its provider are at their ends; half of it at
            first, and up to four times as long. `learned`: no more often than `fixed` all in all, but when tasks of its
            kind are known to end, see `Durations`.
        jitter: The interval is stretched by a random part of this fraction of itself, never shortened, so that many
            clients do not ask in step.
        batch_size: Ids in one `retrieve_batch` request, at most. The service recommends no more than 50.
        linger: How long a new waiter's first look is held back so that others can share its request.
        max_in_flight: Requests under way at once, across all providers.
        start_rate: Looks a second under one token, to begin with. It is halved when the service says that it is too
            much (429), and climbs back as long as it does not. The service's documents allow 60. A second's worth may
            leave at once; what it holds up leaves a few at a time, up to a tenth of the interval late, unless the rate
            is cut.
        max_rate: Looks a second over all providers, at most; None leaves it to the service. Where that is less than
            the intervals would take, the next look is the one that it is worth most to make: at the ids for which the
            most waiting in vain has built up. Submissions are not held back by it.
        missing_polls: An id is not found after this many looks without a trace of it, and not before
            `missing_grace` either: services show a new task late.
        missing_grace: Seconds from the first look without a trace to not found, at least.
        unconfirmed_polls: A record that says neither done nor failed for sure (`success: false` alone) counts as
            failed once it has said so this many times in a row.
    """

    interval: float | None = None
    schedule: Literal["fixed", "proportional", "learned"] = "learned"
    jitter: float = 0.2
    batch_size: int = 50
    linger: float = 0.05
    max_in_flight: int = 8
    start_rate: float = 60.0
    max_rate: float | None = None
    missing_polls: int = 3
    missing_grace: float = 10.0
    unconfirmed_polls: int = 5

    def __post_init__(self) -> None:
        """Refuse numbers that no client could keep."""
        if self.interval is not None:
            _check("PollPolicy.interval", self.interval, above=0)
        if self.schedule not in SCHEDULES:
            raise ValueError(f"PollPolicy.schedule must be one of {', '.join(SCHEDULES)}, not {self.schedule!r}")
        _check("PollPolicy.jitter", self.jitter, least=0)
        _check_count("PollPolicy.batch_size", self.batch_size)
        _check("PollPolicy.linger", self.linger, least=0)
        _check_count("PollPolicy.max_in_flight", self.max_in_flight)
        _check("PollPolicy.start_rate", self.start_rate, above=0)
        if self.max_rate is not None:
            _check("PollPolicy.max_rate", self.max_rate, above=0)
        _check_count("PollPolicy.missing_polls", self.missing_polls)
        _check("PollPolicy.missing_grace", self.missing_grace, least=0)
        _check_count("PollPolicy.unconfirmed_polls", self.unconfirmed_polls)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a request that failed for a passing reason is sent again. Submissions never are, unless surely not sent.

    The delay after the n-th failure in a row is a random time between 0 and `base * 2 ** (n - 1)` seconds, at most
    `cap` (full jitter), and never less than a `Retry-After` the service gave. The service's documents advise 1, 2, 4,
    8, 16 s.

    While tasks are waited for there is no last attempt: they stay pending until the limit of each wait.

    Attributes:
        attempts: Failures in a row after which a provider counts as down: from then on one request at a time probes
            it, and the others wait. Also how often a single look, or a submission that surely did not arrive, is sent
            before its error is raised.
        base: Seconds.
        cap: Seconds.
        timeout: Seconds for one look to be answered, from its sending to the last byte.
        submit_timeout: Seconds for a submission; one without `async` is answered only when the task is done.
    """

    attempts: int = 4
    base: float = 1.0
    cap: float = 16.0
    timeout: float = 30.0
    submit_timeout: float = 600.0

    def __post_init__(self) -> None:
        """Refuse numbers that no client could keep."""
        _check_count("RetryPolicy.attempts", self.attempts)
        _check("RetryPolicy.base", self.base, least=0)
        _check("RetryPolicy.cap", self.cap, least=0)
        _check("RetryPolicy.timeout", self.timeout, above=0)
        _check("RetryPolicy.submit_timeout", self.submit_timeout, above=0)


def _check(name: str, value: float, *, least: float | None = None, above: float | None = None) -> None:
    """Refuse a number that is none, or out of its range.

    Raises:
        ValueError: With the name, the value and the range.
        TypeError: The value is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    is_in_range = (least is None or number >= least) and (above is None or number > above)
    if not math.isfinite(number) or not is_in_range:
        bound = f"at least {least:g}" if least is not None else f"more than {above:g}"
        raise ValueError(f"{name} must be {bound}, not {value!r}")


def _check_count(name: str, value: int) -> None:
    """Refuse what is no whole number of at least 1.

    Raises:
        ValueError: It is less.
        TypeError: It is no whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if not 1 <= value <= sys.maxsize:  # more is no number that anybody meant
        raise ValueError(f"{name} must be at least 1, not {value!r}")
