"""Flights: a request is cancelled once nobody wants anything of it."""

from __future__ import annotations

import asyncio

import pytest

from acetasks.entries import Batch, Entry
from acetasks.flights import Flight
from acetasks.providers import lookup


def leave(count: int) -> Flight:
    """Have a batch leave."""
    batch = Batch(Entry(("luma", f"t{number}")) for number in range(count))
    return Flight(lookup("luma"), batch, 5.0, 3, 0.25)


def test_it_is_the_place_of_its_batch() -> None:
    """All of it is wanted as it leaves, and it has not begun."""
    flight = leave(3)

    assert flight.batch.place is flight
    assert (flight.wanted, flight.task) == (3, None)
    assert (flight.sent_at, flight.rank, flight.draw) == (5.0, 3, 0.25)


async def test_it_is_cancelled_once_nobody_wants_any_of_it() -> None:
    """And not before."""
    flight = leave(2)
    flight.task = asyncio.create_task(asyncio.sleep(60.0))
    await asyncio.sleep(0)
    flight.lose()
    await asyncio.sleep(0)
    assert not flight.task.cancelling()
    flight.lose()

    with pytest.raises(asyncio.CancelledError):
        await flight.task


def test_one_that_has_not_begun_is_not_cancelled() -> None:
    """Somebody may come back until then."""
    flight = leave(1)
    flight.lose()

    assert (flight.wanted, flight.task) == (0, None)
