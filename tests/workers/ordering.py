"""The callers of the example's web application, and the application itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
import asyncpg
from aiohttp import web
from counts import Order

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fleet import Fleet

#: Orders that are placed at once where it does not matter when.
_AT_A_TIME = 50


@contextlib.asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[str]:
    """Run a web application, and give its URL."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def place_orders(app: str, count: int) -> None:
    """Post orders to a web application, some at a time, until all are taken."""
    async with aiohttp.ClientSession(app) as http:
        for first in range(0, count, _AT_A_TIME):
            some = range(first, min(count, first + _AT_A_TIME))
            await asyncio.gather(*(place(http, f"order-{number}", 0.0) for number in some))


async def wait_until_ended(url: str, patience: float, fleet: Fleet | None = None) -> None:
    """Wait until every order has ended, but not for longer; workers that end meanwhile are started again."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while await pool.fetchval("SELECT count(*) FROM orders WHERE state = 'open'"):
                if fleet is not None:
                    await fleet.revive()
                await asyncio.sleep(0.5)
    await pool.close()


async def place(http: aiohttp.ClientSession, order_id: str, delay: float) -> None:
    """Post an order after a while, again and again until it is taken, as a careful caller does."""
    await asyncio.sleep(delay)
    order = {"id": order_id, "provider": "luma", "payload": {"prompt": order_id}}
    while True:
        async with http.post("/orders", json=order) as response:
            if response.status == 202:
                return
        await asyncio.sleep(0.2)


async def read(http: aiohttp.ClientSession, order_id: str) -> Order:
    """Ask for an order."""
    async with http.get(f"/orders/{order_id}") as response:
        body = await response.json()
    return Order(body["state"], (body["result"] or {}).get("task"))
