"""Brings orders to their end: what the workers of every queue share.

The queue calls `fulfil` for an order, and calls it again, in another worker, if this one dies. That may be once too
often, or at the same time: the journal sees to it that an order is paid for once. Nothing has to be resumed at the
start of a worker (`Client.resume`), because the queue brings every order that has not ended.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

import acetasks

LOGGER = logging.getLogger("orders")
#: Seconds until an order is tried again that could not be brought to its end; while it waits it costs a few KiB.
RETRY_AFTER = 5.0
#: Seconds between two looks at submissions of which nobody knows whether they were accepted.
RECONCILE_EVERY = 30.0


class Generation:
    """The client of a worker process. There is one, so that all its orders share polls and journal writes."""

    def __init__(self, client: acetasks.Client, pool: asyncpg.Pool) -> None:
        self.client = client
        self.pool = pool

    async def fulfil(self, order_id: str) -> None:
        """Bring an order to its end and store its result, however long that takes."""
        while True:
            try:
                order = await self.pool.fetchrow("SELECT * FROM orders WHERE id = $1 AND state = 'open'", order_id)
                if order is not None:  # else it has ended, and its job was delivered once more
                    state, result = await self.generate(order_id, order["provider"], json.loads(order["payload"]))
                    update = "UPDATE orders SET state = $2, result = $3 WHERE id = $1 AND state = 'open'"
                    await self.pool.execute(update, order_id, state, json.dumps(result))
            except acetasks.SubmissionUncertainError:
                # A worker died between the request and its response. `settle_doubts` finds the task, and then this
                # key has it; or gives the key up, and then it is submitted. Until then it must not be sent again.
                await asyncio.sleep(RETRY_AFTER)
            except Exception as error:  # noqa: BLE001  # see below
                # The service or the database is away. Waiting loses nothing; of a job that raises, a queue makes what
                # it likes: pgqueuer deletes or holds it, taskiq acknowledges it.
                LOGGER.warning("order %s: %r; trying again", order_id, error)
                await asyncio.sleep(RETRY_AFTER)
            else:
                return

    async def generate(self, order_id: str, provider: str, payload: dict[str, object]) -> tuple[str, object]:
        """Return the state and the result of an order; raise what may be different later."""
        try:
            task = await self.client.run(provider, payload, key=order_id)
        except acetasks.TaskFailedError as error:
            # The submission was paid for, and the same key finds the same failure: another try needs another order.
            return "failed", {"task": error.task.id, "error": str(error)}
        except (acetasks.AceTasksError, ValueError, TypeError) as error:
            if isinstance(error, acetasks.SubmissionUncertainError | acetasks.ClientClosedError):
                raise
            if getattr(error, "transient", False):  # HTTP 429 and 5xx, lost connections, the journal's database
                raise
            return "error", {"error": str(error)}  # refused: the payload, its content, the token, the balance
        return "succeeded", {"task": task.id, "urls": [artifact.url for artifact in task.artifacts]}

    async def settle_doubts(self) -> None:
        """Look uncertain submissions up, again and again. That every worker does is needless, and harmless."""
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            try:
                found = await self.client.reconcile()
                for entry in found.absent:  # not in a history that has had minutes to list it: it may be sent again
                    await self.client.journal.release(entry)
            except acetasks.AceTasksError as error:
                LOGGER.warning("%s; trying again", error)


@asynccontextmanager
async def open_generation(url: str) -> AsyncIterator[Generation]:
    """Open a worker's client, with the journal and the orders in one database."""
    async with acetasks.Client(journal=url) as client, asyncpg.create_pool(url, min_size=1, max_size=4) as pool:
        generation = Generation(client, pool)
        settling = asyncio.create_task(generation.settle_doubts())
        try:
            yield generation
        finally:
            settling.cancel()
