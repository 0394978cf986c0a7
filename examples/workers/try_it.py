"""Starts a worker and the web application of each queue, as in two terminals, places an order, and stops them.

The queues themselves are in the other files. This needs what both of them need installed (docs/workers.md),
ACEDATACLOUD_API_TOKEN or the variables of `acetasks serve`, PostgreSQL, in which DATABASE_URL is a database whose user
may create others, and RabbitMQ at RABBITMQ_URL. A queue whose server does not answer is not tried, and a line says so.
"""

import asyncio
import os
import secrets
import socket
import sys
import urllib.parse
from pathlib import Path
from typing import NamedTuple

import aio_pika
import aiohttp
import asyncpg

HERE = Path(__file__).parent
DATABASE = os.environ.get("DATABASE_URL", "postgresql://127.0.0.1:5432/test")
RABBITMQ = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672/?heartbeat=3")
#: Of URLs that name none.
PORTS = {"postgresql": 5432, "postgres": 5432, "amqp": 5672, "amqps": 5671}


class Queue(NamedTuple):
    """The servers of a queue, and the programs of Python that prepare it, work and serve."""

    servers: tuple[str, ...]
    prepare: tuple[str, ...]
    worker: tuple[str, ...]
    web: str


PGQUEUER = Queue((DATABASE,), ("-m", "pgqueuer", "install"), ("pgqueuer_worker.py",), "pgqueuer_web.py")
TASKIQ = Queue(
    (DATABASE, RABBITMQ),
    (),
    ("-m", "taskiq", "worker", "--workers", "1", "--max-async-tasks", "10000", "taskiq_worker:broker"),
    "taskiq_web.py",
)


def find_missing(servers: tuple[str, ...]) -> str | None:
    for parts in map(urllib.parse.urlsplit, servers):
        try:
            address = (parts.hostname or "localhost", parts.port or PORTS[parts.scheme])
            socket.create_connection(address, timeout=1).close()
        except OSError as error:
            return f"no {parts.scheme} server: {error}"
    return None


async def start(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, env=os.environ | environment, cwd=HERE)


async def place_order(url: str) -> str:
    order = {"id": "order-17", "provider": "flux", "payload": {"action": "generate", "prompt": "a cat"}}
    async with aiohttp.ClientSession(url) as http, asyncio.timeout(60):
        while True:
            await asyncio.sleep(0.5)
            try:
                await http.post("/orders", json=order)  # the same order again is the same order
                async with http.get("/orders/order-17") as response:
                    body = await response.json()
            except aiohttp.ClientConnectionError:
                continue  # the application starts
            if body["state"] != "open":
                return f"{body['state']}: {body['result']}"


async def try_queue(queue: Queue) -> None:
    if (missing := find_missing(queue.servers)) is not None:
        print(queue.web, "is not tested:", missing)
        return
    name, connection = f"orders_{secrets.token_hex(8)}", await asyncpg.connect(DATABASE)
    await connection.execute(f"CREATE DATABASE {name}")
    url = urllib.parse.urlsplit(DATABASE)._replace(path=f"/{name}").geturl()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    environment = {"DATABASE_URL": url, "PGDSN": url, "RABBITMQ_URL": RABBITMQ, "ORDERS_QUEUE": name, "PORT": str(port)}
    running: list[asyncio.subprocess.Process] = []
    try:
        for program in filter(None, [("orders.py",), queue.prepare]):
            await (await start(environment, *program)).wait()
        running = [await start(environment, *queue.worker), await start(environment, queue.web)]
        print(queue.web, await place_order(f"http://127.0.0.1:{port}"))
    finally:
        for process in running:
            process.terminate()
            await process.wait()
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()
        if RABBITMQ in queue.servers:
            await delete_queues(name)


async def delete_queues(name: str) -> None:
    async with await aio_pika.connect(RABBITMQ) as connection:
        channel = await connection.channel()
        await channel.queue_delete(name)
        await channel.queue_delete(f"{name}.dead")
        await channel.exchange_delete(name)


async def main() -> None:
    for queue in (PGQUEUER, TASKIQ):
        await try_queue(queue)


if __name__ == "__main__":
    asyncio.run(main())
