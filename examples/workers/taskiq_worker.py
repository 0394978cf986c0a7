"""A worker of a queue in RabbitMQ, taskiq.

    DATABASE_URL=postgresql://... RABBITMQ_URL=amqp://.../?heartbeat=3 \
        taskiq worker --workers 1 --max-async-tasks 10000 --wait-tasks-timeout 1 taskiq_worker:broker

- `--max-async-tasks`: jobs at a time, 100 by default; `qos` below, 10 by default, is the same limit in RabbitMQ.
- `heartbeat`: seconds; RabbitMQ gives the jobs of a silent worker to others after some two of them. The default is 60.
- `--wait-tasks-timeout`: at SIGTERM, jobs are not waited for, but left to other workers.
- `--ack-type when_saved` is the default: a job is acknowledged, and gone from the queue, when it is done.

RabbitMQ closes the channel of a consumer that has not acknowledged a job after half an hour, and delivers all jobs of
that worker again: `consumer_timeout` in rabbitmq.conf, in milliseconds, has to be longer than the longest task.
"""

import os
from contextlib import AsyncExitStack

from generation import Generation, open_generation
from taskiq import TaskiqEvents, TaskiqState
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue

#: Jobs that a worker has at a time; each is a wait, and costs some 14 KiB.
JOBS = 10_000

name = os.environ.get("ORDERS_QUEUE", "orders")
broker = AioPikaBroker(
    os.environ.get("RABBITMQ_URL"),
    qos=JOBS,
    exchange=Exchange(name=name),
    task_queues=[Queue(name=name)],  # a quorum queue, which is on the disk before `kiq` returns
    dead_letter_queue=Queue(name=f"{name}.dead"),
)


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def open_worker(state: TaskiqState) -> None:
    state.stack = AsyncExitStack()
    state.generation = await state.stack.enter_async_context(open_generation(os.environ["DATABASE_URL"]))


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def close_worker(state: TaskiqState) -> None:
    await state.stack.aclose()


@broker.task(task_name="fulfil")
async def fulfil(order_id: str) -> None:
    generation: Generation = broker.state.generation
    await generation.fulfil(order_id)  # never raises: taskiq acknowledges a job that does
