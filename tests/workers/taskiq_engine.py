"""The example with taskiq over RabbitMQ, for the harness."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

import aio_pika
import rabbitmq_support
from orders import build_app
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import run_worker

if TYPE_CHECKING:
    from aiohttp import web
    from places import Place


class TaskiqEngine:
    """taskiq, with queues of a random name in the RabbitMQ that happens to run."""

    async def prepare(self, place: Place) -> None:
        """Say where the queue is: the example declares it."""
        os.environ |= {
            "DATABASE_URL": place.url,
            "RABBITMQ_URL": f"{rabbitmq_support.URL}?heartbeat=3",
            "ORDERS_QUEUE": place.queue,
        }

    def build_web(self, place: Place) -> web.Application:
        """Return the application of taskiq_web.py."""
        # The example reads the environment on import, and this process may run it for several places.
        for name in ("taskiq_worker", "taskiq_web"):
            sys.modules.pop(name, None)
        return build_app(place.url, importlib.import_module("taskiq_web").open_queue)

    def run_worker(self, place: Place) -> None:
        """Run the command in taskiq_worker.py."""
        os.environ["DATABASE_URL"] = place.url
        jobs = str(place.jobs)
        options = ["--workers", "1", "--max-async-tasks", jobs, "--wait-tasks-timeout", "1", "--log-level", "ERROR"]
        run_worker(WorkerArgs.from_cli([*options, "taskiq_worker:broker"]))

    async def clean_up(self, place: Place) -> None:
        """Delete the queues and the exchange."""
        async with await aio_pika.connect(rabbitmq_support.URL) as connection:
            channel = await connection.channel()
            for name in (place.queue, f"{place.queue}.dead"):
                await channel.queue_delete(name)
            await channel.exchange_delete(place.queue)


ENGINE = TaskiqEngine()
