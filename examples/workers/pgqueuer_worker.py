"""A worker of a queue in PostgreSQL, pgqueuer: `DATABASE_URL=postgresql://... python pgqueuer_worker.py`.

`pgq install` creates the tables of the queue, in the database that PGDSN names. Start as many workers as you like, on
as many machines.
"""

import asyncio
import os
import signal
from datetime import timedelta

import asyncpg
from generation import open_generation
from pgqueuer import AsyncpgPoolDriver, Job, PgQueuer
from pgqueuer.errors import RetryRequested

#: Jobs that a worker has at a time; each is a wait, and costs some 19 KiB.
JOBS = 10_000
#: Seconds after which the jobs of a worker that is silent are given to others. One that was only slow does no harm.
SILENT_AFTER = 6.0
#: What asyncpg raises when a connection is lost, or the server is stopped, starts, or has too many.
DATABASE_IS_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
)


class PatientDriver(AsyncpgPoolDriver):
    """Tries again when the database is away: without this, the worker stops taking jobs at the first error."""

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        while True:
            try:
                return await super().fetch(query, *args)
            except DATABASE_IS_AWAY:
                await asyncio.sleep(1)

    async def execute(self, query: str, *args: object) -> str:
        while True:
            try:
                return await super().execute(query, *args)
            except DATABASE_IS_AWAY:
                await asyncio.sleep(1)


async def main(url: str) -> None:
    async with open_generation(url) as generation, asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        queue = PgQueuer(PatientDriver(pool))
        jobs: set[asyncio.Task[None]] = set()

        @queue.entrypoint("fulfil", on_failure="hold")  # else a job that raises is deleted
        async def fulfil(job: Job) -> None:
            task = asyncio.current_task()
            assert task is not None
            assert job.payload is not None
            if queue.shutdown.is_set():
                raise RetryRequested
            jobs.add(task)
            try:
                await generation.fulfil(job.payload.decode())
            except asyncio.CancelledError:
                # A cancelled job is deleted, too. This puts it back, and another worker takes it at once.
                raise RetryRequested from None
            finally:
                jobs.discard(task)

        def stop() -> None:
            queue.shutdown.set()  # no more jobs
            for job in jobs:
                job.cancel()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        await queue.run(
            batch_size=100,
            max_concurrent_tasks=JOBS,
            dequeue_timeout=timedelta(seconds=1),  # how often it looks for the jobs of workers that are silent
            heartbeat_timeout=timedelta(seconds=SILENT_AFTER),
        )


if __name__ == "__main__":
    asyncio.run(main(os.environ["DATABASE_URL"]))
