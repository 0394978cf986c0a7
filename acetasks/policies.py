"""Settings of a client: polling, retries of failed requests, and downloads."""

from __future__ import annotations

import math
import sys
from typing import Literal, get_args

import msgspec

_Schedule = Literal["fixed", "proportional", "learned"]


class PollPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for polling.

    Attributes:
        interval: Seconds between two polls of a task; None uses each provider's default. The minimum that a provider
            documents applies in either case.
        schedule: Rule for the next poll time of a task. `fixed`: one interval after the last poll. `proportional`: a
            fraction of the task's age, equal to the interval at the age at which tasks of the provider usually end;
            half the interval at least, four times the interval at most. `learned`: in total no more polls than
            `fixed`, placed at the ages at which tasks of the same kind have ended; see `Durations`.
        jitter: Random extension of each interval, as a maximum fraction of it, so that many clients do not poll in
            step. An interval is never shortened.
        batch_size: Maximum number of ids in one `retrieve_batch` request. The service recommends at most 50.
        linger: Seconds by which the first poll of a new task is delayed, so that tasks added meanwhile share its
            request. A poll after a callback is delayed by half of it at most, so that other callbacks share it.
        callback_interval: Seconds between two polls of a task while its callback is expected (`Client(callbacks=)`);
            None uses the provider's typical duration, from 60 to 900.
        max_in_flight: Maximum number of poll requests in flight, over all providers.
        start_rate: Initial limit of poll requests a second under one token; the service documents 60. The limit is
            halved at each HTTP 429 and then recovers slowly. Bursts may use one second's worth at once. Polls that
            the limit delays are sent a few at a time, at most a tenth of the interval late unless the rate is cut.
        max_rate: Maximum number of requests to each service in any second, as that counts them: polls, submissions and
            all others but downloads. None sets no maximum. They are sent evenly, at 89 to 91 % of this rate, so that
            it is kept although the network delays some by up to 0.1 s more than others. Polls, submissions and other
            requests that wait take turns, submissions in the order of the calls; of polls the ones with the highest
            expected delay are first. Of a limit that several processes share, give each a whole number as its share.
        missing_polls: Minimum number of polls in a row without a record before a task counts as not found.
        missing_grace: Minimum seconds since the first of these polls before a task counts as not found. Services
            list a new task with a delay.
        unconfirmed_polls: Number of polls in a row with an unconfirmed failure (`success: false` and no final state)
            after which a task counts as failed; also the number of polls in a row with a complete record that cannot
            be read, after which its wait ends with `ProtocolError`.
    """

    interval: float | None = None
    schedule: _Schedule = "learned"
    jitter: float = 0.2
    batch_size: int = 50
    linger: float = 0.05
    callback_interval: float | None = None
    max_in_flight: int = 8
    start_rate: float = 60.0
    max_rate: float | None = None
    missing_polls: int = 3
    missing_grace: float = 10.0
    unconfirmed_polls: int = 5

    def __post_init__(self) -> None:
        if self.interval is not None:
            _check("PollPolicy.interval", self.interval, above=0)
        if self.schedule not in get_args(_Schedule):
            choices = ", ".join(get_args(_Schedule))
            raise ValueError(f"PollPolicy.schedule must be one of {choices}, got {self.schedule!r}")
        _check("PollPolicy.jitter", self.jitter, least=0)
        _check_count("PollPolicy.batch_size", self.batch_size)
        _check("PollPolicy.linger", self.linger, least=0)
        if self.callback_interval is not None:
            _check("PollPolicy.callback_interval", self.callback_interval, above=0)
        _check_count("PollPolicy.max_in_flight", self.max_in_flight)
        _check("PollPolicy.start_rate", self.start_rate, above=0)
        if self.max_rate is not None:
            _check("PollPolicy.max_rate", self.max_rate, above=0)
        _check_count("PollPolicy.missing_polls", self.missing_polls)
        _check("PollPolicy.missing_grace", self.missing_grace, least=0)
        _check_count("PollPolicy.unconfirmed_polls", self.unconfirmed_polls)


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for retries after transient failures, and request timeouts.

    The delay after the n-th failure in a row is random between 0 and `base * 2 ** (n - 1)` seconds, at most `cap`
    (exponential backoff with full jitter), and at least the service's `Retry-After`, up to `max_retry_after`. The
    service's documentation advises 1, 2, 4, 8, 16 s.

    Waits retry until their timeout. A submission is retried only if it certainly did not reach the service, or was
    refused because of too many requests (HTTP 429).

    Attributes:
        attempts: Number of failures in a row after which a provider counts as down; it is then polled by one probe
            request at a time until one succeeds. Also the maximum number of attempts of a `retrieve`, and of a
            submission that did not reach the service or was refused with HTTP 429.
        base: Backoff after the first failure, in seconds.
        cap: Maximum backoff, in seconds.
        timeout: Seconds from sending a poll to the last byte of its response.
        submit_timeout: Seconds for a submission; with `async: false` the service responds when the task is done.
        max_retry_after: Maximum seconds that a `Retry-After` of the service is kept, so that one absurd value cannot
            stop polling for a day; then the next request shows whether the service responds again.
    """

    attempts: int = 4
    base: float = 1.0
    cap: float = 16.0
    timeout: float = 30.0
    submit_timeout: float = 600.0
    max_retry_after: float = 300.0

    def __post_init__(self) -> None:
        _check_count("RetryPolicy.attempts", self.attempts)
        _check("RetryPolicy.base", self.base, least=0)
        _check("RetryPolicy.cap", self.cap, least=0)
        _check("RetryPolicy.timeout", self.timeout, above=0)
        _check("RetryPolicy.submit_timeout", self.submit_timeout, above=0)
        _check("RetryPolicy.max_retry_after", self.max_retry_after, least=0)


class DownloadPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Settings for downloads of artifacts.

    Attributes:
        concurrency: Maximum number of files that are downloaded at once.
        attempts: Number of failures in a row, without a new byte, after which a download fails.
        timeout: Seconds without a connection or a new byte after which an attempt has failed.
        max_bytes: Maximum size of a file.
        allow_private: Whether files may be on hosts with private addresses, such as this machine. The host of the
            client's base URL always may.
    """

    concurrency: int = 4
    attempts: int = 5
    timeout: float = 30.0
    max_bytes: int = 4 * 1024**3
    allow_private: bool = False

    def __post_init__(self) -> None:
        _check_count("DownloadPolicy.concurrency", self.concurrency)
        _check_count("DownloadPolicy.attempts", self.attempts)
        _check("DownloadPolicy.timeout", self.timeout, above=0)
        _check_count("DownloadPolicy.max_bytes", self.max_bytes)


def _check(name: str, value: float, *, least: float | None = None, above: float | None = None) -> None:
    """Check that a setting is a finite number in its range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least:g}, got {value!r}")
    if above is not None and number <= above:
        raise ValueError(f"{name} must be more than {above:g}, got {value!r}")


def _check_count(name: str, value: int) -> None:
    """Check that a setting is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    if value > sys.maxsize:
        raise ValueError(f"{name} must be at most {sys.maxsize}, got {value!r}")
