"""Distributions of task durations for the simulation of polling schedules.

Some are typical of real services, some are chosen to mislead a client that learns. Times are in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import msgspec

#: Returns a random duration, given the random source, the number of the task and its start time.
Draw = Callable[[Random, int, float], float]

#: Upper bounds of the mean delay relative to a fixed interval with as many polls: for learnable distributions, and for
#: all.
LEARNED, NOT_WORSE = 0.6, 1.1
#: Number of tasks before a distribution changes.
CHANGE_AT = 500


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of task durations, and what the client knows about it.

    Attributes:
        name: Name in the report.
        draw_duration: Returns a random duration.
        mean: Mean duration; at the start if the distribution changes.
        typical: Duration that the client assumes at first.
        interval: Mean poll interval.
        is_steady: Whether the distribution stays the same.
        has_end_time: Whether records have the end time; if not, it is only known to lie between two polls.
        bound: Upper bound of the mean delay relative to a fixed interval with as many polls.
    """

    name: str
    draw_duration: Draw
    mean: float
    typical: float = 150.0
    interval: float = 5.0
    is_steady: bool = True
    has_end_time: bool = True
    bound: float = NOT_WORSE


def lognormal(median: float, sigma: float) -> Draw:
    """Lognormal distribution."""
    return lambda rng, _number, _time: rng.lognormvariate(math.log(median), sigma)


def lognormal_mean(median: float, sigma: float) -> float:
    """Return the mean of a lognormal distribution."""
    return median * math.exp(sigma * sigma / 2.0)


def change(before: Draw, after: Draw) -> Draw:
    """One distribution for the first tasks, and another for the rest."""
    return lambda rng, number, time: (before if number < CHANGE_AT else after)(rng, number, time)


def mix(part: float, usual: Draw, other: Draw) -> Draw:
    """Mixture of two distributions; `part` is the share of the other one."""
    return lambda rng, number, time: (other if rng.random() < part else usual)(rng, number, time)


def normal(mean: float, deviation: float) -> Draw:
    """Normal distribution, limited to at least a tenth of the mean."""
    return lambda rng, _number, _time: max(rng.gauss(mean, deviation), mean / 10.0)


def uniform(least: float, most: float) -> Draw:
    """Uniform distribution."""
    return lambda rng, _number, _time: rng.uniform(least, most)


def drift(median: float, sigma: float, per_second: float) -> Draw:
    """Lognormal distribution whose median grows exponentially with time."""
    return lambda rng, _number, time: rng.lognormvariate(math.log(median) + per_second * time, sigma)


LAWS = (
    # Learnable distributions.
    Law(name="lognormal, narrow", draw_duration=lognormal(150, 0.2), mean=lognormal_mean(150, 0.2), bound=LEARNED),
    Law(name="lognormal", draw_duration=lognormal(150, 0.3), mean=lognormal_mean(150, 0.3), bound=LEARNED),
    Law(name="two modes", draw_duration=mix(0.5, normal(60, 6), normal(240, 20)), mean=150, bound=LEARNED),
    Law(name="all at once", draw_duration=uniform(120, 122), mean=121, bound=LEARNED),
    Law(
        name="useapi's minutes",
        draw_duration=lognormal(900, 0.3),
        mean=lognormal_mean(900, 0.3),
        typical=900,
        interval=30,
        has_end_time=False,
        bound=LEARNED,
    ),
    # Distributions that contain little information, or differ from the assumed duration.
    Law(name="lognormal, wide", draw_duration=lognormal(150, 0.5), mean=lognormal_mean(150, 0.5)),
    Law(name="exponential", draw_duration=lambda rng, _number, _time: rng.expovariate(1 / 150), mean=150),
    Law(name="heavy tail", draw_duration=lambda rng, _number, _time: 30 * rng.paretovariate(1.5), mean=90, typical=60),
    Law(name="seven times longer", draw_duration=lognormal(1050, 0.2), mean=lognormal_mean(1050, 0.2)),
    Law(name="seven times shorter", draw_duration=lognormal(21, 0.2), mean=lognormal_mean(21, 0.2)),
    Law(name="flux", draw_duration=lognormal(3, 0.2), mean=lognormal_mean(3, 0.2), typical=3, interval=2),
    Law(name="rare slow mode", draw_duration=mix(0.03, normal(90, 9), normal(1200, 200)), mean=123.3, typical=90),
    Law(name="two far modes", draw_duration=mix(0.5, normal(10, 1), normal(1000, 50)), mean=505, typical=60),
    Law(name="uniform", draw_duration=uniform(30, 150), mean=90, typical=90),
    Law(name="gamma", draw_duration=lambda rng, _number, _time: rng.gammavariate(3, 30), mean=90, typical=90),
    Law(
        name="weibull, ageing",
        draw_duration=lambda rng, _number, _time: rng.weibullvariate(100, 3),
        mean=100 * math.gamma(1 + 1 / 3),
        typical=90,
    ),
    Law(
        name="weibull, hardening",
        draw_duration=lambda rng, _number, _time: rng.weibullvariate(100, 0.7),
        mean=100 * math.gamma(1 + 1 / 0.7),
        typical=90,
    ),
    # Distributions that change.
    Law(name="drift", draw_duration=drift(150, 0.2, 0.01 / 60), mean=lognormal_mean(150, 0.2), is_steady=False),
    Law(
        name="jump down",
        draw_duration=change(lognormal(150, 0.2), lognormal(40, 0.2)),
        mean=lognormal_mean(150, 0.2),
        is_steady=False,
    ),
    Law(
        name="jump up",
        draw_duration=change(lognormal(40, 0.2), lognormal(150, 0.2)),
        mean=lognormal_mean(40, 0.2),
        is_steady=False,
    ),
)
