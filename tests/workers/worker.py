"""A worker process of a run: the worker of an example with shorter times, and notes of what it does.

    worker.py ENGINE NAME PLACE...

The notes are lines of a file: time, what, name of the worker, and order.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

import engines
import generation
from places import Mode, Place

import acetasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from acetasks import Reconciliation

#: Seconds, in place of 90 and 300: after which a submission without a response is uncertain, half of them until it is
#: sent and half until its response; and after which the history is taken to list it. A run would wait minutes for each
#: doubt, and there are hundreds. The simulated service responds after a fraction of a second, and lists tasks at once.
UNCERTAIN_AFTER, SETTLED_AFTER = 8.0, 4.0
#: Seconds, in place of 5, 30 and the provider's default: tries, looks at the history, and polls of tasks that take
#: seconds instead of minutes.
RETRY_AFTER, RECONCILE_EVERY, POLL_INTERVAL = 1.0, 2.0, 1.0
#: Seconds between two polls of a worker that only waits.
QUIET_INTERVAL = 3600.0


class Notes:
    """The notes of one worker."""

    def __init__(self, place: Place, name: str) -> None:
        # A write of a short line to a file that is opened to append is not mixed with those of other processes.
        self._file = os.open(place.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._name = name

    def add(self, what: str, order: str = "-") -> None:
        """Note that something happened to an order."""
        os.write(self._file, f"{time.time():.3f} {what} {self._name} {order}\n".encode())


def shorten_times() -> None:
    """Shorten the times of the example and of acetasks."""
    generation.RETRY_AFTER, generation.RECONCILE_EVERY = RETRY_AFTER, RECONCILE_EVERY
    policy = acetasks.PollPolicy(interval=POLL_INTERVAL)
    retry = acetasks.RetryPolicy(submit_timeout=UNCERTAIN_AFTER / 2)
    vars(acetasks)["Client"] = functools.partial(acetasks.Client, policy=policy, retry=retry)
    client_module = sys.modules["acetasks.client"]
    ledger = client_module.Ledger  # type: ignore[attr-defined]  # its bounds are not to be changed by users
    vars(client_module)["Ledger"] = functools.partial(ledger, send_within=UNCERTAIN_AFTER / 2)
    vars(client_module)["SETTLE_TIME"] = SETTLED_AFTER


def watch(notes: Notes) -> None:
    """Note when the worker is up, the beginning and the end of each order, and what becomes of doubts."""
    fulfil, generate = generation.Generation.fulfil, generation.Generation.generate
    open_generation = generation.open_generation

    @contextlib.asynccontextmanager
    async def noted_open(url: str) -> AsyncIterator[generation.Generation]:
        async with open_generation(url) as opened:
            notes.add("up")
            yield opened

    async def noted_fulfil(self: generation.Generation, order_id: str) -> None:
        notes.add("begin", order_id)
        await fulfil(self, order_id)
        notes.add("end", order_id)

    async def noted_generate(
        self: generation.Generation, order_id: str, provider: str, payload: dict[str, object]
    ) -> tuple[str, object]:
        try:
            return await generate(self, order_id, provider, payload)
        except acetasks.SubmissionUncertainError:
            notes.add("uncertain", order_id)
            raise

    class NotedClient(acetasks.Client):
        async def reconcile(self, provider: str | None = None) -> Reconciliation:
            found = await super().reconcile(provider)
            for what, entries in (("adopted", found.adopted), ("absent", found.absent)):
                for entry in entries:
                    notes.add(what, entry.key)
            return found

    vars(acetasks)["Client"] = NotedClient
    generation.open_generation = noted_open
    generation.Generation.fulfil = noted_fulfil  # type: ignore[method-assign]
    generation.Generation.generate = noted_generate  # type: ignore[method-assign]


def forget_keys() -> None:
    """Let the example submit without keys and a journal."""
    client_class = acetasks.Client

    async def run(self: acetasks.Client, provider: str, payload: dict[str, object], **_key: str) -> acetasks.Task:
        return await (await self.submit(provider, payload)).wait()

    async def settle_nothing(_self: generation.Generation) -> None:
        await asyncio.sleep(0)

    class NaiveClient(client_class):
        def __init__(self, **options: object) -> None:
            super().__init__(**(options | {"journal": None}))  # type: ignore[arg-type]

    NaiveClient.run = run  # type: ignore[assignment, method-assign]
    vars(acetasks)["Client"] = NaiveClient
    generation.Generation.settle_doubts = settle_nothing  # type: ignore[method-assign]


def main() -> None:
    """Run the worker."""
    engine, name, *arguments = sys.argv[1:]
    place = Place.from_arguments(arguments)
    logging.basicConfig(level=logging.WARNING)
    os.environ |= {"ACEDATACLOUD_API_BASE_URL": place.service, "ACEDATACLOUD_API_TOKEN": "test-token"}
    watch(Notes(place, name))
    if place.mode is Mode.NAIVE:
        forget_keys()
    if place.mode in {Mode.SHORT, Mode.NAIVE}:
        shorten_times()
    if place.mode is Mode.QUIET:
        policy = acetasks.PollPolicy(interval=QUIET_INTERVAL)
        vars(acetasks)["Client"] = functools.partial(acetasks.Client, policy=policy)
    engines.load(engine).run_worker(place)


if __name__ == "__main__":
    main()
