"""What the harness asks of an engine: one module for each, such as `pgqueuer_engine.py`, has its `ENGINE`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiohttp import web
    from places import Place


class Engine(Protocol):
    """A queue whose example is run and killed."""

    async def prepare(self, place: Place) -> None:
        """Create what the queue needs."""
        ...

    def build_web(self, place: Place) -> web.Application:
        """Return the web application of the example, which is run in the process of the harness."""
        ...

    def run_worker(self, place: Place) -> None:
        """Run the worker of the example until it is stopped; called in a process of its own."""
        ...

    async def clean_up(self, place: Place) -> None:
        """Remove what is not in the database of the run, which is dropped."""
        ...


def load(name: str) -> Engine:
    """Return the engine of a name."""
    engine: Engine = importlib.import_module(f"{name}_engine").ENGINE
    return engine
