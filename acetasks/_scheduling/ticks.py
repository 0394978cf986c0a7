"""Poll times on a common grid, so that the tasks of one client are polled together."""

from __future__ import annotations

import math

#: Ticks in the mean interval.
_TICKS = 5
#: Multipliers of SplitMix64 (Steele, Lea and Flood 2014).
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9)
_WORD = 2**64


def next_tick(now: float, interval: float, jitter: float, anchor: float = 0.0) -> float:
    """Return the next poll time under a fixed interval, which is stretched by part of its jitter to end at a tick.

    Each client has its own ticks, five in the mean interval, so that its requests are sent in small bursts: waking up a
    process for each single request costs several times as much. Every tick is shifted a little, as if at random, so
    that clients do not poll in step.

    Args:
        now: Time of the last poll.
        interval: Least seconds to the next poll.
        jitter: Fraction of the interval that may be added; never subtracted, to keep a documented minimum.
        anchor: Approximate time of one tick; different for each client.
    """
    earliest, latest = now + interval, now + interval * (1.0 + jitter)
    tick = interval * (1.0 + jitter / 2.0) / _TICKS
    shift = min(interval * jitter / 2.0, tick)
    if shift <= math.ulp(latest) or tick <= math.ulp(anchor):  # below the resolution of the clock
        return earliest
    number = math.floor((earliest - anchor - shift / 2.0) / tick)
    due = earliest - 1.0
    while due < earliest:
        due = anchor + number * tick + (hash_to_unit(number) - 0.5) * shift
        number += 1
    return min(due, latest)


def nearest_tick(now: float, step: float, jitter: float, tick: float, anchor: float = 0.0) -> float:
    """Return the tick nearest to a step from now.

    Tasks that were polled between the same two ticks and have the same step stay together.

    Args:
        now: Time of the last poll.
        step: Approximate seconds to the next poll.
        jitter: Fraction of the step that may be added, as if at random.
        tick: Seconds between two ticks; 0 for none. The result is never before half the step.
        anchor: Time of one tick, as in `next_tick`.
    """
    if tick <= math.ulp(now + step):  # below the resolution of the clock, every time is a tick
        return now + step
    step *= 1.0 + jitter * hash_to_unit(math.floor((now - anchor) / tick))
    due = anchor + round((now + step - anchor) / tick) * tick
    return due if due >= now + step / 2.0 else due + tick


def hash_to_unit(number: int) -> float:
    """Hash an integer to [0, 1], evenly distributed (a short form of SplitMix64)."""
    mixed = number * _MULTIPLIERS[0] % _WORD
    mixed = (mixed ^ mixed >> 29) * _MULTIPLIERS[1] % _WORD
    return (mixed ^ mixed >> 32) / _WORD
