"""The recipe with procrastinate, for the harness."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import recipes
from orders import build_app

if TYPE_CHECKING:
    from aiohttp import web
    from places import Place


class ProcrastinateEngine:
    """procrastinate, in the database of the run."""

    async def prepare(self, place: Place) -> None:
        """Create the tables, as `procrastinate schema --apply` does."""
        os.environ["DATABASE_URL"] = place.url
        app = recipes.load("procrastinate_worker.py").app
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    def build_web(self, place: Place) -> web.Application:
        """Return the application with the queue of the recipe."""
        return build_app(place.url, recipes.load("procrastinate_web.py").open_queue)

    def run_worker(self, place: Place) -> None:
        """Run the worker of the recipe."""
        os.environ["DATABASE_URL"] = place.url
        recipe = recipes.load("procrastinate_worker.py")
        recipe.JOBS = place.jobs
        asyncio.run(recipe.main())

    async def clean_up(self, place: Place) -> None:
        """Do nothing: everything is in the database."""


ENGINE = ProcrastinateEngine()
