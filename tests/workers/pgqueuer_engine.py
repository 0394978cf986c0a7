"""The example with pgqueuer, for the harness."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pgqueuer_web
import pgqueuer_worker
from orders import build_app
from pgqueuer import Queries

if TYPE_CHECKING:
    from aiohttp import web
    from places import Place


class PgQueuerEngine:
    """pgqueuer, in the database of the run."""

    async def prepare(self, place: Place) -> None:
        """Create the tables, as `pgq install` does."""
        connection = await asyncpg.connect(place.url)
        try:
            await Queries.from_asyncpg_connection(connection).install()
        finally:
            await connection.close()

    def build_web(self, place: Place) -> web.Application:
        """Return the application of pgqueuer_web.py."""
        return build_app(place.url, pgqueuer_web.open_queue)

    def run_worker(self, place: Place) -> None:
        """Run pgqueuer_worker.py."""
        pgqueuer_worker.JOBS = place.jobs
        asyncio.run(pgqueuer_worker.main(place.url))

    async def clean_up(self, place: Place) -> None:
        """Do nothing: everything is in the database."""


ENGINE = PgQueuerEngine()
