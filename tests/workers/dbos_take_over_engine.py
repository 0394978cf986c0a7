"""The recipe with DBOS, whose workers have a new executor id at each start, and take over from the one before."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import dbos_engine
import recipes

if TYPE_CHECKING:
    from places import Place


class DBOSTakeOverEngine(dbos_engine.DBOSEngine):
    """DBOS, with the script that gives the workflows of a dead worker to the others."""

    def run_worker(self, place: Place) -> None:
        """Run the worker of the recipe, after the script."""
        previous = place.log.with_name(f"executor-{os.environ['WORKER_SLOT']}")
        if previous.exists():
            recipes.load("dbos_take_over.py").take_over(place.url, previous.read_text("utf-8"))
        executor_id = secrets.token_hex(8)
        previous.write_text(executor_id, "utf-8")
        dbos_engine.run_worker(place, executor_id)


ENGINE = DBOSTakeOverEngine()
