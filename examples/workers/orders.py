"""The orders of the service: their table, and the web application that takes them, whatever queue the workers have.

`python orders.py` creates the table in the database that DATABASE_URL names.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import asyncpg
import msgspec
from aiohttp import web

# open: to be done. succeeded, failed: the task has ended, and is paid for. error: refused, or the token or the balance
# does not do; the same order, posted again, is tried again.
SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    id text PRIMARY KEY,
    provider text NOT NULL,
    payload jsonb NOT NULL,
    state text NOT NULL DEFAULT 'open',
    result jsonb
)
"""
PLACE = """
INSERT INTO orders (id, provider, payload) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET state = CASE orders.state WHEN 'error' THEN 'open' ELSE orders.state END
WHERE orders.provider = $2 AND orders.payload = $3
RETURNING state
"""
Enqueue = Callable[[str], Awaitable[object]]
OpenQueue = Callable[[asyncpg.Pool], AbstractAsyncContextManager[Enqueue]]


class Order(msgspec.Struct):
    """The body of a POST. The caller chooses the id, so that it can post the same order again."""

    id: str
    provider: str
    payload: dict[str, object]


class Service(NamedTuple):
    """What the handlers need."""

    pool: asyncpg.Pool
    enqueue: Enqueue


SERVICE = web.AppKey("service", Service)


async def create_table(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


async def place(pool: asyncpg.Pool, order_id: str, provider: str, payload: Mapping[str, object]) -> str | None:
    """Insert an order that is new, and return its state; None if the id has another provider or payload."""
    state: str | None = await pool.fetchval(PLACE, order_id, provider, json.dumps(payload))
    return state


async def post_order(request: web.Request) -> web.Response:
    # The order is written down, and then enqueued. 202 says that both are done; after any other end the caller posts
    # the order again, under the same id, which is always safe.
    service = request.app[SERVICE]
    try:
        order = msgspec.json.decode(await request.read(), type=Order)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    state = await place(service.pool, order.id, order.provider, order.payload)
    if state is None:
        raise web.HTTPConflict(text="this id has another provider or payload")
    if state == "open":
        await service.enqueue(order.id)
    return web.json_response({"id": order.id, "state": state}, status=202)


async def get_order(request: web.Request) -> web.Response:
    pool, order_id = request.app[SERVICE].pool, request.match_info["id"]
    row = await pool.fetchrow("SELECT state, result FROM orders WHERE id = $1", order_id)
    if row is None:
        raise web.HTTPNotFound
    return web.json_response({"state": row["state"], "result": row["result"] and json.loads(row["result"])})


def build_app(url: str, open_queue: OpenQueue) -> web.Application:
    async def open_all(app: web.Application) -> AsyncIterator[None]:
        async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool, open_queue(pool) as enqueue:
            app[SERVICE] = Service(pool, enqueue)
            yield

    app = web.Application()
    app.cleanup_ctx.append(open_all)
    app.add_routes([web.post("/orders", post_order), web.get("/orders/{id}", get_order)])
    return app


def run_app(open_queue: OpenQueue) -> None:
    port = int(os.environ.get("PORT", "8080"))
    web.run_app(build_app(os.environ["DATABASE_URL"], open_queue), host="127.0.0.1", port=port)


if __name__ == "__main__":
    asyncio.run(create_table(os.environ["DATABASE_URL"]))
