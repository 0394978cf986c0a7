"""The web application of a queue in RabbitMQ, taskiq: `python examples/workers/taskiq_web.py postgresql://... 8080`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from aiohttp import web
from orders import Enqueue, build_app
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
    web.run_app(build_app(sys.argv[1], open_queue), host="127.0.0.1", port=int(sys.argv[2]))
