"""The recipe with DBOS, for the harness: a worker has the executor id of the one in whose place it is started."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import recipes
from dbos import DBOS
from orders import build_app

if TYPE_CHECKING:
    from aiohttp import web
    from places import Place


class DBOSEngine:
    """DBOS, in the database of the run."""

    async def prepare(self, place: Place) -> None:
        """Create the tables, as `dbos migrate` does."""
        os.environ["DATABASE_URL"] = place.url
        await asyncio.to_thread(DBOS.migrate, place.url)

    def build_web(self, place: Place) -> web.Application:
        """Return the application with the queue of the recipe."""
        return build_app(place.url, recipes.load("dbos_web.py").open_queue)

    def run_worker(self, place: Place) -> None:
        """Run the worker of the recipe."""
        run_worker(place, f"orders-{os.environ['WORKER_SLOT']}")

    async def clean_up(self, place: Place) -> None:
        """Do nothing: everything is in the database."""


def run_worker(place: Place, executor_id: str) -> None:
    """Run the worker of the recipe under an executor id."""
    recipe = recipes.load("dbos_worker.py")
    recipe.JOBS = place.jobs
    asyncio.run(recipe.main(place.url, executor_id))


ENGINE = DBOSEngine()
