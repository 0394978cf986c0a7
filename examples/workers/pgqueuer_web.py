"""The web application of a queue in PostgreSQL, pgqueuer: `python examples/workers/pgqueuer_web.py postgresql://...`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import web
from orders import Enqueue, build_app
from pgqueuer import Queries


@asynccontextmanager
async def open_queue(pool: asyncpg.Pool) -> AsyncIterator[Enqueue]:
    queries = Queries.from_asyncpg_pool(pool)

    async def enqueue(order_id: str) -> None:
        # While there is a job of this order, there is no second one.
        await queries.enqueue("fulfil", order_id.encode(), dedupe_key=order_id, on_conflict="skip")

    yield enqueue


if __name__ == "__main__":
    web.run_app(build_app(sys.argv[1], open_queue), host="127.0.0.1", port=int(sys.argv[2]))
