"""How long tasks take: the laws that schedules of looks are tried on, apart from how they are played.

Some are what services are known to do, some what would mislead a client that learns. Times are in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import msgspec

#: Gives the duration of one task: by the randomness, its number among all, and when it begins, from the start.
Draw = Callable[[Random, int, float], float]

#: How late looks may be on average, as a part of what a fixed interval makes of as many: where there is something to
#: learn, and anywhere else.
LEARNED, NOT_WORSE = 0.6, 1.1
#: Where a law changes halfway, so many tasks are of the law before.
TURN = 500


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """A law of durations, and what a client is told of it.

    Attributes:
        name: What it is called.
        draw: Gives the duration of one task.
        mean: The mean duration; of a law that changes, at the start.
        typical: The duration that the client takes for usual.
        interval: From one look to the next, on average.
        is_steady: Whether it stays as it is.
        is_told: Whether the service tells when a task ended; if not, it is known to within the last looks only.
        promise: The mean lateness to stay below, as a part of that of a fixed interval at as many looks.
    """

    name: str
    draw: Draw
    mean: float
    typical: float = 150.0
    interval: float = 5.0
    is_steady: bool = True
    is_told: bool = True
    promise: float = NOT_WORSE


def lognormal(median: float, sigma: float) -> Draw:
    """Durations around a median, each as likely to be some times longer as some times shorter."""
    return lambda rng, _number, _time: rng.lognormvariate(math.log(median), sigma)


def lognormal_mean(median: float, sigma: float) -> float:
    """Tell the mean of such."""
    return median * math.exp(sigma * sigma / 2.0)


def turn(before: Draw, after: Draw) -> Draw:
    """Durations by one law for the first tasks, and by another for the rest."""
    return lambda rng, number, time: (before if number < TURN else after)(rng, number, time)


def mix(part: float, usual: Draw, other: Draw) -> Draw:
    """Durations by one law, but for a part of the tasks by another."""
    return lambda rng, number, time: (other if rng.random() < part else usual)(rng, number, time)


def normal(mean: float, deviation: float) -> Draw:
    """Durations around a mean; never less than a tenth of it."""
    return lambda rng, _number, _time: max(rng.gauss(mean, deviation), mean / 10.0)


def uniform(least: float, most: float) -> Draw:
    """Durations between two bounds, all as likely."""
    return lambda rng, _number, _time: rng.uniform(least, most)


def drift(median: float, sigma: float, per_second: float) -> Draw:
    """Durations around a median that grows from task to task, by a part of itself for each second that goes by."""
    return lambda rng, _number, time: rng.lognormvariate(math.log(median) + per_second * time, sigma)


LAWS = (
    # What can be learned.
    Law(name="lognormal, narrow", draw=lognormal(150, 0.2), mean=lognormal_mean(150, 0.2), promise=LEARNED),
    Law(name="lognormal", draw=lognormal(150, 0.3), mean=lognormal_mean(150, 0.3), promise=LEARNED),
    Law(name="two modes", draw=mix(0.5, normal(60, 6), normal(240, 20)), mean=150, promise=LEARNED),
    Law(name="all at once", draw=uniform(120, 122), mean=121, promise=LEARNED),
    Law(
        name="useapi's minutes",
        draw=lognormal(900, 0.3),
        mean=lognormal_mean(900, 0.3),
        typical=900,
        interval=30,
        is_told=False,
        promise=LEARNED,
    ),
    # What tells little, or something else than the client takes for usual.
    Law(name="lognormal, wide", draw=lognormal(150, 0.5), mean=lognormal_mean(150, 0.5)),
    Law(name="exponential", draw=lambda rng, _number, _time: rng.expovariate(1 / 150), mean=150),
    Law(name="heavy tail", draw=lambda rng, _number, _time: 30 * rng.paretovariate(1.5), mean=90, typical=60),
    Law(name="seven times longer", draw=lognormal(1050, 0.2), mean=lognormal_mean(1050, 0.2)),
    Law(name="seven times shorter", draw=lognormal(21, 0.2), mean=lognormal_mean(21, 0.2)),
    Law(name="flux", draw=lognormal(3, 0.2), mean=lognormal_mean(3, 0.2), typical=3, interval=2),
    Law(name="rare slow mode", draw=mix(0.03, normal(90, 9), normal(1200, 200)), mean=123.3, typical=90),
    Law(name="two far modes", draw=mix(0.5, normal(10, 1), normal(1000, 50)), mean=505, typical=60),
    Law(name="uniform", draw=uniform(30, 150), mean=90, typical=90),
    Law(name="gamma", draw=lambda rng, _number, _time: rng.gammavariate(3, 30), mean=90, typical=90),
    Law(
        name="weibull, ageing",
        draw=lambda rng, _number, _time: rng.weibullvariate(100, 3),
        mean=100 * math.gamma(1 + 1 / 3),
        typical=90,
    ),
    Law(
        name="weibull, hardening",
        draw=lambda rng, _number, _time: rng.weibullvariate(100, 0.7),
        mean=100 * math.gamma(1 + 1 / 0.7),
        typical=90,
    ),
    # What changes.
    Law(name="drift", draw=drift(150, 0.2, 0.01 / 60), mean=lognormal_mean(150, 0.2), is_steady=False),
    Law(
        name="jump down",
        draw=turn(lognormal(150, 0.2), lognormal(40, 0.2)),
        mean=lognormal_mean(150, 0.2),
        is_steady=False,
    ),
    Law(
        name="jump up",
        draw=turn(lognormal(40, 0.2), lognormal(150, 0.2)),
        mean=lognormal_mean(40, 0.2),
        is_steady=False,
    ),
)
