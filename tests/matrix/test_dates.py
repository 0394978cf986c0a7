"""Tests that set the date, with freezegun and with time-machine."""

import asyncio
import datetime as dt
import time

import freezegun
import pytest
import time_machine

pytestmark = pytest.mark.asyncio

NEW_YEAR = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(params=["freezegun", "time-machine"])
def date(request):
    """Set the date before the server starts."""
    if request.param == "freezegun":
        with freezegun.freeze_time(NEW_YEAR):
            yield
    else:
        with time_machine.travel(NEW_YEAR, tick=False):
            yield


async def test_created_at_follows_the_date(date, ace_server, ace_client):
    """Tasks are created at the date of the test, and later ones as much later as the loop's time says."""
    first = await ace_client.wait("luma", ace_server.add("luma", after=600))
    later = asyncio.get_running_loop().time()
    second = await ace_client.wait("luma", ace_server.add("luma", after=600))
    assert first.created_at == pytest.approx(time.time(), abs=0.001)
    assert second.created_at == pytest.approx(NEW_YEAR.timestamp() + later, abs=0.001)
