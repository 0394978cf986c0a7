"""Request limits: backoff, rate limits, circuit breakers and batch sizes. Pure: no clock, no I/O, no randomness.

A `jitter_sample` is a random number in [0, 1). `sent_at` is the time at which a poll started.
"""

from acetasks._limits.backoff import full_jitter
from acetasks._limits.poll_budget import PollBudget
from acetasks._limits.refusals import CONFIRM_AFTER, ErrorScope, scope_of
from acetasks._limits.throttle import SPREAD, PollSummary, Throttle
from acetasks._limits.turns import RequestKind

__all__ = [
    "CONFIRM_AFTER",
    "SPREAD",
    "ErrorScope",
    "PollBudget",
    "PollSummary",
    "RequestKind",
    "Throttle",
    "full_jitter",
    "scope_of",
]
