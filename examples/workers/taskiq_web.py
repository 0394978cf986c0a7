"""The web application of a queue in RabbitMQ, taskiq: `DATABASE_URL=... python taskiq_web.py`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from orders import Enqueue, run_app
from taskiq_worker import broker, fulfil


@asynccontextmanager
async def open_queue(_: asyncpg.Pool) -> AsyncIterator[Enqueue]:
    await broker.startup()
    try:
        # An order that is posted twice has two jobs. The second finds the order ended, or waits for the same task.
        yield fulfil.kiq
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    run_app(open_queue)
