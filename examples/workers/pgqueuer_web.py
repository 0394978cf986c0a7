"""The web application of a queue in PostgreSQL, pgqueuer: `DATABASE_URL=... python pgqueuer_web.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from orders import Enqueue, run_app
from pgqueuer import Queries


@asynccontextmanager
async def open_queue(pool: asyncpg.Pool) -> AsyncIterator[Enqueue]:
    queries = Queries.from_asyncpg_pool(pool)

    async def enqueue(order_id: str) -> None:
        # While there is a job of this order, there is no second one.
        await queries.enqueue("fulfil", order_id.encode(), dedupe_key=order_id, on_conflict="skip")

    yield enqueue


if __name__ == "__main__":
    run_app(open_queue)
