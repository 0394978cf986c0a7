"""The order of submissions that wait, and what must not keep the others waiting."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import aiohttp
import pytest
from ledger_support import EPOCH, GatedStore
from support import now

import acetasks
from acetasks._http.aiohttp_backend import POOL_SIZE

if TYPE_CHECKING:
    from collections.abc import Awaitable

CAT = {"prompt": "a cat"}


async def time_of(call: Awaitable[object]) -> float:
    """Return the time at which a call has ended."""
    await call
    return now()


class TestOneKey:
    """Calls with one key, of which one submits it; others go on meanwhile."""

    @pytest.mark.parametrize("max_rate", [10, None], ids=["limited", "unlimited"])
    async def test_a_retry_does_not_wait_for_calls_that_wait_for_it(self, server, new_client, max_rate):
        """After a 429 the submission is sent again, however many calls with its key wait for its end."""
        server.fail("luma", status=429, headers={"Retry-After": "5"})
        policy = acetasks.PollPolicy(max_rate=max_rate)
        store = GatedStore(latency=0.01)
        async with new_client(policy=policy, journal=store) as client, asyncio.timeout(60):
            calls = [client.submit("luma", CAT, key="a") for _ in range(POOL_SIZE + 1)]
            handles = await asyncio.gather(*calls)
        assert len({handle.id for handle in handles}) == server.submissions == 1

    @pytest.mark.parametrize("max_rate", [10, None], ids=["limited", "unlimited"])
    async def test_calls_that_wait_for_a_key_hold_up_no_others(self, server, new_client, max_rate):
        """While a key is being submitted for long, other keys are sent."""
        server.fail("luma", hang=60)
        policy = acetasks.PollPolicy(max_rate=max_rate)
        async with new_client(policy=policy, journal=GatedStore()) as client, asyncio.TaskGroup() as group:
            for _ in range(POOL_SIZE + 1):
                group.create_task(client.submit("luma", CAT, key="a"))
            await asyncio.sleep(10)
            other = group.create_task(time_of(client.submit("luma", CAT, key="b")))
        assert other.result() < 15
        assert server.submissions == 2


class TestConnections:
    """Connections are held while a submission is sent, and not while it waits for anything else."""

    async def test_submissions_to_one_service_hold_up_no_other_service(self, new_client):
        """More than there are connections wait for the rate of a service; one to another service is sent at once."""
        policy = acetasks.PollPolicy(max_rate=1)
        async with new_client(policy=policy) as client:
            waiting = [asyncio.create_task(client.submit("luma", CAT)) for _ in range(2 * POOL_SIZE)]
            await asyncio.sleep(5)
            assert await time_of(client.submit("useapi-pixverse", CAT)) < 7
            for submitting in waiting:
                submitting.cancel()

    async def test_refused_submissions_hold_no_connection_until_their_retry(self, server, new_client):
        """As many as there are connections wait as the service requests; one to another service is sent at once."""
        server.fail("luma", status=429, headers={"Retry-After": "50"}, times=POOL_SIZE)
        async with new_client() as client:
            waiting = [asyncio.create_task(client.submit("luma", CAT)) for _ in range(POOL_SIZE)]
            await asyncio.sleep(5)
            assert await time_of(client.submit("useapi-pixverse", CAT)) < 7
            await asyncio.gather(*waiting)
        assert server.submissions == POOL_SIZE + 1

    @pytest.mark.parametrize("max_rate", [20, None], ids=["limited", "unlimited"])
    async def test_cancelled_submissions_keep_nothing(self, server, new_client, max_rate):
        """Wherever they were cancelled, as many as before can be under way at once."""
        rng = random.Random(1)
        policy = acetasks.PollPolicy(max_rate=max_rate)
        async with new_client(policy=policy, journal=GatedStore(latency=0.05)) as client:
            cancelled = [asyncio.create_task(client.submit("luma", CAT)) for _ in range(3 * POOL_SIZE)]
            for submitting in rng.sample(cancelled, len(cancelled)):
                await asyncio.sleep(rng.random() * 0.02)
                submitting.cancel()
            await asyncio.wait(cancelled)
            await asyncio.sleep(20)
            before = now()
            server.fail("luma", hang=30, times=POOL_SIZE)
            calls = [time_of(client.submit("luma", CAT)) for _ in range(POOL_SIZE)]
            assert max(await asyncio.gather(*calls)) < before + 40

    async def test_close_ends_every_submission_that_waits(self, server, new_client):
        """None of them is written down or waits for its turn any more."""
        store = GatedStore()
        policy = acetasks.PollPolicy(max_rate=1)
        async with new_client(policy=policy, journal=store) as client:
            waiting = [asyncio.create_task(client.submit("luma", CAT)) for _ in range(2 * POOL_SIZE)]
            await asyncio.sleep(5)
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert now() < 10
        sent = [end for end in ended if isinstance(end, acetasks.TaskHandle)]
        closed = [end for end in ended if isinstance(end, acetasks.ClientClosedError)]
        assert len(sent) == server.submissions < 10
        assert len(sent) + len(closed) == len(ended)


class TestOrder:
    """The order in which submissions to one service are sent."""

    async def test_a_retry_goes_before_submissions_that_were_not_sent_yet(self, server, new_client):
        """The first of many is refused: it does not wait for the rest."""
        server.fail("luma", status=429, headers={"Retry-After": "3"})
        policy = acetasks.PollPolicy(max_rate=1)
        async with new_client(policy=policy) as client:
            calls = [time_of(client.submit("luma", CAT)) for _ in range(20)]
            first, *others = await asyncio.gather(*calls)
        assert sum(time < first for time in others) <= 2

    async def test_an_intent_that_waited_for_a_pause_is_written_anew(self, server, new_client, monkeypatch):
        """A pause that begins between the intent and its turn costs no attempt: the intent is too old at its end."""
        monkeypatch.setattr("time.time", lambda: EPOCH + now())
        server.fail("luma", hang=1.05, status=429, headers={"Retry-After": "50"})
        policy, retry = acetasks.PollPolicy(max_rate=1), acetasks.RetryPolicy(attempts=1)
        async with new_client(policy=policy, retry=retry, journal=GatedStore(latency=0)) as client:
            first = asyncio.create_task(client.submit("luma", CAT))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(time_of(client.submit("luma", CAT)))
            with pytest.raises(acetasks.RateLimitError):
                await first
            assert await second > 50

    @pytest.mark.parametrize(("limit", "at_once"), [(2, 2), (0, POOL_SIZE + 20)], ids=["two", "unlimited"])
    async def test_a_session_of_the_user_has_its_own_limit(self, server, new_client, limit, at_once):
        """As many submissions are under way as its connector allows; aiohttp's 0 is no limit."""
        server.fail("luma", hang=30, times=None)
        connector = aiohttp.TCPConnector(limit=limit)
        async with aiohttp.ClientSession(connector=connector) as http, new_client(http=http) as client:
            calls = [asyncio.create_task(client.submit("luma", CAT)) for _ in range(POOL_SIZE + 20)]
            await asyncio.sleep(20)
            assert server.request_count == at_once
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
